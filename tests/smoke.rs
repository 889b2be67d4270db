//! The first thing a newcomer tries.

mod support;
use support::{python, sh};

#[test]
fn a_newcomer_runs_python_in_a_jail() {
    python(&[], "print(sum(range(10)))").exits(0).says("45\n").has("status", "exited");
}

#[test]
fn the_jobs_exit_code_is_passed_on() {
    sh(&[], "exit 7").exits(7).has("exit_code", 7);
}

#[test]
fn a_job_may_run_on_the_processors_that_its_caller_may() {
    let all = "import os; print(sorted(os.sched_getaffinity(0)))";
    let out = |program: &mut std::process::Command| {
        String::from_utf8(program.output().unwrap().stdout).unwrap()
    };
    let outside = out(std::process::Command::new("/usr/bin/python3").args(["-c", all]));
    // On a busy machine too, where the supervisor takes back what it has sent to another one.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let runs: Vec<_> = (0..40).map(|_| python(&[], all)).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for run in runs {
            run.exits(0).says(&outside);
        }
    });
    // A caller that is tied down stays so.
    let tied = out(std::process::Command::new("taskset")
        .args(["-c", "0"])
        .arg(support::bin())
        .args(["jail", "--", "/usr/bin/python3", "-c", all]));
    assert_eq!(tied, "[0]\n");
}
