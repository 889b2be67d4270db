//! What hides a place in the root: a file behind the null device, a directory behind an empty one.

#![forbid(unsafe_code)]

use super::place::Place;
use super::rootfs::{NULL_DEVICE, PROC_SUPER_MAGIC, Work};
use crate::sys::fs::{self, Resolve};
use crate::sys::mount::{self, FsContext, attr};
use crate::sys::{self, Errno};
use std::os::fd::{AsFd, OwnedFd};

/// What an id that is not mapped here looks like (the sysctl kernel.overflowuid, which nobody
/// changes: where it is changed more is mounted, not less).
const OVERFLOW_ID: u32 = 65_534;

impl<'a> Work<'a> {
    /// Hides it; nothing if it is not there.
    pub(super) fn mask(&mut self, place: &'a Place) -> sys::Result<()> {
        let Some(there) = self.open_if_there(place)? else { return Ok(()) };
        let seen = fs::stat(there.1.as_fd())?;
        let is_dir = seen.is(libc::S_IFDIR);
        // A file of procfs that only its owner may open, the owner being the host's root: the
        // kernel refuses it to everybody in here, without a mount.
        let owners_only = !is_dir && seen.mode & 0o077 == 0 && seen.uid == OVERFLOW_ID;
        if self.foreign_modes
            && owners_only
            && fs::statfs(there.1.as_fd())?.magic == PROC_SUPER_MAGIC
        {
            return Ok(());
        }
        let made = if is_dir { &self.empty } else { &self.null };
        if let Some(made) = made {
            let copy = mount::clone_tree(made.as_fd(), c"", false)?;
            return self.attach(&copy, &there);
        }
        let cover = match self.pool {
            _ if !is_dir => self.null_device()?,
            Some(pool) => {
                fs::mkdir_at(pool, c"empty", 0o555)?;
                mount::clone_tree(pool, c"empty", false)?
            }
            None => {
                let context = FsContext::open(c"tmpfs")?;
                context.set(c"mode", Some(c"0555"))?;
                context.set(c"nr_inodes", Some(c"1"))?;
                context.mount(0)?
            }
        };
        let attrs = attr::RDONLY | attr::NOSUID | attr::NOEXEC;
        mount::set_attr(cover.as_fd(), attrs, 0, false, None)?;
        self.attach(&cover, &there)?;
        *(if is_dir { &mut self.empty } else { &mut self.null }) = Some(cover);
        Ok(())
    }

    /// The null device as a detached mount, once it is certain that it is one: anything else
    /// would show its content where nothing should be (CVE-2025-31133). The one in the root, or
    /// that of the host.
    fn null_device(&self) -> sys::Result<OwnedFd> {
        let is_null = |fd: OwnedFd| {
            let seen = fs::stat(fd.as_fd())?;
            let is = seen.is(libc::S_IFCHR) && seen.rdev == NULL_DEVICE;
            if is { Ok(fd) } else { Err(Errno(libc::ENOTUNIQ)) }
        };
        let null = match self.open(c"dev/null", libc::O_PATH, Resolve::NoSymlinks).and_then(is_null)
        {
            Ok(null) => null,
            Err(e) if self.pool.is_some() => return Err(e),
            Err(_) => fs::open_at(fs::cwd(), c"/dev/null", libc::O_PATH, 0).and_then(is_null)?,
        };
        mount::clone_tree(null.as_fd(), c"", false)
    }
}
