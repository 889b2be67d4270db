//! Waiting for a container in the foreground: signals go to its init, the terminal's bytes both
//! ways, orphans are reaped.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::host::terminal::Raw;
use crate::sys::io::{self, PollFd};
use crate::sys::{Errno, process, signal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes that are carried at once.
const CHUNK: usize = 16 << 10;

/// Signals of the caller's, blocked since before the container was started.
#[derive(Debug)]
pub(super) struct Signals {
    fd: OwnedFd,
    mask: signal::Mask,
}

impl Signals {
    /// Blocks and collects them.
    pub(super) fn collect() -> Result<Signals> {
        let failed = |e: Errno| Error::os("collect signals", e);
        signal::default_sigchld().map_err(failed)?;
        let mask = signal::set_mask(signal::ALL).map_err(failed)?;
        let fd = signal::signalfd(signal::ALL).map_err(failed)?;
        Ok(Signals { fd, mask })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // What it was; a failure would be one of the arguments.
        let _ = signal::set_mask(self.mask);
    }
}

/// The caller's terminal and the container's.
pub(super) struct Relay {
    master: OwnedFd,
    /// Until there is nothing more to read.
    stdin: bool,
    raw: Option<Raw>,
}

/// Columns and rows of the caller's terminal. The process's has them from the start: who asks at once
/// would be faster than [`Relay::begin`].
pub(super) fn callers_size() -> Option<(u16, u16)> {
    io::window_size(io::well_known(0)).ok()
}

impl Relay {
    /// Begins; the caller's terminal becomes raw.
    pub(super) fn begin(master: OwnedFd) -> Result<Relay> {
        let stdin = io::well_known(0);
        let _ = io::copy_window_size(stdin, master.as_fd());
        let raw = match io::duplicate(stdin) {
            Ok(fd) if nix::unistd::isatty(&fd).unwrap_or(false) => Some(Raw::enter(&fd)?),
            _ => None,
        };
        Ok(Relay { master, stdin: true, raw })
    }

    fn resize(&self) {
        // A caller without a terminal has no size.
        let _ = io::copy_window_size(io::well_known(0), self.master.as_fd());
    }

    /// From the container's terminal to the caller; `false`: nothing will come any more.
    fn output(&self) -> bool {
        let mut buf = [0; CHUNK];
        match io::read(self.master.as_fd(), &mut buf) {
            Ok(0) => false,
            Ok(n) => write_all(io::well_known(1), buf.get(..n).unwrap_or_default()).is_ok(),
            Err(e) => e.0 == libc::EINTR || e.0 == libc::EAGAIN,
        }
    }

    fn input(&mut self) {
        let mut buf = [0; CHUNK];
        self.stdin = match io::read(io::well_known(0), &mut buf) {
            Ok(0) => false,
            Ok(n) => write_all(self.master.as_fd(), buf.get(..n).unwrap_or_default()).is_ok(),
            Err(e) => e.0 == libc::EINTR || e.0 == libc::EAGAIN,
        };
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> std::result::Result<(), Errno> {
    while !bytes.is_empty() {
        match io::write(to, bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.0 == libc::EINTR => {}
            Err(e) if e.0 == libc::EAGAIN => {
                io::poll(&mut [PollFd::new(to.as_raw_fd(), libc::POLLOUT)], None)?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Waits for the end of the init, which is our child: its exit status as a shell has it.
pub(super) fn wait(
    pid: i32,
    pidfd: &OwnedFd,
    signals: &Signals,
    mut relay: Option<Relay>,
    reap_others: bool,
) -> Result<i32> {
    let failed = |e: Errno| Error::os("wait for the container", e);
    let mut open = true;
    loop {
        let of = |on: bool, fd: i32| if on { fd } else { -1 };
        let (master, stdin) =
            relay.as_ref().map_or((-1, false), |r| (r.master.as_raw_fd(), r.stdin));
        let mut fds = [
            PollFd::new(signals.fd.as_raw_fd(), libc::POLLIN),
            PollFd::new(pidfd.as_raw_fd(), libc::POLLIN),
            PollFd::new(of(open, master), libc::POLLIN),
            PollFd::new(of(stdin && open, 0), libc::POLLIN),
        ];
        io::poll(&mut fds, None).map_err(failed)?;
        let [signalled, ended, output, input] = fds;
        if let Some(relay) = &mut relay {
            if output.revents() != 0 {
                open = relay.output();
            }
            if input.revents() != 0 {
                relay.input();
            }
        }
        if signalled.revents() != 0 {
            forward(signals, pidfd, relay.as_ref(), reap_others, pid).map_err(failed)?;
        }
        if ended.revents() != 0 {
            break;
        }
    }
    if let Some(relay) = &mut relay {
        drain(relay, open);
        relay.raw = None;
    }
    loop {
        match process::wait4(pid, 0) {
            Ok(Some(waited)) => return Ok(exit_status(waited.status)),
            Ok(None) => {}
            Err(e) if e.0 == libc::EINTR => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

/// What the container had written before it ended. Others of it may hold the terminal open, so
/// only what is there is read.
fn drain(relay: &Relay, mut open: bool) {
    while open {
        let mut fds = [PollFd::new(relay.master.as_raw_fd(), libc::POLLIN)];
        if io::poll(&mut fds, Some(0)).is_err() {
            return;
        }
        let [output] = fds;
        open = output.revents() & libc::POLLIN != 0 && relay.output();
    }
}

fn forward(
    signals: &Signals,
    pidfd: &OwnedFd,
    relay: Option<&Relay>,
    reap_others: bool,
    init: i32,
) -> std::result::Result<(), Errno> {
    while let Some(number) = signal::read_signalfd(signals.fd.as_fd())? {
        match number {
            // The init is left to be reaped at the end: its pidfd tells of it.
            libc::SIGCHLD if reap_others => reap(init),
            libc::SIGCHLD | libc::SIGURG => {}
            libc::SIGWINCH if relay.is_some() => {
                if let Some(relay) = relay {
                    relay.resize();
                }
            }
            number => match process::pidfd_send_signal(pidfd.as_fd(), number) {
                Err(e) if e.0 == libc::ESRCH => {}
                other => other?,
            },
        }
    }
    Ok(())
}

/// Orphans that have become ours.
fn reap(init: i32) {
    while let Ok(Some(child)) = process::ended_child() {
        if child == init || process::wait4(child, libc::WNOHANG).is_err() {
            return;
        }
    }
}

fn exit_status(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}
