//! What a container has of its host, from its configuration: what a checkpoint leaves out, and a
//! restore takes from the host again.

#![forbid(unsafe_code)]

use super::spec::{Config, Linux};
use super::{mounts, steps};
use crate::error::Result;
use crate::plan::detail::Mount;
use std::path::{Path, PathBuf};

/// It.
#[derive(Clone, Debug)]
pub struct Outside {
    /// All mounts, in their order.
    pub mounts: Vec<Mount>,
    /// Paths that are covered if they are there.
    pub masked: Vec<PathBuf>,
    /// Device nodes, which a user namespace has by binds.
    pub devices: Vec<PathBuf>,
    /// Whether the cgroups are mounted in a namespace of their own, and not bound.
    pub cgroup_namespace: bool,
}

/// Of a configuration that a container was made from.
///
/// # Errors
/// It makes no sense.
pub fn outside(config: &Config, bundle: &Path) -> Result<Outside> {
    let empty = Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&empty);
    let root = config.root.as_ref().map(|r| mounts::clean(&bundle.join(&r.path)));
    let root = root.unwrap_or_default();
    let one = |m| mounts::mount(m, (bundle, &root), None, &mut Vec::new());
    let mounts = config.mounts.iter().map(one);
    let masked = linux.masked_paths.iter().map(|p| steps::below_root("linux.maskedPaths", p));
    let devices = linux.devices.iter().map(|d| mounts::clean(&d.path));
    let usual = steps::DEFAULT_DEVICES.iter().map(|(path, ..)| PathBuf::from(path));
    Ok(Outside {
        mounts: mounts.collect::<Result<_>>()?,
        masked: masked.collect::<Result<_>>()?,
        devices: usual.chain(devices).collect(),
        cgroup_namespace: linux.namespaces.iter().any(|n| n.kind == "cgroup"),
    })
}
