//! seccomp: a filter loaded in a child and seen to act, a listener for user notifications, and the
//! actions that the kernel knows.

#![forbid(unsafe_code)]

use super::blockers::{Blocker, Effect, ids};
use super::kernel;
use super::report::{Findings, Need, Row, printable};
use super::settings::{Settings, text};
use crate::sys::probe::{self, Answers};
use crate::sys::{Errno, process, seccomp};
use seccompiler::sock_filter;

const LAYER: &str = "seccomp";

const LOG: u32 = 0x7ffc_0000;
const TRACE: u32 = 0x7ff0_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const TRAP: u32 = 0x0003_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

/// What the filter answers getppid with; the kernel itself never does.
const MARK: i32 = libc::EXDEV;

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// `getppid` gets this action and everything else is allowed.
const fn filter(action: u32) -> [sock_filter; 4] {
    const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS, of the call's number at 0
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    // A number of a few hundred on every architecture.
    #[allow(clippy::cast_possible_truncation)]
    const GETPPID: u32 = libc::SYS_getppid.unsigned_abs() as u32;
    [
        instruction(LOAD_WORD, 0, 0, 0),
        instruction(JUMP_IF_EQUAL, 0, 1, GETPPID),
        instruction(RETURN, 0, 0, action),
        instruction(RETURN, 0, 0, ALLOW),
    ]
}

static DENY: [sock_filter; 4] = filter(ERRNO | MARK.cast_unsigned());
static NOTIFY: [sock_filter; 4] = filter(USER_NOTIF);

pub(super) fn look(found: &mut Findings, host: &Settings) {
    let own = if host.filtered { "; one is on this process already" } else { "" };
    let done = kernel::in_plain_child(deny).and_then(kernel::first);
    let row = Row::errno(Need::Run, errno(done), &format!("loaded, and it denied a call{own}"));
    let why = || {
        Some(Blocker::new(
            ids::SECCOMP_FILTER,
            Effect::Blocks,
            "seccomp filters do not work here",
            "run a kernel with CONFIG_SECCOMP_FILTER=y; inside a container allow seccomp(2) and \
             prctl(2); without a filter there is only --security-opt seccomp=unconfined",
        ))
    };
    found.add(LAYER, "filter", row.because(why));
    let done = kernel::in_plain_child(notify).and_then(kernel::first);
    let row = match done {
        Err(e) if e.0 == libc::EBUSY => {
            Row::no(Need::Info, "this process has a filter with a listener already")
        }
        other => Row::errno(Need::Info, errno(other), "a listener was made"),
    };
    found.add(LAYER, "user notification", row);
    for (name, action) in
        [("log", LOG), ("trap", TRAP), ("trace", TRACE), ("kill process", KILL_PROCESS)]
    {
        let row = Row::errno(Need::Info, errno(probe::seccomp_has_action(action)), "known");
        found.add(LAYER, &format!("action {name}"), row);
    }
    for (name, file) in [("actions", "actions_avail"), ("actions logged", "actions_logged")] {
        let listed = text(&format!("/proc/sys/kernel/seccomp/{file}"));
        let listed = printable(listed.trim());
        let row = if listed.is_empty() {
            Row::no(Need::Info, "not told (Linux 4.14 does)")
        } else {
            Row::yes(Need::Info, listed)
        };
        found.add(LAYER, name, row);
    }
}

fn errno(result: Result<(), Errno>) -> i32 {
    result.map_or_else(|e| e.0, |()| 0)
}

/// In the child: a filter that denies getppid denies it.
fn deny(_: &()) -> Answers {
    let loaded = process::set_no_new_privs().and_then(|()| seccomp::load(&DENY, 0));
    kernel::only(loaded.and_then(|()| match probe::parent() {
        Err(e) if e.0 == MARK => Ok(()),
        // Loaded, and without effect.
        _ => Err(Errno(libc::EPROTO)),
    }))
}

/// In the child: a listener is a descriptor, which goes with the child.
fn notify(_: &()) -> Answers {
    let made = process::set_no_new_privs().and_then(|()| seccomp::load_with_listener(&NOTIFY, 0));
    kernel::only(made.map(drop))
}
