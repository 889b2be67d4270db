//! Mounts that are made, or taken away, in a container which runs.

#![forbid(unsafe_code)]

use super::inside::own_root;
use super::state::{Container, Saved};
use crate::child::amend::{self as child, ArmedAmend};
use crate::child::sources::{Inbox, Source};
use crate::error::{Error, Kind, Result, Stage};
use crate::host::launch::refuse_set_uid;
use crate::host::{arm, probe, seal, sources};
use crate::plan::detail::NamespaceKind;
use crate::plan::oci::{self, amend as plan};
use crate::plan::values::quote;
use crate::sys::{io, process, signal};
use crate::wire::{Fail, Message, SIZE, Step};
use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Makes the mounts of a list as config.json has them. Returns what of it has no effect.
pub(crate) fn add(container: &Container, json: &[u8], may_restart: bool) -> Result<Vec<String>> {
    let (mounts, warnings) = plan::added(json)?;
    let (saved, init) = running(container, may_restart)?;
    let facts = probe::probe_for_container()?;
    if !facts.privileged {
        let text = "mounts can be added by root alone: nobody else may copy the host's";
        return Err(Error::new(Kind::Permission, text).hint("put them into config.json"));
    }
    let (added, pending) = arm::mounts(&mounts)?;
    let targets: Vec<&Path> = mounts.iter().map(|m| m.target.as_path()).collect();
    let inbox = Inbox::new(vec![Cell::new(Source::Awaited); pending.len()]);
    let change = Change { verb: "mount", targets: &targets };
    change.make(
        container,
        &saved,
        init,
        (inbox, added, Vec::new()),
        &mut |socket, seen_from| {
            let found = seen_from.map(|process| sources::seen_by(process, &pending)).transpose()?;
            if found.is_some() {
                say_go(socket)?;
            }
            sources::send(&pending, found, None, saved.pid, socket)
        },
    )?;
    Ok(warnings)
}

/// Takes away what was added on the destinations of such a list.
pub(crate) fn remove(container: &Container, json: &[u8], may_restart: bool) -> Result<()> {
    let config = oci::parse(&container.config()?)?;
    let paths = plan::removed(json, &config)?;
    let (saved, init) = running(container, may_restart)?;
    let targets: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
    let removed = targets.iter().map(|path| arm::place(path)).collect::<Result<_>>()?;
    let change = Change { verb: "unmount", targets: &targets };
    let inbox = Inbox::new(Vec::new());
    change.make(container, &saved, init, (inbox, Vec::new(), removed), &mut |socket, seen_from| {
        seen_from.map_or(Ok(()), |_| say_go(socket))
    })
}

fn running(container: &Container, may_restart: bool) -> Result<(Saved, OwnedFd)> {
    refuse_set_uid()?;
    let saved = container.saved()?;
    let Some(init) = saved.init()? else {
        let text = format!("container {} does not run", quote(container.id()));
        return Err(Error::new(Kind::InvalidConfig, text));
    };
    // A process of ours is about to be in its namespaces, as with exec (CVE-2019-5736).
    let own_users = saved.namespaces.iter().any(|n| n == NamespaceKind::User.name());
    if may_restart && !own_users && !seal::is_sealed() {
        return Err(seal::run_sealed());
    }
    Ok((saved, init))
}

fn say_go(socket: BorrowedFd<'_>) -> Result<()> {
    io::send(socket, &Message::Go.to_bytes(), None)
        .map_err(|e| Error::os("tell the process that joins the container to go on", e))
}

/// Sends the process what it wants; it is given where that has mounts of its own to be looked at first.
type Send<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, Option<BorrowedFd<'_>>) -> Result<()>;

type Parts = (Inbox, Vec<crate::child::mounts::ArmedMount>, Vec<crate::child::place::Place>);

/// A change, in words.
struct Change<'a> {
    verb: &'a str,
    targets: &'a [&'a Path],
}

impl Change<'_> {
    fn make(
        &self,
        container: &Container,
        saved: &Saved,
        init: OwnedFd,
        (inbox, added, removed): Parts,
        send: Send<'_>,
    ) -> Result<()> {
        let config = oci::parse(&container.config()?)?;
        let root = own_root(saved, &init, &config)?;
        let has = |kind: NamespaceKind| saved.namespaces.iter().any(|n| n == kind.name());
        let flag = |kind, flag: i32| if has(kind) { flag } else { 0 };
        let kinds = flag(NamespaceKind::User, libc::CLONE_NEWUSER)
            | flag(NamespaceKind::Mount, libc::CLONE_NEWNS);
        let failed = |e| Error::os("make a process that joins the container", e);
        let (ours, theirs) = io::seqpacket_pair().map_err(failed)?;
        let mut kept = vec![theirs.as_raw_fd(), init.as_raw_fd()];
        kept.extend(root.as_ref().map(AsRawFd::as_raw_fd));
        kept.sort_unstable();
        let armed = ArmedAmend { socket: theirs, kept, init, kinds, root, inbox, added, removed };
        let mask = signal::set_mask(signal::ALL).map_err(failed)?;
        let cloned = process::clone_into(0, None, child::enter, &armed);
        signal::set_mask(mask).map_err(failed)?;
        let (pid, pidfd) = cloned.map_err(failed)?;
        drop(armed);
        let mut bytes = [0; SIZE];
        let mut hear = || {
            let n = io::recv(ours.as_fd(), &mut bytes, false).map_or(0, |(n, _)| n);
            bytes.get(..n).and_then(Message::from_bytes)
        };
        // One in a user namespace says when it has mounts to be looked at, or why not.
        let first = if kinds & libc::CLONE_NEWUSER == 0 { None } else { Some(hear()) };
        let sent = match first {
            None => send(ours.as_fd(), None),
            Some(Some(Message::Ready)) => send(ours.as_fd(), Some(pidfd.as_fd())),
            Some(_) => Ok(()),
        };
        if sent.is_err() {
            // It waits for them.
            let _ = process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        }
        let said = match first {
            Some(Some(failed @ Message::Failed(_))) => Some(failed),
            _ => hear(),
        };
        let ended = loop {
            match process::wait4(pid, 0) {
                Ok(Some(waited)) => break waited.status,
                Ok(None) => {}
                Err(e) if e.0 == libc::EINTR => {}
                Err(e) => return Err(failed(e)),
            }
        };
        match said {
            Some(Message::Failed(fail)) if sent.is_ok() || fail.errno != libc::EPIPE => {
                Err(self.explain(&fail))
            }
            _ => sent.and_then(|()| {
                if ended == 0 {
                    return Ok(());
                }
                Err(Error::new(Kind::Os, "the process that joined the container was ended"))
            }),
        }
    }

    fn explain(&self, fail: &Fail) -> Error {
        let at = usize::try_from(fail.index).unwrap_or(usize::MAX);
        let target = self.targets.get(at).filter(|_| fail.step == Step::Mount);
        let Some(target) = target else {
            return Error::step(fail.step, "join the container", fail.errno);
        };
        let what = format!("{} {} in the container", self.verb, quote(&target.to_string_lossy()));
        let error = Error::os(what, crate::sys::Errno(fail.errno)).during(Stage::Mounts);
        match fail.errno {
            libc::EINVAL if self.verb == "unmount" => error.hint("nothing is mounted there"),
            libc::ELOOP if self.verb == "unmount" => error.hint("name it without symlinks"),
            _ => error,
        }
    }
}
