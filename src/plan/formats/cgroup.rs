//! `/proc/<pid>/cgroup`: in which cgroups a process is, after cgroups(7).
//!
//! ```text
//! 5:cpu,cpuacct:/user.slice     version 1: hierarchy, controllers, path
//! 1:name=systemd:/user.slice    version 1, a named hierarchy without controllers
//! 0::/user.slice                version 2
//! ```
//!
//! Paths are relative to the reader's cgroup namespace; a process outside of it has a path with
//! leading `/..`, and one in a removed cgroup ends in ` (deleted)`. Both are kept as they are:
//! joining a path to the mount point of its hierarchy is left to the caller, who must look first.
#![forbid(unsafe_code)]

use super::{lines, number};
use crate::plan::values::ValueError;

/// Membership in a hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1<'a> {
    /// The hierarchy's number; never zero.
    pub hierarchy: u32,
    /// Controllers such as `cpu`, or `name=systemd`.
    pub controllers: Vec<&'a [u8]>,
    /// The path; starts with `/`.
    pub path: &'a [u8],
}

/// All memberships of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cgroups<'a> {
    /// The hierarchies of version 1, if any are mounted.
    pub v1: Vec<V1<'a>>,
    /// The path in version 2, if the kernel has it; starts with `/`.
    pub v2: Option<&'a [u8]>,
}

impl<'a> Cgroups<'a> {
    /// The version 1 path of a controller such as `memory`, or of `name=systemd`.
    pub fn v1_path(&self, controller: &str) -> Option<&'a [u8]> {
        let has = |entry: &&V1<'a>| entry.controllers.contains(&controller.as_bytes());
        self.v1.iter().find(has).map(|entry| entry.path)
    }
}

/// Parses the file. The kernel writes it, so a malformed line is an error: to go on without it
/// could leave a process outside of a limit.
pub fn parse(data: &[u8]) -> Result<Cgroups<'_>, ValueError> {
    let mut found = Cgroups::default();
    for (at, line) in lines(data) {
        let bad =
            |why: &str| ValueError::from_bytes(format!("cgroup line {at}"), line, why.to_owned());
        // A path may hold colons: only the first two count.
        let mut parts = line.splitn(3, |b| *b == b':');
        let (Some(hierarchy), Some(controllers), Some(path)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(bad("it has fewer than three fields"));
        };
        let hierarchy = number(hierarchy).ok_or_else(|| bad("its hierarchy is not a number"))?;
        if !path.starts_with(b"/") {
            return Err(bad("its path is not absolute"));
        }
        match (hierarchy, controllers) {
            (0, b"") if found.v2.is_some() => return Err(bad("it is a second line of version 2")),
            (0, b"") => found.v2 = Some(path),
            (0, _) | (_, b"") => {
                return Err(bad("hierarchy 0, and only that, has no controllers"));
            }
            _ => {
                let controllers = controllers.split(|b| *b == b',').collect();
                found.v1.push(V1 { hierarchy, controllers, path });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_with_version_2_only() {
        let found = parse(b"0::/user.slice/user-0.slice\n").unwrap();
        assert_eq!(found.v2, Some(&b"/user.slice/user-0.slice"[..]));
        assert_eq!(found.v1, []);
        assert_eq!(found.v1_path("memory"), None);
    }

    #[test]
    fn hybrid_host_with_both_versions() {
        let found = parse(b"5:cpu,cpuacct:/a\n4:memory:/b:c\n1:name=systemd:/\n0::/d\n").unwrap();
        assert_eq!(found.v1_path("cpuacct"), Some(&b"/a"[..]));
        assert_eq!(found.v1_path("memory"), Some(&b"/b:c"[..]));
        assert_eq!(found.v1_path("name=systemd"), Some(&b"/"[..]));
        assert_eq!(found.v1_path("systemd"), None);
        assert_eq!(found.v1_path("cpu,cpuacct"), None);
        assert_eq!(found.v2, Some(&b"/d"[..]));
        assert_eq!((found.v1.len(), found.v1[0].hierarchy), (3, 5));
    }

    #[test]
    fn paths_outside_the_namespace_and_of_removed_cgroups_are_kept() {
        assert_eq!(parse(b"0::/../../x").unwrap().v2, Some(&b"/../../x"[..]));
        assert_eq!(parse(b"0::/x (deleted)\n").unwrap().v2, Some(&b"/x (deleted)"[..]));
        assert_eq!(parse(b"0::/\xff\n").unwrap().v2, Some(&b"/\xff"[..]));
        assert_eq!(parse(b""), Ok(Cgroups::default()));
    }

    #[test]
    fn malformed_line_is_an_error() {
        for bad in [
            &b"x"[..],
            b"0:",
            b"0::",
            b"0::x",
            b"-1:cpu:/",
            b"a:cpu:/",
            b"4294967296:cpu:/",
            b"0:cpu:/",
            b"3::/",
            b"0::/a\n0::/b",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let error = parse(b"0::/\n\x1b").unwrap_err().to_string();
        assert_eq!(error, r#"invalid cgroup line 2 "\u{1b}": it has fewer than three fields"#);
    }
}
