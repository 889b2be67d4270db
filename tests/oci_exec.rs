//! `exec`: a further process in a container that runs.

mod support;

use serde_json::json;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::bin;
use support::bundle::{Bundle, reference, status_line};

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn the_command_runs_in_the_container_and_its_status_is_ours() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    assert_eq!(c.exec(&["echo", "-n", "a b"]), "a b");
    assert_eq!(c.exec(&["readlink", "/proc/1/exe"]), "/bin/busybox\n");
    for (command, code) in
        [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
    {
        let o = c.call(&["exec", "ID", "sh", "-c", command]);
        assert_eq!(o.status.code(), Some(code), "{command}: {o:?}");
    }
    // stdin, and what it leaves behind.
    let mut child = c
        .command(&["exec", "ID", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"through").unwrap();
    let o = child.wait_with_output().unwrap();
    assert_eq!((o.status.code(), o.stdout.as_slice()), (Some(0), &b"through"[..]));
    assert_eq!(c.state()["status"], "running");
}

#[test]
fn what_cannot_be_run_is_said_in_runcs_words() {
    need_root!();
    for program in [Some(support::bin()), reference()].into_iter().flatten() {
        let c = Bundle::of(program, |_| {}).start();
        c.exec(&["touch", "/plain"]);
        c.exec(&["sh", "-c", "echo '#!/not-there' >/script; chmod +x /script"]);
        for (args, text, code) in [
            (&["nope"][..], "executable file not found in $PATH", 255),
            (&["/nope"], "no such file or directory", 255),
            (&["/plain"], "permission denied", 255),
            (&["/tmp"], "denied", 255),
            (&["/script"], "no such file or directory", 255),
        ] {
            // There this runc has lost the pipe that it would have told its parent by.
            if args[0] == "/script" && program != support::bin() {
                continue;
            }
            let args: Vec<&str> = ["exec", "ID"].iter().chain(args).copied().collect();
            let o = c.call(&args);
            assert_eq!(o.status.code(), Some(code), "{program} {args:?} {o:?}");
            let said = String::from_utf8(o.stderr).unwrap();
            assert!(said.contains(text) || args[2] == "/tmp", "{program} {args:?}: {said}");
            assert!(said.contains("exec failed: "), "{program} {args:?}: {said}");
        }
        let o = c.call(&["exec", "--cwd", "/nope/x", "ID", "true"]);
        assert!(program != support::bin() || o.status.code() == Some(255), "{o:?}");
        c.ok(&["kill", "ID", "KILL"]);
        wait_stopped(&c);
        let said = c.fails(&["exec", "ID", "true"]);
        assert!(said.contains("cannot exec in a stopped container"), "{program}: {said}");
    }
}

fn wait_stopped(c: &Bundle) {
    let end = Instant::now() + Duration::from_secs(20);
    while c.state()["status"] != "stopped" {
        assert!(Instant::now() < end, "the container does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn options_change_the_configured_process_and_nothing_else() {
    need_root!();
    let c = Bundle::new(|config| {
        config["process"]["env"] = json!(["PATH=/bin", "A=configured", "B=configured"]);
        config["process"]["cwd"] = "/tmp".into();
        config["process"]["user"] = json!({ "uid": 7, "gid": 8, "additionalGids": [9] });
    })
    .start();
    assert_eq!(c.exec(&["pwd"]), "/tmp\n");
    assert_eq!(c.exec_with(&["--cwd", "/bin"], &["pwd"]), "/bin\n");
    let env = c.exec_with(&["-e", "A=changed", "--env", "C=new"], &["env"]);
    assert!(lines(&env).contains(&"A=changed") && !env.contains("A=configured"), "{env}");
    assert!(lines(&env).contains(&"B=configured") && lines(&env).contains(&"C=new"), "{env}");
    let ids = |options: &[&str]| {
        let s = c.exec_with(options, &["cat", "/proc/self/status"]);
        let get = |k| status_line(&s, k).split_whitespace().collect::<Vec<_>>().join(" ");
        (get("Uid"), get("Gid"), get("Groups"))
    };
    let all = |n: &str| [n; 4].join(" ");
    assert_eq!(ids(&[]), (all("7"), all("8"), "9".to_owned()));
    assert_eq!(ids(&["-u", "0"]), (all("0"), all("8"), "9".to_owned()));
    assert_eq!(ids(&["--user", "11:12"]), (all("11"), all("12"), "9".to_owned()));
    assert_eq!(ids(&["-g", "4", "--additional-gids=5"]).2, "4 5 9");
    // A name is looked up in the container's own files, with the groups it is in there.
    assert_eq!(ids(&["--user", "ann"]), (all("1001"), all("1002"), "1010".to_owned()));
    assert_eq!(ids(&["--user", "ann:extra"]).1, all("1010"));
    let said = c.fails(&["exec", "--user", "nobody-there", "ID", "true"]);
    assert!(said.contains("nobody-there"), "{said}");
}

#[test]
fn a_process_can_come_from_a_file() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let file = c.scratch.file(
        "process.json",
        &json!({
            "args": ["sh", "-c", "echo $A; pwd; id -u"], "env": ["PATH=/bin", "A=file"],
            "cwd": "/tmp", "user": { "uid": 3, "gid": 4 }, "unknown": true,
        })
        .to_string(),
    );
    let file = file.to_str().unwrap();
    assert_eq!(c.ok(&["exec", "--process", file, "ID"]), "file\n/tmp\n3\n");
    assert_eq!(c.ok(&["exec", "ID", "-p", file]), "file\n/tmp\n3\n");
    for bad in [
        "{",
        "{}",
        "[]",
        "null",
        "{\"args\":[],\"cwd\":\"/\"}",
        "{\"args\":[\"true\"],\"cwd\":\"x\"}",
    ] {
        let file = c.scratch.file("bad.json", bad);
        let o = c.call(&["exec", "-p", file.to_str().unwrap(), "ID"]);
        assert_eq!(o.status.code(), Some(255), "{bad}: {o:?}");
    }
}

#[test]
fn detached_it_returns_at_once_and_tells_the_pid() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let socket = c.scratch.join("pidfd.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let null = || std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let status = c
        .command(&["exec", "-d", "--pid-file", "pid", "--pidfd-socket"])
        .arg(&socket)
        .args([&c.id, "sleep", "777"])
        .stdin(null())
        .stdout(null())
        .stderr(null())
        .status()
        .unwrap();
    assert!(status.success());
    let pid: i32 = std::fs::read_to_string(c.dir().join("pid")).unwrap().parse().unwrap();
    let cmdline = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(cmdline, "sleep\x00777\x00");
    let (peer, _) = listener.accept().unwrap();
    let mut buf = [0u8; 64];
    let (n, fd) = stockade::sys::io::recv(peer.as_fd(), &mut buf, false).unwrap();
    assert!(n > 0);
    let fd = fd.expect("a descriptor");
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    assert_eq!(status_line(&info.unwrap(), "Pid"), pid.to_string());
    assert!(c.ok(&["ps", "-f", "json", "ID"]).contains(&pid.to_string()));
    let o = c.call(&["exec", "--pid-file", "/nonexistent/pid", "ID", "true"]);
    assert_eq!(o.status.code(), Some(255), "{o:?}");
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let socket = c.scratch.join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let path = socket.to_str().unwrap();
    let o = c.call(&[
        "exec",
        "-t",
        "-d",
        "--console-size",
        "99x33",
        "--console-socket",
        path,
        "ID",
        "sh",
        "-c",
        "stty size; tty; [ -t 2 ] && echo all; read x; echo got $x",
    ]);
    assert!(o.status.success(), "{o:?}");
    let (peer, _) = listener.accept().unwrap();
    let mut buf = [0u8; 4096];
    let (_, master) = stockade::sys::io::recv(peer.as_fd(), &mut buf, false).unwrap();
    let mut master = std::fs::File::from(master.expect("a descriptor"));
    std::io::Write::write_all(&mut master, b"hello\n").unwrap();
    let mut seen = String::new();
    while !seen.contains("got hello") {
        let mut buf = [0u8; 256];
        // EIO: the other end is closed.
        match master.read(&mut buf) {
            Ok(n) if n > 0 => seen.push_str(&String::from_utf8_lossy(&buf[..n])),
            _ => break,
        }
    }
    assert!(seen.contains("33 99"), "{seen}");
    assert!(seen.contains("/dev/pts/") && seen.contains("all"), "{seen}");
    assert!(seen.contains("got hello"), "{seen}");

    let said = c.fails(&["exec", "-t", "-d", "ID", "true"]);
    assert!(said.contains("console socket"), "{said}");
    let said = c.fails(&["exec", "--console-socket", path, "ID", "true"]);
    assert!(said.contains("console socket"), "{said}");
}

/// At a terminal of the caller's, which is as it was afterwards.
#[test]
fn in_the_foreground_the_callers_terminal_is_carried() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let size = nix::pty::Winsize { ws_row: 31, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(&size, None).unwrap();
    let before = nix::sys::termios::tcgetattr(&pty.slave).unwrap();
    let end = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut child = c
        .command(&["exec", "-t", "ID", "sh", "-c", "stty size; read x; echo got $x; exit 5"])
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    let mut master = std::fs::File::from(pty.master);
    let mut seen = String::new();
    let mut read_until = |text: &str, master: &mut std::fs::File| {
        while !seen.contains(text) {
            let mut buf = [0u8; 256];
            let n = master.read(&mut buf).unwrap();
            seen.push_str(&String::from_utf8_lossy(&buf[..n]));
        }
    };
    read_until("31 97", &mut master);
    std::io::Write::write_all(&mut master, b"this\n").unwrap();
    read_until("got this", &mut master);
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_eq!(nix::sys::termios::tcgetattr(&pty.slave).unwrap(), before);
}

#[test]
fn in_the_foreground_signals_go_to_the_process() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done";
    let mut child =
        c.command(&["exec", "ID", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut up = [0u8; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
    // The end of the container is the end of it.
    let mut child = c.command(&["exec", "ID", "sh", "-c", "echo up; sleep 1000"]);
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    c.ok(&["kill", "ID", "KILL"]);
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

#[test]
fn a_paused_container_is_left_alone_unless_asked() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    c.ok(&["pause", "ID"]);
    let said = c.fails(&["exec", "ID", "true"]);
    assert!(said.contains("cannot exec in a paused container"), "{said}");
    let mut waiting = c.command(&["exec", "--ignore-paused", "ID", "echo", "on"]);
    let waiting = waiting.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    c.ok(&["resume", "ID"]);
    let o = waiting.wait_with_output().unwrap();
    assert_eq!((o.status.code(), o.stdout.as_slice()), (Some(0), &b"on\n"[..]));
}

#[test]
fn preserved_descriptors_arrive_and_no_others() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let held = std::fs::File::open("/").unwrap();
    let other = c.scratch.file("other", "inherited\n");
    let script = format!(
        "exec 3<{} 4</ 9</; exec {} --root {} exec --preserve-fds 1 {} sh -c 'cat <&3; ls /proc/self/fd'",
        other.display(),
        c.program.display(),
        c.scratch.join("root").display(),
        c.id
    );
    let o = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(o.status.success(), "{o:?}");
    let text = String::from_utf8(o.stdout).unwrap();
    // ls has the directory open itself.
    assert_eq!(lines(&text), ["inherited", "0", "1", "2", "3", "4"], "{text}");
    let missing = c.call(&["exec", "--preserve-fds", "200", "ID", "true"]);
    assert_eq!(missing.status.code(), Some(255), "{missing:?}");
    drop(held);
}

/// T23: the same rights, namespaces and cgroups as the init has.
#[test]
fn t23_a_joining_process_has_what_the_init_has() {
    need_root!();
    for kind in ["plain", "user", "all", "user and a network that is not its own"] {
        let c = Bundle::new(|config| {
            if kind != "plain" && kind != "all" {
                with_user_namespace(config);
            }
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            if kind == "all" {
                // On cgroup v2 it is there by default.
                namespaces.retain(|n| n["type"] != "cgroup");
                namespaces.extend([json!({ "type": "cgroup" }), json!({ "type": "time" })]);
            }
            if kind.contains("network") {
                // Belongs to our own user namespace, so it must be joined before the container's.
                namespaces.retain(|n| n["type"] != "network");
                namespaces.push(json!({ "type": "network", "path": "/proc/self/ns/net" }));
            }
            config["process"]["rlimits"] =
                json!([{ "type": "RLIMIT_NOFILE", "hard": 321, "soft": 123 }]);
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }],
            });
        })
        .start();
        let pid = c.pid();
        let init = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let own = c.exec(&["cat", "/proc/self/status"]);
        for key in [
            "CapInh",
            "CapPrm",
            "CapEff",
            "CapBnd",
            "CapAmb",
            "NoNewPrivs",
            "Seccomp",
            "Seccomp_filters",
        ] {
            assert_eq!(status_line(&own, key), status_line(&init, key), "{key} {kind}");
        }
        let limits = c.exec(&["cat", "/proc/self/limits"]);
        assert!(limits.contains("123                  321"), "{limits}");
        let said = c.fails(&["exec", "ID", "mkdir", "/x"]);
        assert!(said.contains("Operation not permitted"), "{said}");
        // Seen from the host, while it runs.
        let child = c
            .command(&["exec", "--pid-file", "pid", "ID", "cat"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let joined = wait_for_pid(&c);
        // The file is there before the program: what is to be looked at is joined by then.
        let patience = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(format!("/proc/{joined}/comm")).unwrap() != "cat\n" {
            assert!(Instant::now() < patience, "it is not executed");
            std::thread::sleep(Duration::from_millis(5));
        }
        for ns in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
            let link = |p: i32| std::fs::read_link(format!("/proc/{p}/ns/{ns}")).unwrap();
            assert_eq!(link(joined), link(pid), "{ns} {kind}");
        }
        let cgroup = |p: i32| std::fs::read_to_string(format!("/proc/{p}/cgroup")).unwrap();
        assert_eq!(cgroup(joined), cgroup(pid));
        end(child);
    }
}

fn wait_for_pid(c: &Bundle) -> i32 {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(pid) = std::fs::read_to_string(c.dir().join("pid")).unwrap_or_default().parse() {
            return pid;
        }
        assert!(Instant::now() < end, "no pid file");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn end(mut child: std::process::Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

fn with_user_namespace(config: &mut serde_json::Value) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({ "type": "user" }));
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/sys"));
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}

/// T26: what is added is neither inheritable nor ambient (CVE-2022-29162).
#[test]
fn t26_a_capability_is_added_to_three_sets_only() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let s = c.exec_with(&["--cap", "CAP_SYS_PTRACE"], &["cat", "/proc/self/status"]);
    let bit = |k| u64::from_str_radix(status_line(&s, k), 16).unwrap() & (1 << 19) != 0;
    assert!(bit("CapBnd") && bit("CapPrm") && bit("CapEff"), "{s}");
    assert_eq!(
        (status_line(&s, "CapInh"), status_line(&s, "CapAmb")),
        ("0000000000000000", "0000000000000000")
    );
    let s = c.exec(&["cat", "/proc/self/status"]);
    assert_eq!(u64::from_str_radix(status_line(&s, "CapBnd"), 16).unwrap() & (1 << 19), 0);
}

/// T23: the bundle belongs to the caller, and is not asked again.
#[test]
fn t23_what_the_bundle_says_now_does_not_count() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let before = c.exec(&["cat", "/proc/self/status"]);
    let file = c.dir().join("config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let all = json!(["CAP_SYS_ADMIN", "CAP_CHOWN"]);
    config["process"]["capabilities"] =
        json!({ "bounding": all, "permitted": all, "effective": all });
    config["process"]["noNewPrivileges"] = false.into();
    std::fs::write(&file, config.to_string()).unwrap();
    let after = c.exec(&["cat", "/proc/self/status"]);
    for key in ["CapPrm", "CapEff", "CapBnd", "NoNewPrivs"] {
        assert_eq!(status_line(&after, key), status_line(&before, key), "{key}");
    }
}

/// T19 (CVE-2024-21626): no descriptor of the caller's is a way out.
#[test]
fn t19_a_descriptor_of_the_caller_is_no_working_directory() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    for n in 0..16 {
        let script = format!(
            "exec 3</ 4</etc 5</tmp 6</usr 7</ 8</ 9</; exec {} --root {} exec --cwd /proc/self/fd/{n} {} pwd",
            c.program.display(),
            c.scratch.join("root").display(),
            c.id
        );
        let o = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(!o.status.success(), "fd {n}: {o:?}");
    }
}

/// T34: a sub-cgroup is below the container's own.
#[test]
fn t34_a_sub_cgroup_that_leads_out_is_refused() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    for bad in
        ["../x", "/..", "memory:../..", "memory:/a/../../b", ":x", "nope:x", "memory:not-there"]
    {
        let o = c.call(&["exec", "--cgroup", bad, "ID", "true"]);
        assert_eq!(o.status.code(), Some(255), "{bad}: {o:?}");
    }
    if support::pure_v2() {
        std::fs::create_dir(format!("/sys/fs/cgroup/{}/sub", c.id)).unwrap();
        let seen = c.exec_with(&["--cgroup", "sub"], &["cat", "/proc/self/cgroup"]);
        assert!(seen.lines().any(|l| l.starts_with("0::") && l.ends_with("/sub")), "{seen}");
        return;
    }
    let sub = format!("/sys/fs/cgroup/memory/{}/sub", c.id);
    if std::fs::create_dir(&sub).is_err() {
        skip!("no memory controller on v1 here");
    }
    let seen = c.exec_with(&["--cgroup", "memory:sub"], &["cat", "/proc/self/cgroup"]);
    assert!(seen.lines().any(|l| l.contains("memory:") && l.ends_with("/sub")), "{seen}");
    assert!(seen.lines().any(|l| l.contains("pids:") && !l.ends_with("/sub")), "{seen}");
}

/// T40: files of the image are read within bounds, and nothing of the host's instead of them.
#[test]
fn t40_hostile_account_files_are_an_error_in_a_moment() {
    need_root!();
    for kind in ["fifo", "zero", "huge", "link", "directory"] {
        let c = Bundle::new(|_| {}).start();
        let passwd = c.rootfs().join("etc/passwd");
        std::fs::remove_file(&passwd).unwrap();
        match kind {
            "fifo" => nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::from_bits_truncate(0o644))
                .unwrap(),
            "zero" => std::os::unix::fs::symlink("/dev/zero", &passwd).unwrap(),
            "huge" => std::fs::File::create(&passwd).unwrap().set_len(1 << 30).unwrap(),
            "link" => std::os::unix::fs::symlink("../../../../etc/passwd", &passwd).unwrap(),
            _ => std::fs::create_dir(&passwd).unwrap(),
        }
        let begun = Instant::now();
        let o = c.call(&["exec", "--user", "ann", "ID", "true"]);
        assert_eq!(o.status.code(), Some(255), "{kind}: {o:?}");
        // A bound on waiting for ever, not a measurement.
        assert!(begun.elapsed() < Duration::from_secs(10), "{kind}");
    }
}

/// T17 (CVE-2016-9962): nothing of the runtime's can be opened from inside while processes join.
/// The container has a user namespace: with the host's own CAP_SYS_PTRACE nothing could stop it.
#[test]
fn t17_a_joining_process_cannot_be_looked_into() {
    need_root!();
    let script = "while :; do for p in /proc/[0-9]*; do \
        n=${p#/proc/}; [ $n = 1 ] && continue; [ $n = $$ ] && continue; \
        e=$(readlink $p/exe) || continue; \
        case $e in /bin/busybox) ;; *) echo exe $e >> /found ;; esac; \
        for x in root cwd; do r=$(readlink $p/$x) || continue; [ $r = / ] || echo $x $r >> /found; done; \
        for f in $p/fd/*; do t=$(readlink $f) || continue; \
        case $t in /dev/null|pipe:*|/proc/*|/found|/output|/) ;; *) echo $f $t >> /found ;; esac; done; \
        done; done";
    let c = Bundle::new(|config| {
        with_user_namespace(config);
        config["process"]["args"] = json!(["sh", "-c", script]);
        let caps = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"]);
        config["process"]["capabilities"] =
            json!({ "bounding": caps, "permitted": caps, "effective": caps });
    });
    // Its root in the namespace may write there.
    std::os::unix::fs::chown(c.rootfs(), Some(100_000), Some(100_000)).unwrap();
    let c = c.start();
    for _ in 0..support::times(200) {
        c.exec(&["true"]);
    }
    let found = std::fs::read_to_string(c.rootfs().join("found")).unwrap_or_default();
    assert_eq!(found, "");
}

/// T18: with the host's own CAP_SYS_PTRACE the file that a joining process comes from can be
/// opened; it cannot be written to, not even when nobody executes it any more.
#[test]
fn t18_the_binary_is_out_of_reach_of_whoever_may_look_into_processes() {
    need_root!();
    let script = "while :; do for p in /proc/[0-9]*; do \
        n=${p#/proc/}; [ $n = 1 ] && continue; [ $n = $$ ] && continue; \
        e=$(readlink $p/exe) || continue; [ \"$e\" = /bin/busybox ] && continue; \
        ( exec 5<$p/exe; echo $e >>/seen; sleep 0.05; echo x >>/proc/self/fd/5 && echo $e >>/won ) \
        2>/dev/null; done; done";
    let c = Bundle::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        let caps = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"]);
        config["process"]["capabilities"] =
            json!({ "bounding": caps, "permitted": caps, "effective": caps });
    })
    .start();
    let before = std::fs::read(&c.program).unwrap();
    for n in 0..60 {
        c.exec(&["true"]);
        if n % 10 == 0 {
            std::thread::sleep(Duration::from_millis(120));
        }
    }
    std::thread::sleep(Duration::from_millis(120));
    let won = std::fs::read_to_string(c.rootfs().join("won")).unwrap_or_default();
    let seen = std::fs::read_to_string(c.rootfs().join("seen")).unwrap_or_default();
    assert_eq!(won, "", "seen: {seen}");
    assert!(std::fs::read(&c.program).unwrap() == before);
}

/// T18 for `exec`: the runtime's binary stays what it is.
#[test]
fn t18_the_binary_is_out_of_reach_of_what_is_executed() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let before = std::fs::read(&c.program).unwrap();
    std::fs::write(c.rootfs().join("bin/evil"), "#!/proc/self/exe\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(c.rootfs().join("bin/evil"), mode).unwrap();
    let o = c.call(&["exec", "ID", "/bin/evil", "features"]);
    assert!(!o.status.success() && o.stdout.is_empty(), "{o:?}");
    let o = c.call(&["exec", "ID", "/proc/self/exe", "features"]);
    assert!(!o.status.success() && o.stdout.is_empty(), "{o:?}");
    assert!(std::fs::read(&c.program).unwrap() == before);
}

/// What an init of a container without CAP_SYS_PTRACE does to everything that appears beside it.
const LOOKS_INTO_EVERYBODY: &str = r#"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    for (;;) {
        DIR *proc = opendir("/proc");
        struct dirent *e;
        while (proc && (e = readdir(proc))) {
            int pid = atoi(e->d_name);
            char path[64], name[256] = "";
            if (pid < 2) continue;
            // What may be opened may be traced, and stays as it is.
            snprintf(path, sizeof path, "/proc/%d/mem", pid);
            int fd = open(path, O_RDWR);
            if (fd < 0) continue;
            close(fd);
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            if (readlink(path, name, sizeof name - 1) < 0) strcpy(name, "?");
            FILE *f = fopen("/seen", "a");
            if (f) { fprintf(f, "%s\n", name); fclose(f); }
        }
        if (proc) closedir(proc);
    }
}
"#;

/// T17, CVE-2016-9962: who has the same ids and rights gets hold of the program that was asked for, and
/// of nothing that comes before it.
#[test]
fn t17_what_joins_cannot_be_traced_before_it_is_the_program() {
    need_root!();
    let programs: Vec<_> = [Some(bin()), reference()].into_iter().flatten().collect();
    for program in programs {
        let c = Bundle::of(program, |config| {
            config["process"]["args"] = json!(["/tracer"]);
            config["root"]["readonly"] = json!(false);
            let caps = json!(["CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]);
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = caps.clone();
            }
        });
        let source = c.scratch.join("tracer.c");
        std::fs::write(&source, LOOKS_INTO_EVERYBODY).unwrap();
        let tracer = c.rootfs().join("tracer");
        let mut compiler = Command::new("gcc");
        compiler.args(["-static", "-O1", "-o"]).arg(&tracer).arg(&source);
        assert!(compiler.status().unwrap().success());
        let c = c.start();
        for _ in 0..40 {
            let o = c.call(&["exec", "ID", "sleep", "0.01"]);
            assert!(o.status.success(), "{o:?}");
        }
        let seen = std::fs::read_to_string(c.rootfs().join("seen")).unwrap_or_default();
        // The control: programs that were executed can be traced, as inside any container.
        let ours = |l: &&str| !l.ends_with("/busybox") && !l.ends_with("/sleep") && *l != "?";
        assert!(seen.lines().count() > 5, "{program}: nobody was traced: {seen}");
        assert_eq!(seen.lines().filter(ours).count(), 0, "{program}: {seen}");
    }
}

/// T18: it need not be a process of this container that looks: another one may share its pid
/// namespace.
#[test]
fn t18_the_binary_is_out_of_reach_of_another_container_that_shares_the_pids() {
    need_root!();
    let quiet = Bundle::new(|_| {}).start();
    let script = "while :; do for p in /proc/[0-9]*; do e=$(readlink $p/exe) || continue; \
        [ \"$e\" = /bin/busybox ] && continue; \
        ( exec 5<$p/exe; echo $e >>/seen; sleep 0.05; echo x >>/proc/self/fd/5 && echo $e >>/won ) \
        2>/dev/null; done; done";
    let looks = Bundle::of(&quiet.program, |config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        let caps = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"]);
        config["process"]["capabilities"] =
            json!({ "bounding": caps, "permitted": caps, "effective": caps });
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "pid" {
                namespace["path"] = json!(format!("/proc/{}/ns/pid", quiet.pid()));
            }
        }
    })
    .start();
    let before = std::fs::read(&quiet.program).unwrap();
    // Until it has looked, but it may never see anything.
    for n in 0..60 {
        quiet.exec(&["true"]);
        if n % 10 == 0 {
            std::thread::sleep(Duration::from_millis(120));
        }
    }
    std::thread::sleep(Duration::from_millis(120));
    let won = std::fs::read_to_string(looks.rootfs().join("won")).unwrap_or_default();
    let seen = std::fs::read_to_string(looks.rootfs().join("seen")).unwrap_or_default();
    assert_eq!(won, "", "seen: {seen}");
    assert!(std::fs::read(&quiet.program).unwrap() == before);
}

/// As in runc: the score is the container's, also of what joins it later.
#[test]
fn what_is_executed_has_the_containers_oom_score() {
    need_root!();
    for program in [Some(bin()), reference()].into_iter().flatten() {
        let c = Bundle::of(program, |c| c["process"]["oomScoreAdj"] = json!(321)).start();
        assert_eq!(c.exec(&["cat", "/proc/self/oom_score_adj"]), "321\n", "{program}");
        let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        let c = Bundle::of(program, |c| {
            c["process"].as_object_mut().unwrap().remove("oomScoreAdj");
        })
        .start();
        assert_eq!(c.exec(&["cat", "/proc/self/oom_score_adj"]), own, "{program}");
    }
}

/// A pipe is read once, although `exec` goes on as another process image.
#[test]
fn a_process_may_come_through_a_pipe() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let mut exec = c.command(&["exec", "--process", "/dev/stdin", "ID"]);
    exec.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = exec.spawn().unwrap();
    let process = json!({"args": ["echo", "read"], "cwd": "/", "env": ["PATH=/bin"]});
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), process.to_string().as_bytes())
        .unwrap();
    let o = child.wait_with_output().unwrap();
    assert_eq!(&*o.stdout, b"read\n", "{o:?}");
}
