//! Limits on v2: all files are in one directory.

use super::limits::{self, or_max, set, text};
use super::{ContainerCgroup, io, rootless, v1};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::dir::Dir;
use crate::host::cgroup::v2::weight;
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

/// Sets those limits that are given.
pub(super) fn apply(group: &ContainerCgroup, r: &LinuxResources) -> Result<()> {
    let dir = group.need("", "linux.resources")?;
    if let Some(p) = r.pids() {
        put(dir, "pids.max", &limits::pids(p.limit()))?;
    }
    if let Some(m) = r.memory() {
        memory(dir, m)?;
    }
    if let Some(b) = r.block_io() {
        io::apply_v2(dir, b)?;
    }
    if let Some(c) = r.cpu() {
        cpu(dir, c)?;
        for (file, list) in [("cpuset.cpus", c.cpus()), ("cpuset.mems", c.mems())] {
            if let Some(list) = text(list.as_ref()) {
                put(dir, file, list)?;
            }
        }
    }
    for limit in r.hugepage_limits().iter().flatten() {
        need(dir, "hugetlb")?;
        v1::hugepages(dir, limit.page_size(), "max", &limit.limit().to_string())?;
    }
    if r.rdma().as_ref().is_some_and(|rdma| !rdma.is_empty()) {
        need(dir, "rdma")?;
        io::rdma(dir, r)?;
    }
    unified(dir, r)
}

fn need(dir: &Dir, controller: &str) -> Result<()> {
    let there = dir.read("cgroup.controllers").unwrap_or_default();
    if there.split_whitespace().any(|c| c == controller) {
        return Ok(());
    }
    let text = format!("the cgroup {} does not have the {controller} controller", dir.path);
    Err(Error::new(Kind::Unsupported, text).hint(rootless::how_to_get(controller)))
}

/// Writes a limit; without its file the answer is which controller is missing.
pub(super) fn put(dir: &Dir, file: &str, value: &str) -> Result<()> {
    match dir.write(file, value) {
        Ok(()) => Ok(()),
        Err(e) if e.0 == libc::ENOENT => {
            need(dir, file.split('.').next().unwrap_or_default())?;
            let text = format!("this kernel has no {file}");
            Err(Error::new(Kind::Unsupported, text))
        }
        Err(_) => dir.set(file, value),
    }
}

/// What holds now: -1 for no limit.
fn current(dir: &Dir, file: &str) -> Option<i64> {
    match dir.read(file).ok()?.trim() {
        "max" => Some(-1),
        number => number.parse().ok(),
    }
}

fn memory(dir: &Dir, m: &LinuxMemory) -> Result<()> {
    let (limit, sum) = (set(m.limit()), set(m.swap()));
    if m.check_before_update() == Some(true) {
        refuse_below_usage(dir, limit, sum)?;
    }
    // An update may give one of the two.
    let holds = limit.or_else(|| sum.and_then(|_| current(dir, "memory.max")));
    let swap = limits::swap_alone(holds, sum)?;
    let write_swap = || {
        let Some(value) = swap else { return Ok(()) };
        match dir.write("memory.swap.max", &or_max(value)) {
            // Nothing is swapped without swap accounting, so "none" and "any" hold by themselves.
            Err(e) if e.0 == libc::ENOENT && value <= 0 && need(dir, "memory").is_ok() => Ok(()),
            _ => put(dir, "memory.swap.max", &or_max(value)),
        }
    };
    write_swap()?;
    if let Some(value) = limit {
        put(dir, "memory.max", &or_max(value))?;
    }
    if let Some(value) = set(m.reservation()) {
        put(dir, "memory.low", &or_max(value))?;
    }
    Ok(())
}

/// The same with what a unit's properties need beside it and nobody has said: the limit that a swap
/// limit is the sum with, the quota of a period; and the period that holds. Refuses, where that was
/// asked for, what would kill at once.
pub(super) fn with_what_holds(dir: &Dir, r: &LinuxResources) -> Result<(LinuxResources, u64)> {
    let mut out = r.clone();
    if let Some(m) = out.memory_mut() {
        if m.check_before_update() == Some(true) {
            refuse_below_usage(dir, set(m.limit()), set(m.swap()))?;
        }
        if set(m.limit()).is_none() && set(m.swap()).is_some() {
            m.set_limit(current(dir, "memory.max"));
        }
    }
    let max = dir.read("cpu.max").unwrap_or_default();
    let mut words = max.split_whitespace();
    let quota = words.next().and_then(|w| w.parse().ok());
    let period = words.next().and_then(|w| w.parse().ok()).unwrap_or(100_000);
    if let Some(c) = out.cpu_mut()
        && set(c.period()).is_some()
        && set(c.quota()).is_none()
    {
        c.set_quota(quota);
    }
    Ok((out, period))
}

/// v2 would kill until the new limit holds; v1 refuses it by itself.
fn refuse_below_usage(dir: &Dir, limit: Option<i64>, sum: Option<i64>) -> Result<()> {
    let Some(usage) = dir.number("memory.current") else { return Ok(()) };
    for (name, value) in [("memory+swap limit", sum), ("memory limit", limit)] {
        if let Some(value) = value
            && u64::try_from(value).is_ok_and(|v| v <= usage)
        {
            let text = format!("rejecting {name} {value} <= usage {usage}");
            return Err(Error::new(Kind::InvalidConfig, text));
        }
    }
    Ok(())
}

fn cpu(dir: &Dir, c: &LinuxCpu) -> Result<()> {
    const BURST: &str = "cpu.max.burst";
    // An idle cgroup takes no weight, so it stops idling first and begins last.
    if c.idle() == Some(0) && dir.number("cpu.idle") != Some(0) {
        put(dir, "cpu.idle", "0")?;
    }
    if let Some(shares) = set(c.shares()) {
        put(dir, "cpu.weight", &weight(shares).to_string())?;
    }
    let (quota, period) = (set(c.quota()), set(c.period()));
    let mut burst = c.burst().map(|b| b.to_string());
    if let Some(value) = &burst {
        match dir.write(BURST, value) {
            Ok(()) => burst = None,
            // Too much for the quota of now, and perhaps not for the new one.
            Err(e) if e.0 == libc::EINVAL && quota.is_some() => {}
            Err(_) => put(dir, BURST, value)?,
        }
    }
    if quota.is_some() || period.is_some() {
        // The kernel keeps the period if it gets one word; the quota it cannot keep.
        let now = || dir.read("cpu.max").unwrap_or_default();
        let quota = quota
            .map_or_else(|| now().split_whitespace().next().unwrap_or("max").to_owned(), or_max);
        let value = period.map_or(quota.clone(), |p| format!("{quota} {p}"));
        put(dir, "cpu.max", &value)?;
        if let Some(value) = &burst {
            put(dir, BURST, value)?;
        }
    }
    if c.idle() == Some(1) {
        put(dir, "cpu.idle", "1")?;
    }
    Ok(())
}

/// Files by name, in the order of their names; several lines are several writes, as io.max wants.
fn unified(dir: &Dir, r: &LinuxResources) -> Result<()> {
    let Some(map) = r.unified() else { return Ok(()) };
    let mut list: Vec<_> = map.iter().collect();
    list.sort_unstable();
    for (key, value) in list {
        let lines = value.lines().filter(|l| !l.is_empty());
        for line in lines {
            if let Err(e) = dir.write(key, line) {
                let controller = key.split('.').next().unwrap_or_default();
                if matches!(e.0, libc::ENOENT | libc::EPERM | libc::EACCES)
                    && controller != "cgroup"
                {
                    need(dir, controller)
                        .map_err(|e| e.context(format!("unified resource {key:?} can't be set")))?;
                }
                dir.set(key, line)
                    .map_err(|e| e.context(format!("unable to set unified resource {key:?}")))?;
            }
        }
    }
    Ok(())
}
