//! Limits by Docker's options: memory with an OOM kill, processes, CPU, rlimits.

use super::daemon::{PYTHON, docker};
use std::time::{Duration, Instant};

#[test]
fn memory_that_runs_out_is_137_and_said_to_be_so() {
    need_clients!("dockerd", "docker");
    // containerd's shim watches the cgroup from after the start on, and keeps
    // silent of what it hears of a cgroup that is gone when it looks: an end in
    // the first moments, or one that is cleared away at once, may pass it by.
    // So the job waits for our word, and may have to show it again.
    let known = (0..5).any(|_| {
        let job = docker().detached(
            &["--memory", "20m", "--memory-swap", "20m"],
            &["sh", "-c", "until [ -e /go ]; do sleep 0.1; done; exec tail /dev/zero"],
        );
        job.exec(&[], &["touch", "/go"]).exits(0);
        job.waits_to_be("exited");
        assert_eq!(job.inspect(".State.ExitCode"), "137");
        // It is told by another way than the end, sometimes after it.
        let patience = Instant::now() + Duration::from_secs(3);
        while job.inspect(".State.OOMKilled") != "true" && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(100));
        }
        job.inspect(".State.OOMKilled") == "true"
    });
    assert!(known, "the engine does not know why it ended");
    let fine = docker().detached(&["--memory", "20m"], &["sh", "-c", "exit 137"]);
    fine.waits_to_be("exited");
    assert_eq!(fine.inspect(".State.OOMKilled"), "false");
    // Python's own way there.
    let code = "x = bytearray(200 << 20); print(len(x))";
    let options = ["--memory", "50m"];
    docker().job_of(PYTHON, &options, &["python", "-c", code]).exits(137);
    docker().job_of(PYTHON, &[], &["python", "-c", code]).exits(0).says("209715200\n");
}

#[test]
fn pids_limit_stops_a_fork_bomb() {
    need_clients!("dockerd", "docker");
    let script = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; echo made all";
    let run = docker().sh(&["--pids-limit", "20"], script);
    assert!(!run.stdout.contains("made all") && run.stderr.contains("can't fork"), "{run:#?}");
    docker().sh(&["--pids-limit", "60"], &script.replace("sleep 5", "sleep 0.1")).exits(0);
}

#[test]
fn cpus_shares_and_sets_are_in_the_cgroup() {
    need_clients!("dockerd", "docker");
    let options = ["--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0"];
    let job = docker().detached(&options, &["sleep", "1000"]);
    let quota = job.control("cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "50000" || quota == "50000 100000", "{quota}");
    assert!(["512", "20"].contains(&&*job.control("cpu.shares", "cpu.weight")));
    assert_eq!(job.control("cpuset.cpus", "cpuset.cpus"), "0");
    job.exec(&[], &["grep", "Cpus_allowed_list", "/proc/1/status"]).exits(0).says("\t0\n");
    job.exec(&[], &["grep", "Cpus_allowed_list", "/proc/self/status"]).exits(0).says("\t0\n");
}

#[test]
fn memory_settings_are_in_the_cgroup() {
    need_clients!("dockerd", "docker");
    let options = [
        "--memory",
        "100m",
        "--memory-reservation",
        "50m",
        "--memory-swappiness",
        "0",
        "--pids-limit",
        "123",
    ];
    let job = docker().detached(&options, &["sleep", "1000"]);
    assert_eq!(job.control("memory.limit_in_bytes", "memory.max"), "104857600");
    assert_eq!(job.control("memory.soft_limit_in_bytes", "memory.low"), "52428800");
    assert_eq!(job.control("pids.max", "pids.max"), "123");
}

#[test]
fn ulimits_are_set() {
    need_clients!("dockerd", "docker");
    let options = ["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "nproc=50"];
    let run =
        docker().sh(&options, "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/limits").exits(0);
    assert!(run.stdout.starts_with("100\n200\n0\n"), "{run:#?}");
    let processes = run.stdout.lines().find(|l| l.starts_with("Max processes")).unwrap();
    let words: Vec<&str> = processes.split_whitespace().collect();
    assert_eq!(words[2..], ["50", "50", "processes"]);
    let job = docker().detached(&options, &["sleep", "1000"]);
    job.exec(&[], &["sh", "-c", "ulimit -n; ulimit -Hn"]).exits(0).says("100\n200\n");
}

#[test]
fn the_oom_score_is_set() {
    need_clients!("dockerd", "docker");
    let run = docker().job(&["--oom-score-adj", "500"], &["cat", "/proc/self/oom_score_adj"]);
    assert_eq!(run.exits(0).stdout, "500\n");
}

#[test]
fn shm_has_its_size() {
    need_clients!("dockerd", "docker");
    let run = docker().job(&["--shm-size", "2m"], &["grep", " /dev/shm ", "/proc/mounts"]).exits(0);
    run.says("size=2048k");
}
