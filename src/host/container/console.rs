//! The master side of a container's terminal: handed on by a socket, or kept for a run in the
//! foreground.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::plan::values::quote;
use crate::sys::{io, net};
use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Where the master goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Console<'a> {
    /// There is no terminal.
    None,
    /// To whoever listens there.
    Socket(&'a UnixStream),
    /// To ourselves.
    Kept(&'a RefCell<Option<OwnedFd>>),
}

impl Console<'_> {
    /// Whether what comes from it goes to no terminal but to a file or a pipe, which get line ends as
    /// they were written, as from runc.
    pub(super) fn is_read_by_no_terminal(&self) -> bool {
        matches!(self, Console::Kept(_)) && !nix::unistd::isatty(io::well_known(1)).unwrap_or(true)
    }

    pub(super) fn take(&self, master: OwnedFd) -> Result<()> {
        match self {
            Console::None => Err(Error::new(Kind::Refused, "a terminal that nobody asked for")),
            // The name is what go-runc's readers are used to.
            Console::Socket(socket) => send(socket, b"/dev/ptmx", &master),
            Console::Kept(place) => {
                *place.borrow_mut() = Some(master);
                Ok(())
            }
        }
    }
}

/// Connects to a socket that somebody listens on, before anything is made.
pub(super) fn connect(path: &Path, what: &str) -> Result<UnixStream> {
    let shown = quote(&path.to_string_lossy());
    let failed = |e| Error::os(format!("connect to the {what} socket {shown}"), e);
    let seen = std::fs::metadata(path).map_err(failed)?;
    if !seen.file_type().is_socket() {
        return Err(Error::new(Kind::InvalidConfig, format!("{shown} is no socket")));
    }
    connect_now(path.as_os_str().as_bytes()).map_err(|e| explain(failed(e)))
}

/// How long what is sent may wait for its reader.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to who listens at this name, an abstract one if it begins with a NUL. Nobody is waited for: who
/// does not accept would hold up the container, and all who want something of it, for ever.
pub(super) fn connect_now(name: &[u8]) -> std::io::Result<UnixStream> {
    let socket = UnixStream::from(net::connect_now(name)?);
    socket.set_nonblocking(false)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Says what a full queue means.
pub(super) fn explain(e: Error) -> Error {
    if e.errno() == Some(libc::EAGAIN) {
        e.hint("its queue is full: who listens there does not accept")
    } else {
        e
    }
}

/// Sends a descriptor.
pub(super) fn send(socket: &UnixStream, name: &[u8], fd: &OwnedFd) -> Result<()> {
    io::send(socket.as_fd(), name, Some(fd.as_fd()))
        .map_err(|e| Error::os("send a descriptor over a socket", e))
}
