//! Passing the job's streams on: counted, limited, never waiting.
//!
//! The job's stdio are pipes and not the caller's own descriptors. A descriptor of a host file
//! or directory could be opened again through /proc/self/fd with more rights, or be a way out by
//! `..`; and only in between can output be counted and cut.

#![forbid(unsafe_code)]

use crate::sys::io::{self, PollFd};
use crate::sys::{Errno, fs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Most bytes moved in one go: the size of a pipe.
const CHUNK: usize = 65_536;
/// POLLOUT on a pipe promises this much room (PIPE_BUF).
const SMALL: usize = 4096;

/// Where output goes.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Kept.
    Capture(Vec<u8>),
    /// Passed on.
    Descriptor(OwnedFd, Way),
}

/// How a descriptor is written without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// splice(2): pipes, files.
    Splice,
    /// write(2): what splice refuses (append-only files, terminals opened non-blocking).
    Write,
    /// send(2).
    Socket,
}

impl Sink {
    /// A descriptor of the caller's.
    pub(crate) fn descriptor(fd: OwnedFd) -> Sink {
        let way = match fs::stat(fd.as_fd()) {
            Ok(s) if s.is(libc::S_IFSOCK) => Way::Socket,
            Ok(s) if s.is(libc::S_IFCHR) && nix::unistd::isatty(&fd).unwrap_or(false) => {
                // Opened again, since O_NONBLOCK on the caller's would be everybody's.
                let again = reopen(&fd, libc::O_WRONLY);
                return Sink::Descriptor(again.unwrap_or(fd), Way::Write);
            }
            _ => Way::Splice,
        };
        Sink::Descriptor(fd, way)
    }
}

/// What a pump waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Data,
    Room,
}

/// One output stream.
#[derive(Debug)]
pub(crate) struct Output {
    from: Option<OwnedFd>,
    sink: Sink,
    limit: Option<u64>,
    wants: Wants,
    /// Read and not yet written; only where splice does not work.
    pending: Vec<u8>,
    pub(crate) bytes: u64,
    pub(crate) truncated: bool,
    /// Why the rest could not be passed on, unless the reader just left.
    pub(crate) failed: Option<Errno>,
}

impl Output {
    pub(crate) fn new(from: Option<OwnedFd>, sink: Sink, limit: Option<u64>) -> Output {
        Output {
            from,
            sink,
            limit,
            wants: Wants::Data,
            pending: Vec::new(),
            bytes: 0,
            truncated: false,
            failed: None,
        }
    }

    /// Gives the source later, for a terminal whose master comes over the socket.
    pub(crate) fn set_source(&mut self, from: OwnedFd) {
        self.from = Some(from);
    }

    /// What to poll.
    pub(crate) fn poll_fd(&self) -> PollFd {
        match (&self.from, &self.sink, self.wants) {
            (None, ..) => PollFd::new(-1, 0),
            (Some(_), Sink::Descriptor(to, _), Wants::Room) => {
                PollFd::new(to.as_raw_fd(), libc::POLLOUT)
            }
            (Some(from), ..) => PollFd::new(from.as_raw_fd(), libc::POLLIN),
        }
    }

    /// Moves what can be moved. At most a few chunks, so that the other stream and the limits
    /// get their turn.
    pub(crate) fn step(&mut self) {
        for _ in 0..8 {
            let Some(from) = &self.from else { return };
            let room = match self.limit {
                None => CHUNK,
                Some(limit) => {
                    let left = limit.saturating_sub(self.bytes);
                    usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)
                }
            };
            if room == 0 && self.pending.is_empty() {
                // At the limit: only if there is more has it been passed.
                let mut probe = [PollFd::new(from.as_raw_fd(), libc::POLLIN)];
                let ready = io::poll(&mut probe, Some(0)).is_ok();
                let [probe] = probe;
                if ready && probe.revents() & libc::POLLIN != 0 {
                    self.truncated = true;
                    self.from = None;
                } else if probe.revents() != 0 {
                    self.from = None;
                }
                return;
            }
            let moved = match &mut self.sink {
                Sink::Capture(data) => capture(from, data, room),
                Sink::Descriptor(to, Way::Splice) => io::splice(from.as_fd(), to.as_fd(), room),
                Sink::Descriptor(to, way) => through(from, to, *way, room, &mut self.pending),
            };
            match moved {
                Ok(0) => self.from = None,
                Ok(n) => {
                    self.bytes += n as u64;
                    self.wants = Wants::Data;
                }
                Err(e) if e.0 == libc::EINTR => {}
                // Either end: nothing to read, or no room. Ask for the one that is missing.
                Err(e) if e.0 == libc::EAGAIN => {
                    let mut source = [PollFd::new(from.as_raw_fd(), libc::POLLIN)];
                    let polled = io::poll(&mut source, Some(0)).is_ok();
                    let [source] = source;
                    let has_data = polled && source.revents() & libc::POLLIN != 0;
                    let blocked = has_data || !self.pending.is_empty();
                    self.wants = if blocked { Wants::Room } else { Wants::Data };
                    return;
                }
                Err(e) if e.0 == libc::EINVAL && self.can_fall_back() => {
                    if let Sink::Descriptor(_, way) = &mut self.sink {
                        *way = Way::Write;
                    }
                }
                // The reader is gone (EPIPE), a terminal hung up (EIO), the disk is full: close,
                // so that the job sees what it would see without us in between.
                Err(e) => {
                    if e.0 != libc::EPIPE && e.0 != libc::EIO {
                        self.failed = Some(e);
                    }
                    self.pending.clear();
                    self.from = None;
                }
            }
        }
    }

    fn can_fall_back(&self) -> bool {
        matches!(self.sink, Sink::Descriptor(_, Way::Splice))
    }

    /// Whether everything that was written has been passed on. After the job's end nobody
    /// writes any more, unless the write end was passed out of the jail; so "nothing there now"
    /// is the end, and not only the end of file.
    pub(crate) fn drained(&mut self) -> bool {
        let Some(from) = &self.from else { return true };
        if !self.pending.is_empty() {
            return false;
        }
        let mut probe = [PollFd::new(from.as_raw_fd(), libc::POLLIN)];
        if io::poll(&mut probe, Some(0)).is_err() {
            return true;
        }
        let [probe] = probe;
        probe.revents() & libc::POLLIN == 0
    }

    /// What was captured.
    pub(crate) fn take_captured(&mut self) -> Option<Vec<u8>> {
        match &mut self.sink {
            Sink::Capture(data) => Some(std::mem::take(data)),
            Sink::Descriptor(..) => None,
        }
    }
}

fn capture(from: &OwnedFd, data: &mut Vec<u8>, room: usize) -> Result<usize, Errno> {
    let mut probe = [PollFd::new(from.as_raw_fd(), libc::POLLIN)];
    io::poll(&mut probe, Some(0))?;
    let [probe] = probe;
    if probe.revents() == 0 {
        return Err(Errno(libc::EAGAIN));
    }
    let old = data.len();
    data.resize(old + room.min(16_384), 0);
    let read = io::read(from.as_fd(), data.get_mut(old..).unwrap_or_default());
    data.truncate(old + read.unwrap_or(0));
    read
}

/// By way of memory, a little at a time.
fn through(
    from: &OwnedFd,
    to: &OwnedFd,
    way: Way,
    room: usize,
    pending: &mut Vec<u8>,
) -> Result<usize, Errno> {
    if pending.is_empty() {
        capture(from, pending, room.min(SMALL))?;
        if pending.is_empty() {
            return Ok(0);
        }
    }
    let written = match way {
        Way::Socket => io::send_now(to.as_fd(), pending),
        _ => io::write(to.as_fd(), pending),
    }?;
    pending.drain(..written);
    Ok(written)
}

/// Where input comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The caller's descriptor.
    Descriptor(OwnedFd),
    /// Given bytes.
    Bytes(Vec<u8>),
}

/// The input stream.
#[derive(Debug)]
pub(crate) struct Input {
    source: Option<Source>,
    to: Option<OwnedFd>,
    /// The job's pipe, to read: after the end of a file, for what the job leaves in it.
    left: Option<OwnedFd>,
    wants: Wants,
    done: usize,
    /// A regular file, whose position is put back by what the job did not read.
    regular: bool,
    splice: bool,
    /// Read and not yet written; only where splice does not work.
    pending: Vec<u8>,
}

impl Input {
    pub(crate) fn new(source: Option<Source>, to: Option<OwnedFd>) -> Input {
        let regular = match &source {
            Some(Source::Descriptor(fd)) => fs::stat(fd.as_fd()).is_ok_and(|s| s.is(libc::S_IFREG)),
            _ => false,
        };
        let (wants, pending) = (Wants::Data, Vec::new());
        Input { source, to, left: None, wants, done: 0, regular, splice: true, pending }
    }

    /// Gives the destination later, for a terminal. It does not tell what of it was not read.
    pub(crate) fn set_destination(&mut self, to: OwnedFd) {
        self.regular = false;
        self.to = Some(to);
    }

    pub(crate) fn poll_fd(&self) -> PollFd {
        match (&self.source, &self.to, self.wants) {
            (None, ..) | (_, None, _) => PollFd::new(-1, 0),
            (Some(Source::Descriptor(fd)), _, Wants::Data) => {
                PollFd::new(fd.as_raw_fd(), libc::POLLIN)
            }
            (_, Some(to), _) => PollFd::new(to.as_raw_fd(), libc::POLLOUT),
        }
    }

    pub(crate) fn step(&mut self) {
        let (Some(source), Some(to)) = (&self.source, &self.to) else { return };
        if !has_room(to.as_raw_fd()) {
            self.wants = Wants::Room;
            return;
        }
        self.wants = Wants::Data;
        let moved = match source {
            Source::Bytes(data) => {
                let rest = data.get(self.done..).unwrap_or_default();
                let part = rest.get(..rest.len().min(SMALL)).unwrap_or_default();
                if part.is_empty() { Ok(0) } else { io::write(to.as_fd(), part) }
            }
            Source::Descriptor(from) if self.splice => {
                match io::splice(from.as_fd(), to.as_fd(), CHUNK) {
                    Err(e) if e.0 == libc::EINVAL => {
                        self.splice = false;
                        return;
                    }
                    other => other,
                }
            }
            Source::Descriptor(from) => hand_over(from, to, &mut self.pending),
        };
        if !self.pending.is_empty() {
            self.wants = Wants::Room;
        }
        match moved {
            Ok(0) => self.end_of_file(),
            Ok(n) => self.done += n,
            Err(e) if e.0 == libc::EAGAIN || e.0 == libc::EINTR => {}
            // The job has closed its end, or the caller's cannot be read: end of file.
            Err(_) => self.close(),
        }
    }

    /// The job has yet to read what is in the pipe, and then must find its end.
    fn end_of_file(&mut self) {
        match &self.to {
            Some(to) if self.regular => {
                self.left = reopen(to, libc::O_RDONLY).ok();
                self.to = None;
            }
            _ => self.close(),
        }
    }

    fn close(&mut self) {
        self.put_back();
        self.source = None;
        self.to = None;
        self.left = None;
    }

    /// A file that was read ahead of the job stands where the job stopped, as if it had read
    /// the file itself: `while read line; do stockade ...; done < list` works.
    fn put_back(&mut self) {
        let pipe = self.to.as_ref().or(self.left.as_ref());
        let (Some(Source::Descriptor(file)), Some(pipe), true) = (&self.source, pipe, self.regular)
        else {
            return;
        };
        let unread = io::bytes_waiting(pipe.as_fd()).unwrap_or(0) + self.pending.len();
        if unread > 0 {
            let back = i64::try_from(unread).unwrap_or(0);
            // A file that cannot seek was not read ahead either.
            let _ = fs::seek(file.as_fd(), -back, libc::SEEK_CUR);
        }
    }

    /// The job has ended.
    pub(crate) fn finish(&mut self) {
        self.close();
    }
}

/// By way of memory. Less may be written than was read, above all to a terminal.
fn hand_over(from: &OwnedFd, to: &OwnedFd, pending: &mut Vec<u8>) -> Result<usize, Errno> {
    if pending.is_empty() {
        capture(from, pending, SMALL)?;
        if pending.is_empty() {
            return Ok(0);
        }
    }
    let written = io::write(to.as_fd(), pending)?;
    pending.drain(..written);
    Ok(written)
}

fn has_room(to: RawFd) -> bool {
    let mut probe = [PollFd::new(to, libc::POLLOUT)];
    let polled = io::poll(&mut probe, Some(0)).is_ok();
    let [probe] = probe;
    polled && probe.revents() != 0
}

/// Another open file of the same, which never waits.
fn reopen(fd: &OwnedFd, mode: i32) -> Result<OwnedFd, Errno> {
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd()))
        .map_err(|_| Errno(libc::EINVAL))?;
    fs::open_at(fs::cwd(), &path, mode | libc::O_NONBLOCK, 0)
}
