//! Weights and throttles of block devices, and the rdma controller, whose file is the same on
//! both versions.

use super::limits::{io_weight, set};
use super::{ContainerCgroup, v2};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::dir::Dir;
use oci_spec::runtime::{LinuxBlockIo, LinuxResources, LinuxThrottleDevice};

fn missing(what: &str) -> Error {
    Error::new(Kind::Unsupported, format!("{what}: this kernel's IO controller has no weights"))
        .hint("they come with the BFQ scheduler")
}

/// The first of several files that is there.
fn first<'f>(dir: &Dir, files: [&'f str; 2]) -> Option<&'f str> {
    files.into_iter().find(|f| dir.open_file(f, libc::O_PATH).is_ok())
}

fn any<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|l| !l.is_empty())
}

/// Throttles with what v1 and v2 call them.
fn throttles(
    b: &LinuxBlockIo,
) -> [(&'static str, &'static str, Option<&Vec<LinuxThrottleDevice>>); 4] {
    [
        ("read_bps_device", "rbps", b.throttle_read_bps_device().as_ref()),
        ("write_bps_device", "wbps", b.throttle_write_bps_device().as_ref()),
        ("read_iops_device", "riops", b.throttle_read_iops_device().as_ref()),
        ("write_iops_device", "wiops", b.throttle_write_iops_device().as_ref()),
    ]
}

fn asks(b: &LinuxBlockIo) -> bool {
    set(b.weight()).is_some()
        || set(b.leaf_weight()).is_some()
        || any(b.weight_device().as_ref())
        || throttles(b).iter().any(|(_, _, list)| any(*list))
}

/// blkio of v1.
pub(super) fn apply_v1(group: &ContainerCgroup, b: &LinuxBlockIo) -> Result<()> {
    if !asks(b) {
        return Ok(());
    }
    let dir = group.need("blkio", "blockIO")?;
    let put = |files: [&str; 2], what: &str, value: String| {
        dir.set(first(dir, files).ok_or_else(|| missing(what))?, &value)
    };
    // CFQ's files went with it in Linux 5.0; BFQ has its own, and no leaf weights.
    let leaf = ["blkio.leaf_weight"; 2];
    let leaf_device = ["blkio.leaf_weight_device"; 2];
    let weight_device = ["blkio.weight_device", "blkio.bfq.weight_device"];
    if let Some(w) = set(b.weight()) {
        put(["blkio.weight", "blkio.bfq.weight"], "blockIO.weight", w.to_string())?;
    }
    if let Some(w) = set(b.leaf_weight()) {
        put(leaf, "blockIO.leafWeight", w.to_string())?;
    }
    for d in b.weight_device().iter().flatten() {
        let line = |w: u16| format!("{}:{} {w}", d.major(), d.minor());
        if let Some(w) = set(d.weight()) {
            put(weight_device, "blockIO.weightDevice", line(w))?;
        }
        if let Some(w) = set(d.leaf_weight()) {
            put(leaf_device, "blockIO.weightDevice", line(w))?;
        }
    }
    for (file, _, list) in throttles(b) {
        for d in list.into_iter().flatten() {
            // A rate of 0 takes the limit away.
            let line = format!("{}:{} {}", d.major(), d.minor(), d.rate());
            dir.set(&format!("blkio.throttle.{file}"), &line)?;
        }
    }
    Ok(())
}

/// io of v2.
pub(super) fn apply_v2(dir: &Dir, b: &LinuxBlockIo) -> Result<()> {
    if !asks(b) {
        return Ok(());
    }
    let weights = set(b.weight()).is_some() || any(b.weight_device().as_ref());
    if weights {
        let file = first(dir, ["io.bfq.weight", "io.weight"]);
        // BFQ takes the specification's range as it is.
        let value = |w: u16| match file {
            Some("io.bfq.weight") => u64::from(w),
            _ => io_weight(w),
        };
        let file = file.unwrap_or("io.weight");
        if let Some(w) = set(b.weight()) {
            v2::put(dir, file, &value(w).to_string())?;
        }
        for d in b.weight_device().iter().flatten() {
            if let Some(w) = set(d.weight()) {
                v2::put(dir, file, &format!("{}:{} {}", d.major(), d.minor(), value(w)))?;
            }
        }
    }
    for (_, key, list) in throttles(b) {
        for d in list.into_iter().flatten() {
            let rate = if d.rate() == 0 { "max".to_owned() } else { d.rate().to_string() };
            v2::put(dir, "io.max", &format!("{}:{} {key}={rate}", d.major(), d.minor()))?;
        }
    }
    Ok(())
}

/// rdma.max, a line a device.
pub(super) fn rdma(dir: &Dir, r: &LinuxResources) -> Result<()> {
    let Some(map) = r.rdma() else { return Ok(()) };
    let mut list: Vec<_> = map.iter().collect();
    list.sort_unstable_by_key(|(name, _)| name.as_str());
    for (device, limit) in list {
        let mut line = device.clone();
        if let Some(n) = limit.hca_handles() {
            line.push_str(&format!(" hca_handle={n}"));
        }
        if let Some(n) = limit.hca_objects() {
            line.push_str(&format!(" hca_object={n}"));
        }
        if line.len() > device.len() {
            dir.set("rdma.max", &line)?;
        }
    }
    Ok(())
}
