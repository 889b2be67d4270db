//! Places in the root: looked up below its descriptor, and made where they are missing.

#![forbid(unsafe_code)]

use super::place::Place;
use super::rootfs::{Target, Work, is_within};
use crate::sys::fs::{self, Resolve};
use crate::sys::{self, Errno};
use core::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

impl<'a> Work<'a> {
    /// Lets go of a held directory that a mount may have covered.
    pub(super) fn forget_below(&mut self, target: &Target<'_>) {
        if self.held.as_ref().is_some_and(|(held, _)| is_within(held, target.0)) {
            self.held = None;
        }
    }

    /// What is at a target's place now.
    pub(super) fn reopen(&self, target: &Target<'_>) -> sys::Result<OwnedFd> {
        self.open(target.0, libc::O_PATH, Resolve::InRoot)
    }

    pub(super) fn open(&self, path: &CStr, flags: i32, resolve: Resolve) -> sys::Result<OwnedFd> {
        fs::open_beneath(self.root(), path, flags, 0, resolve)
    }

    /// What is at a place, whatever it is, looked up in its directory if that is there.
    pub(super) fn open_if_there(&mut self, place: &'a Place) -> sys::Result<Option<Target<'a>>> {
        let absent = |e: &Errno| e.0 == libc::ENOENT || e.0 == libc::ENOTDIR;
        let found = match place.parent() {
            Some((dir, name)) => match self.hold(dir) {
                // A name alone: if it is a symlink it is resolved from the root, below.
                Ok(()) => fs::open_beneath(
                    self.held.as_ref().map_or(self.root(), |(_, fd)| fd.as_fd()),
                    name,
                    libc::O_PATH,
                    0,
                    Resolve::Beneath,
                ),
                Err(e) => Err(e),
            },
            None => Err(Errno(libc::ELOOP)),
        };
        let found = match found {
            Err(e) if e.0 == libc::ELOOP || e.0 == libc::EXDEV => {
                self.open(place.full(), libc::O_PATH, Resolve::InRoot)
            }
            other => other,
        };
        match found {
            Ok(fd) => Ok(Some(Target(place.full(), fd))),
            Err(e) if absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What is at a place, a symlink as itself.
    pub(super) fn itself(&mut self, place: &'a Place) -> sys::Result<Option<Target<'a>>> {
        let (parent, name) = self.parent(place)?;
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        match fs::open_beneath(parent, name, flags, 0, Resolve::Beneath) {
            Ok(fd) => Ok(Some(Target(place.full(), fd))),
            Err(e) if e.0 == libc::ENOENT => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens a directory and keeps it; nothing if it is the one that is kept.
    fn hold(&mut self, path: &'a CStr) -> sys::Result<()> {
        if self.held.as_ref().is_some_and(|(held, _)| *held == path) {
            return Ok(());
        }
        let dir = self.open(path, libc::O_PATH | libc::O_DIRECTORY, Resolve::InRoot)?;
        self.held = Some((path, dir));
        Ok(())
    }

    /// Opens a directory; makes it, and those above it, where missing.
    pub(super) fn directory(
        &mut self,
        place: &'a Place,
        resolve: Resolve,
        mode: u32,
    ) -> sys::Result<Target<'a>> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        if let (Err(e), Resolve::InRoot) = (self.parent(place), resolve)
            && e.0 == libc::ENOENT
        {
            return self.behind(place, true);
        }
        let (parent, name) = self.parent(place)?;
        // Made first: in a root of our own nothing is there yet. What is there already is looked
        // up from the root, symlinks and all.
        match fs::mkdir_at(parent, name, mode) {
            Ok(()) => {
                let made = fs::open_beneath(parent, name, flags, 0, Resolve::Beneath)?;
                Ok(Target(place.full(), made))
            }
            Err(e) if [libc::EEXIST, libc::EROFS, libc::EACCES, libc::EPERM].contains(&e.0) => {
                match self.open(place.full(), flags, resolve) {
                    Ok(there) => Ok(Target(place.full(), there)),
                    Err(missing)
                        if (e.0, missing.0) == (libc::EEXIST, libc::ENOENT)
                            && resolve == Resolve::InRoot =>
                    {
                        self.behind(place, true)
                    }
                    // Not there either: then why it could not be made is the answer.
                    Err(missing) if missing.0 == libc::ENOENT => Err(e),
                    Err(other) => Err(other),
                }
            }
            Err(e) => Err(e),
        }
    }

    /// The directory that a place is in, made where missing, and the last name.
    pub(super) fn parent(&mut self, place: &'a Place) -> sys::Result<(BorrowedFd<'_>, &'a CStr)> {
        let Some((nearest, name)) = place.parent() else {
            return Ok((self.root(), place.first()));
        };
        match self.hold(nearest) {
            Err(e) if e.0 == libc::ENOENT => self.make_ancestors(place)?,
            other => other?,
        }
        Ok((self.held.as_ref().map_or(self.root(), |(_, fd)| fd.as_fd()), name))
    }

    /// From the top: each directory is made in the one just opened.
    fn make_ancestors(&mut self, place: &'a Place) -> sys::Result<()> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let mut above: Option<OwnedFd> = None;
        let mut component = place.first();
        for (path, next) in place.ancestors() {
            let opened = match self.open(path, flags, Resolve::InRoot) {
                Err(e) if e.0 == libc::ENOENT => {
                    let parent = above.as_ref().map_or(self.root(), |fd| fd.as_fd());
                    match fs::mkdir_at(parent, component, 0o755) {
                        Err(e) if e.0 != libc::EEXIST => return Err(e),
                        _ => self.open(path, flags, Resolve::InRoot)?,
                    }
                }
                other => other?,
            };
            above = Some(opened);
            component = next;
        }
        if let (Some(fd), Some((path, _))) = (above, place.parent()) {
            self.held = Some((path, fd));
        }
        Ok(())
    }

    /// Opens a place that is no directory; makes an empty file where missing.
    pub(super) fn file(&mut self, place: &'a Place) -> sys::Result<Target<'a>> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        if let Err(e) = self.parent(place)
            && e.0 == libc::ENOENT
        {
            return self.behind(place, false);
        }
        let (parent, name) = self.parent(place)?;
        match fs::open_at(parent, name, flags, 0o644) {
            Ok(made) => Ok(Target(place.full(), made)),
            Err(e) => match self.open(place.full(), libc::O_PATH, Resolve::InRoot) {
                Ok(there) => Ok(Target(place.full(), there)),
                Err(missing) if (e.0, missing.0) == (libc::EEXIST, libc::ENOENT) => {
                    self.behind(place, false)
                }
                Err(missing) if missing.0 == libc::ENOENT => Err(e),
                Err(other) => Err(other),
            },
        }
    }

    /// A place behind symlinks to what is not there.
    fn behind(&mut self, place: &'a Place, directory: bool) -> sys::Result<Target<'a>> {
        // Where it is in the end its path does not say.
        self.held = None;
        super::dangling::make(self.root(), place.full(), directory)
            .map(|fd| Target(place.full(), fd))
    }
}
