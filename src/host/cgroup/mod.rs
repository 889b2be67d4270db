//! The cgroup of one run: found, made, limited, joined, read, removed.
//!
//! One interface over cgroup v2 and over v1 controllers at mounts of their own. A run's cgroup
//! is called `stockade-<id>` and its maker holds a lock on it: what is there and not locked was
//! left by a supervisor that was killed, and the next run removes it.

#![forbid(unsafe_code)]

mod dir;
mod find;
mod v1;
mod v2;

use crate::error::{Error, Kind, Result};
use crate::plan::Resources;
use std::os::fd::{BorrowedFd, OwnedFd};

/// What the names of our cgroups begin with.
pub(crate) const PREFIX: &str = "stockade-";

/// A run's cgroup. Removed when dropped.
#[derive(Debug)]
pub struct Cgroup {
    kind: Group,
    /// Limits in force, by the name of the option.
    pub limits: Vec<(&'static str, u64)>,
    /// What the host could not give.
    pub missing: Vec<String>,
}

#[derive(Debug)]
enum Group {
    V1(v1::Group),
    V2(v2::Group),
    None,
}

/// What a cgroup counted; `None`: this host does not count it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Microseconds in user mode.
    pub cpu_user_us: Option<u64>,
    /// Microseconds in the kernel.
    pub cpu_sys_us: Option<u64>,
    /// Most bytes at once.
    pub memory_peak: Option<u64>,
    /// Processes killed for memory.
    pub oom_kills: Option<u64>,
    /// Most processes at once.
    pub pids_peak: Option<u64>,
    /// How often a fork was refused.
    pub pids_refused: Option<u64>,
}

impl Cgroup {
    /// Makes the cgroup with its limits; nobody is in it yet.
    ///
    /// # Errors
    /// No cgroup can be made here, or a controller that a limit needs is not there, unless
    /// `allow_degraded`; a limit that the kernel refuses.
    pub fn create(id: &str, resources: &Resources) -> Result<Cgroup> {
        let made = match find::locate(resources) {
            Ok(find::Place::V2(candidates)) => v2::Group::create(id, &candidates, resources)
                .map(|(group, missing)| (Group::V2(group), missing)),
            Ok(find::Place::V1(mounts)) => v1::Group::create(id, mounts, resources)
                .map(|(group, missing)| (Group::V1(group), missing)),
            Err(e) => Err(e),
        };
        let (kind, missing) = match made {
            Ok(made) => made,
            // Only what this host lacks may be let pass; a bad value never.
            Err(e) if resources.allow_degraded && e.kind() != Kind::InvalidConfig => {
                (Group::None, vec![format!("no cgroup: {e}")])
            }
            Err(e) if matches!(e.kind(), Kind::Permission | Kind::Unsupported | Kind::NotFound) => {
                return Err(e.context("the limits need a cgroup, and none can be made here").hint(
                    "run as root, or in a delegated cgroup (systemd-run --user --scope -p \
                     Delegate=yes stockade ...); --allow-degraded runs with what rlimits and \
                     timers can do and says so in the outcome",
                ));
            }
            Err(e) => return Err(e),
        };
        if !missing.is_empty() && !resources.allow_degraded {
            let list = missing.join(", ");
            // `kind` is dropped here, which removes what was made.
            drop(Cgroup { kind, limits: Vec::new(), missing: Vec::new() });
            return Err(Error::new(
                Kind::Unsupported,
                format!("limits that this host's cgroups cannot enforce: {list}"),
            )
            .hint("--allow-degraded runs without them and says so in the outcome"));
        }
        let limits =
            if matches!(kind, Group::None) { Vec::new() } else { in_force(resources, &missing) };
        Ok(Cgroup { kind, limits, missing })
    }

    /// `v1` or `v2`.
    #[must_use]
    pub fn version(&self) -> Option<&'static str> {
        match self.kind {
            Group::V1(_) => Some("v1"),
            Group::V2(_) => Some("v2"),
            Group::None => None,
        }
    }

    /// The directory for CLONE_INTO_CGROUP (v2).
    #[must_use]
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        match &self.kind {
            Group::V2(group) => Some(group.directory()),
            _ => None,
        }
    }

    /// The `tasks` files that the child joins by (v1).
    ///
    /// # Errors
    /// One cannot be opened.
    pub fn tasks(&self) -> Result<Vec<OwnedFd>> {
        match &self.kind {
            Group::V1(group) => group.tasks(),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether a cgroup namespace must be made after joining instead of by clone3.
    #[must_use]
    pub fn joins_late(&self) -> bool {
        matches!(self.kind, Group::V1(_))
    }

    /// CPU time of everything in it so far, microseconds.
    #[must_use]
    pub fn cpu_usage_us(&self) -> Option<u64> {
        match &self.kind {
            Group::V1(group) => group.cpu_usage_us(),
            Group::V2(group) => group.cpu_usage_us(),
            Group::None => None,
        }
    }

    /// What it counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        match &self.kind {
            Group::V1(group) => group.counters(),
            Group::V2(group) => group.counters(),
            Group::None => Counters::default(),
        }
    }

    /// Bytes of tmpfs and shared memory charged to it now.
    #[must_use]
    pub fn shmem(&self) -> Option<u64> {
        match &self.kind {
            Group::V1(group) => group.shmem(),
            Group::V2(group) => group.shmem(),
            Group::None => None,
        }
    }

    /// Removes it. The processes must have ended.
    pub fn remove(&mut self) {
        match &mut self.kind {
            Group::V1(group) => group.remove(),
            Group::V2(group) => group.remove(),
            Group::None => {}
        }
        self.kind = Group::None;
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The limits that were set, for the outcome.
fn in_force(r: &Resources, missing: &[String]) -> Vec<(&'static str, u64)> {
    let has = |option: &str| !missing.iter().any(|m| m.starts_with(option));
    [
        ("memory", r.memory),
        ("memory_swap", r.memory.and(r.memory_swap)),
        ("cpu_quota_us_per_100ms", r.cpu_quota_us),
        ("cpu_shares", r.cpu_shares),
        ("pids", r.pids),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.filter(|_| has(name)).map(|v| (name, v)))
    .collect()
}
