//! Making, watching and ending processes.

pub use super::arguments::{blank_arguments, find_arguments};
use super::helper::new_stack;
pub use super::helper::{Aside, Helper, spawn_helper, step_aside};
use super::{Errno, Result, check, check_int, int};
use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering};
use libc::{c_char, c_int, c_long, c_ulong, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Flag of clone3(2) that libc declares as an int it does not fit (Linux 5.7).
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// New time namespace; in clone3 it shares its bit with the exit signal of clone(2) (Linux 5.6).
pub const CLONE_NEWTIME: u64 = 0x80;

/// The same for unshare(2).
pub const CLONE_NEWTIME_UNSHARE: c_int = 0x80;

/// Which side of a clone this is.
#[derive(Debug)]
pub enum Cloned {
    /// The caller, with the child's pid and pidfd.
    Parent {
        /// Process id in the caller's pid namespace.
        pid: i32,
        /// Refers to the child even after its pid is reused.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// `clone3(flags | CLONE_PIDFD, SIGCHLD[, cgroup])`—a child with a copy of this memory.
///
/// `cgroup` is a descriptor of a cgroup v2 directory to start in (Linux 5.7).
///
/// # Safety
/// In a process with other threads the child may only make system calls until it execs or
/// exits: memory allocation, locks and everything built on them may hang, since the thread
/// that held the lock does not exist there. It must not return from the calling frame.
pub unsafe fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    #[repr(C)]
    #[derive(Default)]
    struct Args {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    let mut pidfd: RawFd = -1;
    let mut args = Args {
        flags: flags | u64::from(libc::CLONE_PIDFD.cast_unsigned()),
        pidfd: core::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: if flags & u64::from(libc::CLONE_PARENT.cast_unsigned()) == 0 {
            u64::from(libc::SIGCHLD.cast_unsigned())
        } else {
            0
        },
        ..Args::default()
    };
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(fd.as_raw_fd().cast_unsigned());
    }
    // SAFETY: the struct has the layout of the kernel's clone_args, version 2 (88 bytes), and
    // outlives the call; the stack is not replaced, so the child runs on a copy of this frame.
    // The caller upholds the rest.
    let ret = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<Args>()) };
    match check(ret)? {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: on success in the parent the kernel has stored a new descriptor that
            // nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: int(pid), pidfd })
        }
    }
}

/// [`clone3`] for callers outside this directory: the child calls `child`, which must keep to the
/// rules there: system calls only, and no return. All of `src/child` is written so; the
/// allocator guard of debug builds aborts a child that is not.
pub fn clone_into<A>(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    child: fn(&A) -> !,
    argument: &A,
) -> Result<(i32, OwnedFd)> {
    // SAFETY: the child makes only the calls of `child` and never leaves this frame.
    match unsafe { clone3(flags, cgroup) }? {
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Cloned::Child => child(argument),
    }
}

/// `setns(namespace, kind)`, `kind` being its `CLONE_NEW*`, which the kernel checks.
pub fn join(namespace: BorrowedFd<'_>, kind: c_int) -> Result<()> {
    // SAFETY: integers only.
    check_int(unsafe { libc::setns(namespace.as_raw_fd(), kind) }).map(drop)
}

/// `ioctl(NS_GET_NSTYPE)` (Linux 4.11): the `CLONE_NEW*` of a namespace's descriptor.
pub fn namespace_kind(fd: BorrowedFd<'_>) -> Result<c_int> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the call takes no argument.
    check_int(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) })
}

/// `clone(CLONE_VM | CLONE_VFORK | SIGCHLD)`—runs `entry` in a new process that shares this
/// memory, on a stack of its own; the caller sleeps until it has called execve or ended. As
/// posix_spawn does: no page table is copied, no page faulted in twice.
///
/// For the child of clone3, which has one thread: in a process with threads the others would go
/// on meanwhile.
pub fn spawn_job<A>(entry: fn(&A) -> !, argument: &A) -> Result<i32> {
    struct Call<'a, A>(fn(&A) -> !, &'a A);
    extern "C" fn trampoline<A>(call: *mut c_void) -> c_int {
        // SAFETY: the pointer is to the caller's `Call`, which lives: the caller sleeps.
        let Call(entry, argument) = unsafe { &*call.cast::<Call<'_, A>>() };
        entry(argument)
    }
    let mut call = Call(entry, argument);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is new and large enough; `call` outlives the child's use of this memory,
    // since CLONE_VFORK suspends the caller until then; `entry` never returns.
    let pid = unsafe {
        libc::clone(trampoline::<A>, new_stack()?, flags, (&raw mut call).cast::<c_void>())
    };
    check_int(pid)
}

/// [`spawn_job`] with a pidfd of the new process: its pid, its pidfd.
pub fn spawn_watched<A>(entry: fn(&A) -> !, argument: &A) -> Result<(i32, OwnedFd)> {
    let pid = spawn_job(entry, argument)?;
    // Not reaped yet, so the pid is still its own.
    match pidfd_open(pid) {
        Ok(fd) => Ok((pid, fd)),
        Err(e) => {
            let _ = kill(pid, libc::SIGKILL);
            let _ = wait4(pid, 0);
            Err(e)
        }
    }
}

/// `clone(CLONE_PARENT | flags)`: a sibling, whose maker is this process's own: for what a joined
/// namespace takes effect on for children only. The child calls `child`, as with [`clone_into`].
pub fn clone_sibling<A>(flags: u64, child: fn(&A) -> !, argument: &A) -> Result<(i32, OwnedFd)> {
    clone_sibling_into(flags, None, child, argument)
}

/// [`clone_sibling`] into a cgroup of v2.
pub fn clone_sibling_into<A>(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    child: fn(&A) -> !,
    argument: &A,
) -> Result<(i32, OwnedFd)> {
    // With CLONE_PARENT the exit signal is the maker's own, and clone3 wants none to be named.
    // SAFETY: the child makes only the calls of `child` and never leaves this frame.
    match unsafe { clone3(flags | u64::from(libc::CLONE_PARENT.cast_unsigned()), cgroup) }? {
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Cloned::Child => child(argument),
    }
}

/// `execveat(program, "", argv, envp, AT_EMPTY_PATH)`; returns only on failure.
pub fn execve_descriptor(
    program: BorrowedFd<'_>,
    argv: &CStringArray,
    envp: &CStringArray,
) -> Errno {
    // SAFETY: the path is a static C string; the arrays end with a null pointer and point to
    // live C strings.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// `_exit(status)` for all threads.
pub fn exit_group(status: c_int) -> ! {
    // SAFETY: _exit takes no pointers and does not return.
    unsafe { libc::_exit(status) }
}

/// A list of C strings as execve(2) wants it: pointers, the last one null.
#[derive(Debug)]
pub struct CStringArray {
    // Atomic only so that the first can be replaced through a shared reference; same layout.
    pointers: Vec<AtomicPtr<c_char>>,
    // Keeps what `pointers` points into alive; never touched after construction.
    _strings: Vec<std::ffi::CString>,
}

impl CStringArray {
    /// Puts another string in the first place. Allocates nothing.
    fn set_first(&self, first: &CStr) {
        if let Some(slot) = self.pointers.first() {
            slot.store(first.as_ptr().cast_mut(), Ordering::Relaxed);
        }
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr().cast()
    }

    /// Takes the strings. Allocates: for the parent only.
    #[must_use]
    pub fn new(strings: Vec<std::ffi::CString>) -> CStringArray {
        let mut pointers: Vec<AtomicPtr<c_char>> =
            strings.iter().map(|s| AtomicPtr::new(s.as_ptr().cast_mut())).collect();
        pointers.push(AtomicPtr::new(core::ptr::null_mut()));
        CStringArray { pointers, _strings: strings }
    }
}

/// `execve(path, argv, envp)`—returns only with an error.
pub fn execve(path: &CStr, argv: &CStringArray, envp: &CStringArray) -> Errno {
    // SAFETY: the arrays end with a null pointer and point to C strings that the structs own.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Errno::last()
}

/// `execveat(program, "", argv, envp, AT_EMPTY_PATH)` with `path` as the first argument, for the
/// stub. Returns only with an error.
pub fn execve_stub(
    program: BorrowedFd<'_>,
    path: &CStr,
    argv: &CStringArray,
    envp: &CStringArray,
) -> Errno {
    argv.set_first(path);
    // SAFETY: the path is a static C string; the arrays end with a null pointer and point to
    // live C strings.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// `pidfd_send_signal(pidfd, signal)` (Linux 5.1): a reused pid is never hit.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> Result<()> {
    // SAFETY: no pointer but the null siginfo, which the kernel then fills itself.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            core::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// `pidfd_open(pid)` (Linux 5.3).
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(int(fd)) })
}

/// What wait4(2) tells of a child.
#[derive(Clone, Copy, Debug)]
pub struct Waited {
    /// Its pid.
    pub pid: i32,
    /// The status word.
    pub status: c_int,
    /// User CPU microseconds, its waited-for descendants included.
    pub utime_us: u64,
    /// System CPU microseconds, likewise.
    pub stime_us: u64,
    /// Largest resident set of one process, KiB.
    pub maxrss_kib: u64,
}

/// `getpid()`, by the system call: a C library may remember that of the process that was copied.
pub fn own_pid() -> i32 {
    // SAFETY: no arguments.
    super::int(unsafe { libc::syscall(libc::SYS_getpid) })
}

/// `wait4(pid, options)`; `pid` -1 means any child. `None`: `WNOHANG` and nothing to report.
pub fn wait4(pid: i32, options: c_int) -> Result<Option<Waited>> {
    let mut status = 0;
    // SAFETY: rusage is plain integers, for which all-zero is a value.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    // SAFETY: both pointers are to live, writable locals.
    let got = check_int(unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) })?;
    if got == 0 {
        return Ok(None);
    }
    let micros = |t: libc::timeval| {
        (t.tv_sec.cast_unsigned()).wrapping_mul(1_000_000).wrapping_add(t.tv_usec.cast_unsigned())
    };
    Ok(Some(Waited {
        pid: got,
        status,
        utime_us: micros(usage.ru_utime),
        stime_us: micros(usage.ru_stime),
        maxrss_kib: usage.ru_maxrss.cast_unsigned(),
    }))
}

/// `waitid(P_ALL, WEXITED | WNOHANG | WNOWAIT)`: a child that has ended, which stays to be reaped.
pub fn ended_child() -> Result<Option<i32>> {
    // SAFETY: siginfo is plain data, for which all-zero is a value.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes one siginfo to the live local.
    check_int(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) })?;
    // SAFETY: for a child that has ended the kernel fills in the pid; otherwise it stays 0.
    let pid = unsafe { info.si_pid() };
    Ok((pid > 0).then_some(pid))
}

/// `kill(pid, signal)`, for the init, whose pids are its own children.
pub fn kill(pid: i32, signal: c_int) -> Result<()> {
    // SAFETY: no pointers.
    check_int(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// `setsid()`—a session without a controlling terminal.
pub fn setsid() -> Result<()> {
    // SAFETY: no pointers.
    check_int(unsafe { libc::setsid() }).map(drop)
}

/// `unshare(flags)`.
pub fn unshare(flags: c_int) -> Result<()> {
    // SAFETY: no pointers; only namespace flags are passed, which leave memory alone.
    check_int(unsafe { libc::unshare(flags) }).map(drop)
}

fn prctl(option: c_int, a: c_ulong, b: c_ulong) -> Result<c_int> {
    // SAFETY: only options whose arguments are integers are passed, by the functions below.
    check_int(unsafe { libc::prctl(option, a, b, 0, 0) })
}

/// `PR_SET_PDEATHSIG`: `signal` when the *thread* that made this process ends. Cleared by a
/// change of ids, so set it after them.
pub fn set_parent_death_signal(signal: c_int) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, c_ulong::from(signal.cast_unsigned()), 0).map(drop)
}

/// `PR_SET_DUMPABLE 0`: no ptrace, no core, `/proc/self` owned by root.
pub fn set_undumpable() -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0, 0).map(drop)
}

/// `PR_SET_NO_NEW_PRIVS` (Linux 3.5).
pub fn set_no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// `PR_SET_NAME`: what `ps` shows as the command.
pub fn set_name(name: &CStr) -> Result<()> {
    // SAFETY: the kernel reads at most 16 bytes up to the NUL of a live C string.
    check_int(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) }).map(drop)
}

/// `RLIMIT_NOFILE`, in our own width: libc's constants are of another type with each C library.
pub const NOFILE: u32 = 7;

/// Raises the limit on descriptors as far as this process may.
pub fn raise_nofile() -> Result<()> {
    let (soft, hard) = get_rlimit(NOFILE)?;
    if soft < hard { set_rlimit(NOFILE, hard, hard) } else { Ok(()) }
}

/// `prlimit64(0, resource, limit)`: sets a limit of this process.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads the struct and, the fourth argument being null, writes nothing.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            core::ptr::null_mut::<libc::rlimit64>(),
        )
    })
    .map(drop)
}

/// `prlimit64(0, resource)`: the soft and hard limit of this process.
pub fn get_rlimit(resource: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the third argument is null, the fourth a live, writable local.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            core::ptr::null::<libc::rlimit64>(),
            &raw mut limit,
        )
    })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// `umask(mask)`.
pub fn umask(mask: u32) {
    // SAFETY: no pointers; cannot fail.
    unsafe { libc::umask(mask) };
}

/// `keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)`: an anonymous session keyring of its own.
pub fn new_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing else is read.
    check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            core::ptr::null::<c_char>(),
            0,
            0,
            0,
        )
    })
    .map(drop)
}

/// `keyctl(KEYCTL_JOIN_SESSION_KEYRING, name)`: a session keyring of this name.
pub fn new_named_keyring(name: &CStr) -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
    // SAFETY: the kernel reads the live C string.
    check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr(), 0, 0, 0)
    })
    .map(drop)
}

/// `PR_SET_CHILD_SUBREAPER`: orphans of our descendants become our children.
pub fn set_subreaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(drop)
}

/// Whether the kernel started this program with more rights than its caller has (`AT_SECURE`:
/// set-uid, set-gid, file capabilities).
#[must_use]
pub fn started_set_uid() -> bool {
    // SAFETY: getauxval reads the process's auxiliary vector; no pointers.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Six bytes of getrandom(2).
///
/// By number: std names the wrapper as a weak symbol, and what the optimiser makes of both
/// names in a static musl binary is a call of address 0.
pub fn random() -> Result<[u8; 6]> {
    let mut bytes = [0u8; 6];
    // SAFETY: the kernel writes at most `len` bytes to the live array.
    let n = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
    if n == 6 { Ok(bytes) } else { Err(Errno::last()) }
}

/// A child in a new user namespace that only waits: until the returned pipe end is closed.
/// Its pid, its pidfd, the pipe.
pub fn spawn_namespace_holder() -> Result<(i32, OwnedFd, OwnedFd)> {
    let (read, write) = super::io::pipe()?;
    let flags = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    // SAFETY: the child closes two descriptors, reads and exits: system calls only.
    match unsafe { clone3(flags, None) }? {
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd, write)),
        Cloned::Child => {
            use std::os::fd::AsFd;
            drop(write);
            let mut byte = [0u8; 1];
            let _ = super::io::read(read.as_fd(), &mut byte);
            exit_group(0)
        }
    }
}
