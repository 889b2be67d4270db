//! A dockerd that ends and comes again while its containers live on.

use super::daemon::Docker;

#[test]
fn live_restore_finds_its_containers_again() {
    need_clients!("dockerd", "docker");
    let docker = Docker::start(&["--live-restore"]);
    let script = "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.1; done";
    let job = docker.detached(&["--memory", "50m"], &["sh", "-c", script]);
    let stopped = docker.detached(&[], &["sleep", "1000"]);
    job.until("tick 1\n");
    let pid = job.pid();
    docker.stop_daemon();
    assert!(std::path::Path::new(&format!("/proc/{pid}/exe")).exists(), "it lives on");
    // One ends meanwhile.
    let gone = stopped.id.clone();
    for dir in docker.place.cgroups().iter().filter(|d| d.ends_with(&gone)).take(1) {
        let tasks = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        for pid in tasks.lines() {
            let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
    docker.start_daemon(&["--live-restore"]);
    assert_eq!(job.pid(), pid);
    assert_eq!(job.inspect(".State.Status"), "running");
    stopped.waits_to_be("exited");
    let before = job.logs().len();
    super::support::live::eventually("its log goes on", || job.logs().len() > before);
    job.exec(&[], &["echo", "inside"]).exits(0).says("inside\n");
    job.ask(&["pause"], &[]).exits(0);
    job.ask(&["unpause"], &[]).exits(0);
    job.ask(&["stop", "--time", "0"], &[]).exits(0);
    assert_eq!(job.inspect(".State.ExitCode"), "137");
    job.ask(&["start"], &[]).exits(0);
    job.ask(&["rm", "--force"], &[]).exits(0);
    drop((job, stopped));
}
