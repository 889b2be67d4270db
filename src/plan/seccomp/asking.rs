//! A filter that asks a listener (`SCMP_ACT_NOTIFY`), in two parts whose sum is the filter.
//!
//! The listener gets the descriptor while the container is made; between that and the execution of
//! the program lies the wait for its start, whose calls a profile may deny. So what is loaded first
//! does nothing but ask, and the rest, which never asks, is loaded last of all. The kernel takes the
//! strictest answer of all filters, and asking is stricter than letting through.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag,
};

use super::emit::RET;
use super::{Instruction, SeccompError};

const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

// linux/seccomp.h
const NEW_LISTENER: u32 = 1 << 3;
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// The calls that nobody could answer: `sendmsg` carries the listener's descriptor away, and `write`
/// says what went wrong (runc's word on it, too).
const NEEDED: [&str; 2] = ["write", "sendmsg"];

/// The part of a filter that asks, and whom.
#[derive(Clone, Debug)]
pub struct Asking {
    /// The program: some calls are asked about, all others let through.
    pub program: Vec<Instruction>,
    /// Flags for `SECCOMP_SET_MODE_FILTER`, NEW_LISTENER among them.
    pub flags: u32,
    /// The socket where the listener waits; with `@` in front an abstract name.
    pub path: PathBuf,
    /// What it is told beside the state.
    pub metadata: String,
}

/// Where a profile that asks says that the listener is; `None`: it asks nobody.
pub(super) fn listener(
    spec: &LinuxSeccomp,
    warnings: &mut Vec<String>,
) -> Result<Option<(PathBuf, String)>, SeccompError> {
    if spec.default_action() == Action::ScmpActNotify {
        return Err(SeccompError::AskedByDefault);
    }
    let path = spec.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = spec.listener_metadata().clone().unwrap_or_default();
    let mut asks = false;
    for (at, call) in spec.syscalls().iter().flatten().enumerate() {
        if call.action() != Action::ScmpActNotify {
            continue;
        }
        asks = true;
        if let Some(name) = NEEDED.iter().find(|name| call.names().iter().any(|n| n == *name)) {
            return Err(SeccompError::AskedOfNeeded(name));
        }
        if path.is_none() {
            let first = call.names().first().map_or("", |n| n);
            return Err(SeccompError::NoListener(format!("syscalls[{at}] ({first:?})")));
        }
    }
    if path.is_none() && !metadata.is_empty() {
        return Err(SeccompError::MetadataWithoutPath);
    }
    if asks {
        return Ok(path.map(|path| (path.clone(), metadata)));
    }
    if path.is_some() {
        warnings.push("listenerPath has no effect: no rule notifies a listener".into());
    }
    // The kernel takes it with a listener only, libseccomp leaves it out without one.
    let waits = |flag: &Flag| *flag == Flag::SeccompFilterFlagWaitKillableRecv;
    if let Some(flag) = spec.flags().iter().flatten().find(|flag| waits(flag)) {
        warnings.push(format!("{flag} has no effect: no rule notifies a listener"));
    }
    Ok(None)
}

/// Splits a program into what is left of it and what asks the listener.
pub(super) fn split(
    program: Vec<Instruction>,
    spec: &LinuxSeccomp,
    flags: u32,
    listener: Option<(PathBuf, String)>,
) -> (Vec<Instruction>, Option<Asking>) {
    let asks = |i: &Instruction| i.code == RET && i.k == NOTIFY;
    // Not, if all that would be asked about are calls that this machine has not.
    let Some((path, metadata)) = listener.filter(|_| program.iter().any(asks)) else {
        return (program, None);
    };
    let wait = spec.flags().iter().flatten().any(|f| *f == Flag::SeccompFilterFlagWaitKillableRecv);
    let asking = Asking {
        program: answering(&program, &|k| if k == NOTIFY { NOTIFY } else { ALLOW }),
        flags: flags | NEW_LISTENER | if wait { WAIT_KILLABLE_RECV } else { 0 },
        path,
        metadata,
    };
    (answering(&program, &|k| if k == NOTIFY { ALLOW } else { k }), Some(asking))
}

/// The same program with other answers.
fn answering(program: &[Instruction], answer: &dyn Fn(u32) -> u32) -> Vec<Instruction> {
    let of = |i: &Instruction| if i.code == RET { answer(i.k) } else { i.k };
    program.iter().map(|i| Instruction { k: of(i), ..i.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::interpret::{Call, check, run};
    use super::super::{Arch, Extra, Filter, compile};
    use super::*;

    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;

    fn spec(json: &str) -> LinuxSeccomp {
        serde_json::from_str(json).unwrap()
    }

    fn compiled(json: &str) -> Result<Filter, SeccompError> {
        compile(&spec(json), Arch::X86_64, &Extra::default())
    }

    #[test]
    fn the_two_parts_say_together_what_the_profile_says() {
        // By the kernel's precedence of include/uapi/linux/seccomp.h: the least signed number.
        let strictest = |a: u32, b: u32| {
            let rank = |ret: u32| (ret & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
            if rank(a) <= rank(b) { a } else { b }
        };
        let filter = compiled(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"listenerPath":"/run/agent",
                "listenerMetadata":"m","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],
                "flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV","SECCOMP_FILTER_FLAG_LOG"],
                "syscalls":[{"names":["read","execve"],"action":"SCMP_ACT_ALLOW"},
                {"names":["mkdir","socket"],"action":"SCMP_ACT_NOTIFY"},
                {"names":["kill"],"action":"SCMP_ACT_NOTIFY","args":[{"index":1,"value":9,"op":"SCMP_CMP_EQ"}]},
                {"names":["reboot"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#,
        )
        .unwrap();
        let asking = filter.asking.unwrap();
        assert_eq!((asking.path.to_str(), asking.metadata.as_str()), (Some("/run/agent"), "m"));
        assert_eq!((asking.flags, filter.flags), (0b10_1010, 0b10));
        check(&asking.program);
        check(&filter.instructions);
        let at = |arch, nr, second| {
            let call = Call { nr, arch, args: [0, second, 0, 0, 0, 0] };
            let (ask, rest) = (run(&asking.program, &call), run(&filter.instructions, &call));
            let (ask, rest) = (ask.unwrap(), rest.unwrap());
            assert!([NOTIFY, ALLOW].contains(&ask) && rest != NOTIFY, "{nr}: {ask:x} {rest:x}");
            strictest(ask, rest)
        };
        let nr = |nr: i64| u32::try_from(nr).unwrap();
        let errno = libc::SECCOMP_RET_ERRNO | 1;
        for (call, second, want) in [
            (libc::SYS_read, 0, ALLOW),
            (libc::SYS_mkdir, 0, NOTIFY),
            (libc::SYS_kill, 9, NOTIFY),
            (libc::SYS_kill, 15, errno),
            (libc::SYS_open, 0, errno),
            (libc::SYS_reboot, 0, libc::SECCOMP_RET_KILL_PROCESS),
        ] {
            assert_eq!(at(X86_64, nr(call), second), want, "{call} {second}");
        }
        // mkdir of i386, and an architecture that is not listed.
        assert_eq!(at(I386, 39, 0), NOTIFY);
        assert_eq!(at(0xc000_00b7, 39, 0), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn what_nobody_could_answer_is_an_error_in_runcs_words() {
        let rule = |names: &str, more: &str| {
            format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW"{more},
                    "syscalls":[{{"names":[{names}],"action":"SCMP_ACT_NOTIFY"}}]}}"#
            )
        };
        let path = r#","listenerPath":"/run/agent""#;
        for (json, want) in [
            (
                rule(r#""mkdir","write""#, path),
                "SCMP_ACT_NOTIFY cannot be used for the write syscall",
            ),
            (rule(r#""sendmsg""#, path), "SCMP_ACT_NOTIFY cannot be used for the sendmsg syscall"),
            (rule(r#""mkdir""#, ""), "seccomp listenerPath is not set"),
            (rule(r#""mkdir""#, r#","listenerPath":"""#), "seccomp listenerPath is not set"),
            (
                format!(r#"{{"defaultAction":"SCMP_ACT_NOTIFY"{path}}}"#),
                "SCMP_ACT_NOTIFY cannot be used as default action",
            ),
        ] {
            let error = compiled(&json).unwrap_err().to_string();
            assert!(error.contains(want), "{json}: {error}");
        }
    }

    #[test]
    fn a_listener_that_hears_nothing_is_a_warning() {
        for json in [
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x","listenerMetadata":"m"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#,
        ] {
            let filter = compiled(json).unwrap();
            assert!(filter.asking.is_none() && filter.flags == 0, "{json}");
            assert!(filter.warnings.iter().any(|w| w.contains("has no effect")), "{json}");
        }
        // Asked about a call that only another machine has.
        let filter = compiled(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x",
                "syscalls":[{"names":["nonesuch"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        );
        assert!(filter.unwrap().asking.is_none());
    }
}
