//! Saving a running container to files, and bringing it back.

#![forbid(unsafe_code)]

use super::{CheckpointOptions, Container, CreateOptions, RestoreOptions, RunOptions, Runtime};
use crate::error::Result;
use crate::host::container as engine;

impl Container {
    /// Saves it to files by criu, which has to be in `PATH`. Unless it is to run on it is removed then,
    /// and what comes back are warnings: poststop hooks that failed.
    ///
    /// # Errors
    /// It does not run, the caller is not root of the host, a directory of images is one that others may
    /// write to, or criu has failed: then the causes that its log names are in the message, and the container
    /// runs on.
    pub fn checkpoint(&self, options: CheckpointOptions) -> Result<Vec<String>> {
        engine::checkpoint::checkpoint(&self.inner, options)
    }
}

impl Runtime {
    /// Makes a container as [`Runtime::create`] does, with the processes that a checkpoint has saved, which
    /// run at once. Unless detached, waits for its end and deletes it as [`Runtime::run`] does; what comes
    /// back is its exit status. `warned` hears of what has no effect and of hooks that fail after its end.
    ///
    /// Of `create` the bundle, the configuration, the console socket and the pid file are used. The hooks
    /// prestart and createRuntime run, and poststop after its end.
    ///
    /// # Errors
    /// As [`Runtime::create`] and [`Container::checkpoint`]; nothing is left behind.
    pub fn restore(
        &self,
        id: &str,
        create: &CreateOptions,
        restore: &RestoreOptions,
        run: RunOptions,
        warned: &mut dyn FnMut(&str),
    ) -> Result<i32> {
        let how = engine::run::How { detach: run.detach, keep: run.keep, subreaper: run.subreaper };
        engine::restore::restore(self.store()?, id, &self.request(create), restore, how, warned)
    }
}
