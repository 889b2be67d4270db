//! A container from its making to its end in one call.

#![forbid(unsafe_code)]

use super::foreground::{Relay, Signals, wait};
use super::store::Store;
use super::{Request, create, delete, start};
use crate::error::{Error, Kind, Result};
use crate::sys::process;

/// How it goes on.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // as in `crate::container::RunOptions`
pub(crate) struct How {
    pub(crate) detach: bool,
    pub(crate) keep: bool,
    pub(crate) subreaper: bool,
}

/// Makes, starts, waits for and deletes a container; its exit status.
pub(crate) fn run(store: Store, id: &str, request: &Request<'_>, how: How) -> Result<i32> {
    if how.detach {
        let made = create::create(store.clone(), id, request, false)?;
        return start_or_remove(&store, id, &made).map(|()| 0);
    }
    if how.subreaper {
        process::set_subreaper().map_err(|e| Error::os("become the subreaper", e))?;
    }
    // Before the clone: the child blocks them all anyway and unblocks them itself.
    let signals = Signals::collect()?;
    let mut made = create::create(store.clone(), id, request, true)?;
    let relay = made.master.take().map(Relay::begin).transpose();
    let relay = match relay {
        Ok(relay) => relay,
        Err(e) => {
            let _ = delete::delete(&store, id, true);
            return Err(e);
        }
    };
    let pid = made.container.saved()?.pid;
    start_or_remove(&store, id, &made)?;
    let status = wait(pid, &made.pidfd, &signals, relay, how.subreaper);
    if how.keep {
        return status;
    }
    match delete::delete(&store, id, true) {
        // Somebody else has deleted it meanwhile.
        Err(e) if e.kind() == Kind::NotFound => {}
        other => other?,
    }
    status
}

/// A container that cannot be started is not left behind.
fn start_or_remove(store: &Store, id: &str, made: &create::Made) -> Result<()> {
    start::start_with(&made.container, &made.config).inspect_err(|_| {
        // The first error is the one to be told.
        let _ = delete::delete(store, id, true);
    })
}
