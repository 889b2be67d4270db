//! The jail's front door: what one run may do, and the plan that follows from it.

#![forbid(unsafe_code)]

use super::facts::Facts;
use super::ids;
use super::rlimits::{self, Rlimit};
use super::seccomp;
use super::{
    Attrs, BindIds, Expect, MountStep, Namespaces, Plan, Pool, Process, Resources, Root,
    RootSource, Seccomp, SeccompWhen, Supervision, hostview,
};
use crate::error::{Error, Kind, Result};
use std::path::{Path, PathBuf};
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
    let volumes = volume_steps(policy, facts, user.is_some());
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
    kernel_filesystems(&mut steps, facts, policy, user.as_ref());
    let reserved = writable_places(&mut steps, policy)?;
    steps.extend(volumes);
    masks(&mut steps);

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
        pool: Pool { size: policy.disk - reserved, inodes: policy.inodes },
        steps,
        process: Process {
            argv: policy.command.clone(),
            env: environment(policy),
            cwd: policy.workdir.clone().unwrap_or_else(|| "/work".to_owned()),
            uid: policy.uid,
            gid: policy.gid,
            groups: setgroups.then(|| policy.groups.clone()),
            caps,
            no_new_privs: policy.no_new_privs,
            seccomp: seccomp_filter(policy, caps, facts)?,
            rlimits: rlimits::plan(&policy.ulimits, &facts.hard_rlimits),
            umask: 0o022,
            init: policy.init,
            terminal: policy.tty,
        },
        resources: resources(policy),
        supervision: Supervision {
            wall: policy.timeout,
            cpu: policy.cpu_time,
            output: policy.output_limit,
            stop: policy.stop_signal.map(|s| (s, policy.stop_timeout)),
        },
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

/// /proc, /dev and /sys.
fn kernel_filesystems(
    steps: &mut Vec<MountStep>,
    facts: &Facts,
    policy: &Policy,
    user: Option<&super::UserNamespace>,
) {
    steps.push(MountStep::Filesystem {
        fstype: "proc".into(),
        options: vec![],
        target: "/proc".into(),
        attrs: Attrs::PSEUDO,
    });
    let dev = Attrs { no_suid: true, no_exec: true, ..Attrs::default() };
    steps.push(MountStep::PoolDir {
        target: "/dev".into(),
        mode: 0o755,
        owner: None,
        attrs: Attrs::PSEUDO,
    });
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        steps.push(device(name, 1, minor, dev));
    }
    steps.push(device("tty", 5, 0, dev));
    let mut options = vec![
        ("newinstance".to_owned(), None),
        ("ptmxmode".to_owned(), Some("0666".to_owned())),
        ("mode".to_owned(), Some("0620".to_owned())),
    ];
    if user.is_none_or(|u| ids::is_mapped(&u.gids, 5)) {
        options.push(("gid".to_owned(), Some("5".to_owned())));
    }
    steps.push(MountStep::Filesystem {
        fstype: "devpts".into(),
        options,
        target: "/dev/pts".into(),
        attrs: Attrs { no_suid: true, no_exec: true, ..Attrs::default() },
    });
    for (name, to) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        steps.push(MountStep::Symlink { target: format!("/dev/{name}").into(), to: to.into() });
    }
    let shm = Attrs::PSEUDO;
    if let Some(size) = policy.shm_size {
        steps.push(sized_tmpfs(Path::new("/dev/shm"), size, None, 0o1777, shm));
    } else {
        steps.push(MountStep::PoolDir {
            target: "/dev/shm".into(),
            mode: 0o1777,
            owner: None,
            attrs: shm,
        });
    }
    steps.push(MountStep::Remount { target: "/dev".into() });
    // Not the host's sysfs, of which most is about the host: only what the C library and
    // language runtimes read to size their thread pools.
    steps.push(MountStep::PoolDir {
        target: "/sys".into(),
        mode: 0o755,
        owner: None,
        attrs: Attrs::PSEUDO,
    });
    for (name, contents) in &facts.cpu_lists {
        steps.push(MountStep::File {
            target: format!("/sys/devices/system/cpu/{name}").into(),
            mode: 0o444,
            contents: contents.clone(),
        });
    }
    steps.push(MountStep::Remount { target: "/sys".into() });
}

fn device(name: &str, major: u32, minor: u32, attrs: Attrs) -> MountStep {
    MountStep::Bind {
        source: format!("/dev/{name}").into(),
        target: format!("/dev/{name}").into(),
        attrs,
        ids: BindIds::Plain,
        expect: Expect::CharDevice(major, minor),
        optional: false,
    }
}

fn sized_tmpfs(
    target: &Path,
    size: u64,
    inodes: Option<u64>,
    mode: u32,
    attrs: Attrs,
) -> MountStep {
    let mut options = vec![
        ("size".to_owned(), Some(size.to_string())),
        ("mode".to_owned(), Some(format!("{mode:o}"))),
    ];
    if let Some(n) = inodes {
        options.push(("nr_inodes".to_owned(), Some(n.to_string())));
    }
    MountStep::Filesystem { fstype: "tmpfs".into(), options, target: target.into(), attrs }
}

/// /tmp, /work and the tmpfs that were asked for. Returns the bytes that those with a size of
/// their own take out of the disk limit: all writable places together stay below it.
fn writable_places(steps: &mut Vec<MountStep>, policy: &Policy) -> Result<u64> {
    let mut reserved = policy.shm_size.unwrap_or(0);
    let given = |path: &str| {
        policy.tmpfs.iter().any(|t| t.target == Path::new(path))
            || policy.volumes.iter().any(|v| v.target == Path::new(path))
    };
    for (path, mode) in [("/tmp", 0o1777), ("/work", 0o755)] {
        if !given(path) {
            steps.push(MountStep::PoolDir {
                target: path.into(),
                mode,
                owner: (mode == 0o755).then_some((policy.uid, policy.gid)),
                attrs: Attrs::SAFE,
            });
        }
    }
    for tmpfs in &policy.tmpfs {
        let attrs = Attrs { no_exec: !tmpfs.exec, read_only: tmpfs.read_only, ..Attrs::SAFE };
        if tmpfs.size.is_none() && tmpfs.inodes.is_none() {
            steps.push(MountStep::PoolDir {
                target: tmpfs.target.clone(),
                mode: tmpfs.mode,
                owner: None,
                attrs,
            });
        } else {
            let size = tmpfs.size.unwrap_or(policy.disk / 2);
            reserved = reserved.saturating_add(size);
            steps.push(sized_tmpfs(&tmpfs.target, size, tmpfs.inodes, tmpfs.mode, attrs));
        }
    }
    if reserved >= policy.disk {
        return Err(Error::new(
            Kind::InvalidConfig,
            format!(
                "the tmpfs with sizes of their own take {reserved} bytes, which leaves nothing of \
                 the disk limit of {} bytes",
                policy.disk
            ),
        )
        .hint("raise --disk, or lower --shm-size and the size= of --tmpfs"));
    }
    Ok(reserved)
}

fn volume_steps(policy: &Policy, facts: &Facts, userns: bool) -> Vec<MountStep> {
    policy
        .volumes
        .iter()
        .map(|v| MountStep::Bind {
            source: v.source.clone(),
            target: v.target.clone(),
            attrs: Attrs { read_only: v.read_only, ..Attrs::SAFE },
            ids: if userns && facts.privileged && v.idmap && !policy.no_idmap {
                BindIds::OwnerIs(policy.uid, policy.gid)
            } else {
                BindIds::Plain
            },
            expect: Expect::FileOrDirectory,
            optional: false,
        })
        .collect()
}

/// Files of procfs that tell of the host or act on it.
pub const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/mtrr",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/swaps",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
];

/// Directories and files of procfs that can be read and not written.
pub const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn masks(steps: &mut Vec<MountStep>) {
    steps.extend(READ_ONLY.iter().map(|p| MountStep::ReadOnly { target: p.into() }));
    steps.extend(MASKED.iter().map(|p| MountStep::Mask { target: p.into() }));
}

/// Its number.
const CAP_SYS_ADMIN: u32 = 21;

fn seccomp_filter(policy: &Policy, caps: u64, facts: &Facts) -> Result<Seccomp> {
    let when =
        if policy.no_new_privs { SeccompWhen::Last } else { SeccompWhen::BeforeDroppingCaps };
    // A job that owns a volume's files could leave a set-user-ID program there for the host.
    let extra = seccomp::Extra {
        restrict_suid_files: policy.volumes.iter().any(|v| !v.read_only)
            || (policy.rootfs.is_some() && !policy.read_only),
        ..seccomp::Extra::default()
    };
    // A job that may make namespaces holds CAP_SYS_ADMIN over them, so the profile permits what
    // goes with it. Over the jail itself the job holds nothing more.
    let caps = if policy.nested_userns { caps | 1 << CAP_SYS_ADMIN } else { caps };
    if policy.seccomp == SeccompChoice::Default
        && caps == 0
        && !extra.restrict_suid_files
        && let Some(filter) = seccomp::precompiled()
    {
        return Ok(Seccomp { name: "default".to_owned(), filter, flags: 0, when });
    }
    let arch = seccomp::Arch::native();
    let target = seccomp::Target { arch, caps, kernel: facts.kernel };
    let unconfined = policy.seccomp == SeccompChoice::Unconfined;
    let (name, spec) = match &policy.seccomp {
        SeccompChoice::Default => {
            ("default".to_owned(), seccomp::Profile::embedded().resolve(&target))
        }
        SeccompChoice::Profile(name, json) => {
            (name.clone(), seccomp::Profile::parse(json).and_then(|p| p.resolve(&target)))
        }
        SeccompChoice::Unconfined => ("unconfined".to_owned(), Ok(seccomp::unconfined(arch))),
    };
    let bad = |e: seccomp::SeccompError| {
        Error::new(Kind::InvalidConfig, format!("{}: {e}", super::values::quote(&name)))
    };
    let filter = if unconfined && !extra.restrict_suid_files {
        None
    } else {
        Some(seccomp::compile(&spec.map_err(bad)?, arch, &extra).map_err(bad)?)
    };
    let flags = filter.as_ref().map_or(0, |f| f.flags);
    Ok(Seccomp {
        name: if unconfined && filter.is_some() {
            "unconfined, but no set-user-ID files".to_owned()
        } else {
            name
        },
        filter: filter.map_or_else(Vec::new, |f| f.instructions),
        flags,
        when: if policy.no_new_privs { SeccompWhen::Last } else { SeccompWhen::BeforeDroppingCaps },
    })
}
