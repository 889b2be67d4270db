//! Landlock's three system calls (Linux 5.13), by number: no C library wraps them.

use super::{Result, check, int};
use core::ffi::c_void;
use core::ptr;
use libc::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What a ruleset handles: denied unless a rule allows it. A kernel takes a longer structure than
/// its own if what it does not know is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// `LANDLOCK_ACCESS_FS_*`.
    pub fs: u64,
    /// `LANDLOCK_ACCESS_NET_*` (ABI 4).
    pub net: u64,
    /// `LANDLOCK_SCOPE_*` (ABI 6).
    pub scoped: u64,
}

/// Rights that a file which is no directory can be given: to execute, write, read, truncate it, and
/// ioctl if it is a device.
pub const OF_A_FILE: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15;

/// `landlock_create_ruleset(NULL, 0, VERSION)`—the version of the ABI, from 1 on. `ENOSYS` and
/// `EOPNOTSUPP`: not built in, switched off.
pub fn abi() -> Result<u32> {
    const VERSION: u32 = 1;
    // SAFETY: with a null pointer and size 0 nothing is read; the answer is a number.
    let version = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<c_void>(), 0usize, VERSION)
    })?;
    Ok(int(version).unsigned_abs())
}

/// `landlock_create_ruleset(handled)`—close-on-exec, as the kernel makes it.
pub fn create(handled: &Handled) -> Result<OwnedFd> {
    // SAFETY: the kernel reads as many bytes of the live struct as it is told.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::from_ref(handled),
            size_of::<Handled>(),
            0u32,
        )
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(int(fd)) })
}

/// `landlock_add_rule(ruleset, PATH_BENEATH)`—allows `rights` at and below what `there` is open
/// on; a descriptor of `O_PATH` or of a detached mount will do.
pub fn allow_beneath(ruleset: BorrowedFd<'_>, there: BorrowedFd<'_>, rights: u64) -> Result<()> {
    const PATH_BENEATH: c_int = 1;
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: i32,
    }
    let rule = PathBeneath { allowed_access: rights, parent_fd: there.as_raw_fd() };
    // SAFETY: `rule` has the layout of landlock_path_beneath_attr and lives; the kernel keeps no
    // pointer to it.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            PATH_BENEATH,
            &raw const rule,
            0u32,
        )
    })
    .map(drop)
}

/// `landlock_restrict_self(ruleset, flags)`—for this process and all that it starts, for good.
/// Needs no_new_privs, or CAP_SYS_ADMIN in the own user namespace.
pub fn restrict_self(ruleset: BorrowedFd<'_>, flags: u32) -> Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), flags) })
        .map(drop)
}
