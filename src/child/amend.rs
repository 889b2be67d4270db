//! BETWEEN CLONE AND EXEC: mounts that are made, or taken away, in a container which runs already.
//!
//! The process joins the container's user and mount namespaces and nothing else, so nobody in there
//! has it in sight, and has no more open than what it mounts. What the container does meanwhile to
//! its files is its own business: targets are opened below its root, and attached to by descriptor.

#![forbid(unsafe_code)]

use super::mounts::ArmedMount;
use super::network::Network;
use super::place::Place;
use super::rootfs::Work;
use super::sources::Inbox;
use super::{At, Done, close_all_but, fail};
use crate::sys::fs::{self, Resolve};
use crate::sys::{self, cred, io, mount, process};
use crate::wire::{Message, Step};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

/// What changes.
#[derive(Debug)]
pub struct ArmedAmend {
    /// Our end of the socket.
    pub socket: OwnedFd,
    /// The descriptors above 2 that are needed, in ascending order.
    pub kept: Vec<RawFd>,
    /// A pidfd of the container's init.
    pub init: OwnedFd,
    /// Its namespaces that are joined: `CLONE_NEWUSER` and `CLONE_NEWNS`, as far as they are its own.
    pub kinds: i32,
    /// The container's root, where that is not the root of its mount namespace.
    pub root: Option<OwnedFd>,
    /// Where the sources come in.
    pub inbox: Inbox,
    /// What is mounted, in this order.
    pub added: Vec<ArmedMount>,
    /// Where something is taken away, in this order.
    pub removed: Vec<Place>,
}

/// Makes the changes. Never returns.
pub fn enter(amend: &ArmedAmend) -> ! {
    #[cfg(debug_assertions)]
    crate::sys::guard::arm();
    match change(amend) {
        Ok(()) => process::exit_group(0),
        Err(failure) => fail(amend.socket.as_fd(), &failure),
    }
}

fn change(amend: &ArmedAmend) -> Done {
    process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
    close_all_but(&amend.kept)?;
    // Before anything of ours is in the container's namespaces, and again after: the change of
    // credentials decides anew.
    process::set_undumpable().at(Step::ParentDeath)?;
    let socket = amend.socket.as_fd();
    if amend.kinds & libc::CLONE_NEWUSER != 0 {
        process::join(amend.init.as_fd(), libc::CLONE_NEWUSER).at(Step::JoinNamespace)?;
        // The host's mounts as a namespace of the container's owner sees them: what the host has put on
        // them stays on copies of these, which the supervisor makes before it says Go.
        process::unshare(libc::CLONE_NEWNS).at(Step::JoinNamespace)?;
        process::set_undumpable().at(Step::ParentDeath)?;
        io::send(socket, &Message::Ready.to_bytes(), None).at(Step::Handshake)?;
        super::wait_for_go(socket)?;
    }
    if amend.kinds & libc::CLONE_NEWNS != 0 {
        process::join(amend.init.as_fd(), libc::CLONE_NEWNS).at(Step::JoinNamespace)?;
    }
    if amend.kinds & libc::CLONE_NEWUSER != 0 {
        // Its root: whatever directories are missing are made as one of the container's.
        cred::set_groups(&[]).at(Step::SetupIds)?;
        cred::set_gid(0).at(Step::SetupIds)?;
        cred::set_uid(0).at(Step::SetupIds)?;
    }
    process::set_undumpable().at(Step::ParentDeath)?;
    process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
    process::umask(0);
    let own;
    let root = match &amend.root {
        Some(root) => root.as_fd(),
        None => {
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            own = fs::open_at(fs::cwd(), c"/", flags, 0).at(Step::Root)?;
            own.as_fd()
        }
    };
    let mut network = None;
    let mut work = Work::inside(root, &amend.inbox, socket, &mut network);
    for (index, mount) in (0..).zip(&amend.added) {
        if let Err(failure) = work.any_mount(mount) {
            // All or nothing.
            for made in amend.added.iter().zip(0..index).rev().map(|(made, _)| made) {
                let _ = work.take_away(&made.target);
            }
            return Err(failure.of_mount(index));
        }
    }
    for (index, place) in (0..).zip(&amend.removed) {
        work.take_away(place).at_index(Step::Mount, index)?;
    }
    Ok(())
}

impl<'a> Work<'a> {
    /// In a root that is one already.
    fn inside(
        root: BorrowedFd<'a>,
        inbox: &'a Inbox,
        socket: BorrowedFd<'a>,
        network: &'a mut Option<Network>,
    ) -> Work<'a> {
        Work {
            armed: None,
            network,
            inbox,
            socket,
            root,
            cover: None,
            pool: None,
            null: None,
            empty: None,
            foreign_modes: false,
            held: None,
        }
    }

    /// Detaches what is mounted at this very place, which no symlink may lead to: it could lead to a mount
    /// that hides something.
    fn take_away(&mut self, place: &'a Place) -> sys::Result<()> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let (dir, name) = place.parent().unwrap_or((c".", place.first()));
        let dir = self.open(dir, flags, Resolve::NoSymlinks)?;
        fs::change_dir_fd(dir.as_fd())?;
        mount::detach(name)
    }
}
