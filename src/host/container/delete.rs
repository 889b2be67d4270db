//! The end of a container: whatever is left of it is removed, and its state last.

#![forbid(unsafe_code)]

use super::create::Left;
use super::state::{CONFIG, Container, Saved, Status};
use super::store::{Entry, Store};
use super::{cgroups, hooks};
use crate::error::{Error, Kind, Result};
use crate::plan::oci;
use crate::plan::values::quote;
use crate::sys::{io, process};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How long the end of a process is waited for that runs: who deletes a container right behind its
/// start, for its program is short, finds it ended with slower runtimes.
const GRACE_NS: u64 = 100_000_000;

/// How long the end of a killed process is waited for.
const PATIENCE_NS: u64 = 10_000_000_000;

/// Removes a container; with `force` its processes are killed first, and one that a killed
/// `create` left half-made is removed too. What comes back are warnings: poststop hooks that failed.
pub(crate) fn delete(store: &Store, id: &str, force: bool) -> Result<Vec<String>> {
    let entry = match store.entry(id).and_then(Entry::lock) {
        Ok(entry) => entry,
        // As runc: what is not there is deleted.
        Err(e) if force && e.kind() == Kind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let saved = match Saved::read(&entry) {
        Ok(saved) => saved,
        // Nothing is known of it: its maker was killed before there was a process.
        Err(e) if force && e.errno() == Some(libc::ENOENT) => {
            return entry.remove().map(|()| Vec::new());
        }
        Err(_) if force => return remove_damaged(&entry).map(|()| Vec::new()),
        Err(e) if e.errno() == Some(libc::ENOENT) => {
            return Err(Error::new(
                Kind::InvalidConfig,
                format!("container {} is half-made", quote(id)),
            )
            .hint("stockade delete --force removes what is left of it"));
        }
        Err(e) => return Err(e),
    };
    // Whoever had it restored is gone: the lock is ours.
    super::restore::end_orphan(&saved)?;
    if let Some(init) = saved.init()? {
        if force || saved.status == Status::Created {
            end(&saved, &init)?;
        } else if !ends_soon(&init)? {
            let status = Container::new(store.clone(), id).state_of(saved, true).status;
            return Err(Error::new(
                Kind::InvalidConfig,
                format!("cannot delete container {} that is not stopped: {status}", quote(id)),
            )
            .hint("end it with stockade kill, or delete it with --force"));
        }
    }
    remove(&entry, &saved)
}

/// Of a container whose state cannot be read its configuration tells where its processes are.
fn remove_damaged(entry: &Entry) -> Result<()> {
    let config = entry.read(CONFIG).and_then(|bytes| oci::parse(&bytes));
    let path = config.as_ref().ok().and_then(|c| c.linux.as_ref()).map(|l| &l.cgroups_path);
    let for_systemd = |p: &str| !p.contains('/') && p.matches(':').count() == 2;
    if let Some(path) = path.filter(|p| p.starts_with('/') || for_systemd(p)) {
        let mut cgroup = cgroups::at(path, entry.id())?;
        cgroup.kill_all()?;
        cgroup.delete()?;
    }
    entry.remove()
}

/// The same for the caller's own container whose init has ended and was reaped: nothing of it has
/// to be found out again.
pub(super) fn delete_ended(store: &Store, left: Left) -> Result<Vec<String>> {
    let Left { entry: made, saved, cgroup, poststop, own_pids } = left;
    let entry = match store.entry(&saved.id).and_then(Entry::lock) {
        Ok(entry) if entry.is(&made) => entry,
        // Somebody else has deleted it meanwhile.
        Err(e) if e.kind() != Kind::NotFound => return Err(e),
        _ => return Ok(Vec::new()),
    };
    let gone = cgroup.map_or(Ok(()), |mut c| c.kill_all().and_then(|()| c.delete()));
    // Somebody else has removed its cgroups, perhaps.
    let stays = gone.map(|()| None).or_else(|_| super::remove_cgroup(&saved, own_pids))?;
    entry.remove()?;
    Ok(stays.into_iter().chain(hooks::run_poststop(&poststop, &saved)?).collect())
}

/// Whether it has ended by now, or does within a moment.
fn ends_soon(init: &OwnedFd) -> Result<bool> {
    let mut fds = [io::PollFd::new(init.as_raw_fd(), libc::POLLIN)];
    io::poll_through(&mut fds, Some(GRACE_NS))
        .map_err(|e| Error::os("look whether the container has ended", e))?;
    let [ended] = fds;
    Ok(ended.revents() != 0)
}

/// Kills everything in it and waits for the end of its init.
pub(super) fn end(saved: &Saved, init: &OwnedFd) -> Result<()> {
    let failed = |e| Error::os(format!("kill container {}", quote(&saved.id)), e);
    match process::pidfd_send_signal(init.as_fd(), libc::SIGKILL) {
        Err(e) if e.0 != libc::ESRCH => return Err(failed(e)),
        _ => {}
    }
    super::thaw(saved)?;
    let mut fds = [io::PollFd::new(init.as_raw_fd(), libc::POLLIN)];
    io::poll_through(&mut fds, Some(PATIENCE_NS)).map_err(failed)?;
    let [ended] = fds;
    if ended.revents() == 0 {
        return Err(Error::new(
            Kind::Os,
            format!("container {} does not end although it was killed", quote(&saved.id)),
        ));
    }
    Ok(())
}

/// Removes what a container has whose init has ended: its cgroup with all of it that is still in it, and
/// its state. Then its poststop hooks run; those that fail are warnings.
pub(super) fn remove(entry: &Entry, saved: &Saved) -> Result<Vec<String>> {
    let config = entry.read(CONFIG).and_then(|bytes| oci::parse(&bytes)).ok();
    let hooks = config.as_ref().and_then(|config| oci::hooks_of(config).ok());
    let hooks = hooks.map(|hooks| hooks.poststop).unwrap_or_default();
    let stays = super::remove_cgroup(saved, config.is_some_and(|c| super::has_own_pids(&c)))?;
    entry.remove()?;
    Ok(stays.into_iter().chain(hooks::run_poststop(&hooks, saved)?).collect())
}
