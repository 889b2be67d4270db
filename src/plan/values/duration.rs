//! Time, and time on CPUs: durations, `--cpus`, `--cpu-shares` and `--cpuset-cpus`.
//!
//! Durations are those of Go's `time.ParseDuration`, and a plain number is seconds. The numbers
//! are exact. Whether the host has a CPU of that number is not decided here.
#![forbid(unsafe_code)]

use super::{Result, ValueError, digits, quote, scaled, split_number};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// Whether a duration of zero makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    /// Zero is a duration, such as "do not wait".
    Allowed,
    /// Zero is an error, as for a time limit.
    Refused,
}

/// The units of a duration in nanoseconds; both spellings of the micro sign are in use.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
];
const HOUR: u64 = 3600 * 1_000_000_000;

/// A duration such as `60s`, `1.5h`, `500ms` or `2m30s`; a plain number is seconds.
///
/// The longest is 292 years, so adding one to a point in time cannot overflow.
pub fn duration(what: &str, value: &str, zero: Zero) -> Result<Duration> {
    let bad = |why: String| {
        ValueError::new(what, value, why)
            .hint("use a number with ms, s, m or h, such as 90s or 1m30s")
    };
    if value.is_empty() {
        return Err(bad("it is empty".into()));
    }
    if value.starts_with('-') {
        return Err(bad("it is negative".into()));
    }
    let mut total: u64 = 0;
    let mut rest = value;
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        if number.is_empty() {
            return Err(bad(format!("expected a number at {}", quote(rest))));
        }
        let is_plain = number.len() == value.len();
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (name, next) = after.split_at(end);
        let unit = match name {
            "" if is_plain => 1_000_000_000,
            "" => return Err(bad(format!("{} has no unit", quote(number)))),
            "h" => HOUR,
            _ => match UNITS.iter().find(|(known, _)| *known == name) {
                Some((_, unit)) => *unit,
                None => return Err(bad(format!("unknown unit {}", quote(name)))),
            },
        };
        let part = scaled(number, unit).map_err(|why| bad(why.into()))?;
        // Each part fits in an i64, so the sum of two cannot wrap.
        total += part;
        if i64::try_from(total).is_err() {
            return Err(bad("it is longer than 292 years".into()));
        }
        rest = next;
    }
    if total == 0 && zero == Zero::Refused {
        return Err(bad("it must be longer than zero".into()));
    }
    Ok(Duration::from_nanos(total))
}

/// The period, in microseconds, that [`cpus`] counts in.
pub const CPU_PERIOD_MICROS: u64 = 100_000;

/// More CPUs than any kernel is built for (x86: 8192).
const MAX_CPUS: u32 = 8192;

/// `--cpus`: a number of CPUs such as `0.5`, as microseconds per [`CPU_PERIOD_MICROS`].
///
/// Never less than 1000, which is the kernel's smallest quota.
pub fn cpus(value: &str) -> Result<u64> {
    let bad = |why: &str| {
        ValueError::new("number of CPUs", value, why).hint("use a number such as 0.5, 1 or 2.25")
    };
    let decimals = value.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if decimals > 9 {
        return Err(bad("it has more than 9 decimals"));
    }
    let quota = scaled(value, CPU_PERIOD_MICROS).map_err(bad)?;
    if quota < CPU_PERIOD_MICROS / 100 {
        return Err(bad("the smallest is 0.01"));
    }
    if quota > u64::from(MAX_CPUS) * CPU_PERIOD_MICROS {
        return Err(bad("no machine has so many CPUs"));
    }
    Ok(quota)
}

/// `--cpu-shares`: a weight relative to other containers, where 1024 is usual.
pub fn cpu_shares(value: &str) -> Result<u64> {
    digits(value).filter(|shares| (2..=262_144).contains(shares)).ok_or_else(|| {
        ValueError::new("cpu shares", value, "it is not a number from 2 to 262144")
            .hint("1024 is the usual weight")
    })
}

/// A set of CPUs or memory nodes; never empty. Displayed in the kernel's form, `0-3,5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuSet(BTreeSet<u32>);

impl CpuSet {
    /// The numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// The largest number.
    pub fn last(&self) -> u32 {
        self.0.last().copied().unwrap_or(0)
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if(|next| *next == last + 1) {
                last = next;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

/// `--cpuset-cpus` and `--cpuset-mems`: a list such as `0-3,5`.
pub fn cpuset(what: &str, value: &str) -> Result<CpuSet> {
    let bad = |why: String| {
        ValueError::new(what, value, why).hint("use numbers and ranges, such as 0-3,5")
    };
    let mut chosen = vec![false; MAX_CPUS as usize];
    let number = |text: &str| match digits(text).map(usize::try_from) {
        // The bound also keeps `0-4294967295` from filling the memory.
        Some(Ok(number)) if number < MAX_CPUS as usize => Ok(number),
        Some(_) => Err(bad(format!("the largest number is {}", MAX_CPUS - 1))),
        None => Err(bad(format!("{} is not a number", quote(text)))),
    };
    for part in value.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(bad(format!("the range {} runs backwards", quote(part))));
        }
        chosen[first..=last].fill(true);
    }
    Ok(CpuSet((0..).zip(chosen).filter_map(|(cpu, chosen)| chosen.then_some(cpu)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(value: &str) -> Result<Duration> {
        duration("time limit", value, Zero::Refused)
    }

    #[test]
    fn user_gives_a_time_limit() {
        let cases = [
            ("60s", 60_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
            ("2m30s", 150_000),
            ("90", 90_000),
            ("0.5", 500),
            ("1h0m0s", 3_600_000),
        ];
        for (text, millis) in cases {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(time("5µs"), time("5us"));
        assert_eq!(time("5μs"), time("5000ns"));
    }

    #[test]
    fn user_mistypes_a_time_limit() {
        let error = time("5x").unwrap_err();
        assert_eq!(error.to_string(), r#"invalid time limit "5x": unknown unit "x""#);
        for bad in [
            "", "-1s", "s", "1 s", " 1", "2m30", "1d", "1S", "1..5s", ".", ".s", "NaN", "inf",
            "+1s", "1s,", "1e3s", "1s\n",
        ] {
            assert!(time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn zero_is_refused_only_where_it_makes_no_sense() {
        for zero in ["0", "0s", "0h0m", "0.1ns"] {
            assert!(time(zero).is_err(), "{zero}");
            assert_eq!(duration("grace", zero, Zero::Allowed), Ok(Duration::ZERO), "{zero}");
        }
    }

    #[test]
    fn attacker_overflows_a_time_limit() {
        for bad in ["9999999h", "9223372036854775808ns", "9223372036s9223372036s"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        assert!(time(&"2000000h".repeat(10_000)).is_err());
    }

    #[test]
    fn user_limits_cpus() {
        assert_eq!(cpus("0.5"), Ok(50_000));
        assert_eq!(cpus("1"), Ok(100_000));
        assert_eq!(cpus("1.0"), Ok(100_000));
        assert_eq!(cpus("2.25"), Ok(225_000));
        assert_eq!(cpus("0.01"), Ok(1_000));
        for bad in [
            "",
            "0",
            "0.0",
            "0.009",
            "-1",
            "1/2",
            "1e3",
            "9000",
            "NaN",
            "1.0000000001",
            "0x1",
            "all",
        ] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn user_weighs_cpus() {
        assert_eq!(cpu_shares("1024"), Ok(1024));
        for bad in ["0", "1", "262145", "-5", "", "1.5"] {
            assert!(cpu_shares(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn user_pins_cpus() {
        let shown = |text: &str| cpuset("cpuset", text).map(|set| set.to_string());
        assert_eq!(shown("0-3,5").as_deref(), Ok("0-3,5"));
        assert_eq!(shown("5,1,0,3,2,1-2").as_deref(), Ok("0-3,5"));
        assert_eq!(shown("7").as_deref(), Ok("7"));
        let set = cpuset("cpuset", "1-2").unwrap();
        assert_eq!((set.iter().collect::<Vec<_>>(), set.last()), (vec![1, 2], 2));
    }

    #[test]
    fn attacker_asks_for_four_billion_cpus() {
        for bad in [
            "0-4294967295",
            "8192",
            "99999999999",
            "",
            ",",
            "0,",
            "3-1",
            "-1",
            "1-",
            "0-1-2",
            "a",
            "0\n",
        ] {
            assert!(cpuset("cpuset", bad).is_err(), "{bad:?}");
        }
        let again = "0-8191,".repeat(10_000) + "1";
        assert_eq!(cpuset("cpuset", &again).unwrap().to_string(), "0-8191");
    }
}
