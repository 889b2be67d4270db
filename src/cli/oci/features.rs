//! `features`: what this runtime knows, in the form of the runtime specification's features.md.
//! Everything here is asked of the tables that the runtime itself works by.

#![forbid(unsafe_code)]

use super::json::{Json, object, texts};
use super::known;
use super::{CRUN_VERSION, RUNC_VERSION, SPEC_VERSION};
use crate::cli::print_line;
use crate::plan::oci::mount_options;
use crate::plan::seccomp::{self, Arch as Native, Extra};
use crate::plan::values::misc::CAPABILITIES;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use serde::Serialize;

const ACTIONS: [Action; 9] = [
    Action::ScmpActAllow,
    Action::ScmpActErrno,
    Action::ScmpActKill,
    Action::ScmpActKillProcess,
    Action::ScmpActKillThread,
    Action::ScmpActLog,
    Action::ScmpActNotify,
    Action::ScmpActTrace,
    Action::ScmpActTrap,
];
const OPERATORS: [Operator; 7] = [
    Operator::ScmpCmpEq,
    Operator::ScmpCmpGe,
    Operator::ScmpCmpGt,
    Operator::ScmpCmpLe,
    Operator::ScmpCmpLt,
    Operator::ScmpCmpMaskedEq,
    Operator::ScmpCmpNe,
];
const FLAGS: [Flag; 4] = [
    Flag::SeccompFilterFlagLog,
    Flag::SeccompFilterFlagSpecAllow,
    Flag::SeccompFilterFlagTsync,
    Flag::SeccompFilterFlagWaitKillableRecv,
];
const ARCHS: [Arch; 23] = [
    Arch::ScmpArchAarch64,
    Arch::ScmpArchArm,
    Arch::ScmpArchLoongarch64,
    Arch::ScmpArchM68k,
    Arch::ScmpArchMips,
    Arch::ScmpArchMips64,
    Arch::ScmpArchMips64n32,
    Arch::ScmpArchMipsel,
    Arch::ScmpArchMipsel64,
    Arch::ScmpArchMipsel64n32,
    Arch::ScmpArchParisc,
    Arch::ScmpArchParisc64,
    Arch::ScmpArchPpc,
    Arch::ScmpArchPpc64,
    Arch::ScmpArchPpc64le,
    Arch::ScmpArchRiscv64,
    Arch::ScmpArchS390,
    Arch::ScmpArchS390x,
    Arch::ScmpArchSh,
    Arch::ScmpArchSheb,
    Arch::ScmpArchX32,
    Arch::ScmpArchX86,
    Arch::ScmpArchX86_64,
];

/// Prints them.
pub(super) fn features() -> u8 {
    print_line(&(document().indented("    ") + "\n"));
    0
}

/// That this program has it, whatever the host has.
fn built_in(yes: bool) -> Json {
    object([("enabled", yes.into())])
}

fn document() -> Json {
    let linux = object([
        ("namespaces", texts(known::NAMESPACES)),
        ("capabilities", texts(CAPABILITIES)),
        (
            "cgroup",
            object([
                ("v1", true.into()),
                ("v2", true.into()),
                ("systemd", true.into()),
                ("systemdUser", true.into()),
                ("rdma", true.into()),
            ]),
        ),
        ("seccomp", seccomp()),
        ("apparmor", built_in(true)),
        ("selinux", built_in(true)),
        ("intelRdt", built_in(false)),
        (
            "memoryPolicy",
            object([("modes", texts(known::MEMORY_MODES)), ("flags", texts(known::MEMORY_FLAGS))]),
        ),
        ("mountExtensions", object([("idmap", built_in(true))])),
        ("netDevices", built_in(true)),
    ]);
    object([
        ("ociVersionMin", "1.0.0".into()),
        ("ociVersionMax", SPEC_VERSION.into()),
        ("hooks", texts(known::HOOKS)),
        ("mountOptions", texts(mount_options())),
        ("linux", linux),
        (
            "annotations",
            object([
                ("org.opencontainers.runc.version", RUNC_VERSION.into()),
                ("org.opencontainers.runc.checkpoint.enabled", "true".into()),
                ("run.oci.crun.version", CRUN_VERSION.into()),
                ("run.oci.crun.checkpoint.enabled", "true".into()),
                ("run.oci.crun.wasm", "false".into()),
                ("io.stockade.version", env!("CARGO_PKG_VERSION").into()),
            ]),
        ),
        ("potentiallyUnsafeConfigAnnotations", texts(known::UNSAFE_ANNOTATIONS)),
    ])
}

/// What the compiler takes: each is tried on a profile that has nothing else.
fn seccomp() -> Json {
    let flags = FLAGS.iter().filter(|f| {
        let mut spec = profile(Action::ScmpActAllow);
        spec.set_flags(Some(vec![**f]));
        compiles(&spec)
    });
    let actions = ACTIONS.iter().filter(|a| compiles(&profile(**a)));
    let archs = ARCHS.iter().filter(|a| {
        let mut spec = profile(Action::ScmpActAllow);
        spec.set_architectures(Some(vec![**a]));
        // One that has no effect here is taken with a warning.
        seccomp::compile(&spec, Native::native(), &Extra::default())
            .is_ok_and(|f| f.warnings.is_empty())
    });
    object([
        ("enabled", true.into()),
        ("actions", names(actions)),
        ("operators", names(OPERATORS.iter())),
        ("archs", names(archs)),
        ("knownFlags", names(FLAGS.iter())),
        ("supportedFlags", names(flags)),
    ])
}

fn profile(action: Action) -> LinuxSeccomp {
    let mut spec = LinuxSeccomp::default();
    if action == Action::ScmpActNotify {
        // Not by default: of some call, and with somebody to ask.
        let mut rule = LinuxSyscall::default();
        rule.set_names(vec!["getpid".to_owned()]).set_action(action);
        spec.set_syscalls(Some(vec![rule])).set_listener_path(Some("/".into()));
    } else {
        spec.set_default_action(action);
    }
    spec
}

fn compiles(spec: &LinuxSeccomp) -> bool {
    seccomp::compile(spec, Native::native(), &Extra::default()).is_ok()
}

/// The names that the specification has for them.
fn names<'a, T: Serialize + 'a>(all: impl Iterator<Item = &'a T>) -> Json {
    texts(all.filter_map(|v| {
        let value = serde_json::to_value(v).ok()?;
        value.as_str().map(str::to_owned)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_s_types_read_it() {
        let text = document().line();
        let read: oci_spec::runtime::Features = serde_json::from_str(&text).unwrap();
        assert_eq!(read.oci_version_max(), SPEC_VERSION);
        let linux = read.linux().as_ref().unwrap();
        assert_eq!(linux.capabilities().as_ref().unwrap().len(), 41);
        let seccomp = linux.seccomp().as_ref().unwrap();
        let actions = seccomp.actions().as_ref().unwrap();
        assert!(ACTIONS.iter().all(|action| actions.contains(action)), "{actions:?}");
        assert!(seccomp.archs().as_ref().unwrap().len() >= 2);
        assert!(seccomp.supported_flags().as_ref().unwrap().len() == FLAGS.len());
    }
}
