//! The cgroup of one run: found, made, limited, joined, read, removed.
//!
//! One interface over cgroup v2 and over v1 controllers at mounts of their own. A run's cgroup
//! is called `stockade-<id>` and its maker holds a lock on it: what is there and not locked was
//! left by a supervisor that was killed, and the next run removes it.

#![forbid(unsafe_code)]

pub(crate) mod container;
mod dir;
pub(crate) mod find;
pub(crate) mod systemd;
mod v1;
mod v2;

use crate::error::{Error, Kind, Result, Stage};
use crate::plan::Resources;
use std::os::fd::{BorrowedFd, OwnedFd};

/// What the names of our cgroups begin with.
pub(crate) const PREFIX: &str = "stockade-";

/// What an error that no cgroup can be made begins with.
pub(crate) const NONE_HERE: &str = "the limits need a cgroup, and none can be made here";

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

/// Where a run's cgroup can be made, found out and nothing made yet.
#[derive(Debug)]
pub struct Found(Result<find::Place>);

impl Found {
    /// Looks.
    #[must_use]
    pub fn look(resources: &Resources) -> Found {
        Found(find::locate(resources))
    }

    /// Whether the child joins by itself, so that the cgroup may be made while it sets up the
    /// rest (v1 with everything there that the limits need).
    #[must_use]
    pub fn can_be_late(&self, resources: &Resources) -> bool {
        matches!(&self.0, Ok(find::Place::V1(mounts)) if mounts.has_all(resources))
    }
}

impl Cgroup {
    /// No cgroup.
    #[must_use]
    pub fn none() -> Cgroup {
        Cgroup { kind: Group::None, limits: Vec::new(), missing: Vec::new() }
    }

    /// Makes the cgroup with its limits; nobody is in it yet.
    ///
    /// # Errors
    /// No cgroup can be made here, or a controller that a limit needs is not there, unless
    /// `allow_degraded`; a limit that the kernel refuses.
    pub fn create(id: &str, resources: &Resources, found: Found) -> Result<Cgroup> {
        let made = match found.0 {
            Ok(find::Place::V2(candidates)) => v2::Group::create(id, &candidates, resources)
                .map(|(group, missing)| (Group::V2(group), missing)),
            Ok(find::Place::V1(mounts)) => v1::Group::create(id, mounts, resources)
                .map(|(group, missing)| (Group::V1(group), missing)),
            Err(e) => Err(e),
        };
        let (kind, missing) = match made.map_err(|e| e.during(Stage::Cgroup)) {
            Ok(made) => made,
            // Only what this host lacks may be let pass; a bad value or a taken id never.
            Err(e) if !lacking(&e) => return Err(e),
            Err(e) if resources.allow_degraded => {
                (Group::None, vec![format!("every limit by cgroup: {e}")])
            }
            Err(e) => {
                return Err(e.context(NONE_HERE).hint(
                    "run as root, or in a delegated cgroup (systemd-run --user --scope -p \
                     Delegate=yes stockade ...); --allow-degraded runs with what rlimits and \
                     timers can do and says so in the outcome",
                ));
            }
        };
        let mut group = Cgroup { kind, limits: Vec::new(), missing };
        if !group.missing.is_empty() && !resources.allow_degraded {
            return Err(Error::new(
                Kind::Unsupported,
                format!(
                    "limits that this host's cgroups cannot enforce: {}",
                    group.missing.join(", ")
                ),
            )
            .hint("--allow-degraded runs without them and says so in the outcome")
            .during(Stage::Cgroup));
        }
        if !matches!(group.kind, Group::None) {
            group.limits = in_force(resources, &group.missing);
        }
        Ok(group)
    }

    /// Whether the cgroup enforces and counts nothing of this controller's.
    #[must_use]
    pub fn lacks(&self, controller: &str) -> bool {
        matches!(self.kind, Group::None) || names_controller(&self.missing, controller)
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

    /// How many processes and threads are in it, those that nobody has reaped included.
    #[must_use]
    pub fn processes(&self) -> Option<u64> {
        match &self.kind {
            Group::V1(group) => group.processes(),
            Group::V2(group) => group.processes(),
            Group::None => None,
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

/// Whether an error says what the host lacks, and not what the caller did wrong.
fn lacking(e: &Error) -> bool {
    matches!(e.kind(), Kind::Permission | Kind::Unsupported | Kind::NotFound)
        // As the cgroup file system is mounted in most containers.
        || e.errno() == Some(libc::EROFS)
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The limits that were set, for the outcome.
fn in_force(r: &Resources, missing: &[String]) -> Vec<(&'static str, u64)> {
    [
        ("memory", "memory", r.memory),
        ("memory_swap", "memory", r.memory.and(r.memory_swap)),
        ("cpu_quota_us_per_100ms", "cpu", r.cpu_quota_us),
        ("cpu_shares", "cpu", r.cpu_shares),
        ("pids", "pids", r.pids),
    ]
    .into_iter()
    .filter(|(_, controller, _)| !names_controller(missing, controller))
    .filter_map(|(name, _, value)| value.map(|v| (name, v)))
    .collect()
}

/// Whether what is missing is missing for want of this controller.
fn names_controller(missing: &[String], controller: &str) -> bool {
    let words = format!("(no {controller} controller");
    missing.iter().any(|m| m.contains(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_without_its_controller_is_not_told_as_in_force() {
        let r = Resources {
            memory: Some(1),
            memory_swap: Some(1),
            cpu_quota_us: Some(2),
            pids: Some(3),
            ..Resources::default()
        };
        let names = |missing: &[String]| {
            in_force(&r, missing).iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["memory", "memory_swap", "cpu_quota_us_per_100ms", "pids"]);
        assert_eq!(
            names(&["cpus (no cpu controller in /x)".to_owned()]),
            ["memory", "memory_swap", "pids"]
        );
        assert_eq!(
            names(&["memory (no memory controller)".to_owned()]),
            ["cpu_quota_us_per_100ms", "pids"]
        );
    }
}
