//! What this host can enforce, layer by layer, found out by doing it in children that are cleaned
//! up; and the names of what stands in the way.
//!
//! [`examine`] asks everything, for `stockade doctor`; [`diagnose`] asks the little that bears on
//! one failed set-up, for `stockade jail`. Nothing here runs on the way to a jail that works.

#![forbid(unsafe_code)]

pub mod blockers;
mod cgroups;
mod container;
mod containers;
mod ids;
mod kernel;
mod landlock;
mod mounts;
mod namespaces;
pub mod report;
mod seccomp;
mod settings;

use crate::error::{Result, Stage};
use blockers::Blocker;
use report::Findings;
use settings::Settings;

/// Looks at everything.
///
/// # Errors
/// The caller's own state cannot be read: no random bytes; or it was started set-uid.
pub fn examine() -> Result<Findings> {
    crate::host::launch::refuse_set_uid()?;
    let settings = Settings::read()?;
    let mut found = Findings::new(&settings.facts, settings.release.clone());
    found.signs = container::signs();
    kernel::look(&mut found, &settings);
    let user = namespaces::look(&mut found, &settings);
    ids::look(&mut found, &settings, &user);
    mounts::look(&mut found, &settings);
    cgroups::look(&mut found, &settings);
    seccomp::look(&mut found, &settings);
    landlock::look(&mut found);
    containers::look(&mut found, &settings);
    container::look(&mut found, &settings);
    Ok(found)
}

/// What on this host is known to make a set-up fail at this stage, the likeliest first.
#[must_use]
pub fn diagnose(stage: Stage) -> Vec<Blocker> {
    let Ok(settings) = Settings::read() else { return Vec::new() };
    if stage == Stage::Cgroup {
        return cgroups::blocker(&settings).into_iter().collect();
    }
    // A namespace that gives no rights makes every later step fail, whichever it is.
    let mut found = namespaces::blockers(&settings);
    if found.is_empty() {
        found.extend(kernel::blocker(&settings));
    }
    if found.is_empty() && stage == Stage::Mounts {
        found.extend(mounts::blocker(&settings));
    }
    found
}
