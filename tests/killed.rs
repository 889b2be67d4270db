//! A job that its filter killed, and for which call: what the kernel's log says.
//!
//! A test program of its own: the kernel prints no more than ten such records in five seconds, so
//! these tests go one after the other and look again when the log was full.

mod support;

use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};
use support::{Run, Scratch, jail, python};

static LOG: Mutex<()> = Mutex::new(());

fn profile(scratch: &Scratch, call: &str, action: &str) -> String {
    let text = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": [call], "action": action}]});
    format!("seccomp={}", scratch.file("profile.json", &text.to_string()).display())
}

/// Runs it until the log had room for it. To root it says which call it was.
#[track_caller]
fn named(call: &str, run: impl Fn() -> Run) -> Run {
    let _one = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..4 {
        let run = run().exits(159).has("status", "signaled").has("signal", 31);
        let reason = run.outcome["reason"].as_str().unwrap();
        let denied = run.outcome["denied_syscalls"].as_array().unwrap();
        if !support::is_root() {
            assert!(denied.is_empty() && !reason.contains("seccomp denied"), "{run:#?}");
            return run;
        }
        if let [one] = denied.as_slice() {
            let text = |key: &str| one[key].as_str().unwrap();
            assert_eq!((text("name"), text("action"), &one["count"]), (call, "kill", &json!(1)));
            assert!(reason.ends_with(&format!("seccomp denied {call} once")), "{reason}");
            return run;
        }
        // The log's limit, printk_ratelimit in the kernel.
        std::thread::sleep(std::time::Duration::from_millis(5500));
    }
    panic!("{call} was never named");
}

#[test]
fn a_job_that_the_profile_kills_is_told_for_which_calls_it_kills() {
    let scratch = Scratch::new();
    let code = "
import ctypes
print('before', flush=True)
ctypes.CDLL(None).syscall(110)
print('after')
";
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL"] {
        let option = profile(&scratch, "getppid", action);
        let run = named("getppid", || python(&["--security-opt", &option], code));
        assert_eq!(run.stdout, "before\n");
        let reason = run.outcome["reason"].as_str().unwrap();
        assert!(reason.starts_with("signal 31 (SIGSYS) ended it; the seccomp filter"), "{reason}");
        assert!(reason.contains("kills for getppid, and"), "{reason}");
    }
}

#[test]
fn a_job_that_is_killed_for_its_very_first_call_is_told_for_which() {
    let scratch = Scratch::new();
    // uname(1) makes the call as soon as its C library is ready.
    let option = profile(&scratch, "uname", "SCMP_ACT_KILL_PROCESS");
    for init in ["--init", "--no-init"] {
        named("uname", || jail(["--security-opt", &option, init, "--", "uname"]));
    }
    // The name of a file says nothing of what is in it.
    let file = scratch.join("default");
    std::fs::rename(scratch.join("profile.json"), &file).unwrap();
    named("uname", || {
        support::jail_with(["--security-opt", "seccomp=./default", "--", "uname"], |command| {
            command.current_dir(scratch.path());
        })
    });
}

#[cfg(target_arch = "x86_64")]
#[test]
fn h36_a_job_that_makes_a_call_of_another_architecture_is_told_for_which() {
    let code = "
import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex('b814000000cd80c3'))  # mov eax, 20; int 0x80; ret
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
";
    let run = named("getpid", || python(&[], code));
    let arch = |d: &Value| d["arch"] == "x86";
    assert!(run.outcome["denied_syscalls"].as_array().unwrap().iter().all(arch));
}
