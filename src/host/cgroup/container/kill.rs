//! Who is inside, signals to all of them, and removing the directories.

use super::{ContainerCgroup, Part, is_v2, walk};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::dir::Dir;
use crate::sys::{self, Errno, process};
use std::os::fd::AsFd;
use std::time::Duration;

/// Descriptors of processes held at once.
const BATCH: usize = 128;
/// How often a removal is tried, with pauses that double: a bit over a second, as runc waits.
const TRIES: u32 = 14;

impl ContainerCgroup {
    /// The processes inside, in cgroups of the container's own making, too.
    ///
    /// # Errors
    /// They cannot be read. A container without a cgroup has none.
    pub(crate) fn processes(&self) -> Result<Vec<i32>> {
        let Some(dir) = self.main_dir() else { return Ok(Vec::new()) };
        walk::processes(dir).map_err(|e| unreadable(dir, e))
    }

    /// Sends a signal to every process inside, once; they stand still meanwhile, so that none
    /// forks away from it.
    ///
    /// # Errors
    /// The processes cannot be read.
    pub(crate) fn signal_all(&self, signal: i32) -> Result<()> {
        let Some(dir) = self.main_dir() else { return Ok(()) };
        if signal == libc::SIGKILL && is_v2(&self.parts) && dir.write("cgroup.kill", "1").is_ok() {
            return Ok(());
        }
        // Without a freezer, or where it does not manage: as well as it goes.
        let frozen = matches!(self.is_frozen(), Ok(false)) && self.freeze().is_ok();
        let sent = signal_processes(dir, signal);
        if frozen || signal == libc::SIGKILL {
            // A frozen process of v1 dies when it is thawed, also one that somebody has paused.
            let _ = self.thaw();
        }
        sent
    }

    /// Kills every process inside and waits, within bounds, until none is left.
    ///
    /// # Errors
    /// The processes cannot be read, or some do not go away.
    pub(crate) fn kill_all(&self) -> Result<()> {
        let Some(dir) = self.main_dir() else { return Ok(()) };
        let mut left = 0;
        for round in 0..200u64 {
            let inside = walk::processes(dir).map_err(|e| unreadable(dir, e))?;
            left = inside.len();
            if left == 0 {
                return Ok(());
            }
            // Dying takes a moment. New ones may have come from a process that was being made.
            if round % 10 == 0 {
                self.signal_all(libc::SIGKILL)?;
            }
            std::thread::sleep(Duration::from_millis(1 + round / 10));
        }
        let text = format!("{left} process(es) in the cgroup {} do not end", dir.path);
        Err(Error::new(Kind::Os, text).hint("they hang in a system call; try again later"))
    }

    /// Whether processes stay inside, of a container whose own have all ended. One on its way in, such as
    /// of an `exec` that comes too late, has a bit over a second to find that out.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn is_taken(&self) -> Result<bool> {
        let mut pause = Duration::from_micros(200);
        for left in (0..TRIES).rev() {
            if self.processes()?.is_empty() {
                return Ok(false);
            }
            if left > 0 {
                std::thread::sleep(pause);
                pause *= 2;
            }
        }
        Ok(true)
    }

    /// Its directory where its processes are listed, for people.
    pub(crate) fn describe(&self) -> String {
        self.main_dir().map_or_else(String::new, |dir| dir.path.clone())
    }

    /// Removes the directories, those that the container has made in them included. A paused
    /// container is thawed first. The processes must have ended, or be ending.
    ///
    /// # Errors
    /// A process is inside, or the kernel refuses. What could be removed is gone.
    pub(crate) fn delete(&mut self) -> Result<()> {
        let mut thawed = false;
        let mut first = None;
        let mut tries = TRIES;
        if let Some(unit) = &self.unit {
            let there = self.parts.iter().find(|p| p.v2 && p.dir.is_some());
            // Before the directories: whatever systemd says of its unit, they go.
            match unit.stop(there.map(|p| p.path.as_str())) {
                Ok(()) => self.unit = None,
                Err(e) => first = Some(e),
            }
        }
        for at in 0..self.parts.len() {
            let quick = self.parts.get(at).map_or(Ok(()), remove_once);
            let Err(e) = quick else {
                self.forget(at);
                continue;
            };
            if e.0 == libc::EBUSY && !thawed {
                thawed = true;
                if !matches!(self.is_frozen(), Ok(false)) {
                    let _ = self.thaw();
                }
            }
            match self.parts.get(at).map_or(Ok(()), |part| remove_tree(part, tries)) {
                Ok(()) => self.forget(at),
                Err(e) => {
                    // Who did not leave one hierarchy is in the others as well.
                    tries = 1;
                    first = first.or(Some(e));
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn forget(&mut self, at: usize) {
        if let Some(part) = self.parts.get_mut(at) {
            part.dir = None;
        }
    }
}

fn unreadable(dir: &Dir, e: Errno) -> Error {
    Error::os(format!("read the processes of the cgroup {}", dir.path), e)
}

/// By pidfd, and only to a process that is still inside after it was opened: a number that was
/// given to another one meanwhile is not hit (H59).
fn signal_processes(dir: &Dir, signal: i32) -> Result<()> {
    let before = walk::processes(dir).map_err(|e| unreadable(dir, e))?;
    for batch in before.chunks(BATCH) {
        let open: Vec<_> =
            batch.iter().filter_map(|pid| Some((*pid, process::pidfd_open(*pid).ok()?))).collect();
        let still = walk::processes(dir).map_err(|e| unreadable(dir, e))?;
        for (pid, pidfd) in open {
            if still.binary_search(&pid).is_ok() {
                // It may have ended.
                let _ = process::pidfd_send_signal(pidfd.as_fd(), signal);
            }
        }
    }
    Ok(())
}

/// The usual case: nobody is inside and nothing below.
fn remove_once(part: &Part) -> sys::Result<()> {
    if part.dir.is_none() {
        return Ok(());
    }
    match part.top.remove_child(&part.path) {
        Err(e) if e.0 == libc::ENOENT => Ok(()),
        other => other,
    }
}

fn remove_tree(part: &Part, tries: u32) -> Result<()> {
    let Some(dir) = part.dir.as_ref() else { return Ok(()) };
    let mut pause = Duration::from_micros(200);
    for left in (0..tries).rev() {
        let below = walk::below(dir, |parent, name, _| parent.remove_child_bytes(name));
        let result = match below {
            Ok(()) => remove_once(part),
            // Gone by itself.
            Err(e) if matches!(e.0, libc::ENOENT | libc::ENODEV) => remove_once(part),
            Err(e) => Err(e),
        };
        match result {
            Ok(()) => return Ok(()),
            Err(e) if e.0 == libc::EBUSY => {}
            Err(e) => return Err(Error::os(format!("remove the cgroup {}", dir.path), e)),
        }
        if left > 0 {
            std::thread::sleep(pause);
            pause *= 2;
        }
    }
    let inside = walk::processes(dir).unwrap_or_default();
    let text =
        format!("remove the cgroup {}: {} process(es) are still in it", dir.path, inside.len());
    Err(Error::new(Kind::Os, text).hint("kill them first: kill --all, or delete --force"))
}
