//! Where a cgroup may be made on this host.
//!
//! The usual places first, by statfs and not by reading /proc/self/mountinfo, which grows with
//! the host's mounts; the table of mounts only where the usual places hold nothing.

#![forbid(unsafe_code)]

use super::dir::Dir;
use crate::error::{Error, Kind, Result};
use crate::plan::Resources;
use crate::plan::values::quote;
use crate::sys::fs;
use std::os::fd::AsFd;

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
pub(crate) const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// `CGROUP_SUPER_MAGIC`: version 1.
pub(crate) const CGROUP1_MAGIC: i64 = 0x0027_e0eb;
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

/// Controllers of v1 that a run may have a cgroup in. The first one present carries the lock.
const ALL_V1: [&str; 5] = ["pids", "memory", "cpuacct", "cpu", "cpuset"];

/// Those that this run's limits or figures need.
fn v1_controllers(r: &Resources) -> Vec<&'static str> {
    let needs = |controller: &str| match controller {
        "cpu" => r.cpu_quota_us.is_some() || r.cpu_shares.is_some(),
        "cpuset" => r.cpuset.is_some(),
        _ => true,
    };
    ALL_V1.into_iter().filter(|c| needs(c)).collect()
}

/// All of them: what a run left behind may have had other limits than the next one.
pub(super) fn every_v1(parent: Option<&str>) -> Mounts {
    let mounts = v1_mounts(&ALL_V1, |c| Some(format!("{ROOT}/{c}")), parent);
    if !mounts.controllers.is_empty() {
        return mounts;
    }
    v1_elsewhere(&ALL_V1, &cgroups_rs::hierarchies::mountinfo_self(), parent)
}

fn magic(path: &str) -> Option<i64> {
    let dir = Dir::open(path).ok()?;
    fs::statfs(dir.as_fd()).ok().map(|s| s.magic)
}

/// Finds the place. `parent` of the resources is the user's own wish, a path below the
/// hierarchy's mount.
pub(super) fn locate(r: &Resources) -> Result<Place> {
    let parent = r.parent.as_deref();
    if let Some(parent) = parent {
        check_parent(parent)?;
    }
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
    let mounts = v1_elsewhere(&controllers, &table, parent);
    if mounts.controllers.is_empty() {
        return Err(Error::new(Kind::NotFound, "no cgroup file system is mounted")
            .hint("mount one: mount -t cgroup2 none /sys/fs/cgroup"));
    }
    Ok(Place::V1(mounts))
}

fn v1_elsewhere(
    controllers: &[&'static str],
    table: &[cgroups_rs::hierarchies::Mountinfo],
    parent: Option<&str>,
) -> Mounts {
    v1_mounts(
        controllers,
        |controller| {
            let found = table.iter().find(|m| {
                m.fs_type.0 == "cgroup" && m.super_opts.iter().any(|o| o == controller)
            })?;
            found.mount_point.to_str().map(str::to_owned)
        },
        parent,
    )
}

/// A parent that was asked for and is not there is the caller's mistake, and not something that
/// the host lacks.
fn check_parent(parent: &str) -> Result<()> {
    let shown = quote(parent);
    if parent.split('/').any(|part| part == "..") {
        return Err(Error::new(
            Kind::InvalidConfig,
            format!("the parent cgroup {shown} has \"..\""),
        )
        .hint("give a path below the cgroup file system, such as jobs/mine"));
    }
    let relative = parent.trim_matches('/');
    let tops = ALL_V1.map(|controller| format!("{ROOT}/{controller}"));
    let usual = std::iter::once(ROOT).chain(tops.iter().map(String::as_str));
    let mut mounted = usual.filter(|top| magic(top).is_some_and(is_cgroup)).peekable();
    // Mounted elsewhere: the search that follows finds it or not.
    if mounted.peek().is_none()
        || mounted.any(|top| Dir::open(&format!("{top}/{relative}")).is_ok())
    {
        return Ok(());
    }
    Err(Error::new(Kind::InvalidConfig, format!("there is no parent cgroup {shown}"))
        .hint("make it first: on v1 a directory of that name for each controller"))
}

fn is_cgroup(magic: i64) -> bool {
    magic == CGROUP1_MAGIC || magic == CGROUP2_MAGIC
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
    // Not of the kind that says what this host's cgroups lack: nothing starts without /proc.
    let text = std::fs::read("/proc/self/cgroup").map_err(|e| {
        Error::os("read /proc/self/cgroup", e).with_kind(Kind::Os).hint("is /proc mounted?")
    })?;
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
