//! Whether this is inside a container, and by which signs. Told, and relied on for nothing.

#![forbid(unsafe_code)]

use super::report::{Findings, Need, Row, Sign, State, printable};
use super::settings::{Settings, text};
use crate::plan::formats::cgroup;
use crate::plan::values::{escape_bytes, quote};
use std::path::Path;

/// Files that a container manager leaves.
const FILES: [(&str, &str); 5] = [
    ("/.dockerenv", "docker"),
    ("/run/.containerenv", "podman"),
    ("/run/host/container-manager", "systemd-nspawn"),
    ("/var/run/secrets/kubernetes.io", "kubernetes"),
    ("/.flatpak-info", "flatpak"),
];

/// Parts of cgroup paths that container managers make.
const CGROUPS: [(&str, &str); 7] = [
    ("kubepods", "kubernetes"),
    ("docker", "docker"),
    ("libpod", "podman"),
    ("cri-containerd", "containerd"),
    ("lxc", "lxc"),
    ("garden", "garden"),
    ("machine.slice", "systemd-nspawn"),
];

pub(super) fn signs() -> Vec<Sign> {
    let mut signs = Vec::new();
    let mut add = |kind: &str, sign: String| {
        signs.push(Sign { kind: printable(kind), sign: printable(&sign) });
    };
    for (path, kind) in FILES {
        if Path::new(path).exists() {
            add(kind, format!("{path} is there"));
        }
    }
    if let Some(kind) = container_variable(text("/proc/1/environ").as_bytes()) {
        add(&kind, format!("PID 1 has container={}", quote(&kind)));
    }
    let written = text("/run/systemd/container");
    if !written.trim().is_empty() {
        let kind = written.trim();
        add(kind, format!("/run/systemd/container says {}", quote(kind)));
    }
    for file in ["/proc/self/cgroup", "/proc/1/cgroup"] {
        if let Some((kind, path)) = of_cgroup(text(file).as_bytes()) {
            add(kind, format!("the cgroup {} in {file}", quote(&path)));
            break;
        }
    }
    signs
}

/// `container=` of an environment.
fn container_variable(environ: &[u8]) -> Option<String> {
    let value = environ.split(|b| *b == 0).find_map(|v| v.strip_prefix(b"container="))?;
    (!value.is_empty()).then(|| String::from_utf8_lossy(value).into_owned())
}

/// The first path that a container manager made.
fn of_cgroup(file: &[u8]) -> Option<(&'static str, String)> {
    let parsed = cgroup::parse(file).ok()?;
    parsed.v1.iter().map(|v| v.path).chain(parsed.v2).find_map(|path| {
        let path = escape_bytes(path);
        let (_, kind) = CGROUPS.iter().find(|(part, _)| path.contains(part))?;
        Some((*kind, path))
    })
}

pub(super) fn look(found: &mut Findings, host: &Settings) {
    let row = if found.signs.is_empty() {
        Row::no(Need::Info, "no sign of one")
    } else {
        let all: Vec<&str> = found.signs.iter().map(|s| s.sign.as_str()).collect();
        Row::yes(Need::Info, all.join("; "))
    };
    found.add("container", "inside one", row);
    let whole = host.uid_map.iter().any(|m| m.inside == 0 && m.count == u32::MAX);
    let row = match (host.uid_map.is_empty(), whole) {
        (true, _) => Row::new(State::Unknown, Need::Info, "/proc/self/uid_map cannot be read"),
        (_, true) => Row::no(Need::Info, "this user namespace has all ids"),
        _ => {
            let ids: u64 = host.uid_map.iter().map(|m| u64::from(m.count)).sum();
            Row::yes(Need::Info, format!("this user namespace has fewer ids than all: {ids}"))
        }
    };
    found.add("container", "inside a user namespace", row);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t41_what_pid_1_calls_its_container_is_escaped() {
        let environ = b"PATH=/bin\0container=evil\x1b[2J\nx\0HOME=/\0";
        let kind = container_variable(environ).unwrap();
        assert_eq!(printable(&kind), "evil\\u{1b}[2J\\nx");
        assert_eq!(container_variable(b"xcontainer=a\0container=\0"), None);
    }

    #[test]
    fn a_cgroup_path_tells_the_manager() {
        let file = b"9:pids:/user.slice\n0::/kubepods/besteffort/pod1/abc\n";
        assert_eq!(of_cgroup(file).unwrap().0, "kubernetes");
        assert_eq!(of_cgroup(b"3:cpu:/docker/abc\n").unwrap().0, "docker");
        assert!(of_cgroup(b"0::/user.slice/session.scope\n").is_none());
    }
}
