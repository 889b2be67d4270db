//! Landlock: what the kernel denies the job beneath the mounts, and where it may write.
//!
//! One ruleset. It handles all that the kernel's ABI knows; the root is allowed what reads, and
//! what is mounted writable what writes. Rules hold for inodes and what is below them, so a right
//! that the root has cannot be taken back further down: there the mounts alone decide.

#![forbid(unsafe_code)]

use super::facts::Facts;
use super::policy::{LandlockChoice, Network, Policy};
use super::{Expect, MountStep, Root};
use crate::error::{Error, Kind, Result};
use std::path::Path;

/// `LANDLOCK_ACCESS_FS_*`, by ABI.
mod fs {
    pub(super) const EXECUTE: u64 = 1;
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    pub(super) const READ_FILE: u64 = 1 << 2;
    pub(super) const READ_DIR: u64 = 1 << 3;
    /// All of ABI 1: those above, and removing and making of seven kinds.
    pub(super) const FIRST: u64 = (1 << 13) - 1;
    /// Renaming and linking from one directory to another (ABI 2).
    pub(super) const REFER: u64 = 1 << 13;
    /// ABI 3.
    pub(super) const TRUNCATE: u64 = 1 << 14;
    /// ioctl on devices (ABI 5).
    pub(super) const IOCTL_DEV: u64 = 1 << 15;
}

/// bind and connect of TCP (ABI 4).
const TCP: u64 = 0b11;
/// Abstract UNIX sockets, and signals (ABI 6).
const SCOPES: u64 = 0b11;

/// What looks and does not change.
const READ: u64 = fs::EXECUTE | fs::READ_FILE | fs::READ_DIR;
/// What changes files.
const WRITE: u64 = (fs::FIRST & !READ) | fs::REFER | fs::TRUNCATE;
/// Writing into what is there already, in procfs.
const WRITE_INTO: u64 = fs::WRITE_FILE | fs::TRUNCATE;
/// Using devices and terminals.
const DEVICES: u64 = WRITE_INTO | fs::IOCTL_DEV;

/// The newest ABI that is made use of.
const NEWEST: u32 = 7;
/// The first that has all that this layer is for.
const WHOLE: u32 = 6;

/// `LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF` and `_LOG_SUBDOMAINS_OFF` (ABI 7): a job must not
/// be able to fill the host's audit log, be it by sandboxes of its own.
const QUIET: u32 = 0b101;

/// Its number.
const CAP_SYS_ADMIN: u32 = 21;

/// The ruleset, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landlock {
    /// The ABI that it is made for: the kernel's, up to the newest that is known here.
    pub abi: u32,
    /// Rights on files that are denied unless a rule allows them; 0: files are left alone.
    pub fs: u64,
    /// The same for TCP.
    pub net: u64,
    /// What ends at the jail: abstract sockets, signals.
    pub scoped: u64,
    /// Flags of landlock_restrict_self(2).
    pub flags: u32,
    /// Rights on the root and below.
    pub root: u64,
    /// Steps whose mount gets rights: which, and which rights.
    pub rules: Vec<(usize, u64)>,
}

/// The ruleset for this policy; `None` if there is nothing to be put into one.
pub(super) fn plan(
    policy: &Policy,
    facts: &Facts,
    caps: u64,
    root: &Root,
    steps: &[MountStep],
) -> Result<Option<Landlock>> {
    // A process that Landlock keeps from any file can mount nothing any more, which is what these
    // are for.
    let may_mount = policy.nested_userns || caps & (1 << CAP_SYS_ADMIN) != 0;
    match policy.landlock {
        LandlockChoice::Off => return Ok(None),
        LandlockChoice::Auto => {}
        LandlockChoice::Required => required(facts.landlock_abi, may_mount)?,
    }
    let abi = facts.landlock_abi.min(NEWEST);
    let since = |first: u32, rights: u64| if abi >= first { rights } else { 0 };
    // Not with ABI 1, which denies every rename from one directory to another.
    let known = since(2, fs::FIRST | fs::REFER) | since(3, fs::TRUNCATE) | since(5, fs::IOCTL_DEV);
    let handled = if may_mount { 0 } else { known };
    let net = if policy.network == Network::None { since(4, TCP) } else { 0 };
    let scoped = since(6, SCOPES);
    if handled | net | scoped == 0 {
        return Ok(None);
    }
    let mut rules = Vec::new();
    if handled != 0 {
        for (index, step) in steps.iter().enumerate() {
            let rights = rights(step, steps, policy.restricted.is_some()) & handled;
            if rights != 0 {
                rules.push((index, rights));
            }
        }
    }
    Ok(Some(Landlock {
        abi,
        fs: handled,
        net,
        scoped,
        flags: if abi >= 7 { QUIET } else { 0 },
        root: handled & if root.read_only { READ } else { READ | WRITE | DEVICES },
        rules,
    }))
}

/// Whoever requires Landlock wants all of it.
fn required(abi: u32, may_mount: bool) -> Result<()> {
    if may_mount {
        return Err(Error::new(
            Kind::InvalidConfig,
            "landlock=required, and mounts of the job's own, contradict each other",
        )
        .hint(
            "Landlock on files forbids every mount: leave out landlock=required, or \
             --nested-userns and --cap-add SYS_ADMIN",
        ));
    }
    let message = match abi {
        0 => "Landlock is required, and this kernel has none".to_owned(),
        1..WHOLE => format!(
            "Landlock is required, and this kernel's, ABI {abi}, does not cover all of files, TCP, \
             abstract sockets and signals"
        ),
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Unsupported, message).hint(
        "it takes Linux 6.12 with CONFIG_SECURITY_LANDLOCK, landlock in the list lsm= of the boot \
         parameters, and inside a container a seccomp profile that permits its calls; \
         landlock=auto does what can be done; stockade doctor says what is there",
    ))
}

/// What the mount of a step is given beyond what the root has.
fn rights(step: &MountStep, steps: &[MountStep], restricted: bool) -> u64 {
    match step {
        // Its devices and terminals; the directory itself is made read-only.
        MountStep::PoolDir { target, .. } if target == Path::new("/dev") => DEVICES,
        MountStep::PoolDir { target, attrs, .. } if !attrs.read_only => {
            let closed_later = steps
                .iter()
                .any(|s| matches!(s, MountStep::Remount { target: closed } if closed == target));
            if closed_later { 0 } else { WRITE }
        }
        MountStep::Filesystem { fstype, attrs, .. } if !attrs.read_only => match fstype.as_str() {
            // Its own memory, name and the like: no files, but written like them.
            "proc" if restricted => 0,
            "proc" => WRITE_INTO,
            // Below /dev.
            "devpts" => 0,
            _ => WRITE,
        },
        // By a rule of its own, since it is also the job's standard input, opened in the host's
        // /dev: /dev/stdin leads there.
        MountStep::Bind { expect: Expect::CharDevice(1, 3), .. } => DEVICES | fs::READ_FILE,
        // Below /dev.
        MountStep::Bind { expect: Expect::CharDevice(..), .. } => 0,
        MountStep::Bind { attrs, .. } if !attrs.read_only => WRITE,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy;
    use super::*;

    fn facts(abi: u32) -> Facts {
        Facts { landlock_abi: abi, ..Facts::of_a_test() }
    }

    fn job(change: impl FnOnce(&mut Policy)) -> Policy {
        let mut policy = Policy { command: vec!["true".to_owned()], ..Policy::default() };
        change(&mut policy);
        policy
    }

    fn planned(abi: u32, change: impl FnOnce(&mut Policy)) -> Option<Landlock> {
        policy::plan(&job(change), &facts(abi)).unwrap().landlock
    }

    #[test]
    fn each_abi_is_used_as_far_as_it_goes() {
        assert_eq!(planned(0, |_| {}), None);
        assert_eq!(planned(1, |_| {}), None, "ABI 1 would deny renames");
        let all = [
            (2, 0x3fff, 0, 0, 0),
            (3, 0x7fff, 0, 0, 0),
            (4, 0x7fff, 3, 0, 0),
            (5, 0xffff, 3, 0, 0),
            (6, 0xffff, 3, 3, 0),
            (7, 0xffff, 3, 3, 5),
        ];
        for (abi, fs, net, scoped, flags) in all {
            let l = planned(abi, |_| {}).unwrap();
            assert_eq!((l.abi, l.fs, l.net, l.scoped, l.flags), (abi, fs, net, scoped, flags));
            assert_eq!(l.root, READ);
            assert!(l.rules.iter().all(|(_, rights)| rights & !fs == 0), "ABI {abi}");
        }
        assert_eq!(planned(99, |_| {}).unwrap().abi, 7);
    }

    #[test]
    fn only_what_is_writable_is_given_rights_to_write() {
        let policy = job(|p| {
            p.volumes = ["/a", "/b"]
                .map(|target| policy::Volume {
                    source: "/src".into(),
                    target: target.into(),
                    read_only: target == "/a",
                    idmap: true,
                })
                .to_vec();
        });
        let plan = policy::plan(&policy, &facts(7)).unwrap();
        let rules = plan.landlock.unwrap().rules;
        let mut seen: Vec<(String, u64)> = rules
            .iter()
            .map(|(i, rights)| (plan.steps[*i].target().display().to_string(), *rights))
            .collect();
        seen.sort();
        let expected = [
            ("/b", WRITE),
            ("/dev", DEVICES),
            ("/dev/null", DEVICES | fs::READ_FILE),
            ("/dev/shm", WRITE),
            ("/proc", WRITE_INTO),
            ("/tmp", WRITE),
            ("/work", WRITE),
        ];
        assert_eq!(seen, expected.map(|(target, rights)| (target.to_owned(), rights)));
    }

    #[test]
    fn the_network_decides_about_tcp_and_a_writable_root_about_the_root() {
        assert_eq!(planned(7, |p| p.network = Network::Host).unwrap().net, 0);
        assert_eq!(planned(7, |p| p.read_only = false).unwrap().root, 0xffff);
    }

    #[test]
    fn a_job_that_may_mount_is_left_its_files() {
        for change in [
            |p: &mut Policy| p.nested_userns = true,
            |p: &mut Policy| {
                p.cap_add = vec!["SYS_ADMIN".to_owned()];
            },
        ] {
            let l = planned(7, change).unwrap();
            assert_eq!((l.fs, l.root, l.net, l.scoped), (0, 0, 3, 3));
            assert!(l.rules.is_empty());
            assert_eq!(planned(3, change), None);
        }
    }

    #[test]
    fn what_is_required_is_there_or_an_error() {
        let required = |p: &mut Policy| p.landlock = LandlockChoice::Required;
        assert!(planned(6, required).is_some());
        for (abi, part) in [(0, "this kernel has none"), (5, "ABI 5")] {
            let e = policy::plan(&job(required), &facts(abi)).unwrap_err();
            assert!(e.to_string().contains(part), "{e}");
            assert_eq!(e.exit_code(), 125);
        }
        let e = policy::plan(
            &job(|p| {
                required(p);
                p.nested_userns = true;
            }),
            &facts(7),
        );
        assert!(e.unwrap_err().to_string().contains("contradict"));
        assert_eq!(planned(7, |p| p.landlock = LandlockChoice::Off), None);
    }
}
