//! criu's process, and the socket over which it is talked to.

#![forbid(unsafe_code)]

use super::images::Directory;
use super::message::{Fields, Response};
use crate::child::criu::{ArmedCriu, ArmedCriuRoot, ArmedDirectory, CriuStep, become_criu};
use crate::error::{Error, Kind, Result};
use crate::host::arm;
use crate::plan::Plan;
use crate::sys::process::CStringArray;
use crate::sys::{Errno, fs, io, mount, process, signal};
use std::ffi::{CString, OsString};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Descriptors with this number and higher are out of the way of those that criu gets.
const ABOVE: RawFd = 64;
/// The number of criu's end of the socket; those that are handed on follow.
const SOCKET: RawFd = 3;

/// How long one has to end by itself that is of no use any more.
const PATIENCE_NS: u64 = 5_000_000_000;

/// The longest answer: criu's own limit is 10 pages.
const LONGEST: usize = 40 << 10;

/// A criu that waits for requests. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Criu {
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    ended: bool,
    said: Option<OwnedFd>,
    /// Those that it works in, as they are in its mount namespace.
    directories: Vec<OwnedFd>,
}

/// What a restore needs, which is done in a mount namespace of criu's own.
#[derive(Debug)]
pub(crate) struct Root<'a> {
    /// Where the root file system is.
    pub(crate) rootfs: BorrowedFd<'a>,
    /// A directory that criu sees it on, and nobody else does.
    pub(crate) place: BorrowedFd<'a>,
    /// Directories that criu works in.
    /// Directories that criu works in.
    pub(crate) works_in: &'a [&'a Directory],
    /// Whose processes are restored.
    pub(crate) plan: &'a Plan,
}

/// Where criu's standard streams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    /// They are the caller's, which become the restored processes'.
    Callers,
    /// To a file that is looked at if criu fails before it has a log.
    Kept,
}

impl Criu {
    /// Starts the criu of `PATH`. What is in `more` has the numbers from [`Criu::number`] on there.
    pub(crate) fn start(
        streams: Streams,
        more: &[BorrowedFd<'_>],
        root: Option<&Root<'_>>,
    ) -> Result<Criu> {
        let failed = |e: Errno| Error::os("start criu", e);
        let high = |fd: OwnedFd| io::move_above(fd, ABOVE).map_err(failed);
        let path = find(std::env::var_os("PATH"))?;
        let (ours, theirs) = io::seqpacket_pair().map_err(failed)?;
        let (ours, theirs) = (high(ours)?, high(theirs)?);
        let (reported, report) = io::pipe().map_err(failed)?;
        let (reported, report) = (high(reported)?, high(report)?);
        let null = fs::open_at(fs::cwd(), c"/dev/null", libc::O_RDWR, 0).map_err(failed)?;
        let null = high(null)?;
        let said = match streams {
            Streams::Callers => None,
            Streams::Kept => Some(io::memory_file(c"criu").map_err(failed).and_then(high)?),
        };
        let copies: Result<Vec<OwnedFd>> =
            more.iter().map(|fd| io::duplicate(*fd).map_err(failed).and_then(high)).collect();
        let copies = copies?;
        let mut descriptors = match &said {
            None => stdio(&null).to_vec(),
            Some(said) => vec![null.as_raw_fd(), said.as_raw_fd(), said.as_raw_fd()],
        };
        descriptors.push(theirs.as_raw_fd());
        descriptors.extend(copies.iter().map(AsRawFd::as_raw_fd));
        if descriptors.len() >= ABOVE.unsigned_abs() as usize {
            return Err(Error::new(Kind::InvalidConfig, "too many descriptors for criu"));
        }
        let armed = ArmedCriu {
            path: arm::c_path(&path)?,
            argv: CStringArray::new(vec![c"criu".into(), c"swrk".into(), c"3".into()]),
            envp: CStringArray::new(environment()),
            descriptors,
            socket: theirs,
            root: root.map(arm_root).transpose()?,
            report,
        };
        let flags = if armed.root.is_some() { libc::CLONE_NEWNS } else { 0 };
        let mask = signal::set_mask(signal::ALL).map_err(failed)?;
        let cloned =
            process::clone_into(u64::from(flags.cast_unsigned()), None, become_criu, &armed);
        signal::set_mask(mask).map_err(failed)?;
        let (pid, pidfd) = cloned.map_err(failed)?;
        let directories = Vec::new();
        let mut criu = Criu { pid, pidfd, socket: ours, ended: false, said, directories };
        let sent = armed.root.as_ref().map_or(0, |root| root.sent.len());
        // Ours go: their end shall be criu's.
        drop((armed, copies));
        executed(&reported, &path)?;
        for _ in 0..sent {
            let (_, fd) = io::recv(criu.socket.as_fd(), &mut [0], false).map_err(failed)?;
            let fd = fd.ok_or_else(|| Error::new(Kind::Os, "criu has none of its directories"))?;
            criu.directories.push(fd);
        }
        Ok(criu)
    }

    /// The number in this process of the directory at this place of those that it works in.
    pub(crate) fn directory(&self, place: usize) -> i32 {
        self.directories.get(place).map_or(-1, AsRawFd::as_raw_fd)
    }

    /// What it has said so far elsewhere than in its log.
    pub(super) fn said(&self) -> Vec<u8> {
        let mut bytes = vec![0; LONGEST];
        let read = self.said.as_ref().and_then(|said| {
            fs::seek(said.as_fd(), 0, libc::SEEK_SET).ok()?;
            io::read(said.as_fd(), &mut bytes).ok()
        });
        bytes.truncate(read.unwrap_or(0));
        bytes
    }

    /// The number that the descriptor at this place of `more` has in criu.
    pub(crate) fn number(place: usize) -> i32 {
        i32::try_from(place).map_or(i32::MAX, |n| n + SOCKET + 1)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn send(&self, message: &Fields) -> Result<()> {
        io::send(self.socket.as_fd(), message.as_bytes(), None)
            .map_err(|e| Error::os("talk to criu", e))
    }

    /// The next answer, and the descriptor that came with it. `None`: criu has ended.
    pub(crate) fn receive(&self) -> Result<Option<(Response, Option<OwnedFd>)>> {
        let mut buf = vec![0; LONGEST];
        match io::recv(self.socket.as_fd(), &mut buf, false) {
            Ok((0, _)) => Ok(None),
            Err(e) if e.0 == libc::ECONNRESET => Ok(None),
            Ok((n, _)) if n >= LONGEST => Err(Error::new(Kind::Os, "criu's answer is too long")),
            Ok((n, fd)) => Response::read(buf.get(..n).unwrap_or_default()).map(|r| Some((r, fd))),
            Err(e) => Err(Error::os("hear from criu", e)),
        }
    }

    /// Says that there are no more requests and waits for its end: its status as of wait(2).
    pub(crate) fn finish(mut self) -> Result<i32> {
        let failed = |e| Error::os("talk to criu", e);
        let copy = io::duplicate(self.socket.as_fd()).map_err(|e| failed(e.into()))?;
        UnixStream::from(copy).shutdown(Shutdown::Write).map_err(failed)?;
        self.reap()
    }

    fn reap(&mut self) -> Result<i32> {
        self.ended = true;
        loop {
            match process::wait4(self.pid, 0) {
                Ok(Some(waited)) => return Ok(waited.status),
                Ok(None) => {}
                Err(e) if e.0 == libc::EINTR => {}
                Err(e) => return Err(Error::os("wait for criu", e)),
            }
        }
    }
}

impl Drop for Criu {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // It takes back what it has made, if it gets the time for it.
        let copy = io::duplicate(self.socket.as_fd());
        let _ = copy.map(|fd| UnixStream::from(fd).shutdown(Shutdown::Both));
        let mut fds = [io::PollFd::new(self.pidfd.as_raw_fd(), libc::POLLIN)];
        let _ = io::poll_through(&mut fds, Some(PATIENCE_NS));
        let _ = process::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = self.reap();
    }
}

/// The caller's standard streams; what is closed is the null device.
fn stdio(null: &OwnedFd) -> [RawFd; 3] {
    [0, 1, 2].map(|fd| if fs::stat(io::well_known(fd)).is_ok() { fd } else { null.as_raw_fd() })
}

fn arm_root(root: &Root<'_>) -> Result<ArmedCriuRoot> {
    let tree = mount::clone_tree(root.rootfs, c"", true)
        .and_then(|tree| io::move_above(tree, ABOVE))
        // A copy of a shared mount is its peer: what criu mounts there would show on the host.
        .and_then(|tree| {
            mount::change(tree.as_fd(), 0, 0, libc::MS_SLAVE, true, None).map(|()| tree)
        })
        .map_err(|e| Error::os("copy the mount of the root file system", e))?;
    let sent: Result<Vec<_>> = root.works_in.iter().map(|dir| arm_directory(dir.fd())).collect();
    let inherited = arm::inherited(root.plan)?;
    Ok(ArmedCriuRoot { tree, place: arm_directory(root.place)?, sent: sent?, inherited })
}

fn arm_directory(fd: BorrowedFd<'_>) -> Result<ArmedDirectory> {
    let failed = |e: std::io::Error| Error::os("find a directory for criu", e);
    let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).map_err(failed)?;
    let seen = fs::stat(fd).map_err(|e| failed(e.into()))?;
    Ok(ArmedDirectory { path: arm::c_path(&path)?, is: (seen.dev, seen.ino) })
}

/// Waits until criu is executed, or for the reason why not.
fn executed(report: &OwnedFd, path: &Path) -> Result<()> {
    let mut buf = [0u8; 5];
    let read = loop {
        match io::read(report.as_fd(), &mut buf) {
            Err(e) if e.0 == libc::EINTR => {}
            other => break other.map_err(|e| Error::os("hear whether criu runs", e))?,
        }
    };
    let [step, errno @ ..] = buf;
    let errno = Errno(i32::from_ne_bytes(errno));
    match step {
        _ if read == 0 => Ok(()),
        step if step == CriuStep::Root as u8 => {
            Err(Error::os("mount the root file system for criu", errno))
        }
        step if step == CriuStep::Exec as u8 => {
            Err(Error::os(format!("execute {}", path.display()), errno))
        }
        step if step == CriuStep::Inherited as u8 => {
            Err(Error::os("give criu what the restored processes have from it", errno))
        }
        _ => Err(Error::os("hand criu its descriptors", errno)),
    }
}

/// The caller's: criu looks for `tar`, `iptables` and its configuration by it.
fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            CString::new(entry).ok()
        })
        .collect()
}

/// The criu of `PATH`, as runc takes it: its option `--criu` is of the past.
fn find(path: Option<OsString>) -> Result<PathBuf> {
    let path = path.unwrap_or_default();
    let absolute = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    absolute
        .map(|dir| dir.join("criu"))
        .find(|file| {
            std::fs::metadata(file).is_ok_and(|m| m.is_file())
                && arm::c_path(file).is_ok_and(|c| fs::may_execute(&c).is_ok())
        })
        .ok_or_else(|| {
            Error::new(Kind::Unsupported, "checkpoints are made by criu, and there is none in PATH")
                .hint("install it (Debian: apt-get install criu)")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criu_is_looked_for_in_absolute_places_of_path() {
        assert!(find(None).is_err());
        assert!(find(Some(".:bin:/nonexistent:/etc".into())).is_err());
        let e = find(Some("/nonexistent".into())).unwrap_err();
        assert!(e.to_string().contains("none in PATH"), "{e}");
    }
}
