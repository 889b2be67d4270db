//! Containers: processes that outlive the program that made them, and what is kept of them.
//!
//! `store` is the state directory, `state` what is in it; `create`, `start`, `kill` and `delete`
//! are the steps of a container's life, and `run` all of them together. `launch` makes the
//! process, with the namespaces, hooks and console of the files of those names.

#![forbid(unsafe_code)]

pub(crate) mod cgroups;
pub(crate) mod console;
pub(crate) mod create;
pub(crate) mod delete;
mod foreground;
mod hooks;
pub(crate) mod kill;
mod launch;
mod namespaces;
pub(crate) mod run;
pub(crate) mod start;
pub mod state;
pub mod store;

use crate::error::{Error, Kind, Result};
use crate::host::cgroup::container::{ContainerCgroup, Stats};
use crate::plan::values::quote;
use oci_spec::runtime::LinuxResources;
use state::{Saved, Status};
use std::path::Path;

/// What `create` is asked for.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // as in `crate::container::CreateOptions`
pub(crate) struct Request<'a> {
    pub(crate) bundle: &'a Path,
    pub(crate) config: Option<&'a Path>,
    pub(crate) console_socket: Option<&'a Path>,
    pub(crate) pid_file: Option<&'a Path>,
    pub(crate) pidfd_socket: Option<&'a Path>,
    pub(crate) preserve_fds: u32,
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
    pub(crate) cgroups: bool,
    pub(crate) rootless: Option<bool>,
}

/// Makes a container.
pub(crate) fn create(
    store: store::Store,
    id: &str,
    request: &Request<'_>,
) -> Result<state::Container> {
    create::create(store, id, request, false).map(|made| made.container)
}

/// Whether this process is in a user namespace of somebody's: the first one maps every id to
/// itself.
fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
        let mut fields = map.split_ascii_whitespace();
        (fields.next(), fields.next(), fields.next()) != (Some("0"), Some("0"), Some("4294967295"))
    })
}

fn is_frozen(saved: &Saved) -> bool {
    let frozen = |c: ContainerCgroup| c.is_frozen().unwrap_or(false);
    cgroups::open(saved).ok().flatten().is_some_and(frozen)
}

fn processes(saved: &Saved) -> Result<Vec<i32>> {
    match cgroups::open(saved)? {
        Some(cgroup) if cgroup.exists() => cgroup.processes(),
        _ => Ok(saved.init()?.map(|_| saved.pid).into_iter().collect()),
    }
}

/// Sends a signal to every process of its cgroup; `false`: it has none of its own.
fn signal_all(saved: &Saved, signal: i32) -> Result<bool> {
    match cgroups::open(saved)? {
        Some(cgroup) if cgroup.exists() => cgroup.signal_all(signal).map(|()| true),
        _ => Ok(false),
    }
}

/// Lets frozen processes go on, so that they can end.
fn thaw(saved: &Saved) -> Result<()> {
    match cgroups::open(saved)? {
        Some(cgroup) if cgroup.exists() && cgroup.is_frozen()? => cgroup.thaw(),
        _ => Ok(()),
    }
}

/// The cgroups of a container whose init runs, with its state as it is locked.
fn running(container: &state::Container) -> Result<(store::Entry, Saved, ContainerCgroup)> {
    let entry = container.entry()?.lock()?;
    let saved = Saved::read(&entry)?;
    if saved.init()?.is_none() {
        return Err(Error::new(Kind::InvalidConfig, "container not running"));
    }
    match cgroups::open(&saved)? {
        Some(cgroup) if cgroup.exists() => Ok((entry, saved, cgroup)),
        _ => Err(Error::new(
            Kind::Unsupported,
            format!("container {} has no cgroup of its own", quote(container.id())),
        )),
    }
}

pub(crate) fn pause(container: &state::Container) -> Result<()> {
    let (_entry, saved, cgroup) = running(container)?;
    if !matches!(saved.status, Status::Running | Status::Created) {
        return Err(Error::new(
            Kind::InvalidConfig,
            format!("container not running or created: {}", saved.status),
        ));
    }
    cgroup.freeze()
}

pub(crate) fn resume(container: &state::Container) -> Result<()> {
    let (_entry, _, cgroup) = running(container)?;
    if !cgroup.is_frozen()? {
        return Err(Error::new(Kind::InvalidConfig, "container not paused"));
    }
    cgroup.thaw()
}

pub(crate) fn update(container: &state::Container, resources: &LinuxResources) -> Result<()> {
    let (_entry, _, mut cgroup) = running(container)?;
    cgroup.apply(resources)
}

pub(crate) fn stats(container: &state::Container) -> Result<Stats> {
    let saved = container.saved()?;
    match cgroups::open(&saved)? {
        Some(cgroup) if cgroup.exists() => cgroup.stats(),
        _ => Err(Error::new(
            Kind::Unsupported,
            format!("container {} has no cgroup of its own", quote(container.id())),
        )),
    }
}

/// Kills what is still in its cgroups, and removes them.
fn remove_cgroup(saved: &Saved) -> Result<()> {
    match cgroups::open(saved)? {
        Some(mut cgroup) if cgroup.exists() => {
            cgroup.kill_all()?;
            cgroup.delete()
        }
        _ => Ok(()),
    }
}
