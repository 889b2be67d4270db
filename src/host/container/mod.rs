//! Containers: processes that outlive the program that made them, and what is kept of them.
//!
//! `store` is the state directory, `state` what is in it; `create`, `start`, `kill` and `delete`
//! are the steps of a container's life, and `run` all of them together; `checkpoint` and `restore` are
//! about saving it to files and back. `launch` makes the
//! process, with the namespaces, hooks and console of the files of those names.

#![forbid(unsafe_code)]

mod agent;
pub(crate) mod amend;
pub(crate) mod cgroups;
pub(crate) mod checkpoint;
pub(crate) mod console;
pub(crate) mod control;
pub(crate) mod create;
pub mod criu_options;
pub(crate) mod delete;
pub(crate) mod exec;
mod externals;
mod foreground;
mod hooks;
mod in_place;
mod inside;
pub(crate) mod kill;
mod launch;
mod mountpoints;
mod namespaces;
mod netdevices;
mod notify;
mod oom_score;
mod pid_file;
mod prepare;
mod relay;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod sealed;
pub(crate) mod start;
pub mod state;
pub mod store;
mod undo;

use crate::error::Result;
use crate::host::cgroup::container::{ContainerCgroup, Manager};
use crate::plan::oci::spec::Config;
use crate::plan::values::quote;
use state::Saved;
use std::ffi::OsStr;
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
    pub(crate) listen_fds: u32,
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
    pub(crate) cgroups: Manager,
    pub(crate) rootless: Option<bool>,
    pub(crate) may_restart: bool,
    pub(crate) notify: Option<&'a OsStr>,
}

/// What is known of a process once its program runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Started {
    /// As the host knows it.
    pub pid: i32,
    /// What of the configuration had no effect.
    pub warnings: Vec<String>,
    /// The processors on which it joined the container, if some were asked for, as a bit mask, the
    /// highest word last.
    pub affinity: Option<[u64; 16]>,
    /// Flags that its filter was loaded with (seccomp(2)); `None`: it has no filter.
    pub filter_flags: Option<u32>,
}

/// Makes a container.
pub(crate) fn create(
    store: store::Store,
    id: &str,
    request: &Request<'_>,
) -> Result<state::Container> {
    create::create(store, id, request, create::Until::Created).map(|made| made.container)
}

/// Whether this process is in a user namespace of somebody's: the first one maps every id to
/// itself.
pub(crate) fn in_user_namespace() -> bool {
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

/// Whether its pid namespace was made for it, and is not the host's or another container's: then all of
/// it ends with its init.
fn has_own_pids(config: &Config) -> bool {
    let linux = config.linux.as_ref();
    let pid = linux.and_then(|l| l.namespaces.iter().find(|n| n.kind == "pid"));
    pid.is_some_and(|n| n.path.as_os_str().is_empty())
}

/// Kills what is still in its cgroups, and removes them. `all_ended`: nothing of the container's runs any
/// more, so that who is inside is somebody else's. Then they stay, which is a warning.
fn remove_cgroup(saved: &Saved, all_ended: bool) -> Result<Option<String>> {
    match cgroups::open(saved)? {
        Some(cgroup) if all_ended && cgroup.is_taken()? => Ok(Some(format!(
            "the cgroup of container {} is somebody else's by now and stays: {}",
            quote(&saved.id),
            cgroup.describe()
        ))),
        Some(mut cgroup) if cgroup.is_left() => {
            cgroup.kill_all()?;
            cgroup.delete().map(|()| None)
        }
        _ => Ok(None),
    }
}
