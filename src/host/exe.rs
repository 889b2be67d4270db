//! The runtime's own binary, kept out of reach (CVE-2019-5736).
//!
//! A job whose program is `#!/proc/self/exe`, or a link to it, executes stockade's binary inside
//! the jail and can then open it. That does harm only where the job's ids may write to it. As
//! root with a user namespace they may not, and nothing needs doing; where they may, the child
//! goes through a sealed stub first ([`crate::sys::stub`]).

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::plan::ids::is_outside;
use crate::plan::{Plan, UserNamespace};
use crate::sys::fs;
use std::os::fd::{AsFd, OwnedFd};

/// Whether the jail of this plan could write to the running binary.
///
/// # Errors
/// The binary cannot be looked at.
pub(crate) fn is_exposed(plan: &Plan) -> Result<bool> {
    let exe = open()?;
    let seen = fs::stat(exe.as_fd()).map_err(|e| Error::os("look at /proc/self/exe", e))?;
    // The group bits are the mask of an ACL where there is one, so no group bit means that no
    // ACL entry grants writing either.
    if seen.mode & 0o002 != 0 {
        return Ok(true);
    }
    Ok(match &plan.namespaces.user {
        // Real ids: root's jail may have them all.
        None => true,
        Some(user) => owned_by(user, &seen),
    })
}

fn owned_by(user: &UserNamespace, seen: &fs::Stat) -> bool {
    // The owner may change the mode, whatever it is now.
    is_outside(&user.uids, seen.uid) || (seen.mode & 0o020 != 0 && is_outside(&user.gids, seen.gid))
}

fn open() -> Result<OwnedFd> {
    fs::open_at(fs::cwd(), c"/proc/self/exe", libc::O_RDONLY, 0)
        .map_err(|e| Error::os("open /proc/self/exe", e).hint("is /proc mounted?"))
}
