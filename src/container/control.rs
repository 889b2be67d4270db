//! What is done to a container as a whole while it runs: pausing it, its limits, its figures.

#![forbid(unsafe_code)]

use super::Container;
use crate::error::Result;
use crate::host::container::{amend, control};
use oci_spec::runtime::LinuxResources;
use serde::Serialize;
use std::time::Duration;

/// What a container has used, in the shape of runc's `events --stats`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Stats(control::Stats);

/// What happens to a container's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OomEvent {
    /// The kernel has killed for memory.
    Oom,
    /// The container has ended.
    End,
}

/// A watch over a container's memory limit.
#[derive(Debug)]
pub struct OomEvents(control::OomEvents);

impl OomEvents {
    /// Waits for the next event; `None` when the time is over.
    ///
    /// # Errors
    /// The cgroup cannot be watched.
    pub fn next(&mut self, patience: Option<Duration>) -> Result<Option<OomEvent>> {
        Ok(self.0.next(patience)?.map(|event| match event {
            control::OomEvent::Oom => OomEvent::Oom,
            control::OomEvent::End => OomEvent::End,
        }))
    }
}

impl Container {
    /// Freezes all of its processes.
    ///
    /// # Errors
    /// It is not running, or has no cgroup that could be frozen.
    pub fn pause(&self) -> Result<()> {
        control::pause(&self.inner)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// It is not paused.
    pub fn resume(&self) -> Result<()> {
        control::resume(&self.inner)
    }

    /// Changes the limits that are given; the others stay. Returns what was asked for and has no
    /// effect.
    ///
    /// # Errors
    /// It has ended, has no cgroup of that controller, or the kernel refuses the value.
    pub fn update(&self, resources: &LinuxResources) -> Result<Vec<String>> {
        control::update(&self.inner, resources)
    }

    /// Makes mounts in it, of a JSON list as config.json has them: bind mounts with absolute sources and
    /// file systems such as tmpfs. All are made, or none. Returns what of it has no effect.
    ///
    /// With `may_restart` the calling program may be executed anew, as of
    /// [`Runtime::may_restart`](super::Runtime::may_restart).
    ///
    /// # Errors
    /// The list makes no sense, it does not run, or one cannot be made.
    pub fn add_mounts(&self, json: &[u8], may_restart: bool) -> Result<Vec<String>> {
        amend::add(&self.inner, json, may_restart)
    }

    /// Takes away what was mounted so on the destinations of such a list, the last first.
    ///
    /// # Errors
    /// One is a mount of its configuration, or nothing is mounted there. Those before it are gone then.
    pub fn remove_mounts(&self, json: &[u8], may_restart: bool) -> Result<()> {
        amend::remove(&self.inner, json, may_restart)
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// Its cgroup cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        control::stats(&self.inner).map(Stats)
    }

    /// Begins to watch its memory limit.
    ///
    /// # Errors
    /// It has no cgroup of the memory controller.
    pub fn oom_events(&self) -> Result<OomEvents> {
        control::oom_events(&self.inner).map(OomEvents)
    }
}
