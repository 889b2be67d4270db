//! Id maps: written by the supervisor, or by newuidmap and newgidmap; and user namespaces that
//! exist only to map the ids of a mount.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::plan::ids::IdMap;
use crate::plan::{MapWriter, UserNamespace};
use crate::sys::{self, io, process};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

const NEWUIDMAP: &str = "/usr/bin/newuidmap";
const NEWGIDMAP: &str = "/usr/bin/newgidmap";

/// Whether shadow's helpers are there.
pub(crate) fn helpers_installed() -> bool {
    Path::new(NEWUIDMAP).exists() && Path::new(NEWGIDMAP).exists()
}

fn lines(maps: &[IdMap]) -> String {
    maps.iter().map(|m| format!("{} {} {}\n", m.inside, m.outside, m.count)).collect()
}

/// Writes the maps of a process in a new user namespace.
///
/// # Errors
/// The kernel or a helper refuses.
pub(crate) fn write_maps(pid: i32, user: &UserNamespace) -> Result<()> {
    let proc = ProcDir::open(pid)?;
    match user.writer {
        MapWriter::Privileged => {
            proc.write(c"uid_map", &lines(&user.uids))?;
            proc.write(c"gid_map", &lines(&user.gids))
        }
        MapWriter::SingleId => {
            // The kernel insists: an ordinary user who could drop groups could gain access that
            // a group is denied (CVE-2014-8989).
            proc.write(c"setgroups", "deny")?;
            proc.write(c"uid_map", &lines(&user.uids))?;
            proc.write(c"gid_map", &lines(&user.gids))
        }
        MapWriter::Helpers => {
            run_helper(NEWUIDMAP, pid, &user.uids)?;
            run_helper(NEWGIDMAP, pid, &user.gids)
        }
    }
}

/// `/proc/PID` by descriptor, so that all writes are to one process.
struct ProcDir {
    fd: OwnedFd,
    pid: i32,
}

impl ProcDir {
    fn open(pid: i32) -> Result<ProcDir> {
        let path = std::ffi::CString::new(format!("/proc/{pid}")).unwrap_or_default();
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let fd = sys::fs::open_at(sys::fs::cwd(), &path, flags, 0)
            .map_err(|e| Error::os(format!("open /proc/{pid}"), e))?;
        Ok(ProcDir { fd, pid })
    }

    fn write(&self, file: &std::ffi::CStr, text: &str) -> Result<()> {
        let written = sys::fs::open_at(self.fd.as_fd(), file, libc::O_WRONLY, 0)
            .and_then(|fd| io::write_whole(fd.as_fd(), text.as_bytes()));
        written.map_err(|e| {
            let name = file.to_string_lossy();
            Error::os(format!("write {:?} to /proc/{}/{name}", text.trim_end(), self.pid), e).hint(
                "the ids may not be the caller's to map: see /etc/subuid, /etc/subgid and user_namespaces(7)",
            )
        })
    }

    fn open_file(&self, file: &std::ffi::CStr) -> Result<OwnedFd> {
        sys::fs::open_at(self.fd.as_fd(), file, libc::O_RDONLY, 0).map_err(|e| {
            Error::os(format!("open /proc/{}/{}", self.pid, file.to_string_lossy()), e)
        })
    }
}

/// The user namespace of a process.
pub(crate) fn user_namespace(pid: i32) -> Result<OwnedFd> {
    ProcDir::open(pid)?.open_file(c"ns/user")
}

fn run_helper(program: &str, pid: i32, maps: &[IdMap]) -> Result<()> {
    let mut command = std::process::Command::new(program);
    command.arg(pid.to_string());
    for m in maps {
        command.args([m.inside.to_string(), m.outside.to_string(), m.count.to_string()]);
    }
    let output = command
        .env_clear()
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|e| Error::os(format!("run {program}"), e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = crate::plan::values::quote(String::from_utf8_lossy(&output.stderr).trim());
    Err(Error::new(Kind::Permission, format!("{program} refused the id map: {said}"))
        .hint("check /etc/subuid and /etc/subgid, and that the program is set-user-ID root"))
}

/// User ids, group ids.
type Maps = (Vec<IdMap>, Vec<IdMap>);

/// User namespaces that exist for the ids of mounts; made at most once for each mapping.
#[derive(Debug, Default)]
pub(crate) struct MountNamespaces {
    made: Vec<(Maps, OwnedFd)>,
}

impl MountNamespaces {
    /// A namespace with these maps.
    pub(crate) fn get(&mut self, uids: &[IdMap], gids: &[IdMap]) -> Result<BorrowedFd<'_>> {
        let at = match self.made.iter().position(|((u, g), _)| u == uids && g == gids) {
            Some(at) => at,
            None => {
                let fd = make(uids, gids)?;
                self.made.push(((uids.to_vec(), gids.to_vec()), fd));
                self.made.len() - 1
            }
        };
        self.made
            .get(at)
            .map(|(_, fd)| fd.as_fd())
            .ok_or_else(|| Error::new(Kind::Os, "the namespace list changed"))
    }
}

/// A process is needed to make a namespace; it waits until its maps are written and ends.
fn make(uids: &[IdMap], gids: &[IdMap]) -> Result<OwnedFd> {
    let (pid, pidfd, ours) = sys::process::spawn_namespace_holder()
        .map_err(|e| Error::os("make a user namespace for an id-mapped mount", e))?;
    let user = UserNamespace {
        uids: uids.to_vec(),
        gids: gids.to_vec(),
        writer: MapWriter::Privileged,
        setup_ids: None,
    };
    let namespace = write_maps(pid, &user).and_then(|()| user_namespace(pid));
    drop(ours);
    // The holder ends when our end of the pipe is closed; killing it too makes sure of it.
    let _ = process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
    process::wait4(pid, 0).map_err(|e| Error::os("wait for a namespace's holder", e))?;
    namespace
}
