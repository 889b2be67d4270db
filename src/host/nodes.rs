//! Device nodes for containers whose user namespace may make none, and which the host has not.

#![forbid(unsafe_code)]

use crate::child::node::{self, ArmedNode};
use crate::error::{Error, Kind, Result, Stage};
use crate::plan::detail::Node;
use crate::plan::{UserNamespace, ids};
use crate::sys::{io, process, signal};
use crate::wire::Message;
use std::os::fd::{AsFd, OwnedFd};

/// The mount of a new node, which is nowhere else.
pub(crate) fn make(asked: &Node, user: &UserNamespace, shown: &str) -> Result<OwnedFd> {
    let outside = |maps, id: u32, what: &str| {
        ids::outside(maps, id).ok_or_else(|| {
            Error::new(
                Kind::InvalidConfig,
                format!("the {what} {id} of the device {shown} is not mapped in the container"),
            )
            .hint("map it, or give the device another owner")
        })
    };
    let owner = (outside(&user.uids, asked.uid, "user")?, outside(&user.gids, asked.gid, "group")?);
    let failed = |e| Error::os(format!("make the device {shown}"), e).during(Stage::Mounts);
    let (ours, theirs) = io::seqpacket_pair().map_err(failed)?;
    let armed = ArmedNode {
        socket: theirs,
        mode: asked.kind | asked.mode,
        device: libc::makedev(asked.major, asked.minor),
        owner,
    };
    let mask = signal::set_mask(signal::ALL).map_err(failed)?;
    let flags = u64::from(libc::CLONE_NEWNS.cast_unsigned());
    let cloned = process::clone_into(flags, None, node::enter, &armed);
    signal::set_mask(mask).map_err(failed)?;
    let (pid, _pidfd) = cloned.map_err(failed)?;
    drop(armed);
    let mut bytes = [0; crate::wire::SIZE];
    let said = io::recv(ours.as_fd(), &mut bytes, false);
    // It has ended, or is about to: nothing keeps it.
    process::wait4(pid, 0).map_err(failed)?;
    let (n, fd) = said.map_err(failed)?;
    match (bytes.get(..n).and_then(Message::from_bytes), fd) {
        (Some(Message::Sources(_)), Some(fd)) => Ok(fd),
        (Some(Message::Failed(fail)), _) => Err(failed(crate::sys::Errno(fail.errno))),
        _ => Err(failed(crate::sys::Errno(libc::EPIPE))),
    }
}
