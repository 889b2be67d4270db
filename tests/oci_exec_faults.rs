//! H60 and H69 for `exec`: killed, or failed, at each of its system calls.

mod support;

use serde_json::json;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use support::bundle::Bundle;

/// Calls of the loader, of the allocator and of waiting: nothing of the work.
const QUIET: [&str; 12] = [
    "execve",
    "brk",
    "mmap",
    "munmap",
    "mprotect",
    "arch_prctl",
    "exit_group",
    "rt_sigaction",
    "sigaltstack",
    "poll",
    "getrandom",
    "prlimit64",
];

fn have_strace() -> bool {
    Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// `exec` under strace, with what that is to do: the calls in their order.
fn traced(c: &Bundle, options: &[&str], command: &[&str]) -> Vec<String> {
    let log = c.scratch.join("strace");
    let mut strace = Command::new("strace");
    strace.arg("-o").arg(&log).args(options).arg(&c.program).arg("--root");
    strace.arg(c.scratch.join("root")).args(["exec", "--detach", &c.id]).args(command);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    strace.status().unwrap();
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    text.lines()
        .filter_map(|l| l.split_once('(').map(|(name, _)| name.to_owned()))
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect()
}

/// Calls by name and number, without the quiet ones.
fn places(calls: &[String]) -> Vec<(String, usize)> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let mut places = Vec::new();
    for name in calls {
        let n = count.entry(name).or_default();
        *n += 1;
        if !QUIET.contains(&name.as_str()) {
            places.push((name.clone(), *n));
        }
    }
    places
}

/// H60: what is left of a killed `exec` goes with the container, and the container is as it was.
#[test]
fn h60_exec_is_killed_at_each_call() {
    need_root!();
    if !have_strace() {
        skip!("strace is not installed");
    }
    let c = Bundle::new(|_| {}).start();
    let calls = traced(&c, &[], &["sleep", "1000"]);
    assert!(calls.len() > 20, "{calls:?}");
    for (name, n) in places(&calls) {
        traced(&c, &["-e", &format!("inject={name}:signal=KILL:when={n}")], &["sleep", "1000"]);
        assert_eq!(c.state()["status"], "running", "killed at {name} #{n}");
        assert_eq!(c.exec(&["echo", "on"]), "on\n", "killed at {name} #{n}");
    }
    let pids: Vec<i32> = serde_json::from_str(&c.ok(&["ps", "-f", "json", "ID"])).unwrap();
    c.ok(&["delete", "--force", "ID"]);
    for pid in pids {
        let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!cmdline.starts_with(b"sleep"), "{pid} has survived");
    }
}

/// H69: a process that starts although a call of its set-up failed has every layer all the same.
#[test]
fn h69_a_failed_call_starts_no_process_without_its_rights_taken() {
    need_root!();
    if !have_strace() {
        skip!("strace is not installed");
    }
    let c = Bundle::new(|config| {
        config["process"]["user"] = json!({ "uid": 7, "gid": 8, "additionalGids": [9] });
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }],
        });
    });
    // Its user may write there.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(c.rootfs(), mode).unwrap();
    let c = c.start();
    let seen = c.rootfs().join("seen");
    // All of it or nothing: a write that fails may be the command's own.
    let script = "cat /proc/self/status /proc/self/cgroup >/new && busybox mv /new /seen";
    let command = ["sh", "-c", script];
    let wait = || {
        // Detached: it is done when its process is gone.
        for _ in 0..400 {
            if c.ok(&["ps", "-f", "json", "ID"]).matches(',').count() == 0 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    let layers = |text: &str| -> Vec<String> {
        let keys = [
            "Uid",
            "Gid",
            "Groups",
            "CapInh",
            "CapPrm",
            "CapEff",
            "CapBnd",
            "CapAmb",
            "NoNewPrivs",
            "Seccomp",
        ];
        let cgroup =
            text.lines().filter(|l| l.contains(":/") && !l.starts_with(char::is_alphabetic));
        let status = text.lines().filter(|l| keys.contains(&l.split(':').next().unwrap()));
        status.chain(cgroup).map(str::to_owned).collect()
    };
    traced(&c, &["-f"], &command);
    wait();
    let whole = layers(&std::fs::read_to_string(&seen).unwrap());
    assert!(whole.iter().any(|l| l.starts_with("Seccomp:\t2")), "{whole:?}");
    let mut started = 0;
    for name in [
        "setns",
        "setgroups",
        "setgid",
        "setuid",
        "setresuid",
        "setresgid",
        "capset",
        "prctl",
        "seccomp",
        "write",
        "prlimit64",
        "setrlimit",
        "close_range",
        "fchdir",
        "chdir",
        "setsid",
        "umask",
        "clone3",
        "dup3",
        "openat",
        "openat2",
        "fcntl",
        "sendmsg",
    ] {
        for when in ["1", "2", "3", "4", "5"] {
            let _ = std::fs::remove_file(&seen);
            let inject = format!("inject={name}:error=ENOMEM:when={when}");
            traced(&c, &["-f", "-e", &inject], &command);
            wait();
            let Ok(text) = std::fs::read_to_string(&seen) else { continue };
            started += 1;
            assert_eq!(layers(&text), whole, "{name} #{when} failed");
        }
    }
    // Some of the calls are the command's own.
    assert!(started > 0);
}
