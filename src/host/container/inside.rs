//! Looking at a container that runs, through its init.

#![forbid(unsafe_code)]

use super::state::Saved;
use crate::error::{Error, Kind, Result};
use crate::host::arm;
use crate::plan::oci::spec::Config;
use crate::sys::{fs, io};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Looks at something in the container's root. What was seen counts only if the init has lived on:
/// another process of its number has another root.
pub(super) fn in_root<T>(
    saved: &Saved,
    init: &OwnedFd,
    look: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    let found = look(&PathBuf::from(format!("/proc/{}/root", saved.pid)));
    let mut fds = [io::PollFd::new(init.as_raw_fd(), libc::POLLIN)];
    io::poll(&mut fds, Some(0)).map_err(|e| Error::os("look at the container's init", e))?;
    let [ended] = fds;
    if ended.revents() != 0 {
        return Err(Error::new(Kind::InvalidConfig, "cannot exec in a stopped container"));
    }
    found
}

/// A container without a mount namespace of its own has its root by chroot: who only joined would be in
/// the root of that namespace, the host's.
pub(super) fn own_root(saved: &Saved, init: &OwnedFd, config: &Config) -> Result<Option<OwnedFd>> {
    if config.owns_mounts() {
        return Ok(None);
    }
    let open = |root: &Path| {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        fs::open_at(fs::cwd(), &arm::c_path(root)?, flags, 0)
            .map_err(|e| Error::os("open the container's root", e))
    };
    in_root(saved, init, open).map(Some)
}
