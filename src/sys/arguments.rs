//! Where this program's arguments are in memory, so that a child that does not exec can blank them.

use super::{Errno, Result};
use core::sync::atomic::Ordering;
use libc::c_char;

/// The memory that holds this program's arguments, as `/proc/PID/cmdline` shows it.
mod place {
    use std::sync::atomic::AtomicUsize;
    #[cfg(target_env = "gnu")]
    use std::sync::atomic::Ordering;

    #[cfg(target_env = "gnu")]
    use libc::{c_char, c_int};

    pub(super) static START: AtomicUsize = AtomicUsize::new(0);
    pub(super) static END: AtomicUsize = AtomicUsize::new(0);

    #[cfg(target_env = "gnu")]
    extern "C" fn remember(argc: c_int, argv: *const *const c_char, _: *const *const c_char) {
        if argc < 1 || argv.is_null() {
            return;
        }
        // SAFETY: glibc calls the functions of .init_array with main's arguments: argv has argc
        // pointers to C strings, which the kernel laid out one behind the other.
        unsafe {
            let first = *argv;
            let last = *argv.offset(argc as isize - 1);
            START.store(first as usize, Ordering::Relaxed);
            END.store(last as usize + libc::strlen(last), Ordering::Relaxed);
        }
    }

    #[used]
    #[cfg(target_env = "gnu")]
    // SAFETY: the section takes pointers to functions of exactly this signature, on glibc.
    #[unsafe(link_section = ".init_array")]
    static REMEMBER: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = remember;
}

/// Finds out where this process's arguments are, if that is not known yet: glibc tells a library,
/// musl does not, and the kernel does (`/proc/self/stat`, fields 48 and 49, Linux 3.5).
///
/// # Errors
/// /proc is not there, or not the kernel's.
pub fn find_arguments() -> Result<()> {
    if place::START.load(Ordering::Relaxed) != 0 {
        return Ok(());
    }
    if let Some((start, end)) = arguments_before_environment() {
        place::START.store(start, Ordering::Relaxed);
        place::END.store(end, Ordering::Relaxed);
        return Ok(());
    }
    let mut buf = [0u8; 1024];
    let file = super::fs::open_at(super::fs::cwd(), c"/proc/self/stat", libc::O_RDONLY, 0)?;
    let n = super::io::read(std::os::fd::AsFd::as_fd(&file), &mut buf)?;
    let text = buf.get(..n).and_then(|bytes| str::from_utf8(bytes).ok());
    let range = text.and_then(|text| {
        // The third field comes first behind the name, which may hold anything.
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace().skip(45).map(str::parse::<usize>);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    });
    let (start, end) = range.ok_or(Errno(libc::EINVAL))?;
    place::START.store(start, Ordering::Relaxed);
    place::END.store(end, Ordering::Relaxed);
    Ok(())
}

/// The same without a system call. The kernel lays out the environment's strings right behind the
/// arguments' (binfmt_elf.c), and the C library remembers where both begin.
///
/// `None` where a program has replaced either: then they are not both shortly before the name of the
/// executed file (`AT_EXECFN`), which the kernel has put behind them at the end of the stack.
fn arguments_before_environment() -> Option<(usize, usize)> {
    unsafe extern "C" {
        static program_invocation_name: *const c_char;
        static environ: *const *const c_char;
    }
    const MOST: usize = 6 << 20; // of both together (fs/exec.c)
    // SAFETY: both are variables of the C library; environ is null or an array that ends with a
    // null pointer. A program that changes the environment at the same time breaks std::env's
    // own contract.
    let (start, end) = unsafe {
        let first = if environ.is_null() { core::ptr::null() } else { *environ };
        (program_invocation_name as usize, first as usize)
    };
    // SAFETY: reads the process's auxiliary vector; no pointers.
    let behind = unsafe { libc::getauxval(libc::AT_EXECFN) };
    let behind = usize::try_from(behind).ok()?;
    (start < end && end < behind && behind - start < MOST).then_some((start, end))
}

/// Blanks this process's arguments, for a child that does not exec: anyone in the jail can
/// read `/proc/1/cmdline`, and the supervisor's names paths and labels of the host.
pub fn blank_arguments() {
    let start = place::START.load(Ordering::Relaxed);
    let end = place::END.load(Ordering::Relaxed);
    if start != 0 && end > start {
        // SAFETY: the range is the argument strings on this process's stack, as the C library
        // or the kernel tells it, writable and mapped for the process's whole life; in the
        // child nothing reads them any more.
        unsafe { core::ptr::write_bytes(start as *mut u8, 0, end - start) };
    }
}
