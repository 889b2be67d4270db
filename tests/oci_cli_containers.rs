//! What the OCI face prints about containers that are there, and what runc prints in its place.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::bundle::{Bundle, reference};

/// The same container made by stockade and, where it is there, by runc.
fn both(change: impl Fn(&mut Value)) -> Vec<Bundle> {
    let own = Bundle::new(&change).start();
    let control = reference().map(|runc| Bundle::of(runc, &change).start());
    std::iter::once(own).chain(control).collect()
}

fn wait_for(c: &Bundle, status: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while c.state()["status"] != status {
        assert!(Instant::now() < end, "not {status}: {}", c.state());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn keys(v: &Value) -> Vec<&str> {
    v.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn state_and_list_have_runcs_keys_and_values() {
    need_root!();
    let all = both(|config| config["annotations"] = json!({ "com.example.key": "value" }));
    let mut seen: Vec<Vec<String>> = Vec::new();
    for c in &all {
        let text = c.ok(&["state", "ID"]);
        let state: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(state["id"], c.id.as_str());
        assert_eq!(state["status"], "running");
        assert_eq!(state["bundle"], c.dir().to_str().unwrap());
        assert_eq!(state["rootfs"], c.rootfs().to_str().unwrap());
        assert_eq!(state["annotations"]["com.example.key"], "value");
        assert!(state["pid"].as_i64().unwrap() > 1);
        let created = state["created"].as_str().unwrap();
        assert!(
            created.starts_with("20") && created.ends_with('Z') && created.contains('T'),
            "{created}"
        );
        seen.push(keys(&state).into_iter().map(str::to_owned).collect());

        let list: Value = serde_json::from_str(&c.ok(&["list", "--format", "json"])).unwrap();
        assert_eq!(list.as_array().unwrap().len(), 1);
        assert_eq!(list[0]["id"], c.id.as_str());
        assert_eq!(list[0]["owner"], "root");
        assert_eq!(keys(&list[0]), keys(&state));
        assert_eq!(c.ok(&["list", "-q"]), format!("{}\n", c.id));
        let table = c.ok(&["list"]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 2, "{table}");
        let words: Vec<_> = lines[0].split_whitespace().collect();
        assert_eq!(words, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
        let words: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!((words[0], words[2], words[5]), (c.id.as_str(), "running", "root"));
    }
    assert!(seen.windows(2).all(|w| w[0] == w[1]), "{seen:?}");
    // In the order of runc, which some callers read line by line.
    let text = all[0].ok(&["state", "ID"]);
    let at = |key: &str| {
        text.find(&format!("\n  \"{key}\": ")).unwrap_or_else(|| panic!("{key}: {text}"))
    };
    let order = [
        "ociVersion",
        "id",
        "pid",
        "status",
        "bundle",
        "rootfs",
        "created",
        "annotations",
        "owner",
    ];
    assert!(order.windows(2).all(|w| at(w[0]) < at(w[1])), "{text}");
}

#[test]
fn a_stopped_container_has_no_pid_and_is_removed() {
    need_root!();
    for c in both(|_| {}) {
        c.ok(&["kill", "ID", "KILL"]);
        wait_for(&c, "stopped");
        assert_eq!(c.state()["pid"], 0);
        assert!(c.fails(&["kill", "ID", "0"]).contains("container not running"));
        c.ok(&["kill", "--all", "ID", "9"]);
        c.ok(&["delete", "ID"]);
        assert!(c.fails(&["state", "ID"]).contains("does not exist"));
        assert!(c.fails(&["delete", "ID"]).contains("does not exist"));
    }
}

#[test]
fn signals_by_every_name_and_number() {
    need_root!();
    let c = Bundle::new(|config| {
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "trap 'echo usr1' USR1; trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done"
        ]);
    })
    .start();
    let output = || std::fs::read_to_string(c.scratch.join("output")).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let wait = |n: usize, word: &str| {
        while output().matches(word).count() < n {
            assert!(Instant::now() < end, "{word}: {}", output());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait(1, "up");
    for (n, name) in ["USR1", "SIGUSR1", "sigusr1", "10"].iter().enumerate() {
        c.ok(&["kill", "ID", name]);
        wait(n + 1, "usr1");
    }
    c.ok(&["kill", "--all", "ID", "HUP"]);
    wait(1, "hup");
    c.ok(&["kill", "ID", "0"]);
}

/// As runc since 1.2: without a pid namespace the init's end ends nobody else.
#[test]
fn sigkill_ends_all_of_a_container_without_a_pid_namespace() {
    need_root!();
    let c = Bundle::new(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        config["process"]["args"] = json!(["sh", "-c", "sleep 1000 & wait"]);
    })
    .start();
    let pids = || -> Vec<i32> {
        let text = c.ok(&["ps", "-f", "json", "ID"]);
        serde_json::from_str::<Option<Vec<i32>>>(&text).unwrap().unwrap_or_default()
    };
    let end = Instant::now() + Duration::from_secs(20);
    while pids().len() < 2 {
        assert!(Instant::now() < end, "{:?}", pids());
    }
    c.ok(&["kill", "ID", "KILL"]);
    while !pids().is_empty() {
        assert!(Instant::now() < end, "{:?}", pids());
        std::thread::sleep(Duration::from_millis(10));
    }
    wait_for(&c, "stopped");
}

#[test]
fn delete_refuses_what_runs_unless_forced() {
    need_root!();
    for c in both(|_| {}) {
        let said = c.fails(&["delete", "ID"]);
        assert!(said.contains("that is not stopped: running"), "{said}");
        c.ok(&["delete", "--force", "ID"]);
        c.ok(&["delete", "-f", "ID"]);
        assert!(c.fails(&["state", "ID"]).contains("does not exist"));
    }
}

#[test]
fn ps_shows_the_containers_processes_and_no_others() {
    need_root!();
    for c in both(|_| {}) {
        let pid = c.pid();
        assert_eq!(c.ok(&["ps", "--format", "json", "ID"]), format!("[{pid}]\n"));
        let text = c.ok(&["ps", "ID"]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("UID") && lines[1].contains("sleep 1000"), "{text}");
        let text = c.ok(&["ps", "ID", "-e", "-o", "comm,pid"]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("sleep"), "{text}");
        assert!(!c.call(&["ps", "--format", "xml", "ID"]).status.success());
        assert!(!c.call(&["ps", "ID", "--no-such-option"]).status.success());
    }
    let c = Bundle::new(|_| {}).start();
    assert_eq!(c.ok(&["ps", "ID", "--format", "json"]), format!("[{}]\n", c.pid()));
}

#[test]
fn pause_and_resume_change_the_state() {
    need_root!();
    for c in both(|_| {}) {
        c.ok(&["pause", "ID"]);
        assert_eq!(c.state()["status"], "paused");
        c.ok(&["resume", "ID"]);
        assert_eq!(c.state()["status"], "running");
        assert!(c.fails(&["resume", "ID"]).contains("not paused"));
        c.ok(&["pause", "ID"]);
        // A frozen one can be removed.
        c.ok(&["delete", "--force", "ID"]);
    }
}

fn memory_limit(c: &Bundle) -> Option<u64> {
    let file = if support::pure_v2() {
        format!("/sys/fs/cgroup/{}/memory.max", c.id)
    } else {
        format!("/sys/fs/cgroup/memory/{}/memory.limit_in_bytes", c.id)
    };
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn pids_limit(c: &Bundle) -> String {
    let controller = if support::pure_v2() { "" } else { "pids/" };
    std::fs::read_to_string(format!("/sys/fs/cgroup/{controller}{}/pids.max", c.id))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn update_changes_limits_by_options_and_by_json() {
    need_root!();
    for c in both(|_| {}) {
        c.ok(&["update", "--memory", "64m", "--pids-limit", "20", "ID"]);
        let Some(limit) = memory_limit(&c) else { skip!("no memory controller on v1 here") };
        assert_eq!((limit, pids_limit(&c).as_str()), (64 << 20, "20"));
        let file = c.scratch.file("r.json", r#"{"memory":{"limit":33554432},"pids":{"limit":30}}"#);
        c.ok(&["update", "--resources", file.to_str().unwrap(), "ID"]);
        assert_eq!((memory_limit(&c).unwrap(), pids_limit(&c).as_str()), (32 << 20, "30"));
        let mut child =
            c.command(&["update", "--resources=-", "ID"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, br#"{"memory":{"limit":67108864}}"#).unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success());
        assert_eq!(memory_limit(&c).unwrap(), 64 << 20);
        for bad in [
            &["--memory", "1x"][..],
            &["--cpu-quota", "x"],
            &["-r", "/nonexistent"],
            &["--cpuset-cpus", "999"],
        ] {
            let args: Vec<&str> = ["update"].iter().chain(bad).chain(&["ID"]).copied().collect();
            assert!(!c.call(&args).status.success(), "{bad:?}");
        }
        assert_eq!(memory_limit(&c).unwrap(), 64 << 20);
    }
}

#[test]
fn events_stats_have_runcs_shape() {
    need_root!();
    let mut seen: Vec<Value> = Vec::new();
    for c in both(|_| {}) {
        let text = c.ok(&["events", "--stats", "ID"]);
        assert!(
            text.starts_with(&format!(
                "{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{\"cpu\":",
                c.id
            )),
            "{text}"
        );
        let v: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(v["data"]["pids"]["current"], 1);
        assert!(v["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{v}");
        seen.push(v);
        let said = c.fails(&["events", "--interval", "0", "ID"]);
        assert!(said.contains("interval"), "{said}");
    }
    if let [ours, theirs] = &seen[..] {
        for at in [
            "/data",
            "/data/cpu",
            "/data/cpu/usage",
            "/data/memory",
            "/data/memory/usage",
            "/data/pids",
            "/data/cpuset",
        ] {
            let have = keys(ours.pointer(at).unwrap());
            for key in keys(theirs.pointer(at).unwrap()) {
                // Depends on what has happened so far.
                let varies = ["cache", "failcnt", "limit"].contains(&key);
                assert!(varies || have.contains(&key), "{at}: {key} is missing: {ours}");
            }
        }
    }
}

#[test]
fn events_go_on_until_the_container_ends() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let mut child =
        c.command(&["events", "--interval", "20ms", "ID"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let v: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&v["type"], &v["id"]), (&json!("stats"), &json!(c.id)));
    }
    c.ok(&["delete", "--force", "ID"]);
    for line in lines {
        line.unwrap();
    }
    assert!(child.wait().unwrap().success());
}

#[test]
fn events_tell_of_running_out_of_memory() {
    need_root!();
    let c = Bundle::new(|config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20, "swap": 16 << 20 });
    })
    .start();
    if memory_limit(&c).is_none() {
        skip!("no memory controller on v1 here");
    }
    let mut child =
        c.command(&["events", "--interval", "1h", "ID"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The watch begins when it begins; who runs out of memory before it is not seen.
    let hog = std::thread::scope(|scope| {
        let hog = scope.spawn(|| {
            for _ in 0..50 {
                c.call(&["exec", "ID", "sh", "-c", "x=$(head -c 40m /dev/zero | tr '\\0' x)"]);
                if child.try_wait().is_ok_and(|done| done.is_some()) {
                    return;
                }
                if std::fs::exists(c.scratch.join("seen")).unwrap() {
                    return;
                }
            }
        });
        let line = lines.next().unwrap().unwrap();
        c.scratch.file("seen", "");
        assert_eq!(line, format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", c.id));
        hog.join()
    });
    hog.unwrap();
    c.ok(&["delete", "--force", "ID"]);
    child.wait().unwrap();
}

#[test]
fn run_exits_with_the_processs_status_and_leaves_nothing() {
    need_root!();
    for program in [Some(support::bin()), reference()].into_iter().flatten() {
        for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$; sleep 9", 0)] {
            let c = Bundle::of(program, |config| {
                config["process"]["args"] = json!(["sh", "-c", script]);
            });
            if script.starts_with("kill") {
                // PID 1 of a namespace cannot kill itself.
                continue;
            }
            let o = c.call(&["run", "ID"]);
            assert_eq!(o.status.code(), Some(code), "{program} {script}: {o:?}");
            assert!(c.fails(&["state", "ID"]).contains("does not exist"));
            let o = c.call(&["run", "--keep", "ID"]);
            assert_eq!(o.status.code(), Some(code), "{program} {script}: {o:?}");
            assert_eq!(c.state()["status"], "stopped");
        }
        let c = Bundle::of(program, |config| config["process"]["args"] = json!(["nope"]));
        let o = c.call(&["run", "ID"]);
        assert_eq!(o.status.code(), Some(1), "{program}: {o:?}");
        let said = String::from_utf8_lossy(&o.stderr).into_owned();
        assert!(said.contains("executable file not found in $PATH"), "{program}: {said}");
    }
}

/// containerd shows its user the last error of the log.
#[test]
fn a_failed_create_is_in_the_log_with_the_reason() {
    need_root!();
    for program in [Some(support::bin()), reference()].into_iter().flatten() {
        let c = Bundle::of(program, |config| config["process"]["args"] = json!(["nope"]));
        let log = c.scratch.join("log.json");
        let o = c.call(&["--log", log.to_str().unwrap(), "--log-format", "json", "create", "ID"]);
        assert_eq!(o.status.code(), Some(1), "{program}: {o:?}");
        let text = std::fs::read_to_string(&log).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["level"], "error");
        let msg = last["msg"].as_str().unwrap();
        assert!(msg.contains("create failed: "), "{program}: {msg}");
        assert!(msg.contains("executable file not found in $PATH"), "{program}: {msg}");
    }
}
