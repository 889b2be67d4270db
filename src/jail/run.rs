//! Running a jail: from the plan to the end, here or in a thread of its own.

#![forbid(unsafe_code)]

use super::Jail;
use super::stdio::Pipes;
use crate::error::{Error, Kind, Result};
use crate::host::{launch, missing, probe, supervise};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::sys::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc;
use std::time::Instant;

impl Jail {
    pub(super) fn run_with(
        mut self,
        kill: Option<BorrowedFd<'_>>,
        on_start: &mut dyn FnMut(Started),
    ) -> Result<Outcome> {
        let Some(mut audit) = self.start_audit()? else {
            return self.attempt(kill, on_start, &mut |_| {}).map_err(missing::named);
        };
        let result = self.attempt(kill, on_start, &mut |plan| audit.planned(plan));
        audit.finish(result.map_err(missing::named))
    }

    fn attempt(
        mut self,
        kill: Option<BorrowedFd<'_>>,
        on_start: &mut dyn FnMut(Started),
        on_plan: &mut dyn FnMut(&Plan),
    ) -> Result<Outcome> {
        let began = self.began.unwrap_or_else(Instant::now);
        let facts = probe::probe()?;
        let mut plan = self.plan(&facts)?;
        on_plan(&plan);
        let (child, mut streams, pipes) = self.wire(&plan)?;
        streams.kill = kill;
        // The job's has it from the start: one that asks at once would be faster than we are.
        let size = streams.terminal.as_ref().and_then(|t| io::window_size(t.as_fd()).ok());
        plan.details.terminal.size = size;
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
}

/// What `spawn` hears when the command runs.
pub(super) struct Started {
    pidfd: Option<OwnedFd>,
    pipes: Option<Pipes>,
}

/// A run in progress. Dropped, it is killed and everything is removed.
#[derive(Debug)]
pub struct Running {
    thread: Option<std::thread::JoinHandle<Result<Outcome>>>,
    kill: OwnedFd,
    pidfd: OwnedFd,
    /// The other end of the job's standard input, if that is [`super::Stdio::Piped`].
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
