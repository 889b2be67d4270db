//! An audit log that is a file.

#![forbid(unsafe_code)]

use super::PATIENCE;
use crate::child::append::{self, Append};
use crate::error::{Error, Kind, Result};
use crate::plan::values::quote;
use crate::sys::fs::{self, Stat};
use crate::sys::{Errno, process, signal};
use std::ffi::CString;
use std::fs::{File, TryLockError};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// What else is asked of the kernel: no symlink is followed, and a FIFO does not make us wait.
const FLAGS: i32 = libc::O_APPEND | libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// The file, and where it was found: a log may be rotated while a job runs.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    /// Whether the open file is ours alone, so that a lock on it keeps others out.
    own: bool,
    readable: bool,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    dir: OwnedFd,
    name: CString,
    shown: String,
}

impl Place {
    fn new(path: &Path) -> Result<Place> {
        let shown = quote(&path.to_string_lossy());
        let invalid = || {
            Error::new(Kind::InvalidConfig, format!("the audit log {shown} names no file"))
                .hint("give a file, fd:N or syslog")
        };
        let c = |bytes: &[u8]| CString::new(bytes).map_err(|_| invalid());
        // `file_name` would take `log/` and `log/.` for `log`.
        let bytes = path.as_os_str().as_bytes();
        let name = bytes.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if matches!(name, b"" | b"." | b"..") {
            return Err(invalid());
        }
        let parent = match bytes.get(..bytes.len() - name.len()) {
            None | Some(b"") => &b"."[..],
            Some(parent) => parent,
        };
        let dir = fs::open_at(fs::cwd(), &c(parent)?, libc::O_PATH | libc::O_DIRECTORY, 0)
            .map_err(|e| Error::os(format!("open the directory of the audit log {shown}"), e))?;
        Ok(Place { dir, name: c(name)?, shown })
    }

    fn refused(&self, what: &str) -> Error {
        Error::new(Kind::Refused, format!("the audit log {} is {what}", self.shown))
            .hint("name a regular file; for a pipe or a socket open it and give fd:N")
    }

    /// Refuses what is no regular file.
    fn check(&self, seen: &Stat) -> Result<()> {
        let what = match seen.mode & libc::S_IFMT {
            libc::S_IFREG => return Ok(()),
            libc::S_IFLNK => "a symlink",
            libc::S_IFDIR => "a directory",
            libc::S_IFIFO => "a FIFO",
            libc::S_IFSOCK => "a socket",
            _ => "a device",
        };
        Err(self.refused(what))
    }

    fn stat(&self) -> crate::sys::Result<Stat> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let fd = fs::open_at(self.dir.as_fd(), &self.name, flags, 0)?;
        fs::stat(fd.as_fd())
    }

    /// Opens the file, or makes it; and whether it can be read.
    fn open(&self) -> Result<(File, bool)> {
        // Looked at before it is opened: opening alone makes some devices do something.
        match self.stat() {
            Ok(seen) => self.check(&seen)?,
            Err(e) if e.0 == libc::ENOENT => {}
            Err(e) => return Err(self.cannot_open(e)),
        }
        let (fd, readable) = match self.open_for(libc::O_RDWR) {
            Err(e) if e.0 == libc::EACCES => (self.open_for(libc::O_WRONLY), false),
            fd => (fd, true),
        };
        let fd = fd.map_err(|e| match e.0 {
            libc::ELOOP => self.refused("a symlink"),
            _ => self.cannot_open(e),
        })?;
        self.check(&fs::stat(fd.as_fd()).map_err(|e| self.cannot_open(e))?)?;
        Ok((File::from(fd), readable))
    }

    fn cannot_open(&self, e: Errno) -> Error {
        Error::os(format!("open the audit log {}", self.shown), e)
    }

    /// First without O_CREAT, which fs.protected_regular refuses for a file of somebody else.
    fn open_for(&self, access: i32) -> crate::sys::Result<OwnedFd> {
        let mut tries = 0;
        loop {
            match fs::open_at(self.dir.as_fd(), &self.name, FLAGS | access, 0) {
                Err(e) if e.0 == libc::ENOENT => {}
                fd => return fd,
            }
            let make = FLAGS | access | libc::O_CREAT | libc::O_EXCL;
            match fs::open_at(self.dir.as_fd(), &self.name, make, 0o600) {
                // Somebody else has made it since.
                Err(e) if e.0 == libc::EEXIST && tries < 16 => tries += 1,
                fd => return fd,
            }
        }
    }
}

impl LogFile {
    pub(super) fn open(path: &Path) -> Result<LogFile> {
        let place = Place::new(path)?;
        let (file, readable) = place.open()?;
        Ok(LogFile { file, own: true, readable, place: Some(place) })
    }

    /// A file that the caller has open. Opened again if that can be done: an open file that is
    /// shared has one lock for all, and its end may be unreadable.
    pub(super) fn inherited(fd: OwnedFd, flags: i32) -> LogFile {
        let again = || {
            let link = CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
            let flags = libc::O_RDWR | libc::O_APPEND | libc::O_NONBLOCK;
            let again = fs::open_at(fs::cwd(), &link, flags, 0).ok()?;
            (fs::stat(again.as_fd()).ok()? == fs::stat(fd.as_fd()).ok()?).then_some(again)
        };
        match again() {
            Some(again) => {
                LogFile { file: File::from(again), own: true, readable: true, place: None }
            }
            None => LogFile {
                file: File::from(fd),
                own: false,
                readable: flags & libc::O_ACCMODE == libc::O_RDWR,
                place: None,
            },
        }
    }

    /// Appends a line, which ends with a newline.
    pub(super) fn append(mut self, line: &str) -> Result<()> {
        self.follow();
        let locked = self.own && lock(&self.file);
        let mut bytes = Vec::with_capacity(line.len() + 1);
        if self.is_torn() {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line.as_bytes());
        past_the_size_limit(|| self.write(&bytes, locked))
            .map_err(|e| super::failed("append a line to", e))?;
        self.is_to_be_found()
        // Dropping the file, which is no one else's, drops the lock.
    }

    /// A line in a file that has no name any more is lost when we close it. It comes to that if the
    /// log was removed and what has its name now is no log, or its directory is gone too.
    fn is_to_be_found(&self) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        if self.file.metadata().is_ok_and(|m| m.nlink() > 0) {
            return Ok(());
        }
        let what =
            format!("the audit log {} was removed during the run: the line is lost", place.shown);
        Err(Error::new(Kind::Os, what)
            .hint("keep it in a directory that only its owner can write to, and no job"))
    }

    /// If the log was rotated during the run, goes to the new one; if there is none that can be
    /// opened, stays with the old.
    fn follow(&mut self) {
        let Some(place) = &self.place else { return };
        let same = |a: Stat, b: Stat| (a.dev, a.ino) == (b.dev, b.ino);
        let here = fs::stat(self.file.as_fd());
        if let (Ok(here), Ok(there)) = (here, place.stat())
            && same(here, there)
        {
            return;
        }
        if let Ok((file, readable)) = place.open() {
            (self.file, self.readable) = (file, readable);
        }
    }

    /// Whether the last line lacks its newline: its writer was killed, or the disk was full. Where
    /// that cannot be seen it may be so; an empty line is no harm.
    fn is_torn(&self) -> bool {
        let Ok(length) = self.file.metadata().map(|m| m.len()) else { return true };
        let Some(last) = length.checked_sub(1) else { return false };
        let mut byte = [0];
        !(self.readable && self.file.read_exact_at(&mut byte, last).is_ok() && byte == [b'\n'])
    }

    /// By a process of its own, which outlives a SIGKILL of this one; by this one where none can be
    /// made.
    fn write(&self, bytes: &[u8], locked: bool) -> crate::sys::Result<()> {
        let append = Append { file: self.file.as_fd(), bytes, locked };
        let Ok((pid, _pidfd)) = process::clone_into(0, None, append::run, &append) else {
            return append.write();
        };
        let ended = loop {
            match process::wait4(pid, 0) {
                Err(e) if e.0 == libc::EINTR => {}
                ended => break ended?,
            }
        };
        // The status word: the exit status is in the second byte, a signal in the first.
        match ended.map(|e| e.status) {
            Some(0) => Ok(()),
            Some(status) if status & 0x7f == 0 => Err(Errno(status >> 8 & 0xff)),
            _ => Err(Errno(libc::EINTR)),
        }
    }
}

/// At a file size limit (`ulimit -f`) write(2) fails and the kernel sends SIGXFSZ as well, which
/// would end us and with us the job's exit status. Blocked and taken out again, it is the error
/// alone.
fn past_the_size_limit<T>(write: impl FnOnce() -> T) -> T {
    let xfsz = 1 << (libc::SIGXFSZ - 1);
    let Ok(before) = signal::set_mask(signal::ALL) else { return write() };
    let done = write();
    if before & xfsz == 0
        && let Ok(fd) = signal::signalfd(xfsz)
    {
        // There is one or there is none: both are well.
        let _ = signal::read_signalfd(fd.as_fd());
    }
    // It was just set, so it can be set.
    let _ = signal::set_mask(before);
    done
}

/// flock(2), waited for. `false`: somebody keeps it, or this file system has no locks.
fn lock(file: &File) -> bool {
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(200);
    loop {
        match file.try_lock() {
            Ok(()) => return true,
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("stockade-log-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_torn_last_line_is_ended_before_the_next() {
        let dir = scratch("torn");
        let path = dir.join("log");
        std::fs::write(&path, "whole\n{\"torn\":").unwrap();
        for line in ["a\n", "b\n"] {
            LogFile::open(&path).unwrap().append(line).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\n{\"torn\":\na\nb\n");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn where_the_end_cannot_be_seen_it_may_be_torn() {
        let dir = scratch("blind");
        let path = dir.join("log");
        for line in ["a\n", "b\n"] {
            let log = LogFile { readable: false, ..LogFile::open(&path).unwrap() };
            log.append(line).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\n\nb\n");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_path_that_names_no_file_is_refused() {
        for path in ["", "/", "/tmp/", "/tmp/.", "..", "a/.."] {
            let error = LogFile::open(Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidConfig, "{path}: {error}");
        }
    }
}
