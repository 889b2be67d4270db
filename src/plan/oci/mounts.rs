//! Mounts of a configuration: the options of mount(8) and of the runtime specification.

#![forbid(unsafe_code)]

use super::spec;
use super::{bad, shown};
use crate::error::{Kind, Result};
use crate::plan::detail::{AttrBits, Mount, MountIds, MountSource, Propagation, SourceLink};
use std::path::{Component, Path, PathBuf};

// linux/mount.h, for mount_setattr(2)
pub(super) const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const ATIME: u64 = 0x70;
/// No bit of mount_setattr(2), for which it is 0.
const RELATIME: u64 = 0x40;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x0020_0000;

// MS_* of mount(2)
pub(super) const UNBINDABLE: u64 = 1 << 17;
pub(super) const PRIVATE: u64 = 1 << 18;
pub(super) const SLAVE: u64 = 1 << 19;
pub(super) const SHARED: u64 = 1 << 20;

/// Option, bits that it sets, bits that it clears. With an `r` in front it is meant for all below.
const ATTRIBUTES: &[(&str, u64, u64)] = &[
    ("ro", RDONLY, 0),
    ("rw", 0, RDONLY),
    ("nosuid", NOSUID, 0),
    ("suid", 0, NOSUID),
    ("nodev", NODEV, 0),
    ("dev", 0, NODEV),
    ("noexec", NOEXEC, 0),
    ("exec", 0, NOEXEC),
    ("nodiratime", NODIRATIME, 0),
    ("diratime", 0, NODIRATIME),
    ("nosymfollow", NOSYMFOLLOW, 0),
    ("symfollow", 0, NOSYMFOLLOW),
    ("noatime", NOATIME, ATIME),
    ("atime", 0, ATIME),
    ("relatime", 0, ATIME),
    ("norelatime", 0, ATIME),
    ("strictatime", STRICTATIME, ATIME),
    ("nostrictatime", 0, ATIME),
];

const PROPAGATIONS: &[(&str, u64)] =
    &[("private", PRIVATE), ("shared", SHARED), ("slave", SLAVE), ("unbindable", UNBINDABLE)];

/// What can be said of one mount, and whether it is to be so.
const SAID: &[(&str, u64, bool)] = &[
    ("ro", RDONLY, true),
    ("rw", RDONLY, false),
    ("nosuid", NOSUID, true),
    ("suid", NOSUID, false),
    ("nodev", NODEV, true),
    ("dev", NODEV, false),
    ("noexec", NOEXEC, true),
    ("exec", NOEXEC, false),
    ("nosymfollow", NOSYMFOLLOW, true),
    ("symfollow", NOSYMFOLLOW, false),
    ("noatime", NOATIME, true),
    ("atime", NOATIME, false),
    ("relatime", RELATIME, true),
    ("norelatime", RELATIME, false),
    ("strictatime", STRICTATIME, true),
    ("nostrictatime", STRICTATIME, false),
    ("nodiratime", NODIRATIME, true),
    ("diratime", NODIRATIME, false),
];

/// What is not about access times.
const PLAIN: u64 = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW;

/// Flags of a superblock, which a file system gets and a bind has already.
const OF_THE_FILE_SYSTEM: &[&str] = &["sync", "async", "dirsync", "mand", "lazytime", "silent"];
/// What is so anyway, or means something to mount(8) alone.
const NOTHING: &[&str] =
    &["defaults", "nomand", "nolazytime", "loud", "iversion", "noiversion", "remount", "nofail"];
/// Those that are no flags for runc.
const NO_FLAGS: &[&str] = &["defaults", "remount", "nofail"];

/// A propagation by its name.
pub(super) fn propagation(name: &str) -> Option<Propagation> {
    let of = |name: &str| PROPAGATIONS.iter().find(|(n, _)| *n == name).map(|(_, flag)| *flag);
    if let Some(flag) = of(name) {
        return Some(Propagation { flag, recursive: false });
    }
    let flag = of(name.strip_prefix('r')?)?;
    Some(Propagation { flag, recursive: true })
}

/// What is read from a list of options.
#[derive(Default)]
struct Options {
    /// On all below: set, cleared.
    below: (u64, u64),
    /// What is to be, and what is not to be.
    on: u64,
    off: u64,
    /// Whether any flag was named.
    flags: bool,
    propagation: Vec<Propagation>,
    /// Whether it is recursive.
    bind: Option<bool>,
    idmap: Option<bool>,
    copy_up: bool,
    copy_link: bool,
    source_itself: bool,
    target_itself: bool,
    rest: Vec<(String, Option<String>)>,
}

fn put(set: &mut u64, clear: &mut u64, on: u64, off: u64) {
    *set = *set & !off | on;
    *clear = *clear & !on | off;
}

fn read(list: &[String]) -> Options {
    let mut o = Options::default();
    for option in list {
        let attribute = |name: &str| ATTRIBUTES.iter().find(|(n, _, _)| *n == name);
        o.flags |= OF_THE_FILE_SYSTEM.contains(&option.as_str())
            || NOTHING.contains(&option.as_str()) && !NO_FLAGS.contains(&option.as_str());
        if let Some((_, bit, on)) = SAID.iter().find(|(name, ..)| *name == option) {
            o.flags = true;
            let (to, from) = if *on { (&mut o.on, &mut o.off) } else { (&mut o.off, &mut o.on) };
            (*to, *from) = (*to | bit, *from & !bit);
        } else if let Some((_, on, off)) = option.strip_prefix('r').and_then(attribute) {
            put(&mut o.below.0, &mut o.below.1, *on, *off);
        } else if let Some(propagation) = propagation(option) {
            o.propagation.push(propagation);
        } else {
            match option.as_str() {
                "bind" => o.bind = Some(o.bind.unwrap_or(false)),
                "rbind" => o.bind = Some(true),
                "idmap" => o.idmap = Some(false),
                "ridmap" => o.idmap = Some(true),
                "tmpcopyup" => o.copy_up = true,
                "copy-symlink" => o.copy_link = true,
                "src-nofollow" => o.source_itself = true,
                "dest-nofollow" => o.target_itself = true,
                word if NOTHING.contains(&word) || word.is_empty() => {}
                word => o.rest.push(match word.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (word.to_owned(), None),
                }),
            }
        }
    }
    o
}

impl Options {
    /// What was asked for of access times.
    fn times(&self) -> u64 {
        self.on & (ATIME | NODIRATIME)
    }

    /// Attributes of a new mount.
    fn attrs(&self) -> AttrBits {
        // Of several the kernel takes one, as mount(2) does.
        let time = match self.on {
            on if on & STRICTATIME != 0 => STRICTATIME,
            on => on & NOATIME,
        };
        AttrBits {
            set: self.on & (PLAIN | NODIRATIME) | time,
            clear: if self.times() == 0 { 0 } else { ATIME },
            set_below: self.below.0,
            clear_below: self.below.1,
            ..AttrBits::default()
        }
    }

    /// Attributes of a mount of the host's, as runc has them: without any flag it keeps what it has;
    /// with one it has what was said and nothing else, but for access times of which nothing was.
    fn of_bind(&self) -> AttrBits {
        let mut attrs = self.attrs();
        if !self.flags {
            return attrs;
        }
        let times = self.times();
        attrs.clear |= PLAIN | if times == 0 { 0 } else { NODIRATIME };
        attrs.clear &= !(attrs.set & (PLAIN | NODIRATIME));
        (attrs.unwanted, attrs.times) = (self.off, times);
        attrs
    }
}

/// What is this runtime's own, much of it crun's (crun(1)).
const OWN: &[&str] = &[
    "bind",
    "rbind",
    "idmap",
    "ridmap",
    "tmpcopyup",
    "copy-symlink",
    "src-nofollow",
    "dest-nofollow",
];

/// All options that mean something here, sorted: what else there is goes to the file system.
pub(super) fn known() -> Vec<String> {
    let plain = OWN.iter().chain(OF_THE_FILE_SYSTEM).chain(NOTHING).map(|o| (*o).to_owned());
    let twice = ATTRIBUTES.iter().map(|(name, ..)| *name);
    let twice = twice.chain(PROPAGATIONS.iter().map(|(name, _)| *name));
    let mut all: Vec<String> =
        plain.chain(twice.flat_map(|name| [name.to_owned(), format!("r{name}")])).collect();
    all.sort_unstable();
    all
}

/// What may be mounted over in a procfs, as runc lets it: files that tell of the host's load and
/// memory, which lxcfs stands in for.
const OVER_PROC: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// A path in the container: absolute, and without `.` and `..`.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// One mount.
pub(super) fn mount(
    m: &spec::Mount,
    (bundle, root): (&Path, &Path),
    default: Option<Propagation>,
    warnings: &mut Vec<String>,
) -> Result<Mount> {
    if m.destination.as_os_str().is_empty() {
        return Err(bad("a mount has no destination", "give each of mounts a destination"));
    }
    if m.destination.is_relative() {
        warnings.push(format!("the mount destination {} is not absolute", shown(&m.destination)));
    }
    // As in runc: a target may be told as the host sees it.
    let target = clean(&m.destination);
    let target = within(root, &target).map(|below| Path::new("/").join(below)).unwrap_or(target);
    let mut options = read(&m.options);
    let new = options.attrs();
    let of_bind = options.of_bind();
    let bind = options.bind.or((m.kind == "bind").then_some(false));
    let over_proc = place_in_proc(&target, m, bind.is_some())?;
    if target == Path::new("/") && NOT_A_ROOT.contains(&m.kind.as_str()) && bind.is_none() {
        return Err(bad(
            format!("a file system of the type {} cannot be the root of a container", m.kind),
            "the root file system is root.path",
        )
        .with_kind(Kind::Refused));
    }
    links(&options, bind.is_some(), &target)?;
    let mapped = !m.uid_mappings.is_empty() || !m.gid_mappings.is_empty();
    if mapped && (m.uid_mappings.is_empty() || m.gid_mappings.is_empty()) {
        return Err(bad(
            format!("the mount on {} has mappings of one kind of ids only", shown(&target)),
            "give it uidMappings and gidMappings, or neither",
        ));
    }
    let attrs = if bind.is_some() { of_bind } else { new };
    let source = match bind {
        Some(recursive) => {
            for (key, _) in &options.rest {
                if !OF_THE_FILE_SYSTEM.contains(&key.as_str()) {
                    warnings.push(format!(
                        "the option {} has no effect on the bind mount on {}",
                        crate::plan::values::quote(key),
                        shown(&target)
                    ));
                }
            }
            if m.source.as_os_str().is_empty() {
                return Err(bad(
                    format!("the bind mount on {} has no source", shown(&target)),
                    "give it a source",
                ));
            }
            let ids = (mapped || options.idmap.is_some()).then(|| MountIds {
                // The configuration says it from the container's side: what is on disk shows as
                // what the container has.
                uids: super::maps(&m.uid_mappings),
                gids: super::maps(&m.gid_mappings),
                // As in runc: mounts below keep their owners unless ridmap is said.
                recursive: options.idmap == Some(true),
            });
            if options.copy_up {
                return Err(bad(
                    format!("tmpcopyup is for a tmpfs, and {} is a bind mount", shown(&target)),
                    "leave it away",
                ));
            }
            let kernel_only = over_proc && !OVER_PROC.iter().any(|p| target == Path::new(p))
                || target == Path::new("/sys");
            let source = bundle.join(&m.source);
            let within = within(root, &source).map(Path::to_owned);
            if kernel_only && within.is_some() {
                return Err(bad(
                    format!("what is mounted on {} is in the container's own root", shown(&target)),
                    "only the kernel's own file systems may be there: use the types proc and sysfs",
                )
                .with_kind(Kind::Refused));
            }
            let link = match (options.copy_link, options.source_itself) {
                (true, _) => SourceLink::Copied,
                (_, true) => SourceLink::Mounted,
                _ => SourceLink::Followed,
            };
            if link != SourceLink::Followed && within.is_some() {
                return Err(bad(
                    format!(
                        "the source of the mount on {} is in the container's own root",
                        shown(&target)
                    ),
                    "copy-symlink and src-nofollow are for what is elsewhere on the host",
                ));
            }
            MountSource::Bind { source, recursive, ids, link, kernel_only, within }
        }
        None if mapped || options.idmap.is_some() => {
            return Err(bad(
                format!("ids can be mapped for bind mounts alone, and {} is none", shown(&target)),
                "leave the mappings away",
            ));
        }
        None if m.kind == "cgroup" || m.kind == "cgroup2" => MountSource::Cgroup,
        None if m.kind.is_empty() || m.kind == "none" => {
            return Err(bad(
                format!("the mount on {} has neither a type nor the option bind", shown(&target)),
                "say what it is",
            ));
        }
        None => {
            if options.copy_up && m.kind != "tmpfs" {
                return Err(bad(
                    format!("tmpcopyup is for a tmpfs, and {} is none", shown(&target)),
                    "leave it away",
                ));
            }
            // Has no effect since Linux 4.7, and fsconfig(2) does not know it.
            options.rest.retain(|(key, _)| m.kind != "devpts" || key != "newinstance");
            options.rest.retain(|(key, _)| key != "async");
            MountSource::Filesystem {
                fstype: m.kind.clone(),
                source: Some(m.source.to_string_lossy().into_owned()).filter(|s| !s.is_empty()),
                options: options.rest,
                copy_up: options.copy_up,
            }
        }
    };
    // What is told of the whole host is told of, and nothing in it is a program or a device.
    let mut propagation = options.propagation;
    if propagation.is_empty()
        && let (Some(default), MountSource::Bind { .. }) = (default, &source)
    {
        propagation.push(default);
    }
    let target_itself = options.target_itself;
    Ok(Mount { target, source, attrs, propagation, over_proc, target_itself })
}

/// The part of a path of the host's that is below the root, by its names. One with `..` in it may
/// lead elsewhere.
fn within<'p>(root: &Path, path: &'p Path) -> Option<&'p Path> {
    let plain = path.components().all(|part| part != Component::ParentDir);
    path.strip_prefix(root).ok().filter(|_| plain && root.parent().is_some())
}

/// What of the kernel's is no root: there is nothing in it that a program could be.
const NOT_A_ROOT: &[&str] = &["proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"];

/// Whether it shows what the kernel knows, of its mounter's namespaces.
pub(super) fn is_of_the_kernel(fstype: &str) -> bool {
    NOT_A_ROOT.contains(&fstype)
}

/// Options about symlinks.
fn links(options: &Options, bind: bool, target: &Path) -> Result<()> {
    let (copied, itself) = (options.copy_link, options.source_itself || options.target_itself);
    if copied && itself {
        return Err(bad(
            format!(
                "the mount on {}: copy-symlink does not go with src-nofollow or dest-nofollow",
                shown(target)
            ),
            "leave one of them away",
        ));
    }
    if (copied || itself) && !bind {
        return Err(bad(
            format!(
                "copy-symlink, src-nofollow and dest-nofollow are for bind mounts, and {} is none",
                shown(target)
            ),
            "leave them away",
        ));
    }
    Ok(())
}

/// Whether it covers a procfs or a part of it. Only a procfs itself may, and a few files; anything
/// else would stand in for what the kernel says (CVE-2019-16884, CVE-2019-19921).
fn place_in_proc(target: &Path, m: &spec::Mount, bind: bool) -> Result<bool> {
    let Ok(below) = target.strip_prefix("/proc") else { return Ok(false) };
    let whole = below.as_os_str().is_empty();
    if whole && (m.kind == "proc" || bind) || OVER_PROC.iter().any(|p| target == Path::new(p)) {
        return Ok(true);
    }
    Err(bad(
        format!("{} cannot be mounted over: it is inside /proc", shown(target)),
        "only a file system of the type proc is for /proc, and a few of its files may be covered",
    )
    .with_kind(Kind::Refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(destination: &str, kind: &str, options: &[&str]) -> Result<Mount> {
        let m = spec::Mount {
            destination: destination.into(),
            kind: kind.into(),
            source: "src".into(),
            options: options.iter().map(ToString::to_string).collect(),
            ..spec::Mount::default()
        };
        let paths = (Path::new("/bundle"), Path::new("/bundle/rootfs"));
        mount(&m, paths, None, &mut Vec::new())
    }

    #[test]
    fn options_are_read_as_mount_has_them() {
        let m = one("/a", "tmpfs", &["nosuid", "ro", "mode=755", "size=64k", "rprivate"]).unwrap();
        assert_eq!(m.attrs.set, NOSUID | RDONLY);
        assert_eq!(m.propagation, [Propagation { flag: PRIVATE, recursive: true }]);
        let MountSource::Filesystem { options, .. } = &m.source else { panic!() };
        assert_eq!(options.len(), 2);
        assert_eq!(options[1], ("size".to_owned(), Some("64k".to_owned())));
        // The last one counts.
        assert_eq!(one("/a", "tmpfs", &["ro", "rw"]).unwrap().attrs.set, 0);
        let m = one("/a", "bind", &["rbind", "rro", "rnosuid"]).unwrap();
        assert_eq!(m.attrs.set_below, RDONLY | NOSUID);
        let MountSource::Bind { source, recursive: true, .. } = &m.source else { panic!() };
        assert_eq!(source, Path::new("/bundle/src"));
    }

    #[test]
    fn a_bind_keeps_what_it_has_only_where_no_flag_is_said() {
        let of = |options: &[&str]| one("/a", "bind", options).unwrap().attrs;
        assert_eq!(of(&["rbind", "rprivate", "remount"]), AttrBits::default());
        let a = of(&["ro", "exec"]);
        assert_eq!((a.set, a.clear, a.unwanted), (RDONLY, PLAIN & !RDONLY, NOEXEC));
        // Of access times nothing was said that mount(2) would hear.
        let a = of(&["atime"]);
        assert_eq!((a.set, a.clear, a.unwanted, a.times), (0, PLAIN, NOATIME, 0));
        let a = of(&["relatime", "nodiratime"]);
        assert_eq!((a.set, a.times), (NODIRATIME, RELATIME | NODIRATIME));
        assert_eq!(a.clear, PLAIN | ATIME);
        assert_eq!(of(&["strictatime"]).clear, PLAIN | ATIME | NODIRATIME);
        // A flag of the file system is a flag, although a bind cannot change it.
        assert_eq!(of(&["sync"]).clear, PLAIN);
        assert_eq!(one("/a", "tmpfs", &["ro", "noatime"]).unwrap().attrs.clear, ATIME);
    }

    #[test]
    fn what_lies_in_the_root_is_told_by_its_names() {
        let root = Path::new("/b/rootfs");
        let below = |path| within(root, Path::new(path)).map(|p| p.to_str().unwrap());
        assert_eq!(below("/b/rootfs/mnt/x"), Some("mnt/x"));
        assert_eq!(below("/b/rootfs"), Some(""));
        for outside in ["/b/rootfs2/x", "/b", "/b/rootfs/../x", "/rootfs/x"] {
            assert_eq!(below(outside), None, "{outside}");
        }
        assert_eq!(within(Path::new("/"), Path::new("/x")), None);
        assert_eq!(one("/bundle/rootfs/x/y", "tmpfs", &[]).unwrap().target, Path::new("/x/y"));
        assert!(one("/bundle/rootfs/proc/self/attr", "bind", &[]).is_err());
        assert_eq!(one("/bundle/rootfs", "bind", &[]).unwrap().target, Path::new("/"));
        assert!(one("/bundle/rootfs", "proc", &[]).is_err());
    }

    #[test]
    fn options_about_symlinks_are_for_bind_mounts() {
        let itself = ["bind", "src-nofollow", "dest-nofollow"];
        let m = one("/a", "", &itself).unwrap();
        let MountSource::Bind { link: SourceLink::Mounted, .. } = m.source else { panic!() };
        assert!(m.target_itself);
        let m = one("/a", "", &["rbind", "copy-symlink"]).unwrap();
        let MountSource::Bind { link: SourceLink::Copied, .. } = m.source else { panic!() };
        for options in [["copy-symlink", "size=1"], ["bind", "copy-symlink"]] {
            let both = [options.as_slice(), &["src-nofollow"]].concat();
            assert!(one("/a", "tmpfs", &both).is_err());
        }
        assert!(one("/a", "tmpfs", &["copy-symlink"]).is_err());
        assert!(one("/a", "tmpfs", &["dest-nofollow"]).is_err());
    }

    #[test]
    fn t7_only_a_procfs_and_some_files_may_be_put_over_proc() {
        for (target, kind) in [
            ("/proc", "tmpfs"),
            ("/proc/self/attr", "tmpfs"),
            ("/proc/self/attr", "bind"),
            ("/proc/sys", "bind"),
            ("/x/../proc/1", "bind"),
            ("/proc/meminfo/..", "tmpfs"),
            ("/", "proc"),
            ("/..", "cgroup"),
        ] {
            assert!(one(target, kind, &[]).is_err(), "{kind} on {target}");
        }
        for (target, kind) in [("/proc", "proc"), ("/proc/meminfo", "bind"), ("/process", "tmpfs")]
        {
            assert!(one(target, kind, &[]).is_ok(), "{kind} on {target}");
        }
        // What is bound there has to be one.
        let MountSource::Bind { kernel_only: true, .. } = one("/proc", "bind", &[]).unwrap().source
        else {
            panic!()
        };
    }
}
