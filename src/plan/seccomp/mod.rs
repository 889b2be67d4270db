//! The seccomp side of the plan: a profile becomes one classic BPF program.
//!
//! Pure: data in, data out. Nothing here opens a file, reads the environment or makes a system
//! call; loading the program with seccomp(2) is the child's last step.
//!
//! ```text
//!   Docker or OCI JSON ── profile.rs ──► LinuxSeccomp (OCI) ── rules.rs ──► a verdict per number
//!                                                                              │ harden.rs (Extra)
//!   Filter { instructions, flags, warnings } ◄── compile.rs + emit.rs ◄────────┘
//! ```
//!
//! * `profile.rs`  the two JSON forms, and the `includes`/`excludes` of Docker's
//! * `syscalls.rs` call names to numbers, for every ABI that can reach our kernels
//! * `rules.rs`    what a profile means: the precedence of libseccomp and the habits of runc
//! * `harden.rs`   denials that stockade adds on top, whatever the profile says
//! * `compile.rs`  one filter for all architectures: ranges of equal verdict
//! * `emit.rs`     BPF: binary search over the ranges, argument tests
//! * `asking.rs`   what of it asks a listener of the user's, apart from the rest
//! * `notify.rs`   the same filter with a listener that hears of what is denied
//! * `interpret.rs` runs a filter as the kernel does
//!
//! One filter and not a stack of them, because the kernel runs every filter of a stack on each
//! call, and loading is the dearest part of seccomp at start (51 µs for one, 967 µs for the stack).
#![forbid(unsafe_code)]

mod asking;
mod compile;
mod emit;
mod harden;
pub mod interpret;
pub mod notify;
mod precompiled;
mod profile;
mod rules;
mod syscalls;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_default;
#[cfg(test)]
mod tests_profile;
#[cfg(test)]
mod tests_random;

pub use asking::Asking;
pub(crate) use compile::SPEC_ALLOW;
pub use compile::compile;
pub use harden::unconfined;
pub use precompiled::precompiled;
pub use profile::Profile;

use oci_spec::runtime::LinuxSeccompAction;

/// One BPF instruction, laid out as the kernel's `struct sock_filter`.
pub type Instruction = seccompiler::sock_filter;

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// The architecture that the job's kernel runs on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arch {
    /// With the sub-architectures i386 and x32.
    X86_64,
    /// With the sub-architecture ARM (EABI).
    Aarch64,
}

impl Arch {
    /// The architecture this program was built for.
    #[must_use]
    pub const fn native() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }
}

/// What decides about the conditional parts of a Docker profile.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The machine.
    pub arch: Arch,
    /// The capabilities that the job may hold, `CAP_CHOWN` being bit 0.
    pub caps: u64,
    /// Major and minor number of the running kernel, for `minKernel`.
    pub kernel: (u32, u32),
}

/// Denials that are added whatever the profile says. A profile that is stricter stays stricter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extra {
    /// No file may become setuid or setgid: for a job that writes to a volume of the host.
    pub restrict_suid_files: bool,
    /// No file may get capabilities (or any other extended attribute, whose names a filter does not
    /// see): for a job with a volume that can hold CAP_SETFCAP over what it is mounted with.
    pub restrict_file_caps: bool,
    /// No new namespace may be made and none joined, even if the profile allows it.
    pub restrict_namespaces: bool,
    /// Nothing but computing: no further program, process or socket.
    pub computation: Option<Computation>,
}

/// What a job may do that only computes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Computation {
    /// Start threads.
    pub threads: bool,
}

/// A program for seccomp(2), its flags, and what the user may want to know about it.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The program, at most [`MAX_INSTRUCTIONS`].
    pub instructions: Vec<Instruction>,
    /// Flags for `SECCOMP_SET_MODE_FILTER`.
    pub flags: u32,
    /// What of the profile asks a listener, which is not in the program.
    pub asking: Option<Asking>,
    /// Parts of the profile that have no effect here, such as names that no kernel knows.
    pub warnings: Vec<String>,
}

impl From<serde_json::Error> for SeccompError {
    /// With line and column. Words of the profile are in it: what a terminal would obey is escaped.
    fn from(e: serde_json::Error) -> Self {
        let mut text = String::new();
        for c in e.to_string().chars().take(300) {
            if c.is_control() { text.extend(c.escape_debug()) } else { text.push(c) }
        }
        Self::Json(text)
    }
}

/// Why a profile cannot be used. Names that come from the profile are quoted and escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message says it")]
pub enum SeccompError {
    #[error("seccomp profile is neither of the Docker nor of the OCI form: {0}")]
    Json(String),
    #[error("seccomp profile: syscalls[{0}] has both \"name\" and \"names\"")]
    NameTwice(usize),
    #[error("seccomp profile: syscalls[{0}] names no call")]
    NoName(usize),
    #[error("seccomp profile has both \"architectures\" and \"archMap\"")]
    ArchTwice,
    #[error(
        "seccomp profile: {item}: errno {name:?} is unknown or contradicts the number next to it"
    )]
    ErrnoName { item: String, name: String },
    #[error("seccomp profile: {item}: {action} takes no errno")]
    ErrnoNotTaken { item: String, action: LinuxSeccompAction },
    #[error(
        "seccomp profile: {item}: errno {value} is above {max}, the most that {action} can carry"
    )]
    ErrnoTooLarge { item: String, action: LinuxSeccompAction, value: u32, max: u32 },
    #[error(
        "seccomp profile: {0}: SCMP_ACT_NOTIFY needs a listener, and seccomp listenerPath is not set"
    )]
    NoListener(String),
    #[error("SCMP_ACT_NOTIFY cannot be used for the {0} syscall")]
    AskedOfNeeded(&'static str),
    #[error("SCMP_ACT_NOTIFY cannot be used as default action")]
    AskedByDefault,
    #[error("seccomp profile has listenerMetadata but no listenerPath")]
    MetadataWithoutPath,
    #[error("seccomp profile: {item}: argument index {index} is above 5")]
    ArgIndex { item: String, index: usize },
    #[error("seccomp filter has {0} instructions, the kernel takes at most 4096")]
    TooLong(usize),
}
