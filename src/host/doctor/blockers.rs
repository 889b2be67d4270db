//! Known blockers: an id that stays, a sentence, and what mends it. PURE but for the words: which
//! errno under which settings means what.

#![forbid(unsafe_code)]

use super::report::printable;
use super::settings::Settings;
use crate::error::describe_errno;
use serde::Serialize;

/// What a blocker does to a default jail; the last is the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Only an option is missing.
    Option,
    /// It runs with less.
    Degrades,
    /// It does not run.
    Blocks,
}

/// Something known to stand in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocker {
    /// Its name, one of [`ids`].
    pub id: &'static str,
    /// How bad it is.
    pub effect: Effect,
    /// What it is, in a sentence.
    pub what: String,
    /// The command or setting that mends it.
    pub fix: String,
}

impl Blocker {
    pub(super) fn new(
        id: &'static str,
        effect: Effect,
        what: impl AsRef<str>,
        fix: impl AsRef<str>,
    ) -> Blocker {
        Blocker { id, effect, what: printable(what.as_ref()), fix: printable(fix.as_ref()) }
    }

    /// For the hint of an error.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!("{} ({}); {}", self.what, self.id, self.fix)
    }
}

/// The names. docs/doctor.md lists them all, and a test sees to it.
#[allow(missing_docs)] // each name says it, and the sentence more
pub mod ids {
    pub const KERNEL_TOO_OLD: &str = "kernel-too-old";
    pub const KERNEL_WITHOUT_USERNS: &str = "kernel-without-userns";
    pub const CALL_MISSING: &str = "call-missing";
    pub const CLONE3_FILTERED: &str = "clone3-filtered";
    pub const USERNS_SYSCTL_MAX: &str = "userns-sysctl-max";
    pub const USERNS_LIMIT: &str = "userns-limit";
    pub const USERNS_SYSCTL_CLONE: &str = "userns-sysctl-clone";
    pub const USERNS_APPARMOR: &str = "userns-apparmor";
    pub const USERNS_CHROOT: &str = "userns-chroot";
    pub const USERNS_SECCOMP: &str = "userns-seccomp";
    pub const USERNS_DENIED: &str = "userns-denied";
    pub const IDS_OUTSIDE_NAMESPACE: &str = "ids-outside-namespace";
    pub const IDS_REFUSED: &str = "ids-refused";
    pub const IDS_HELPER: &str = "ids-helper";
    pub const NO_SUBORDINATE_IDS: &str = "no-subordinate-ids";
    pub const ROOT_WITHOUT_CAPABILITIES: &str = "root-without-capabilities";
    pub const NO_MOUNT_NAMESPACE: &str = "no-mount-namespace";
    pub const NO_PID_NAMESPACE: &str = "no-pid-namespace";
    pub const NO_NETWORK_NAMESPACE: &str = "no-network-namespace";
    pub const NO_IPC_NAMESPACE: &str = "no-ipc-namespace";
    pub const NO_UTS_NAMESPACE: &str = "no-uts-namespace";
    pub const NO_CGROUP_NAMESPACE: &str = "no-cgroup-namespace";
    pub const NO_TIME_NAMESPACE: &str = "no-time-namespace";
    pub const PROC_NOT_MOUNTED: &str = "proc-not-mounted";
    pub const PROC_MASKED: &str = "proc-masked";
    pub const PROC_REFUSED: &str = "proc-refused";
    pub const MOUNTS_OF_ANOTHER: &str = "mounts-of-another";
    pub const MOUNT_REFUSED: &str = "mount-refused";
    pub const NO_IDMAPPED_MOUNTS: &str = "no-idmapped-mounts";
    pub const CGROUP_NONE: &str = "cgroup-none";
    pub const CGROUP_READ_ONLY: &str = "cgroup-read-only";
    pub const CGROUP_NO_DELEGATION: &str = "cgroup-no-delegation";
    pub const CGROUP_BUSY: &str = "cgroup-busy";
    pub const CGROUP_CONTROLLER: &str = "cgroup-controller";
    pub const CGROUP_REFUSED: &str = "cgroup-refused";
    pub const NO_USER_MANAGER: &str = "no-user-manager";
    pub const NO_DEVICE_RULES: &str = "no-device-rules";
    pub const NO_LOWER_OOM_SCORE: &str = "no-lower-oom-score";
    pub const NO_NETWORK_DEVICES: &str = "no-network-devices";
    pub const SECCOMP_FILTER: &str = "no-seccomp-filter";
    pub const FAILED: &str = "setup-failed";
    pub const DEGRADED: &str = "setup-degraded";
}

/// Why there is no user namespace: its clone3 was refused with this errno, or (`powerless`) it was
/// made and gave no rights.
pub(super) fn no_user_namespace(host: &Settings, errno: i32, powerless: bool) -> Blocker {
    let blocks = |id, what: String, fix: &str| Blocker::new(id, Effect::Blocks, what, fix);
    let said = describe_errno(errno);
    if errno == libc::ENOSYS {
        return no_clone3(host, errno);
    }
    if errno == libc::EINVAL && !powerless {
        return blocks(
            ids::KERNEL_WITHOUT_USERNS,
            "this kernel was built without user namespaces".into(),
            "run a kernel with CONFIG_USER_NS=y; as root, stockade jail --userns=host may do",
        );
    }
    if errno == libc::ENOSPC || errno == libc::EUSERS {
        return match host.max_user_namespaces {
            Some(0) => blocks(
                ids::USERNS_SYSCTL_MAX,
                "the sysctl user.max_user_namespaces is 0: nobody may make a user namespace here"
                    .into(),
                "sysctl -w user.max_user_namespaces=15000, and the same in a file of /etc/sysctl.d",
            ),
            limit => blocks(
                ids::USERNS_LIMIT,
                format!(
                    "no more user namespaces: the sysctl user.max_user_namespaces ({}) of this or an \
                     outer user namespace is used up, or they are nested 32 deep",
                    limit.map_or_else(|| "not readable".to_owned(), |n| n.to_string())
                ),
                "raise user.max_user_namespaces where the host's root may, outside of containers",
            ),
        };
    }
    if host.unprivileged_userns_clone == Some(0) && !host.facts.privileged {
        return blocks(
            ids::USERNS_SYSCTL_CLONE,
            "the sysctl kernel.unprivileged_userns_clone is 0: only root may make a user namespace"
                .into(),
            "sysctl -w kernel.unprivileged_userns_clone=1, and the same in a file of /etc/sysctl.d",
        );
    }
    if host.apparmor_restrict.is_some_and(|n| n > 0) && !host.facts.privileged {
        return blocks(
            ids::USERNS_APPARMOR,
            "the sysctl kernel.apparmor_restrict_unprivileged_userns is 1 (Ubuntu 24.04): user \
             namespaces of programs without an AppArmor profile get no rights"
                .into(),
            "give stockade a profile: put \"abi <abi/4.0>, include <tunables/global> profile stockade \
             /usr/local/bin/stockade flags=(unconfined) { userns, }\" into /etc/apparmor.d/stockade and \
             run apparmor_parser -r on it; or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        );
    }
    if host.chrooted {
        return blocks(
            ids::USERNS_CHROOT,
            "this process is in a chroot, in which the kernel gives no user namespace".into(),
            "start it outside, or enter the directory by pivot_root, as containers do (bwrap, nspawn)",
        );
    }
    if host.filtered {
        return blocks(
            ids::USERNS_SECCOMP,
            format!(
                "a seccomp filter, most likely that of a container around this process, refuses \
                 user namespaces ({said}), though the sysctls allow them"
            ),
            "give the container a profile that allows clone3, unshare, mount and their like (docker, \
             podman: --security-opt seccomp=unconfined; a jail of stockade: --nested-userns)",
        );
    }
    let how = if powerless { "are made but give no rights" } else { "are refused" };
    blocks(
        ids::USERNS_DENIED,
        format!("user namespaces {how} ({said}), and no sysctl says why"),
        "look for a security module (SELinux, AppArmor, a BPF LSM) in the kernel's log and audit log",
    )
}

/// Why clone3 itself does not work, without any namespace: the kernel's never fails so.
pub(super) fn no_clone3(host: &Settings, errno: i32) -> Blocker {
    if let Some(old) = too_old(host) {
        return old;
    }
    Blocker::new(
        ids::CLONE3_FILTERED,
        Effect::Blocks,
        format!(
            "the kernel ({}) has clone3, and here it answers \"{}\": that is a container's seccomp \
             filter, as Docker's for a container without CAP_SYS_ADMIN",
            host.release,
            describe_errno(errno)
        ),
        "run the container with --cap-add SYS_ADMIN, or with --security-opt seccomp=unconfined or a \
         profile that allows clone3",
    )
}

/// Calls that are not there, although the kernel is new enough to have them.
pub(super) fn no_call(calls: &str) -> Blocker {
    Blocker::new(
        ids::CALL_MISSING,
        Effect::Blocks,
        format!(
            "calls that every jail makes are missing here: {calls}; a seccomp filter hides them"
        ),
        "run the container with --security-opt seccomp=unconfined, or a profile that allows them",
    )
}

/// Kernels below 5.12 lack mount_setattr.
pub(super) fn too_old(host: &Settings) -> Option<Blocker> {
    (host.facts.kernel < (5, 12)).then(|| {
        Blocker::new(
            ids::KERNEL_TOO_OLD,
            Effect::Blocks,
            format!("Linux {} is older than 5.12, which a jail's mounts need", host.release),
            "run a newer kernel; docs/kernel-features.md says what each version brings",
        )
    })
}

/// Root in a container without the capabilities that make it root.
pub(super) fn weak_root(host: &Settings) -> Option<Blocker> {
    (host.facts.uid == 0 && !host.facts.privileged).then(|| {
        Blocker::new(
            ids::ROOT_WITHOUT_CAPABILITIES,
            Effect::Degrades,
            "this is root without CAP_SYS_ADMIN, CAP_SETUID or CAP_SETGID, as in a container: it is \
             treated as an ordinary user",
            "run the container with --cap-add SYS_ADMIN (and its defaults SETUID and SETGID)",
        )
    })
}

/// Why procfs cannot be mounted in a new pid and user namespace.
pub(super) fn no_proc(host: &Settings, errno: i32) -> Blocker {
    if !host.has_proc {
        return Blocker::new(
            ids::PROC_NOT_MOUNTED,
            Effect::Blocks,
            "/proc is not mounted here, and a jail's own is only given to who sees one",
            "mount -t proc proc /proc",
        );
    }
    if errno == libc::EPERM && !host.over_proc.is_empty() {
        let some: Vec<&str> = host.over_proc.iter().take(3).map(String::as_str).collect();
        let more = host.over_proc.len() - some.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Blocker::new(
            ids::PROC_MASKED,
            Effect::Blocks,
            format!(
                "/proc is masked by mounts on {}{more}, as container runtimes do it: the kernel gives \
                 a new procfs only where a whole one is seen",
                some.join(", ")
            ),
            "run the container with a whole /proc (docker: --security-opt systempaths=unconfined; \
             podman: --security-opt unmask=ALL; Kubernetes: procMount: Unmasked with hostUsers: false)",
        );
    }
    Blocker::new(
        ids::PROC_REFUSED,
        Effect::Blocks,
        format!("procfs cannot be mounted in a new pid namespace: {}", describe_errno(errno)),
        "a read-only /proc or a security module may be why: see the kernel's log",
    )
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    fn of(change: impl FnOnce(&mut Settings), errno: i32) -> &'static str {
        let mut host = settings();
        change(&mut host);
        no_user_namespace(&host, errno, false).id
    }

    #[test]
    fn each_way_to_lose_user_namespaces_has_its_name() {
        let (no, full) = (libc::EPERM, libc::ENOSPC);
        assert_eq!(of(|h| h.max_user_namespaces = Some(0), full), "userns-sysctl-max");
        assert_eq!(of(|_| (), full), "userns-limit");
        assert_eq!(of(|h| h.unprivileged_userns_clone = Some(0), no), "userns-sysctl-clone");
        assert_eq!(of(|h| h.apparmor_restrict = Some(1), no), "userns-apparmor");
        assert_eq!(of(|h| h.apparmor_restrict = Some(1), libc::EACCES), "userns-apparmor");
        assert_eq!(of(|h| h.chrooted = true, no), "userns-chroot");
        assert_eq!(of(|h| h.filtered = true, no), "userns-seccomp");
        assert_eq!(of(|_| (), no), "userns-denied");
        assert_eq!(of(|_| (), libc::EINVAL), "kernel-without-userns");
        assert_eq!(of(|_| (), libc::ENOSYS), "clone3-filtered");
        assert_eq!(of(|h| h.facts.kernel = (5, 2), libc::ENOSYS), "kernel-too-old");
    }

    #[test]
    fn a_sysctl_that_is_off_or_does_not_bind_root_is_not_blamed() {
        assert_eq!(of(|h| h.apparmor_restrict = Some(0), libc::EPERM), "userns-denied");
        let root = |h: &mut Settings| {
            h.facts.privileged = true;
            h.unprivileged_userns_clone = Some(0);
            h.filtered = true;
        };
        assert_eq!(of(root, libc::EPERM), "userns-seccomp");
    }

    #[test]
    fn t41_a_mount_point_with_control_characters_is_escaped() {
        let mut host = settings();
        host.over_proc = vec!["/proc/a\u{1b}[2J".into(), "/proc/b".into()];
        let blocker = no_proc(&host, libc::EPERM);
        assert_eq!(blocker.id, "proc-masked");
        assert!(blocker.what.contains("/proc/a\\u{1b}[2J, /proc/b,"), "{}", blocker.what);
        assert_eq!(no_proc(&host, libc::ENODEV).id, "proc-refused");
    }

    #[test]
    fn every_blocker_is_in_the_documentation() {
        let source = include_str!("blockers.rs");
        let doc = include_str!("../../../docs/doctor.md");
        let names: Vec<&str> = source
            .lines()
            .filter_map(|l| l.trim().strip_prefix("pub const ")?.split('"').nth(1))
            .collect();
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            assert!(doc.contains(&format!("`{name}`")), "{name} is not in docs/doctor.md");
        }
    }
}
