//! `/etc/subuid` and `/etc/subgid`: which ids of the host a user may hand to a container.
//!
//! Each line is `owner:start:count` (subuid(5)), where the owner is a name or a uid. The files are
//! the administrator's; a bad line is skipped, as newuidmap(1) does, which also checks the ranges
//! again when they are used. Ranges may overlap or be many; which one to take is not decided here.
#![forbid(unsafe_code)]

use super::{fields, id, is_numeric, lines, number};

/// A range of ids; holds at least one, and never `(uid_t)-1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubIds {
    /// The first id.
    pub start: u32,
    /// How many ids.
    pub count: u32,
}

/// The ranges of a user, by name (if it has one) or uid, in the order of the file.
///
/// An owner made of digits is a uid and never a name (T25).
pub fn ranges(data: &[u8], name: Option<&str>, uid: u32) -> Vec<SubIds> {
    let name = name.map(str::as_bytes).filter(|name| !is_numeric(name));
    lines(data)
        .filter_map(|(_, line)| {
            let [owner, start, count] = fields(line)?;
            let owned =
                if is_numeric(owner) { id(owner) == Some(uid) } else { Some(owner) == name };
            let range = SubIds { start: number(start)?, count: number(count)? };
            (owned && is_valid(range)).then_some(range)
        })
        .collect()
}

/// Whether all ids of the range are ids. The last may be `u32::MAX - 1`.
fn is_valid(range: SubIds) -> bool {
    range.count > 0 && range.start.checked_add(range.count).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(data: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
        let found = ranges(data.as_bytes(), name, uid);
        found.into_iter().map(|range| (range.start, range.count)).collect()
    }

    #[test]
    fn user_has_ranges_by_name_and_by_uid() {
        let data = "a:100000:65536\nb:165536:65536\n1000:300000:10\na:400000:1";
        let expected = [(100_000, 65536), (300_000, 10), (400_000, 1)];
        assert_eq!(pairs(data, Some("a"), 1000), expected);
        assert_eq!(pairs(data, None, 1000), [(300_000, 10)]);
        assert_eq!(pairs(data, Some("c"), 5), []);
    }

    #[test]
    fn t25_user_named_like_a_uid_gets_nothing_of_that_uid() {
        assert_eq!(pairs("1000:100000:65536", Some("1000"), 5), []);
        assert_eq!(pairs("01000:100000:65536", Some("01000"), 1000), []);
        assert_eq!(pairs(":100000:65536", Some(""), 0), []);
    }

    #[test]
    fn t36_range_that_wraps_around_to_root_is_skipped() {
        for bad in [
            "a:4294967295:1",
            "a:4294967294:2",
            "a:1:4294967295",
            "a:4294967296:1",
            "a:1:4294967296",
            "a:-1:5",
            "a:1:0",
            "a:1:-5",
            "a:1",
            "a:1:2:3",
            "a::",
            "a: 1:2",
            "#a:1:2",
            "a",
            ":",
            "a:1:2 ",
        ] {
            assert_eq!(pairs(bad, Some("a"), 1), [], "{bad}");
        }
        assert_eq!(pairs("a:x:1\na:4294967294:1\n", Some("a"), 1), [(4_294_967_294, 1)]);
        assert_eq!(pairs("a:0:4294967295", Some("a"), 1), [(0, u32::MAX)]);
    }
}
