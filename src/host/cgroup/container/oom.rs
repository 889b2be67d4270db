//! Being told that a container ran out of memory (`events`).

use super::{ContainerCgroup, is_v2};
use crate::error::{Error, Result};
use crate::host::cgroup::dir::{Dir, keyed};
use crate::sys::{self, io};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OomEvent {
    /// The memory limit was hit and nothing could be given back.
    Oom,
    /// The cgroup is gone or nobody is in it any more: there will be no further events.
    End,
}

/// A watch over a container's memory limit.
#[derive(Debug)]
pub(crate) struct OomEvents {
    kind: Watch,
}

#[derive(Debug)]
enum Watch {
    /// v1: an eventfd that `memory.oom_control` is tied to. It is also set when the cgroup goes.
    V1 { event: OwnedFd, path: String, id: u64 },
    /// v2: files that are polled for a change since they were read.
    V2 { memory: OwnedFd, cgroup: OwnedFd, seen: u64 },
}

impl ContainerCgroup {
    /// Begins to watch.
    ///
    /// # Errors
    /// The container has no cgroup of the memory controller.
    pub(crate) fn oom_events(&self) -> Result<OomEvents> {
        let v2 = is_v2(&self.parts);
        let dir = self.need(if v2 { "" } else { "memory" }, "memory events")?;
        let watch = if v2 { watch_v2(dir) } else { watch_v1(dir) };
        let kind = watch.map_err(|e| Error::os(format!("watch the memory of {}", dir.path), e))?;
        Ok(OomEvents { kind })
    }

    /// How many processes the kernel has killed for memory.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        let v2 = is_v2(&self.parts);
        let file = if v2 { "memory.events" } else { "memory.oom_control" };
        self.dir(if v2 { "" } else { "memory" })?.keyed(file, "oom_kill")
    }
}

fn watch_v1(dir: &Dir) -> sys::Result<Watch> {
    let event = io::eventfd()?;
    let control = dir.open_file("memory.oom_control", libc::O_RDONLY)?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    // The kernel keeps its own reference to the file.
    dir.write("cgroup.event_control", &line)?;
    Ok(Watch::V1 { event, path: dir.path.clone(), id: dir.id()? })
}

fn watch_v2(dir: &Dir) -> sys::Result<Watch> {
    let memory = dir.open_file("memory.events", libc::O_RDONLY)?;
    let cgroup = dir.open_file("cgroup.events", libc::O_RDONLY)?;
    let seen = again(&memory, "oom_kill")?.unwrap_or(0);
    Ok(Watch::V2 { memory, cgroup, seen })
}

/// Reads a key of a file from its start; `None`: the cgroup is gone.
fn again(file: &OwnedFd, key: &str) -> sys::Result<Option<u64>> {
    let mut buf = [0u8; 1024];
    let read = sys::fs::seek(file.as_fd(), 0, libc::SEEK_SET)
        .and_then(|_| io::read(file.as_fd(), &mut buf));
    match read {
        Ok(n) => Ok(keyed(&String::from_utf8_lossy(buf.get(..n).unwrap_or(&[])), key)),
        Err(e) if matches!(e.0, libc::ENODEV | libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

impl OomEvents {
    /// Waits for the next event; `None` when the time is over.
    ///
    /// # Errors
    /// The files cannot be read.
    pub(crate) fn next(&mut self, patience: Option<Duration>) -> Result<Option<OomEvent>> {
        let end = patience.map(|p| std::time::Instant::now() + p);
        loop {
            let left = end.map(|e| e.saturating_duration_since(std::time::Instant::now()));
            let failed = |e| Error::os("watch a cgroup's memory", e);
            if let Some(event) = self.look(left).map_err(failed)? {
                return Ok(Some(event));
            }
            if left.is_some_and(|l| l.is_zero()) {
                return Ok(None);
            }
        }
    }

    fn look(&mut self, left: Option<Duration>) -> sys::Result<Option<OomEvent>> {
        let nanos = left.map(|l| u64::try_from(l.as_nanos()).unwrap_or(u64::MAX));
        match &mut self.kind {
            Watch::V1 { event, path, id } => {
                let mut fds = [io::PollFd::new(event.as_raw_fd(), libc::POLLIN)];
                io::poll(&mut fds, nanos)?;
                if fds.iter().all(|f| f.revents() == 0) {
                    return Ok(None);
                }
                let mut count = [0u8; 8];
                io::read(event.as_fd(), &mut count)?;
                let there = Dir::open(path).and_then(|d| d.id()).is_ok_and(|i| i == *id);
                Ok(Some(if there { OomEvent::Oom } else { OomEvent::End }))
            }
            Watch::V2 { memory, cgroup, seen } => {
                let now = again(memory, "oom_kill")?;
                let populated = again(cgroup, "populated")?;
                if now.is_some_and(|n| n > *seen) {
                    *seen = now.unwrap_or(*seen);
                    return Ok(Some(OomEvent::Oom));
                }
                if now.is_none() || populated != Some(1) {
                    return Ok(Some(OomEvent::End));
                }
                let mut fds =
                    [&*memory, &*cgroup].map(|f| io::PollFd::new(f.as_raw_fd(), libc::POLLPRI));
                io::poll(&mut fds, nanos)?;
                Ok(None)
            }
        }
    }
}
