//! How the kernel schedules a process, and what else it keeps for it alone.

use super::{Result, check};
use libc::{c_int, c_ulong};

/// `personality(persona)`.
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_personality, persona) }).map(drop)
}

/// `ioprio_set(IOPRIO_WHO_PROCESS, 0, value)`.
pub fn set_io_priority(value: u16) -> Result<()> {
    const IOPRIO_WHO_PROCESS: c_int = 1;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, c_int::from(value)) })
        .map(drop)
}

/// `set_mempolicy(mode, nodes)`; up to 1,024 nodes.
pub fn set_memory_policy(mode: u32, nodes: &[u64; 16]) -> Result<()> {
    let none = nodes.iter().all(|word| *word == 0);
    let pointer = if none { core::ptr::null() } else { nodes.as_ptr() };
    let count: c_ulong = if none { 0 } else { 1025 };
    // SAFETY: the kernel reads at most `count - 1` bits of the live array, or nothing.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, count) }).map(drop)
}

/// `sched_setattr(0, attributes)`.
pub fn set_scheduler(s: &Scheduler) -> Result<()> {
    #[repr(C)]
    struct Attr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let attr = Attr {
        size: 48,
        policy: s.policy,
        flags: s.flags,
        nice: s.nice,
        priority: s.priority,
        runtime: s.runtime,
        deadline: s.deadline,
        period: s.period,
    };
    // SAFETY: the struct is version 0 of the kernel's sched_attr, 48 bytes, and only read.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// How a process is scheduled: sched_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Scheduler {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}
