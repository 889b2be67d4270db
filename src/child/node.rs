//! BETWEEN CLONE AND EXEC: a device node on a file system of its own, for a container in whose user
//! namespace none can be made. Nobody else sees the file system: it is mounted in a mount namespace that
//! ends with this process, and what remains is the node's own mount, which is sent away.

#![forbid(unsafe_code)]

use super::{At, Done, close_all_but, fail};
use crate::sys::mount::{self, FsContext, attr};
use crate::sys::{fs, io, process};
use crate::wire::{Message, Sources, Step};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The node.
#[derive(Debug)]
pub struct ArmedNode {
    /// Where its mount is sent.
    pub socket: OwnedFd,
    /// Type and permissions, of mknod(2).
    pub mode: u32,
    /// Its number.
    pub device: u64,
    /// User and group, as the host knows them.
    pub owner: (u32, u32),
}

/// Makes it in a new mount namespace. Never returns.
pub fn enter(node: &ArmedNode) -> ! {
    #[cfg(debug_assertions)]
    crate::sys::guard::arm();
    match make(node) {
        Ok(()) => process::exit_group(0),
        Err(failure) => fail(node.socket.as_fd(), &failure),
    }
}

fn make(node: &ArmedNode) -> Done {
    process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
    close_all_but(&[node.socket.as_raw_fd()])?;
    process::umask(0);
    mount::make_all_private().at(Step::Propagation)?;
    let context = FsContext::open(c"tmpfs").at(Step::Mount)?;
    for (key, value) in [(c"mode", c"0700"), (c"nr_inodes", c"2")] {
        context.set(key, Some(value)).at(Step::Mount)?;
    }
    let tree = context.mount(attr::NOSUID | attr::NOEXEC).at(Step::Mount)?;
    // Only what is attached can be copied (before Linux 6.15).
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let anchor = fs::open_at(fs::cwd(), c"/proc", flags, 0).at(Step::Mount)?;
    mount::attach(tree.as_fd(), anchor.as_fd()).at(Step::Mount)?;
    let name = c"node";
    fs::mknod_at(tree.as_fd(), name, node.mode, node.device).at(Step::Mount)?;
    fs::chown_at(tree.as_fd(), name, node.owner.0, node.owner.1).at(Step::Mount)?;
    let made = mount::clone_tree(tree.as_fd(), name, false).at(Step::Mount)?;
    let word = Message::Sources(Sources { count: 1, ..Sources::default() });
    io::send(node.socket.as_fd(), &word.to_bytes(), Some(made.as_fd())).at(Step::Handshake)
}
