//! Time: wall and CPU limits, how a job is asked to stop, and what it gets of the processors.

mod support;
use support::{python, sh};

const BUSY: &str = "while True: pass";

#[test]
fn h54_the_wall_limit_ends_a_sleeper() {
    let run = sh(&["--timeout", "1500ms"], "echo partial; sleep 1000");
    let run = run.exits(124).has("status", "timeout").has("exit_code", serde_json::Value::Null);
    assert_eq!(run.outcome["limits_hit"], serde_json::json!(["wall"]), "{run:#?}");
    assert_eq!(run.outcome["reason"], "the wall time limit of 1.5 s ended it");
    assert_eq!(run.outcome["signal"], 9);
    assert_eq!(run.stdout, "partial\n");
    let wall = run.outcome["wall_ms"].as_f64().unwrap();
    assert!((1_500.0..20_000.0).contains(&wall), "{run:#?}");
}

#[test]
fn h54_the_cpu_limit_ends_a_busy_loop() {
    let run = python(&["--cpu-time", "300ms", "--timeout", "60s"], BUSY);
    let run = run.exits(124).has("status", "cpu_time");
    assert_eq!(run.outcome["limits_hit"], serde_json::json!(["cpu"]), "{run:#?}");
    assert_eq!(run.outcome["reason"], "the CPU time limit of 0.3 s ended it");
    // The sum of two figures which v1 samples at ticks of the clock; the limit itself does not.
    let used = cpu_ms(&run);
    assert!((100.0..20_000.0).contains(&used), "{run:#?}");
}

#[test]
fn h54_the_cpu_limit_counts_all_processes_together() {
    let code = "
import os
for _ in range(7):
    if os.fork() == 0:
        break
while True: pass
";
    let run = python(&["--cpu-time", "400ms", "--timeout", "60s"], code);
    let run = run.exits(124).has("status", "cpu_time");
    assert!(cpu_ms(&run) < 5_000.0, "{run:#?}");
}

#[test]
fn h54_the_cpu_limit_does_not_count_sleep() {
    // The start counts, and an emulated machine takes half a second for it.
    let script = "sleep 4; echo woken";
    sh(&["--cpu-time", "3s"], script).exits(0).says("woken").has("status", "exited");
}

#[test]
fn h54_a_job_that_ends_in_time_hits_nothing() {
    let run = sh(&["--timeout", "60s", "--cpu-time", "60s"], "exit 5").exits(5);
    assert_eq!(run.outcome["limits_hit"], serde_json::json!([]), "{run:#?}");
}

#[test]
fn h54_an_rlimit_of_cpu_time_is_a_cpu_verdict_too() {
    let run = python(&["--ulimit", "cpu=1:5", "--timeout", "60s"], BUSY);
    let run = run.exits(124).has("status", "cpu_time").has("signal", 24);
    assert!(run.hit("cpu"), "{run:#?}");
    assert_eq!(run.outcome["reason"], "the CPU time limit of 1 s ended it");
}

#[test]
fn h54_children_do_not_outlive_the_limit() {
    let id = support::live::fresh_id();
    let script = "trap '' TERM HUP INT; setsid sleep 1000 & (sleep 1000 & sleep 1000) & wait";
    sh(&["--timeout", "500ms", "--id", &id], script).exits(124);
    assert_eq!(support::live::cgroups_of(&id), Vec::<std::path::PathBuf>::new());
}

// --- the stop signal -------------------------------------------------------------------------

#[test]
fn a_stop_signal_lets_the_job_clean_up_before_the_end() {
    for signal in ["TERM", "SIGTERM", "15"] {
        let script = "trap 'echo cleaned up; exit 3' TERM; echo ready; sleep 1000 & wait";
        let run = sh(&["--timeout", "1500ms", "--stop-signal", signal], script);
        let run = run.exits(124).has("status", "timeout").has("exit_code", 3);
        assert_eq!(run.stdout, "ready\ncleaned up\n");
        assert!(run.hit("wall"), "{run:#?}");
    }
}

#[test]
fn a_stop_signal_that_is_ignored_is_followed_by_sigkill() {
    let options = ["--timeout", "1500ms", "--stop-signal", "TERM", "--stop-timeout", "400ms"];
    let run = sh(&options, "trap '' TERM; echo ready; while :; do sleep 0.1; done");
    let run = run.exits(124).has("status", "timeout").has("signal", 9);
    let wall = run.outcome["wall_ms"].as_f64().unwrap();
    assert!((1_900.0..20_000.0).contains(&wall), "{run:#?}");
}

#[test]
fn without_a_stop_signal_the_end_comes_at_once() {
    let script = "trap 'echo cleaned up; exit 3' TERM; sleep 1000 & wait";
    let run = sh(&["--timeout", "300ms"], script).exits(124).has("signal", 9);
    assert_eq!(run.stdout, "");
}

#[test]
fn a_stop_signal_is_for_the_cpu_limit_too() {
    // The limit leaves a slow machine the time to start the shell and to set the trap.
    let script = "trap 'echo cleaned up; exit 3' USR1; while :; do :; done";
    let run = sh(&["--cpu-time", "3s", "--stop-signal", "USR1"], script);
    run.exits(124).has("status", "cpu_time").says("cleaned up");
}

// --- processors ------------------------------------------------------------------------------

fn cpu_ms(run: &support::Run) -> f64 {
    let figure = |name: &str| run.outcome[name].as_f64().unwrap();
    figure("cpu_user_ms") + figure("cpu_sys_ms")
}

#[test]
fn half_a_cpu_is_half_a_cpu() {
    let code = "
import time
end = time.monotonic() + 2
while time.monotonic() < end: pass
";
    let run = python(&["--cpus", "0.25"], code).exits(0);
    let share = cpu_ms(&run) / run.outcome["wall_ms"].as_f64().unwrap();
    assert!(share < 0.40, "it had {share} of a CPU\n{run:#?}");
}

#[test]
fn by_default_a_job_has_one_cpu() {
    let code = "
import os, time
for _ in range(3):
    if os.fork() == 0:
        break
end = time.monotonic() + 2
while time.monotonic() < end: pass
";
    let run = python(&[], code).exits(0);
    let share = cpu_ms(&run) / run.outcome["wall_ms"].as_f64().unwrap();
    assert!(share < 1.3, "it had {share} CPUs\n{run:#?}");
}

#[test]
fn a_job_can_be_bound_to_a_cpu() {
    let code = "import os; print(sorted(os.sched_getaffinity(0)))";
    python(&["--cpuset-cpus", "0"], code).exits(0).says("[0]\n");
    sh(&["--cpuset-cpus", "0"], "nproc").exits(0).says("1\n");
}

#[test]
fn a_cpu_that_is_not_there_is_named() {
    let run = sh(&["--cpuset-cpus", "0,4097"], "true").exits(125).has("status", "setup_failed");
    assert!(run.stderr.contains("4097") && run.stderr.contains("hint: "), "{run:#?}");
    assert!(!run.stderr.contains("math result"), "{run:#?}");
}
