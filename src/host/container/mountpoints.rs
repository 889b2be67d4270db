//! Places of mounts in a root file system: where they are once its symlinks are followed, and those
//! that are missing made, as for a new container. criu makes none.
//!
//! The root file system may be hostile: everything is looked up below a descriptor, one name after
//! the other, and nothing leads out.

#![forbid(unsafe_code)]

use super::externals::shown;
use crate::error::{Error, Kind, Result};
use crate::host::arm;
use crate::plan::detail::{Mount, MountSource};
use crate::sys::fs::{self, Resolve};
use crate::sys::{self, Errno};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Most symlinks on the way, as in the kernel.
const MOST_LINKS: usize = 40;

/// Where a path is, symlinks followed as by chroot; what is not there is taken as it is written.
pub(super) fn resolve(root: BorrowedFd<'_>, path: &Path) -> Result<PathBuf> {
    let mut done = PathBuf::new();
    // Behind each other, the next one last.
    let mut rest: Vec<OsString> = names(path);
    let mut links = 0;
    let mut there = true;
    while let Some(name) = rest.pop() {
        if name == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&name);
        let link = if there { look(root, &next) } else { Ok(None) };
        match link {
            Ok(Some(to)) => {
                links += 1;
                if links > MOST_LINKS {
                    let what = format!("find {} in the root file system", shown(path));
                    return Err(Error::os(what, Errno(libc::ELOOP)));
                }
                if to.is_absolute() {
                    done.clear();
                }
                rest.extend(names(&to));
            }
            Ok(None) => done = next,
            Err(e) if e.0 == libc::ENOENT || e.0 == libc::ENOTDIR => {
                there = false;
                done = next;
            }
            Err(e) => {
                return Err(Error::os(format!("find {} in the root file system", shown(path)), e));
            }
        }
    }
    Ok(Path::new("/").join(done))
}

/// The names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let name = |c: Component<'_>| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// Where a symlink leads; `None`: it is none. There are no symlinks on the way.
fn look(root: BorrowedFd<'_>, path: &Path) -> sys::Result<Option<PathBuf>> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))?;
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let fd = fs::open_beneath(root, &name, flags, 0, Resolve::NoSymlinks)?;
    if !fs::stat(fd.as_fd())?.is(libc::S_IFLNK) {
        return Ok(None);
    }
    let mut buf = [0; 4096];
    let to = fs::read_link(fd.as_fd(), &mut buf)?;
    Ok(Some(PathBuf::from(OsStr::from_bytes(to.to_bytes()))))
}

/// Makes the places of all mounts that are missing.
pub(super) fn make(rootfs: BorrowedFd<'_>, mounts: &[Mount]) -> Result<()> {
    let mut made: Vec<(PathBuf, &Mount)> = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let place = resolve(rootfs, &mount.target)?;
        let directory = match &mount.source {
            MountSource::Bind { source, .. } => {
                let fd = open_source(source)?;
                fs::stat(fd.as_fd()).map_err(|e| failed(&place, e))?.is(libc::S_IFDIR)
            }
            _ => true,
        };
        // What is mounted above it by then.
        match made.iter().rev().find(|(above, _)| place.starts_with(above)) {
            None => make_one(rootfs, &place, directory)?,
            Some((above, _)) if *above == place => {}
            Some((above, Mount { source: MountSource::Bind { source, .. }, .. })) => {
                let below = place.strip_prefix(above).unwrap_or(&place);
                let source = open_source(source)?;
                let below = resolve(source.as_fd(), below)?;
                make_one(source.as_fd(), &below, directory)?;
            }
            // criu saves what is in a tmpfs; the kernel's own file systems have what they have.
            Some(_) => {}
        }
        made.push((place, mount));
    }
    Ok(())
}

fn failed(place: &Path, e: Errno) -> Error {
    Error::os(format!("make the place of the mount on {}", shown(place)), e)
}

fn open_source(source: &Path) -> Result<OwnedFd> {
    fs::open_at(fs::cwd(), &arm::c_path(source)?, libc::O_PATH, 0)
        .map_err(|e| Error::os(format!("open the source {} of a mount", shown(source)), e))
}

/// A path without symlinks, as [`resolve`] gives it: one that has become a symlink since is an error.
fn make_one(root: BorrowedFd<'_>, place: &Path, directory: bool) -> Result<()> {
    let whole = c(place)?;
    match fs::open_beneath(root, &whole, libc::O_PATH, 0, Resolve::NoSymlinks) {
        Ok(_) => return Ok(()),
        Err(e) if e.0 == libc::ENOENT => {}
        Err(e) => return Err(failed(place, e)),
    }
    let mut above: Option<OwnedFd> = None;
    let mut names = names(place);
    while let Some(name) = names.pop() {
        let name = c(Path::new(&name))?;
        let dir = above.as_ref().map_or(root, AsFd::as_fd);
        if names.is_empty() && !directory {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            return fs::open_at(dir, &name, flags, 0o644).map(drop).map_err(|e| failed(place, e));
        }
        match fs::mkdir_at(dir, &name, 0o755) {
            // EROFS: only if it is there, too.
            Err(e) if e.0 != libc::EEXIST && e.0 != libc::EROFS => return Err(failed(place, e)),
            _ => {}
        }
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let opened = fs::open_beneath(dir, &name, flags, 0, Resolve::Beneath);
        above = Some(opened.map_err(|e| failed(place, e))?);
    }
    Ok(())
}

fn c(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(Kind::InvalidConfig, format!("{} holds a NUL byte", shown(path))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let path =
                std::env::temp_dir().join(format!("mountpoints-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Dir(path)
        }

        fn fd(&self) -> OwnedFd {
            fs::open_at(fs::cwd(), &c(&self.0).unwrap(), libc::O_PATH | libc::O_DIRECTORY, 0)
                .unwrap()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn mount(target: &str, source: MountSource) -> Mount {
        Mount {
            target: target.into(),
            source,
            attrs: crate::plan::detail::AttrBits::default(),
            propagation: Vec::new(),
            over_proc: false,
            target_itself: false,
        }
    }

    fn bind(source: &Path) -> MountSource {
        MountSource::Bind {
            source: source.into(),
            recursive: false,
            ids: None,
            link: crate::plan::detail::SourceLink::Followed,
            kernel_only: false,
            within: None,
        }
    }

    #[test]
    fn symlinks_of_the_root_stay_in_it_also_to_what_is_not_there() {
        let root = Dir::new("resolve");
        std::fs::create_dir_all(root.0.join("real/conf")).unwrap();
        symlink("/real/conf", root.0.join("conf")).unwrap();
        symlink("../../../../run/x/y", root.0.join("dangling")).unwrap();
        symlink("loop", root.0.join("loop")).unwrap();
        let at = |path: &str| resolve(root.fd().as_fd(), Path::new(path));
        assert_eq!(at("/conf").unwrap(), Path::new("/real/conf"));
        assert_eq!(at("/conf/../a").unwrap(), Path::new("/real/a"));
        assert_eq!(at("/dangling").unwrap(), Path::new("/run/x/y"));
        assert_eq!(at("/dangling/../z").unwrap(), Path::new("/run/x/z"));
        assert_eq!(at("/../..").unwrap(), Path::new("/"));
        assert_eq!(at("/loop").unwrap_err().errno(), Some(libc::ELOOP));
    }

    #[test]
    fn missing_places_are_made_where_the_mount_above_has_them() {
        let (root, one, two, other) =
            (Dir::new("m"), Dir::new("m1"), Dir::new("m2"), Dir::new("m3"));
        std::fs::write(other.0.join("file"), "x").unwrap();
        // Out of the root it leads nowhere but into it.
        symlink("/../escape", root.0.join("link")).unwrap();
        let tmpfs = MountSource::Filesystem {
            fstype: "tmpfs".into(),
            source: None,
            options: Vec::new(),
            copy_up: false,
        };
        let mounts = [
            mount("/proc", tmpfs.clone()),
            mount("/test", bind(&one.0)),
            mount("/test/for/nested", bind(&two.0)),
            mount("/run", tmpfs),
            mount("/run/below", bind(&two.0)),
            mount("/link/file", bind(&other.0.join("file"))),
        ];
        make(root.fd().as_fd(), &mounts).unwrap();
        assert!(root.0.join("proc").is_dir() && root.0.join("test").is_dir());
        assert!(one.0.join("for/nested").is_dir());
        assert!(root.0.join("run").is_dir() && !root.0.join("run/below").exists());
        assert!(root.0.join("escape/file").is_file());
        assert_eq!(std::fs::read(other.0.join("file")).unwrap(), b"x");
        // Once more: all is there.
        make(root.fd().as_fd(), &mounts).unwrap();
    }
}
