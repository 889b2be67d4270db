//! The jail's front door: what one run may do, and the plan that follows from it.

#![forbid(unsafe_code)]

use super::facts::Facts;
use super::ids;
use super::rlimits::{self, Rlimit};
use super::{
    Namespaces, Plan, Pool, Process, Resources, Root, RootSource, Supervision, filter, hostview,
    landlock, mounts,
};
use crate::error::Result;
use std::path::PathBuf;
use std::time::Duration;

/// What one run may do. The defaults are those of `stockade jail`.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields carry the names of the options, which docs/jail.md explains
pub struct Policy {
    pub command: Vec<String>,
    pub rootfs: Option<PathBuf>,
    /// Bytes; `None`: unlimited.
    pub memory: Option<u64>,
    pub swap: Swap,
    /// Microseconds of CPU time per 100 ms; `None`: unlimited.
    pub cpu_quota_us: Option<u64>,
    pub cpu_shares: Option<u64>,
    pub cpuset: Option<String>,
    pub pids: Option<u64>,
    pub timeout: Option<Duration>,
    pub cpu_time: Option<Duration>,
    pub output_limit: Option<u64>,
    pub disk: u64,
    pub inodes: Option<u64>,
    pub ulimits: Vec<Rlimit>,
    pub shm_size: Option<u64>,
    pub read_only: bool,
    pub tmpfs: Vec<Tmpfs>,
    pub volumes: Vec<Volume>,
    pub network: Network,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub no_new_privs: bool,
    pub seccomp: SeccompChoice,
    pub landlock: LandlockChoice,
    /// Whether the system calls that the filter denies are counted and told.
    pub trace_denied: bool,
    /// Computation only.
    pub restricted: Option<Restricted>,
    /// `KEY=value`.
    pub env: Vec<String>,
    pub workdir: Option<String>,
    pub hostname: Option<String>,
    pub userns: bool,
    pub time_ns: bool,
    /// Whether the job may make namespaces of its own, as sandboxes inside a jail do.
    pub nested_userns: bool,
    pub init: bool,
    pub tty: bool,
    /// Sent at a time limit, before SIGKILL.
    pub stop_signal: Option<i32>,
    pub stop_timeout: Duration,
    pub cgroup_parent: Option<String>,
    pub id: Option<String>,
    pub allow_degraded: bool,
    /// Ids of volumes and the rootfs as the kernel shows them, without id-mapped mounts.
    pub no_idmap: bool,
    /// A file that the jail has in /script, read-only.
    pub script: Option<Script>,
}

/// A script whose bytes are known: the job gets these and no file of the host, so what was
/// checked is what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its name in /script.
    pub name: String,
    /// What is in it.
    pub contents: Vec<u8>,
}

impl Script {
    /// Where it is in the jail.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", mounts::SCRIPT, self.name)
    }
}

/// How much may be swapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// None: memory and swap together are the memory limit.
    None,
    /// This many bytes of memory and swap together.
    Total(u64),
    /// As much as there is.
    Unlimited,
}

/// The network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own with nothing but `lo`.
    None,
    /// The caller's network namespace.
    Host,
}

/// Which filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeccompChoice {
    /// profiles/seccomp-default.json.
    Default,
    /// A profile in Docker's or the OCI's JSON form: its name, its text.
    Profile(String, Vec<u8>),
    /// None.
    Unconfined,
}

/// Whether Landlock is one of the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LandlockChoice {
    /// As far as the kernel has it.
    Auto,
    /// In full, or the run ends before the job starts.
    Required,
    /// No.
    Off,
}

/// A job that computes: no further program, no process, no socket, no writable file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restricted {
    /// Whether the job may start threads.
    pub threads: bool,
}

/// A tmpfs that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the mount options of Docker's --tmpfs
pub struct Tmpfs {
    pub target: PathBuf,
    /// Bytes; `None`: it shares the pool.
    pub size: Option<u64>,
    pub inodes: Option<u64>,
    pub mode: u32,
    pub exec: bool,
    pub read_only: bool,
}

/// A file or directory of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // src:dst:options
pub struct Volume {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
    pub idmap: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            command: Vec::new(),
            rootfs: None,
            memory: Some(512 << 20),
            swap: Swap::None,
            cpu_quota_us: Some(super::CPU_PERIOD_US),
            cpu_shares: None,
            cpuset: None,
            pids: Some(64),
            timeout: Some(Duration::from_secs(30 * 60)),
            cpu_time: None,
            output_limit: Some(10 << 20),
            disk: 1 << 30,
            inodes: None,
            ulimits: Vec::new(),
            shm_size: None,
            read_only: true,
            tmpfs: Vec::new(),
            volumes: Vec::new(),
            network: Network::None,
            uid: 65_534,
            gid: 65_534,
            groups: Vec::new(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            no_new_privs: true,
            seccomp: SeccompChoice::Default,
            landlock: LandlockChoice::Auto,
            trace_denied: true,
            restricted: None,
            env: Vec::new(),
            workdir: None,
            hostname: None,
            userns: true,
            time_ns: false,
            nested_userns: false,
            init: true,
            tty: false,
            stop_signal: None,
            stop_timeout: Duration::from_secs(10),
            cgroup_parent: None,
            id: None,
            allow_degraded: false,
            no_idmap: false,
            script: None,
        }
    }
}

/// The plan for this policy on this host.
///
/// # Errors
/// What the policy asks for makes no sense, or not on this host; [`super::check`] has the list.
pub fn plan(policy: &Policy, facts: &Facts) -> Result<Plan> {
    let id = policy.id.clone().unwrap_or_else(|| facts.fresh_id.clone());
    let hostname = policy.hostname.clone().unwrap_or_else(|| "stockade".to_owned());
    let user = policy.userns.then(|| ids::plan(facts, policy.uid, policy.gid));
    let caps = super::caps::keep(&policy.cap_add, &policy.cap_drop, facts.last_cap)?;
    let volumes = mounts::volume_steps(policy, facts, user.is_some());
    let root = root(policy, facts, user.is_some());

    let mut steps = Vec::with_capacity(96);
    if root.source == RootSource::Pool {
        let job = hostview::Job {
            uid: policy.uid,
            gid: policy.gid,
            hostname: &hostname,
            host_network: policy.network == Network::Host,
        };
        steps.extend(hostview::steps(facts, &job));
    }
    mounts::kernel_filesystems(&mut steps, facts, policy, user.as_ref());
    mounts::nothing_writable(policy)?;
    let reserved = mounts::writable_places(&mut steps, policy)?;
    steps.extend(volumes);
    mounts::script(&mut steps, policy, policy.disk - reserved)?;
    mounts::masks(&mut steps, user.as_ref());
    let landlock = landlock::plan(policy, facts, caps, &root, &steps)?;

    let setgroups = user.as_ref().is_none_or(|u| u.writer != super::MapWriter::SingleId)
        && facts.can_setgroups();
    let plan = Plan {
        id,
        namespaces: Namespaces {
            user,
            network: policy.network == Network::None,
            time: policy.time_ns,
        },
        hostname,
        root,
        pool: Some(Pool { size: policy.disk - reserved, inodes: policy.inodes }),
        steps,
        process: Process {
            argv: policy.command.clone(),
            env: environment(policy),
            cwd: policy.workdir.clone().unwrap_or_else(|| "/work".to_owned()),
            uid: policy.uid,
            gid: policy.gid,
            groups: setgroups.then(|| policy.groups.clone()),
            caps: super::caps::CapSets::kept(caps, policy.uid),
            no_new_privs: policy.no_new_privs,
            seccomp: filter::seccomp_filter(policy, caps, facts)?,
            rlimits: rlimits::plan(&policy.ulimits, &facts.hard_rlimits),
            umask: 0o022,
            init: policy.init,
            terminal: policy.tty,
        },
        landlock,
        resources: resources(policy),
        supervision: Supervision {
            wall: policy.timeout,
            cpu: policy.cpu_time,
            output: policy.output_limit,
            stop: policy.stop_signal.map(|s| (s, policy.stop_timeout)),
        },
        details: super::detail::Details::default(),
    };
    super::check::check(&plan, facts, policy.groups.is_empty())?;
    Ok(plan)
}

fn root(policy: &Policy, facts: &Facts, userns: bool) -> Root {
    Root {
        source: policy
            .rootfs
            .as_ref()
            .map_or(RootSource::Pool, |dir| RootSource::Directory(dir.clone())),
        read_only: policy.read_only,
        idmap: userns && facts.privileged && !policy.no_idmap,
        guarded: true,
    }
}

fn resources(policy: &Policy) -> Resources {
    Resources {
        memory: policy.memory,
        memory_swap: match (policy.swap, policy.memory) {
            (Swap::None, memory) => memory,
            (Swap::Total(total), _) => Some(total),
            (Swap::Unlimited, _) => None,
        },
        cpu_quota_us: policy.cpu_quota_us,
        cpu_shares: policy.cpu_shares,
        cpuset: policy.cpuset.clone(),
        pids: policy.pids,
        parent: policy.cgroup_parent.clone(),
        allow_degraded: policy.allow_degraded,
    }
}

/// PATH, HOME, LANG, TERM, and what was given; nothing of the caller's.
fn environment(policy: &Policy) -> Vec<String> {
    let mut env = vec![
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        "HOME=/work".to_owned(),
        "LANG=C.UTF-8".to_owned(),
        "TERM=xterm".to_owned(),
    ];
    for given in &policy.env {
        let key = given.split_once('=').map_or(given.as_str(), |(key, _)| key);
        env.retain(|e| e.split_once('=').is_none_or(|(k, _)| k != key));
        env.push(given.clone());
    }
    env
}
