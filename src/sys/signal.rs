//! Signal masks, dispositions and signalfd.

use super::{Result, check, check_int};
use libc::c_int;
use std::os::fd::{FromRawFd, OwnedFd};

/// A signal mask as the kernel holds it: bit N-1 is signal N.
pub type Mask = u64;

/// Every signal.
pub const ALL: Mask = !0;

/// Sets this thread's mask, raw (libc's version leaves its internal signals out), and returns
/// the one before.
pub fn set_mask(mask: Mask) -> Result<Mask> {
    let mut old: Mask = 0;
    // SAFETY: both pointers are to live 8-byte masks, and 8 is the size that is told.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut old,
            size_of::<Mask>(),
        )
    })?;
    Ok(old)
}

/// Gives every signal its default disposition: handlers and ignored signals (Rust ignores
/// SIGPIPE, nohup SIGHUP) would otherwise reach the job.
pub fn reset_dispositions() {
    // The kernel's sigaction: handler, flags, restorer, mask. All zero is SIG_DFL.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the struct is large enough for the kernel's sigaction of every architecture
        // that stockade builds for, and is only read. SIGKILL and SIGSTOP answer EINVAL and
        // are always default, so the result says nothing.
        let _ = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal as c_int,
                default.as_ptr(),
                core::ptr::null_mut::<u64>(),
                size_of::<Mask>(),
            )
        };
    }
}

/// `signalfd4(-1, mask, SFD_CLOEXEC | SFD_NONBLOCK)`.
pub fn signalfd(mask: Mask) -> Result<OwnedFd> {
    // SAFETY: the mask is a live 8-byte local, and 8 is the size that is told.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const mask,
            size_of::<Mask>(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(super::int(fd)) })
}

/// Reads one signal number from a signalfd; `None` when there is none.
pub fn read_signalfd(fd: std::os::fd::BorrowedFd<'_>) -> Result<Option<c_int>> {
    let mut info = [0u8; 128];
    match super::io::read(fd, &mut info) {
        Ok(n) if n >= 4 => {
            let [a, b, c, d, ..] = info;
            Ok(Some(i32::from_ne_bytes([a, b, c, d])))
        }
        Ok(_) => Ok(None),
        Err(e) if e.0 == libc::EAGAIN || e.0 == libc::EINTR => Ok(None),
        Err(e) => Err(e),
    }
}

/// Gives SIGCHLD its default disposition. A caller that ignored it passes that on through execve,
/// and the kernel would then reap our children before we can.
pub fn default_sigchld() -> Result<()> {
    // SAFETY: SIG_DFL is a valid disposition for SIGCHLD.
    let old = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if old == libc::SIG_ERR { check_int(-1).map(drop) } else { Ok(()) }
}

/// Makes this process ignore SIGPIPE or not, for programs whose runtime did not.
pub fn ignore_sigpipe() -> Result<()> {
    // SAFETY: SIG_IGN is a valid disposition for SIGPIPE.
    let old = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    if old == libc::SIG_ERR { check_int(-1).map(drop) } else { Ok(()) }
}
