//! The kernel: its version, and the calls that every jail makes.

#![forbid(unsafe_code)]

use super::blockers::{self, Blocker};
use super::report::{Findings, Need, Row};
use super::settings::Settings;
use crate::host::missing;
use crate::sys::fs::{self, Resolve};
use crate::sys::probe::{Answers, Child, NOT_ASKED};
use crate::sys::{Result, io, process};
use std::os::fd::AsFd;

const LAYER: &str = "kernel";

pub(super) fn look(found: &mut Findings, host: &Settings) {
    let old = blockers::too_old(host);
    let row = match &old {
        None => Row::yes(Need::Run, format!("{}; 5.12 is the oldest that can work", host.release)),
        Some(_) => Row::no(Need::Run, format!("{}; 5.12 is needed", host.release)),
    };
    found.add(LAYER, "version", row.because(|| old.clone()));
    let errno = clone3().map_or_else(|e| e.0, |()| 0);
    let row = Row::errno(Need::Run, errno, "a child was made");
    found.add(LAYER, "clone3", row.because(|| Some(blockers::no_clone3(host, errno))));
    let row = |result: Result<()>, works: &str| {
        let errno = result.map_or_else(|e| e.0, |()| 0);
        Row::errno(Need::Run, errno, works).because(|| old.clone().or_else(|| no_call(errno)))
    };
    found.add(LAYER, "pidfd", row(pidfd(), "a signal was sent by it"));
    let opened = fs::open_beneath(fs::cwd(), c".", libc::O_PATH, 0, Resolve::InRoot).map(drop);
    found.add(LAYER, "openat2", row(opened, "a path was opened below a root"));
    let closed = in_plain_child(close_some).and_then(first);
    found.add(LAYER, "close_range", row(closed, "descriptors were closed"));
}

/// Whether the kernel, or a filter in front of it, stops every jail.
pub(super) fn blocker(host: &Settings) -> Option<Blocker> {
    match clone3() {
        Err(e) => Some(blockers::no_clone3(host, e.0)),
        Ok(()) => blockers::too_old(host).or_else(|| no_call(libc::ENOSYS)),
    }
}

fn no_call(errno: i32) -> Option<Blocker> {
    (errno == libc::ENOSYS).then(missing::calls).flatten().map(|calls| blockers::no_call(&calls))
}

fn clone3() -> Result<()> {
    Child::start(0, None, nothing, &())?.ask().map(drop)
}

pub(super) fn nothing(_: &()) -> Answers {
    [0; 8]
}

fn pidfd() -> Result<()> {
    let own = process::pidfd_open(std::process::id().cast_signed())?;
    process::pidfd_send_signal(own.as_fd(), 0)
}

/// A child with no namespace of its own.
pub(super) fn in_plain_child(probe: fn(&()) -> Answers) -> Result<Answers> {
    Child::start_old(0, probe, &())?.ask()
}

/// The first answer as a result.
pub(super) fn first(answers: Answers) -> Result<()> {
    match answers.first() {
        Some(0) => Ok(()),
        Some(n) => Err(crate::sys::Errno(*n)),
        None => Ok(()),
    }
}

/// One errno and no more.
pub(super) fn only(result: Result<()>) -> Answers {
    let mut answers = [NOT_ASKED; 8];
    if let Some(slot) = answers.first_mut() {
        *slot = result.map_or_else(|e| e.0, |()| 0);
    }
    answers
}

/// Above what the child itself has open.
fn close_some(_: &()) -> Answers {
    only(io::close_range(1 << 20, u32::MAX))
}
