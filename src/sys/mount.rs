//! Mounts by descriptor: the mount API of Linux 5.2 and mount_setattr of 5.12.

use super::{Result, check, check_int, int};
use core::ffi::CStr;
use libc::{c_int, c_uint};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Attributes of a mount, as mount_setattr(2) has them.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-ID bits and file capabilities are ignored.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 0x8;
    /// Access times are not updated.
    pub const NOATIME: u64 = 0x10;
    /// Access times are updated always.
    pub const STRICTATIME: u64 = 0x20;
    /// Those of directories are not.
    pub const NODIRATIME: u64 = 0x80;
    /// Symlinks are not followed (Linux 5.14).
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
    /// What of the access times is kept: these bits are one value.
    pub const ATIME: u64 = 0x70;
    /// Access times are updated where they are old. mount_setattr(2) says it with none of
    /// [`ATIME`]'s bits; this one, which it does not use, says it where "nothing" has to be told apart.
    pub const RELATIME: u64 = 0x40;
    /// Mapped by a user namespace (Linux 5.12).
    pub const IDMAP: u64 = 0x0010_0000;
}

const OPEN_TREE_CLONE: c_uint = 1;
const OPEN_TREE_CLOEXEC: c_uint = libc::O_CLOEXEC.cast_unsigned();
const AT_EMPTY_PATH: c_uint = 0x1000;
const AT_RECURSIVE: c_uint = 0x8000;

/// `open_tree(dir, path, OPEN_TREE_CLONE)`—a detached copy of a mount (Linux 5.2).
pub fn clone_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    clone_tree_with(dir, path, if recursive { AT_RECURSIVE } else { 0 })
}

/// The same; of a symlink itself, and not of what it leads to.
pub fn clone_tree_itself(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    const AT_SYMLINK_NOFOLLOW: c_uint = 0x100;
    let more = if recursive { AT_RECURSIVE } else { 0 };
    clone_tree_with(dir, path, more | AT_SYMLINK_NOFOLLOW)
}

fn clone_tree_with(dir: BorrowedFd<'_>, path: &CStr, more: c_uint) -> Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | more;
    // SAFETY: the path is a live C string.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags)
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(int(fd)) })
}

/// `move_mount(tree, target)`—attaches a detached mount on an opened target (Linux 5.2).
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    const F_EMPTY_PATH: c_uint = 0x4;
    const T_EMPTY_PATH: c_uint = 0x40;
    // SAFETY: both paths are static, empty C strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            F_EMPTY_PATH | T_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// `mount_setattr(tree, set, clear)` (Linux 5.12). `userns` goes with [`attr::IDMAP`].
///
/// The mount becomes private too, always: a copy of a shared mount, which is what all of a
/// systemd host's are, is its peer, and what is mounted below either would show below both.
pub fn set_attr(
    tree: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    recursive: bool,
    userns: Option<BorrowedFd<'_>>,
) -> Result<()> {
    change(tree, set, clear, libc::MS_PRIVATE, recursive, userns)
}

/// `mount_setattr(tree, propagation)`: `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`; 0
/// leaves it as it is.
pub fn change(
    tree: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: u64,
    recursive: bool,
    userns: Option<BorrowedFd<'_>>,
) -> Result<()> {
    #[repr(C)]
    struct Attr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    let attr = Attr {
        set,
        clear,
        propagation,
        userns: userns.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
    };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static C string and `attr` has the layout of mount_attr.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<Attr>(),
        )
    })
    .map(drop)
}

/// A file system being configured: `fsopen(type)` (Linux 5.2).
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// Opens a context for the named file system.
    pub fn open(fstype: &CStr) -> Result<FsContext> {
        const FSOPEN_CLOEXEC: c_uint = 1;
        // SAFETY: the name is a live C string.
        let fd =
            check(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC) })?;
        // SAFETY: a new descriptor that nobody else owns.
        Ok(FsContext(unsafe { OwnedFd::from_raw_fd(int(fd)) }))
    }

    fn config(&self, command: c_uint, key: Option<&CStr>, value: Option<&CStr>) -> Result<()> {
        let pointer = |s: Option<&CStr>| s.map_or(core::ptr::null(), CStr::as_ptr);
        // SAFETY: key and value are null or live C strings, as the command wants them.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                command,
                pointer(key),
                pointer(value),
                0,
            )
        })
        .map(drop)
    }

    /// Sets an option; without a value it is a flag.
    pub fn set(&self, key: &CStr, value: Option<&CStr>) -> Result<()> {
        const SET_FLAG: c_uint = 0;
        const SET_STRING: c_uint = 1;
        self.config(if value.is_some() { SET_STRING } else { SET_FLAG }, Some(key), value)
    }

    /// Makes the superblock and a detached mount of it with these attributes.
    pub fn mount(&self, attrs: u64) -> Result<OwnedFd> {
        const CMD_CREATE: c_uint = 6;
        const FSMOUNT_CLOEXEC: c_uint = 1;
        self.config(CMD_CREATE, None, None)?;
        // SAFETY: integers only.
        let fd = check(unsafe {
            libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attrs)
        })?;
        // SAFETY: a new descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(int(fd)) })
    }
}

/// Makes every mount of this namespace private: nothing propagates in or out.
pub fn make_all_private() -> Result<()> {
    change_all(libc::MS_PRIVATE)
}

/// Makes every mount of this namespace that is shared a slave: nothing propagates out.
pub fn make_all_slaves() -> Result<()> {
    change_all(libc::MS_SLAVE)
}

fn change_all(propagation: libc::c_ulong) -> Result<()> {
    let flags = libc::MS_REC | propagation;
    // SAFETY: the path is a static C string; the other pointers are null, as a change of
    // propagation wants them.
    check_int(unsafe {
        libc::mount(core::ptr::null(), c"/".as_ptr(), core::ptr::null(), flags, core::ptr::null())
    })
    .map(drop)
}

/// `mount(source, ".", fstype, flags, data)`: the old call, for options that are longer than the
/// 255 bytes that fsconfig(2) takes.
pub fn mount_here(source: &CStr, fstype: &CStr, flags: u64, data: &CStr) -> Result<()> {
    #[allow(clippy::unnecessary_cast)] // the width differs by architecture
    let flags = flags as libc::c_ulong;
    // SAFETY: all are live C strings.
    check_int(unsafe {
        libc::mount(
            source.as_ptr(),
            c".".as_ptr(),
            fstype.as_ptr(),
            flags,
            data.as_ptr().cast::<libc::c_void>(),
        )
    })
    .map(drop)
}

/// `umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW)`.
pub fn detach(path: &CStr) -> Result<()> {
    let flags: c_int = libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW;
    // SAFETY: a live C string.
    check_int(unsafe { libc::umount2(path.as_ptr(), flags) }).map(drop)
}

/// `umount2(".", MNT_DETACH)`.
pub fn detach_here() -> Result<()> {
    let flags: c_int = libc::MNT_DETACH;
    // SAFETY: a static C string.
    check_int(unsafe { libc::umount2(c".".as_ptr(), flags) }).map(drop)
}
