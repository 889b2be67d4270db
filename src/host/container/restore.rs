//! Making a container from files that a checkpoint has left, by criu: what `create` makes (its state,
//! its cgroups) is made as there, and the processes come from the images.

#![forbid(unsafe_code)]

use super::checkpoint::{EXTERNAL, STREAMS, common, directory, namespace, only_root, own_mounts};
use super::console::Console;
use super::create::{self, Left, Made, Until};
use super::criu_options::RestoreOptions;
use super::namespaces::{self, Opened};
use super::prepare::prepare;
use super::state::{CONFIG, Container, Saved, Status, look, running};
use super::store::{Entry, Store};
use super::undo::Undo;
use super::{Request, cgroups, externals, hooks, mountpoints, pid_file, run};
use crate::error::{Error, Kind, Result};
use crate::host::criu::{Criu, Directory, Fields, Log, Needs, Root, Streams, Verb, opt};
use crate::plan::Plan;
use crate::plan::detail::NamespaceKind;
use crate::plan::formats::cgroup;
use crate::plan::oci::outside::outside;
use crate::plan::values::quote;
use crate::sys::{io, process};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// Restores it and goes on as `run` does.
pub(crate) fn restore(
    store: Store,
    id: &str,
    request: &Request<'_>,
    options: &RestoreOptions,
    how: run::How,
    warn: &mut dyn FnMut(&str),
) -> Result<i32> {
    let mut warnings = Vec::new();
    let mut tell = |started: &super::Started| warnings.extend(started.warnings.iter().cloned());
    let make = |store, until| make(store, id, request, options, until);
    let status = run::follow(store, id, (how, request.may_restart), &mut tell, warn, &make);
    warnings.iter().for_each(|w: &String| warn(w));
    status
}

/// The restored init. Dropped, it is killed and reaped.
#[derive(Debug)]
struct Restored {
    pid: i32,
    pidfd: Option<OwnedFd>,
}

impl Drop for Restored {
    fn drop(&mut self) {
        if let Some(pidfd) = self.pidfd.take() {
            let _ = process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            while process::wait4(self.pid, 0).is_err_and(|e| e.0 == libc::EINTR) {}
        }
    }
}

fn make(
    store: Store,
    id: &str,
    request: &Request<'_>,
    options: &RestoreOptions,
    until: Until,
) -> Result<Made> {
    only_root("restore")?;
    let prepared = prepare(id, request, true)?;
    let (plan, config) = (&prepared.plan, &prepared.config);
    own_mounts(config)?;
    let sockets = create::sockets(request, &prepared, until == Until::Foreground)?;
    let images = Directory::open(&options.criu.images, "the image directory")?;
    let work = |path: &PathBuf| Directory::make(path, "the work directory", false);
    let work = options.criu.work.as_ref().map(work).transpose()?;
    let log = Log { dir: work.as_ref().unwrap_or(&images), name: "restore.log" };
    let streams = streams(&images)?;
    let opened = namespaces::open(plan)?;
    let outside = outside(config, &prepared.bundle)?;
    let asked = cgroups::Asked::new(config, id, request)?;
    let made = RefCell::new(None);
    let entry = store.make(id)?;
    let own_pids = plan.is_new(NamespaceKind::Pid);
    let mut undo: Undo<'_, Restored> = Undo {
        entry: &entry,
        cgroup: &made,
        launched: None,
        kept: false,
        mounts: None,
        own_pids,
        poststop: None,
    };
    let mut saved = create::first_state(id, &prepared, &entry)?;
    let found = asked.look()?;
    entry.write_new(CONFIG, &prepared.bytes)?;
    let paths = found.saved();
    saved.cgroup = Some(cgroups::to_value(&paths)?);
    saved.store(&entry)?;
    let rootfs = directory(&saved.rootfs)?;
    mountpoints::make(rootfs.as_fd(), &outside.mounts)?;
    // In criu's own mount namespace the root file system is on the container's state directory: a
    // directory that is ours, and nobody else's root.
    let place = entry.path()?;
    let handed: Vec<_> = opened.iter().filter(|o| key(o).is_some()).map(|o| o.fd.as_fd()).collect();
    let works_in: Vec<&Directory> = [&images].into_iter().chain(&work).collect();
    let root = Root { rootfs: rootfs.as_fd(), place: entry.dir(), works_in: &works_in, plan };
    let criu = Criu::start(Streams::Callers, &handed, Some(&root))?;
    let numbers = (criu.directory(0), work.as_ref().map(|_| criu.directory(1)));
    let mut fields = common(&options.criu, config, numbers, log.name);
    joined(&mut fields, &opened)?;
    rest(&mut fields, options, &place, &streams);
    externals::for_restore(&mut fields, &outside, &paths.paths, rootfs.as_fd())?;
    let label = options.lsm_profile.is_some() || options.lsm_mount_context.is_some();
    criu.check(Needs { lazy_pages: options.criu.lazy_pages, label, ..Needs::default() })?;
    saved.restorer = Some((criu.pid(), look(criu.pid()).map_or(0, |seen| seen.start)));
    saved.store(&entry)?;
    // What it makes is made where it is itself.
    let cgroup = found.with_init(criu.pid()).create()?;
    saved.cgroup = Some(cgroups::to_value(&cgroup.saved())?);
    let of_unit = paths.unit.is_some();
    let cgroup = made.borrow_mut().insert(cgroup).warnings.clone();
    let mut warnings = prepared.warnings.clone();
    warnings.extend(cgroup);
    saved.store(&entry)?;
    if !of_unit && let Some(cgroup) = &*made.borrow() {
        cgroup.join(criu.pid())?;
    }
    cgroup_roots(&mut fields, criu.pid())?;
    let poststop = plan.details.hooks.poststop.as_slice();
    if !poststop.is_empty() {
        undo.poststop = Some((poststop, saved.clone()));
    }
    let kept = RefCell::new(None);
    let console = match (&sockets.console, plan.process.terminal) {
        (Some(socket), _) => Console::Socket(socket),
        (None, true) => Console::Kept(&kept),
        (None, false) => Console::None,
    };
    let mut restoring =
        Restoring { entry: &entry, saved: &mut saved, plan, console, restored: &mut undo.launched };
    criu.work(Verb::Restore, &fields, log, &mut |script, pid, fd| {
        restoring.notified(script, pid, fd)
    })?;
    let status = criu.finish()?;
    if status != 0 {
        let text = format!("criu ended with the status {status:#x} when all was restored");
        return Err(Error::new(Kind::Os, text));
    }
    saved.restorer = None;
    saved.store(&entry)?;
    if let Some(path) = request.pid_file {
        pid_file::write(path, saved.pid)?;
    }
    let pidfd = undo.keep()?.pidfd.take();
    let pidfd = pidfd.ok_or_else(|| Error::new(Kind::Os, "there is no process"))?;
    let mut container = Container::new(store, id);
    container.warnings = warnings;
    entry.unlock();
    let poststop = poststop.to_vec();
    let pid = saved.pid;
    let left = Left { entry, saved, cgroup: made.into_inner(), poststop, own_pids };
    let master = kept.into_inner();
    Ok(Made { container, pid, pidfd, master, filter_flags: None, notify: None, left })
}

/// How long the end of a killed criu is waited for, and of what it has started.
const PATIENCE_NS: u64 = 10_000_000_000;
const HELPERS: Duration = Duration::from_secs(1);

/// Ends a criu that is left of a restore that was killed: it is in the container's cgroup, and holds what
/// it traces.
pub(super) fn end_orphan(saved: &Saved) -> Result<()> {
    let Some((pid, start)) = saved.restorer else { return Ok(()) };
    let Some(criu) = running(pid, start)? else { return Ok(()) };
    let failed = |e| Error::os(format!("end the criu of container {}", quote(&saved.id)), e);
    match process::pidfd_send_signal(criu.as_fd(), libc::SIGKILL) {
        Err(e) if e.0 != libc::ESRCH => return Err(failed(e)),
        _ => {}
    }
    let mut fds = [io::PollFd::new(criu.as_raw_fd(), libc::POLLIN)];
    io::poll_through(&mut fds, Some(PATIENCE_NS)).map_err(failed)?;
    if let Some(init) = saved.init()? {
        super::delete::end(saved, &init)?;
    }
    // Its helpers end when they hear nothing of it any more.
    let began = Instant::now();
    while began.elapsed() < HELPERS && !super::processes(saved)?.is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What is told as criu goes on.
struct Restoring<'a> {
    entry: &'a Entry,
    saved: &'a mut Saved,
    plan: &'a Plan,
    console: Console<'a>,
    restored: &'a mut Option<Restored>,
}

impl Restoring<'_> {
    fn notified(&mut self, script: &str, pid: Option<i32>, fd: Option<OwnedFd>) -> Result<()> {
        match script {
            // Its namespaces are there and nothing is in them yet.
            "setup-namespaces" => {
                self.is(pid)?;
                if self.plan.is_new(NamespaceKind::Network) {
                    // As in a container that is created; criu leaves interfaces to others, and
                    // connections of the container with itself are to go on.
                    namespaces::loopback_up(self.saved.pid)?;
                }
                let list = &self.plan.details.hooks;
                hooks::run("prestart", &list.prestart, self.saved, Status::Creating)?;
                hooks::run("createRuntime", &list.create_runtime, self.saved, Status::Creating)?;
                if self.plan.is_new(NamespaceKind::Network) {
                    namespaces::set_network_sysctls(self.saved.pid, &self.plan.details.sysctls)?;
                }
                Ok(())
            }
            // Everything is there, and stands still until we have answered.
            "post-restore" => {
                self.is(pid)?;
                self.saved.status = Status::Running;
                self.saved.created = humantime::format_rfc3339_nanos(SystemTime::now()).to_string();
                // criu gives what it restores clocks of its own, so that time has not jumped.
                let time = NamespaceKind::Time.name();
                let is_own = || {
                    let own = namespace(process::own_pid(), time).ok()?;
                    Some(own == namespace(self.saved.pid, time).ok()?)
                };
                if is_own() == Some(false) && self.saved.namespaces.iter().all(|n| n != time) {
                    self.saved.namespaces.push(time.to_owned());
                }
                self.saved.store(self.entry)
            }
            "orphan-pts-master" => {
                let master = fd.ok_or_else(|| {
                    Error::new(Kind::Refused, "criu has sent no terminal where there is one")
                })?;
                self.console.take(master)
            }
            _ => Ok(()),
        }
    }

    /// Notes which process it is: who finds our state also finds that.
    fn is(&mut self, pid: Option<i32>) -> Result<()> {
        let pid = pid.filter(|pid| *pid > 1).ok_or_else(|| {
            Error::new(Kind::Refused, "criu has not said which process it has restored")
        })?;
        if self.restored.as_ref().is_some_and(|r| r.pid == pid) {
            return Ok(());
        }
        // Our child, not reaped: the pid is its own.
        let pidfd = process::pidfd_open(pid)
            .map_err(|e| Error::os(format!("open a pidfd of the restored process {pid}"), e))?;
        *self.restored = Some(Restored { pid, pidfd: Some(pidfd) });
        self.saved.pid = pid;
        self.saved.pid_start = look(pid).map_or(0, |seen| seen.start);
        self.saved.store(self.entry)
    }
}

/// What the standard streams were. Images without it are not complete.
fn streams(images: &Directory) -> Result<Vec<String>> {
    let bytes = images.read(STREAMS).map_err(|e| match e.errno() {
        Some(libc::ENOENT) => {
            e.hint("a checkpoint writes it with its images: these are no whole ones")
        }
        _ => e,
    })?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Error::new(Kind::Refused, format!("{STREAMS} of {} is damaged: {e}", images.shown()))
    })
}

/// The key of a namespace that criu gets as a descriptor.
fn key(ns: &Opened) -> Option<&'static str> {
    EXTERNAL.iter().find(|(_, name, _)| *name == ns.kind.name()).map(|(.., key)| *key)
}

/// Namespaces that exist and are joined.
fn joined(fields: &mut Fields, opened: &[Opened]) -> Result<()> {
    let mut handed = 0;
    for ns in opened {
        if let Some(key) = key(ns) {
            fields.numbered(opt::INHERIT_FD, key, Criu::number(handed));
            handed += 1;
        } else if ns.kind == NamespaceKind::Cgroup {
            return Err(Error::new(
                Kind::Unsupported,
                "a container cannot be restored into a cgroup namespace that exists",
            )
            .hint("take its path out of linux.namespaces"));
        } else {
            // By our descriptor, which is that namespace whatever becomes of the path.
            let file = format!("/proc/{}/fd/{}", process::own_pid(), ns.fd.as_raw_fd());
            fields.pair(opt::JOIN_NS, ns.kind.name().as_bytes(), file.as_bytes());
        }
    }
    Ok(())
}

fn rest(fields: &mut Fields, options: &RestoreOptions, root: &std::path::Path, streams: &[String]) {
    fields
        .text(opt::ROOT, root.as_os_str().as_bytes())
        .bool(opt::EVASIVE_DEVICES, true)
        // Our child and not criu's: it is waited for as any other.
        .bool(opt::RST_SIBLING, true);
    if let Some(profile) = &options.lsm_profile {
        fields.text(opt::LSM_PROFILE, profile);
    }
    if let Some(context) = &options.lsm_mount_context {
        fields.text(opt::LSM_MOUNT_CONTEXT, context);
    }
    for (fd, stream) in (0..3).zip(streams) {
        if stream.starts_with("pipe:[") {
            fields.numbered(opt::INHERIT_FD, stream, fd);
        }
    }
}

/// Where criu is, and what was in the container's cgroups is to be.
fn cgroup_roots(fields: &mut Fields, pid: i32) -> Result<()> {
    let file = format!("/proc/{pid}/cgroup");
    let text = std::fs::read(&file).map_err(|e| Error::os(format!("read {file}"), e))?;
    let now = cgroup::parse(&text)
        .map_err(|e| Error::new(Kind::Os, format!("{file} cannot be read: {e}")))?;
    let mut roots: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for hierarchy in &now.v1 {
        roots.extend(hierarchy.controllers.iter().map(|c| (*c, hierarchy.path)));
    }
    roots.extend(now.v2.map(|path| (&b""[..], path)));
    for (controller, path) in roots {
        fields.pair(opt::CGROUP_ROOT, controller, path);
    }
    Ok(())
}
