//! What a container's unit is called, and where systemd puts its cgroup. Pure.

use crate::error::{Error, Kind, Result};
use crate::plan::values::quote;

/// Most bytes of a unit's name (`UNIT_NAME_MAX` of systemd, without the NUL).
const LONGEST: usize = 255;

/// The scope of a container, and the slice above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// Such as `system.slice`.
    pub(crate) slice: String,
    /// Such as `docker-abc.scope`.
    pub(crate) scope: String,
    /// For the unit's description.
    pub(crate) name: String,
}

impl Names {
    /// From `linux.cgroupsPath`, which is `slice:prefix:name`; without one a scope called after the
    /// container's id in the default slice, as runc has it.
    ///
    /// # Errors
    /// A path of another form, a slice that cannot be, a unit that would be a slice.
    pub(crate) fn new(asked: &str, id: &str, user: bool) -> Result<Names> {
        let default = if user { "user.slice" } else { "system.slice" };
        let bad = |why: &str| {
            let text = format!("linux.cgroupsPath {} {why}", quote(asked));
            Error::new(Kind::InvalidConfig, text)
        };
        let (slice, prefix, name) = if asked.is_empty() {
            (default, "stockade", id)
        } else {
            let mut parts = asked.split(':');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(slice), Some(prefix), Some(name), None) => {
                    (if slice.is_empty() { default } else { slice }, prefix, name)
                }
                _ => {
                    return Err(bad("is not of the form slice:prefix:name, which systemd needs")
                        .hint(
                            "such as system.slice:stockade:web; or leave --systemd-cgroup away",
                        ));
                }
            }
        };
        if name.is_empty() {
            return Err(bad("has no name"));
        }
        if asked.contains(['/', '\0', '\n']) {
            return Err(bad("has a character that no unit's name can have"));
        }
        if name.ends_with(".slice") {
            return Err(bad("names a slice, which holds no processes of its own")
                .with_kind(Kind::Unsupported)
                .hint(
                    "give a name without .slice: the container is a scope in the slice before it",
                ));
        }
        expand_slice(slice)
            .ok_or_else(|| bad("has no valid slice").hint("such as system.slice or a-b.slice"))?;
        let scope = format!("{}-{}.scope", escape(prefix), escape(name));
        if scope.len() > LONGEST {
            return Err(bad("makes a unit's name of over 255 bytes"));
        }
        Ok(Names { slice: slice.to_owned(), scope, name: name.to_owned() })
    }

    /// The cgroup below the manager's own, without slashes around.
    pub(crate) fn cgroup(&self) -> String {
        let scope = cgroup_name(&self.scope);
        match expand_slice(&self.slice) {
            Some(slice) if !slice.is_empty() => format!("{slice}/{scope}"),
            _ => scope,
        }
    }
}

/// `a-b.slice` is in `a.slice`; `-.slice` is the root. `None`: no slice is called so.
fn expand_slice(slice: &str) -> Option<String> {
    let stem = slice.strip_suffix(".slice")?;
    if stem == "-" {
        return Some(String::new());
    }
    if stem.is_empty() || slice.len() > LONGEST || stem.bytes().any(|b| !valid(b) || b == b'@') {
        return None;
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    let mut begin = 0;
    let mut path = Vec::new();
    for end in ends {
        if end <= begin {
            return None;
        }
        path.push(cgroup_name(&format!("{}.slice", stem.get(..end)?)));
        begin = end + 1;
    }
    Some(path.join("/"))
}

/// What a unit's name may have (`VALID_CHARS` of systemd).
fn valid(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
}

/// Other bytes as `\xNN`, as systemd-escape(1) writes them.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if valid(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// A unit's name as its cgroup's: one that could be taken for a file of the kernel's has a `_`
/// before it (`cg_escape` of systemd).
fn cgroup_name(unit: &str) -> String {
    const CONTROLLERS: [&str; 10] = [
        "cpu",
        "cpuacct",
        "cpuset",
        "io",
        "blkio",
        "memory",
        "devices",
        "pids",
        "bpf-firewall",
        "cgroup",
    ];
    let taken = unit.starts_with(['_', '.'])
        || unit.split_once('.').is_some_and(|(first, _)| CONTROLLERS.contains(&first));
    if taken { format!("_{unit}") } else { unit.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_below_the_slices_that_its_name_has() {
        for (slice, path) in [
            ("system.slice", "system.slice"),
            ("a-b.slice", "a.slice/a-b.slice"),
            ("a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice"),
            ("-.slice", ""),
            ("cpu-x.slice", "_cpu.slice/cpu-x.slice"),
        ] {
            assert_eq!(expand_slice(slice).as_deref(), Some(path), "{slice}");
        }
        for bad in [
            "",
            "a",
            ".slice",
            "a--b.slice",
            "-a.slice",
            "a-.slice",
            "a/b.slice",
            "--.slice",
            "a+.slice",
        ] {
            assert_eq!(expand_slice(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_path_of_three_parts_is_a_scope_in_a_slice() {
        let of = |asked| Names::new(asked, "c1", false).unwrap();
        let n = of("a-b.slice:docker:0123");
        assert_eq!((n.slice.as_str(), n.scope.as_str()), ("a-b.slice", "docker-0123.scope"));
        assert_eq!(n.cgroup(), "a.slice/a-b.slice/docker-0123.scope");
        assert_eq!(of("").cgroup(), "system.slice/stockade-c1.scope");
        assert_eq!(of(":p:n").cgroup(), "system.slice/p-n.scope");
        assert_eq!(of("-.slice:p:n").cgroup(), "p-n.scope");
        assert_eq!(of("s.slice::n").scope, "-n.scope");
        assert_eq!(Names::new("", "c1", true).unwrap().slice, "user.slice");
    }

    #[test]
    fn what_a_unit_cannot_be_called_is_escaped() {
        assert_eq!(Names::new("", "a+b c", false).unwrap().scope, "stockade-a\\x2bb\\x20c.scope");
        assert_eq!(escape("ü-@\\_."), "\\xc3\\xbc-@\\_.");
        assert_eq!(cgroup_name("_a.scope"), "__a.scope");
        assert_eq!(cgroup_name("cpu.x-a.scope"), "_cpu.x-a.scope");
        assert_eq!(cgroup_name("cpux-a.scope"), "cpux-a.scope");
    }

    #[test]
    fn a_path_that_means_no_scope_is_refused() {
        for (bad, word) in [
            ("/a/b", "slice:prefix:name"),
            ("a:b", "slice:prefix:name"),
            ("a.slice:b:c:d", "slice:prefix:name"),
            ("a.slice:b:", "no name"),
            ("a:b:c", "slice"),
            ("../x.slice:b:c", "character"),
            ("a.slice:b:../c", "character"),
            ("a.slice:b:c.slice", "no processes"),
        ] {
            let e = Names::new(bad, "c1", false).unwrap_err().to_string();
            assert!(e.contains(word), "{bad}: {e}");
        }
        assert!(Names::new(&format!("a.slice:b:{}", "+".repeat(100)), "c1", false).is_err());
    }
}
