//! Mounts with all that mount(8) can say of them, the cgroup file systems, and device nodes.
//!
//! As in `rootfs`, everything is attached to an opened target. What is a procfs, or in one, is no
//! target unless the plan says so: a link of the image can lead there (CVE-2019-16884).

#![forbid(unsafe_code)]

use super::place::Place;
use super::rootfs::{Options, PROC_SUPER_MAGIC, Target, Tree, Work};
use super::sources::{Opened, open_tree};
use super::{At, Done, Failure, join_cgroups};
use crate::sys::fs::{self, Resolve};
use crate::sys::mount::{self, FsContext, attr};
use crate::sys::{self, Errno, io};
use crate::wire::{Message, SIZE, Step};
use core::ffi::CStr;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

/// A mount, armed.
#[derive(Debug)]
pub struct ArmedMount {
    /// What.
    pub source: ArmedSource,
    /// Where.
    pub target: Place,
    /// Attributes: set, cleared; and on all below: set, cleared.
    pub attrs: [u64; 4],
    /// What was said not to be, and what was said of access times, where a mount may be locked.
    pub unwanted: u64,
    /// See there.
    pub times: u64,
    /// Propagation, in this order, and whether it is meant for all below.
    pub propagation: Vec<(u64, bool)>,
    /// Whether it may cover something of a procfs.
    pub over_proc: bool,
    /// Whether a symlink as the target is covered itself.
    pub target_itself: bool,
}

/// What is mounted.
#[derive(Debug)]
#[allow(missing_docs)] // as in plan::detail
pub enum ArmedSource {
    Filesystem {
        fstype: CString,
        source: Option<CString>,
        options: Options,
        /// The same for mount(2), where an option is too long for fsconfig(2): flags, data.
        long: Option<(u64, CString)>,
        /// Whether only a real directory is a target.
        strict: bool,
        /// Whether the root of the new file system gets the mode of the directory it covers.
        keep_mode: bool,
        /// Whether what is there is copied into it.
        copy_up: bool,
    },
    Bind {
        tree: Tree,
        directory: bool,
    },
    /// Something of the root as it is by then.
    Within {
        path: CString,
        recursive: bool,
        /// Which step it is, if the supervisor is to map its ids.
        step: Option<u32>,
    },
    Cgroup {
        hierarchies: Vec<Hierarchy>,
        /// Symlinks to them: name, target.
        links: Vec<(CString, CString)>,
        /// Whether it is mounted anew, in a cgroup namespace, or comes from the supervisor.
        anew: bool,
    },
}

/// A cgroup hierarchy.
#[derive(Debug)]
pub struct Hierarchy {
    /// Its directory below the target; empty: the target itself.
    pub name: CString,
    /// Type and options for a mount of it.
    pub fstype: CString,
    /// Options.
    pub options: Options,
    /// Where the child copies it by itself, as an ordinary user's must; what the supervisor sends is
    /// then the directory that it has to be.
    pub path: Option<CString>,
}

impl<'a> Work<'a> {
    /// Makes the mount.
    pub(super) fn any_mount(&mut self, m: &'a ArmedMount) -> Done {
        match &m.source {
            ArmedSource::Cgroup { hierarchies, links, anew } => {
                // What is mounted shows the cgroup that its maker is in.
                self.inbox.fill(self.socket).at(Step::Handshake)?;
                join_cgroups(self.armed.ok_or(Failure(Step::Mount, 0, Errno(libc::EINVAL)))?)?;
                self.cgroups(m, hierarchies, links, *anew)
            }
            source => {
                // What it shows of the network is that of its maker, and so are its rights.
                if matches!(source, ArmedSource::Filesystem { fstype, .. } if *fstype == *c"sysfs")
                    && let Some(network) = self.network.take()
                {
                    network.join()?;
                }
                self.one_mount(m).at(Step::Mount)
            }
        }
    }

    fn one_mount(&mut self, m: &'a ArmedMount) -> sys::Result<()> {
        match &m.source {
            ArmedSource::Filesystem { long: Some((flags, data)), fstype, source, .. } => {
                let target = self.directory(&m.target, Resolve::InRoot, 0o755)?;
                self.check_target(&target, m)?;
                let source = source.as_deref().unwrap_or(fstype);
                self.mount_old(&target, source, fstype, *flags, data)?;
                if m.propagation.is_empty() {
                    return Ok(());
                }
                let tree = self.reopen(&target)?;
                self.apply(tree.as_fd(), m)
            }
            ArmedSource::Filesystem {
                fstype, source, options, strict, keep_mode, copy_up, ..
            } => {
                let context = FsContext::open(fstype)?;
                if let Some(source) = source {
                    // Some types have none; then it is only a name.
                    let _ = context.set(c"source", Some(source));
                }
                for (key, value) in options {
                    context.set(key, value.as_deref())?;
                }
                let resolve = if *strict { Resolve::NoSymlinks } else { Resolve::InRoot };
                if *keep_mode {
                    // Where there is nothing to keep it from the file system's own is it: 1777.
                    let flags = libc::O_PATH | libc::O_DIRECTORY;
                    if let Ok(there) = self.open(m.target.full(), flags, resolve) {
                        let mode = octal(fs::stat(there.as_fd())?.mode);
                        let mode = CStr::from_bytes_until_nul(&mode).unwrap_or_default();
                        context.set(c"mode", Some(mode))?;
                    }
                }
                // Read-only comes last where something is still written.
                let later = if *copy_up { attr::RDONLY } else { 0 };
                let tree = context.mount(m.attrs[0] & !later)?;
                let target = self.directory(&m.target, resolve, 0o755)?;
                self.check_target(&target, m)?;
                if *copy_up {
                    super::copy_up::copy(&target.1, &tree)?;
                }
                let [set, _, set_below, clear_below] = m.attrs;
                if set & later != 0 || set_below | clear_below != 0 || !m.propagation.is_empty() {
                    self.apply(tree.as_fd(), m)?;
                }
                self.attach_or_cover(Opened::Own(tree), &target)
            }
            ArmedSource::Bind { tree, directory } => {
                let Some((tree, directory)) = open_tree(tree, *directory, self.inbox, self.socket)?
                else {
                    return Err(Errno(libc::ENOENT));
                };
                self.bind(m, tree, directory)
            }
            ArmedSource::Within { path, recursive, step } => {
                // The root may be hostile, and its symlinks stay in it as they do for targets.
                let there = self.open(path, libc::O_PATH, Resolve::InRoot)?;
                let tree = mount::clone_tree(there.as_fd(), c"", *recursive)?;
                let directory = fs::stat(tree.as_fd())?.is(libc::S_IFDIR);
                if let Some(step) = step {
                    map_ids(self.socket, tree.as_fd(), *step)?;
                }
                self.bind(m, Opened::Own(tree), directory)
            }
            ArmedSource::Cgroup { .. } => Err(Errno(libc::EINVAL)),
        }
    }

    fn bind(&mut self, m: &'a ArmedMount, tree: Opened, directory: bool) -> sys::Result<()> {
        let there = if m.target_itself { self.itself(&m.target)? } else { None };
        let target = match there {
            Some(there) => there,
            None if directory => self.directory(&m.target, Resolve::InRoot, 0o755)?,
            None => self.file(&m.target)?,
        };
        self.check_target(&target, m)?;
        self.apply(tree.as_fd(), m)?;
        self.attach_or_cover(tree, &target)
    }

    /// mount(2) on an opened directory, which is the current one meanwhile.
    fn mount_old(
        &mut self,
        target: &Target<'_>,
        source: &CStr,
        fstype: &CStr,
        flags: u64,
        data: &CStr,
    ) -> sys::Result<()> {
        fs::change_dir_fd(target.1.as_fd())?;
        mount::mount_here(source, fstype, flags, data)?;
        self.forget_below(target);
        Ok(())
    }

    /// Attributes and propagation.
    fn apply(&self, tree: BorrowedFd<'_>, m: &ArmedMount) -> sys::Result<()> {
        let [set, clear, set_below, clear_below] = m.attrs;
        let private = if m.propagation.is_empty() { libc::MS_PRIVATE } else { 0 };
        match mount::change(tree, set, clear, private, false, None) {
            // What the host's mount has and whoever is not its owner cannot take away stays.
            Err(e) if e.0 == libc::EPERM => {
                let (set, clear) = around_locks(tree, m)?;
                mount::change(tree, set, clear, private, false, None)?;
            }
            other => other?,
        }
        if set_below | clear_below != 0 {
            mount::change(tree, set_below, clear_below, private, true, None)?;
        }
        if private != 0 {
            return mount::change(tree, 0, 0, private, true, None);
        }
        for (flag, recursive) in &m.propagation {
            mount::change(tree, 0, 0, *flag, *recursive, None)?;
        }
        Ok(())
    }

    /// Whether something may be mounted there.
    fn check_target(&self, target: &Target<'_>, m: &ArmedMount) -> sys::Result<()> {
        if !m.over_proc && fs::statfs(target.1.as_fd())?.magic == PROC_SUPER_MAGIC {
            return Err(Errno(libc::ELOOP));
        }
        Ok(())
    }

    fn cgroups(
        &mut self,
        m: &'a ArmedMount,
        hierarchies: &[Hierarchy],
        links: &[(CString, CString)],
        anew: bool,
    ) -> Done {
        let mut came = [-1; 32];
        if !anew {
            receive_trees(self.socket, &mut came).at(Step::Handshake)?;
        }
        self.mount_cgroups(m, hierarchies, links, anew, &came).at(Step::Mount)
    }

    fn mount_cgroups(
        &mut self,
        m: &'a ArmedMount,
        hierarchies: &[Hierarchy],
        links: &[(CString, CString)],
        anew: bool,
        came: &[RawFd; 32],
    ) -> sys::Result<()> {
        let target = self.directory(&m.target, Resolve::InRoot, 0o755)?;
        self.check_target(&target, m)?;
        let open = |h: &Hierarchy, at: usize| -> sys::Result<Opened> {
            if anew {
                let context = FsContext::open(&h.fstype)?;
                for (key, value) in &h.options {
                    context.set(key, value.as_deref())?;
                }
                return Ok(Opened::Own(context.mount(m.attrs[0])?));
            }
            let fd = came.get(at).copied().filter(|fd| *fd >= 0).ok_or(Errno(libc::EPROTO))?;
            let came = io::well_known(fd);
            let tree = match &h.path {
                None => Opened::Came(came),
                Some(path) => Opened::Own(copy_of(path, came)?),
            };
            mount::set_attr(tree.as_fd(), m.attrs[0], 0, true, None)?;
            Ok(tree)
        };
        if let [only] = hierarchies
            && only.name.is_empty()
        {
            let tree = open(only, 0)?;
            self.apply(tree.as_fd(), m)?;
            return self.attach(&tree, &target);
        }
        let context = FsContext::open(c"tmpfs")?;
        context.set(c"mode", Some(c"0755"))?;
        let top = context.mount(m.attrs[0] & !attr::RDONLY)?;
        self.attach(&top, &target)?;
        for (at, hierarchy) in hierarchies.iter().enumerate() {
            fs::mkdir_at(top.as_fd(), &hierarchy.name, 0o755)?;
            let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let place = fs::open_at(top.as_fd(), &hierarchy.name, flags, 0)?;
            let tree = open(hierarchy, at)?;
            mount::attach(tree.as_fd(), place.as_fd())?;
        }
        for (name, to) in links {
            fs::symlink_at(to, top.as_fd(), name)?;
        }
        self.apply(top.as_fd(), m)
    }

    /// Makes a device node, or makes sure that what is there is this one.
    pub(super) fn device(
        &mut self,
        place: &'a Place,
        mode: u32,
        device: u64,
        owner: (u32, u32),
    ) -> sys::Result<()> {
        let (parent, name) = self.parent(place)?;
        match fs::mknod_at(parent, name, mode, device) {
            Ok(()) => {
                // Who else can write to the directory may have put another file there meanwhile.
                let made = fs::open_beneath(
                    parent,
                    name,
                    libc::O_PATH | libc::O_NOFOLLOW,
                    0,
                    Resolve::Beneath,
                )?;
                let seen = fs::stat(made.as_fd())?;
                let same =
                    seen.is(mode & libc::S_IFMT) && (seen.is(libc::S_IFIFO) || seen.rdev == device);
                if !same {
                    return Err(Errno(libc::EEXIST));
                }
                fs::chown_fd(made.as_fd(), owner.0, owner.1)
            }
            Err(e) if e.0 == libc::EEXIST => {
                let flags = libc::O_PATH | libc::O_NOFOLLOW;
                let there = fs::open_beneath(parent, name, flags, 0, Resolve::Beneath)?;
                let seen = fs::stat(there.as_fd())?;
                let same =
                    seen.is(mode & libc::S_IFMT) && (seen.is(libc::S_IFIFO) || seen.rdev == device);
                if same { Ok(()) } else { Err(Errno(libc::EEXIST)) }
            }
            Err(e) => Err(e),
        }
    }
}

/// What can be set and cleared where the mount keeps what the host has put on it. `EPERM` where that is
/// not what was asked for.
fn around_locks(tree: BorrowedFd<'_>, m: &ArmedMount) -> sys::Result<(u64, u64)> {
    const TIMES: u64 = attr::ATIME | attr::NODIRATIME;
    const LOCKED: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | TIMES;
    let has = fs::statfs(tree)?.attrs;
    let [set, clear, ..] = m.attrs;
    if has & m.unwanted & LOCKED != 0 || m.times != 0 && m.times != has & TIMES {
        return Err(Errno(libc::EPERM));
    }
    Ok((set & !attr::ATIME, clear & !(has & LOCKED | attr::ATIME)))
}

/// Has the supervisor map the ids of a mount, for which it needs rights over its file system.
fn map_ids(socket: BorrowedFd<'_>, tree: BorrowedFd<'_>, step: u32) -> sys::Result<()> {
    // An own pair: other messages may be under way on the socket.
    let (ours, theirs) = io::seqpacket_pair()?;
    let asked = Message::MapIds(step).to_bytes();
    io::send(socket, &asked, Some(theirs.as_fd()))?;
    drop(theirs);
    io::send(ours.as_fd(), &asked, Some(tree))?;
    let mut buf = [0; SIZE];
    io::recv(ours.as_fd(), &mut buf, false)?;
    if buf == asked { Ok(()) } else { Err(Errno(libc::EPIPE)) }
}

/// The mount of a path, which has to be this directory: `ESTALE` otherwise.
fn copy_of(path: &CStr, directory: BorrowedFd<'_>) -> sys::Result<OwnedFd> {
    let copy = mount::clone_tree(fs::cwd(), path, false)?;
    let (seen, meant) = (fs::stat(copy.as_fd())?, fs::stat(directory)?);
    if (seen.dev, seen.ino) == (meant.dev, meant.ino) { Ok(copy) } else { Err(Errno(libc::ESTALE)) }
}

/// The twelve bits of a mode as digits.
fn octal(mode: u32) -> [u8; 6] {
    let mut digits = *b"00000\0";
    for (place, shift) in digits.iter_mut().zip([12, 9, 6, 3, 0]) {
        // Of the highest digit no bit is left.
        *place = b"01234567".get((mode & 0o7777) as usize >> shift & 7).copied().unwrap_or(b'0');
    }
    digits
}

fn receive_trees(socket: BorrowedFd<'_>, came: &mut [RawFd; 32]) -> sys::Result<()> {
    let mut buf = [0u8; SIZE];
    let n = io::recv_many(socket, &mut buf, false, came)?;
    match buf.get(..n).and_then(Message::from_bytes) {
        Some(Message::Trees) => Ok(()),
        _ => Err(Errno(libc::EPIPE)),
    }
}
