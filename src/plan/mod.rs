//! The plan: everything one run will do, as plain data, decided before anything is touched.
//!
//! PURE. Data in, data out: no file, no clock, no environment, no system call. What the host
//! is like comes in as an argument ([`crate::plan::facts::Facts`]), so a test can play any host.
//!
//! Two front doors make plans: [`policy`] (the jail) now, an OCI config.json later. Nothing
//! behind the doors knows which one a plan came through.

#![forbid(unsafe_code)]

pub mod caps;
pub mod check;
pub mod detail;
pub mod digest;
pub mod explain;
pub mod facts;
mod filter;
pub mod formats;
pub mod hostview;
pub mod ids;
pub mod landlock;
mod mounts;
pub mod oci;
pub mod policy;
pub mod profile;
pub mod rlimits;
pub mod seccomp;
pub mod values;

use detail::NamespaceKind;
use ids::IdMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One run, decided.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the run: of its cgroup, its host name unless another is given.
    pub id: String,
    /// Which namespaces are new.
    pub namespaces: Namespaces,
    /// Host name inside the new UTS namespace; empty: it stays what it is.
    pub hostname: String,
    /// The root file system.
    pub root: Root,
    /// The tmpfs that every writable place shares; one limit for all of them. `None`: there is none.
    pub pool: Option<Pool>,
    /// What is put into the root, in this order.
    pub steps: Vec<MountStep>,
    /// The process.
    pub process: Process,
    /// What Landlock denies; `None`: it is not used.
    pub landlock: Option<landlock::Landlock>,
    /// Limits that the cgroup enforces.
    pub resources: Resources,
    /// Limits that the supervisor enforces.
    pub supervision: Supervision,
    /// What only some runs have.
    pub details: detail::Details,
}

impl Plan {
    /// Whether a namespace of this kind is made.
    #[must_use]
    pub fn is_new(&self, kind: NamespaceKind) -> bool {
        let d = &self.details;
        match kind {
            NamespaceKind::User => self.namespaces.user.is_some(),
            NamespaceKind::Network => self.namespaces.network,
            NamespaceKind::Time => self.namespaces.time,
            _ => !d.shared.contains(&kind) && d.joined.iter().all(|j| j.kind != kind),
        }
    }
}

/// Which namespaces are new; mount, pid, ipc, uts and cgroup are, unless [`detail::Details`] says
/// otherwise.
#[derive(Clone, Debug)]
pub struct Namespaces {
    /// The user namespace and how its ids map; `None`: the caller's.
    pub user: Option<UserNamespace>,
    /// A new network namespace with nothing but `lo`; `false`: the caller's network.
    pub network: bool,
    /// A new time namespace.
    pub time: bool,
}

/// A new user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserNamespace {
    /// User ids, inside to outside.
    pub uids: Vec<IdMap>,
    /// Group ids, inside to outside.
    pub gids: Vec<IdMap>,
    /// Who writes the maps.
    pub writer: MapWriter,
    /// The ids that set-up runs as, when the caller's own are not mapped.
    pub setup_ids: Option<(u32, u32)>,
}

/// Who may write the id maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapWriter {
    /// The supervisor holds CAP_SETUID: any map.
    Privileged,
    /// An ordinary user: its own id only, and setgroups is denied for good (Linux 3.19,
    /// CVE-2014-8989).
    SingleId,
    /// newuidmap and newgidmap write it, after /etc/subuid and /etc/subgid.
    Helpers,
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// A directory of the pool: empty, to be filled by steps.
    Pool,
    /// An unpacked root file system, which may be hostile.
    Directory(PathBuf),
}

/// The root file system.
#[derive(Clone, Debug)]
pub struct Root {
    /// What it is.
    pub source: RootSource,
    /// Whether it is made read-only once everything is mounted.
    pub read_only: bool,
    /// Whether its files keep their ids by an id-mapped mount.
    pub idmap: bool,
    /// Whether it gets the attributes that every mount of a jail has ([`Attrs::SAFE`]), and what
    /// is mounted in it is read-only where it is.
    pub guarded: bool,
}

/// The shared tmpfs.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Bytes.
    pub size: u64,
    /// Inodes; `None`: the kernel's default, half as many as pages of memory.
    pub inodes: Option<u64>,
}

/// Attributes of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // mount_setattr(2) has them under these names
pub struct Attrs {
    pub read_only: bool,
    pub no_suid: bool,
    pub no_dev: bool,
    pub no_exec: bool,
}

impl Attrs {
    /// nosuid and nodev: the least any mount of a jail has.
    pub const SAFE: Attrs = Attrs { read_only: false, no_suid: true, no_dev: true, no_exec: false };
    /// [`Attrs::SAFE`] and noexec: for pseudo file systems.
    pub const PSEUDO: Attrs = Attrs { no_exec: true, ..Attrs::SAFE };

    /// The same, read-only.
    #[must_use]
    pub const fn read_only(self) -> Attrs {
        Attrs { read_only: true, ..self }
    }
}

/// One thing put into the root. Targets are absolute paths, resolved inside the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountStep {
    /// Mounts a new file system.
    Filesystem {
        /// Type, for fsopen(2).
        fstype: String,
        /// Options; without a value they are flags.
        options: Vec<(String, Option<String>)>,
        /// Where.
        target: PathBuf,
        /// Its attributes.
        attrs: Attrs,
    },
    /// Binds something of the host.
    Bind {
        /// Path on the host.
        source: PathBuf,
        /// Where.
        target: PathBuf,
        /// Attributes, applied to submounts too.
        attrs: Attrs,
        /// How ids of its files are shown.
        ids: BindIds,
        /// What the source must be.
        expect: Expect,
        /// A source that is not there is left out.
        optional: bool,
    },
    /// Binds a new directory of the pool.
    PoolDir {
        /// Where.
        target: PathBuf,
        /// Mode of the directory.
        mode: u32,
        /// Owner inside, when not the set-up's.
        owner: Option<(u32, u32)>,
        /// Attributes.
        attrs: Attrs,
    },
    /// Makes a directory.
    Directory {
        /// Where.
        target: PathBuf,
        /// Mode.
        mode: u32,
    },
    /// Makes a file.
    File {
        /// Where.
        target: PathBuf,
        /// Mode.
        mode: u32,
        /// What is in it.
        contents: Vec<u8>,
    },
    /// Makes a symlink.
    Symlink {
        /// Where.
        target: PathBuf,
        /// What it points to.
        to: PathBuf,
        /// What is done where there is something already.
        existing: Existing,
    },
    /// Hides a file behind /dev/null or a directory behind an empty read-only one; nothing if
    /// it is not there.
    Mask {
        /// What.
        target: PathBuf,
    },
    /// Makes the mount at this very place read-only, those below it not.
    Remount {
        /// Where.
        target: PathBuf,
    },
    /// Mounts with all that mount(8) can say.
    Mount(Box<detail::Mount>),
    /// Makes a device node, or, where that is not allowed, binds the host's.
    Device(detail::Device),
    /// Makes a directory if it is not there and can be made.
    WorkingDirectory {
        /// Where.
        target: PathBuf,
    },
    /// Makes what is there read-only, submounts included; nothing if it is not there.
    ReadOnly {
        /// What.
        target: PathBuf,
    },
}

impl MountStep {
    /// Where it is put.
    #[must_use]
    pub fn target(&self) -> &Path {
        match self {
            MountStep::Filesystem { target, .. }
            | MountStep::Bind { target, .. }
            | MountStep::PoolDir { target, .. }
            | MountStep::Directory { target, .. }
            | MountStep::File { target, .. }
            | MountStep::Symlink { target, .. }
            | MountStep::Mask { target }
            | MountStep::Remount { target }
            | MountStep::WorkingDirectory { target }
            | MountStep::ReadOnly { target } => target,
            MountStep::Mount(mount) => &mount.target,
            MountStep::Device(device) => &device.target,
        }
    }
}

/// What is done where something stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Refuse,
    /// It stays.
    Keep,
    /// It is removed, if it is no directory.
    Replace,
}

/// How the ids of a bind's files are shown inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindIds {
    /// As the kernel does: by the user namespace alone.
    Plain,
    /// An id on disk is the same id inside (an id-mapped mount, Linux 5.12).
    Same,
    /// The owner of the source is this user and group inside (an id-mapped mount).
    OwnerIs(u32, u32),
}

/// What a bind's source must turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A directory or a regular file; devices, sockets and FIFOs are refused.
    FileOrDirectory,
    /// The character device with these numbers, so that a planted file is never taken for
    /// /dev/null (CVE-2025-31133).
    CharDevice(u32, u32),
    /// The device node, or nothing: then one is made.
    Node(detail::Node),
    /// Anything.
    Any,
}

/// The process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// The whole environment, `KEY=value`.
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// All supplementary groups; `None` where an ordinary user cannot set them.
    pub groups: Option<Vec<u32>>,
    /// Capabilities.
    pub caps: caps::CapSets,
    /// Whether execve can never add rights.
    pub no_new_privs: bool,
    /// The filter.
    pub seccomp: Seccomp,
    /// All sixteen limits: resource, soft, hard.
    pub rlimits: Vec<rlimits::Rlimit>,
    /// File mode creation mask.
    pub umask: u32,
    /// Whether a minimal init is PID 1 and the job its child.
    pub init: bool,
    /// Whether stdio is a new terminal.
    pub terminal: bool,
}

/// The system call filter, compiled.
#[derive(Clone, Debug)]
pub struct Seccomp {
    /// Where it came from: `default`, a file's name, `unconfined`.
    pub name: String,
    /// The program; empty: none is loaded.
    pub filter: Vec<seccompiler::sock_filter>,
    /// Flags of seccomp(2).
    pub flags: u32,
    /// When it is loaded.
    pub when: SeccompWhen,
    /// The same in the form that tells the supervisor what it denies.
    pub telling: Option<seccomp::notify::Telling>,
    /// What of it asks a listener of the user's; `filter` is the rest then.
    pub asking: Option<seccomp::Asking>,
    /// Calls of execve that are let through although the filter denies them: the job's own start.
    /// Needs the telling form.
    pub execs: u32,
}

impl Seccomp {
    /// Flags of the first call of seccomp(2); `None`: there is none.
    #[must_use]
    pub fn first_flags(&self) -> Option<u32> {
        let loaded = !self.filter.is_empty();
        loaded.then(|| self.asking.as_ref().map_or(self.flags, |asking| asking.flags))
    }
}

/// When the filter is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeccompWhen {
    /// Last of all, which needs no_new_privs.
    Last,
    /// While set-up still holds CAP_SYS_ADMIN: without no_new_privs there is no other way, and
    /// the profile must then permit what follows (set-ids, capset, execve).
    BeforeDroppingCaps,
}

/// Limits that the cgroup enforces; `None` is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together (as Docker counts); `None` with a memory limit means
    /// unlimited swap.
    pub memory_swap: Option<u64>,
    /// CPU time in microseconds per 100 ms.
    pub cpu_quota_us: Option<u64>,
    /// Relative weight, 1024 is the default (v1's scale).
    pub cpu_shares: Option<u64>,
    /// CPUs allowed, as a list such as `0-3,5`.
    pub cpuset: Option<String>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Where the cgroup is made; `None`: found by itself.
    pub parent: Option<String>,
    /// Whether to run without what the host cannot give.
    pub allow_degraded: bool,
}

/// Length of the period that [`Resources::cpu_quota_us`] counts in, microseconds.
pub const CPU_PERIOD_US: u64 = 100_000;

/// Limits that the supervisor enforces.
#[derive(Clone, Debug)]
pub struct Supervision {
    /// Wall time from the start of the command.
    pub wall: Option<Duration>,
    /// CPU time of all processes together.
    pub cpu: Option<Duration>,
    /// Bytes of stdout, and of stderr; `None`: unlimited.
    pub output: Option<u64>,
    /// Signal sent at a time limit before SIGKILL, and how long after it SIGKILL follows.
    pub stop: Option<(i32, Duration)>,
}
