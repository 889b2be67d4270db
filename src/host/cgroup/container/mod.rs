//! The cgroups of a container whose life other processes go on with: made at a path that the
//! caller chose, limited by the resources of the runtime specification, saved and opened again.
//!
//! One interface over v1 (a directory in each hierarchy), hybrid (v1, and the same path in the v2
//! hierarchy without controllers) and v2. What a directory is called, which hierarchies are
//! joined and how a value is written follow runc, whose users read these files.
//!
//! The supervisor's side. Unlike a jail's cgroup nothing here goes away by `Drop`: a container
//! outlives the process that made it. Only [`Found::create`] undoes what it has made when it fails.

// What no verb of the runtime needs yet.
#![allow(dead_code, unused_imports)]

mod devices;
mod exec;
mod filter;
mod freezer;
mod io;
mod kill;
mod limits;
mod make;
mod oom;
mod path;
mod places;
mod rootless;
mod stats;
mod stats_v1;
mod stats_v2;
#[cfg(test)]
mod tests;
mod v1;
mod v2;
mod walk;

pub(crate) use exec::{Entry, SubCgroups};
pub(crate) use filter::try_to_load;
pub(crate) use oom::{OomEvent, OomEvents};
pub(crate) use path::CgroupPath;
pub(crate) use places::own;
pub(crate) use rootless::no_way_into;
pub use stats::Stats;

use super::dir::Dir;
use super::systemd;
use crate::error::{Error, Kind, Result};
use oci_spec::runtime::{LinuxDevice, LinuxResources};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Who makes the directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Manager {
    /// This program, in the cgroup file system.
    #[default]
    Cgroupfs,
    /// systemd, as a unit. On v2 alone.
    Systemd,
    /// Nobody: the container stays where its maker is, and has no limits.
    Disabled,
}

/// What a container's cgroups shall be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// Where.
    pub path: &'a CgroupPath,
    /// By whom.
    pub manager: Manager,
    /// What systemd is to make, with that manager. Its cgroup is the path.
    pub unit: Option<&'a systemd::Unit>,
    /// The caller may lack rights, in a user namespace or as an ordinary user: device rules that
    /// it may not set are let pass (such a user cannot make device nodes either), and where no
    /// path was asked for, a hierarchy that it may not write to is left out.
    pub rootless: bool,
    /// `linux.resources`.
    pub resources: &'a LinuxResources,
    /// `linux.devices`: the container's process makes them itself, for which it needs the right
    /// to make these nodes.
    pub nodes: &'a [LinuxDevice],
}

impl Request<'_> {
    /// Whether a hierarchy that cannot be had is left out.
    fn may_lack(&self) -> bool {
        self.rootless && !self.path.asked
    }
}

/// What state.json keeps of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// Who made them.
    pub manager: Manager,
    /// Directory by controller, as runc has it: `""` is v2, `name=systemd` that hierarchy.
    pub paths: BTreeMap<String, String>,
    /// Inode number by controller, of which cgroupfs gives none twice: a directory of the same
    /// name that somebody else has made is not taken for ours. Empty before they are made.
    #[serde(default)]
    pub inodes: BTreeMap<String, u64>,
    /// systemd's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<systemd::Kept>,
}

/// One hierarchy, and the container's directory in it.
#[derive(Debug)]
struct Part {
    /// `cpu`, `cpuacct`, `name=systemd`; of v2 the empty string.
    controllers: Vec<String>,
    v2: bool,
    top: Dir,
    /// Below the top, without a leading slash.
    path: String,
    /// Open, unless it is not there (yet, or any more).
    dir: Option<Dir>,
}

impl Part {
    fn full_path(&self) -> String {
        format!("{}/{}", self.top.path, self.path)
    }
}

/// Where a container's cgroups go, found out and checked, nothing made yet. What it saves can be
/// written down before [`Found::create`], so that a killed creator leaves nothing unknown.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    request: Request<'a>,
    parts: Vec<Part>,
    rules: devices::Rules,
    /// What of it is made already.
    made: make::Made,
    /// The container's process, of which systemd makes a unit.
    init: Option<i32>,
}

impl<'a> Found<'a> {
    /// Checks the resources and finds the hierarchies.
    ///
    /// # Errors
    /// Resources that contradict themselves or that this cgroup version lacks, a path that cannot
    /// be, no cgroup file system.
    pub(crate) fn look(request: Request<'a>) -> Result<Found<'a>> {
        limits::check(request.resources)?;
        let rules = devices::Rules::of_container(request.resources, request.nodes)?;
        let parts = match request.manager {
            Manager::Cgroupfs | Manager::Systemd => {
                let parts = places::parts(request.path)?;
                if request.manager == Manager::Systemd && !is_v2(&parts) {
                    return Err(no_v1());
                }
                // Also before the caller writes down that they are its own: whoever cleans up
                // after a killed creator kills what is inside.
                make::refuse_taken(&parts)?;
                parts
            }
            Manager::Disabled => {
                limits::check_none(request.resources)?;
                Vec::new()
            }
        };
        let found = Found { request, parts, rules, made: make::Made::default(), init: None };
        if found.request.manager != Manager::Disabled {
            limits::check_version(request.resources, is_v2(&found.parts))?;
        }
        Ok(found)
    }

    /// What will be at [`ContainerCgroup::saved`], without inode numbers.
    pub(crate) fn saved(&self) -> Saved {
        let unit = self.request.unit.map(systemd::Unit::kept);
        saved(self.request.manager, &self.parts, unit.as_ref())
    }

    /// Makes what a process has to be cloned into, if the rest can wait until it has begun: on a
    /// hybrid host the v2 directory, on one with v1 alone nothing. `false`: on v2, and for an
    /// ordinary user, everything has to be there.
    ///
    /// # Errors
    /// As of [`Found::create`].
    pub(crate) fn begin(&mut self) -> Result<bool> {
        if self.request.unit.is_some() {
            return Ok(true);
        }
        // Of what an ordinary user asks for nobody knows yet what there will be.
        if is_v2(&self.parts) || self.request.may_lack() {
            return Ok(false);
        }
        make::unified(&mut self.parts, &self.request, &mut self.made)?;
        Ok(true)
    }

    /// The directory for CLONE_INTO_CGROUP, once it is made.
    pub(crate) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.parts.iter().find(|p| p.v2).and_then(|p| p.dir.as_ref()).map(AsFd::as_fd)
    }

    /// The container's process, which is cloned already, where [`Found::begin`] says that it may be.
    pub(crate) fn with_init(mut self, pid: i32) -> Found<'a> {
        self.init = Some(pid);
        self
    }

    /// Makes the directories and sets the limits; nobody is in them yet.
    ///
    /// # Errors
    /// A directory that is there and has processes or is frozen, a limit without its controller,
    /// a value that the kernel refuses. What was made is removed.
    pub(crate) fn create(self) -> Result<ContainerCgroup> {
        let Found { request, mut parts, rules, mut made, init } = self;
        let rounded;
        let mut resources = request.resources;
        let there = match request.unit {
            Some(unit) => {
                let pid = init.ok_or_else(|| Error::new(Kind::Os, "a unit needs a process"))?;
                rounded = unit.start(pid, resources)?;
                resources = &rounded;
                make::of_unit(&mut parts)
            }
            None => make::directories(&mut parts, &request, &mut made),
        };
        let result = there.and_then(|()| {
            let unit = request.unit.map(systemd::Unit::kept);
            let mut cgroup =
                ContainerCgroup { manager: request.manager, parts, unit, warnings: Vec::new() };
            if request.manager != Manager::Disabled {
                cgroup.set_limits(resources)?;
                cgroup.set_devices(&rules, Some(resources).filter(|_| request.rootless))?;
            }
            Ok(cgroup)
        });
        if result.is_ok() {
            made.keep();
        }
        result
    }
}

/// A container's cgroups.
#[derive(Debug)]
pub(crate) struct ContainerCgroup {
    manager: Manager,
    parts: Vec<Part>,
    unit: Option<systemd::Kept>,
    /// What was asked for and has no effect, for the log.
    pub(crate) warnings: Vec<String>,
}

impl ContainerCgroup {
    /// [`Found::look`] and [`Found::create`].
    pub(crate) fn create(request: Request<'_>) -> Result<ContainerCgroup> {
        Found::look(request)?.create()
    }

    /// Opens them again. A directory that is gone, or is another one by now, is a part that does
    /// nothing; see [`ContainerCgroup::exists`].
    ///
    /// # Errors
    /// A path that is not below a cgroup file system's mount point.
    pub(crate) fn open(saved: &Saved) -> Result<ContainerCgroup> {
        let parts = match saved.manager {
            Manager::Disabled => Vec::new(),
            Manager::Cgroupfs | Manager::Systemd => places::reopen(saved)?,
        };
        let unit = saved.unit.clone();
        Ok(ContainerCgroup { manager: saved.manager, parts, unit, warnings: Vec::new() })
    }

    /// What is at this path, whoever made it: for a container of which nothing else is known.
    ///
    /// # Errors
    /// No cgroup file system.
    pub(crate) fn at(path: &CgroupPath, unit: Option<systemd::Kept>) -> Result<ContainerCgroup> {
        let mut parts = places::parts(path)?;
        for part in &mut parts {
            part.dir = part.top.below(&part.path).ok();
        }
        let manager = if unit.is_some() { Manager::Systemd } else { Manager::Cgroupfs };
        Ok(ContainerCgroup { manager, parts, unit, warnings: Vec::new() })
    }

    /// For state.json.
    pub(crate) fn saved(&self) -> Saved {
        saved(self.manager, &self.parts, self.unit.as_ref())
    }

    /// Whether any of the directories is there.
    pub(crate) fn exists(&self) -> bool {
        self.parts.iter().any(|p| p.dir.is_some())
    }

    /// Whether there is something to be removed: a unit that has failed has no directory any more.
    pub(crate) fn is_left(&self) -> bool {
        self.exists() || self.unit.is_some()
    }

    /// The directory for CLONE_INTO_CGROUP: of v2, and on a hybrid host, where a write to
    /// `cgroup.procs` would take the lock that [`ContainerCgroup::tasks`] avoids.
    pub(crate) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.unified().map(AsFd::as_fd)
    }

    /// The `tasks` files of v1, to which the single-threaded child writes `0`.
    ///
    /// # Errors
    /// One cannot be opened.
    pub(crate) fn tasks(&self) -> Result<Vec<OwnedFd>> {
        self.v1_dirs().map(open_tasks).collect()
    }

    /// Moves a process with all its threads in, wherever it is now. Slow (a system-wide lock):
    /// for a process that neither was cloned into them nor can move itself.
    ///
    /// # Errors
    /// The kernel refuses, or they are gone.
    pub(crate) fn join(&self, pid: i32) -> Result<()> {
        self.parts.iter().filter_map(|p| p.dir.as_ref()).try_for_each(|dir| move_into(dir, pid))
    }

    /// Changes limits: those that are given, the others stay (`update`). A device rule given
    /// replaces all of them.
    ///
    /// # Errors
    /// As of [`Found::create`]; what was written before the error stays, as with runc.
    pub(crate) fn apply(&mut self, resources: &LinuxResources) -> Result<()> {
        if self.manager == Manager::Disabled {
            return limits::check_none(resources);
        }
        limits::check(resources)?;
        limits::check_version(resources, is_v2(&self.parts))?;
        if resources.devices().as_ref().is_some_and(|d| !d.is_empty()) {
            let rules = devices::Rules::of_container(resources, &[])?;
            self.set_devices(&rules, None)?;
        }
        let Some(unit) = &self.unit else { return self.set_limits(resources) };
        let (whole, period) = v2::with_what_holds(self.need("", "linux.resources")?, resources)?;
        let rounded = unit.set(&whole, period)?;
        self.set_limits(&rounded)
    }

    fn set_limits(&mut self, resources: &LinuxResources) -> Result<()> {
        limits::warn(resources, is_v2(&self.parts), &mut self.warnings);
        if is_v2(&self.parts) { v2::apply(self, resources) } else { v1::apply(self, resources) }
    }

    /// `lacking`: what an ordinary user asks for, who has to do without.
    fn set_devices(
        &mut self,
        rules: &devices::Rules,
        lacking: Option<&LinuxResources>,
    ) -> Result<()> {
        let v2 = is_v2(&self.parts);
        if lacking.is_some() && self.dir(if v2 { "" } else { "devices" }).is_none() {
            return Ok(());
        }
        let done = if v2 {
            filter::set(self.need("", "the device rules")?, rules)
        } else {
            self.need("devices", "the device rules").and_then(|dir| rules.set_v1(dir))
        };
        match (done, lacking) {
            (Err(e), Some(asked)) if lacks_right(&e) => {
                self.warnings.extend(rootless::device_warning(asked, &e));
                Ok(())
            }
            (Err(e), _) if lacks_right(&e) => Err(e.hint(rootless::NO_DEVICE_RULES)),
            (done, _) => done,
        }
    }

    fn unified(&self) -> Option<&Dir> {
        self.parts.iter().find(|p| p.v2).and_then(|p| p.dir.as_ref())
    }

    fn v1_dirs(&self) -> impl Iterator<Item = &Dir> {
        self.parts.iter().filter(|p| !p.v2).filter_map(|p| p.dir.as_ref())
    }

    /// The directory that has this controller, if there is one.
    fn dir(&self, controller: &str) -> Option<&Dir> {
        let has = |p: &&Part| {
            p.v2 == controller.is_empty() && p.controllers.iter().any(|c| c == controller)
        };
        self.parts.iter().find(has).and_then(|p| p.dir.as_ref())
    }

    /// The same for what cannot do without it.
    fn need(&self, controller: &str, what: &str) -> Result<&Dir> {
        self.dir(controller).ok_or_else(|| rootless::no_cgroup(self, controller, what))
    }

    /// Where the processes are listed. runc looks in `devices`, too.
    fn main_dir(&self) -> Option<&Dir> {
        if is_v2(&self.parts) {
            return self.unified();
        }
        self.dir("devices").or_else(|| self.v1_dirs().next())
    }
}

/// Whether v2 is all there is, and not only a hybrid host's hierarchy without controllers.
fn is_v2(parts: &[Part]) -> bool {
    !parts.is_empty() && parts.iter().all(|p| p.v2)
}

fn no_v1() -> Error {
    let text = "the systemd cgroup manager needs cgroup v2, and this host's controllers are on v1";
    Error::new(Kind::Unsupported, text).hint(
        "boot with systemd.unified_cgroup_hierarchy=1, or leave --systemd-cgroup away: the cgroupfs \
         manager makes the same limits",
    )
}

fn saved(manager: Manager, parts: &[Part], unit: Option<&systemd::Kept>) -> Saved {
    let mut saved = Saved { manager, unit: unit.cloned(), ..Saved::default() };
    for part in parts {
        let inode = part.dir.as_ref().and_then(|d| d.id().ok());
        for controller in &part.controllers {
            saved.paths.insert(controller.clone(), part.full_path());
            if let Some(inode) = inode {
                saved.inodes.insert(controller.clone(), inode);
            }
        }
    }
    saved
}

fn open_tasks(dir: &Dir) -> Result<OwnedFd> {
    dir.open_file("tasks", libc::O_WRONLY)
        .map_err(|e| Error::os(format!("open {}/tasks", dir.path), e))
}

/// Writes to `cgroup.procs`. A process that is just being made answers EINVAL for a moment.
fn move_into(dir: &Dir, pid: i32) -> Result<()> {
    let mut tries = 0;
    loop {
        match dir.write("cgroup.procs", &pid.to_string()) {
            Ok(()) => return Ok(()),
            Err(e) if e.0 == libc::EINVAL && tries < 5 => tries += 1,
            Err(e) => return Err(Error::os(format!("move process {pid} to {}", dir.path), e)),
        }
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
}

fn lacks_right(e: &Error) -> bool {
    matches!(e.errno(), Some(libc::EPERM | libc::EACCES | libc::EROFS))
}
