//! The network namespace, made by a second process while the first one mounts.
//!
//! The kernel takes a third of a start's time to make a network namespace, more when others are
//! being removed, and nothing of the file system needs it. So a helper makes it on another
//! processor, in the jail's user namespace, brings up `lo`, and hands over its descriptor; the
//! first process enters it. Nothing of the job runs before that, and the helper has ended. If it
//! fails, so does the whole set-up.

#![forbid(unsafe_code)]

use super::{At, Done, Failure};
use crate::sys::{self, Errno, io, process};
use crate::wire::Step;
use core::sync::atomic::{AtomicBool, Ordering};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A namespace in the making.
pub(super) struct Network {
    helper: i32,
    /// The helper sends 0 and the namespace, or an errno.
    result: OwnedFd,
    /// Whether it was sent to another processor.
    sent: bool,
}

/// Starts the helper.
pub(super) fn begin() -> Done<Network> {
    let (ours, theirs) = io::seqpacket_pair().at(Step::Network)?;
    let helper = process::spawn_helper::<Maker>(theirs.as_raw_fd()).at(Step::Network)?;
    // For speed only.
    let sent = sys::sched::send_elsewhere(helper).is_some();
    Ok(Network { helper, result: ours, sent })
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
        if self.sent && !RUNS.load(Ordering::Relaxed) {
            // We are about to wait, so here it has a processor for itself.
            sys::sched::bring_back(self.helper);
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
        process::wait4(self.helper, 0).map(drop).at(Step::Network)
    }
}
