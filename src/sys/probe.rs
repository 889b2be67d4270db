//! What only `stockade doctor` asks the kernel: children that try something and say how it went,
//! and questions that a run never has.

use super::process::{self, Cloned};
use super::{Errno, Result, check, check_int, int, io, signal};
use libc::{c_int, c_long, c_uint};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How many questions one child can answer.
pub const QUESTIONS: usize = 8;
/// A question that was not asked, since one before it failed.
pub const NOT_ASKED: i32 = -1;
/// The answers of a child: for each question the errno, 0 for "it works".
pub type Answers = [i32; QUESTIONS];

/// After this many seconds a child that hangs is killed by its own alarm.
const PATIENCE: c_uint = 10;
/// As wide as a register, which the arguments of syscall(2) have to be.
const NULL: c_long = 0;
const ANSWER_SIZE: usize = QUESTIONS * size_of::<i32>();

/// A child that waits for [`Child::ask`]. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    reaped: bool,
    go: OwnedFd,
    answers: OwnedFd,
}

impl Child {
    /// Makes it by clone3 with new namespaces, and in `cgroup` (v2) if there is one: as a jail is.
    ///
    /// `probe` runs in the child. It makes system calls only: it must not allocate.
    pub fn start<A>(
        flags: u64,
        cgroup: Option<BorrowedFd<'_>>,
        probe: fn(&A) -> Answers,
        argument: &A,
    ) -> Result<Child> {
        let pipes = Pipes::new()?;
        // SAFETY: the child makes only the calls of `answer` and never leaves this frame.
        match unsafe { process::clone3(flags, cgroup) }? {
            Cloned::Parent { pid, .. } => Ok(pipes.parent(pid)),
            Cloned::Child => answer(pipes, probe, argument),
        }
    }

    /// The same by clone(2), for a host where clone3 does not work, and for what needs no
    /// namespace but those of `flags`.
    pub fn start_old<A>(flags: c_int, probe: fn(&A) -> Answers, argument: &A) -> Result<Child> {
        let pipes = Pipes::new()?;
        let flags = c_long::from(flags | libc::SIGCHLD);
        // SAFETY: no stack is given, so the child runs on a copy of this frame; it makes only the
        // calls of `answer` and never leaves. All other arguments are null or 0 on every
        // architecture, whatever their order.
        let pid =
            int(check(unsafe { libc::syscall(libc::SYS_clone, flags, NULL, NULL, NULL, NULL) })?);
        if pid == 0 { answer(pipes, probe, argument) } else { Ok(pipes.parent(pid)) }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Lets it try, and waits for what it says. An error: it was killed over it.
    pub fn ask(mut self) -> Result<Answers> {
        io::write_whole(self.go.as_fd(), &[1])?;
        let mut bytes = [0u8; ANSWER_SIZE];
        let n = loop {
            match io::read(self.answers.as_fd(), &mut bytes) {
                Err(e) if e.0 == libc::EINTR => {}
                other => break other?,
            }
        };
        self.end();
        // Shorter than a pipe's atomic size, so it is there whole or not at all.
        if n != ANSWER_SIZE {
            return Err(Errno(libc::EPIPE));
        }
        let mut answers = [NOT_ASKED; QUESTIONS];
        for (answer, word) in answers.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *answer = i32::from_ne_bytes(*word);
        }
        Ok(answers)
    }

    fn end(&mut self) {
        if self.reaped {
            return;
        }
        self.reaped = true;
        // Not reaped yet, so the pid is its own. It may have ended, which is what is wanted.
        let _ = process::kill(self.pid, libc::SIGKILL);
        while matches!(process::wait4(self.pid, 0), Err(e) if e.0 == libc::EINTR) {}
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

struct Pipes {
    go: (OwnedFd, OwnedFd),
    answers: (OwnedFd, OwnedFd),
}

impl Pipes {
    fn new() -> Result<Pipes> {
        Ok(Pipes { go: io::pipe()?, answers: io::pipe()? })
    }

    fn parent(self, pid: i32) -> Child {
        Child { pid, reaped: false, go: self.go.1, answers: self.answers.0 }
    }
}

/// The child's life.
fn answer<A>(pipes: Pipes, probe: fn(&A) -> Answers, argument: &A) -> ! {
    #[cfg(debug_assertions)]
    super::guard::arm();
    let Pipes { go: (go, ours), answers: (theirs, answers) } = pipes;
    drop(ours);
    drop(theirs);
    // Nothing of the caller's handlers and masks keeps the signals below from ending it. What
    // fails of this leaves only the parent's own kill.
    let _ = process::set_parent_death_signal(libc::SIGKILL);
    signal::reset_dispositions();
    let _ = signal::set_mask(0);
    // SAFETY: an integer only.
    unsafe { libc::alarm(PATIENCE) };
    let mut byte = [0u8; 1];
    if !matches!(io::read(go.as_fd(), &mut byte), Ok(1)) {
        process::exit_group(1);
    }
    let said = probe(argument);
    let mut bytes = [0u8; ANSWER_SIZE];
    for (to, from) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(said) {
        *to = from.to_ne_bytes();
    }
    // If the pipe is broken nobody is left to tell.
    let _ = io::write_whole(answers.as_fd(), &bytes);
    process::exit_group(0)
}

/// `seccomp(SECCOMP_GET_ACTION_AVAIL, 0, action)` (Linux 4.14).
pub fn seccomp_has_action(action: u32) -> Result<()> {
    const GET_ACTION_AVAIL: c_uint = 2;
    // SAFETY: the kernel reads four bytes from the live local.
    check(unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) })
        .map(drop)
}

/// Whether there is no such call: it is asked for something that none of the calls that this is for
/// does, such as with a descriptor -1 or a size 0.
pub fn lacks(call: c_long) -> bool {
    // SAFETY: the only pointer of any call is -1 or null, which the kernel refuses or does not read.
    check(unsafe { libc::syscall(call, c_long::from(-1), NULL, NULL, NULL, NULL, NULL) })
        .is_err_and(|e| e.0 == libc::ENOSYS)
}

/// `getppid()`, by number: the call that a probe's filter denies.
pub fn parent() -> Result<i32> {
    // SAFETY: no arguments.
    check(unsafe { libc::syscall(libc::SYS_getppid) }).map(int)
}

/// Whether a mount is read-only, by fstatvfs(3).
pub fn is_read_only(fd: BorrowedFd<'_>) -> Result<bool> {
    // SAFETY: statvfs is integers, for which all-zero is a value.
    let mut s: libc::statvfs = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel's answer is written to the live local.
    check_int(unsafe { libc::fstatvfs(fd.as_raw_fd(), &raw mut s) })?;
    Ok(s.f_flag & libc::ST_RDONLY != 0)
}
