//! What is put into the root, in its order.

#![forbid(unsafe_code)]

use super::annotations::Annotations;
use super::{Asked, bad, mounts, namespaces, shown, spec};
use crate::error::Result;
use crate::plan::detail::{self, MountSource, NamespaceKind};
use crate::plan::values::quote;
use crate::plan::{Attrs, BindIds, Existing, Expect, MountStep};
use spec::Config;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Everything that is put into the root, in its order: the mounts as given, devices, what belongs
/// in /dev, the working directory; then what is closed for writing or hidden.
pub(super) fn steps(
    config: &Config,
    linux: &spec::Linux,
    asked: &Asked<'_>,
    spaces: &namespaces::Spaces,
    notes: &Annotations,
    process: &spec::Process,
    warnings: &mut Vec<String>,
) -> Result<Vec<MountStep>> {
    let mut steps = Vec::with_capacity(config.mounts.len() + 48);
    let inherited = mounts::propagation(&linux.rootfs_propagation)
        .filter(|p| p.flag == mounts::SLAVE || p.flag == mounts::SHARED);
    let (mut own_dev, mut read_only_dev) = (true, false);
    let root = config.root.as_ref().map(|r| mounts::clean(&asked.bundle.join(&r.path)));
    let root = root.unwrap_or_default();
    let mut forced = forced_cgroup(notes, spaces)?;
    for m in &config.mounts {
        let mut mount = mounts::mount(m, (asked.bundle, &root), inherited, warnings)?;
        if forced.as_ref() == Some(&mount.target) {
            mount.source = MountSource::CgroupOfSystemd;
            forced = None;
        }
        if mount.target == Path::new("/") && !steps.is_empty() {
            return Err(bad(
                "a mount on the root of the container covers those before it",
                "put it first in mounts",
            ));
        }
        let is_bind = matches!(mount.source, MountSource::Bind { .. });
        if is_bind && mount.target == Path::new("/dev") {
            own_dev = false;
        }
        if !is_bind && mount.target == Path::new("/dev") && mount.attrs.set & mounts::RDONLY != 0 {
            // When everything in it is made.
            mount.attrs.set &= !mounts::RDONLY;
            read_only_dev = true;
        }
        steps.push(MountStep::Mount(Box::new(mount)));
    }
    if let Some(path) = forced {
        return Err(bad(
            format!("run.oci.systemd.force_cgroup_v1: there is no mount on {}", shown(&path)),
            "name the destination of one of the mounts",
        ));
    }
    let bind = spaces.user || asked.in_user_namespace;
    devices(&mut steps, linux, own_dev, bind)?;
    if own_dev {
        dev_links(&mut steps, asked.kcore);
    }
    if read_only_dev {
        if process.terminal {
            // Where the terminal is mounted, later.
            steps.push(MountStep::File {
                target: "/dev/console".into(),
                mode: 0o600,
                contents: Vec::new(),
            });
        }
        steps.push(MountStep::Remount { target: "/dev".into() });
    }
    steps.push(MountStep::WorkingDirectory { target: mounts::clean(Path::new(&process.cwd)) });
    for path in &linux.readonly_paths {
        let target = below_root("linux.readonlyPaths", path)?;
        steps.push(MountStep::ReadOnly { target });
    }
    let mut seen = BTreeSet::new();
    for path in linux.masked_paths.iter().filter(|path| seen.insert(*path)) {
        steps.push(MountStep::Mask { target: below_root("linux.maskedPaths", path)? });
    }
    cgroups_last(&mut steps);
    Ok(steps)
}

/// Where the v1 hierarchy of systemd is to be. In the host's cgroup namespace it would show all of
/// it, and a host without one would get it by the mount.
fn forced_cgroup(notes: &Annotations, spaces: &namespaces::Spaces) -> Result<Option<PathBuf>> {
    match &notes.cgroup_v1 {
        Some(_) if !spaces.is_new(NamespaceKind::Cgroup) => Err(bad(
            "run.oci.systemd.force_cgroup_v1 needs a new cgroup namespace: it would show the host's",
            "add {\"type\": \"cgroup\"} to linux.namespaces",
        )),
        path => Ok(path.as_deref().map(mounts::clean)),
    }
}

/// Moves the mount of the cgroups behind all else, unless one of the others is above or below it:
/// they are made meanwhile, and nothing waits for them earlier than it must.
fn cgroups_last(steps: &mut Vec<MountStep>) {
    let is_cgroup = |step: &MountStep| matches!(step, MountStep::Mount(m) if m.source.is_cgroup());
    let Some(at) = steps.iter().position(is_cgroup) else { return };
    let own = steps.get(at).map_or(Path::new("/"), MountStep::target);
    let related = |step: &MountStep| {
        let below = step.target().starts_with(own);
        // Which makes a directory, and mounts nothing.
        let mounts = !matches!(step, MountStep::WorkingDirectory { .. });
        below || (mounts && own.starts_with(step.target()))
    };
    if steps.iter().skip(at + 1).any(related) {
        return;
    }
    let step = steps.remove(at);
    steps.push(step);
}

/// A path below the root, from which a relative one counts, as in runc.
pub(super) fn below_root(what: &str, path: &Path) -> Result<PathBuf> {
    let clean = mounts::clean(&Path::new("/").join(path));
    if clean != Path::new("/") {
        return Ok(clean);
    }
    Err(bad(
        format!("{} in {what} is the root", shown(path)),
        "name what is below it; root.readonly makes the whole root read-only",
    ))
}

/// The devices that the specification gives to every container.
pub(super) const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

fn devices(
    steps: &mut Vec<MountStep>,
    linux: &spec::Linux,
    own_dev: bool,
    bind: bool,
) -> Result<()> {
    let mut list: Vec<detail::Device> = Vec::with_capacity(DEFAULT_DEVICES.len());
    for (path, major, minor) in DEFAULT_DEVICES {
        list.push(detail::Device {
            target: path.into(),
            kind: libc::S_IFCHR,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        });
    }
    if !own_dev {
        list.clear();
    }
    let defaults: Vec<PathBuf> = list.iter().map(|d| d.target.clone()).collect();
    for d in &linux.devices {
        let device = device(d)?;
        list.retain(|other| other.target != device.target);
        list.push(device);
    }
    for d in list {
        if !bind || d.kind == libc::S_IFIFO {
            steps.push(MountStep::Device(d));
            continue;
        }
        let expect = if defaults.contains(&d.target) && d.kind == libc::S_IFCHR {
            Expect::CharDevice(d.major, d.minor)
        } else {
            Expect::Node(d.node())
        };
        steps.push(MountStep::Bind {
            source: d.target.clone(),
            target: d.target,
            attrs: Attrs { no_suid: true, no_exec: true, ..Attrs::default() },
            ids: BindIds::Plain,
            expect,
            optional: false,
        });
    }
    Ok(())
}

fn device(d: &spec::Device) -> Result<detail::Device> {
    let named = shown(&d.path);
    let kind = match d.kind.as_str() {
        "c" | "u" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        "p" => libc::S_IFIFO,
        other => {
            return Err(bad(
                format!("the device {named} is of the type {}", quote(other)),
                "a device is c, b, u or p",
            ));
        }
    };
    if !d.path.is_absolute() || d.path == Path::new("/") {
        return Err(bad(format!("the device {named} has no absolute path"), "begin it with /"));
    }
    let number = |n: i64, most: u32| {
        u32::try_from(n).ok().filter(|n| *n <= most).ok_or_else(|| {
            bad(
                format!("the device {named} has the number {n}"),
                "device numbers are 12 and 20 bits",
            )
        })
    };
    let fifo = kind == libc::S_IFIFO;
    Ok(detail::Device {
        target: mounts::clean(&d.path),
        kind,
        major: if fifo { 0 } else { number(d.major, 0xfff)? },
        minor: if fifo { 0 } else { number(d.minor, 0xf_ffff)? },
        mode: d.file_mode.unwrap_or(0o666) & 0o7777,
        uid: d.uid.unwrap_or(0),
        gid: d.gid.unwrap_or(0),
    })
}

fn dev_links(steps: &mut Vec<MountStep>, kcore: bool) {
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    let core = kcore.then_some(("core", "/proc/kcore"));
    for (name, to) in links.into_iter().chain(core) {
        let target = format!("/dev/{name}").into();
        steps.push(MountStep::Symlink { target, to: to.into(), existing: Existing::Keep });
    }
    steps.push(MountStep::Symlink {
        target: "/dev/ptmx".into(),
        to: "pts/ptmx".into(),
        existing: Existing::Replace,
    });
}
