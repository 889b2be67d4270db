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
