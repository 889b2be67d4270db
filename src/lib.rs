//! Runs hostile code contained, and says what happened.
//!
//! stockade is a jail: a command runs in new mount, pid, network, user, ipc, uts and cgroup
//! namespaces, with cgroup limits, a seccomp filter, no capabilities and a root file system of
//! its own, and what comes back is an [`Outcome`] that says how it ended and why.
//!
//! ```no_run
//! use stockade::Jail;
//! use std::time::Duration;
//!
//! let outcome = Jail::new("python3")
//!     .args(["-c", "print(sum(range(10)))"])
//!     .memory(100 << 20)
//!     .timeout(Duration::from_secs(5))
//!     .capture_output()
//!     .run()?;
//! assert!(outcome.success(), "{}", outcome.reason);
//! assert_eq!(outcome.stdout.data.unwrap().data, "45\n");
//! # Ok::<(), stockade::Error>(())
//! ```
//!
//! The same engine runs OCI containers: [`container`] has their life cycle, and the binary has runc's
//! command line.
//!
//! # Terms
//! * **policy**: what one run may do; [`Jail`] builds one.
//! * **plan**: what stockade will do, decided before anything is touched ([`Jail::explain`]).
//! * **arm**: opening every descriptor and building every C string, in the parent.
//! * **apply**: one clone3, after which the child only makes system calls until it execs.
//! * **outcome**: how a run ended, what it used, what kept it in.
//!
//! # What it protects against, and what not
//! A job cannot read or change the host's files, reach its network or processes, or use more
//! memory, CPU time, processes, disk or output than it was given. It shares the host's kernel:
//! a bug there is the way out that no jail of this kind can close, and why the system call
//! filter is an allow-list. Timing and cache side channels are not covered.
//!
//! # Embedding
//! Any number of threads may run jails at once; [`Jail::spawn`] does not block, and
//! [`Running`] has a descriptor for an event loop. Two rules: do not wait for children that are
//! not yours (`waitpid(-1)`, `SIGCHLD` ignored), and keep `SIGPIPE` ignored, as Rust programs do.

#![warn(missing_docs)]

mod child;
#[doc(hidden)]
pub mod cli;
pub mod container;
mod error;
mod host;
mod jail;
mod outcome;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod sys;
mod wire;

pub use error::{Error, Kind, Result};
pub use host::audit::AuditLog;
pub use jail::{Jail, Running, Stdio};
pub use outcome::{
    Data, DeniedSyscall, Isolation, Landlock, Limit, Outcome, SCHEMA, Status, Stream, Timings,
};
pub use plan::policy::{
    LandlockChoice, Network, Policy, Restricted, Script, SeccompChoice, Swap, Tmpfs, Volume,
};
