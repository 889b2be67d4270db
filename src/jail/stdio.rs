//! The job's streams: the child's ends, the pumps' ends, and those of a caller who asked for pipes.

#![forbid(unsafe_code)]

use super::{Jail, Stdio};
use crate::error::{Error, Kind, Result};
use crate::host::launch::Stdio as ChildStdio;
use crate::host::pump::{Input, Output, Sink, Source};
use crate::host::supervise::Streams;
use crate::plan::Plan;
use crate::sys::{fs, io};
use std::os::fd::{AsFd, OwnedFd};

impl Jail {
    /// Makes the pipes. The child's ends, ours, and those of a [`super::Running`].
    pub(super) fn wire(&mut self, plan: &Plan) -> Result<(ChildStdio, Streams<'static>, Pipes)> {
        let os = |e| Error::os("make the job's pipes", e);
        let limit = plan.supervision.output;
        let mut pipes = Pipes::default();
        let forward = std::mem::take(&mut self.forward_signals);
        let signals = if forward.is_empty() {
            None
        } else {
            let mask = forward.iter().fold(0, |m, s| m | 1u64 << (s - 1));
            Some(crate::sys::signal::signalfd(mask).map_err(os)?)
        };
        let streams = |input, stdout, stderr, terminal| Streams {
            input,
            stdout,
            stderr,
            signals,
            kill: None,
            terminal,
        };
        if plan.process.terminal {
            // The terminal is made in the jail, from its own devpts; until then /dev/null.
            let source = match std::mem::take(&mut self.stdin) {
                Stdio::Inherit => Some(Source::Descriptor(inherit(0)?)),
                other => source(other, &mut pipes)?,
            };
            let sink = sink(std::mem::take(&mut self.stdout), 1, &mut pipes.stdout)?;
            let terminal = inherit(0).ok().filter(|fd| nix::unistd::isatty(fd).unwrap_or(false));
            let child = ChildStdio { stdin: null()?, stdout: null()?, stderr: null()? };
            let input = Input::new(source, None);
            let unused = Output::new(None, Sink::Capture(Vec::new()), limit);
            let output = Output::new(None, sink, limit);
            return Ok((child, streams(input, output, unused, terminal), pipes));
        }
        let (stdin, input) = match std::mem::take(&mut self.stdin) {
            Stdio::Null => (null()?, Input::new(None, None)),
            Stdio::Inherit if is_null(0) => (null()?, Input::new(None, None)),
            other => {
                let (read, write) = high_pipe().map_err(os)?;
                let source = match other {
                    Stdio::Inherit => Some(Source::Descriptor(inherit(0)?)),
                    other => source(other, &mut pipes)?,
                };
                (read, Input::new(source, Some(write)))
            }
        };
        let output = |stdio: Stdio, number, theirs: &mut Option<OwnedFd>| -> Result<_> {
            let (read, write) = high_pipe().map_err(os)?;
            Ok((write, Output::new(Some(read), sink(stdio, number, theirs)?, limit)))
        };
        let (stdout, out) = output(std::mem::take(&mut self.stdout), 1, &mut pipes.stdout)?;
        let (stderr, err) = output(std::mem::take(&mut self.stderr), 2, &mut pipes.stderr)?;
        Ok((ChildStdio { stdin, stdout, stderr }, streams(input, out, err, None), pipes))
    }
}

/// The caller's ends of piped streams.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// A pipe at numbers that are never 0, 1 or 2, whatever the caller has closed.
fn high_pipe() -> crate::sys::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = io::pipe()?;
    // The job's user is not ours, and opens /dev/stdout by this mode. Nobody outside can: the
    // way to a pipe is a descriptor, or the /proc/PID/fd of a process that one may trace.
    fs::chmod(read.as_fd(), 0o666)?;
    Ok((io::move_high(read)?, io::move_high(write)?))
}

fn inherit(number: i32) -> Result<OwnedFd> {
    match io::duplicate_number(number) {
        Ok(fd) => Ok(fd),
        // Closed by the caller: as good as /dev/null.
        Err(e) if e.0 == libc::EBADF => null(),
        Err(e) => Err(Error::os(format!("use descriptor {number}"), e)),
    }
}

fn null() -> Result<OwnedFd> {
    fs::open_at(fs::cwd(), c"/dev/null", libc::O_RDWR, 0)
        .and_then(io::move_high)
        .map_err(|e| Error::os("open /dev/null", e))
}

/// Whether a descriptor of the caller's is /dev/null, or closed: then no pump is needed.
fn is_null(number: i32) -> bool {
    inherit(number)
        .ok()
        .and_then(|fd| fs::stat(fd.as_fd()).ok())
        .is_some_and(|s| s.is(libc::S_IFCHR) && s.rdev == libc::makedev(1, 3))
}

fn source(stdio: Stdio, pipes: &mut Pipes) -> Result<Option<Source>> {
    Ok(match stdio {
        Stdio::Descriptor(fd) => Some(Source::Descriptor(fd)),
        Stdio::Bytes(bytes) => Some(Source::Bytes(bytes)),
        Stdio::Piped => {
            let (read, write) = io::pipe().map_err(|e| Error::os("make a pipe", e))?;
            pipes.stdin = Some(write);
            Some(Source::Descriptor(read))
        }
        Stdio::Null | Stdio::Inherit => None,
        Stdio::Capture => {
            return Err(Error::new(Kind::InvalidConfig, "standard input cannot be captured"));
        }
    })
}

fn sink(stdio: Stdio, number: i32, theirs: &mut Option<OwnedFd>) -> Result<Sink> {
    Ok(match stdio {
        Stdio::Inherit => Sink::descriptor(inherit(number)?),
        Stdio::Null => Sink::descriptor(null()?),
        Stdio::Capture => Sink::Capture(Vec::new()),
        Stdio::Descriptor(fd) => Sink::descriptor(fd),
        Stdio::Piped => {
            let (read, write) = io::pipe().map_err(|e| Error::os("make a pipe", e))?;
            *theirs = Some(read);
            Sink::descriptor(write)
        }
        Stdio::Bytes(_) => {
            return Err(Error::new(Kind::InvalidConfig, "an output cannot come from bytes"));
        }
    })
}
