//! Capability names and the set a job keeps. The names are the `caps` crate's.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind};
use caps::Capability;
use std::str::FromStr;

/// Docker's default set, which `--cap-add` and `--cap-drop` of a `docker run` line start from
/// elsewhere. A jail starts from nothing.
pub const NONE: u64 = 0;

/// The five sets, bit N for capability N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // capabilities(7)
pub struct CapSets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

impl CapSets {
    /// What a job keeps that is to have these. A user other than root keeps capabilities through
    /// execve only as ambient ones, which must be inheritable; root needs neither, and
    /// CVE-2022-29162 says why it must not have them.
    #[must_use]
    pub const fn kept(caps: u64, uid: u32) -> CapSets {
        let passed_on = if uid == 0 { 0 } else { caps };
        CapSets {
            bounding: caps,
            effective: caps,
            permitted: caps,
            inheritable: passed_on,
            ambient: passed_on,
        }
    }
}

/// The bit of a capability by name, with or without `CAP_`, in any case.
///
/// # Errors
/// An unknown name.
pub fn bit(name: &str) -> Result<u64, Error> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    match Capability::from_str(&full) {
        Ok(cap) => Ok(1u64 << cap.index()),
        Err(_) => Err(Error::new(
            Kind::InvalidConfig,
            format!("unknown capability {}", super::values::quote(name)),
        )
        .hint("capabilities(7) lists them; write NET_BIND_SERVICE or CAP_NET_BIND_SERVICE")),
    }
}

/// The names of a set, in the order of their numbers; a number without a name is `cap_N`.
#[must_use]
pub fn names(set: u64) -> Vec<String> {
    let known = caps::all();
    (0..64u8)
        .filter(|n| set & (1 << n) != 0)
        .map(|n| {
            known
                .iter()
                .find(|c| c.index() == n)
                .map_or_else(|| format!("cap_{n}"), ToString::to_string)
        })
        .collect()
}

/// What remains after Docker's two lists: `ALL` may stand in either, and adding wins over
/// dropping, as there.
///
/// # Errors
/// An unknown name.
pub fn keep(add: &[String], drop: &[String], last_cap: u32) -> Result<u64, Error> {
    let all = if last_cap >= 63 { u64::MAX } else { (1u64 << (last_cap + 1)) - 1 };
    let mut set = NONE;
    for name in drop {
        if !name.eq_ignore_ascii_case("all") {
            set &= !bit(name)?;
        }
    }
    let added_all = add.iter().any(|n| n.eq_ignore_ascii_case("all"));
    if added_all {
        set = all;
        for name in drop {
            if !name.eq_ignore_ascii_case("all") {
                set &= !bit(name)?;
            }
        }
    }
    for name in add {
        if !name.eq_ignore_ascii_case("all") {
            set |= bit(name)? & all;
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_forms_of_a_name_are_one_capability() {
        for name in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin"] {
            assert_eq!(bit(name).unwrap(), 1 << 12);
        }
        assert!(bit("NET_ADMN").is_err());
        assert!(bit("").is_err());
    }

    #[test]
    fn a_jail_starts_from_no_capability_and_keeps_what_is_added() {
        let list = |l: &[&str]| l.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(keep(&[], &list(&["ALL"]), 40).unwrap(), 0);
        assert_eq!(keep(&list(&["CHOWN"]), &list(&["ALL"]), 40).unwrap(), 1);
        assert_eq!(keep(&list(&["ALL"]), &[], 40).unwrap(), (1 << 41) - 1);
        assert_eq!(keep(&list(&["ALL"]), &list(&["CHOWN"]), 40).unwrap(), (1 << 41) - 2);
        assert!(keep(&list(&["NOPE"]), &[], 40).is_err());
    }

    #[test]
    fn names_read_back() {
        assert_eq!(names(0b11), ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
        assert_eq!(names(1 << 63), ["cap_63"]);
    }
}
