//! Files of the host's kernel and of user data bases, turned into plain data.
//!
//! * `mountinfo` - `/proc/self/mountinfo`
//! * `cgroup` - `/proc/self/cgroup`
//! * `passwd` - `/etc/passwd` and `/etc/group` of a container, which are hostile (T40)
//! * `subid` - `/etc/subuid` and `/etc/subgid` of the host
//!
//! All parsers take bytes that somebody else has read, borrow from them, run in linear time and
//! never panic. How much is read is bounded by the reader, not here: a `/etc/group` of a
//! container must be opened and read with a limit. What the kernel wrote must be well formed
//! (else an error); a bad line that a person or a container wrote is skipped, so that it can
//! neither grant an id nor hide a later line.
//!
//! This file holds what they share: lines, fields and ids.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod mountinfo;
pub mod passwd;
pub mod subid;

/// The lines of a file with their numbers from 1, without empty ones.
pub(crate) fn lines(data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..).zip(data.split(|b| *b == b'\n')).filter(|(_, line)| !line.is_empty())
}

/// A line of exactly `N` fields between colons, or none.
pub(crate) fn fields<const N: usize>(line: &[u8]) -> Option<[&[u8]; N]> {
    let mut found: [&[u8]; N] = [&[]; N];
    let mut parts = line.split(|b| *b == b':');
    for field in &mut found {
        *field = parts.next()?;
    }
    parts.next().is_none().then_some(found)
}

/// A number of ASCII digits only that fits in a `u32`.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    let mut value: u32 = 0;
    for byte in text {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value = value.checked_mul(10)?.checked_add(u32::from(digit))?;
    }
    Some(value)
}

/// A uid or gid: a number without a leading zero, and not `(uid_t)-1`, which means "no change"
/// to the kernel.
pub(crate) fn id(text: &[u8]) -> Option<u32> {
    match text {
        [b'0', _, ..] => None,
        _ => number(text).filter(|id| *id != u32::MAX),
    }
}

/// Whether a name is made of digits, and so is an id and never a name (T25).
pub(crate) fn is_numeric(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_without_a_last_newline_has_a_last_line() {
        let found: Vec<_> = lines(b"a\n\nb").collect();
        assert_eq!(found, [(1, &b"a"[..]), (3, b"b")]);
        assert_eq!(lines(b"").count(), 0);
    }

    #[test]
    fn line_with_a_field_too_many_or_too_few_is_not_taken() {
        assert_eq!(fields::<3>(b"a::c"), Some([&b"a"[..], b"", b"c"]));
        assert_eq!(fields::<3>(b"a:b"), None);
        assert_eq!(fields::<3>(b"a:b:c:d"), None);
    }

    #[test]
    fn t25_attacker_writes_ids_that_wrap_to_root() {
        assert_eq!(id(b"0"), Some(0));
        assert_eq!(id(b"4294967294"), Some(4_294_967_294));
        for bad in [
            &b""[..],
            b"4294967295",
            b"4294967296",
            b"-1",
            b"+0",
            b"00",
            b"01",
            b" 0",
            b"0 ",
            b"0x0",
            b"18446744073709551616",
            b"\xff",
        ] {
            assert_eq!(id(bad), None, "{bad:?}");
        }
        assert_eq!(number(b"0010"), Some(10));
        assert!(is_numeric(b"01") && !is_numeric(b"1a"));
    }
}
