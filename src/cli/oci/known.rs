//! Words of the runtime specification that this runtime understands, for `features`.

#![forbid(unsafe_code)]

pub(super) const NAMESPACES: [&str; 8] =
    ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

/// In the order in which they run.
pub(super) const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// What a manager should not let its own users set: these write files of the host, leave out the
/// filter, set properties of units.
pub(super) const UNSAFE_ANNOTATIONS: [&str; 2] = ["org.systemd.property.", "run.oci."];

pub(super) const MEMORY_MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];
pub(super) const MEMORY_FLAGS: [&str; 3] =
    ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];
