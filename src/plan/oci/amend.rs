//! Mounts that are made, or taken away, in a container which runs (crun's `mounts`).

#![forbid(unsafe_code)]

use super::spec::{Config, Mount};
use super::{bad, mounts, shown};
use crate::error::{Error, Kind, Result};
use crate::plan::detail::{self, MountSource, SourceLink};
use std::path::{Path, PathBuf};

/// Most mounts at once.
const MOST: usize = 100;

fn parse(json: &[u8]) -> Result<Vec<Mount>> {
    let list: Vec<Mount> = serde_json::from_slice(json).map_err(|e| {
        let text: String = e.to_string().chars().take(300).collect();
        bad(
            format!("the mounts: {}", text.escape_debug()),
            "they are a JSON list as mounts in config.json",
        )
    })?;
    if list.len() > MOST {
        return Err(bad(
            format!("there are {} mounts", list.len()),
            "at most 100 are made at once",
        ));
    }
    Ok(list)
}

/// The mounts of such a list, and what of it has no effect.
///
/// # Errors
/// One makes no sense, or not in a container that runs.
pub fn added(json: &[u8]) -> Result<(Vec<detail::Mount>, Vec<String>)> {
    let mut warnings = Vec::new();
    let mut out = Vec::new();
    for m in parse(json)? {
        let nowhere = (Path::new("/"), Path::new("/"));
        let mount = mounts::mount(&m, nowhere, None, &mut warnings)?;
        let no = |why: &str| {
            let text = format!("the mount on {} cannot be added: {why}", shown(&mount.target));
            Err(Error::new(Kind::Unsupported, text).hint("put it into config.json"))
        };
        if mount.target == Path::new("/") {
            return no("the container runs in its root");
        }
        match &mount.source {
            MountSource::Bind { link: SourceLink::Copied, .. } => {
                return no("copy-symlink is for a container that is made");
            }
            MountSource::Bind { .. } if !m.source.is_absolute() => {
                return no("its source is no absolute path");
            }
            MountSource::Bind { .. } => {}
            // They show the namespaces of who mounts them.
            MountSource::Filesystem { fstype, .. } if !mounts::is_of_the_kernel(fstype) => {}
            _ => return no("file systems of the kernel are mounted when a container is made"),
        }
        out.push(mount);
    }
    Ok((out, warnings))
}

/// Where something is taken away, the last first: of what was added alone.
///
/// # Errors
/// A mount of the configuration, which may hide something; no path.
pub fn removed(json: &[u8], config: &Config) -> Result<Vec<PathBuf>> {
    let linux = config.linux.as_ref();
    let configured = config.mounts.iter().map(|m| &m.destination);
    let hidden = linux.into_iter().flat_map(|l| l.masked_paths.iter().chain(&l.readonly_paths));
    let kept: Vec<PathBuf> =
        configured.chain(hidden).map(|p| mounts::clean(&Path::new("/").join(p))).collect();
    let mut out = Vec::new();
    for m in parse(json)? {
        let target = mounts::clean(&m.destination);
        if target == Path::new("/") || kept.contains(&target) {
            return Err(bad(
                format!("what is mounted on {} is the configuration's", shown(&target)),
                "only mounts that were added can be removed",
            )
            .with_kind(Kind::Refused));
        }
        out.push(target);
    }
    out.reverse();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_who_mounts_it_is_not_added() {
        let fails = |json: &str| added(json.as_bytes()).unwrap_err().to_string();
        for json in [
            r#"[{"destination":"/a","type":"proc"}]"#,
            r#"[{"destination":"/a","type":"sysfs"}]"#,
            r#"[{"destination":"/a","type":"cgroup2"}]"#,
            r#"[{"destination":"/","type":"tmpfs"}]"#,
            r#"[{"destination":"/a","type":"bind","source":"b"}]"#,
            r#"[{"destination":"/a","source":"/b","options":["bind","copy-symlink"]}]"#,
        ] {
            assert!(fails(json).contains("cannot be added"), "{json}");
        }
        assert!(fails(r#"{"a":1}"#).contains("the mounts"));
        assert!(fails(r#"[{"destination":"/proc/1","type":"tmpfs"}]"#).contains("/proc"));
        let good = r#"[{"destination":"/a","type":"tmpfs"},{"destination":"/b","type":"bind","source":"/c"}]"#;
        assert_eq!(added(good.as_bytes()).unwrap().0.len(), 2);
    }

    #[test]
    fn what_the_configuration_mounts_is_not_removed() {
        let config = super::super::parse(
            br#"{"ociVersion":"1.0.0","mounts":[{"destination":"/dev/"}],
            "linux":{"maskedPaths":["/proc/kcore"],"readonlyPaths":["etc"]}}"#,
        )
        .unwrap();
        let of =
            |path: &str| removed(format!(r#"[{{"destination":"{path}"}}]"#).as_bytes(), &config);
        for path in ["/", "/dev", "/x/../dev", "/proc/kcore", "/etc"] {
            assert_eq!(of(path).unwrap_err().kind(), Kind::Refused, "{path}");
        }
        let two = removed(br#"[{"destination":"/a"},{"destination":"/a/b"}]"#, &config).unwrap();
        assert_eq!(two, [Path::new("/a/b"), Path::new("/a")]);
    }
}
