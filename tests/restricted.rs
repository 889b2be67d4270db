//! A job that computes and nothing else: what an attacker tries once the interpreter runs.

mod support;

use std::time::Duration;
use stockade::{Jail, Kind, Outcome, Status};

const PRELUDE: &str = "
import ctypes, os, sys, errno
_libc = ctypes.CDLL(None, use_errno=True)
def call(nr, *args):
    ctypes.set_errno(0)
    r = _libc.syscall(nr, *[a if isinstance(a, (bytes, ctypes.Array)) else ctypes.c_long(a) for a in args])
    return ctypes.get_errno() if r == -1 else 'done'
def refused(f, *args):
    try:
        f(*args)
    except OSError as e:
        return e.errno in (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSYS) or f'{args}: {e}'
    return False
";

fn restricted(threads: bool, code: &str) -> Outcome {
    Jail::new("/usr/bin/python3")
        .args(["-c", &format!("{PRELUDE}{code}")])
        .restricted(threads)
        .timeout(Duration::from_secs(20))
        .capture_output()
        .run()
        .expect("a run")
}

#[track_caller]
fn prints(outcome: &Outcome, text: &str) {
    let out = outcome.stdout.data.as_ref().map_or("", |d| d.data.as_str());
    assert_eq!((outcome.exit_code, out.trim()), (Some(0), text), "{outcome:#?}");
}

#[test]
fn a_computation_runs_and_its_output_comes_back() {
    let outcome = restricted(false, "print(sum(i * i for i in range(1000)))");
    prints(&outcome, "332833500");
    assert_eq!(outcome.status, Status::Exited);
}

#[test]
fn the_interpreter_cannot_execute_another_program_by_any_call() {
    let outcome = restricted(
        true,
        "
path = b'/bin/true\\0'
argv = (ctypes.c_char_p * 2)(b'true', None)
fd = os.open('/bin/true', os.O_RDONLY)
print(refused(os.execv, '/bin/true', ['true']), call(59, path, argv, 0), call(322, -100, path, argv, 0, 0),
      call(322, fd, b'\\0', argv, 0, 0x1000))
",
    );
    prints(&outcome, "True 1 1 1");
    let denied = outcome.denied_syscalls.as_ref().unwrap();
    let count = |name: &str| denied.iter().find(|d| d.name == name).map(|d| d.count);
    assert_eq!((count("execve"), count("execveat")), (Some(2), Some(2)), "{denied:?}");
}

#[test]
fn the_first_call_after_the_start_is_refused_already() {
    // A program whose very first act is another execve: the count must be exact.
    for _ in 0..50 {
        let outcome = Jail::new("/usr/bin/env")
            .args(["/bin/echo", "ESCAPED"])
            .restricted(true)
            .capture_output()
            .run()
            .unwrap();
        assert_eq!(outcome.exit_code, Some(126), "{outcome:#?}");
        assert!(outcome.reason.contains("seccomp denied execve once"), "{}", outcome.reason);
    }
}

#[test]
fn a_program_that_is_not_first_in_path_starts_all_the_same() {
    let outcome = Jail::new("true").restricted(false).run().unwrap();
    assert_eq!(outcome.exit_code, Some(0));
    let error = Jail::new("no-such-program").restricted(false).run().unwrap_err();
    assert_eq!(error.kind(), Kind::CommandNotFound);
}

#[test]
fn no_process_can_be_made_by_any_call() {
    let outcome = restricted(
        true,
        "
CLONE_VM, CLONE_VFORK, SIGCHLD = 0x100, 0x4000, 17
args = ctypes.create_string_buffer(88)
print(refused(os.fork), call(57), call(58), call(56, SIGCHLD, 0, 0, 0, 0),
      call(56, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0), call(435, args, 88))
",
    );
    prints(&outcome, "True 1 1 1 1 38");
}

#[test]
fn threads_are_as_the_key_says() {
    let code = "
import threading
done = []
t = threading.Thread(target=lambda: done.append(1))
try:
    t.start(); t.join()
except RuntimeError:
    done.append('refused')
print(done)
";
    prints(&restricted(true, code), "[1]");
    prints(&restricted(false, code), "['refused']");
}

#[test]
fn no_socket_of_any_kind() {
    let outcome = restricted(
        true,
        "
import socket
print([refused(socket.socket, f, t) for f in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK)
       for t in (socket.SOCK_STREAM, socket.SOCK_DGRAM)] == [True] * 8, refused(socket.socketpair), call(425, 1, 0))
",
    );
    prints(&outcome, "True True 1");
}

#[test]
fn no_file_can_be_written_or_made_anywhere() {
    let outcome = restricted(
        true,
        "
import glob
tried = []
for root, dirs, files in os.walk('/'):
    if root in ('/proc', '/usr'):
        dirs[:] = []
        if root == '/proc': continue
    name = os.path.join(root, 'x')
    tried.append(refused(os.open, name, os.O_WRONLY | os.O_CREAT))
    tried.append(refused(os.open, root, os.O_WRONLY | os.O_TMPFILE))
    tried.append(refused(os.mkdir, name))
    tried += [refused(os.open, os.path.join(root, f), os.O_WRONLY) for f in files[:20]
              if os.path.isfile(os.path.join(root, f)) and not root.startswith('/dev')]
print([t for t in tried if t is not True], len(tried) > 30, call(319, b'x\\0', 0), call(30, 0, 0, 0) != 0)
",
    );
    prints(&outcome, "[] True 1 True");
}

#[test]
fn no_pty_and_nothing_of_proc_can_be_opened_for_writing() {
    let outcome = restricted(
        true,
        "
tried = [refused(os.open, '/proc/self/' + f, os.O_WRONLY)
         for f in ('mem', 'comm', 'oom_score_adj', 'clear_refs', 'coredump_filter', 'uid_map')]
def absent(path):
    try:
        os.open(path, os.O_RDWR)
    except OSError as e:
        return e.errno in (errno.ENOENT, errno.EACCES)
print([t for t in tried if t is not True], absent('/dev/ptmx'), absent('/dev/pts/ptmx'))
",
    );
    prints(&outcome, "[] True True");
}

#[test]
fn a_script_without_its_interpreter_uses_up_the_one_call_and_says_so() {
    let scratch = support::Scratch::new();
    let path = |dir: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let file = scratch.file(&format!("{dir}/foo"), text);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        (file.parent().unwrap().display().to_string(), format!("/{dir}"))
    };
    let (bad, good) = (path("bad", "#!/no/such\n"), path("good", "#!/bin/sh\necho hi\n"));
    let mut jail = Jail::new("foo").env("PATH", "/bad:/good").restricted(true).capture_output();
    for (source, target) in [bad, good] {
        jail = jail.volume_read_only(source, target);
    }
    let error = jail.run().unwrap_err();
    assert_eq!(error.exit_code(), 127, "{error}");
    assert!(error.to_string().contains("foo"), "{error}");
}

#[test]
fn what_the_host_has_few_of_is_out_of_reach() {
    // inotify_init1, inotify_init, fanotify_init, io_setup
    let code = "print(call(294, 0), call(253), call(300, 0, 0), call(206, 1, 0))";
    // ENOSYS is the default profile's own answer.
    prints(&restricted(true, code), "1 1 1 38");
}

#[test]
fn a_restricted_job_with_something_writable_is_refused_and_named() {
    let refused = |change: fn(&mut stockade::Policy), what: &str| {
        let mut jail = Jail::new("/bin/true").restricted(false);
        change(jail.policy_mut());
        let error = jail.run().unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidConfig);
        assert!(error.to_string().contains(what), "{error}");
    };
    refused(|p| p.read_only = false, "a writable root");
    refused(|p| p.landlock = stockade::LandlockChoice::Off, "landlock=off");
    refused(|p| p.network = stockade::Network::Host, "the host's network");
    refused(|p| p.no_new_privs = false, "a listener");
    refused(|p| p.nested_userns = true, "namespaces");
    refused(|p| p.tty = true, "a terminal");
    refused(|p| p.cap_add.push("SYS_ADMIN".to_owned()), "capabilities");
    refused(|p| p.cap_add.push("ALL".to_owned()), "capabilities");
}

#[test]
fn a_thousand_restricted_runs_all_have_the_right_verdict() {
    let runs = support::times(1000);
    let next = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    if n >= runs {
                        return;
                    }
                    let (program, args, code): (_, &[&str], i32) = match n % 4 {
                        0 => ("/bin/true", &[], 0),
                        1 => ("/bin/false", &[], 1),
                        2 => ("/usr/bin/env", &["/bin/true"], 126),
                        _ => ("/bin/sh", &["-c", "echo x | cat; exit 7"], 2),
                    };
                    let jail = Jail::new(program).args(args.iter().copied()).restricted(false);
                    let outcome = jail.capture_output().run().unwrap();
                    assert_eq!(
                        (outcome.status, outcome.exit_code),
                        (Status::Exited, Some(code)),
                        "run {n}: {outcome:#?}"
                    );
                }
            });
        }
    });
}
