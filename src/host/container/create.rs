//! Making a container from what was prepared: whatever exists is removed again if a later step fails.

#![forbid(unsafe_code)]

use super::agent::Agent;
use super::console::{self, Console};
use super::in_place::Before;
use super::launch::Launch;
use super::notify::{self, Notify};
use super::prepare::{Prepared, prepare};
use super::state::{CONFIG, Container, OCI_VERSION, Saved, Status};
use super::store::{Entry, Store};
use super::undo::Undo;
use super::{Request, cgroups, netdevices, pid_file};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::container::ContainerCgroup;
use crate::host::launch::Launched;
use crate::plan::RootSource;
use crate::plan::detail::{Hook, NamespaceKind};
use crate::plan::oci::annotations::pidfd_receiver;
use crate::sys::cred;
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::SystemTime;

/// A container that was just made.
pub(super) struct Made {
    pub(super) container: Container,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    /// The master of its terminal, if that stays here.
    pub(super) master: Option<OwnedFd>,
    /// Flags of seccomp(2).
    pub(super) filter_flags: Option<u32>,
    /// Where it says that it is ready.
    pub(super) notify: Option<Notify>,
    /// What its removal needs, for the one who waits for its end.
    pub(super) left: Left,
}

/// What there is of a container besides its processes.
pub(super) struct Left {
    pub(super) entry: Entry,
    pub(super) saved: Saved,
    pub(super) cgroup: Option<ContainerCgroup>,
    pub(super) poststop: Vec<Hook>,
    /// Whether all of it ends with its init.
    pub(super) own_pids: bool,
}

/// Sockets that the caller named, connected before anything is made.
pub(super) struct Sockets {
    pub(super) console: Option<UnixStream>,
    pidfds: Vec<UnixStream>,
}

pub(super) fn sockets(
    request: &Request<'_>,
    prepared: &Prepared,
    foreground: bool,
) -> Result<Sockets> {
    let terminal = prepared.plan.process.terminal;
    match request.console_socket {
        None if terminal && !foreground => {
            return Err(Error::new(
                Kind::InvalidConfig,
                "cannot allocate tty if the console socket is not given",
            )
            .hint("process.terminal is true: say --console-socket PATH"));
        }
        Some(_) if !terminal => {
            return Err(Error::new(
                Kind::InvalidConfig,
                "there is a console socket, but the process has no terminal",
            )
            .hint("set process.terminal to true, or leave --console-socket away"));
        }
        _ => {}
    }
    let connect = |path: &Path, what| console::connect(path, what);
    let receiver = pidfd_receiver(&prepared.config.annotations).map(|p| prepared.bundle.join(p));
    let pidfds = request.pidfd_socket.into_iter().chain(receiver.as_deref());
    Ok(Sockets {
        console: request.console_socket.map(|p| connect(p, "console")).transpose()?,
        pidfds: pidfds.map(|p| connect(p, "pidfd")).collect::<Result<_>>()?,
    })
}

/// How far it is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Its process waits for `start`.
    Created,
    /// Its program runs; a terminal may be kept here.
    Foreground,
    /// Its program runs.
    Detached,
}

/// Makes it.
pub(super) fn create(store: Store, id: &str, request: &Request<'_>, until: Until) -> Result<Made> {
    let prepared = prepare(id, request, false)?;
    let warnings = prepared.warnings.clone();
    make(prepared, store, id, request, until).map_err(|e| e.with_warnings(warnings))
}

fn make(
    mut prepared: Prepared,
    store: Store,
    id: &str,
    request: &Request<'_>,
    until: Until,
) -> Result<Made> {
    if until == Until::Foreground && request.console_socket.is_none() {
        let size = &mut prepared.plan.details.terminal.size;
        *size = size.or_else(super::relay::callers_size);
    }
    let sockets = sockets(request, &prepared, until == Until::Foreground)?;
    if request.notify.is_some() {
        notify::plan(&mut prepared.plan, &store.path_of(id)?);
    }
    let agent = Agent::connect(&prepared.plan)?;
    let asked = cgroups::Asked::new(&prepared.config, id, request)?;
    let mut found = asked.look()?;
    let entry = store.make(id)?;
    let mut saved = first_state(id, &prepared, &entry)?;
    let made = RefCell::new(None);
    // Given back once the process is gone.
    let devices = RefCell::new(None);
    let poststop = prepared.plan.details.hooks.poststop.as_slice();
    let mounts = Before::look(&prepared.plan)?;
    let own_pids = prepared.plan.is_new(NamespaceKind::Pid);
    let mut undo = Undo {
        entry: &entry,
        cgroup: &made,
        launched: None,
        kept: false,
        own_pids,
        poststop: None,
        mounts,
    };
    entry.write_new(CONFIG, &prepared.bytes)?;
    let notify = match request.notify {
        None => None,
        Some(manager) => {
            notify::make(&entry)?;
            if until == Until::Created { None } else { Notify::bind(&entry, manager)? }
        }
    };
    let paths = found.saved();
    saved.cgroup = Some(cgroups::to_value(&paths)?);
    saved.store(&entry)?;
    let found = if found.begin()? {
        Some(found)
    } else {
        *made.borrow_mut() = Some(found.create()?);
        None
    };
    // What an ordinary user could not make is not there by now.
    let paths = made.borrow().as_ref().map_or(paths, ContainerCgroup::saved);
    let shown = cgroups::shown(paths.paths.clone(), asked.rootless())?;
    let warnings = RefCell::new(std::mem::take(&mut prepared.warnings));
    let kept = RefCell::new(None);
    let tell = |launched: &Launched, saved: &Saved| tell_pid(request, &sockets, saved, launched);
    let launch = Launch {
        plan: &prepared.plan,
        facts: &prepared.facts,
        entry: &entry,
        cgroup: &made,
        found: RefCell::new(found),
        cgroup_paths: &paths,
        shown: &shown,
        console: match (&sockets.console, prepared.plan.process.terminal) {
            (Some(socket), _) => Console::Socket(socket),
            (None, true) => Console::Kept(&kept),
            (None, false) => Console::None,
        },
        agent: agent.as_ref(),
        starts: until != Until::Created,
        network: prepared.network.as_ref(),
        devices: &devices,
        warnings: &warnings,
        tell_pid: &tell,
    };
    if !poststop.is_empty() {
        // From here on its other hooks may run.
        undo.poststop = Some((poststop, saved.clone()));
    }
    let launched = launch.run(&mut saved).map_err(|e| netdevices::undo(&devices, e));
    drop(launch);
    let launched = undo.launched.insert(launched?);
    if until == Until::Created {
        tell(launched, &saved)?;
        saved.status = Status::Created;
    } else {
        saved.status = Status::Running;
    }
    let mut warnings = warnings.into_inner();
    if let Some(cgroup) = &*made.borrow() {
        saved.cgroup = Some(cgroups::to_value(&cgroup.saved())?);
        warnings.extend(cgroup.warnings.iter().cloned());
    }
    saved.store(&entry)?;
    if until != Until::Created {
        // It runs: what these hooks call of us, such as `update`, is about a container like any other.
        entry.unlock();
        super::start::poststart(&saved, &prepared.config)?;
    }
    let pidfd = undo.keep()?.release()?;
    if let Some(devices) = devices.take() {
        devices.keep();
    }
    let mut container = Container::new(store, id);
    container.warnings = warnings;
    entry.unlock();
    let poststop = prepared.plan.details.hooks.poststop.clone();
    let pid = saved.pid;
    let left = Left { entry, saved, cgroup: made.into_inner(), poststop, own_pids };
    let filter_flags = prepared.plan.process.seccomp.first_flags();
    let master = kept.into_inner();
    Ok(Made { container, pid, pidfd, master, filter_flags, notify, left })
}

pub(super) fn first_state(id: &str, prepared: &Prepared, entry: &Entry) -> Result<Saved> {
    let RootSource::Directory(rootfs) = &prepared.plan.root.source else {
        return Err(Error::new(Kind::InvalidConfig, "there is no root file system"));
    };
    debug_assert_eq!(entry.id(), id);
    Ok(Saved {
        oci_version: OCI_VERSION.to_owned(),
        id: id.to_owned(),
        status: Status::Creating,
        pid: 0,
        pid_start: 0,
        bundle: prepared.bundle.clone(),
        rootfs: rootfs.clone(),
        created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        owner: cred::euid(),
        annotations: prepared.config.annotations.clone(),
        namespaces: crate::plan::detail::NamespaceKind::ALL
            .into_iter()
            .filter(|k| !prepared.plan.details.shared.contains(k))
            .map(|k| k.name().to_owned())
            .collect(),
        cgroup: None,
        streams: if prepared.plan.process.terminal { Vec::new() } else { streams() },
        restorer: None,
    })
}

/// What the caller's standard streams are, by which a checkpoint knows them again.
fn streams() -> Vec<String> {
    let link = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}"));
    let shown = |fd| link(fd).map_or_else(|_| "/dev/null".into(), |to| to.to_string_lossy().into());
    (0..3).map(shown).collect()
}

/// Tells who wants to know which process it is.
fn tell_pid(
    request: &Request<'_>,
    sockets: &Sockets,
    saved: &Saved,
    launched: &Launched,
) -> Result<()> {
    for socket in &sockets.pidfds {
        let pidfd = crate::sys::io::duplicate(launched.pidfd())
            .map_err(|e| Error::os("duplicate a pidfd", e))?;
        console::send(socket, saved.id.as_bytes(), &pidfd)?;
    }
    match request.pid_file {
        Some(path) => pid_file::write(path, saved.pid),
        None => Ok(()),
    }
}
