//! The jail: one command, run contained. [`Jail`] in, [`Outcome`] out.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::host::launch::{self, Launched};
use crate::host::pump::{Input, Output, Sink, Source};
use crate::host::supervise::{self, Ended, Streams};
use crate::host::{launch::Stdio as ChildStdio, probe, reason, users};
use crate::outcome::{Data, Isolation, Outcome, Status, Stream, Timings};
use crate::plan::policy::{self, Network, Policy, SeccompChoice, Swap, Tmpfs, Volume};
use crate::plan::values;
use crate::plan::values::user::{IdOrName, User};
use crate::plan::{Plan, RootSource};
use crate::sys::{fs, io};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc;
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

    fn run_with(
        mut self,
        kill: Option<BorrowedFd<'_>>,
        on_start: &mut dyn FnMut(Started),
    ) -> Result<Outcome> {
        let began = self.began.unwrap_or_else(Instant::now);
        let facts = probe::probe()?;
        let plan = self.plan(&facts)?;
        let (child, mut streams, pipes) = self.wire(&plan)?;
        streams.kill = kill;
        let raw = streams.terminal.as_ref().map(crate::host::terminal::Raw::enter).transpose()?;
        let mut launched = launch::launch(&plan, &facts, &child)?;
        // Ours are copies; the job's end of file depends on them being closed.
        drop(child);
        let mut started = Some(Started { pidfd: None, pipes: Some(pipes) });
        let copy =
            io::duplicate(launched.pidfd()).map_err(|e| Error::os("duplicate a pidfd", e))?;
        if let Some(s) = &mut started {
            s.pidfd = Some(copy);
        }
        let ended = supervise::supervise(&plan, &mut launched, &mut streams, &mut || {
            if let Some(s) = started.take() {
                on_start(s);
            }
        })?;
        drop(raw);
        Ok(self.outcome(&plan, &mut launched, &mut streams, ended, began))
    }

    fn outcome(
        &mut self,
        plan: &Plan,
        launched: &mut Launched,
        streams: &mut Streams<'_>,
        mut ended: Ended,
        began: Instant,
    ) -> Outcome {
        let counted = launched.cgroup.counters();
        let shmem = counted.oom_kills.filter(|n| *n > 0).and_then(|_| launched.cgroup.shmem());
        let verdict = reason::judge(plan, &ended, &counted, shmem);
        let isolation = isolation(plan, launched);
        // From here on the tmpfs may go, and with it the last pages; then the cgroup.
        ended.pool_fd = None;
        launched.cgroup.remove();
        let stream = |o: &mut Output| Stream {
            bytes: o.bytes,
            truncated: o.truncated,
            data: o.take_captured().map(Data::new),
        };
        let ms = |d: Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
        let us = |n: u64| Duration::from_micros(n);
        let run = ended.finished - ended.started;
        Outcome {
            schema: crate::outcome::SCHEMA,
            id: plan.id.clone(),
            labels: std::mem::take(&mut self.labels),
            status: verdict.status,
            exit_code: verdict.exit_code,
            signal: verdict.signal,
            reason: verdict.reason,
            wall_ms: ms(run),
            cpu_user_ms: Some(ms(us(counted.cpu_user_us.unwrap_or(ended.exit.utime_us)))),
            cpu_sys_ms: Some(ms(us(counted.cpu_sys_us.unwrap_or(ended.exit.stime_us)))),
            memory_peak_bytes: counted.memory_peak,
            oom_kills: counted.oom_kills,
            pids_peak: counted.pids_peak,
            limits_hit: verdict.limits_hit,
            stdout: stream(&mut streams.stdout),
            stderr: stream(&mut streams.stderr),
            isolation,
            timings_ms: Timings {
                setup: ms(ended.started.saturating_duration_since(began)),
                run: ms(run),
                teardown: ms(ended.finished.elapsed()),
            },
        }
    }

    /// The outcome of a run that did not come about.
    #[must_use]
    pub fn setup_failed(error: &Error, id: &str, labels: BTreeMap<String, String>) -> Outcome {
        Outcome {
            schema: crate::outcome::SCHEMA,
            id: id.to_owned(),
            labels,
            status: Status::SetupFailed,
            exit_code: Some(i32::from(error.exit_code())),
            signal: None,
            reason: match error.hint_text() {
                Some(hint) => format!("{error}; {hint}"),
                None => error.to_string(),
            },
            wall_ms: 0.0,
            cpu_user_ms: None,
            cpu_sys_ms: None,
            memory_peak_bytes: None,
            oom_kills: None,
            pids_peak: None,
            limits_hit: Vec::new(),
            stdout: Stream::default(),
            stderr: Stream::default(),
            isolation: Isolation::default(),
            timings_ms: Timings::default(),
        }
    }

    /// Starts the command and returns at once; a thread of its own watches it.
    ///
    /// # Errors
    /// stockade itself failed and the job was not run.
    pub fn spawn(self) -> Result<Running> {
        let kill = io::eventfd().map_err(|e| Error::os("make an eventfd", e))?;
        let kill_too = io::duplicate(kill.as_fd()).map_err(|e| Error::os("duplicate", e))?;
        let (send, receive) = mpsc::channel();
        // A thread, because the kernel ties the jail's death to the thread that made it, and
        // that must be one that lives as long as the run.
        let thread = std::thread::Builder::new()
            .name("stockade".to_owned())
            .spawn(move || {
                let mut on_start = |started| {
                    // The receiver is gone only if `spawn` is, and then nobody is waiting.
                    let _ = send.send(started);
                };
                self.run_with(Some(kill_too.as_fd()), &mut on_start)
            })
            .map_err(|e| Error::os("start the supervising thread", e))?;
        match receive.recv() {
            Ok(started) => {
                let pipes = started.pipes.unwrap_or_default();
                let pidfd = started
                    .pidfd
                    .ok_or_else(|| Error::new(Kind::Os, "the run started without a pidfd"))?;
                Ok(Running {
                    thread: Some(thread),
                    kill,
                    pidfd,
                    stdin: pipes.stdin,
                    stdout: pipes.stdout,
                    stderr: pipes.stderr,
                })
            }
            // The thread ended without a start: its error is the answer.
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error),
                Ok(Ok(_)) => Err(Error::new(Kind::Os, "the run ended before it started")),
                Err(_) => Err(Error::new(Kind::Os, "the supervising thread panicked")),
            },
        }
    }

    /// Makes the pipes. The child's ends, ours, and those of a [`Running`].
    fn wire(&mut self, plan: &Plan) -> Result<(ChildStdio, Streams<'static>, Pipes)> {
        let os = |e| Error::os("make the job's pipes", e);
        let limit = plan.supervision.output;
        let mut pipes = Pipes::default();
        let forward = std::mem::take(&mut self.forward_signals);
        let signals = if forward.is_empty() {
            None
        } else {
            let mask = forward.iter().fold(0, |m, s| m | 1u64 << (s - 1));
            Some(crate::sys::signal::signalfd(mask).map_err(os)?)
        };
        let streams = |input, stdout, stderr, terminal| Streams {
            input,
            stdout,
            stderr,
            signals,
            kill: None,
            terminal,
        };
        if plan.process.terminal {
            // The terminal is made in the jail, from its own devpts; until then /dev/null.
            let source = match std::mem::take(&mut self.stdin) {
                Stdio::Inherit => Some(Source::Descriptor(inherit(0)?)),
                other => source(other, &mut pipes)?,
            };
            let sink = sink(std::mem::take(&mut self.stdout), 1, &mut pipes.stdout)?;
            let terminal = inherit(0).ok().filter(|fd| nix::unistd::isatty(fd).unwrap_or(false));
            let child = ChildStdio { stdin: null()?, stdout: null()?, stderr: null()? };
            let input = Input::new(source, None);
            let unused = Output::new(None, Sink::Capture(Vec::new()), limit);
            let output = Output::new(None, sink, limit);
            return Ok((child, streams(input, output, unused, terminal), pipes));
        }
        let (stdin, input) = match std::mem::take(&mut self.stdin) {
            Stdio::Null => (null()?, Input::new(None, None)),
            Stdio::Inherit if is_null(0) => (null()?, Input::new(None, None)),
            other => {
                let (read, write) = high_pipe().map_err(os)?;
                let source = match other {
                    Stdio::Inherit => Some(Source::Descriptor(inherit(0)?)),
                    other => source(other, &mut pipes)?,
                };
                (read, Input::new(source, Some(write)))
            }
        };
        let output = |stdio: Stdio, number, theirs: &mut Option<OwnedFd>| -> Result<_> {
            let (read, write) = high_pipe().map_err(os)?;
            Ok((write, Output::new(Some(read), sink(stdio, number, theirs)?, limit)))
        };
        let (stdout, out) = output(std::mem::take(&mut self.stdout), 1, &mut pipes.stdout)?;
        let (stderr, err) = output(std::mem::take(&mut self.stderr), 2, &mut pipes.stderr)?;
        Ok((ChildStdio { stdin, stdout, stderr }, streams(input, out, err, None), pipes))
    }
}

/// Longest id: with its prefix it is a directory's name.
const MAX_ID: usize = 200;

/// The caller's ends of piped streams.
#[derive(Debug, Default)]
struct Pipes {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// What `spawn` hears when the command runs.
struct Started {
    pidfd: Option<OwnedFd>,
    pipes: Option<Pipes>,
}

/// A pipe at numbers that are never 0, 1 or 2, whatever the caller has closed.
fn high_pipe() -> crate::sys::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = io::pipe()?;
    // The job's user is not ours, and opens /dev/stdout by this mode. Nobody outside can: the
    // way to a pipe is a descriptor, or the /proc/PID/fd of a process that one may trace.
    fs::chmod(read.as_fd(), 0o666)?;
    Ok((io::move_high(read)?, io::move_high(write)?))
}

fn inherit(number: i32) -> Result<OwnedFd> {
    match io::duplicate_number(number) {
        Ok(fd) => Ok(fd),
        // Closed by the caller: as good as /dev/null.
        Err(e) if e.0 == libc::EBADF => null(),
        Err(e) => Err(Error::os(format!("use descriptor {number}"), e)),
    }
}

fn null() -> Result<OwnedFd> {
    fs::open_at(fs::cwd(), c"/dev/null", libc::O_RDWR, 0)
        .and_then(io::move_high)
        .map_err(|e| Error::os("open /dev/null", e))
}

/// Whether a descriptor of the caller's is /dev/null, or closed: then no pump is needed.
fn is_null(number: i32) -> bool {
    inherit(number)
        .ok()
        .and_then(|fd| fs::stat(fd.as_fd()).ok())
        .is_some_and(|s| s.is(libc::S_IFCHR) && s.rdev == libc::makedev(1, 3))
}

fn source(stdio: Stdio, pipes: &mut Pipes) -> Result<Option<Source>> {
    Ok(match stdio {
        Stdio::Descriptor(fd) => Some(Source::Descriptor(fd)),
        Stdio::Bytes(bytes) => Some(Source::Bytes(bytes)),
        Stdio::Piped => {
            let (read, write) = io::pipe().map_err(|e| Error::os("make a pipe", e))?;
            pipes.stdin = Some(write);
            Some(Source::Descriptor(read))
        }
        Stdio::Null | Stdio::Inherit => None,
        Stdio::Capture => {
            return Err(Error::new(Kind::InvalidConfig, "standard input cannot be captured"));
        }
    })
}

fn sink(stdio: Stdio, number: i32, theirs: &mut Option<OwnedFd>) -> Result<Sink> {
    Ok(match stdio {
        Stdio::Inherit => Sink::descriptor(inherit(number)?),
        Stdio::Null => Sink::descriptor(null()?),
        Stdio::Capture => Sink::Capture(Vec::new()),
        Stdio::Descriptor(fd) => Sink::descriptor(fd),
        Stdio::Piped => {
            let (read, write) = io::pipe().map_err(|e| Error::os("make a pipe", e))?;
            *theirs = Some(read);
            Sink::descriptor(write)
        }
        Stdio::Bytes(_) => {
            return Err(Error::new(Kind::InvalidConfig, "an output cannot come from bytes"));
        }
    })
}

fn isolation(plan: &Plan, launched: &Launched) -> Isolation {
    let lines = |maps: &[crate::plan::ids::IdMap]| {
        maps.iter().map(|m| format!("{}:{}:{}", m.inside, m.outside, m.count)).collect()
    };
    let user = plan.namespaces.user.as_ref();
    let mut limits: BTreeMap<&'static str, u64> = launched.cgroup.limits.iter().copied().collect();
    limits.insert("disk", plan.pool.size);
    let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let s = &plan.supervision;
    for (name, value) in [
        ("output", s.output),
        ("timeout_ms", s.wall.map(millis)),
        ("cpu_time_ms", s.cpu.map(millis)),
    ] {
        if let Some(value) = value {
            limits.insert(name, value);
        }
    }
    let mut degraded = launched.cgroup.missing.clone();
    if plan.process.groups.is_none() {
        degraded.push("the caller's supplementary groups could not be dropped".to_owned());
    }
    Isolation {
        namespaces: plan.namespace_names(),
        uid_map: user.map(|u| lines(&u.uids)),
        gid_map: user.map(|u| lines(&u.gids)),
        rootfs: match &plan.root.source {
            RootSource::Pool => "host-view".to_owned(),
            RootSource::Directory(dir) => dir.to_string_lossy().into_owned(),
        },
        read_only_root: plan.root.read_only,
        network: if plan.namespaces.network { "none" } else { "host" },
        cgroup: launched.cgroup.version(),
        limits,
        seccomp: (!plan.process.seccomp.filter.is_empty())
            .then(|| plan.process.seccomp.name.clone()),
        no_new_privs: plan.process.no_new_privs,
        capabilities: crate::plan::caps::names(plan.process.caps),
        degraded,
    }
}

/// A run in progress. Dropped, it is killed and everything is removed.
#[derive(Debug)]
pub struct Running {
    thread: Option<std::thread::JoinHandle<Result<Outcome>>>,
    kill: OwnedFd,
    pidfd: OwnedFd,
    /// The other end of the job's standard input, if that is [`Stdio::Piped`].
    pub stdin: Option<OwnedFd>,
    /// The other end of its standard output, likewise.
    pub stdout: Option<OwnedFd>,
    /// The other end of its standard error, likewise.
    pub stderr: Option<OwnedFd>,
}

impl Running {
    /// Ends the job with SIGKILL; the outcome says so.
    pub fn kill(&self) {
        // The only failure is a counter at its maximum, and then it is readable already.
        let _ = io::write(self.kill.as_fd(), &1u64.to_ne_bytes());
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The end could not be seen.
    pub fn wait(mut self) -> Result<Outcome> {
        // As std's: a job that reads to the end of its input must find one.
        self.stdin = None;
        self.join()
    }

    fn join(&mut self) -> Result<Outcome> {
        match self.thread.take().map(std::thread::JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(Error::new(Kind::Os, "the supervising thread panicked")),
        }
    }
}

/// A pidfd: readable once the job has ended, so that an event loop can wait for it and then
/// call [`Running::wait`], which returns within the time that clearing up takes.
impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.kill();
            // The outcome is not wanted by anybody any more.
            let _ = self.join();
        }
    }
}
