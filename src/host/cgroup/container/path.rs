//! `linux.cgroupsPath`: where a container's cgroups go. Pure.

use crate::error::{Error, Kind, Result};
use crate::plan::values::quote;
use std::path::Path;

/// A path inside each hierarchy; never the hierarchy's own root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupPath {
    /// Below the cgroup of the calling process instead of the mount point.
    pub(super) relative: bool,
    /// Whether somebody asked for it, or it was made up from the container id.
    pub(super) asked: bool,
    /// Components joined by slashes, without a leading one.
    pub(super) path: String,
}

impl CgroupPath {
    /// From the configuration; without one the container id, below the caller's own cgroup, as
    /// runc has it.
    ///
    /// `.` and `..` are taken out as if the path were the whole tree, so that nothing leads out.
    ///
    /// # Errors
    /// A path for systemd, one that is not UTF-8, one that means a hierarchy's root: a container
    /// there would have no limits, and killing its processes would kill the host's.
    pub(crate) fn new(asked: Option<&Path>, id: &str) -> Result<CgroupPath> {
        let Some(asked) = asked.filter(|p| !p.as_os_str().is_empty()) else {
            return Ok(CgroupPath { relative: true, asked: false, path: id.to_owned() });
        };
        let bad = |why: &str| {
            let shown = quote(&asked.to_string_lossy());
            Error::new(Kind::InvalidConfig, format!("linux.cgroupsPath {shown} {why}"))
        };
        let text = asked.to_str().ok_or_else(|| bad("is not UTF-8"))?;
        if !text.contains('/') && text.matches(':').count() == 2 {
            return Err(bad("is one for systemd (slice:prefix:name)")
                .with_kind(Kind::Unsupported)
                .hint("say --systemd-cgroup, or give a path such as /containers/web"));
        }
        if text.contains(['\0', '\n']) {
            return Err(bad("has a character that no cgroup's name can have"));
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part if part.len() > 255 => return Err(bad("has a component of over 255 bytes")),
                part => parts.push(part),
            }
        }
        if parts.is_empty() {
            return Err(bad("is the root of the cgroups").hint("name a cgroup below it"));
        }
        let path = parts.join("/");
        if path.len() > 3000 {
            return Err(bad("is too long"));
        }
        Ok(CgroupPath { relative: !text.starts_with('/'), asked: true, path })
    }
}

/// A path below a container's own cgroup (`exec --cgroup`); empty is the cgroup itself. Unlike
/// `cgroupsPath` it may not leave and come back (T34, CVE-2022-0492's neighbourhood).
pub(super) fn below(text: &str) -> Result<String> {
    let bad = |why: &str| {
        Error::new(Kind::InvalidConfig, format!("{} {why}", quote(text)))
            .hint("give a path below the container's own cgroup, such as /workers")
    };
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(bad("is a bad sub cgroup path: it has \"..\"")),
            part => parts.push(part),
        }
    }
    if text.contains(['\0', '\n']) || text.len() > 3000 {
        return Err(bad("is a bad sub cgroup path"));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(text: &str) -> Result<CgroupPath> {
        CgroupPath::new(Some(Path::new(text)), "c1")
    }

    #[test]
    fn a_path_is_cleaned_and_never_leads_out() {
        let of = |text| {
            let p = new(text).unwrap();
            (p.relative, p.path)
        };
        assert_eq!(of("/docker/abc"), (false, "docker/abc".to_owned()));
        assert_eq!(of("a//b/./c/"), (true, "a/b/c".to_owned()));
        assert_eq!(of("../../x"), (true, "x".to_owned()));
        assert_eq!(of("/../a/../../x"), (false, "x".to_owned()));
        // Two colons in a path with slashes are only a name.
        assert_eq!(of("/a:b:c"), (false, "a:b:c".to_owned()));
        for none in [None, Some(Path::new(""))] {
            let p = CgroupPath::new(none, "c1").unwrap();
            assert_eq!((p.relative, p.asked, p.path.as_str()), (true, false, "c1"));
        }
    }

    #[test]
    fn what_cannot_be_a_path_is_refused() {
        for bad in ["/", "..", "/a/..", ".", "a\nb", "a\0b"] {
            assert_eq!(new(bad).unwrap_err().kind(), Kind::InvalidConfig, "{bad:?}");
        }
        assert!(new(&"x".repeat(256)).is_err());
        assert!(new(&"x/".repeat(2000)).is_err());
        let systemd = new("system.slice:docker:abc").unwrap_err();
        assert_eq!(systemd.kind(), Kind::Unsupported);
        assert!(systemd.to_string().contains("systemd"), "{systemd}");
    }

    /// T34
    #[test]
    fn a_sub_cgroup_is_below_its_own() {
        assert_eq!(below("/a//b/").unwrap(), "a/b");
        assert_eq!(below("/").unwrap(), "");
        for bad in ["../x", "a/../b", "..", "/..", "a\0", "a\nb"] {
            assert!(below(bad).is_err(), "{bad:?}");
        }
    }
}
