//! The systemd cgroup driver. Where systemd is not process 1 with pure cgroup v2 there is nothing to
//! test but the refusal: `scripts/vm run --systemd` has such a machine (docs/testing.md).

mod support;

use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::bundle::Bundle;
use support::live::eventually;

/// Whether this host has what these tests are about. A host that has not is no fault of the test run,
/// so it is told and counted, and no failure where skips are.
fn is_here(test: &str) -> bool {
    let here = Path::new("/run/systemd/system").is_dir()
        && Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !here {
        eprintln!(
            "SKIPPED {test}: systemd with pure cgroup v2 is not on this host; scripts/vm has it"
        );
        if let Some(list) = std::env::var_os("STOCKADE_SKIPS") {
            use std::io::Write;
            let mut file = std::fs::File::options().append(true).create(true).open(list).unwrap();
            writeln!(file, "{test}: no systemd with pure cgroup v2").unwrap();
        }
    }
    here
}

macro_rules! need_systemd {
    () => {
        if !is_here(std::thread::current().name().unwrap_or("?")) {
            return;
        }
        need_root!();
    };
}

/// A container whose unit is `oci-ID.scope` in a slice of its own below another.
fn bundle(change: impl FnOnce(&mut serde_json::Value)) -> Bundle {
    Bundle::new(|c| {
        let id = c["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/').to_owned();
        c["linux"]["cgroupsPath"] = format!("stockade-tests.slice:oci:{id}").into();
        change(c);
    })
}

fn scope(c: &Bundle) -> String {
    format!("oci-{}.scope", c.id)
}

fn cgroup(c: &Bundle) -> PathBuf {
    Path::new("/sys/fs/cgroup/stockade.slice/stockade-tests.slice").join(scope(c))
}

fn read(c: &Bundle, file: &str) -> String {
    std::fs::read_to_string(cgroup(c).join(file)).unwrap().trim().to_owned()
}

#[track_caller]
fn start(c: &Bundle) {
    let log = std::fs::File::create(c.scratch.join("output")).unwrap();
    let status = c
        .command(&["--systemd-cgroup", "run", "--detach", "ID"])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .status()
        .unwrap();
    let said = std::fs::read_to_string(c.scratch.join("output")).unwrap();
    assert!(status.success(), "run: {said}");
}

#[track_caller]
fn systemctl(args: &[&str]) -> String {
    // One of these tests executes systemd anew, and meanwhile nobody is answered.
    let mut tries = 0;
    loop {
        let o = Command::new("systemctl").args(args).stdin(Stdio::null()).output().unwrap();
        tries += 1;
        if o.status.success() || tries == 50 {
            return String::from_utf8(o.stdout).unwrap().trim().to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// What the unit says; `not-found` for `LoadState` is that there is none.
#[track_caller]
fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "--property", name, "--value", unit])
}

const LIMITED: &str = r#"{"memory":{"limit":67108864,"swap":100663296,"reservation":33554432},
    "cpu":{"shares":512,"quota":33333,"period":100000,"cpus":"0"},"pids":{"limit":20},
    "devices":[{"allow":false,"access":"rwm"}]}"#;

fn limited() -> Bundle {
    bundle(|c| c["linux"]["resources"] = serde_json::from_str(LIMITED).unwrap())
}

/// Unit and files say the same, the quota of a third rounded up to 34 hundredths.
#[track_caller]
fn has_its_limits(c: &Bundle) {
    for (name, value) in [
        ("MemoryMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemorySwapMax", "33554432"),
        ("CPUWeight", "59"),
        ("CPUQuotaPerSecUSec", "340ms"),
        ("CPUQuotaPeriodUSec", "100ms"),
        ("AllowedCPUs", "0"),
        ("TasksMax", "20"),
    ] {
        assert_eq!(property(&scope(c), name), value, "{name}");
    }
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.swap.max", "33554432"),
        ("cpu.weight", "59"),
        ("cpu.max", "34000 100000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "20"),
    ] {
        assert_eq!(read(c, file), value, "{file}");
    }
}

#[test]
fn without_systemd_it_is_refused_and_nothing_is_left() {
    need_root!();
    if Path::new("/run/systemd/system").is_dir() {
        return;
    }
    let c = bundle(|_| {});
    for flag in [&["--systemd-cgroup"][..], &["--cgroup-manager", "systemd"]] {
        let said = c.fails(&[flag, &["run", "ID"]].concat());
        assert!(said.contains("systemd does not run on this host"), "{said}");
    }
    assert!(c.ok(&["list", "-q"]).is_empty());
}

#[test]
fn a_container_is_a_scope_in_its_slice_and_goes_with_it() {
    need_systemd!();
    let c = limited();
    start(&c);
    let unit = scope(&c);
    for (name, value) in [
        ("ActiveState", "active"),
        ("Slice", "stockade-tests.slice"),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("MemoryAccounting", "yes"),
        ("CPUAccounting", "yes"),
        ("IOAccounting", "yes"),
        ("TasksAccounting", "yes"),
    ] {
        assert_eq!(property(&unit, name), value, "{name}");
    }
    has_its_limits(&c);
    let there = format!("0::/stockade.slice/stockade-tests.slice/{unit}\n");
    assert_eq!(std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap(), there);
    // Its own namespace of cgroups begins there, and exec joins it.
    assert_eq!(c.exec(&["cat", "/proc/self/cgroup"]), "0::/\n");
    assert_eq!(c.ok(&["ps", "--format", "json", "ID"]).trim(), format!("[{}]", c.pid()));
    c.ok(&["pause", "ID"]);
    assert_eq!(c.state()["status"], "paused");
    c.ok(&["resume", "ID"]);
    c.ok(&["--systemd-cgroup", "delete", "--force", "ID"]);
    assert_eq!(property(&unit, "LoadState"), "not-found");
    assert!(!cgroup(&c).exists());
}

/// The unit is made after the process, which must not show in what either kind of namespace sees.
#[test]
fn its_cgroup_is_what_a_container_sees_in_whichever_namespaces() {
    need_systemd!();
    let namespaces = |c: &mut serde_json::Value, keep: &dyn Fn(&str) -> bool| {
        c["linux"]["resources"] = json!({"pids": {"limit": 20}});
        let list = c["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|n| keep(n["type"].as_str().unwrap()));
    };
    let host = bundle(|c| namespaces(c, &|kind| kind != "cgroup"));
    let mapped = bundle(|c| {
        namespaces(c, &|_| true);
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        for kind in ["uidMappings", "gidMappings"] {
            c["linux"][kind] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        }
    });
    for c in [host, mapped] {
        start(&c);
        assert_eq!(c.exec(&["cat", "/sys/fs/cgroup/pids.max"]), "20\n");
        let own = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
        assert!(own.trim().ends_with(&scope(&c)), "{own}");
    }
}

#[test]
fn a_run_in_the_foreground_leaves_no_unit() {
    need_systemd!();
    let c = bundle(|c| c["process"]["args"] = json!(["sh", "-c", "cat /proc/self/cgroup; exit 7"]));
    let o = c.call(&["--systemd-cgroup", "run", "ID"]);
    assert_eq!((o.status.code(), &o.stdout[..]), (Some(7), &b"0::/\n"[..]), "{o:?}");
    assert_eq!(property(&scope(&c), "LoadState"), "not-found");
    // One that cannot be started is not left either.
    let c = bundle(|c| c["process"]["args"] = json!(["/nowhere"]));
    c.fails(&["--systemd-cgroup", "run", "ID"]);
    eventually("its unit is gone", || property(&scope(&c), "LoadState") == "not-found");
    assert!(!cgroup(&c).exists());
}

/// Without a path it is a scope in system.slice.
#[test]
fn a_container_without_a_path_has_a_unit_by_its_id() {
    need_systemd!();
    let c = Bundle::new(|c| c["linux"]["cgroupsPath"] = json!(""));
    start(&c);
    let unit = format!("stockade-{}.scope", c.id);
    assert_eq!(property(&unit, "ControlGroup"), format!("/system.slice/{unit}"));
    c.ok(&["delete", "--force", "ID"]);
    assert_eq!(property(&unit, "LoadState"), "not-found");
}

#[test]
fn update_changes_the_unit_and_the_files() {
    need_systemd!();
    let c = limited();
    start(&c);
    c.ok(&[
        "update",
        "--memory",
        "50331648",
        "--memory-swap",
        "50331648",
        "--pids-limit",
        "30",
        "ID",
    ]);
    // The period that holds is the one of the configuration.
    c.ok(&["update", "--cpu-quota", "50001", "--cpu-share", "1024", "ID"]);
    for (name, file, value, written) in [
        ("MemoryMax", "memory.max", "50331648", "50331648"),
        ("MemorySwapMax", "memory.swap.max", "0", "0"),
        ("TasksMax", "pids.max", "30", "30"),
        ("CPUWeight", "cpu.weight", "100", "100"),
        ("CPUQuotaPerSecUSec", "cpu.max", "510ms", "51000 100000"),
        ("AllowedCPUs", "cpuset.cpus", "0", "0"),
    ] {
        assert_eq!(property(&scope(&c), name), value, "{name}");
        assert_eq!(read(&c, file), written, "{file}");
    }
    // A new period keeps the quota, a sum of memory and swap the memory.
    c.ok(&["update", "--cpu-period", "200000", "--memory-swap", "60817408", "ID"]);
    assert_eq!(property(&scope(&c), "CPUQuotaPerSecUSec"), "260ms");
    assert_eq!(read(&c, "cpu.max"), "52000 200000");
    assert_eq!(read(&c, "memory.swap.max"), "10485760");
    let said = c.fails(&["update", "--cpuset-cpus", "0-7:2/4", "ID"]);
    assert!(said.contains("is not a list"), "{said}");
    // cpu.idle is a weight of 0 to systemd.
    c.ok(&["update", "--cpu-idle", "1", "ID"]);
    assert_eq!(
        (property(&scope(&c), "CPUWeight").as_str(), read(&c, "cpu.idle").as_str()),
        ("idle", "1")
    );
}

/// systemd writes what it knows whenever it looks at a unit again, and its own device program, if it has one.
#[test]
fn limits_and_device_rules_survive_a_reload_of_systemd() {
    need_systemd!();
    let c = limited();
    start(&c);
    let denied = || {
        c.exec(&[
            "sh",
            "-c",
            "(: >/dev/null) && mknod /tmp/x b 7 0 2>/dev/null; test ! -e /tmp/x && echo denied",
        ])
    };
    assert_eq!(denied(), "denied\n");
    systemctl(&["daemon-reload"]);
    has_its_limits(&c);
    assert_eq!(denied(), "denied\n");
    c.ok(&["update", "--pids-limit", "21", "ID"]);
    systemctl(&["daemon-reexec"]);
    assert_eq!(read(&c, "pids.max"), "21");
    assert_eq!(read(&c, "memory.max"), "67108864");
    assert_eq!(denied(), "denied\n");
}

/// A unit that has failed stays in systemd, and would be in the way of the next of its name.
#[test]
fn a_failed_unit_of_the_same_name_is_replaced_and_none_is_left() {
    need_systemd!();
    let c = bundle(|_| {});
    let unit = scope(&c);
    let status = Command::new("systemd-run")
        .args([
            "--scope",
            "--quiet",
            "--property=RuntimeMaxSec=1",
            "--unit",
            &unit,
            "sleep",
            "1000",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(!status.unwrap().success());
    eventually("the unit has failed", || property(&unit, "ActiveState") == "failed");
    start(&c);
    assert_eq!(property(&unit, "ActiveState"), "active");
    c.ok(&["delete", "--force", "ID"]);
    assert_eq!(property(&unit, "LoadState"), "not-found");
    // The container's own unit fails as well.
    let c = bundle(|c| {
        // A container's init ignores SIGTERM, which systemd tries first.
        c["annotations"] = json!({"org.systemd.property.RuntimeMaxSec": "uint64 1",
            "org.systemd.property.TimeoutStopSec": "uint64 1"});
    });
    start(&c);
    let unit = scope(&c);
    eventually("the unit has failed", || property(&unit, "ActiveState") == "failed");
    c.ok(&["delete", "--force", "ID"]);
    assert_eq!(property(&unit, "LoadState"), "not-found");
}

/// Somebody else's unit of that name, which lives, stays as it is.
#[test]
fn a_unit_that_lives_is_not_taken_over() {
    need_systemd!();
    let c = bundle(|_| {});
    let unit = scope(&c);
    let mut other = Command::new("systemd-run")
        .args(["--scope", "--quiet", "--unit", &unit, "sleep", "1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it lives", || property(&unit, "ActiveState") == "active");
    let said = c.fails(&["--systemd-cgroup", "run", "ID"]);
    assert!(said.contains("UnitExists"), "{said}");
    assert_eq!(property(&unit, "ActiveState"), "active");
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(c.ok(&["list", "-q"]).is_empty());
}

/// The unit of a container that has ended goes by itself, and its name is free for others. What they make
/// of it, at another place or at the same, is not the container's.
#[test]
fn a_unit_that_somebody_else_has_made_since_is_not_stopped() {
    need_systemd!();
    for slice in ["system.slice", "stockade-tests.slice"] {
        let c = bundle(|c| c["process"]["args"] = json!(["true"]));
        start(&c);
        let unit = scope(&c);
        eventually("its unit is gone", || property(&unit, "LoadState") == "not-found");
        let mut other = Command::new("systemd-run")
            .args(["--scope", "--quiet", "--slice", slice, "--unit", &unit, "sleep", "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the other one lives", || property(&unit, "ActiveState") == "active");
        c.ok(&["delete", "ID"]);
        assert!(c.ok(&["list", "-q"]).is_empty());
        assert_eq!(property(&unit, "ActiveState"), "active", "{slice}");
        assert!(other.try_wait().unwrap().is_none(), "{slice}");
        other.kill().unwrap();
        other.wait().unwrap();
        eventually("that is gone", || property(&unit, "LoadState") == "not-found");
    }
}

#[test]
fn annotations_are_properties_of_the_unit() {
    need_systemd!();
    let c = bundle(|c| {
        c["annotations"] = json!({
            "org.systemd.property.Description": "'one of mine'",
            "org.systemd.property.TimeoutStopSec": "7",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.After": "['multi-user.target']",
        });
    });
    start(&c);
    assert_eq!(property(&scope(&c), "Description"), "one of mine");
    assert_eq!(property(&scope(&c), "TimeoutStopUSec"), "7s");
    assert_eq!(property(&scope(&c), "CollectMode"), "inactive-or-failed");
    assert!(property(&scope(&c), "After").contains("multi-user.target"));
    for (name, value, word) in [
        ("PIDs", "[uint32 1]", "otherwise"),
        ("Slice", "'user.slice'", "otherwise"),
        ("Delegate", "false", "otherwise"),
        ("CollectMode", "nonsense", "not understood"),
        ("NoSuchProperty", "true", "NoSuchProperty"),
    ] {
        let c = bundle(|c| {
            c["annotations"] = json!({ format!("org.systemd.property.{name}"): value });
        });
        let said = c.fails(&["--systemd-cgroup", "run", "ID"]);
        assert!(said.contains(word), "{name}: {said}");
        assert_eq!(property(&scope(&c), "LoadState"), "not-found");
        assert!(c.ok(&["list", "-q"]).is_empty());
    }
}

#[test]
fn a_path_that_means_no_scope_is_refused() {
    need_systemd!();
    for (path, word) in [
        ("/a/b", "slice:prefix:name"),
        ("stockade.slice:oci:x.slice", "no processes"),
        ("no-slice:oci:x", "valid slice"),
    ] {
        let c = bundle(|c| c["linux"]["cgroupsPath"] = path.into());
        let said = c.fails(&["--systemd-cgroup", "create", "ID"]);
        assert!(said.contains(word), "{path}: {said}");
    }
    let c = bundle(|_| {});
    assert!(c.fails(&["create", "ID"]).contains("--systemd-cgroup"));
}

#[test]
fn a_container_whose_state_is_damaged_goes_with_its_unit() {
    need_systemd!();
    let c = bundle(|_| {});
    start(&c);
    let pid = c.pid();
    std::fs::write(c.scratch.join("root").join(&c.id).join("state.json"), "nonsense").unwrap();
    c.ok(&["delete", "--force", "ID"]);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(property(&scope(&c), "LoadState"), "not-found");
}

/// By the user's own manager, below its cgroup.
#[test]
fn an_ordinary_users_container_is_a_scope_of_his_own_manager() {
    if !is_here("an_ordinary_users_container_is_a_scope_of_his_own_manager") || support::is_root() {
        return;
    }
    let c = Bundle::new(|c| {
        let id = c["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/').to_owned();
        let spec = support::Scratch::new();
        let status = Command::new(support::bin())
            .args(["spec", "--rootless", "--bundle"])
            .arg(spec.path())
            .status();
        assert!(status.unwrap().success());
        let text = std::fs::read(spec.join("config.json")).unwrap();
        let of: serde_json::Value = serde_json::from_slice(&text).unwrap();
        c["mounts"] = of["mounts"].clone();
        c["linux"] = of["linux"].clone();
        c["linux"]["cgroupsPath"] = format!("stockade-tests.slice:oci:{id}").into();
        c["linux"]["resources"] = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 20}});
    });
    start(&c);
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    let uid = nix::unistd::getuid();
    let end = format!("user@{uid}.service/stockade.slice/stockade-tests.slice/{}\n", scope(&c));
    assert!(text.ends_with(&end), "{text}");
    let user =
        |name: &str| systemctl(&["--user", "show", "--property", name, "--value", &scope(&c)]);
    assert_eq!((user("MemoryMax").as_str(), user("TasksMax").as_str()), ("67108864", "20"));
    c.ok(&["update", "--pids-limit", "25", "ID"]);
    assert_eq!(user("TasksMax"), "25");
    assert_eq!(c.exec(&["echo", "hello"]), "hello\n");
    c.ok(&["--systemd-cgroup", "delete", "--force", "ID"]);
    assert_eq!(user("LoadState"), "not-found");
}

/// The unit goes with the container that is saved, and is made again for the processes that are
/// restored, with its limits.
#[test]
fn a_scope_is_saved_and_made_again() {
    need_systemd!();
    let check = Command::new("criu").arg("check").stdin(Stdio::null()).output().unwrap();
    if !check.status.success() {
        let why = String::from_utf8_lossy(&check.stderr).into_owned();
        skip_on_this_kind_of_host!("criu cannot work here: {}", why.trim());
    }
    let c = bundle(|c| {
        c["linux"]["resources"] = serde_json::from_str(LIMITED).unwrap();
        let script = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.1; done";
        c["process"]["args"] = json!(["sh", "-c", script]);
    });
    let quiet = |args: &[&str]| {
        let mut command = c.command(&[&["--systemd-cgroup"], args].concat());
        assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    };
    let count = || {
        let text = std::fs::read_to_string(c.rootfs().join("count")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    quiet(&["run", "--detach", "ID"]);
    eventually("it counts", || count() > 2);
    c.ok(&["checkpoint", "ID"]);
    let saved = count();
    assert_eq!(property(&scope(&c), "LoadState"), "not-found");
    assert!(!cgroup(&c).exists());
    quiet(&["restore", "--detach", "ID"]);
    eventually("it counts on", || count() > saved);
    assert_eq!(property(&scope(&c), "ActiveState"), "active");
    has_its_limits(&c);
    let procs = read(&c, "cgroup.procs");
    assert!(procs.lines().any(|pid| pid == c.pid().to_string()), "{procs}");
    c.ok(&["--systemd-cgroup", "delete", "--force", "ID"]);
    assert_eq!(property(&scope(&c), "LoadState"), "not-found");
}
