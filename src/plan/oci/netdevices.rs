//! Network devices of the caller that the container gets.

#![forbid(unsafe_code)]

use super::namespaces::Spaces;
use super::{Asked, bad, spec};
use crate::error::{Error, Kind, Result};
use crate::plan::detail::{NamespaceKind, NetDevice};
use crate::plan::facts::Facts;
use crate::plan::values::quote;
use std::collections::BTreeMap;

/// Longest name of a device, bytes (`IFNAMSIZ` less the NUL).
const LONGEST: usize = 15;

pub(super) fn plan(
    list: &BTreeMap<String, spec::NetDevice>,
    facts: &Facts,
    asked: &Asked<'_>,
    spaces: &Spaces,
) -> Result<Vec<NetDevice>> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    if !spaces.is_private(NamespaceKind::Network) {
        return Err(bad(
            "unable to move network devices without a NET namespace",
            "add {\"type\": \"network\"} to linux.namespaces, or take linux.netDevices out",
        ));
    }
    if facts.uid != 0 || asked.in_user_namespace {
        return Err(Error::new(
            Kind::Unsupported,
            "network devices are not supported for rootless containers (no-network-devices)",
        )
        .hint("take linux.netDevices out of config.json"));
    }
    let mut out: Vec<NetDevice> = Vec::with_capacity(list.len());
    for (name, device) in list {
        check(name)?;
        let new_name = if device.name.is_empty() { name } else { &device.name };
        check(new_name)?;
        if let Some(other) = out.iter().find(|d| d.new_name == *new_name) {
            return Err(bad(
                format!(
                    "the network devices {} and {} would both be {} in the container",
                    quote(&other.name),
                    quote(name),
                    quote(new_name)
                ),
                "give them different names in linux.netDevices",
            ));
        }
        out.push(NetDevice { name: name.clone(), new_name: new_name.clone() });
    }
    Ok(out)
}

/// What the kernel takes as a name (`dev_valid_name`; its isspace knows 0xa0 too), and does not take
/// for a pattern (`%d`), which would give the device another name than is asked for.
fn check(name: &str) -> Result<()> {
    let odd = |b: u8| matches!(b, 0 | 9..=13 | b' ' | b'/' | b':' | b'%' | 0xa0);
    if name.is_empty()
        || name.len() > LONGEST
        || matches!(name, "." | "..")
        || name.bytes().any(odd)
    {
        let short: String = name.chars().take(40).collect();
        return Err(bad(
            format!("invalid network device name {}", quote(&short)),
            "a name has 1 to 15 bytes without /, :, % and white space, and is neither . nor ..",
        ));
    }
    if name == "lo" {
        return Err(bad(
            "the network device \"lo\" is one of each network namespace's own",
            "name another device, and give it another name",
        ));
    }
    Ok(())
}
