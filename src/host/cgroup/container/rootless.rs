//! What an ordinary user may lack, told by the names that `stockade doctor` has for it.

use super::{ContainerCgroup, Manager, Part};
use crate::error::{Error, Kind};
use crate::host::doctor::blockers::ids;
use crate::plan::formats::cgroup;
use crate::sys::cred;
use oci_spec::runtime::LinuxResources;

/// For a cgroup that may not be made.
pub(super) const NOT_DELEGATED: &str = "no cgroup above it is this user's (cgroup-no-delegation): leave \
     linux.cgroupsPath away, call stockade in a delegated one (systemd-run --user --scope -p Delegate=yes \
     stockade ...), or say --systemd-cgroup, with which the user's own systemd makes it";

/// For device rules that may not be set.
pub(super) const NO_DEVICE_RULES: &str =
    "only root sets device rules (no-device-rules): take linux.resources.devices out";

/// A part of the cgroups that a container has not.
pub(super) fn no_cgroup(group: &ContainerCgroup, controller: &str, what: &str) -> Error {
    if group.parts.is_empty() && group.manager != Manager::Disabled {
        let text = format!(
            "{what}: the container has no cgroup, since no cgroup is delegated to this user ({})",
            ids::CGROUP_NO_DELEGATION
        );
        return Error::new(Kind::Unsupported, text).hint(
            "make it in a delegated one (systemd-run --user --scope -p Delegate=yes stockade ...), or with \
             --systemd-cgroup by the user's own systemd",
        );
    }
    if controller.is_empty() || group.parts.is_empty() {
        return Error::new(Kind::Unsupported, format!("{what}: the container has no cgroup"))
            .hint("it was made with --cgroup-manager disabled, or its cgroup is gone");
    }
    let text = format!("{what}: the container has no cgroup of the {controller} controller");
    Error::new(Kind::Unsupported, text)
        .hint("/proc/cgroups and /proc/self/mounts show the controllers that are mounted")
}

/// For a controller that a cgroup of v2 has not.
pub(super) fn how_to_get(controller: &str) -> String {
    if cred::euid() == 0 {
        return format!(
            "enable it from the root down: echo +{controller} > /sys/fs/cgroup/cgroup.subtree_control"
        );
    }
    format!(
        "it is not delegated to this user ({}): root gives it with Delegate={controller} and the others in \
         a drop-in of user@.service, or by cgroup.subtree_control of every cgroup above",
        ids::CGROUP_CONTROLLER
    )
}

/// That device rules have no effect, if some were asked for that forbid or allow something special:
/// denying everything is what every configuration begins with, and an ordinary user makes no nodes.
pub(super) fn device_warning(asked: &LinuxResources, e: &Error) -> Option<String> {
    let plain = |rule: &oci_spec::runtime::LinuxDeviceCgroup| {
        !rule.allow()
            && rule.major().is_none_or(|n| n == -1)
            && rule.minor().is_none_or(|n| n == -1)
    };
    let special = asked.devices().iter().flatten().any(|rule| !plain(rule));
    special.then(|| format!("device rules are not set ({}): {e}", ids::NO_DEVICE_RULES))
}

/// A process cannot be put into a cgroup, since nothing that it has in common with the caller's is the
/// caller's (`cgroup_procs_write_permission` of the kernel).
pub(crate) fn no_way_into(path: &str) -> Error {
    let own = std::fs::read("/proc/self/cgroup").unwrap_or_default();
    let own =
        cgroup::parse(&own).ok().and_then(|c| Some(String::from_utf8_lossy(c.v2?).into_owned()));
    let text = format!(
        "put a process into the cgroup {path}: this program is in {}, and no cgroup above both is this \
         user's ({})",
        own.as_deref().unwrap_or("another part"),
        ids::CGROUP_NO_DELEGATION
    );
    Error::new(Kind::Permission, text).hint(
        "call it from within the delegated cgroup (systemd-run --user --scope stockade ...); into containers \
         of --systemd-cgroup the user's own systemd moves it",
    )
}

/// Whether this process may put one there.
pub(super) fn may_move_to(part: &Part, to: &str) -> bool {
    let Ok(text) = std::fs::read("/proc/self/cgroup") else { return true };
    let Some(own) = cgroup::parse(&text).ok().and_then(|c| c.v2) else { return true };
    let own = String::from_utf8_lossy(own);
    let (mut own, mut to) = (own.split('/').filter(|p| !p.is_empty()), to.split('/'));
    let mut common = String::from("cgroup.procs");
    let mut above = String::new();
    while let (Some(a), Some(b)) = (own.next(), to.next())
        && a == b
    {
        above = if above.is_empty() { a.to_owned() } else { format!("{above}/{a}") };
        common = format!("{above}/cgroup.procs");
    }
    part.top.open_file(&common, libc::O_WRONLY).is_ok()
}
