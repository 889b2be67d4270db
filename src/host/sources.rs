//! Files of the host that become mounts of the jail: found by path once, checked, and copied.
//!
//! A privileged parent copies them as detached mounts and sends them, while the child is already
//! at work on what comes before. An ordinary user has no right to copy mounts of the host's
//! namespace: its child copies its own, and compares.

#![forbid(unsafe_code)]

use crate::child::rootfs::Tree;
use crate::error::{Error, Kind, Result, Stage};
use crate::host::arm::c_path;
use crate::host::idmap::{self, MountNamespaces};
use crate::host::nodes;
use crate::plan::detail::{MountIds, MountSource};
use crate::plan::formats::mountinfo;
use crate::plan::ids::{self, IdMap};
use crate::plan::values::quote;
use crate::plan::{BindIds, Expect, MountStep, Plan, UserNamespace};
use crate::sys::mount::{self, attr};
use crate::sys::{self, Errno, fs, io, process, signal};
use crate::wire::{Message, Sources};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The first message has this many, so that the child need not wait for all.
const FIRST: usize = 4;

/// A source that is still to be found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending<'p> {
    pub(crate) path: &'p Path,
    pub(crate) ids: BindIds,
    pub(crate) expect: Expect,
    pub(crate) optional: bool,
    /// Whether it is the root file system.
    pub(crate) root: bool,
    /// Whether what is mounted below comes along.
    pub(crate) recursive: bool,
    /// Whether what is about the host is refused.
    pub(crate) guarded: bool,
    /// An id mapping of its own.
    pub(crate) maps: Option<&'p MountIds>,
    /// Whether it has to be a procfs or sysfs.
    pub(crate) kernel_only: bool,
    /// Whether a symlink is meant itself.
    pub(crate) itself: bool,
}

impl<'p> Pending<'p> {
    /// As a jail wants it.
    pub(crate) fn new(path: &'p Path, ids: BindIds, expect: Expect) -> Pending<'p> {
        Pending {
            path,
            ids,
            expect,
            optional: false,
            root: false,
            recursive: true,
            guarded: true,
            maps: None,
            kernel_only: false,
            itself: false,
        }
    }
}

/// For an ordinary user's child: the path, what is there, and whether that is a directory.
pub(crate) fn look(wanted: &Pending<'_>) -> Result<(Tree, bool)> {
    let path = wanted.path;
    let shown = quote(&path.to_string_lossy());
    if wanted.maps.is_some() {
        return Err(not_for_users(&shown));
    }
    let path_c = c_path(path)?;
    let flags = if wanted.itself { libc::O_PATH | libc::O_NOFOLLOW } else { libc::O_PATH };
    let fd = fs::open_at(fs::cwd(), &path_c, flags, 0)
        .map_err(|e| Error::os(format!("open {shown}"), e).during(Stage::Mounts))?;
    let seen = check(&fd, wanted, &shown)?;
    let directory = seen.is(libc::S_IFDIR);
    if wanted.guarded && !wanted.optional && directory {
        refuse_kernel_mounts_below(&fd, &shown)?;
    }
    let (dev, ino, recursive, itself) = (seen.dev, seen.ino, wanted.recursive, wanted.itself);
    Ok((Tree::Path { path: path_c, dev, ino, recursive, itself }, directory))
}

/// What an ordinary user is told.
pub(crate) fn not_for_users(shown: &str) -> Error {
    Error::new(Kind::Permission, format!("an ordinary user cannot map the ids of {shown}"))
        .hint("id-mapped mounts need CAP_SYS_ADMIN where the file system was mounted")
}

/// Sources, each found or not.
pub(crate) type Found = Vec<sys::Result<OwnedFd>>;

/// Sources as a process sees them whose mounts are a user namespace's. In copies of these nobody there
/// can take away what the host has put on a mount (read-only and the like), nor a mount that hides
/// something (mount_namespaces(7), "locked"): in copies of the host's own mounts, root of the
/// namespace could. The process must not have changed its mounts yet.
///
/// # Errors
/// Its mounts cannot be entered.
pub(crate) fn seen_by(process: BorrowedFd<'_>, pending: &[Pending<'_>]) -> Result<Found> {
    let wanted = pending.iter().map(|p| Ok((c_path(p.path)?, p.recursive, p.itself)));
    let mut visit = Visit {
        process,
        wanted: wanted.collect::<Result<_>>()?,
        found: pending.iter().map(|_| Err(Errno(libc::ECANCELED))).collect(),
        entered: Err(Errno(libc::ECANCELED)),
    };
    let mask = signal::set_mask(signal::ALL).map_err(|e| Error::os("block signals", e))?;
    let went = process::step_aside(Visit::copy, &mut visit);
    signal::set_mask(mask).map_err(|e| Error::os("unblock signals", e))?;
    went.and(visit.entered).map_err(|e| Error::os("enter the container's mounts", e))?;
    Ok(visit.found)
}

/// A moment in a process's mount namespace.
struct Visit<'a> {
    process: BorrowedFd<'a>,
    /// Each path, whether what is below comes along, whether a symlink is meant itself.
    wanted: Vec<(CString, bool, bool)>,
    found: Found,
    entered: sys::Result<()>,
}

impl Visit<'_> {
    /// System calls only: see [`process::step_aside`].
    fn copy(&mut self) {
        self.entered = process::join(self.process, libc::CLONE_NEWNS);
        if self.entered.is_ok() {
            for ((path, recursive, itself), found) in self.wanted.iter().zip(&mut self.found) {
                *found = if *itself {
                    mount::clone_tree_itself(fs::cwd(), path, *recursive)
                } else {
                    mount::clone_tree(fs::cwd(), path, *recursive)
                };
            }
        }
    }
}

/// Finds and sends all, in their order, unless they were found before. `pid` is the child, whose id
/// maps are in place.
///
/// # Errors
/// One cannot be had. The child is then waiting for it and has to be killed.
pub(crate) fn send(
    pending: &[Pending<'_>],
    found: Option<Found>,
    user: Option<&UserNamespace>,
    pid: i32,
    socket: BorrowedFd<'_>,
) -> Result<()> {
    let mut copier = Copier { user, pid, namespaces: MountNamespaces::default(), own: None };
    let mut found = found.map(Vec::into_iter);
    let mut rest = pending;
    let mut most = FIRST;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(most));
        let mut message =
            Sources { count: u32::try_from(now.len()).unwrap_or(0), ..Default::default() };
        let mut fds = Vec::with_capacity(now.len());
        for (bit, source) in (0u64..).zip(now) {
            let found = found.as_mut().and_then(Iterator::next);
            match copier.copy(source, found) {
                Ok((fd, directory)) => {
                    fds.push(fd);
                    message.directories |= u64::from(directory) << bit;
                }
                Err(e) if source.optional && e.errno() == Some(libc::ENOENT) => {
                    message.absent |= 1 << bit;
                }
                Err(e) if source.root => return Err(e.context("the rootfs")),
                Err(e) => return Err(e),
            }
        }
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        io::send_many(socket, &Message::Sources(message).to_bytes(), &borrowed)
            .map_err(|e| Error::os("send the child its sources", e))?;
        rest = later;
        most = Sources::MOST;
    }
    Ok(())
}

/// Copies mounts of the host, with the ids that the jail is to see.
struct Copier<'a> {
    user: Option<&'a UserNamespace>,
    pid: i32,
    namespaces: MountNamespaces,
    /// The jail's own user namespace.
    own: Option<OwnedFd>,
}

impl Copier<'_> {
    /// The mount, detached, and whether it is of a directory. The one look-up by path; from here
    /// on by descriptor.
    fn copy(
        &mut self,
        source: &Pending<'_>,
        seen: Option<sys::Result<OwnedFd>>,
    ) -> Result<(OwnedFd, bool)> {
        let shown = quote(&source.path.to_string_lossy());
        let path = c_path(source.path)?;
        let open = |e| Error::os(format!("open {shown}"), e).during(Stage::Mounts);
        let covered = |e: Errno| {
            match open(e) {
            error if e.0 == libc::EINVAL && !source.recursive => error.hint(
                "other mounts lie below it, and what they cover is not uncovered in a user namespace: \
                 with rbind they come along",
            ),
            error => error,
        }
        };
        // In one call, but for a directory of the user's, of which the path is needed.
        let whole = seen.is_some() || source.optional || source.expect != Expect::FileOrDirectory;
        let found = if whole {
            None
        } else {
            Some(fs::open_at(fs::cwd(), &path, libc::O_PATH, 0).map_err(open)?)
        };
        let tree = match (seen, &found) {
            (Some(Err(e)), _) if e.0 == libc::ENOENT => {
                self.make_node(source, &shown, covered(e))?
            }
            (Some(seen), _) => seen.map_err(covered)?,
            (_, None) if source.itself => {
                mount::clone_tree_itself(fs::cwd(), &path, source.recursive).map_err(open)?
            }
            (_, None) => mount::clone_tree(fs::cwd(), &path, source.recursive).map_err(open)?,
            (_, Some(fd)) => mount::clone_tree(fd.as_fd(), c"", source.recursive).map_err(|e| {
                Error::os(format!("copy the mount of {shown}"), e).during(Stage::Mounts)
            })?,
        };
        let seen = check(&tree, source, &shown)?;
        let directory = seen.is(libc::S_IFDIR);
        if source.root && !directory {
            return Err(Error::new(Kind::InvalidConfig, format!("{shown} is no directory")));
        }
        if let Some(fd) = found.filter(|_| directory && source.guarded) {
            refuse_kernel_mounts_below(&fd, &shown)?;
        }
        self.map_ids(&tree, source.ids, &seen, &shown)?;
        if let Some(maps) = source.maps {
            self.map_by(&tree, maps, &shown)?;
        }
        Ok((tree, directory))
    }

    /// A device node that the host has not; anything else cannot be had.
    fn make_node(&self, source: &Pending<'_>, shown: &str, missing: Error) -> Result<OwnedFd> {
        match (source.expect, self.user) {
            (Expect::Node(node), Some(user)) => nodes::make(&node, user, shown),
            _ => Err(missing),
        }
    }

    /// The id mapping that was asked for, or that of the namespace where none was given.
    fn map_by(&mut self, tree: &OwnedFd, maps: &MountIds, shown: &str) -> Result<()> {
        let namespace = if maps.uids.is_empty() {
            let own = match self.own.take() {
                Some(own) => own,
                None => idmap::user_namespace(self.pid)?,
            };
            let own: &OwnedFd = self.own.insert(own);
            own.as_fd()
        } else {
            self.namespaces.get(&maps.uids, &maps.gids)?
        };
        mount::change(tree.as_fd(), attr::IDMAP, 0, 0, maps.recursive, Some(namespace))
            .map_err(|e| cannot_map(shown, e))
    }

    fn map_ids(
        &mut self,
        tree: &OwnedFd,
        ids: BindIds,
        seen: &fs::Stat,
        shown: &str,
    ) -> Result<()> {
        let Some(user) = self.user else { return Ok(()) };
        let namespace = match ids {
            BindIds::Plain => return Ok(()),
            BindIds::Same => {
                let own = match self.own.take() {
                    Some(own) => own,
                    None => idmap::user_namespace(self.pid)?,
                };
                let own: &OwnedFd = self.own.insert(own);
                own.as_fd()
            }
            BindIds::OwnerIs(uid, gid) => {
                let one = |on_disk: u32, maps: &[IdMap], inside: u32| {
                    ids::outside(maps, inside).map(|outside| IdMap {
                        inside: on_disk,
                        outside,
                        count: 1,
                    })
                };
                let (Some(uids), Some(gids)) =
                    (one(seen.uid, &user.uids, uid), one(seen.gid, &user.gids, gid))
                else {
                    return Err(Error::new(
                        Kind::InvalidConfig,
                        format!("{uid}:{gid} is not mapped in the jail"),
                    ));
                };
                self.namespaces.get(&[uids], &[gids])?
            }
        };
        mount::set_attr(tree.as_fd(), attr::IDMAP, 0, true, Some(namespace))
            .map_err(|e| cannot_map(shown, e))
    }
}

/// Maps the ids of a mount that the child found in its own root: which one it says, and sends.
///
/// # Errors
/// There is none to be mapped, or the kernel refuses.
pub(crate) fn map_within(plan: &Plan, step: u32, peer: &OwnedFd, pid: i32) -> Result<()> {
    let garbled = || Error::new(Kind::Refused, "the child sent something that is no message");
    let asked = Message::MapIds(step).to_bytes();
    let mut buf = [0; crate::wire::SIZE];
    let got = io::recv(peer.as_fd(), &mut buf, false);
    let (_, tree) = got.map_err(|e| Error::os("hear from the child", e))?;
    let found = usize::try_from(step).ok().and_then(|at| plan.steps.get(at));
    let Some((MountStep::Mount(found), tree)) = found.zip(tree).filter(|_| buf == asked) else {
        return Err(garbled());
    };
    let MountSource::Bind { source, ids: Some(maps), .. } = &found.source else {
        return Err(garbled());
    };
    let mut copier = Copier { user: None, pid, namespaces: MountNamespaces::default(), own: None };
    copier.map_by(&tree, maps, &quote(&source.to_string_lossy()))?;
    io::send(peer.as_fd(), &asked, None).map_err(|e| Error::os("tell the child to go on", e))
}

/// What is there has to be what is expected.
fn check(fd: &OwnedFd, wanted: &Pending<'_>, shown: &str) -> Result<fs::Stat> {
    let seen = fs::stat(fd.as_fd()).map_err(|e| Error::os(format!("look at {shown}"), e))?;
    if wanted.kernel_only {
        let look = |e| Error::os(format!("look at {shown}"), e);
        let magic = fs::statfs(fd.as_fd()).map_err(look)?.magic;
        if ![PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&magic) {
            return Err(Error::new(
                Kind::Refused,
                format!("{shown} is no procfs or sysfs, and nothing else may stand in for one"),
            )
            .hint("mount a file system of the type proc on /proc, and of the type sysfs on /sys"));
        }
    }
    match wanted.expect {
        Expect::FileOrDirectory if !seen.is(libc::S_IFDIR) && !seen.is(libc::S_IFREG) => Err(
            Error::new(Kind::Refused, format!("{shown} is neither a directory nor a regular file"))
                .hint("devices, sockets and FIFOs of the host are not given to a jail"),
        ),
        Expect::CharDevice(major, minor)
            if !seen.is(libc::S_IFCHR) || seen.rdev != libc::makedev(major, minor) =>
        {
            Err(Error::new(
                Kind::Refused,
                format!("{shown} is not the character device {major}:{minor}"),
            ))
        }
        Expect::FileOrDirectory if wanted.guarded => refuse_kernel_files(fd, shown).map(|()| seen),
        Expect::FileOrDirectory => Ok(seen),
        // What is not there is made; what is there may be another block device, as in runc.
        Expect::Node(node)
            if node.kind == libc::S_IFCHR
                && (!seen.is(libc::S_IFCHR)
                    || seen.rdev != libc::makedev(node.major, node.minor)) =>
        {
            Err(Error::new(
                Kind::Refused,
                format!("{shown} is not the character device {}:{}", node.major, node.minor),
            ))
        }
        Expect::CharDevice(..) | Expect::Node(_) | Expect::Any => Ok(seen),
    }
}

// linux/magic.h
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const SYSFS_MAGIC: i64 = 0x6265_6572;

/// File systems that are about the host and not files of it: a jail that saw the host's /proc could
/// mount one of its own in a nested user namespace, and look at the host's processes.
const KERNEL_FILE_SYSTEMS: &[(i64, &str)] = &[
    (PROC_SUPER_MAGIC, "proc"),
    (SYSFS_MAGIC, "sysfs"),
    (0x1cd1, "devpts"),
    (0x6367_7270, "cgroup2"),
    (0x0027_e0eb, "cgroup"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0xcafe_4a11, "bpf"),
    (0x6e73_6673, "nsfs"),
];

fn refuse_kernel_files(fd: &OwnedFd, shown: &str) -> Result<()> {
    let magic = fs::statfs(fd.as_fd()).map_err(|e| Error::os(format!("look at {shown}"), e))?.magic;
    match KERNEL_FILE_SYSTEMS.iter().find(|(m, _)| *m == magic) {
        None => Ok(()),
        Some((_, name)) => Err(Error::new(
            Kind::Refused,
            format!("{shown} is on the host's {name}, which is not given to a jail"),
        )
        .hint("a jail has a /proc of its own; copy what it needs into a file")),
    }
}

/// The kernel or the file system has no id-mapped mounts.
fn cannot_map(shown: &str, e: crate::sys::Errno) -> Error {
    let error = Error::os(format!("map the ids of {shown}"), e);
    if [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::EPERM].contains(&e.0) {
        return error.with_kind(Kind::Unsupported).hint(
            "its file system may not support id-mapped mounts (Linux 5.12, tmpfs 6.3, overlayfs \
             5.19): with --no-idmap, or noidmap for one volume, files keep their owners and the \
             job has what everybody has",
        );
    }
    error
}

/// What is mounted below a directory comes along with it, and none of it may be about the host
/// either. The directories of the host view, which are optional, hold no such mounts, and most
/// jails have no others: their start does not depend on how much the host has mounted.
fn refuse_kernel_mounts_below(directory: &OwnedFd, shown: &str) -> Result<()> {
    let table = "/proc/self/mountinfo";
    let data = std::fs::read(table).map_err(|e| Error::os(format!("read {table}"), e))?;
    // What the descriptor is of, and not what the path may be by now.
    let real = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))
        .map_err(|e| Error::os(format!("find where {shown} is"), e))?;
    for mount in mountinfo::mounts(&data) {
        // One that cannot be read could be one that leaks.
        let mount = mount.map_err(|e| Error::new(Kind::Os, format!("{table}: {e}")))?;
        let point = Path::new(OsStr::from_bytes(&mount.mount_point));
        let kind = String::from_utf8_lossy(&mount.fstype);
        if point.starts_with(&real) && KERNEL_FILE_SYSTEMS.iter().any(|(_, name)| *name == kind) {
            let below = quote(&point.to_string_lossy());
            return Err(Error::new(
                Kind::Refused,
                format!("the host's {kind} is mounted below {shown}, on {below}"),
            )
            .hint(
                "what is mounted below a volume comes along with it, and that is not given to a \
                 jail: give the directories that the job needs, such as -v /usr:/x/usr:ro",
            ));
        }
    }
    Ok(())
}
