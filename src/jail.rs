//! The jail: one command, run contained. [`Jail`] in, [`Outcome`] out.

#![forbid(unsafe_code)]

pub(crate) mod audit;
mod report;
mod run;
mod stdio;

pub use run::Running;

use crate::error::{Error, Kind, Result};
use crate::host::{probe, users};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::plan::policy::{
    self, LandlockChoice, Network, Policy, Restricted, SeccompChoice, Swap, Tmpfs, Volume,
};
use crate::plan::values;
use crate::plan::values::user::{IdOrName, User};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where one of the job's streams comes from or goes to.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// The caller's own.
    #[default]
    Inherit,
    /// /dev/null.
    Null,
    /// Kept, and found in the outcome. For output only.
    Capture,
    /// A pipe whose other end [`Running`] has.
    Piped,
    /// This descriptor.
    Descriptor(OwnedFd),
    /// These bytes. For input only.
    Bytes(Vec<u8>),
}

/// One command and what it may do. See the fields of [`Policy`] for the defaults.
#[derive(Debug, Default)]
pub struct Jail {
    policy: Policy,
    user: Option<User>,
    groups: Vec<IdOrName>,
    labels: BTreeMap<String, String>,
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
    pub(crate) forward_signals: Vec<i32>,
    began: Option<Instant>,
    audited: audit::Audited,
}

impl Jail {
    /// A jail for this program, looked up in the jail's own PATH unless it has a slash.
    #[must_use]
    pub fn new(program: impl Into<String>) -> Jail {
        let mut jail = Jail::default();
        jail.policy.command.push(program.into());
        jail
    }

    /// A jail by a policy.
    #[must_use]
    pub fn from_policy(policy: Policy) -> Jail {
        Jail { policy, ..Jail::default() }
    }

    /// The policy, to change what has no method of its own.
    pub fn policy_mut(&mut self) -> &mut Policy {
        &mut self.policy
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Jail {
        self.policy.command.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Jail {
        self.policy.command.extend(args.into_iter().map(Into::into));
        self
    }

    /// Uses an unpacked root file system instead of the host view.
    #[must_use]
    pub fn rootfs(mut self, dir: impl Into<PathBuf>) -> Jail {
        self.policy.rootfs = Some(dir.into());
        self
    }

    /// Limits memory, tmpfs pages included; bytes. Default 512 MiB.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Jail {
        self.policy.memory = Some(bytes);
        self
    }

    /// Limits memory and swap together; bytes. Default: the memory limit, so no swap.
    #[must_use]
    pub fn memory_swap(mut self, swap: Swap) -> Jail {
        self.policy.swap = swap;
        self
    }

    /// Limits CPU time per wall time, as a number of CPUs. Default 1.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped first
    pub fn cpus(mut self, cpus: f64) -> Jail {
        let us = (cpus * 100_000.0).clamp(1000.0, 1e12);
        self.policy.cpu_quota_us = Some(us as u64);
        self
    }

    /// Limits processes and threads, the init included. Default 64.
    #[must_use]
    pub fn pids_limit(mut self, n: u64) -> Jail {
        self.policy.pids = Some(n);
        self
    }

    /// Limits wall time from the start of the command. Default 30 min.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Jail {
        self.policy.timeout = Some(time);
        self
    }

    /// Limits the CPU time of all processes together. Default: none.
    #[must_use]
    pub fn cpu_time(mut self, time: Duration) -> Jail {
        self.policy.cpu_time = Some(time);
        self
    }

    /// Limits standard output and standard error, each; bytes. Default 10 MiB.
    #[must_use]
    pub fn output_limit(mut self, bytes: u64) -> Jail {
        self.policy.output_limit = Some(bytes);
        self
    }

    /// Limits all writable tmpfs together; bytes. Default 1 GiB.
    #[must_use]
    pub fn disk(mut self, bytes: u64) -> Jail {
        self.policy.disk = bytes;
        self
    }

    /// Makes the root writable. With the host view what is written is gone afterwards; with a
    /// rootfs it stays there.
    #[must_use]
    pub fn writable(mut self) -> Jail {
        self.policy.read_only = false;
        self
    }

    /// Mounts a tmpfs.
    #[must_use]
    pub fn tmpfs(mut self, tmpfs: Tmpfs) -> Jail {
        self.policy.tmpfs.push(tmpfs);
        self
    }

    /// Gives a file or directory of the host, writable. Its owner is the job's user inside.
    #[must_use]
    pub fn volume(self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Jail {
        self.bind(source.into(), target.into(), false)
    }

    /// Gives a file or directory of the host, read-only.
    #[must_use]
    pub fn volume_read_only(self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Jail {
        self.bind(source.into(), target.into(), true)
    }

    fn bind(mut self, source: PathBuf, target: PathBuf, read_only: bool) -> Jail {
        self.policy.volumes.push(Volume { source, target, read_only, idmap: true });
        self
    }

    /// Chooses the network. Default: none.
    #[must_use]
    pub fn network(mut self, network: Network) -> Jail {
        self.policy.network = network;
        self
    }

    /// User and group inside. Default 65534:65534.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Jail {
        self.user = Some(User { user: IdOrName::Id(uid), group: Some(IdOrName::Id(gid)) });
        self
    }

    /// User and group as in Docker's `--user`: numbers or names of the jail's /etc/passwd.
    ///
    /// # Errors
    /// The text is none of these.
    pub fn user_named(mut self, user: &str) -> Result<Jail> {
        self.user = Some(values::user::user(user)?);
        Ok(self)
    }

    pub(crate) fn user_as(mut self, user: User) -> Jail {
        self.user = Some(user);
        self
    }

    pub(crate) fn groups_named(mut self, groups: Vec<IdOrName>) -> Jail {
        self.groups = groups;
        self
    }

    /// Chooses the system call filter. Default: the embedded profile.
    #[must_use]
    pub fn seccomp(mut self, choice: SeccompChoice) -> Jail {
        self.policy.seccomp = choice;
        self
    }

    /// Chooses whether Landlock is one of the layers. Default: as far as the kernel has it.
    #[must_use]
    pub fn landlock(mut self, choice: LandlockChoice) -> Jail {
        self.policy.landlock = choice;
        self
    }

    /// Whether the system calls that the filter denies are counted: [`Outcome::denied_syscalls`]
    /// (the default).
    #[must_use]
    pub fn trace_denied(mut self, on: bool) -> Jail {
        self.policy.trace_denied = on;
        self
    }

    /// Computation only: when the command has started no further program can be executed, no
    /// process or socket made, and no file written. Threads as `threads` says.
    #[must_use]
    pub fn restricted(mut self, threads: bool) -> Jail {
        self.policy.restricted = Some(Restricted { threads });
        self
    }

    /// Sets a variable of the job's environment, which has nothing of the caller's.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Jail {
        self.policy.env.push(format!("{key}={value}"));
        self
    }

    /// Working directory. Default /work.
    #[must_use]
    pub fn workdir(mut self, dir: impl Into<String>) -> Jail {
        self.policy.workdir = Some(dir.into());
        self
    }

    /// Names the run; two of one name cannot run at once. Default: made up.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Jail {
        self.policy.id = Some(id.into());
        self
    }

    /// Adds a label that the outcome repeats.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Jail {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Standard input. Default: the caller's.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdio) -> Jail {
        self.stdin = stdin;
        self
    }

    /// Standard output. Default: the caller's.
    #[must_use]
    pub fn stdout(mut self, stdout: Stdio) -> Jail {
        self.stdout = stdout;
        self
    }

    /// Standard error. Default: the caller's.
    #[must_use]
    pub fn stderr(mut self, stderr: Stdio) -> Jail {
        self.stderr = stderr;
        self
    }

    /// Keeps both outputs for the outcome, and gives no input.
    #[must_use]
    pub fn capture_output(self) -> Jail {
        self.stdin(Stdio::Null).stdout(Stdio::Capture).stderr(Stdio::Capture)
    }

    /// Counts set-up time from here instead of from [`Jail::run`].
    pub(crate) fn began(mut self, at: Instant) -> Jail {
        self.began = Some(at);
        self
    }

    fn plan(&mut self, facts: &crate::plan::facts::Facts) -> Result<Plan> {
        let ids = users::resolve(self.policy.rootfs.as_deref(), self.user.as_ref(), &self.groups)?;
        if self.user.is_some() || !self.groups.is_empty() {
            self.policy.groups = ids.groups;
        }
        if self.user.is_some() {
            (self.policy.uid, self.policy.gid) = (ids.uid, ids.gid);
        }
        if let Some(id) = &self.policy.id {
            values::user::container_id(id)?;
            if id.len() > MAX_ID {
                return Err(Error::new(
                    Kind::InvalidConfig,
                    format!("the id is longer than {MAX_ID} characters"),
                ));
            }
        }
        if let Some(name) = &self.policy.hostname {
            values::user::hostname(name)?;
        }
        policy::plan(&self.policy, facts)
    }

    /// The plan as text; nothing is run.
    ///
    /// # Errors
    /// The policy makes no sense, or not on this host.
    pub fn explain(mut self) -> Result<String> {
        let facts = probe::probe()?;
        Ok(self.plan(&facts)?.to_string())
    }

    /// Runs the command and waits for its end. A job that fails is a success of this call.
    ///
    /// # Errors
    /// stockade itself failed and the job was not run; or its end could not be seen.
    pub fn run(self) -> Result<Outcome> {
        self.run_with(None, &mut |_| {})
    }
}

/// Longest id: with its prefix it is a directory's name.
const MAX_ID: usize = 200;
