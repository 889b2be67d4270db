//! Tests of the profile's forms: Docker's conditions, old keys, and what is refused.
#![forbid(unsafe_code)]

use super::tests::{ALLOW, Asked, NO_CAPS, arg, deny_but, filter, filter_of, rule};
use super::*;

fn error(json: &str) -> String {
    let error = filter_of(json, &NO_CAPS, &Extra::default()).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn includes_and_excludes_work_as_in_moby() {
    const SYS_ADMIN: u64 = 1 << 21;
    const SYS_CHROOT: u64 = 1 << 18;
    let verdict = |filter: &str, caps: u64, kernel| {
        let json = deny_but(&format!(
            r#"{{ "names": ["getpid"], "action": "SCMP_ACT_ALLOW", {filter} }}"#
        ));
        let target = Target { caps, kernel, ..NO_CAPS };
        let filter = filter_of(&json, &target, &Extra::default()).unwrap();
        Asked(filter).ask("getpid", &[]) == ALLOW
    };
    let both = r#""includes": { "caps": ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"] }"#;
    assert!(!verdict(both, SYS_ADMIN, (6, 1)), "all of them are needed");
    assert!(verdict(both, SYS_ADMIN | SYS_CHROOT, (6, 1)));
    let either = both.replace("includes", "excludes");
    assert!(!verdict(&either, SYS_ADMIN, (6, 1)), "one is enough");
    assert!(verdict(&either, 0, (6, 1)));

    let since = r#""includes": { "minKernel": "4.8" }"#;
    for (kernel, want) in [((4, 7), false), ((4, 8), true), ((5, 0), true), ((3, 19), false)] {
        assert_eq!(verdict(since, 0, kernel), want, "{kernel:?}");
        assert_eq!(verdict(&since.replace("includes", "excludes"), 0, kernel), !want);
    }
    assert!(verdict(r#""includes": { "arches": ["arm64", "amd64"] }"#, 0, (6, 1)));
    assert!(!verdict(r#""includes": { "arches": ["x86", "x32"] }"#, 0, (6, 1)));
    assert!(!verdict(r#""excludes": { "arches": ["amd64"] }"#, 0, (6, 1)));
    assert!(verdict(r#""includes": {}, "excludes": { "caps": [], "arches": null }"#, 0, (6, 1)));
    assert!(!verdict(r#""includes": { "caps": ["CAP_OF_THE_FUTURE"] }"#, u64::MAX, (6, 1)));
}

#[test]
fn old_and_plain_forms_are_read() {
    let asked = filter(
        r#"{ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
        "comment": "x", "syscalls": [{ "name": "getpid", "action": "SCMP_ACT_ALLOW", "args": null },
        { "names": [], "name": "getuid", "action": "SCMP_ACT_ALLOW", "comment": "y" }] }"#,
    );
    assert_eq!(asked.ask("getpid", &[]), ALLOW);
    assert_eq!(asked.ask("getuid", &[]), ALLOW);
    // A resolved profile is a plain OCI profile, and reads back as itself.
    let spec = Profile::embedded().resolve(&NO_CAPS).unwrap();
    let json = serde_json::to_vec(&spec).unwrap();
    assert_eq!(Profile::parse(&json).unwrap().resolve(&NO_CAPS).unwrap(), spec);
}

#[test]
fn what_cannot_be_honoured_is_an_error_that_names_it() {
    let with = |field: &str| format!(r#"{{ "defaultAction": "SCMP_ACT_ERRNO", {field} }}"#);
    for (json, message) in [
        (with(r#""sysCalls": []"#), "unknown field `sysCalls`"),
        (r#"{ "syscalls": [] }"#.into(), "missing field `defaultAction`"),
        (r#"{ "defaultAction": "SCMP_ACT_NO" }"#.into(), "unknown variant `SCMP_ACT_NO`"),
        (with(r#""architectures": ["SCMP_ARCH_VAX"]"#), "SCMP_ARCH_VAX"),
        (with(r#""flags": ["SECCOMP_FILTER_FLAG_X"]"#), "SECCOMP_FILTER_FLAG_X"),
        (
            with(
                r#""architectures": ["SCMP_ARCH_X86"],
                   "archMap": [{ "architecture": "SCMP_ARCH_X86_64" }]"#,
            ),
            r#"seccomp profile has both "architectures" and "archMap""#,
        ),
        (
            deny_but(r#"{ "names": ["read"], "name": "write", "action": "SCMP_ACT_ALLOW" }"#),
            r#"syscalls[0] has both "name" and "names""#,
        ),
        (deny_but(r#"{ "names": [], "action": "SCMP_ACT_ALLOW" }"#), "syscalls[0] names no call"),
        (deny_but(r#"{ "names": [""], "action": "SCMP_ACT_ALLOW" }"#), "syscalls[0] names no call"),
        (
            deny_but(r#"{ "names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1 }"#),
            r#"syscalls[0] ("read"): SCMP_ACT_ALLOW takes no errno"#,
        ),
        (
            deny_but(r#"{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 }"#),
            r#"syscalls[0] ("read"): errno 4096 is above 4095"#,
        ),
        (
            deny_but(r#"{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errno": "EWHAT" }"#),
            r#"syscalls[0]: errno "EWHAT" is unknown"#,
        ),
        (
            r#"{ "defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1 }"#.into(),
            "defaultAction: SCMP_ACT_KILL takes no errno",
        ),
        (
            deny_but(&rule("mount", "NOTIFY", "")),
            r#"syscalls[0] ("mount"): SCMP_ACT_NOTIFY needs a listener, and seccomp listenerPath is"#,
        ),
        (
            r#"{ "defaultAction": "SCMP_ACT_NOTIFY" }"#.into(),
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (with(r#""listenerMetadata": "x""#), "listenerMetadata but no listenerPath"),
        (
            deny_but(&rule("read", "ALLOW", &arg(6, "EQ", 0, 0))),
            r#"syscalls[0] ("read"): argument index 6 is above 5"#,
        ),
        (deny_but(&rule("read", "ALLOW", &arg(0, "LIKE", 0, 0))), "SCMP_CMP_LIKE"),
        (
            deny_but(
                r#"{ "names": ["read"], "action": "SCMP_ACT_ALLOW",
                     "includes": { "minKernel": "4" } }"#,
            ),
            r#"minKernel "4" is not of the form"#,
        ),
        (
            deny_but(
                r#"{ "names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": { "uid": 0 } }"#,
            ),
            "unknown field `uid`",
        ),
        (
            "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\",\n  \"syscalls\": [5]\n}".into(),
            "line 3 column 16",
        ),
        (r#"{ "\u001b[2J": 1 }"#.into(), r"unknown field `\u{1b}[2J`"),
        ("\u{1}".into(), "seccomp profile is neither of the Docker nor of the OCI form"),
    ] {
        let error = error(&json);
        assert!(error.contains(message), "{json}\n{error}");
    }
}
