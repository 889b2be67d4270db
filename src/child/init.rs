//! The minimal init, PID 1 of a jail: starts the job, reaps, forwards signals, ends with the
//! job. When it ends the kernel kills everything else in the pid namespace, daemons included.
//!
//! It never execs: it is the child itself, undumpable, with no capability but CAP_KILL, no
//! descriptor but the socket and a signalfd, and its memory is shared with the supervisor copy-on-write.

#![forbid(unsafe_code)]

use super::landlock::Ruleset;
use super::{Armed, At, Done, ERROR_FD, Failure, become_job, fail, privs};
use crate::sys::io::{self, PollFd};
use crate::sys::process::{self, Waited};
use crate::sys::signal;
use crate::wire::{Exit, Message, Step};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Starts the job and serves until it ends.
pub fn run(armed: &Armed, stdio: [RawFd; 3], ruleset: Option<&Ruleset>) -> ! {
    let socket = armed.socket.as_fd();
    // Before the job is there to read them: they name paths and labels of the host.
    process::blank_arguments();
    if let Err(failure) = process::set_name(c"stockade:[init]").at(Step::SpawnInit) {
        fail(socket, &failure);
    }
    // Sleeps until the job has exec'd or failed; a failure it has then reported itself.
    let job = match process::spawn_job(as_job, &(armed, stdio, ruleset)).at(Step::SpawnInit) {
        Ok(pid) => pid,
        Err(failure) => fail(socket, &failure),
    };
    if let Err(e) = io::dup_cloexec(armed.socket.as_raw_fd(), ERROR_FD) {
        fail(socket, &Failure(Step::SpawnInit, 0, e));
    }
    // From here on the socket is at this number; the other one is about to be closed.
    let socket = io::well_known(ERROR_FD);
    match settle(armed, socket) {
        Ok(signals) => serve(job, socket, signals.as_fd()),
        Err(failure) => fail(socket, &failure),
    }
}

/// What the job's process starts with.
type Job<'a> = (&'a Armed, [RawFd; 3], Option<&'a Ruleset>);

fn as_job(&(armed, stdio, ruleset): &Job<'_>) -> ! {
    become_job(armed, stdio, ruleset)
}

/// Lets go of everything: descriptors, rights.
fn settle(armed: &Armed, socket: BorrowedFd<'_>) -> Done<OwnedFd> {
    let gone = |e| Failure(Step::SpawnInit, 0, e);
    io::send(socket, &Message::Started(super::program::began()).to_bytes(), None).map_err(gone)?;
    io::close_range(ERROR_FD.unsigned_abs() + 1, u32::MAX).map_err(gone)?;
    io::close_range(0, ERROR_FD.unsigned_abs() - 1).map_err(gone)?;
    privs::drop_for_init(&armed.privs, armed.setup_ids)?;
    // Every signal is blocked since before the clone, so none is lost: those that came are
    // pending and show here.
    signal::signalfd(signal::ALL).map_err(gone)
}

fn serve(job: i32, socket: BorrowedFd<'_>, signals: BorrowedFd<'_>) -> ! {
    let mut total = Exit::default();
    loop {
        let mut fds = [
            PollFd::new(signals.as_raw_fd(), libc::POLLIN),
            PollFd::new(socket.as_raw_fd(), libc::POLLIN),
        ];
        if io::poll(&mut fds, None).is_err() {
            process::exit_group(125);
        }
        let [from_signals, from_socket] = fds;
        if from_socket.revents() != 0 {
            // Nothing is ever sent here after Proceed: this is the end of file that a dead
            // supervisor leaves. Ending takes the whole jail along.
            process::exit_group(128 + libc::SIGKILL);
        }
        if from_signals.revents() == 0 {
            continue;
        }
        while let Ok(Some(number)) = signal::read_signalfd(signals) {
            if number != libc::SIGCHLD {
                // The job may be gone already; then there is nobody to tell.
                let _ = process::kill(job, number);
            }
        }
        // Always, whatever came: several SIGCHLD become one.
        while let Ok(Some(child)) = process::wait4(-1, libc::WNOHANG) {
            add(&mut total, &child);
            if child.pid == job {
                total.status = child.status;
                // If the supervisor is gone nobody wants to know.
                let _ = io::send(socket, &Message::Exited(total).to_bytes(), None);
                process::exit_group(0);
            }
        }
    }
}

fn add(total: &mut Exit, child: &Waited) {
    total.utime_us = total.utime_us.wrapping_add(child.utime_us);
    total.stime_us = total.stime_us.wrapping_add(child.stime_us);
    total.maxrss_kib = total.maxrss_kib.max(child.maxrss_kib);
}
