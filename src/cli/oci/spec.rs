//! `spec`: writes a config.json to begin with, the one that runc writes.

#![forbid(unsafe_code)]

use super::args::Parsed;
use super::json::{Json, object, texts};
use super::{SPEC_VERSION, path_error};
use crate::error::{Error, Kind, Result};
use crate::sys::cred;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes it.
///
/// # Errors
/// A file that is there already; a directory that is not, or cannot be written.
pub(super) fn run(parsed: &Parsed) -> Result<u8> {
    let bundle = parsed.path("bundle").unwrap_or_else(|| PathBuf::from("."));
    let rootless = parsed.on("rootless").then(|| (cred::euid(), cred::egid()));
    let text = config(rootless, own_cgroup_namespace()).indented("\t");
    let path = bundle.join("config.json");
    let refuse = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Error::new(
            Kind::Exists,
            format!("File {} exists. Remove it first", shown(parsed, &path).display()),
        ),
        _ => path_error("write", &path, e),
    };
    // Exclusively, so that nothing is overwritten, not even what comes in between.
    let mut file = std::fs::File::create_new(&path).map_err(refuse)?;
    file.write_all(text.as_bytes()).map_err(|e| path_error("write", &path, e))?;
    Ok(0)
}

fn shown<'a>(parsed: &Parsed, path: &'a Path) -> &'a Path {
    if parsed.given("bundle") { path } else { Path::new("config.json") }
}

/// Whether the host is one of cgroup v2 alone, where containers see a tree of their own.
fn own_cgroup_namespace() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The configuration; `rootless`: for this user and group.
fn config(rootless: Option<(u32, u32)>, cgroup_namespace: bool) -> Json {
    let caps = || texts(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let process = object([
        ("terminal", true.into()),
        ("user", object([("uid", 0u32.into()), ("gid", 0u32.into())])),
        ("args", texts(["sh"])),
        (
            "env",
            texts([
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ]),
        ),
        ("cwd", "/".into()),
        (
            "capabilities",
            object([("bounding", caps()), ("effective", caps()), ("permitted", caps())]),
        ),
        (
            "rlimits",
            Json::List(vec![object([
                ("type", "RLIMIT_NOFILE".into()),
                ("hard", 1024u64.into()),
                ("soft", 1024u64.into()),
            ])]),
        ),
        ("noNewPrivileges", true.into()),
    ]);
    object([
        ("ociVersion", SPEC_VERSION.into()),
        ("process", process),
        ("root", object([("path", "rootfs".into()), ("readonly", true.into())])),
        ("hostname", "runc".into()),
        ("mounts", mounts(rootless.is_some())),
        ("linux", linux(rootless, cgroup_namespace)),
    ])
}

fn linux(rootless: Option<(u32, u32)>, cgroup_namespace: bool) -> Json {
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    if cgroup_namespace {
        namespaces.push("cgroup");
    }
    let mut entries: Vec<(&str, Json)> = Vec::new();
    match rootless {
        Some((uid, gid)) => {
            namespaces.retain(|n| *n != "network");
            namespaces.push("user");
            let map = |id: u32| {
                Json::List(vec![object([
                    ("containerID", 0u32.into()),
                    ("hostID", id.into()),
                    ("size", 1u32.into()),
                ])])
            };
            entries.push(("uidMappings", map(uid)));
            entries.push(("gidMappings", map(gid)));
        }
        None => {
            let none = object([("allow", false.into()), ("access", "rwm".into())]);
            entries.push(("resources", object([("devices", Json::List(vec![none]))])));
        }
    }
    let namespaces = namespaces.into_iter().map(|n| object([("type", n.into())])).collect();
    entries.push(("namespaces", Json::List(namespaces)));
    entries.push(("maskedPaths", texts(MASKED)));
    entries.push(("readonlyPaths", texts(READ_ONLY)));
    Json::Object(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn mounts(rootless: bool) -> Json {
    // devpts for group tty, which the one mapped id of an ordinary user cannot be.
    let pts: &[&str] = if rootless {
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    } else {
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    };
    // The host's network namespace owns sysfs: only root may mount one.
    let sys: (&str, &str, &[&str]) = if rootless {
        ("none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"])
    } else {
        ("sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])
    };
    let rest = &["nosuid", "noexec", "nodev"];
    let table: [(&str, &str, &str, &[&str]); 7] = [
        ("/proc", "proc", "proc", &[]),
        ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", pts),
        ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", rest),
        ("/sys", sys.0, sys.1, sys.2),
        ("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ];
    let one = |(destination, kind, source, options): &(&str, &str, &str, &[&str])| {
        let mut entries = vec![
            ("destination".to_owned(), (*destination).into()),
            ("type".to_owned(), (*kind).into()),
            ("source".to_owned(), (*source).into()),
        ];
        if !options.is_empty() {
            entries.push(("options".to_owned(), texts(*options)));
        }
        Json::Object(entries)
    };
    Json::List(table.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_s_types_read_it() {
        for (rootless, cgroup) in [(None, false), (Some((1000, 100)), true)] {
            let text = config(rootless, cgroup).line();
            let spec: oci_spec::runtime::Spec = serde_json::from_str(&text).unwrap();
            assert_eq!(spec.version(), SPEC_VERSION);
            let linux = spec.linux().as_ref().unwrap();
            assert_eq!(linux.uid_mappings().is_some(), rootless.is_some());
            assert_eq!(linux.resources().is_some(), rootless.is_none());
            assert_eq!(linux.namespaces().as_ref().unwrap().len(), if cgroup { 6 } else { 5 });
            assert_eq!(spec.mounts().as_ref().unwrap().len(), 7);
        }
    }
}
