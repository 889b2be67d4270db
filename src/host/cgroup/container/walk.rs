//! Going through the cgroups that a container has made below its own.
//!
//! Their names and their depth are the container's choice, so one descriptor is open at a time
//! and the way back is `..`, which inside a hierarchy nobody can change.

use crate::host::cgroup::dir::Dir;
use crate::sys::{self, Errno};
use std::ffi::{CStr, CString};

/// Cgroups that are looked at at most: a container that makes more on purpose gets an error, not
/// our time.
const MOST: usize = 200_000;

/// Calls `leave` with parent, name and directory of each cgroup below, children first.
pub(super) fn below(
    root: &Dir,
    mut leave: impl FnMut(&Dir, &CStr, &Dir) -> sys::Result<()>,
) -> sys::Result<()> {
    let mut pending: Vec<Vec<CString>> = vec![root.children()?];
    let mut names: Vec<CString> = Vec::new();
    let mut here: Option<Dir> = None;
    let mut seen = 0;
    loop {
        let dir = here.as_ref().unwrap_or(root);
        if let Some(name) = pending.last_mut().and_then(Vec::pop) {
            seen += 1;
            if seen > MOST {
                return Err(Errno(libc::E2BIG));
            }
            match dir.child_bytes(&name).and_then(|child| Ok((child.children()?, child))) {
                Ok((list, child)) => {
                    pending.push(list);
                    names.push(name);
                    here = Some(child);
                }
                // Removed meanwhile.
                Err(e) if matches!(e.0, libc::ENOENT | libc::ENODEV) => {}
                Err(e) => return Err(e),
            }
            continue;
        }
        pending.pop();
        let Some(name) = names.pop() else { return Ok(()) };
        let parent = dir.parent()?;
        leave(&parent, &name, dir)?;
        here = (!names.is_empty()).then_some(parent);
    }
}

/// The processes of one cgroup.
pub(super) fn processes_of(dir: &Dir, into: &mut Vec<i32>) -> sys::Result<()> {
    let text = match dir.read_long("cgroup.procs") {
        // A threaded cgroup of v2.
        Err(e) if e.0 == libc::EOPNOTSUPP => dir.read_long("cgroup.threads"),
        other => other,
    };
    match text {
        Ok(text) => {
            // 0 is a process that this pid namespace does not see.
            into.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|p| *p > 0));
            Ok(())
        }
        Err(e) if matches!(e.0, libc::ENOENT | libc::ENODEV) => Ok(()),
        Err(e) => Err(e),
    }
}

/// The processes of a cgroup and of all below, in order and each once.
pub(super) fn processes(dir: &Dir) -> sys::Result<Vec<i32>> {
    let mut list = Vec::new();
    processes_of(dir, &mut list)?;
    below(dir, |_, _, child| processes_of(child, &mut list))?;
    list.sort_unstable();
    list.dedup();
    Ok(list)
}
