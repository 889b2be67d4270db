//! The host view: the root file system that a jail has when none is given.
//!
//! The host's programs and libraries, read-only, and of /etc only what programs need to start.
//! Nothing else of the host: no home, no /root, /var, /run, /etc/shadow, no socket.

#![forbid(unsafe_code)]

use super::facts::Facts;
use super::{Attrs, BindIds, Existing, Expect, MountStep};
use std::path::PathBuf;

/// Top-level names of the host that hold programs and libraries. The host probe looks which
/// are there and which are symlinks into /usr.
pub const TOPLEVEL: &[&str] = &["usr", "bin", "sbin", "lib", "lib64", "lib32", "libx32", "libexec"];

/// Names in the host's /etc that programs read at start-up and that hold no secret.
pub const ETC: &[&str] = &[
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ssl/certs",
    "ssl/openssl.cnf",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "crypto-policies",
    "localtime",
    "timezone",
    "mime.types",
];

/// What the host view needs to know of the job.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Its user id inside.
    pub uid: u32,
    /// Its group id inside.
    pub gid: u32,
    /// The host name inside.
    pub hostname: &'a str,
    /// Whether it has the host's network.
    pub host_network: bool,
}

/// The steps that fill an empty root with the host view.
#[must_use]
pub fn steps(facts: &Facts, job: &Job<'_>) -> Vec<MountStep> {
    let Job { uid, gid, hostname, host_network } = *job;
    let mut steps = Vec::with_capacity(48);
    for (name, link) in &facts.toplevel {
        let target = PathBuf::from(format!("/{name}"));
        steps.push(match link {
            Some(to) => MountStep::Symlink { target, to: to.clone(), existing: Existing::Refuse },
            None => bind(format!("/{name}")),
        });
    }
    steps.push(MountStep::Directory { target: "/etc".into(), mode: 0o755 });
    for name in ETC {
        steps.push(bind(format!("/etc/{name}")));
    }
    for (name, contents) in made_up(uid, gid, hostname) {
        // With the host's network its name servers are right, and ours, which are none, are not.
        if host_network && name == "resolv.conf" {
            steps.push(bind("/etc/resolv.conf".to_owned()));
            continue;
        }
        steps.push(MountStep::File {
            target: format!("/etc/{name}").into(),
            mode: 0o644,
            contents,
        });
    }
    steps
}

fn bind(path: String) -> MountStep {
    MountStep::Bind {
        source: path.clone().into(),
        target: path.into(),
        attrs: Attrs::SAFE.read_only(),
        ids: BindIds::Plain,
        expect: Expect::FileOrDirectory,
        optional: true,
    }
}

/// Files of /etc that are ours and say nothing of the host.
fn made_up(uid: u32, gid: u32, hostname: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut passwd = String::from("root:x:0:0:root:/work:/bin/sh\n");
    let mut group = String::from("root:x:0:\ntty:x:5:\n");
    if ![0, 65_534].contains(&uid) {
        passwd.push_str(&format!("jail:x:{uid}:{gid}:jail:/work:/bin/sh\n"));
    }
    if ![0, 5, 65_534].contains(&gid) {
        group.push_str(&format!("jail:x:{gid}:\n"));
    }
    passwd.push_str("nobody:x:65534:65534:nobody:/work:/bin/sh\n");
    group.push_str("nogroup:x:65534:\n");
    let hosts = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{hostname}\n"
    );
    vec![
        ("passwd", passwd.into_bytes()),
        ("group", group.into_bytes()),
        ("hosts", hosts.into_bytes()),
        ("hostname", format!("{hostname}\n").into_bytes()),
        // A name server that does not answer would make every look-up wait: with none listed
        // the C library asks 127.0.0.1, where nothing listens, and fails at once.
        ("resolv.conf", b"options timeout:1 attempts:1\n".to_vec()),
        ("nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n".to_vec()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_files_name_the_jobs_user_once() {
        let files = made_up(1001, 1002, "box");
        let text = |n: &str| {
            String::from_utf8(files.iter().find(|(f, _)| *f == n).unwrap().1.clone()).unwrap()
        };
        assert!(text("passwd").contains("jail:x:1001:1002:"));
        assert!(text("group").contains("jail:x:1002:"));
        assert_eq!(text("hostname"), "box\n");
        let nobody = made_up(65_534, 65_534, "box");
        assert!(!String::from_utf8_lossy(&nobody[0].1).contains("jail"));
    }

    #[test]
    fn nothing_of_etc_that_holds_a_secret_is_shown() {
        for secret in ["shadow", "gshadow", "ssl/private", "ssh", "sudoers", "passwd", "machine-id"]
        {
            assert!(!ETC.contains(&secret));
        }
    }
}
