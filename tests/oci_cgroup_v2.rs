//! Containers on a host with cgroup v2 alone: each limit in its file and in effect, device rules, and a
//! hierarchy that is other than expected. The machine of scripts/vm is such a host.

mod support;

use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::bundle::Bundle;

macro_rules! need_v2 {
    () => {
        need_root!();
        if !support::pure_v2() {
            skip_on_this_kind_of_host!("needs a host with cgroup v2 only");
        }
    };
}

const TOP: &str = "/sys/fs/cgroup";

fn cgroup(c: &Bundle) -> PathBuf {
    Path::new(TOP).join(&c.id)
}

#[track_caller]
fn value(c: &Bundle, file: &str) -> String {
    let path = cgroup(c).join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

/// The number behind a key of a file such as memory.events.
#[track_caller]
fn count(c: &Bundle, file: &str, key: &str) -> u64 {
    let text = value(c, file);
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {key} in {text}")).parse().unwrap()
}

/// Whether a controller is there; which are depends on the kernel.
fn has(controller: &str) -> bool {
    let text = std::fs::read_to_string(format!("{TOP}/cgroup.controllers")).unwrap();
    text.split_whitespace().any(|c| c == controller)
}

macro_rules! need_controllers {
    ($($name:literal),*) => {
        for name in [$($name),*] {
            if !has(name) {
                skip_on_this_kind_of_host!("needs the {name} controller on v2");
            }
        }
    };
}

fn with(resources: Value) -> Bundle {
    Bundle::new(|config| config["linux"]["resources"] = resources.clone())
}

/// `update --resources -`.
fn update(c: &Bundle, resources: &Value) -> Output {
    let mut child = c
        .command(&["update", "--resources=-", "ID"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(resources.to_string().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn updated(c: &Bundle, resources: &Value) {
    let o = update(c, resources);
    assert!(o.status.success(), "{resources}: {o:?}");
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process that ends with the test.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn start() -> Sleeper {
        Sleeper(Command::new("sleep").arg("1000").spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cgroup of the test's own, which goes with all below it.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Group {
        let path = Path::new(TOP).join(format!("v2-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Group(path)
    }

    fn name(&self) -> String {
        self.0.file_name().unwrap().to_str().unwrap().to_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fn remove(dir: &Path) {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    remove(&entry.path());
                }
            }
            for _ in 0..500 {
                match std::fs::remove_dir(dir) {
                    Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => {}
                    _ => return,
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        remove(&self.0);
    }
}

// --- limits ----------------------------------------------------------------------------------

/// The weight is runc's and crun's of 2025, by the logarithm of the shares, which keeps 1024 shares
/// at the default of 100: 10^((l^2 + 125 l) / 612 - 7 / 34), l = log2(shares)
/// (<https://github.com/opencontainers/cgroups/pull/20>).
#[test]
fn h30_every_limit_is_in_its_file() {
    need_v2!();
    need_controllers!("memory", "cpu", "cpuset", "pids");
    let c = with(json!({
        "memory": { "limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20 },
        "cpu": { "shares": 512, "quota": 50_000, "period": 200_000, "burst": 10_000,
                 "cpus": "0", "mems": "0" },
        "pids": { "limit": 17 },
    }))
    .start();
    for (file, want) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("memory.low", "33554432"),
        ("cpu.weight", "59"),
        ("cpu.max", "50000 200000"),
        ("cpu.max.burst", "10000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "17"),
    ] {
        assert_eq!(value(&c, file), want, "{file}");
    }
    for (shares, weight) in [(2, "1"), (1024, "100"), (262_144, "10000")] {
        updated(&c, &json!({ "cpu": { "shares": shares } }));
        assert_eq!(value(&c, "cpu.weight"), weight, "{shares}");
    }
    // All the memory again, and no swap: the two are one number in the configuration.
    updated(&c, &json!({ "memory": { "limit": 32 << 20, "swap": 32 << 20 } }));
    assert_eq!(
        (value(&c, "memory.max"), value(&c, "memory.swap.max")),
        ("33554432".into(), "0".into())
    );
    updated(&c, &json!({ "memory": { "limit": -1, "swap": -1 } }));
    assert_eq!(
        (value(&c, "memory.max"), value(&c, "memory.swap.max")),
        ("max".into(), "max".into())
    );
}

#[test]
fn h30_files_of_unified_are_written_and_count_over_the_other_limits() {
    need_v2!();
    need_controllers!("memory", "pids");
    let c = with(json!({
        "memory": { "limit": 64 << 20 },
        "pids": { "limit": 100 },
        "unified": {
            "memory.high": "50331648",
            "memory.min": "1048576",
            "memory.low": "2097152",
            "memory.swap.high": "8388608",
            "memory.oom.group": "1",
            "pids.max": "19",
        },
    }))
    .start();
    for (file, want) in [
        ("memory.high", "50331648"),
        ("memory.min", "1048576"),
        ("memory.low", "2097152"),
        ("memory.swap.high", "8388608"),
        ("memory.oom.group", "1"),
        ("pids.max", "19"),
    ] {
        assert_eq!(value(&c, file), want, "{file}");
    }
    updated(&c, &json!({ "unified": { "memory.high": "max" } }));
    assert_eq!(value(&c, "memory.high"), "max");
    for (bad, says) in
        [("memory.nope", "memory.nope"), ("nope.max", "nope"), ("../pids.max", "pids.max")]
    {
        let o = update(&c, &json!({ "unified": { bad: "1" } }));
        let said = String::from_utf8_lossy(&o.stderr).into_owned();
        assert!(!o.status.success() && said.contains(says), "{bad}: {said}");
    }
    assert_eq!(std::fs::read_to_string(format!("{TOP}/pids.max")).ok(), None);
}

const HOG: &str = "x=$(head -c 60m /dev/zero | tr '\\0' x); echo survived";

/// H51: above memory.high the kernel takes memory back and slows down, and kills nobody.
#[test]
fn h51_above_high_a_container_is_throttled_and_not_killed() {
    need_v2!();
    need_controllers!("memory");
    let c = with(json!({ "unified": { "memory.high": "16777216" } })).start();
    let fill = "head -c 40m /dev/zero >/dev/shm/x; ls -l /dev/shm/x";
    // Pages of a file on a tmpfs cannot go anywhere without swap, so this goes beyond the mark.
    let mut child = c.command(&["exec", "ID", "sh", "-c", fill]).spawn().unwrap();
    until("it was throttled", || count(&c, "memory.events", "high") > 0);
    assert_eq!(count(&c, "memory.events", "oom_kill"), 0);
    updated(&c, &json!({ "unified": { "memory.high": "max" } }));
    assert!(child.wait().unwrap().success());
}

/// H51: with memory.oom.group one that runs out of memory takes the whole container with it.
#[test]
fn h51_oom_group_ends_the_whole_container() {
    need_v2!();
    need_controllers!("memory");
    for group in ["0", "1"] {
        let c = with(json!({
            "memory": { "limit": 24 << 20, "swap": 24 << 20 },
            "unified": { "memory.oom.group": group },
        }))
        .start();
        let o = c.call(&["exec", "ID", "sh", "-c", HOG]);
        assert!(!String::from_utf8_lossy(&o.stdout).contains("survived"), "{group}: {o:?}");
        if group == "1" {
            until("it has ended", || c.state()["status"] == "stopped");
        } else {
            assert!(count(&c, "memory.events", "oom_kill") > 0);
            assert_eq!(count(&c, "memory.events", "oom_group_kill"), 0);
            assert_eq!(c.state()["status"], "running");
        }
    }
}

#[test]
fn an_idle_container_gives_its_weight_away_and_takes_it_back() {
    need_v2!();
    need_controllers!("cpu");
    let c = with(json!({ "cpu": { "shares": 2048, "idle": 1 } })).start();
    assert_eq!(value(&c, "cpu.idle"), "1");
    updated(&c, &json!({ "cpu": { "idle": 0, "shares": 1024 } }));
    assert_eq!((value(&c, "cpu.idle"), value(&c, "cpu.weight")), ("0".into(), "100".into()));
}

/// H30
#[test]
fn h30_processors_are_those_of_the_cpuset_and_change_with_it() {
    need_v2!();
    need_controllers!("cpuset");
    let allowed = ["sh", "-c", "grep Cpus_allowed_list /proc/self/status | cut -f2"];
    let c = with(json!({ "cpu": { "cpus": "1" } })).start();
    assert_eq!(c.exec(&allowed), "1\n");
    updated(&c, &json!({ "cpu": { "cpus": "0" } }));
    assert_eq!(c.exec(&allowed), "0\n");
    let status = std::fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
    assert_eq!(support::bundle::status_line(&status, "Cpus_allowed_list"), "0", "the init as well");
    let o = update(&c, &json!({ "cpu": { "cpus": "99" } }));
    assert!(String::from_utf8_lossy(&o.stderr).contains("cpuset.cpus"), "{o:?}");
    assert_eq!(value(&c, "cpuset.cpus"), "0");
}

/// A disk of the host, as its number.
fn disk() -> Option<(u64, u64)> {
    std::fs::read_dir("/sys/block").ok()?.flatten().find_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let real = name.starts_with("nvme") || name.starts_with("vd") || name.starts_with("sd");
        let text = std::fs::read_to_string(entry.path().join("dev")).ok().filter(|_| real)?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

#[test]
fn io_is_throttled_by_device_and_counted() {
    need_v2!();
    need_controllers!("io");
    let Some((major, minor)) = disk() else { skip_on_this_kind_of_host!("needs a disk") };
    let throttle = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let c = with(json!({ "blockIO": {
        "throttleReadBpsDevice": throttle(1 << 20), "throttleWriteBpsDevice": throttle(2 << 20),
        "throttleReadIOPSDevice": throttle(100), "throttleWriteIOPSDevice": throttle(200),
    } }))
    .start();
    let line = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=100 wiops=200");
    assert_eq!(value(&c, "io.max"), line);
    // No limit on one of them, the others stay.
    updated(&c, &json!({ "blockIO": { "throttleReadBpsDevice": throttle(0) } }));
    assert_eq!(value(&c, "io.max"), line.replace("1048576", "max"));
    let none = json!([{ "major": 4000, "minor": 1, "rate": 1 }]);
    let o = update(&c, &json!({ "blockIO": { "throttleReadBpsDevice": none } }));
    assert!(String::from_utf8_lossy(&o.stderr).contains("io.max"), "{o:?}");
}

#[test]
fn huge_pages_are_limited_and_counted_where_the_host_has_them() {
    need_v2!();
    need_controllers!("hugetlb");
    let sizes = || std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let has_2m = sizes().any(|e| e.file_name() == "hugepages-2048kB");
    if !has_2m {
        skip_on_this_kind_of_host!("needs huge pages of 2 MB");
    }
    let c = with(json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4 << 20 }] })).start();
    assert_eq!(value(&c, "hugetlb.2MB.max"), "4194304");
    let rsvd = cgroup(&c).join("hugetlb.2MB.rsvd.max");
    assert!(!rsvd.exists() || value(&c, "hugetlb.2MB.rsvd.max") == "4194304");
    let stats: Value = serde_json::from_str(&c.ok(&["events", "--stats", "ID"])).unwrap();
    assert!(stats["data"]["hugetlb"]["2MB"].is_object(), "{stats}");
    let o = update(&c, &json!({ "hugepageLimits": [{ "pageSize": "3MB", "limit": 1 }] }));
    assert!(String::from_utf8_lossy(&o.stderr).contains("3MB"), "{o:?}");
}

// --- figures ---------------------------------------------------------------------------------

#[test]
fn events_stats_have_pressure_and_what_the_memory_limit_did() {
    need_v2!();
    need_controllers!("memory", "cpu", "io");
    let c = with(json!({
        "memory": { "limit": 24 << 20, "swap": 24 << 20 },
        "cpu": { "quota": 50_000, "period": 100_000 },
    }))
    .start();
    let _ = c.call(&["exec", "ID", "sh", "-c", HOG]);
    let text = c.ok(&["events", "--stats", "ID"]);
    let stats: Value = serde_json::from_str(&text).unwrap();
    let data = &stats["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 24 << 20, "{data}");
    assert_eq!(data["memory"]["usage"]["failcnt"], count(&c, "memory.events", "max"), "{data}");
    assert!(data["memory"]["usage"]["failcnt"].as_u64() > Some(0), "{data}");
    assert!(data["memory"]["raw"]["anon"].is_u64(), "{data}");
    assert!(data["cpu"]["usage"]["total"].as_u64() > Some(0), "{data}");
    if !Path::new("/proc/pressure").exists() {
        skip_on_this_kind_of_host!("needs a kernel with pressure stall information");
    }
    for at in ["cpu", "memory", "blkio"] {
        for kind in ["some", "full"] {
            let psi = &data[at]["psi"][kind];
            assert!(psi["avg10"].is_number() && psi["total"].is_u64(), "{at} {kind}: {data}");
        }
    }
}

#[test]
fn a_container_is_cloned_into_its_cgroup_and_never_moved() {
    need_v2!();
    let c = Bundle::new(|config| config["process"]["args"] = json!(["true"]));
    let trace = c.scratch.join("trace");
    let o = Command::new("strace")
        .args(["-f", "-qq", "-s", "200", "-e", "trace=clone3,openat,openat2,write", "-o"])
        .arg(&trace)
        .arg(&c.program)
        .arg("--root")
        .arg(c.scratch.join("root"))
        .args(["run", &c.id])
        .current_dir(c.dir())
        .stdin(Stdio::null())
        .output();
    let Ok(o) = o else { skip!("needs strace") };
    assert!(o.status.success(), "{o:?}");
    let text = std::fs::read_to_string(&trace).unwrap();
    let cloned = text.lines().any(|l| l.contains("clone3(") && l.contains("CLONE_INTO_CGROUP"));
    assert!(cloned, "{text}");
    let procs = |l: &&str| l.contains("cgroup.procs") && l.contains("O_WRONLY");
    assert_eq!(text.lines().find(procs), None);
}

// --- freezing and killing --------------------------------------------------------------------

#[test]
fn a_paused_container_is_frozen_with_all_that_is_below() {
    need_v2!();
    let c = Bundle::new(|_| {}).start();
    std::fs::create_dir(cgroup(&c).join("own")).unwrap();
    std::fs::write(cgroup(&c).join("own/cgroup.procs"), c.pid().to_string()).unwrap();
    c.ok(&["pause", "ID"]);
    assert_eq!(value(&c, "cgroup.freeze"), "1");
    assert_eq!(count(&c, "cgroup.events", "frozen"), 1);
    assert_eq!(count(&c, "own/cgroup.events", "frozen"), 1);
    assert!(c.fails(&["exec", "ID", "true"]).contains("paused"));
    c.ok(&["resume", "ID"]);
    assert_eq!(count(&c, "cgroup.events", "frozen"), 0);
    c.ok(&["pause", "ID"]);
}

#[test]
fn kill_all_ends_what_forks_as_fast_as_it_can() {
    need_v2!();
    need_controllers!("pids");
    let c = Bundle::new(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        config["linux"]["resources"]["pids"] = json!({ "limit": 60 });
        let script = "f() { while :; do ( : ) & wait $!; done; }; f & f & f & f & wait";
        config["process"]["args"] = json!(["sh", "-c", script]);
    })
    .start();
    until("it forks", || value(&c, "cgroup.procs").lines().count() > 4);
    c.ok(&["kill", "--all", "ID", "KILL"]);
    until("all have ended", || count(&c, "cgroup.events", "populated") == 0);
}

// --- devices ---------------------------------------------------------------------------------

/// T33: by the container's own view, and through `update`.
#[test]
fn t33_device_rules_allow_deny_and_are_replaced_by_an_update() {
    need_v2!();
    let rule = |allow: bool, access: &str| json!({ "allow": allow, "type": "c", "major": 1, "minor": 11, "access": access });
    let nothing = json!({ "allow": false, "access": "rwm" });
    let c = Bundle::new(|config| {
        config["linux"]["resources"] = json!({ "devices": [nothing, rule(true, "r")] });
        // Without it the kernel's log is closed whatever the device rules say.
        let caps = json!(["CAP_SYSLOG"]);
        config["process"]["capabilities"] =
            json!({ "bounding": caps, "permitted": caps, "effective": caps });
    });
    let node = nix::sys::stat::SFlag::S_IFCHR;
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    let log = c.rootfs().join("kmsg");
    nix::sys::stat::mknod(&log, node, mode, nix::sys::stat::makedev(1, 11)).unwrap();
    let c = c.start();
    let may = || {
        let script = "(exec 3</kmsg) 2>/dev/null && echo r; (exec 3>/kmsg) 2>/dev/null && echo w
            (exec 3<>/dev/null) && echo null; true";
        c.exec_with(&["--cap", "CAP_SYSLOG"], &["sh", "-c", script])
            .lines()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(may(), "r null");
    updated(&c, &json!({ "devices": [nothing, rule(true, "rw")] }));
    assert_eq!(may(), "r w null");
    updated(&c, &json!({ "devices": [nothing, rule(true, "rw"), rule(false, "r")] }));
    assert_eq!(may(), "w null");
    // What is not about devices leaves them alone.
    if has("pids") {
        updated(&c, &json!({ "pids": { "limit": 50 } }));
        assert_eq!(may(), "w null");
    }
    updated(&c, &json!({ "devices": [nothing] }));
    assert_eq!(may(), "null");
    updated(&c, &json!({ "devices": [{ "allow": true, "access": "rwm" }] }));
    assert_eq!(may(), "r w null");
}

// --- trees -----------------------------------------------------------------------------------

#[test]
fn a_container_deep_below_gets_its_controllers_and_leaves_what_it_found() {
    need_v2!();
    let group = Group::new("deep");
    std::fs::create_dir(group.0.join("found")).unwrap();
    let path = format!("/{}/found/made/c", group.name());
    let c = Bundle::new(|config| config["linux"]["cgroupsPath"] = path.clone().into()).start();
    let own = group.0.join("found/made/c");
    let all = std::fs::read_to_string(format!("{TOP}/cgroup.controllers")).unwrap();
    assert_eq!(std::fs::read_to_string(own.join("cgroup.controllers")).unwrap(), all);
    assert_eq!(
        std::fs::read_to_string(own.join("cgroup.procs")).unwrap(),
        format!("{}\n", c.pid())
    );
    c.ok(&["delete", "--force", "ID"]);
    assert!(!own.exists() && group.0.join("found").exists());
}

/// A container that manages cgroups itself, as systemd or an inner runtime does.
#[test]
fn a_container_divides_its_own_cgroup() {
    need_v2!();
    need_controllers!("pids");
    let c = Bundle::new(|config| {
        let script = "mkdir /sys/fs/cgroup/init /sys/fs/cgroup/work &&
            echo 1 >/sys/fs/cgroup/init/cgroup.procs &&
            echo +pids >/sys/fs/cgroup/cgroup.subtree_control &&
            echo 5 >/sys/fs/cgroup/work/pids.max && echo done >/done; sleep 1000";
        config["process"]["args"] = json!(["sh", "-c", script]);
        for mount in config["mounts"].as_array_mut().unwrap() {
            if mount["type"] == "cgroup" {
                mount["options"].as_array_mut().unwrap().retain(|o| o != "ro");
            }
        }
    })
    .start();
    until("it has divided it", || c.rootfs().join("done").exists());
    assert_eq!(value(&c, "work/pids.max"), "5");
    // A process cannot be in the middle of a tree any more; it goes where the init is.
    assert_eq!(c.exec(&["cat", "/proc/self/cgroup"]), "0::/init\n");
    let sub = c.exec_with(&["--cgroup", "/work"], &["cat", "/proc/self/cgroup"]);
    assert_eq!(sub, "0::/work\n");
    // The container's limits are above its own.
    updated(&c, &json!({ "pids": { "limit": 40 } }));
    assert_eq!(value(&c, "pids.max"), "40");
    assert!(c.ok(&["ps", "ID"]).contains("sleep"));
    c.ok(&["pause", "ID"]);
    assert_eq!(count(&c, "init/cgroup.events", "frozen"), 1);
    c.ok(&["delete", "--force", "ID"]);
    assert!(!cgroup(&c).exists());
}

/// Threads of the container in several cgroups of its own.
#[test]
fn a_container_with_a_threaded_tree_is_listed_stopped_and_removed() {
    need_v2!();
    let c = Bundle::new(|_| {}).start();
    let own = cgroup(&c);
    for name in ["a", "a/b"] {
        std::fs::create_dir(own.join(name)).unwrap();
        // `domain invalid` until its parent is one of threads.
        std::fs::write(own.join(name).join("cgroup.type"), "threaded").unwrap();
    }
    std::fs::write(own.join("a/b/cgroup.threads"), c.pid().to_string()).unwrap();
    assert_eq!(value(&c, "cgroup.type"), "domain threaded");
    assert_eq!(value(&c, "a/b/cgroup.threads"), c.pid().to_string());
    assert_eq!(c.ok(&["ps", "--format", "json", "ID"]), format!("[{}]\n", c.pid()));
    assert_eq!(c.exec(&["echo", "in"]), "in\n");
    c.ok(&["events", "--stats", "ID"]);
    c.ok(&["pause", "ID"]);
    c.ok(&["resume", "ID"]);
    c.ok(&["kill", "--all", "ID", "KILL"]);
    until("it has ended", || c.state()["status"] == "stopped");
    c.ok(&["delete", "ID"]);
    assert!(!own.exists());
}

#[test]
fn below_a_threaded_cgroup_there_is_no_container() {
    need_v2!();
    let group = Group::new("threaded");
    std::fs::create_dir(group.0.join("t")).unwrap();
    std::fs::write(group.0.join("t/cgroup.type"), "threaded").unwrap();
    for path in ["t/c", "c"] {
        let path = format!("/{}/{path}", group.name());
        let c = Bundle::new(|config| config["linux"]["cgroupsPath"] = path.clone().into());
        let said = c.fails(&["run", "ID"]);
        assert!(said.contains("is of type") && said.contains("invalid"), "{path}: {said}");
        assert!(!Path::new(TOP).join(path.trim_start_matches('/')).exists(), "{path} is left");
        assert_eq!(std::fs::read_dir(c.scratch.join("root")).unwrap().count(), 0);
    }
}

#[test]
fn a_parent_with_processes_of_its_own_gives_no_controllers_and_that_is_said() {
    need_v2!();
    need_controllers!("pids");
    let group = Group::new("busy");
    let sleeper = Sleeper::start();
    std::fs::write(group.0.join("cgroup.procs"), sleeper.0.id().to_string()).unwrap();
    let path = format!("/{}/c", group.name());
    let container = |resources: Value| {
        Bundle::new(|config| {
            config["linux"]["cgroupsPath"] = path.clone().into();
            config["linux"]["resources"] = resources.clone();
            config["process"]["args"] = json!(["true"]);
        })
    };
    let said = container(json!({ "pids": { "limit": 10 } })).fails(&["run", "ID"]);
    assert!(said.contains("does not have the pids controller"), "{said}");
    assert!(!group.0.join("c").exists());
    // It stays what it was: not the root of a threaded tree.
    let read = |file: &str| std::fs::read_to_string(group.0.join(file)).unwrap();
    assert_eq!((read("cgroup.subtree_control").trim(), read("cgroup.type").trim()), ("", "domain"));
    container(json!({})).ok(&["run", "ID"]);
    assert_eq!((read("cgroup.subtree_control").trim(), read("cgroup.type").trim()), ("", "domain"));
}

// --- what vanishes ---------------------------------------------------------------------------

#[test]
fn a_cgroup_that_has_vanished_is_no_obstacle() {
    need_v2!();
    let c = Bundle::new(|_| {}).start();
    // Somebody else moves its process away and removes it, as systemd may.
    let elsewhere = Group::new("elsewhere");
    let pid = c.pid();
    std::fs::write(elsewhere.0.join("cgroup.procs"), pid.to_string()).unwrap();
    until("it is empty", || std::fs::remove_dir(cgroup(&c)).is_ok());
    assert_eq!(c.state()["status"], "running");
    for args in [&["pause", "ID"][..], &["update", "--pids-limit", "9", "ID"], &["events", "ID"]] {
        let said = c.fails(args);
        assert!(said.contains("cgroup"), "{args:?}: {said}");
    }
    // Neither is anything of the container started outside of its limits.
    let said = c.fails(&["exec", "ID", "echo", "out"]);
    assert!(said.contains("cgroup"), "{said}");
    c.ok(&["kill", "ID", "KILL"]);
    until("it has ended", || c.state()["status"] == "stopped");
    c.ok(&["delete", "ID"]);
}

/// Others make and remove what lies above while containers come and go.
#[test]
fn a_parent_that_comes_and_goes_fails_a_run_clearly_or_not_at_all() {
    need_v2!();
    let parent = Path::new(TOP).join(format!("v2-test-{}-flicker", std::process::id()));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let rounds = support::times(60);
    let mut worked = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = std::fs::remove_dir(&parent);
            }
        });
        for round in 0..rounds {
            let path = format!("/{}/c", parent.file_name().unwrap().to_str().unwrap());
            let c = Bundle::new(|config| {
                config["linux"]["cgroupsPath"] = path.clone().into();
                config["process"]["args"] = json!(["echo", "ran"]);
            });
            let o = c.call(&["run", "ID"]);
            let said = String::from_utf8_lossy(&o.stderr).into_owned();
            if o.status.success() {
                worked += 1;
                assert_eq!(o.stdout, b"ran\n");
            } else {
                assert!(said.contains("cgroup") && o.stdout.is_empty(), "round {round}: {said}");
            }
            assert!(!parent.join("c").exists(), "round {round}: {said}");
            assert_eq!(std::fs::read_dir(c.scratch.join("root")).unwrap().count(), 0, "{said}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let _ = std::fs::remove_dir(&parent);
    assert!(worked > 0, "none of {rounds} worked");
}
