//! The audit log: one line a run, whole or not at all.
//!
//! It is opened before the run, and if that fails nothing is run. The line is appended after it,
//! with one write(2) to a file opened with O_APPEND, under a lock. What can still go wrong, and
//! what then happens:
//!
//! * a short write (disk full, a file size limit): the rest is tried once more under the same lock,
//!   then the failure is told;
//! * stockade is killed inside of write(2), which the kernel then ends at a page's border: so the
//!   write is that of a process of its own ([`crate::child::append`]), which goes on;
//! * that one is killed too, or the disk stays full: the file ends without a newline, and whoever
//!   writes next begins with one. So only the torn line is lost;
//! * somebody holds the lock for ever: after [`PATIENCE`] the line is written without it. The kernel
//!   serialises appends by itself; the lock is for the cases above.

#![forbid(unsafe_code)]

mod file;
mod record;

pub(crate) use record::Entry;

use crate::error::{Error, Kind, Result};
use crate::outcome::Outcome;
use crate::plan::formats::passwd;
use crate::plan::values::quote;
use crate::sys::{Errno, fs, io};
use file::LogFile;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where audit lines go.
#[derive(Debug)]
#[non_exhaustive]
pub enum AuditLog {
    /// This file, made with mode 0600 if it is not there. No symlink, and nothing but a file.
    File(PathBuf),
    /// This descriptor: a file opened for appending, a pipe, a Unix socket or a terminal.
    Descriptor(OwnedFd),
    /// The system log at /dev/log, facility authpriv.
    Syslog,
}

/// Longest line in a file.
const FILE_LINE: usize = 64 << 10;
/// Longest line in a pipe: up to PIPE_BUF bytes are written whole (pipe(7)).
const PIPE_LINE: usize = 4096;
/// Longest message to the system log: what rsyslog takes unless it is told otherwise.
const SYSLOG_LINE: usize = 8192;
/// How long to wait for a lock, for room in a pipe, for the system log.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the system log listens.
const DEV_LOG: &str = "/dev/log";
/// authpriv (10) and info (6): command lines are for the administrator's eyes.
const PRIORITY: u32 = 10 << 3 | 6;

/// An audit log that is open.
#[derive(Debug)]
pub(crate) struct Log(Sink);

#[derive(Debug)]
enum Sink {
    File(LogFile),
    /// A pipe or a terminal.
    Stream(OwnedFd),
    Socket(OwnedFd),
    Syslog(UnixDatagram),
}

impl Log {
    /// Opens it.
    ///
    /// # Errors
    /// It cannot be written, or lines could not be kept whole in it.
    pub(crate) fn open(target: AuditLog) -> Result<Log> {
        match target {
            AuditLog::File(path) => LogFile::open(&path).map(|f| Log(Sink::File(f))),
            AuditLog::Descriptor(fd) => descriptor(fd).map(Log),
            AuditLog::Syslog => system_log().map(|s| Log(Sink::Syslog(s))),
        }
    }

    /// Appends the line of a run.
    ///
    /// # Errors
    /// It could not be written, or not whole.
    pub(crate) fn append(self, entry: &Entry, outcome: &Outcome) -> Result<()> {
        match self.0 {
            Sink::File(file) => file.append(&entry.line(outcome, FILE_LINE)),
            Sink::Stream(fd) => {
                let line = entry.line(outcome, PIPE_LINE);
                room(&fd)?;
                io::write_whole(fd.as_fd(), line.as_bytes()).map_err(|e| failed("write to", e))
            }
            Sink::Socket(fd) => {
                let line = entry.line(outcome, PIPE_LINE);
                room(&fd)?;
                match io::send_now(fd.as_fd(), line.as_bytes()) {
                    Ok(n) if n == line.len() => Ok(()),
                    Ok(_) => Err(failed("write a whole line to", Errno(libc::EIO))),
                    Err(e) => Err(failed("write to", e)),
                }
            }
            Sink::Syslog(socket) => {
                let head = format!("<{PRIORITY}>stockade[{}]: ", std::process::id());
                let line = entry.line(outcome, SYSLOG_LINE - head.len());
                to_system_log(&socket, (head + line.trim_end_matches('\n')).as_bytes())
            }
        }
    }
}

fn failed(what: &str, e: impl Into<std::io::Error>) -> Error {
    Error::os(format!("{what} the audit log"), e)
}

/// A descriptor of the caller's, if lines stay whole in it.
fn descriptor(fd: OwnedFd) -> Result<Sink> {
    let refuse = |why: &str, hint: &str| {
        Err(Error::new(Kind::InvalidConfig, format!("the audit log's descriptor {why}")).hint(hint))
    };
    let seen = fs::stat(fd.as_fd()).map_err(|e| failed("look at", e))?;
    let flags = nix::fcntl::fcntl(&fd, nix::fcntl::F_GETFL).map_err(|e| failed("look at", e))?;
    if flags & libc::O_ACCMODE == libc::O_RDONLY || flags & libc::O_PATH != 0 {
        return refuse("cannot be written to", "open it for appending, such as 3>>audit.jsonl");
    }
    match seen.mode & libc::S_IFMT {
        libc::S_IFREG if flags & libc::O_APPEND == 0 => refuse(
            "is a file that is not open for appending",
            "several writers would overwrite each other's lines; open it with >>, such as \
             3>>audit.jsonl",
        ),
        libc::S_IFREG => Ok(Sink::File(LogFile::inherited(fd, flags))),
        libc::S_IFIFO | libc::S_IFCHR => Ok(Sink::Stream(fd)),
        libc::S_IFSOCK => {
            let socket = UnixDatagram::from(fd);
            if socket.local_addr().is_err() {
                return refuse(
                    "is a socket of the network",
                    "give a file, a pipe or a Unix socket: lines stay whole there",
                );
            }
            Ok(Sink::Socket(socket.into()))
        }
        _ => refuse("is none that can be appended to", "give a file, a pipe or a Unix socket"),
    }
}

/// Waits until a reader has made room.
fn room(fd: &OwnedFd) -> Result<()> {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let mut polled = [io::PollFd::new(fd.as_raw_fd(), libc::POLLOUT)];
        let left = until.saturating_duration_since(std::time::Instant::now());
        let ns = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        io::poll(&mut polled, Some(ns)).map_err(|e| failed("wait for room in", e))?;
        if polled[0].revents() != 0 {
            return Ok(());
        }
        if left.is_zero() {
            return Err(
                failed("write to", Errno(libc::ETIMEDOUT)).hint("nobody reads at the other end")
            );
        }
    }
}

fn system_log() -> Result<UnixDatagram> {
    let socket = UnixDatagram::unbound().map_err(|e| failed("make a socket for", e))?;
    socket.set_write_timeout(Some(PATIENCE)).map_err(|e| failed("set up a socket for", e))?;
    socket.connect(DEV_LOG).map_err(|e| {
        Error::os(format!("connect to the system log at {DEV_LOG}"), e)
            .hint("is a syslog daemon running? otherwise log to a file")
    })?;
    Ok(socket)
}

/// One datagram a line. No time stamp before it, as RFC 3164 permits: the line has one in UTC,
/// and the daemon adds its own.
fn to_system_log(socket: &UnixDatagram, message: &[u8]) -> Result<()> {
    let sent = match socket.send(message) {
        // The daemon was restarted during the run.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ECONNREFUSED | libc::ENOTCONN)) => {
            system_log()?.send(message)
        }
        sent => sent,
    };
    match sent {
        Ok(n) if n == message.len() => Ok(()),
        Ok(_) => Err(failed("write a whole line to", Errno(libc::EIO))),
        Err(e) => Err(failed("write to", e)),
    }
}

/// Who calls: the real user, its name where /etc/passwd has one, and the user who logged in.
pub(crate) fn caller() -> record::Caller {
    let uid = nix::unistd::getuid().as_raw();
    let read = |path: &str| crate::host::probe::read_bounded(Path::new(path)).unwrap_or_default();
    let name = passwd::passwd_by_uid(&read("/etc/passwd"), uid)
        .map(|e| crate::plan::values::escape_bytes(e.name).chars().take(32).collect());
    let login = String::from_utf8(read("/proc/self/loginuid")).ok();
    record::Caller {
        uid,
        gid: nix::unistd::getgid().as_raw(),
        name,
        // The kernel shows -1 for a process that no login has led to.
        login_uid: login.and_then(|l| l.trim().parse().ok()).filter(|uid| *uid != u32::MAX),
    }
}

impl AuditLog {
    /// A target as it is typed: `FILE`, `fd:N` or `syslog`.
    ///
    /// # Errors
    /// Descriptor N is not open, or the text is empty.
    pub fn parse(text: &str) -> Result<AuditLog> {
        if text == "syslog" {
            return Ok(AuditLog::Syslog);
        }
        let invalid = |hint: &str| {
            Error::new(Kind::InvalidConfig, format!("invalid audit log {}", quote(text))).hint(hint)
        };
        let Some(number) = text.strip_prefix("fd:") else {
            if text.is_empty() || text.contains('\0') {
                return Err(invalid("give a file, fd:N or syslog"));
            }
            return Ok(AuditLog::File(PathBuf::from(text)));
        };
        let number = number
            .parse::<u16>()
            .map_err(|_| invalid("write fd: and a number, such as fd:3; a file is ./fd:..."))?;
        let fd = io::duplicate_number(number.into()).map_err(|e| {
            Error::os(format!("write the audit log to descriptor {number}"), e)
                .with_kind(Kind::InvalidConfig)
                .hint("open it for the call, such as --audit-log fd:3 3>>audit.jsonl")
        })?;
        Ok(AuditLog::Descriptor(fd))
    }
}
