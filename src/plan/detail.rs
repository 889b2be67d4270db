//! What a plan says beyond what every run has: namespaces that are joined or shared, hooks,
//! system controls, scheduling, and how the process relates to the one that made it. The default
//! is a run that has none of it.

#![forbid(unsafe_code)]

use super::ids::IdMap;
use std::path::PathBuf;
use std::time::Duration;

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // namespaces(7)
pub enum NamespaceKind {
    User,
    Mount,
    Pid,
    Network,
    Ipc,
    Uts,
    Cgroup,
    Time,
}

impl NamespaceKind {
    /// All, in the order in which they are joined.
    pub const ALL: [NamespaceKind; 8] = [
        NamespaceKind::User,
        NamespaceKind::Mount,
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Cgroup,
        NamespaceKind::Time,
    ];

    /// Its name in /proc/PID/ns.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            NamespaceKind::User => "user",
            NamespaceKind::Mount => "mnt",
            NamespaceKind::Pid => "pid",
            NamespaceKind::Network => "net",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::Cgroup => "cgroup",
            NamespaceKind::Time => "time",
        }
    }
}

/// A namespace that exists and is joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// What it is.
    pub kind: NamespaceKind,
    /// A file that refers to it.
    pub path: PathBuf,
}

/// A network device of the caller's network namespace that is moved into the run's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name there.
    pub name: String,
    /// Its name in the run.
    pub new_name: String,
}

/// What makes the new root the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RootChange {
    /// pivot_root(2).
    #[default]
    Pivot,
    /// The new root is moved onto the old one, then chroot(2): where the host's root is a ramfs. The
    /// old root stays mounted below, out of reach of who has not CAP_SYS_ADMIN.
    Chroot,
    /// chroot(2) alone, where the mounts are those of others too: nothing of theirs is changed. Who has
    /// CAP_SYS_CHROOT can leave it.
    InPlace,
}

/// Propagation of mounts: `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE` of mount(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// The flag.
    pub flag: u64,
    /// Whether it is meant for the mounts below too.
    pub recursive: bool,
}

/// The session keyring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keyring {
    /// A new one without a name.
    #[default]
    Anonymous,
    /// A new one of this name.
    Named(String),
    /// The caller's.
    Inherited,
}

/// A program that is run at a point of the life cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Absolute path.
    pub path: PathBuf,
    /// All arguments, the program's name included.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// When it is killed, and has failed.
    pub timeout: Option<Duration>,
}

/// All hooks, by the point at which they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the runtime specification has them under these names
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// Whether the set-up has to stop for one.
    #[must_use]
    pub fn during_create(&self) -> bool {
        !self.prestart.is_empty()
            || !self.create_runtime.is_empty()
            || !self.create_container.is_empty()
    }
}

/// sched_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Scheduler {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// The processors on which a process of `exec` joins, and those on which it then runs, as bit masks.
pub type ExecAffinity = (Option<[u64; 16]>, Option<[u64; 16]>);

/// Where and how the process runs; `None`: as its maker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// `/proc/PID/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// Scheduling.
    pub scheduler: Option<Scheduler>,
    /// ioprio_set(2)'s value.
    pub io_priority: Option<u16>,
    /// personality(2)'s value.
    pub personality: Option<u32>,
    /// set_mempolicy(2): mode with its flags, and nodes as a bit mask.
    pub memory_policy: Option<(u32, [u64; 16])>,
    /// Of a process of `exec`.
    pub exec_affinity: ExecAffinity,
}

/// The terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Columns and rows.
    pub size: Option<(u16, u16)>,
    /// Whether it is also /dev/console.
    pub console: bool,
}

/// How long the process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Until its maker ends, and the command is executed at once.
    #[default]
    Tied,
    /// On its own; the command is executed when somebody says so.
    Detached,
    /// On its own; the command is executed at once.
    Released,
}

/// How ids of a mount are mapped (mount_setattr(2), `MOUNT_ATTR_IDMAP`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountIds {
    /// User ids: on disk to what is shown.
    pub uids: Vec<IdMap>,
    /// Group ids.
    pub gids: Vec<IdMap>,
    /// Whether mounts below are mapped too.
    pub recursive: bool,
}

/// What a symlink as the source of a bind mount means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceLink {
    /// What it leads to.
    Followed,
    /// Itself.
    Mounted,
    /// One like it is made in the root, and nothing is mounted.
    Copied,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A file system.
    Filesystem {
        /// Type.
        fstype: String,
        /// Source, as mount(8) shows it.
        source: Option<String>,
        /// Options; without a value they are flags.
        options: Vec<(String, Option<String>)>,
        /// Whether what is in the root at the target is copied into it.
        copy_up: bool,
    },
    /// Something of the host.
    Bind {
        /// Path on the host.
        source: PathBuf,
        /// Whether what is mounted below comes along.
        recursive: bool,
        /// Id mapping.
        ids: Option<MountIds>,
        /// What a symlink as the source means.
        link: SourceLink,
        /// Whether only a procfs or sysfs is meant.
        kernel_only: bool,
        /// Where in the root it is, if the path leads there: then it is what is there when the mounts
        /// before it are made.
        within: Option<PathBuf>,
    },
    /// The run's own cgroup, as far as its namespace or a bind shows it.
    Cgroup,
    /// The same in the v1 hierarchy `name=systemd` alone; for a new cgroup namespace.
    CgroupOfSystemd,
}

impl MountSource {
    /// Whether it shows what its maker's cgroup is.
    #[must_use]
    pub fn is_cgroup(&self) -> bool {
        matches!(self, MountSource::Cgroup | MountSource::CgroupOfSystemd)
    }
}

/// Attributes of a mount as mount_setattr(2) has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttrBits {
    /// Set on it.
    pub set: u64,
    /// Cleared.
    pub clear: u64,
    /// Set on it and all below.
    pub set_below: u64,
    /// Cleared on it and all below.
    pub clear_below: u64,
    /// What was said not to be, where a mount of the host may have it and not let go of it.
    pub unwanted: u64,
    /// What was said of access times, if anything; likewise.
    pub times: u64,
}

/// A mount with everything that mount(8) can say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where: absolute.
    pub target: PathBuf,
    /// What.
    pub source: MountSource,
    /// Attributes.
    pub attrs: AttrBits,
    /// Propagation, in this order; none: private.
    pub propagation: Vec<Propagation>,
    /// Whether it may cover something of a procfs.
    pub over_proc: bool,
    /// Whether a symlink as the target is covered itself.
    pub target_itself: bool,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where: absolute.
    pub target: PathBuf,
    /// Type bits of mknod(2).
    pub kind: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a device node is, without where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in [`Device`]
pub struct Node {
    pub kind: u32,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Device {
    /// What it is.
    #[must_use]
    pub fn node(&self) -> Node {
        let Device { kind, major, minor, mode, uid, gid, .. } = *self;
        Node { kind, major, minor, mode, uid, gid }
    }
}

/// The parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Namespaces that are the caller's own.
    pub shared: Vec<NamespaceKind>,
    /// Namespaces that are joined.
    pub joined: Vec<Joined>,
    /// Lines of `/proc/PID/timens_offsets`.
    pub time_offsets: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Paths below /proc/sys and their values.
    pub sysctls: Vec<(String, String)>,
    /// Network devices that are moved.
    pub net_devices: Vec<NetDevice>,
    /// The session keyring.
    pub keyring: Keyring,
    /// Hooks.
    pub hooks: Hooks,
    /// Scheduling and the like.
    pub tuning: Tuning,
    /// The terminal's particulars.
    pub terminal: Terminal,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// How many descriptors from 3 on stay open.
    pub preserved_fds: u32,
    /// What changes the root.
    pub root_change: RootChange,
    /// Propagation of the root in the end; `None`: private.
    pub root_propagation: Option<Propagation>,
    /// Labels for `/proc/self/attr/exec`, each with the security module's directory there.
    pub exec_labels: Vec<(String, String)>,
    /// Whether the program is looked for before the process waits.
    pub rootfs_in_place: bool,
}
