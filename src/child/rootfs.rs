//! The file system part: the pool, the root, the steps, pivot_root.
//!
//! Everything in the root is resolved below its descriptor (`RESOLVE_IN_ROOT`, no magic links):
//! a hostile rootfs can point its symlinks wherever it likes and stays inside. Mounts are made
//! detached and attached to an opened target, so nothing is looked up twice.

#![forbid(unsafe_code)]

use super::Armed;
use super::landlock::Ruleset;
use super::mounts::ArmedMount;
use super::network::{self, Network};
use super::place::Place;
use super::sources::{Inbox, Opened, open_tree};
use super::{At, Done, Failure};
use crate::sys::fs::{self, Resolve};
use crate::sys::mount::{self, FsContext, attr};
use crate::sys::{self, Errno, io};
use crate::wire::{Message, Step};
use core::ffi::CStr;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Options of a file system: key, and value unless it is a flag.
pub type Options = Vec<(CString, Option<CString>)>;

/// The file system part of the plan, armed.
#[derive(Debug)]
pub struct ArmedRoot {
    /// Options of the pool's tmpfs; `None`: there is none.
    pub pool: Option<Options>,
    /// The root; `None`: a directory of the pool.
    pub root: Option<Tree>,
    /// Where it is attached, if not on the old root.
    pub place: Option<CString>,
    /// Whether it and what is mounted in it gets the attributes of a jail's mounts.
    pub guarded: bool,
    /// Whether it is made read-only in the end.
    pub read_only: bool,
    /// Whether it becomes the root by chroot; then these, procfs and sysfs of the host, are detached
    /// first: with one in sight a user namespace inside could mount another, unmasked one.
    pub chroot: Option<Vec<CString>>,
    /// Whether the mounts are those of others too, of which nothing is changed.
    pub in_place: bool,
    /// Its propagation in the end, and whether that is meant for the mounts in it too.
    pub propagation: Option<(u64, bool)>,
    /// What is put into it.
    pub steps: Vec<ArmedStep>,
    /// Where the sources come in.
    pub inbox: Inbox,
    /// Whether a user namespace stands between the jail and the host's root.
    pub foreign_modes: bool,
    /// Which step of the plan each is: those whose source is missing and optional are left out.
    pub present: Vec<usize>,
    /// What Landlock allows on the root and below.
    pub rights: u64,
    /// And on the mount of each of the steps.
    pub step_rights: Vec<u64>,
}

/// A mount of the host to be.
#[derive(Debug)]
pub enum Tree {
    /// Detached and checked by a privileged parent, and sent by it: which of the inbox.
    Sent(usize),
    /// To be copied by the child itself, as an ordinary user must; then compared with what the
    /// parent saw, so that a swapped name is noticed.
    Path {
        /// Path on the host.
        path: CString,
        /// Its device.
        dev: u64,
        /// Its inode.
        ino: u64,
        /// Whether what is mounted below comes along.
        recursive: bool,
        /// Whether a symlink is meant itself.
        itself: bool,
    },
}

/// A step, armed.
#[derive(Debug)]
#[allow(missing_docs)] // the fields are those of plan::MountStep
pub enum ArmedStep {
    Filesystem { fstype: CString, options: Options, target: Place, attrs: u64, strict: bool },
    Bind { tree: Tree, target: Place, attrs: u64, directory: bool },
    PoolDir { name: CString, target: Place, mode: u32, owner: Option<(u32, u32)>, attrs: u64 },
    Directory { target: Place, mode: u32 },
    File { target: Place, mode: u32, contents: Vec<u8> },
    Symlink { target: Place, to: CString, keep: bool, replace: bool, same: bool },
    Mount(ArmedMount),
    Device { target: Place, mode: u32, device: u64, owner: (u32, u32) },
    WorkingDirectory { target: Place },
    Mask { target: Place },
    Remount { target: Place },
    ReadOnly { target: Place },
}

/// What the steps work with.
pub(super) struct Work<'a> {
    /// `None`: the container runs already.
    pub(super) armed: Option<&'a Armed>,
    /// A network namespace in the making.
    pub(super) network: &'a mut Option<Network>,
    pub(super) inbox: &'a Inbox,
    pub(super) socket: BorrowedFd<'a>,
    pub(super) root: BorrowedFd<'a>,
    /// What was mounted over it, and is the root now.
    pub(super) cover: Option<Opened>,
    pub(super) pool: Option<BorrowedFd<'a>>,
    /// A mount that hides a file, and one that hides a directory: the first of each is made, the
    /// others are copies of it.
    pub(super) null: Option<OwnedFd>,
    pub(super) empty: Option<OwnedFd>,
    /// Whether the owner of the host's files is nobody here.
    pub(super) foreign_modes: bool,
    /// The directory that was worked in last and its path: steps come in runs, and a directory
    /// that is held needs no second look-up.
    pub(super) held: Option<(&'a CStr, OwnedFd)>,
}

/// The new root, attached, and the old one.
pub(super) struct Built {
    root: Opened,
    host: OwnedFd,
    /// Whether the new one is attached on the old one already.
    on_old_root: bool,
}

impl Built {
    /// The new root.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Builds the root. The network namespace may have been begun.
pub(super) fn build<'a>(
    all: &'a Armed,
    armed: &'a ArmedRoot,
    socket: BorrowedFd<'a>,
    (network, begun): (&'a mut Option<Network>, bool),
    ruleset: Option<&Ruleset>,
) -> Done<Built> {
    // Modes of what is made here are meant as they are; the job gets its own umask.
    sys::process::umask(0);
    // Nothing that is mounted from here on shows outside, and nothing outside here.
    if !armed.in_place {
        mount::make_all_private().at(Step::Propagation)?;
    }
    let host = fs::open_at(fs::cwd(), c"/", libc::O_PATH | libc::O_DIRECTORY, 0).at(Step::Pool)?;
    let pool = match &armed.pool {
        None => None,
        Some(options) => {
            // Anywhere but on the old root's own "/": umount2 goes down to the topmost mount of
            // what it is given, and would then detach the pool and leave the host's root where
            // it is.
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            let anchor = fs::open_at(fs::cwd(), c"/proc", flags, 0).at(Step::Pool)?;
            let pool = open_pool(options, anchor.as_fd()).at(Step::Pool)?;
            io::send(socket, &Message::Pool.to_bytes(), Some(pool.as_fd())).at(Step::Handshake)?;
            Some(pool)
        }
    };
    let pool = pool.as_ref().map(AsFd::as_fd);
    let (root, on_old_root) = open_root(armed, socket, host.as_fd(), pool)?;
    let mut work = Work {
        armed: Some(all),
        network,
        inbox: &armed.inbox,
        socket,
        root: root.as_fd(),
        cover: None,
        pool,
        null: None,
        empty: None,
        foreign_modes: armed.foreign_modes,
        held: None,
    };
    let mut waiting = !begun;
    for (index, (step, rights)) in (0..).zip(armed.steps.iter().zip(&armed.step_rights)) {
        // What begins here may take the supervisor's processor, and should not while we wait for what
        // that has to send; but a mount may show the network.
        if waiting && (armed.inbox.is_complete() || matches!(step, ArmedStep::Mount(_))) {
            waiting = false;
            begin_network(all, work.network)?;
        }
        let made = match step {
            // The only step that is several: its parts say what they were.
            ArmedStep::Mount(mount) => {
                work.any_mount(mount).map_err(|f| f.of_mount(index))?;
                None
            }
            step => work.run(step).at_index(Step::Mount, index)?,
        };
        // By the mount's own descriptor: no path is looked up for it.
        if let (Some(ruleset), Some((mount, directory))) = (ruleset, made) {
            ruleset.allow(mount.as_fd(), directory, *rights, index + 1)?;
        }
    }
    if waiting {
        begin_network(all, work.network)?;
    }
    if let Some(ruleset) = ruleset {
        ruleset.allow(root.as_fd(), true, armed.rights, 0)?;
    }
    Ok(match work.cover.take() {
        // The one below goes with the old root.
        Some(cover) => Built { root: cover, host, on_old_root: false },
        None => Built { root, host, on_old_root },
    })
}

/// Begins to make the network namespace, which takes the kernel as long as all the mounts.
pub(super) fn begin_network(armed: &Armed, network: &mut Option<Network>) -> Done {
    *network = network::begin(armed.network)?;
    Ok(())
}

/// Makes it the root.
pub(super) fn change_root(armed: &ArmedRoot, built: &Built) -> Done {
    let (root, host) = (built.root.as_fd(), built.host.as_fd());
    fs::change_dir_fd(root).at(Step::Pivot)?;
    if armed.in_place {
        return fs::chroot_here().at(Step::Pivot);
    }
    if let Some(bare) = &armed.chroot {
        for path in bare {
            match mount::detach(path) {
                // Gone with one above it; or it is there and may not be detached.
                Err(e) if e.0 == libc::EINVAL || e.0 == libc::ENOENT => {
                    if is_bare(path) {
                        return Err(Failure(Step::DetachOldRoot, 0, e));
                    }
                }
                other => other.at(Step::DetachOldRoot)?,
            }
        }
        // Onto the old root, so that whoever may chroot again ends here and not there.
        if !built.on_old_root {
            mount::attach(root, host).at(Step::Pivot)?;
        }
        fs::change_dir_fd(root).at(Step::Pivot)?;
        return fs::chroot_here().at(Step::Pivot);
    }
    // pivot_root(".", "."): the old root ends on top of the new one, where it is detached with
    // everything on it, the pool's first mount included. No directory for it is needed.
    fs::pivot_root_here().at(Step::Pivot)?;
    fs::change_dir_fd(host).at(Step::DetachOldRoot)?;
    detach_all_here().at(Step::DetachOldRoot)?;
    fs::change_dir_fd(root).at(Step::DetachOldRoot)
}

/// Whether procfs or sysfs is there.
fn is_bare(path: &CStr) -> bool {
    let magic = |fd: OwnedFd| fs::statfs(fd.as_fd()).map(|seen| seen.magic);
    let found = fs::open_at(fs::cwd(), path, libc::O_PATH, 0).and_then(magic);
    matches!(found, Ok(PROC_SUPER_MAGIC | SYSFS_MAGIC))
}

/// What has to come last: nothing can be made in a read-only root.
pub(super) fn finish(armed: &ArmedRoot, built: &Built) -> Done {
    let root = built.root.as_fd();
    if armed.read_only {
        // Whose slave it is stays: `set_attr` would make it private.
        mount::change(root, attr::RDONLY, 0, 0, false, None).at(Step::RootReadOnly)?;
    }
    if let Some((flag, recursive)) = armed.propagation {
        mount::change(root, 0, 0, flag, recursive, None).at(Step::RootPropagation)?;
    }
    Ok(())
}

/// Detaches the old root, and makes sure of it: umount2 takes the topmost mount of what it is
/// given, so it is repeated until the kernel says that nothing of this namespace is there.
fn detach_all_here() -> sys::Result<()> {
    mount::detach_here()?;
    for _ in 0..1024 {
        match mount::detach_here() {
            Ok(()) => {}
            Err(e) if e.0 == libc::EINVAL => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Err(Errno(libc::EBUSY))
}

/// One tmpfs for all writable places, so that one size limits them together. It is attached
/// somewhere in the old root, since mounts can be copied from an attached one only (before Linux
/// 6.15), and goes with it.
fn open_pool(options: &Options, anchor: BorrowedFd<'_>) -> sys::Result<OwnedFd> {
    let context = FsContext::open(c"tmpfs")?;
    for (key, value) in options {
        context.set(key, value.as_deref())?;
    }
    let pool = context.mount(attr::NOSUID | attr::NODEV)?;
    mount::attach(pool.as_fd(), anchor)?;
    Ok(pool)
}

fn open_root(
    armed: &ArmedRoot,
    socket: BorrowedFd<'_>,
    host: BorrowedFd<'_>,
    pool: Option<BorrowedFd<'_>>,
) -> Done<(Opened, bool)> {
    let safe = attr::NOSUID | attr::NODEV;
    let root = match &armed.root {
        None => {
            let name = c"root";
            let pool = pool.ok_or(Failure(Step::Root, 0, Errno(libc::EBADF)))?;
            fs::mkdir_at(pool, name, 0o755).at(Step::Root)?;
            Opened::Own(mount::clone_tree(pool, name, false).at(Step::Root)?)
        }
        Some(tree) => {
            let found = open_tree(tree, true, &armed.inbox, socket).at(Step::Root)?;
            let (owned, _) = found.ok_or(Failure(Step::Root, 0, Errno(libc::ENOENT)))?;
            if armed.read_only && armed.guarded {
                // Its submounts stay read-only; the top is opened again, so that mount points
                // can be made, and closed for good once everything is mounted. Where the host
                // itself mounted it read-only that is refused, and mount points must exist.
                mount::set_attr(owned.as_fd(), attr::RDONLY, 0, true, None).at(Step::Root)?;
                let _ = mount::set_attr(owned.as_fd(), 0, attr::RDONLY, false, None);
            }
            owned
        }
    };
    let safe = if armed.guarded { safe } else { 0 };
    // A copy of a shared mount is its peer until here. As a slave it still follows the host's mounts
    // below it, where that was asked for; nothing of its own gets out either way.
    let slave = armed.propagation.is_some_and(|(flag, _)| flag == libc::MS_SLAVE);
    let propagation = if slave { libc::MS_SLAVE } else { libc::MS_PRIVATE };
    mount::change(root.as_fd(), safe, 0, propagation, true, None).at(Step::Root)?;
    let place = armed.place.as_ref().and_then(|path| own_place(path, &root));
    let on_old_root = place.is_none();
    if on_old_root && armed.in_place {
        // It would cover the root of all others there.
        return Err(Failure(Step::Root, 0, Errno(libc::ESTALE)));
    }
    let place = place.as_ref().map_or(host, AsFd::as_fd);
    mount::attach(root.as_fd(), place).at(Step::Root)?;
    if armed.in_place {
        // Below a shared mount it has become one; what is mounted in it is nobody else's business.
        mount::change(root.as_fd(), 0, 0, propagation, true, None).at(Step::Root)?;
    }
    Ok((root, on_old_root))
}

/// The directory that the root is a copy of, where hooks look for it. `None`: it cannot be reached
/// from here (a user namespace may not search all directories above), or is no longer the same;
/// the place of the old root does as well.
fn own_place(path: &CStr, root: &Opened) -> Option<OwnedFd> {
    let place = fs::open_at(fs::cwd(), path, libc::O_PATH | libc::O_DIRECTORY, 0).ok()?;
    let (a, b) = (fs::stat(place.as_fd()).ok()?, fs::stat(root.as_fd()).ok()?);
    (a.dev == b.dev && a.ino == b.ino).then_some(place)
}

/// Where something is to be attached: an opened directory or file, and its path in the root.
pub(super) struct Target<'a>(pub(super) &'a CStr, pub(super) OwnedFd);

impl<'a> Work<'a> {
    /// Takes a step. The mount, if it made one that the job may be allowed to write to, and
    /// whether that is of a directory.
    fn run(&mut self, step: &'a ArmedStep) -> sys::Result<Option<(Opened, bool)>> {
        match step {
            ArmedStep::Filesystem { fstype, options, target, attrs, strict } => {
                let context = FsContext::open(fstype)?;
                for (key, value) in options {
                    context.set(key, value.as_deref())?;
                }
                let tree = context.mount(*attrs)?;
                let resolve = if *strict { Resolve::NoSymlinks } else { Resolve::InRoot };
                let target = self.directory(target, resolve, 0o755)?;
                self.attach(&tree, &target)?;
                return Ok(Some((Opened::Own(tree), true)));
            }
            ArmedStep::Bind { tree, target, attrs, directory } => {
                let Some((tree, directory)) = open_tree(tree, *directory, self.inbox, self.socket)?
                else {
                    return Ok(None);
                };
                mount::set_attr(tree.as_fd(), *attrs, 0, true, None)?;
                let target = if directory {
                    self.directory(target, Resolve::InRoot, 0o755)?
                } else {
                    self.file(target)?
                };
                self.attach(&tree, &target)?;
                return Ok(Some((tree, directory)));
            }
            ArmedStep::PoolDir { name, target, mode, owner, attrs } => {
                let tree = self.pool_dir(name, *mode, *owner)?;
                mount::set_attr(tree.as_fd(), *attrs, 0, false, None)?;
                let target = self.directory(target, Resolve::InRoot, 0o755)?;
                self.attach(&tree, &target)?;
                return Ok(Some((Opened::Own(tree), true)));
            }
            ArmedStep::Directory { target, mode } => {
                self.directory(target, Resolve::InRoot, *mode)?;
            }
            ArmedStep::File { target, mode, contents } => {
                self.write_file(target, *mode, contents)?;
            }
            ArmedStep::Symlink { target, to, keep, replace, same } => {
                let (parent, name) = self.parent(target)?;
                match fs::symlink_at(to, parent, name) {
                    Err(e) if e.0 == libc::EEXIST && *replace => {
                        fs::unlink_at(parent, name)?;
                        fs::symlink_at(to, parent, name)?;
                    }
                    Err(e) if e.0 == libc::EEXIST && *keep => {}
                    Err(e) if e.0 == libc::EEXIST && *same => {
                        let flags = libc::O_PATH | libc::O_NOFOLLOW;
                        let there = fs::open_beneath(parent, name, flags, 0, Resolve::Beneath)?;
                        let mut text = [0; 4096];
                        match fs::read_link(there.as_fd(), &mut text) {
                            Ok(now) if now == to.as_c_str() => {}
                            _ => return Err(e),
                        }
                    }
                    other => other?,
                }
            }
            ArmedStep::Mount(_) => return Err(Errno(libc::EINVAL)),
            ArmedStep::Device { target, mode, device, owner } => {
                self.device(target, *mode, *device, *owner)?;
            }
            ArmedStep::WorkingDirectory { target } => {
                // Where it cannot be made, changing to it says why.
                let _ = self.directory(target, Resolve::InRoot, 0o755);
            }
            ArmedStep::Mask { target } => self.mask(target)?,
            ArmedStep::Remount { target } => {
                let there = self.open(target.full(), libc::O_PATH, Resolve::InRoot)?;
                mount::set_attr(there.as_fd(), attr::RDONLY, 0, false, None)?;
            }
            ArmedStep::ReadOnly { target } => {
                let Some(there) = self.open_if_there(target)? else { return Ok(None) };
                let copy = mount::clone_tree(there.1.as_fd(), c"", true)?;
                mount::set_attr(copy.as_fd(), attr::RDONLY, 0, true, None)?;
                self.attach(&copy, &there)?;
            }
        }
        Ok(None)
    }

    /// What is the root by now.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.cover.as_ref().map_or(self.root, AsFd::as_fd)
    }

    /// Attaches; what is attached to the root itself is the root from here on.
    pub(super) fn attach_or_cover(&mut self, tree: Opened, target: &Target<'_>) -> sys::Result<()> {
        self.attach(&tree, target)?;
        if target.0 == c"." {
            self.held = None;
            self.cover = Some(tree);
        }
        Ok(())
    }

    /// Attaches, and lets go of a held directory that may be beneath it.
    pub(super) fn attach(&mut self, tree: &impl AsFd, target: &Target<'_>) -> sys::Result<()> {
        mount::attach(tree.as_fd(), target.1.as_fd())?;
        self.forget_below(target);
        Ok(())
    }

    fn write_file(&mut self, place: &'a Place, mode: u32, contents: &[u8]) -> sys::Result<()> {
        let (parent, name) = self.parent(place)?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let file = fs::open_at(parent, name, flags, mode)?;
        if contents.is_empty() { Ok(()) } else { io::write_whole(file.as_fd(), contents) }
    }

    fn pool_dir(&self, name: &CStr, mode: u32, owner: Option<(u32, u32)>) -> sys::Result<OwnedFd> {
        let pool = self.pool.ok_or(Errno(libc::EBADF))?;
        fs::mkdir_at(pool, name, mode)?;
        if let Some((uid, gid)) = owner {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let dir = fs::open_at(pool, name, flags, 0)?;
            fs::chown(dir.as_fd(), uid, gid)?;
        }
        mount::clone_tree(pool, name, false)
    }
}

/// Whether `path` is `place` or below it. Both are relative to the root.
pub(super) fn is_within(path: &CStr, place: &CStr) -> bool {
    let (path, place) = (path.to_bytes(), place.to_bytes());
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

/// `SYSFS_MAGIC` of linux/magic.h.
const SYSFS_MAGIC: i64 = 0x6265_6572;

/// `PROC_SUPER_MAGIC` of linux/magic.h.
pub(super) const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// 1:3, as the kernel encodes it in st_rdev.
pub(super) const NULL_DEVICE: u64 = (1 << 8) | 3;
