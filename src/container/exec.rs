//! A further process in a container that runs.

#![forbid(unsafe_code)]

use super::Container;
use crate::error::Result;
use crate::host::container::{Started, exec, sealed};
use std::path::PathBuf;

pub use crate::plan::oci::exec::Overrides;

/// The process of an [`Container::exec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecProcess {
    /// The container's own, with changes.
    Changed(Overrides),
    /// As JSON: `process` of the runtime specification.
    Json {
        /// The text.
        bytes: Vec<u8>,
        /// Whether it has a terminal even if the text does not say so.
        terminal: bool,
    },
}

/// How a process is run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOptions {
    /// What is run.
    pub process: ExecProcess,
    /// A unix socket that gets the master of the terminal; for a detached process.
    pub console_socket: Option<PathBuf>,
    /// Gets the process id, as the host knows it.
    pub pid_file: Option<PathBuf>,
    /// A unix socket that gets a pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// Whether to return as soon as it runs.
    pub detach: bool,
    /// How many descriptors from 3 on it gets as they are.
    pub preserve_fds: u32,
    /// Cgroups below the container's own that it runs in: a path, or paths by controller,
    /// `controller[,controller...]:path`.
    pub cgroups: Vec<String>,
    /// Whether a paused container is no error: the process waits until it is resumed.
    pub ignore_paused: bool,
    /// Whether this program may be executed anew, with the same arguments, from a place where nobody
    /// can write to its file: for a program that does nothing else. Needed for a container that has
    /// CAP_SYS_PTRACE and no user namespace, and an error there without it (CVE-2019-5736).
    pub may_replace_program: bool,
}

impl ExecOptions {
    /// For a process, in the foreground, with the caller's standard streams.
    #[must_use]
    pub fn new(process: ExecProcess) -> ExecOptions {
        ExecOptions {
            process,
            console_socket: None,
            pid_file: None,
            pidfd_socket: None,
            detach: false,
            preserve_fds: 0,
            cgroups: Vec::new(),
            ignore_paused: false,
            may_replace_program: false,
        }
    }
}

impl Container {
    /// Goes on as a copy of this program that nobody can write to, if `exec` would: with
    /// [`ExecOptions::may_replace_program`] and before anything is read that cannot be read again.
    ///
    /// # Errors
    /// Its state cannot be read, or the program not be executed anew.
    pub(crate) fn run_sealed_for_exec(&self) -> Result<()> {
        sealed::before(&self.inner)
    }

    /// Runs a process in its namespaces and cgroups, with the rights of its configuration, and
    /// waits for its end unless that is detached; the exit status, 128 and the signal's number if
    /// one ended it, or 0.
    ///
    /// All policy comes from what was stored when the container was made: neither the bundle nor
    /// anything inside is asked.
    ///
    /// # Errors
    /// The container does not run, the process makes no sense, or it cannot be executed.
    pub fn exec(&self, options: &ExecOptions) -> Result<i32> {
        self.exec_telling(options, &mut |_| {})
    }

    /// The same; `started` hears of the process when its program runs.
    ///
    /// # Errors
    /// As [`Container::exec`].
    pub fn exec_telling(
        &self,
        options: &ExecOptions,
        started: &mut dyn FnMut(&Started),
    ) -> Result<i32> {
        let request = exec::Request {
            process: match &options.process {
                ExecProcess::Changed(changes) => exec::Asked::Changed(changes),
                ExecProcess::Json { bytes, terminal } => exec::Asked::Json(bytes, *terminal),
            },
            console_socket: options.console_socket.as_deref(),
            pid_file: options.pid_file.as_deref(),
            pidfd_socket: options.pidfd_socket.as_deref(),
            detach: options.detach,
            preserve_fds: options.preserve_fds,
            cgroups: &options.cgroups,
            ignore_paused: options.ignore_paused,
            may_replace_program: options.may_replace_program,
        };
        exec::exec(&self.inner, &request, started)
    }
}
