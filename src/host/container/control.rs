//! A running container as a whole: pausing it, its limits, its figures.

#![forbid(unsafe_code)]

use super::state::{Container, Saved, Status};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::container::ContainerCgroup;
use crate::plan::values::quote;
use oci_spec::runtime::LinuxResources;

pub(crate) use crate::host::cgroup::container::{OomEvent, OomEvents, Stats};

/// Its cgroups.
fn cgroup(saved: &Saved) -> Result<ContainerCgroup> {
    super::cgroups::open(saved)?.ok_or_else(|| {
        let text = format!("container {} has no cgroup of its own", quote(&saved.id));
        Error::new(Kind::Unsupported, text)
            .hint("it was made with --cgroup-manager disabled, or by a user who may make none")
    })
}

/// Freezes it. Locked, so that nobody deletes or starts it meanwhile.
pub(crate) fn pause(container: &Container) -> Result<()> {
    let _entry = container.entry()?.lock()?;
    match container.state()?.status {
        Status::Running | Status::Created => cgroup(&container.saved()?)?.freeze(),
        status => Err(Error::new(
            Kind::InvalidConfig,
            format!("container not running or created: {status}"),
        )),
    }
}

/// Thaws it.
pub(crate) fn resume(container: &Container) -> Result<()> {
    let _entry = container.entry()?.lock()?;
    match container.state()?.status {
        Status::Paused => cgroup(&container.saved()?)?.thaw(),
        _ => Err(Error::new(Kind::InvalidConfig, "container not paused")),
    }
}

/// Changes limits; what has no effect.
pub(crate) fn update(container: &Container, resources: &LinuxResources) -> Result<Vec<String>> {
    let _entry = container.entry()?.lock()?;
    if container.state()?.status == Status::Stopped {
        return Err(Error::new(Kind::InvalidConfig, "container not running"));
    }
    let mut cgroup = cgroup(&container.saved()?)?;
    cgroup.apply(resources)?;
    Ok(std::mem::take(&mut cgroup.warnings))
}

/// Its figures.
pub(crate) fn stats(container: &Container) -> Result<Stats> {
    cgroup(&container.saved()?)?.stats()
}

/// Its memory.
pub(crate) fn oom_events(container: &Container) -> Result<OomEvents> {
    cgroup(&container.saved()?)?.oom_events()
}
