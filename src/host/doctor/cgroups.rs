//! cgroups: which version, and for each controller a group that is made with its limit and removed
//! again, by the code that makes a run's.

#![forbid(unsafe_code)]

use super::blockers::{Blocker, Effect, ids};
use super::kernel;
use super::report::{Findings, Need, Row, State};
use super::settings::{Settings, text};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::find::{CGROUP1_MAGIC, CGROUP2_MAGIC};
use crate::host::cgroup::{Cgroup, Found, NONE_HERE};
use crate::plan::formats::mountinfo;
use crate::plan::{CPU_PERIOD_US, Resources};
use crate::sys::probe::{Answers, Child};
use crate::sys::{fs, io, probe};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const LAYER: &str = "cgroups";

pub(super) fn look(found: &mut Findings, host: &Settings) {
    let mounted = Mounted::read();
    let (version, state) = match (mounted.v1, mounted.v2) {
        (false, false) => ("none is mounted", State::No),
        (true, false) => ("v1", State::Yes),
        (false, true) => ("v2", State::Yes),
        (true, true) => ("v1 and v2 (hybrid)", State::Yes),
    };
    let row = Row::new(state, Need::Limits, version).value(match (mounted.v1, mounted.v2) {
        (true, _) => 1,
        (false, true) => 2,
        _ => 0,
    });
    let failed = attempt(host, &every()).err();
    let why = || failed.as_ref().map(|e| explain(host, &mounted, e));
    found.add(LAYER, "version", row.because(why));
    for (controller, need, resources) in controllers() {
        let row = match attempt(host, &resources) {
            Ok(group) => {
                let version = group.version().unwrap_or_default();
                Row::yes(need, format!("{version}: a limit was set"))
            }
            Err(e) => Row::no(need, reason(&e)),
        };
        let why = || {
            let error = attempt(host, &resources).err()?;
            let mut blocker = explain(host, &mounted, &error);
            if need == Need::Option {
                blocker.effect = Effect::Option;
            }
            Some(blocker)
        };
        found.add(LAYER, controller, row.because(why));
    }
    look_at_joining(found, host);
}

/// What stops a jail's limits, for one failed set-up.
pub(super) fn blocker(host: &Settings) -> Option<Blocker> {
    // Without /proc nothing is known of them, and the error says so itself.
    if !host.has_proc {
        return None;
    }
    let error = attempt(host, &every()).err()?;
    Some(explain(host, &Mounted::read(), &error))
}

/// The limits of a default jail, as far as they are by cgroup.
fn every() -> Resources {
    Resources {
        memory: Some(512 << 20),
        memory_swap: Some(512 << 20),
        cpu_quota_us: Some(CPU_PERIOD_US),
        pids: Some(64),
        ..Resources::default()
    }
}

fn controllers() -> [(&'static str, Need, Resources); 4] {
    let none = Resources::default;
    let own = text("/proc/self/status");
    let cpus = own.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:"));
    let cpus = cpus.map_or_else(|| "0".to_owned(), |l| l.trim().to_owned());
    let memory = Some(512 << 20);
    [
        ("memory", Need::Limits, Resources { memory, memory_swap: memory, ..none() }),
        ("cpu", Need::Limits, Resources { cpu_quota_us: Some(CPU_PERIOD_US), ..none() }),
        ("pids", Need::Limits, Resources { pids: Some(64), ..none() }),
        ("cpuset", Need::Option, Resources { cpuset: Some(cpus), ..none() }),
    ]
}

/// Makes a group with these limits. Dropped, it is gone.
fn attempt(host: &Settings, resources: &Resources) -> Result<Cgroup> {
    let id = format!("doctor-{}", host.facts.fresh_id);
    Cgroup::create(&id, resources, Found::look(resources))
}

/// A child goes into a group: at its birth (v2), or by writing itself into it (v1).
fn look_at_joining(found: &mut Findings, host: &Settings) {
    let allowed = Resources { allow_degraded: true, ..every() };
    let Ok(group) = attempt(host, &allowed) else { return };
    let (name, joined) = match group.clone_into() {
        Some(directory) => (
            "clone into cgroup",
            Child::start(0, Some(directory), kernel::nothing, &()).and_then(Child::ask),
        ),
        None => match group.tasks() {
            Ok(tasks) if !tasks.is_empty() => {
                ("join", Child::start_old(0, join, &tasks).and_then(Child::ask))
            }
            _ => {
                let row = Row::new(State::Unknown, Need::Limits, "there is no group to join");
                found.add(LAYER, "join", row);
                return;
            }
        },
    };
    let errno = joined.and_then(kernel::first).map_or_else(|e| e.0, |()| 0);
    let row = Row::errno(Need::Limits, errno, "a child was in a new cgroup");
    let why = || {
        Some(Blocker::new(
            ids::CGROUP_REFUSED,
            Effect::Blocks,
            format!("a child cannot join a new cgroup: {}", crate::error::describe_errno(errno)),
            "Linux 5.7 or newer is needed for v2, and the right to write cgroup.procs of the \
             cgroup that both are in",
        ))
    };
    found.add(LAYER, name, row.because(why));
}

/// In the child; `0` is the writer itself.
fn join(tasks: &Vec<OwnedFd>) -> Answers {
    for file in tasks {
        if let Err(e) = io::write_whole(file.as_fd(), b"0") {
            return kernel::only(Err(e));
        }
    }
    kernel::only(Ok(()))
}

/// What is mounted.
struct Mounted {
    v1: bool,
    v2: bool,
    /// Whether the place that a group would be made in is mounted read-only.
    read_only: bool,
    /// Where, for the sentence.
    place: String,
}

impl Mounted {
    fn read() -> Mounted {
        let table = crate::host::probe::read_bounded(Path::new("/proc/self/mountinfo"));
        let table = table.unwrap_or_default();
        let mut found =
            Mounted { v1: false, v2: false, read_only: false, place: "/sys/fs/cgroup".into() };
        for mount in mountinfo::mounts(&table).flatten() {
            let has =
                |c: &str| mount.super_options.split(|b| *b == b',').any(|o| o == c.as_bytes());
            let v1 = *mount.fstype == *b"cgroup" && has("pids");
            let v2 = *mount.fstype == *b"cgroup2";
            if !v1 && !v2 {
                continue;
            }
            let Some(read_only) = seen(&mount.mount_point) else { continue };
            found.v1 |= v1;
            found.v2 |= v2;
            // Where v1 has controllers it is what a run takes.
            if v1 || !found.v1 {
                found.place = crate::plan::values::escape_bytes(&mount.mount_point);
                found.read_only = read_only;
            }
        }
        found
    }
}

/// Whether what is seen at a cgroup mount point is read-only; `None` if it is no cgroup file
/// system, but something mounted over it.
fn seen(path: &[u8]) -> Option<bool> {
    let path = std::ffi::CString::new(path).ok()?;
    let dir = fs::open_at(fs::cwd(), &path, libc::O_RDONLY | libc::O_DIRECTORY, 0).ok()?;
    let magic = fs::statfs(dir.as_fd()).ok()?.magic;
    let is_cgroup = magic == CGROUP1_MAGIC || magic == CGROUP2_MAGIC;
    is_cgroup.then(|| probe::is_read_only(dir.as_fd()).unwrap_or(false))
}

/// The cause alone: that none can be made is what the row or the sentence says.
fn reason(error: &Error) -> String {
    let whole = error.to_string();
    whole.strip_prefix(NONE_HERE).unwrap_or(&whole).trim_start_matches(": ").to_owned()
}

fn explain(host: &Settings, mounted: &Mounted, error: &Error) -> Blocker {
    let degrades = |id, what: String, fix: &str| Blocker::new(id, Effect::Degrades, what, fix);
    let place = &mounted.place;
    if !mounted.v1 && !mounted.v2 {
        return degrades(
            ids::CGROUP_NONE,
            "no cgroup file system is mounted: there is nothing to set limits by".into(),
            "mount -t cgroup2 none /sys/fs/cgroup",
        );
    }
    if mounted.read_only || error.errno() == Some(libc::EROFS) {
        return degrades(
            ids::CGROUP_READ_ONLY,
            format!(
                "the cgroup file system at {place} is mounted read-only, as in most containers"
            ),
            "mount -o remount,rw it where you may, or run the container with a writable one (docker: \
             --privileged, or -v /sys/fs/cgroup:/sys/fs/cgroup:rw with --cgroupns=host; podman: \
             --security-opt unmask=/sys/fs/cgroup)",
        );
    }
    match error.errno() {
        Some(libc::EACCES | libc::EPERM) if mounted.v1 => degrades(
            ids::CGROUP_NO_DELEGATION,
            format!("this user may not make a cgroup in {place}, and cgroup v1 is not delegated"),
            "run as root, or boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1) and \
             systemd-run --user --scope -p Delegate=yes stockade ...",
        ),
        Some(libc::EACCES | libc::EPERM) => degrades(
            ids::CGROUP_NO_DELEGATION,
            format!("no cgroup of {place} that this process is in is delegated to this user"),
            "systemd-run --user --scope -p Delegate=yes stockade ..., or run as root",
        ),
        Some(libc::EBUSY) => degrades(
            ids::CGROUP_BUSY,
            format!(
                "the cgroup that this process is in has processes of its own: {}",
                reason(error)
            ),
            "cgroup v2 gives controllers only to groups below one without processes: move them into a \
             group beside (mkdir /sys/fs/cgroup/init, and write each pid of cgroup.procs into \
             init/cgroup.procs), or start stockade in a scope of its own",
        ),
        _ if error.kind() == Kind::Unsupported => degrades(
            ids::CGROUP_CONTROLLER,
            format!("the cgroups here lack a controller: {}", reason(error)),
            "give it to this cgroup: \"echo +memory +cpu +pids > cgroup.subtree_control\" in every one \
             above, or for systemd's users Delegate=cpu memory pids in user@.service; some need a \
             boot parameter (cgroup_enable=memory)",
        ),
        _ => degrades(
            ids::CGROUP_REFUSED,
            format!("a cgroup cannot be made: {}", reason(error)),
            if host.facts.privileged {
                "the kernel's log may say why"
            } else {
                "run as root, or systemd-run --user --scope -p Delegate=yes stockade ..."
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    fn of(v1: bool, v2: bool, read_only: bool, error: &Error) -> &'static str {
        let mounted = Mounted { v1, v2, read_only, place: "/x".into() };
        explain(&settings(), &mounted, error).id
    }

    fn os(errno: i32) -> Error {
        Error::os("make a cgroup", std::io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn each_way_to_get_no_cgroup_has_its_name() {
        assert_eq!(of(false, false, false, &os(libc::ENOENT)), "cgroup-none");
        assert_eq!(of(false, true, true, &os(libc::EACCES)), "cgroup-read-only");
        assert_eq!(of(true, false, false, &os(libc::EROFS)), "cgroup-read-only");
        assert_eq!(of(false, true, false, &os(libc::EACCES)), "cgroup-no-delegation");
        assert_eq!(of(true, true, false, &os(libc::EPERM)), "cgroup-no-delegation");
        // As v2::open_parent has it.
        let busy = os(libc::EBUSY).with_kind(Kind::Unsupported);
        assert_eq!(of(false, true, false, &busy), "cgroup-busy");
        let lacks = Error::new(Kind::Unsupported, "pids (no pids controller in /x)");
        assert_eq!(of(false, true, false, &lacks), "cgroup-controller");
        assert_eq!(of(false, true, false, &os(libc::ENOMEM)), "cgroup-refused");
    }

    #[test]
    fn t41_a_cgroup_with_control_characters_in_its_name_is_escaped() {
        let mounted = Mounted { v1: false, v2: true, read_only: false, place: "/x".into() };
        let error = Error::os("open /x/a\u{1b}[2J", std::io::Error::from_raw_os_error(libc::EIO));
        let what = explain(&settings(), &mounted, &error.context(NONE_HERE)).what;
        assert!(what.starts_with("a cgroup cannot be made: open /x/a\\u{1b}[2J: "), "{what}");
    }
}
