//! Telling a service manager that a container is ready (`NOTIFY_SOCKET`, sd_notify(3)), as runc does it.
//!
//! The program does not get the manager's socket: one of ours is in a directory of the container's state,
//! which the container finds on `/run/notify`. Of what comes there `READY=` is passed on, and that the
//! container's first process is the main one. Everybody in the container may say so.

#![forbid(unsafe_code)]

use super::store::Entry;
use crate::error::{Error, Kind, Result};
use crate::plan::detail::{AttrBits, Mount, MountSource, SourceLink};
use crate::plan::values::quote;
use crate::plan::{MountStep, Plan};
use crate::sys::io::{self, PollFd};
use crate::sys::mount::attr;
use crate::sys::{Errno, fs};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// In the container's directory.
pub(super) const DIR: &str = "notify";
const SOCKET: &str = "notify.sock";
/// In the container.
const INSIDE: &str = "/run/notify";

/// How long the manager has to take what it was sent (sd_notify_barrier(3)); as runc.
const BARRIER_NS: u64 = 30_000_000_000;

/// Makes the directory.
pub(super) fn make(entry: &Entry) -> Result<()> {
    let what = "make the directory of the container's notify socket";
    // Whoever the program runs as has to reach the socket; what is above it is the caller's alone.
    nix::sys::stat::mkdirat(entry.dir(), DIR, nix::sys::stat::Mode::from_bits_truncate(0o755))
        .and_then(|()| {
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o755);
            nix::sys::stat::fchmodat(
                entry.dir(),
                DIR,
                mode,
                nix::sys::stat::FchmodatFlags::FollowSymlink,
            )
        })
        .map_err(|e| Error::os(what, e))
}

/// Puts the directory into the plan of a container whose state is here.
pub(super) fn plan(plan: &mut Plan, own: &Path) {
    let set = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let mount = Mount {
        target: INSIDE.into(),
        source: MountSource::Bind {
            source: own.join(DIR),
            recursive: false,
            ids: None,
            link: SourceLink::Followed,
            kernel_only: false,
            within: None,
        },
        attrs: AttrBits { set, ..AttrBits::default() },
        propagation: Vec::new(),
        over_proc: false,
        target_itself: false,
    };
    let is_mount = |step: &MountStep| matches!(step, MountStep::Mount(_));
    let at = plan.steps.iter().rposition(is_mount).map_or(0, |at| at + 1);
    plan.steps.insert(at, MountStep::Mount(Box::new(mount)));
    let env = &mut plan.process.env;
    env.retain(|e| !e.starts_with("NOTIFY_SOCKET="));
    env.push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
}

/// The container's socket, and the manager's.
#[derive(Debug)]
pub(super) struct Notify {
    socket: UnixDatagram,
    manager: SocketAddr,
}

impl Notify {
    /// Makes the socket. `None`: the container was made without one.
    pub(super) fn bind(entry: &Entry, manager: &OsStr) -> Result<Option<Notify>> {
        let shown = quote(&manager.to_string_lossy());
        let bytes = manager.as_bytes();
        let manager = match bytes.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None if Path::new(manager).is_absolute() => SocketAddr::from_pathname(manager),
            None => {
                return Err(Error::new(
                    Kind::InvalidConfig,
                    format!("NOTIFY_SOCKET is {shown}, neither an absolute path nor @ and a name"),
                )
                .hint("unset it, or start the container from a service of the type notify"));
            }
        }
        .map_err(|e| Error::os(format!("take NOTIFY_SOCKET {shown}"), e))?;
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let name = std::ffi::CString::new(DIR).unwrap_or_default();
        let dir = match fs::open_beneath(entry.dir(), &name, flags, 0, fs::Resolve::Beneath) {
            Err(e) if e.0 == libc::ENOENT => return Ok(None),
            other => other.map_err(|e| Error::os("open the container's notify directory", e))?,
        };
        // By the directory's descriptor: an address has room for 107 bytes only.
        let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
        let failed = |e: std::io::Error| Error::os("make the container's notify socket", e);
        let socket = UnixDatagram::bind(&path).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&path, everybody).map_err(failed)?;
        Ok(Some(Notify { socket, manager }))
    }

    /// Where something comes.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what has come; the line that says that it is ready, if that is in it.
    pub(super) fn ready(&self) -> Option<Vec<u8>> {
        let mut buf = [0; 4096];
        loop {
            let len = match self.socket.recv(&mut buf) {
                Ok(len) => len,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            let lines = buf.get(..len).unwrap_or_default().split(|b| *b == b'\n');
            let mut ready = lines.filter(|line| line.starts_with(b"READY="));
            if let Some(line) = ready.next() {
                return Some(line.to_vec());
            }
        }
    }

    /// Tells the manager, and which process is the main one.
    pub(super) fn tell(&self, ready: &[u8], main: i32) -> Result<UnixDatagram> {
        let failed = |e: std::io::Error| Error::os("tell the service manager (NOTIFY_SOCKET)", e);
        let peer = UnixDatagram::unbound().map_err(failed)?;
        peer.connect_addr(&self.manager).map_err(failed)?;
        let mut line = ready.to_vec();
        line.push(b'\n');
        peer.send(&line).map_err(failed)?;
        peer.send(format!("MAINPID={main}\n").as_bytes()).map_err(failed)?;
        Ok(peer)
    }

    /// Waits until the program says that it is ready, tells the manager and waits until that has heard:
    /// it asks who sent it, which is not known any more once the sender is gone. Or until the container's
    /// first process ends.
    pub(super) fn wait(&self, init: BorrowedFd<'_>, pid: i32) -> Result<()> {
        let failed = |e: Errno| Error::os("wait until the container is ready", e);
        let ready = loop {
            let mut fds = [
                PollFd::new(self.fd().as_raw_fd(), libc::POLLIN),
                PollFd::new(init.as_raw_fd(), libc::POLLIN),
            ];
            io::poll_through(&mut fds, None).map_err(failed)?;
            let [_, ended] = fds;
            match self.ready() {
                Some(ready) => break ready,
                None if ended.revents() != 0 => return Ok(()),
                None => {}
            }
        };
        let peer = self.tell(&ready, pid)?;
        let (ours, theirs) = io::pipe().map_err(failed)?;
        io::send(peer.as_fd(), b"BARRIER=1", Some(theirs.as_fd())).map_err(failed)?;
        drop(theirs);
        // One that does not know it closes nothing: then the time is up.
        let mut fds = [PollFd::new(ours.as_raw_fd(), libc::POLLIN)];
        io::poll_through(&mut fds, Some(BARRIER_NS)).map_err(failed)
    }
}
