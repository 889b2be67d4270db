//! Limits on v1: a file in the hierarchy of each controller. The order of writes is what makes
//! an update work, where the kernel compares the new value of one file with the old one of another.

use super::limits::{self, set, text};
use super::{ContainerCgroup, io};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::dir::Dir;
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

/// Sets those limits that are given.
pub(super) fn apply(group: &ContainerCgroup, r: &LinuxResources) -> Result<()> {
    if let Some(m) = r.memory() {
        memory(group, m)?;
    }
    if let Some(c) = r.cpu() {
        cpuset(group, c)?;
        cpu(group, c)?;
    }
    if let Some(p) = r.pids() {
        group.need("pids", "pids.limit")?.set("pids.max", &limits::pids(p.limit()))?;
    }
    if let Some(b) = r.block_io() {
        io::apply_v1(group, b)?;
    }
    for limit in r.hugepage_limits().iter().flatten() {
        let dir = group.need("hugetlb", "hugepageLimits")?;
        hugepages(dir, limit.page_size(), "limit_in_bytes", &limit.limit().to_string())?;
    }
    if let Some(n) = r.network() {
        if let Some(id) = set(n.class_id()) {
            group.need("net_cls", "network.classID")?.set("net_cls.classid", &id.to_string())?;
        }
        for p in n.priorities().iter().flatten() {
            let dir = group.need("net_prio", "network.priorities")?;
            dir.set("net_prio.ifpriomap", &format!("{} {}", p.name(), p.priority()))?;
        }
    }
    if r.rdma().as_ref().is_some_and(|rdma| !rdma.is_empty()) {
        io::rdma(group.need("rdma", "rdma")?, r)?;
    }
    Ok(())
}

/// Reserved pages count as well where the kernel can count them (Linux 5.7): else a mapping that
/// is not touched yet escapes.
pub(super) fn hugepages(dir: &Dir, size: &str, suffix: &str, value: &str) -> Result<()> {
    let file = format!("hugetlb.{size}.{suffix}");
    dir.write(&file, value).map_err(|e| match e.0 {
        libc::ENOENT => {
            Error::new(Kind::Unsupported, format!("this host has no huge pages of {size}"))
        }
        _ => Error::os(format!("write {value} to {}/{file}", dir.path), e),
    })?;
    let file = format!("hugetlb.{size}.rsvd.{suffix}");
    match dir.write(&file, value) {
        Err(e) if e.0 != libc::ENOENT => {
            Err(Error::os(format!("write {value} to {}/{file}", dir.path), e))
        }
        _ => Ok(()),
    }
}

const LIMIT: &str = "memory.limit_in_bytes";
const SUM: &str = "memory.memsw.limit_in_bytes";

fn memory(group: &ContainerCgroup, m: &LinuxMemory) -> Result<()> {
    let (limit, mut swap) = (set(m.limit()), set(m.swap()));
    let wanted = limit.is_some()
        || swap.is_some()
        || set(m.reservation()).is_some()
        || set(m.kernel_tcp()).is_some()
        || m.disable_oom_killer() == Some(true)
        || m.use_hierarchy() == Some(true)
        || m.swappiness().is_some();
    let dir = match group.need("memory", "the memory limit") {
        Ok(dir) => dir,
        Err(e) if wanted => return Err(e),
        Err(_) => return Ok(()),
    };
    if m.use_hierarchy() == Some(true) && dir.number("memory.use_hierarchy") == Some(0) {
        dir.set("memory.use_hierarchy", "1")?;
    }
    // No limit of memory is no limit of the sum, which the kernel would refuse to have below it.
    if limit == Some(-1) && swap.is_none() && dir.read(SUM).is_ok() {
        swap = Some(-1);
    }
    let write_limit = || limit.map_or(Ok(()), |v| set_memory(dir, v));
    let write_sum = || swap.map_or(Ok(()), |v| set_sum(dir, v));
    // The sum may at no moment be below the limit.
    let now = dir.number(LIMIT).unwrap_or(u64::MAX);
    let grows = swap.is_some_and(|v| u64::try_from(v).map_or(true, |v| v > now));
    if limit.is_some() && grows {
        write_sum()?;
        write_limit()?;
    } else {
        write_limit()?;
        write_sum()?;
    }
    if let Some(v) = set(m.reservation()) {
        dir.set("memory.soft_limit_in_bytes", &v.to_string())?;
    }
    if let Some(v) = set(m.kernel_tcp()) {
        dir.set("memory.kmem.tcp.limit_in_bytes", &v.to_string())?;
    }
    match m.disable_oom_killer() {
        Some(true) => dir.set("memory.oom_control", "1")?,
        // Only if it was disabled before: on some kernels the write itself is an error.
        Some(false) if dir.keyed("memory.oom_control", "oom_kill_disable") == Some(1) => {
            dir.set("memory.oom_control", "0")?;
        }
        _ => {}
    }
    m.swappiness().map_or(Ok(()), |v| dir.set("memory.swappiness", &v.to_string()))
}

fn set_memory(dir: &Dir, bytes: i64) -> Result<()> {
    match dir.write(LIMIT, &bytes.to_string()) {
        Err(e) if e.0 == libc::EBUSY => {
            let number = |file| dir.number(file).unwrap_or(0);
            let text = format!(
                "unable to set memory limit to {bytes} (current usage: {}, peak usage: {})",
                number("memory.usage_in_bytes"),
                number("memory.max_usage_in_bytes")
            );
            Err(Error::new(Kind::InvalidConfig, text))
        }
        Err(_) => dir.set(LIMIT, &bytes.to_string()),
        Ok(()) => Ok(()),
    }
}

fn set_sum(dir: &Dir, bytes: i64) -> Result<()> {
    match dir.write(SUM, &bytes.to_string()) {
        Err(e) if e.0 == libc::ENOENT => {
            Err(Error::new(Kind::Unsupported, "memory.swap: this kernel does not count swap")
                .hint("start the host with swapaccount=1, or leave memory.swap out"))
        }
        Err(_) => dir.set(SUM, &bytes.to_string()),
        Ok(()) => Ok(()),
    }
}

fn cpuset(group: &ContainerCgroup, c: &LinuxCpu) -> Result<()> {
    for (file, list) in [("cpuset.cpus", c.cpus()), ("cpuset.mems", c.mems())] {
        if let Some(list) = text(list.as_ref()) {
            group.need("cpuset", "cpu.cpus and cpu.mems")?.set(file, list)?;
        }
    }
    Ok(())
}

fn cpu(group: &ContainerCgroup, c: &LinuxCpu) -> Result<()> {
    let (shares, quota, period) = (set(c.shares()), set(c.quota()), set(c.period()));
    let real_time = set(c.realtime_runtime()).is_some() || set(c.realtime_period()).is_some();
    let any = shares.is_some() || quota.is_some() || period.is_some() || real_time;
    if !any && c.burst().is_none() && c.idle().is_none() {
        return Ok(());
    }
    let dir = group.need("cpu", "the CPU limit")?;
    // An idle cgroup takes no shares, so it stops idling first and begins last.
    if c.idle() == Some(0) {
        dir.set("cpu.idle", "0")?;
    }
    if let Some(v) = shares {
        dir.set("cpu.shares", &v.to_string())?;
    }
    // Period and burst may be wrong for the quota of now and right for the new one.
    let mut later = Vec::new();
    let wishes = [("cpu.cfs_period_us", period), ("cpu.cfs_burst_us", c.burst())];
    for (file, value) in wishes.into_iter().filter_map(|(f, v)| v.map(|v| (f, v.to_string()))) {
        match dir.write(file, &value) {
            Ok(()) => {}
            Err(e) if e.0 == libc::EINVAL && quota.is_some() => later.push((file, value)),
            Err(_) => dir.set(file, &value)?,
        }
    }
    if let Some(v) = quota {
        dir.set("cpu.cfs_quota_us", &v.to_string())?;
    }
    for (file, value) in later {
        dir.set(file, &value)?;
    }
    if c.idle() == Some(1) {
        dir.set("cpu.idle", "1")?;
    }
    if real_time { realtime(dir, c) } else { Ok(()) }
}

/// Period and runtime depend on each other as well.
fn realtime(dir: &Dir, c: &LinuxCpu) -> Result<()> {
    const PERIOD: &str = "cpu.rt_period_us";
    let runtime = set(c.realtime_runtime());
    let mut again = None;
    if let Some(period) = set(c.realtime_period()).map(|p| p.to_string()) {
        match dir.write(PERIOD, &period) {
            Ok(()) => {}
            Err(e) if e.0 == libc::EINVAL && runtime.is_some() => again = Some(period),
            Err(_) => dir.set(PERIOD, &period)?,
        }
    }
    if let Some(v) = runtime {
        dir.set("cpu.rt_runtime_us", &v.to_string())?;
    }
    again.map_or(Ok(()), |period| dir.set(PERIOD, &period))
}
