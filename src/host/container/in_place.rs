//! A container in the host's own mount namespace: a making of it that fails leaves no mounts there.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::host::arm;
use crate::plan::detail::{NamespaceKind, RootChange};
use crate::plan::{Plan, RootSource};
use crate::sys::{fs, mount};
use std::ffi::CString;
use std::os::fd::AsRawFd;

/// The directory of its root, and what is mounted there before.
#[derive(Debug)]
pub(super) struct Before {
    path: CString,
    mount: u64,
}

impl Before {
    /// `None`: its mounts are its own, or go with the namespace that they are in.
    pub(super) fn look(plan: &Plan) -> Result<Option<Before>> {
        let d = &plan.details;
        let RootSource::Directory(rootfs) = &plan.root.source else { return Ok(None) };
        if d.root_change != RootChange::InPlace || !d.shared.contains(&NamespaceKind::Mount) {
            return Ok(None);
        }
        let path = arm::c_path(rootfs)?;
        let mount = mount_id(&path)?;
        Ok(Some(Before { path, mount }))
    }

    /// Detaches what has come on it since, with all that is in there.
    pub(super) fn restore(&self) {
        // Two at most: the root, and what was mounted over it.
        for _ in 0..2 {
            if mount_id(&self.path).is_ok_and(|now| now != self.mount) {
                // The error that brought us here is the one to be told.
                let _ = mount::detach(&self.path);
            }
        }
    }
}

/// Which mount a path is on, of those that can be told apart while they are there (proc(5), fdinfo).
fn mount_id(path: &CString) -> Result<u64> {
    let failed = |e: std::io::Error| Error::os("find the mount that the root is on", e);
    let fd = fs::open_at(fs::cwd(), path, libc::O_PATH | libc::O_DIRECTORY, 0)
        .map_err(|e| failed(e.into()))?;
    let text =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).map_err(failed)?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))
}
