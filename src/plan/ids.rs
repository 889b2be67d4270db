//! Which ids a jail has inside and which they are outside.

#![forbid(unsafe_code)]

use super::facts::Facts;
use super::{MapWriter, UserNamespace};

/// One line of uid_map or gid_map: `count` ids from `inside` are those from `outside`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id in the namespace.
    pub inside: u32,
    /// First id in the caller's.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The subordinate ids of a user: the first range of /etc/subuid and of /etc/subgid that is
/// large enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubIds {
    /// First user id.
    pub uid: u32,
    /// First group id.
    pub gid: u32,
    /// How many of each.
    pub count: u32,
}

/// How many ids a jail has: 0 to 65535, as in an image.
pub const RANGE: u32 = 65_536;

/// First id outside of a jail started by root when no subordinate ids are configured. It lies
/// in the range that systemd's table of ids leaves unused (1879048192 to 2147483647), so no
/// account, no systemd service and no container manager has these ids.
pub const DEFAULT_BASE: u32 = 2_000_000_000;

/// The user namespace of a jail whose process has these ids.
#[must_use]
pub fn plan(facts: &Facts, uid: u32, gid: u32) -> UserNamespace {
    if facts.privileged {
        let sub =
            facts.sub_ids.unwrap_or(SubIds { uid: DEFAULT_BASE, gid: DEFAULT_BASE, count: RANGE });
        return UserNamespace {
            uids: vec![IdMap { inside: 0, outside: sub.uid, count: sub.count.min(RANGE) }],
            gids: vec![IdMap { inside: 0, outside: sub.gid, count: sub.count.min(RANGE) }],
            writer: MapWriter::Privileged,
            setup_ids: Some((0, 0)),
        };
    }
    match facts.sub_ids {
        Some(sub) if facts.id_map_helpers => UserNamespace {
            uids: around(uid, facts.uid, sub.uid, sub.count),
            gids: around(gid, facts.gid, sub.gid, sub.count),
            writer: MapWriter::Helpers,
            setup_ids: None,
        },
        _ => UserNamespace {
            uids: vec![IdMap { inside: uid, outside: facts.uid, count: 1 }],
            gids: vec![IdMap { inside: gid, outside: facts.gid, count: 1 }],
            writer: MapWriter::SingleId,
            setup_ids: None,
        },
    }
}

/// `own` inside is the caller, so that the caller's files stay its own; the subordinate ids
/// fill the rest of 0 to 65535 around it.
fn around(own: u32, caller: u32, base: u32, count: u32) -> Vec<IdMap> {
    let count = count.min(RANGE - 1);
    let mut maps = Vec::with_capacity(3);
    let below = own.min(count);
    if below > 0 {
        maps.push(IdMap { inside: 0, outside: base, count: below });
    }
    maps.push(IdMap { inside: own, outside: caller, count: 1 });
    let rest = count - below;
    if rest > 0 && own < RANGE {
        let above = rest.min(RANGE - 1 - own);
        if above > 0 {
            maps.push(IdMap { inside: own + 1, outside: base + below, count: above });
        }
    }
    maps
}

/// Whether the maps have this id inside.
#[must_use]
pub fn is_mapped(maps: &[IdMap], id: u32) -> bool {
    maps.iter().any(|m| id >= m.inside && id - m.inside < m.count)
}

/// Whether this outside id is one of the jail's.
#[must_use]
pub fn is_outside(maps: &[IdMap], id: u32) -> bool {
    maps.iter().any(|m| id >= m.outside && id - m.outside < m.count)
}

/// Whether this id exists inside.
#[must_use]
pub fn is_inside(maps: &[IdMap], id: u32) -> bool {
    outside(maps, id).is_some()
}

/// The outside id of an inside one.
#[must_use]
pub fn outside(maps: &[IdMap], id: u32) -> Option<u32> {
    maps.iter()
        .find(|m| id >= m.inside && id - m.inside < m.count)
        .map(|m| m.outside + (id - m.inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_users_own_id_sits_among_its_subordinate_ones() {
        let maps = around(1000, 1001, 100_000, 65_536);
        assert_eq!(
            maps,
            [
                IdMap { inside: 0, outside: 100_000, count: 1000 },
                IdMap { inside: 1000, outside: 1001, count: 1 },
                IdMap { inside: 1001, outside: 101_000, count: 64_535 },
            ]
        );
        assert_eq!(outside(&maps, 1000), Some(1001));
        assert_eq!(outside(&maps, 65_535), Some(165_534));
        assert!(!is_mapped(&maps, 65_536));
    }

    #[test]
    fn the_first_and_the_last_id_can_be_the_callers() {
        assert_eq!(around(0, 7, 100, 10)[0], IdMap { inside: 0, outside: 7, count: 1 });
        let last = around(65_535, 7, 100, 65_536);
        assert_eq!(last.len(), 2);
        assert_eq!(outside(&last, 65_535), Some(7));
    }

    #[test]
    fn a_job_id_above_the_range_is_only_the_callers() {
        let maps = around(70_000, 7, 100, 65_536);
        assert_eq!(outside(&maps, 70_000), Some(7));
        assert_eq!(outside(&maps, 0), Some(100));
    }
}
