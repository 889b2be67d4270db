//! The other end of the job's filter: hears of every call that the filter denies, counts it, and
//! answers with what the profile says.
//!
//! The answer comes from the profile's own program, run over the registers that the kernel
//! copied when the call was made. Nothing is read from the job's memory, and no call of the job's
//! is ever let through: of the two things that make a listener a bad guard neither is done.
//! The one exception is the start of a restricted job ([`Denied::execs`]).
//!
//! A job that floods its denied calls slows only itself: what is answered in a millisecond is
//! bounded, what is remembered has a fixed size, and limits are looked at between the answers.

#![forbid(unsafe_code)]

use crate::host::klog;
use crate::outcome::DeniedSyscall;
use crate::plan::Seccomp;
use crate::plan::seccomp::interpret::Call;
use crate::plan::seccomp::notify::{Answer, answer, name_of};
use crate::sys::io::{self, PollFd};
use crate::sys::seccomp;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Most different calls that are told by name; the others are counted together.
const NAMES: usize = 64;
/// Most calls that are answered at once; then the other business of the loop has its turn.
const BATCH: u32 = 32;
/// How long the listener rests when a batch was full: at most 32,000 answers a second, which
/// take the supervisor a tenth of a processor.
const REST: Duration = Duration::from_millis(1);

/// Name of everything past [`NAMES`].
const OTHERS: &str = "others";

/// What was denied, and the listener.
#[derive(Debug)]
pub(crate) struct Denied<'p> {
    listener: Option<OwnedFd>,
    /// Whether there ever was one.
    listened: bool,
    profile: &'p Seccomp,
    /// Calls of execve still let through: the job's own start, of a restricted job. The first
    /// that comes is the set-up's: nothing else runs under the filter before it has succeeded.
    /// Its arguments lie in memory that only the set-up and the init share, which waits for it, so
    /// they cannot change between the look and the call. What the job calls later is denied
    /// without a look at its arguments, so there is nothing to be deceived about. If it fails the
    /// set-up does not try again.
    execs: u32,
    seen: BTreeMap<(u32, u32), u64>,
    others: u64,
    rests_until: Option<Instant>,
    /// The call that was denied last.
    last: Option<Call>,
    /// The call that the kernel killed the job for, if it has said so.
    killer: Option<Call>,
    /// The job, as the host knows it, and when it began (CLOCK_MONOTONIC, nanoseconds).
    job: Option<(i32, u64)>,
}

impl<'p> Denied<'p> {
    pub(crate) fn new(profile: &'p Seccomp, through_stub: bool) -> Denied<'p> {
        Denied {
            listener: None,
            listened: false,
            profile,
            // The stub is executed first, and then executes the program.
            execs: if profile.execs > 0 { profile.execs + u32::from(through_stub) } else { 0 },
            seen: BTreeMap::new(),
            others: 0,
            rests_until: None,
            last: None,
            killer: None,
            job: None,
        }
    }

    /// Begins to listen to the job `pid`, which is about to be executed. A kernel whose structures are longer than we know is not listened to: what
    /// is denied then fails with ENOSYS, and the outcome says that nobody listened.
    pub(crate) fn listen(&mut self, listener: OwnedFd, pid: Option<i32>, at_ns: u64) {
        self.job = pid.map(|pid| (pid, at_ns));
        if seccomp::sizes_fit() {
            self.listened = true;
            self.listener = Some(listener);
        }
    }

    /// To be polled; -1 while it rests.
    pub(crate) fn poll_fd(&self) -> PollFd {
        let listener = self.listener.as_ref().filter(|_| self.rests_until.is_none());
        PollFd::new(listener.map_or(-1, AsRawFd::as_raw_fd), libc::POLLIN)
    }

    /// When it is to be polled again.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Ends the rest when it is over.
    pub(crate) fn look_at_clock(&mut self, now: Instant) {
        if self.rests_until.is_some_and(|at| now >= at) {
            self.rests_until = None;
        }
    }

    /// Answers what waits.
    pub(crate) fn step(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        for _ in 0..BATCH {
            // Receiving would wait if the caller has been killed meanwhile.
            let mut fds = [PollFd::new(listener.as_raw_fd(), libc::POLLIN)];
            let ready = io::poll(&mut fds, Some(0));
            let [polled] = fds;
            if ready.is_err() || polled.revents() == 0 {
                self.listener = Some(listener);
                return;
            }
            if polled.revents() & libc::POLLIN == 0 {
                // Nobody is left under the filter; or (POLLERR) its lock was not to be had.
                if polled.revents() & libc::POLLHUP == 0 {
                    self.listener = Some(listener);
                }
                return;
            }
            // An error: the caller was killed in between.
            if let Ok(call) = seccomp::receive(listener.as_fd()) {
                self.answer(listener.as_fd(), &call);
            }
        }
        self.listener = Some(listener);
        self.rests_until = Some(Instant::now() + REST);
    }

    fn answer(&mut self, listener: BorrowedFd<'_>, waiting: &seccomp::Notification) {
        let call = Call { nr: waiting.nr, arch: waiting.arch, args: waiting.args };
        let verdict = match answer(&self.profile.filter, &call) {
            Answer::Errno(_) if self.execs > 0 && is_exec(&call) => {
                self.execs -= 1;
                seccomp::Verdict::Continue
            }
            Answer::Errno(number) => {
                self.count(&call, number);
                seccomp::Verdict::Errno(number)
            }
            // The filter does not send such; if it came all the same it is not allowed here.
            Answer::Kill | Answer::Other => seccomp::Verdict::Errno(libc::EPERM),
        };
        // An error: the caller was killed in between.
        let _ = seccomp::respond(listener, waiting.id, verdict);
    }

    fn count(&mut self, call: &Call, errno: i32) {
        // glibc tries it on every thread and every posix_spawn, and falls back as intended.
        if errno == libc::ENOSYS && name_of(call).0 == "clone3" {
            return;
        }
        let key = (call.arch, call.nr);
        let known = self.seen.len();
        match self.seen.get_mut(&key) {
            Some(n) => *n += 1,
            None if known < NAMES => {
                self.seen.insert(key, 1);
            }
            None => self.others += 1,
        }
        if errno != libc::ENOSYS {
            self.last = Some(*call);
        }
    }

    /// The job has ended; if a filter killed it the kernel may say for which call.
    pub(crate) fn ended(&mut self, status: i32) {
        if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS {
            self.killer = self.job.and_then(|(pid, since)| klog::killer(pid, since));
        }
    }

    /// The sum; `None`: nobody listened.
    pub(crate) fn sum(&self) -> Option<Vec<DeniedSyscall>> {
        if self.profile.filter.is_empty() {
            return Some(Vec::new());
        }
        if !self.listened {
            return None;
        }
        let mut list: Vec<DeniedSyscall> = self
            .seen
            .iter()
            .map(|(&(arch, nr), &count)| {
                let call = Call { nr, arch, args: [0; 6] };
                let (name, arch) = name_of(&call);
                DeniedSyscall { name, arch, count, action: "errno" }
            })
            .collect();
        list.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        if let Some(call) = &self.killer {
            let (name, arch) = name_of(call);
            list.insert(0, DeniedSyscall { name, arch, count: 1, action: "kill" });
        }
        if self.others > 0 {
            let name = OTHERS.to_owned();
            list.push(DeniedSyscall { name, arch: "", count: self.others, action: "errno" });
        }
        Some(list)
    }

    /// The call that most likely made the job fail: the one that killed it, or that was denied last,
    /// but not one that was answered with ENOSYS, for which programs are prepared.
    pub(crate) fn culprit(&self) -> Option<(String, u64)> {
        if let Some(call) = &self.killer {
            return Some((name_of(call).0, 1));
        }
        let call = self.last?;
        let count = self.seen.get(&(call.arch, call.nr)).copied().unwrap_or(1);
        Some((name_of(&call).0, count))
    }
}

fn is_exec(call: &Call) -> bool {
    matches!(name_of(call).0.as_str(), "execve" | "execveat")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SeccompWhen;
    use crate::plan::seccomp::precompiled;

    fn profile() -> Seccomp {
        Seccomp {
            name: "default".to_owned(),
            filter: precompiled().unwrap(),
            flags: 0,
            when: SeccompWhen::Last,
            telling: None,
            asking: None,
            execs: 0,
        }
    }

    #[test]
    fn a_job_that_tries_every_number_does_not_grow_the_supervisor() {
        let profile = profile();
        let mut denied = Denied::new(&profile, false);
        for nr in 0..100_000u32 {
            denied.count(&Call { nr, arch: 0xc000_003e, args: [0; 6] }, libc::EPERM);
        }
        denied.listened = true;
        let sum = denied.sum().unwrap();
        assert_eq!(sum.len(), NAMES + 1);
        assert_eq!(sum.iter().map(|d| d.count).sum::<u64>(), 100_000);
        assert_eq!(sum.last().unwrap().name, OTHERS);
    }

    #[test]
    fn the_likely_culprit_is_the_last_one_that_was_not_told_to_be_absent() {
        let profile = profile();
        let mut denied = Denied::new(&profile, false);
        let call =
            |nr: i64| Call { nr: u32::try_from(nr).unwrap(), arch: 0xc000_003e, args: [0; 6] };
        denied.count(&call(libc::SYS_io_uring_setup), libc::EPERM);
        denied.count(&call(libc::SYS_bpf), libc::EPERM);
        denied.count(&call(libc::SYS_bpf), libc::EPERM);
        denied.count(&call(libc::SYS_openat2), libc::ENOSYS);
        denied.count(&call(libc::SYS_clone3), libc::ENOSYS);
        assert_eq!(denied.culprit(), Some(("bpf".to_owned(), 2)));
        denied.listened = true;
        let sum = denied.sum().unwrap();
        let names: Vec<_> = sum.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["bpf", "io_uring_setup", "openat2"]);
        denied.listened = false;
        assert!(denied.sum().is_none());
    }
}
