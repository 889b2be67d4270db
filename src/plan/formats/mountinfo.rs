//! `/proc/self/mountinfo`: which file systems are mounted where.
//!
//! The format is that of proc_pid_mountinfo(5):
//!
//! ```text
//! 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//! id parent dev root mount_point options optional…   fstype source super_options
//! ```
//!
//! A host may have thousands of lines and they are read at every start, so a line is only taken
//! apart, and a path copied only if it holds an escape such as `\040`. A malformed line is an
//! error for that line, and the caller decides; a mount that is missed could be one that leaks.
#![forbid(unsafe_code)]

use super::{lines, number};
use crate::plan::values::ValueError;
use std::borrow::Cow;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo<'a> {
    /// The mount's id; reused after it is gone.
    pub id: u32,
    /// The id of the mount that it stands on.
    pub parent: u32,
    /// Major and minor number of the device, as in `st_dev`.
    pub device: (u32, u32),
    /// The directory of the file system that is the root of this mount.
    pub root: Cow<'a, [u8]>,
    /// Where it is mounted, relative to the reader's root.
    pub mount_point: Cow<'a, [u8]>,
    /// Options of this mount, joined by commas.
    pub options: &'a [u8],
    /// Optional fields such as `shared:1`, joined by blanks; see [`MountInfo::tag`].
    pub optional: &'a [u8],
    /// The type, such as `ext4` or `fuse.sshfs`.
    pub fstype: Cow<'a, [u8]>,
    /// The device or whatever the type calls its source; may be empty.
    pub source: Cow<'a, [u8]>,
    /// Options of the file system, joined by commas, with escapes left in.
    pub super_options: &'a [u8],
}

impl MountInfo<'_> {
    /// Whether the mount itself has an option such as `ro` or `nosuid`.
    pub fn has_option(&self, option: &str) -> bool {
        self.options.split(|b| *b == b',').any(|have| have == option.as_bytes())
    }

    /// The number of an optional field, such as the peer group of `shared` or `master`.
    pub fn tag(&self, name: &str) -> Option<u32> {
        self.optional
            .split(|b| *b == b' ')
            .find_map(|field| number(field.strip_prefix(name.as_bytes())?.strip_prefix(b":")?))
    }
}

/// The mounts of a mountinfo file, in the kernel's order.
pub fn mounts(data: &[u8]) -> impl Iterator<Item = Result<MountInfo<'_>, ValueError>> {
    lines(data).map(|(at, line)| {
        parse_line(line).ok_or_else(|| {
            ValueError::from_bytes(format!("mountinfo line {at}"), line, "it is malformed")
        })
    })
}

/// One line, without its newline.
fn parse_line(line: &[u8]) -> Option<MountInfo<'_>> {
    let mut rest = line;
    let id = number(next(&mut rest)?)?;
    let parent = number(next(&mut rest)?)?;
    let device = next(&mut rest)?;
    let colon = device.iter().position(|b| *b == b':')?;
    let device = (number(&device[..colon])?, number(&device[colon + 1..])?);
    let root = unescape(next(&mut rest)?);
    let mount_point = unescape(next(&mut rest)?);
    let options = next(&mut rest)?;
    // The optional fields end at a field that is a lone "-"; a path cannot be mistaken for it,
    // since all paths have been taken already.
    let start = rest;
    let mut length = 0;
    loop {
        let field = next(&mut rest)?;
        if field == b"-" {
            break;
        }
        length += field.len() + 1;
    }
    let optional = &start[..length.saturating_sub(1)];
    let fstype = unescape(next(&mut rest)?);
    // An empty source leaves two blanks side by side, so blanks must not be merged.
    let source = unescape(next(&mut rest)?);
    if root.is_empty() || mount_point.is_empty() || options.is_empty() || fstype.is_empty() {
        return None;
    }
    let super_options = rest;
    Some(MountInfo {
        id,
        parent,
        device,
        root,
        mount_point,
        options,
        optional,
        fstype,
        source,
        super_options,
    })
}

/// Takes the text up to the next blank, which must be there.
fn next<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let all = *rest;
    let blank = all.iter().position(|b| *b == b' ')?;
    *rest = &all[blank + 1..];
    Some(&all[..blank])
}

/// Undoes the kernel's `\ooo`; a backslash that starts no such escape stays.
fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        match rest {
            [] => return Cow::Owned(out),
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            [first, after @ ..] => {
                out.push(*first);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Option<MountInfo<'_>> {
        mounts(line.as_bytes()).next()?.ok()
    }

    #[test]
    fn mount_of_the_manual_page() {
        let line =
            "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n";
        let found = one(line).unwrap();
        let expected = MountInfo {
            id: 36,
            parent: 35,
            device: (98, 0),
            root: Cow::Borrowed(b"/mnt1"),
            mount_point: Cow::Borrowed(b"/mnt2"),
            options: b"rw,noatime",
            optional: b"master:1",
            fstype: Cow::Borrowed(b"ext3"),
            source: Cow::Borrowed(b"/dev/root"),
            super_options: b"rw,errors=continue",
        };
        assert_eq!(found, expected);
        assert!(matches!(found.mount_point, Cow::Borrowed(_)), "a plain path is not copied");
        assert!(found.has_option("noatime") && !found.has_option("no") && !found.has_option("ro"));
        assert_eq!(
            (found.tag("master"), found.tag("shared"), found.tag("mast")),
            (Some(1), None, None)
        );
    }

    #[test]
    fn optional_fields_may_be_none_or_many() {
        let found = one("1 1 0:1 / / ro - tmpfs none rw").unwrap();
        assert_eq!((found.optional, found.tag("shared")), (&b""[..], None));
        let found = one("1 1 0:1 / / ro shared:7 master:3 unbindable - tmpfs none rw").unwrap();
        assert_eq!(found.optional, b"shared:7 master:3 unbindable");
        assert_eq!((found.tag("shared"), found.tag("master")), (Some(7), Some(3)));
    }

    #[test]
    fn source_may_be_empty_and_the_root_no_path() {
        let found = one("1 1 0:4 net:[4026531840] /run/netns/a rw - nsfs  rw").unwrap();
        assert_eq!((&*found.root, &*found.source), (&b"net:[4026531840]"[..], &b""[..]));
        assert_eq!(found.super_options, b"rw");
    }

    #[test]
    fn attacker_names_a_mount_point_to_split_the_line() {
        let line = r"1 1 0:1 /a\134b /x\040-\040ext4\012y\011\134040 rw - fuse.a\040b s\043 rw";
        let found = one(line).unwrap();
        assert_eq!(&*found.mount_point, b"/x - ext4\ny\t\\040");
        assert_eq!(&*found.root, br"/a\b");
        assert_eq!((&*found.fstype, &*found.source), (&b"fuse.a b"[..], &b"s#"[..]));
        assert_eq!(&*unescape(br"\400\8\04\"), br"\400\8\04\");
        let bytes = mounts(b"1 1 0:1 / /\xff\x80 rw - t s rw").next().unwrap().unwrap();
        assert_eq!(&*bytes.mount_point, b"/\xff\x80");
    }

    #[test]
    fn malformed_line_is_an_error_that_names_it() {
        let data = b"1 1 0:1 / / rw - t s rw\n\nbad \x1b line\n2 1 0:1 / /a rw - t s rw";
        let found: Vec<_> = mounts(data).collect();
        assert_eq!(found.len(), 3);
        let error = found[1].as_ref().unwrap_err().to_string();
        assert_eq!(error, r#"invalid mountinfo line 3 "bad \u{1b} line": it is malformed"#);
        assert!(found[2].is_ok());
        for bad in [
            "1",
            "1 1 0:1 / / rw",
            "1 1 0:1 / / rw - t",
            "1 1 0:1 / / rw shared:1",
            "x 1 0:1 / / rw - t s r",
            "4294967296 1 0:1 / / rw - t s r",
            "1 1 01 / / rw - t s r",
            "1 1 0:-1 / / rw - t s r",
            " ",
            "1 1 0:1  / rw - t s r",
            "-1 1 0:1 / / rw - t s r",
        ] {
            assert!(one(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn every_cut_of_a_line_is_survived() {
        let line = br"36 35 98:0 /a\040b /c\0 rw shared:1 master:2 - ext3 /dev/root rw";
        for end in 0..line.len() {
            for start in 0..end {
                let _ = mounts(&line[start..end]).count();
            }
        }
    }
}
