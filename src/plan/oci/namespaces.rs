//! Namespaces of a configuration: new, joined or shared, and the ids of a new user namespace.

#![forbid(unsafe_code)]

use super::{bad, maps, spec};
use crate::error::{Error, Kind, Result};
use crate::plan::detail::{Joined, NamespaceKind};
use crate::plan::facts::Facts;
use crate::plan::ids::IdMap;
use crate::plan::values::quote;
use crate::plan::{MapWriter, Namespaces, UserNamespace, ids};

/// Which is what.
pub(super) struct Spaces {
    pub(super) shared: Vec<NamespaceKind>,
    pub(super) joined: Vec<Joined>,
    /// Whether the container is in a user namespace that is not the caller's.
    pub(super) user: bool,
    new: Vec<NamespaceKind>,
}

impl Spaces {
    pub(super) fn is_new(&self, kind: NamespaceKind) -> bool {
        self.new.contains(&kind)
    }

    /// Whether it is another one than the caller's, as far as can be told here.
    pub(super) fn is_private(&self, kind: NamespaceKind) -> bool {
        self.is_new(kind) || self.joined.iter().any(|j| j.kind == kind)
    }
}

fn kind(name: &str) -> Option<NamespaceKind> {
    Some(match name {
        "user" => NamespaceKind::User,
        "mount" => NamespaceKind::Mount,
        "pid" => NamespaceKind::Pid,
        "network" => NamespaceKind::Network,
        "ipc" => NamespaceKind::Ipc,
        "uts" => NamespaceKind::Uts,
        "cgroup" => NamespaceKind::Cgroup,
        "time" => NamespaceKind::Time,
        _ => return None,
    })
}

pub(super) fn plan(
    config: &spec::Config,
    linux: &spec::Linux,
    facts: &Facts,
) -> Result<(Namespaces, Spaces)> {
    let mut spaces = Spaces { shared: vec![], joined: vec![], user: false, new: vec![] };
    let mut seen: Vec<NamespaceKind> = Vec::new();
    for n in &linux.namespaces {
        let kind = kind(&n.kind).ok_or_else(|| {
            bad(
                format!("there is no namespace of the type {}", quote(&n.kind)),
                "types are pid, network, mount, ipc, uts, user, cgroup and time",
            )
        })?;
        if seen.contains(&kind) {
            return Err(bad(
                format!("linux.namespaces has {} twice", n.kind),
                "each type may be there once",
            ));
        }
        seen.push(kind);
        if n.path.as_os_str().is_empty() {
            spaces.new.push(kind);
            continue;
        }
        let length = n.path.as_os_str().len();
        if !n.path.is_absolute() || length >= 4096 {
            return Err(bad(
                format!("the path of the {} namespace is not absolute or too long", n.kind),
                "name a file such as /proc/PID/ns/net",
            ));
        }
        spaces.joined.push(Joined { kind, path: n.path.clone() });
    }
    spaces.shared = NamespaceKind::ALL.into_iter().filter(|k| !seen.contains(k)).collect();
    spaces.joined.sort_by_key(|j| NamespaceKind::ALL.iter().position(|k| *k == j.kind));
    spaces.user = spaces.is_private(NamespaceKind::User);
    names(config, &spaces)?;
    let user = user(linux, facts, &spaces)?;
    Ok((super::new_namespaces(user, &spaces), spaces))
}

/// A name is set in a namespace of one's own.
fn names(config: &spec::Config, spaces: &Spaces) -> Result<()> {
    for (what, name) in [("hostname", &config.hostname), ("domainname", &config.domainname)] {
        if name.is_empty() {
            continue;
        }
        if !spaces.is_private(NamespaceKind::Uts) {
            return Err(bad(
                format!("a {what} needs a UTS namespace: it would be the host's"),
                "add {\"type\": \"uts\"} to linux.namespaces",
            ));
        }
        if name.len() > 64 || name.contains('\0') {
            let why = if name.len() > 64 { "is longer than 64 bytes" } else { "has a NUL" };
            return Err(bad(format!("the {what} {why}"), "shorten it, or take it out"));
        }
    }
    Ok(())
}

fn user(linux: &spec::Linux, facts: &Facts, spaces: &Spaces) -> Result<Option<UserNamespace>> {
    let (mut uids, mut gids) = (maps(&linux.uid_mappings), maps(&linux.gid_mappings));
    let mapped = !uids.is_empty() || !gids.is_empty();
    if !spaces.is_new(NamespaceKind::User) {
        if mapped && !spaces.user {
            return Err(bad(
                "there are id mappings, but no user namespace",
                "add {\"type\": \"user\"} to linux.namespaces",
            ));
        }
        if !facts.privileged && !spaces.user {
            return Err(Error::new(
                Kind::Permission,
                "an ordinary user's container needs a user namespace",
            )
            .hint("add {\"type\": \"user\"} to linux.namespaces (stockade spec --rootless does)"));
        }
        return Ok(None);
    }
    if !mapped {
        // As crun, but never more than the caller's own ids: whatever it may do outside, this adds
        // nothing to it.
        uids.push(IdMap { inside: 0, outside: facts.uid, count: 1 });
        gids.push(IdMap { inside: 0, outside: facts.gid, count: 1 });
    }
    if uids.is_empty() || gids.is_empty() {
        return Err(bad(
            "a new user namespace has only one of linux.uidMappings and linux.gidMappings",
            "give both, or none: then the container's root is the caller",
        ));
    }
    check_maps("linux.uidMappings", &uids)?;
    check_maps("linux.gidMappings", &gids)?;
    let one = |maps: &[IdMap], own: u32| matches!(maps, [IdMap { outside, count: 1, .. }] if *outside == own);
    let writer = if facts.privileged {
        MapWriter::Privileged
    } else if one(&uids, facts.uid) && one(&gids, facts.gid) {
        MapWriter::SingleId
    } else {
        MapWriter::Helpers
    };
    let least = |maps: &[IdMap]| {
        if ids::is_inside(maps, 0) { 0 } else { maps.iter().map(|m| m.inside).min().unwrap_or(0) }
    };
    let setup_ids = facts.privileged.then(|| (least(&uids), least(&gids)));
    Ok(Some(UserNamespace { uids, gids, writer, setup_ids }))
}

/// The kernel says only EINVAL.
fn check_maps(name: &str, list: &[IdMap]) -> Result<()> {
    if list.len() > 340 {
        return Err(bad(
            format!("{name} has {} entries", list.len()),
            "the kernel takes at most 340",
        ));
    }
    for (at, m) in list.iter().enumerate() {
        let ends = (m.inside.checked_add(m.count), m.outside.checked_add(m.count));
        if m.count == 0 || ends.0.is_none() || ends.1.is_none() {
            return Err(bad(
                format!("{name}[{at}] maps {} ids from {}", m.count, m.inside),
                "a mapping has a size above 0 and ends below 2^32",
            ));
        }
        let overlap =
            |a: u32, b: u32, n: u32, o: u32| a < b.saturating_add(o) && b < a.saturating_add(n);
        if list.iter().take(at).any(|o| {
            overlap(m.inside, o.inside, m.count, o.count)
                || overlap(m.outside, o.outside, m.count, o.count)
        }) {
            return Err(bad(
                format!("{name}[{at}] overlaps another entry"),
                "an id may be mapped once only",
            ));
        }
    }
    Ok(())
}

/// Lines for /proc/PID/timens_offsets.
pub(super) fn time_offsets(
    linux: &spec::Linux,
    namespaces: &Namespaces,
    annotated: Option<String>,
) -> Result<Option<String>> {
    if linux.time_offsets.is_empty() && annotated.is_none() {
        return Ok(None);
    }
    if !linux.time_offsets.is_empty() && annotated.is_some() {
        return Err(bad(
            "there are both linux.timeOffsets and the annotation run.oci.timens_offset",
            "leave the annotation away",
        ));
    }
    if !namespaces.time {
        return Err(bad(
            "offsets of clocks (linux.timeOffsets) need a new time namespace",
            "add {\"type\": \"time\"} to linux.namespaces",
        ));
    }
    let mut lines = annotated.unwrap_or_default();
    for (clock, offset) in &linux.time_offsets {
        if !["monotonic", "boottime"].contains(&clock.as_str()) || offset.nanosecs >= 1_000_000_000
        {
            return Err(bad(
                format!("linux.timeOffsets has {} with {} ns", quote(clock), offset.nanosecs),
                "the clocks are monotonic and boottime, nanoseconds below 10^9",
            ));
        }
        lines.push_str(&format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
    }
    Ok(Some(lines))
}
