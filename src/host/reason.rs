//! From what the kernel counted to a verdict and a sentence.

#![forbid(unsafe_code)]

use crate::host::cgroup::Counters;
use crate::host::supervise::{Ended, EndedBy};
use crate::outcome::{Limit, Status};
use crate::plan::{Plan, rlimits};
use std::time::Duration;

/// How it ended, why, and which limits were reached.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) status: Status,
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) reason: String,
    pub(crate) limits_hit: Vec<Limit>,
}

/// Judges.
pub(crate) fn judge(plan: &Plan, ended: &Ended, counted: &Counters, shmem: Option<u64>) -> Verdict {
    let word = ended.exit.status;
    let signal = libc::WIFSIGNALED(word).then(|| libc::WTERMSIG(word));
    let exit_code = libc::WIFEXITED(word).then(|| libc::WEXITSTATUS(word));
    let ooms = counted.oom_kills.unwrap_or(0);
    let disk = full(ended);

    let mut limits_hit = Vec::new();
    let mut hit = |yes: bool, limit: Limit| {
        if yes {
            limits_hit.push(limit);
        }
    };
    hit(ooms > 0, Limit::Memory);
    hit(counted.pids_refused.is_some_and(|n| n > 0), Limit::Pids);
    hit(disk.is_some(), Limit::Disk);
    hit(ended.by == Some(EndedBy::Output), Limit::Output);
    hit(ended.by == Some(EndedBy::Wall), Limit::Wall);
    let cpu_signal = ended_by_cpu_rlimit(plan, ended, signal);
    hit(ended.by == Some(EndedBy::Cpu) || cpu_signal, Limit::Cpu);

    // A shell reports a child killed by SIGKILL as 137; with an OOM kill on the books that is
    // what it means.
    let killed = signal == Some(libc::SIGKILL) || exit_code == Some(137);
    let status = match ended.by {
        Some(EndedBy::Wall) => Status::Timeout,
        Some(EndedBy::Cpu) => Status::CpuTime,
        Some(EndedBy::Output) => Status::OutputLimit,
        _ if ooms > 0 && killed => Status::OomKilled,
        _ if cpu_signal => Status::CpuTime,
        _ if signal.is_some() => Status::Signaled,
        _ => Status::Exited,
    };
    let mut reason = match status {
        Status::Timeout => {
            format!("the wall time limit of {} ended it", seconds(plan.supervision.wall))
        }
        Status::CpuTime => {
            // SIGXCPU comes from the resource limit, which is in seconds: the user's, or the one
            // that stands in for a cgroup.
            let rlimit = plan.process.rlimits.iter().find(|r| r.resource == rlimits::CPU);
            let limit = match rlimit {
                Some(r) if cpu_signal && r.hard != rlimits::UNLIMITED => {
                    let killed = signal == Some(libc::SIGKILL);
                    Some(Duration::from_secs(if killed { r.hard } else { r.soft }))
                }
                Some(r) if cpu_signal && r.soft != rlimits::UNLIMITED => {
                    Some(Duration::from_secs(r.soft))
                }
                _ => plan.supervision.cpu,
            };
            format!("the CPU time limit of {} ended it", seconds(limit))
        }
        Status::OutputLimit => format!(
            "it wrote more than the output limit of {}",
            plan.supervision.output.map_or_else(String::new, size)
        ),
        Status::OomKilled => {
            let limit =
                plan.resources.memory.map_or_else(String::new, |m| format!(" of {}", size(m)));
            format!("the kernel killed it for going over the memory limit{limit}")
        }
        Status::Signaled => {
            let number = signal.unwrap_or(0);
            let who = if ended.by == Some(EndedBy::Caller) { "the caller" } else { "signal" };
            if ended.by == Some(EndedBy::Caller) {
                format!("{who} ended it")
            } else {
                format!("{who} {number} ({}) ended it", signal_name(number))
            }
        }
        _ => match exit_code {
            Some(0) => "it exited with 0".to_owned(),
            code => format!("it exited with {}", code.unwrap_or(0)),
        },
    };
    for (stream, errno) in &ended.lost {
        let why = crate::error::describe_errno(*errno);
        reason.push_str(&format!("; its {stream} could not be passed on: {why}"));
    }
    explain(&mut reason, status, plan, counted, ooms, disk, shmem);
    if signal == Some(libc::SIGSYS) {
        reason.push_str(&by_the_filter(plan));
    }
    let failed = !matches!((status, exit_code), (Status::Exited, Some(0)));
    if let Some((name, count)) = ended.culprit.as_ref().filter(|_| failed) {
        let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
        reason.push_str(&format!("; seccomp denied {name} {times}"));
    }
    Verdict { status, exit_code, signal, reason, limits_hit }
}

/// Whether the resource limit on CPU time ended it: by SIGXCPU at the soft limit, or at the hard one by
/// SIGKILL, which says nothing of why. Anybody may send either, so there must be a limit, and for
/// SIGKILL the time must have been used.
fn ended_by_cpu_rlimit(plan: &Plan, ended: &Ended, signal: Option<i32>) -> bool {
    let Some(limit) = plan.process.rlimits.iter().find(|r| r.resource == rlimits::CPU) else {
        return false;
    };
    // Where the limit stands in for a cgroup the plan has none, and the supervision has.
    let stands_in = plan.supervision.cpu.map(|d| d.as_secs() + u64::from(d.subsec_nanos() > 0));
    let hard = stands_in.map_or(limit.hard, |s| limit.hard.min(s + 1));
    let used = Duration::from_micros(ended.exit.utime_us + ended.exit.stime_us);
    match signal {
        Some(libc::SIGXCPU) => limit.soft != rlimits::UNLIMITED || stands_in.is_some(),
        // For the limit the kernel counts ticks, each for whoever has the processor just then. The time
        // used is exact, and on a busy machine much less.
        Some(libc::SIGKILL) if ended.by.is_none() && hard != rlimits::UNLIMITED => {
            used >= Duration::from_secs(hard) / 2
        }
        _ => false,
    }
}

/// SIGSYS is how the filter kills. The kernel does not tell which call it was, but a profile kills
/// few.
fn by_the_filter(plan: &Plan) -> String {
    let name = crate::plan::values::quote(&plan.process.seccomp.name);
    let killers = crate::plan::seccomp::notify::killers(&plan.process.seccomp.filter);
    let calls = match killers.as_slice() {
        [] => "calls of another architecture".to_owned(),
        [one] => format!("{one}, and calls of another architecture"),
        [some @ .., last] if some.len() < 8 => format!("{} and {last}", some.join(", ")),
        many => format!("{} calls", many.len()),
    };
    format!("; the seccomp filter {name} kills for {calls}")
}

/// What else the counters say.
fn explain(
    reason: &mut String,
    status: Status,
    plan: &Plan,
    counted: &Counters,
    ooms: u64,
    disk: Option<Full>,
    shmem: Option<u64>,
) {
    if ooms > 0 && status != Status::OomKilled {
        reason.push_str(&format!(
            "; the memory limit{} ended {ooms} of its processes",
            plan.resources.memory.map_or_else(String::new, |m| format!(" of {}", size(m)))
        ));
    }
    // Worth a word when it is a good part of what the limit is.
    let limit = plan.resources.memory.unwrap_or(u64::MAX);
    if let Some(pages) = shmem.filter(|s| ooms > 0 && *s >= limit / 4) {
        reason.push_str(&format!(
            "; {} of that were files in its tmpfs (/tmp, /work, /dev/shm) or shared memory, which count as memory",
            size(pages)
        ));
    }
    if let Some(refused) = counted.pids_refused.filter(|n| *n > 0) {
        reason.push_str(&format!(
            "; the limit of {} processes refused {refused} more",
            plan.resources.pids.map_or_else(String::new, |n| n.to_string())
        ));
    }
    if let Some(full) = disk {
        let limits = plan.pool.as_ref();
        reason.push_str(&match full {
            Full::Blocks => {
                format!("; its disk of {} was full", size(limits.map_or(0, |p| p.size)))
            }
            Full::Inodes => format!(
                "; its disk had all of its {} inodes (files and directories) in use",
                limits.and_then(|p| p.inodes).map_or_else(String::new, |n| n.to_string())
            ),
        });
    }
}

/// What of the disk was in use to the last.
#[derive(Clone, Copy)]
enum Full {
    Blocks,
    Inodes,
}

/// No free block or inode: whatever was written next got ENOSPC.
fn full(ended: &Ended) -> Option<Full> {
    let pool = ended.pool?;
    if pool.blocks > 0 && pool.blocks_free == 0 {
        return Some(Full::Blocks);
    }
    (pool.inodes > 0 && pool.inodes_free == 0).then_some(Full::Inodes)
}

fn seconds(limit: Option<std::time::Duration>) -> String {
    limit.map_or_else(String::new, |d| format!("{} s", d.as_secs_f64()))
}

/// Bytes in the largest unit that divides them.
pub(crate) fn size(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >> shift > 0 && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    if bytes >= 1 << 20 {
        return format!("{} MiB", bytes >> 20);
    }
    format!("{bytes} bytes")
}

fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number)
        .map_or_else(|_| format!("SIG{number}"), |s| s.as_str().to_owned())
}
