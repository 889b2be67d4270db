//! Statistics of v2, in the terms of v1 that the output has.

use super::stats::{BlkioEntry, Hugetlb, MemoryEntry, Psi, Stats, sparse};
use super::stats_v1::{file, huge_page_sizes, number, pairs, pids, rdma};
use crate::error::Result;
use crate::host::cgroup::dir::{Dir, keyed};

pub(super) fn read(dir: &Dir, stats: &mut Stats) -> Result<()> {
    pids(dir, stats)?;
    if stats.pids.current.is_none() {
        // Without the controller the processes can still be counted.
        let text = file(dir, "cgroup.procs")?.unwrap_or_default();
        stats.pids.current = sparse(text.lines().count() as u64);
    }
    cpu(dir, stats)?;
    memory(dir, stats)?;
    io(&file(dir, "io.stat")?.unwrap_or_default(), stats);
    stats.blkio.psi = psi(dir, "io.pressure")?;
    let sizes = file(dir, "cgroup.controllers")?
        .is_some_and(|c| c.split_whitespace().any(|c| c == "hugetlb"))
        .then(huge_page_sizes);
    for size in sizes.into_iter().flatten() {
        let prefix = format!("hugetlb.{size}");
        let reserved = file(dir, &format!("{prefix}.rsvd.current"))?;
        let usage = match reserved.and_then(|t| t.trim().parse().ok()) {
            Some(usage) => usage,
            None => number(dir, &format!("{prefix}.current"))?,
        };
        let events = file(dir, &format!("{prefix}.events"))?.unwrap_or_default();
        let failcnt = keyed(&events, "max").unwrap_or(0);
        stats.hugetlb.insert(size, Hugetlb { usage: sparse(usage), max: None, failcnt });
    }
    stats.rdma = rdma(dir)?;
    Ok(())
}

/// cpu.stat is there without the controller, too.
fn cpu(dir: &Dir, stats: &mut Stats) -> Result<()> {
    for (key, value) in pairs(&file(dir, "cpu.stat")?.unwrap_or_default()) {
        let (usage, throttling) = (&mut stats.cpu.usage, &mut stats.cpu.throttling);
        match key {
            "usage_usec" => usage.total = sparse(value * 1000),
            "user_usec" => usage.user = value * 1000,
            "system_usec" => usage.kernel = value * 1000,
            "nr_periods" => throttling.periods = sparse(value),
            "nr_throttled" => throttling.throttled_periods = sparse(value),
            "throttled_usec" => throttling.throttled_time = sparse(value * 1000),
            _ => {}
        }
    }
    stats.cpu.psi = psi(dir, "cpu.pressure")?;
    Ok(())
}

fn memory(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let m = &mut stats.memory;
    let text = file(dir, "memory.stat")?.unwrap_or_default();
    m.raw = pairs(&text).map(|(k, v)| (k.to_owned(), v)).collect();
    m.cache = m.raw.get("file").copied().and_then(sparse);
    let entry = |prefix: &str| {
        Ok::<_, crate::error::Error>(MemoryEntry {
            limit: number(dir, &format!("{prefix}.max"))?,
            usage: sparse(number(dir, &format!("{prefix}.current"))?),
            // memory.peak is there from Linux 5.19 on, memory.swap.peak from 6.5 on.
            max: sparse(number(dir, &format!("{prefix}.peak"))?),
            failcnt: 0,
        })
    };
    m.usage = entry("memory")?;
    // How often the limit was hit, as v1 counts it.
    let events = file(dir, "memory.events")?.unwrap_or_default();
    m.usage.failcnt = keyed(&events, "max").unwrap_or(0);
    let swap = entry("memory.swap")?;
    // v1's figure is the sum. A peak of the sum cannot be told.
    let sum = swap.usage.unwrap_or(0).saturating_add(m.usage.usage.unwrap_or(0));
    let limit = match swap.limit {
        u64::MAX => u64::MAX,
        limit => limit.saturating_add(m.usage.limit),
    };
    m.swap = MemoryEntry { limit, usage: sparse(sum), max: None, failcnt: 0 };
    m.psi = psi(dir, "memory.pressure")?;
    Ok(())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
fn io(text: &str, stats: &mut Stats) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|d| d.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let (op, bytes) = match key {
                "rbytes" => ("Read", true),
                "wbytes" => ("Write", true),
                "rios" => ("Read", false),
                "wios" => ("Write", false),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            let entry = BlkioEntry {
                major: sparse(major),
                minor: sparse(minor),
                op: op.to_owned(),
                value: sparse(value),
            };
            if bytes {
                stats.blkio.io_service_bytes_recursive.push(entry);
            } else {
                stats.blkio.io_serviced_recursive.push(entry);
            }
        }
    }
}

fn psi(dir: &Dir, name: &str) -> Result<Option<Psi>> {
    Ok(file(dir, name)?.map(|text| parse_psi(&text)))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and `full` likewise.
fn parse_psi(text: &str) -> Psi {
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let data = match words.next() {
            Some("some") => &mut psi.some,
            Some("full") => &mut psi.full,
            _ => continue,
        };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            match key {
                "avg10" => data.avg10 = value.parse().unwrap_or(0.0),
                "avg60" => data.avg60 = value.parse().unwrap_or(0.0),
                "avg300" => data.avg300 = value.parse().unwrap_or(0.0),
                "total" => data.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    psi
}

#[cfg(test)]
mod tests {
    use super::super::stats::PsiData;
    use super::*;

    #[test]
    fn pressure_and_io_lines_are_read() {
        let psi = parse_psi(
            "some avg10=1.50 avg60=0.25 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 \
             avg300=0.00 total=3\n",
        );
        assert_eq!(psi.some, PsiData { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 7 });
        assert_eq!(psi.full.total, 3);
        let mut stats = Stats::default();
        io("259:0 rbytes=1 wbytes=2 rios=3 wios=0 dbytes=9 dios=9\n", &mut stats);
        let bytes = &stats.blkio.io_service_bytes_recursive;
        assert_eq!((bytes.len(), bytes[1].op.as_str(), bytes[1].value), (2, "Write", Some(2)));
        assert_eq!(stats.blkio.io_serviced_recursive[0].value, Some(3));
    }
}
