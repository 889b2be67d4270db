//! The clock that limits are measured by.

/// `clock_gettime(CLOCK_MONOTONIC)`, nanoseconds; 0 where the kernel has none, which is nowhere. By the
/// system call and not the vDSO, which a C library may have to find first.
pub fn monotonic_ns() -> u64 {
    // SAFETY: integers only.
    let mut now: libc::timespec = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes one timespec to the live local.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
