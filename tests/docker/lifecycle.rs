//! A container's life: top, stats, pause, kill, stop, restart, healthchecks, many at once.

use super::clients;
use super::daemon::docker;
use super::support::live::eventually;

/// Writes a line ten times a second, and another on SIGTERM and SIGUSR1.
const TICKER: &str = "trap 'echo got TERM; exit 9' TERM; trap 'echo got USR1' USR1
n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.1; done";

#[test]
fn top_shows_the_containers_processes_alone() {
    need_clients!("dockerd", "docker");
    let job = docker().detached(&[], &["sh", "-c", "sleep 1234 & sleep 5678 & wait"]);
    eventually("both", || job.ask(&["top"], &[]).stdout.contains("sleep 5678"));
    let run = job.ask(&["top"], &["-eo", "pid,comm,args"]).exits(0);
    let lines: Vec<&str> = run.stdout.lines().skip(1).collect();
    assert_eq!(lines.len(), 3, "{run:#?}");
    assert!(lines.iter().any(|l| l.contains("sleep 1234")), "{run:#?}");
    let pid = job.pid().to_string();
    assert!(lines.iter().any(|l| l.trim().starts_with(&pid)), "{pid} {run:#?}");
}

#[test]
fn stats_show_what_it_uses() {
    need_clients!("dockerd", "docker");
    let script = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo ready; while :; do :; done";
    let options = ["--memory", "200m", "--cpus", "0.5"];
    let job = docker().detached(&options, &["sh", "-c", script]);
    job.until("ready");
    let format = "{{.MemUsage}} {{.MemPerc}} {{.CPUPerc}} {{.PIDs}}";
    let run = docker().run(&["stats", "--no-stream", "--format", format, &job.name]).exits(0);
    let text = run.stdout.trim().to_owned();
    assert!(text.contains(" / 200MiB "), "{run:#?}");
    let used = text.split(' ').next().unwrap();
    let mib: f64 = used.strip_suffix("MiB").expect(used).parse().unwrap();
    assert!((15.0..200.0).contains(&mib), "{text}");
    let percent: Vec<f64> =
        text.split(' ').filter_map(|w| w.strip_suffix('%')?.parse().ok()).collect();
    assert!(percent.len() == 2 && percent[1] > 1.0, "{text}");
    assert!(text.ends_with(" 1"), "{text}");
}

#[test]
fn pause_stops_it_and_unpause_lets_it_go_on() {
    need_clients!("dockerd", "docker");
    let job = docker().detached(&[], &["sh", "-c", TICKER]);
    job.until("tick 2");
    job.ask(&["pause"], &[]).exits(0);
    assert_eq!(job.inspect(".State.Status"), "paused");
    let before = job.logs();
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(job.logs(), before, "it went on while paused");
    job.exec(&[], &["true"]).exits(1).complains("is paused");
    job.ask(&["unpause"], &[]).exits(0);
    assert_eq!(job.inspect(".State.Status"), "running");
    eventually("more ticks", || job.logs().len() > before.len());
    // A paused one can be removed.
    job.ask(&["pause"], &[]).exits(0);
    job.ask(&["rm", "--force"], &[]).exits(0);
}

#[test]
fn kill_sends_any_signal() {
    need_clients!("dockerd", "docker");
    let job = docker().detached(&[], &["sh", "-c", TICKER]);
    job.until("tick 1");
    job.ask(&["kill", "--signal", "USR1"], &[]).exits(0);
    job.until("got USR1");
    job.ask(&["kill", "--signal", "10"], &[]).exits(0);
    eventually("twice", || job.logs().matches("got USR1").count() == 2);
    job.ask(&["kill"], &[]).exits(0);
    job.waits_to_be("exited");
    assert_eq!(job.inspect(".State.ExitCode"), "137");
    job.ask(&["kill"], &[]).exits(1).complains("is not running");
}

#[test]
fn stop_asks_first_and_kills_after_its_time() {
    need_clients!("dockerd", "docker");
    let job = docker().detached(&[], &["sh", "-c", TICKER]);
    job.until("tick 1");
    job.ask(&["stop", "--time", "30"], &[]).exits(0);
    assert_eq!(job.inspect(".State.ExitCode"), "9");
    assert!(job.logs().contains("got TERM"));
    let deaf = docker()
        .detached(&[], &["sh", "-c", "trap : TERM; echo ready; while :; do sleep 0.1; done"]);
    deaf.until("ready");
    deaf.ask(&["stop", "--time", "1"], &[]).exits(0);
    assert_eq!(deaf.inspect(".State.ExitCode"), "137");
}

#[test]
fn restart_and_start_run_the_same_container_again() {
    need_clients!("dockerd", "docker");
    let script = "echo run >> /runs; wc -l < /runs; sleep 1000";
    let job = docker().detached(&[], &["sh", "-c", script]);
    job.until("1\n");
    let first = job.pid();
    job.ask(&["restart", "--time", "0"], &[]).exits(0);
    job.until("2\n");
    assert_ne!(job.pid(), first);
    job.ask(&["kill"], &[]).exits(0);
    job.waits_to_be("exited");
    job.ask(&["start"], &[]).exits(0);
    job.until("3\n");
    job.exec(&[], &["cat", "/runs"]).exits(0).says("run\nrun\nrun\n");
}

#[test]
fn a_restart_policy_starts_it_again() {
    need_clients!("dockerd", "docker");
    let options = ["--restart", "on-failure:2"];
    let job = docker().detached(&options, &["sh", "-c", "echo once more; exit 1"]);
    eventually("three runs", || {
        job.inspect(".RestartCount") == "2" && job.inspect(".State.Status") == "exited"
    });
    assert_eq!(job.logs().matches("once more").count(), 3);
    assert_eq!(job.inspect(".State.ExitCode"), "1");
}

#[test]
fn healthchecks_run_inside_and_are_told() {
    need_clients!("dockerd", "docker");
    let options = [
        "--health-cmd",
        "echo looked; test -e /tmp/well",
        "--health-interval",
        "200ms",
        "--health-retries",
        "2",
    ];
    let job = docker().detached(&options, &["sh", "-c", "touch /tmp/well; sleep 1000"]);
    eventually("healthy", || job.inspect(".State.Health.Status") == "healthy");
    job.exec(&[], &["rm", "/tmp/well"]).exits(0);
    eventually("unhealthy", || job.inspect(".State.Health.Status") == "unhealthy");
    assert!(job.inspect("json .State.Health.Log").contains("looked"));
    job.exec(&[], &["touch", "/tmp/well"]).exits(0);
    eventually("healthy again", || job.inspect(".State.Health.Status") == "healthy");
}

#[test]
fn update_changes_the_limits_of_a_running_one() {
    need_clients!("dockerd", "docker");
    let job = docker().detached(&["--memory", "100m", "--cpus", "1"], &["sleep", "1000"]);
    let limit = || job.control("memory.limit_in_bytes", "memory.max");
    if limit().starts_with("104857600") {
        job.ask(&["update", "--memory", "200m", "--memory-swap", "300m"], &[]).exits(0);
        assert_eq!(limit(), "209715200");
    }
    job.ask(&["update", "--cpus", "0.5", "--pids-limit", "77", "--cpu-shares", "512"], &[])
        .exits(0);
    assert!(["50000", "50000 100000"].contains(&&*job.control("cpu.cfs_quota_us", "cpu.max")));
    assert_eq!(job.control("pids.max", "pids.max"), "77");
    job.exec(&[], &["true"]).exits(0);
    // It keeps what it was not asked to change.
    assert_eq!(limit(), "209715200");
}

/// No state of one disturbs another.
#[test]
fn twenty_at_once_all_run() {
    need_clients!("dockerd", "docker");
    let jobs: Vec<_> = std::thread::scope(|scope| {
        let one = |n: usize| {
            scope.spawn(move || {
                let script = format!("echo I am {n}; sleep 1000");
                docker().detached(&[], &["sh", "-c", &script])
            })
        };
        let started: Vec<_> = (0..20).map(one).collect();
        started.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let mut pids: Vec<i32> = jobs.iter().map(|j| j.pid()).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 20);
    std::thread::scope(|scope| {
        for (n, job) in jobs.iter().enumerate() {
            scope.spawn(move || {
                job.until(&format!("I am {n}\n"));
                job.exec(&[], &["echo", "inside"]).exits(0).says("inside\n");
                job.ask(&["kill"], &[]).exits(0);
                job.waits_to_be("exited");
            });
        }
    });
    // And the short-lived ones.
    std::thread::scope(|scope| {
        for n in 0..20 {
            scope.spawn(move || docker().job(&[], &["sh", "-c", &format!("exit {n}")]).exits(n));
        }
    });
}

#[test]
fn nothing_is_left_of_a_container() {
    need_clients!("dockerd", "docker");
    let job = docker().detached(&["--memory", "100m"], &["sleep", "1000"]);
    let (id, pid) = (job.id.clone(), job.pid());
    assert!(!clients::mounts_below(&docker().place.path().display().to_string()).is_empty());
    assert!(!job.cgroup_dirs().is_empty(), "the control: it has cgroups");
    job.exec(&["--detach"], &["sleep", "999"]).exits(0);
    job.ask(&["rm", "--force"], &[]).exits(0);
    assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
    eventually("its shim has ended", || clients::processes(&id).is_empty());
    assert_eq!(clients::mounts_below(&id), Vec::<String>::new());
    assert_eq!(job.cgroup_dirs(), Vec::<std::path::PathBuf>::new());
    let state =
        std::process::Command::new("find").arg(docker().place.join("exec")).output().unwrap();
    let state = String::from_utf8_lossy(&state.stdout).into_owned();
    assert!(!state.contains(&id), "{state}");
}
