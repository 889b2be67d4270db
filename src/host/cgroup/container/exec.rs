//! Where a process goes that joins a running container: its cgroups, or some below
//! (`exec --cgroup`).

use super::{ContainerCgroup, Part, is_v2, move_into, open_tasks, path, rootless};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::dir::Dir;
use crate::host::cgroup::systemd;
use crate::plan::formats::cgroup;
use crate::plan::values::quote;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The values of `exec --cgroup`: one path for all, or paths by controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubCgroups {
    /// Controller, path below; the empty string is every controller.
    by_controller: BTreeMap<String, String>,
}

impl SubCgroups {
    /// Parses `path` or `controller[,controller...]:path`, each given once.
    ///
    /// # Errors
    /// A path that leads out of the container's cgroup, a controller given twice, a bare path
    /// among others.
    pub(crate) fn parse<S: AsRef<str>>(values: &[S]) -> Result<SubCgroups> {
        let bad = |value: &str, why: &str| {
            let shown = quote(value);
            Error::new(Kind::InvalidConfig, format!("invalid --cgroup argument {shown}: {why}"))
        };
        let mut by_controller = BTreeMap::new();
        for value in values.iter().map(AsRef::as_ref) {
            let Some((controllers, below)) = value.split_once(':') else {
                if values.len() != 1 {
                    return Err(bad(value, "missing <controller>: prefix"));
                }
                by_controller.insert(String::new(), path::below(value)?);
                continue;
            };
            let below = path::below(below)?;
            for controller in controllers.split(',') {
                if controller.is_empty() {
                    return Err(bad(value, "empty <controller> prefix"));
                }
                if by_controller.insert(controller.to_owned(), below.clone()).is_some() {
                    return Err(bad(value, "a controller is given more than once"));
                }
            }
        }
        Ok(SubCgroups { by_controller })
    }

    fn is_empty(&self) -> bool {
        self.by_controller.is_empty()
    }
}

/// The directories that a joining process enters.
#[derive(Debug)]
pub(crate) struct Entry {
    v2: Option<Dir>,
    v1: Vec<Dir>,
    by_manager: Option<Attach>,
}

/// A move that the manager of a unit makes, where this process may not.
#[derive(Debug)]
struct Attach {
    unit: systemd::Kept,
    /// Below the unit's cgroup.
    below: String,
    /// As `/proc/PID/cgroup` has it.
    whole: String,
}

impl Entry {
    /// For CLONE_INTO_CGROUP, as [`ContainerCgroup::clone_into`].
    pub(crate) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    /// For the child itself, as [`ContainerCgroup::tasks`].
    ///
    /// # Errors
    /// One cannot be opened.
    pub(crate) fn tasks(&self) -> Result<Vec<OwnedFd>> {
        self.v1.iter().map(open_tasks).collect()
    }

    /// Whether [`Entry::attach`] has to be called first.
    pub(crate) fn needs_manager(&self) -> bool {
        self.by_manager.is_some()
    }

    /// Has systemd move a process of this user's in, wherever it is.
    ///
    /// # Errors
    /// systemd does not, or has moved another one.
    pub(crate) fn attach(&self, pid: i32) -> Result<()> {
        let Some(Attach { unit, below, whole }) = &self.by_manager else { return Ok(()) };
        unit.attach(below, pid)?;
        // A number of this process's pid namespace may be another process to systemd.
        systemd::check_place(pid, whole)
    }

    /// Moves a process in, as [`ContainerCgroup::join`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn join(&self, pid: i32) -> Result<()> {
        self.v1.iter().chain(&self.v2).try_for_each(|dir| move_into(dir, pid))
    }
}

impl ContainerCgroup {
    /// Where a process goes that joins the container whose init process is `init`.
    ///
    /// # Errors
    /// A sub-cgroup that is not there or not below the container's, a controller that the
    /// container has no cgroup of, or the container's own cgroup is gone.
    pub(crate) fn entry(&self, sub: &SubCgroups, init: i32) -> Result<Entry> {
        let mut entry = Entry { v2: None, v1: Vec::new(), by_manager: None };
        for name in sub.by_controller.keys().filter(|n| !n.is_empty()) {
            let has = |p: &Part| p.controllers.contains(name) && !p.v2;
            if !self.parts.iter().any(has) {
                let text = format!(
                    "unknown controller {}: the container has no cgroup of it",
                    quote(name)
                );
                return Err(Error::new(Kind::InvalidConfig, text)
                    .hint("on cgroup v2 give one path without a controller"));
            }
        }
        for part in &self.parts {
            let dir = open(part, below(part, sub)?)?;
            if part.v2 {
                entry.v2 = Some(dir);
            } else {
                entry.v1.push(dir);
            }
        }
        if let Some(dir) = entry.v2.take() {
            let nested = sub.is_empty() && is_v2(&self.parts) && has_controllers_below(&dir);
            let dir = if nested { self.beside(init, dir)? } else { dir };
            if is_v2(&self.parts) {
                entry.by_manager = self.attach_by(&dir)?;
            }
            entry.v2 = Some(dir);
        }
        Ok(entry)
    }

    /// Who moves a process there, if this one may not.
    fn attach_by(&self, dir: &Dir) -> Result<Option<Attach>> {
        let Some(part) = self.parts.iter().find(|p| p.v2) else { return Ok(None) };
        let own = part.full_path();
        let below = dir.path.strip_prefix(&own).unwrap_or_default().trim_matches('/');
        let below = if below == "." { "" } else { below };
        let whole = format!("{}/{below}", part.path);
        let whole = whole.trim_end_matches('/');
        if rootless::may_move_to(part, whole) {
            return Ok(None);
        }
        let unit = self.unit.clone().ok_or_else(|| rootless::no_way_into(&dir.path))?;
        Ok(Some(Attach { unit, below: below.to_owned(), whole: format!("/{whole}") }))
    }

    /// A cgroup of v2 that gives controllers to its children takes no processes: an init such as
    /// systemd's has moved itself to a child, and who joins goes where it is.
    fn beside(&self, init: i32, own: Dir) -> Result<Dir> {
        let file = format!("/proc/{init}/cgroup");
        let text = std::fs::read(&file).map_err(|e| Error::os(format!("read {file}"), e))?;
        let there = cgroup::parse(&text)?.v2.map(String::from_utf8_lossy);
        let part = self.parts.iter().find(|p| p.v2);
        let below = part.zip(there.as_deref()).and_then(|(part, there)| {
            // The path is the whole one, and the container's own may be one as of a mount's root.
            let at = there.find(&format!("/{}/", part.path))?;
            there.get(at + part.path.len() + 2..)
        });
        let Some(below) = below.filter(|path| path::below(path).is_ok_and(|clean| clean == *path))
        else {
            // Let the kernel say what it thinks of it.
            return Ok(own);
        };
        own.below(below).map_err(|e| {
            Error::os(
                format!("error adding pid of the new process to cgroup {}/{below}", own.path),
                e,
            )
        })
    }
}

/// The sub-cgroup for a part. Named for one controller it holds for all of its hierarchy.
fn below<'s>(part: &Part, sub: &'s SubCgroups) -> Result<&'s str> {
    if let Some(path) = sub.by_controller.get("") {
        return Ok(path);
    }
    let mut found: Option<&str> = None;
    for path in part.controllers.iter().filter_map(|c| sub.by_controller.get(c)) {
        if found.is_some_and(|f| f != path) {
            let text = format!(
                "--cgroup has different paths for {}, which are one hierarchy",
                part.controllers.join(" and ")
            );
            return Err(Error::new(Kind::InvalidConfig, text));
        }
        found = Some(path);
    }
    Ok(found.unwrap_or(""))
}

fn open(part: &Part, below: &str) -> Result<Dir> {
    let own = part.dir.as_ref().ok_or_else(|| {
        Error::new(Kind::NotFound, format!("the container's cgroup {} is gone", part.full_path()))
    })?;
    let below = if below.is_empty() { "." } else { below };
    own.below(below).map_err(|e| {
        Error::os(format!("error adding pid of the new process to cgroup {}/{below}", own.path), e)
    })
}

fn has_controllers_below(dir: &Dir) -> bool {
    dir.read("cgroup.subtree_control").is_ok_and(|c| !c.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T34
    #[test]
    fn the_option_is_one_path_or_paths_by_controller() {
        let of = |values: &[&str]| SubCgroups::parse(values).map(|s| s.by_controller);
        let map = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
            list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        assert_eq!(of(&[]).unwrap(), map(&[]));
        assert_eq!(of(&["/a/b"]).unwrap(), map(&[("", "a/b")]));
        assert_eq!(
            of(&["cpu,cpuacct:/a", "memory:b"]).unwrap(),
            map(&[("cpu", "a"), ("cpuacct", "a"), ("memory", "b")])
        );
        for bad in [
            &["../x"][..],
            &["cpu:../x"],
            &["a", "b"],
            &["a", "cpu:b"],
            &[":a"],
            &["cpu,:a"],
            &["cpu:a", "cpu:b"],
        ] {
            assert_eq!(of(bad).unwrap_err().kind(), Kind::InvalidConfig, "{bad:?}");
        }
    }
}
