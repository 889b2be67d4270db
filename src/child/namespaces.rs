//! Joining namespaces that exist, and what is written to /proc in the new ones: system controls,
//! the time namespace's offsets, security labels.
//!
//! What is written goes through the procfs of the host's root, opened before anything of the
//! container's is there: its /proc may be anything (CVE-2025-52881).

#![forbid(unsafe_code)]

use super::{Armed, At, Done, Failure};
use crate::sys::fs::{self, Resolve};
use crate::sys::{Errno, io, process};
use crate::wire::{Message, Step};
use core::ffi::CStr;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd, RawFd};

/// A namespace to join, opened and looked at by the parent.
#[derive(Clone, Copy, Debug)]
pub struct ArmedJoin {
    /// It.
    pub fd: RawFd,
    /// Its `CLONE_NEW*`.
    pub kind: i32,
}

/// Joins each.
pub(super) fn join(list: &[ArmedJoin]) -> Done {
    for (index, join) in (0..).zip(list) {
        process::join(io::well_known(join.fd), join.kind).at_index(Step::JoinNamespace, index)?;
    }
    Ok(())
}

/// A user namespace that is joined: what is new is made by a child in it, and belongs to it.
#[derive(Debug)]
pub struct ArmedOuter {
    /// The namespaces, in the order in which they are joined.
    pub joins: Vec<ArmedJoin>,
    /// Flags of clone3 for the sibling.
    pub flags: u64,
}

/// Joins, makes the sibling, and ends.
pub(super) fn leave_to_sibling(armed: &Armed, outer: &ArmedOuter) -> ! {
    let socket = armed.socket.as_fd();
    match make_sibling(armed, outer) {
        Ok(()) => process::exit_group(0),
        Err(failure) => super::fail(socket, &failure),
    }
}

fn make_sibling(armed: &Armed, outer: &ArmedOuter) -> Done {
    process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
    super::close_all_but(&armed.kept)?;
    let mut joined = [false; 8];
    // What belongs to the caller's own user namespace must be joined before it is left, and what
    // belongs to the other one after that.
    for (join, done) in outer.joins.iter().zip(&mut joined) {
        let user = join.kind == libc::CLONE_NEWUSER;
        *done = !user && process::join(io::well_known(join.fd), join.kind).is_ok();
    }
    for (index, (join, done)) in (0..).zip(outer.joins.iter().zip(&joined)) {
        if !done {
            process::join(io::well_known(join.fd), join.kind)
                .at_index(Step::JoinNamespace, index)?;
        }
    }
    let (pid, pidfd) =
        process::clone_sibling(outer.flags, super::enter_here, armed).at(Step::JoinNamespace)?;
    let socket = armed.socket.as_fd();
    io::send(socket, &Message::Sibling(pid).to_bytes(), Some(pidfd.as_fd())).at(Step::Handshake)
}

/// What is written.
#[derive(Debug, Default)]
pub struct ArmedWrites {
    /// For `self/timens_offsets` of a time namespace that is made for it.
    pub time_offsets: Option<CString>,
    /// Path below /proc, value.
    pub sysctls: Vec<(CString, CString)>,
    /// Path below /proc, value.
    pub labels: Vec<(CString, CString)>,
}

impl ArmedWrites {
    fn is_empty(&self) -> bool {
        self.time_offsets.is_none() && self.sysctls.is_empty() && self.labels.is_empty()
    }

    /// Opens the host's procfs, if it is needed.
    pub(super) fn open(&self) -> Done<Option<OwnedFd>> {
        if self.is_empty() {
            return Ok(None);
        }
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let proc = fs::open_at(fs::cwd(), c"/proc", flags, 0).at(Step::Sysctl)?;
        let seen = fs::stat(proc.as_fd()).at(Step::Sysctl)?;
        let magic = fs::statfs(proc.as_fd()).at(Step::Sysctl)?.magic;
        if magic != super::rootfs::PROC_SUPER_MAGIC || seen.ino != PROC_ROOT_INO {
            return Err(Failure(Step::Sysctl, 0, Errno(libc::ENOTUNIQ)));
        }
        Ok(Some(proc))
    }

    /// Makes the time namespace, whose offsets can be set until somebody is in it, and enters it: only
    /// from Linux 6.3 on the job would when it is executed.
    pub(super) fn time(&self, proc: Option<&OwnedFd>) -> Done {
        let (Some(offsets), Some(proc)) = (&self.time_offsets, proc) else { return Ok(()) };
        process::unshare(process::CLONE_NEWTIME_UNSHARE).at(Step::TimeOffsets)?;
        // The one magic link that is followed: it names this process.
        write(proc, c"self/timens_offsets", offsets).at(Step::TimeOffsets)?;
        // Of this procfs, which was looked at.
        let made = fs::open_at(proc.as_fd(), c"self/ns/time_for_children", libc::O_RDONLY, 0)
            .at(Step::TimeOffsets)?;
        process::join(made.as_fd(), process::CLONE_NEWTIME_UNSHARE).at(Step::TimeOffsets)
    }

    /// Sets the system controls of the namespaces that this process is in by now.
    pub(super) fn sysctls(&self, proc: Option<&OwnedFd>) -> Done {
        let Some(proc) = proc else { return Ok(()) };
        for (index, (path, value)) in (0..).zip(&self.sysctls) {
            write(proc, path, value).at_index(Step::Sysctl, index)?;
        }
        Ok(())
    }

    /// The labels that the next execve gives.
    pub(super) fn labels(&self, proc: Option<&OwnedFd>) -> Done {
        let Some(proc) = proc else { return Ok(()) };
        for (index, (path, value)) in (0..).zip(&self.labels) {
            write(proc, path, value).at_index(Step::Label, index)?;
        }
        Ok(())
    }
}

/// `PROC_ROOT_INO` of linux/proc_ns.h.
const PROC_ROOT_INO: u64 = 1;

fn write(proc: &OwnedFd, path: &CStr, value: &CStr) -> crate::sys::Result<()> {
    let file = fs::open_beneath(proc.as_fd(), path, libc::O_WRONLY, 0, Resolve::InRoot)?;
    io::write_whole(file.as_fd(), value.to_bytes())
}
