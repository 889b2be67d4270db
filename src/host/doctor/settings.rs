//! The host's settings and the caller's state, read once: what turns an errno into a reason.

#![forbid(unsafe_code)]

use crate::error::Result;
use crate::host::probe::{self, read_bounded};
use crate::plan::facts::Facts;
use crate::plan::formats::mountinfo;
use crate::plan::ids::{self, IdMap};
use std::path::Path;

/// What was read. `None`: this kernel has no such setting, or it cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) facts: Facts,
    /// Kernel release, as the kernel says it.
    pub(super) release: String,
    /// user.max_user_namespaces of this user namespace.
    pub(super) max_user_namespaces: Option<u64>,
    /// Debian's kernel.unprivileged_userns_clone.
    pub(super) unprivileged_userns_clone: Option<u64>,
    /// Ubuntu's kernel.apparmor_restrict_unprivileged_userns.
    pub(super) apparmor_restrict: Option<u64>,
    /// Whether a seccomp filter is on this process already.
    pub(super) filtered: bool,
    /// Whether this process's root is no mount point: a chroot.
    pub(super) chrooted: bool,
    /// The ids of this user namespace, inside to outside.
    pub(super) uid_map: Vec<IdMap>,
    /// What is mounted below /proc and hides a part of it.
    pub(super) over_proc: Vec<String>,
    /// Whether /proc is a procfs at all.
    pub(super) has_proc: bool,
}

impl Settings {
    pub(super) fn read() -> Result<Settings> {
        let facts = probe::probe()?;
        let table = read_bounded(Path::new("/proc/self/mountinfo")).unwrap_or_default();
        let status = text("/proc/self/status");
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        Ok(Settings {
            facts,
            release: nix::sys::utsname::uname()
                .map(|u| u.release().to_string_lossy().into_owned())
                .unwrap_or_default(),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restrict: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            filtered: field("Seccomp") == "2",
            chrooted: !table.is_empty() && !is_mount_point(&table, "/"),
            uid_map: id_map(&text("/proc/self/uid_map")),
            over_proc: below(&table, "/proc/"),
            has_proc: !status.is_empty(),
        })
    }

    /// Whether this user namespace has all the ids that a jail's map names outside.
    pub(super) fn has_ids(&self) -> bool {
        let plan = ids::plan(&self.facts, 65_534, 65_534);
        plan.uids.iter().all(|m| {
            let last = m.outside.saturating_add(m.count - 1);
            self.uid_map.iter().any(|own| {
                m.outside >= own.inside && last <= own.inside.saturating_add(own.count - 1)
            })
        })
    }
}

/// A small file, lossily; empty if it cannot be read.
pub(super) fn text(path: &str) -> String {
    read_bounded(Path::new(path))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn number(path: &str) -> Option<u64> {
    text(path).trim().parse().ok()
}

fn id_map(text: &str) -> Vec<IdMap> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(str::parse::<u32>);
            let mut next = || words.next()?.ok();
            Some(IdMap { inside: next()?, outside: next()?, count: next()? })
        })
        .filter(|m| m.count > 0)
        .collect()
}

fn is_mount_point(table: &[u8], path: &str) -> bool {
    mountinfo::mounts(table).flatten().any(|m| *m.mount_point == *path.as_bytes())
}

/// Mount points below a directory. Those on directories that the kernel keeps empty for it, such
/// as binfmt_misc, hide nothing.
fn below(table: &[u8], directory: &str) -> Vec<String> {
    mountinfo::mounts(table)
        .flatten()
        .filter(|m| m.mount_point.starts_with(directory.as_bytes()))
        .filter(|m| !["binfmt_misc", "autofs", "nfsd"].iter().any(|t| *m.fstype == *t.as_bytes()))
        .map(|m| crate::plan::values::escape_bytes(&m.mount_point))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An ordinary user of a plain host.
    pub(in crate::host::doctor) fn facts() -> Facts {
        Facts {
            uid: 1000,
            gid: 1000,
            privileged: false,
            sub_ids: None,
            id_map_helpers: false,
            kernel: (6, 1),
            landlock_abi: 0,
            last_cap: 40,
            may_raise_limits: false,
            hard_rlimits: [u64::MAX; 16],
            toplevel: Vec::new(),
            cpus_online: Vec::new(),
            fresh_id: "test".into(),
        }
    }

    pub(in crate::host::doctor) fn settings() -> Settings {
        Settings {
            facts: facts(),
            release: "6.1.0".into(),
            max_user_namespaces: Some(1000),
            unprivileged_userns_clone: None,
            apparmor_restrict: None,
            filtered: false,
            chrooted: false,
            uid_map: vec![IdMap { inside: 0, outside: 0, count: u32::MAX }],
            over_proc: Vec::new(),
            has_proc: true,
        }
    }

    #[test]
    fn a_rootless_container_lacks_the_ids_that_root_outside_has() {
        let mut host = settings();
        assert!(host.has_ids());
        host.facts.privileged = true;
        assert!(host.has_ids());
        host.uid_map = id_map("0 1000 1\n1 100000 65536\n");
        assert!(!host.has_ids());
    }

    #[test]
    fn a_mount_below_proc_is_told_and_binfmt_misc_is_not() {
        let table = b"20 1 0:5 / / rw - ext4 x rw\n\
            21 20 0:6 / /proc rw - proc proc rw\n\
            22 21 0:7 /null /proc/kcore\\011x ro - tmpfs t rw\n\
            23 21 0:8 / /proc/sys/fs/binfmt_misc rw - autofs a rw\n";
        assert_eq!(below(table, "/proc/"), ["/proc/kcore\\tx"]);
        assert!(is_mount_point(table, "/"));
        assert!(!is_mount_point(table, "/usr"));
    }
}
