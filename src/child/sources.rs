//! Mounts of the host's files: sent by the supervisor while the child is at work, or, where that is
//! an ordinary user's, copied here.

#![forbid(unsafe_code)]

use super::rootfs::Tree;
use crate::sys::{self, Errno, fs, io, mount};
use crate::wire::{Message, SIZE, Sources};
use core::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

/// What is known of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It has not come yet.
    Awaited,
    /// The host has none.
    Absent,
    /// It has come.
    #[allow(missing_docs)]
    Here { fd: RawFd, directory: bool },
}

/// The sources, in the order of the steps that need them. Made by the parent, filled by the child
/// in its own copy.
#[derive(Debug)]
pub struct Inbox {
    sources: Vec<Cell<Source>>,
    /// How many have come.
    known: Cell<usize>,
}

impl Inbox {
    /// With a place for each, made by the parent.
    #[must_use]
    pub fn new(sources: Vec<Cell<Source>>) -> Inbox {
        Inbox { sources, known: Cell::new(0) }
    }

    /// Whether all have come.
    pub fn is_complete(&self) -> bool {
        self.known.get() == self.sources.len()
    }

    /// The mount and whether it is of a directory, when it has come; `None`: the host has no such
    /// file, and the job can do without.
    pub fn take(
        &self,
        slot: usize,
        socket: BorrowedFd<'_>,
    ) -> sys::Result<Option<(BorrowedFd<'static>, bool)>> {
        loop {
            match self.sources.get(slot).map(Cell::get) {
                Some(Source::Here { fd, directory }) => {
                    return Ok(Some((io::well_known(fd), directory)));
                }
                Some(Source::Absent) => return Ok(None),
                Some(Source::Awaited) => self.receive(socket)?,
                None => return Err(Errno(libc::EPROTO)),
            }
        }
    }

    /// Waits until all have come.
    pub fn fill(&self, socket: BorrowedFd<'_>) -> sys::Result<()> {
        while self.known.get() < self.sources.len() {
            self.receive(socket)?;
        }
        Ok(())
    }

    fn receive(&self, socket: BorrowedFd<'_>) -> sys::Result<()> {
        let mut buf = [0u8; SIZE];
        let mut fds = [-1; Sources::MOST];
        let n = io::recv_many(socket, &mut buf, false, &mut fds)?;
        // The end of file: the supervisor has found a source that cannot be had, or is gone.
        let Some(Message::Sources(s)) = buf.get(..n).and_then(Message::from_bytes) else {
            return Err(Errno(libc::EPIPE));
        };
        let mut came = fds.into_iter().filter(|fd| *fd >= 0);
        for bit in 0..s.count.min(64) {
            let absent = s.absent >> bit & 1 == 1;
            let source = if absent {
                Source::Absent
            } else {
                let fd = came.next().ok_or(Errno(libc::EPROTO))?;
                Source::Here { fd, directory: s.directories >> bit & 1 == 1 }
            };
            self.sources.get(self.known.get()).ok_or(Errno(libc::EPROTO))?.set(source);
            self.known.set(self.known.get() + 1);
        }
        Ok(())
    }
}

/// A mount to be attached: made here, or one of the inbox, which stays open until the end.
pub(super) enum Opened {
    Own(OwnedFd),
    Came(BorrowedFd<'static>),
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Opened::Own(fd) => fd.as_fd(),
            Opened::Came(fd) => *fd,
        }
    }
}

/// The mount of a host path, and whether that is a directory; `ESTALE` if the path is no longer
/// what the parent saw. `None`: it is optional and not there.
pub(super) fn open_tree(
    tree: &Tree,
    directory: bool,
    inbox: &Inbox,
    socket: BorrowedFd<'_>,
) -> sys::Result<Option<(Opened, bool)>> {
    match tree {
        Tree::Sent(slot) => {
            Ok(inbox.take(*slot, socket)?.map(|(fd, directory)| (Opened::Came(fd), directory)))
        }
        Tree::Path { path, dev, ino, recursive, itself } => {
            let copy = if *itself {
                mount::clone_tree_itself(fs::cwd(), path, *recursive)?
            } else {
                mount::clone_tree(fs::cwd(), path, *recursive)?
            };
            let seen = fs::stat(copy.as_fd())?;
            if seen.dev == *dev && seen.ino == *ino {
                Ok(Some((Opened::Own(copy), directory)))
            } else {
                Err(Errno(libc::ESTALE))
            }
        }
    }
}
