//! Ids and capabilities of the calling thread, by the raw system calls.

use super::{Result, check, check_int};
use libc::{c_int, c_long};

/// `setgroups(groups)`.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads `len` ids from the live slice. Raw, since libc's version
    // signals other threads.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// `setresgid(gid, gid, gid)`.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// `setresuid(uid, uid, uid)`.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Keeps the permitted set through a change from uid 0 (`PR_SET_KEEPCAPS`); cleared by execve.
pub fn keep_caps() -> Result<()> {
    // SAFETY: integers only.
    check_int(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) }).map(drop)
}

/// Drops one capability from the bounding set; `Ok(false)` if the kernel does not know it.
pub fn drop_bounding(cap: u32) -> Result<bool> {
    // SAFETY: integers only.
    match check_int(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap, 0, 0, 0) }) {
        Ok(_) => Ok(true),
        Err(e) if e.0 == libc::EINVAL => Ok(false),
        Err(e) => Err(e),
    }
}

/// Empties the ambient set, then raises the given capabilities (Linux 4.3).
pub fn set_ambient(caps: u64) -> Result<()> {
    // SAFETY: integers only.
    check_int(unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    })?;
    for cap in 0..64u32 {
        if caps & (1 << cap) != 0 {
            // SAFETY: integers only.
            check_int(unsafe {
                libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, cap, 0, 0)
            })?;
        }
    }
    Ok(())
}

/// `capset`: the effective, permitted and inheritable sets in one call.
pub fn set_caps(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let data = [
        Data {
            effective: low(effective),
            permitted: low(permitted),
            inheritable: low(inheritable),
        },
        Data {
            effective: low(effective >> 32),
            permitted: low(permitted >> 32),
            inheritable: low(inheritable >> 32),
        },
    ];
    // SAFETY: version 3 takes two data structs; both pointers are to live locals.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

fn low(bits: u64) -> u32 {
    u32::try_from(bits & 0xffff_ffff).unwrap_or(0)
}

/// `geteuid()`.
#[must_use]
pub fn euid() -> u32 {
    // SAFETY: cannot fail, no pointers.
    unsafe { libc::geteuid() }
}

/// `getegid()`.
#[must_use]
pub fn egid() -> u32 {
    // SAFETY: cannot fail, no pointers.
    unsafe { libc::getegid() }
}

/// Whether the calling thread has the capability in its effective set.
#[must_use]
pub fn has_effective(cap: u32) -> bool {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut data = [[0u32; 3]; 2];
    // SAFETY: version 3 writes two structs of three words each, the size of `data`.
    let ret: c_long =
        unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    let word = if cap < 32 { data[0][0] } else { data[1][0] };
    ret == 0 && word & (1 << (cap % 32)) != 0
}

/// Number of the newest capability that this kernel has.
#[must_use]
pub fn last_cap() -> u32 {
    // SAFETY: integers only. EINVAL is the kernel's word for a capability that it lacks.
    let known = |cap: u32| unsafe { libc::prctl(libc::PR_CAPBSET_READ, cap, 0, 0, 0) } >= 0;
    // 40 is CAP_CHECKPOINT_RESTORE, the newest from Linux 5.9 on.
    let mut last = 40;
    if known(last) {
        while last < 63 && known(last + 1) {
            last += 1;
        }
    } else {
        while last > 0 && !known(last) {
            last -= 1;
        }
    }
    last
}
