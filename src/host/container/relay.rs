//! The bytes between the caller's streams and a container's terminal. Neither is ever waited for: who
//! does not read holds up its own bytes, and not the signals or the end.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::host::terminal::Raw;
use crate::sys::io::{self, PollFd};
use crate::sys::{self, Errno, fs};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Bytes that are carried at once.
const CHUNK: usize = 16 << 10;
/// What a pipe has room for where poll says that it has any (PIPE_BUF).
const LITTLE: usize = 4096;

/// Columns and rows of the caller's terminal. The process's has them from the start: who asks at once
/// would be faster than [`Relay::begin`].
pub(super) fn callers_size() -> Option<(u16, u16)> {
    io::window_size(io::well_known(0)).ok()
}

/// Where bytes go.
struct Sink {
    fd: OwnedFd,
    way: Way,
}

/// How it is written without waiting.
#[derive(Clone, Copy)]
enum Way {
    /// It does not wait by itself.
    Whole,
    /// send(2) can be told not to.
    Socket,
    /// After poll, and no more than there is room for.
    Little,
}

impl Sink {
    /// A stream of the caller's: opened again where that can be done, since O_NONBLOCK on the caller's
    /// own would be everybody's who has it.
    fn of_caller(fd: RawFd) -> sys::Result<Sink> {
        let seen = fs::stat(io::well_known(fd))?;
        let same = |way| Ok(Sink { fd: io::duplicate(io::well_known(fd))?, way });
        if seen.is(libc::S_IFSOCK) {
            return same(Way::Socket);
        }
        if seen.is(libc::S_IFREG) {
            return same(Way::Whole);
        }
        let path = CString::new(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        match fs::open_at(fs::cwd(), &path, libc::O_WRONLY | libc::O_NONBLOCK, 0) {
            Ok(fd) => Ok(Sink { fd, way: Way::Whole }),
            Err(_) => same(Way::Little),
        }
    }

    fn write(&self, bytes: &[u8]) -> sys::Result<usize> {
        match self.way {
            Way::Whole => io::write(self.fd.as_fd(), bytes),
            Way::Socket => io::send_now(self.fd.as_fd(), bytes),
            Way::Little => {
                let mut fds = [PollFd::new(self.fd.as_raw_fd(), libc::POLLOUT)];
                io::poll(&mut fds, Some(0))?;
                let [room] = fds;
                if room.revents() == 0 {
                    return Err(Errno(libc::EAGAIN));
                }
                io::write(self.fd.as_fd(), bytes.get(..LITTLE).unwrap_or(bytes))
            }
        }
    }
}

/// One direction.
struct Flow {
    /// Read and not yet written.
    pending: Vec<u8>,
    /// Whether something may still come.
    open: bool,
    /// Nobody takes it any more: what comes is read all the same, so that its writer goes on.
    lost: bool,
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Some,
    /// There is nothing to be read.
    Nothing,
    /// There is no room.
    NoRoom,
}

impl Flow {
    fn new() -> Flow {
        Flow { pending: Vec::with_capacity(CHUNK), open: true, lost: false }
    }

    /// What it waits for.
    fn poll_fd(&self, from: RawFd, to: RawFd) -> PollFd {
        match (self.pending.is_empty(), self.open) {
            (false, _) => PollFd::new(to, libc::POLLOUT),
            (true, true) => PollFd::new(from, libc::POLLIN),
            (true, false) => PollFd::new(-1, 0),
        }
    }

    /// Reads if nothing is pending, and writes what is.
    fn step(&mut self, from: BorrowedFd<'_>, to: &Sink) -> Moved {
        if self.pending.is_empty() {
            if !self.open {
                return Moved::Nothing;
            }
            self.pending.resize(CHUNK, 0);
            let read = io::read(from, &mut self.pending);
            self.pending.truncate(*read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.open = false,
                Ok(_) => {}
                Err(e) if e.0 == libc::EAGAIN || e.0 == libc::EINTR => {}
                // The other end of a terminal is closed (EIO).
                Err(_) => self.open = false,
            }
            if self.pending.is_empty() {
                return Moved::Nothing;
            }
        }
        if self.lost {
            self.pending.clear();
            return Moved::Some;
        }
        match to.write(&self.pending) {
            Ok(n) => {
                self.pending.drain(..n);
                Moved::Some
            }
            Err(e) if e.0 == libc::EAGAIN => Moved::NoRoom,
            Err(e) if e.0 == libc::EINTR => Moved::Some,
            Err(_) => {
                self.lost = true;
                self.pending.clear();
                Moved::Some
            }
        }
    }
}

/// The caller's terminal and the container's.
pub(super) struct Relay {
    master: OwnedFd,
    /// The same to be written to.
    keys: Sink,
    caller: Sink,
    output: Flow,
    input: Flow,
    raw: Option<Raw>,
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
        let failed = |e: Errno| Error::os("carry the container's terminal", e);
        // Nobody else has this open file.
        io::set_nonblocking(master.as_fd()).map_err(failed)?;
        let keys = io::duplicate(master.as_fd()).map_err(failed)?;
        let caller = Sink::of_caller(1).or_else(|_| Sink::of_caller(2)).map_err(failed)?;
        Ok(Relay {
            master,
            keys: Sink { fd: keys, way: Way::Whole },
            caller,
            output: Flow::new(),
            input: Flow::new(),
            raw,
        })
    }

    /// The caller's window has another size.
    pub(super) fn resize(&self) {
        // A caller without a terminal has no size.
        let _ = io::copy_window_size(io::well_known(0), self.master.as_fd());
    }

    /// What to poll: one for the output, one for the input.
    pub(super) fn poll_fds(&self) -> [PollFd; 2] {
        let master = self.master.as_raw_fd();
        let output = self.output.poll_fd(master, self.caller.fd.as_raw_fd());
        let input =
            if self.output.open { self.input.poll_fd(0, master) } else { PollFd::new(-1, 0) };
        [output, input]
    }

    /// Carries what can be carried.
    pub(super) fn step(&mut self, [output, input]: [PollFd; 2]) {
        if output.revents() != 0 {
            self.output.step(self.master.as_fd(), &self.caller);
        }
        if input.revents() != 0 {
            self.input.step(io::well_known(0), &self.keys);
        }
    }

    /// What the container had written before it ended. Others of it may hold the terminal open, so only
    /// what is there is read. What to wait for; `None`: all is carried.
    pub(super) fn drain(&mut self) -> Option<PollFd> {
        loop {
            match self.output.step(self.master.as_fd(), &self.caller) {
                Moved::Some => {}
                Moved::Nothing => return None,
                Moved::NoRoom => return Some(self.poll_fds()[0]),
            }
        }
    }

    /// The caller's terminal is as before.
    pub(super) fn end(&mut self) {
        self.raw = None;
    }
}
