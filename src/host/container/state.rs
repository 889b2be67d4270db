//! What is kept of a container, and what it is now.

#![forbid(unsafe_code)]

use super::store::{Entry, Store};
use crate::error::{Error, Kind, Result};
use crate::plan::values::quote;
use crate::sys::process;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The file.
pub(super) const STATE: &str = "state.json";
/// The copy of the configuration.
pub(super) const CONFIG: &str = "config.json";

/// Version of the runtime specification that this is.
pub const OCI_VERSION: &str = "1.3.0";

/// Where in its life a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made; its program has not been executed.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its init has ended.
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// The state of a container, as `state` prints it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // the runtime specification has them under these names
#[serde(rename_all = "camelCase")]
pub struct State {
    pub oci_version: String,
    pub id: String,
    pub status: Status,
    /// Of its init, as the host knows it; 0 once that has ended.
    pub pid: i32,
    pub bundle: PathBuf,
    pub annotations: BTreeMap<String, String>,
    /// The root file system, an absolute path.
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// The user who made it.
    pub owner: u32,
}

/// What is kept in state.json.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Saved {
    pub(crate) oci_version: String,
    pub(crate) id: String,
    pub(crate) status: Status,
    /// 0 until there is a process.
    pub(crate) pid: i32,
    /// Clock ticks since boot at which that process began: tells it from another one that was
    /// given the same pid.
    pub(crate) pid_start: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) created: String,
    pub(crate) owner: u32,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Namespaces that are not the host's, by their names in /proc/PID/ns.
    pub(crate) namespaces: Vec<String>,
    /// The cgroup; `None`: the container has none of its own.
    pub(crate) cgroup: Option<serde_json::Value>,
    /// What its maker's standard streams were, as /proc/PID/fd shows them; none with a terminal.
    #[serde(default)]
    pub(crate) streams: Vec<String>,
    /// Pid and beginning of the criu that restores it, which is in its cgroup until it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restorer: Option<(i32, u64)>,
}

impl Saved {
    /// Writes it whole.
    pub(crate) fn store(&self, entry: &Entry) -> Result<()> {
        let bytes = serde_json::to_vec(self)
            .map_err(|e| Error::new(Kind::Os, format!("write {STATE}: {e}")))?;
        entry.write(STATE, &bytes)
    }

    /// Reads it. What was tampered with is refused before anything follows from it.
    pub(crate) fn read(entry: &Entry) -> Result<Saved> {
        let bytes = entry.read(STATE)?;
        let bad = |why: String| {
            Error::new(Kind::Refused, format!("{STATE} of {} is damaged: {why}", quote(entry.id())))
                .hint("stockade delete --force removes what is left of the container")
        };
        let saved: Saved = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if saved.id != entry.id() {
            return Err(bad(format!("it is about {}", quote(&saved.id))));
        }
        // 1 is the host's own init, and a negative number would be a group of processes.
        if saved.pid < 0 || saved.pid == 1 {
            return Err(bad(format!("{} is no process of a container", saved.pid)));
        }
        Ok(saved)
    }

    /// A pidfd of its init, if that runs.
    pub(crate) fn init(&self) -> Result<Option<OwnedFd>> {
        running(self.pid, self.pid_start)
    }
}

/// A pidfd of the process that has begun then, if it runs; one that has another's pid is not it.
pub(super) fn running(pid: i32, start: u64) -> Result<Option<OwnedFd>> {
    if pid <= 0 {
        return Ok(None);
    }
    let pidfd = match process::pidfd_open(pid) {
        Ok(fd) => fd,
        Err(e) if e.0 == libc::ESRCH || e.0 == libc::EINVAL => return Ok(None),
        Err(e) => return Err(Error::os(format!("open a pidfd of {pid}"), e)),
    };
    // After the pidfd, which pins the process: what is read now is about that one or a dead one.
    Ok(match look(pid) {
        Some(seen) if seen.start == start && seen.alive => Some(pidfd),
        _ => None,
    })
}

/// What `/proc/PID/stat` tells.
pub(crate) struct Seen {
    pub(crate) start: u64,
    pub(crate) alive: bool,
}

/// Looks at a process.
pub(crate) fn look(pid: i32) -> Option<Seen> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The name may hold anything, parentheses included.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let alive = !matches!(fields.next()?, "Z" | "X" | "x");
    // Field 22; the state was the third.
    Some(Seen { start: fields.nth(18)?.parse().ok()?, alive })
}

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    store: Store,
    id: String,
    /// What of its configuration had no effect, when it was just made.
    pub(crate) warnings: Vec<String>,
}

impl Container {
    pub(crate) fn new(store: Store, id: &str) -> Container {
        Container { store, id: id.to_owned(), warnings: Vec::new() }
    }

    /// Finds it.
    pub(crate) fn load(store: Store, id: &str) -> Result<Container> {
        let container = Container::new(store, id);
        container.saved().map(|_| container)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn entry(&self) -> Result<Entry> {
        self.store.entry(&self.id)
    }

    pub(crate) fn saved(&self) -> Result<Saved> {
        let entry = self.entry()?;
        match Saved::read(&entry) {
            // Half-made: a `create` that is at work, or that was killed.
            Err(e) if e.errno() == Some(libc::ENOENT) => Err(Error::new(
                Kind::NotFound,
                format!("container {} is not made yet", quote(&self.id)),
            )
            .hint("if nobody is making it, stockade delete --force removes what is left of it")),
            other => other,
        }
    }

    pub(crate) fn config(&self) -> Result<Vec<u8>> {
        self.entry()?.read(CONFIG)
    }

    /// What it is now.
    pub(crate) fn state(&self) -> Result<State> {
        let saved = self.saved()?;
        let alive = saved.init()?.is_some();
        Ok(self.state_of(saved, alive))
    }

    pub(crate) fn state_of(&self, saved: Saved, alive: bool) -> State {
        let status = match saved.status {
            // Somebody is at it, and has made no process yet.
            Status::Creating if saved.pid == 0 && self.is_being_made() => Status::Creating,
            _ if !alive => Status::Stopped,
            Status::Running | Status::Created if super::is_frozen(&saved) => Status::Paused,
            other => other,
        };
        State {
            oci_version: saved.oci_version,
            id: saved.id,
            status,
            pid: if alive { saved.pid } else { 0 },
            bundle: saved.bundle,
            annotations: saved.annotations,
            rootfs: saved.rootfs,
            created: saved.created,
            owner: saved.owner,
        }
    }

    fn is_being_made(&self) -> bool {
        self.entry().is_ok_and(|entry| entry.is_locked())
    }

    pub(crate) fn processes(&self) -> Result<Vec<i32>> {
        super::processes(&self.saved()?)
    }
}
