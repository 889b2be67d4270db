//! What a jail mounts besides its root: the kernel's file systems, writable places, volumes, masks.

#![forbid(unsafe_code)]

use super::facts::Facts;
use super::ids;
use super::policy::Policy;
use super::{Attrs, BindIds, Expect, MountStep};
use crate::error::{Error, Kind, Result};
use std::path::Path;

/// /proc, /dev and /sys.
pub(super) fn kernel_filesystems(
    steps: &mut Vec<MountStep>,
    facts: &Facts,
    policy: &Policy,
    user: Option<&super::UserNamespace>,
) {
    steps.push(MountStep::Filesystem {
        fstype: "proc".into(),
        options: vec![],
        target: "/proc".into(),
        attrs: Attrs::PSEUDO,
    });
    let dev = Attrs { no_suid: true, no_exec: true, ..Attrs::default() };
    steps.push(MountStep::PoolDir {
        target: "/dev".into(),
        mode: 0o755,
        owner: None,
        attrs: Attrs::PSEUDO,
    });
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        steps.push(device(name, 1, minor, dev));
    }
    steps.push(device("tty", 5, 0, dev));
    let mut options = vec![
        ("newinstance".to_owned(), None),
        ("ptmxmode".to_owned(), Some("0666".to_owned())),
        ("mode".to_owned(), Some("0620".to_owned())),
    ];
    if user.is_none_or(|u| ids::is_mapped(&u.gids, 5)) {
        options.push(("gid".to_owned(), Some("5".to_owned())));
    }
    steps.push(MountStep::Filesystem {
        fstype: "devpts".into(),
        options,
        target: "/dev/pts".into(),
        attrs: Attrs { no_suid: true, no_exec: true, ..Attrs::default() },
    });
    for (name, to) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        steps.push(MountStep::Symlink { target: format!("/dev/{name}").into(), to: to.into() });
    }
    let shm = Attrs::PSEUDO;
    if let Some(size) = policy.shm_size {
        steps.push(sized_tmpfs(Path::new("/dev/shm"), size, None, 0o1777, shm));
    } else {
        steps.push(MountStep::PoolDir {
            target: "/dev/shm".into(),
            mode: 0o1777,
            owner: None,
            attrs: shm,
        });
    }
    steps.push(MountStep::Remount { target: "/dev".into() });
    // Not the host's sysfs, of which most is about the host: only what the C library and
    // language runtimes read to size their thread pools.
    steps.push(MountStep::PoolDir {
        target: "/sys".into(),
        mode: 0o755,
        owner: None,
        attrs: Attrs::PSEUDO,
    });
    for (name, contents) in &facts.cpu_lists {
        steps.push(MountStep::File {
            target: format!("/sys/devices/system/cpu/{name}").into(),
            mode: 0o444,
            contents: contents.clone(),
        });
    }
    steps.push(MountStep::Remount { target: "/sys".into() });
}

fn device(name: &str, major: u32, minor: u32, attrs: Attrs) -> MountStep {
    MountStep::Bind {
        source: format!("/dev/{name}").into(),
        target: format!("/dev/{name}").into(),
        attrs,
        ids: BindIds::Plain,
        expect: Expect::CharDevice(major, minor),
        optional: false,
    }
}

fn sized_tmpfs(
    target: &Path,
    size: u64,
    inodes: Option<u64>,
    mode: u32,
    attrs: Attrs,
) -> MountStep {
    let mut options = vec![
        ("size".to_owned(), Some(size.to_string())),
        ("mode".to_owned(), Some(format!("{mode:o}"))),
    ];
    if let Some(n) = inodes {
        options.push(("nr_inodes".to_owned(), Some(n.to_string())));
    }
    MountStep::Filesystem { fstype: "tmpfs".into(), options, target: target.into(), attrs }
}

/// /tmp, /work and the tmpfs that were asked for. Returns the bytes that those with a size of
/// their own take out of the disk limit: all writable places together stay below it.
pub(super) fn writable_places(steps: &mut Vec<MountStep>, policy: &Policy) -> Result<u64> {
    let mut reserved = policy.shm_size.unwrap_or(0);
    let given = |path: &str| {
        policy.tmpfs.iter().any(|t| t.target == Path::new(path))
            || policy.volumes.iter().any(|v| v.target == Path::new(path))
    };
    for (path, mode) in [("/tmp", 0o1777), ("/work", 0o755)] {
        if !given(path) {
            steps.push(MountStep::PoolDir {
                target: path.into(),
                mode,
                owner: (mode == 0o755).then_some((policy.uid, policy.gid)),
                attrs: Attrs::SAFE,
            });
        }
    }
    for tmpfs in &policy.tmpfs {
        let attrs = Attrs { no_exec: !tmpfs.exec, read_only: tmpfs.read_only, ..Attrs::SAFE };
        if tmpfs.size.is_none() && tmpfs.inodes.is_none() {
            steps.push(MountStep::PoolDir {
                target: tmpfs.target.clone(),
                mode: tmpfs.mode,
                owner: None,
                attrs,
            });
        } else {
            let size = tmpfs.size.unwrap_or(policy.disk / 2);
            reserved = reserved.saturating_add(size);
            steps.push(sized_tmpfs(&tmpfs.target, size, tmpfs.inodes, tmpfs.mode, attrs));
        }
    }
    if reserved >= policy.disk {
        return Err(Error::new(
            Kind::InvalidConfig,
            format!(
                "the tmpfs with sizes of their own take {reserved} bytes, which leaves nothing of \
                 the disk limit of {} bytes",
                policy.disk
            ),
        )
        .hint("raise --disk, or lower --shm-size and the size= of --tmpfs"));
    }
    Ok(reserved)
}

pub(super) fn volume_steps(policy: &Policy, facts: &Facts, userns: bool) -> Vec<MountStep> {
    policy
        .volumes
        .iter()
        .map(|v| MountStep::Bind {
            source: v.source.clone(),
            target: v.target.clone(),
            attrs: Attrs { read_only: v.read_only, ..Attrs::SAFE },
            ids: if userns && facts.privileged && v.idmap && !policy.no_idmap {
                BindIds::OwnerIs(policy.uid, policy.gid)
            } else {
                BindIds::Plain
            },
            expect: Expect::FileOrDirectory,
            optional: false,
        })
        .collect()
}

/// Files of procfs that tell of the host or act on it.
pub const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/mtrr",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/swaps",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
];

/// Directories and files of procfs that can be read and not written.
pub const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn masks(steps: &mut Vec<MountStep>) {
    steps.extend(READ_ONLY.iter().map(|p| MountStep::ReadOnly { target: p.into() }));
    steps.extend(MASKED.iter().map(|p| MountStep::Mask { target: p.into() }));
}
