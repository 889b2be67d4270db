//! What takes a container away again that was not made to its end.

#![forbid(unsafe_code)]

use super::in_place::Before;
use super::state::Saved;
use super::store::Entry;
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::container::ContainerCgroup;
use crate::host::launch::Launched;
use crate::plan::detail::Hook;
use std::cell::RefCell;

/// Removes what was made, unless it is kept.
pub(super) struct Undo<'a, P = Launched> {
    pub(super) entry: &'a Entry,
    pub(super) cgroup: &'a RefCell<Option<ContainerCgroup>>,
    /// Dropped, it is killed and reaped.
    pub(super) launched: Option<P>,
    pub(super) kept: bool,
    /// Whether all of it ends with its process.
    pub(super) own_pids: bool,
    /// Hooks of a container that was begun.
    pub(super) poststop: Option<(&'a [Hook], Saved)>,
    /// What the host has had mounted, where the container mounts there too.
    pub(super) mounts: Option<Before>,
}

impl<P> Undo<'_, P> {
    /// Nothing is removed any more: the process.
    pub(super) fn keep(mut self) -> Result<P> {
        self.kept = true;
        self.launched.take().ok_or_else(|| Error::new(Kind::Os, "there is no process"))
    }
}

impl<P> Drop for Undo<'_, P> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Kills and reaps the process.
        self.launched = None;
        if let Some(before) = &self.mounts {
            before.restore();
        }
        // The error that brought us here is the one to be told; what cannot be removed now
        // `delete --force` finds by the state, which then stays. Who is in the cgroup although the
        // process has ended is somebody else's: two may have been given one path at once.
        let own = self.own_pids;
        let gone = self.cgroup.borrow_mut().as_mut().is_none_or(|cgroup| {
            if own && cgroup.is_taken().unwrap_or(false) {
                return true;
            }
            let _ = cgroup.kill_all();
            cgroup.delete().is_ok()
        });
        if gone {
            let _ = self.entry.remove();
        }
        // The specification (runtime.md, Lifecycle): what earlier hooks have set up is cleared away by
        // these, also where one of them has failed. runc does so too.
        if let Some((hooks, saved)) = self.poststop.take() {
            let _ = super::hooks::run_poststop(hooks, &saved);
        }
    }
}
