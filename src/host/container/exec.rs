//! Running a further process in a container. Everything that decides what it may do comes from
//! what was stored when the container was made; of the container itself only its init, held by a
//! pidfd, and, to look up a name, its account files are looked at.

#![forbid(unsafe_code)]

use super::agent::{self, Agent};
use super::console::{self, Console};
use super::foreground::{self, Signals};
use super::inside::{in_root, own_root};
use super::launch::{check_preserved, explain_exec, explain_execve, open_null, stdio};
use super::namespaces;
use super::prepare::enabled;
use super::relay::{Relay, callers_size};
use super::state::{Container, Saved, Status};
use super::{Started, cgroups, oom_score, pid_file, sealed};
use crate::child::exec::{self as child, ArmedExec};
use crate::error::{Error, Kind, Result};
use crate::host::arm::{self, Wiring};
use crate::host::cgroup::container::{Entry, SubCgroups};
use crate::host::launch::{Event, Launched, refuse_set_uid};
use crate::host::{exe, probe, seal, users};
use crate::plan::Plan;
use crate::plan::detail::NamespaceKind;
use crate::plan::oci;
use crate::plan::oci::exec::{Ids, Overrides};
use crate::plan::oci::spec::{Config, Process};
use crate::sys::fs::{self, Resolve};
use crate::sys::sched::Cpus;
use crate::sys::{io, process, signal};
use crate::wire::{Message, Step};
use std::cell::RefCell;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    /// The configuration's process, changed.
    Changed(&'a Overrides),
    /// A process as JSON, and whether it has a terminal even if that does not say so.
    Json(&'a [u8], bool),
}

/// What `exec` is asked for.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // as in `crate::container::ExecOptions`
pub(crate) struct Request<'a> {
    pub(crate) process: Asked<'a>,
    pub(crate) console_socket: Option<&'a Path>,
    pub(crate) pid_file: Option<&'a Path>,
    pub(crate) pidfd_socket: Option<&'a Path>,
    pub(crate) detach: bool,
    pub(crate) preserve_fds: u32,
    pub(crate) cgroups: &'a [String],
    pub(crate) ignore_paused: bool,
    pub(crate) may_replace_program: bool,
}

/// Runs it; its exit status, or 0 once it runs if it is detached.
/// `tell_started` hears of it when it runs.
pub(crate) fn exec(
    container: &Container,
    request: &Request<'_>,
    tell_started: &mut dyn FnMut(&Started),
) -> Result<i32> {
    refuse_set_uid()?;
    let saved = container.saved()?;
    let init = running(container, &saved, request.ignore_paused)?;
    sealed::instead(&saved, request.may_replace_program)?;
    let config = oci::parse(&container.config()?)?;
    let process = process_of(&saved, &init, &config, request.process)?;
    refuse_unsealed(container, &saved, &config, &process)?;
    let (mut plan, exposed, warnings) = prepare(&saved, &init, &config, &process, request)?;
    let sockets = Sockets::connect(request, plan.process.terminal)?;
    // Before there is a process that one of them could be about.
    let program = request.may_replace_program;
    let signals = if request.detach { None } else { Some(Signals::collect(program)?) };
    let kept = RefCell::new(None);
    let console = match (&sockets.console, plan.process.terminal) {
        (Some(socket), _) => Console::Socket(socket),
        (None, true) => Console::Kept(&kept),
        (None, false) => Console::None,
    };
    if matches!(console, Console::Kept(_)) {
        let size = &mut plan.details.terminal.size;
        *size = size.or_else(callers_size);
    }
    let agent = Agent::connect(&plan)?;
    let plain_lines = console.is_read_by_no_terminal();
    let root = own_root(&saved, &init, &config)?;
    let join = Join { saved: &saved, init: &init, plan: &plan, agent, exposed, plain_lines, root };
    let (launched, early) = join.launch(request)?;
    let pid = launched.pid();
    tell(request, &sockets, &launched)?;
    join.follow(&launched, console, early)?;
    let affinity = plan.details.tuning.exec_affinity.0;
    let filter_flags = plan.process.seccomp.first_flags();
    tell_started(&Started { pid, warnings, affinity, filter_flags });
    let pidfd = launched.release()?;
    let Some(signals) = signals else { return Ok(0) };
    let relay = kept.into_inner().map(Relay::begin).transpose()?;
    foreground::wait(pid, &pidfd, &signals, (relay, None), false)
}

/// The init of a container that takes further processes.
fn running(container: &Container, saved: &Saved, ignore_paused: bool) -> Result<OwnedFd> {
    let no = |why: &str| {
        Err(Error::new(Kind::InvalidConfig, format!("cannot exec in a {why} container")))
    };
    let Some(init) = saved.init()? else { return no("stopped") };
    match container.state_of(saved.clone(), true).status {
        Status::Paused if !ignore_paused => no("paused").map_err(|e: Error| {
            e.context("cannot exec in a paused container (use --ignore-paused to override)")
        }),
        Status::Creating => no("half-made"),
        _ => Ok(init),
    }
}

/// Everything that can be wrong with the process, before there is one.
fn prepare(
    saved: &Saved,
    init: &OwnedFd,
    config: &Config,
    process: &Process,
    request: &Request<'_>,
) -> Result<(Plan, bool, Vec<String>)> {
    let facts = probe::probe_for_container()?;
    let label = !process.apparmor_profile.is_empty() || !process.selinux_label.is_empty();
    let asked = oci::Asked {
        id: &saved.id,
        bundle: &saved.bundle,
        no_pivot: false,
        no_new_keyring: false,
        preserved_fds: request.preserve_fds,
        apparmor: label && enabled("/sys/module/apparmor/parameters/enabled"),
        selinux: label && Path::new("/sys/fs/selinux/enforce").exists(),
        in_user_namespace: false,
        resctrl: false,
        kcore: false,
    };
    let (mut plan, warnings) = oci::exec::plan(config, process, &facts, &asked)?;
    let own = config.process.as_ref().and_then(|p| p.oom_score_adj);
    plan.details.tuning.oom_score_adj =
        own.filter(|own| oom_score::changes_to(*own, oom_score::of_this(), facts.uid == 0));
    if !plan.process.env.iter().any(|e| e.starts_with("HOME=")) {
        let home = in_root(saved, init, |root| users::home(root, plan.process.uid))?;
        plan.process.env.push(format!("HOME={}", home.unwrap_or_else(|| "/".to_owned())));
    }
    let exposed = exe::is_exposed(&plan)?;
    Ok((plan, exposed, warnings))
}

/// Left in the container's directory by an `exec` that gave a process CAP_SYS_PTRACE.
const LOOKS: &str = "ptrace";

/// A program that embeds the library is not run anew. It is told where the container's own processes
/// could reach its file.
fn refuse_unsealed(
    container: &Container,
    saved: &Saved,
    config: &Config,
    process: &Process,
) -> Result<()> {
    if sealed::has_user_namespace(saved) {
        return Ok(());
    }
    let looks = |p: &Process| {
        p.capabilities.as_ref().is_some_and(|c| {
            let sets = [&c.bounding, &c.permitted, &c.effective, &c.inheritable, &c.ambient];
            sets.iter().any(|set| set.iter().any(|name| name == "CAP_SYS_PTRACE"))
        })
    };
    let entry = container.entry()?;
    let before = config.process.as_ref().is_some_and(looks) || entry.read(LOOKS).is_ok();
    if looks(process) && !before {
        // For those that come after; until this one runs nobody can look.
        entry.write(LOOKS, b"")?;
    }
    if !before || seal::is_sealed() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Refused,
        "the container's processes have CAP_SYS_PTRACE and could change this program's file",
    )
    .hint("use the stockade program for it, which runs itself from a read-only mount then"))
}

fn process_of(saved: &Saved, init: &OwnedFd, config: &Config, asked: Asked<'_>) -> Result<Process> {
    match asked {
        Asked::Json(bytes, terminal) => {
            let mut process = oci::exec::parse(bytes)?;
            process.terminal |= terminal;
            if process.exec_cpu_affinity.is_none() {
                let configured = config.process.as_ref();
                process.exec_cpu_affinity = configured.and_then(|p| p.exec_cpu_affinity.clone());
            }
            Ok(process)
        }
        Asked::Changed(change) => {
            let none = || Error::new(Kind::InvalidConfig, "process property must not be empty");
            let configured = config.process.as_ref().ok_or_else(none)?;
            let ids = match (&change.user, change.numeric_ids()) {
                (None, _) => None,
                (_, Some(ids)) => Some(ids),
                (Some(user), None) => {
                    let found =
                        in_root(saved, init, |root| users::resolve(Some(root), Some(user), &[]))?;
                    let groups = user.group.is_none().then_some(found.groups);
                    Some(Ids { uid: found.uid, gid: Some(found.gid), groups })
                }
            };
            change.apply(configured, ids)
        }
    }
}

/// Sockets that the caller named, connected before anything is made.
struct Sockets {
    console: Option<UnixStream>,
    pidfd: Option<UnixStream>,
}

impl Sockets {
    fn connect(request: &Request<'_>, terminal: bool) -> Result<Sockets> {
        match request.console_socket {
            None if terminal && request.detach => {
                return Err(Error::new(
                    Kind::InvalidConfig,
                    "cannot allocate tty if the process is detached without setting console socket",
                )
                .hint("say --console-socket PATH, or leave --detach away"));
            }
            Some(_) if !terminal || !request.detach => {
                return Err(Error::new(
                    Kind::InvalidConfig,
                    "cannot use console socket if the process is not detached or has no tty",
                )
                .hint("it goes with --detach and --tty"));
            }
            _ => {}
        }
        let connect =
            |path: Option<&Path>, what| path.map(|p| console::connect(p, what)).transpose();
        Ok(Sockets {
            console: connect(request.console_socket, "console")?,
            pidfd: connect(request.pidfd_socket, "pidfd")?,
        })
    }
}

/// Tells who wants to know which process it is. Before it is executed: who reads the file may
/// want to watch it from its start.
fn tell(request: &Request<'_>, sockets: &Sockets, launched: &Launched) -> Result<()> {
    if let Some(socket) = &sockets.pidfd {
        let pidfd =
            io::duplicate(launched.pidfd()).map_err(|e| Error::os("duplicate a pidfd", e))?;
        console::send(socket, b"pidfd", &pidfd)?;
    }
    request.pid_file.map_or(Ok(()), |path| pid_file::write(path, launched.pid()))
}

/// What has come before it was known which process it is of.
#[derive(Default)]
struct Early {
    master: Option<OwnedFd>,
    listener: Option<OwnedFd>,
}

/// A process about to join.
struct Join<'a> {
    saved: &'a Saved,
    init: &'a OwnedFd,
    plan: &'a Plan,
    agent: Option<Agent<'a>>,
    exposed: bool,
    plain_lines: bool,
    /// The container's root, where the mount namespace has another.
    root: Option<OwnedFd>,
}

impl Join<'_> {
    /// Makes it; it is our child, and waits for nothing. Its descriptors may have come already.
    fn launch(&self, request: &Request<'_>) -> Result<(Launched, Early)> {
        let plan = self.plan;
        let preserved = plan.details.preserved_fds;
        check_preserved(preserved)?;
        let pair = io::seqpacket_pair().map_err(|e| Error::os("make a socket pair", e))?;
        let ours = arm::out_of_the_way(pair.0, preserved)?;
        let theirs = arm::out_of_the_way(pair.1, preserved)?;
        let high = |fd: OwnedFd| arm::out_of_the_way(fd, preserved);
        let null = open_null()?;
        let pidfd = io::duplicate(self.init.as_fd())
            .map_err(|e| Error::os("duplicate a pidfd", e))
            .and_then(high)?;
        let cgroup = cgroups::open(self.saved)?;
        let sub = SubCgroups::parse(request.cgroups)?;
        if cgroup.is_none() && !request.cgroups.is_empty() {
            return Err(Error::new(Kind::Unsupported, "the container has no cgroup of its own")
                .hint("leave --cgroup away"));
        }
        let entry = cgroup.as_ref().map(|c| c.entry(&sub, self.saved.pid)).transpose()?;
        let tasks = match &entry {
            Some(entry) => entry.tasks()?.into_iter().map(high).collect::<Result<Vec<_>>>()?,
            None => Vec::new(),
        };
        let into = entry.as_ref().and_then(|e| e.clone_into());
        let into = into
            .map(|fd| {
                io::duplicate(fd).map_err(|e| Error::os("duplicate a descriptor", e)).and_then(high)
            })
            .transpose()?;
        let kinds = self.kinds();
        let wiring = Wiring {
            socket: theirs,
            stdio: stdio(&null),
            unshare_cgroup: false,
            rlimits: Vec::new(),
            last_cap: crate::sys::cred::last_cap(),
            exposed: self.exposed,
            joins: Vec::new(),
            outer: None,
            detached: None,
            plain_lines: self.plain_lines,
            network: None,
        };
        let mut armed = arm::all(plan, None, wiring)?;
        let duplicate = |fd: &OwnedFd| {
            io::duplicate(fd.as_fd())
                .map_err(|e| Error::os("duplicate a descriptor", e))
                .and_then(high)
        };
        let root = self.root.as_ref().map(duplicate).transpose()?;
        let more = tasks.iter().chain(&into).chain(&root).chain([&pidfd]).map(AsRawFd::as_raw_fd);
        armed.kept.extend(more);
        armed.kept.sort_unstable();
        let foreign_ids = kinds.contains(&NamespaceKind::User);
        // The container's, whatever this process has: as in runc.
        let oom_score_adj =
            plan.details.tuning.oom_score_adj.map(|adj| adj.to_string().into_bytes());
        let exec = ArmedExec {
            init: pidfd,
            kinds: kinds.into_iter().map(namespaces::flag).collect(),
            tasks,
            cgroup: into,
            moved: entry.as_ref().is_some_and(Entry::needs_manager),
            foreign_ids,
            cpus: plan.details.tuning.exec_affinity.0.map(Cpus::of),
            oom_score_adj,
            root,
            armed,
        };
        let mask = signal::set_mask(signal::ALL).map_err(|e| Error::os("block signals", e))?;
        let cloned = process::clone_into(0, None, child::enter, &exec);
        signal::set_mask(mask).map_err(|e| Error::os("unblock signals", e))?;
        let (pid, pidfd) = cloned
            .map_err(|e| Error::step(Step::Handshake, "make a process (clone3)", e.into_raw()))?;
        let mut launched = Launched::new(pid, pidfd, ours, &exec.armed, Vec::new());
        // Our copies go, so that the end of file means that the process is gone.
        drop(exec);
        if let Some(entry) = entry.filter(Entry::needs_manager) {
            entry.attach(pid)?;
            launched.tell(plan, Message::Go, None)?;
        }
        let mut early = Early::default();
        loop {
            match launched.wait_event()? {
                Event::Sibling(pid, pidfd) => {
                    launched.becomes(pid, pidfd)?;
                    return Ok((launched, early));
                }
                // The second process may be faster than what the first one has to say of it.
                Event::Console(master) => early.master = Some(master),
                Event::Listener(listener, ..) => early.listener = Some(listener),
                Event::Failed(fail) => return Err(self.explain(&launched, fail)),
                _ => return Err(self.ended()),
            }
        }
    }

    /// The namespaces that are not ours, as they were stored.
    fn kinds(&self) -> Vec<NamespaceKind> {
        let has = |k: &NamespaceKind| self.saved.namespaces.iter().any(|n| n == k.name());
        NamespaceKind::ALL.into_iter().filter(has).collect()
    }

    /// Hears it until it is executed.
    fn follow(&self, launched: &Launched, console: Console<'_>, early: Early) -> Result<()> {
        early.master.map_or(Ok(()), |master| console.take(master))?;
        let hand_on = |listener: OwnedFd| {
            let agent = self.agent.as_ref().ok_or_else(agent::unasked)?;
            agent.take(&listener, launched.pid(), self.saved, self.saved.status)
        };
        early.listener.map_or(Ok(()), hand_on)?;
        loop {
            match launched.wait_event()? {
                Event::Console(master) => console.take(master)?,
                Event::Listener(listener, ..) => hand_on(listener)?,
                // The socket is closed on execve; or by the end of what was killed, whose status
                // says so.
                Event::End => return Ok(()),
                Event::Failed(fail) => return Err(self.explain(launched, fail)),
                _ => return Err(Error::new(Kind::Refused, "the child is out of step")),
            }
        }
    }

    fn explain(&self, launched: &Launched, fail: crate::wire::Fail) -> Error {
        if fail.step == Step::JoinNamespace && fail.errno == libc::ESRCH {
            return Error::new(Kind::InvalidConfig, "cannot exec in a stopped container");
        }
        if fail.step == Step::Exec {
            let program = self.plan.process.argv.first().map_or("", String::as_str);
            if fail.errno == libc::ENOENT && self.is_there(program) {
                return explain_execve(program, fail.errno);
            }
            return explain_exec(program, fail.errno);
        }
        launched.explain(self.plan, fail)
    }

    /// Whether there is such a file in the container, for an absolute path.
    fn is_there(&self, program: &str) -> bool {
        let Ok(path) = CString::new(program) else { return false };
        let look = |root: &Path| {
            let failed = |e| Error::os("look for the program", e);
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            let root = fs::open_at(fs::cwd(), &arm::c_path(root)?, flags, 0).map_err(failed)?;
            fs::open_beneath(root.as_fd(), &path, libc::O_PATH, 0, Resolve::InRoot).map_err(failed)
        };
        program.starts_with('/') && in_root(self.saved, self.init, look).is_ok()
    }

    fn ended(&self) -> Error {
        Error::new(Kind::Os, "the process ended while it joined the container")
            .hint("the container may have ended, or be at its memory limit")
    }
}
