//! The launch: one clone3, the id maps, Go, and the wait until the command runs.
//!
//! This is the parent's side of the handshake that `wire.rs` draws. Until `Started` (or the end
//! of file that stands for it) nothing of the job has run; if anything fails before, the child
//! is killed and reaped, and the cgroup removed, by dropping [`Launched`].

#![forbid(unsafe_code)]

use crate::child;
use crate::error::{Error, Kind, Result, Stage};
use crate::host::arm::{self, Wiring};
use crate::host::cgroup::{Cgroup, Found};
use crate::host::explain::explain;
use crate::host::{exe, idmap, sources};
use crate::plan::detail::NamespaceKind;
use crate::plan::facts::Facts;
use crate::plan::{Plan, rlimits};
use crate::sys::process;
use crate::sys::{self, io, signal};
use crate::wire::{Exit, Fail, Message, SIZE, Step};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// Descriptors that become the job's 0, 1 and 2.
#[derive(Debug)]
pub(crate) struct Stdio {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// A child that is being set up or runs. Dropped, it is killed and everything is removed.
#[derive(Debug)]
pub(crate) struct Launched {
    pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) socket: OwnedFd,
    pub(crate) cgroup: Cgroup,
    /// Before the clone.
    pub(crate) begun: Instant,
    reaped: bool,
    /// Whether the command is executed through the stub.
    pub(crate) through_stub: bool,
    /// For messages: which program places were tried, which step is which.
    candidates: usize,
    present: Vec<usize>,
}

/// What came over the socket.
#[derive(Debug)]
pub(crate) enum Event {
    /// The tmpfs of all writable places.
    Pool(OwnedFd),
    /// The master of the job's terminal.
    Console(OwnedFd),
    /// The listener of the job's filter, from the job's process, and when it was about to be executed
    /// (CLOCK_MONOTONIC, nanoseconds).
    Listener(OwnedFd, Option<i32>, u64),
    /// The command runs, since then.
    Started(u64),
    /// The init reaped the job.
    Exited(Exit),
    /// Set-up failed.
    Failed(Fail),
    /// Nobody is at the other end any more.
    End,
    /// The ids of this step's mount are to be mapped; it comes over that socket.
    MapIds(u32, OwnedFd),
    /// Everything is mounted, and hooks may run.
    Hooks,
    /// Set-up is complete, and the command waits.
    Ready,
    /// This process is the job, and not the one that was cloned.
    Sibling(i32, OwnedFd),
}

/// Flags of clone3 for a plan.
pub(crate) fn clone_flags(plan: &Plan, joins_late: bool) -> u64 {
    let mut flags = 0;
    let mut add = |on: bool, f: i32| {
        if on {
            flags |= u64::from(f.cast_unsigned());
        }
    };
    add(plan.is_new(NamespaceKind::Mount), libc::CLONE_NEWNS);
    add(plan.is_new(NamespaceKind::Pid), libc::CLONE_NEWPID);
    add(plan.is_new(NamespaceKind::Ipc), libc::CLONE_NEWIPC);
    add(plan.is_new(NamespaceKind::Uts), libc::CLONE_NEWUTS);
    add(plan.namespaces.user.is_some(), libc::CLONE_NEWUSER);
    // With CLONE_INTO_CGROUP the new namespace's root is the new cgroup; on v1 the child makes
    // it once it has joined.
    add(!joins_late && plan.is_new(NamespaceKind::Cgroup), libc::CLONE_NEWCGROUP);
    // One with offsets is made by the child, which sets them before anybody is in it.
    if plan.namespaces.time && plan.details.time_offsets.is_none() {
        flags |= process::CLONE_NEWTIME;
    }
    flags
}

/// Rights that the caller has not, and stockade would use for it.
///
/// # Errors
/// There are some.
pub(crate) fn refuse_set_uid() -> Result<()> {
    if !process::started_set_uid() {
        return Ok(());
    }
    Err(Error::new(Kind::Refused, "stockade was started set-uid or with file capabilities")
        .hint("it is not made for that (CVE-2016-8659); run it as root or as an ordinary user"))
}

/// Arms and clones.
///
/// # Errors
/// Everything that [`arm`] and [`Cgroup::create`] find, and a refused clone.
pub(crate) fn launch(plan: &Plan, facts: &Facts, stdio: &Stdio) -> Result<Launched> {
    refuse_set_uid()?;
    // The child blanks them: anyone in the jail can read its /proc/1/cmdline.
    process::find_arguments().map_err(|e| {
        Error::os("find this process's arguments in /proc/self/stat", e)
            .hint("/proc has to be mounted")
    })?;
    let (rootfs, pending) = arm::root(plan, facts.privileged, &BTreeMap::new())?;
    let present = rootfs.present.clone();
    // Root's cgroups on v1 are made while the child mounts; all others before, since the clone
    // needs them or what they lack is made up for in the child.
    let found = Found::look(&plan.resources);
    let late = facts.privileged && found.can_be_late(&plan.resources);
    let (cgroup, found) = if late {
        (Cgroup::none(), Some(found))
    } else {
        (Cgroup::create(&plan.id, &plan.resources, found)?, None)
    };
    let joins_late = late || cgroup.joins_late();
    let pair = io::seqpacket_pair().and_then(|(a, b)| Ok((io::move_high(a)?, io::move_high(b)?)));
    let (ours, theirs) = pair.map_err(|e| Error::os("make a socket pair", e))?;
    let wiring = Wiring {
        socket: theirs,
        stdio: [stdio.stdin.as_raw_fd(), stdio.stdout.as_raw_fd(), stdio.stderr.as_raw_fd()],
        unshare_cgroup: joins_late,
        rlimits: if late { Vec::new() } else { instead_of_cgroup(plan, &cgroup) },
        last_cap: facts.last_cap,
        exposed: exe::is_exposed(plan)?,
        joins: Vec::new(),
        outer: None,
        detached: None,
        plain_lines: false,
        network: None,
    };
    let armed = arm::all(plan, Some(rootfs), wiring)?;
    let begun = Instant::now();
    let (pid, pidfd) = clone(plan, &armed, &cgroup, joins_late)?;
    let mut launched = Launched {
        pid,
        pidfd,
        socket: ours,
        cgroup,
        begun,
        reaped: false,
        through_stub: armed.stub.is_some(),
        candidates: armed.candidates.len(),
        present,
    };
    // It works on the mounts while we make the cgroups. For speed only; see there.
    let sent = sys::sched::send_elsewhere(pid).is_some();
    if let Some(user) = &plan.namespaces.user {
        idmap::write_maps(pid, user).map_err(|e| e.during(Stage::Ids))?;
    }
    launched.tell(plan, Message::Go, None)?;
    // While the child makes the root. Before anything else is sent: it reads these first.
    sources::send(&pending, None, plan.namespaces.user.as_ref(), pid, launched.socket.as_fd())
        .map_err(|e| launched.last_words().map_or(e, |fail| launched.explain(plan, fail)))?;
    // The child has its own copies; ours of the mounts, the socket's other end and the cgroup's
    // files go here, so that the end of file means that the child is gone.
    drop(armed);
    if let Some(found) = found {
        launched.cgroup = Cgroup::create(&plan.id, &plan.resources, found)?;
    }
    launched.join_cgroups(plan, &launched.cgroup.tasks()?)?;
    if sent && !launched.has_spoken() {
        // By now it has long made the pool and sent it, if it runs at all. Before Proceed, after
        // which the child says once more where the job may run: it may overtake us here.
        sys::sched::bring_back(pid);
    }
    launched.tell(plan, Message::Proceed, None)?;
    // The job's process is known to the host by another number than to its init. Not before: a socket
    // that passes credentials is given an abstract name by its next send (CVE-2020-15257).
    io::pass_credentials(launched.socket.as_fd()).map_err(|e| Error::os("set up a socket", e))?;
    Ok(launched)
}

/// What rlimits can do where the cgroup cannot: for each process and not for all together,
/// except for the number of processes, which is counted in the jail's own user namespace.
fn instead_of_cgroup(plan: &Plan, cgroup: &Cgroup) -> Vec<(u32, u64)> {
    let r = &plan.resources;
    let cpu = plan.supervision.cpu.map(|d| d.as_secs() + u64::from(d.subsec_nanos() > 0));
    [
        // Not RLIMIT_AS: V8 and the JVM reserve far more than they use.
        (rlimits::DATA, "memory", r.memory),
        (rlimits::NPROC, "pids", r.pids.filter(|_| plan.namespaces.user.is_some())),
        (rlimits::CPU, "cpuacct", cpu),
    ]
    .into_iter()
    .filter(|(_, controller, _)| cgroup.lacks(controller))
    .filter_map(|(resource, _, value)| value.map(|v| (resource, v)))
    .collect()
}

/// The clone itself, with every signal blocked: no handler of the embedder may run in the child,
/// and none that comes for the init may be lost.
fn clone(
    plan: &Plan,
    armed: &child::Armed,
    cgroup: &Cgroup,
    joins_late: bool,
) -> Result<(i32, OwnedFd)> {
    let refused = |e| {
        Error::step(Step::Handshake, "make the jail's namespaces (clone3)", sys::Errno::into_raw(e))
    };
    let mask = signal::set_mask(signal::ALL).map_err(|e| Error::os("block signals", e))?;
    let cloned = process::clone_into(
        clone_flags(plan, joins_late),
        cgroup.clone_into(),
        child::enter,
        armed,
    );
    signal::set_mask(mask).map_err(|e| Error::os("unblock signals", e))?;
    cloned.map_err(refused)
}

impl Launched {
    /// A child that was just cloned.
    pub(crate) fn new(
        pid: i32,
        pidfd: OwnedFd,
        socket: OwnedFd,
        armed: &child::Armed,
        present: Vec<usize>,
    ) -> Launched {
        Launched {
            pid,
            pidfd,
            socket,
            cgroup: Cgroup::none(),
            begun: Instant::now(),
            reaped: false,
            through_stub: armed.stub.is_some(),
            candidates: armed.candidates.len(),
            present,
        }
    }

    /// The sibling takes the place of the child, which has ended.
    pub(crate) fn becomes(&mut self, pid: i32, pidfd: OwnedFd) -> Result<()> {
        process::wait4(self.pid, 0).map_err(|e| Error::os("wait for the child", e))?;
        (self.pid, self.pidfd) = (pid, pidfd);
        Ok(())
    }

    /// The next message, waited for.
    pub(crate) fn wait_event(&self) -> Result<Event> {
        loop {
            let mut fds = [io::PollFd::new(self.socket.as_raw_fd(), libc::POLLIN)];
            io::poll(&mut fds, None).map_err(|e| Error::os("wait for the child", e))?;
            if let Some(event) = self.next_event()? {
                return Ok(event);
            }
        }
    }

    /// Lets go of it: from here on it lives on its own.
    pub(crate) fn release(mut self) -> Result<OwnedFd> {
        self.reaped = true;
        io::duplicate(self.pidfd.as_fd()).map_err(|e| Error::os("duplicate a pidfd", e))
    }

    /// Sends the cgroups that the child joins by itself.
    pub(crate) fn join_cgroups(&self, plan: &Plan, tasks: &[OwnedFd]) -> Result<()> {
        for some in tasks.chunks(crate::wire::Sources::MOST) {
            self.hand_cgroups(plan, Message::Join, some)?;
        }
        Ok(())
    }

    /// Sends descriptors of cgroups with a message that says what they are for.
    pub(crate) fn hand_cgroups(
        &self,
        plan: &Plan,
        message: Message,
        all: &[OwnedFd],
    ) -> Result<()> {
        let fds: Vec<_> = all.iter().map(AsFd::as_fd).collect();
        io::send_many(self.socket.as_fd(), &message.to_bytes(), &fds).map_err(|e| {
            // The child has gone, and its last word says why.
            match self.last_words() {
                Some(fail) => self.explain(plan, fail),
                None => Error::os("send the child its cgroups", e),
            }
        })
    }

    pub(crate) fn tell(
        &self,
        plan: &Plan,
        message: Message,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        io::send(self.socket.as_fd(), &message.to_bytes(), fd).map_err(|e| {
            // The child has gone, and its last word says why.
            match self.last_words() {
                Some(fail) => self.explain(plan, fail),
                None => Error::os("tell the child to go on", e),
            }
        })
    }

    /// Whether something of the child's waits to be read.
    fn has_spoken(&self) -> bool {
        let mut fds = [io::PollFd::new(self.socket.as_raw_fd(), libc::POLLIN)];
        let ready = io::poll(&mut fds, Some(0));
        let [socket] = fds;
        ready.is_err() || socket.revents() != 0
    }

    pub(crate) fn last_words(&self) -> Option<Fail> {
        while let Ok(Some(event)) = self.next_event() {
            match event {
                Event::Failed(fail) => return Some(fail),
                Event::End => return None,
                _ => {}
            }
        }
        None
    }

    /// Reads the next message, without waiting.
    ///
    /// # Errors
    /// The bytes are none of ours: whoever sent them is not our child's code.
    pub(crate) fn next_event(&self) -> Result<Option<Event>> {
        let mut buf = [0u8; SIZE + 1];
        let got = match io::recv_from(self.socket.as_fd(), &mut buf, true) {
            // The child ended with something of ours unread, which the kernel reports once and
            // before what the child had sent: why it ended is still to be read.
            Err(e) if e.0 == libc::ECONNRESET => io::recv_from(self.socket.as_fd(), &mut buf, true),
            got => got,
        };
        let io::Packet { len: n, fd, sender } = match got {
            Ok(got) => got,
            Err(e) if e.0 == libc::EAGAIN => return Ok(None),
            Err(e) if e.0 == libc::ECONNRESET => return Ok(Some(Event::End)),
            Err(e) => return Err(Error::os("hear from the child", e)),
        };
        if n == 0 {
            return Ok(Some(Event::End));
        }
        let garbled = || Error::new(Kind::Refused, "the child sent something that is no message");
        Ok(Some(match (buf.get(..n).and_then(Message::from_bytes), fd) {
            (Some(Message::Pool), Some(fd)) => Event::Pool(fd),
            (Some(Message::Console), Some(fd)) => Event::Console(fd),
            (Some(Message::Listener(at)), Some(fd)) => Event::Listener(fd, sender, at),
            (Some(Message::Started(at)), None) => Event::Started(at),
            (Some(Message::Exited(exit)), None) => Event::Exited(exit),
            (Some(Message::Failed(fail)), None) => Event::Failed(fail),
            (Some(Message::Hooks), None) => Event::Hooks,
            (Some(Message::MapIds(step)), Some(fd)) => Event::MapIds(step, fd),
            (Some(Message::Ready), None) => Event::Ready,
            (Some(Message::Sibling(pid)), Some(fd)) => Event::Sibling(pid, fd),
            _ => return Err(garbled()),
        }))
    }

    /// Sends a signal to PID 1 of the jail.
    pub(crate) fn signal(&self, number: i32) -> sys::Result<()> {
        match process::pidfd_send_signal(self.pidfd.as_fd(), number) {
            // A filter in front of the kernel hides the call, and the limits of time must hold. As long
            // as nobody has reaped it, the number is its own.
            Err(e) if e.0 == libc::ENOSYS && !self.reaped => process::kill(self.pid, number),
            other => other,
        }
    }

    /// PID 1 of the jail, as the host knows it.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits for the end of PID 1, and with it of everything in the jail.
    ///
    /// # Errors
    /// Somebody else reaped the child.
    pub(crate) fn reap(&mut self) -> Result<process::Waited> {
        loop {
            match process::wait4(self.pid, 0) {
                Ok(Some(waited)) => {
                    self.reaped = true;
                    return Ok(waited);
                }
                Ok(None) => {}
                Err(e) if e.0 == libc::EINTR => {}
                Err(e) => {
                    // Reaped by the embedder's own wait for any child: the process is gone.
                    self.reaped = e.0 == libc::ECHILD;
                    return Err(Error::os("wait for the jail", e).hint(
                        "the embedding program must not wait for children that are not its own \
                         (waitpid(-1), SIGCHLD ignored)",
                    ));
                }
            }
        }
    }

    /// The words for a failed set-up.
    pub(crate) fn explain(&self, plan: &Plan, fail: Fail) -> Error {
        explain(plan, fail, &self.present, self.candidates)
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if !self.reaped {
            // Already dead is as good; then the wait returns at once.
            let _ = self.signal(libc::SIGKILL);
            let _ = self.reap();
        }
        self.cgroup.remove();
    }
}
