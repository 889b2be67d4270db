//! Tests of the compiler: actions, operators, precedence, architectures, limits, flags.
#![forbid(unsafe_code)]

use super::interpret::{Call, check, run};
use super::syscalls::{Abi, X32_BIT};
use super::*;

pub(super) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub(super) const KILL_PROCESS: u32 = libc::SECCOMP_RET_KILL_PROCESS;

pub(super) fn err(errno: i32) -> u32 {
    rules::errno(errno)
}

/// A compiled filter that can be asked.
pub(super) struct Asked(pub(super) Filter);

impl Asked {
    pub(super) fn call(&self, abi: Abi, nr: u32, args: &[u64]) -> u32 {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        run(&self.0.instructions, &Call { nr, arch: abi.audit_arch(), args: all }).unwrap()
    }

    /// By name; on x86_64.
    pub(super) fn ask(&self, name: &str, args: &[u64]) -> u32 {
        self.ask_abi(Abi::X86_64, name, args)
    }

    pub(super) fn ask_abi(&self, abi: Abi, name: &str, args: &[u64]) -> u32 {
        let nr = abi.number(name).unwrap_or_else(|| panic!("{name} is not a call of {abi:?}"));
        self.call(abi, nr, args)
    }
}

pub(super) const NO_CAPS: Target = Target { arch: Arch::X86_64, caps: 0, kernel: (6, 1) };

pub(super) fn filter_of(
    json: &str,
    target: &Target,
    extra: &Extra,
) -> Result<Filter, SeccompError> {
    let spec = Profile::parse(json.as_bytes())?.resolve(target)?;
    let filter = compile(&spec, target.arch, extra)?;
    check(&filter.instructions);
    Ok(filter)
}

pub(super) fn filter(json: &str) -> Asked {
    Asked(filter_of(json, &NO_CAPS, &Extra::default()).unwrap())
}

/// A profile with the default ERRNO (EPERM) and these entries of `syscalls`.
pub(super) fn deny_but(entries: &str) -> String {
    format!(r#"{{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{entries}] }}"#)
}

pub(super) fn rule(name: &str, action: &str, args: &str) -> String {
    format!(r#"{{ "names": ["{name}"], "action": "SCMP_ACT_{action}", "args": [{args}] }}"#)
}

pub(super) fn arg(index: u8, op: &str, value: u64, two: u64) -> String {
    format!(r#"{{ "index": {index}, "value": {value}, "valueTwo": {two}, "op": "SCMP_CMP_{op}" }}"#)
}

#[test]
fn every_action_has_its_return_value() {
    for (action, ret) in [
        (r#""SCMP_ACT_KILL""#, 0),
        (r#""SCMP_ACT_KILL_THREAD""#, 0),
        (r#""SCMP_ACT_KILL_PROCESS""#, 0x8000_0000),
        (r#""SCMP_ACT_TRAP""#, 0x0003_0000),
        (r#""SCMP_ACT_ERRNO""#, 0x0005_0001),
        (r#""SCMP_ACT_ERRNO", "errnoRet": 0"#, 0x0005_0000),
        (r#""SCMP_ACT_ERRNO", "errnoRet": 38"#, 0x0005_0026),
        (r#""SCMP_ACT_ERRNO", "errnoRet": 4095"#, 0x0005_0fff),
        (r#""SCMP_ACT_ERRNO", "errno": "EIO""#, 0x0005_0005),
        (r#""SCMP_ACT_TRACE""#, 0x7ff0_0001),
        (r#""SCMP_ACT_TRACE", "errnoRet": 65535"#, 0x7ff0_ffff),
        (r#""SCMP_ACT_LOG""#, 0x7ffc_0000),
        (r#""SCMP_ACT_ALLOW""#, 0x7fff_0000),
    ] {
        let json = format!(
            r#"{{ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
                 "syscalls": [{{ "names": ["getpid"], "action": {action} }}] }}"#
        );
        let asked = filter(&json);
        assert_eq!(asked.ask("getpid", &[]), ret, "{action}");
        assert_eq!(asked.ask("getuid", &[]), err(libc::ENOSYS), "above the newest call");
        assert_eq!(asked.ask("read", &[]), err(13), "below");
    }
}

#[test]
fn every_operator_compares_64_bits() {
    let values = [0, 1, 5, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0005];
    let values = values.into_iter().chain([0x5_0000_0000, u64::MAX - 1, u64::MAX]);
    let values: Vec<u64> = values.collect();
    type Naive = fn(u64, u64) -> bool;
    let operators: [(&str, Naive); 7] = [
        ("EQ", |a, v| a == v),
        ("NE", |a, v| a != v),
        ("LT", |a, v| a < v),
        ("LE", |a, v| a <= v),
        ("GT", |a, v| a > v),
        ("GE", |a, v| a >= v),
        ("MASKED_EQ", |a, v| a & v == 5 & v),
    ];
    for (op, naive) in operators {
        for value in &values {
            for index in [0, 5] {
                let asked = filter(&deny_but(&rule("getpid", "ALLOW", &arg(index, op, *value, 5))));
                for given in &values {
                    let mut args = [0x1234_5678_9abc_def0; 6];
                    args[usize::from(index)] = *given;
                    let want = if naive(*given, *value) { ALLOW } else { err(libc::EPERM) };
                    assert_eq!(asked.ask("getpid", &args), want, "{given:#x} {op} {value:#x}");
                }
            }
        }
    }
}

#[test]
fn conditions_of_a_rule_are_anded_and_rules_are_ored() {
    let both = [arg(0, "EQ", 1, 0), arg(3, "GT", 7, 0)].join(",");
    let asked = filter(&deny_but(
        &[rule("getpid", "ALLOW", &both), rule("getpid", "ALLOW", &arg(1, "EQ", 9, 0))].join(","),
    ));
    let allowed = |args: &[u64]| asked.ask("getpid", args) == ALLOW;
    assert!(allowed(&[1, 0, 0, 8]));
    assert!(!allowed(&[1, 0, 0, 7]));
    assert!(!allowed(&[2, 0, 0, 8]));
    assert!(allowed(&[2, 9, 0, 0]));
}

#[test]
fn a_rule_that_names_an_argument_twice_is_two_rules() {
    let twice = [arg(0, "EQ", 1, 0), arg(0, "EQ", 2, 0), arg(1, "EQ", 3, 0)].join(",");
    let asked = filter(&deny_but(&rule("getpid", "ALLOW", &twice)));
    for (args, want) in [([1, 0], true), ([2, 0], true), ([0, 3], true), ([0, 0], false)] {
        assert_eq!(asked.ask("getpid", &args) == ALLOW, want, "{args:?}");
    }
}

#[test]
fn unconditional_beats_conditional_and_the_first_unconditional_wins() {
    let conditional = rule("getpid", "TRAP", &arg(0, "EQ", 1, 0));
    for entries in [
        [conditional.clone(), rule("getpid", "ALLOW", ""), rule("getpid", "LOG", "")],
        [rule("getpid", "ALLOW", ""), rule("getpid", "LOG", ""), conditional],
    ] {
        assert_eq!(filter(&deny_but(&entries.join(","))).ask("getpid", &[1]), ALLOW);
    }
}

/// Measured with libseccomp 2.5.4, see `order`.
#[test]
fn overlapping_conditions_do_not_depend_on_the_profile_s_order() {
    let exact = rule("getpid", "TRAP", &arg(0, "EQ", 5, 0));
    let masked = rule("getpid", "LOG", &arg(0, "MASKED_EQ", 0xff, 7));
    let range = rule("getpid", "ALLOW", &arg(0, "GE", 1, 0));
    let small = rule("getpid", "KILL_PROCESS", &arg(0, "LT", 3, 0));
    for entries in [
        [&exact, &masked, &range, &small],
        [&small, &range, &masked, &exact],
        [&range, &exact, &small, &masked],
    ] {
        let asked = filter(&deny_but(&entries.map(String::as_str).join(",")));
        assert_eq!(asked.ask("getpid", &[5]), libc::SECCOMP_RET_TRAP);
        assert_eq!(asked.ask("getpid", &[0x107]), libc::SECCOMP_RET_LOG);
        assert_eq!(asked.ask("getpid", &[6]), ALLOW);
        assert_eq!(asked.ask("getpid", &[2]), KILL_PROCESS);
    }
}

#[test]
fn a_rule_equal_to_the_default_does_nothing() {
    let same = r#"{ "names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }"#;
    let asked = filter(&deny_but(&[same, &rule("getpid", "ALLOW", "")].join(",")));
    assert_eq!(asked.ask("getpid", &[]), ALLOW);
    // But it counts for the newest call, as in runc.
    let asked = filter(&deny_but(&same.replace("getpid", "openat2")));
    assert_eq!(asked.ask("openat2", &[]), err(libc::EPERM));
    assert_eq!(asked.call(Abi::X86_64, 438, &[]), err(libc::ENOSYS));
}

#[test]
fn unknown_names_are_skipped_with_a_warning() {
    let names = r#"{ "names": ["opneat", "set_tls", "getpid"], "action": "SCMP_ACT_ALLOW" }"#;
    let asked = filter(&deny_but(names));
    assert_eq!(asked.ask("getpid", &[]), ALLOW);
    assert_eq!(asked.0.warnings, [r#"unknown system call "opneat" is skipped"#]);
}

#[test]
fn calls_newer_than_the_profile_are_enosys_unless_the_default_lets_them_through() {
    let json = |default: &str| {
        format!(
            r#"{{ "defaultAction": {default},
                 "syscalls": [{{ "names": ["getpid", "openat2"], "action": "SCMP_ACT_TRAP" }}] }}"#
        )
    };
    for (default, below, above) in [
        (r#""SCMP_ACT_ERRNO""#, err(1), err(38)),
        (r#""SCMP_ACT_KILL_PROCESS""#, KILL_PROCESS, err(38)),
        (r#""SCMP_ACT_ERRNO", "defaultErrnoRet": 38"#, err(38), err(38)),
        (r#""SCMP_ACT_ALLOW""#, ALLOW, ALLOW),
        (r#""SCMP_ACT_LOG""#, libc::SECCOMP_RET_LOG, libc::SECCOMP_RET_LOG),
        (r#""SCMP_ACT_TRACE""#, 0x7ff0_0001, 0x7ff0_0001),
    ] {
        let asked = filter(&json(default));
        assert_eq!(asked.call(Abi::X86_64, 436, &[]), below, "{default}");
        assert_eq!(asked.call(Abi::X86_64, 437, &[]), libc::SECCOMP_RET_TRAP, "{default}");
        for nr in [438, 600, X32_BIT - 1] {
            assert_eq!(asked.call(Abi::X86_64, nr, &[]), above, "{default} {nr}");
        }
    }
}

#[test]
fn an_architecture_that_is_not_listed_is_killed() {
    let asked = filter(&deny_but(&rule("getpid", "ALLOW", "")));
    for abi in [Abi::I386, Abi::Aarch64, Abi::Arm] {
        assert_eq!(asked.ask_abi(abi, "getpid", &[]), KILL_PROCESS, "{abi:?}");
    }
    // Even if the default is to allow.
    let asked = filter(r#"{ "defaultAction": "SCMP_ACT_ALLOW" }"#);
    assert_eq!(asked.ask("getpid", &[]), ALLOW);
    assert_eq!(asked.ask_abi(Abi::I386, "getpid", &[]), KILL_PROCESS);
}

#[test]
fn x32_is_killed_unless_listed_but_a_skipped_call_is_not() {
    for default in ["ERRNO", "ALLOW"] {
        let asked = filter(&format!(r#"{{ "defaultAction": "SCMP_ACT_{default}" }}"#));
        for nr in [X32_BIT, X32_BIT | 39, X32_BIT | 520, 0x8000_0000, u32::MAX - 1] {
            assert_eq!(asked.call(Abi::X86_64, nr, &[]), KILL_PROCESS, "{default} {nr:#x}");
        }
        assert_ne!(asked.call(Abi::X86_64, u32::MAX, &[]), KILL_PROCESS, "{default}");
    }
    let listed = r#"{ "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "syscalls": [{ "names": ["getpid", "ioctl"], "action": "SCMP_ACT_ALLOW" }] }"#;
    let asked = filter(listed);
    for name in ["getpid", "ioctl"] {
        assert_eq!(asked.ask(name, &[]), ALLOW);
        assert_eq!(asked.ask_abi(Abi::X32, name, &[]), ALLOW);
    }
    assert_eq!(asked.call(Abi::X86_64, X32_BIT | 16, &[]), err(1), "x32 has its own ioctl");
    assert_eq!(asked.call(Abi::X86_64, X32_BIT | 515, &[]), err(38), "newest is 514");
    assert_eq!(asked.call(Abi::X86_64, 40, &[]), err(38), "newest is 39 without x32");
    assert_eq!(Abi::X32.number("set_thread_area"), None, "a call of 64 bits only");
    assert_eq!(Abi::X32.name(X32_BIT | 205), None);
}

/// Kernels before 5.4 took x32's numbers without the x32 bit: 521 was ptrace.
#[test]
fn a_deny_list_cannot_be_passed_by_x32_numbers_without_the_bit() {
    let asked = filter(
        r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["ptrace"], "action": "SCMP_ACT_ERRNO" }] }"#,
    );
    for nr in [512, 521, 547] {
        assert_eq!(asked.call(Abi::X86_64, nr, &[]), err(38));
    }
    assert_eq!(asked.call(Abi::X86_64, 511, &[]), ALLOW);
    assert_eq!(asked.call(Abi::X86_64, 548, &[]), ALLOW);
}

#[test]
fn i386_has_its_own_section_and_compares_32_bits() {
    let json = format!(
        r#"{{ "defaultAction": "SCMP_ACT_ERRNO",
             "archMap": [{{ "architecture": "SCMP_ARCH_X86_64",
                            "subArchitectures": ["SCMP_ARCH_X86"] }}],
             "syscalls": [{{ "names": ["chown32"], "action": "SCMP_ACT_ALLOW" }}, {}, {}] }}"#,
        rule("personality", "ALLOW", &arg(0, "EQ", 0xffff_ffff, 0)),
        rule("statx", "ALLOW", &arg(0, "GE", 3, 0)),
    );
    let asked = filter(&json);
    let i386 = |name, args: &[u64]| asked.ask_abi(Abi::I386, name, args);
    assert_eq!(i386("chown32", &[]), ALLOW);
    assert_eq!(i386("chown", &[]), err(1));
    assert_eq!(i386("personality", &[0xffff_ffff]), ALLOW);
    assert_eq!(i386("personality", &[0xffff_fffe]), err(1));
    assert_eq!(i386("statx", &[3]), ALLOW);
    assert_eq!(i386("statx", &[2]), err(1));
    assert_eq!(asked.call(Abi::X86_64, 212, &[]), err(1), "212 is chown32 on i386 only");
    assert!(asked.0.warnings.is_empty());
}

#[test]
fn socketcall_and_ipc_follow_the_rules_of_their_sub_calls() {
    let json = format!(
        r#"{{ "defaultAction": "SCMP_ACT_ERRNO",
             "architectures": ["SCMP_ARCH_X86"],
             "syscalls": [{{ "names": ["recv", "shmget"], "action": "SCMP_ACT_ALLOW" }}, {}] }}"#,
        rule("socket", "ALLOW", &arg(0, "EQ", 1, 0)),
    );
    let asked = filter(&json);
    let i386 = |name, args: &[u64]| asked.ask_abi(Abi::I386, name, args);
    assert_eq!(i386("socketcall", &[10, 0xffff_0000]), ALLOW, "recv");
    assert_eq!(i386("socketcall", &[1, 0xffff_0000]), err(1), "socket: the family is not visible");
    assert_eq!(i386("socket", &[1]), ALLOW);
    assert_eq!(i386("ipc", &[23]), ALLOW, "shmget");
    assert_eq!(i386("ipc", &[24]), err(1), "shmctl");
    assert_eq!(i386("shmget", &[]), ALLOW);

    // A deny-list: what cannot be told apart is denied, and the version bits of ipc do not help.
    let json = format!(
        r#"{{ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
             "syscalls": [{}, {}] }}"#,
        rule("socket", "ERRNO", &arg(0, "EQ", 38, 0)),
        rule("shmat", "ERRNO", ""),
    );
    let asked = filter(&json);
    let i386 = |name, args: &[u64]| asked.ask_abi(Abi::I386, name, args);
    assert_eq!(i386("socketcall", &[1]), err(1));
    assert_eq!(i386("socketcall", &[2]), ALLOW);
    assert_eq!(i386("socket", &[2]), ALLOW);
    assert_eq!(i386("ipc", &[21]), err(1));
    assert_eq!(i386("ipc", &[0x1_0015]), err(1), "version 1 of shmat");
}

#[test]
fn aarch64_has_its_tables_and_arm_as_its_sub_architecture() {
    let json = r#"{ "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{ "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"] }],
        "syscalls": [
            { "names": ["openat", "newfstatat"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["set_tls"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["arm64"] } },
            { "names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW",
              "includes": { "arches": ["amd64"] } }] }"#;
    let target = Target { arch: Arch::Aarch64, ..NO_CAPS };
    let asked = Asked(filter_of(json, &target, &Extra::default()).unwrap());
    assert_eq!(asked.call(Abi::Aarch64, 56, &[]), ALLOW);
    assert_eq!(asked.call(Abi::Aarch64, 79, &[]), ALLOW);
    assert_eq!(asked.call(Abi::Aarch64, 57, &[]), err(1));
    assert_eq!(asked.call(Abi::Aarch64, 80, &[]), err(38));
    assert_eq!(asked.call(Abi::Arm, 322, &[]), ALLOW);
    assert_eq!(asked.call(Abi::Arm, 0x0f_0005, &[]), ALLOW);
    assert_eq!(asked.call(Abi::X86_64, 257, &[]), KILL_PROCESS);
}

#[test]
fn an_architecture_of_another_machine_has_no_effect() {
    let asked = filter(
        r#"{ "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_NATIVE", "SCMP_ARCH_S390X"] }"#,
    );
    assert_eq!(asked.ask("getpid", &[]), ALLOW);
    let warning = "architecture SCMP_ARCH_S390X has no effect on this machine";
    assert_eq!(asked.0.warnings, [warning]);
}

/// Many conditional rules: jumps over more than 255 instructions, at several levels.
#[test]
fn long_jumps_go_through_a_trampoline() {
    let name = |nr: usize| syscalls_name(nr);
    let entries: Vec<String> = (0..300)
        .filter_map(name)
        .enumerate()
        .map(|(at, name)| rule(name, "ALLOW", &arg(0, "EQ", at as u64, 0)))
        .collect();
    let asked = filter(&deny_but(&entries.join(",")));
    assert!(asked.0.instructions.len() > 1500, "{}", asked.0.instructions.len());
    assert!(asked.0.instructions.iter().any(|now| now.code == emit::JA));
    for (at, name) in (0..300).filter_map(name).enumerate() {
        assert_eq!(asked.ask(name, &[at as u64]), ALLOW, "{name}");
        assert_eq!(asked.ask(name, &[at as u64 + 1]), err(1), "{name}");
    }
    assert_eq!(asked.ask_abi(Abi::I386, "getpid", &[]), KILL_PROCESS);
}

fn syscalls_name(nr: usize) -> Option<&'static str> {
    ::syscalls::x86_64::Sysno::new(nr).map(|call| call.name())
}

#[test]
fn more_than_4096_instructions_are_an_error() {
    let many = |count: u64| {
        let entries: Vec<String> =
            (0..count).map(|at| rule("getpid", "ALLOW", &arg(0, "EQ", at, 0))).collect();
        filter_of(&deny_but(&entries.join(",")), &NO_CAPS, &Extra::default())
    };
    // Five instructions a rule, and 12 around: architecture, number, ranges, defaults.
    let fits = many(816).unwrap();
    assert!((4090..=4096).contains(&fits.instructions.len()), "{}", fits.instructions.len());
    let error = many(817).unwrap_err();
    assert!(matches!(error, SeccompError::TooLong(4097)), "{error}");
    assert!(many(60_000).is_err());
}

#[test]
fn flags_are_passed_on() {
    let with = |flags: &str| {
        let json = format!(r#"{{ "defaultAction": "SCMP_ACT_ALLOW", "flags": [{flags}] }}"#);
        filter_of(&json, &NO_CAPS, &Extra::default()).map(|filter| filter.flags)
    };
    let (log, spec, tsync) = (
        r#""SECCOMP_FILTER_FLAG_LOG""#,
        r#""SECCOMP_FILTER_FLAG_SPEC_ALLOW""#,
        r#""SECCOMP_FILTER_FLAG_TSYNC""#,
    );
    assert_eq!(with("").unwrap(), 0);
    assert_eq!(with(log).unwrap(), 2);
    assert_eq!(with(&[log, spec, tsync].join(",")).unwrap(), 6);
    // The kernel refuses it without a listener, and libseccomp leaves it out then.
    assert_eq!(with(r#""SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV""#).unwrap(), 0);
}
