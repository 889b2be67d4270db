//! The state directory: `<root>/<id>/{state.json,config.json,start}`, by descriptor.
//!
//! Whoever may write here decides which process `kill` signals and what `exec` joins, so the
//! directory and each container's own are looked at when they are opened: the caller's, and writable by
//! nobody else (CVE-2026-3888). A container's directory is locked for as long as something about it
//! changes; making it decides who of two makers wins.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::plan::values::quote;
use crate::sys::fs::{self, Resolve};
use crate::sys::{cred, io};
use std::cell::RefCell;
use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest id. A directory's name has 255 bytes; runc's users use at most 64.
const MAX_ID: usize = 200;

/// How long a container's state is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause between two looks at the lock.
const MOST: Duration = Duration::from_millis(10);

/// State and configurations are read up to this many bytes.
pub(crate) const MAX_FILE: u64 = 16 << 20;

/// Where state is kept unless something else is said.
pub(crate) fn default_root() -> PathBuf {
    if cred::euid() != 0
        && let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty())
    {
        return Path::new(&dir).join("stockade");
    }
    PathBuf::from("/run/stockade")
}

/// A container's id: what runc takes, and no name that means something else in a directory.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    let bad = id.is_empty()
        || id.len() > MAX_ID
        || id == "."
        || id == ".."
        || id.starts_with('.')
        || !id.chars().all(good);
    if !bad {
        return Ok(());
    }
    let short: String = id.chars().take(80).collect();
    // crun's words behind runc's.
    let why = id
        .chars()
        .find(|c| !good(*c) && !c.is_control())
        .map_or_else(String::new, |c| format!(": invalid character `{c}` in the ID"));
    Err(Error::new(Kind::InvalidConfig, format!("invalid container id {}{why}", quote(&short)))
        .hint("use at most 200 letters, digits and _+-. and begin with none of the dots"))
}

/// The state directory, opened.
#[derive(Clone, Debug)]
pub struct Store {
    dir: Arc<OwnedFd>,
}

impl Store {
    /// Opens it; makes it where missing.
    pub(crate) fn open(path: &Path) -> Result<Store> {
        let shown = quote(&path.to_string_lossy());
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::new(Kind::InvalidConfig, format!("{shown} holds a NUL byte")))?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let opened = match fs::open_at(fs::cwd(), &name, flags, 0) {
            Err(e) if e.0 == libc::ENOENT => {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .map_err(|e| Error::os(format!("make the state directory {shown}"), e))?;
                fs::open_at(fs::cwd(), &name, flags, 0)
            }
            other => other,
        };
        let dir = opened.map_err(|e| {
            let error = Error::os(format!("open the state directory {shown}"), e);
            match e.0 {
                libc::ELOOP | libc::ENOTDIR => error
                    .with_kind(Kind::Refused)
                    .hint("it must be a directory and no symlink to one"),
                _ => error,
            }
        })?;
        check_private(&dir, &shown)?;
        Ok(Store { dir: Arc::new(dir) })
    }

    /// The ids of all containers, sorted.
    pub(crate) fn ids(&self) -> Result<Vec<String>> {
        let read = |e: nix::Error| Error::os("read the state directory", e);
        let dir = nix::dir::Dir::openat(
            self.dir.as_fd(),
            ".",
            nix::fcntl::OFlag::O_RDONLY
                | nix::fcntl::OFlag::O_DIRECTORY
                | nix::fcntl::OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )
        .map_err(read)?;
        let mut ids = Vec::new();
        for entry in dir {
            let entry = entry.map_err(read)?;
            if let Ok(name) = entry.file_name().to_str()
                && check_id(name).is_ok()
                && entry.file_type().is_none_or(|t| t == nix::dir::Type::Directory)
            {
                ids.push(name.to_owned());
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Where a container's directory is, or will be.
    pub(crate) fn path_of(&self, id: &str) -> Result<PathBuf> {
        check_id(id)?;
        let own = std::fs::read_link(format!("/proc/self/fd/{}", self.dir.as_raw_fd()));
        own.map(|own| own.join(id)).map_err(|e| Error::os("find the state directory", e))
    }

    /// Makes a container's directory, locked.
    pub(crate) fn make(&self, id: &str) -> Result<Entry> {
        check_id(id)?;
        let name = CString::new(id).unwrap_or_default();
        match fs::mkdir_at(self.dir.as_fd(), &name, 0o700) {
            Ok(()) => {}
            Err(e) if e.0 == libc::EEXIST => {
                return Err(Error::new(
                    Kind::Exists,
                    format!("a container with the id {} exists already", quote(id)),
                )
                .hint("choose another id, or delete that container first"));
            }
            Err(e) => return Err(Error::os(format!("make the state of {}", quote(id)), e)),
        }
        // Nobody else waits for the lock of what is this new, but a `delete` may be quick.
        self.entry(id).and_then(Entry::lock).inspect_err(|e| {
            if e.kind() != Kind::NotFound {
                // Only if it is empty, and what is made under this name meanwhile looks for itself.
                let _ = fs::rmdir_at(self.dir.as_fd(), &name);
            }
        })
    }

    /// A container's directory, not locked.
    pub(crate) fn entry(&self, id: &str) -> Result<Entry> {
        check_id(id)?;
        let name = CString::new(id).unwrap_or_default();
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let dir =
            fs::open_beneath(self.dir.as_fd(), &name, flags, 0, Resolve::Beneath).map_err(|e| {
                match e.0 {
                    libc::ENOENT => Error::new(
                        Kind::NotFound,
                        format!("container {} does not exist", quote(id)),
                    ),
                    libc::ELOOP | libc::ENOTDIR | libc::EXDEV => {
                        Error::os(format!("open the state of {}", quote(id)), e)
                            .with_kind(Kind::Refused)
                    }
                    _ => Error::os(format!("open the state of {}", quote(id)), e),
                }
            })?;
        check_private(&dir, &format!("the state of {}", quote(id)))?;
        Ok(Entry { store: self.clone(), id: id.to_owned(), name, dir, locked: RefCell::default() })
    }
}

fn same(a: &OwnedFd, b: &OwnedFd) -> bool {
    let (a, b) = (fs::stat(a.as_fd()), fs::stat(b.as_fd()));
    matches!((a, b), (Ok(a), Ok(b)) if a.dev == b.dev && a.ino == b.ino)
}

/// The caller's own, and nobody else may write.
fn check_private(dir: &OwnedFd, shown: &str) -> Result<()> {
    let seen = fs::stat(dir.as_fd()).map_err(|e| Error::os(format!("look at {shown}"), e))?;
    if seen.uid != cred::euid() || seen.mode & 0o022 != 0 {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "{shown} belongs to user {} and has the mode {:o}: others could change what is kept there",
                seen.uid,
                seen.mode & 0o7777
            ),
        )
        .hint("give --root a directory of your own with the mode 0700"));
    }
    Ok(())
}

/// A container's directory.
#[derive(Debug)]
pub struct Entry {
    store: Store,
    id: String,
    name: CString,
    dir: OwnedFd,
    /// A second descriptor that holds the lock.
    locked: RefCell<Option<nix::fcntl::Flock<OwnedFd>>>,
}

impl Entry {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn dir(&self) -> std::os::fd::BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Where it is, for a program that takes paths alone.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        std::fs::read_link(format!("/proc/self/fd/{}", self.dir.as_raw_fd()))
            .map_err(|e| Error::os(format!("find the state of {}", quote(&self.id)), e))
    }

    /// Waits for the lock, but not for ever: a hook that calls us would wait for itself. Whoever held it
    /// may have removed the container.
    pub(crate) fn lock(self) -> Result<Entry> {
        let what = || format!("lock the state of {}", quote(&self.id));
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let copy = fs::open_beneath(self.dir.as_fd(), c".", flags, 0, Resolve::Beneath)
            .map_err(|e| Error::os(what(), e))?;
        let lock = self.wait(copy)?;
        let there = self.store.entry(&self.id)?;
        if !same(&self.dir, &there.dir) {
            return Err(Error::new(
                Kind::NotFound,
                format!("container {} does not exist any more", quote(&self.id)),
            ));
        }
        self.locked.replace(Some(lock));
        Ok(self)
    }

    fn wait(&self, mut dir: OwnedFd) -> Result<nix::fcntl::Flock<OwnedFd>> {
        let began = Instant::now();
        loop {
            match nix::fcntl::Flock::lock(dir, nix::fcntl::FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((again, nix::errno::Errno::EWOULDBLOCK | nix::errno::Errno::EINTR)) => {
                    dir = again;
                }
                Err((_, e)) => {
                    return Err(Error::os(format!("lock the state of {}", quote(&self.id)), e));
                }
            }
            if began.elapsed() >= PATIENCE {
                return Err(Error::new(
                    Kind::Os,
                    format!(
                        "container {} is busy: another stockade has been at it for {} s",
                        quote(&self.id),
                        PATIENCE.as_secs()
                    ),
                )
                .hint(
                    "it may wait for one of the container's hooks; a hook cannot change its own",
                ));
            }
            // Short at first: mostly it is held for a moment.
            std::thread::sleep(began.elapsed().clamp(Duration::from_micros(200), MOST));
        }
    }

    /// Whether somebody else has the lock.
    pub(crate) fn is_locked(&self) -> bool {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        fs::open_beneath(self.dir.as_fd(), c".", flags, 0, Resolve::Beneath).is_ok_and(|copy| {
            nix::fcntl::Flock::lock(copy, nix::fcntl::FlockArg::LockSharedNonblock)
                .is_err_and(|(_, e)| e == nix::errno::Errno::EWOULDBLOCK)
        })
    }

    /// Lets others have the lock.
    pub(crate) fn unlock(&self) {
        self.locked.replace(None);
    }

    /// Whether both are the same directory, which the descriptors keep from being another one's.
    pub(crate) fn is(&self, other: &Entry) -> bool {
        same(&self.dir, &other.dir)
    }

    /// Reads a file of it, which must be one and not too long.
    pub(crate) fn read(&self, file: &str) -> Result<Vec<u8>> {
        let name = CString::new(file).unwrap_or_default();
        let what = || format!("read {file} of container {}", quote(&self.id));
        let flags = libc::O_RDONLY | libc::O_NONBLOCK;
        let fd = fs::open_beneath(self.dir.as_fd(), &name, flags, 0, Resolve::Beneath)
            .map_err(|e| Error::os(what(), e))?;
        let seen = fs::stat(fd.as_fd()).map_err(|e| Error::os(what(), e))?;
        if !seen.is(libc::S_IFREG) || seen.uid != cred::euid() || seen.mode & 0o022 != 0 {
            return Err(Error::new(
                Kind::Refused,
                format!("{}: it is no file of stockade's", what()),
            ));
        }
        let mut bytes = Vec::new();
        std::fs::File::from(fd)
            .take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::os(what(), e))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::new(Kind::Refused, format!("{}: it is too long", what())));
        }
        Ok(bytes)
    }

    /// Writes a file that is not there yet, and that nobody looks for before the state.
    pub(crate) fn write_new(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let what = || format!("write {file} of container {}", quote(&self.id));
        let name = CString::new(file).unwrap_or_default();
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        fs::open_beneath(self.dir.as_fd(), &name, flags, 0o600, Resolve::Beneath)
            .and_then(|fd| io::write_whole(fd.as_fd(), bytes))
            .map_err(|e| Error::os(what(), e))
    }

    /// Writes a file whole: under another name first, so that whoever reads finds the old or the
    /// new one.
    pub(crate) fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let what = || format!("write {file} of container {}", quote(&self.id));
        let name = CString::new(file).unwrap_or_default();
        let temporary = CString::new(format!("{file}.new")).unwrap_or_default();
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
        let fd = fs::open_beneath(self.dir.as_fd(), &temporary, flags, 0o600, Resolve::Beneath)
            .map_err(|e| Error::os(what(), e))?;
        io::write_whole(fd.as_fd(), bytes).map_err(|e| Error::os(what(), e))?;
        nix::fcntl::renameat(&self.dir, temporary.as_c_str(), &self.dir, name.as_c_str())
            .map_err(|e| Error::os(what(), e))
    }

    /// Removes a file; nothing if it is not there.
    pub(crate) fn remove_file(&self, file: &str) -> Result<()> {
        match nix::unistd::unlinkat(&self.dir, file, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
            Err(e) => Err(Error::os(format!("remove {file} of {}", quote(&self.id)), e)),
        }
    }

    /// Removes a directory of it, with what is in there: sockets.
    fn remove_directory(&self, name: &CString) -> Result<()> {
        let what = |e| Error::os(format!("remove the state of {}", quote(&self.id)), e);
        let flags = nix::fcntl::OFlag::O_RDONLY
            | nix::fcntl::OFlag::O_DIRECTORY
            | nix::fcntl::OFlag::O_NOFOLLOW
            | nix::fcntl::OFlag::O_CLOEXEC;
        let mut dir =
            nix::dir::Dir::openat(&self.dir, name.as_c_str(), flags, nix::sys::stat::Mode::empty())
                .map_err(what)?;
        let names: Vec<CString> =
            dir.iter().flatten().map(|entry| entry.file_name().to_owned()).collect();
        for inner in names.iter().filter(|n| !matches!(n.as_bytes(), b"." | b"..")) {
            let only = nix::unistd::UnlinkatFlags::NoRemoveDir;
            nix::unistd::unlinkat(&dir, inner.as_c_str(), only).map_err(what)?;
        }
        nix::unistd::unlinkat(&self.dir, name.as_c_str(), nix::unistd::UnlinkatFlags::RemoveDir)
            .map_err(what)
    }

    /// Removes the directory with all files of it: last of all that a container has.
    pub(crate) fn remove(&self) -> Result<()> {
        let what = || format!("remove the state of {}", quote(&self.id));
        let mut dir = nix::dir::Dir::openat(
            &self.dir,
            ".",
            nix::fcntl::OFlag::O_RDONLY
                | nix::fcntl::OFlag::O_DIRECTORY
                | nix::fcntl::OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )
        .map_err(|e| Error::os(what(), e))?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(|e| Error::os(what(), e))?;
            let name = entry.file_name().to_bytes();
            // The state itself goes last: as long as it is there the rest can be found.
            if name != b"." && name != b".." && name != b"state.json" {
                names.push(entry.file_name().to_owned());
            }
        }
        names.push(CString::from(c"state.json"));
        for name in names {
            match nix::unistd::unlinkat(
                &self.dir,
                name.as_c_str(),
                nix::unistd::UnlinkatFlags::NoRemoveDir,
            ) {
                Ok(()) | Err(nix::Error::ENOENT) => {}
                Err(nix::Error::EISDIR) => self.remove_directory(&name)?,
                Err(e) => return Err(Error::os(what(), e)),
            }
        }
        // Somebody may have deleted ours, and made another one of that name.
        if self.store.entry(&self.id).is_ok_and(|there| !same(&self.dir, &there.dir)) {
            return Ok(());
        }
        match fs::rmdir_at(self.store.dir.as_fd(), &self.name) {
            Ok(()) => Ok(()),
            Err(e) if e.0 == libc::ENOENT => Ok(()),
            Err(e) => Err(Error::os(what(), e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t44_ids_are_names_and_nothing_else() {
        for good in ["a", "web-1", "A_b+c.d", &"x".repeat(200)] {
            assert!(check_id(good).is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "a\n", "a b", ".hidden", "ä", &"x".repeat(5000)]
        {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }
}
