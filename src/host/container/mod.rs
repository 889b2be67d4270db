//! Containers: processes that outlive the program that made them, and what is kept of them.
//!
//! `store` is the state directory, `state` what is in it; `create`, `start`, `kill` and `delete`
//! are the steps of a container's life, and `run` all of them together.

#![forbid(unsafe_code)]

pub(crate) mod control;
pub(crate) mod delete;
pub(crate) mod kill;
pub(crate) mod run;
pub(crate) mod start;
pub mod state;
pub mod store;

use crate::error::{Error, Kind, Result};
use state::Saved;
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
    _store: store::Store,
    _id: &str,
    _request: &Request<'_>,
) -> Result<state::Container> {
    Err(Error::new(Kind::Unsupported, "create is not there yet"))
}

fn is_frozen(_saved: &Saved) -> bool {
    false
}

fn processes(saved: &Saved) -> Result<Vec<i32>> {
    Ok(saved.init()?.map(|_| saved.pid).into_iter().collect())
}

/// Sends a signal to every process of its cgroup; `false`: it has none of its own.
fn signal_all(_saved: &Saved, _signal: i32) -> Result<bool> {
    Ok(false)
}

fn thaw(_saved: &Saved) -> Result<()> {
    Ok(())
}

fn remove_cgroup(_saved: &Saved) -> Result<()> {
    Ok(())
}
