//! Statistics of v1.

use super::ContainerCgroup;
use super::stats::{
    Blkio, BlkioEntry, Cpuset, Hugetlb, MemoryEntry, Rdma, RdmaEntry, Stats, sparse,
};
use crate::error::{Error, Result};
use crate::host::cgroup::dir::Dir;

/// Clock ticks a second, which is what the kernel tells every program (USER_HZ).
const TICKS: u64 = 100;

/// A file's text; `None` where there is no such file or no such cgroup any more.
pub(super) fn file(dir: &Dir, name: &str) -> Result<Option<String>> {
    match dir.read_long(name) {
        Ok(text) => Ok(Some(text)),
        // Pressure files answer EOPNOTSUPP where the kernel does not count it.
        Err(e) if matches!(e.0, libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => Ok(None),
        Err(e) => Err(Error::os(format!("read {}/{name}", dir.path), e)),
    }
}

/// One number; `max` is the largest there is, and what is not there is 0.
pub(super) fn number(dir: &Dir, name: &str) -> Result<u64> {
    let text = file(dir, name)?.unwrap_or_default();
    Ok(match text.trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    })
}

/// Lines of a key and a number.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|l| {
        let (key, value) = l.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

pub(super) fn read(group: &ContainerCgroup, stats: &mut Stats) -> Result<()> {
    if let Some(dir) = group.dir("cpuacct") {
        cpu_usage(dir, stats)?;
    }
    if let Some(dir) = group.dir("cpu") {
        for (key, value) in pairs(&file(dir, "cpu.stat")?.unwrap_or_default()) {
            let t = &mut stats.cpu.throttling;
            match key {
                "nr_periods" => t.periods = sparse(value),
                "nr_throttled" => t.throttled_periods = sparse(value),
                "throttled_time" => t.throttled_time = sparse(value),
                _ => {}
            }
        }
    }
    if let Some(dir) = group.dir("cpuset") {
        stats.cpuset = cpuset(dir)?;
    }
    if let Some(dir) = group.dir("memory") {
        memory(dir, stats)?;
    }
    if let Some(dir) = group.dir("pids") {
        pids(dir, stats)?;
    }
    if let Some(dir) = group.dir("blkio") {
        stats.blkio = blkio(dir)?;
    }
    if let Some(dir) = group.dir("hugetlb") {
        for size in huge_page_sizes() {
            let rsvd = format!("hugetlb.{size}.rsvd");
            let plain = format!("hugetlb.{size}");
            let has = file(dir, &format!("{rsvd}.usage_in_bytes"))?.is_some();
            let prefix = if has { rsvd } else { plain };
            let entry = Hugetlb {
                usage: sparse(number(dir, &format!("{prefix}.usage_in_bytes"))?),
                max: sparse(number(dir, &format!("{prefix}.max_usage_in_bytes"))?),
                failcnt: number(dir, &format!("{prefix}.failcnt"))?,
            };
            stats.hugetlb.insert(size, entry);
        }
    }
    if let Some(dir) = group.dir("rdma") {
        stats.rdma = rdma(dir)?;
    }
    Ok(())
}

fn cpu_usage(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let usage = &mut stats.cpu.usage;
    usage.total = sparse(number(dir, "cpuacct.usage")?);
    for (key, ticks) in pairs(&file(dir, "cpuacct.stat")?.unwrap_or_default()) {
        match key {
            "user" => usage.user = ticks * (1_000_000_000 / TICKS),
            "system" => usage.kernel = ticks * (1_000_000_000 / TICKS),
            _ => {}
        }
    }
    let text = file(dir, "cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu = text.split_whitespace().filter_map(|v| v.parse().ok()).collect();
    // A heading, then a line a CPU: its number, user, system.
    for line in file(dir, "cpuacct.usage_all")?.unwrap_or_default().lines().skip(1) {
        let mut fields = line.split(' ').skip(1).map(|v| v.parse().unwrap_or(0));
        usage.percpu_user.push(fields.next().unwrap_or(0));
        usage.percpu_kernel.push(fields.next().unwrap_or(0));
    }
    Ok(())
}

fn cpuset(dir: &Dir) -> Result<Cpuset> {
    let get = |name: &str| number(dir, &format!("cpuset.{name}"));
    let list = |name: &str| {
        Ok::<_, Error>(expand(&file(dir, &format!("cpuset.{name}"))?.unwrap_or_default()))
    };
    let level = file(dir, "cpuset.sched_relax_domain_level")?.unwrap_or_default();
    Ok(Cpuset {
        cpus: list("cpus")?,
        cpu_exclusive: get("cpu_exclusive")?,
        mems: list("mems")?,
        mem_hardwall: get("mem_hardwall")?,
        mem_exclusive: get("mem_exclusive")?,
        memory_migrate: get("memory_migrate")?,
        memory_spread_page: get("memory_spread_page")?,
        memory_spread_slab: get("memory_spread_slab")?,
        memory_pressure: get("memory_pressure")?,
        sched_load_balance: get("sched_load_balance")?,
        sched_relax_domain_level: level.trim().parse().unwrap_or(0),
    })
}

/// `0-2,5` as numbers.
fn expand(list: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse::<u16>().ok()?..=to.parse::<u16>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

fn memory(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let m = &mut stats.memory;
    let text = file(dir, "memory.stat")?.unwrap_or_default();
    m.raw = pairs(&text).map(|(k, v)| (k.to_owned(), v)).collect();
    m.cache = m.raw.get("cache").copied().and_then(sparse);
    let entry = |prefix: &str| {
        Ok::<_, Error>(MemoryEntry {
            limit: number(dir, &format!("{prefix}.limit_in_bytes"))?,
            usage: sparse(number(dir, &format!("{prefix}.usage_in_bytes"))?),
            max: sparse(number(dir, &format!("{prefix}.max_usage_in_bytes"))?),
            failcnt: number(dir, &format!("{prefix}.failcnt"))?,
        })
    };
    m.usage = entry("memory")?;
    m.swap = entry("memory.memsw")?;
    m.kernel = entry("memory.kmem")?;
    m.kernel_tcp = entry("memory.kmem.tcp")?;
    Ok(())
}

/// The same files on both versions.
pub(super) fn pids(dir: &Dir, stats: &mut Stats) -> Result<()> {
    stats.pids.current = sparse(number(dir, "pids.current")?);
    stats.pids.limit = sparse(number(dir, "pids.max")?).filter(|l| *l != u64::MAX);
    Ok(())
}

/// Names of a generation of files, with where their lines go. The first set of which the first
/// file has something counts; what BFQ and CFQ counted in detail needs a debugging kernel.
fn blkio(dir: &Dir) -> Result<Blkio> {
    let mut b = Blkio::default();
    let get = |name: &str| {
        Ok::<_, Error>(entries(&file(dir, &format!("blkio.{name}"))?.unwrap_or_default()))
    };
    for prefix in ["bfq.", ""] {
        let sectors = get(&format!("{prefix}sectors_recursive"))?;
        let bytes = get(&format!("{prefix}io_service_bytes_recursive"))?;
        if sectors.is_empty() && bytes.is_empty() {
            continue;
        }
        b.sectors_recursive = sectors;
        b.io_service_bytes_recursive = bytes;
        b.io_serviced_recursive = get(&format!("{prefix}io_serviced_recursive"))?;
        b.io_service_time_recursive = get(&format!("{prefix}io_service_time_recursive"))?;
        b.io_wait_time_recursive = get(&format!("{prefix}io_wait_time_recursive"))?;
        b.io_merged_recursive = get(&format!("{prefix}io_merged_recursive"))?;
        b.io_queue_recursive = get(&format!("{prefix}io_queued_recursive"))?;
        b.io_time_recursive = get(&format!("{prefix}time_recursive"))?;
        return Ok(b);
    }
    for suffix in ["_recursive", ""] {
        b.io_serviced_recursive = get(&format!("throttle.io_serviced{suffix}"))?;
        b.io_service_bytes_recursive = get(&format!("throttle.io_service_bytes{suffix}"))?;
        if !b.io_serviced_recursive.is_empty() {
            break;
        }
    }
    Ok(b)
}

/// `8:0 Read 12` or `8:0 12`; the line with the total of all devices is left out.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (second, third) = (words.next()?, words.next());
        let (op, value) = third.map_or(("", second), |value| (second, value));
        Some(BlkioEntry {
            major: sparse(major.parse().ok()?),
            minor: sparse(minor.parse().ok()?),
            op: op.to_owned(),
            value: sparse(value.parse().ok()?),
        })
    };
    text.lines().filter_map(entry).collect()
}

/// The sizes that this kernel has, as cgroup files name them.
pub(super) fn huge_page_sizes() -> Vec<String> {
    let Ok(dir) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let names = dir.filter_map(|e| e.ok()?.file_name().into_string().ok());
    let mut sizes: Vec<u64> = names
        .filter_map(|n| n.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok())
        .collect();
    sizes.sort_unstable();
    sizes.into_iter().map(page_size).collect()
}

fn page_size(kib: u64) -> String {
    match kib {
        kib if kib >= 1 << 20 => format!("{}GB", kib >> 20),
        kib if kib >= 1 << 10 => format!("{}MB", kib >> 10),
        kib => format!("{kib}KB"),
    }
}

/// `mlx4_0 hca_handle=2 hca_object=max` a device; the same on both versions.
pub(super) fn rdma(dir: &Dir) -> Result<Rdma> {
    let get = |name: &str| {
        let text = file(dir, name)?.unwrap_or_default();
        let entry = |line: &str| {
            let mut words = line.split_whitespace();
            let mut entry = RdmaEntry { device: words.next()?.to_owned(), ..RdmaEntry::default() };
            for (key, value) in words.filter_map(|w| w.split_once('=')) {
                let value = value.parse().unwrap_or(u32::MAX);
                match key {
                    "hca_handle" => entry.hca_handles = value,
                    "hca_object" => entry.hca_objects = value,
                    _ => {}
                }
            }
            Some(entry)
        };
        Ok::<_, Error>(text.lines().filter_map(entry).collect())
    };
    Ok(Rdma { rdma_limit: get("rdma.max")?, rdma_current: get("rdma.current")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_lines_and_sizes_are_read() {
        assert_eq!(expand("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(expand("\n"), [0u16; 0]);
        let text = "8:16 Read 12\n8:16 Total 20\n259:0 7\nTotal 27\n";
        let lines = entries(text);
        assert_eq!(lines.len(), 3);
        assert_eq!((lines[0].major, lines[0].minor, lines[0].value), (Some(8), Some(16), Some(12)));
        assert_eq!((lines[2].op.as_str(), lines[2].minor, lines[2].value), ("", None, Some(7)));
        assert_eq!([64, 2048, 1 << 20].map(page_size), ["64KB", "2MB", "1GB"]);
    }
}
