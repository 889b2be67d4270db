//! A place behind symlinks that lead nowhere yet: what is missing is made, inside the root.
//!
//! An image may have `/etc/resolv.conf` point to a file that only a running system has. runc makes
//! that file, and so does this. The path is walked one name after the other from the root's
//! descriptor and never leaves it: `..` of the root is the root, and a link that begins with `/`
//! begins again there.

#![forbid(unsafe_code)]

use crate::sys::fs::{self, Resolve};
use crate::sys::{Errno, Result};
use core::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most bytes of a path (PATH_MAX).
const MOST: usize = 4096;
/// Most symlinks on the way, as in the kernel.
const LINKS: u32 = 40;

/// A path in a buffer of its own, NUL-terminated.
struct Text {
    bytes: [u8; MOST],
    len: usize,
}

impl Text {
    const EMPTY: Text = Text { bytes: [0; MOST], len: 0 };

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn c_str(&self) -> Result<&CStr> {
        CStr::from_bytes_until_nul(&self.bytes).map_err(|_| Errno(libc::ENAMETOOLONG))
    }

    /// Adds bytes; one is kept free for the NUL.
    fn add(&mut self, more: &[u8]) -> Result<()> {
        let end = self.len + more.len();
        let room = self.bytes.get_mut(self.len..end).filter(|_| end < MOST);
        room.ok_or(Errno(libc::ENAMETOOLONG))?.copy_from_slice(more);
        self.len = end;
        Ok(())
    }

    fn cut(&mut self, len: usize) {
        if let Some(rest) = self.bytes.get_mut(len..) {
            rest.fill(0);
        }
        self.len = len.min(self.len);
    }

    /// Goes down.
    fn enter(&mut self, name: &[u8]) -> Result<()> {
        if self.len > 0 {
            self.add(b"/")?;
        }
        self.add(name)
    }

    /// Goes up; the root is above itself.
    fn leave(&mut self) {
        let up = self.get().iter().rposition(|b| *b == b'/').unwrap_or(0);
        self.cut(up);
    }
}

/// Opens `path` below `root` (`O_PATH`); a directory or an empty file is made where it is missing,
/// and directories above it.
pub(super) fn make(root: BorrowedFd<'_>, path: &CStr, directory: bool) -> Result<OwnedFd> {
    let (mut rest, mut done, mut links) = (Text::EMPTY, Text::EMPTY, 0);
    rest.add(path.to_bytes())?;
    // Where in `rest` the next name begins.
    let mut at = 0;
    loop {
        let left = rest.get().get(at..).unwrap_or_default();
        let Some(skip) = left.iter().position(|b| *b != b'/') else {
            return open(root, &done, libc::O_PATH);
        };
        let from = at + skip;
        let left = rest.get().get(from..).unwrap_or_default();
        let len = left.iter().position(|b| *b == b'/').unwrap_or(left.len());
        at = from + len;
        let (name, after) = left.split_at(len);
        let last = after.iter().all(|b| *b == b'/');
        match name {
            b"." => continue,
            b".." => {
                done.leave();
                continue;
            }
            _ => {}
        }
        let mut single = Text::EMPTY;
        single.add(name)?;
        let single = single.c_str()?;
        let parent = open(root, &done, libc::O_PATH | libc::O_DIRECTORY)?;
        let parent = parent.as_fd();
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let found = match fs::open_beneath(parent, single, flags, 0, Resolve::Beneath) {
            Err(e) if e.0 == libc::ENOENT && last && !directory => {
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
                return fs::open_at(parent, single, flags, 0o644);
            }
            Err(e) if e.0 == libc::ENOENT => {
                fs::mkdir_at(parent, single, 0o755)?;
                fs::open_beneath(parent, single, flags, 0, Resolve::Beneath)?
            }
            other => other?,
        };
        let seen = fs::stat(found.as_fd())?;
        if !seen.is(libc::S_IFLNK) {
            if last && (!directory || seen.is(libc::S_IFDIR)) {
                return Ok(found);
            }
            done.enter(name)?;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(Errno(libc::ELOOP));
        }
        let mut buf = [0; MOST];
        let link = fs::read_link(found.as_fd(), &mut buf)?.to_bytes();
        if link.first() == Some(&b'/') {
            done.cut(0);
        }
        let mut next = Text::EMPTY;
        next.add(link)?;
        next.add(b"/")?;
        next.add(rest.get().get(at..).unwrap_or_default())?;
        // A slash at the end of a link to a file would ask for a directory.
        while next.len > 1 && next.get().last() == Some(&b'/') {
            let shorter = next.len - 1;
            next.cut(shorter);
        }
        (rest, at) = (next, 0);
    }
}

fn open(root: BorrowedFd<'_>, path: &Text, flags: i32) -> Result<OwnedFd> {
    let path = if path.len == 0 { c"." } else { path.c_str()? };
    fs::open_beneath(root, path, flags, 0, Resolve::NoSymlinks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::PathBuf;

    fn scratch(name: &str) -> (PathBuf, OwnedFd) {
        let dir = std::env::temp_dir().join(format!("stockade-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        let fd = std::fs::File::open(&dir).unwrap().into();
        (dir, fd)
    }

    #[test]
    fn what_a_dangling_link_names_is_made_inside() {
        let (dir, root) = scratch("dangling");
        std::fs::create_dir(dir.join("etc")).unwrap();
        symlink("/tmp/foo/bar", dir.join("jump")).unwrap();
        symlink("/jump/baz/hosts", dir.join("etc/hosts")).unwrap();
        let made = make(root.as_fd(), c"etc/hosts", false).unwrap();
        let there = std::fs::metadata(dir.join("tmp/foo/bar/baz/hosts")).unwrap();
        assert!(there.is_file());
        assert_eq!(fs::stat(made.as_fd()).unwrap().ino, there.ino());
        symlink("../../../../made/../here", dir.join("etc/up")).unwrap();
        make(root.as_fd(), c"etc/up", true).unwrap();
        assert!(dir.join("here").is_dir() && dir.join("made").is_dir());
        assert!(!dir.parent().unwrap().join("here").exists());
        symlink("loop", dir.join("loop")).unwrap();
        assert_eq!(make(root.as_fd(), c"loop/x", true).unwrap_err(), Errno(libc::ELOOP));
        symlink("etc/hosts/x", dir.join("below-a-file")).unwrap();
        assert!(make(root.as_fd(), c"below-a-file", true).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
