//! The network namespace, made by a second process while the first one mounts.
//!
//! The kernel takes a third of a start's time to make a network namespace, more when others are
//! being removed, and nothing of the file system needs it. So a helper makes it on another
//! processor, in the jail's user namespace, brings up `lo`, and hands over its descriptor; the
//! first process enters it. Nothing of the job runs before that, and the helper has ended. If it
//! fails, so does the whole set-up.
//!
//! Where the namespace is the caller's user namespace's, the parent has such a helper of its own
//! make it before there is a child ([`Ahead`]).

#![forbid(unsafe_code)]

use super::{At, Done, Failure};
use crate::sys::{self, Errno, io, process};
use crate::wire::Step;
use core::sync::atomic::{AtomicBool, Ordering};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Where the new network namespace comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmedNetwork {
    /// There is none.
    None,
    /// The child has it made.
    Made,
    /// The parent has it made: where it is sent.
    Ahead(RawFd),
}

/// A namespace in the making.
pub(super) struct Network {
    /// Ours, and not the parent's.
    helper: Option<i32>,
    /// The helper sends 0 and the namespace, or an errno.
    result: OwnedFd,
    /// Whether it was sent to another processor.
    sent: bool,
}

/// A namespace that the parent has made before there is a child. Dropped, its helper is gone.
#[derive(Debug)]
pub(crate) struct Ahead {
    helper: process::Aside,
    result: OwnedFd,
    /// Whether it was sent to another processor.
    sent: bool,
}

impl Ahead {
    /// Starts the helper, with all signals blocked.
    pub(crate) fn begin() -> sys::Result<Ahead> {
        let (ours, theirs) = io::seqpacket_pair()?;
        let helper = process::Aside::spawn::<Maker>(theirs.as_raw_fd())?;
        // For speed only.
        let sent = sys::sched::send_elsewhere(helper.pid()).is_some();
        // The helper does not share our descriptors, so its end is its own.
        drop(theirs);
        Ok(Ahead { helper, result: ours, sent })
    }

    /// Where the namespace is sent.
    pub(crate) fn result(&self) -> BorrowedFd<'_> {
        self.result.as_fd()
    }

    /// Moves where the namespace is sent.
    pub(crate) fn map(
        self,
        with: impl FnOnce(OwnedFd) -> sys::Result<OwnedFd>,
    ) -> sys::Result<Ahead> {
        let Ahead { helper, result, sent } = self;
        Ok(Ahead { helper, result: with(result)?, sent })
    }

    /// Whoever is about to need it: if the helper has not had its turn elsewhere it gets one here.
    pub(crate) fn hurry(&self) {
        if self.sent && !self.helper.has_begun() {
            sys::sched::bring_back(self.helper.pid());
        }
    }
}

/// The namespace that the parent has made, or begins to make one. `None`: there is none, or it is
/// entered.
pub(super) fn begin(armed: ArmedNetwork) -> Done<Option<Network>> {
    match armed {
        ArmedNetwork::None => Ok(None),
        ArmedNetwork::Made => make_one(),
        ArmedNetwork::Ahead(fd) => {
            let result = io::duplicate(io::well_known(fd)).at(Step::Network)?;
            Ok(Some(Network { helper: None, result, sent: false }))
        }
    }
}

/// Starts the helper. `None`: there was no need of one, and the namespace is entered.
fn make_one() -> Done<Option<Network>> {
    let (ours, theirs) = io::seqpacket_pair().at(Step::Network)?;
    let helper = match process::spawn_helper::<Maker>(theirs.as_raw_fd()) {
        Ok(helper) => helper,
        // No process besides this one may be in the cgroup (v2; a limit of 1 without an init).
        Err(e) if e.0 == libc::EAGAIN => {
            let made = process::unshare(libc::CLONE_NEWNET).and_then(|()| sys::net::loopback_up());
            return made.map(|_| None).at(Step::Network);
        }
        Err(e) => return Err(Failure(Step::Network, 0, e)),
    };
    // For speed only.
    let sent = sys::sched::send_elsewhere(helper).is_some();
    Ok(Some(Network { helper: Some(helper), result: ours, sent }))
}

/// Whether the helper has begun. It shares the child's memory, and only the child's: in the
/// supervisor this stays false.
static RUNS: AtomicBool = AtomicBool::new(false);

/// The helper.
struct Maker;

impl process::Helper for Maker {
    fn run(fd: RawFd) -> ! {
        RUNS.store(true, Ordering::Relaxed);
        make(io::well_known(fd))
    }
}

fn make(result: BorrowedFd<'_>) -> ! {
    let made = process::unshare(libc::CLONE_NEWNET).and_then(|()| sys::net::loopback_up());
    // A reader that is gone took the jail along: nothing to do about it.
    let _ = match &made {
        Ok(namespace) => io::send(result, &0i32.to_ne_bytes(), Some(namespace.as_fd())),
        Err(e) => io::send(result, &e.0.to_ne_bytes(), None),
    };
    process::exit_group(0)
}

impl Network {
    /// Waits for the namespace and enters it.
    pub(super) fn join(self) -> Done {
        if let Some(helper) = self.helper.filter(|_| self.sent && !RUNS.load(Ordering::Relaxed)) {
            // We are about to wait, so here it has a processor for itself.
            sys::sched::bring_back(helper);
        }
        let mut code = [0u8; 4];
        let (_, namespace) = io::recv(self.result.as_fd(), &mut code, false).at(Step::Network)?;
        let Some(namespace) = namespace else {
            // 0 without a namespace is a helper that was killed.
            let errno = i32::from_ne_bytes(code);
            let errno = if errno == 0 { libc::EPIPE } else { errno };
            return Err(Failure(Step::Network, 0, Errno(errno)));
        };
        process::join(namespace.as_fd(), libc::CLONE_NEWNET).at(Step::Network)?;
        let Some(helper) = self.helper else { return Ok(()) };
        match process::wait4(helper, 0) {
            // Of an embedding program that ignores SIGCHLD: the kernel has reaped it.
            Err(e) if e.0 == libc::ECHILD => Ok(()),
            other => other.map(drop).at(Step::Network),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{cred, fs};

    /// Nothing is left of the helper, whether or not anybody has taken the namespace.
    #[test]
    fn a_namespace_made_ahead_is_new_and_its_helper_gone() {
        if cred::euid() != 0 {
            return;
        }
        for taken in [true, false] {
            let ahead = Ahead::begin().unwrap();
            let pid = ahead.helper.pid();
            if taken {
                let mut code = [0; 4];
                let (_, namespace) = io::recv(ahead.result(), &mut code, false).unwrap();
                assert_eq!(code, [0; 4]);
                let namespace = namespace.unwrap();
                assert_eq!(process::namespace_kind(namespace.as_fd()).unwrap(), libc::CLONE_NEWNET);
                let own = fs::open_at(fs::cwd(), c"/proc/self/ns/net", libc::O_RDONLY, 0).unwrap();
                let inode = |fd: &OwnedFd| fs::stat(fd.as_fd()).unwrap().ino;
                assert_ne!(inode(&namespace), inode(&own));
            }
            drop(ahead);
            // Waited for, so its number is nobody's or a later process's.
            assert_eq!(process::wait4(pid, libc::__WALL).unwrap_err(), Errno(libc::ECHILD));
        }
    }
}
