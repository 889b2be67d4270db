//! Helpers: processes that share this one's memory, on a stack of their own, and make system calls
//! beside it.

use super::process::{exit_group, wait4};
use super::{Errno, Result, check_int, int};
use core::sync::atomic::{AtomicBool, Ordering};
use libc::{c_int, c_long, c_void};
use std::os::fd::RawFd;

/// Bytes of a stack for a process that shares this one's memory, its guard page included.
const STACK: usize = 256 << 10;

/// A stack for a process that shares this one's memory, with a guard page below: its lowest byte.
fn map_stack() -> Result<*mut c_void> {
    const GUARD: usize = 64 << 10; // a page on every architecture
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let low = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK,
            -1,
            0,
        )
    };
    if low == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: the lowest part of the mapping just made, which nobody uses yet.
    check_int(unsafe { libc::mprotect(low, GUARD, libc::PROT_NONE) })?;
    Ok(low)
}

/// The top of such a stack that is never unmapped: the mapping ends with the process, and pages
/// that are not touched cost nothing.
pub(super) fn new_stack() -> Result<*mut c_void> {
    // SAFETY: one past the end of the mapping, page-aligned as the ABI wants a stack's top.
    Ok(unsafe { map_stack()?.byte_add(STACK) })
}

/// What a helper of [`spawn_helper`] does.
pub trait Helper {
    /// Runs in the helper, with the descriptor it was given.
    fn run(fd: RawFd) -> !;
}

/// `clone(CLONE_VM | SIGCHLD)`—runs `H::run(fd)` in a new process that shares this memory, on a
/// stack of its own, beside the caller.
///
/// The two share errno, which a failing call of either sets. So a helper that fails must end the
/// whole set-up, whatever the other one read meanwhile.
pub fn spawn_helper<H: Helper>(fd: RawFd) -> Result<i32> {
    extern "C" fn trampoline<H: Helper>(fd: *mut c_void) -> c_int {
        H::run(int(fd as c_long))
    }
    let flags = libc::CLONE_VM | libc::SIGCHLD;
    // SAFETY: the stack is new and large enough; the argument is a number and no pointer; the
    // helper makes system calls with values on its own stack only and never returns.
    let pid = unsafe {
        libc::clone(
            trampoline::<H>,
            new_stack()?,
            flags,
            core::ptr::without_provenance_mut(fd.unsigned_abs() as usize),
        )
    };
    check_int(pid)
}

/// `clone(CLONE_VM | CLONE_FILES | CLONE_VFORK)`—runs `work` in a process that shares this one's memory
/// and descriptors and may go into other namespaces, for which it has a root and a working directory of
/// its own. Comes back when that has ended; `ECANCELED` if it was killed before.
///
/// `work` makes system calls and writes to its argument, and does nothing else. Signals are to be blocked
/// meanwhile: a handler would run in both.
pub fn step_aside<A>(work: fn(&mut A), argument: &mut A) -> Result<()> {
    struct Call<'a, A>(fn(&mut A), &'a mut A);
    extern "C" fn trampoline<A>(call: *mut c_void) -> c_int {
        // SAFETY: the pointer is to the caller's `Call`, which lives and is not used: the caller sleeps.
        let Call(work, argument) = unsafe { &mut *call.cast::<Call<'_, A>>() };
        work(argument);
        exit_group(0)
    }
    let low = map_stack()?;
    let mut call = Call(work, argument);
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_VFORK;
    // SAFETY: the stack is new and large enough; `call` outlives the process, since CLONE_VFORK
    // suspends the caller until its end: it calls no execve.
    let cloned = check_int(unsafe {
        libc::clone(trampoline::<A>, low.byte_add(STACK), flags, (&raw mut call).cast::<c_void>())
    });
    // Without an exit signal it is found only with this flag, and by nobody else.
    let ended = cloned.and_then(|pid| {
        loop {
            match wait4(pid, WALL) {
                Err(e) if e.0 == libc::EINTR => {}
                other => break other,
            }
        }
    });
    // SAFETY: our own mapping; the process that used it has ended, or was never made.
    unsafe { libc::munmap(low, STACK) };
    match ended? {
        Some(waited) if waited.status == 0 => Ok(()),
        _ => Err(Errno(libc::ECANCELED)),
    }
}

/// A helper beside this process, as of [`spawn_helper`], but for one that goes on: nothing of it
/// is left when this is dropped, which waits for its end.
#[derive(Debug)]
pub struct Aside {
    pid: i32,
    /// Its stack's lowest byte.
    low: *mut c_void,
}

/// What stands on top of an [`Aside`]'s stack.
struct Beside {
    begun: AtomicBool,
    fd: RawFd,
}

impl Aside {
    /// `clone(CLONE_VM)`: runs `H::run(fd)` in a new process beside this one. Its end is told to
    /// nobody: no SIGCHLD, and no `wait` of the program's own finds it.
    ///
    /// What [`spawn_helper`] says of errno holds here too, for the calling thread. Signals are to be
    /// blocked meanwhile: a handler would run in both.
    pub fn spawn<H: Helper>(fd: RawFd) -> Result<Aside> {
        extern "C" fn trampoline<H: Helper>(beside: *mut c_void) -> c_int {
            // SAFETY: it stands above this stack, in a mapping that lives until this process was
            // waited for.
            let beside = unsafe { &*beside.cast::<Beside>() };
            beside.begun.store(true, Ordering::Relaxed);
            H::run(beside.fd)
        }
        let low = map_stack()?;
        let mut aside = Aside { pid: 0, low };
        // SAFETY: inside the mapping, which is new, and aligned as all above its page-aligned end
        // minus a multiple of 16 is.
        let beside = unsafe {
            let place = aside.beside();
            place.write(Beside { begun: AtomicBool::new(false), fd });
            place
        };
        // SAFETY: the stack is new and large enough, and what stands above its top lives as long as the
        // process (see Drop); the helper makes system calls with values on its own stack only
        // and never returns.
        let pid = unsafe {
            libc::clone(trampoline::<H>, beside.cast(), libc::CLONE_VM, beside.cast::<c_void>())
        };
        aside.pid = check_int(pid)?;
        Ok(aside)
    }

    fn beside(&self) -> *mut Beside {
        // SAFETY: below the end of the mapping, by more than a `Beside` has, and 64-byte aligned.
        unsafe { self.low.byte_add(STACK - 64).cast() }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it has had its first turn on a processor.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        // SAFETY: written before the clone, and from then on only by atomic stores.
        unsafe { &(*self.beside()).begun }.load(Ordering::Relaxed)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Without an exit signal it is found only with this flag.
        let ended = self.pid <= 0
            || loop {
                match wait4(self.pid, WALL) {
                    Err(e) if e.0 == libc::EINTR => {}
                    // ECHILD: nobody else waits for it; it has never been.
                    Ok(_) | Err(Errno(libc::ECHILD)) => break true,
                    Err(_) => break false,
                }
            };
        if ended {
            // SAFETY: our own mapping, which nobody uses any more.
            unsafe { libc::munmap(self.low, STACK) };
        }
    }
}

/// `__WALL`: children of any exit signal.
const WALL: c_int = libc::__WALL;
