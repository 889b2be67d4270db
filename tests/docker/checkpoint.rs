//! `docker checkpoint`, which is one of Docker's experiments. It needs a criu that works here
//! (tests/oci_checkpoint.rs).

use super::daemon::Docker;
use super::support::live::eventually;
use std::process::{Command, Stdio};

#[test]
fn a_checkpoint_is_made_and_started_from() {
    need_clients!("dockerd", "docker", "criu");
    let check = Command::new("criu").arg("check").stdin(Stdio::null()).output().unwrap();
    if !check.status.success() {
        let why = String::from_utf8_lossy(&check.stderr).into_owned();
        crate::skip_on_this_kind_of_host!("criu cannot work here: {}", why.trim());
    }
    let docker = Docker::start(&["--experimental"]);
    let script = "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.1; done";
    let job = docker.detached(&["--memory", "64m"], &["sh", "-c", script]);
    let last = || {
        let logs = job.logs();
        let ticks = logs.lines().filter_map(|l| l.strip_prefix("tick ")?.parse::<u32>().ok());
        (ticks.clone().max().unwrap_or(0), ticks.filter(|n| *n == 1).count())
    };
    job.until("tick 3\n");
    let first = job.pid();
    // One only: of a second one Docker 20.10 says that its content exists already.
    job.ask(&["checkpoint", "create"], &["saved"]).exits(0);
    job.waits_to_be("exited");
    job.ask(&["checkpoint", "ls"], &[]).exits(0).says("saved");
    let (saved, _) = last();
    for _ in 0..2 {
        docker.run(&["start", "--checkpoint", "saved", &job.name]).exits(0);
        job.waits_to_be("running");
        assert_ne!(job.pid(), first);
        eventually("it counts on", || last().0 > saved);
        assert_eq!(last().1, 1, "not from the beginning");
        let limit = job.control("memory.limit_in_bytes", "memory.max");
        assert_eq!(limit.trim(), (64 << 20).to_string());
        job.exec(&[], &["echo", "inside"]).exits(0).says("inside\n");
        job.ask(&["kill"], &[]).exits(0);
        job.waits_to_be("exited");
    }
    drop(job);
}
