//! create, start, state, kill, delete, pause.

use crate::bundle::{Bundle, wait};
use crate::need_root;
use stockade::Kind;
use stockade::container::{Runtime, Status};

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
    container.pause().unwrap();
    assert_eq!(container.state().unwrap().status, Status::Paused);
    container.resume().unwrap();
    assert_eq!(container.processes().unwrap(), [state.pid]);
    let ids: Vec<_> = bundle.runtime().list().unwrap().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, std::slice::from_ref(&bundle.id));
    container.kill(libc::SIGKILL, false).unwrap();
    assert_eq!(wait(state.pid), 128 + libc::SIGKILL);
    assert_eq!(container.state().unwrap().status, Status::Stopped);
    assert_eq!(container.state().unwrap().pid, 0);
    assert!(container.kill(libc::SIGTERM, false).is_err());
    container.delete(false).unwrap();
    bundle.is_gone();
}

#[test]
fn a_paused_container_is_deleted_by_force() {
    need_root!();
    let bundle = Bundle::new("exec sleep 100");
    let container = bundle.create().unwrap();
    let pid = container.state().unwrap().pid;
    container.start().unwrap();
    container.pause().unwrap();
    container.delete(true).unwrap();
    wait(pid);
    bundle.is_gone();
}

#[test]
fn a_created_container_is_deleted_without_having_run() {
    need_root!();
    let bundle = Bundle::new("touch /ran");
    let container = bundle.create().unwrap();
    let pid = container.state().unwrap().pid;
    container.delete(false).unwrap();
    wait(pid);
    assert!(!bundle.rootfs.join("ran").exists());
    bundle.is_gone();
}

#[test]
fn what_cannot_be_executed_is_said_at_create_in_runcs_words() {
    need_root!();
    for (program, words, kind) in [
        ("nope", "exec: \"nope\": executable file not found in $PATH", Kind::CommandNotFound),
        ("/bin/nope", "stat /bin/nope: no such file or directory", Kind::CommandNotFound),
        ("/etc/passwd", "permission denied", Kind::CommandNotExecutable),
    ] {
        let mut bundle = Bundle::new("");
        bundle.set("/process/args", serde_json::json!([program]));
        let error = bundle.create().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.kind(), kind);
        bundle.is_gone();
    }
}

#[test]
fn what_turns_out_to_be_no_program_is_said_by_start() {
    need_root!();
    let mut bundle = Bundle::new("");
    let file = bundle.rootfs.file("bin/garbage", "\u{1}\u{2}");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bundle.set("/process/args", serde_json::json!(["/bin/garbage"]));
    let container = bundle.create().unwrap();
    let pid = container.state().unwrap().pid;
    let error = container.start().unwrap_err();
    assert!(error.to_string().contains("exec format error"), "{error}");
    wait(pid);
    container.delete(true).unwrap();
    bundle.is_gone();
}

/// An id is taken once, by one of any number of makers (H62).
#[test]
fn h62_of_many_who_create_and_start_at_once_one_wins() {
    need_root!();
    let bundle = Bundle::new("exec sleep 100");
    let options = bundle.options();
    let made = std::thread::scope(|s| {
        let tries: Vec<_> = (0..6)
            .map(|_| s.spawn(|| Runtime::new(bundle.state.path()).create(&bundle.id, &options)))
            .collect();
        let results: Vec<_> = tries.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
        for e in results.iter().filter_map(|r| r.as_ref().err()) {
            assert_eq!(e.kind(), Kind::Exists, "{e}");
        }
        results.into_iter().find_map(Result::ok).unwrap()
    });
    let pid = made.state().unwrap().pid;
    std::thread::scope(|s| {
        let tries: Vec<_> = (0..4)
            .map(|_| s.spawn(|| bundle.runtime().load(&bundle.id).unwrap().start()))
            .collect();
        let won = tries.into_iter().filter(|_| true).map(|t| t.join().unwrap().is_ok());
        assert_eq!(won.filter(|ok| *ok).count(), 1);
    });
    std::thread::scope(|s| {
        let tries: Vec<_> =
            (0..4).map(|_| s.spawn(|| bundle.runtime().delete(&bundle.id, true))).collect();
        for t in tries {
            t.join().unwrap().unwrap();
        }
    });
    wait(pid);
    bundle.is_gone();
}
