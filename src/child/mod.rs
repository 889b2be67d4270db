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

pub(crate) mod append;
mod init;
pub mod landlock;
mod network;
pub mod place;
mod privs;
pub mod rootfs;
pub mod sources;

use crate::sys::fs::Resolve;
use crate::sys::process::CStringArray;
use crate::sys::{self, Errno, io, process, signal};
use crate::wire::{Fail, Message, Step};
use core::sync::atomic::{AtomicU64, Ordering};
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
    /// Whether there is a new network namespace.
    pub network: bool,
    /// Host name, without the NUL.
    pub hostname: CString,
    /// The file system part.
    pub rootfs: rootfs::ArmedRoot,
    /// Descriptors that become 0, 1 and 2, unless they are a terminal.
    pub stdio: [RawFd; 3],
    /// Whether 0, 1 and 2 are a new terminal.
    pub terminal: bool,
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
    /// The program that the child goes through, where stockade's own binary is in reach.
    pub stub: Option<OwnedFd>,
    /// Its arguments.
    pub argv: CStringArray,
    /// Its environment.
    pub envp: CStringArray,
}

pub use privs::{ArmedPrivs, TellingFilter};

/// Why a step did not work: which of several, and the errno.
pub(crate) struct Failure(pub Step, pub u32, pub Errno);

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
    process::raise_nofile().at(Step::Rlimit)?;
    // Before any wait: a supervisor that is killed meanwhile takes us with it.
    process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
    // Everything else of the caller's, of which clone has made us copies. The supervisor's end of
    // the socket: if it was dead already, reading finds the end of file only once we do not hold
    // that ourselves. And the locks of other runs of the same program, which would live as long as
    // our copies.
    close_all_but(&armed.kept)?;
    wait_for_go(socket)?;
    allow_processors(armed);
    // After Go, since it needs the id map. From here on we are nobody outside.
    if let Some((uid, gid)) = armed.setup_ids {
        sys::cred::set_groups(&[]).at(Step::SetupIds)?;
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
    // A kernel without keyrings has none to leak.
    match process::new_session_keyring() {
        Err(e) if e.0 == libc::ENOSYS => {}
        other => other.at(Step::Keyring)?,
    }
    // The mounts are allowed as they are made; the job puts it on.
    let ruleset = armed.landlock.as_ref().map(landlock::begin).transpose()?;
    // Begun among the mounts and joined after them: making one takes the kernel as long as all of
    // them.
    let mut network = None;
    rootfs::set_up(&armed.rootfs, socket, ruleset.as_ref(), &mut || {
        network = if armed.network { network::begin()? } else { None };
        Ok(())
    })?;
    // After the mounts, which the supervisor has used to make the cgroups; before anything of the
    // job's runs.
    join_cgroups(armed)?;
    // Once more: the supervisor may have moved us meanwhile, and does nothing of it after Proceed.
    allow_processors(armed);
    sys::fs::set_hostname(&armed.hostname).at(Step::Hostname)?;
    // As late as can be, since it may still be in the making; and it has ended when the job's
    // process begins.
    if let Some(network) = network {
        network.join()?;
    }
    let terminal = if armed.terminal { Some(open_terminal(armed)?) } else { None };
    Ok((terminal, ruleset))
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

/// A terminal of the jail's own devpts, so that its name is right inside. The peer comes from
/// the master's descriptor and not from a path that could be something else (CVE-2025-52565).
fn open_terminal(armed: &Armed) -> Done<OwnedFd> {
    let flags = libc::O_RDWR;
    let root = sys::fs::cwd();
    let master = sys::fs::open_beneath(root, c"dev/pts/ptmx", flags, 0, Resolve::NoSymlinks)
        .at(Step::Terminal)?;
    io::unlock_pty(master.as_fd()).at(Step::Terminal)?;
    let peer = io::pty_peer(master.as_fd()).at(Step::Terminal)?;
    // The job's own, so that it may open it by name.
    sys::fs::chown(peer.as_fd(), armed.privs.uid, UNCHANGED).at(Step::Terminal)?;
    let socket = armed.socket.as_fd();
    io::send(socket, &Message::Console.to_bytes(), Some(master.as_fd())).at(Step::Terminal)?;
    Ok(peer)
}

/// The id that fchown(2) takes for "leave it".
const UNCHANGED: u32 = u32::MAX;

/// Joins what the supervisor sends, and waits for its word that every limit is in place.
fn join_cgroups(armed: &Armed) -> Done {
    let mut buf = [0u8; crate::wire::SIZE];
    let mut index = 0;
    loop {
        let (n, tasks) = io::recv(armed.socket.as_fd(), &mut buf, false).at(Step::Handshake)?;
        match (buf.get(..n).and_then(Message::from_bytes), tasks) {
            (Some(Message::Join), Some(tasks)) => {
                // `0` names the caller, for which the kernel skips the system-wide lock that
                // moving a foreign pid takes.
                io::write_whole(tasks.as_fd(), b"0").at_index(Step::JoinCgroup, index)?;
                index += 1;
            }
            (Some(Message::Proceed), None) => break,
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
    if let Err(failure) = before_closing(armed, stdio, ruleset) {
        fail(armed.socket.as_fd(), &failure);
    }
    let failure = match after_closing(armed) {
        Err(failure) => failure,
        Ok(()) => exec(armed),
    };
    fail(io::well_known(ERROR_FD), &failure)
}

/// Where the socket is once the other descriptors are closed.
const ERROR_FD: RawFd = 3;
/// Where the stub is then.
const STUB_FD: RawFd = 4;

fn before_closing(armed: &Armed, stdio: [RawFd; 3], ruleset: Option<&Ruleset>) -> Done {
    if armed.init {
        // Not the init's session, so that a terminal's signals never reach the init.
        process::setsid().at(Step::Session)?;
    }
    for (fd, target) in stdio.into_iter().zip(0..) {
        io::dup_inheritable(fd, target).at(Step::Stdio)?;
    }
    if armed.terminal {
        io::set_controlling_terminal(0).at(Step::Terminal)?;
    }
    process::umask(armed.umask);
    // Tried again as the job's user, below: a directory that only root may enter is an error,
    // but one that is gone or outside shows best here.
    sys::fs::change_dir(&armed.cwd).at(Step::Cwd)?;
    // A descriptor of the host must not be a way out of the root (CVE-2024-21626).
    match sys::fs::cwd_is_inside_root() {
        Ok(true) => {}
        Ok(false) => return Err(Failure(Step::CwdEscaped, 0, Errno(libc::EXDEV))),
        Err(e) => return Err(Failure(Step::CwdEscaped, 0, e)),
    }
    // After the mounts, which it would forbid, and before the filter, whose profile may not permit
    // it. While set-up still holds CAP_SYS_ADMIN over its namespace, which does for a job without
    // no_new_privs too: nothing that follows touches a file but the change of directory and exec.
    if let Some(ruleset) = ruleset {
        ruleset.restrict_self()?;
    }
    // Nothing but 0, 1, 2 and the socket is needed any more: whatever the caller had open is
    // closed here, close-on-exec or not.
    let Some(stub) = &armed.stub else {
        io::dup_cloexec(armed.socket.as_raw_fd(), ERROR_FD).at(Step::CloseFds)?;
        return io::close_range(ERROR_FD.unsigned_abs() + 1, u32::MAX).at(Step::CloseFds);
    };
    // Both come from numbers far above, so neither move is in the other's way. The socket must
    // live through the stub's own execve; the stub closes it for the job.
    io::dup_inheritable(armed.socket.as_raw_fd(), ERROR_FD).at(Step::CloseFds)?;
    io::dup_cloexec(stub.as_raw_fd(), STUB_FD).at(Step::CloseFds)?;
    io::close_range(STUB_FD.unsigned_abs() + 1, u32::MAX).at(Step::CloseFds)
}

fn after_closing(armed: &Armed) -> Done {
    // After the descriptors have their places. The limit on them may have to come last of all.
    for (index, (resource, soft, hard)) in (0..).zip(&armed.rlimits) {
        if *resource == process::NOFILE && armed.privs.telling.is_some() {
            continue;
        }
        process::set_rlimit(*resource, *soft, *hard).at_index(Step::Rlimit, index)?;
    }
    privs::drop_all(&armed.privs)?;
    if !armed.init {
        // Again: the change of ids has cleared it, and nobody else would end the job when the
        // supervisor dies.
        process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
        // If it died in between, its end of the socket says so.
        let mut supervisor = [io::PollFd::new(ERROR_FD, libc::POLLIN)];
        io::poll(&mut supervisor, Some(0)).at(Step::ParentDeath)?;
        let [supervisor] = supervisor;
        if supervisor.revents() != 0 {
            return Err(Failure(Step::ParentDeath, 0, Errno(libc::EPIPE)));
        }
    }
    sys::fs::change_dir(&armed.cwd).at(Step::Cwd)?;
    signal::reset_dispositions();
    signal::set_mask(0).map(drop).at(Step::Session)?;
    // The filter may forbid to ask what time it is.
    let began = sys::clock::monotonic_ns();
    BEGAN.store(began, Ordering::Relaxed);
    // Last of all: what the filter forbids is needed until here.
    privs::load_filter_last(&armed.privs, io::well_known(ERROR_FD), began, &mut || {
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

/// When the job was about to be executed (CLOCK_MONOTONIC, nanoseconds). The job's process shares the init's
/// memory until then, and nobody else's: in the supervisor this stays 0.
static BEGAN: AtomicU64 = AtomicU64::new(0);

/// When the job was about to be executed.
fn began() -> u64 {
    BEGAN.load(Ordering::Relaxed)
}

/// Tries each place in turn, as execvp(3) does, and says why none worked.
fn exec(armed: &Armed) -> Failure {
    let mut answer = Errno(libc::ENOENT);
    let mut at = 0;
    for (index, path) in (0..).zip(&armed.candidates) {
        let errno = match &armed.stub {
            None if !armed.one_exec => process::execve(path, &armed.argv, &armed.envp),
            None => match sys::fs::may_execute(path) {
                Ok(()) => process::execve(path, &armed.argv, &armed.envp),
                Err(e) => e,
            },
            // The stub cannot come back to try the next: it is told one that can be executed.
            Some(_) => match sys::fs::may_execute(path) {
                Ok(()) => {
                    process::execve_stub(io::well_known(STUB_FD), path, &armed.argv, &armed.envp)
                }
                Err(e) => e,
            },
        };
        match errno.0 {
            // It was there, so it is a script whose interpreter is not; and the one call is used up.
            libc::ENOENT if armed.one_exec && sys::fs::may_execute(path).is_ok() => {
                return Failure(Step::Exec, index, errno);
            }
            libc::ENOENT | libc::ENOTDIR => {}
            // Remembered: a later directory of PATH may have one that can be executed.
            libc::EACCES => (answer, at) = (errno, index),
            _ => return Failure(Step::Exec, index, errno),
        }
    }
    Failure(Step::Exec, at, answer)
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
