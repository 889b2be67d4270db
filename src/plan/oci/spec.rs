//! The configuration as it is written: config.json of the runtime specification 1.3, Linux.
//!
//! Our own types where the oci-spec crate's are in the way: there an unknown capability fails the
//! whole parse where runc warns, and an absent list of capabilities becomes a default. Its types
//! stay for what is handed on whole (resources, the filter). A field that nobody here knows is
//! let pass, as the specification asks; the bytes of the file are kept beside the state.

#![forbid(unsafe_code)]
#![allow(missing_docs)] // the names are the specification's

use oci_spec::runtime::{LinuxResources, LinuxSeccomp};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `null` where a list or an object could be is none, as Go writes and reads it.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

macro_rules! spec {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$attr:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $(
                #[serde(default, deserialize_with = "or_default")]
                $(#[$attr])*
                pub $field: $type,
            )*
        }
    };
}

spec! {
    /// The whole.
    struct Config {
        oci_version: String,
        process: Option<Process>,
        root: Option<Root>,
        hostname: String,
        domainname: String,
        mounts: Vec<Mount>,
        hooks: Option<Hooks>,
        annotations: BTreeMap<String, String>,
        linux: Option<Linux>,
    }
}

spec! {
    /// `process`.
    struct Process {
        terminal: bool,
        console_size: Option<ConsoleSize>,
        user: User,
        args: Vec<String>,
        env: Vec<String>,
        cwd: String,
        capabilities: Option<Capabilities>,
        rlimits: Vec<Rlimit>,
        no_new_privileges: bool,
        apparmor_profile: String,
        oom_score_adj: Option<i32>,
        scheduler: Option<Scheduler>,
        selinux_label: String,
        io_priority: Option<IoPriority>,
        #[serde(rename = "execCPUAffinity")]
        exec_cpu_affinity: Option<CpuAffinity>,
    }
}

spec! {
    struct ConsoleSize { height: u16, width: u16, }
}

spec! {
    struct User {
        uid: u32,
        gid: u32,
        umask: Option<u32>,
        additional_gids: Vec<u32>,
    }
}

spec! {
    struct Capabilities {
        bounding: Vec<String>,
        effective: Vec<String>,
        inheritable: Vec<String>,
        permitted: Vec<String>,
        ambient: Vec<String>,
    }
}

spec! {
    struct Rlimit {
        #[serde(rename = "type")]
        kind: String,
        soft: u64,
        hard: u64,
    }
}

spec! {
    struct Scheduler {
        policy: String,
        nice: i32,
        priority: i32,
        flags: Vec<String>,
        runtime: Option<u64>,
        deadline: Option<u64>,
        period: u64,
    }
}

spec! {
    struct IoPriority { class: String, priority: i64, }
}

spec! {
    struct CpuAffinity { initial: String, r#final: String, }
}

spec! {
    struct Root { path: PathBuf, readonly: bool, }
}

spec! {
    struct Mount {
        destination: PathBuf,
        #[serde(rename = "type")]
        kind: String,
        source: PathBuf,
        options: Vec<String>,
        uid_mappings: Vec<IdMapping>,
        gid_mappings: Vec<IdMapping>,
    }
}

spec! {
    struct Hooks {
        prestart: Vec<Hook>,
        create_runtime: Vec<Hook>,
        create_container: Vec<Hook>,
        start_container: Vec<Hook>,
        poststart: Vec<Hook>,
        poststop: Vec<Hook>,
    }
}

spec! {
    struct Hook {
        path: PathBuf,
        args: Vec<String>,
        env: Option<Vec<String>>,
        timeout: Option<i64>,
    }
}

spec! {
    struct IdMapping {
        #[serde(rename = "containerID")]
        container_id: u32,
        #[serde(rename = "hostID")]
        host_id: u32,
        size: u32,
    }
}

spec! {
    struct Namespace {
        #[serde(rename = "type")]
        kind: String,
        path: PathBuf,
    }
}

spec! {
    struct NetDevice {
        name: String,
    }
}

spec! {
    struct Device {
        path: PathBuf,
        #[serde(rename = "type")]
        kind: String,
        major: i64,
        minor: i64,
        file_mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    }
}

spec! {
    struct TimeOffset { secs: i64, nanosecs: u32, }
}

spec! {
    struct Personality { domain: String, flags: Vec<String>, }
}

spec! {
    struct MemoryPolicy { mode: String, nodes: String, flags: Vec<String>, }
}

spec! {
    /// `linux`.
    struct Linux {
        uid_mappings: Vec<IdMapping>,
        gid_mappings: Vec<IdMapping>,
        sysctl: BTreeMap<String, String>,
        resources: Option<LinuxResources>,
        cgroups_path: String,
        namespaces: Vec<Namespace>,
        devices: Vec<Device>,
        net_devices: BTreeMap<String, NetDevice>,
        seccomp: Option<LinuxSeccomp>,
        rootfs_propagation: String,
        masked_paths: Vec<PathBuf>,
        readonly_paths: Vec<PathBuf>,
        mount_label: String,
        intel_rdt: Option<serde_json::Value>,
        personality: Option<Personality>,
        time_offsets: BTreeMap<String, TimeOffset>,
        memory_policy: Option<MemoryPolicy>,
    }
}

impl Config {
    /// Whether it has a new mount namespace.
    #[must_use]
    pub fn owns_mounts(&self) -> bool {
        let list = self.linux.iter().flat_map(|l| &l.namespaces);
        list.into_iter().any(|n| n.kind == "mount" && n.path.as_os_str().is_empty())
    }

    /// Whether it asks for a label of a security module.
    #[must_use]
    pub fn has_label(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|p| !p.apparmor_profile.is_empty() || !p.selinux_label.is_empty())
            || self.linux.as_ref().is_some_and(|l| !l.mount_label.is_empty())
    }
}
