//! A container's cgroups: made, saved, opened again; and the mounts that show them inside.

#![forbid(unsafe_code)]

use super::Request;
use super::state::Saved;
use crate::child::mounts::{ArmedSource, Hierarchy};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::container::{self, CgroupPath, ContainerCgroup, Found, Manager};
use crate::host::cgroup::systemd::Unit;
use crate::plan::oci::spec::{Config, Linux};
use crate::sys::mount;
use crate::sys::{cred, fs};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxResources};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What is asked of them, owned.
pub(super) struct Asked {
    path: CgroupPath,
    manager: Manager,
    unit: Option<Unit>,
    rootless: bool,
    resources: LinuxResources,
    nodes: Vec<LinuxDevice>,
}

impl Asked {
    pub(super) fn new(config: &Config, id: &str, request: &Request<'_>) -> Result<Asked> {
        let empty = Linux::default();
        let linux = config.linux.as_ref().unwrap_or(&empty);
        let asked = Some(Path::new(&linux.cgroups_path)).filter(|p| !p.as_os_str().is_empty());
        let nodes = linux.devices.iter().map(|d| {
            let mut node = LinuxDevice::default();
            node.set_path(d.path.clone());
            node.set_typ(match d.kind.as_str() {
                "b" => LinuxDeviceType::B,
                "p" => LinuxDeviceType::P,
                _ => LinuxDeviceType::C,
            });
            node.set_major(d.major);
            node.set_minor(d.minor);
            node
        });
        let rootless =
            request.rootless.unwrap_or_else(|| cred::euid() != 0 || super::in_user_namespace());
        let unit = if request.cgroups == Manager::Systemd {
            Some(Unit::new(&linux.cgroups_path, id, rootless, &config.annotations)?)
        } else {
            None
        };
        let path = match &unit {
            Some(unit) => CgroupPath::new(Some(unit.cgroup().as_ref()), id)?,
            None => CgroupPath::new(asked, id)?,
        };
        Ok(Asked {
            path,
            manager: request.cgroups,
            unit,
            rootless,
            resources: linux.resources.clone().unwrap_or_default(),
            nodes: nodes.collect(),
        })
    }

    /// Whether the caller may lack rights.
    pub(super) fn rootless(&self) -> bool {
        self.rootless
    }

    /// Finds out where; checks what is asked.
    pub(super) fn look(&self) -> Result<Found<'_>> {
        Found::look(container::Request {
            path: &self.path,
            manager: self.manager,
            unit: self.unit.as_ref(),
            rootless: self.rootless,
            resources: &self.resources,
            nodes: &self.nodes,
        })
    }
}

/// What is where the configuration says, for a container of which nothing else is known. A path
/// that starts with no slash is systemd's.
pub(super) fn at(asked: &str, id: &str) -> Result<ContainerCgroup> {
    if asked.starts_with('/') {
        return ContainerCgroup::at(&CgroupPath::new(Some(asked.as_ref()), id)?, None);
    }
    let user = cred::euid() != 0 || super::in_user_namespace();
    let unit = Unit::new(asked, id, user, &BTreeMap::new())?;
    let path = CgroupPath::new(Some(unit.cgroup().as_ref()), id)?;
    ContainerCgroup::at(&path, Some(unit.kept()))
}

/// For state.json.
pub(super) fn to_value(saved: &container::Saved) -> Result<serde_json::Value> {
    serde_json::to_value(saved).map_err(|e| Error::new(Kind::Os, format!("save the cgroup: {e}")))
}

/// The cgroups of a container.
pub(super) fn open(saved: &Saved) -> Result<Option<ContainerCgroup>> {
    let Some(value) = &saved.cgroup else { return Ok(None) };
    let saved: container::Saved = serde_json::from_value(value.clone())
        .map_err(|e| Error::new(Kind::Refused, format!("the saved cgroup is damaged: {e}")))?;
    ContainerCgroup::open(&saved).map(Some)
}

/// The hierarchies by directory below /sys/fs/cgroup, with the controllers of each.
fn hierarchies(paths: &BTreeMap<String, String>) -> Vec<(Vec<&str>, &str)> {
    let mut list: Vec<(Vec<&str>, &str)> = Vec::new();
    for (controller, path) in paths {
        match list.iter_mut().find(|(_, p)| p == path) {
            Some((controllers, _)) => controllers.push(controller),
            None => list.push((vec![controller], path)),
        }
    }
    list
}

/// The mount of the cgroup file systems as the child makes it; `by_child`: it copies what is there by
/// itself, unless it mounts anew.
pub(crate) fn armed(
    paths: &BTreeMap<String, String>,
    anew: bool,
    by_child: bool,
) -> Result<ArmedSource> {
    let c = |text: &str| {
        CString::new(text).map_err(|_| Error::new(Kind::InvalidConfig, "a cgroup's name has a NUL"))
    };
    let list = hierarchies(paths);
    if list.is_empty() {
        return Err(Error::new(
            Kind::Unsupported,
            "the container has no cgroup that could be mounted",
        )
        .hint("take the mount of the type cgroup out of config.json"));
    }
    let v2_alone = list.iter().all(|(controllers, _)| *controllers == [""]);
    let mut out = Vec::with_capacity(list.len());
    let mut links = Vec::new();
    for (controllers, path) in &list {
        let path = if by_child && !anew { Some(c(path)?) } else { None };
        if *controllers == [""] {
            out.push(Hierarchy {
                name: c(if v2_alone { "" } else { "unified" })?,
                fstype: c("cgroup2")?,
                options: Vec::new(),
                path,
            });
            continue;
        }
        let names: Vec<&str> =
            controllers.iter().map(|n| n.strip_prefix("name=").unwrap_or(n)).collect();
        let joined = names.join(",");
        let options = controllers.iter().map(|n| match n.strip_prefix("name=") {
            Some(name) => Ok(vec![(c("none")?, None), (c("name")?, Some(c(name)?))]),
            None => Ok(vec![(c(n)?, None)]),
        });
        let options: Result<Vec<Vec<_>>> = options.collect();
        if names.len() > 1 {
            for name in &names {
                links.push((c(name)?, c(&joined)?));
            }
        }
        out.push(Hierarchy {
            name: c(&joined)?,
            fstype: c("cgroup")?,
            options: options?.into_iter().flatten().collect(),
            path,
        });
    }
    Ok(ArmedSource::Cgroup { hierarchies: out, links, anew })
}

/// The mount of its directory in systemd's hierarchy of v1 alone, in a cgroup namespace of its own.
pub(crate) fn armed_systemd(paths: &BTreeMap<String, String>) -> Result<ArmedSource> {
    const KEY: &str = "name=systemd";
    // Without a directory of its own it would see all that is in there.
    let Some(path) = paths.get(KEY) else {
        let text = "run.oci.systemd.force_cgroup_v1: the container has no cgroup in a v1 hierarchy \
                    name=systemd";
        return Err(Error::new(Kind::Unsupported, text).hint(
            "the host has to have that hierarchy mounted, beside controllers on v1: on pure cgroup v2 \
             leave the annotation away",
        ));
    };
    let mut armed = armed(&BTreeMap::from([(KEY.to_owned(), path.clone())]), true, false)?;
    if let ArmedSource::Cgroup { hierarchies, .. } = &mut armed {
        // On the target itself.
        hierarchies.iter_mut().for_each(|h| h.name = CString::default());
    }
    Ok(armed)
}

/// Where each of its directories is below the mount of them all, and its path on the host; what is
/// mounted there itself has an empty name.
pub(super) fn places(paths: &BTreeMap<String, String>) -> Vec<(String, &str)> {
    let list = hierarchies(paths);
    let v2_alone = list.iter().all(|(controllers, _)| *controllers == [""]);
    let name = |controllers: &[&str]| match controllers {
        [""] if v2_alone => String::new(),
        [""] => "unified".to_owned(),
        names => {
            let plain = names.iter().map(|n| n.strip_prefix("name=").unwrap_or(n));
            plain.collect::<Vec<_>>().join(",")
        }
    };
    list.iter().map(|(controllers, path)| (name(controllers), *path)).collect()
}

/// What [`armed`] shows, where it is a part of the hierarchies that are there: the container's
/// directories, or those of its maker for an ordinary user's container without any of its own.
pub(super) fn shown(
    paths: BTreeMap<String, String>,
    rootless: bool,
) -> Result<BTreeMap<String, String>> {
    if paths.is_empty() && rootless { container::own() } else { Ok(paths) }
}

/// Copies of the mounts of its directories, in the same order; without the right to copy the
/// directories themselves.
pub(super) fn trees(paths: &BTreeMap<String, String>, privileged: bool) -> Result<Vec<OwnedFd>> {
    if !privileged {
        let open = |(_, path): (_, &str)| {
            let name = CString::new(path).unwrap_or_default();
            fs::open_at(fs::cwd(), &name, libc::O_PATH | libc::O_DIRECTORY, 0)
                .map_err(|e| Error::os(format!("open the cgroup {path}"), e))
        };
        return hierarchies(paths).into_iter().map(open).collect();
    }
    hierarchies(paths)
        .into_iter()
        .map(|(_, path)| {
            let name = CString::new(path).unwrap_or_default();
            mount::clone_tree(fs::cwd(), &name, false)
                .map_err(|e| Error::os(format!("copy the mount of the cgroup {path}"), e))
        })
        .collect()
}
