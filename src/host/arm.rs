//! Arming: the parent opens every descriptor and builds every C string, so that the child has
//! nothing left to decide, to look up twice or to allocate. Errors here have all the words; of
//! the jail nothing exists yet.

#![forbid(unsafe_code)]

use crate::child::rootfs::{ArmedRoot, ArmedStep, Options, Place, Tree};
use crate::child::{Armed, ArmedPrivs};
use crate::error::{Error, Kind, Result};
use crate::host::idmap::MountNamespaces;
use crate::plan::ids::{self, IdMap};
use crate::plan::values::quote;
use crate::plan::{
    Attrs, BindIds, Expect, MountStep, Plan, RootSource, SeccompWhen, UserNamespace,
};
use crate::sys::mount::{self, attr};
use crate::sys::process::CStringArray;
use crate::sys::{fs, io};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// What only the parent keeps of arming.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Detached mounts whose ids are mapped by the jail's own user namespace, once that is
    /// there: shared with the child, which attaches them.
    pub(crate) map_by_jail: Vec<(OwnedFd, String)>,
}

/// Builds a C string; a NUL inside is an error that names what it is in.
fn c(what: &str, bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| {
        Error::new(
            Kind::InvalidConfig,
            format!("{what} {} holds a NUL byte", quote(&String::from_utf8_lossy(bytes))),
        )
    })
}

fn c_path(path: &Path) -> Result<CString> {
    c("path", path.as_os_str().as_bytes())
}

pub(crate) fn attr_bits(a: Attrs) -> u64 {
    let bit = |on: bool, bit: u64| if on { bit } else { 0 };
    bit(a.read_only, attr::RDONLY)
        | bit(a.no_suid, attr::NOSUID)
        | bit(a.no_dev, attr::NODEV)
        | bit(a.no_exec, attr::NOEXEC)
}

/// The place of an absolute path in the root. `..` does not get here: the plan's check refuses it.
fn place(path: &Path) -> Result<Place> {
    let names: Vec<&[u8]> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.as_bytes()),
            _ => None,
        })
        .collect();
    let Some((first, _)) = names.split_first() else {
        let dot = CString::from(c".");
        return Ok(Place { full: dot.clone(), ancestors: Vec::new(), first: dot });
    };
    let mut ancestors = Vec::with_capacity(names.len().saturating_sub(1));
    let mut so_far: Vec<u8> = first.to_vec();
    for name in names.iter().skip(1) {
        ancestors.push((c("path", &so_far)?, c("path", name)?));
        so_far.push(b'/');
        so_far.extend_from_slice(name);
    }
    Ok(Place { full: c("path", &so_far)?, ancestors, first: c("path", first)? })
}

fn options(list: &[(String, Option<String>)]) -> Result<Options> {
    list.iter()
        .map(|(key, value)| {
            let value = value.as_ref().map(|v| c("mount option", v.as_bytes())).transpose()?;
            Ok((c("mount option", key.as_bytes())?, value))
        })
        .collect()
}

/// Arms the file system part.
pub(crate) fn root(plan: &Plan, privileged: bool, kept: &mut Kept) -> Result<ArmedRoot> {
    let mut opener = Opener {
        privileged,
        user: plan.namespaces.user.as_ref(),
        namespaces: MountNamespaces::default(),
        kept,
    };
    let root = match &plan.root.source {
        RootSource::Pool => None,
        RootSource::Directory(dir) => {
            let ids = if plan.root.idmap { BindIds::Same } else { BindIds::Plain };
            let (tree, is_dir) = opener
                .open(dir, ids, Expect::FileOrDirectory)
                .map_err(|e| e.context("the rootfs"))?;
            if !is_dir {
                return Err(Error::new(
                    Kind::InvalidConfig,
                    format!("the rootfs {} is no directory", quote(&dir.to_string_lossy())),
                ));
            }
            Some(tree)
        }
    };
    let mut steps = Vec::with_capacity(plan.steps.len());
    let mut present = Vec::with_capacity(plan.steps.len());
    for (index, step) in plan.steps.iter().enumerate() {
        if let Some(armed) = self::step(step, index, &mut opener)? {
            steps.push(armed);
            present.push(index);
        }
    }
    let mut pool = vec![
        ("size".to_owned(), Some(plan.pool.size.to_string())),
        ("mode".to_owned(), Some("0755".to_owned())),
    ];
    if let Some(n) = plan.pool.inodes {
        pool.push(("nr_inodes".to_owned(), Some(n.to_string())));
    }
    Ok(ArmedRoot {
        pool: options(&pool)?,
        root,
        read_only: plan.root.read_only,
        steps,
        foreign_modes: plan.namespaces.user.as_ref().is_some_and(|u| !ids::is_outside(&u.uids, 0)),
        present,
    })
}

/// Opens sources on the host.
struct Opener<'a> {
    privileged: bool,
    user: Option<&'a UserNamespace>,
    namespaces: MountNamespaces,
    kept: &'a mut Kept,
}

impl Opener<'_> {
    /// The mount of a host path, and whether it is a directory.
    fn open(&mut self, path: &Path, ids: BindIds, expect: Expect) -> Result<(Tree, bool)> {
        let shown = quote(&path.to_string_lossy());
        let path_c = c_path(path)?;
        let fd = fs::open_at(fs::cwd(), &path_c, libc::O_PATH, 0)
            .map_err(|e| Error::os(format!("open {shown}"), e))?;
        let seen = fs::stat(fd.as_fd()).map_err(|e| Error::os(format!("look at {shown}"), e))?;
        let is_dir = seen.is(libc::S_IFDIR);
        match expect {
            Expect::FileOrDirectory if !is_dir && !seen.is(libc::S_IFREG) => {
                return Err(Error::new(
                    Kind::Refused,
                    format!("{shown} is neither a directory nor a regular file"),
                )
                .hint("devices, sockets and FIFOs of the host are not given to a jail"));
            }
            Expect::CharDevice(major, minor)
                if !seen.is(libc::S_IFCHR) || seen.rdev != libc::makedev(major, minor) =>
            {
                return Err(Error::new(
                    Kind::Refused,
                    format!("{shown} is not the character device {major}:{minor}"),
                ));
            }
            Expect::FileOrDirectory => refuse_kernel_files(&fd, &shown)?,
            _ => {}
        }
        // From here on by descriptor. Only with CAP_SYS_ADMIN over the host's mounts can they be
        // copied here; an ordinary user's child copies its own and compares.
        if !self.privileged {
            return Ok((Tree::Path { path: path_c, dev: seen.dev, ino: seen.ino }, is_dir));
        }
        let tree = mount::clone_tree(fd.as_fd(), c"", true)
            .map_err(|e| Error::os(format!("copy the mount of {shown}"), e))?;
        self.map_ids(&tree, ids, &seen, &shown)?;
        Ok((Tree::Detached(tree), is_dir))
    }

    fn map_ids(
        &mut self,
        tree: &OwnedFd,
        ids: BindIds,
        seen: &fs::Stat,
        shown: &str,
    ) -> Result<()> {
        let Some(user) = self.user else { return Ok(()) };
        match ids {
            BindIds::Plain => Ok(()),
            BindIds::Same => {
                let again = io::duplicate(tree.as_fd())
                    .map_err(|e| Error::os("duplicate a descriptor", e))?;
                self.kept.map_by_jail.push((again, shown.to_owned()));
                Ok(())
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
                let namespace = self.namespaces.get(uids, gids)?;
                mount::set_attr(tree.as_fd(), attr::IDMAP, 0, true, Some(namespace))
                    .map_err(|e| cannot_map(shown, e))
            }
        }
    }
}

/// File systems that are about the host and not files of it: a jail that saw the host's /proc could
/// mount one of its own in a nested user namespace, and look at the host's processes.
const KERNEL_FILE_SYSTEMS: &[(i64, &str)] = &[
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
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
pub(crate) fn cannot_map(shown: &str, e: crate::sys::Errno) -> Error {
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

fn step(step: &MountStep, index: usize, opener: &mut Opener<'_>) -> Result<Option<ArmedStep>> {
    Ok(Some(match step {
        MountStep::Filesystem { fstype, options: list, target, attrs } => ArmedStep::Filesystem {
            fstype: c("file system", fstype.as_bytes())?,
            options: options(list)?,
            target: place(target)?,
            attrs: attr_bits(*attrs),
            // Only on real directories: a symlinked /proc would be somewhere else
            // (CVE-2019-16884).
            strict: matches!(fstype.as_str(), "proc" | "sysfs"),
        },
        MountStep::Bind { source, target, attrs, ids, expect, optional } => {
            match opener.open(source, *ids, *expect) {
                Ok((tree, directory)) => ArmedStep::Bind {
                    tree,
                    target: place(target)?,
                    attrs: attr_bits(*attrs),
                    directory,
                },
                Err(e) if *optional && e.errno() == Some(libc::ENOENT) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        MountStep::PoolDir { target, mode, owner, attrs } => ArmedStep::PoolDir {
            name: c("name", format!("d{index}").as_bytes())?,
            target: place(target)?,
            mode: *mode,
            owner: *owner,
            attrs: attr_bits(*attrs),
        },
        MountStep::Directory { target, mode } => {
            ArmedStep::Directory { target: place(target)?, mode: *mode }
        }
        MountStep::File { target, mode, contents } => {
            ArmedStep::File { target: place(target)?, mode: *mode, contents: contents.clone() }
        }
        MountStep::Symlink { target, to } => {
            ArmedStep::Symlink { target: place(target)?, to: c_path(to)? }
        }
        MountStep::Mask { target } => ArmedStep::Mask { target: place(target)? },
        MountStep::Remount { target } => ArmedStep::Remount { target: place(target)? },
        MountStep::ReadOnly { target } => ArmedStep::ReadOnly { target: place(target)? },
    }))
}

/// Where PATH says the program may be.
fn candidates(plan: &Plan) -> Result<Vec<CString>> {
    let program =
        plan.process.argv.first().ok_or_else(|| Error::new(Kind::InvalidConfig, "no command"))?;
    if program.contains('/') || program.is_empty() {
        return Ok(vec![c("command", program.as_bytes())?]);
    }
    let path = plan
        .process
        .env
        .iter()
        .find_map(|e| e.strip_prefix("PATH="))
        .unwrap_or("/usr/local/bin:/usr/bin:/bin");
    path.split(':')
        .map(|dir| {
            let dir = if dir.is_empty() { "." } else { dir };
            c("command", format!("{dir}/{program}").as_bytes())
        })
        .collect()
}

/// What the launch adds to the plan.
pub(crate) struct Wiring {
    pub(crate) socket: OwnedFd,
    /// The other end, of which the child has a copy.
    pub(crate) supervisors_end: RawFd,
    pub(crate) stdio: [RawFd; 3],
    pub(crate) unshare_cgroup: bool,
    /// Limits that stand in for what the cgroup lacks.
    pub(crate) rlimits: Vec<(u32, u64)>,
    pub(crate) last_cap: u32,
    pub(crate) exposed: bool,
}

/// Arms the rest.
pub(crate) fn all(plan: &Plan, rootfs: ArmedRoot, wiring: Wiring) -> Result<Armed> {
    debug_assert!(wiring.socket.as_raw_fd() >= 16);
    let p = &plan.process;
    let list = |what: &str, strings: &[String]| -> Result<Vec<CString>> {
        strings.iter().map(|s| c(what, s.as_bytes())).collect()
    };
    let mut argv = list("argument", &p.argv)?;
    let stub = if wiring.exposed {
        // The stub's own program name is the path that it executes; see sys::stub.
        argv.insert(0, CString::default());
        Some(
            crate::sys::stub::sealed()
                .and_then(io::move_high)
                .map_err(|e| Error::os("make the sealed exec stub", e))?,
        )
    } else {
        None
    };
    Ok(Armed {
        socket: wiring.socket,
        supervisors_end: wiring.supervisors_end,
        cpus: crate::sys::sched::allowed().ok(),
        unshare_cgroup: wiring.unshare_cgroup,
        setup_ids: plan.namespaces.user.as_ref().and_then(|u| u.setup_ids),
        network: plan.namespaces.network,
        hostname: c("hostname", plan.hostname.as_bytes())?,
        rootfs,
        stdio: wiring.stdio,
        terminal: p.terminal,
        cwd: c("working directory", p.cwd.as_bytes())?,
        rlimits: p
            .rlimits
            .iter()
            .map(|r| match wiring.rlimits.iter().find(|(resource, _)| *resource == r.resource) {
                // A second more for the hard one of CPU time: there the kernel sends SIGKILL, and
                // at the soft one SIGXCPU, which says why.
                Some((resource, value)) => {
                    let more = u64::from(*resource == libc::RLIMIT_CPU);
                    (r.resource, r.soft.min(*value), r.hard.min(*value + more))
                }
                None => (r.resource, r.soft, r.hard),
            })
            .collect(),
        umask: p.umask,
        privs: ArmedPrivs {
            uid: p.uid,
            gid: p.gid,
            groups: p.groups.clone(),
            caps: p.caps,
            last_cap: wiring.last_cap,
            no_new_privs: p.no_new_privs,
            filter: p.seccomp.filter.clone(),
            filter_flags: p.seccomp.flags,
            filter_early: p.seccomp.when == SeccompWhen::BeforeDroppingCaps,
        },
        init: p.init,
        candidates: candidates(plan)?,
        stub,
        argv: CStringArray::new(argv),
        envp: CStringArray::new(list("environment variable", &p.env)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_knows_its_ancestors() {
        let p = place(Path::new("/a//b/./c")).unwrap();
        assert_eq!(p.full.as_c_str(), c"a/b/c");
        assert_eq!(p.first.as_c_str(), c"a");
        let ancestors: Vec<_> =
            p.ancestors.iter().map(|(a, n)| (a.as_c_str(), n.as_c_str())).collect();
        assert_eq!(ancestors, [(c"a", c"b"), (c"a/b", c"c")]);
        assert_eq!(place(Path::new("/")).unwrap().full.as_c_str(), c".");
    }
}
