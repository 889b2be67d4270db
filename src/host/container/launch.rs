//! Making a container's process: one clone3, the handshake of `wire.rs`, hooks, the terminal;
//! until it waits for its start.

#![forbid(unsafe_code)]

use super::agent::{self, Agent};
use super::namespaces::{self, Opened, Visit};
use super::state::{Saved, Status, look};
use super::store::Entry;
use super::{cgroups, console, hooks, netdevices};
use crate::child::detached::ArmedDetached;
use crate::child::namespaces::{ArmedJoin, ArmedOuter};
use crate::child::network::Ahead;
use crate::child::{self, Armed};
use crate::error::{Error, Kind, Result, Stage};
use crate::host::arm::{self, Wiring};
use crate::host::cgroup::container::{self, ContainerCgroup, Found};
use crate::host::doctor::blockers::ids;
use crate::host::launch::{Event, Launched, clone_flags};
use crate::host::{exe, idmap, seal, sources};
use crate::plan::MountStep;
use crate::plan::Plan;
use crate::plan::detail::{MountSource, NamespaceKind};
use crate::plan::facts::Facts;
use crate::plan::values::{escape, quote};
use crate::sys::{self, fs, io, process, signal};
use crate::wire::{Fail, Message, Step};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

/// Where the one who starts a container connects.
pub(super) const START: &str = "start";

/// What a launch is given.
pub(super) struct Launch<'a> {
    pub(super) plan: &'a Plan,
    pub(super) facts: &'a Facts,
    pub(super) entry: &'a Entry,
    /// The cgroups, once they are made.
    pub(super) cgroup: &'a RefCell<Option<ContainerCgroup>>,
    /// What of them is still to be made, beside the child.
    pub(super) found: RefCell<Option<Found<'a>>>,
    pub(super) cgroup_paths: &'a container::Saved,
    /// What a mount of the cgroup file systems shows.
    pub(super) shown: &'a BTreeMap<String, String>,
    pub(super) console: console::Console<'a>,
    /// Who answers for its filter.
    pub(super) agent: Option<&'a Agent<'a>>,
    /// Whether the program is executed without waiting for a start.
    pub(super) starts: bool,
    /// The network namespace in the making, where it needs nothing of the container.
    pub(super) network: Option<&'a Ahead>,
    /// The network devices, once they are moved.
    pub(super) devices: &'a RefCell<Option<netdevices::Moved>>,
    /// What has no effect, for the log.
    pub(super) warnings: &'a RefCell<Vec<String>>,
    /// Tells who wants to know which process it is.
    pub(super) tell_pid: &'a dyn Fn(&Launched, &Saved) -> Result<()>,
}

/// Kinds that a parent can join for a child of its own.
const VISITED: [NamespaceKind; 5] = [
    NamespaceKind::Pid,
    NamespaceKind::Network,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Cgroup,
];

impl Launch<'_> {
    /// Makes the process. `saved` is written before it is told to go on.
    pub(super) fn run(&self, saved: &mut Saved) -> Result<Launched> {
        let plan = self.plan;
        let d = &plan.details;
        let opened = namespaces::open(plan)?;
        let devices = netdevices::find(plan, &opened)?;
        let (rootfs, pending) = arm::root(plan, self.facts.privileged, self.shown)?;
        let present = rootfs.present.clone();
        let pair = io::seqpacket_pair().map_err(|e| Error::os("make a socket pair", e))?;
        let ours = arm::out_of_the_way(pair.0, d.preserved_fds)?;
        let theirs = arm::out_of_the_way(pair.1, d.preserved_fds)?;
        check_preserved(d.preserved_fds)?;
        let null = open_null()?;
        let joins_user = opened.iter().any(|o| o.kind == NamespaceKind::User);
        // The v1 hierarchies are joined by the child, and systemd moves it, so the namespace comes after.
        let late = self.cgroup_paths.unit.is_some()
            || self.cgroup_paths.paths.keys().any(|controller| !controller.is_empty());
        let detached = self.detached(&d.hooks, saved)?;
        let (state, output) = (copy(&detached.state)?, copy(&detached.output)?);
        let flags = clone_flags(plan, late);
        let list = |kinds: &dyn Fn(NamespaceKind) -> bool| -> Vec<ArmedJoin> {
            let chosen = opened.iter().filter(|o| kinds(o.kind));
            chosen
                .map(|o| ArmedJoin { fd: o.fd.as_raw_fd(), kind: namespaces::flag(o.kind) })
                .collect()
        };
        // A new user namespace has no rights over the others, so they are joined before.
        let visited: &[NamespaceKind] = match (joins_user, plan.namespaces.user.is_some()) {
            (true, _) => &[],
            (false, true) => &VISITED,
            (false, false) => &[NamespaceKind::Pid],
        };
        let wiring = Wiring {
            socket: theirs,
            stdio: stdio(&null),
            unshare_cgroup: late && plan.is_new(NamespaceKind::Cgroup),
            rlimits: Vec::new(),
            last_cap: self.facts.last_cap,
            exposed: !seal::is_sealed() && exe::is_exposed(plan)?,
            joins: if joins_user { Vec::new() } else { list(&|kind| !visited.contains(&kind)) },
            outer: joins_user.then(|| ArmedOuter { joins: list(&|_| true), flags }),
            detached: Some(detached),
            plain_lines: self.console.is_read_by_no_terminal(),
            network: self.network.map(|n| n.result().as_raw_fd()),
        };
        let armed = arm::all(plan, Some(rootfs), wiring)?;
        let cloned = if joins_user { 0 } else { flags };
        if let Some(network) = self.network {
            network.hurry();
        }
        let (pid, pidfd) = self.clone(&armed, cloned, &opened, visited)?;
        let mut launched = Launched::new(pid, pidfd, ours, &armed, present);
        if joins_user {
            self.wait_for_sibling(&mut launched)?;
        }
        // Before it does anything: a killed maker leaves something that can be found.
        saved.pid = launched.pid();
        saved.pid_start = look(saved.pid).map_or(0, |seen| seen.start);
        saved.store(self.entry)?;
        // It works on the mounts while we go on; for speed only.
        let _ = sys::sched::send_elsewhere(saved.pid);
        if let Some(user) = &plan.namespaces.user {
            idmap::write_maps(saved.pid, user).map_err(|e| e.during(Stage::Ids))?;
        }
        self.set_oom_score(saved.pid)?;
        if let Some(state) = &state {
            hooks::fill(state.as_fd(), &hooks::state_json(saved, Status::Creating)?)?;
        }
        if self.starts {
            // There is no later point at which the program does not run yet.
            (self.tell_pid)(&launched, saved)?;
        }
        let user = plan.namespaces.user.as_ref();
        // Before Go: it has changed nothing of its mounts yet.
        let owned = (user.is_some() || joins_user) && plan.is_new(NamespaceKind::Mount);
        let found = if owned && !pending.is_empty() {
            Some(sources::seen_by(launched.pidfd(), &pending)?)
        } else {
            None
        };
        launched.tell(plan, Message::Go, None)?;
        sources::send(&pending, found, user, saved.pid, launched.socket.as_fd())
            .map_err(|e| launched.last_words().map_or(e, |fail| launched.explain(plan, fail)))?;
        drop(armed);
        self.make_cgroups(saved.pid)?;
        self.send_cgroups(&launched)?;
        self.follow(&launched, saved, (state.as_ref(), output.as_ref()), devices)?;
        Ok(launched)
    }

    fn detached(&self, hooks: &crate::plan::detail::Hooks, saved: &Saved) -> Result<ArmedDetached> {
        let high = |fd| arm::out_of_the_way(fd, self.plan.details.preserved_fds);
        let listener = if self.starts { None } else { Some(listen(self.entry).and_then(high)?) };
        let list = |hooks: &[crate::plan::detail::Hook]| -> Result<Vec<_>> {
            hooks.iter().map(arm::hook).collect()
        };
        let inside = !hooks.create_container.is_empty() || !hooks.start_container.is_empty();
        let memory = || hooks::memory().and_then(high);
        let [out, err] = if inside { hooks::files(saved)? } else { [None, None] };
        Ok(ArmedDetached {
            listener,
            state: if inside { Some(memory()?) } else { None },
            output: if inside { Some(memory()?) } else { None },
            files: [out.map(high).transpose()?, err.map(high).transpose()?],
            pause: !hooks.prestart.is_empty()
                || !hooks.create_runtime.is_empty()
                || !self.plan.details.net_devices.is_empty(),
            create: list(&hooks.create_container)?,
            start: list(&hooks.start_container)?,
        })
    }

    fn clone(
        &self,
        armed: &Armed,
        flags: u64,
        opened: &[Opened],
        visited: &[NamespaceKind],
    ) -> Result<(i32, OwnedFd)> {
        let mask = signal::set_mask(signal::ALL).map_err(|e| Error::os("block signals", e))?;
        let cloned = Visit::begin(opened, visited).map(|visit| {
            let (cgroup, found) = (self.cgroup.borrow(), self.found.borrow());
            let into = cgroup
                .as_ref()
                .and_then(ContainerCgroup::clone_into)
                .or_else(|| found.as_ref().and_then(Found::clone_into));
            let cloned = process::clone_into(flags, into, child::enter, armed);
            drop(visit);
            cloned
        });
        signal::set_mask(mask).map_err(|e| Error::os("unblock signals", e))?;
        cloned?.map_err(|e| {
            let refused = |what| Error::step(Step::Handshake, what, sys::Errno::into_raw(e));
            let cgroup = self.cgroup_paths.paths.get("").filter(|_| e.0 == libc::EACCES);
            match cgroup {
                Some(path) => container::no_way_into(path),
                None => refused("make the container's namespaces (clone3)"),
            }
        })
    }

    fn wait_for_sibling(&self, launched: &mut Launched) -> Result<()> {
        match launched.wait_event()? {
            Event::Sibling(pid, pidfd) => launched.becomes(pid, pidfd),
            Event::Failed(fail) => Err(launched.explain(self.plan, fail)),
            _ => Err(Error::new(Kind::Os, "the child ended without a word")),
        }
    }

    /// Lower needs CAP_SYS_RESOURCE, so what it is already is left alone.
    fn set_oom_score(&self, pid: i32) -> Result<()> {
        let Some(score) = self.plan.details.tuning.oom_score_adj else { return Ok(()) };
        let path = format!("/proc/{pid}/oom_score_adj");
        let failed = |e: std::io::Error| Error::os(format!("set oomScoreAdj to {score}"), e);
        let now = std::fs::read_to_string(&path).map_err(failed)?;
        if now.trim() == score.to_string() {
            return Ok(());
        }
        match std::fs::write(&path, score.to_string()) {
            // As runc: an ordinary user's container may have to do without.
            Err(e)
                if (self.facts.uid != 0 || super::in_user_namespace())
                    && e.raw_os_error() == Some(libc::EACCES) =>
            {
                self.warnings.borrow_mut().push(format!(
                    "oomScoreAdj stays {} and is not {score}: only root lowers it ({})",
                    now.trim(),
                    ids::NO_LOWER_OOM_SCORE
                ));
                Ok(())
            }
            other => other.map_err(failed),
        }
    }

    /// While the child mounts.
    fn make_cgroups(&self, pid: i32) -> Result<()> {
        if let Some(found) = self.found.borrow_mut().take() {
            let made = found.with_init(pid).create()?;
            *self.cgroup.borrow_mut() = Some(made);
        }
        Ok(())
    }

    fn send_cgroups(&self, launched: &Launched) -> Result<()> {
        if let Some(cgroup) = &*self.cgroup.borrow() {
            launched.join_cgroups(self.plan, &cgroup.tasks()?)?;
        }
        launched.tell(self.plan, Message::Proceed, None)?;
        if self.plan.is_new(NamespaceKind::Cgroup) {
            return Ok(());
        }
        let mounted = self
            .plan
            .steps
            .iter()
            .filter(|s| matches!(s, MountStep::Mount(m) if m.source == MountSource::Cgroup));
        for _ in mounted {
            let trees = cgroups::trees(self.shown, self.facts.privileged)?;
            launched.hand_cgroups(self.plan, Message::Trees, &trees)?;
        }
        Ok(())
    }

    /// Hears it until it waits.
    fn follow(
        &self,
        launched: &Launched,
        saved: &Saved,
        (state, output): (Option<&OwnedFd>, Option<&OwnedFd>),
        mut devices: Option<netdevices::Found<'_>>,
    ) -> Result<()> {
        let plan = self.plan;
        loop {
            match launched.wait_event()? {
                Event::Console(master) => self.console.take(master)?,
                Event::Listener(listener, ..) => {
                    let agent = self.agent.ok_or_else(agent::unasked)?;
                    agent.take(&listener, saved.pid, saved, Status::Creating)?;
                }
                Event::Hooks => {
                    // Before the hooks, which may be about them.
                    if let Some(devices) = devices.take() {
                        devices.move_to(launched.pid(), self.devices)?;
                    }
                    hooks::run("prestart", &plan.details.hooks.prestart, saved, Status::Creating)?;
                    let list = &plan.details.hooks.create_runtime;
                    hooks::run("createRuntime", list, saved, Status::Creating)?;
                    launched.tell(plan, Message::Hooked, None)?;
                }
                Event::MapIds(step, peer) => sources::map_within(plan, step, &peer, saved.pid)?,
                Event::Ready => {
                    if let Some(state) = state {
                        let json = hooks::state_json(saved, Status::Created)?;
                        hooks::fill(state.as_fd(), &json)?;
                    }
                    return Ok(());
                }
                Event::Failed(fail) => return Err(self.explain(launched, fail, output)),
                // The socket is closed by execve; or by the end of a process that was killed, whose
                // status says so.
                Event::End if self.starts => return Ok(()),
                Event::End => {
                    return Err(Error::new(
                        Kind::Os,
                        "the container's process ended while it was set up",
                    )
                    .hint("it may have been killed for its memory limit"));
                }
                _ => return Err(Error::new(Kind::Refused, "the child is out of step")),
            }
        }
    }

    fn explain(&self, launched: &Launched, fail: Fail, output: Option<&OwnedFd>) -> Error {
        let hooks = &self.plan.details.hooks;
        let (name, list) = match fail.step {
            Step::CreateHook => ("createContainer", hooks.create_container.as_slice()),
            Step::StartHook => ("startContainer", hooks.start_container.as_slice()),
            _ => ("", &[][..]),
        };
        if let (Some(output), Ok(at)) = (output, usize::try_from(fail.index))
            && let Some(hook) = list.get(at)
        {
            let printed = hooks::printed(output.as_fd());
            return hooks::failed(name, at, hook, fail.errno, &printed);
        }
        let program = self.plan.process.argv.first().map_or("", String::as_str);
        match fail.step {
            Step::FindProgram => explain_exec(program, fail.errno),
            Step::Exec => explain_execve(program, fail.errno),
            _ => launched.explain(self.plan, fail),
        }
    }
}

/// What runc's child says of a program that was found and that the kernel does not execute: it names an
/// interpreter that is not there, or is of another machine.
pub(super) fn explain_execve(program: &str, errno: i32) -> Error {
    let error = Error::step(Step::Exec, format!("exec {}", escape(program)), errno);
    match errno {
        libc::ENOENT => error
            .with_kind(Kind::CommandNotFound)
            .hint("the file is there, but not the interpreter that it names"),
        _ => error.with_kind(Kind::CommandNotExecutable),
    }
}

/// What runc says of a program that cannot be executed: its callers look for these words.
pub(super) fn explain_exec(program: &str, errno: i32) -> Error {
    let shown = quote(program);
    match errno {
        libc::ENOENT | libc::ENOTDIR if program.contains('/') => Error::new(
            Kind::CommandNotFound,
            format!("exec: {shown}: stat {program}: no such file or directory"),
        ),
        libc::ENOENT | libc::ENOTDIR => Error::new(
            Kind::CommandNotFound,
            format!("exec: {shown}: executable file not found in $PATH"),
        ),
        errno => Error::os(format!("exec: {shown}"), std::io::Error::from_raw_os_error(errno))
            .with_kind(Kind::CommandNotExecutable),
    }
}

fn copy(fd: &Option<OwnedFd>) -> Result<Option<OwnedFd>> {
    let copy = |fd: &OwnedFd| io::duplicate(fd.as_fd());
    fd.as_ref().map(copy).transpose().map_err(|e| Error::os("duplicate a descriptor", e))
}

/// The socket in the container's directory, by the directory's descriptor: an address has room for
/// 107 bytes only.
fn listen(entry: &Entry) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}/{START}", entry.dir().as_raw_fd());
    UnixListener::bind(path).map(OwnedFd::from).map_err(|e| Error::os("make the start socket", e))
}

/// The caller's standard streams; what is closed is the null device.
pub(super) fn stdio(null: &OwnedFd) -> [RawFd; 3] {
    [0, 1, 2].map(|fd| {
        let open = fs::stat(io::well_known(fd)).is_ok();
        if open { fd } else { null.as_raw_fd() }
    })
}

pub(super) fn open_null() -> Result<OwnedFd> {
    fs::open_at(fs::cwd(), c"/dev/null", libc::O_RDWR, 0)
        .and_then(io::move_high)
        .map_err(|e| Error::os("open /dev/null", e))
}

pub(super) fn check_preserved(count: u32) -> Result<()> {
    // fs.nr_open's default; no process has more.
    if count > 1 << 20 {
        return Err(Error::new(
            Kind::InvalidConfig,
            format!("cannot preserve {count} descriptors: nobody can have that many open"),
        )
        .hint("--preserve-fds N hands on the descriptors from 3 to 2+N"));
    }
    for fd in 3..3 + count.cast_signed() {
        fs::stat(io::well_known(fd)).map_err(|e| {
            Error::os(format!("preserve descriptor {fd}"), e)
                .with_kind(Kind::InvalidConfig)
                .hint("--preserve-fds N hands on the descriptors from 3 to 2+N, which must be open")
        })?;
    }
    Ok(())
}
