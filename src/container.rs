//! Containers: the life cycle of the OCI runtime specification as a Rust API.
//!
//! ```no_run
//! use stockade::container::{CreateOptions, Runtime};
//!
//! let runtime = Runtime::new("/run/stockade");
//! let container = runtime.create("web", &CreateOptions::new("/bundles/web"))?;
//! container.start()?;
//! println!("{:?}", container.state()?.status);
//! container.kill(9, false)?;
//! container.delete(true)?;
//! # Ok::<(), stockade::Error>(())
//! ```

#![forbid(unsafe_code)]

mod checkpoint;
mod control;
mod exec;

use crate::error::Result;
use crate::host::cgroup::container::Manager;
use crate::host::container as engine;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

pub use control::{OomEvent, OomEvents, Stats};
pub use engine::Started;
pub use engine::criu_options::{CgroupsMode, CheckpointOptions, CriuOptions, RestoreOptions};
pub use engine::state::{State, Status};
pub use exec::{ExecOptions, ExecProcess, Overrides};

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// stockade, in the cgroup file systems.
    #[default]
    Cgroupfs,
    /// systemd, as a scope: on hosts with cgroup v2 alone.
    Systemd,
    /// Nobody: the container stays in the caller's cgroup, and limits are an error.
    Disabled,
}

/// The state directory and how containers are made in it.
#[derive(Clone, Debug)]
pub struct Runtime {
    root: PathBuf,
    cgroup_manager: CgroupManager,
    rootless: Option<bool>,
    may_restart: bool,
}

/// How a container is made.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The bundle: the directory that holds config.json.
    pub bundle: PathBuf,
    /// A configuration elsewhere.
    pub config: Option<PathBuf>,
    /// A unix socket that gets the master of the terminal.
    pub console_socket: Option<PathBuf>,
    /// Gets the process id of the container's init.
    pub pid_file: Option<PathBuf>,
    /// A unix socket that gets a pidfd of the container's init.
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 on the container's process gets as they are.
    pub preserve_fds: u32,
    /// How many descriptors from 3 on, before those, are sockets that systemd has activated the caller
    /// with: the container's process is told by LISTEN_FDS and LISTEN_PID (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// The socket of a service manager (NOTIFY_SOCKET of sd_notify(3)): an absolute path, or `@` and a name.
    /// The container has a socket of its own on `/run/notify`, and its program's NOTIFY_SOCKET is that.
    /// [`Runtime::run`] passes `READY=` on, and which process is the main one: detached it comes back only then,
    /// or when the container has ended. After [`Runtime::create`] that is for
    /// [`Container::start_notifying`].
    pub notify_socket: Option<OsString>,
    /// Whether the root is changed by chroot, for roots that pivot_root cannot leave (ramfs).
    pub no_pivot: bool,
    /// Whether the container shares the caller's session keyring.
    pub no_new_keyring: bool,
}

impl CreateOptions {
    /// Options for a bundle.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>) -> CreateOptions {
        CreateOptions { bundle: bundle.into(), ..CreateOptions::default() }
    }
}

/// How [`Runtime::run`] goes on once the container is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Return at once.
    pub detach: bool,
    /// Leave the stopped container to a later `delete`.
    pub keep: bool,
    /// Become the subreaper of the container's processes and reap whatever ends: for a program
    /// that has no other children.
    pub subreaper: bool,
}

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    inner: engine::state::Container,
}

impl Runtime {
    /// A runtime whose state is below `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Runtime {
        Runtime {
            root: root.into(),
            cgroup_manager: CgroupManager::default(),
            rootless: None,
            may_restart: false,
        }
    }

    /// Where state is kept unless something else is said: `/run/stockade`, or
    /// `$XDG_RUNTIME_DIR/stockade` for an ordinary user.
    #[must_use]
    pub fn default_root() -> PathBuf {
        engine::store::default_root()
    }

    /// Chooses who makes cgroups.
    #[must_use]
    pub fn cgroup_manager(mut self, manager: CgroupManager) -> Runtime {
        self.cgroup_manager = manager;
        self
    }

    /// Whether failures to make cgroups are let pass as for an ordinary user; `None`: found out.
    #[must_use]
    pub fn rootless(mut self, rootless: Option<bool>) -> Runtime {
        self.rootless = rootless;
        self
    }

    /// Whether the calling program may be executed anew, with its arguments, from where nobody can
    /// write to it: before anything is made, for a container that others could look into while it
    /// is created (CVE-2019-5736). For a program that has done nothing else yet.
    #[must_use]
    pub fn may_restart(mut self, may: bool) -> Runtime {
        self.may_restart = may;
        self
    }

    /// The state directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a container; its process waits for [`Container::start`].
    ///
    /// While it waits the process is an image of the calling program. In a pid namespace in which others
    /// are already (the caller's own, or one that is joined) who has CAP_SYS_PTRACE there can reach
    /// the program's file through it, and write to it later (CVE-2019-5736), unless the container has a
    /// user namespace. A program that makes such containers says [`Runtime::may_restart`], or is
    /// executed from a read-only mount.
    ///
    /// # Errors
    /// The configuration makes no sense, or not on this host; nothing is left behind.
    pub fn create(&self, id: &str, options: &CreateOptions) -> Result<Container> {
        engine::create(self.store()?, id, &self.request(options)).map(|inner| Container { inner })
    }

    /// Makes and starts a container; unless detached, waits for its end, forwarding signals and
    /// the terminal, deletes it and returns its exit status.
    ///
    /// # Errors
    /// As [`Runtime::create`] and [`Container::start`].
    pub fn run(&self, id: &str, options: &CreateOptions, run: RunOptions) -> Result<i32> {
        self.run_telling(id, options, run, &mut |_| {}, &mut |_| {})
    }

    /// The same; `started` hears of the container's process when its program runs, `warned` of
    /// hooks that fail after its end.
    ///
    /// # Errors
    /// As [`Runtime::run`].
    pub fn run_telling(
        &self,
        id: &str,
        options: &CreateOptions,
        run: RunOptions,
        started: &mut dyn FnMut(&Started),
        warned: &mut dyn FnMut(&str),
    ) -> Result<i32> {
        let how = engine::run::How { detach: run.detach, keep: run.keep, subreaper: run.subreaper };
        engine::run::run(self.store()?, id, &self.request(options), how, started, warned)
    }

    /// An existing container.
    ///
    /// # Errors
    /// There is none of this id ([`NotFound`](crate::Kind::NotFound)), or its state cannot be trusted.
    pub fn load(&self, id: &str) -> Result<Container> {
        engine::state::Container::load(self.store()?, id).map(|inner| Container { inner })
    }

    /// All containers, in the order of their ids. One whose state cannot be read is left out, with
    /// its error.
    ///
    /// # Errors
    /// The state directory cannot be trusted.
    pub fn list(&self) -> Result<Vec<(String, Result<State>)>> {
        let store = self.store()?;
        let ids = store.ids()?;
        Ok(ids
            .into_iter()
            .map(|id| {
                let state =
                    engine::state::Container::load(store.clone(), &id).and_then(|c| c.state());
                (id, state)
            })
            .collect())
    }

    /// Removes a container by its id, whatever is left of it: also one that a killed `create` left
    /// half-made. What comes back are warnings: poststop hooks that failed.
    ///
    /// # Errors
    /// There is none, or, without `force`, it is not stopped.
    pub fn delete(&self, id: &str, force: bool) -> Result<Vec<String>> {
        engine::delete::delete(&self.store()?, id, force)
    }

    fn store(&self) -> Result<engine::store::Store> {
        engine::store::Store::open(&self.root)
    }

    fn request<'a>(&self, o: &'a CreateOptions) -> engine::Request<'a> {
        engine::Request {
            bundle: &o.bundle,
            config: o.config.as_deref(),
            console_socket: o.console_socket.as_deref(),
            pid_file: o.pid_file.as_deref(),
            pidfd_socket: o.pidfd_socket.as_deref(),
            preserve_fds: o.preserve_fds.saturating_add(o.listen_fds),
            listen_fds: o.listen_fds,
            no_pivot: o.no_pivot,
            no_new_keyring: o.no_new_keyring,
            cgroups: match self.cgroup_manager {
                CgroupManager::Cgroupfs => Manager::Cgroupfs,
                CgroupManager::Systemd => Manager::Systemd,
                CgroupManager::Disabled => Manager::Disabled,
            },
            rootless: self.rootless,
            may_restart: self.may_restart,
            notify: o.notify_socket.as_deref(),
        }
    }
}

impl Container {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.inner.id()
    }

    /// The bytes of its config.json, as they were at its making.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn config(&self) -> Result<Vec<u8>> {
        self.inner.config()
    }

    /// What of its configuration has no effect; empty for one that was not just made.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.inner.warnings
    }

    /// What it is now.
    ///
    /// # Errors
    /// Its state cannot be read.
    pub fn state(&self) -> Result<State> {
        self.inner.state()
    }

    /// Lets its process execute the program.
    ///
    /// # Errors
    /// It is not `created`, a hook failed, or the program cannot be executed.
    pub fn start(&self) -> Result<()> {
        engine::start::start(&self.inner, None)
    }

    /// The same for a container that was made with [`CreateOptions::notify_socket`]: comes back when its program
    /// has said that it is ready and the manager at this socket was told, or when it has ended.
    ///
    /// # Errors
    /// As [`Container::start`]; or the manager cannot be told.
    pub fn start_notifying(&self, manager: &OsStr) -> Result<()> {
        engine::start::start(&self.inner, Some(manager))
    }

    /// Sends a signal to its init, or to all of its processes.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&self, signal: i32, all: bool) -> Result<()> {
        engine::kill::kill(&self.inner, signal, all)
    }

    /// Removes it; with `force` its processes are killed first. What comes back are warnings:
    /// poststop hooks that failed.
    ///
    /// # Errors
    /// It is not stopped, or something of it cannot be removed.
    pub fn delete(self, force: bool) -> Result<Vec<String>> {
        engine::delete::delete(self.inner.store(), self.inner.id(), force)
    }

    /// The processes in it, as the host knows them.
    ///
    /// # Errors
    /// Its cgroup cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>> {
        self.inner.processes()
    }
}
