//! The job's program: whether there is one, its execution, and when that began.

#![forbid(unsafe_code)]

use super::{Armed, Done, Failure};
use crate::sys::{self, Errno, cred, io, process};
use crate::wire::Step;
use core::sync::atomic::{AtomicU64, Ordering};

/// When the job was about to be executed (CLOCK_MONOTONIC, nanoseconds). The job's process shares the init's
/// memory until then, and nobody else's: in the supervisor this stays 0.
static BEGAN: AtomicU64 = AtomicU64::new(0);

/// When the job was about to be executed.
pub(super) fn began() -> u64 {
    BEGAN.load(Ordering::Relaxed)
}

/// The job is about to be executed.
pub(super) fn begins() -> u64 {
    let now = sys::clock::monotonic_ns();
    BEGAN.store(now, Ordering::Relaxed);
    now
}

/// Whether it may be executed, as far as a filter lets us ask: a profile that is older than one of the
/// calls denies it. Where none is permitted execve decides.
fn may_execute(path: &core::ffi::CStr) -> sys::Result<()> {
    let denied = |e: &Errno| e.0 == libc::EPERM || e.0 == libc::ENOSYS;
    match sys::fs::may_execute(path) {
        Err(e) if denied(&e) => {}
        other => return other,
    }
    match sys::fs::may_execute_by_real_ids(path) {
        Err(e) if denied(&e) => {}
        other => return other,
    }
    match sys::fs::open_at(sys::fs::cwd(), path, libc::O_PATH, 0) {
        Err(e) if !denied(&e) => Err(e),
        _ => Ok(()),
    }
}

/// Whether there is a program that may be executed.
pub(super) fn find(armed: &Armed) -> Done {
    let mut answer = Failure(Step::FindProgram, 0, Errno(libc::ENOENT));
    for (index, path) in (0..).zip(&armed.candidates) {
        match may_execute(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.0 == libc::EACCES => answer = Failure(Step::FindProgram, index, e),
            Err(_) => {}
        }
    }
    Err(answer)
}

/// Tries each place in turn, as execvp(3) does, and says why none worked.
pub(super) fn execute(armed: &Armed) -> Failure {
    let mut answer = Errno(libc::ENOENT);
    let mut at = 0;
    for (index, path) in (0..).zip(&armed.candidates) {
        let errno = match &armed.stub {
            None if !armed.one_exec => process::execve(path, &armed.argv, &armed.envp),
            None => match may_execute(path) {
                Ok(()) => process::execve(path, &armed.argv, &armed.envp),
                Err(e) => e,
            },
            // The stub cannot come back to try the next: it is told one that can be executed.
            Some(_) => match may_execute(path) {
                Ok(()) => execute_through_stub(armed, index),
                Err(e) => e,
            },
        };
        match errno.0 {
            // It was there, so it is a script whose interpreter is not; and the one call is used up.
            libc::ENOENT if armed.one_exec && may_execute(path).is_ok() => {
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

/// CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
pub(crate) const READ_ANYTHING: u64 = 1 << 1 | 1 << 2;

fn execute_through_stub(armed: &Armed, index: u32) -> Errno {
    let path = usize::try_from(index).ok().and_then(|n| armed.stub_paths.get(n));
    let Some(path) = path else { return Errno(libc::ENOENT) };
    if armed.hide_stub {
        // Nobody in the container may look into the stub while it still has the way to the host: it
        // is not dumpable if its file cannot be read, and these two would read anything. A program
        // that root executes next has all of its rights again, and any other none of these.
        let c = &armed.privs.caps;
        if let Err(e) = cred::set_caps(c.effective & !READ_ANYTHING, c.permitted, c.inheritable) {
            return e;
        }
    }
    let stub = io::well_known(armed.places().stub);
    process::execve_stub(stub, path, &armed.argv, &armed.envp)
}
