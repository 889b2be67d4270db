//! Where the outcome goes: opened before the run, written after it, and all of it or nothing.
//!
//! The file may lie in a directory that the job can write to. So nothing has a name before the job has
//! ended; then the whole file takes the place of what has the name, whatever that is by now.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::plan::values::quote;
use crate::sys::{self, fs, io};
use nix::fcntl::{AtFlags, renameat};
use nix::unistd::linkat;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// An opened place.
#[derive(Debug)]
pub(super) enum ResultTo {
    /// The caller's, a pipe, a device: written to.
    Descriptor(OwnedFd),
    /// A file of this name in this directory.
    File { dir: OwnedFd, name: CString, shown: String },
}

impl ResultTo {
    /// Opens `FILE|FD`.
    ///
    /// # Errors
    /// It cannot be written: better said before the run than after it.
    pub(super) fn open(to: &str) -> Result<ResultTo> {
        if let Ok(number) = to.parse::<i32>() {
            return io::duplicate_number(number).map(ResultTo::Descriptor).map_err(|e| {
                Error::os(format!("write the result to descriptor {number}"), e)
                    .with_kind(Kind::InvalidConfig)
                    .hint("open it for the call, such as --result 3 3>outcome.json")
            });
        }
        let shown = quote(to);
        let cannot = |e| Error::os(format!("write the result to {shown}"), e);
        let (parent, name) = match to.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some((parent, name)) => (parent, name),
            None => (".", to),
        };
        if matches!(name, "" | "." | "..") {
            return Err(Error::new(
                Kind::InvalidConfig,
                format!("the result {shown} names no file"),
            )
            .hint("give a file, or the number of a descriptor"));
        }
        let c = |text: &str| CString::new(text).map_err(|_| cannot(sys::Errno(libc::EINVAL)));
        let (parent, name) = (c(parent)?, c(name)?);
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let dir = fs::open_at(fs::cwd(), &parent, flags, 0).map_err(cannot)?;
        let there = fs::open_at(dir.as_fd(), &name, libc::O_PATH | libc::O_NOFOLLOW, 0);
        match there.and_then(|fd| fs::stat(fd.as_fd())) {
            Err(e) if e.0 == libc::ENOENT => {}
            Err(e) => return Err(cannot(e)),
            Ok(seen) if seen.is(libc::S_IFREG) => {}
            Ok(seen) if seen.is(libc::S_IFDIR) => return Err(cannot(sys::Errno(libc::EISDIR))),
            // A pipe, a device; a symlink to one, as /dev/stdout is, or into /proc.
            Ok(seen) => {
                let flags = libc::O_WRONLY | libc::O_APPEND;
                let fd = fs::open_at(fs::cwd(), &c(to)?, flags, 0).map_err(cannot)?;
                let is_link = seen.is(libc::S_IFLNK);
                let target = fs::stat(fd.as_fd()).map_err(cannot)?;
                let magic = is_magic(&dir);
                if is_link && target.is(libc::S_IFREG) && !magic {
                    return Err(Error::new(
                        Kind::Refused,
                        format!("the result {shown} is a symlink to a file"),
                    )
                    .hint("name the file itself, or open it and give the descriptor's number"));
                }
                return Ok(ResultTo::Descriptor(fd));
            }
        }
        let result = ResultTo::File { dir, name, shown };
        // Whether there may be files.
        result.fresh().map_err(|e| result.cannot(e))?;
        Ok(result)
    }

    /// Writes all of it.
    pub(super) fn write(&self, text: &str) -> Result<()> {
        match self {
            ResultTo::Descriptor(fd) => {
                write_all(fd, text.as_bytes()).map_err(|e| Error::os("write the result", e))
            }
            ResultTo::File { dir, name, .. } => {
                let (file, temporary) = self.fresh().map_err(|e| self.cannot(e))?;
                let put = || -> sys::Result<()> {
                    write_all(&file, text.as_bytes())?;
                    let (temporary, linked) = match &temporary {
                        Some(name) => (name.clone(), true),
                        None => (unused_name()?, false),
                    };
                    if !linked {
                        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                        let follow = AtFlags::AT_SYMLINK_FOLLOW;
                        linkat(
                            nix::fcntl::AT_FDCWD,
                            path.as_str(),
                            dir,
                            temporary.as_c_str(),
                            follow,
                        )
                        .map_err(|e| sys::Errno(e as i32))?;
                    }
                    let renamed = renameat(dir, temporary.as_c_str(), dir, name.as_c_str());
                    renamed.map_err(|e| {
                        // Nothing half-made stays.
                        let _ = fs::unlink_at(dir.as_fd(), &temporary);
                        sys::Errno(e as i32)
                    })
                };
                put().map_err(|e| self.cannot(e))
            }
        }
    }

    /// A new file in the directory, and its name where the file system has no files without one.
    fn fresh(&self) -> sys::Result<(OwnedFd, Option<CString>)> {
        let ResultTo::File { dir, .. } = self else { return Err(sys::Errno(libc::EINVAL)) };
        match fs::open_at(dir.as_fd(), c".", libc::O_TMPFILE | libc::O_WRONLY, 0o666) {
            Err(e) if [libc::EOPNOTSUPP, libc::EISDIR, libc::ENOENT].contains(&e.0) => {
                let name = unused_name()?;
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
                let file = fs::open_at(dir.as_fd(), &name, flags, 0o666)?;
                Ok((file, Some(name)))
            }
            other => other.map(|file| (file, None)),
        }
    }

    fn cannot(&self, e: sys::Errno) -> Error {
        let shown = match self {
            ResultTo::File { shown, .. } => shown.as_str(),
            ResultTo::Descriptor(_) => "the descriptor",
        };
        Error::os(format!("write the result to {shown}"), e)
    }
}

/// A name that nobody has.
fn unused_name() -> sys::Result<CString> {
    let bytes = sys::process::random()?;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    CString::new(format!(".stockade-{hex}")).map_err(|_| sys::Errno(libc::EINVAL))
}

/// /proc and /dev, whose symlinks are not a job's.
fn is_magic(dir: &OwnedFd) -> bool {
    const PROC: i64 = 0x9fa0;
    let on_proc = fs::statfs(dir.as_fd()).is_ok_and(|s| s.magic == PROC);
    let here = fs::stat(dir.as_fd()).ok();
    let dev =
        fs::open_at(fs::cwd(), c"/dev", libc::O_PATH, 0).and_then(|d| fs::stat(d.as_fd())).ok();
    on_proc || here.zip(dev).is_some_and(|(a, b)| (a.dev, a.ino) == (b.dev, b.ino))
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> sys::Result<()> {
    while !bytes.is_empty() {
        match io::write(fd.as_fd(), bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.0 == libc::EINTR => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
