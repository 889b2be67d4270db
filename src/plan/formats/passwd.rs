//! `/etc/passwd` and `/etc/group` of a container: names to ids (T25, T40).
//!
//! The files come from an image, so they are hostile: the reader must bound them, and a bad line
//! (fields missing or too many, an id that is no id) is skipped. The first good line wins, as in
//! libc. A name made of digits is an id everywhere in stockade (`plan::values::user`), so it is
//! never found here, whatever a file says: `1001:x:0:0::/:` gives nobody root.
//!
//! No NIS (`+` lines), no nsswitch, and passwords are not looked at.
#![forbid(unsafe_code)]

use super::{fields, id, is_numeric, lines};
use crate::plan::values::ValueError;

/// One line of `/etc/passwd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswdEntry<'a> {
    /// The user's name; never made of digits only.
    pub name: &'a [u8],
    /// The user's id.
    pub uid: u32,
    /// The id of the user's group.
    pub gid: u32,
    /// The home directory; hostile, may be empty or relative.
    pub home: &'a [u8],
    /// The login shell; hostile, may be empty.
    pub shell: &'a [u8],
}

/// The most groups that a process can have (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

fn entries(data: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    lines(data).filter_map(|(_, line)| {
        let [name, _, uid, gid, _, home, shell] = fields(line)?;
        let (uid, gid) = (id(uid)?, id(gid)?);
        usable(name).then_some(PasswdEntry { name, uid, gid, home, shell })
    })
}

/// Not a number, a comment or a NIS entry.
fn usable(name: &[u8]) -> bool {
    !is_numeric(name) && !matches!(name.first(), None | Some(b'#' | b'+' | b'-'))
}

/// The user of that name.
pub fn passwd_lookup<'a>(data: &'a [u8], name: &str) -> Option<PasswdEntry<'a>> {
    entries(data).find(|entry| entry.name == name.as_bytes())
}

/// The first user of that id.
pub fn passwd_by_uid(data: &[u8], uid: u32) -> Option<PasswdEntry<'_>> {
    entries(data).find(|entry| entry.uid == uid)
}

/// The id of the group of that name.
pub fn group_lookup(data: &[u8], name: &str) -> Option<u32> {
    groups(data).find(|(known, ..)| *known == name.as_bytes()).map(|(_, gid, _)| gid)
}

/// Name, id and members of each group.
fn groups(data: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    lines(data).filter_map(|(_, line)| {
        let [name, _, gid, members] = fields(line)?;
        let gid = id(gid)?;
        usable(name).then_some((name, gid, members))
    })
}

/// The ids of all groups that list the user as a member, sorted, each once.
///
/// More than the kernel takes is an error: leaving some out would change what the user may do.
pub fn supplementary_groups(group_data: &[u8], user_name: &str) -> Result<Vec<u32>, ValueError> {
    if !usable(user_name.as_bytes()) {
        return Ok(Vec::new());
    }
    let is_member =
        |members: &[u8]| members.split(|b| *b == b',').any(|name| name == user_name.as_bytes());
    let mut found: Vec<u32> = groups(group_data)
        .filter_map(|(_, gid, members)| is_member(members).then_some(gid))
        .collect();
    found.sort_unstable();
    found.dedup();
    if found.len() > MAX_GROUPS {
        let why = format!("it is a member of more than {MAX_GROUPS} groups");
        return Err(ValueError::new("user", user_name, why));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        app:x:1000:1001:,,,:/home/app:\n\
        www-data:*:33:33::/var/www:/bin/false";
    const GROUP: &[u8] =
        b"root:x:0:\nadm:x:4:app,www-data\naudio:x:29:app\nadm2:x:4:app\nx:x:9:apple";

    #[test]
    fn user_and_group_of_a_usual_image() {
        let app = passwd_lookup(PASSWD, "app").unwrap();
        assert_eq!(
            (app.uid, app.gid, app.home, app.shell),
            (1000, 1001, &b"/home/app"[..], &b""[..])
        );
        assert_eq!(passwd_by_uid(PASSWD, 33).unwrap().name, b"www-data");
        assert_eq!(passwd_lookup(PASSWD, "ap"), None);
        assert_eq!(passwd_lookup(PASSWD, "APP"), None);
        assert_eq!(passwd_by_uid(PASSWD, 7), None);
        assert_eq!(group_lookup(GROUP, "audio"), Some(29));
        assert_eq!(group_lookup(GROUP, "none"), None);
    }

    #[test]
    fn t29_supplementary_groups_are_exactly_those_listed() {
        assert_eq!(supplementary_groups(GROUP, "app"), Ok(vec![4, 29]));
        assert_eq!(supplementary_groups(GROUP, "www-data"), Ok(vec![4]));
        assert_eq!(supplementary_groups(GROUP, "root"), Ok(vec![]));
        assert_eq!(supplementary_groups(GROUP, ""), Ok(vec![]));
    }

    #[test]
    fn t25_digits_are_never_a_name() {
        let data = b"1001:x:0:0::/:\nok:x:5:5::/:\n";
        assert_eq!(passwd_lookup(data, "1001"), None);
        assert_eq!(passwd_by_uid(data, 0), None);
        assert_eq!(group_lookup(b"27:x:0:\n", "27"), None);
        assert_eq!(supplementary_groups(b"root:x:0:1001\n", "1001"), Ok(vec![]));
    }

    #[test]
    fn t25_t40_hostile_lines_give_no_root() {
        let hostile = [
            "app:x:0",
            "app:x:0:0",
            "app:x:0:0:a:b",
            "app:x:0:0:a:b:c:d",
            "app:x:-0:0:::",
            "app:x:+0:0:::",
            "app:x:00:0:::",
            "app:x: 0:0:::",
            "app:x:4294967296:0:::",
            "app:x:4294967295:0:::",
            "app:x::0:::",
            "app:x:0x0:0:::",
            "app:x:0:18446744073709551616:::",
            ":x:0:0:::",
            "+app:x:0:0:::",
            "#app:x:0:0:::",
            " app:x:0:0:::",
            "app\0:x:0:0:::",
            "app ::0:0:::",
            "::::::",
            ":",
            "\r",
            "app\r:x:0:0:::",
        ];
        let data = format!("{}\napp:x:1000:1000::/:\napp:x:0:0::/:\n", hostile.join("\n"));
        assert_eq!(
            passwd_lookup(data.as_bytes(), "app").unwrap().uid,
            1000,
            "first good line wins"
        );
        let group = b"g:x:0\ng:x:-1:\ng:x:0:a:b\ng:x:4294967295:\ng:x:7:\ng:x:0:\n";
        assert_eq!(group_lookup(group, "g"), Some(7));
        assert_eq!(passwd_lookup(b"", "app"), None);
        assert_eq!(passwd_lookup(b"\xff\xfe\0\n:\n\n", ""), None);
    }

    #[test]
    fn t40_endless_line_and_endless_groups_are_bounded() {
        let long = vec![b'a'; 4 << 20];
        assert_eq!(passwd_lookup(&long, "a"), None);
        assert_eq!(supplementary_groups(&vec![b':'; 4 << 20], "a"), Ok(vec![]));
        let mut many = String::new();
        for gid in 0..=MAX_GROUPS {
            writeln!(many, "g:x:{gid}:a").unwrap();
        }
        assert!(supplementary_groups(many.as_bytes(), "a").is_err());
        let cut = many.len() - "g:x:65536:a\n".len();
        assert_eq!(supplementary_groups(&many.as_bytes()[..cut], "a").unwrap().len(), MAX_GROUPS);
    }
}
