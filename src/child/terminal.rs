//! The job's terminal, and who its standard streams belong to.

#![forbid(unsafe_code)]

use super::{Armed, At, Done};
use crate::sys::fs::{self, Resolve};
use crate::sys::{self, Errno, io, mount};
use crate::wire::{Message, Step};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A terminal of the jail's own devpts, so that its name is right inside. The peer comes from
/// the master's descriptor and not from a path that could be something else (CVE-2025-52565).
pub(super) fn open(armed: &Armed) -> Done<OwnedFd> {
    let flags = libc::O_RDWR;
    let root = fs::cwd();
    let master = fs::open_beneath(root, c"dev/pts/ptmx", flags, 0, Resolve::NoSymlinks)
        .at(Step::Terminal)?;
    if fs::statfs(master.as_fd()).at(Step::Terminal)?.magic != DEVPTS_SUPER_MAGIC {
        return Err(super::Failure(Step::Terminal, 0, Errno(libc::ENOTTY)));
    }
    io::unlock_pty(master.as_fd()).at(Step::Terminal)?;
    let peer = io::pty_peer(master.as_fd()).at(Step::Terminal)?;
    // The job's own, so that it may open it by name.
    fs::chown(peer.as_fd(), armed.privs.uid, UNCHANGED).at(Step::Terminal)?;
    if let Some((columns, rows)) = armed.terminal_size {
        io::set_window_size(peer.as_fd(), columns, rows).at(Step::Terminal)?;
    }
    if armed.plain_lines {
        io::keep_line_ends(peer.as_fd()).at(Step::Terminal)?;
    }
    if armed.console {
        bind_console(root, peer.as_fd()).at(Step::Console)?;
    }
    let socket = armed.socket.as_fd();
    io::send(socket, &Message::Console.to_bytes(), Some(master.as_fd())).at(Step::Terminal)?;
    Ok(peer)
}

/// Shows the terminal as /dev/console too: by its descriptor, on a file that is no symlink.
fn bind_console(root: BorrowedFd<'_>, peer: BorrowedFd<'_>) -> sys::Result<()> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let dev = fs::open_beneath(root, c"dev", flags, 0, Resolve::NoSymlinks)?;
    let create = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let target = match fs::open_at(dev.as_fd(), c"console", create, 0o666) {
        Err(e) if e.0 == libc::EEXIST || e.0 == libc::EROFS => fs::open_beneath(
            dev.as_fd(),
            c"console",
            libc::O_PATH | libc::O_NOFOLLOW,
            0,
            Resolve::Beneath,
        ),
        other => other,
    }?;
    let tree = mount::clone_tree(peer, c"", false)?;
    mount::attach(tree.as_fd(), target.as_fd())
}

/// Makes 0, 1 and 2 the user's own, so that it may open them again by name (/dev/stdout): nothing
/// else. The null device is everybody's; the host's becomes the container's, as runc has it: by a
/// descriptor of the host's file its mode could be changed, and no checkpoint could be made of it.
pub(super) fn own_stdio(uid: u32) -> Done {
    for number in 0..3 {
        let fd = io::well_known(number);
        let seen = fs::stat(fd).at(Step::Stdio)?;
        if is_null(&seen) {
            if let Some(own) = own_null() {
                io::dup_inheritable(own.as_raw_fd(), number).at(Step::Stdio)?;
            }
            continue;
        }
        if seen.uid == uid {
            continue;
        }
        match fs::chown(fd, uid, UNCHANGED) {
            // A file of somebody who is not mapped here, or on a read-only file system: then it
            // stays whose it is, and the descriptor works all the same.
            Err(e) if [libc::EPERM, libc::EINVAL, libc::EROFS].contains(&e.0) => {}
            other => other.at(Step::Stdio)?,
        }
    }
    Ok(())
}

fn is_null(seen: &fs::Stat) -> bool {
    seen.is(libc::S_IFCHR) && seen.rdev == super::rootfs::NULL_DEVICE
}

/// The null device of the root that we are in, looked at before it is opened: nothing else is. `None`:
/// it has none.
fn own_null() -> Option<OwnedFd> {
    let path = c"/dev/null";
    let open = |flags| fs::open_beneath(fs::cwd(), path, flags, 0, Resolve::NoSymlinks);
    let is = |fd: &OwnedFd| fs::stat(fd.as_fd()).is_ok_and(|seen| is_null(&seen));
    open(libc::O_PATH).ok().filter(is)?;
    open(libc::O_RDWR).ok().filter(is)
}

/// The id that fchown(2) takes for "leave it".
const UNCHANGED: u32 = u32::MAX;

/// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
