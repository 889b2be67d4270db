//! Who and which: `--user`, `--group-add`, container ids and host names.
//!
//! This is the only parser of users (T25): a part made of digits is a number and is never looked
//! up as a name, and a number that is no valid id is an error instead of a name. Names are only
//! checked for their form here; they are looked up in the container's files by
//! `plan::formats::passwd`.
#![forbid(unsafe_code)]

use super::{Result, ValueError, quote};

/// The largest uid or gid. One more would be `(uid_t)-1`, which means "leave it as it is" to the
/// kernel's calls, so that a process would keep its privileges.
pub const MAX_ID: u32 = u32::MAX - 1;

/// A user or a group, before any name is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdOrName {
    /// A uid or gid; never above [`MAX_ID`].
    Id(u32),
    /// A name; never made of digits only.
    Name(String),
}

/// `--user`: who the process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub user: IdOrName,
    /// The group, if one was given.
    pub group: Option<IdOrName>,
}

/// A uid or gid: plain digits, no leading zero, at most [`MAX_ID`].
pub fn id(what: &str, value: &str) -> Result<u32> {
    check_id(value).map_err(|why| ValueError::new(what, value, why))
}

/// The reason is all that can be wrong with an id, for use within a longer value.
fn check_id(text: &str) -> std::result::Result<u32, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("an id is made of digits only");
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err("a leading zero is ambiguous (octal or decimal)");
    }
    match text.parse() {
        Ok(u32::MAX) => Err("4294967295 is (uid_t)-1, which the kernel takes for \"no change\""),
        Ok(id) => Ok(id),
        Err(_) => Err("an id is at most 4294967294"),
    }
}

fn id_or_name(text: &str) -> std::result::Result<IdOrName, String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return check_id(text).map(IdOrName::Id).map_err(str::to_owned);
    }
    let is_name_char = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    // A trailing "$" is the mark of a Samba machine account.
    let stem = text.strip_suffix('$').unwrap_or(text);
    match stem.bytes().next() {
        None => Err("a user or group is empty".to_owned()),
        Some(b'-') => Err(format!("{} starts with \"-\"", quote(text))),
        Some(_) if stem == "." || stem == ".." => Err(format!("{} is not a name", quote(text))),
        Some(_) if text.len() > 256 => Err("a name is longer than 256 characters".to_owned()),
        Some(_) if stem.bytes().all(is_name_char) => Ok(IdOrName::Name(text.to_owned())),
        Some(_) => Err(format!("{} is neither an id nor a name", quote(text))),
    }
}

/// `--user user[:group]`, each an id or a name.
pub fn user(value: &str) -> Result<User> {
    let bad = |why: String| {
        ValueError::new("user", value, why).hint("use an id or a name, such as 1000:1000 or nobody")
    };
    let (user, group) = match value.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (value, None),
    };
    Ok(User {
        user: id_or_name(user).map_err(bad)?,
        group: group.map(id_or_name).transpose().map_err(bad)?,
    })
}

/// All `--group-add`, each an id or a name; repeated ones count once.
pub fn group_add<S: AsRef<str>>(values: &[S]) -> Result<Vec<IdOrName>> {
    let mut groups = Vec::new();
    for value in values.iter().map(AsRef::as_ref) {
        let group = id_or_name(value).map_err(|why| ValueError::new("group", value, why))?;
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    Ok(groups)
}

/// The longest container id: it becomes the name of a directory.
pub const MAX_CONTAINER_ID: usize = 255;

/// A container id: `[A-Za-z0-9_+-][A-Za-z0-9_+.-]*`, so never `.`, `..` or a path (T44).
pub fn container_id(value: &str) -> Result<&str> {
    let bad = |why: String| {
        ValueError::new("container id", value, why)
            .hint("use letters, digits and _ + . -, and do not start with \".\"")
    };
    if value.is_empty() {
        return Err(bad("it is empty".into()));
    }
    if value.len() > MAX_CONTAINER_ID {
        return Err(bad(format!("it is longer than {MAX_CONTAINER_ID} bytes")));
    }
    if value.starts_with('.') {
        return Err(bad("it starts with \".\"".into()));
    }
    match value.chars().find(|c| !c.is_ascii_alphanumeric() && !"_+.-".contains(*c)) {
        Some(c) => Err(bad(format!("it holds {}", quote(c.encode_utf8(&mut [0; 4]))))),
        None => Ok(value),
    }
}

/// A host name after RFC 1123, at most as long as the kernel takes (64 bytes).
pub fn hostname(value: &str) -> Result<&str> {
    let bad = |why: String| {
        ValueError::new("host name", value, why)
            .hint("use letters, digits and -, in parts of up to 63 joined by dots")
    };
    if value.is_empty() {
        return Err(bad("it is empty".into()));
    }
    if value.len() > 64 {
        return Err(bad("it is longer than 64 bytes".into()));
    }
    for part in value.split('.') {
        let shown = quote(part);
        if part.is_empty() {
            return Err(bad("a part between dots is empty".into()));
        }
        if part.len() > 63 {
            return Err(bad(format!("the part {shown} is longer than 63 bytes")));
        }
        if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(bad(format!("{shown} holds more than letters, digits and \"-\"")));
        }
        if part.starts_with('-') || part.ends_with('-') {
            return Err(bad(format!("{shown} starts or ends with \"-\"")));
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use IdOrName::{Id, Name};

    #[test]
    fn user_runs_as_ids_and_names() {
        let name = |text: &str| Name(text.to_owned());
        let cases = [
            ("0", Id(0), None),
            ("1", Id(1), None),
            ("65534", Id(65534), None),
            ("4294967294", Id(4_294_967_294), None),
            ("1001:1002", Id(1001), Some(Id(1002))),
            ("nobody", name("nobody"), None),
            ("www-data:adm", name("www-data"), Some(name("adm"))),
            ("1001:adm", Id(1001), Some(name("adm"))),
            ("host$", name("host$"), None),
            ("1abc", name("1abc"), None),
        ];
        for (text, user, group) in cases {
            assert_eq!(super::user(text), Ok(User { user, group }), "{text}");
        }
    }

    #[test]
    fn t25_attacker_smuggles_root_through_user() {
        for bad in [
            "4294967295",
            "4294967296",
            "18446744073709551616",
            "-1",
            "1:",
            "01",
            "00",
            "000:0",
            " 1",
            "1 ",
            ":1",
            ":",
            "",
            "1:2:3",
            "+1",
            "1\n",
            "1\0",
            "root\n",
            "a b",
            "a/b",
            "１",
            "1:-1",
            "1:4294967295",
            "1:01",
            "1.5:",
            "$",
            "..",
            "näme",
            "1:\u{1b}[2J",
        ] {
            assert!(super::user(bad).is_err(), "{bad:?}");
        }
        assert!(super::user(&"9".repeat(1 << 20)).is_err());
        assert!(super::user(&"a".repeat(257)).is_err());
    }

    #[test]
    fn t25_message_says_why_minus_one_is_refused() {
        let error = super::user("4294967295").unwrap_err();
        assert!(error.to_string().contains("(uid_t)-1"), "{error}");
        assert!(super::user("01").unwrap_err().to_string().contains("leading zero"));
        assert!(id("tmpfs uid", "x").is_err());
        assert_eq!(id("tmpfs uid", "7"), Ok(7));
    }

    #[test]
    fn t29_user_adds_groups() {
        let groups = group_add(&["4", "audio", "4"]).unwrap();
        assert_eq!(groups, [Id(4), Name("audio".to_owned())]);
        assert!(group_add(&["4:5"]).is_err());
        assert!(group_add(&["4294967295"]).is_err());
        assert!(group_add(&[""]).is_err());
    }

    #[test]
    fn t44_container_id_cannot_leave_the_state_directory() {
        for good in ["a", "job-1", "A_b+c.d", "-x", "+", "0", &"a".repeat(255)] {
            assert_eq!(container_id(good), Ok(good));
        }
        for bad in ["", ".", "..", ".a", "../x", "a/b", "a\n", "a\0", "a b", "é", "a:b", "a\\b"] {
            assert!(container_id(bad).is_err(), "{bad:?}");
        }
        assert!(container_id(&"a".repeat(256)).is_err());
        assert!(container_id(&"a".repeat(5000)).unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn user_names_the_host() {
        let label = "a".repeat(63);
        for good in ["box", "box-1", "a.b.example", "7", &label] {
            assert_eq!(hostname(good), Ok(good));
        }
        let long = "a.".repeat(32) + "a";
        for bad in [
            "",
            "-a",
            "a-",
            "a_b",
            "a..b",
            "a.",
            ".a",
            "a b",
            "a\n",
            "é",
            &long,
            &"a".repeat(64),
            "a/b",
            "a.-b",
        ] {
            assert!(hostname(bad).is_err(), "{bad:?}");
        }
    }
}
