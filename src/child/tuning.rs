//! How the process is scheduled, and what else of its own the kernel keeps for it.

#![forbid(unsafe_code)]

use super::{At, Done};
use crate::sys::tuning::{self, Scheduler};
use crate::wire::Step;

/// `None`: as it is.
#[derive(Debug, Default)]
pub struct ArmedTuning {
    /// sched_setattr(2).
    pub scheduler: Option<Scheduler>,
    /// ioprio_set(2).
    pub io_priority: Option<u16>,
    /// personality(2).
    pub personality: Option<u32>,
    /// set_mempolicy(2).
    pub memory_policy: Option<(u32, [u64; 16])>,
}

/// Before the rights go that some of it needs.
pub(super) fn apply(t: &ArmedTuning) -> Done {
    if let Some(scheduler) = &t.scheduler {
        tuning::set_scheduler(scheduler).at(Step::Scheduling)?;
    }
    if let Some(value) = t.io_priority {
        tuning::set_io_priority(value).at(Step::IoPriority)?;
    }
    if let Some(persona) = t.personality {
        tuning::set_personality(persona.into()).at(Step::Personality)?;
    }
    if let Some((mode, nodes)) = &t.memory_policy {
        tuning::set_memory_policy(*mode, nodes).at(Step::MemoryPolicy)?;
    }
    Ok(())
}
