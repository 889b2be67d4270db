//! BETWEEN CLONE AND EXEC. This side runs in the child of clone3.
//!
//! Who am I: a copy of a process that may have had other threads, alone in new namespaces,
//! with all capabilities over them and none over the host. What I hold: descriptors that the
//! parent opened, and [`Armed`], the plan in the form of C strings and numbers.
//!
//! What I may do: system calls. No allocation, no lock, no formatting, no panic: a lock whose
//! holder was another thread of the parent is held here for ever. In debug builds the
//! allocator aborts on the first allocation ([`crate::sys::guard`]).
//!
//! Any failure is reported as {step, index, errno} and ends the child: a jail is complete or
//! it does not start.

#![forbid(unsafe_code)]

pub mod amend;
pub(crate) mod append;
mod copy_up;
pub mod criu;
mod dangling;
pub mod detached;
pub mod exec;
mod init;
pub mod landlock;
mod mask;
pub mod mounts;
pub mod namespaces;
pub(crate) mod network;
pub mod node;
pub mod place;
mod places;
mod privs;
pub(crate) mod program;
pub mod rootfs;
pub mod sources;
mod terminal;
pub mod tuning;

use crate::sys::process::CStringArray;
use crate::sys::{self, Errno, io, process, signal};
use crate::wire::{Fail, Message, Step};
use core::cell::Cell;
use landlock::Ruleset;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

/// The plan, armed: everything [`enter`] needs, opened and built by the parent.
#[derive(Debug)]
pub struct Armed {
    /// Our end of the socket.
    pub socket: OwnedFd,
    /// The descriptors above 2 that are needed, in ascending order.
    pub kept: Vec<RawFd>,
    /// Where the job may run: the supervisor starts us on another processor than its own.
    pub cpus: Option<sys::sched::Cpus>,
    /// Whether the cgroup namespace is made here, after joining, so that it is rooted there.
    pub unshare_cgroup: bool,
    /// The ids that set-up runs as.
    pub setup_ids: Option<(u32, u32)>,
    /// The new network namespace.
    pub network: network::ArmedNetwork,
    /// A user namespace to join first, and what goes with it: then a sibling is the job.
    pub outer: Option<namespaces::ArmedOuter>,
    /// Namespaces that exist and are joined after Go.
    pub joins: Vec<namespaces::ArmedJoin>,
    /// Host name, without the NUL; empty: as it is.
    pub hostname: CString,
    /// NIS domain name.
    pub domainname: Option<CString>,
    /// The session keyring.
    pub keyring: ArmedKeyring,
    /// What is written to /proc.
    pub writes: namespaces::ArmedWrites,
    /// Whether the cgroups are joined already: set by the child in its own copy.
    pub in_cgroups: Cell<bool>,
    /// The file system part; `None`: a root that is there is joined.
    pub rootfs: Option<rootfs::ArmedRoot>,
    /// Whether it ends with its maker.
    pub tied: bool,
    /// Descriptors that become 0, 1 and 2, unless they are a terminal.
    pub stdio: [RawFd; 3],
    /// Whether 0, 1 and 2 are a new terminal.
    pub terminal: bool,
    /// Its columns and rows.
    pub terminal_size: Option<(u16, u16)>,
    /// Whether it passes line ends as they are written.
    pub plain_lines: bool,
    /// Whether it is /dev/console too.
    pub console: bool,
    /// Whether 0, 1 and 2 become the job's user's own.
    pub own_stdio: bool,
    /// How many descriptors from 3 on stay open.
    pub preserved: u32,
    /// Scheduling and the like.
    pub tuning: tuning::ArmedTuning,
    /// For a process that outlives its maker.
    pub detached: Option<detached::ArmedDetached>,
    /// Whether it outlives its maker without waiting for a start.
    pub released: bool,
    /// Working directory.
    pub cwd: CString,
    /// Resource, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// File mode creation mask.
    pub umask: u32,
    /// The Landlock ruleset; `None`: none.
    pub landlock: Option<landlock::ArmedLandlock>,
    /// Ids and rights.
    pub privs: privs::ArmedPrivs,
    /// Whether PID 1 is our init.
    pub init: bool,
    /// Whether execve may be called only once: then what cannot be executed is not tried.
    pub one_exec: bool,
    /// Where the program may be, in the order of PATH.
    pub candidates: Vec<CString>,
    /// The same as the stub wants them: behind the number of the descriptor that it reports to.
    pub stub_paths: Vec<CString>,
    /// Whether rights are laid down before it that would let others look into it.
    pub hide_stub: bool,
    /// The program that the child goes through, where stockade's own binary is in reach.
    pub stub: Option<OwnedFd>,
    /// Its arguments.
    pub argv: CStringArray,
    /// Its environment.
    pub envp: CStringArray,
}

pub use privs::{ArmedCaps, ArmedPrivs, AskingFilter, TellingFilter};

/// The session keyring.
#[derive(Debug)]
pub enum ArmedKeyring {
    /// A new one without a name.
    Anonymous,
    /// A new one of this name.
    Named(CString),
    /// The caller's.
    Inherited,
}

/// Where the descriptors are that are left when the others are closed: behind 0, 1, 2 and those
/// that the caller hands on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub(crate) error: RawFd,
    pub(crate) stub: RawFd,
    pub(crate) listener: RawFd,
    pub(crate) state: RawFd,
    /// Of hooks: standard output, standard error.
    pub(crate) outputs: [RawFd; 2],
}

impl Armed {
    pub(crate) fn places(&self) -> Places {
        let first = ERROR_FD.saturating_add_unsigned(self.preserved);
        Places {
            error: first,
            stub: first + 1,
            listener: first + 2,
            state: first + 3,
            outputs: [first + 4, first + 5],
        }
    }

    /// Puts the descriptor that errors are reported to in its place. With the stub it must live
    /// through the stub's own execve; the stub closes it for the job.
    fn move_error_fd(&self, from: RawFd) -> Done {
        let to = self.places().error;
        if self.stub.is_some() { io::dup_inheritable(from, to) } else { io::dup_cloexec(from, to) }
            .at(Step::CloseFds)
    }
}

/// Why a step did not work: which of several, and the errno.
pub(crate) struct Failure(pub Step, pub u32, pub Errno);

impl Failure {
    /// As one of the mounts: which of them, unless it is something else that failed.
    fn of_mount(self, index: u32) -> Failure {
        if self.0 == Step::Mount { Failure(Step::Mount, index, self.2) } else { self }
    }
}

pub(crate) type Done<T = ()> = Result<T, Failure>;

/// Attaches the step to a system call's result.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Done<T>;
    fn at_index(self, step: Step, index: u32) -> Done<T>;
}

impl<T> At<T> for sys::Result<T> {
    fn at(self, step: Step) -> Done<T> {
        self.map_err(|e| Failure(step, 0, e))
    }

    fn at_index(self, step: Step, index: u32) -> Done<T> {
        self.map_err(|e| Failure(step, index, e))
    }
}

/// Runs the plan and execs the job. Never returns: it execs, becomes the init, or reports and
/// exits.
pub fn enter(armed: &Armed) -> ! {
    #[cfg(debug_assertions)]
    sys::guard::arm();
    match &armed.outer {
        None => enter_here(armed),
        Some(outer) => namespaces::leave_to_sibling(armed, outer),
    }
}

/// The same in the process that becomes the job.
fn enter_here(armed: &Armed) -> ! {
    let (terminal, ruleset) = match set_up(armed) {
        Ok(ready) => ready,
        Err(failure) => fail(armed.socket.as_fd(), &failure),
    };
    let stdio = match terminal {
        // Every one of them is the terminal. Open until exec: nobody else has it by name.
        Some(terminal) => [terminal.into_raw_fd(); 3],
        None => armed.stdio,
    };
    let ruleset = ruleset.as_ref();
    if armed.init { init::run(armed, stdio, ruleset) } else { become_job(armed, stdio, ruleset) }
}

/// The ordered list. The order is the security; each line says why it stands where it does.
fn set_up(armed: &Armed) -> Done<(Option<OwnedFd>, Option<Ruleset>)> {
    let socket = armed.socket.as_fd();
    // What is sent over the socket is counted together with what other jails' processes of these ids
    // have on its way somewhere, and against this limit.
    if armed.rlimits.iter().any(|(resource, ..)| *resource == process::NOFILE) {
        process::raise_nofile().at(Step::Rlimit)?;
    }
    // Before any wait: a supervisor that is killed meanwhile takes us with it.
    process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
    // Everything else of the caller's, of which clone has made us copies. The supervisor's end of
    // the socket: if it was dead already, reading finds the end of file only once we do not hold
    // that ourselves. And the locks of other runs of the same program, which would live as long as
    // our copies.
    close_all_but(&armed.kept)?;
    // Making one takes the kernel as long as all the mounts. Among those it is begun where it needs the
    // id map, and with it Go, and where its maker has still to send what they need.
    let early = armed.detached.is_some() && armed.setup_ids.is_none();
    let mut network = if early { network::begin(armed.network)? } else { None };
    wait_for_go(socket)?;
    allow_processors(armed);
    // Before the change of ids: it needs rights over them.
    // And the procfs before a mount namespace is joined, where another may be in its place.
    let proc = armed.writes.open()?;
    namespaces::join(&armed.joins)?;
    // While our files in /proc are still our own: undumpable we could not write to them, in a user
    // namespace of our own.
    armed.writes.time(proc.as_ref())?;
    // After Go, since it needs the id map. From here on we are nobody outside.
    if let Some((uid, gid)) = armed.setup_ids {
        if armed.privs.groups.is_some() {
            sys::cred::set_groups(&[]).at(Step::SetupIds)?;
        }
        sys::cred::set_gid(gid).at(Step::SetupIds)?;
        sys::cred::set_uid(uid).at(Step::SetupIds)?;
    }
    // After the change of ids, which may undo it, and after Go: an ordinary supervisor writes the
    // id map through /proc/PID, which is root's once we are undumpable. From here on no ptrace, no /proc/self/mem, for whoever shares our ids (CVE-2016-9962).
    process::set_undumpable().at(Step::ParentDeath)?;
    // Again: the change of ids has cleared it. If the parent died before this line its end of
    // the socket is closed, and reading its next word fails; or it dies later, and this fires.
    process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
    // A session of its own: no controlling terminal of the caller's to push input into
    // (CVE-2017-5226). The job makes another one below the init.
    process::setsid().at(Step::Session)?;
    new_keyring(&armed.keyring)?;
    // The mounts are allowed as they are made; the job puts it on.
    let ruleset = armed.landlock.as_ref().map(landlock::begin).transpose()?;
    let built = match &armed.rootfs {
        Some(root) => {
            let built =
                rootfs::build(armed, root, socket, (&mut network, early), ruleset.as_ref())?;
            Some((root, built))
        }
        None => {
            if !early {
                rootfs::begin_network(armed, &mut network)?;
            }
            None
        }
    };
    let pause = armed.detached.as_ref().filter(|d| d.has_pause());
    if let (Some((root, built)), None) = (&built, pause) {
        rootfs::change_root(root, built)?;
    }
    // After the mounts, which the supervisor has used to make the cgroups; before anything of the
    // job's runs.
    join_cgroups(armed)?;
    // Once more: the supervisor may have moved us meanwhile, and does nothing of it after Proceed.
    allow_processors(armed);
    // It may still be in the making; and it has ended when what follows begins, which is about it.
    if let Some(network) = network {
        network.join()?;
    }
    if let Some(detached) = pause {
        // In the namespaces that they are about, and with the host's files in sight.
        if let Some((root, built)) = &built {
            detached.before_root_changes(armed, built.root())?;
            rootfs::change_root(root, built)?;
        }
    }
    // After the hooks and the network devices, which some of them are about.
    armed.writes.sysctls(proc.as_ref())?;
    if !armed.hostname.is_empty() {
        sys::fs::set_hostname(&armed.hostname).at(Step::Hostname)?;
    }
    if let Some(name) = &armed.domainname {
        sys::fs::set_domainname(name).at(Step::Domainname)?;
    }
    let terminal = if armed.terminal { Some(terminal::open(armed)?) } else { None };
    if let Some((root, built)) = &built {
        rootfs::finish(root, built)?;
    }
    armed.writes.labels(proc.as_ref())?;
    Ok((terminal, ruleset))
}

fn new_keyring(keyring: &ArmedKeyring) -> Done {
    let made = match keyring {
        ArmedKeyring::Anonymous => process::new_session_keyring(),
        ArmedKeyring::Named(name) => process::new_named_keyring(name),
        ArmedKeyring::Inherited => return Ok(()),
    };
    match made {
        // A kernel without keyrings has none to leak.
        Err(e) if e.0 == libc::ENOSYS => Ok(()),
        other => other.at(Step::Keyring),
    }
}

/// Undoes that the supervisor has sent us to another processor than its own.
fn allow_processors(armed: &Armed) {
    if let Some(cpus) = &armed.cpus {
        // Refused only in a cpuset that shares no processor with the supervisor's, which then
        // holds anyway.
        let _ = sys::sched::allow(0, cpus);
    }
}

/// Closes what is above 2 and not in the list, which is in ascending order.
fn close_all_but(kept: &[RawFd]) -> Done {
    let mut from = 3;
    for fd in kept {
        let fd = fd.unsigned_abs();
        if fd > from {
            io::close_range(from, fd - 1).at(Step::CloseFds)?;
        }
        from = from.max(fd + 1);
    }
    io::close_range(from, u32::MAX).at(Step::CloseFds)
}

/// Joins what the supervisor sends, and waits for its word that every limit is in place.
fn join_cgroups(armed: &Armed) -> Done {
    if armed.in_cgroups.replace(true) {
        return Ok(());
    }
    let mut buf = [0u8; crate::wire::SIZE];
    loop {
        let mut tasks = [-1; crate::wire::Sources::MOST];
        let socket = armed.socket.as_fd();
        let n = io::recv_many(socket, &mut buf, false, &mut tasks).at(Step::Handshake)?;
        match buf.get(..n).and_then(Message::from_bytes) {
            Some(Message::Join) => {
                for (index, fd) in (0..).zip(tasks.into_iter().take_while(|fd| *fd >= 0)) {
                    // `0` names the caller, for which the kernel skips the system-wide lock that
                    // moving a foreign pid takes.
                    let tasks = io::well_known(fd);
                    io::write_whole(tasks, b"0").at_index(Step::JoinCgroup, index)?;
                }
            }
            Some(Message::Proceed) => break,
            _ => return Err(Failure(Step::Handshake, 0, Errno(libc::EPIPE))),
        }
    }
    // Only now: the namespace's root is the cgroup that its maker is in.
    if armed.unshare_cgroup {
        process::unshare(libc::CLONE_NEWCGROUP).at(Step::NewCgroupNamespace)?;
    }
    Ok(())
}

/// Reads Go; end of file means that the supervisor is gone.
fn wait_for_go(socket: BorrowedFd<'_>) -> Done {
    let mut buf = [0u8; crate::wire::SIZE];
    let (n, _) = io::recv(socket, &mut buf, false).at(Step::Handshake)?;
    match buf.get(..n).and_then(Message::from_bytes) {
        Some(Message::Go) => Ok(()),
        _ => Err(Failure(Step::Handshake, 0, Errno(libc::EPIPE))),
    }
}

/// The last stretch, in the job's own process: stdio, limits, rights, exec.
fn become_job(armed: &Armed, stdio: [RawFd; 3], ruleset: Option<&Ruleset>) -> ! {
    let entered = match before_closing(armed, stdio, ruleset) {
        Err(failure) => fail(armed.socket.as_fd(), &failure),
        Ok(entered) => entered,
    };
    let failure = match after_closing(armed, entered) {
        Err(failure) => failure,
        Ok(()) => program::execute(armed),
    };
    fail(io::well_known(armed.places().error), &failure)
}

/// Where the socket is once the other descriptors are closed.
const ERROR_FD: RawFd = 3;

fn before_closing(armed: &Armed, stdio: [RawFd; 3], ruleset: Option<&Ruleset>) -> Done<bool> {
    if armed.init {
        // Not the init's session, so that a terminal's signals never reach the init.
        process::setsid().at(Step::Session)?;
    }
    for (fd, target) in stdio.into_iter().zip(0..) {
        io::dup_inheritable(fd, target).at(Step::Stdio)?;
    }
    if armed.own_stdio {
        terminal::own_stdio(armed.privs.uid)?;
    }
    if armed.terminal {
        io::set_controlling_terminal(0).at(Step::Terminal)?;
    }
    process::umask(armed.umask);
    // A jail's is tried again as the job's user, below: a directory that only root may enter is an
    // error, but one that is gone or outside shows best here. A container's may be one that only
    // root may enter, as in runc.
    let entered = match sys::fs::change_dir(&armed.cwd) {
        // Only the job's user may, perhaps.
        Err(e) if e.0 == libc::EACCES && !armed.tied => false,
        other => other.at(Step::Cwd).map(|()| true)?,
    };
    stays_inside()?;
    // After the mounts, which it would forbid, and before the filter, whose profile may not permit
    // it. While set-up still holds CAP_SYS_ADMIN over its namespace, which does for a job without
    // no_new_privs too: nothing that follows touches a file but the change of directory and exec.
    if let Some(ruleset) = ruleset {
        ruleset.restrict_self()?;
    }
    // Nothing but 0, 1, 2 and the socket is needed any more: whatever the caller had open is
    // closed here, close-on-exec or not.
    // They come from numbers far above, so no move is in another's way.
    let places = armed.places();
    armed.move_error_fd(armed.socket.as_raw_fd())?;
    // What is where these are to be, left over from the set-up.
    let [.., most] = places.outputs;
    io::close_range(places.stub.unsigned_abs(), most.unsigned_abs()).at(Step::CloseFds)?;
    let mut last = places.error;
    if let Some(stub) = &armed.stub {
        io::dup_cloexec(stub.as_raw_fd(), places.stub).at(Step::CloseFds)?;
        last = places.stub;
    }
    for fd in 0..armed.preserved {
        io::set_cloexec(ERROR_FD.saturating_add_unsigned(fd), false).at(Step::CloseFds)?;
    }
    if let Some(detached) = &armed.detached {
        if let Some(listener) = &detached.listener {
            io::dup_cloexec(listener.as_raw_fd(), places.listener).at(Step::CloseFds)?;
            last = places.listener;
        }
        if let Some(state) = &detached.state {
            io::dup_cloexec(state.as_raw_fd(), places.state).at(Step::CloseFds)?;
            last = places.state;
        }
        for (output, place) in detached.start_outputs().into_iter().zip(places.outputs) {
            if let Some(output) = output {
                io::dup_cloexec(output.as_raw_fd(), place).at(Step::CloseFds)?;
                last = place;
            }
        }
    }
    io::close_range(last.unsigned_abs() + 1, u32::MAX).at(Step::CloseFds)?;
    Ok(entered)
}

/// A descriptor of the host must not be a way out of the root (CVE-2024-21626).
fn stays_inside() -> Done {
    match sys::fs::cwd_is_inside_root() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure(Step::CwdEscaped, 0, Errno(libc::EXDEV))),
        Err(e) => Err(Failure(Step::CwdEscaped, 0, e)),
    }
}

fn after_closing(armed: &Armed, entered: bool) -> Done {
    // After the descriptors have their places. The limit on them may have to come last of all.
    for (index, (resource, soft, hard)) in (0..).zip(&armed.rlimits) {
        if *resource == process::NOFILE && armed.privs.telling.is_some() {
            continue;
        }
        process::set_rlimit(*resource, *soft, *hard).at_index(Step::Rlimit, index)?;
    }
    tuning::apply(&armed.tuning)?;
    privs::drop_all(&armed.privs)?;
    if !armed.init && armed.tied {
        // Again: the change of ids has cleared it, and nobody else would end the job when the
        // supervisor dies.
        process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
        // If it died in between, its end of the socket says so.
        let mut supervisor = [io::PollFd::new(armed.places().error, libc::POLLIN)];
        io::poll(&mut supervisor, Some(0)).at(Step::ParentDeath)?;
        let [supervisor] = supervisor;
        if supervisor.revents() != 0 {
            return Err(Failure(Step::ParentDeath, 0, Errno(libc::EPIPE)));
        }
    }
    if armed.tied || !entered {
        sys::fs::change_dir(&armed.cwd).at(Step::Cwd)?;
        stays_inside()?;
    }
    signal::reset_dispositions();
    signal::set_mask(0).map(drop).at(Step::Session)?;
    if armed.detached.is_some() {
        // Its maker is still there to hear that there is no such program.
        program::find(armed)?;
    }
    // Its maker is the one who knows the listener, and hooks are asked about as the program is.
    privs::load_asking(&armed.privs, io::well_known(armed.places().error))?;
    if let Some(detached) = &armed.detached {
        detached::wait_for_start(armed, detached)?;
    }
    if armed.released {
        // From here on it lives without its maker.
        process::set_parent_death_signal(0).at(Step::ParentDeath)?;
    }
    // The filter may forbid to ask what time it is.
    let began = program::begins();
    // Last of all: what the filter forbids is needed until here.
    privs::load_filter_last(&armed.privs, io::well_known(armed.places().error), began, &mut || {
        let nofile =
            (0..).zip(&armed.rlimits).find(|(_, (resource, ..))| *resource == process::NOFILE);
        match nofile {
            Some((index, (resource, soft, hard))) => {
                process::set_rlimit(*resource, *soft, *hard).at_index(Step::Rlimit, index)
            }
            None => Ok(()),
        }
    })
}

/// Reports and ends. If the report cannot be sent the supervisor sees an end without one.
fn fail(socket: BorrowedFd<'_>, failure: &Failure) -> ! {
    let Failure(step, index, errno) = *failure;
    let report = Message::Failed(Fail { step, index, errno: errno.0 });
    // write and not sendmsg: the job's filter may already be loaded, and permits write. The
    // result is of no use: there is nobody else to tell.
    let _ = io::write(socket, &report.to_bytes());
    process::exit_group(125)
}
