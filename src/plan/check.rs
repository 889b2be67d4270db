//! What makes no sense, said before anything is touched. One small function a rule.

#![forbid(unsafe_code)]

use super::facts::Facts;
use super::values::duration::cpuset;
use super::values::quote;
use super::{MountStep, Plan, RootSource, ids};
use crate::error::{Error, Kind, Result};
use std::path::{Component, Path};

/// Least memory that set-up itself and a small program fit into.
const LEAST_MEMORY: u64 = 2 << 20;

/// Runs every check.
///
/// # Errors
/// The first rule that the plan breaks.
pub fn check(plan: &Plan, facts: &Facts, no_groups_asked: bool) -> Result<()> {
    command(plan)?;
    environment(plan)?;
    working_directory(plan)?;
    targets(plan)?;
    sources(plan)?;
    mapped_ids(plan)?;
    groups(plan, no_groups_asked)?;
    limits(plan, facts)?;
    init(plan)?;
    network(plan, facts)
}

fn bad(message: String, hint: &str) -> Error {
    Error::new(Kind::InvalidConfig, message).hint(hint)
}

fn command(plan: &Plan) -> Result<()> {
    match plan.process.argv.first() {
        None => {
            Err(bad("no command".to_owned(), "say what to run: stockade jail -- COMMAND [ARG...]"))
        }
        Some(c) if c.is_empty() => Err(bad(
            "the command is empty".to_owned(),
            "say what to run: stockade jail -- COMMAND [ARG...]",
        )),
        Some(_) => Ok(()),
    }
}

/// Nothing comes from the host's environment by a bare name (CVE-2026-57231).
fn environment(plan: &Plan) -> Result<()> {
    for entry in &plan.process.env {
        let key = entry.split_once('=').map(|(k, _)| k);
        if key.is_none_or(str::is_empty) {
            return Err(bad(
                format!("environment entry {} is not KEY=value", quote(entry)),
                "write KEY=value; nothing is taken from the caller's environment",
            ));
        }
    }
    Ok(())
}

fn working_directory(plan: &Plan) -> Result<()> {
    if plan.process.cwd.starts_with('/') {
        return Ok(());
    }
    Err(bad(
        format!("the working directory {} is not absolute", quote(&plan.process.cwd)),
        "begin it with /",
    ))
}

/// Absolute, without `..`, not the root itself; and nothing of the user's on or below /proc,
/// /sys or on /dev, where it would stand in for what the kernel says (CVE-2019-19921).
fn targets(plan: &Plan) -> Result<()> {
    for step in &plan.steps {
        let path = step.target();
        // Only for an error: there are some sixty steps, at every start.
        let shown = || quote(&path.to_string_lossy());
        if !path.is_absolute() {
            return Err(bad(
                format!("the mount target {} is not absolute", shown()),
                "begin it with /",
            ));
        }
        let mut names = path.components().skip(1);
        let first = names.next();
        let second = names.next();
        if [first, second].into_iter().flatten().chain(names).any(|c| c == Component::ParentDir) {
            return Err(bad(format!("the mount target {} has ..", shown()), "write it without"));
        }
        let is = |c: Option<Component<'_>>, name: &str| c.is_some_and(|c| c.as_os_str() == name);
        let kernel = is(first, "proc")
            || is(first, "sys")
            || is(first, "dev") && (second.is_none() || path == Path::new("/dev/pts"));
        let ours = || match step {
            MountStep::Bind { expect, .. } => *expect != super::Expect::FileOrDirectory,
            MountStep::PoolDir { .. } => [Path::new("/dev"), Path::new("/sys")].contains(&path),
            MountStep::Filesystem { fstype, .. } => fstype != "tmpfs",
            _ => true,
        };
        if first.is_none() || (kernel && !ours()) {
            return Err(Error::new(
                Kind::Refused,
                format!("nothing may be mounted on {}", shown()),
            )
            .hint("the root, /proc, /sys, /dev and /dev/pts are stockade's to mount"));
        }
    }
    duplicates(plan)
}

/// Two of the user's mounts on one target: the first would be hidden, which nobody means.
fn duplicates(plan: &Plan) -> Result<()> {
    let mut seen: Vec<&Path> = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let mounts = matches!(
            step,
            MountStep::Bind { .. } | MountStep::Filesystem { .. } | MountStep::PoolDir { .. }
        );
        if mounts {
            seen.push(step.target());
        }
    }
    // Path compares by components: /a//b is /a/b. Where every path is written plainly, as ours are,
    // bytes do, in a tenth of the time.
    if seen.iter().all(|path| is_plain(path)) {
        seen.sort_unstable_by_key(|path| path.as_os_str().as_encoded_bytes());
    } else {
        seen.sort_unstable();
    }
    for pair in seen.windows(2) {
        if let [a, b] = pair
            && a == b
        {
            return Err(bad(
                format!("two mounts on {}", quote(&a.to_string_lossy())),
                "give each target once",
            ));
        }
    }
    Ok(())
}

/// Whether no other way to write the same path is plainer.
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    !bytes.ends_with(b"/") && !bytes.windows(2).any(|two| two == b"//" || two == b"/.")
}

fn sources(plan: &Plan) -> Result<()> {
    if let RootSource::Directory(dir) = &plan.root.source
        && dir.as_os_str().is_empty()
    {
        return Err(bad("the rootfs is empty".to_owned(), "give a directory: --rootfs DIR"));
    }
    Ok(())
}

fn mapped_ids(plan: &Plan) -> Result<()> {
    let Some(user) = &plan.namespaces.user else { return Ok(()) };
    let p = &plan.process;
    let hint = "a jail has the ids 0 to 65535, of which an ordinary user without subordinate ids \
                has one; --userns host uses the host's";
    if !ids::is_mapped(&user.uids, p.uid) {
        return Err(bad(format!("user id {} is not mapped in the jail", p.uid), hint));
    }
    if !ids::is_mapped(&user.gids, p.gid) {
        return Err(bad(format!("group id {} is not mapped in the jail", p.gid), hint));
    }
    for group in p.groups.iter().flatten() {
        if !ids::is_mapped(&user.gids, *group) {
            return Err(bad(format!("group id {group} is not mapped in the jail"), hint));
        }
    }
    Ok(())
}

fn groups(plan: &Plan, no_groups_asked: bool) -> Result<()> {
    if plan.process.groups.is_none() && !no_groups_asked {
        return Err(Error::new(
            Kind::Unsupported,
            "an ordinary user cannot give a jail supplementary groups",
        )
        .hint("install newuidmap and newgidmap (Debian: uidmap) and add the user to /etc/subuid and /etc/subgid"));
    }
    Ok(())
}

fn limits(plan: &Plan, facts: &Facts) -> Result<()> {
    let r = &plan.resources;
    if let Some(memory) = r.memory {
        if memory < LEAST_MEMORY {
            return Err(bad(
                format!("a memory limit of {memory} bytes is too little to start anything"),
                "give at least 2m; most interpreters need 16m and more",
            ));
        }
        if r.memory_swap.is_some_and(|total| total < memory) {
            return Err(bad(
                "memory and swap together are less than the memory limit".to_owned(),
                "--memory-swap counts both: give as much as -m for no swap, or more",
            ));
        }
    }
    if r.pids == Some(0) || (plan.process.init && r.pids == Some(1)) {
        return Err(bad(
            "the process limit leaves no process for the command".to_owned(),
            "the init counts too: give at least 2, or 1 with --no-init",
        ));
    }
    if let Some(list) = &r.cpuset {
        cpus_are_there(list, facts)?;
    }
    for limit in &plan.process.rlimits {
        let cap = usize::try_from(limit.resource).ok().and_then(|n| facts.hard_rlimits.get(n));
        if cap.is_some_and(|cap| limit.hard > *cap) && !facts.may_raise_limits {
            return Err(Error::new(
                Kind::Permission,
                format!(
                    "the limit {} of {} is above the caller's own",
                    super::rlimits::name(limit.resource),
                    limit.hard
                ),
            )
            .hint("a hard limit can only be raised with CAP_SYS_RESOURCE"));
        }
    }
    Ok(())
}

/// cgroup v1 refuses a CPU that is not there with ERANGE; v2 takes it and gives the job all CPUs.
fn cpus_are_there(list: &str, facts: &Facts) -> Result<()> {
    let wanted = cpuset("CPU list", list)?;
    let text = std::str::from_utf8(&facts.cpus_online).unwrap_or_default();
    let Ok(online) = cpuset("list of CPUs online", text.trim()) else { return Ok(()) };
    match wanted.iter().find(|cpu| online.iter().all(|there| there != *cpu)) {
        None => Ok(()),
        Some(cpu) => Err(bad(
            format!("there is no CPU {cpu}, which the list {} has", quote(list)),
            &format!("this host has the CPUs {online}"),
        )),
    }
}

fn init(plan: &Plan) -> Result<()> {
    let zero = |d: Option<std::time::Duration>| d.is_some_and(|d| d.is_zero());
    if zero(plan.supervision.wall) || zero(plan.supervision.cpu) {
        return Err(bad("a time limit of 0".to_owned(), "give more, such as 10s or 5m"));
    }
    Ok(())
}

/// With the host's network a user namespace still stands between the job and its interfaces.
fn network(plan: &Plan, facts: &Facts) -> Result<()> {
    if plan.namespaces.user.is_none() && !facts.privileged {
        return Err(Error::new(
            Kind::Permission,
            "without a user namespace only root can make a jail",
        )
        .hint("leave --userns at auto, or run as root"));
    }
    Ok(())
}
