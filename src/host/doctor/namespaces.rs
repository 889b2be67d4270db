//! Each kind of namespace, made by clone3 as a jail makes it.

#![forbid(unsafe_code)]

use super::blockers::{self, Blocker, Effect, ids};
use super::kernel;
use super::report::{Findings, Need, Row};
use super::settings::Settings;
use crate::error::{Error, describe_errno};
use crate::host::idmap;
use crate::plan::MapWriter;
use crate::plan::ids as id_plan;
use crate::sys::probe::{Answers, Child};
use crate::sys::{cred, process};

const LAYER: &str = "namespaces";

/// A kind besides the user namespace.
struct Kind {
    name: &'static str,
    flag: u64,
    need: Need,
    blocker: &'static str,
    config: &'static str,
}

const fn kind(name: &'static str, flag: i32, blocker: &'static str, config: &'static str) -> Kind {
    Kind { name, flag: flag.cast_unsigned() as u64, need: Need::Run, blocker, config }
}

const KINDS: [Kind; 7] = [
    kind("mount", libc::CLONE_NEWNS, ids::NO_MOUNT_NAMESPACE, "CONFIG_NAMESPACES"),
    kind("pid", libc::CLONE_NEWPID, ids::NO_PID_NAMESPACE, "CONFIG_PID_NS"),
    kind("network", libc::CLONE_NEWNET, ids::NO_NETWORK_NAMESPACE, "CONFIG_NET_NS"),
    kind("ipc", libc::CLONE_NEWIPC, ids::NO_IPC_NAMESPACE, "CONFIG_IPC_NS"),
    kind("uts", libc::CLONE_NEWUTS, ids::NO_UTS_NAMESPACE, "CONFIG_UTS_NS"),
    kind("cgroup", libc::CLONE_NEWCGROUP, ids::NO_CGROUP_NAMESPACE, "CONFIG_CGROUPS"),
    Kind {
        name: "time",
        flag: process::CLONE_NEWTIME,
        need: Need::Option,
        blocker: ids::NO_TIME_NAMESPACE,
        config: "CONFIG_TIME_NS",
    },
];

pub(super) const NEWUSER: u64 = libc::CLONE_NEWUSER.cast_unsigned() as u64;

/// What became of a user namespace.
#[derive(Debug)]
pub(super) enum UserNamespace {
    /// Made, mapped, and its maker has rights in it.
    Works,
    /// clone3 was refused.
    Refused(i32),
    /// clone3 was refused, and clone(2) was not: it is the call and not the namespace.
    OnlyByClone(i32),
    /// Its id map was refused.
    NotMapped(Error),
    /// Made and mapped, and a right in it was refused.
    Powerless(i32),
}

pub(super) fn look(found: &mut Findings, host: &Settings) -> UserNamespace {
    let user = try_user(host);
    let row = match &user {
        UserNamespace::Works => Row::yes(Need::Run, "made, with its ids mapped"),
        UserNamespace::NotMapped(_) => Row::yes(Need::Run, "made; but see ids"),
        UserNamespace::Refused(e) => Row::no(Need::Run, describe_errno(*e)),
        UserNamespace::OnlyByClone(e) => {
            Row::no(Need::Run, format!("{} from clone3; clone makes one", describe_errno(*e)))
        }
        UserNamespace::Powerless(e) => {
            Row::no(Need::Run, format!("made, but without rights: {}", describe_errno(*e)))
        }
    };
    let explained = match &user {
        // That is the next layer's to tell.
        UserNamespace::NotMapped(_) => None,
        other => user_blocker(host, other),
    };
    found.add(LAYER, "user", row.because(|| explained.clone()));
    let with_user = match user {
        UserNamespace::Works | UserNamespace::NotMapped(_) => NEWUSER,
        // Root can make the others without it.
        _ => 0,
    };
    for kind in &KINDS {
        let errno = try_kind(kind, with_user);
        let row = Row::errno(kind.need, errno, "made");
        let blocker = || {
            // Without user namespaces nobody but root has any: that is said once.
            if with_user == 0 && !host.facts.privileged {
                return explained.clone();
            }
            Some(kind_blocker(kind, errno, host))
        };
        found.add(LAYER, kind.name, row.because(blocker));
    }
    user
}

/// What stops a jail's namespaces or their ids, for one failed set-up.
pub(super) fn blockers(host: &Settings) -> Vec<Blocker> {
    let user = try_user(host);
    if let Some(blocker) = user_blocker(host, &user) {
        return vec![blocker];
    }
    KINDS
        .iter()
        .filter(|k| k.need == Need::Run)
        .filter_map(|k| match try_kind(k, NEWUSER) {
            0 => None,
            errno => Some(kind_blocker(k, errno, host)),
        })
        .collect()
}

/// Makes one as a jail's: same clone, same maps.
fn try_user(host: &Settings) -> UserNamespace {
    let child = match Child::start(NEWUSER, None, powers, &()) {
        Ok(child) => child,
        Err(e) => return without_clone3(e.0),
    };
    let user = id_plan::plan(&host.facts, 65_534, 65_534);
    if let Err(e) = idmap::write_maps(child.pid(), &user) {
        return UserNamespace::NotMapped(e);
    }
    match child.ask().and_then(kernel::first) {
        Ok(()) => UserNamespace::Works,
        Err(e) => UserNamespace::Powerless(e.0),
    }
}

/// A filter cannot see clone3's flags, and so may refuse all of it, where of clone(2) it refuses
/// those that make namespaces: what that one answers says more.
fn without_clone3(errno: i32) -> UserNamespace {
    match Child::start_old(libc::CLONE_NEWUSER, kernel::nothing, &()) {
        Ok(_) if [libc::ENOSYS, libc::EPERM].contains(&errno) => UserNamespace::OnlyByClone(errno),
        Ok(_) => UserNamespace::Refused(errno),
        Err(e) => UserNamespace::Refused(e.0),
    }
}

/// Needs CAP_SETPCAP, which the maker of a user namespace has in it, unless a security module
/// has taken it away. CAP_CHOWN is 0.
fn powers(_: &()) -> Answers {
    kernel::only(cred::drop_bounding(0).map(drop))
}

fn try_kind(kind: &Kind, with: u64) -> i32 {
    Child::start(kind.flag | with, None, kernel::nothing, &())
        .and_then(|child| child.ask())
        .map_or_else(|e| e.0, |_| 0)
}

pub(super) fn user_blocker(host: &Settings, user: &UserNamespace) -> Option<Blocker> {
    match user {
        UserNamespace::Works => None,
        UserNamespace::Refused(e) => Some(blockers::no_user_namespace(host, *e, false)),
        UserNamespace::OnlyByClone(e) => Some(blockers::no_clone3(host, *e)),
        UserNamespace::Powerless(e) => Some(blockers::no_user_namespace(host, *e, true)),
        UserNamespace::NotMapped(e) => Some(not_mapped(host, e)),
    }
}

fn not_mapped(host: &Settings, error: &Error) -> Blocker {
    let blocks = |id, what: String, fix: &str| Blocker::new(id, Effect::Blocks, what, fix);
    let plan = id_plan::plan(&host.facts, 65_534, 65_534);
    if !host.has_proc {
        return blockers::no_proc(host, libc::ENOENT);
    }
    if !host.has_ids() {
        let wanted = plan.uids.first().map_or(0, |m| m.outside);
        return blocks(
            ids::IDS_OUTSIDE_NAMESPACE,
            format!(
                "this process is in a user namespace, as in a rootless container, that has not the \
                 ids from {wanted} on that a jail of root's maps to"
            ),
            "put 65536 ids that this namespace has (see /proc/self/uid_map) into its /etc/subuid and \
             /etc/subgid, as in root:100000:65536; or run stockade as an ordinary user in it",
        );
    }
    match plan.writer {
        MapWriter::Helpers => blocks(
            ids::IDS_HELPER,
            error.to_string(),
            "the helper says why: without an account in /etc/passwd it maps nothing; else make newuidmap \
             and newgidmap set-user-ID root again (reinstall the package uidmap), and check that \
             no_new_privs and a nosuid /usr do not undo it",
        ),
        _ if host.apparmor_restrict.is_some_and(|n| n > 0) && !host.facts.privileged => {
            blockers::no_user_namespace(host, libc::EPERM, true)
        }
        _ => blocks(
            ids::IDS_REFUSED,
            format!("the id map of a new user namespace was refused: {error}"),
            "user_namespaces(7) has the rules; a security module may add to them",
        ),
    }
}

fn kind_blocker(kind: &Kind, errno: i32, host: &Settings) -> Blocker {
    let effect = if kind.need == Need::Run { Effect::Blocks } else { Effect::Option };
    let name = kind.name;
    let (why, fix) = match errno {
        libc::EINVAL => (
            "the kernel was built without it".to_owned(),
            format!("run a kernel with {}=y", kind.config),
        ),
        libc::ENOSPC => (
            "there are too many, by a sysctl of this or an outer user namespace".to_owned(),
            format!("raise the sysctl user.max_{}_namespaces", sysctl_name(name)),
        ),
        _ if host.filtered => (
            format!("{}, most likely by a container's seccomp filter", describe_errno(errno)),
            "run the container with --security-opt seccomp=unconfined".to_owned(),
        ),
        _ => (describe_errno(errno), "look for a security module in the kernel's log".to_owned()),
    };
    Blocker::new(kind.blocker, effect, format!("no {name} namespace can be made: {why}"), fix)
}

fn sysctl_name(kind: &str) -> &str {
    match kind {
        "mount" => "mnt",
        "network" => "net",
        other => other,
    }
}
