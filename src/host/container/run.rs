//! A container from its making to its end in one call.

#![forbid(unsafe_code)]

use super::create::{self, Made, Until};
use super::foreground::{Signals, wait};
use super::relay::Relay;
use super::store::Store;
use super::{Request, Started, delete};
use crate::error::{Error, Kind, Result};
use crate::sys::process;
use std::os::fd::AsFd;

/// How it goes on.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // as in `crate::container::RunOptions`
pub(crate) struct How {
    pub(crate) detach: bool,
    pub(crate) keep: bool,
    pub(crate) subreaper: bool,
}

/// Makes, starts, waits for and deletes a container; its exit status.
///
/// `tell` hears of it when its program runs.
pub(crate) fn run(
    store: Store,
    id: &str,
    request: &Request<'_>,
    how: How,
    tell: &mut dyn FnMut(&Started),
    warn: &mut dyn FnMut(&str),
) -> Result<i32> {
    let make = |store, until| create::create(store, id, request, until);
    follow(store, id, (how, request.may_restart), tell, warn, &make)
}

/// The same for a container that `make` makes.
pub(super) fn follow(
    store: Store,
    id: &str,
    (how, may_restart): (How, bool),
    tell: &mut dyn FnMut(&Started),
    warn: &mut dyn FnMut(&str),
    make: &dyn Fn(Store, Until) -> Result<Made>,
) -> Result<i32> {
    if how.detach {
        let made = make(store, Until::Detached)?;
        tell(&started(&made));
        if let Some(notify) = &made.notify {
            // It runs, whatever the manager has of it.
            notify.wait(made.pidfd.as_fd(), made.pid).unwrap_or_else(|e| warn(&e.to_string()));
        }
        return Ok(0);
    }
    if how.subreaper {
        process::set_subreaper().map_err(|e| Error::os("become the subreaper", e))?;
    }
    // Before the clone: the child blocks them all anyway and unblocks them itself.
    let signals = Signals::collect(may_restart)?;
    let mut made = make(store.clone(), Until::Foreground)?;
    tell(&started(&made));
    let status = made.master.take().map(Relay::begin).transpose().and_then(|relay| {
        let notify = made.notify.take();
        wait(made.pid, &made.pidfd, &signals, (relay, notify), how.subreaper)
    });
    if how.keep && status.is_ok() {
        return status;
    }
    let deleted = match &status {
        Ok(_) => delete::delete_ended(&store, made.left),
        // It may still run.
        Err(_) => delete::delete(&store, id, true),
    };
    match deleted {
        // Somebody else has deleted it meanwhile.
        Err(e) if e.kind() == Kind::NotFound => {}
        other => other?.iter().for_each(|w| warn(w)),
    }
    status
}

fn started(made: &Made) -> Started {
    Started {
        pid: made.pid,
        warnings: made.container.warnings.clone(),
        affinity: None,
        filter_flags: made.filter_flags,
    }
}
