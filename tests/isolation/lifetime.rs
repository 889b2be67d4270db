//! Who lives how long: orphans, daemons, streams that nobody reads, a killed supervisor.

use crate::attack::{Live, all_dead, attack};
use crate::need_root;
use crate::support::{Scratch, bin, jail, jail_with, sh};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Command, Stdio};

/// Whether a process of this pid runs, zombies not counted.
fn runs(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|s| s.starts_with(['Z', 'X'])))
}

#[test]
fn h56_ten_thousand_orphans_leave_no_zombie() {
    attack(&[], &["orphans", "10000"]).exits(0).says("no zombie").has("status", "exited");
}

#[test]
fn h57_a_daemonised_child_is_dead_when_the_run_returns() {
    need_root!();
    let scratch = Scratch::new();
    let volume = format!("{}:/v", scratch.path().display());
    for init in ["--init", "--no-init"] {
        let script = "trap '' TERM HUP INT
            setsid sh -c 'setsid sleep 1000 & exec sleep 1000' >/dev/null 2>&1 </dev/null &
            sleep 0.2; echo up; while [ ! -e /v/go ]; do sleep 0.05; done; exit 5";
        let _ = std::fs::remove_file(scratch.join("go"));
        let mut live =
            Live::start(&format!("daemon{init}"), &[init, "-v", &volume, "--", "sh", "-c", script]);
        let pids = live.pids();
        assert!(pids.len() >= 3, "{pids:?}");
        scratch.file("go", "");
        assert_eq!(live.child.wait().unwrap().code(), Some(5));
        for pid in pids {
            assert!(!runs(pid), "{init}: {pid} lives on");
        }
        assert!(live.cgroups().is_empty());
    }
}

#[test]
fn h58_a_job_that_never_reads_its_input_ends() {
    let scratch = Scratch::new();
    let big = scratch.join("big");
    std::fs::write(&big, vec![b'x'; 4 << 20]).unwrap();
    let run = jail_with(["--timeout", "60s", "--", "sh", "-c", "exit 3"], |c| {
        c.stdin(std::fs::File::open(&big).unwrap());
    });
    run.exits(3).has("status", "exited");
    // An input without end, by a pipe.
    let mut yes = Command::new("yes").stdout(Stdio::piped()).spawn().unwrap();
    let input = yes.stdout.take().unwrap();
    let run = jail_with(["--timeout", "60s", "--", "true"], |c| {
        c.stdin(input);
    });
    run.exits(0).has("status", "exited");
    let _ = (yes.kill(), yes.wait());
    // An input that stays open and says nothing.
    let (read, _write) = nix::unistd::pipe().unwrap();
    let run = jail_with(["--timeout", "60s", "--", "true"], |c| {
        c.stdin(Stdio::from(read));
    });
    run.exits(0).has("status", "exited");
}

#[test]
fn h58_a_job_closes_its_output_early_or_its_reader_goes() {
    sh(&["--timeout", "60s"], "exec >&- 2>&-; sleep 0.2; exit 3").exits(3).has("status", "exited");
    sh(&["--timeout", "60s"], "(sleep 0.1; echo late) & exit 0").exits(0);
    for command in ["yes", "sh -c 'yes >&2'"] {
        let line = format!("{} jail --timeout 60s -- {command} 2>&1 | head -n 1", bin());
        let out = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(out.stdout, b"y\n", "{command}");
    }
}

#[test]
fn h58_a_daemon_that_keeps_the_output_open_does_not_hold_the_run() {
    let script = "setsid sleep 1000 & echo up; exit 4";
    sh(&["--timeout", "60s"], script).exits(4).says("up").has("status", "exited");
}

#[test]
fn h61_the_supervisor_is_killed_and_the_jail_dies() {
    need_root!();
    for more in [&["--init"][..], &["--no-init"], &["--no-init", "-u", "0"], &["--userns", "host"]]
    {
        let script = "trap '' TERM HUP INT USR1 PIPE
            setsid sleep 1000 >/dev/null 2>&1 & sleep 0.1; echo up
            while :; do sleep 0.1; done";
        let name = format!("killed{}", more.concat());
        let mut live = Live::start(&name, &[more, &["--", "sh", "-c", script]].concat());
        let pids = live.pids();
        assert!(pids.len() >= 2, "{pids:?}");
        assert!(pids.iter().all(|p| runs(*p)));
        kill(Pid::from_raw(i32::try_from(live.child.id()).unwrap()), Signal::SIGKILL).unwrap();
        live.child.wait().unwrap();
        assert!(all_dead(&pids), "{more:?}: something of {pids:?} lives on");
        // What it left behind is the next run's to remove.
        jail(["--", "true"]).exits(0);
        assert!(live.cgroups().is_empty(), "{more:?}: {:?}", live.cgroups());
    }
}

#[test]
fn h61_a_stopped_supervisor_goes_on_when_it_is_continued() {
    let mut live = Live::start("stopped", &["--", "sh", "-c", "echo up; sleep 0.3; exit 6"]);
    let pid = Pid::from_raw(i32::try_from(live.child.id()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert!(live.child.try_wait().unwrap().is_none());
    kill(pid, Signal::SIGCONT).unwrap();
    assert_eq!(live.child.wait().unwrap().code(), Some(6));
}

#[test]
fn h61_a_living_runs_cgroup_is_left_alone_by_the_next() {
    need_root!();
    let live = Live::start("living", &["--", "sh", "-c", "echo up; exec sleep 60"]);
    let before = live.cgroups();
    jail(["--", "true"]).exits(0);
    assert_eq!(live.cgroups(), before);
    assert!(!before.is_empty() && live.pids().iter().all(|p| runs(*p)));
}

#[test]
fn h59_a_signal_after_the_end_reaches_nobody() {
    // A stop signal that the job obeys at once, and a SIGKILL that would follow it: by then the
    // pid may be anybody's, which is why it goes to a pidfd and finds nothing.
    let run = sh(
        &["--timeout", "300ms", "--stop-signal", "TERM", "--stop-timeout", "30s"],
        "trap 'exit 0' TERM; while :; do sleep 0.05; done",
    );
    assert_eq!(run.code, 124, "{run:#?}");
    assert_eq!(run.outcome["status"], "timeout");
}
