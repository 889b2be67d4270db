//! All sixteen resource limits: a job inherits none of the caller's.

#![forbid(unsafe_code)]

/// A limit: its number (`RLIMIT_*`), soft and hard value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// What is in force.
    pub soft: u64,
    /// What the job may raise it to.
    pub hard: u64,
}

/// No limit.
pub const UNLIMITED: u64 = u64::MAX;

/// Names in the order of their numbers on x86-64 and arm64, with the defaults of a job: soft, hard.
///
/// Memory, processes and files are limited by the cgroup and the tmpfs: an address space
/// limit breaks V8 and the JVM, which reserve far more than they use. No core is dumped, and no
/// crash reaches the host's core_pattern handler: one behind a pipe, which runs as the host's
/// root, is started for every limit, 0 included, but not for exactly 1 (`do_coredump` in
/// fs/coredump.c), and for files 1 is less than the smallest core.
pub const DEFAULTS: [(&str, u64, u64); 16] = [
    ("cpu", UNLIMITED, UNLIMITED),
    ("fsize", UNLIMITED, UNLIMITED),
    ("data", UNLIMITED, UNLIMITED),
    ("stack", 8 << 20, UNLIMITED),
    ("core", 1, 1),
    ("rss", UNLIMITED, UNLIMITED),
    ("nproc", UNLIMITED, UNLIMITED),
    ("nofile", 1024, 524_288),
    ("memlock", 8 << 20, 8 << 20),
    ("as", UNLIMITED, UNLIMITED),
    ("locks", UNLIMITED, UNLIMITED),
    ("sigpending", 4096, 4096),
    ("msgqueue", 819_200, 819_200),
    ("nice", 0, 0),
    ("rtprio", 0, 0),
    ("rttime", UNLIMITED, UNLIMITED),
];

/// The limits of a job: the defaults, then what was asked for. A default never exceeds the
/// caller's hard limit, since an ordinary user could not set it. No core files means a limit of
/// 1, as above.
#[must_use]
pub fn plan(asked: &[Rlimit], caller_hard: &[u64; 16]) -> Vec<Rlimit> {
    (0u32..)
        .zip(DEFAULTS.iter().zip(caller_hard))
        .map(|(resource, ((_, soft, hard), cap))| {
            let cap = if resource == NOFILE { below(*cap) } else { *cap };
            asked.iter().rev().find(|r| r.resource == resource).copied().unwrap_or(Rlimit {
                resource,
                soft: (*soft).min(cap),
                hard: (*hard).min(cap),
            })
        })
        .map(|limit| {
            let least = u64::from(limit.resource == CORE && caller_hard[CORE as usize] > 0);
            Rlimit { soft: limit.soft.max(least), hard: limit.hard.max(least), ..limit }
        })
        .collect()
}

// In our own width: libc's constants are of another type with each C library.
/// `RLIMIT_CPU`.
pub const CPU: u32 = 0;
/// `RLIMIT_DATA`.
pub const DATA: u32 = 2;
/// `RLIMIT_CORE`.
const CORE: u32 = 4;
/// `RLIMIT_NPROC`.
pub const NPROC: u32 = 6;

/// `RLIMIT_NOFILE`.
pub const NOFILE: u32 = 7;

/// Less than the caller has, unless that is little. Descriptors on their way through a socket are
/// counted for all processes of a user together, and against the sender's limit (`too_many_unix_fds`
/// in net/unix): a jail that could have as many on their way as set-up may have would keep every
/// other jail from starting, whose ids are the same.
fn below(callers: u64) -> u64 {
    if callers < 2048 { callers } else { callers - callers / 4 }
}

/// The name of a limit.
#[must_use]
pub fn name(resource: u32) -> &'static str {
    usize::try_from(resource).ok().and_then(|n| DEFAULTS.get(n)).map_or("?", |d| d.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h16_all_sixteen_limits_are_set_and_none_is_inherited() {
        let limits = plan(&[Rlimit { resource: 7, soft: 5, hard: 6 }], &[UNLIMITED; 16]);
        assert_eq!(limits.len(), 16);
        assert_eq!(limits[7], Rlimit { resource: 7, soft: 5, hard: 6 });
        // Exactly 1 keeps a crash from the host's core handler (H17); 0 would not.
        assert_eq!(limits[4], Rlimit { resource: 4, soft: 1, hard: 1 });
        let asked = plan(&[Rlimit { resource: 4, soft: 0, hard: 0 }], &[UNLIMITED; 16]);
        assert_eq!(asked[4], limits[4]);
    }

    #[test]
    fn a_default_stays_below_what_an_ordinary_user_may_set() {
        let mut hard = [UNLIMITED; 16];
        hard[7] = 512;
        assert_eq!(plan(&[], &hard)[7], Rlimit { resource: 7, soft: 512, hard: 512 });
        hard[7] = 20_000;
        assert_eq!(plan(&[], &hard)[7], Rlimit { resource: 7, soft: 1024, hard: 15_000 });
    }
}
