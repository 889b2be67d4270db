//! Signals to a container.

#![forbid(unsafe_code)]

use super::state::{Container, Status};
use crate::error::{Error, Kind, Result};
use crate::plan::oci;
use crate::plan::values::quote;
use crate::sys::process;
use std::os::fd::AsFd;

/// Sends a signal to its init, or to all of its processes.
pub(crate) fn kill(container: &Container, signal: i32, all: bool) -> Result<()> {
    let saved = container.saved()?;
    let id = quote(container.id());
    // Without a pid namespace of its own the end of its init does not end the others.
    let all = all || (signal == libc::SIGKILL && !has_own_pids(container)?);
    let Some(init) = saved.init()? else {
        // A container that shares the host's pid namespace has no init whose end ends all. Where it did,
        // who is in the cgroup by now is somebody else's.
        if all && !has_own_pids(container)? && super::signal_all(&saved, signal)? {
            return Ok(());
        }
        return Err(Error::new(Kind::InvalidConfig, "container not running")
            .hint(format!("{id} has ended: stockade delete removes it")));
    };
    if all && saved.status != Status::Creating && super::signal_all(&saved, signal)? {
        return Ok(());
    }
    process::pidfd_send_signal(init.as_fd(), signal)
        .map_err(|e| Error::os(format!("send signal {signal} to container {id}"), e))?;
    if signal != libc::SIGKILL {
        return Ok(());
    }
    // A frozen process of cgroup v1 dies when it is thawed. It may have gone with its cgroup meanwhile.
    super::thaw(&saved).or_else(|e| if saved.init()?.is_none() { Ok(()) } else { Err(e) })
}

fn has_own_pids(container: &Container) -> Result<bool> {
    Ok(super::has_own_pids(&oci::parse(&container.config()?)?))
}
