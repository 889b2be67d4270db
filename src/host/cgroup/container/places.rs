//! The hierarchies of this host, and a container's directory in each.
//!
//! The usual mount points first, told by statfs; mountinfo, which grows with the host's mounts,
//! only where they hold nothing.

use super::path::CgroupPath;
use super::{Part, Saved};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::dir::Dir;
use crate::host::cgroup::find::{CGROUP1_MAGIC, CGROUP2_MAGIC};
use crate::plan::formats::{cgroup, mountinfo};
use std::cell::OnceCell;
use std::collections::BTreeMap;

const ROOT: &str = "/sys/fs/cgroup";

/// The v1 hierarchies that runc joins, where they are mounted. One that has none of these is
/// somebody's own.
const JOINED: [&str; 15] = [
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "name=systemd",
    "misc",
];

/// A cgroup file system's mount.
#[derive(Clone)]
struct Mount {
    v2: bool,
    options: Vec<String>,
    /// The directory of the hierarchy that is mounted.
    root: String,
    point: String,
}

/// A mounted hierarchy.
struct Top {
    controllers: Vec<String>,
    v2: bool,
    dir: Dir,
    /// Where this process is, as the kernel names it.
    own: String,
}

/// Looks once and keeps the table.
#[derive(Default)]
struct Table(OnceCell<Vec<Mount>>);

impl Table {
    fn get(&self) -> &[Mount] {
        self.0.get_or_init(|| {
            std::fs::read("/proc/self/mountinfo").map_or(Vec::new(), |t| mounts(&t))
        })
    }

    /// The mount of a v1 controller; of v2 for the empty string.
    fn find(&self, controller: &str) -> Option<&Mount> {
        self.get().iter().find(|m| {
            m.v2 == controller.is_empty() && (m.v2 || m.options.iter().any(|o| o == controller))
        })
    }
}

fn mounts(table: &[u8]) -> Vec<Mount> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    mountinfo::mounts(table)
        .filter_map(std::result::Result::ok)
        .filter(|m| matches!(&m.fstype[..], b"cgroup" | b"cgroup2"))
        .filter_map(|m| {
            Some(Mount {
                v2: m.fstype[..] == b"cgroup2"[..],
                options: text(m.super_options)?.split(',').map(str::to_owned).collect(),
                root: text(&m.root)?,
                point: text(&m.mount_point)?,
            })
        })
        .collect()
}

/// Where a container goes.
pub(super) fn parts(path: &CgroupPath) -> Result<Vec<Part>> {
    let table = Table::default();
    let tops = tops(&table, path.relative)?;
    let v2_only = tops.iter().all(|t| t.v2);
    let mut parts = Vec::with_capacity(tops.len());
    for top in tops {
        let path = if path.relative {
            let own = own_path(&top, &table)?;
            // On v2 the caller's cgroup has processes, its own at least, and so cannot give
            // controllers to a child: the container goes beside it, as runc has it.
            let base = if v2_only { own.rsplit_once('/').map_or("", |(up, _)| up) } else { &own };
            if base.is_empty() { path.path.clone() } else { format!("{base}/{}", path.path) }
        } else {
            path.path.clone()
        };
        parts.push(Part {
            controllers: top.controllers,
            v2: top.v2,
            top: top.dir,
            path,
            dir: None,
        });
    }
    Ok(parts)
}

/// The directories that this process is in, by controller as in [`Saved::paths`].
///
/// # Errors
/// No cgroup file system, or one that does not show them.
pub(crate) fn own() -> Result<BTreeMap<String, String>> {
    let table = Table::default();
    let mut paths = BTreeMap::new();
    for top in tops(&table, true)? {
        let own = own_path(&top, &table)?;
        let path = format!("{}/{own}", top.dir.path);
        for controller in top.controllers {
            paths.insert(controller, path.trim_end_matches('/').to_owned());
        }
    }
    Ok(paths)
}

fn tops(table: &Table, relative: bool) -> Result<Vec<Top>> {
    let root = Dir::open(ROOT).ok();
    let v2_root = root.filter(|d| d.magic() == Some(CGROUP2_MAGIC));
    if let Some(dir) = v2_root {
        // Which is all there is, as systemd and runc have it.
        let own = if relative { own_v2(&read_own()?)? } else { String::new() };
        return Ok(vec![Top { controllers: vec![String::new()], v2: true, dir, own }]);
    }
    let text = read_own()?;
    let own = cgroup::parse(&text)?;
    let mut tops = Vec::new();
    for hierarchy in &own.v1 {
        let names: Option<Vec<String>> =
            hierarchy.controllers.iter().map(|c| String::from_utf8(c.to_vec()).ok()).collect();
        let Some(controllers) = names else { continue };
        if !controllers.iter().any(|c| JOINED.contains(&c.as_str())) {
            continue;
        }
        // Not mounted: a hierarchy stays while it has cgroups.
        let Some(dir) = open_v1(&controllers, table) else { continue };
        let own = String::from_utf8_lossy(hierarchy.path).into_owned();
        tops.push(Top { controllers, v2: false, dir, own });
    }
    if let Some(dir) = open_v2(table, tops.is_empty()) {
        let own = if relative { own_v2(&text)? } else { String::new() };
        tops.push(Top { controllers: vec![String::new()], v2: true, dir, own });
    }
    if tops.is_empty() {
        return Err(Error::new(Kind::NotFound, "no cgroup file system is mounted")
            .hint("mount one: mount -t cgroup2 none /sys/fs/cgroup"));
    }
    Ok(tops)
}

fn open_v1(controllers: &[String], table: &Table) -> Option<Dir> {
    let usual = |name: &str| {
        let name = name.strip_prefix("name=").unwrap_or(name);
        Dir::open(&format!("{ROOT}/{name}")).ok().filter(|d| d.magic() == Some(CGROUP1_MAGIC))
    };
    let first = controllers.first()?;
    usual(&controllers.join(",")).or_else(|| usual(first)).or_else(|| {
        let mount = table.find(first)?;
        Dir::open(&mount.point).ok().filter(|d| d.magic() == Some(CGROUP1_MAGIC))
    })
}

fn open_v2(table: &Table, needed: bool) -> Option<Dir> {
    let is_v2 = |d: &Dir| d.magic() == Some(CGROUP2_MAGIC);
    Dir::open(&format!("{ROOT}/unified")).ok().filter(is_v2).or_else(|| {
        // Elsewhere it matters only if there is nothing else.
        let mount = table.find("").filter(|_| needed)?;
        Dir::open(&mount.point).ok().filter(is_v2)
    })
}

fn read_own() -> Result<Vec<u8>> {
    std::fs::read("/proc/self/cgroup").map_err(|e| Error::os("read /proc/self/cgroup", e))
}

fn own_v2(text: &[u8]) -> Result<String> {
    let own = cgroup::parse(text)?.v2.map(|p| String::from_utf8_lossy(p).into_owned());
    own.ok_or_else(|| Error::new(Kind::NotFound, "/proc/self/cgroup has no line of cgroup v2"))
}

/// This process's cgroup as a path below the mount point, without a leading slash.
fn own_path(top: &Top, table: &Table) -> Result<String> {
    let own = top.own.trim_matches('/');
    if own.is_empty() || top.dir.below(own).is_ok() {
        return Ok(own.to_owned());
    }
    // In a container without a cgroup namespace a part of the hierarchy is mounted, and
    // /proc/self/cgroup tells the whole path.
    let first = top.controllers.first().map_or("", String::as_str);
    let below = table.find(first).and_then(|m| {
        let rest = top.own.strip_prefix(m.root.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_matches('/').to_owned())
    });
    below.filter(|path| path.is_empty() || top.dir.below(path).is_ok()).ok_or_else(|| {
        let text = format!("this process's own cgroup {:?} is not below {}", top.own, top.dir.path);
        Error::new(Kind::NotFound, text)
            .hint("give an absolute linux.cgroupsPath, such as /containers/web")
    })
}

/// Opens what was saved. Only paths below a mount point of the right kind are taken.
pub(super) fn reopen(saved: &Saved) -> Result<Vec<Part>> {
    let table = Table::default();
    let mut parts: Vec<Part> = Vec::new();
    for (controller, full) in &saved.paths {
        if let Some(part) = parts.iter_mut().find(|p| p.full_path() == *full) {
            part.controllers.push(controller.clone());
            continue;
        }
        let v2 = controller.is_empty();
        let (top, path) = split(full, v2, &table)?;
        let inode = saved.inodes.get(controller);
        let dir = match top.below(&path) {
            Ok(dir) if inode.is_none_or(|i| dir.id() == Ok(*i)) => Some(dir),
            // Another one of that name.
            Ok(_) => None,
            Err(e) if matches!(e.0, libc::ENOENT | libc::ENODEV | libc::ENOTDIR) => None,
            Err(e) => return Err(Error::os(format!("open the cgroup {full}"), e)),
        };
        parts.push(Part { controllers: vec![controller.clone()], v2, top, path, dir });
    }
    Ok(parts)
}

/// A saved path as the mount point and what is below.
fn split(full: &str, v2: bool, table: &Table) -> Result<(Dir, String)> {
    let refuse = |why: &str| {
        Error::new(Kind::Refused, format!("the saved cgroup {full:?} {why}"))
            .hint("state.json has been changed, or the cgroups are mounted elsewhere by now")
    };
    let magic = if v2 { CGROUP2_MAGIC } else { CGROUP1_MAGIC };
    let clean = |rest: &str| {
        !rest.is_empty() && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
    };
    let open = |point: &str, rest: &str| {
        let top = Dir::open(point).ok().filter(|d| d.magic() == Some(magic))?;
        Some((top, rest.to_owned()))
    };
    let Some(rest) = full.strip_prefix('/').filter(|rest| clean(rest)) else {
        return Err(refuse("is not a clean absolute path"));
    };
    // At the usual places: /sys/fs/cgroup, or a directory in it.
    if let Some(inner) = rest.strip_prefix("sys/fs/cgroup/") {
        if v2 && let Some(found) = open(ROOT, inner) {
            return Ok(found);
        }
        if let Some((name, inner)) = inner.split_once('/')
            && let Some(found) = open(&format!("{ROOT}/{name}"), inner)
        {
            return Ok(found);
        }
    }
    let below = |m: &Mount| {
        let inner = full.strip_prefix(m.point.trim_end_matches('/'))?.strip_prefix('/')?;
        (m.v2 == v2).then(|| open(&m.point, inner)).flatten()
    };
    table.get().iter().find_map(below).ok_or_else(|| refuse("is not below a cgroup mount point"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_roots_and_controllers() {
        let table =
            b"36 25 0:31 /docker/a /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
            37 25 0:32 / /cg rw - cgroup2 none rw\n38 25 0:33 / /x rw - tmpfs none rw\n";
        let mounts = mounts(table);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].root.as_str(), mounts[0].v2), ("/docker/a", false));
        let table = Table::default();
        table.0.set(mounts).ok();
        assert_eq!(table.find("cpuacct").unwrap().point, "/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(table.find("").unwrap().point, "/cg");
        assert!(table.find("memory").is_none());
    }

    /// H63
    #[test]
    fn a_saved_path_that_is_no_cgroup_is_refused() {
        for bad in [
            "/etc/passwd",
            "relative",
            "/sys/fs/cgroup/../../../tmp/x",
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/",
            "/tmp/a",
            "",
        ] {
            for controller in ["", "memory"] {
                let paths = BTreeMap::from([(controller.to_owned(), bad.to_owned())]);
                let saved = Saved { paths, ..Saved::default() };
                assert_eq!(reopen(&saved).unwrap_err().kind(), Kind::Refused, "{bad:?}");
            }
        }
    }
}
