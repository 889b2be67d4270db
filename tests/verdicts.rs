//! Jobs that try to make the outcome say something else, and outcomes that cannot be delivered.

mod support;
use support::{jail, jail_with, python, sh};

const BREAK_THE_INIT: &str = "
import os, resource, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for attack in (lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0)), lambda: os.kill(1, 15)):
    try:
        attack()
    except OSError as e:
        print('errno', e.errno, flush=True)
time.sleep(0.3)
print('alive', flush=True)
os._exit(7)
";

#[test]
fn a_job_cannot_break_the_init_and_pass_for_a_failure_of_stockade() {
    need_root!();
    let run = python(&[], BREAK_THE_INIT).exits(7).has("status", "exited");
    assert_eq!(run.stdout, "errno 1\nerrno 1\nalive\n");
    // With the init's own ids it may, and the outcome says what became of the job.
    let run = python(&["-u", "0"], BREAK_THE_INIT);
    assert!(run.code == 7 || run.code == 137, "{run:#?}");
    assert_ne!(run.outcome["exit_code"], 125, "{run:#?}");
}

#[test]
fn output_that_cannot_be_passed_on_is_flagged_and_told() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = jail_with(["--", "echo", "lost"], |c| {
        c.stdout(full());
    });
    assert_eq!(run.outcome["stdout"]["truncated"], true, "{run:#?}");
    assert!(run.outcome["reason"].as_str().unwrap().contains("no space left"), "{run:#?}");
}

#[test]
fn a_result_that_cannot_be_written_is_told_and_the_jobs_status_stands() {
    jail(["--result", "/dev/full", "--", "sh", "-c", "exit 3"])
        .exits(3)
        .complains("write the result: no space left");
}

#[test]
fn a_low_limit_on_descriptors_is_the_jobs_and_not_the_set_ups() {
    sh(&["--ulimit", "nofile=10"], "ulimit -n").exits(0).says("10\n");
    jail(["--ulimit", "nofile=3", "--", "/bin/true"]).exits(127).complains("shared libraries");
}
