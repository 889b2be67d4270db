//! cgroup v1: a directory in the hierarchy of each controller.
//!
//! The child moves itself by writing `0` to `tasks`: for the calling thread the kernel skips
//! the system-wide lock that costs a foreign pid 11 to 19 ms on an idle host (Linux 6.0,
//! cgroup_procs_write_start in kernel/cgroup/cgroup.c).

#![forbid(unsafe_code)]

use super::dir::{self, Dir};
use super::find::{self, Mounts};
use super::{Counters, PREFIX};
use crate::error::{Error, Kind, Result};
use crate::plan::Resources;
use std::os::fd::OwnedFd;

/// A run's cgroups.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    /// Controller, the directory it is in, its own. The first one carries the lock.
    parts: Vec<(&'static str, Dir, Dir)>,
}

impl Group {
    /// Makes them; what is missing comes second.
    pub(super) fn create(id: &str, mounts: Mounts, r: &Resources) -> Result<(Group, Vec<String>)> {
        let first = mounts
            .controllers
            .first()
            .ok_or_else(|| Error::new(Kind::NotFound, "no v1 controller is mounted"))?;
        remove_abandoned(&first.1, r.parent.as_deref());
        let mut group = Group { name: format!("{PREFIX}{id}"), parts: Vec::with_capacity(4) };
        for (controller, parent) in mounts.controllers {
            let own = if group.parts.is_empty() {
                dir::make_locked(&parent, &group.name)?
            } else {
                group.make_part(&parent)?
            };
            group.parts.push((controller, parent, own));
        }
        let missing = group.limit(r)?;
        Ok((group, missing))
    }

    /// A part besides the locked one: what is there of this name is abandoned, since the lock
    /// is ours.
    fn make_part(&self, parent: &Dir) -> Result<Dir> {
        let made = parent.make_child(&self.name).or_else(|e| {
            if e.0 != libc::EEXIST {
                return Err(e);
            }
            parent.remove_child(&self.name)?;
            parent.make_child(&self.name)
        });
        made.map_err(|e| Error::os(format!("make a cgroup in {}", parent.path), e))
    }

    fn part(&self, controller: &str) -> Option<&Dir> {
        self.parts.iter().find(|(c, _, _)| *c == controller).map(|(_, _, own)| own)
    }

    fn limit(&self, r: &Resources) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        let mut need = |controller: &str, option: &str, wanted: bool| {
            let part = self.part(controller);
            if wanted && part.is_none() {
                missing.push(format!("{option} (no {controller} controller)"));
            }
            part.filter(|_| wanted)
        };
        if let Some((dir, bytes)) = need("memory", "memory", r.memory.is_some()).zip(r.memory) {
            dir.set("memory.limit_in_bytes", &bytes.to_string())?;
        }
        if let Some((dir, bytes)) =
            need("memory", "memory_swap", r.memory.is_some() && r.memory_swap.is_some())
                .zip(r.memory_swap)
        {
            match dir.write("memory.memsw.limit_in_bytes", &bytes.to_string()) {
                Ok(()) => {}
                // Without swap accounting the limit can still be kept by not swapping.
                Err(e) if e.0 == libc::ENOENT && r.memory == r.memory_swap => {
                    dir.set("memory.swappiness", "0")?;
                }
                Err(e) => {
                    let what = format!("write {bytes} to {}/memory.memsw.limit_in_bytes", dir.path);
                    let error = Error::os(what, e);
                    return Err(if e.0 == libc::EINVAL {
                        error.with_kind(Kind::InvalidConfig)
                    } else {
                        error
                    });
                }
            }
        }
        if let Some((dir, us)) = need("cpu", "cpus", r.cpu_quota_us.is_some()).zip(r.cpu_quota_us) {
            // The period of a new cgroup is the 100 ms that the quota is for
            // (default_cfs_period in kernel/sched/fair.c).
            dir.set("cpu.cfs_quota_us", &us.to_string())?;
        }
        if let Some((dir, n)) = need("cpu", "cpu_shares", r.cpu_shares.is_some()).zip(r.cpu_shares)
        {
            dir.set("cpu.shares", &n.to_string())?;
        }
        if let Some((dir, n)) = need("pids", "pids", r.pids.is_some()).zip(r.pids) {
            dir.set("pids.max", &n.to_string())?;
        }
        if let Some((dir, list)) =
            need("cpuset", "cpuset", r.cpuset.is_some()).zip(r.cpuset.as_ref())
        {
            self.limit_cpuset(dir, list)?;
        }
        Ok(missing)
    }

    /// A new cpuset has no CPUs and no memory nodes, and nobody may join it so.
    fn limit_cpuset(&self, dir: &Dir, list: &str) -> Result<()> {
        let parent = self.parts.iter().find(|(c, _, _)| *c == "cpuset").map(|(_, p, _)| p);
        let nodes = parent
            .and_then(|p| p.read("cpuset.mems").ok())
            .ok_or_else(|| Error::new(Kind::Os, "read cpuset.mems of the parent cgroup"))?;
        dir.set("cpuset.mems", nodes.trim())?;
        dir.set("cpuset.cpus", list)
    }

    pub(super) fn tasks(&self) -> Result<Vec<OwnedFd>> {
        self.parts
            .iter()
            .map(|(_, _, own)| {
                own.open_file("tasks", libc::O_WRONLY)
                    .map_err(|e| Error::os(format!("open {}/tasks", own.path), e))
            })
            .collect()
    }

    pub(super) fn cpu_usage_us(&self) -> Option<u64> {
        self.part("cpuacct")?.number("cpuacct.usage").map(|ns| ns / 1000)
    }

    pub(super) fn processes(&self) -> Option<u64> {
        self.part("pids")?.number("pids.current")
    }

    pub(super) fn counters(&self) -> Counters {
        let cpuacct = self.part("cpuacct");
        let memory = self.part("memory");
        let pids = self.part("pids");
        let micros = |file| cpuacct.and_then(|d| d.number(file)).map(|ns| ns / 1000);
        Counters {
            cpu_user_us: micros("cpuacct.usage_user"),
            cpu_sys_us: micros("cpuacct.usage_sys"),
            memory_peak: memory.and_then(|d| d.number("memory.max_usage_in_bytes")),
            oom_kills: memory.and_then(|d| d.keyed("memory.oom_control", "oom_kill")),
            pids_peak: pids.and_then(|d| d.number("pids.peak")),
            pids_refused: pids.and_then(|d| d.keyed("pids.events", "max")),
        }
    }

    /// By the cgroups-rs crate, whose parsing of v1's memory.stat is sound; this is off the hot
    /// path, for the explanation of an OOM kill.
    pub(super) fn shmem(&self) -> Option<u64> {
        let path = std::path::PathBuf::from(&self.part("memory")?.path);
        let memory = cgroups_rs::memory::MemController::new(path, false);
        memory.memory_stat().stat.raw.get("total_shmem").copied()
    }

    /// Removes them, the locked one last: as long as it is there the others are not taken for
    /// abandoned.
    pub(super) fn remove(&mut self) {
        for (_, parent, own) in self.parts.drain(..).rev() {
            if !remove(&parent, &self.name, &own) {
                // The locked one stays, by which the next run finds the rest.
                return;
            }
        }
    }
}

/// Also when one of several could not be made, or a limit not be set.
impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes a cgroup whose processes have ended. One that is still leaving makes rmdir answer
/// EBUSY: then it is killed and waited for, within bounds. Says whether it is gone.
fn remove(parent: &Dir, name: &str, own: &Dir) -> bool {
    for _ in 0..500 {
        match parent.remove_child(name) {
            Err(e) if e.0 == libc::EBUSY => own.kill_all(),
            Ok(()) => return true,
            // Gone already, or cannot be: the next run tries again.
            Err(e) => return e.0 == libc::ENOENT,
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    false
}

/// Removes what killed supervisors left. Their locks went with them.
fn remove_abandoned(first: &Dir, parent: Option<&str>) {
    let mut mounts = None;
    for name in first.our_children() {
        let Ok(dir) = first.child(&name) else { continue };
        if dir.try_lock() != Ok(true) || !dir::still_there(first, &name, &dir) {
            continue;
        }
        let mounts = mounts.get_or_insert_with(|| find::every_v1(parent));
        for (_, parent) in mounts.controllers.iter().rev() {
            if let Ok(own) = parent.child(&name) {
                own.kill_all();
                if !remove(parent, &name, &own) {
                    break;
                }
            }
        }
    }
}
