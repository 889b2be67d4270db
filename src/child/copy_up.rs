//! What is in a directory of the root, copied into the file system that is about to cover it
//! (`tmpcopyup`). By descriptor, without following anything: the root may be hostile.

#![forbid(unsafe_code)]

use crate::sys::fs::{self, DirEntries};
use crate::sys::{self, Errno, io};
use core::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Deepest directory that is copied.
const DEPTH: u32 = 32;

/// Copies everything below `from` to `to`.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd) -> sys::Result<()> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let from = fs::open_at(from.as_fd(), c".", flags, 0)?;
    let to = fs::open_at(to.as_fd(), c".", flags, 0)?;
    let seen = fs::stat(from.as_fd())?;
    directory(from.as_fd(), to.as_fd(), DEPTH)?;
    fs::chown(to.as_fd(), seen.uid, seen.gid)?;
    fs::chmod(to.as_fd(), seen.mode & 0o7777)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> sys::Result<()> {
    if depth == 0 {
        return Err(Errno(libc::ELOOP));
    }
    let mut entries = DirEntries::new(from);
    while let Some(name) = entries.next()? {
        if name != c"." && name != c".." {
            entry(from, to, name, depth)?;
        }
    }
    Ok(())
}

fn entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: u32) -> sys::Result<()> {
    let source = fs::open_at(from, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let seen = fs::stat(source.as_fd())?;
    let mode = seen.mode & 0o7777;
    match seen.mode & libc::S_IFMT {
        libc::S_IFDIR => {
            fs::mkdir_at(to, name, 0o700)?;
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let (inner, made) =
                (fs::open_at(from, name, flags, 0)?, fs::open_at(to, name, flags, 0)?);
            directory(inner.as_fd(), made.as_fd(), depth - 1)?;
            fs::chown(made.as_fd(), seen.uid, seen.gid)?;
            fs::chmod(made.as_fd(), mode)
        }
        libc::S_IFREG => {
            let inner =
                fs::open_at(from, name, libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK, 0)?;
            let create = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            let made = fs::open_at(to, name, create, 0o600)?;
            while io::send_file(inner.as_fd(), made.as_fd(), 1 << 20)? > 0 {}
            fs::chown(made.as_fd(), seen.uid, seen.gid)?;
            fs::chmod(made.as_fd(), mode)
        }
        libc::S_IFLNK => {
            let mut buf = [0u8; 4096];
            let target = fs::read_link(source.as_fd(), &mut buf)?;
            fs::symlink_at(target, to, name)?;
            fs::chown_at(to, name, seen.uid, seen.gid)
        }
        // A socket is nothing without the one who listens.
        libc::S_IFSOCK => Ok(()),
        _ => {
            fs::mknod_at(to, name, seen.mode, seen.rdev)?;
            fs::chown_at(to, name, seen.uid, seen.gid)
        }
    }
}
