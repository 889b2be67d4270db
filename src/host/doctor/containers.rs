//! What containers of `stockade run` may be given here, besides what a jail needs: what an ordinary
//! user cannot have.

#![forbid(unsafe_code)]

use super::blockers::{Blocker, Effect, ids};
use super::kernel;
use super::report::{Findings, Need, Row, State};
use super::settings::Settings;
use crate::host::cgroup::{container, systemd};
use crate::host::container::in_user_namespace;
use crate::sys::probe::Answers;
use crate::sys::{fs, io};
use std::os::fd::AsFd;
use std::path::Path;

const LAYER: &str = "containers";

pub(super) fn look(found: &mut Findings, host: &Settings) {
    let root = host.facts.uid == 0 && !in_user_namespace();
    look_at_systemd(found, root);
    let option = |id, what: &str, fix: &str| Some(Blocker::new(id, Effect::Option, what, fix));
    // On v1 it is the right to write to the devices controller, which is never delegated.
    let row = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let errno = container::try_to_load().map_or_else(|e| e.0, |()| 0);
        Row::errno(Need::Option, errno, "a device program was loaded")
    } else if root {
        Row::yes(Need::Option, "v1: root sets them")
    } else {
        Row::no(Need::Option, "v1: only root sets them")
    };
    let why = || {
        option(
            ids::NO_DEVICE_RULES,
            "linux.resources.devices cannot be enforced: it takes CAP_BPF or root. Containers of an \
             ordinary user cannot make device nodes, and open what the user may",
            "run the container as root",
        )
    };
    found.add(LAYER, "device rules", row.because(why));
    let errno = kernel::in_plain_child(lower).and_then(kernel::first).map_or_else(|e| e.0, |()| 0);
    let why = || {
        option(
            ids::NO_LOWER_OOM_SCORE,
            "process.oomScoreAdj cannot be lower than this process's own: that takes CAP_SYS_RESOURCE",
            "run the container as root with that capability, or take it out of config.json",
        )
    };
    let row = Row::errno(Need::Option, errno, "a child's score was lowered");
    found.add(LAYER, "lower oom score", row.because(why));
    let row = if root {
        Row::yes(Need::Option, "root moves them")
    } else {
        Row::no(Need::Option, "only root takes them from the host")
    };
    let why = || {
        option(
            ids::NO_NETWORK_DEVICES,
            "linux.netDevices needs root: network devices are the host's",
            "run the container as root, or let slirp4netns or pasta give it a network, as Podman does",
        )
    };
    found.add(LAYER, "network devices", row.because(why));
}

/// Who would make a scope with `--systemd-cgroup`.
fn look_at_systemd(found: &mut Findings, root: bool) {
    if !Path::new("/run/systemd/system").is_dir() {
        let row = Row::new(State::No, Need::Info, "systemd does not run on this host");
        found.add(LAYER, "systemd", row);
        return;
    }
    let row = match systemd::version(!root) {
        Ok(version) => {
            let whose = if root { "the system's" } else { "this user's own" };
            Row::yes(Need::Option, format!("{whose} manager answers: {version}"))
        }
        Err(e) => Row::no(Need::Option, e.to_string()),
    };
    let why = || {
        Some(Blocker::new(
            ids::NO_USER_MANAGER,
            Effect::Option,
            "systemd makes no cgroup for this user (--systemd-cgroup): its manager does not answer on \
             the bus",
            "as root: apt install dbus-user-session, and loginctl enable-linger USER; log in by ssh or \
             machinectl, not by su, or set XDG_RUNTIME_DIR=/run/user/UID",
        ))
    };
    found.add(LAYER, "systemd", row.because(why));
}

/// In the child.
fn lower(_: &()) -> Answers {
    let file = fs::open_at(fs::cwd(), c"/proc/self/oom_score_adj", libc::O_WRONLY, 0);
    kernel::only(file.and_then(|file| io::write_whole(file.as_fd(), b"-1000")))
}
