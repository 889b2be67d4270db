//! `run` in the foreground: exit status, signals, the terminal, what is left.

mod support;

use serde_json::{Value, json};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use support::{Scratch, bin, busybox_rootfs};

struct Bundle {
    dir: Scratch,
    rootfs: Scratch,
    state: Scratch,
    id: String,
}

fn bundle(script: &str, change: impl FnOnce(&mut Value)) -> Bundle {
    let rootfs = busybox_rootfs();
    for applet in ["sleep", "tty", "stty", "kill", "readlink"] {
        let _ = std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet));
    }
    let (dir, state) = (Scratch::new(), Scratch::new());
    std::fs::set_permissions(state.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    let id = dir.path().file_name().unwrap().to_string_lossy().into_owned();
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", script],
            "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": rootfs.path()},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["ptmxmode=0666", "gid=5"]}],
        "linux": {"cgroupsPath": format!("/oci-run-{id}"),
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}]}
    });
    change(&mut config);
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    Bundle { dir, rootfs, state, id }
}

impl Bundle {
    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(bin());
        command.arg("--root").arg(self.state.path()).arg("run").args(more);
        command.arg("--bundle").arg(self.dir.path()).arg(&self.id).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn is_gone(&self) {
        let left: Vec<_> = std::fs::read_dir(self.state.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        for top in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            assert!(!top.path().join(format!("oci-run-{}", self.id)).exists());
        }
    }
}

impl Drop for Bundle {
    /// A container of a test that has failed.
    fn drop(&mut self) {
        let mut command = Command::new(bin());
        command.arg("--root").arg(self.state.path()).args(["delete", "--force", &self.id]);
        let _ = command.stdin(Stdio::null()).output();
    }
}

#[test]
fn the_exit_status_and_both_outputs_are_passed_on() {
    need_root!();
    let b = bundle("echo out; echo err >&2; cat; exit 42", |_| {});
    let out = b.command(&[]).output().unwrap();
    assert_eq!(out.status.code(), Some(42), "{out:?}");
    assert_eq!((&*out.stdout, &*out.stderr), (&b"out\n"[..], &b"err\n"[..]));
    b.is_gone();
    let b = bundle("kill -KILL $$", |_| {});
    // PID 1 ignores what it does not handle; another process does the killing.
    let out = b.command(&[]).output().unwrap();
    assert!(out.status.signal().is_none(), "{out:?}");
    b.is_gone();
}

#[test]
fn a_signal_to_the_runtime_reaches_the_program() {
    need_root!();
    let b =
        bundle("trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done", |_| {});
    let mut child = b.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut text = [0; 6];
    out.read_exact(&mut text).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "caught\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    b.is_gone();
}

/// The terminal is the container's own, and what it prints comes out whole.
#[test]
fn a_terminal_in_the_foreground_is_relayed() {
    need_root!();
    let b = bundle(
        "tty; readlink /proc/self/fd/0; i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; exit 3",
        |c| {
            c["process"]["terminal"] = json!(true);
        },
    );
    let out = b.command(&[]).output().unwrap();
    assert_eq!(out.status.code(), Some(3), "{out:?}");
    let text = String::from_utf8_lossy(&out.stdout);
    // Into a pipe, so that lines end as they were written.
    assert!(text.starts_with("/dev/pts/0\n/dev/pts/0\n"), "{text}");
    assert!(text.contains("line 299"), "{text}");
    b.is_gone();
}

/// Who does not read its output holds up neither signals nor the end.
#[test]
fn a_reader_that_does_not_read_holds_up_nothing_but_the_output() {
    need_root!();
    let script = "trap 'echo > /caught; exit 7' TERM; cat /bin/busybox /bin/busybox & \
                  while :; do sleep 0.05; done";
    let b = bundle(script, |c| c["process"]["terminal"] = json!(true));
    let mut child = b.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
    // Never read.
    let pipe = child.stdout.take().unwrap();
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let pause = |what: &str| {
        assert!(std::time::Instant::now() < patience, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    let room = || {
        let mut probe = std::fs::File::options();
        use std::os::unix::fs::OpenOptionsExt;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe));
        let probe = probe.write(true).custom_flags(O_NONBLOCK).open(path).unwrap();
        let mut fds = [nix::poll::PollFd::new(
            std::os::fd::AsFd::as_fd(&probe),
            nix::poll::PollFlags::POLLOUT,
        )];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).unwrap() != 0
    };
    while room() {
        pause("the pipe does not fill");
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    let term = || nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    term();
    while !b.rootfs.join("caught").exists() {
        pause("the signal does not reach the program");
    }
    // What is left may be waited for; whoever does not want to says so.
    while child.try_wait().unwrap().is_none() {
        term();
        pause("the exit status does not come");
    }
    assert_eq!(child.wait().unwrap().code(), Some(7));
    drop(pipe);
    b.is_gone();
}

const O_NONBLOCK: i32 = 0o4000;

/// Who closes the other end loses the output, and the program goes on.
#[test]
fn a_reader_that_has_gone_does_not_stop_the_program() {
    need_root!();
    let b = bundle("cat /bin/busybox; echo > /done; exit 5", |c| {
        c["process"]["terminal"] = json!(true);
    });
    let mut child = b.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert!(b.rootfs.join("done").exists());
    b.is_gone();
}

/// T19: what the caller hands on is at its numbers, and nothing else is.
#[test]
fn preserved_descriptors_keep_their_numbers() {
    need_root!();
    let b = bundle("cat <&3; cat <&4; ls /proc/self/fd", |_| {});
    let (one, two) = (b.dir.file("one", "first\n"), b.dir.file("two", "second\n"));
    let script = format!(
        "exec 3<{} 4<{} 5</etc/hostname 9</etc/hostname; exec \"$@\"",
        one.display(),
        two.display()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash", bin(), "--root"]).arg(b.state.path());
    command.args(["run", "--preserve-fds", "2", "--bundle"]).arg(b.dir.path()).arg(&b.id);
    let out = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    // The last one is ls's own, of the directory.
    assert_eq!(text, "first\nsecond\n0\n1\n2\n3\n4\n5\n", "{out:?}");
    let mut command = b.command(&["--preserve-fds", "40"]);
    assert!(!command.output().unwrap().status.success());
    b.is_gone();
}

/// Sockets that systemd has activated us with are the program's, which is told so; those meant for
/// somebody else are nobody's.
#[test]
fn activated_sockets_are_handed_on() {
    need_root!();
    let script = "echo $LISTEN_FDS $LISTEN_PID; cat <&3 2>/dev/null; ls /proc/self/fd";
    let b = bundle(script, |_| {});
    let file = b.dir.file("socket", "handed on\n");
    for (pid, said) in [("$$", "1 1\nhanded on\n0\n1\n2\n3\n4\n"), ("1", "\n0\n1\n2\n3\n")] {
        let script =
            format!("exec 3<{}; export LISTEN_FDS=1 LISTEN_PID={pid}; exec \"$@\"", file.display());
        let mut command = Command::new("bash");
        command.args(["-c", &script, "bash", bin(), "--root"]).arg(b.state.path());
        command.args(["run", "--bundle"]).arg(b.dir.path()).arg(&b.id);
        let out = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), said, "{out:?}");
    }
    b.is_gone();
}

/// T18: a filter that has no room for the stub, and a pid namespace that is shared: the runtime
/// then runs from where nobody can write to it.
#[test]
fn t18_the_runtime_is_sealed_where_it_could_be_reached() {
    need_root!();
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["execveat"], "action": "SCMP_ACT_ERRNO"}]});
    let b = bundle("echo fine", |c| {
        c["process"]["noNewPrivileges"] = json!(true);
        c["linux"]["seccomp"] = filter.clone();
    });
    let out = b.command(&[]).output().unwrap();
    assert_eq!(&*out.stdout, b"fine\n", "{out:?}");
    b.is_gone();
    let b = bundle("exec sleep 1000", |c| {
        c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]);
    });
    let verb = |args: &[&str]| {
        let mut command = Command::new(bin());
        command.arg("--root").arg(b.state.path()).args(args).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    };
    let dir = b.dir.path().to_string_lossy().into_owned();
    let pid_file = b.dir.join("pid").to_string_lossy().into_owned();
    assert!(verb(&["create", "--bundle", &dir, "--pid-file", &pid_file, &b.id]));
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    let exe = format!("/proc/{pid}/exe");
    // The very file, through a mount that cannot be written to.
    let error = std::fs::File::options().append(true).open(&exe).unwrap_err();
    assert!([libc_erofs(), 26].contains(&error.raw_os_error().unwrap()), "{error}");
    assert!(verb(&["delete", "--force", &b.id]));
    b.is_gone();
}

/// EROFS; 26 is ETXTBSY.
fn libc_erofs() -> i32 {
    30
}

/// Who waits for its container removes that one, and not another that has its name by now.
#[test]
fn a_container_made_under_the_same_id_meanwhile_stays() {
    need_root!();
    let b = bundle("echo up; exec sleep 1000", |_| {});
    let mut child = b.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    child.stdout.take().unwrap().read_exact(&mut up).unwrap();
    // Its maker has the lock until all is written down.
    let entry = std::fs::File::open(b.state.join(&b.id)).unwrap();
    entry.lock().unwrap();
    drop(entry);
    let verb = |args: &[&str]| {
        let mut command = Command::new(bin());
        command.arg("--root").arg(b.state.path()).args(args).arg(&b.id).stdin(Stdio::null());
        command.stderr(Stdio::inherit()).output().unwrap()
    };
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    let send = |signal| nix::sys::signal::kill(pid, signal).unwrap();
    send(nix::sys::signal::Signal::SIGSTOP);
    assert!(verb(&["delete", "--force"]).status.success());
    let dir = b.dir.path().to_string_lossy().into_owned();
    let mut again = Command::new(bin());
    again.arg("--root").arg(b.state.path()).args(["run", "--detach", "--bundle", &dir, &b.id]);
    again.stdin(Stdio::null()).stdout(Stdio::null());
    assert!(again.status().unwrap().success());
    send(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(child.wait().unwrap().code(), Some(137));
    let state: Value = serde_json::from_slice(&verb(&["state"]).stdout).unwrap();
    assert_eq!(state["status"], "running");
    assert!(verb(&["delete", "--force"]).status.success());
    b.is_gone();
}

#[test]
fn what_fails_leaves_nothing() {
    need_root!();
    let b = bundle("true", |c| c["process"]["args"] = json!(["/nope"]));
    let out = b.command(&[]).output().unwrap();
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("no such file or directory"), "{out:?}");
    b.is_gone();
    let b = bundle("true", |c| c["mounts"][0]["type"] = json!("nofs"));
    assert!(!b.command(&[]).output().unwrap().status.success());
    assert!(b.rootfs.join("proc").is_dir());
    b.is_gone();
}

#[test]
fn a_detached_container_is_kept_until_it_is_deleted() {
    need_root!();
    let b = bundle("exec sleep 1000", |_| {});
    let pid_file = b.dir.join("pid");
    let mut command = b.command(&["--detach", "--pid-file"]);
    // The option's value comes before the rest.
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut again = Command::new(bin());
    for arg in args {
        let is_file = arg == "--pid-file";
        again.arg(arg);
        if is_file {
            again.arg(&pid_file);
        }
    }
    command = again;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    // The kernel closes what tells us of an execve before the new program has its arguments, and the
    // shell executes another one.
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        let is_sh = line.is_empty() || line.starts_with("sh");
        if !is_sh || std::time::Instant::now() > patience {
            assert_eq!(line, "sleep\u{0}1000\u{0}");
            break;
        }
    }
    let mut delete = Command::new(bin());
    delete.arg("--root").arg(b.state.path()).args(["delete", "--force", &b.id]);
    assert!(delete.status().unwrap().success());
    b.is_gone();
}

/// Ends a run that hangs, so that the test that waits for it fails.
fn bounded(child: &mut std::process::Child) -> Option<i32> {
    for _ in 0..3000 {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("it does not end");
}

fn terminate(child: &std::process::Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
}

/// Input that the program does not read holds up neither its output nor a signal.
#[test]
fn much_input_that_nobody_reads_holds_up_neither_output_nor_signals() {
    need_root!();
    let script = "stty -echo; echo ready; sleep 1; i=0
        while [ $i -lt 3000 ]; do echo line number $i; i=$((i+1)); done
        trap 'exit 9' TERM; echo over; while :; do sleep 0.05; done";
    let b = bundle(script, |c| c["process"]["terminal"] = json!(true));
    let mut child = b.command(&[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    // Far more than a terminal holds. It ends with the reader.
    let feeds = std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut input, &b"some words\n".repeat(100_000));
    });
    let (sender, seen) = std::sync::mpsc::channel();
    let reads = std::thread::spawn(move || {
        let mut text = String::new();
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = output.read(&mut buf) {
            text.push_str(&String::from_utf8_lossy(&buf[..n]));
            if text.contains("over") {
                let _ = sender.send(());
            }
        }
    });
    let over = seen.recv_timeout(std::time::Duration::from_secs(30));
    if over.is_err() {
        child.kill().unwrap();
    }
    assert!(over.is_ok(), "its output does not come");
    terminate(&child);
    assert_eq!(bounded(&mut child), Some(9));
    feeds.join().unwrap();
    reads.join().unwrap();
    b.is_gone();
}

/// Each signal is handed on, and the end of the program comes in between.
#[test]
fn a_storm_of_signals_does_not_keep_a_run_from_ending() {
    need_root!();
    let b = bundle("echo ready; sleep 1; exit 5", |_| {});
    let mut child = b.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let pid = i32::try_from(child.id()).unwrap();
    // Those of real time are queued, each of them.
    let storms: Vec<_> = (0..3)
        .map(|n| {
            let over = std::sync::Arc::clone(&over);
            std::thread::spawn(move || {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    // SAFETY: numbers only.
                    unsafe { libc::kill(pid, libc::SIGRTMIN() + n) };
                }
            })
        })
        .collect();
    // It is reaped only when nobody sends any more: its number stays its own.
    let look = nix::sys::wait::WaitPidFlag::WEXITED
        | nix::sys::wait::WaitPidFlag::WNOWAIT
        | nix::sys::wait::WaitPidFlag::WNOHANG;
    let ended = (0..3000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let id = nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(pid));
        nix::sys::wait::waitid(id, look).unwrap() != nix::sys::wait::WaitStatus::StillAlive
    });
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    storms.into_iter().for_each(|storm| storm.join().unwrap());
    assert!(ended, "it does not end");
    assert_eq!(bounded(&mut child), Some(5));
    b.is_gone();
}
