//! Directories of images and logs, opened once.
//!
//! criu believes its images, with the host's rights: who may write to them is root. So a directory
//! that others may write to is none, and criu gets its descriptor and not its name.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::host::arm;
use crate::plan::values::quote;
use crate::sys::fs::{self, Resolve};
use crate::sys::{cred, io};
use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Most bytes of a file of ours there.
const MOST: u64 = 64 << 10;

/// A directory of images.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    shown: String,
}

impl Directory {
    /// Makes it where missing, and opens it. What processes in a user namespace are restored from has to be
    /// within their reach, though not to be listed: they open some of the images themselves.
    pub(crate) fn make(path: &Path, what: &str, for_others: bool) -> Result<Directory> {
        let shown = quote(&path.to_string_lossy());
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(if for_others { 0o711 } else { 0o700 })
            .create(path)
            .map_err(|e| Error::os(format!("make {what} {shown}"), e))?;
        Directory::open(path, what)
    }

    /// Opens it.
    pub(crate) fn open(path: &Path, what: &str) -> Result<Directory> {
        Directory::open_at(fs::cwd(), path, what)
    }

    /// Opens one by a path from this one.
    pub(crate) fn relative(&self, path: &Path, what: &str) -> Result<Directory> {
        Directory::open_at(self.fd(), path, what)
    }

    fn open_at(dir: BorrowedFd<'_>, path: &Path, what: &str) -> Result<Directory> {
        let shown = quote(&path.to_string_lossy());
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let fd = fs::open_at(dir, &arm::c_path(path)?, flags, 0)
            .map_err(|e| Error::os(format!("open {what} {shown}"), e))?;
        let seen = fs::stat(fd.as_fd()).map_err(|e| Error::os(format!("look at {shown}"), e))?;
        if seen.uid != cred::euid() || seen.mode & 0o022 != 0 {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "{what} {shown} belongs to user {} and has the mode {:o}: others could change what \
                     criu does as root",
                    seen.uid,
                    seen.mode & 0o7777
                ),
            )
            .hint("give it a directory of root's that nobody else may write to (chmod go-w)"));
        }
        Ok(Directory { fd, shown })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Its number in this process, by which criu opens it.
    pub(crate) fn number(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Removes a file, whatever it is; nothing if it is not there.
    pub(crate) fn remove(&self, file: &str) -> Result<()> {
        match fs::unlink_at(self.fd(), &CString::new(file).unwrap_or_default()) {
            Err(e) if e.0 != libc::ENOENT => {
                Err(Error::os(format!("remove the old {file} of {}", self.shown), e))
            }
            _ => Ok(()),
        }
    }

    /// Writes a file that was not there.
    pub(crate) fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let name = CString::new(file).unwrap_or_default();
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        fs::open_beneath(self.fd(), &name, flags, 0o600, Resolve::Beneath)
            .and_then(|fd| io::write_whole(fd.as_fd(), bytes))
            .map_err(|e| Error::os(format!("write {file} to {}", self.shown), e))
    }

    /// Reads a file of ours.
    pub(crate) fn read(&self, file: &str) -> Result<Vec<u8>> {
        let what = || format!("read {file} of {}", self.shown);
        let name = CString::new(file).unwrap_or_default();
        let flags = libc::O_RDONLY | libc::O_NONBLOCK;
        let fd = fs::open_beneath(self.fd(), &name, flags, 0, Resolve::Beneath)
            .map_err(|e| Error::os(what(), e))?;
        let seen = fs::stat(fd.as_fd()).map_err(|e| Error::os(what(), e))?;
        let mut bytes = Vec::new();
        std::fs::File::from(fd)
            .take(MOST + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::os(what(), e))?;
        if !seen.is(libc::S_IFREG) || bytes.len() as u64 > MOST {
            return Err(Error::new(Kind::Refused, format!("{}: it is none of criu's", what())));
        }
        Ok(bytes)
    }
}
