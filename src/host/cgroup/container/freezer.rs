//! Pausing and going on.

use super::{ContainerCgroup, is_v2};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::dir::{Dir, keyed};
use crate::sys::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// How long a freeze may take: a process in the middle of a system call that cannot be
/// interrupted is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a cgroup keeps its processes frozen, by itself or by one above.
pub(super) fn holds(dir: &Dir) -> bool {
    match dir.read("freezer.state") {
        Ok(state) => state.trim() != "THAWED",
        // An empty cgroup below a frozen one says so as well.
        Err(_) => dir.keyed("cgroup.events", "frozen") == Some(1),
    }
}

impl ContainerCgroup {
    fn freezer(&self) -> Result<&Dir> {
        self.need(if is_v2(&self.parts) { "" } else { "freezer" }, "pausing")
    }

    /// The directory that freezes it, if there is one.
    pub(crate) fn freezer_path(&self) -> Option<&str> {
        self.freezer().ok().map(|dir| dir.path.as_str())
    }

    /// Stops every process, and returns when they stand still.
    ///
    /// # Errors
    /// There is no freezer, or they could not be stopped in time; then they go on.
    pub(crate) fn freeze(&self) -> Result<()> {
        let dir = self.freezer()?;
        let done = if is_v2(&self.parts) { freeze_v2(dir) } else { freeze_v1(dir) };
        if done.is_err() {
            // Half frozen would be worse than either.
            let _ = self.thaw();
        }
        done
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// There is no freezer, or the kernel refuses.
    pub(crate) fn thaw(&self) -> Result<()> {
        let dir = self.freezer()?;
        if is_v2(&self.parts) {
            dir.set("cgroup.freeze", "0")
        } else {
            dir.set("freezer.state", "THAWED")
        }
    }

    /// Whether [`ContainerCgroup::freeze`] is in force. Frozen by a cgroup above is not paused:
    /// thawing the container would not help it.
    ///
    /// # Errors
    /// The state cannot be read. A container without a freezer is not frozen.
    pub(crate) fn is_frozen(&self) -> Result<bool> {
        let Ok(dir) = self.freezer() else { return Ok(false) };
        let file = if is_v2(&self.parts) { "cgroup.freeze" } else { "freezer.self_freezing" };
        match dir.read(file) {
            Ok(state) => Ok(state.trim() == "1"),
            // Removed, or a kernel before 5.2 (v2) or 3.12 (v1).
            Err(e) if matches!(e.0, libc::ENOENT | libc::ENODEV) => Ok(false),
            Err(e) => Err(Error::os(format!("read {}/{file}", dir.path), e)),
        }
    }
}

fn too_slow(dir: &Dir) -> Error {
    Error::new(Kind::Os, format!("the cgroup {} could not be frozen in time", dir.path))
        .hint("a process hangs in a system call, or new ones keep coming; try again")
}

/// v1 may hang in FREEZING for ever while processes fork or join: the state has to be written
/// again, and now and then a thaw gives the stragglers a chance (runc has measured that).
fn freeze_v1(dir: &Dir) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    for round in 1.. {
        if round % 50 == 0 {
            dir.set("freezer.state", "THAWED")?;
            std::thread::sleep(Duration::from_millis(10));
        }
        dir.set("freezer.state", "FROZEN")?;
        if round % 25 == 0 {
            std::thread::sleep(Duration::from_micros(10));
        }
        let state = dir
            .read("freezer.state")
            .map_err(|e| Error::os(format!("read {}/freezer.state", dir.path), e))?;
        if state.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() > end {
            break;
        }
    }
    Err(too_slow(dir))
}

/// v2 tells by an event when it is done.
fn freeze_v2(dir: &Dir) -> Result<()> {
    dir.set("cgroup.freeze", "1")?;
    let failed = |e| Error::os(format!("read {}/cgroup.events", dir.path), e);
    let events = dir.open_file("cgroup.events", libc::O_RDONLY).map_err(failed)?;
    let end = Instant::now() + PATIENCE;
    loop {
        // Read before each wait: an event is one since the last read.
        let mut buf = [0u8; 256];
        crate::sys::fs::seek(events.as_fd(), 0, libc::SEEK_SET).map_err(failed)?;
        let n = io::read(events.as_fd(), &mut buf).map_err(failed)?;
        let text = String::from_utf8_lossy(buf.get(..n).unwrap_or(&[]));
        if keyed(&text, "frozen") == Some(1) {
            return Ok(());
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(too_slow(dir));
        }
        let mut fds = [io::PollFd::new(events.as_raw_fd(), libc::POLLPRI)];
        let slice = left.min(Duration::from_millis(100));
        let nanos = u64::try_from(slice.as_nanos()).unwrap_or(0);
        io::poll(&mut fds, Some(nanos)).map_err(failed)?;
    }
}
