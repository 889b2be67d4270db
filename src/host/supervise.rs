//! Watching a run from the handshake to its end: messages, streams, signals, limits.
//!
//! One poll loop, no thread. Every wait has an event that ends it: the pidfd, the socket, a
//! pipe, a signal, or the next deadline.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::host::cgroup::Counters;
use crate::host::denied::Denied;
use crate::host::launch::{Event, Launched};
use crate::host::pump::{Input, Output};
use crate::outcome::DeniedSyscall;
use crate::plan::{Plan, Supervision};
use crate::sys::clock;
use crate::sys::fs::{self, FsStat};
use crate::sys::io::{self, PollFd};
use crate::sys::signal;
use crate::wire::Exit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long set-up may take before it is taken for stuck.
const SETUP_LIMIT: Duration = Duration::from_secs(60);
/// Shortest pause between two looks at the CPU time used.
const CPU_TICK: Duration = Duration::from_millis(5);

/// What the supervisor is connected to.
#[derive(Debug)]
pub(crate) struct Streams<'a> {
    pub(crate) input: Input,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    /// Signals of the caller to pass on.
    pub(crate) signals: Option<OwnedFd>,
    /// Becomes readable when the embedder wants the job killed.
    pub(crate) kill: Option<BorrowedFd<'a>>,
    /// The caller's terminal, whose size the job's follows.
    pub(crate) terminal: Option<OwnedFd>,
}

/// Why the supervisor ended the run, if it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndedBy {
    Wall,
    Cpu,
    Output,
    Caller,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) by: Option<EndedBy>,
    pub(crate) started: Instant,
    pub(crate) finished: Instant,
    /// The pool when everything had ended.
    pub(crate) pool: Option<FsStat>,
    /// Streams that could not be passed on, and why.
    pub(crate) lost: Vec<(&'static str, i32)>,
    /// System calls that were denied; `None`: nobody listened.
    pub(crate) denied: Option<Vec<DeniedSyscall>>,
    /// Of those the one that most likely made the job fail, and how often.
    pub(crate) culprit: Option<(String, u64)>,
    /// What the cgroup had counted then.
    pub(crate) counted: Counters,
    /// Keeps the pool's pages charged until all is read.
    pub(crate) pool_fd: Option<OwnedFd>,
}

/// What a run has used.
struct Figures {
    counted: Counters,
    pool: Option<FsStat>,
}

/// State of the loop.
struct Loop<'p, 'a, 's> {
    launched: &'p mut Launched,
    streams: &'s mut Streams<'a>,
    limits: &'p Supervision,
    master: Option<OwnedFd>,
    pool: Option<OwnedFd>,
    started: Option<Instant>,
    exit: Option<Exit>,
    /// Read at the job's end already, since nothing else was left in the jail.
    figures: Option<Figures>,
    by: Option<EndedBy>,
    denied: Denied<'p>,
    kill_at: Option<Instant>,
    cpu_at: Option<Instant>,
    socket_open: bool,
    /// When set-up began, and when the command was about to be executed (CLOCK_MONOTONIC, nanoseconds).
    begun: Instant,
    about_to_start: Option<u64>,
    /// Whether PID 1 is our init.
    init: bool,
    /// A signal that came before the command ran, and ended the set-up.
    early: Option<i32>,
}

/// Watches until everything in the jail has ended.
///
/// `on_start` is called when the command runs.
///
/// # Errors
/// Set-up failed: the job was not run.
pub(crate) fn supervise(
    plan: &Plan,
    launched: &mut Launched,
    streams: &mut Streams<'_>,
    on_start: &mut dyn FnMut(),
) -> Result<Ended> {
    let begun = launched.begun;
    let through_stub = launched.through_stub;
    let mut state = Loop {
        launched,
        streams,
        limits: &plan.supervision,
        master: None,
        pool: None,
        started: None,
        exit: None,
        figures: None,
        by: None,
        denied: Denied::new(&plan.process.seccomp, through_stub),
        kill_at: None,
        cpu_at: None,
        socket_open: true,
        begun,
        about_to_start: None,
        init: plan.process.init,
        early: None,
    };
    state.until_end(plan, begun, on_start)
}

impl Loop<'_, '_, '_> {
    fn until_end(
        &mut self,
        plan: &Plan,
        begun: Instant,
        on_start: &mut dyn FnMut(),
    ) -> Result<Ended> {
        loop {
            let mut fds = self.poll_fds();
            let wait = self.next_deadline(begun).map(|at| {
                let left = at.saturating_duration_since(Instant::now());
                u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)
            });
            io::poll(&mut fds, wait).map_err(|e| Error::os("wait for the jail", e))?;
            let [pidfd, socket, input, stdout, stderr, signals, kill, denied] = fds;
            if socket.revents() != 0 {
                self.hear(plan, on_start)?;
            }
            if denied.revents() != 0 {
                self.denied.step();
            }
            if input.revents() != 0 {
                self.streams.input.step();
            }
            if stdout.revents() != 0 {
                self.streams.stdout.step();
            }
            if stderr.revents() != 0 {
                self.streams.stderr.step();
            }
            if self.streams.stdout.bytes + self.streams.stderr.bytes > 0 {
                // Its first output may be here before the init's word that it runs, and may
                // be all that is ever heard of it.
                self.start(self.about_to_start, on_start);
            }
            if signals.revents() != 0 {
                self.pass_signals_on();
            }
            if kill.revents() != 0 && self.by.is_none() {
                self.end(EndedBy::Caller);
            }
            if (self.streams.stdout.truncated || self.streams.stderr.truncated) && self.by.is_none()
            {
                self.end(EndedBy::Output);
            }
            if pidfd.revents() != 0 {
                // What it said last is still in the socket.
                while self.socket_open {
                    self.hear(plan, on_start)?;
                }
                return self.finish();
            }
            self.check_deadlines(begun)?;
        }
    }

    fn poll_fds(&self) -> [PollFd; 8] {
        let fd = |fd: i32| PollFd::new(fd, libc::POLLIN);
        let s = &self.streams;
        [
            fd(self.launched.pidfd().as_raw_fd()),
            fd(if self.socket_open { self.launched.socket.as_raw_fd() } else { -1 }),
            s.input.poll_fd(),
            s.stdout.poll_fd(),
            s.stderr.poll_fd(),
            fd(s.signals.as_ref().map_or(-1, AsRawFd::as_raw_fd)),
            fd(s.kill.filter(|_| self.by.is_none()).map_or(-1, |k| k.as_raw_fd())),
            self.denied.poll_fd(),
        ]
    }

    fn next_deadline(&self, begun: Instant) -> Option<Instant> {
        let rest = self.denied.wakes_at();
        let Some(started) = self.started else {
            return [Some(begun + SETUP_LIMIT), rest].into_iter().flatten().min();
        };
        let wall = self.limits.wall.filter(|_| self.by.is_none()).map(|w| started + w);
        let cpu = self.cpu_at.filter(|_| self.by.is_none());
        [wall, self.kill_at, cpu, rest].into_iter().flatten().min()
    }

    fn check_deadlines(&mut self, begun: Instant) -> Result<()> {
        let now = Instant::now();
        self.denied.look_at_clock(now);
        let Some(started) = self.started else {
            if now >= begun + SETUP_LIMIT {
                return Err(Error::new(
                    Kind::Os,
                    format!("set-up did not end within {} s", SETUP_LIMIT.as_secs()),
                ));
            }
            return Ok(());
        };
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_at = None;
            // The run may have ended meanwhile.
            let _ = self.launched.signal(libc::SIGKILL);
        }
        if self.by.is_some() {
            return Ok(());
        }
        if self.limits.wall.is_some_and(|w| now >= started + w) {
            self.end(EndedBy::Wall);
        } else if self.cpu_at.is_some_and(|at| now >= at) {
            self.look_at_cpu(now);
        }
        Ok(())
    }

    /// The kernel has no alarm for a cgroup's CPU time. So look, and look again when the limit
    /// can be reached at the earliest: with all processors busy.
    fn look_at_cpu(&mut self, now: Instant) {
        let (Some(limit), Some(used)) = (self.limits.cpu, self.launched.cgroup.cpu_usage_us())
        else {
            self.cpu_at = None;
            return;
        };
        let used = Duration::from_micros(used);
        if used >= limit {
            self.end(EndedBy::Cpu);
            return;
        }
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
        self.cpu_at = Some(now + ((limit - used) / cpus).max(CPU_TICK));
    }

    /// Ends the run, at once or by the stop signal first.
    fn end(&mut self, by: EndedBy) {
        self.by = Some(by);
        let time_limit = matches!(by, EndedBy::Wall | EndedBy::Cpu);
        match self.limits.stop {
            Some((number, grace)) if time_limit => {
                // Either fails only if the run has just ended.
                let _ = self.launched.signal(number);
                self.kill_at = Some(Instant::now() + grace);
            }
            _ => {
                let _ = self.launched.signal(libc::SIGKILL);
            }
        }
    }

    fn hear(&mut self, plan: &Plan, on_start: &mut dyn FnMut()) -> Result<()> {
        match self.launched.next_event()? {
            None => {}
            Some(Event::Pool(fd)) => self.pool = Some(fd),
            Some(Event::Console(master)) => self.connect_terminal(master)?,
            Some(Event::Listener(listener, pid, at)) => {
                self.denied.listen(listener, pid, at);
                self.about_to_start = Some(at);
            }
            Some(Event::Started(at)) => self.start(Some(at), on_start),
            Some(Event::Exited(exit)) => {
                self.exit = Some(exit);
                // While the init and its mounts go away, if it is the last there.
                if self.launched.cgroup.processes() == Some(1) {
                    self.figures = Some(self.read_figures());
                }
            }
            Some(Event::Failed(fail)) => return Err(self.launched.explain(plan, fail)),
            Some(Event::Hooks | Event::Ready | Event::Sibling(..) | Event::MapIds(..)) => {
                return Err(Error::new(Kind::Refused, "the child is out of step"));
            }
            Some(Event::End) => {
                self.socket_open = false;
                // Without an init the end of file is what says that execve worked; with one, it
                // comes after the start or not at all.
                if !plan.process.init {
                    self.start(self.about_to_start, on_start);
                }
            }
        }
        Ok(())
    }

    /// The command runs, by its own clock since `at_ns`: this process may hear of it late.
    fn start(&mut self, at_ns: Option<u64>, on_start: &mut dyn FnMut()) {
        let now = Instant::now();
        let since = at_ns.map_or(Duration::ZERO, |at| {
            Duration::from_nanos(clock::monotonic_ns().saturating_sub(at))
        });
        // Whatever the jail's clock says (a time namespace), not before it was made.
        let began = now.checked_sub(since).filter(|at| *at >= self.begun).unwrap_or(now);
        let first = self.started.is_none();
        self.started = Some(self.started.map_or(began, |known| known.min(began)));
        if first {
            if self.limits.cpu.is_some() {
                self.look_at_cpu(now);
            }
            on_start();
        }
    }

    fn connect_terminal(&mut self, master: OwnedFd) -> Result<()> {
        let os = |e| Error::os("connect to the job's terminal", e);
        io::set_nonblocking(master.as_fd()).map_err(os)?;
        if let Some(terminal) = &self.streams.terminal {
            // A caller whose terminal has no size gives none.
            let _ = io::copy_window_size(terminal.as_fd(), master.as_fd());
        }
        self.streams.stdout.set_source(io::duplicate(master.as_fd()).map_err(os)?);
        self.streams.input.set_destination(io::duplicate(master.as_fd()).map_err(os)?);
        self.master = Some(master);
        Ok(())
    }

    fn pass_signals_on(&mut self) {
        let Some(signals) = &self.streams.signals else { return };
        while let Ok(Some(number)) = signal::read_signalfd(signals.as_fd()) {
            if number == libc::SIGWINCH {
                if let (Some(terminal), Some(master)) = (&self.streams.terminal, &self.master) {
                    let _ = io::copy_window_size(terminal.as_fd(), master.as_fd());
                }
                continue;
            }
            // Before the start there is no job to tell, and the caller means us.
            let number = match self.started {
                Some(_) => number,
                None => {
                    self.early = Some(number);
                    libc::SIGKILL
                }
            };
            // The run may have ended meanwhile.
            let _ = self.launched.signal(number);
        }
    }

    /// Everything in the jail has ended: the rest of the output, and the figures.
    fn finish(&mut self) -> Result<Ended> {
        let finished = Instant::now();
        let waited = self.launched.reap()?;
        let started = match self.started {
            Some(started) => started,
            None => return Err(self.ended_early(waited.status)),
        };
        self.streams.input.finish();
        self.drain()?;
        // An init that ends without a word has been broken by the job, and then the kernel has
        // killed the job along with it: whatever the init exited with is not the job's word.
        let broken = self.init && libc::WIFEXITED(waited.status);
        let exit = self.exit.unwrap_or(Exit {
            // Ended by us for a signal that came in the very moment of the start: by that signal.
            status: if broken { libc::SIGKILL } else { self.early.unwrap_or(waited.status) },
            utime_us: waited.utime_us,
            stime_us: waited.stime_us,
            maxrss_kib: waited.maxrss_kib,
        });
        let Figures { counted, pool } = match self.figures.take() {
            Some(figures) => figures,
            None => self.read_figures(),
        };
        let lost =
            [("standard output", &self.streams.stdout), ("standard error", &self.streams.stderr)]
                .into_iter()
                .filter_map(|(name, stream)| stream.failed.map(|e| (name, e.into_raw())))
                .collect();
        let pool_fd = self.pool.take();
        self.denied.ended(exit.status);
        Ok(Ended {
            denied: self.denied.sum(),
            culprit: self.denied.culprit(),
            exit,
            by: self.by,
            started,
            finished,
            pool,
            counted,
            pool_fd,
            lost,
        })
    }

    fn read_figures(&self) -> Figures {
        Figures {
            counted: self.launched.cgroup.counters(),
            pool: self.pool.as_ref().and_then(|fd| fs::statfs(fd.as_fd()).ok()),
        }
    }

    /// What the job had written and the caller has not taken yet. The caller may take its time;
    /// a signal ends the wait.
    fn drain(&mut self) -> Result<()> {
        loop {
            self.streams.stdout.step();
            self.streams.stderr.step();
            let over = |o: &Output| o.truncated;
            if (over(&self.streams.stdout) || over(&self.streams.stderr)) && self.by.is_none() {
                self.by = Some(EndedBy::Output);
            }
            if self.streams.stdout.drained() && self.streams.stderr.drained() {
                return Ok(());
            }
            let s = &self.streams;
            let signals = s.signals.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let mut fds =
                [s.stdout.poll_fd(), s.stderr.poll_fd(), PollFd::new(signals, libc::POLLIN)];
            io::poll(&mut fds, None).map_err(|e| Error::os("pass output on", e))?;
            let [.., signals] = fds;
            if signals.revents() != 0 {
                return Ok(());
            }
        }
    }

    /// PID 1 ended before the command ran and without a word.
    fn ended_early(&self, status: i32) -> Error {
        if self.by == Some(EndedBy::Caller) {
            return Error::new(Kind::Os, "the caller ended it before the command was started");
        }
        if let Some(number) = self.early {
            let message = format!("signal {number} came before the command was started");
            return Error::new(Kind::Os, message);
        }
        ended_early(status)
    }
}

/// PID 1 was killed by somebody else.
fn ended_early(status: i32) -> Error {
    let how = if libc::WIFSIGNALED(status) {
        format!("signal {} ended it", libc::WTERMSIG(status))
    } else {
        format!("it exited with {}", libc::WEXITSTATUS(status))
    };
    let error =
        Error::new(Kind::Os, format!("the jail's first process ended during set-up: {how}"));
    match libc::WTERMSIG(status) {
        libc::SIGKILL if libc::WIFSIGNALED(status) => {
            error.hint("the memory limit may be too low for set-up: see -m")
        }
        libc::SIGSYS if libc::WIFSIGNALED(status) => {
            error.hint("the seccomp profile kills calls that set-up needs, such as execve or write")
        }
        _ => error,
    }
}
