//! System controls: only those that belong to a namespace, and only if that is the container's.

#![forbid(unsafe_code)]

use super::namespaces::Spaces;
use super::{bad, spec};
use crate::error::{Kind, Result};
use crate::plan::detail::NamespaceKind;
use crate::plan::values::quote;
use std::collections::BTreeMap;

/// Keys, or what keys begin with, and the namespace that they are of (CVE-2022-0811).
const OF_A_NAMESPACE: &[(&str, NamespaceKind)] = &[
    ("kernel/msgmax", NamespaceKind::Ipc),
    ("kernel/msgmnb", NamespaceKind::Ipc),
    ("kernel/msgmni", NamespaceKind::Ipc),
    ("kernel/sem", NamespaceKind::Ipc),
    ("kernel/shmall", NamespaceKind::Ipc),
    ("kernel/shmmax", NamespaceKind::Ipc),
    ("kernel/shmmni", NamespaceKind::Ipc),
    ("kernel/shm_rmid_forced", NamespaceKind::Ipc),
    ("fs/mqueue/", NamespaceKind::Ipc),
    ("net/", NamespaceKind::Network),
    ("kernel/domainname", NamespaceKind::Uts),
    ("user/", NamespaceKind::User),
];

/// As a path below /proc/sys. sysctl(8) takes dots or slashes as separators, whichever comes first;
/// the other one is then part of a name, such as that of a VLAN's interface.
fn path(key: &str) -> Option<String> {
    let path = match key.find(['.', '/']) {
        Some(at) if key.as_bytes().get(at) == Some(&b'.') => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => key.to_owned(),
    };
    let name = |n: &str| !n.is_empty() && n != "." && n != ".." && !n.contains(['\0', '\n']);
    (path.contains('/') && path.len() < 1024 && path.split('/').all(name)).then_some(path)
}

/// The namespace that a path below /proc/sys is about, if it is about one.
pub(crate) fn namespace_of(path: &str) -> Option<NamespaceKind> {
    let is = |prefix: &str| {
        if prefix.ends_with('/') { path.starts_with(prefix) } else { path == prefix }
    };
    OF_A_NAMESPACE.iter().find(|(prefix, _)| is(prefix)).map(|(_, kind)| *kind)
}

pub(super) fn plan(
    list: &BTreeMap<String, String>,
    config: &spec::Config,
    spaces: &Spaces,
) -> Result<Vec<(String, String)>> {
    let mut out = Vec::with_capacity(list.len());
    for (key, value) in list {
        let refused = |why: &str, hint: &str| {
            bad(format!("sysctl {} {why}", quote(key)), hint).with_kind(Kind::Refused)
        };
        let path = path(key).ok_or_else(|| refused("is no name of one", "write it net.core.x"))?;
        if path == "kernel/hostname"
            || (path == "kernel/domainname"
                && !config.domainname.is_empty()
                && config.domainname != *value)
        {
            return Err(refused(
                "is in the way of the name that config.json gives",
                "use the fields hostname and domainname",
            ));
        }
        let Some(kind) = namespace_of(&path) else {
            return Err(refused(
                "is not in a separate kernel namespace",
                "it would be the whole host's: set it there",
            ));
        };
        if !spaces.is_private(kind) {
            return Err(refused(
                &format!("needs a {} namespace of the container's own", kind.name()),
                "it would be the whole host's: add the namespace, or set it on the host",
            ));
        }
        if value.len() > 4096 || value.contains('\0') {
            return Err(refused("has a value that is too long", "4096 bytes are the most"));
        }
        out.push((path, value.clone()));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t35_a_key_is_a_path_below_proc_sys_and_nothing_else() {
        for (key, expected) in [
            ("net.core.somaxconn", Some("net/core/somaxconn")),
            ("net/core/somaxconn", Some("net/core/somaxconn")),
            ("net.ipv4.conf.eth0/1.x", Some("net/ipv4/conf/eth0.1/x")),
            ("net/ipv4/conf/eth0.1/x", Some("net/ipv4/conf/eth0.1/x")),
            ("net/../kernel/core_pattern", None),
            ("net./.kernel", None),
            ("net..x", None),
            (".x", None),
            ("/net/x", None),
            ("net", None),
            ("", None),
        ] {
            assert_eq!(path(key).as_deref(), expected, "{key:?}");
        }
    }
}
