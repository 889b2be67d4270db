//! Files by descriptor: openat2, directories, stat, pivot_root.
//!
//! Flags that safety wants are added here and not by the caller: `O_CLOEXEC` and `O_NOCTTY`
//! always (a file of a hostile rootfs must not become our terminal).

use super::mount::attr;
use super::{Result, check, check_int, int};
use core::ffi::CStr;
use libc::{c_int, c_long};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The current directory as a directory descriptor.
#[must_use]
pub fn cwd() -> BorrowedFd<'static> {
    // SAFETY: AT_FDCWD is not a descriptor that could be closed; every *at call takes it.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
}

/// How [`open_beneath`] resolves a path. Magic links are never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolve {
    /// `RESOLVE_IN_ROOT`: `/`, `..` and symlinks stay inside the directory, as if by chroot.
    InRoot,
    /// As `InRoot`, and no symlink anywhere (CVE-2019-16884: a symlinked `/proc`).
    NoSymlinks,
    /// `RESOLVE_BENEATH`, no symlink: leaving the directory is an error.
    Beneath,
}

/// `openat2(dir, path, flags, resolve)`—opens without leaving `dir` (Linux 5.6).
pub fn open_beneath(
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: c_int,
    mode: u32,
    resolve: Resolve,
) -> Result<OwnedFd> {
    #[repr(C)]
    struct How {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    // openat2, unlike openat, refuses flags that mean nothing together.
    let no_tty = if flags & libc::O_PATH == 0 { libc::O_NOCTTY } else { 0 };
    let how = How {
        flags: u64::from((flags | libc::O_CLOEXEC | no_tty).cast_unsigned()),
        mode: u64::from(mode),
        resolve: libc::RESOLVE_NO_MAGICLINKS
            | match resolve {
                Resolve::InRoot => libc::RESOLVE_IN_ROOT,
                Resolve::NoSymlinks => libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS,
                Resolve::Beneath => libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS,
            },
    };
    // A rename elsewhere in the tree makes RESOLVE_IN_ROOT answer EAGAIN ("try again"): a
    // hostile process may cause some, so the tries are bounded.
    let mut tries = 0;
    loop {
        // SAFETY: the path is a live C string and `how` has the layout of open_how.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<How>(),
            )
        };
        match check(ret) {
            // SAFETY: a new descriptor that nobody else owns.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(int(fd)) }),
            Err(e) if (e.0 == libc::EAGAIN || e.0 == libc::EINTR) && tries < 128 => tries += 1,
            Err(e) => return Err(e),
        }
    }
}

/// `openat(dir, path, flags)`—ordinary resolution, for paths of the host that the user named.
pub fn open_at(dir: BorrowedFd<'_>, path: &CStr, flags: c_int, mode: u32) -> Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOCTTY;
    // SAFETY: the path is a live C string.
    let fd = check_int(unsafe { libc::openat(dir.as_raw_fd(), path.as_ptr(), flags, mode) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `mkdirat(dir, name, mode)`.
pub fn mkdir_at(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the name is a live C string.
    check_int(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) }).map(drop)
}

/// `symlinkat(target, dir, name)`.
pub fn symlink_at(target: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: both are live C strings.
    check_int(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) }).map(drop)
}

/// `mknodat(dir, name, mode, device)`.
pub fn mknod_at(dir: BorrowedFd<'_>, name: &CStr, mode: u32, device: u64) -> Result<()> {
    // SAFETY: the name is a live C string.
    check_int(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, device) }).map(drop)
}

/// `unlinkat(dir, name, 0)`.
pub fn unlink_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: the name is a live C string.
    check_int(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), 0) }).map(drop)
}

/// `chroot(".")`.
pub fn chroot_here() -> Result<()> {
    // SAFETY: a static C string.
    check_int(unsafe { libc::chroot(c".".as_ptr()) }).map(drop)
}

/// `setdomainname(name)` of the current UTS namespace.
pub fn set_domainname(name: &CStr) -> Result<()> {
    // SAFETY: the kernel reads `len` bytes of the live C string.
    check_int(unsafe { libc::setdomainname(name.as_ptr(), name.count_bytes()) }).map(drop)
}

/// `fchownat(dir, name, AT_SYMLINK_NOFOLLOW)`.
pub fn chown_at(dir: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> Result<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the name is a live C string.
    check_int(unsafe { libc::fchownat(dir.as_raw_fd(), name.as_ptr(), uid, gid, flags) }).map(drop)
}

/// `fchownat(fd, "", AT_EMPTY_PATH)`, which an `O_PATH` descriptor permits.
pub fn chown_fd(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: the name is a literal C string.
    check_int(unsafe {
        libc::fchownat(fd.as_raw_fd(), c"".as_ptr(), uid, gid, libc::AT_EMPTY_PATH)
    })
    .map(drop)
}

/// `unlinkat(dir, name, AT_REMOVEDIR)`.
pub fn rmdir_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: the name is a live C string.
    check_int(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), libc::AT_REMOVEDIR) })
        .map(drop)
}

/// `fchmod(fd, mode)`: past the umask, which mkdir and open obey.
pub fn chmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: integers only.
    check_int(unsafe { libc::fchmod(fd.as_raw_fd(), mode) }).map(drop)
}

/// `fchown(fd, uid, gid)`.
pub fn chown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: integers only.
    check_int(unsafe { libc::fchown(fd.as_raw_fd(), uid, gid) }).map(drop)
}

/// What fstat(2) tells of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Owner, as the caller's user namespace sees it.
    pub uid: u32,
    /// Group, likewise.
    pub gid: u32,
    /// Device number, if the file is a device.
    pub rdev: u64,
}

impl Stat {
    /// Whether the type bits are these (`S_IFDIR`, ...).
    #[must_use]
    pub fn is(&self, kind: u32) -> bool {
        self.mode & libc::S_IFMT == kind
    }
}

fn convert(s: &libc::stat) -> Stat {
    Stat {
        dev: s.st_dev,
        ino: s.st_ino,
        mode: s.st_mode,
        uid: s.st_uid,
        gid: s.st_gid,
        rdev: s.st_rdev,
    }
}

/// `fstat(fd)`.
pub fn stat(fd: BorrowedFd<'_>) -> Result<Stat> {
    // SAFETY: stat is integers, for which all-zero is a value.
    let mut s: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes one stat to the live local.
    check_int(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut s) })?;
    Ok(convert(&s))
}

/// `fstatfs(fd)`: file system magic, block size, total and free blocks, total and free inodes.
#[derive(Clone, Copy, Debug)]
pub struct FsStat {
    /// `*_MAGIC` of linux/magic.h.
    pub magic: i64,
    /// Bytes a block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Inodes in all; 0 where the file system does not count them.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
    /// Attributes of the mount, as [`super::mount::attr`] has them: every mount has one at least of
    /// those that are about access times.
    pub attrs: u64,
}

/// `ST_*` of statvfs(3) and the attribute that each stands for.
const ATTRIBUTES: [(i64, u64); 8] = [
    (0x1, attr::RDONLY),
    (0x2, attr::NOSUID),
    (0x4, attr::NODEV),
    (0x8, attr::NOEXEC),
    (0x400, attr::NOATIME),
    (0x800, attr::NODIRATIME),
    (0x1000, attr::RELATIME),
    (0x2000, attr::NOSYMFOLLOW),
];

/// `fstatfs(fd)`.
pub fn statfs(fd: BorrowedFd<'_>) -> Result<FsStat> {
    // SAFETY: statfs is integers, for which all-zero is a value.
    let mut s: libc::statfs64 = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes one statfs to the live local.
    check_int(unsafe { libc::fstatfs64(fd.as_raw_fd(), &raw mut s) })?;
    #[allow(clippy::unnecessary_cast)] // the width differs by architecture
    Ok(FsStat {
        magic: s.f_type as i64,
        block_size: (s.f_bsize as i64).cast_unsigned(),
        blocks: s.f_blocks,
        blocks_free: s.f_bfree,
        inodes: s.f_files,
        inodes_free: s.f_ffree,
        attrs: attributes(s.f_flags as i64),
    })
}

fn attributes(flags: i64) -> u64 {
    let set = ATTRIBUTES.iter().filter(|(bit, _)| flags & bit != 0);
    let attrs = set.fold(0, |all, (_, attr)| all | attr);
    // No bit says strictatime: it is what is left.
    if attrs & attr::ATIME == 0 { attrs | attr::STRICTATIME } else { attrs }
}

/// The names in a directory, by getdents64(2) and without a heap.
#[derive(Debug)]
pub struct DirEntries<'d> {
    dir: BorrowedFd<'d>,
    buf: Entries,
    len: usize,
    at: usize,
}

/// Aligned as the kernel's records are.
#[repr(C, align(8))]
#[derive(Debug)]
struct Entries([u8; 4096]);

impl<'d> DirEntries<'d> {
    /// Reads from where the descriptor is.
    #[must_use]
    pub fn new(dir: BorrowedFd<'d>) -> DirEntries<'d> {
        DirEntries { dir, buf: Entries([0; 4096]), len: 0, at: 0 }
    }

    /// The next name; `None`: that was all.
    #[allow(clippy::should_implement_trait)] // it lends from its buffer
    pub fn next(&mut self) -> Result<Option<&CStr>> {
        if self.at >= self.len {
            let size = self.buf.0.len();
            // SAFETY: the kernel writes at most `size` bytes to the live buffer.
            let n = check(unsafe {
                libc::syscall(
                    libc::SYS_getdents64,
                    self.dir.as_raw_fd(),
                    self.buf.0.as_mut_ptr(),
                    size,
                )
            })?;
            (self.at, self.len) = (0, usize::try_from(n).unwrap_or(0));
            if self.len == 0 {
                return Ok(None);
            }
        }
        let damaged = super::Errno(libc::EIO);
        // struct linux_dirent64: inode 8, offset 8, length 2, type 1, the name with a NUL.
        let record = self.buf.0.get(self.at..self.len).ok_or(damaged)?;
        let length = match record {
            [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, a, b, ..] => {
                usize::from(u16::from_ne_bytes([*a, *b]))
            }
            _ => return Err(damaged),
        };
        let name = record.get(19..length).ok_or(damaged)?;
        self.at += length;
        CStr::from_bytes_until_nul(name).map(Some).map_err(|_| damaged)
    }
}

/// `readlinkat(link, "")` of a symlink opened with `O_PATH`.
pub fn read_link<'b>(link: BorrowedFd<'_>, buf: &'b mut [u8; 4096]) -> Result<&'b CStr> {
    let room = buf.len() - 1;
    // SAFETY: the kernel writes at most `room` bytes to the live buffer.
    let n = unsafe {
        libc::readlinkat(
            link.as_raw_fd(),
            c"".as_ptr(),
            buf.as_mut_ptr().cast::<libc::c_char>(),
            room,
        )
    };
    let n = usize::try_from(n).map_err(|_| super::Errno::last())?;
    if let Some(end) = buf.get_mut(n) {
        *end = 0;
    }
    CStr::from_bytes_until_nul(buf).map_err(|_| super::Errno(libc::EIO))
}

/// `ftruncate(fd, 0)`.
pub fn truncate(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: integers only.
    check_int(unsafe { libc::ftruncate(fd.as_raw_fd(), 0) }).map(drop)
}

/// `lseek(fd, offset, whence)`.
pub fn seek(fd: BorrowedFd<'_>, offset: i64, whence: c_int) -> Result<i64> {
    // SAFETY: integers only.
    let at = unsafe { libc::lseek(fd.as_raw_fd(), offset, whence) };
    if at == -1 { Err(super::Errno::last()) } else { Ok(at) }
}

/// `fchdir(fd)`.
pub fn change_dir_fd(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: integers only.
    check_int(unsafe { libc::fchdir(fd.as_raw_fd()) }).map(drop)
}

/// `chdir(path)`.
pub fn change_dir(path: &CStr) -> Result<()> {
    // SAFETY: the path is a live C string.
    check_int(unsafe { libc::chdir(path.as_ptr()) }).map(drop)
}

/// `getcwd()`, of which only the first byte matters here: the kernel gives an absolute path
/// for a directory inside the root, and `(unreachable)…` for one outside (CVE-2024-21626).
pub fn cwd_is_inside_root() -> Result<bool> {
    let mut buf = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the kernel writes at most `len` bytes to the live buffer. Raw, since libc's
    // version turns an unreachable directory into ENOENT or a search.
    let ret: c_long = unsafe { libc::syscall(libc::SYS_getcwd, buf.as_mut_ptr(), buf.len()) };
    check(ret)?;
    Ok(buf.first() == Some(&b'/'))
}

/// `pivot_root(".", ".")`: the current directory becomes the root, the old root is stacked on
/// top of it.
pub fn pivot_root_here() -> Result<()> {
    // SAFETY: both are static C strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}

/// `sethostname(name)` of the current UTS namespace.
pub fn set_hostname(name: &CStr) -> Result<()> {
    // SAFETY: the kernel reads `len` bytes of the live C string.
    check_int(unsafe { libc::sethostname(name.as_ptr(), name.count_bytes()) }).map(drop)
}

/// Makes a memfd unchangeable, for good (F_ADD_SEALS).
pub fn seal(fd: BorrowedFd<'_>) -> Result<()> {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: integers only.
    check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

/// `faccessat2(path, X_OK, AT_EACCESS)` (Linux 5.8): whether the effective ids may execute it.
pub fn may_execute(path: &CStr) -> Result<()> {
    // SAFETY: the path is a live C string.
    check(unsafe {
        libc::syscall(
            libc::SYS_faccessat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::X_OK,
            libc::AT_EACCESS,
        )
    })
    .map(drop)
}

/// `faccessat(path, X_OK)`, for whom a filter denies [`may_execute`]'s call, which is younger. By the
/// real ids, which set-up has made the effective ones.
pub fn may_execute_by_real_ids(path: &CStr) -> Result<()> {
    // SAFETY: the path is a live C string.
    check(unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), libc::X_OK) })
        .map(drop)
}

/// Whether what the path leads to is on a mount that is read-only, by statvfs(3): access(2) says so
/// only to who could write otherwise, which root of a user namespace could not.
pub fn is_on_read_only_mount(path: &CStr) -> bool {
    // SAFETY: statvfs is integers, for which all-zero is a value.
    let mut s: libc::statvfs = unsafe { core::mem::zeroed() };
    // SAFETY: a live C string; the kernel's answer is written to the live local.
    let asked = check_int(unsafe { libc::statvfs(path.as_ptr(), &raw mut s) });
    asked.is_ok() && s.f_flag & libc::ST_RDONLY != 0
}

/// Whether a memory file can never be written to again (`fcntl(F_GET_SEALS)`).
pub fn is_write_sealed(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: integers only.
    let seals = check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) });
    seals.is_ok_and(|s| s & libc::F_SEAL_WRITE != 0)
}
