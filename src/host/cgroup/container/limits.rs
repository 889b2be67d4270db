//! What can be said of resources before anything is made, and the conversions between the
//! versions' units. Pure.

use crate::error::{Error, Kind, Result};
use crate::plan::values::quote;
use oci_spec::runtime::LinuxResources;

fn bad(text: impl Into<String>) -> Error {
    Error::new(Kind::InvalidConfig, text)
}

/// A value that means something; 0 is "not set" in the specification's older fields, as in runc.
pub(super) fn set<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|v| *v != T::default())
}

/// A list that means something.
pub(super) fn text(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|v| !v.is_empty())
}

/// Values that no kernel takes, and names that would be more than a name in a path or a line.
pub(super) fn check(r: &LinuxResources) -> Result<()> {
    if let Some(m) = r.memory() {
        for (name, value) in [
            ("limit", m.limit()),
            ("reservation", m.reservation()),
            ("swap", m.swap()),
            ("kernel", m.kernel()),
            ("kernelTCP", m.kernel_tcp()),
        ] {
            if value.is_some_and(|v| v < -1) {
                return Err(bad(format!("memory.{name} is negative")).hint("-1 is no limit"));
            }
        }
        if let (Some(limit), Some(swap)) = (set(m.limit()), set(m.swap()))
            && limit > 0
            && swap > 0
            && swap < limit
        {
            return Err(bad("memory+swap limit should be >= memory limit")
                .hint("memory.swap is the sum of both"));
        }
        if let (Some(-1), Some(swap)) = (m.limit(), set(m.swap()))
            && swap > 0
        {
            // v1 cannot have the sum below the part.
            return Err(bad("memory.swap is limited and memory.limit is not"));
        }
        if let Some(n) = m.swappiness().filter(|n| *n > 100) {
            let text = format!("invalid memory swappiness value: {n} (valid range is 0-100)");
            return Err(bad(text));
        }
    }
    if let Some(c) = r.cpu() {
        // The kernel would silently take the nearest.
        match set(c.shares()) {
            Some(1) => return Err(bad("the minimum allowed cpu-shares is 2")),
            Some(n) if n > 262_144 => {
                return Err(bad("the maximum allowed cpu-shares is 262144"));
            }
            _ => {}
        }
        if c.quota().is_some_and(|q| q < -1) {
            return Err(bad("cpu.quota is negative").hint("-1 is no limit"));
        }
        if c.idle().is_some_and(|i| !matches!(i, 0 | 1)) {
            return Err(bad("cpu.idle is neither 0 nor 1"));
        }
        for (name, list) in [("cpus", c.cpus()), ("mems", c.mems())] {
            let odd = |b: char| !(b.is_ascii_digit() || matches!(b, ',' | '-' | ':' | '/'));
            if let Some(list) = text(list.as_ref()).filter(|l| l.contains(odd)) {
                return Err(
                    bad(format!("cpu.{name} {} is not a list", quote(list))).hint("such as 0-3,7")
                );
            }
        }
    }
    for limit in r.hugepage_limits().iter().flatten() {
        let size = limit.page_size();
        if size.is_empty() || !size.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(bad(format!("hugepageLimits has the page size {}", quote(size)))
                .hint("sizes are called 64KB, 2MB, 1GB"));
        }
        if limit.limit() < 0 {
            return Err(bad(format!("the limit for huge pages of {size} is negative")));
        }
    }
    for name in r.rdma().iter().flatten().map(|(name, _)| name) {
        one_word("rdma has the device", name)?;
    }
    for interface in r.network().iter().filter_map(|n| n.priorities().as_ref()).flatten() {
        one_word("network.priorities has the interface", interface.name())?;
    }
    for key in r.unified().iter().flatten().map(|(key, _)| key) {
        check_unified(key)?;
    }
    check_block(r)
}

fn one_word(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(bad(format!("{what} {}", quote(name))));
    }
    Ok(())
}

/// A file of the container's own directory that is a limit. The rest of `cgroup.*` moves, stops
/// and kills processes.
fn check_unified(key: &str) -> Result<()> {
    let shown = quote(key);
    let odd = |c: char| c == '/' || c.is_whitespace() || c.is_control();
    if key.contains(odd) {
        return Err(bad(format!("unified resource {shown} must be a file name (no slashes)")));
    }
    if !key.split_once('.').is_some_and(|(c, p)| !c.is_empty() && !p.is_empty()) {
        let text = format!("unified resource {shown} must be in the form CONTROLLER.PARAMETER");
        return Err(bad(text));
    }
    let moves = ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.type"];
    if moves.contains(&key) {
        return Err(bad(format!("unified resource {shown} is not a limit")));
    }
    Ok(())
}

fn check_block(r: &LinuxResources) -> Result<()> {
    let Some(b) = r.block_io() else { return Ok(()) };
    let weights = [b.weight(), b.leaf_weight()].into_iter().flatten();
    let devices = b.weight_device().iter().flatten();
    let of_devices = devices.clone().flat_map(|d| [d.weight(), d.leaf_weight()]).flatten();
    if let Some(w) = weights.chain(of_devices).find(|w| *w != 0 && !(10..=1000).contains(w)) {
        return Err(
            bad(format!("the block IO weight {w} is out of range")).hint("weights are 10 to 1000")
        );
    }
    let throttled = [
        b.throttle_read_bps_device(),
        b.throttle_write_bps_device(),
        b.throttle_read_iops_device(),
        b.throttle_write_iops_device(),
    ];
    let numbers = devices
        .map(|d| (d.major(), d.minor()))
        .chain(throttled.into_iter().flatten().flatten().map(|d| (d.major(), d.minor())));
    for (major, minor) in numbers {
        if major < 0 || minor < 0 {
            return Err(bad(format!("block IO device {major}:{minor} has a negative number")));
        }
    }
    Ok(())
}

/// What this version of cgroups has no file for. Not to enforce it silently would be a limit less.
pub(super) fn check_version(r: &LinuxResources, v2: bool) -> Result<()> {
    let lacks = |what: &str, version: &str| {
        Err(Error::new(Kind::Unsupported, format!("{what}: cgroup {version} cannot do that")))
    };
    if !v2 {
        return match r.unified().as_ref().is_some_and(|u| !u.is_empty()) {
            true => Err(Error::new(
                Kind::Unsupported,
                "invalid configuration: unified resources need cgroup v2, and this host's controllers are on v1",
            )),
            false => Ok(()),
        };
    }
    if let Some(m) = r.memory() {
        if m.disable_oom_killer() == Some(true) {
            return lacks("memory.disableOOMKiller", "v2");
        }
        if m.swappiness().is_some() {
            return lacks("memory.swappiness", "v2");
        }
        if set(m.kernel_tcp()).is_some_and(|v| v != -1) {
            return lacks("memory.kernelTCP", "v2");
        }
    }
    if let Some(c) = r.cpu()
        && (set(c.realtime_runtime()).is_some() || set(c.realtime_period()).is_some())
    {
        return lacks("cpu.realtimeRuntime and cpu.realtimePeriod", "v2");
    }
    if let Some(n) = r.network()
        && (set(n.class_id()).is_some() || n.priorities().as_ref().is_some_and(|p| !p.is_empty()))
    {
        return lacks("network.classID and network.priorities", "v2");
    }
    if let Some(b) = r.block_io() {
        let leaf = |w: Option<u16>| set(w).is_some();
        let devices = b.weight_device().iter().flatten();
        if leaf(b.leaf_weight()) || devices.into_iter().any(|d| leaf(d.leaf_weight())) {
            return lacks("blockIO.leafWeight", "v2");
        }
    }
    Ok(())
}

/// Without cgroups nothing may be limited.
pub(super) fn check_none(r: &LinuxResources) -> Result<()> {
    let default = LinuxResources::default();
    let deny = r.devices().iter().flatten().any(|d| !d.allow());
    let mut rest = r.clone();
    rest.set_devices(None);
    if rest != default || deny {
        return Err(Error::new(
            Kind::InvalidConfig,
            "linux.resources limits something, and the cgroup manager is disabled",
        )
        .hint("take linux.resources out, or use --cgroup-manager cgroupfs"));
    }
    Ok(())
}

/// What is taken and does nothing, as with runc.
pub(super) fn warn(r: &LinuxResources, v2: bool, warnings: &mut Vec<String>) {
    let Some(m) = r.memory() else { return };
    if set(m.kernel()).is_some() {
        // Deprecated in Linux 5.4, without effect from 5.11 on.
        warnings.push("memory.kernel is ignored: the kernel has no such limit any more".to_owned());
    }
    if m.use_hierarchy() == Some(false) {
        // Linux 5.11 took the choice away.
        warnings.push("memory.useHierarchy false is ignored: it is always hierarchical".to_owned());
    }
    if !v2 && m.check_before_update() == Some(true) {
        // Nothing to do: on v1 the kernel itself refuses a limit below what is in use.
    }
}

/// memory.swap, which is the sum, as memory.swap.max of v2, which is not. -1 is no limit, `None`
/// leaves it. `limit` is the memory limit that holds then.
pub(super) fn swap_alone(limit: Option<i64>, swap: Option<i64>) -> Result<Option<i64>> {
    match (limit, swap) {
        // Unlimited memory means unlimited swap, unless it was said.
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(-1)) => Ok(Some(-1)),
        (Some(-1), Some(swap)) => Ok(Some(swap)),
        (None, Some(_)) => Err(bad("unable to set swap limit without memory limit")),
        (Some(limit), Some(swap)) if swap < limit => {
            Err(bad("memory+swap limit should be >= memory limit"))
        }
        (Some(limit), Some(swap)) => Ok(Some(swap - limit)),
    }
}

/// blkio weights of 10 to 1000 as io.weight's 1 to 10000, linearly (runtime-spec issue 1055).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

/// How v2 writes a limit.
pub(super) fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// The limit of processes. 0 is a limit, too, and the least that makes sense is 1 (as in runc
/// since the specification 1.3 tells 0 from "not set").
pub(super) fn pids(limit: i64) -> String {
    if limit == 0 { "1".to_owned() } else { or_max(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn swap_is_told_apart_from_memory() {
        assert_eq!(swap_alone(Some(100), Some(300)).unwrap(), Some(200));
        assert_eq!(swap_alone(Some(100), Some(100)).unwrap(), Some(0));
        assert_eq!(swap_alone(Some(100), Some(-1)).unwrap(), Some(-1));
        assert_eq!(swap_alone(Some(100), None).unwrap(), None);
        assert_eq!(swap_alone(Some(-1), None).unwrap(), Some(-1));
        assert_eq!(swap_alone(Some(-1), Some(50)).unwrap(), Some(50));
        assert!(swap_alone(None, Some(50)).is_err());
        assert!(swap_alone(Some(100), Some(99)).is_err());
    }

    #[test]
    fn weights_and_limits_are_converted() {
        assert_eq!((io_weight(10), io_weight(1000)), (1, 10_000));
        assert_eq!(io_weight(500), 4950);
        assert_eq!((pids(-1), pids(0), pids(7)), ("max".into(), "1".into(), "7".into()));
    }

    #[test]
    fn resources_that_cannot_be_are_refused_by_name() {
        for (json, word) in [
            (r#"{"memory":{"limit":-2}}"#, "limit"),
            (r#"{"memory":{"limit":200,"swap":100}}"#, "swap"),
            (r#"{"memory":{"swappiness":101}}"#, "swappiness"),
            (r#"{"cpu":{"shares":1}}"#, "minimum"),
            (r#"{"cpu":{"shares":262145}}"#, "maximum"),
            (r#"{"cpu":{"quota":-5}}"#, "quota"),
            (r#"{"cpu":{"idle":2}}"#, "idle"),
            (r#"{"cpu":{"cpus":"0 1"}}"#, "cpus"),
            (r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#, "page size"),
            (r#"{"rdma":{"a b":{"hcaHandles":1}}}"#, "rdma"),
            (r#"{"network":{"priorities":[{"name":"lo\n","priority":1}]}}"#, "interface"),
            (r#"{"unified":{"../memory.max":"1"}}"#, "slashes"),
            (r#"{"unified":{"memory":"1"}}"#, "CONTROLLER"),
            (r#"{"unified":{"cgroup.procs":"1"}}"#, "not a limit"),
            (r#"{"blockIO":{"weight":9}}"#, "weight"),
            (r#"{"blockIO":{"throttleReadBpsDevice":[{"major":-1,"minor":0,"rate":1}]}}"#, "-1"),
        ] {
            let e = check(&resources(json)).unwrap_err();
            assert_eq!(e.kind(), Kind::InvalidConfig, "{json}");
            assert!(e.to_string().contains(word), "{json}: {e}");
        }
        let fine = r#"{"memory":{"limit":0,"swap":0,"swappiness":0,"kernel":5},
            "cpu":{"shares":0,"cpus":"0-1,3","mems":"","quota":-1},"pids":{"limit":0},
            "unified":{"memory.high":"1"}}"#;
        check(&resources(fine)).unwrap();
    }

    #[test]
    fn what_a_version_lacks_is_an_error_there() {
        for json in [
            r#"{"memory":{"disableOOMKiller":true}}"#,
            r#"{"memory":{"swappiness":10}}"#,
            r#"{"memory":{"kernelTCP":10}}"#,
            r#"{"cpu":{"realtimeRuntime":10}}"#,
            r#"{"network":{"classID":1}}"#,
            r#"{"blockIO":{"leafWeight":10}}"#,
        ] {
            let r = resources(json);
            assert_eq!(check_version(&r, true).unwrap_err().kind(), Kind::Unsupported, "{json}");
            check_version(&r, false).unwrap();
        }
        let unified = resources(r#"{"unified":{"memory.high":"1"}}"#);
        assert!(check_version(&unified, false).is_err());
        check_version(&unified, true).unwrap();
        // What Docker writes for "not set".
        let none = resources(
            r#"{"memory":{"disableOOMKiller":false,"kernelTCP":0},"cpu":{"realtimePeriod":0},
            "network":{},"unified":{}}"#,
        );
        check_version(&none, true).unwrap();
        check_version(&none, false).unwrap();
    }

    #[test]
    fn without_cgroups_nothing_may_be_limited() {
        check_none(&resources("{}")).unwrap();
        check_none(&resources(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#)).unwrap();
        assert!(check_none(&resources(r#"{"pids":{"limit":5}}"#)).is_err());
        assert!(check_none(&resources(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#)).is_err());
    }
}
