//! How the process is scheduled: sched_setattr(2), as far as it can be judged without the kernel.

#![forbid(unsafe_code)]

use super::process::number;
use super::{bad, spec};
use crate::error::Result;
use crate::plan::detail::Scheduler;

pub(super) fn plan(s: &spec::Scheduler) -> Result<Scheduler> {
    let policies = [
        ("SCHED_OTHER", 0),
        ("SCHED_FIFO", 1),
        ("SCHED_RR", 2),
        ("SCHED_BATCH", 3),
        ("SCHED_ISO", 4),
        ("SCHED_IDLE", 5),
        ("SCHED_DEADLINE", 6),
    ];
    let known = [
        ("SCHED_FLAG_RESET_ON_FORK", 0x01),
        ("SCHED_FLAG_RECLAIM", 0x02),
        ("SCHED_FLAG_DL_OVERRUN", 0x04),
        ("SCHED_FLAG_KEEP_POLICY", 0x08),
        ("SCHED_FLAG_KEEP_PARAMS", 0x10),
        ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
        ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
    ];
    let mut flags = 0;
    for flag in &s.flags {
        flags |= u64::from(number("the scheduler flag", flag, &known)?);
    }
    let policy = number("the scheduling policy", &s.policy, &policies)?;
    let deadline = policy == 6;
    let (runtime, latest) = (s.runtime.unwrap_or(0), s.deadline.unwrap_or(0));
    if !deadline && (runtime, latest, s.period) != (0, 0, 0) {
        return Err(bad(
            "runtime, deadline and period are for SCHED_DEADLINE",
            "leave them away, or choose that policy",
        ));
    }
    if deadline {
        check_deadline(s)?;
    }
    if !(-20..=19).contains(&s.nice) {
        return Err(bad(format!("the nice value {} is none", s.nice), "it is from -20 to 19"));
    }
    let priority = u32::try_from(s.priority).map_err(|_| {
        bad(format!("the scheduling priority {} is negative", s.priority), "it is from 0 to 99")
    })?;
    Ok(Scheduler {
        policy,
        flags,
        nice: s.nice,
        priority,
        runtime,
        deadline: latest,
        period: s.period,
    })
}

/// The kernel says only EINVAL. Its limits are those of `__checkparam_dl` (sched(7)): times in ns,
/// a period of 0 is the deadline. The words in front are crun's.
fn check_deadline(s: &spec::Scheduler) -> Result<()> {
    let why = match (s.runtime, s.deadline) {
        (None, _) => "requires `runtime`".to_owned(),
        (_, None) => "requires `deadline`".to_owned(),
        (Some(0), _) => "runtime must be greater than 0".to_owned(),
        (Some(runtime), _) if !(1024..1 << 63).contains(&runtime) => {
            format!("runtime {runtime} must be between 1024 and 2^63-1")
        }
        (Some(runtime), Some(deadline)) if runtime > deadline => {
            format!("runtime {runtime} must be <= deadline {deadline}")
        }
        (_, Some(deadline)) if s.period != 0 && deadline > s.period => {
            format!("deadline {deadline} must be <= period {}", s.period)
        }
        _ => return Ok(()),
    };
    Err(bad(
        format!("sched_setattr: `SCHED_DEADLINE` {why}"),
        "runtime <= deadline <= period, in nanoseconds; without a period it is the deadline",
    ))
}
