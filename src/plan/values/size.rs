//! Amounts: bytes, memory-swap, pids-limit and ulimit.
//!
//! Sizes follow Docker's go-units (`RAMInBytes`): a unit is a power of 1024 and `1g`, `1gb` and
//! `1GiB` are the same. Unlike there, the arithmetic is exact and never wraps. Whether an amount
//! is sensible (enough memory to start at all, or more than the host has) is not decided here.
#![forbid(unsafe_code)]

use super::{Result, ValueError, digits, quote, scaled, split_number};

const SIZE_HINT: &str = "use a number with b, k, m, g or t, such as 256m";

/// A number of bytes, such as `256m`, `1.5g`, `100` or `1 GiB`. Zero is a number too.
pub fn bytes(what: &str, value: &str) -> Result<u64> {
    let bad = |why: String| ValueError::new(what, value, why).hint(SIZE_HINT);
    let (number, rest) = split_number(value);
    if value.is_empty() {
        return Err(bad("it is empty".into()));
    }
    if value.starts_with('-') {
        return Err(bad("it is negative".into()));
    }
    if number.is_empty() {
        return Err(bad("it does not start with a number".into()));
    }
    let unit = match rest.strip_prefix(' ') {
        Some("") => return Err(bad("it ends in a space".into())),
        Some(unit) => unit,
        None => rest,
    };
    let Some(shift) = unit_shift(unit) else {
        return Err(bad(format!("unknown unit {}", quote(unit))));
    };
    scaled(number, 1 << shift).map_err(|why| bad(why.into()))
}

/// The power of two that a unit stands for.
fn unit_shift(unit: &str) -> Option<u32> {
    let unit = unit.to_ascii_lowercase();
    if unit.is_empty() || unit == "b" {
        return Some(0);
    }
    let prefix = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    [("k", 10), ("m", 20), ("g", 30), ("t", 40), ("p", 50)]
        .into_iter()
        .find_map(|(name, shift)| (name == prefix).then_some(shift))
}

/// The limit on memory and swap together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySwap {
    /// `-1`: as much swap as the host has.
    Unlimited,
    /// Memory and swap together, in bytes.
    Bytes(u64),
}

/// `--memory-swap`: a size, or `-1`.
pub fn memory_swap(value: &str) -> Result<MemorySwap> {
    if value == "-1" {
        return Ok(MemorySwap::Unlimited);
    }
    match bytes("memory-swap size", value) {
        Ok(bytes) => Ok(MemorySwap::Bytes(bytes)),
        Err(error) => Err(error.hint("use a size such as 1g, or -1 for no limit")),
    }
}

/// The limit on the number of processes and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidsLimit {
    /// `-1`: no limit.
    Unlimited,
    /// At most this many tasks.
    Max(u32),
}

/// The kernel's `PID_MAX_LIMIT`; `pids.max` takes no larger number.
const PID_MAX_LIMIT: u32 = 4_194_304;

/// `--pids-limit`: a positive number, or `-1`.
///
/// Docker takes `0` as "no limit"; here it is an error, since it reads as the opposite.
pub fn pids_limit(value: &str) -> Result<PidsLimit> {
    if value == "-1" {
        return Ok(PidsLimit::Unlimited);
    }
    match digits(value).and_then(|limit| u32::try_from(limit).ok()) {
        Some(limit @ 1..=PID_MAX_LIMIT) => Ok(PidsLimit::Max(limit)),
        _ => Err(ValueError::new(
            "pids limit",
            value,
            format!("it is not a number from 1 to {PID_MAX_LIMIT}"),
        )
        .hint("use a number such as 256, or -1 for no limit")),
    }
}

/// A resource of setrlimit(2), with the kernel's number (that of x86, Arm and RISC-V).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of getrlimit(2)")]
#[repr(u32)]
pub enum Rlimit {
    Cpu = 0,
    Fsize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Rss = 5,
    Nproc = 6,
    Nofile = 7,
    Memlock = 8,
    As = 9,
    Locks = 10,
    Sigpending = 11,
    Msgqueue = 12,
    Nice = 13,
    Rtprio = 14,
    Rttime = 15,
}

/// Every resource with its name, in the order of the kernel's numbers.
pub const RLIMITS: [(&str, Rlimit); 16] = [
    ("cpu", Rlimit::Cpu),
    ("fsize", Rlimit::Fsize),
    ("data", Rlimit::Data),
    ("stack", Rlimit::Stack),
    ("core", Rlimit::Core),
    ("rss", Rlimit::Rss),
    ("nproc", Rlimit::Nproc),
    ("nofile", Rlimit::Nofile),
    ("memlock", Rlimit::Memlock),
    ("as", Rlimit::As),
    ("locks", Rlimit::Locks),
    ("sigpending", Rlimit::Sigpending),
    ("msgqueue", Rlimit::Msgqueue),
    ("nice", Rlimit::Nice),
    ("rtprio", Rlimit::Rtprio),
    ("rttime", Rlimit::Rttime),
];

impl Rlimit {
    /// The resource of that name, such as `nofile`.
    pub fn from_name(name: &str) -> Option<Self> {
        RLIMITS.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource)
    }

    /// Its name, such as `nofile`.
    pub fn name(self) -> &'static str {
        RLIMITS.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// The kernel's number, `RLIMIT_*`.
    pub fn number(self) -> u32 {
        self as u32
    }
}

/// `RLIM_INFINITY`.
pub const RLIM_UNLIMITED: u64 = u64::MAX;

/// One `--ulimit`; [`RLIM_UNLIMITED`] stands for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ulimit {
    /// What is limited.
    pub resource: Rlimit,
    /// The limit in force; never above `hard`.
    pub soft: u64,
    /// How far the process may raise `soft`.
    pub hard: u64,
}

/// `--ulimit name=soft[:hard]`; `-1` or `unlimited` for no limit.
pub fn ulimit(value: &str) -> Result<Ulimit> {
    let bad = |why: String| ValueError::new("ulimit", value, why);
    let Some((name, limits)) = value.split_once('=') else {
        return Err(bad("it has no \"=\"".into()).hint("write name=soft:hard, such as nofile=1024"));
    };
    let Some(resource) = Rlimit::from_name(name) else {
        let names = RLIMITS.map(|(name, _)| name);
        return Err(bad(format!("unknown resource {}", quote(name))).suggest(name, &names));
    };
    let limit = |text: &str| match text {
        "-1" | "unlimited" => Ok(RLIM_UNLIMITED),
        // Larger numbers are near RLIM_INFINITY, and nobody means them.
        _ => digits(text).filter(|limit| i64::try_from(*limit).is_ok()).ok_or_else(|| {
            bad(format!("{} is not a limit", quote(text))).hint("use a number, or -1 for no limit")
        }),
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (limit(soft)?, limit(hard)?);
    if soft > hard {
        return Err(bad("the soft limit is above the hard limit".into()));
    }
    Ok(Ulimit { resource, soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_gives_sizes_in_dockers_forms() {
        let cases = [
            ("256m", 256 << 20),
            ("1.5g", 1536 << 20),
            ("64k", 65536),
            ("100", 100),
            ("10b", 10),
            ("1gb", 1 << 30),
            ("1GiB", 1 << 30),
            ("1G", 1 << 30),
            ("1 g", 1 << 30),
            ("2t", 2 << 40),
            (".5k", 512),
            ("0", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes("memory size", text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn user_mistypes_a_size() {
        let error = bytes("memory size", "12q").unwrap_err();
        assert_eq!(error.to_string(), r#"invalid memory size "12q": unknown unit "q""#);
        assert_eq!(error.hint.as_deref(), Some(SIZE_HINT));
        for bad in [
            "", " ", "-1", "-5m", "m", "NaN", "inf", "1e3", "1.2.3m", "1  g", "1 ", " 1", "1gib ",
            "1bb", "1ibb", "1ib", "1gg", "1gbi", "+1m", "1_0", "0x10", "1m\n", "１m", "50%", ".",
        ] {
            assert!(bytes("memory size", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn attacker_overflows_a_size_to_lift_the_limit() {
        for bad in ["16777216t", "8192p", "18446744073709551616", "18446744073709551615", "9e99"] {
            assert!(bytes("memory size", bad).is_err(), "{bad}");
        }
        assert!(bytes("memory size", &"9".repeat(1 << 20)).is_err());
        assert_eq!(bytes("memory size", "8191p"), Ok(8191 << 50));
    }

    #[test]
    fn user_limits_swap_and_pids() {
        assert_eq!(memory_swap("-1"), Ok(MemorySwap::Unlimited));
        assert_eq!(memory_swap("1g"), Ok(MemorySwap::Bytes(1 << 30)));
        assert!(memory_swap("-2").is_err());
        assert_eq!(pids_limit("-1"), Ok(PidsLimit::Unlimited));
        assert_eq!(pids_limit("256"), Ok(PidsLimit::Max(256)));
        for bad in ["0", "-2", "", "max", "4194305", "4294967297", "1.5"] {
            assert!(pids_limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn user_gives_ulimits() {
        let nofile = |soft, hard| Ok(Ulimit { resource: Rlimit::Nofile, soft, hard });
        assert_eq!(ulimit("nofile=1024:2048"), nofile(1024, 2048));
        assert_eq!(ulimit("nofile=1024"), nofile(1024, 1024));
        assert_eq!(ulimit("nofile=5:-1"), nofile(5, RLIM_UNLIMITED));
        assert_eq!(ulimit("core=unlimited").unwrap().soft, RLIM_UNLIMITED);
        assert_eq!(ulimit("core=-1"), ulimit("core=unlimited"));
        for (index, (name, resource)) in RLIMITS.into_iter().enumerate() {
            assert_eq!(ulimit(&format!("{name}=1")).unwrap().resource, resource);
            assert_eq!((resource.number() as usize, resource.name()), (index, name));
        }
    }

    #[test]
    fn user_mistypes_a_ulimit() {
        let hint = ulimit("nofiles=1").unwrap_err().hint;
        assert_eq!(hint.as_deref(), Some("did you mean \"nofile\"?"));
        for bad in [
            "",
            "nofile",
            "nofile=",
            "nofile=1:",
            "nofile=:1",
            "nofile=2:1",
            "nofile=-1:5",
            "=1",
            "nofile=-2",
            "nofile=1:2:3",
            "nofile=18446744073709551615",
            "NOFILE=1",
            "nofile= 1",
        ] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
    }
}
