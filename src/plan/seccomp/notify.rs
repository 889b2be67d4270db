//! The filter in the form that tells: what it denies is handed to a listener, which answers with
//! what the profile says. What it allows costs not one instruction more.
//!
//! The process that loads it has to send the listener to the supervisor, under the filter. So the
//! calls that it needs for that are let through by the first filter where the profile denies
//! them, and denied by a second, which is loaded behind it and says the profile's word on just
//! those. The kernel takes the strictest of all filters.
#![forbid(unsafe_code)]

use super::emit::{ARCH, JA, JEQ, LD_W_ABS, NR, RET};
use super::interpret::{Call, run};
use super::rules::{ENOSYS, is_permissive};
use super::syscalls::{self, Abi};
use super::{Arch, Instruction, MAX_INSTRUCTIONS};

const RET_ERRNO: u32 = libc::SECCOMP_RET_ERRNO;
const RET_ACTION: u32 = libc::SECCOMP_RET_ACTION_FULL;
const RET_DATA: u32 = libc::SECCOMP_RET_DATA;
const RET_ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const RET_NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;

/// A filter with a listener.
#[derive(Clone, Debug)]
pub struct Telling {
    /// Loaded first, with a listener.
    pub first: Vec<Instruction>,
    /// Loaded behind it; empty: not needed.
    pub second: Vec<Instruction>,
}

/// What a filter says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The call fails with this error number.
    Errno(i32),
    /// The process ends.
    Kill,
    /// Anything else, which never comes to a listener.
    Other,
}

/// What `program` says of `call`.
#[must_use]
pub fn answer(program: &[Instruction], call: &Call) -> Answer {
    match run(program, call) {
        // A program that cannot be run is none of ours: the strictest.
        None => Answer::Kill,
        Some(ret) if is_kill(ret) => Answer::Kill,
        Some(ret) if ret & RET_ACTION == RET_ERRNO => {
            // As the kernel, which answers no more than MAX_ERRNO.
            Answer::Errno(i32::try_from((ret & RET_DATA).min(4095)).unwrap_or(libc::EPERM))
        }
        Some(_) => Answer::Other,
    }
}

fn is_kill(ret: u32) -> bool {
    let action = ret & RET_ACTION;
    action == libc::SECCOMP_RET_KILL_PROCESS || action == libc::SECCOMP_RET_KILL_THREAD
}

/// Whether a verdict is told. Not a kill: a signal can take a call back from the listener before it
/// was looked at, and then the caller would live on. Errno 0 makes a call succeed without doing anything, and
/// with ENOSYS the default profile has the C library try an older call: on every thread that it
/// starts.
fn is_told(ret: u32, tell_enosys: bool) -> bool {
    ret & RET_ACTION == RET_ERRNO
        && ret & RET_DATA != 0
        && (tell_enosys || ret & (RET_ACTION | RET_DATA) != ENOSYS)
}

/// Makes the telling form of `program`; `None`: it would be too long.
#[must_use]
pub fn telling(program: &[Instruction], native: Arch, tell_enosys: bool) -> Option<Telling> {
    let told = program.iter().map(|i| {
        let tells = i.code == RET && is_told(i.k, tell_enosys);
        Instruction { k: if tells { RET_NOTIFY } else { i.k }, ..i.clone() }
    });
    let abi = Abi::of(native);
    let needed = [abi.number("sendmsg")?, abi.number("seccomp")?];
    // All arguments alike: a profile that looks at them is taken for one that may deny.
    let always = |nr: u32| {
        [0, 3, u64::MAX].into_iter().all(|arg| {
            let call = Call { nr, arch: abi.audit_arch(), args: [arg; 6] };
            run(program, &call).is_some_and(is_permissive)
        })
    };
    if needed.into_iter().all(always) {
        return Some(Telling { first: told.collect(), second: Vec::new() });
    }
    let first: Vec<_> = gate(abi, needed, true).into_iter().chain(told).collect();
    let second: Vec<_> =
        gate(abi, needed, false).into_iter().chain(program.iter().cloned()).collect();
    (first.len() <= MAX_INSTRUCTIONS).then_some(Telling { first, second })
}

/// Stands before a program. With `pass` the two calls are let through and all others reach the
/// program, else only the two reach it.
fn gate(abi: Abi, [one, two]: [u32; 2], pass: bool) -> [Instruction; 7] {
    let i = |code, jt, jf, k| Instruction { code, jt, jf, k };
    // Where the jumps go: `ret ALLOW` is at 5, the program behind the `ja` at 6.
    let (ours, others) = if pass { (5, 6) } else { (6, 5) };
    [
        i(LD_W_ABS, 0, 0, ARCH),
        i(JEQ, 0, others - 2, abi.audit_arch()),
        i(LD_W_ABS, 0, 0, NR),
        i(JEQ, ours - 4, 0, one),
        i(JEQ, ours - 5, others - 5, two),
        i(RET, 0, 0, RET_ALLOW),
        i(JA, 0, 0, 0),
    ]
}

/// The native calls that the filter answers by a kill, whatever their arguments.
#[must_use]
pub fn killers(program: &[Instruction]) -> Vec<&'static str> {
    let abi = Abi::of(Arch::native());
    let kills = |nr: &u32| {
        let call = Call { nr: *nr, arch: abi.audit_arch(), args: [0; 6] };
        answer(program, &call) == Answer::Kill
    };
    (0..1000).filter(kills).filter_map(|nr| abi.name(nr)).collect()
}

/// The call that starts a job.
#[must_use]
pub fn execve() -> Call {
    call_of("execve")
}

/// A call by its name, with arguments of zero.
#[must_use]
pub fn call_of(name: &str) -> Call {
    let abi = Abi::of(Arch::native());
    Call { nr: abi.number(name).unwrap_or(0), arch: abi.audit_arch(), args: [0; 6] }
}

/// The name of a call and of the ABI that it was made in.
#[must_use]
pub fn name_of(call: &Call) -> (String, &'static str) {
    let Some((abi, arch)) = syscalls::abi_of(call.arch, call.nr) else {
        return (format!("syscall_{}", call.nr), "unknown");
    };
    let name = abi.name(call.nr);
    (name.map_or_else(|| format!("syscall_{}", call.nr), str::to_owned), arch)
}

#[cfg(test)]
mod tests {
    use super::super::interpret::check;
    use super::super::{Extra, Profile, Target, compile, precompiled};
    use super::*;

    const X86_64: u32 = 0xc000_003e;

    fn call(nr: i64) -> Call {
        Call { nr: u32::try_from(nr).unwrap(), arch: X86_64, args: [0; 6] }
    }

    fn profile(json: &str) -> Vec<Instruction> {
        let target = Target { arch: Arch::X86_64, caps: 0, kernel: (6, 18) };
        let spec = Profile::parse(json.as_bytes()).unwrap().resolve(&target).unwrap();
        compile(&spec, Arch::X86_64, &Extra::default()).unwrap().instructions
    }

    #[test]
    fn what_the_default_profile_denies_is_told_and_nothing_else() {
        let plain = precompiled().unwrap();
        let telling = telling(&plain, Arch::X86_64, false).unwrap();
        assert!(telling.second.is_empty());
        check(&telling.first);
        let (mut told, mut same) = (0, 0);
        for nr in 0..600 {
            let call = call(nr);
            let (before, after) =
                (run(&plain, &call).unwrap(), run(&telling.first, &call).unwrap());
            if after == RET_NOTIFY {
                assert_ne!(answer(&plain, &call), Answer::Other, "{nr}");
                told += 1;
            } else {
                assert_eq!(before, after, "{nr}");
                same += 1;
            }
        }
        assert!(told > 50 && same > 300, "{told} {same}");
        // On every thread that glibc starts.
        let clone3 = run(&telling.first, &call(libc::SYS_clone3)).unwrap();
        assert_eq!(clone3, ENOSYS);
        assert_eq!(answer(&plain, &call(libc::SYS_bpf)), Answer::Errno(libc::EPERM));
    }

    #[test]
    fn the_default_profile_answers_enosys_for_clone3_and_for_calls_newer_than_it() {
        let plain = precompiled().unwrap();
        for nr in 0..600 {
            let got = run(&plain, &call(nr)).unwrap();
            assert_eq!(got == ENOSYS, nr == libc::SYS_clone3 || nr > 466, "{nr}");
        }
    }

    #[test]
    fn a_profile_that_denies_what_the_hand_over_needs_gets_two_filters_with_the_same_sum() {
        let plain = profile(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64"],
               "syscalls":[{"names":["read","write","execve","exit_group"],"action":"SCMP_ACT_ALLOW"},
               {"names":["reboot"],"action":"SCMP_ACT_KILL_PROCESS"},
               {"names":["seccomp"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}"#,
        );
        let telling = telling(&plain, Arch::X86_64, true).unwrap();
        check(&telling.first);
        check(&telling.second);
        for nr in 0..600 {
            let call = call(nr);
            let first = run(&telling.first, &call).unwrap();
            let second = run(&telling.second, &call).unwrap();
            let needed = [libc::SYS_sendmsg, libc::SYS_seccomp].contains(&nr);
            if needed {
                assert_eq!(first, RET_ALLOW, "{nr}");
                assert_eq!(second, run(&plain, &call).unwrap(), "{nr}");
            } else {
                assert_eq!(second, RET_ALLOW, "{nr}");
                let plain = run(&plain, &call).unwrap();
                if plain == RET_ALLOW || is_kill(plain) {
                    assert_eq!(first, plain, "{nr}");
                } else {
                    assert_eq!(first, RET_NOTIFY, "{nr}");
                }
            }
        }
        // In another ABI the second filter has nothing to say.
        let foreign = Call { nr: 16, arch: 0x4000_0003, args: [0; 6] };
        assert_eq!(run(&telling.second, &foreign), Some(RET_ALLOW));
        assert_eq!(run(&telling.first, &foreign), run(&plain, &foreign));
        assert_eq!(answer(&plain, &foreign), Answer::Kill);
    }

    #[test]
    fn calls_have_their_names_in_each_abi() {
        let of = |arch, nr| name_of(&Call { nr, arch, args: [0; 6] });
        assert_eq!(of(X86_64, 321), ("bpf".to_owned(), "x86_64"));
        assert_eq!(of(X86_64, 0x4000_0000 + 520), ("execve".to_owned(), "x32"));
        assert_eq!(of(0x4000_0003, 102), ("socketcall".to_owned(), "x86"));
        assert_eq!(of(0xc000_00b7, 79), ("newfstatat".to_owned(), "aarch64"));
        assert_eq!(of(X86_64, 9999), ("syscall_9999".to_owned(), "x86_64"));
        assert_eq!(of(1, 2), ("syscall_2".to_owned(), "unknown"));
    }
}
