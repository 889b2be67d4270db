//! The outcome: its fields, its figures, and the exit status that goes with it.

mod support;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use support::{Run, Scratch, bin, jail, jail_with, python, sh};

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Every field that issue 2 documents, no other, and of the right type.
#[track_caller]
fn check_shape(outcome: &Value, captured: bool) {
    let fields = [
        "schema",
        "id",
        "labels",
        "status",
        "exit_code",
        "signal",
        "reason",
        "wall_ms",
        "cpu_user_ms",
        "cpu_sys_ms",
        "memory_peak_bytes",
        "oom_kills",
        "pids_peak",
        "limits_hit",
        "denied_syscalls",
        "stdout",
        "stderr",
        "isolation",
        "timings_ms",
    ];
    assert_eq!(names(outcome), BTreeSet::from(fields), "{outcome:#}");
    assert_eq!(outcome["schema"], 1);
    let is = |name: &str, right: bool| assert!(right, "{name} in {outcome:#}");
    let null_or = |name: &str, right: fn(&Value) -> bool| {
        let v = &outcome[name];
        is(name, v.is_null() || right(v));
    };
    for name in ["id", "status", "reason"] {
        is(name, outcome[name].is_string());
    }
    is("labels", outcome["labels"].is_object());
    is("wall_ms", outcome["wall_ms"].as_f64().is_some_and(|ms| ms >= 0.0));
    for name in ["exit_code", "signal"] {
        null_or(name, Value::is_i64);
    }
    for name in ["cpu_user_ms", "cpu_sys_ms"] {
        null_or(name, |v| v.as_f64().is_some_and(|ms| ms >= 0.0));
    }
    for name in ["memory_peak_bytes", "oom_kills", "pids_peak"] {
        null_or(name, Value::is_u64);
    }
    let limits = ["memory", "pids", "disk", "output", "wall", "cpu"];
    let hit = outcome["limits_hit"].as_array().unwrap();
    is("limits_hit", hit.iter().all(|l| limits.iter().any(|known| l == known)));
    let stream: &[&str] = if captured {
        &["bytes", "truncated", "data", "encoding"]
    } else {
        &["bytes", "truncated"]
    };
    for name in ["stdout", "stderr"] {
        assert_eq!(names(&outcome[name]), stream.iter().copied().collect(), "{outcome:#}");
        is(name, outcome[name]["bytes"].is_u64() && outcome[name]["truncated"].is_boolean());
    }
    let timings = &outcome["timings_ms"];
    assert_eq!(names(timings), BTreeSet::from(["setup", "run", "teardown"]));
    is("timings_ms", timings.as_object().unwrap().values().all(|v| v.as_f64().is_some()));
}

// --- shape -----------------------------------------------------------------------------------

#[test]
fn every_documented_field_is_there_however_it_ended() {
    let cases: &[(&[&str], &str, &str, bool)] = &[
        (&[], "true", "exited", false),
        (&["--json"], "echo hi", "exited", true),
        (&[], "kill -SEGV $$", "signaled", false),
        (&["--timeout", "200ms"], "sleep 100", "timeout", false),
        (&["--cpu-time", "100ms"], "while :; do :; done", "cpu_time", false),
        (&["-m", "32m"], "exec head -c 100m /dev/zero >/tmp/x", "oom_killed", false),
        (&["--output-limit", "10"], "yes", "output_limit", false),
        (&["-w", "/nope"], "true", "setup_failed", false),
        (&["-m", "much"], "true", "setup_failed", false),
    ];
    for (options, script, status, captured) in cases {
        let run = sh(options, script).has("status", *status);
        check_shape(&run.outcome, *captured);
    }
}

/// T41: a label, what the job wrote and a profile's name are in the result, and it can be shown.
#[test]
fn t41_a_result_shows_nothing_that_a_terminal_obeys() {
    let bad = "a\n\x1b]0;x\x07\x7f\u{9b}2J\u{202e}\u{2028}\u{feff}";
    let scratch = Scratch::new();
    let profile = "p\x7f\u{9b}\u{202e}.json".to_owned();
    scratch.file(&profile, include_str!("../profiles/seccomp-default.json"));
    let security = format!("seccomp={}", scratch.join(&profile).display());
    let result = scratch.join("result");
    let output = Command::new(bin())
        .args(["jail", "--json", "--result"])
        .arg(&result)
        .args(["-l", &format!("k={bad}"), "--security-opt", &security])
        .args(["--", "printf", "%s", bad])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    for text in
        [String::from_utf8(output.stdout).unwrap(), std::fs::read_to_string(&result).unwrap()]
    {
        let hostile =
            |c: &char| c.is_control() && *c != '\n' || "\u{202e}\u{2028}\u{feff}".contains(*c);
        assert_eq!(text.chars().find(hostile), None, "{text:?}");
        assert_eq!(text.matches('\n').count(), 1);
        let outcome: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(outcome["labels"]["k"], bad);
        assert_eq!(outcome["stdout"]["data"], bad);
        let seccomp = outcome["isolation"]["seccomp"].as_str().unwrap();
        assert!(seccomp.ends_with(&profile), "{seccomp:?}");
    }
}

#[test]
fn the_isolation_that_was_in_force_is_told() {
    let run = sh(&["--cap-add", "NET_BIND_SERVICE", "-m", "64m", "--cpus", "0.5"], "true").exits(0);
    let told = &run.outcome["isolation"];
    let fields = [
        "namespaces",
        "uid_map",
        "gid_map",
        "rootfs",
        "read_only_root",
        "network",
        "cgroup",
        "limits",
        "seccomp",
        "landlock",
        "no_new_privs",
        "capabilities",
        "degraded",
    ];
    assert_eq!(names(told), BTreeSet::from(fields), "{told:#}");
    let namespaces: BTreeSet<_> =
        told["namespaces"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(namespaces, BTreeSet::from(["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]));
    assert_eq!(told["rootfs"], "host-view");
    assert_eq!(told["read_only_root"], true);
    assert_eq!(told["network"], "none");
    assert_eq!(told["seccomp"], "default");
    assert_eq!(told["no_new_privs"], true);
    assert_eq!(told["capabilities"], json!(["CAP_NET_BIND_SERVICE"]));
    assert_eq!(told["degraded"], json!([]));
    assert!(told["cgroup"] == "v1" || told["cgroup"] == "v2", "{told:#}");
    let limits = &told["limits"];
    assert_eq!(limits["memory"], 64 << 20);
    assert_eq!(limits["memory_swap"], 64 << 20);
    assert_eq!(limits["cpu_quota_us_per_100ms"], 50_000);
    assert_eq!(limits["pids"], 64);
    assert_eq!(limits["disk"], 1 << 30);
    assert_eq!(limits["output"], 10 << 20);
    assert_eq!(limits["timeout_ms"], 30 * 60 * 1000);
}

#[test]
fn isolation_that_was_given_up_is_told() {
    let rootfs = support::busybox_rootfs();
    let dir = rootfs.path().to_str().unwrap();
    let options = [
        "--rootfs",
        dir,
        "--writable",
        "--network",
        "host",
        "--time-ns",
        "-w",
        "/",
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "no-new-privileges:false",
    ];
    let run = sh(&options, "true").exits(0);
    let told = &run.outcome["isolation"];
    assert_eq!(told["rootfs"], dir);
    assert_eq!(told["read_only_root"], false);
    assert_eq!(told["network"], "host");
    assert_eq!(told["no_new_privs"], false);
    let namespaces = told["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!("time")) && !namespaces.contains(&json!("net")), "{told:#}");
    // A writable rootfs keeps the filter against set-user-ID files, and says so.
    assert_ne!(told["seccomp"], "default");
}

#[test]
fn ids_and_labels_are_repeated() {
    let id = support::live::fresh_id();
    let options = ["--id", &id, "--label", "a=1", "-l", "b.c/d=x=y", "--label", "empty"];
    let run = sh(&options, "true").exits(0).has("id", id.as_str());
    assert_eq!(run.outcome["labels"], json!({"a": "1", "b.c/d": "x=y", "empty": ""}));
    // Also when it fails.
    let run = sh(&[&options[..], &["-w", "/nope"]].concat(), "true").exits(125);
    let run = run.has("id", id.as_str()).has("status", "setup_failed");
    assert_eq!(run.outcome["labels"]["a"], "1");
}

#[test]
fn ids_that_are_made_up_differ() {
    let ids: BTreeSet<String> =
        (0..5).map(|_| sh(&[], "true").outcome["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 5);
    assert!(ids.iter().all(|id| !id.is_empty()));
}

// --- exit status -----------------------------------------------------------------------------

#[track_caller]
fn ends(run: Run, code: i32, status: &str, exit_code: Value, signal: Value) -> Run {
    run.exits(code).has("status", status).has("exit_code", exit_code).has("signal", signal)
}

#[test]
fn the_exit_status_is_the_jobs_own() {
    for code in [0, 1, 7, 124, 125, 126, 127, 130, 255] {
        let run = sh(&[], &format!("exit {code}"));
        let run = ends(run, code, "exited", json!(code), Value::Null);
        assert_eq!(run.outcome["reason"], format!("it exited with {code}"));
        assert_eq!(run.outcome["limits_hit"], json!([]));
    }
}

#[test]
fn the_exit_status_of_a_signal_is_128_and_its_number() {
    let cases = [("TERM", 15), ("SEGV", 11), ("ABRT", 6), ("KILL", 9), ("USR1", 10), ("HUP", 1)];
    for (name, number) in cases {
        let run = sh(&[], &format!("kill -{name} $$"));
        let run = ends(run, 128 + number, "signaled", Value::Null, json!(number));
        assert_eq!(run.outcome["reason"], format!("signal {number} (SIG{name}) ended it"));
    }
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_that_cannot_run_126() {
    let scratch = Scratch::new();
    let text = scratch.file("text", "no program");
    let volume = format!("{}:/text", text.display());
    let missing = ["nosuchcommand", "/no/such/command", "./nosuch"];
    for command in missing {
        let run = jail(["--", command]);
        ends(run, 127, "setup_failed", json!(127), Value::Null);
    }
    for command in ["/etc", "/text", "/usr"] {
        let run = jail(["-v", &volume, "--", command]);
        ends(run, 126, "setup_failed", json!(126), Value::Null);
    }
}

#[test]
fn failures_of_stockade_are_125_and_the_reason_is_the_message() {
    for options in [&["-w", "/nope"][..], &["--rootfs", "/nope"], &["-m", "1k"], &["-u", "nobodyx"]]
    {
        let run = ends(sh(options, "echo ran"), 125, "setup_failed", json!(125), Value::Null);
        assert_eq!(run.stdout, "");
        let reason = run.outcome["reason"].as_str().unwrap();
        let (message, hint) = run.stderr.trim_end().split_once("\nhint: ").unwrap();
        assert_eq!(reason, format!("{}; {hint}", message.strip_prefix("stockade: ").unwrap()));
        for figure in ["cpu_user_ms", "memory_peak_bytes", "oom_kills", "pids_peak"] {
            assert!(run.outcome[figure].is_null(), "{run:#?}");
        }
    }
}

// --- where it goes ---------------------------------------------------------------------------

#[test]
fn the_result_goes_to_a_descriptor_of_the_caller() {
    let script =
        format!("exec {} jail --result 7 -- sh -c 'echo out; exit 3' 7>&1 >/dev/null", bin());
    let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["exit_code"], 3);
    assert!(output.stdout.ends_with(b"}\n"));
}

#[test]
fn h01_the_descriptor_of_the_result_is_not_the_jobs() {
    let script =
        format!("exec {} jail --result 7 -- sh -c 'ls /proc/self/fd; echo >&7' 7>&1", bin());
    let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // ls itself has the directory open as 3.
    assert!(text.starts_with("0\n1\n2\n3\n{"), "{text}");
}

#[test]
fn a_descriptor_that_is_not_open_is_refused_before_the_job_runs() {
    let run = jail(["--result", "77", "--", "sh", "-c", "echo ran"]).exits(125);
    assert_eq!(run.stdout, "");
    run.complains("descriptor 77").complains("hint: ");
}

#[test]
fn a_result_that_cannot_be_written_is_refused_before_the_job_runs() {
    let run = jail(["--result", "/no/such/dir/x", "--", "sh", "-c", "echo ran"]).exits(125);
    assert_eq!(run.stdout, "");
    assert_eq!(run.stderr.matches("/no/such/dir/x").count(), 1, "{run:#?}");
}

#[test]
fn a_result_file_is_replaced() {
    let scratch = Scratch::new();
    let file = scratch.file("result", &"x".repeat(100_000));
    jail(["--result", file.to_str().unwrap(), "--", "true"]);
    let text = std::fs::read_to_string(file).unwrap();
    let outcome: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(outcome["status"], "exited");
}

#[test]
fn json_has_the_outcome_on_stdout_and_nothing_else() {
    let run = sh(&["--json"], "echo out; echo err >&2; exit 3").exits(3);
    assert_eq!(run.stderr, "");
    assert_eq!(run.stdout.lines().count(), 1);
    let outcome: Value = serde_json::from_str(&run.stdout).unwrap();
    check_shape(&outcome, true);
    assert_eq!(
        outcome["stdout"],
        json!({"bytes": 4, "truncated": false, "data": "out\n", "encoding": "utf-8"})
    );
    assert_eq!(outcome["stderr"]["data"], "err\n");
    // The failure of a set-up too.
    let run = sh(&["--json", "-w", "/nope"], "true").exits(125);
    let outcome: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(outcome["status"], "setup_failed");
    assert!(run.stderr.starts_with("stockade: "));
}

#[test]
fn a_job_cannot_forge_the_outcome() {
    let fake = r#"{"schema":1,"status":"exited","exit_code":0}"#;
    let run = jail_with(["--json", "--", "sh", "-c", "echo \"$0\"; exit 9", fake], |_| {}).exits(9);
    assert_eq!(run.stdout.lines().count(), 1);
    let outcome: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(outcome["exit_code"], 9);
    assert_eq!(outcome["stdout"]["data"], format!("{fake}\n"));
}

// --- figures ---------------------------------------------------------------------------------

fn number(run: &Run, field: &str) -> f64 {
    run.outcome[field].as_f64().unwrap_or_else(|| panic!("{field} in {run:#?}"))
}

#[test]
fn cpu_time_is_that_of_a_busy_loop() {
    let code = "
import time
while time.process_time() < 0.5:
    for _ in range(100000): pass
";
    let run = python(&[], code).exits(0);
    let user = number(&run, "cpu_user_ms");
    let all = user + number(&run, "cpu_sys_ms");
    assert!((400.0..3_000.0).contains(&all), "{run:#?}");
    assert!(user > 200.0, "{run:#?}");
    assert!(number(&run, "wall_ms") >= 450.0, "{run:#?}");
    // The control: sleeping is none.
    let run = sh(&[], "sleep 0.5").exits(0);
    assert!(number(&run, "cpu_user_ms") + number(&run, "cpu_sys_ms") < 300.0, "{run:#?}");
}

#[test]
fn cpu_time_counts_processes_that_nobody_waited_for() {
    let script = "(/usr/bin/python3 -c '
import time
while time.process_time() < 0.4: pass
open(\"/tmp/done\", \"w\")' &)
while [ ! -e /tmp/done ]; do sleep 0.05; done";
    let run = sh(&[], script).exits(0);
    let all = number(&run, "cpu_user_ms") + number(&run, "cpu_sys_ms");
    assert!(all > 200.0, "{run:#?}");
}

#[test]
fn the_peak_of_processes_counts_five_sleepers() {
    let run = sh(&[], "for i in 1 2 3 4 5; do sleep 0.3 & done; wait").exits(0);
    match run.outcome["pids_peak"].as_u64() {
        // Five, the shell and the init.
        Some(peak) => assert_eq!(peak, 7, "{run:#?}"),
        None => skip!("this kernel has no pids.peak"),
    }
}

#[test]
fn the_peak_of_memory_has_an_allocation_of_50_mb() {
    let run = python(&[], "x = bytearray(50 << 20)").exits(0);
    match run.outcome["memory_peak_bytes"].as_u64() {
        Some(peak) => assert!((50 << 20..100 << 20).contains(&peak), "{run:#?}"),
        None => skip!("this kernel has no memory.peak"),
    }
    let small = sh(&[], "true").exits(0);
    assert!(number(&small, "memory_peak_bytes") < 20e6, "{small:#?}");
}

#[test]
fn the_time_is_that_of_the_job_and_of_what_is_around_it() {
    let run = sh(&[], "sleep 0.5").exits(0);
    let wall = number(&run, "wall_ms");
    assert!((490.0..10_000.0).contains(&wall), "{run:#?}");
    let part = |name: &str| run.outcome["timings_ms"][name].as_f64().unwrap();
    assert!((part("run") - wall).abs() < 1.0, "{run:#?}");
    assert!(part("setup") > 0.0 && part("setup") < 10_000.0, "{run:#?}");
    assert!(part("teardown") > 0.0 && part("teardown") < 10_000.0, "{run:#?}");
}

#[test]
fn wall_time_is_the_jobs_whatever_the_supervisor_is_at() {
    // By its own measure, which begins after the C library has. The kernel says when the command was
    // executed; the supervisor, which hears of it, may hear of it late.
    let code = "
import time
begun = time.monotonic()
while time.monotonic() - begun < 0.05: pass
";
    for options in [&[][..], &["--no-init"], &["--no-init", "--no-trace-denied"]] {
        for _ in 0..5 {
            let run = python(options, code).exits(0);
            let wall = run.outcome["wall_ms"].as_f64().unwrap();
            assert!(wall >= 50.0, "{wall} ms\n{run:#?}");
        }
    }
}

#[test]
fn a_result_in_a_directory_of_the_jobs_is_stockades_whole_and_alone() {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    std::fs::create_dir(&out).unwrap();
    let (file, decoy) = (out.join("r.json"), scratch.file("decoy", "untouched"));
    let run = |script: &str| {
        let bind = format!("{}:/o", out.display());
        let code = Command::new(bin())
            .args(["jail", "--no-idmap", "-u", "0", "--userns", "host", "-v", &bind, "--result"])
            .arg(&file)
            .args(["--", "sh", "-c", script])
            .status()
            .unwrap();
        assert_eq!(code.code(), Some(0), "{script}");
    };
    let linked = format!("rm -f /o/r.json; ln -s {} /o/r.json", decoy.display());
    for script in
        ["head -c 5000 /dev/zero | tr '\\0' z > /o/r.json", &linked, "mkfifo /o/r.json", "true"]
    {
        let _ = std::fs::remove_file(&file);
        run(script);
        let text = std::fs::read_to_string(&file).unwrap();
        let outcome: serde_json::Value = serde_json::from_str(&text).expect("nothing but JSON");
        assert_eq!(outcome["status"], "exited", "{script}");
        assert!(std::fs::symlink_metadata(&file).unwrap().is_file(), "{script}");
        // And nothing else is left there.
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "{script}");
    }
    assert_eq!(std::fs::read_to_string(&decoy).unwrap(), "untouched");
    // Nor through what an earlier job has left.
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(scratch.join("made"), &file).unwrap();
    let refused = jail(["--json", "--result", file.to_str().unwrap(), "--", "true"]);
    assert!(refused.code == 125 || !scratch.join("made").exists());
    assert!(!scratch.join("made").exists());
    // A pipe and a device are written to.
    let piped = format!("{} jail --result /dev/stdout -- true | grep -c '\"status\"'", bin());
    let out = Command::new("sh").args(["-c", &piped]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "1\n");
    jail(["--result", "/dev/null", "--", "true"]).exits(0);
}

#[test]
fn a_limit_on_cpu_time_is_named_only_if_there_is_one() {
    sh(&[], "kill -XCPU $$").exits(152).has("status", "signaled").has("signal", 24);
    sh(&[], "kill -KILL $$").exits(137).has("status", "signaled").has("signal", 9);
    let spin = ["--", "/usr/bin/perl", "-e", "$SIG{XCPU} = 'IGNORE'; 1 while 1"];
    for limit in ["cpu=1", "cpu=1:2"] {
        let run = jail([&["--ulimit", limit], &spin[..]].concat()).exits(124);
        assert!(run.hit("cpu"), "{run:#?}");
        assert_eq!(run.outcome["status"], "cpu_time");
        let seconds = if limit == "cpu=1" { "1 s" } else { "2 s" };
        let reason = run.outcome["reason"].as_str().unwrap();
        assert!(
            reason.starts_with(&format!("the CPU time limit of {seconds} ended it")),
            "{reason}"
        );
    }
    // One that was not used up says nothing.
    sh(&["--ulimit", "cpu=9"], "kill -KILL $$").exits(137).has("status", "signaled");
}
