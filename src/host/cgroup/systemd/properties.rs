//! Resources as properties of a unit, by runc's rules (opencontainers/cgroups, systemd/v2.go), since
//! systemd writes them whenever it looks at the unit again. Pure.

use super::wire::Value;
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::v2::weight;
use crate::plan::values::quote;
use oci_spec::runtime::LinuxResources;

/// The kernel's period of cpu.max, in microseconds.
pub(super) const PERIOD: u64 = 100_000;
/// "infinity".
const NONE: u64 = u64::MAX;
/// systemd rounds a quota to a hundredth of a processor: microseconds a second.
const STEP: u128 = 10_000;
/// The highest processor or node number that is believed.
const HIGHEST: usize = 65_535;

pub(super) type Properties = Vec<(String, Value)>;

/// What the manager is asked for, since what it understands depends on it.
pub(super) fn needs_version(r: &LinuxResources) -> bool {
    let unified = |key| r.unified().as_ref().is_some_and(|u| u.contains_key(key));
    idles(r) || unified("memory.oom.group")
}

fn idles(r: &LinuxResources) -> bool {
    let unified = r.unified().as_ref().and_then(|u| u.get("cpu.idle"));
    r.cpu().as_ref().and_then(oci_spec::runtime::LinuxCpu::idle) == Some(1)
        || unified.is_some_and(|v| v.trim() == "1")
}

/// `249.11-0ubuntu3` and `v245` as their number; 0 for anything else.
pub(super) fn version(text: &str) -> u32 {
    let digits = text.trim_start_matches(['v', '"']).split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|d| d.parse().ok()).unwrap_or(0)
}

/// A quota rounded up as systemd would round it, so that the file says what the unit says. With
/// `period`, that which holds if none is given.
pub(super) fn rounded(r: &LinuxResources, period: u64) -> LinuxResources {
    let mut out = r.clone();
    if let Some(cpu) = out.cpu_mut()
        && let Some(quota) = cpu.quota().and_then(|q| u64::try_from(q).ok()).filter(|q| *q > 0)
    {
        let period = cpu.period().filter(|p| *p > 0).unwrap_or(period);
        let per_second = per_second(quota, period);
        if per_second.1 {
            let quota = u128::from(per_second.0) * u128::from(period) / 1_000_000;
            cpu.set_quota(i64::try_from(quota).ok());
        }
    }
    out
}

/// Microseconds a second, and whether that took rounding.
fn per_second(quota: u64, period: u64) -> (u64, bool) {
    let exact = u128::from(quota) * 1_000_000 / u128::from(period.max(1));
    let up = exact.next_multiple_of(STEP);
    (u64::try_from(up).unwrap_or(NONE), up != exact)
}

/// The properties of these resources, those that are given. `now`: the period of cpu.max.
///
/// # Errors
/// A value that systemd could not have.
pub(super) fn of(r: &LinuxResources, now: u64, version: u32) -> Result<Properties> {
    let mut list = Properties::new();
    let mut add = |name: &str, value: Value| list.push((name.to_owned(), value));
    let limit = |v: i64| Value::U64(u64::try_from(v).unwrap_or(NONE));
    if let Some(m) = r.memory() {
        let of = |v: Option<i64>| v.filter(|v| *v != 0);
        if let Some(v) = of(m.limit()) {
            add("MemoryMax", limit(v));
        }
        if let Some(v) = of(m.reservation()) {
            add("MemoryLow", limit(v));
        }
        if let Some(v) = swap(of(m.limit()), of(m.swap()))? {
            add("MemorySwapMax", limit(v));
        }
    }
    let idle = idles(r) && version >= 252;
    if idle {
        add("CPUWeight", Value::U64(0));
    }
    if let Some(c) = r.cpu() {
        if let Some(shares) = c.shares().filter(|s| *s != 0 && !idle) {
            add("CPUWeight", Value::U64(weight(shares)));
        }
        quota(&mut add, c.quota().unwrap_or(0), c.period().unwrap_or(0), now);
        for (name, set) in [("AllowedCPUs", c.cpus()), ("AllowedMemoryNodes", c.mems())] {
            if let Some(set) = set.as_ref().filter(|s| !s.is_empty()) {
                add(name, mask(set)?);
            }
        }
    }
    if let Some(pids) = r.pids() {
        // 0 is refused by systemd; 1 is what it means, as nothing can fork then.
        add("TasksMax", limit(if pids.limit() == 0 { 1 } else { pids.limit() }));
    }
    let mut unified: Vec<_> = r.unified().iter().flatten().collect();
    unified.sort_unstable();
    for (key, value) in unified {
        of_file(&mut add, key, value.trim(), now, idle)?;
    }
    Ok(list)
}

/// As the direct write has it: without the memory.
fn swap(limit: Option<i64>, sum: Option<i64>) -> Result<Option<i64>> {
    match (limit, sum) {
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(-1)) => Ok(Some(-1)),
        (Some(-1), Some(sum)) => Ok(Some(sum)),
        (Some(limit), Some(sum)) if sum >= limit => Ok(Some(sum - limit)),
        (None, Some(_)) => {
            Err(Error::new(Kind::InvalidConfig, "unable to set swap limit without memory limit"))
        }
        _ => Err(Error::new(Kind::InvalidConfig, "memory+swap limit should be >= memory limit")),
    }
}

fn quota(add: &mut impl FnMut(&str, Value), quota: i64, period: u64, now: u64) {
    if period != 0 {
        add("CPUQuotaPeriodUSec", Value::U64(period));
    }
    if quota != 0 || period != 0 {
        let period = if period == 0 { now } else { period };
        let limit = u64::try_from(quota).ok().filter(|q| *q > 0);
        let per_second = limit.map_or(NONE, |quota| per_second(quota, period).0);
        add("CPUQuotaPerSecUSec", Value::U64(per_second));
    }
}

/// `linux.resources.unified`: the files that are properties, too. The others are only written.
fn of_file(
    add: &mut impl FnMut(&str, Value),
    key: &str,
    value: &str,
    now: u64,
    idle: bool,
) -> Result<()> {
    let bad = || {
        let text = format!("unified resource {} has the value {}", quote(key), quote(value));
        Error::new(Kind::InvalidConfig, text).hint("a number, or max where there is no limit")
    };
    let number = |text: &str| match text {
        "max" => Ok(NONE),
        text => text.parse::<u64>().map_err(|_| bad()),
    };
    let name = match key {
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => {
            add("TasksMax", Value::U64(number(value)?.max(1)));
            return Ok(());
        }
        "cpu.weight" if idle => return Ok(()),
        "cpu.weight" => "CPUWeight",
        "cpuset.cpus" => {
            add("AllowedCPUs", mask(value)?);
            return Ok(());
        }
        "cpuset.mems" => {
            add("AllowedMemoryNodes", mask(value)?);
            return Ok(());
        }
        "cpu.max" => {
            let mut words = value.split_whitespace();
            let limit = match words.next().ok_or_else(bad)? {
                "max" => 0,
                word => word.parse().map_err(|_| bad())?,
            };
            let period = words.next().map_or(Ok(now), |w| w.parse().map_err(|_| bad()))?;
            if words.next().is_some() || period == 0 {
                return Err(bad());
            }
            quota(add, limit, period, now);
            return Ok(());
        }
        _ => return Ok(()),
    };
    add(name, Value::U64(number(value)?));
    Ok(())
}

/// `1,3-5` as bits, the lowest byte first, as AllowedCPUs has them.
fn mask(list: &str) -> Result<Value> {
    let bad = || {
        Error::new(Kind::InvalidConfig, format!("{} is not a list", quote(list)))
            .hint("such as 0-3,7; systemd takes no steps (0-7:2/4)")
    };
    let mut bytes: Vec<u8> = Vec::new();
    for range in list.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: usize = first.trim().parse().map_err(|_| bad())?;
        let last: usize = last.trim().parse().map_err(|_| bad())?;
        if first > last || last > HIGHEST {
            return Err(bad());
        }
        for n in first..=last {
            if bytes.len() <= n / 8 {
                bytes.resize(n / 8 + 1, 0);
            }
            if let Some(byte) = bytes.get_mut(n / 8) {
                *byte |= 1 << (n % 8);
            }
        }
    }
    if bytes.is_empty() { Err(bad()) } else { Ok(Value::bytes(&bytes)) }
}

/// What is set when the unit is made, and stays: who is in it and where it belongs.
pub(super) fn at_start(
    names: &super::Names,
    pid: u32,
    r: &LinuxResources,
    version: u32,
) -> Result<Properties> {
    let mut list: Properties = [
        ("Description", Value::text(format!("stockade container {}", names.name))),
        ("Slice", Value::text(&names.slice)),
        ("Delegate", Value::Bool(true)),
        ("PIDs", Value::Array("u".to_owned(), vec![Value::U32(pid)])),
        ("MemoryAccounting", Value::Bool(true)),
        ("CPUAccounting", Value::Bool(true)),
        ("IOAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
        ("DefaultDependencies", Value::Bool(false)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    list.extend(of(r, PERIOD, version)?);
    let group = r.unified().as_ref().and_then(|u| u.get("memory.oom.group"));
    // Can be set only now, and scopes have it from 253 on.
    let policy = match group.map(|g| g.trim()) {
        Some("0") => Some("continue"),
        Some("1") => Some("kill"),
        _ => None,
    };
    if let Some(policy) = policy.filter(|_| version >= 253) {
        list.push(("OOMPolicy".to_owned(), Value::text(policy)));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    fn given(json: &str) -> Vec<(String, Value)> {
        of(&resources(json), PERIOD, 252).unwrap()
    }

    fn number(json: &str, name: &str) -> Option<u64> {
        given(json).iter().rev().find(|(n, _)| n == name).map(|(_, v)| match v {
            Value::U64(n) => *n,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn memory_is_told_apart_from_swap() {
        let json = r#"{"memory":{"limit":100,"swap":300,"reservation":50}}"#;
        assert_eq!(number(json, "MemoryMax"), Some(100));
        assert_eq!(number(json, "MemorySwapMax"), Some(200));
        assert_eq!(number(json, "MemoryLow"), Some(50));
        let json = r#"{"memory":{"limit":-1}}"#;
        assert_eq!(
            (number(json, "MemoryMax"), number(json, "MemorySwapMax")),
            (Some(NONE), Some(NONE))
        );
        assert!(given(r#"{"memory":{"limit":0,"swap":0}}"#).is_empty());
        assert!(of(&resources(r#"{"memory":{"swap":5}}"#), PERIOD, 252).is_err());
    }

    /// The numbers of runc's own conversion.
    #[test]
    fn shares_are_a_weight() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000), (512, 59)] {
            let json = format!(r#"{{"cpu":{{"shares":{shares}}}}}"#);
            assert_eq!(number(&json, "CPUWeight"), Some(weight), "{shares}");
        }
        let idle = r#"{"cpu":{"shares":1024,"idle":1}}"#;
        assert_eq!(number(idle, "CPUWeight"), Some(0));
        let old = of(&resources(idle), PERIOD, 249).unwrap();
        assert_eq!(old, [("CPUWeight".to_owned(), Value::U64(100))]);
    }

    #[test]
    fn a_quota_is_rounded_up_to_a_hundredth_of_a_processor() {
        for (cpu, per_second, file) in [
            (r#"{"quota":50000,"period":100000}"#, 500_000, 50_000),
            (r#"{"quota":33333,"period":100000}"#, 340_000, 34_000),
            (r#"{"quota":1000}"#, 10_000, 1000),
            (r#"{"quota":1001}"#, 20_000, 2000),
            (r#"{"quota":3000000,"period":1000000}"#, 3_000_000, 3_000_000),
        ] {
            let json = format!(r#"{{"cpu":{cpu}}}"#);
            assert_eq!(number(&json, "CPUQuotaPerSecUSec"), Some(per_second), "{cpu}");
            let r = rounded(&resources(&json), PERIOD);
            assert_eq!(r.cpu().as_ref().unwrap().quota(), Some(file), "{cpu}");
        }
        let none = r#"{"cpu":{"quota":-1}}"#;
        assert_eq!(number(none, "CPUQuotaPerSecUSec"), Some(NONE));
        assert_eq!(rounded(&resources(none), PERIOD), resources(none));
        let period = r#"{"cpu":{"period":50000}}"#;
        assert_eq!(number(period, "CPUQuotaPeriodUSec"), Some(50_000));
        assert_eq!(number(period, "CPUQuotaPerSecUSec"), Some(NONE));
        assert!(given(r#"{"cpu":{"quota":0}}"#).is_empty());
    }

    #[test]
    fn lists_are_bits_with_the_lowest_byte_first() {
        assert_eq!(mask("0-3").unwrap(), Value::bytes(&[0x0f]));
        assert_eq!(mask("1, 9,8").unwrap(), Value::bytes(&[0x02, 0x03]));
        for bad in ["", ",", "a", "3-1", "0-7:2/4", "99999999"] {
            assert!(mask(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tasks_have_a_least_of_one() {
        for (limit, max) in [(-1, NONE), (0, 1), (7, 7)] {
            let json = format!(r#"{{"pids":{{"limit":{limit}}}}}"#);
            assert_eq!(number(&json, "TasksMax"), Some(max));
        }
    }

    #[test]
    fn files_are_properties_where_systemd_has_them() {
        let json = r#"{"unified":{"memory.high":"5","memory.min":"max","cpu.max":"50000 200000",
            "pids.max":"0","cpu.weight":"7","io.weight":"9","hugetlb.2MB.max":"1"}}"#;
        assert_eq!(number(json, "MemoryHigh"), Some(5));
        assert_eq!(number(json, "MemoryMin"), Some(NONE));
        assert_eq!(number(json, "CPUQuotaPerSecUSec"), Some(250_000));
        assert_eq!(number(json, "CPUQuotaPeriodUSec"), Some(200_000));
        assert_eq!(number(json, "TasksMax"), Some(1));
        assert_eq!(number(json, "CPUWeight"), Some(7));
        assert_eq!(given(json).len(), 6);
        for bad in [r#""memory.high":"x""#, r#""cpu.max":"1 2 3""#, r#""cpuset.cpus":"x""#] {
            let json = format!(r#"{{"unified":{{{bad}}}}}"#);
            assert!(of(&resources(&json), PERIOD, 252).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_are_read_and_asked_for_only_where_they_matter() {
        for (text, number) in
            [("252.39-1~deb12u1", 252), ("v245", 245), ("\"v249\"", 249), ("x", 0)]
        {
            assert_eq!(version(text), number, "{text}");
        }
        assert!(needs_version(&resources(r#"{"cpu":{"idle":1}}"#)));
        assert!(!needs_version(&resources(r#"{"cpu":{"idle":0},"pids":{"limit":3}}"#)));
        let names = super::super::Names::new("", "c", false).unwrap();
        let group = resources(r#"{"unified":{"memory.oom.group":"1"}}"#);
        let policy = |version| {
            let list = at_start(&names, 5, &group, version).unwrap();
            list.iter().any(|(n, v)| n == "OOMPolicy" && *v == Value::text("kill"))
        };
        assert!(policy(253) && !policy(252));
    }
}
