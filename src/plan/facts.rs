//! What a plan needs to know of the host, as data. Filled by `host::probe`.

#![forbid(unsafe_code)]

use super::ids::SubIds;
use std::path::PathBuf;

/// Facts about the host and the caller.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Effective user id of the caller.
    pub uid: u32,
    /// Effective group id of the caller.
    pub gid: u32,
    /// Whether the caller may do as root does: mount, map any id, make cgroups.
    pub privileged: bool,
    /// Subordinate ids of the caller, where configured.
    pub sub_ids: Option<SubIds>,
    /// Whether newuidmap and newgidmap are installed.
    pub id_map_helpers: bool,
    /// Kernel release, major and minor.
    pub kernel: (u32, u32),
    /// Landlock's ABI; 0: there is none, or it is switched off.
    pub landlock_abi: u32,
    /// Number of the newest capability the kernel has.
    pub last_cap: u32,
    /// Whether the caller may raise hard limits (CAP_SYS_RESOURCE).
    pub may_raise_limits: bool,
    /// The sixteen hard limits of the caller, by resource number.
    pub hard_rlimits: [u64; 16],
    /// Top-level directories of the host view: name, and the symlink's target where it is one.
    pub toplevel: Vec<(String, Option<PathBuf>)>,
    /// The host's processors that are online, as sysfs writes them; empty: unknown.
    pub cpus_online: Vec<u8>,
    /// `ID`: a name nobody else uses.
    pub fresh_id: String,
}

impl Facts {
    /// Whether a job's supplementary groups can be set: by root, or inside a user namespace
    /// whose map root or newgidmap wrote.
    #[must_use]
    pub fn can_setgroups(&self) -> bool {
        self.privileged || (self.sub_ids.is_some() && self.id_map_helpers)
    }

    /// Facts of a host where root runs stockade, for tests.
    #[cfg(test)]
    pub(crate) fn of_a_test() -> Facts {
        Facts {
            uid: 0,
            gid: 0,
            privileged: true,
            sub_ids: None,
            id_map_helpers: false,
            kernel: (6, 18),
            landlock_abi: 7,
            last_cap: 40,
            may_raise_limits: true,
            hard_rlimits: [u64::MAX; 16],
            toplevel: vec![("usr".to_owned(), None)],
            cpus_online: b"0-1\n".to_vec(),
            fresh_id: "abc".to_owned(),
        }
    }
}
