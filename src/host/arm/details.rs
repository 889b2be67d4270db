//! The parts of a plan that only some runs have, armed: mounts with all options, hooks, what is
//! written to /proc, scheduling.

#![forbid(unsafe_code)]

use super::{CgroupMount, c, c_path, options, place};
use crate::child::criu::ArmedInherited;
use crate::child::detached::ArmedHook;
use crate::child::mounts::{ArmedMount, ArmedSource};
use crate::child::namespaces::ArmedWrites;
use crate::child::program::READ_ANYTHING;
use crate::child::rootfs::Tree;
use crate::child::tuning::ArmedTuning;
use crate::child::{ArmedKeyring, AskingFilter};
use crate::error::{Error, Kind, Result};
use crate::host::container::cgroups::{armed as armed_cgroups, armed_systemd};
use crate::host::sources::{self, Pending};
use crate::plan::detail::{self, Details, Keyring, MountSource, SourceLink};
use crate::plan::formats::mountinfo;
use crate::plan::seccomp::notify::{Answer, answer, call_of};
use crate::plan::values::quote;
use crate::plan::{BindIds, Expect, Plan, Process, RootSource};
use crate::sys::mount::attr;
use crate::sys::process::CStringArray;
use crate::sys::tuning::Scheduler;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
/// Finds a source, or leaves it to be sent: then whether it is a directory comes along with it.
pub(super) fn find<'p>(
    wanted: Pending<'p>,
    pending: Option<&mut Vec<Pending<'p>>>,
) -> Result<(Tree, bool)> {
    match pending {
        Some(pending) => {
            pending.push(wanted);
            Ok((Tree::Sent(pending.len() - 1), false))
        }
        None => sources::look(&wanted),
    }
}

/// Where the host's procfs and sysfs are, but for those below the new root, which is attached over them.
pub(super) fn bare_mounts(plan: &Plan) -> Result<Vec<CString>> {
    let RootSource::Directory(rootfs) = &plan.root.source else { return Ok(Vec::new()) };
    let table = std::fs::read("/proc/self/mountinfo")
        .map_err(|e| Error::os("read /proc/self/mountinfo", e))?;
    mountinfo::mounts(&table)
        .filter_map(std::result::Result::ok)
        .filter(|m| matches!(&m.fstype[..], b"proc" | b"sysfs"))
        .filter(|m| !Path::new(OsStr::from_bytes(&m.mount_point)).starts_with(rootfs))
        .map(|m| c("mount point", &m.mount_point))
        .collect()
}

pub(super) fn any_mount<'p>(
    mount: &'p detail::Mount,
    index: usize,
    pending: Option<&mut Vec<Pending<'p>>>,
    cgroups: CgroupMount<'_>,
) -> Result<ArmedMount> {
    let a = mount.attrs;
    let source = match &mount.source {
        MountSource::Filesystem { fstype, source, options: list, copy_up } => {
            ArmedSource::Filesystem {
                fstype: c("file system", fstype.as_bytes())?,
                source: source.as_ref().map(|s| c("source", s.as_bytes())).transpose()?,
                options: options(list)?,
                long: long_options(list, a.set, &mount.target)?,
                // Only on real directories: a symlinked /proc would be somewhere else
                // (CVE-2019-16884).
                strict: matches!(fstype.as_str(), "proc" | "sysfs"),
                keep_mode: fstype == "tmpfs" && list.iter().all(|(key, _)| key != "mode"),
                copy_up: *copy_up,
            }
        }
        MountSource::Bind { within: Some(path), recursive, ids, .. } => {
            if ids.is_some() && pending.is_none() {
                return Err(sources::not_for_users(&quote(&path.to_string_lossy())));
            }
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            ArmedSource::Within {
                path: c_path(path)?,
                recursive: *recursive,
                step: ids.as_ref().and_then(|_| u32::try_from(index).ok()),
            }
        }
        MountSource::Bind { source, recursive, ids, link, kernel_only, .. } => {
            let wanted = Pending {
                recursive: *recursive,
                guarded: false,
                maps: ids.as_ref(),
                kernel_only: *kernel_only,
                // One that is to be copied was none when it was looked at; it is not followed by now either.
                itself: *link != SourceLink::Followed,
                ..Pending::new(source, BindIds::Plain, Expect::Any)
            };
            let (tree, directory) = find(wanted, pending)?;
            ArmedSource::Bind { tree, directory }
        }
        MountSource::Cgroup => armed_cgroups(cgroups.paths, cgroups.anew, cgroups.by_child)?,
        MountSource::CgroupOfSystemd => armed_systemd(cgroups.paths)?,
    };
    Ok(ArmedMount {
        source,
        target: place(&mount.target)?,
        attrs: [a.set, a.clear, a.set_below, a.clear_below],
        unwanted: a.unwanted,
        times: a.times,
        propagation: mount.propagation.iter().map(|p| (p.flag, p.recursive)).collect(),
        over_proc: mount.over_proc,
        target_itself: mount.target_itself,
    })
}

/// Where the source leads to, if that is a symlink which is to be made anew in the root.
pub(super) fn link_to_copy(mount: &detail::Mount) -> Result<Option<CString>> {
    let MountSource::Bind { source, link: SourceLink::Copied, .. } = &mount.source else {
        return Ok(None);
    };
    match std::fs::read_link(source) {
        Ok(to) => c_path(&to).map(Some),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        Err(e) => {
            let shown = crate::plan::values::quote(&source.to_string_lossy());
            Err(Error::os(format!("read the symlink {shown}"), e))
        }
    }
}

/// fsconfig(2) takes values of up to 255 bytes, which the layers of an overlay may exceed; then all
/// go to mount(2), with the attributes as its flags.
fn long_options(
    list: &[(String, Option<String>)],
    set: u64,
    target: &Path,
) -> Result<Option<(u64, CString)>> {
    if list.iter().all(|(key, v)| key.len() < 256 && v.as_ref().is_none_or(|v| v.len() < 256)) {
        return Ok(None);
    }
    if target == Path::new("/") {
        let text = "an option of the mount on / is longer than 255 bytes";
        return Err(Error::new(Kind::Unsupported, text)
            .hint("mount it beforehand, and let root.path name it"));
    }
    let words: Vec<String> = list
        .iter()
        .map(|(k, v)| v.as_ref().map_or_else(|| k.clone(), |v| format!("{k}={v}")))
        .collect();
    let data = words.join(",");
    if data.len() > 4095 {
        return Err(Error::new(
            Kind::InvalidConfig,
            format!("mount options of {} bytes are more than the kernel takes", data.len()),
        ));
    }
    let flags = [
        (attr::RDONLY, libc::MS_RDONLY),
        (attr::NOSUID, libc::MS_NOSUID),
        (attr::NODEV, libc::MS_NODEV),
        (attr::NOEXEC, libc::MS_NOEXEC),
        (attr::NOATIME, libc::MS_NOATIME),
        (attr::STRICTATIME, libc::MS_STRICTATIME),
        (attr::NODIRATIME, libc::MS_NODIRATIME),
        (attr::NOSYMFOLLOW, 256),
    ];
    let flags = flags.iter().filter(|(bit, _)| set & bit != 0).fold(0, |all, (_, f)| all | f);
    Ok(Some((flags, c("mount options", data.as_bytes())?)))
}

/// What the stub wants: the number of the descriptor that it reports to, as a byte, and the path.
pub(super) fn stub_paths(places: &[CString], preserved: u32) -> Result<Vec<CString>> {
    let number = u8::try_from(3 + u64::from(preserved)).map_err(|_| {
        Error::new(Kind::Unsupported, format!("{preserved} descriptors cannot be preserved"))
            .hint("hand on at most 252")
    })?;
    places
        .iter()
        .map(|path| {
            let mut bytes = vec![number];
            bytes.extend_from_slice(path.as_bytes());
            c("command", &bytes)
        })
        .collect()
}

pub(super) fn writes(d: &Details) -> Result<ArmedWrites> {
    let pair = |(path, value): &(String, String)| -> Result<(CString, CString)> {
        Ok((c("path", path.as_bytes())?, c("value", value.as_bytes())?))
    };
    Ok(ArmedWrites {
        time_offsets: d.time_offsets.as_ref().map(|o| c("offsets", o.as_bytes())).transpose()?,
        sysctls: d
            .sysctls
            .iter()
            .map(|(path, value)| pair(&(format!("sys/{path}"), value.clone())))
            .collect::<Result<_>>()?,
        labels: d.exec_labels.iter().map(pair).collect::<Result<_>>()?,
    })
}

pub(super) fn tuning(d: &Details) -> ArmedTuning {
    let t = &d.tuning;
    ArmedTuning {
        scheduler: t.scheduler.map(|s| Scheduler {
            policy: s.policy,
            flags: s.flags,
            nice: s.nice,
            priority: s.priority,
            runtime: s.runtime,
            deadline: s.deadline,
            period: s.period,
        }),
        io_priority: t.io_priority,
        personality: t.personality,
        memory_policy: t.memory_policy,
    }
}

pub(super) fn keyring(d: &Details) -> Result<ArmedKeyring> {
    Ok(match &d.keyring {
        Keyring::Anonymous => ArmedKeyring::Anonymous,
        Keyring::Named(name) => ArmedKeyring::Named(c("keyring", name.as_bytes())?),
        Keyring::Inherited => ArmedKeyring::Inherited,
    })
}

/// What restored processes have from criu.
pub(crate) fn inherited(plan: &Plan) -> Result<ArmedInherited> {
    let d = &plan.details;
    Ok(ArmedInherited {
        no_new_privs: plan.process.no_new_privs,
        keyring: keyring(d)?,
        tuning: ArmedTuning { scheduler: None, personality: None, ..tuning(d) },
    })
}

pub(super) fn asking(p: &Process) -> Option<AskingFilter> {
    let asking = p.seccomp.asking.as_ref()?;
    Some(AskingFilter { program: asking.program.clone(), flags: asking.flags })
}

/// Whether rights are laid down before the stub that would let others look into it. Where the filter denies
/// that, who has the same rights can look into the stub, which has none that they have not.
pub(super) fn hides_stub(plan: &Plan) -> bool {
    let p = &plan.process;
    let filter = &p.seccomp.filter;
    let may = filter.is_empty() || answer(filter, &call_of("capset")) == Answer::Other;
    may && p.caps.effective & READ_ANYTHING != 0
}

/// A hook's C strings.
pub(crate) fn hook(hook: &detail::Hook) -> Result<ArmedHook> {
    let list = |what: &str, strings: &[String]| -> Result<CStringArray> {
        let strings: Result<Vec<CString>> = strings.iter().map(|s| c(what, s.as_bytes())).collect();
        strings.map(CStringArray::new)
    };
    let argv = if hook.args.is_empty() {
        CStringArray::new(vec![c_path(&hook.path)?])
    } else {
        list("argument of a hook", &hook.args)?
    };
    Ok(ArmedHook {
        path: c_path(&hook.path)?,
        argv,
        envp: list("environment of a hook", &hook.env)?,
        timeout: hook.timeout.map(|t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)),
    })
}
