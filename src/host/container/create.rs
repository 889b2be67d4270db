//! Making a container: the configuration is read and checked whole before anything exists, and
//! whatever exists is removed again if a later step fails.

#![forbid(unsafe_code)]

use super::agent::Agent;
use super::console::{self, Console};
use super::in_place::Before;
use super::launch::Launch;
use super::notify::{self, Notify};
use super::state::{CONFIG, Container, OCI_VERSION, Saved, Status};
use super::store::{self, Entry, Store};
use super::undo::Undo;
use super::{Request, cgroups, netdevices, pid_file};
use crate::child::network::Ahead;
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::container::ContainerCgroup;
use crate::host::launch::{Launched, refuse_set_uid};
use crate::host::{exe, probe, seal, users};
use crate::plan::detail::{Hook, MountSource, NamespaceKind};
use crate::plan::oci::annotations::pidfd_receiver;
use crate::plan::oci::{self, Asked, spec::Config};
use crate::plan::seccomp::notify::{Answer, answer, call_of};
use crate::plan::values::quote;
use crate::plan::{MountStep, Plan, RootSource};
use crate::sys::{cred, fs, io, process, signal};
use std::cell::RefCell;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
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

/// What a container is made from, read and checked.
pub(super) struct Prepared {
    pub(super) bundle: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) config: Config,
    pub(super) plan: Plan,
    facts: crate::plan::facts::Facts,
    pub(super) warnings: Vec<String>,
    network: Option<Ahead>,
}

/// Reads and checks it. One that is `restored` has its process from elsewhere.
pub(super) fn prepare(id: &str, request: &Request<'_>, restored: bool) -> Result<Prepared> {
    store::check_id(id)?;
    refuse_set_uid()?;
    super::launch::check_preserved(request.preserve_fds)?;
    enough_descriptors(request.preserve_fds)?;
    let (dir, bundle) = directory(request.bundle, "the bundle")?;
    let bytes = match request.config {
        Some(path) => read(fs::cwd(), path)?,
        None => read(dir.as_fd(), Path::new("config.json"))?,
    };
    let mut config = oci::parse(&bytes)?;
    if oci::own(&config.annotations)?.zero_pids_is_no_limit {
        unlimit_pids(&mut config);
    }
    let mut network = if restored { None } else { network_ahead(&config, request)? };
    let facts = probe::probe_for_container()?;
    let asked = Asked {
        id,
        bundle: &bundle,
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        preserved_fds: request.preserve_fds,
        apparmor: config.has_label() && enabled("/sys/module/apparmor/parameters/enabled"),
        selinux: config.has_label() && Path::new("/sys/fs/selinux/enforce").exists(),
        in_user_namespace: super::in_user_namespace(),
        resctrl: Path::new("/sys/fs/resctrl/schemata").exists(),
        kcore: Path::new("/proc/kcore").exists(),
    };
    let (mut plan, warnings) = oci::plan(&config, &facts, &asked)?;
    let RootSource::Directory(rootfs) = &mut plan.root.source else {
        return Err(Error::new(Kind::InvalidConfig, "there is no root file system"));
    };
    let (_, found) = directory(rootfs, "the root file system")?;
    *rootfs = found;
    refuse_host_root(rootfs)?;
    let account = account_root(&plan)?;
    if !restored {
        seal(&plan, request, &mut network)?;
    }
    home(&mut plan, account.as_deref())?;
    listeners(&mut plan, request.listen_fds);
    hooks_environment(&mut plan, &config);
    Ok(Prepared { bundle, bytes, config, plan, facts, warnings, network })
}

fn refuse_host_root(rootfs: &Path) -> Result<()> {
    if rootfs != Path::new("/") {
        return Ok(());
    }
    Err(Error::new(Kind::Refused, "the host's root cannot be a container's")
        .hint("give root.path a directory of its own"))
}

/// Where the container's accounts are before it is made: in the root, or in what is mounted over it.
fn account_root(plan: &Plan) -> Result<Option<PathBuf>> {
    let cover = match plan.steps.first() {
        Some(MountStep::Mount(mount)) if mount.target == Path::new("/") => Some(&mount.source),
        _ => None,
    };
    match (cover, &plan.root.source) {
        (Some(MountSource::Bind { source, within: None, .. }), _) => {
            let (_, found) = directory(source, "the source of the mount on /")?;
            refuse_host_root(&found)?;
            Ok(Some(found))
        }
        (
            None | Some(MountSource::Filesystem { copy_up: true, .. }),
            RootSource::Directory(root),
        ) => Ok(Some(root.clone())),
        // Nobody knows it yet.
        _ => Ok(None),
    }
}

/// A limit of 0 processes is none.
fn unlimit_pids(config: &mut Config) {
    let resources = config.linux.as_mut().and_then(|l| l.resources.as_mut());
    if let Some(resources) = resources
        && resources.pids().as_ref().is_some_and(|p| p.limit() == 0)
    {
        resources.set_pids(None);
    }
}

/// What making a container may need of descriptors, and its removal if that fails: without them
/// something would be left behind.
fn enough_descriptors(preserved: u32) -> Result<()> {
    const NEEDED: u64 = 64;
    let (soft, _) = process::get_rlimit(process::NOFILE)
        .map_err(|e| Error::os("ask for the limit on descriptors", e))?;
    if soft >= NEEDED + u64::from(preserved) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Os,
        format!("{soft} open files are permitted (RLIMIT_NOFILE), too few to make a container"),
    )
    .hint(format!("ulimit -n {}", 1024 + preserved)))
}

/// The network namespace, begun on another processor while the rest is planned: nothing of the
/// configuration changes how it is made, unless a user namespace is to own it.
fn network_ahead(config: &Config, request: &Request<'_>) -> Result<Option<Ahead>> {
    let Some(linux) = &config.linux else { return Ok(None) };
    let of = |kind: &str| linux.namespaces.iter().find(|n| n.kind == kind);
    let new = of("network").is_some_and(|n| n.path.as_os_str().is_empty());
    // Without rights over the caller's own it fails; where it is due the message is about it.
    if !new || of("user").is_some() || cred::euid() != 0 {
        return Ok(None);
    }
    let begin = || {
        let mask = signal::set_mask(signal::ALL)?;
        let begun = Ahead::begin()
            .and_then(|n| n.map(|fd| io::move_above(fd, 16 + request.preserve_fds.cast_signed())));
        signal::set_mask(mask)?;
        begun
    };
    match begin() {
        Ok(ahead) => Ok(Some(ahead)),
        // The child tries it too, and says what is wrong.
        Err(e) if e.0 == libc::EAGAIN => Ok(None),
        Err(e) => Err(Error::os("begin to make the network namespace", e)),
    }
}

/// While a created container waits, its process is this program. Who shares the pid namespace and may
/// trace could reach this program's file through it (CVE-2019-5736): then it is run from where
/// nobody can write to it. In a pid namespace of its own there is nobody else yet.
fn seal(plan: &Plan, request: &Request<'_>, network: &mut Option<Ahead>) -> Result<()> {
    let seen = !plan.is_new(NamespaceKind::Pid) && plan.namespaces.user.is_none();
    let denied = denies_the_stub(plan)?;
    if !(seen || denied) || seal::is_sealed() {
        return Ok(());
    }
    if request.may_restart {
        // Its helper would be left behind.
        drop(network.take());
        return Err(seal::run_sealed());
    }
    if !denied {
        return Ok(());
    }
    Err(Error::new(
        Kind::Unsupported,
        "the seccomp filter denies execveat or fcntl, which keep the runtime's binary out of reach",
    )
    .hint("let the filter permit both, or give the container a user namespace"))
}

/// The program is executed by way of a stub, in two calls that the filter may deny. Where the
/// runtime runs from a read-only mount no stub is needed.
fn denies_the_stub(plan: &Plan) -> Result<bool> {
    let filter = &plan.process.seccomp.filter;
    if filter.is_empty() || !exe::is_exposed(plan)? {
        return Ok(false);
    }
    let permits = |name| answer(filter, &call_of(name)) == Answer::Other;
    Ok(!(permits("execveat") && permits("fcntl")))
}

/// Where the process has no HOME its account says it, as runc does.
fn home(plan: &mut Plan, root: Option<&Path>) -> Result<()> {
    let process = &mut plan.process;
    if process.env.iter().any(|e| e.starts_with("HOME=")) {
        return Ok(());
    }
    let home = root.map(|root| users::home(root, process.uid)).transpose()?.flatten();
    process.env.push(format!("HOME={}", home.unwrap_or_else(|| "/".to_owned())));
    Ok(())
}

/// Tells the process of sockets that it is activated with.
fn listeners(plan: &mut Plan, count: u32) {
    if count == 0 {
        return;
    }
    let env = &mut plan.process.env;
    env.retain(|e| !e.starts_with("LISTEN_FDS=") && !e.starts_with("LISTEN_PID="));
    env.push(format!("LISTEN_FDS={count}"));
    // The program's own pid, which only the first of a pid namespace knows beforehand; as runc says it.
    env.push("LISTEN_PID=1".to_owned());
}

/// A startContainer hook without an environment of its own gets the process's, as in runc.
fn hooks_environment(plan: &mut Plan, config: &Config) {
    let asked = config.hooks.iter().flat_map(|h| &h.start_container);
    for (hook, asked) in plan.details.hooks.start_container.iter_mut().zip(asked) {
        if asked.env.is_none() {
            hook.env.clone_from(&plan.process.env);
        }
    }
}

pub(super) fn enabled(parameter: &str) -> bool {
    std::fs::read(parameter).is_ok_and(|text| text.starts_with(b"Y"))
}

/// A directory, and where it really is.
fn directory(path: &Path, what: &str) -> Result<(OwnedFd, PathBuf)> {
    let shown = quote(&path.to_string_lossy());
    let failed = |e: std::io::Error| Error::os(format!("find {what} {shown}"), e);
    let name = crate::host::arm::c_path(path)?;
    let fd = fs::open_at(fs::cwd(), &name, libc::O_PATH | libc::O_DIRECTORY, 0)
        .map_err(|e| failed(e.into()))?;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).map_err(failed)?;
    Ok((fd, real))
}

fn read(dir: BorrowedFd<'_>, path: &Path) -> Result<Vec<u8>> {
    let what = || format!("read {}", quote(&path.to_string_lossy()));
    let name = crate::host::arm::c_path(path)?;
    let fd = fs::open_at(dir, &name, libc::O_RDONLY | libc::O_NONBLOCK, 0)
        .map_err(|e| Error::os(what(), e))?;
    let file = std::fs::File::from(fd);
    let seen = file.metadata().map_err(|e| Error::os(what(), e))?;
    if !seen.is_file() {
        return Err(Error::new(Kind::InvalidConfig, format!("{}: it is no file", what())));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(seen.len()).unwrap_or(0).min(1 << 20));
    file.take(oci::MAX_CONFIG + 1).read_to_end(&mut bytes).map_err(|e| Error::os(what(), e))?;
    Ok(bytes)
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
