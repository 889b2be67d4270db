//! What a container is made from: the configuration, read and checked whole before anything exists.

#![forbid(unsafe_code)]

use super::{Request, store};
use crate::child::network::Ahead;
use crate::error::{Error, Kind, Result};
use crate::host::launch::refuse_set_uid;
use crate::host::{exe, probe, seal, users};
use crate::plan::detail::{MountSource, NamespaceKind};
use crate::plan::oci::{self, Asked, spec::Config};
use crate::plan::seccomp::notify::{Answer, answer, call_of};
use crate::plan::values::quote;
use crate::plan::{MountStep, Plan, RootSource};
use crate::sys::{cred, fs, io, process, signal};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a container is made from, read and checked.
pub(super) struct Prepared {
    pub(super) bundle: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) config: Config,
    pub(super) plan: Plan,
    pub(super) facts: crate::plan::facts::Facts,
    pub(super) warnings: Vec<String>,
    pub(super) network: Option<Ahead>,
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
