//! A configuration becomes a plan.

use super::*;
use crate::plan::detail::MountSource;
use crate::plan::{MountStep, SeccompWhen};

fn asked() -> Asked<'static> {
    Asked {
        id: "web",
        bundle: Path::new("/bundle"),
        no_pivot: false,
        no_new_keyring: false,
        preserved_fds: 0,
        apparmor: false,
        selinux: false,
        in_user_namespace: false,
        resctrl: false,
        kcore: true,
    }
}

fn planned(json: &str) -> Result<(Plan, Vec<String>)> {
    plan(&parse(json.as_bytes())?, &Facts::of_a_test(), &asked())
}

const MINIMAL: &str = r#"{"ociVersion":"1.0.0-rc5","process":{"args":["true"],"cwd":"/w"},
    "root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"mount"}]}}"#;

#[test]
fn the_least_that_a_configuration_has() {
    let (plan, warnings) = planned(MINIMAL).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(plan.root.source, RootSource::Directory("/bundle/rootfs".into()));
    assert_eq!(plan.process.caps, super::super::caps::CapSets::default());
    assert_eq!(plan.process.umask, 0o022);
    assert_eq!(plan.process.seccomp.when, SeccompWhen::BeforeDroppingCaps);
    assert!(!plan.is_new(NamespaceKind::Pid) && plan.is_new(NamespaceKind::Mount));
    assert_eq!(plan.details.keyring, Keyring::Named("_ses.web".into()));
    assert!(plan.steps.iter().any(|s| s.target() == Path::new("/dev/null")));
    let cwd = MountStep::WorkingDirectory { target: "/w".into() };
    assert!(plan.steps.contains(&cwd));
}

#[test]
fn null_is_none_as_go_writes_it() {
    let json = MINIMAL
        .replace("\"root\"", "\"mounts\":null,\"hooks\":null,\"annotations\":null,\"root\"")
        .replace("\"cwd\"", "\"env\":null,\"capabilities\":null,\"rlimits\":null,\"cwd\"");
    planned(&json).unwrap();
}

#[test]
fn the_cgroups_are_mounted_last_unless_something_is_mounted_above_or_below() {
    let with = |more: &str| {
        let mounts = format!(
            r#""mounts":[{{"destination":"/sys","type":"sysfs","source":"sysfs"}},
            {{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup"}}{more}],"root""#
        );
        let json = MINIMAL.replace("\"root\"", &mounts).replace("\"/w\"", "\"/\"");
        let (plan, _) = planned(&json).unwrap();
        let at = |path: &str| plan.steps.iter().position(|s| s.target() == Path::new(path));
        (at("/sys/fs/cgroup").unwrap(), plan.steps.len(), at("/sys").unwrap())
    };
    let (cgroup, steps, sys) = with("");
    assert_eq!((cgroup, sys), (steps - 1, 0));
    let mqueue = r#",{"destination":"/sys/fs/cgroups","type":"mqueue","source":"mqueue"}"#;
    let (cgroup, steps, _) = with(mqueue);
    assert_eq!(cgroup, steps - 1);
    for path in ["/sys/fs", "/sys/fs/cgroup", "/sys/fs/cgroup/memory"] {
        let (cgroup, ..) = with(&mqueue.replace("/sys/fs/cgroups", path));
        assert_eq!(cgroup, 1, "{path}");
    }
}

#[test]
fn a_dev_of_the_hosts_gets_no_devices() {
    let json = MINIMAL.replace(
        "\"root\"",
        r#""mounts":[{"destination":"/dev","source":"/dev","options":["rbind"]}],"root""#,
    );
    let (plan, _) = planned(&json).unwrap();
    assert!(plan.steps.iter().all(|s| !matches!(s, MountStep::Device(_))));
    assert!(plan.steps.iter().all(|s| !matches!(s, MountStep::Symlink { .. })));
    let MountStep::Mount(m) = &plan.steps[0] else { panic!() };
    assert!(matches!(&m.source, MountSource::Bind { recursive: true, .. }));
}

#[test]
fn lists_are_no_objects_and_objects_no_lists() {
    for json in ["[]", "[\"1.0.0\"]", "null", "3", "", " ", "{"] {
        assert!(parse(json.as_bytes()).is_err(), "{json:?}");
    }
    // What nobody knows is let pass, as the specification asks.
    let json = MINIMAL.replace("\"root\"", "\"x-extension\":{\"a\":[1]},\"root\"");
    planned(&json).unwrap();
}

#[test]
fn a_filter_that_asks_a_listener_is_planned_with_it() {
    let json = MINIMAL.replace(
        "\"namespaces\"",
        r#""seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/x.sock",
            "syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]},"namespaces""#,
    );
    let seccomp = planned(&json).unwrap().0.process.seccomp;
    // NEW_LISTENER, and SPEC_ALLOW as for every filter without `flags`.
    assert_eq!(seccomp.first_flags(), Some(8 | 4));
    assert_eq!(seccomp.asking.unwrap().path, Path::new("/run/x.sock"));
    let error = planned(&json.replace("\"mkdir\"", "\"write\"")).unwrap_err().to_string();
    assert!(error.contains("SCMP_ACT_NOTIFY cannot be used for the write syscall"), "{error}");
}

#[test]
fn calls_of_other_machines_in_a_filter_are_no_news() {
    let json = MINIMAL.replace(
        "\"namespaces\"",
        r#""seccomp":{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_AARCH64"],
            "syscalls":[{"names":["read","swapcontext"],"action":"SCMP_ACT_ALLOW"}]},"namespaces""#,
    );
    let (_, warnings) = planned(&json).unwrap();
    assert!(!warnings.iter().any(|w| w.contains("swapcontext")), "{warnings:?}");
}

#[test]
fn a_user_namespace_without_mappings_has_the_callers_ids_and_no_others() {
    let json =
        MINIMAL.replace("[{\"type\":\"mount\"}]", "[{\"type\":\"mount\"},{\"type\":\"user\"}]");
    let (plan, _) = planned(&json).unwrap();
    let user = plan.namespaces.user.unwrap();
    let facts = Facts::of_a_test();
    let of = |outside| vec![crate::plan::ids::IdMap { inside: 0, outside, count: 1 }];
    assert_eq!((user.uids, user.gids), (of(facts.uid), of(facts.gid)));
    // Half of it is a slip.
    let half = json.replace(
        "\"linux\":{",
        r#""linux":{"uidMappings":[{"containerID":0,"hostID":1000,"size":1}],"#,
    );
    assert!(planned(&half).unwrap_err().to_string().contains("only one of"));
}

#[test]
fn a_sysctl_may_repeat_the_domain_name_and_not_change_it() {
    let with = |value: &str| {
        let json = MINIMAL
            .replace("\"root\"", "\"domainname\":\"nis\",\"root\"")
            .replace("[{\"type\":\"mount\"}]", "[{\"type\":\"mount\"},{\"type\":\"uts\"}]")
            .replace(
                "\"linux\":{",
                &format!(r#""linux":{{"sysctl":{{"kernel.domainname":"{value}"}},"#),
            );
        planned(&json)
    };
    with("nis").unwrap();
    assert!(with("other").unwrap_err().to_string().contains("in the way"));
}

#[test]
fn a_deadline_that_the_kernel_refuses_is_told_apart() {
    for (times, words) in [
        (r#""deadline":20000,"period":20000"#, "requires `runtime`"),
        (r#""runtime":2000"#, "requires `deadline`"),
        (r#""runtime":0,"deadline":20000"#, "must be greater than 0"),
        (r#""runtime":1023,"deadline":20000"#, "runtime 1023 must be between 1024 and"),
        (r#""runtime":9223372036854775808,"deadline":20000"#, "must be between 1024 and"),
        (r#""runtime":3000,"deadline":2000"#, "runtime 3000 must be <= deadline 2000"),
        (r#""runtime":2000,"deadline":4000,"period":3000"#, "deadline 4000 must be <= period 3000"),
        (r#""runtime":2000,"deadline":4000"#, ""),
        (r#""runtime":2000,"deadline":4000,"period":4000"#, ""),
    ] {
        let scheduler = format!(r#""scheduler":{{"policy":"SCHED_DEADLINE",{times}}},"cwd""#);
        match planned(&MINIMAL.replace("\"cwd\"", &scheduler)) {
            Ok((plan, _)) => {
                assert!(words.is_empty(), "{times}");
                assert_eq!(plan.details.tuning.scheduler.unwrap().runtime, 2000);
            }
            Err(e) => {
                let said = e.to_string();
                assert!(!words.is_empty() && said.contains(words), "{times}: {said}");
            }
        }
    }
}
