//! cgroup v2: one directory for all controllers, joined by CLONE_INTO_CGROUP.

#![forbid(unsafe_code)]

use super::dir::{self, Dir};
use super::{Counters, PREFIX};
use crate::error::{Error, Kind, Result};
use crate::plan::{CPU_PERIOD_US, Resources};
use std::os::fd::{AsFd, BorrowedFd};

/// A run's cgroup.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    parent: Dir,
    own: Dir,
    removed: bool,
}

impl Group {
    /// Makes it in the first candidate that allows it; what is missing comes second.
    pub(super) fn create(
        id: &str,
        candidates: &[String],
        r: &Resources,
    ) -> Result<(Group, Vec<String>)> {
        let needed = needed(r);
        let mut last = Error::new(Kind::NotFound, "no cgroup to make one in");
        let mut second_best = None;
        for path in candidates {
            match open_parent(path, &needed) {
                Ok((parent, missing)) if missing.is_empty() => {
                    return Group::make(id, parent, r).map(|g| (g, Vec::new()));
                }
                Ok(found) => second_best = second_best.or(Some(found)),
                Err(e) => last = e,
            }
        }
        let Some((parent, missing)) = second_best else { return Err(last) };
        let missing: Vec<String> = missing
            .iter()
            .map(|c| format!("{} (no {c} controller in {})", option_of(c), parent.path))
            .collect();
        if !r.allow_degraded {
            let list = missing.join(", ");
            return Err(Error::new(Kind::Unsupported, list));
        }
        Group::make(id, parent, r).map(|g| (g, missing))
    }

    fn make(id: &str, parent: Dir, r: &Resources) -> Result<Group> {
        remove_abandoned(&parent);
        let name = format!("{PREFIX}{id}");
        let own = dir::make_locked(&parent, &name)?;
        let group = Group { name, parent, own, removed: false };
        group.limit(r)?;
        Ok(group)
    }

    /// Writes a limit if its controller is there; the caller has noted what is not.
    fn set(&self, file: &str, value: &str) -> Result<()> {
        match self.own.write(file, value) {
            Err(e) if e.0 == libc::ENOENT => Ok(()),
            Ok(()) => Ok(()),
            Err(_) => self.own.set(file, value),
        }
    }

    fn limit(&self, r: &Resources) -> Result<()> {
        if let Some(bytes) = r.memory {
            self.set("memory.max", &bytes.to_string())?;
            let swap = r
                .memory_swap
                .map_or("max".to_owned(), |total| total.saturating_sub(bytes).to_string());
            // Not there without swap accounting; then nothing is swapped either.
            self.set("memory.swap.max", &swap)?;
        }
        if let Some(us) = r.cpu_quota_us {
            self.set("cpu.max", &format!("{us} {CPU_PERIOD_US}"))?;
        }
        if let Some(shares) = r.cpu_shares {
            self.set("cpu.weight", &weight(shares).to_string())?;
        }
        if let Some(n) = r.pids {
            self.set("pids.max", &n.to_string())?;
        }
        if let Some(list) = &r.cpuset {
            self.set("cpuset.cpus", list)?;
        }
        Ok(())
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }

    pub(super) fn cpu_usage_us(&self) -> Option<u64> {
        self.own.keyed("cpu.stat", "usage_usec")
    }

    pub(super) fn processes(&self) -> Option<u64> {
        self.own.number("pids.current")
    }

    pub(super) fn counters(&self) -> Counters {
        let cpu = self.own.read("cpu.stat").unwrap_or_default();
        Counters {
            cpu_user_us: dir::keyed(&cpu, "user_usec"),
            cpu_sys_us: dir::keyed(&cpu, "system_usec"),
            // memory.peak is there from Linux 5.19 on, pids.peak from 6.1 on.
            memory_peak: self.own.number("memory.peak"),
            oom_kills: self.own.keyed("memory.events", "oom_kill"),
            pids_peak: self.own.number("pids.peak"),
            pids_refused: self.own.keyed("pids.events", "max"),
        }
    }

    pub(super) fn shmem(&self) -> Option<u64> {
        self.own.keyed("memory.stat", "shmem")
    }

    pub(super) fn remove(&mut self) {
        if self.removed {
            return;
        }
        self.removed = true;
        remove(&self.parent, &self.name, &self.own);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Controllers that the limits need.
fn needed(r: &Resources) -> Vec<&'static str> {
    let mut list = Vec::new();
    for (controller, wanted) in [
        ("memory", r.memory.is_some()),
        ("cpu", r.cpu_quota_us.is_some() || r.cpu_shares.is_some()),
        ("pids", r.pids.is_some()),
        ("cpuset", r.cpuset.is_some()),
    ] {
        if wanted {
            list.push(controller);
        }
    }
    list
}

fn option_of(controller: &str) -> &str {
    if controller == "cpu" { "cpus" } else { controller }
}

/// Opens a directory that cgroups may be made in and sees that its children get the
/// controllers. Returns those they do not get.
fn open_parent(path: &str, needed: &[&'static str]) -> Result<(Dir, Vec<&'static str>)> {
    let parent = Dir::open(path).map_err(|e| Error::os(format!("open the cgroup {path}"), e))?;
    // Joining needs the right to write here, too: it is the common ancestor at best.
    parent
        .open_file("cgroup.procs", libc::O_WRONLY)
        .map_err(|e| Error::os(format!("write to the cgroup {path}"), e))?;
    let lacks = |list: &str| -> Vec<&'static str> {
        needed.iter().copied().filter(|c| !list.split_whitespace().any(|l| l == *c)).collect()
    };
    let enabled = parent
        .read("cgroup.subtree_control")
        .map_err(|e| Error::os(format!("read {path}/cgroup.subtree_control"), e))?;
    let off = lacks(&enabled);
    if off.is_empty() {
        return Ok((parent, off));
    }
    let there = parent.read("cgroup.controllers").unwrap_or_default();
    let absent = lacks(&there);
    let wanted: Vec<String> =
        off.iter().filter(|c| !absent.contains(c)).map(|c| format!("+{c}")).collect();
    if wanted.is_empty() {
        return Ok((parent, absent));
    }
    // All in one write: the kernel then walks the subtree once.
    match parent.write("cgroup.subtree_control", &wanted.join(" ")) {
        Ok(()) => Ok((parent, absent)),
        // A cgroup with processes of its own cannot have children with controllers.
        Err(e) if e.0 == libc::EBUSY => {
            Err(Error::os(format!("enable controllers in {path}, which has processes"), e)
                .with_kind(Kind::Unsupported))
        }
        Err(e) => Err(Error::os(format!("enable controllers in {path}"), e)),
    }
}

fn remove(parent: &Dir, name: &str, own: &Dir) {
    for _ in 0..500 {
        match parent.remove_child(name) {
            Err(e) if e.0 == libc::EBUSY => own.kill_all(),
            // Gone, or cannot be: the next run tries again.
            _ => return,
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn remove_abandoned(parent: &Dir) {
    for name in parent.our_children() {
        let Ok(own) = parent.child(&name) else { continue };
        if own.try_lock() == Ok(true) && dir::still_there(parent, &name, &own) {
            own.kill_all();
            remove(parent, &name, &own);
        }
    }
}

/// cpu.shares (2 to 262144, default 1024) as cpu.weight (1 to 10000, default 100), by the
/// formula of opencontainers/cgroups 0.0.3 and the kubelet (kubernetes/kubernetes#131216), in
/// which 1024 shares are the default weight of 100.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub(super) fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_shares_are_the_default_weight() {
        assert_eq!(weight(2), 1);
        assert_eq!(weight(1024), 100);
        assert_eq!(weight(262_144), 10_000);
        assert!(weight(512) < 100 && weight(2048) > 100);
    }
}
