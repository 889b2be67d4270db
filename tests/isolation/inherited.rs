//! What a careless caller leaves lying about: descriptors, signals, limits, keys.

use crate::attack::{
    answer, attack, careless, careless_jail, open_scratch, outside, program, volume,
};
use crate::support::{Run, jail_with, sh};
use crate::{need_root, skip};
use std::process::{Command, Stdio};

const LEAKY: &str = "resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
d = os.open('/', os.O_RDONLY)
for n in range(3, 1024): os.dup2(d, n, inheritable=True)";

#[test]
fn h01_the_callers_open_descriptors_do_not_reach_the_job() {
    let volume = volume();
    for init in ["--init", "--no-init"] {
        let args = [init, "-v", &volume, "--", "/t/attack", "fds"];
        let run = careless_jail(LEAKY, &args).exits(0);
        let numbers: Vec<&str> = run.stdout.lines().map(|l| l.split(' ').next().unwrap()).collect();
        assert_eq!(numbers, ["0", "1", "2"], "{run:#?}");
    }
    // Control: without stockade they are all there.
    let mut command = Command::new(program());
    command.arg("fds");
    careless(LEAKY)(&mut command);
    let seen = command.output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&seen).lines().count() > 1000);
}

#[test]
fn h01_a_hostile_rootfs_gets_no_descriptor_either() {
    let root = crate::support::busybox_rootfs();
    let dir = root.path().to_str().unwrap();
    let args = ["--rootfs", dir, "--", "/bin/sh", "-c", "ls /proc/self/fd"];
    let run = careless_jail(LEAKY, &args).exits(0);
    // 3 is the directory that ls itself reads.
    assert_eq!(run.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

#[test]
fn h02_closed_standard_streams_never_become_something_of_the_runtimes() {
    for closed in ["0", "1", "2", "0,1", "1,2", "0,1,2"] {
        let out = open_scratch();
        let volume = format!("{}:/out", out.path().display());
        let script = "for n in /proc/$$/fd/*; do readlink $n; done > /out/fds
            ls /proc/$$/fd > /out/numbers; echo to-stdout; echo to-stderr >&2";
        let prepare = format!("for n in ({closed},): os.close(n)");
        let run = careless_jail(&prepare, &["-v", &volume, "--", "bash", "-c", script]).exits(0);
        // The outcome parses: no word of the job went into a file of stockade's.
        assert_eq!(run.outcome["status"], "exited", "{closed} {run:#?}");
        let read = |n: &str| std::fs::read_to_string(out.join(n)).unwrap();
        // While the loop is redirected, bash keeps its real stdout at 10.
        for target in read("fds").lines() {
            let fine = target.starts_with("pipe:") || target == "/dev/null" || target == "/out/fds";
            assert!(fine, "{closed} closed: {target}\n{run:#?}");
        }
        assert!(read("numbers").starts_with("0\n1\n2\n"), "{closed}: {:?}", read("numbers"));
    }
}

#[test]
fn h45_the_callers_blocked_and_ignored_signals_are_the_jobs_defaults() {
    let prepare = "for s in (signal.SIGPIPE, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, 40):
    signal.signal(s, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, 41])";
    let volume = volume();
    for init in ["--init", "--no-init"] {
        let args = [init, "-v", &volume, "--", "/t/attack", "signals"];
        let run = careless_jail(prepare, &args).exits(0);
        assert_eq!(run.stdout, "looked\n", "{init}");
    }
    let mut command = Command::new(program());
    command.arg("signals");
    careless(prepare)(&mut command);
    let seen = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(seen.contains("not default 1\n") && seen.contains("blocked 41\n"), "{seen}");
}

/// The sixteen limits, each soft and hard, and the umask.
const LIMITS: &str = "import resource, os
for n in range(16): print(n, *resource.getrlimit(n))
m = os.umask(0); print('umask', oct(m))";

#[test]
fn h15_h16_no_limit_and_no_umask_of_the_callers_is_inherited() {
    // Soft limits only: a hard one cannot be raised again by an ordinary user.
    let prepare = "os.umask(0o077)
for n, v in ((0, 9999), (1, 1 << 40), (2, 1 << 40), (3, 1 << 20), (4, 0), (5, 1 << 40),
             (6, 5000), (7, 333), (8, 4096), (9, 1 << 44), (10, 99), (11, 77), (12, 88), (15, 99)):
    resource.setrlimit(n, (v, resource.getrlimit(n)[1]))";
    let command = ["--", "/usr/bin/python3", "-c", LIMITS];
    let usual = careless_jail("", &command).exits(0).stdout;
    let odd = careless_jail(prepare, &command).exits(0).stdout;
    assert_eq!(usual, odd);
    assert_eq!(usual.lines().count(), 17);
    let soft = |n: &str| answer(&usual, n).split(' ').next().unwrap();
    assert_eq!(soft("0"), "-1");
    assert_eq!(soft("1"), "-1");
    assert_eq!(soft("3"), "8388608");
    assert_eq!(soft("7"), "1024");
    assert_eq!(answer(&usual, "umask"), "0o22");
}

#[test]
fn h16_a_user_sets_a_limit_and_has_exactly_that() {
    let limits = ["--ulimit", "nofile=100:200", "--ulimit", "fsize=4096", "--ulimit", "cpu=7"];
    let run = crate::support::python(&limits, LIMITS).exits(0);
    assert_eq!(answer(&run.stdout, "7"), "100 200");
    assert_eq!(answer(&run.stdout, "1"), "4096 4096");
    assert_eq!(answer(&run.stdout, "0"), "7 7");
}

#[test]
fn h17_a_crash_never_reaches_the_hosts_core_handler() {
    // A handler behind a pipe is skipped for a limit of exactly 1 and for no other, 0 included:
    // fs/coredump.c. So the job has 1, and cannot make it anything else.
    let script = "cat /proc/self/limits; ulimit -c 0; ulimit -Sc 0; ulimit -c unlimited;
        ulimit -c 0 2>/dev/null; exec cat /proc/self/limits";
    let lines = |run: Run| -> Vec<Vec<String>> {
        run.stdout
            .lines()
            .filter(|l| l.starts_with("Max core file size"))
            .map(|l| l.split_whitespace().map(str::to_owned).collect())
            .collect()
    };
    for user in ["65534", "0"] {
        let seen = lines(sh(&["-u", user], script).exits(0));
        assert_eq!(seen.len(), 2);
        for line in seen {
            assert_eq!(line[4..6], ["1", "1"], "{line:?}");
        }
    }
    let asked = lines(sh(&["--ulimit", "core=0"], script));
    assert_eq!(asked[0][4..6], ["1", "1"]);
    // A program that switches cores off, as some do at their start, is not told no.
    crate::support::python(
        &[],
        "import resource as r; r.setrlimit(r.RLIMIT_CORE, (0, 0)); print('went on')",
    )
    .exits(0)
    .says("went on");
    sh(&[], "kill -SEGV $$").exits(139);
}

/// stockade started by `attack addkey`, in a session keyring that holds a key.
fn with_key(args: &[&str]) -> Run {
    jail_with(args, |command| {
        let words: Vec<_> = command.get_args().map(std::ffi::OsString::from).collect();
        let mut outer = Command::new(program());
        outer.arg("addkey").arg(command.get_program()).args(words).stdin(Stdio::null());
        *command = outer;
    })
}

#[test]
fn h06_the_callers_session_keyring_is_not_the_jobs() {
    let control =
        Command::new(program()).arg("addkey").arg(program()).arg("keyring").output().unwrap();
    if control.status.code() == Some(77) {
        skip!("no keyrings here");
    }
    let control = String::from_utf8(control.stdout).unwrap();
    assert_eq!(answer(&control, "search"), "ok", "the control finds the key");
    let (volume, open) = (volume(), "seccomp=unconfined");
    for init in ["--init", "--no-init"] {
        let args = [init, "--security-opt", open, "-v", &volume, "--", "/t/attack", "keyring"];
        let run = with_key(&args).exits(0);
        assert_eq!(answer(&run.stdout, "search"), "ENOKEY", "{run:#?}");
        assert_ne!(answer(&run.stdout, "session"), answer(&control, "session"));
    }
    let host = with_key(&[
        "--userns",
        "host",
        "--security-opt",
        open,
        "-v",
        &volume,
        "--",
        "/t/attack",
        "keyring",
    ]);
    if crate::support::is_root() {
        assert_eq!(answer(&host.exits(0).stdout, "search"), "ENOKEY");
    }
}

#[test]
fn h03_a_set_uid_program_gives_the_job_nothing() {
    need_root!();
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let scratch = open_scratch();
    let suid = scratch.join("suid");
    // By another process: a descriptor that writes to it could reach what another test starts.
    let copied = Command::new("cp").arg(program()).arg(&suid).status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(&suid, std::fs::Permissions::from_mode(0o6755)).unwrap();
    // Control: for somebody outside it does give root.
    let out = Command::new(&suid).arg("ids").uid(4321).gid(4321).output().unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    assert!(answer(&out, "uid").starts_with("4321 0"), "{out}");
    let volume = format!("{}:/v", scratch.path().display());
    for more in [
        vec![],
        vec!["--security-opt", "no-new-privileges:false"],
        vec!["--no-idmap"],
        vec!["--userns", "host", "-u", "4321:4321"],
        vec!["--userns", "host", "-u", "4321:4321", "--security-opt", "no-new-privileges:false"],
    ] {
        let args = [&["-v", &volume], &more[..], &["--", "/v/suid", "ids"]].concat();
        let run = crate::support::jail(args).exits(0);
        let own = if more.contains(&"host") { "4321 4321 4321" } else { "65534 65534 65534" };
        assert_eq!(answer(&run.stdout, "uid"), own, "{more:?} {run:#?}");
        assert_eq!(answer(&run.stdout, "gid"), own, "{more:?} {run:#?}");
    }
    sh(&[], "grep NoNewPrivs /proc/self/status").exits(0).says("NoNewPrivs:\t1");
    sh(&["--security-opt", "no-new-privileges:false"], "grep NoNewPrivs /proc/self/status")
        .exits(0)
        .says("NoNewPrivs:\t0");
}

#[test]
fn t21_a_set_uid_stockade_refuses() {
    need_root!();
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let scratch = open_scratch();
    for mode in [0o4755, 0o2755, 0o755] {
        let copy = scratch.join(&format!("stockade-{mode:o}"));
        // By another process: a descriptor that writes to it could reach what another test starts.
        let copied = Command::new("cp").arg(crate::support::bin()).arg(&copy).status();
        assert!(copied.unwrap().success());
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(mode)).unwrap();
        let out = Command::new(&copy)
            .args(["jail", "--allow-degraded", "--", "id", "-u"])
            .uid(4321)
            .gid(4321)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        if mode == 0o755 {
            assert_eq!(out.status.code(), Some(0), "the control runs: {said}");
        } else {
            assert_eq!(out.status.code(), Some(125), "{said}");
            assert!(said.contains("set-uid"), "{said}");
            assert!(out.stdout.is_empty());
        }
    }
}

#[test]
fn h28_the_hosts_ipc_objects_are_invisible() {
    use std::io::{BufRead, BufReader, Write};
    let key = (0x5710_0000 + std::process::id()).to_string();
    let name = format!("/stk-ipc-{}", std::process::id());
    let mut maker = Command::new(program())
        .args(["makeipc", &key, &name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(maker.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let seen = outside(&["ipc", &key, &name]);
    let run = attack(&[], &["ipc", &key, &name]);
    let root = attack(&["-u", "0"], &["ipc", &key, &name]);
    maker.stdin.take().unwrap().write_all(b"\n").unwrap();
    maker.wait().unwrap();
    for what in ["shmget", "mq_open", "shm_open"] {
        assert_eq!(answer(&run.stdout, what), "ENOENT", "{run:#?}");
        assert_eq!(answer(&root.stdout, what), "ENOENT", "{root:#?}");
        if line.contains("-1") {
            eprintln!("the host itself could not make one of them: {line}");
        } else {
            assert_eq!(answer(&seen, what), "ok", "the control: {seen}");
        }
    }
}
