//! Which of the calls that no run can do without are not there: an older kernel has not got them, or a
//! seccomp filter in front of it says so. Looked for only after one has failed.

#![forbid(unsafe_code)]

use crate::error::Error;
use crate::sys::probe;

/// Each with the Linux that brought it.
const NEEDED: [(&str, libc::c_long, &str); 16] = [
    ("unshare", libc::SYS_unshare, "2.6.16"),
    ("setns", libc::SYS_setns, "3.0"),
    ("memfd_create", libc::SYS_memfd_create, "3.17"),
    ("seccomp", libc::SYS_seccomp, "3.17"),
    ("execveat", libc::SYS_execveat, "3.19"),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal, "5.1"),
    ("open_tree", libc::SYS_open_tree, "5.2"),
    ("move_mount", libc::SYS_move_mount, "5.2"),
    ("fsopen", libc::SYS_fsopen, "5.2"),
    ("fsconfig", libc::SYS_fsconfig, "5.2"),
    ("fsmount", libc::SYS_fsmount, "5.2"),
    ("clone3", libc::SYS_clone3, "5.3"),
    ("pidfd_open", libc::SYS_pidfd_open, "5.3"),
    ("openat2", libc::SYS_openat2, "5.6"),
    ("close_range", libc::SYS_close_range, "5.9"),
    ("mount_setattr", libc::SYS_mount_setattr, "5.12"),
];

/// Those that are missing here, in words.
pub(crate) fn calls() -> Option<String> {
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(_, call, _)| probe::lacks(*call))
        .map(|(name, _, since)| format!("{name} (Linux {since})"))
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// Says which, where an error comes from a call that is not there.
pub(crate) fn named(error: Error) -> Error {
    if error.errno() != Some(libc::ENOSYS) {
        return error;
    }
    match calls() {
        Some(calls) => {
            let error = error.because(format!("missing here: {calls}"));
            if error.hint_text().is_some() {
                return error;
            }
            error.hint(
                "run a newer kernel, or take away the seccomp filter that stockade itself runs under",
            )
        }
        None => error,
    }
}
