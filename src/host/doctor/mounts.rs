//! Mounts: made in a child with namespaces of its own as a jail makes them; and id-mapped ones of
//! the file systems that volumes most often come from.

#![forbid(unsafe_code)]

use super::blockers::{self, Blocker, Effect, ids};
use super::namespaces::NEWUSER;
use super::report::{Findings, Need, Row};
use super::settings::Settings;
use crate::error::{Error, describe_errno};
use crate::host::idmap::{self, MountNamespaces};
use crate::plan::ids::{self as id_plan, IdMap};
use crate::sys::mount::{self, FsContext, attr};
use crate::sys::probe::{Answers, Child, NOT_ASKED};
use crate::sys::{self, cred, fs};
use core::ffi::CStr;
use std::os::fd::AsFd;
use std::path::Path;

const LAYER: &str = "mounts";

/// What the child tries, in this order. The first must work for the rest to be tried.
const TRIED: [(&str, &str); 5] = [
    ("private mounts", "nothing propagates in or out"),
    ("tmpfs", "mounted by fsopen and fsmount"),
    ("proc", "mounted in a new pid namespace"),
    ("devpts", "mounted"),
    ("read-only copies", "/usr was copied by open_tree, submounts too, and made read-only"),
];
const PROC: usize = 2;

pub(super) fn look(found: &mut Findings, host: &Settings) {
    let answers = try_mounts(host);
    for (at, (name, works)) in TRIED.iter().enumerate() {
        let row = match &answers {
            Ok(all) => Row::errno(Need::Run, all.get(at).copied().unwrap_or(NOT_ASKED), works),
            Err(_) => Row::errno(Need::Run, NOT_ASKED, works),
        };
        let why = || blocker_of(host, at, answers.as_ref().ok()?);
        found.add(LAYER, name, row.because(why));
    }
    if host.facts.privileged {
        let errno = copy_here().map_or_else(|e| e.0, |()| 0);
        let row = Row::errno(Need::Run, errno, "the caller copied a mount of its own");
        found.add(LAYER, "copies by root", row.because(|| of_another(errno)));
    }
    look_at_idmaps(found, host);
}

/// Root's jails are given copies of mounts that root itself makes.
fn copy_here() -> sys::Result<()> {
    mount::clone_tree(fs::cwd(), c"/usr", true).map(drop)
}

/// Root of a user namespace is not root over the mounts that it was started among.
fn of_another(errno: i32) -> Option<Blocker> {
    (errno == libc::EPERM).then(|| {
        Blocker::new(
            ids::MOUNTS_OF_ANOTHER,
            Effect::Blocks,
            "this is root of a user namespace, whose mount namespace belongs to an outer one",
            "make a mount namespace too, as in unshare -Urm; or run stockade outside",
        )
    })
}

/// What stops a jail's mounts, for one failed set-up.
pub(super) fn blocker(host: &Settings) -> Option<Blocker> {
    if host.facts.privileged
        && let Err(e) = copy_here()
        && let Some(blocker) = of_another(e.0)
    {
        return Some(blocker);
    }
    let answers = try_mounts(host).ok()?;
    (0..TRIED.len()).find_map(|at| blocker_of(host, at, &answers))
}

fn blocker_of(host: &Settings, at: usize, answers: &Answers) -> Option<Blocker> {
    let errno = answers.get(at).copied().filter(|e| *e != 0 && *e != NOT_ASKED)?;
    if at == PROC {
        return Some(blockers::no_proc(host, errno));
    }
    if let (libc::ENOSYS, Some(old)) = (errno, blockers::too_old(host)) {
        return Some(old);
    }
    let (name, _) = TRIED.get(at)?;
    let fix = if host.filtered {
        "a seccomp filter is on this process: run the container with --security-opt \
         seccomp=unconfined, or a profile that allows fsopen, open_tree, mount_setattr and their like"
    } else {
        "look for a security module in the kernel's log"
    };
    let what = format!("{name} are refused in a new mount namespace ({})", describe_errno(errno));
    Some(Blocker::new(ids::MOUNT_REFUSED, Effect::Blocks, what, fix))
}

/// In new user, mount and pid namespaces. An error: those could not be made, which is told
/// elsewhere.
fn try_mounts(host: &Settings) -> crate::error::Result<Answers> {
    let flags = NEWUSER
        | u64::from(libc::CLONE_NEWNS.cast_unsigned())
        | u64::from(libc::CLONE_NEWPID.cast_unsigned());
    let user = id_plan::plan(&host.facts, 65_534, 65_534);
    let refused = |e: sys::Errno| Error::os("make namespaces to mount in", e);
    let child = Child::start(flags, None, mount_all, &user.setup_ids).map_err(refused)?;
    idmap::write_maps(child.pid(), &user)?;
    child.ask().map_err(refused)
}

/// In the child.
fn mount_all(setup_ids: &Option<(u32, u32)>) -> Answers {
    let mut answers = [NOT_ASKED; 8];
    let mut says = |at: usize, result: sys::Result<()>| {
        if let Some(slot) = answers.get_mut(at) {
            *slot = result.map_or_else(|e| e.0, |()| 0);
        }
    };
    let become_setup = || {
        let Some((uid, gid)) = setup_ids else { return Ok(()) };
        cred::set_groups(&[])?;
        cred::set_gid(*gid)?;
        cred::set_uid(*uid)
    };
    if let Err(e) = become_setup().and_then(|()| mount::make_all_private()) {
        says(0, Err(e));
        return answers;
    }
    says(0, Ok(()));
    says(1, new_mount(c"tmpfs", None));
    says(PROC, new_mount(c"proc", None));
    says(3, new_mount(c"devpts", Some(c"newinstance")));
    says(4, read_only_copy(c"/usr"));
    answers
}

fn new_mount(fstype: &CStr, flag: Option<&CStr>) -> sys::Result<()> {
    let context = FsContext::open(fstype)?;
    if let Some(flag) = flag {
        context.set(flag, None)?;
    }
    context.mount(attr::NOSUID | attr::NOEXEC).map(drop)
}

fn read_only_copy(path: &CStr) -> sys::Result<()> {
    let tree = mount::clone_tree(fs::cwd(), path, true)?;
    mount::set_attr(tree.as_fd(), attr::RDONLY | attr::NOSUID, 0, true, None)
}

/// Of /, /tmp and the working directory; each file system once would hide which has it not.
fn look_at_idmaps(found: &mut Findings, host: &Settings) {
    let mut spaces = MountNamespaces::default();
    for (name, path) in [("/", c"/"), ("/tmp", c"/tmp"), ("working directory", c".")] {
        let fstype = file_system(path);
        let row = match try_idmap(&mut spaces, path) {
            Ok(()) => Row::yes(Need::Option, format!("{fstype}, mapped")),
            Err(e) if !host.facts.privileged => Row::no(
                Need::Info,
                format!(
                    "{fstype}: only root may ({})",
                    e.errno().map_or_else(String::new, describe_errno)
                ),
            ),
            Err(e) => Row::no(Need::Option, format!("{fstype}: {e}")),
        };
        let why = || {
            host.facts.privileged.then(|| {
                Blocker::new(
                    ids::NO_IDMAPPED_MOUNTS,
                    Effect::Option,
                    "id-mapped mounts do not work on every file system here: volumes and --rootfs \
                     from those cannot be shown with the job's ids",
                    "give --no-idmap, or :noidmap to a volume; docs/kernel-features.md says which file \
                     system has them since when",
                )
            })
        };
        found.add(LAYER, &format!("idmapped {name}"), row.because(why));
    }
}

/// On a detached copy of the mount, which goes with its descriptor.
fn try_idmap(spaces: &mut MountNamespaces, path: &CStr) -> crate::error::Result<()> {
    let tree =
        mount::clone_tree(fs::cwd(), path, false).map_err(|e| Error::os("copy the mount", e))?;
    let one = IdMap { inside: 0, outside: 1, count: 1 };
    let namespace = spaces.get(&[one], &[one])?;
    mount::set_attr(tree.as_fd(), attr::IDMAP, 0, false, Some(namespace))
        .map_err(|e| Error::os("map its ids", e))
}

/// Its type by the table of mounts, for the device that the directory is on.
fn file_system(path: &CStr) -> String {
    let unknown = || "unknown file system".to_owned();
    let Ok(dir) = fs::open_at(fs::cwd(), path, libc::O_PATH | libc::O_DIRECTORY, 0) else {
        return unknown();
    };
    let id = mount_id(&dir);
    let table = crate::host::probe::read_bounded(Path::new("/proc/self/mountinfo"));
    let table = table.unwrap_or_default();
    crate::plan::formats::mountinfo::mounts(&table)
        .flatten()
        .find(|m| Some(m.id) == id)
        .map_or_else(unknown, |m| crate::plan::values::escape_bytes(&m.fstype))
}

/// The id of the mount that a descriptor is on (Linux 3.15).
fn mount_id(dir: &impl std::os::fd::AsRawFd) -> Option<u32> {
    let info = super::settings::text(&format!("/proc/self/fdinfo/{}", dir.as_raw_fd()));
    info.lines().find_map(|l| l.strip_prefix("mnt_id:")?.trim().parse().ok())
}
