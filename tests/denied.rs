//! Denied system calls: named, counted, answered as the profile says, and bounded.

mod support;

use serde_json::{Value, json};
use support::live::Live;
use support::{Scratch, jail, jail_with, python, sh};

/// Python that makes raw system calls.
const RAW: &str = "
import ctypes, os, sys
_libc = ctypes.CDLL(None, use_errno=True)
def call(nr, *args):
    ctypes.set_errno(0)
    r = _libc.syscall(nr, *[ctypes.c_long(a) for a in args])
    return ctypes.get_errno() if r == -1 else 0
BPF, IO_URING_SETUP, PERSONALITY, GETPPID, CLONE3 = 321, 425, 135, 110, 435
";

fn raw(options: &[&str], code: &str) -> support::Run {
    python(options, &format!("{RAW}{code}"))
}

fn profile(scratch: &Scratch, json: &Value) -> String {
    let path = scratch.file("profile.json", &json.to_string());
    format!("seccomp={}", path.display())
}

/// Allows everything but these.
fn all_but(rules: &Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
}

fn denied(run: &support::Run) -> Vec<(String, u64, String)> {
    let list = run.outcome["denied_syscalls"].as_array().expect("a list");
    list.iter()
        .map(|d| {
            let text = |k: &str| d[k].as_str().unwrap().to_owned();
            (text("name"), d["count"].as_u64().unwrap(), text("action"))
        })
        .collect()
}

fn errno(name: &str, count: u64) -> (String, u64, String) {
    (name.to_owned(), count, "errno".to_owned())
}

#[test]
fn a_job_that_fails_is_told_which_call_was_denied_and_how_often() {
    let run = raw(
        &[],
        "print([call(IO_URING_SETUP, 1, 0) for _ in range(3)], call(GETPPID))\nsys.exit(3)",
    )
    .exits(3)
    .says("[1, 1, 1] 0")
    .has("reason", "it exited with 3; seccomp denied io_uring_setup 3 times");
    assert_eq!(denied(&run), [errno("io_uring_setup", 3)]);
    assert_eq!(run.outcome["denied_syscalls"][0]["arch"], std::env::consts::ARCH);
}

#[test]
fn a_job_that_succeeds_is_told_as_well_but_nothing_is_blamed() {
    let run = raw(&[], "call(BPF, 0, 0, 0)").exits(0).has("reason", "it exited with 0");
    assert_eq!(denied(&run), [errno("bpf", 1)]);
    let run = sh(&[], "true").exits(0);
    assert_eq!(denied(&run), []);
}

#[test]
fn each_call_gets_the_errno_of_its_own_rule() {
    let scratch = Scratch::new();
    let rules = json!([
        {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22,
         "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]},
        {"names": ["sysinfo"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0},
    ]);
    let option = profile(&scratch, &all_but(&rules));
    let run = raw(
        &["--security-opt", &option],
        "print(call(GETPPID), call(BPF, 0, 0, 0), call(PERSONALITY, 7), call(PERSONALITY, 0xffffffff), call(99, 0))",
    )
    .exits(0)
    .says("13 38 22 0 0");
    let mut got = denied(&run);
    got.sort();
    assert_eq!(got, [errno("bpf", 1), errno("getppid", 1), errno("personality", 1)]);
}

#[test]
fn calls_of_a_child_and_of_threads_are_counted_too() {
    let run = raw(
        &[],
        "
import subprocess, threading
ts = [threading.Thread(target=lambda: [call(BPF, 0, 0, 0) for _ in range(50)]) for _ in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]
subprocess.run(['/usr/bin/python3', '-c', 'import ctypes; ctypes.CDLL(None).syscall(321, 0, 0, 0)'])
",
    )
    .exits(0);
    assert_eq!(denied(&run), [errno("bpf", 201)]);
}

#[test]
fn without_tracing_the_same_is_denied_and_nobody_listens() {
    let run = raw(&["--no-trace-denied"], "print(call(BPF, 0, 0, 0)); sys.exit(1)")
        .exits(1)
        .says("1")
        .has("reason", "it exited with 1");
    assert_eq!(run.outcome["denied_syscalls"], Value::Null);
    let run = raw(&["--security-opt", "seccomp=unconfined"], "pass").exits(0);
    assert_eq!(denied(&run), []);
}

#[test]
fn without_an_init_it_is_the_same() {
    let run = raw(&["--no-init"], "call(BPF, 0, 0, 0)").exits(0);
    assert_eq!(denied(&run), [errno("bpf", 1)]);
}

#[test]
fn a_profile_that_denies_what_the_hand_over_needs_still_tells_and_still_denies_it() {
    let scratch = Scratch::new();
    let rules = json!([
        {"names": ["sendmsg", "seccomp", "bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
    ]);
    let option = profile(&scratch, &all_but(&rules));
    let run = raw(
        &["--security-opt", &option],
        "print(call(46, 1, 0, 0), call(317, 0, 0, 0), call(BPF, 0, 0, 0))",
    )
    .exits(0)
    .says("13 13 13");
    // The two are denied by a filter that has no listener.
    assert_eq!(denied(&run), [errno("bpf", 1)]);
}

#[test]
fn a_profile_that_denies_execve_says_so() {
    let scratch = Scratch::new();
    let rules = json!([{"names": ["execve"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]);
    let option = profile(&scratch, &all_but(&rules));
    jail(["--security-opt", &option, "--", "/bin/true"])
        .exits(126)
        .complains("the seccomp filter")
        .complains("denies execve");
}

#[test]
fn a_profile_that_denies_the_hand_over_by_its_arguments_is_no_trap() {
    let scratch = Scratch::new();
    let mut rules = Vec::new();
    for name in ["sendmsg", "seccomp"] {
        for value in [0x4000, 1, 3, 8] {
            rules.push(json!({"names": [name], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": if name == "sendmsg" { 2 } else { 0 }, "value": value,
                          "op": "SCMP_CMP_EQ"}]}));
        }
    }
    let option = profile(&scratch, &all_but(&json!(rules)));
    let run = raw(&["--security-opt", &option], "print(call(46, -1, 0, 0x4000))").exits(0);
    assert_eq!(run.stdout, "1\n");
}

#[test]
fn a_call_that_kills_does_so_whatever_signals_arrive() {
    // A listener that was asked first would let the caller live on when a signal handler takes
    // the call back from it.
    let scratch = Scratch::new();
    let rules = json!([{"names": ["getppid"], "action": "SCMP_ACT_KILL_PROCESS"}]);
    let option = profile(&scratch, &all_but(&rules));
    raw(
        &["--security-opt", &option],
        "
import signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, True)
signal.setitimer(signal.ITIMER_REAL, 0.00002, 0.00002)
for n in range(50):
    if os.fork() == 0:
        signal.setitimer(signal.ITIMER_REAL, 0.00002, 0.00002)
        call(GETPPID)
        print('SURVIVED', flush=True)
        os._exit(0)
signal.setitimer(signal.ITIMER_REAL, 0)
ends = [os.wait()[1] & 127 for _ in range(50)]
print(set(ends))
",
    )
    .exits(0)
    .says("{31}");
}

#[test]
fn a_flood_of_denied_calls_keeps_its_errno_and_does_not_stop_the_clock() {
    let run = raw(
        &["--timeout", "2s", "--pids-limit", "20"],
        "
import threading
wrong = []
def flood():
    while True:
        if call(BPF, 0, 0, 0) != 1: wrong.append(1); print('WRONG', flush=True)
for _ in range(8): threading.Thread(target=flood).start()
",
    )
    .exits(124)
    .has("status", "timeout");
    assert!(!run.stdout.contains("WRONG"), "{}", run.stdout);
    assert!(denied(&run)[0].1 > 100);
    // In time: what floods is the job's own affair. A limit of 2 s may be late on a busy machine.
    assert!(run.outcome["wall_ms"].as_f64().unwrap() < 10_000.0, "{run:#?}");
}

#[test]
fn a_flood_of_denied_calls_does_not_grow_the_supervisor() {
    let code = "print('begun', flush=True)\nfor n in range(40000): call(1000 + n % 5000, n)\nprint('done', flush=True)\nsys.stdin.read()";
    let piped = |command: &mut std::process::Command| {
        command.stdin(std::process::Stdio::piped());
    };
    let mut live =
        Live::start_with(&[], &["/usr/bin/python3", "-c", &format!("{RAW}{code}")], piped);
    live.until("begun");
    let before = live.peak_rss_kib();
    live.until("done");
    let after = live.peak_rss_kib();
    assert!(after < before + 512, "{before} KiB before, {after} after");
    drop(live.stdin());
    live.end().exits(0);
}

#[test]
fn a_job_that_tries_every_number_is_summed_up() {
    if support::is_filtered() {
        skip_on_this_kind_of_host!(
            "a filter on the test itself answers for calls that no kernel has"
        );
    }
    let run = raw(&[], "for n in range(1000, 3000): assert call(n, 0) in (1, 38), n").exits(0);
    let list = denied(&run);
    assert!(list.len() <= 65, "{}", list.len());
    let scratch = Scratch::new();
    let names: Vec<String> = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/profiles/seccomp-default.json"
    ))
    .map(|text| {
        let v: Value = serde_json::from_str(&text).unwrap();
        v["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|s| s["action"] == "SCMP_ACT_ALLOW")
            .flat_map(|s| s["names"].as_array().unwrap().clone())
            .map(|n| n.as_str().unwrap().to_owned())
            .collect()
    })
    .unwrap();
    let allow = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
    let option = profile(&scratch, &allow);
    let run =
        raw(&["--security-opt", &option], "for n in range(1000, 3000): assert call(n, 0) == 38, n")
            .exits(0);
    let list = denied(&run);
    assert_eq!(list.len(), 65);
    assert_eq!(list.iter().map(|d| d.1).sum::<u64>(), 2000);
    assert_eq!(list[64].0, "others");
}

#[test]
fn where_somebody_listens_already_the_filter_is_as_strict_and_nothing_is_told() {
    // As in a container whose engine listens: a process has one listener at most.
    let code = format!(
        "{RAW}
import struct, fcntl
program = struct.pack('HBBI', 6, 0, 0, 0x7fff0000)
buf = ctypes.create_string_buffer(program, 8)
fprog = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 1, ctypes.addressof(buf)), 16)
_libc.prctl(38, 1, 0, 0, 0)
fd = _libc.syscall(317, ctypes.c_long(1), ctypes.c_long(8), fprog)
assert fd >= 0, ctypes.get_errno()
fcntl.fcntl(fd, fcntl.F_SETFD, 0)
os.execv(sys.argv[1], [sys.argv[1], 'jail', '--json', '--'] + sys.argv[2:])
"
    );
    if std::env::consts::ARCH != "x86_64" {
        skip!("it makes raw system calls of x86_64");
    }
    let output = std::process::Command::new("/usr/bin/python3")
        .args(["-c", &code, support::bin(), "/usr/bin/python3", "-c"])
        .arg(format!("{RAW}print('errno', call(BPF, 0, 0, 0))"))
        .output()
        .unwrap();
    let outcome: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(outcome["stdout"]["data"], "errno 1\n");
    assert_eq!(outcome["denied_syscalls"], Value::Null);
}

#[test]
fn an_ordinary_user_is_told_too() {
    if !support::is_root() {
        return;
    }
    use std::os::unix::process::CommandExt;
    let scratch = Scratch::new();
    std::process::Command::new("chmod").args(["0777"]).arg(scratch.path()).status().unwrap();
    let copy = scratch.join("stockade");
    std::fs::copy(support::bin(), &copy).unwrap();
    let out = scratch.join("result.json");
    let status = std::process::Command::new(&copy)
        .args(["jail", "--allow-degraded", "--result"])
        .arg(&out)
        .args(["--", "/usr/bin/python3", "-c", &format!("{RAW}print(call(BPF, 0, 0, 0))")])
        .uid(12345)
        .gid(12345)
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout), "1\n", "{status:?}");
    let outcome: Value = serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap();
    assert_eq!(outcome["denied_syscalls"][0]["name"], "bpf");
}

#[test]
fn a_limit_of_descriptors_that_has_no_room_for_a_listener_does_not_stop_the_job() {
    let run = jail_with(["--ulimit", "nofile=4:4", "--", "/bin/true"], |_| {}).exits(0);
    assert_eq!(denied(&run), []);
}
