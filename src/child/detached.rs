//! A process that outlives its maker: hooks in its namespaces, and the wait until somebody says
//! that the command is to be executed.

#![forbid(unsafe_code)]

use super::{Armed, ArmedPrivs, At, Done, Failure};
use crate::sys::process::CStringArray;
use crate::sys::{Errno, fs, io, process, signal};
use crate::wire::{Message, SIZE, Step};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What such a process needs.
#[derive(Debug)]
pub struct ArmedDetached {
    /// Where the one who starts it connects; `None`: it is started by its making.
    pub listener: Option<OwnedFd>,
    /// The state, which hooks get as their standard input.
    pub state: Option<OwnedFd>,
    /// Where what hooks print goes, for the one who makes the container.
    pub output: Option<OwnedFd>,
    /// Where else it goes: standard output, standard error.
    pub files: [Option<OwnedFd>; 2],
    /// Whether the host has something to do before the root is changed: hooks, network devices.
    pub pause: bool,
    /// Hooks before the root is changed.
    pub create: Vec<ArmedHook>,
    /// Hooks before the command is executed.
    pub start: Vec<ArmedHook>,
}

/// A hook, armed.
#[derive(Debug)]
pub struct ArmedHook {
    /// Its program.
    pub path: CString,
    /// Its arguments.
    pub argv: CStringArray,
    /// Its environment.
    pub envp: CStringArray,
    /// Nanoseconds.
    pub timeout: Option<u64>,
}

impl ArmedDetached {
    /// Whether the root is changed only after hooks.
    pub(super) fn has_pause(&self) -> bool {
        self.pause || !self.create.is_empty()
    }

    /// Lets the host run its hooks, then runs those that belong in these namespaces.
    pub(super) fn before_root_changes(&self, armed: &Armed, root: BorrowedFd<'_>) -> Done {
        let socket = armed.socket.as_fd();
        if self.pause {
            io::send(socket, &Message::Hooks.to_bytes(), None).at(Step::Handshake)?;
            let mut buf = [0u8; SIZE];
            let (n, _) = io::recv(socket, &mut buf, false).at(Step::Handshake)?;
            if buf.get(..n).and_then(Message::from_bytes) != Some(Message::Hooked) {
                return Err(Failure(Step::Handshake, 0, Errno(libc::EPIPE)));
            }
        }
        let raw = |fd: &Option<OwnedFd>| fd.as_ref().map(AsRawFd::as_raw_fd);
        // In the root to be, as in runc.
        let outputs = self.files.each_ref().map(|file| raw(file).or(raw(&self.output)));
        self.run_all(
            &self.create,
            Step::CreateHook,
            (raw(&self.state), outputs),
            (None, Some(root)),
        )
    }

    /// Where what the last hooks print goes: to the files, or to who makes the container, if that is
    /// still there to tell it.
    pub(super) fn start_outputs(&self) -> [Option<&OwnedFd>; 2] {
        if self.start.is_empty() {
            return [None, None];
        }
        let told = self.output.as_ref().filter(|_| self.listener.is_none());
        self.files.each_ref().map(|file| file.as_ref().or(told))
    }

    fn run_all(
        &self,
        hooks: &[ArmedHook],
        step: Step,
        (state, outputs): (Option<RawFd>, [Option<RawFd>; 2]),
        (filter, cwd): (Option<&ArmedPrivs>, Option<BorrowedFd<'_>>),
    ) -> Done {
        for (index, hook) in (0..).zip(hooks) {
            let state = state.ok_or(Failure(step, index, Errno(libc::EBADF)))?;
            fs::seek(io::well_known(state), 0, libc::SEEK_SET).at_index(step, index)?;
            run_hook(hook, state, outputs, filter, cwd).at_index(step, index)?;
        }
        Ok(())
    }
}

/// What a hook's process starts with.
#[derive(Clone, Copy)]
struct Call<'a> {
    hook: &'a ArmedHook,
    state: RawFd,
    outputs: [Option<RawFd>; 2],
    /// Whose filter it gets.
    filter: Option<&'a ArmedPrivs>,
    /// Its working directory; `None`: its maker's.
    cwd: Option<BorrowedFd<'a>>,
}

/// An errno no more: a signal has ended the hook, [`SIGNALLED`] and its number.
pub(crate) const SIGNALLED: i32 = 0x1000;
/// The hook's own exit status.
pub(crate) const EXITED: i32 = 0x2000;

/// Runs a hook to its end, with these descriptors as its standard input and its outputs; `ETIME` if
/// that did not come in time, [`SIGNALLED`] or [`EXITED`] if it failed.
pub(crate) fn run_hook(
    hook: &ArmedHook,
    state: RawFd,
    outputs: [Option<RawFd>; 2],
    filter: Option<&ArmedPrivs>,
    cwd: Option<BorrowedFd<'_>>,
) -> crate::sys::Result<()> {
    let call = Call { hook, state, outputs, filter, cwd };
    let (pid, pidfd) = process::spawn_watched(become_hook, &call)?;
    let mut fds = [io::PollFd::new(pidfd.as_raw_fd(), libc::POLLIN)];
    io::poll_through(&mut fds, hook.timeout)?;
    let [ended] = fds;
    let late = ended.revents() == 0;
    if late {
        process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL)?;
    }
    let status = loop {
        match process::wait4(pid, 0) {
            Ok(Some(waited)) => break waited.status,
            Ok(None) => {}
            Err(e) if e.0 == libc::EINTR => {}
            Err(e) => return Err(e),
        }
    };
    match status {
        _ if late => Err(Errno(libc::ETIME)),
        0 => Ok(()),
        ended if libc::WIFSIGNALED(ended) => Err(Errno(SIGNALLED + libc::WTERMSIG(ended))),
        ended => Err(Errno(EXITED + libc::WEXITSTATUS(ended))),
    }
}

fn become_hook(&Call { hook, state, outputs: [out, err], filter, cwd }: &Call<'_>) -> ! {
    let ready = || -> crate::sys::Result<()> {
        io::dup_inheritable(state, 0)?;
        io::dup_inheritable(out.unwrap_or(2), 1)?;
        io::dup_inheritable(err.unwrap_or(2), 2)?;
        cwd.map_or(Ok(()), fs::change_dir_fd)?;
        // What the caller keeps open for the job is not for hooks.
        io::close_range(3, u32::MAX)?;
        signal::reset_dispositions();
        signal::set_mask(0).map(drop)?;
        filter.map_or(Ok(()), super::privs::load_for_hook)
    };
    if ready().is_ok() {
        let _ = process::execve(&hook.path, &hook.argv, &hook.envp);
    }
    process::exit_group(127)
}

/// Waits for the word to go on, on the descriptors that are left by now; then runs what hooks there
/// are.
pub(super) fn wait_for_start(armed: &Armed, detached: &ArmedDetached) -> Done {
    let places = armed.places();
    // From here on it lives without its maker.
    process::set_parent_death_signal(0).at(Step::ParentDeath)?;
    if detached.listener.is_some() {
        listen(armed)?;
    }
    let [out, err] = detached.start_outputs().map(|fd| fd.is_some());
    let [to_out, to_err] = places.outputs;
    let outputs = [out.then_some(to_out), err.then_some(to_err)];
    // Under the job's filter and in its working directory, as in runc.
    let state = (Some(places.state), outputs);
    detached.run_all(&detached.start, Step::StartHook, state, (Some(&armed.privs), None))?;
    io::close_range(places.listener.unsigned_abs(), u32::MAX).at(Step::CloseFds)
}

/// What ends a container before its start: SIGHUP, SIGINT, SIGQUIT, SIGTERM, as bits from 0 on.
const ENDING: u64 = 1 << (libc::SIGHUP - 1)
    | 1 << (libc::SIGINT - 1)
    | 1 << (libc::SIGQUIT - 1)
    | 1 << (libc::SIGTERM - 1);

/// Says that it waits, and waits.
fn listen(armed: &Armed) -> Done {
    let places = armed.places();
    let ready = Message::Ready.to_bytes();
    io::write_whole(io::well_known(places.error), &ready).at(Step::Handshake)?;
    let listener = io::well_known(places.listener);
    // The kernel keeps from the first process of a pid namespace what it does not handle; who ends a
    // container that was not started expects it to end.
    let mask = signal::set_mask(ENDING).at(Step::Wait)?;
    let signals = signal::signalfd(ENDING).at(Step::Wait)?;
    loop {
        let mut fds = [
            io::PollFd::new(places.listener, libc::POLLIN),
            io::PollFd::new(signals.as_raw_fd(), libc::POLLIN),
        ];
        match io::poll(&mut fds, None) {
            Err(e) if e.0 == libc::EINTR => continue,
            other => other.at(Step::Wait)?,
        };
        let [ready, ending] = fds;
        if ending.revents() != 0
            && let Some(number) = signal::read_signalfd(signals.as_fd()).at(Step::Wait)?
        {
            process::exit_group(128 + number);
        }
        if ready.revents() == 0 {
            continue;
        }
        let peer = io::accept(listener).at(Step::Wait)?;
        let mut buf = [0u8; SIZE];
        let mut got = 0;
        while let Some(room) = buf.get_mut(got..).filter(|room| !room.is_empty()) {
            match io::read(peer.as_fd(), room) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.0 == libc::EINTR => {}
                // The filter's listener, or the kernel where that has ended, has answered no: the one
                // who starts us is told.
                Err(e) if armed.privs.asking.is_some() && e.0 != libc::ECONNRESET => {
                    armed.move_error_fd(peer.as_raw_fd())?;
                    return Err(Failure(Step::Wait, 0, e));
                }
                Err(_) => break,
            }
        }
        // One who came and went without the word changes nothing.
        if Message::from_bytes(&buf) == Some(Message::Start) {
            signal::set_mask(mask).at(Step::Wait)?;
            return armed.move_error_fd(peer.as_raw_fd());
        }
    }
}
