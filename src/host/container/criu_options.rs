//! What a checkpoint and a restore are asked for.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What criu does about cgroups (criu.org/CGroups).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupsMode {
    /// criu's own default, which is soft.
    #[default]
    Default,
    /// Nothing.
    Ignore,
    /// Restores what it has to make.
    Soft,
    /// Restores all, also what is there.
    Full,
    /// Restores all, and fails where something is there.
    Strict,
}

/// What both have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CriuOptions {
    /// The directory of the images. Only root may be able to write there: criu believes them.
    pub images: PathBuf,
    /// The directory of logs; `None`: that of the images.
    pub work: Option<PathBuf>,
    /// Established TCP connections are saved and restored; without it they are an error.
    pub tcp_established: bool,
    /// So are unix sockets whose other end is outside, which are connected again by their path.
    pub ext_unix_sockets: bool,
    /// So are processes of a session whose leader is outside.
    pub shell_job: bool,
    /// So are file locks.
    pub file_locks: bool,
    /// What is done about cgroups.
    pub cgroups: CgroupsMode,
    /// Pages that are saved or restored are punched out of older images.
    pub auto_dedup: bool,
    /// Memory comes after the restored processes run already (userfaultfd).
    pub lazy_pages: bool,
}

/// How a container is saved.
#[derive(Debug, Default)]
pub struct CheckpointOptions {
    /// What a restore has too.
    pub criu: CriuOptions,
    /// Earlier images, which hold the pages that have not changed since: a path from the directory of
    /// the images.
    pub parent: Option<PathBuf>,
    /// Whether the container runs on; otherwise it is removed.
    pub leave_running: bool,
    /// Whether only its memory is saved; it runs on.
    pub pre_dump: bool,
    /// TCP connections that are not accepted yet are left out.
    pub tcp_skip_in_flight: bool,
    /// Files that were deleted while they were open get a name again.
    pub link_remap: bool,
    /// Address and port of a page server, which gets the pages; with `lazy_pages`, where they are
    /// asked for.
    pub page_server: Option<(String, u16)>,
    /// Gets a zero byte once lazy pages can be asked for.
    pub ready: Option<OwnedFd>,
}

/// How a container is restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// What a checkpoint has too.
    pub criu: CriuOptions,
    /// The security label of its processes, `TYPE:NAME`; `None`: the one they had.
    pub lsm_profile: Option<String>,
    /// The SELinux context of its mounts; `None`: the one they had.
    pub lsm_mount_context: Option<String>,
}
