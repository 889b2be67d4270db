//! create, start, state, kill, delete.

use crate::bundle::Bundle;
use crate::need_root;
use stockade::Kind;
use stockade::container::Status;

#[test]
fn a_container_runs_and_is_gone() {
    need_root!();
    let mut bundle = Bundle::new("echo hello from $(hostname); id; exit 7");
    bundle.run().says("hello from box").says("uid=0").ends(7);
    bundle.is_gone();
}

#[test]
fn the_states_of_a_life() {
    need_root!();
    let bundle = Bundle::new("exec sleep 100");
    let container = bundle.create().unwrap();
    let state = container.state().unwrap();
    assert_eq!(state.status, Status::Created);
    assert!(state.pid > 1);
    container.start().unwrap();
    assert_eq!(container.state().unwrap().status, Status::Running);
    assert_eq!(container.start().unwrap_err().kind(), Kind::InvalidConfig);
    assert!(bundle.runtime().delete(&bundle.id, false).is_err());
    container.kill(libc::SIGKILL, false).unwrap();
    assert_eq!(crate::bundle::wait(state.pid), 128 + libc::SIGKILL);
    assert_eq!(container.state().unwrap().status, Status::Stopped);
    assert_eq!(container.state().unwrap().pid, 0);
    container.delete(false).unwrap();
    bundle.is_gone();
}
