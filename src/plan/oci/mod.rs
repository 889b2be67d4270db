//! The second front door: config.json of the OCI runtime specification becomes a plan.
//!
//! PURE, as all of the plan. Whatever makes no sense is one error, before anything is made; what
//! runc lets pass with a warning is a warning.

#![forbid(unsafe_code)]

pub mod amend;
pub mod annotations;
pub mod exec;
mod mounts;
mod namespaces;
mod netdevices;
pub mod outside;
mod own;
mod process;
mod scheduler;
pub mod spec;
mod steps;
pub(crate) mod sysctl;

use super::detail::{Details, Hook, Hooks, Keyring, Lifetime, NamespaceKind, RootChange};
use super::facts::Facts;
use super::ids::IdMap;
use super::values::quote;
use super::{Namespaces, Plan, Resources, Root, RootSource, Supervision};
use crate::error::{Error, Kind, Result};
pub use own::{Own, own};
use spec::Config;
use std::path::Path;
use std::time::Duration;

/// All mount options that are not the file system's, sorted.
#[must_use]
pub fn mount_options() -> Vec<String> {
    mounts::known()
}

/// Longest configuration, bytes.
pub const MAX_CONFIG: u64 = 16 << 20;

/// Most entries of one of its lists: more than anybody has, and few enough to be looked at.
const MOST: usize = 10_000;

/// What else is asked for and known.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle, an absolute path.
    pub bundle: &'a Path,
    /// Whether the root is changed by chroot.
    pub no_pivot: bool,
    /// Whether the caller's session keyring is kept.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on stay open.
    pub preserved_fds: u32,
    /// Whether the host has AppArmor.
    pub apparmor: bool,
    /// Whether the host has SELinux.
    pub selinux: bool,
    /// Whether the caller is in a user namespace, where no device node can be made.
    pub in_user_namespace: bool,
    /// Whether the host's resctrl is mounted.
    pub resctrl: bool,
    /// Whether the host has a /proc/kcore.
    pub kcore: bool,
}

fn bad(message: impl Into<String>, hint: &str) -> Error {
    Error::new(Kind::InvalidConfig, message).hint(hint)
}

fn shown(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

fn maps(list: &[spec::IdMapping]) -> Vec<IdMap> {
    list.iter()
        .map(|m| IdMap { inside: m.container_id, outside: m.host_id, count: m.size })
        .collect()
}

/// Reads a configuration.
///
/// # Errors
/// It is no JSON, or a field of it is of another type; the message says which and where.
pub fn parse(json: &[u8]) -> Result<Config> {
    if json.len() as u64 > MAX_CONFIG {
        return Err(bad(
            format!("config.json has {} bytes", json.len()),
            "16 MiB are more than any configuration needs",
        ));
    }
    object("config.json", json)?;
    serde_json::from_slice(json).map_err(|e| {
        let text: String = e.to_string().chars().take(300).collect();
        bad(format!("config.json: {}", text.escape_debug()), "see the OCI runtime specification")
    })
}

/// serde takes a list for the fields of an object, in their order.
fn object(what: &str, json: &[u8]) -> Result<()> {
    if json.trim_ascii_start().first() == Some(&b'{') {
        return Ok(());
    }
    Err(bad(format!("{what} is no JSON object"), "it begins with {"))
}

/// The plan of a configuration on this host, and what has no effect of it.
///
/// # Errors
/// The configuration makes no sense, or not on this host.
pub fn plan(config: &Config, facts: &Facts, asked: &Asked<'_>) -> Result<(Plan, Vec<String>)> {
    let mut warnings = Vec::new();
    version(&config.oci_version)?;
    let empty = spec::Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&empty);
    let process = config.process.as_ref().ok_or_else(|| {
        bad("config.json has no process", "say what is to be run: process.args and process.cwd")
    })?;
    sizes(config, linux)?;
    unsupported(linux, asked)?;
    let (namespaces, spaces) = namespaces::plan(config, linux, facts)?;
    let notes = annotations::read(&config.annotations, &mut warnings)?;
    let root = root(config, asked)?;
    foreign_mounts(linux, &root, &spaces, &mut warnings)?;
    let propagation = match linux.rootfs_propagation.as_str() {
        "" => None,
        name => Some(mounts::propagation(name).ok_or_else(|| {
            bad(
                format!("rootfsPropagation {} is none", quote(name)),
                "it is one of private, slave, shared and unbindable, with an r in front for all below",
            )
        })?),
    };
    let job = process::plan(process, linux, &notes, facts, asked, &mut warnings)?;
    let steps = steps::steps(config, linux, asked, &spaces, &notes, process, &mut warnings)?;
    let plan = Plan {
        id: asked.id.to_owned(),
        hostname: config.hostname.clone(),
        root,
        pool: None,
        steps,
        process: job.process,
        landlock: None,
        resources: Resources { allow_degraded: true, ..Resources::default() },
        supervision: Supervision { wall: None, cpu: None, output: None, stop: None },
        details: Details {
            shared: spaces.shared.clone(),
            joined: spaces.joined.clone(),
            time_offsets: namespaces::time_offsets(linux, &namespaces, notes.time_offset)?,
            domainname: Some(config.domainname.clone()).filter(|d| !d.is_empty()),
            sysctls: sysctl::plan(&linux.sysctl, config, &spaces)?,
            net_devices: netdevices::plan(&linux.net_devices, facts, asked, &spaces)?,
            keyring: if asked.no_new_keyring {
                Keyring::Inherited
            } else {
                Keyring::Named(format!("_ses.{}", asked.id))
            },
            hooks: hooks(config)?,
            tuning: job.tuning,
            terminal: job.terminal,
            lifetime: Lifetime::Detached,
            preserved_fds: asked.preserved_fds,
            root_change: match (spaces.is_new(NamespaceKind::Mount), asked.no_pivot) {
                (false, _) => RootChange::InPlace,
                (true, true) => RootChange::Chroot,
                (true, false) => RootChange::Pivot,
            },
            root_propagation: propagation.filter(|p| p.flag != mounts::PRIVATE),
            exec_labels: job.labels,
            rootfs_in_place: true,
        },
        namespaces,
    };
    Ok((plan, warnings))
}

/// `1.x.y`, with whatever behind: a later minor version adds what can be let pass.
fn version(version: &str) -> Result<()> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let number = |n: &&str| !n.is_empty() && n.len() < 6 && n.bytes().all(|b| b.is_ascii_digit());
    if numbers.len() == 3 && numbers.iter().all(number) && numbers.first() == Some(&"1") {
        return Ok(());
    }
    let short: String = version.chars().take(40).collect();
    Err(bad(
        format!("ociVersion {} is no version 1.x.y of the specification", quote(&short)),
        "stockade reads configurations of the versions 1.0 to 1.3",
    ))
}

fn sizes(config: &Config, linux: &spec::Linux) -> Result<()> {
    let lists = [
        ("mounts", config.mounts.len()),
        ("linux.uidMappings", linux.uid_mappings.len()),
        ("linux.gidMappings", linux.gid_mappings.len()),
        ("linux.devices", linux.devices.len()),
        ("linux.maskedPaths", linux.masked_paths.len()),
        ("linux.readonlyPaths", linux.readonly_paths.len()),
        ("linux.sysctl", linux.sysctl.len()),
        ("linux.namespaces", linux.namespaces.len()),
        ("linux.netDevices", linux.net_devices.len()),
    ];
    match lists.iter().find(|(_, n)| *n > MOST) {
        None => Ok(()),
        Some((name, n)) => {
            Err(bad(format!("{name} has {n} entries"), "10,000 are the most that are looked at"))
        }
    }
}

/// What the specification has and this runtime does not do: said, and not left out.
fn unsupported(linux: &spec::Linux, asked: &Asked<'_>) -> Result<()> {
    let no = |what: &str| {
        Err(Error::new(Kind::Unsupported, format!("{what} is not supported"))
            .hint("take it out of config.json"))
    };
    let given = |v: &serde_json::Value| v.as_object().is_none_or(|o| !o.is_empty());
    if linux.intel_rdt.as_ref().is_some_and(given) {
        if asked.resctrl {
            return no("linux.intelRdt");
        }
        return Err(Error::new(
            Kind::Unsupported,
            "intelRdt is specified in config, but Intel RDT is not enabled",
        )
        .hint("no resctrl is mounted on /sys/fs/resctrl: take linux.intelRdt out of config.json"));
    }
    Ok(())
}

fn root(config: &Config, asked: &Asked<'_>) -> Result<Root> {
    let root = config
        .root
        .as_ref()
        .filter(|r| !r.path.as_os_str().is_empty())
        .ok_or_else(|| bad("config.json has no root.path", "name the root file system"))?;
    Ok(Root {
        source: RootSource::Directory(asked.bundle.join(&root.path)),
        read_only: root.readonly,
        idmap: false,
        guarded: false,
    })
}

/// A container in somebody else's mount namespace, the host's if none is named: it is told, and what
/// makes no sense there is an error.
fn foreign_mounts(
    linux: &spec::Linux,
    root: &Root,
    spaces: &namespaces::Spaces,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if spaces.is_new(NamespaceKind::Mount) {
        return Ok(());
    }
    let hint = "add {\"type\": \"mount\"} to linux.namespaces: its mounts are the host's";
    let joined = spaces.is_private(NamespaceKind::Mount);
    let restricted = !linux.masked_paths.is_empty() || !linux.readonly_paths.is_empty();
    if !joined && restricted {
        // runc's words, and its answer.
        let text = "unable to restrict sys entries without a private MNT namespace";
        return Err(bad(text, hint));
    }
    if !joined && spaces.user {
        return Err(bad("a user namespace has no rights over the host's mounts", hint));
    }
    let RootSource::Directory(path) = &root.source else { return Ok(()) };
    let whose = if joined { "those of the mount namespace that it joins" } else { "the host's" };
    warnings.push(format!(
        "the container has no mount namespace of its own: its mounts below {} are {whose} and stay \
         there when it is deleted, and who has CAP_SYS_CHROOT in it can leave its root",
        shown(path)
    ));
    Ok(())
}

fn hooks(config: &Config) -> Result<Hooks> {
    let Some(h) = &config.hooks else { return Ok(Hooks::default()) };
    let list = |name: &str, hooks: &[spec::Hook]| -> Result<Vec<Hook>> {
        hooks.iter().map(|hook| self::hook(name, hook)).collect()
    };
    Ok(Hooks {
        prestart: list("prestart", &h.prestart)?,
        create_runtime: list("createRuntime", &h.create_runtime)?,
        create_container: list("createContainer", &h.create_container)?,
        start_container: list("startContainer", &h.start_container)?,
        poststart: list("poststart", &h.poststart)?,
        poststop: list("poststop", &h.poststop)?,
    })
}

fn hook(name: &str, h: &spec::Hook) -> Result<Hook> {
    if !h.path.is_absolute() {
        return Err(bad(
            format!("the {name} hook {} has no absolute path", shown(&h.path)),
            "begin it with /",
        ));
    }
    let timeout = match h.timeout {
        None => None,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Some(Duration::from_secs(seconds)),
            _ => {
                return Err(bad(
                    format!("the {name} hook {} has the timeout {seconds}", shown(&h.path)),
                    "a timeout is a number of seconds above 0",
                ));
            }
        },
    };
    Ok(Hook {
        path: h.path.clone(),
        args: h.args.clone(),
        env: h.env.clone().unwrap_or_default(),
        timeout,
    })
}

/// The hooks of a configuration, for a container that exists.
///
/// # Errors
/// One makes no sense.
pub fn hooks_of(config: &Config) -> Result<Hooks> {
    hooks(config)
}

/// Used by the namespaces' part.
fn new_namespaces(user: Option<super::UserNamespace>, spaces: &namespaces::Spaces) -> Namespaces {
    Namespaces {
        user,
        network: spaces.is_new(NamespaceKind::Network),
        time: spaces.is_new(NamespaceKind::Time),
    }
}

#[cfg(test)]
mod tests;
