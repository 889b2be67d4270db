//! Which processors a process may run on.

use super::{Result, check};
use libc::c_long;

/// A set of processors, up to number 1023.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus([u64; 16]);

impl Cpus {
    /// All: the kernel takes those that the caller's cpuset has.
    pub const ALL: Cpus = Cpus([u64::MAX; 16]);

    /// The processors of a bit mask.
    #[must_use]
    pub const fn of(mask: [u64; 16]) -> Cpus {
        Cpus(mask)
    }

    /// The set without this processor.
    #[must_use]
    pub fn without(mut self, cpu: u32) -> Cpus {
        if let Some(word) = usize::try_from(cpu / 64).ok().and_then(|n| self.0.get_mut(n)) {
            *word &= !(1 << (cpu % 64));
        }
        self
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

/// `sched_getaffinity(0)`: where this thread may run.
pub fn allowed() -> Result<Cpus> {
    let mut cpus = Cpus([0; 16]);
    // SAFETY: the kernel writes at most the size that is told to the live local.
    check(unsafe {
        libc::syscall(libc::SYS_sched_getaffinity, 0, size_of::<Cpus>(), cpus.0.as_mut_ptr())
    })?;
    Ok(cpus)
}

/// `sched_setaffinity(pid, cpus)`; 0 is the caller. One that waits to run elsewhere is moved.
pub fn allow(pid: i32, cpus: &Cpus) -> Result<()> {
    // SAFETY: the kernel reads the size that is told from the live struct.
    check(unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            c_long::from(pid),
            size_of::<Cpus>(),
            cpus.0.as_ptr(),
        )
    })
    .map(drop)
}

/// `getcpu()`: where the caller runs just now.
pub fn current() -> Result<u32> {
    let mut cpu = 0u32;
    // SAFETY: the kernel writes one word to the live local; the other pointers are null.
    check(unsafe {
        libc::syscall(
            libc::SYS_getcpu,
            &raw mut cpu,
            core::ptr::null_mut::<u32>(),
            core::ptr::null_mut::<u32>(),
        )
    })?;
    Ok(cpu)
}

/// Sends a process that has just been made to another processor than the caller's, if there is
/// one, and returns where it may run otherwise.
///
/// Linux starts a new process where its maker runs and moves it when the load differs for long
/// enough, which is longer than a launch takes: what is meant to go on side by side would take
/// turns. Only speed depends on it, so a failure is none.
pub fn send_elsewhere(pid: i32) -> Option<Cpus> {
    let all = allowed().ok()?;
    let others = all.without(current().ok()?);
    if others.is_empty() || allow(pid, &others).is_err() {
        return None;
    }
    Some(all)
}

/// Takes a process to the caller's processor that [`send_elsewhere`] has sent away and that has
/// not had its turn there: somebody computes, and it would wait for up to 3 ms.
pub fn bring_back(pid: i32) {
    let (Ok(all), Ok(here)) = (allowed(), current()) else { return };
    let mut only = Cpus([0; 16]);
    if let Some(word) = usize::try_from(here / 64).ok().and_then(|n| only.0.get_mut(n)) {
        *word = 1 << (here % 64);
    }
    // The first call moves it, the second lets the scheduler decide from here on. It may have
    // ended, and then there is nothing to move.
    let _ = allow(pid, &only);
    let _ = allow(pid, &all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_taken_out_of_the_set() {
        let all = allowed().unwrap();
        let here = current().unwrap();
        assert!(!all.is_empty());
        assert_ne!(all.without(here), all);
        assert_eq!(all.without(5000), all);
        let mut one = Cpus([0; 16]);
        one.0[1] = 1;
        assert!(one.without(64).is_empty());
    }
}
