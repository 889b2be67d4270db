//! The seccomp agent of `linux.seccomp.listenerPath`, which answers for the calls that the filter asks
//! about: it gets the filter's listener and is told what process that is of
//! (runtime-spec, config-linux.md, "The Container Process State").

#![forbid(unsafe_code)]

use super::state::{OCI_VERSION, Saved, Status};
use super::{console, hooks};
use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::plan::seccomp::Asking;
use crate::plan::values::quote;
use crate::sys::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;

/// An agent that listens, connected to before anything is made.
#[derive(Debug)]
pub(super) struct Agent<'a> {
    socket: UnixStream,
    asking: &'a Asking,
}

impl Agent<'_> {
    /// Connects to the one that the plan names.
    pub(super) fn connect(plan: &Plan) -> Result<Option<Agent<'_>>> {
        let Some(asking) = &plan.process.seccomp.asking else { return Ok(None) };
        let connected = match asking.path.as_os_str().as_bytes() {
            [b'@', name @ ..] => console::connect_now(&[b"\0", name].concat()),
            path => console::connect_now(path),
        };
        let socket = connected.map_err(|e| {
            let shown = quote(&asking.path.to_string_lossy());
            // runc's words: its callers look for them.
            let what = "failed to connect with seccomp agent specified in the seccomp profile";
            let e = Error::os(format!("{what}, {shown}"), e)
                .hint("start what listens on linux.seccomp.listenerPath before the container");
            console::explain(e)
        })?;
        Ok(Some(Agent { socket, asking }))
    }

    /// Hands it the listener of the filter of this process of the container.
    pub(super) fn take(
        &self,
        listener: &OwnedFd,
        pid: i32,
        saved: &Saved,
        status: Status,
    ) -> Result<()> {
        let state = serde_json::json!({
            "ociVersion": OCI_VERSION,
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": self.asking.metadata,
            "state": hooks::state_value(saved, status),
        });
        // At once: who reads it takes what comes with the descriptor for the whole.
        let bytes = state.to_string().into_bytes();
        io::send(self.socket.as_fd(), &bytes, Some(listener.as_fd()))
            .map_err(std::io::Error::from)
            // The whole is all there is: an agent that reads to the end need not wait for ours.
            .and_then(|()| self.socket.shutdown(Shutdown::Both))
            .map_err(|e| {
                let shown = quote(&self.asking.path.to_string_lossy());
                // A part of it went, or nothing, before the time was up.
                let unread = matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EIO));
                let e =
                    Error::os(format!("send the seccomp agent {shown} the filter's listener"), e);
                if unread { e.hint("it does not read what it is sent") } else { e }
            })
    }
}

/// What a listener is that no agent was named for.
pub(super) fn unasked() -> Error {
    Error::new(Kind::Refused, "a listener that nobody asked for")
}
