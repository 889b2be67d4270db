//! The only `unsafe` of the project: thin wrappers over Linux system calls.
//!
//! Rules of this directory:
//! * nothing here allocates, locks, formats or panics, so every function may run in the
//!   child between clone and exec;
//! * arguments are borrowed descriptors, C strings and typed flags; results are owned
//!   descriptors or `Errno`. Descriptors are always made close-on-exec;
//! * the set-id family is called raw: libc's versions signal every thread of the process,
//!   which in a child of clone3 means threads that do not exist;
//! * nothing here knows about anything else of stockade.

mod arguments;
pub mod bpf;
pub mod clock;
pub mod cred;
pub mod fs;
#[cfg(debug_assertions)]
pub mod guard;
mod helper;
pub mod io;
pub mod landlock;
pub mod mount;
pub mod net;
pub mod probe;
pub mod process;
mod pty;
pub mod regex;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod stub;
pub mod tuning;

use libc::{c_int, c_long};

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl core::fmt::Debug for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl From<Errno> for std::io::Error {
    fn from(e: Errno) -> Self {
        std::io::Error::from_raw_os_error(e.0)
    }
}

impl Errno {
    /// The number.
    #[must_use]
    pub fn into_raw(self) -> i32 {
        self.0
    }

    /// The error of the last failed libc call of this thread.
    #[must_use]
    pub fn last() -> Errno {
        // SAFETY: __errno_location returns the address of this thread's errno, valid for
        // as long as the thread lives; in a child of clone3 it is the copied TLS slot.
        Errno(unsafe { *libc::__errno_location() })
    }
}

/// Result of a system call.
pub type Result<T> = core::result::Result<T, Errno>;

/// -1 becomes the errno.
fn check(ret: c_long) -> Result<c_long> {
    if ret == -1 { Err(Errno::last()) } else { Ok(ret) }
}

fn check_int(ret: c_int) -> Result<c_int> {
    if ret == -1 { Err(Errno::last()) } else { Ok(ret) }
}

/// Narrows a system call's result that is a descriptor or pid, which the kernel keeps
/// within an int.
fn int(ret: c_long) -> c_int {
    c_int::try_from(ret).unwrap_or(-1)
}
