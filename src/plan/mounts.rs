//! What a jail mounts besides its root: the kernel's file systems, writable places, volumes, masks.

#![forbid(unsafe_code)]

use super::facts::Facts;
use super::ids;
use super::policy::{Network, Policy};
use super::values::quote;
use super::{Attrs, BindIds, Existing, Expect, MountStep};
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
    // A pty is a channel that can be written to.
    if policy.restricted.is_none() {
        steps.push(devpts(user));
    }
    for (name, to) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        let target = format!("/dev/{name}").into();
        steps.push(MountStep::Symlink { target, to: to.into(), existing: Existing::Refuse });
    }
    let shm = Attrs { read_only: policy.restricted.is_some(), ..Attrs::PSEUDO };
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

fn devpts(user: Option<&super::UserNamespace>) -> MountStep {
    let mut options = vec![
        ("newinstance".to_owned(), None),
        ("ptmxmode".to_owned(), Some("0666".to_owned())),
        ("mode".to_owned(), Some("0620".to_owned())),
    ];
    if user.is_none_or(|u| ids::is_mapped(&u.gids, 5)) {
        options.push(("gid".to_owned(), Some("5".to_owned())));
    }
    MountStep::Filesystem {
        fstype: "devpts".into(),
        options,
        target: "/dev/pts".into(),
        attrs: Attrs { no_suid: true, no_exec: true, ..Attrs::default() },
    }
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

/// A restricted job writes to nothing but the streams it was given.
///
/// # Errors
/// What the policy asks for besides contradicts that.
pub(super) fn nothing_writable(policy: &Policy) -> Result<()> {
    if policy.restricted.is_none() {
        return Ok(());
    }
    let volume = policy.volumes.iter().find(|v| !v.read_only);
    let tmpfs = policy.tmpfs.iter().find(|t| !t.read_only);
    let what = if let Some(v) = volume {
        format!("the writable volume {}", quote(&v.target.to_string_lossy()))
    } else if let Some(t) = tmpfs {
        format!("the writable tmpfs {}", quote(&t.target.to_string_lossy()))
    } else if !policy.read_only {
        "a writable root".to_owned()
    } else if policy.shm_size.is_some() {
        "a size for /dev/shm, which it cannot write to".to_owned()
    } else if policy.network == Network::Host {
        "the host's network".to_owned()
    } else if policy.nested_userns {
        "namespaces of its own".to_owned()
    } else if !policy.cap_add.is_empty() {
        "capabilities".to_owned()
    } else if policy.tty {
        "a terminal of its own".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::InvalidConfig, format!("a restricted job cannot have {what}")).hint(
        "it computes and writes to its streams: leave that out, add :ro, or do without restrict",
    ))
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
                attrs: Attrs { read_only: policy.restricted.is_some(), ..Attrs::SAFE },
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

/// Where a script is whose bytes were checked.
pub const SCRIPT: &str = "/script";

/// The script, in a directory of its own that is read-only from then on. It comes after the
/// volumes: nothing that they hold can stand in its place, and none may be put over it.
pub(super) fn script(steps: &mut Vec<MountStep>, policy: &Policy, pool: u64) -> Result<()> {
    let Some(script) = &policy.script else { return Ok(()) };
    // The jail's own files take some of it too.
    let size = u64::try_from(script.contents.len()).unwrap_or(u64::MAX);
    if size.saturating_add(256 << 10) > pool {
        let message = format!("the script of {size} bytes does not fit into {pool} bytes of disk");
        return Err(
            Error::new(Kind::InvalidConfig, message).hint("raise --disk: the script is kept on it")
        );
    }
    let plain = !["", ".", ".."].contains(&script.name.as_str())
        && !script.name.contains(['/', '\0'])
        && script.name.len() <= 255;
    if !plain {
        let shown = super::values::quote(&script.name);
        return Err(Error::new(Kind::InvalidConfig, format!("{shown} is no name for a script"))
            .hint("give the script a file name of at most 255 bytes"));
    }
    let volumes = policy.volumes.iter().map(|v| &v.target);
    let mut targets = volumes.chain(policy.tmpfs.iter().map(|t| &t.target));
    if let Some(target) = targets.find(|t| t.starts_with(SCRIPT)) {
        let shown = super::values::quote(&target.to_string_lossy());
        return Err(Error::new(Kind::Refused, format!("nothing may be mounted on {shown}"))
            .hint("/script is where the signed script is: choose another target"));
    }
    steps.push(MountStep::PoolDir {
        target: SCRIPT.into(),
        mode: 0o755,
        owner: None,
        attrs: Attrs::SAFE,
    });
    steps.push(MountStep::File {
        target: script.path().into(),
        mode: 0o555,
        contents: script.contents.clone(),
    });
    steps.push(MountStep::Remount { target: SCRIPT.into() });
    Ok(())
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
    &["/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"];

/// Of [`READ_ONLY`] only the first is the job's to write where the host's root is nobody in the
/// jail: the network's settings belong to the root of its namespaces. The others are the host's
/// root's, and each mount costs 12 µs.
pub(super) fn masks(steps: &mut Vec<MountStep>, user: Option<&super::UserNamespace>) {
    let host_root_is_nobody = user.is_some_and(|u| !ids::is_outside(&u.uids, 0));
    let count = if host_root_is_nobody { 1 } else { READ_ONLY.len() };
    let read_only = READ_ONLY.iter().take(count);
    steps.extend(read_only.map(|p| MountStep::ReadOnly { target: p.into() }));
    steps.extend(MASKED.iter().map(|p| MountStep::Mask { target: p.into() }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::policy::{Script, Tmpfs, Volume};

    fn with(name: &str, more: impl FnOnce(&mut Policy)) -> Result<Vec<MountStep>> {
        let script = Script { name: name.to_owned(), contents: b"x".to_vec() };
        let mut policy = Policy { script: Some(script), ..Policy::default() };
        more(&mut policy);
        let mut steps = Vec::new();
        super::script(&mut steps, &policy, policy.disk).map(|()| steps)
    }

    #[test]
    fn the_script_is_made_in_a_directory_that_then_becomes_read_only() {
        let steps = with("job.py", |_| {}).unwrap();
        assert!(
            matches!(&steps[0], MountStep::PoolDir { target, .. } if target == Path::new(SCRIPT))
        );
        assert!(matches!(&steps[1], MountStep::File { target, mode: 0o555, contents }
            if target == Path::new("/script/job.py") && contents == b"x"));
        assert_eq!(steps[2], MountStep::Remount { target: SCRIPT.into() });
        assert_eq!(steps.len(), 3);
    }

    #[test]
    fn nothing_can_stand_in_for_the_script() {
        for name in ["", ".", "..", "a/b", "../x", "a\0b", &"a".repeat(256)] {
            assert!(with(name, |_| {}).is_err(), "{name:?}");
        }
        for target in ["/script", "/script/", "/script/job.py", "//script//x", "/script/./x"] {
            let volume = with("job.py", |p| {
                p.volumes.push(Volume {
                    source: "/etc".into(),
                    target: target.into(),
                    read_only: true,
                    idmap: true,
                });
            });
            assert_eq!(volume.unwrap_err().kind(), Kind::Refused, "{target}");
            let tmpfs = with("job.py", |p| {
                let target = target.into();
                let (size, inodes, mode) = (None, None, 0o755);
                p.tmpfs.push(Tmpfs { target, size, inodes, mode, exec: true, read_only: false });
            });
            assert_eq!(tmpfs.unwrap_err().kind(), Kind::Refused, "{target}");
        }
    }
}
