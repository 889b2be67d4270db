//! A cgroup directory by descriptor: control files read and written relative to it.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::sys::{self, fs, io, process};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An open cgroup directory.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    /// For messages only.
    pub(super) path: String,
}

fn c_string(name: &str) -> CString {
    // Names here are our own constants and checked ids; one with a NUL opens nothing.
    CString::new(name).unwrap_or_default()
}

impl Dir {
    /// Opens a directory by path.
    pub(super) fn open(path: &str) -> sys::Result<Dir> {
        Dir::open_at(fs::cwd(), path, path.to_owned())
    }

    fn open_at(dir: BorrowedFd<'_>, name: &str, path: String) -> sys::Result<Dir> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        Ok(Dir { fd: fs::open_at(dir, &c_string(name), flags, 0)?, path })
    }

    /// Opens a child, never through a symlink.
    pub(super) fn child(&self, name: &str) -> sys::Result<Dir> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let fd = fs::open_at(self.fd.as_fd(), &c_string(name), flags, 0)?;
        Ok(Dir { fd, path: format!("{}/{name}", self.path) })
    }

    /// Makes and opens a child; `EEXIST` if it is there.
    pub(super) fn make_child(&self, name: &str) -> sys::Result<Dir> {
        fs::mkdir_at(self.fd.as_fd(), &c_string(name), 0o755)?;
        self.child(name)
    }

    /// Opens a directory some levels below, through no symlink and not out of this one.
    pub(super) fn below(&self, path: &str) -> sys::Result<Dir> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let path_c = c_string(path);
        let fd = fs::open_beneath(self.fd.as_fd(), &path_c, flags, 0, fs::Resolve::Beneath)?;
        Ok(Dir { fd, path: format!("{}/{path}", self.path) })
    }

    /// Makes a directory below; `EEXIST` if it is there.
    pub(super) fn make_below(&self, path: &str) -> sys::Result<()> {
        fs::mkdir_at(self.fd.as_fd(), &c_string(path), 0o755)
    }

    /// Opens the directory that this one is in, which inside a hierarchy nobody can change.
    pub(super) fn parent(&self) -> sys::Result<Dir> {
        let up = self.path.rfind('/').and_then(|at| self.path.get(..at)).unwrap_or_default();
        Dir::open_at(self.fd.as_fd(), "..", up.to_owned())
    }

    /// Removes a child.
    pub(super) fn remove_child(&self, name: &str) -> sys::Result<()> {
        fs::rmdir_at(self.fd.as_fd(), &c_string(name))
    }

    /// Writes a control file, whole.
    pub(super) fn write(&self, file: &str, value: &str) -> sys::Result<()> {
        let fd = fs::open_at(self.fd.as_fd(), &c_string(file), libc::O_WRONLY, 0)?;
        io::write_whole(fd.as_fd(), value.as_bytes())
    }

    /// Writes a limit; the message names file and value.
    pub(super) fn set(&self, file: &str, value: &str) -> Result<()> {
        self.write(file, value).map_err(|e| {
            let what = format!("write {value} to {}/{file}", self.path);
            let error = Error::os(what, e);
            match e.0 {
                libc::EINVAL | libc::ERANGE => error.with_kind(Kind::InvalidConfig),
                libc::EBUSY => error.with_kind(Kind::InvalidConfig).hint(
                    "the kernel refuses the value now: for memory it is below what is in use",
                ),
                _ => error,
            }
        })
    }

    /// Opens a file of it.
    pub(super) fn open_file(&self, file: &str, flags: i32) -> sys::Result<OwnedFd> {
        fs::open_at(self.fd.as_fd(), &c_string(file), flags, 0)
    }

    /// Reads a control file; they fit one page.
    pub(super) fn read(&self, file: &str) -> sys::Result<String> {
        let fd = self.open_file(file, libc::O_RDONLY)?;
        let mut buf = [0u8; 8192];
        let n = io::read(fd.as_fd(), &mut buf)?;
        Ok(String::from_utf8_lossy(buf.get(..n).unwrap_or(&[])).into_owned())
    }

    /// Reads a control file of any length, up to a bound that no honest one comes near.
    pub(super) fn read_long(&self, file: &str) -> sys::Result<String> {
        const MOST: usize = 16 << 20;
        let fd = self.open_file(file, libc::O_RDONLY)?;
        let mut text = Vec::new();
        let mut buf = [0u8; 8192];
        loop {
            match io::read(fd.as_fd(), &mut buf) {
                Ok(0) => return Ok(String::from_utf8_lossy(&text).into_owned()),
                Ok(n) if text.len() + n <= MOST => {
                    text.extend_from_slice(buf.get(..n).unwrap_or(&[]));
                }
                Ok(_) => return Err(sys::Errno(libc::EFBIG)),
                Err(e) if e.0 == libc::EINTR => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads a control file that is one number.
    pub(super) fn number(&self, file: &str) -> Option<u64> {
        self.read(file).ok()?.trim().parse().ok()
    }

    /// Reads one value of a file of `key value` lines.
    pub(super) fn keyed(&self, file: &str, key: &str) -> Option<u64> {
        keyed(&self.read(file).ok()?, key)
    }

    /// Takes the lock that says its maker lives.
    pub(super) fn try_lock(&self) -> sys::Result<bool> {
        io::try_lock(self.fd.as_fd())
    }

    /// Names of children that are cgroups of ours.
    pub(super) fn our_children(&self) -> Vec<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut dir) = nix::dir::Dir::openat(&self.fd, ".", flags, Mode::empty()) else {
            return Vec::new();
        };
        dir.iter()
            .filter_map(|e| e.ok()?.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| name.starts_with(super::PREFIX))
            .collect()
    }

    /// Names of all cgroups in it.
    pub(super) fn children(&self) -> sys::Result<Vec<CString>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let errno = |e: nix::errno::Errno| sys::Errno(e as i32);
        let mut dir = nix::dir::Dir::openat(&self.fd, ".", flags, Mode::empty()).map_err(errno)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(errno)?;
            let dots = matches!(entry.file_name().to_bytes(), b"." | b"..");
            if entry.file_type() == Some(nix::dir::Type::Directory) && !dots {
                names.push(entry.file_name().to_owned());
            }
        }
        Ok(names)
    }

    /// Opens a child by a name that [`Dir::children`] gave: a container may have chosen it, so it
    /// is bytes.
    pub(super) fn child_bytes(&self, name: &CStr) -> sys::Result<Dir> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let fd = fs::open_at(self.fd.as_fd(), name, flags, 0)?;
        Ok(Dir { fd, path: format!("{}/{}", self.path, name.to_string_lossy()) })
    }

    /// Removes a child by such a name.
    pub(super) fn remove_child_bytes(&self, name: &CStr) -> sys::Result<()> {
        fs::rmdir_at(self.fd.as_fd(), name)
    }

    /// The directory's inode number, which for a cgroup is its id and not given twice.
    pub(super) fn id(&self) -> sys::Result<u64> {
        fs::stat(self.fd.as_fd()).map(|s| s.ino)
    }

    /// The magic number of its file system.
    pub(super) fn magic(&self) -> Option<i64> {
        fs::statfs(self.fd.as_fd()).ok().map(|s| s.magic)
    }

    /// Kills what is still inside, by pidfd, after another look at the membership, so that a
    /// reused pid is never hit.
    pub(super) fn kill_all(&self) {
        if self.write("cgroup.kill", "1").is_ok() {
            return;
        }
        let Ok(list) = self.read("cgroup.procs") else { return };
        for pid in list.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|p| *p > 0) {
            let Ok(pidfd) = process::pidfd_open(pid) else { continue };
            let still = self.read("cgroup.procs").unwrap_or_default();
            if still.lines().any(|l| l.parse() == Ok(pid)) {
                // It may have ended meanwhile, which is what is wanted.
                let _ = process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One value of `key value` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|l| {
        let (k, v) = l.split_once(' ')?;
        if k == key { v.trim().parse().ok() } else { None }
    })
}

/// Opens or makes `PREFIX<id>` below `parent` and locks it. Two supervisors may meet: one that
/// makes the directory and one that sees it before it is locked, takes it for abandoned and
/// removes it. The loser makes it again.
pub(super) fn make_locked(parent: &Dir, name: &str) -> Result<Dir> {
    for tries in 0..100 {
        match parent.make_child(name) {
            Ok(dir) => match dir.try_lock() {
                // Still there under its name: nobody removed it before the lock was ours.
                Ok(true) if still_there(parent, name, &dir) => return Ok(dir),
                Ok(_) => {}
                Err(e) => return Err(Error::os(format!("lock the cgroup {}", dir.path), e)),
            },
            // Removed between making and opening.
            Err(e) if e.0 == libc::ENOENT || e.0 == libc::ENODEV => {}
            Err(e) if e.0 == libc::EEXIST => {
                // Abandoned, if its lock is to be had: whoever made it is dead. The lock is held until
                // it is gone. Let go before, it may be removed and made again by others meanwhile,
                // and what is removed by name here is theirs.
                if let Ok(left) = parent.child(name)
                    && left.try_lock() == Ok(true)
                    && still_there(parent, name, &left)
                {
                    left.kill_all();
                    if parent.remove_child(name).is_ok() {
                        continue;
                    }
                }
                // What was left is still dying, or somebody is removing it this moment. That takes
                // no time by itself, but a lock lives on in a child that another thread clones
                // meanwhile, until its set-up closes what it has inherited: under load some tens of
                // milliseconds.
                if tries < 95 {
                    let pause = if tries < 20 { 1 } else { 10 };
                    std::thread::sleep(std::time::Duration::from_millis(pause));
                    continue;
                }
                let id = name.trim_start_matches(super::PREFIX);
                return Err(Error::new(Kind::Exists, format!("the id {id:?} is in use"))
                    .hint("give another --id, or none: stockade then makes one up"));
            }
            Err(e) => return Err(Error::os(format!("make a cgroup in {}", parent.path), e)),
        }
    }
    Err(Error::new(Kind::Os, format!("make a cgroup in {}: it vanishes each time", parent.path)))
}

/// Whether the name is still that of this directory. A lock is worth something only then: it
/// may be on one that somebody has removed, and whose name another run has by now.
pub(super) fn still_there(parent: &Dir, name: &str, dir: &Dir) -> bool {
    parent.child(name).is_ok_and(|there| same(&there, dir))
}

fn same(a: &Dir, b: &Dir) -> bool {
    match (fs::stat(a.as_fd()), fs::stat(b.as_fd())) {
        (Ok(a), Ok(b)) => a.dev == b.dev && a.ino == b.ino,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H62. What is removed as abandoned is not what another has made under the name meanwhile.
    #[test]
    fn a_name_that_many_want_is_each_ones_until_it_gives_it_back() {
        let path = std::env::temp_dir().join(format!("stockade-lock-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let made = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    // Any directory will do: made, locked and removed as one of cgroups is.
                    let parent = Dir::open(path.to_str().unwrap()).unwrap();
                    for _ in 0..200 {
                        let Ok(own) = make_locked(&parent, "x") else { continue };
                        let nth = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        for _ in 0..10 {
                            assert!(still_there(&parent, "x", &own), "removed by another");
                            std::thread::yield_now();
                        }
                        // Every other one dies and leaves it behind.
                        if nth.is_multiple_of(2) {
                            parent.remove_child("x").unwrap();
                        }
                    }
                });
            }
        });
        std::fs::remove_dir_all(&path).unwrap();
        assert!(made.into_inner() > 200);
    }

    #[test]
    fn a_key_is_matched_whole() {
        let text = "oom 3\noom_kill 2\n";
        assert_eq!(keyed(text, "oom_kill"), Some(2));
        assert_eq!(keyed(text, "oom"), Some(3));
        assert_eq!(keyed(text, "oo"), None);
    }
}
