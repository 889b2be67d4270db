//! Waiting for a container in the foreground: signals go to its init, the terminal's bytes both
//! ways, orphans are reaped.

#![forbid(unsafe_code)]

use super::notify::Notify;
use super::relay::Relay;
use crate::error::{Error, Result};
use crate::sys::io::{self, PollFd};
use crate::sys::{Errno, process, signal};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Signals of the caller's, blocked since before the container was started.
#[derive(Debug)]
pub(super) struct Signals {
    fd: OwnedFd,
    /// What it was, if there is somebody to whom it matters.
    mask: Option<signal::Mask>,
}

impl Signals {
    /// Blocks and collects them. `for_good`: this program does nothing but wait and say how that ended,
    /// which a signal that came too late must not prevent.
    pub(super) fn collect(for_good: bool) -> Result<Signals> {
        let failed = |e: Errno| Error::os("collect signals", e);
        signal::default_sigchld().map_err(failed)?;
        let mask = signal::set_mask(signal::ALL).map_err(failed)?;
        let fd = signal::signalfd(signal::ALL).map_err(failed)?;
        Ok(Signals { fd, mask: (!for_good).then_some(mask) })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // A failure would be one of the arguments.
        let _ = self.mask.map(signal::set_mask);
    }
}

/// Waits for the end of the init, which is our child: its exit status as a shell has it.
pub(super) fn wait(
    pid: i32,
    pidfd: &OwnedFd,
    signals: &Signals,
    (mut relay, mut notify): (Option<Relay>, Option<Notify>),
    reap_others: bool,
) -> Result<i32> {
    let failed = |e: Errno| Error::os("wait for the container", e);
    loop {
        let none = || PollFd::new(-1, 0);
        let [output, input] = relay.as_ref().map_or_else(|| [none(), none()], Relay::poll_fds);
        let mut fds = [
            PollFd::new(signals.fd.as_raw_fd(), libc::POLLIN),
            PollFd::new(pidfd.as_raw_fd(), libc::POLLIN),
            output,
            input,
            notify.as_ref().map_or_else(none, |n| PollFd::new(n.fd().as_raw_fd(), libc::POLLIN)),
        ];
        io::poll(&mut fds, None).map_err(failed)?;
        let [signalled, ended, output, input, said] = fds;
        if let Some(relay) = &mut relay {
            relay.step([output, input]);
        }
        if said.revents() != 0
            && let Some(ready) = notify.as_ref().and_then(Notify::ready)
            && let Some(notify) = notify.take()
        {
            // We are the service's process. A manager that has gone does not end the container.
            let _ = notify.tell(&ready, process::own_pid());
        }
        if signalled.revents() != 0 {
            forward(signals, pidfd, relay.as_ref(), reap_others, pid).map_err(failed)?;
        }
        if ended.revents() != 0 {
            break;
        }
    }
    if let Some(relay) = &mut relay {
        drain(relay, signals).map_err(failed)?;
        relay.end();
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

/// Carries what the container had written before it ended, for as long as it takes to be read: unless a
/// signal comes that would have ended the container.
fn drain(relay: &mut Relay, signals: &Signals) -> std::result::Result<(), Errno> {
    while let Some(room) = relay.drain() {
        let mut fds = [PollFd::new(signals.fd.as_raw_fd(), libc::POLLIN), room];
        io::poll(&mut fds, None)?;
        let [signalled, _] = fds;
        while signalled.revents() != 0
            && let Some(number) = signal::read_signalfd(signals.fd.as_fd())?
        {
            if [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM].contains(&number) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn forward(
    signals: &Signals,
    pidfd: &OwnedFd,
    relay: Option<&Relay>,
    reap_others: bool,
    init: i32,
) -> std::result::Result<(), Errno> {
    // No more at once, so that the rest gets its turn in a storm of them.
    for _ in 0..64 {
        let Some(number) = signal::read_signalfd(signals.fd.as_fd())? else { break };
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
