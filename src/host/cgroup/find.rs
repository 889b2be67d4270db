//! Where a cgroup may be made on this host.
//!
//! The usual places first, by statfs and not by reading /proc/self/mountinfo, which grows with
//! the host's mounts; the table of mounts only where the usual places hold nothing.

#![forbid(unsafe_code)]

use super::dir::Dir;
use crate::error::{Error, Kind, Result};
use crate::plan::Resources;
use crate::sys::fs;
use std::os::fd::AsFd;

const CGROUP2_MAGIC: i64 = 0x6367_7270;
const CGROUP1_MAGIC: i64 = 0x0027_e0eb;
const ROOT: &str = "/sys/fs/cgroup";

/// What was found.
#[derive(Debug)]
pub(super) enum Place {
    /// Directories to try in turn.
    V2(Vec<String>),
    /// The v1 controllers that a run needs and where each is mounted.
    V1(Mounts),
}

/// Where v1 controllers are mounted.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Controller, directory to make cgroups in.
    pub(super) controllers: Vec<(&'static str, Dir)>,
}

impl Mounts {
    /// Whether every controller that the run needs is there.
    pub(super) fn has_all(&self, r: &Resources) -> bool {
        v1_controllers(r).iter().all(|c| self.controllers.iter().any(|(there, _)| there == c))
    }
}

/// Controllers of v1 that limits or figures need. The first one present carries the lock.
fn v1_controllers(r: &Resources) -> Vec<&'static str> {
    let mut list = vec!["pids", "memory", "cpuacct"];
    if r.cpu_quota_us.is_some() || r.cpu_shares.is_some() {
        list.push("cpu");
    }
    if r.cpuset.is_some() {
        list.push("cpuset");
    }
    list
}

fn magic(path: &str) -> Option<i64> {
    let dir = Dir::open(path).ok()?;
    fs::statfs(dir.as_fd()).ok().map(|s| s.magic)
}

/// Finds the place. `parent` of the resources is the user's own wish, a path below the
/// hierarchy's mount.
pub(super) fn locate(r: &Resources) -> Result<Place> {
    let parent = r.parent.as_deref();
    let controllers = v1_controllers(r);
    if magic(ROOT) == Some(CGROUP2_MAGIC) {
        return Ok(Place::V2(v2_candidates(ROOT, parent)?));
    }
    let mounts = v1_mounts(&controllers, |c| Some(format!("{ROOT}/{c}")), parent);
    if !mounts.controllers.is_empty() {
        return Ok(Place::V1(mounts));
    }
    // Not where they usually are: ask the table of mounts.
    let table = cgroups_rs::hierarchies::mountinfo_self();
    if let Some(m) = table.iter().find(|m| m.fs_type.0 == "cgroup2")
        && let Some(path) = m.mount_point.to_str()
    {
        return Ok(Place::V2(v2_candidates(path, parent)?));
    }
    let mounts = v1_mounts(
        &controllers,
        |controller| {
            let found = table.iter().find(|m| {
                m.fs_type.0 == "cgroup" && m.super_opts.iter().any(|o| o == controller)
            })?;
            found.mount_point.to_str().map(str::to_owned)
        },
        parent,
    );
    if mounts.controllers.is_empty() {
        return Err(Error::new(Kind::NotFound, "no cgroup file system is mounted")
            .hint("mount one: mount -t cgroup2 none /sys/fs/cgroup"));
    }
    Ok(Place::V1(mounts))
}

fn v1_mounts(
    controllers: &[&'static str],
    place: impl Fn(&str) -> Option<String>,
    parent: Option<&str>,
) -> Mounts {
    let mut mounts = Mounts::default();
    for &controller in controllers {
        let Some(path) = place(controller) else { continue };
        let path = match parent {
            Some(parent) => format!("{path}/{}", parent.trim_matches('/')),
            None => path,
        };
        let Ok(dir) = Dir::open(&path) else { continue };
        if fs::statfs(dir.as_fd()).is_ok_and(|s| s.magic == CGROUP1_MAGIC) {
            mounts.controllers.push((controller, dir));
        }
    }
    mounts
}

/// Root makes its cgroups at the top, as container managers do. Everybody else asks where the
/// caller is and goes up from there, as long as the directories may be written.
fn v2_candidates(mount: &str, parent: Option<&str>) -> Result<Vec<String>> {
    if let Some(parent) = parent {
        return Ok(vec![format!("{mount}/{}", parent.trim_matches('/'))]);
    }
    let text =
        std::fs::read("/proc/self/cgroup").map_err(|e| Error::os("read /proc/self/cgroup", e))?;
    let own = crate::plan::formats::cgroup::parse(&text)
        .ok()
        .and_then(|c| c.v2.map(|p| String::from_utf8_lossy(p).into_owned()))
        .unwrap_or_default();
    let mut candidates = Vec::new();
    if crate::sys::cred::euid() == 0 {
        candidates.push(mount.to_owned());
    }
    let mut path = own.trim_end_matches('/').to_owned();
    while !path.is_empty() {
        candidates.push(format!("{mount}{path}"));
        path.truncate(path.rfind('/').unwrap_or(0));
    }
    if candidates.is_empty() {
        candidates.push(mount.to_owned());
    }
    Ok(candidates)
}
