//! Letting a created container's process go on to its program.

#![forbid(unsafe_code)]

use super::hooks;
use super::launch::{self, START};
use super::notify::Notify;
use super::state::{Container, Saved, Status};
use super::store::Entry;
use crate::error::{Error, Kind, Result};
use crate::plan::oci::{self, spec::Config};
use crate::plan::values::quote;
use crate::sys::io;
use crate::wire::{Message, SIZE, Step};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

/// Starts it.
pub(crate) fn start(container: &Container, manager: Option<&OsStr>) -> Result<()> {
    let config = &oci::parse(&container.config()?)?;
    let entry = container.entry()?.lock()?;
    let mut saved = Saved::read(&entry)?;
    let init = saved.init()?;
    let alive = init.is_some();
    let id = quote(container.id());
    // A frozen one could not answer.
    let status = match saved.status {
        Status::Created => container.state_of(saved.clone(), alive).status,
        other => other,
    };
    match (status, alive) {
        (Status::Created, true) => {}
        (_, false) => {
            return Err(Error::new(
                Kind::InvalidConfig,
                format!("cannot start container {id}: it has stopped"),
            )
            .hint("a container is started once; delete it and create it again"));
        }
        (status, true) => {
            return Err(Error::new(
                Kind::InvalidConfig,
                format!("cannot start container {id}: it is {status}"),
            )
            .hint("only a created container can be started, and no paused one"));
        }
    }
    let notify = manager.map(|m| Notify::bind(&entry, m)).transpose()?.flatten();
    let socket = connect(&entry)?;
    // Before the word is given: a killed starter leaves nothing that could be started twice.
    saved.status = Status::Running;
    saved.store(&entry)?;
    entry.remove_file(START)?;
    let told = io::write_whole(socket.as_fd(), &Message::Start.to_bytes());
    // If it has ended already its last word says why.
    outcome(&socket, config)?;
    told.map_err(|e| Error::os("tell the container's process to go on", e))?;
    // It runs: what these hooks call of us, such as `update`, is about a container like any other.
    entry.unlock();
    // The specification (runtime.md, Lifecycle, 9): what was made is undone.
    poststart(&saved, config).inspect_err(|_| {
        // The hook's error is the one to tell; what could not be removed is there for `delete`.
        let again = container.entry().and_then(Entry::lock);
        let _ = again.map(|now| if now.is(&entry) { undo(&now, &saved) } else { Ok(()) });
    })?;
    match (notify, init) {
        (Some(notify), Some(init)) => notify.wait(init.as_fd(), saved.pid),
        _ => Ok(()),
    }
}

/// Ends the container, also where it has no cgroup that would find its processes, and removes it.
fn undo(entry: &Entry, saved: &Saved) -> Result<()> {
    if let Some(init) = saved.init()? {
        super::delete::end(saved, &init)?;
    }
    super::delete::remove(entry, saved).map(drop)
}

/// Runs the hooks that follow the start.
pub(super) fn poststart(saved: &Saved, config: &Config) -> Result<()> {
    let hooks = oci::hooks_of(config)?;
    if hooks.poststart.is_empty() {
        return Ok(());
    }
    // A hook that fails ends the container, as runc has it.
    hooks::run("poststart", &hooks.poststart, saved, Status::Running).inspect_err(|_| {
        if let Ok(Some(init)) = saved.init() {
            let _ = super::delete::end(saved, &init);
        }
    })
}

fn connect(entry: &Entry) -> Result<UnixStream> {
    let path = format!("/proc/self/fd/{}/{START}", entry.dir().as_raw_fd());
    UnixStream::connect(path)
        .map_err(|e| Error::os("reach the container's process, which waits for its start", e))
}

/// Waits until the program is executed, which closes the socket, or until it is known why not.
fn outcome(socket: &UnixStream, config: &Config) -> Result<()> {
    let mut buf = [0u8; SIZE];
    let mut got = 0;
    while let Some(room) = buf.get_mut(got..).filter(|room| !room.is_empty()) {
        match io::read(socket.as_fd(), room) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.0 == libc::EINTR => {}
            Err(e) if e.0 == libc::ECONNRESET => break,
            Err(e) => return Err(Error::os("hear from the container's process", e)),
        }
    }
    match Message::from_bytes(&buf) {
        Some(Message::Failed(fail)) => Err(explain(fail, config)),
        // Either it was executed, or it was killed: then its state says so.
        _ => Ok(()),
    }
}

fn explain(fail: crate::wire::Fail, config: &Config) -> Error {
    let hooks = oci::hooks_of(config).unwrap_or_default();
    let at = usize::try_from(fail.index).unwrap_or(0);
    if fail.step == Step::StartHook
        && let Some(hook) = hooks.start_container.get(at)
    {
        return hooks::failed("startContainer", at, hook, fail.errno, "");
    }
    let program = config.process.as_ref().and_then(|p| p.args.first()).map_or("", String::as_str);
    match fail.step {
        Step::FindProgram => launch::explain_exec(program, fail.errno),
        Step::Exec => launch::explain_execve(program, fail.errno),
        Step::Seccomp => Error::step(fail.step, "load the seccomp filter", fail.errno),
        step => Error::step(step, "start the container's process", fail.errno),
    }
}
