//! Landlock: a layer beneath the mounts. The ruleset is begun before the root is built, gets a
//! rule for each writable mount while its descriptor is at hand, and is put on by the job.
//!
//! The init is not restricted: it signals the job, from outside of its domain.

#![forbid(unsafe_code)]

use super::{At, Done};
use crate::sys::landlock::{self, Handled};
use crate::wire::Step;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The ruleset, armed.
#[derive(Clone, Copy, Debug)]
pub struct ArmedLandlock {
    /// What is denied unless a rule allows it.
    pub handled: Handled,
    /// Flags of landlock_restrict_self(2).
    pub flags: u32,
}

/// A ruleset that rules can be added to.
pub(super) struct Ruleset {
    fd: OwnedFd,
    flags: u32,
}

/// Begins it.
pub(super) fn begin(armed: &ArmedLandlock) -> Done<Ruleset> {
    let fd = landlock::create(&armed.handled).at(Step::Landlock)?;
    Ok(Ruleset { fd, flags: armed.flags })
}

impl Ruleset {
    /// Allows these rights on a mount and what is below it; nothing if there are none. `index` is
    /// for messages.
    pub(super) fn allow(
        &self,
        mount: BorrowedFd<'_>,
        directory: bool,
        rights: u64,
        index: u32,
    ) -> Done {
        // The kernel refuses rights of directories on anything else.
        let rights = if directory { rights } else { rights & landlock::OF_A_FILE };
        if rights == 0 {
            return Ok(());
        }
        landlock::allow_beneath(self.fd.as_fd(), mount, rights).at_index(Step::Landlock, index)
    }

    /// Restricts this process and all that it will start.
    pub(super) fn restrict_self(&self) -> Done {
        landlock::restrict_self(self.fd.as_fd(), self.flags).at(Step::Landlock)
    }
}
