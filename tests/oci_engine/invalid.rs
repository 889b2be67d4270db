//! Configurations that make no sense: one error, before anything is made, and nothing left.

use crate::bundle::Bundle;
use crate::need_root;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stockade::Kind;

#[track_caller]
fn refused(what: &str, change: impl FnOnce(&mut Bundle)) -> stockade::Error {
    let mut bundle = Bundle::new("true");
    change(&mut bundle);
    let error = bundle.create().err().unwrap_or_else(|| panic!("{what} was accepted"));
    bundle.is_gone();
    error
}

fn set(pointer: &'static str, value: Value) -> impl FnOnce(&mut Bundle) {
    move |b| {
        b.set(pointer, value);
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_made() {
    need_root!();
    for (pointer, value) in [
        ("/ociVersion", json!("")),
        ("/ociVersion", json!("2.0.0")),
        ("/ociVersion", json!("x")),
        ("/process", Value::Null),
        ("/process/args", json!([])),
        ("/process/args", json!([""])),
        ("/process/args", json!(["a\u{0}b"])),
        ("/process/cwd", json!("relative")),
        ("/process/cwd", json!("")),
        ("/process/env", json!(["SECRET"])),
        ("/process/env", json!(["=x"])),
        ("/process/rlimits", json!([{"type": "RLIMIT_WHAT", "soft": 1, "hard": 1}])),
        ("/process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}])),
        ("/process/user/uid", json!(-1)),
        ("/process/user/uid", json!(4_294_967_295u64)),
        ("/process/user/uid", json!(4_294_967_296u64)),
        ("/process/oomScoreAdj", json!(1001)),
        ("/process/terminal", json!(true)),
        ("/process/apparmorProfile", json!("docker-default")),
        ("/process/selinuxLabel", json!("system_u:system_r:svirt_t:s0")),
        ("/process/scheduler", json!({"policy": "SCHED_WHAT"})),
        ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 8})),
        ("/root", Value::Null),
        ("/root/path", json!("/nope")),
        ("/root/path", json!("/")),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "mount"}])),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "what"}])),
        ("/linux/namespaces", json!([{"type": "pid"}])),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": 1}])),
        ("/linux/rootfsPropagation", json!("sideways")),
        ("/linux/timeOffsets", json!({"boottime": {"secs": 1}})),
        ("/linux/maskedPaths", json!(["/."])),
        ("/linux/readonlyPaths", json!(["/"])),
        ("/linux/personality", json!({"domain": "PDP11"})),
        // Never one that the host may have: this would move it.
        ("/linux/netDevices", json!({"no/device": {}})),
        ("/linux/intelRdt", json!({"closID": "x"})),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "q", "major": 1, "minor": 1}])),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 1}])),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_WHAT"})),
        ("/linux/cgroupsPath", json!("/")),
        ("/hooks", json!({"prestart": [{"path": "relative"}]})),
        ("/hooks", json!({"prestart": [{"path": "/x", "timeout": 0}]})),
        ("/mounts", json!([{"destination": "/a", "type": "bind", "options": ["bind"]}])),
        ("/mounts", json!([{"destination": "", "type": "tmpfs"}])),
        ("/mounts", json!([{"destination": "/a", "type": "tmpfs", "options": ["idmap"]}])),
        ("/mounts", json!("no list")),
    ] {
        refused(&format!("{pointer}: {value}"), set(pointer, value.clone()));
    }
    refused("a hostname without a namespace", |b| {
        b.set("/linux/namespaces", json!([{"type": "mount"}]));
    });
    refused("a user namespace without mappings", |b| {
        b.add("/linux/namespaces", json!({"type": "user"}));
    });
}

/// T35: only what belongs to a namespace of the container's own.
#[test]
fn t35_sysctls_of_the_host_are_refused() {
    need_root!();
    for key in [
        "kernel.core_pattern",
        "vm.swappiness",
        "fs.protected_symlinks",
        "net/../kernel.core_pattern",
        "net/../../x",
        "kernel.hostname",
        "user.max_user_namespaces",
        "net",
        "",
    ] {
        let error = refused(key, set("/linux/sysctl", json!({key: "1"})));
        assert_eq!(error.kind(), Kind::Refused, "{key}: {error}");
    }
    refused("the host's network", |b| {
        b.set("/linux/namespaces", json!([{"type": "mount"}, {"type": "uts"}]));
        b.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    });
    refused("the host's network, joined", |b| {
        b.set(
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "uts"},
            {"type": "network", "path": "/proc/self/ns/net"}]),
        );
        b.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    });
    let mut bundle = Bundle::new("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax");
    bundle.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4711"}));
    bundle.run().says("1\n4711\n").ends(0);
}

/// H65: hostile text is an error soon, whatever it is.
#[test]
fn h65_hostile_configurations_are_refused_at_once() {
    need_root!();
    let deep = format!("{}1{}", "{\"a\":[".repeat(10_000), "]}".repeat(10_000));
    let long = format!("{{\"ociVersion\":\"{}\"}}", "x".repeat(100 << 20));
    let good = serde_json::to_string(&Bundle::new("true").config).unwrap();
    let twice = good.replacen('{', "{\"hostname\":\"other\",", 1);
    let cut = &good[..good.len() / 2];
    let numbers = good.replacen("\"uid\":0", "\"uid\":9223372036854775808", 1);
    let minus = good.replacen("\"uid\":0", "\"uid\":-9223372036854775808", 1);
    let nul = good.replacen("\"cwd\":\"/\"", "\"cwd\":\"/\\u0000x\"", 1);
    for (name, text) in [
        ("deep", deep.as_str()),
        ("long", &long),
        ("twice", &twice),
        ("cut", cut),
        ("empty", ""),
        ("no object", "[]"),
        ("a large number", &numbers),
        ("a small number", &minus),
        ("NUL", &nul),
        ("no text", "\u{fffd}\u{0}"),
    ] {
        let bundle = Bundle::new("true");
        let options = bundle.options();
        std::fs::write(bundle.dir.join("config.json"), text).unwrap();
        let begun = Instant::now();
        let error = bundle.runtime().create(&bundle.id, &options).err();
        let error = error.unwrap_or_else(|| panic!("{name} was accepted"));
        assert!(error.to_string().len() < 600, "{name}: {error}");
        // Generous: the bound is there to tell it from minutes.
        assert!(begun.elapsed() < Duration::from_secs(20), "{name}");
        bundle.is_gone();
    }
}

/// T36: sizes.
#[test]
fn t36_long_paths_and_lists_are_errors() {
    need_root!();
    refused("a long namespace path", |b| {
        let path = format!("/{}", "n".repeat(70_000));
        b.set("/linux/namespaces", json!([{"type": "mount"}, {"type": "network", "path": path}]));
        b.config.as_object_mut().unwrap().remove("hostname");
    });
    refused("5,000 mappings", |b| {
        let list: Vec<Value> = (0..5000)
            .map(|n| json!({"containerID": n, "hostID": 100_000 + n, "size": 1}))
            .collect();
        b.add("/linux/namespaces", json!({"type": "user"}));
        b.set("/linux/uidMappings", list.clone());
        b.set("/linux/gidMappings", list);
    });
    refused("overlapping mappings", |b| {
        let list = json!([{"containerID": 0, "hostID": 100_000, "size": 10},
            {"containerID": 5, "hostID": 200_000, "size": 10}]);
        b.add("/linux/namespaces", json!({"type": "user"}));
        b.set("/linux/uidMappings", list.clone());
        b.set("/linux/gidMappings", list);
    });
}

/// T44: for all verbs.
#[test]
fn t44_ids_are_names() {
    need_root!();
    let bundle = Bundle::new("true");
    let options = bundle.options();
    let long = "x".repeat(5000);
    for id in ["", ".", "..", "../x", "a/b", "a\n", "a b", &long] {
        let runtime = bundle.runtime();
        for error in [
            runtime.create(id, &options).err(),
            runtime.load(id).err(),
            runtime.delete(id, true).err(),
            runtime.delete(id, false).err(),
        ] {
            assert_eq!(error.unwrap().kind(), Kind::InvalidConfig, "{id:?}");
        }
    }
}
