//! Mounts that are the host's: under which name criu leaves them out of its images, and what it puts
//! there again. The names are runc's, so that either restores what the other has saved.

#![forbid(unsafe_code)]

use super::cgroups;
use super::mountpoints::resolve;
use crate::error::Result;
use crate::host::criu::{Fields, opt};
use crate::plan::detail::MountSource;
use crate::plan::oci::outside::Outside;
use crate::plan::values::quote;
use crate::sys::fs::{self, Resolve};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What masked files are covered by.
const NULL: &str = "/dev/null";

/// A mount of the host's: where, and the source.
type External = (PathBuf, PathBuf);

/// All that the configuration makes.
fn bound(outside: &Outside, paths: &BTreeMap<String, String>) -> Vec<External> {
    let mut found = Vec::new();
    for mount in &outside.mounts {
        match &mount.source {
            MountSource::Bind { source, .. } => found.push((mount.target.clone(), source.clone())),
            // In a namespace of their own they are mounted, and criu knows them.
            MountSource::Cgroup if !outside.cgroup_namespace => {
                let places = cgroups::places(paths).into_iter();
                found.extend(places.map(|(name, path)| (below(&mount.target, &name), path.into())));
            }
            _ => {}
        }
    }
    found.extend(outside.devices.iter().map(|path| (path.clone(), path.clone())));
    found
}

/// `Path::join` would put a slash behind it.
fn below(target: &Path, name: &str) -> PathBuf {
    if name.is_empty() { target.to_owned() } else { target.join(name) }
}

/// For a dump: `inside` is the container's root as it is now, `rootfs` what is on disk.
pub(super) fn for_dump(
    options: &mut Fields,
    outside: &Outside,
    paths: &BTreeMap<String, String>,
    inside: BorrowedFd<'_>,
    rootfs: Option<BorrowedFd<'_>>,
) -> Result<()> {
    for (target, _) in bound(outside, paths) {
        let place = resolve(inside, &target)?;
        let name = rootfs.map_or_else(|| Ok(place.clone()), |rootfs| resolve(rootfs, &target))?;
        options.pair(opt::EXT_MNT, place.as_os_str().as_bytes(), name.as_os_str().as_bytes());
    }
    for path in &outside.masked {
        let place = resolve(inside, path)?;
        if is_file(inside, &place) {
            options.pair(opt::EXT_MNT, place.as_os_str().as_bytes(), NULL.as_bytes());
        }
    }
    Ok(())
}

/// For a restore.
pub(super) fn for_restore(
    options: &mut Fields,
    outside: &Outside,
    paths: &BTreeMap<String, String>,
    rootfs: BorrowedFd<'_>,
) -> Result<()> {
    for (target, source) in bound(outside, paths) {
        let name = resolve(rootfs, &target)?;
        options.pair(opt::EXT_MNT, name.as_os_str().as_bytes(), source.as_os_str().as_bytes());
    }
    if !outside.masked.is_empty() {
        options.pair(opt::EXT_MNT, NULL.as_bytes(), NULL.as_bytes());
    }
    Ok(())
}

/// Directories are covered by a file system of their own, which criu saves.
fn is_file(root: BorrowedFd<'_>, path: &Path) -> bool {
    let Ok(name) = CString::new(path.as_os_str().as_bytes()) else { return false };
    fs::open_beneath(root, &name, libc::O_PATH | libc::O_NOFOLLOW, 0, Resolve::NoSymlinks)
        .and_then(|fd| fs::stat(fd.as_fd()))
        .is_ok_and(|seen| !seen.is(libc::S_IFDIR))
}

/// How a mount is called in an error.
pub(super) fn shown(path: &Path) -> String {
    quote(&path.to_string_lossy())
}
