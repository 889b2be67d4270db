//! The supervisor's side: it may allocate, read files and fail with words.
//!
//! `probe` looks at the host once and hands the plan its facts; `arm` opens everything by
//! descriptor; `launch` clones and writes the id maps; `supervise` watches until the end.

#![forbid(unsafe_code)]

pub(crate) mod arm;
pub(crate) mod audit;
pub mod cgroup;
pub mod container;
pub(crate) mod criu;
pub(crate) mod denied;
pub mod doctor;
pub(crate) mod exe;
mod explain;
pub(crate) mod idmap;
pub(crate) mod klog;
pub(crate) mod launch;
pub(crate) mod missing;
pub(crate) mod netlink;
mod nodes;
pub(crate) mod probe;
pub(crate) mod pump;
pub(crate) mod reason;
pub(crate) mod seal;
pub(crate) mod sources;
pub(crate) mod supervise;
pub(crate) mod terminal;
pub(crate) mod users;
