//! The kernel's surface: system calls, sockets, ioctls, network, cgroups.

use crate::attack::{Live, answer, attack, outside, volume};
use crate::need_root;
use crate::support::{Scratch, is_filtered, jail, python, sh};
use crate::{skip, skip_on_this_kind_of_host};
use std::process::{Command, Stdio};

#[test]
fn h33_t22_t31_dangerous_calls_are_denied() {
    let seen = outside(&["calls"]);
    for options in [&[][..], &["-u", "0"], &["--no-init"]] {
        let run = attack(options, &["calls"]).exits(0);
        assert!(run.stdout.lines().count() >= 48, "{run:#?}");
        for line in run.stdout.lines() {
            let (call, verdict) = line.split_once(' ').unwrap();
            if is_filtered() && seen.contains(&format!("{call} ENOSYS")) {
                continue;
            }
            assert_eq!(verdict, "EPERM", "{options:?} {call}");
        }
    }
    // Control: outside nearly all of them get past that point.
    let denied: Vec<&str> = seen.lines().filter(|l| l.ends_with("EPERM")).collect();
    assert!(denied.len() <= if crate::support::is_root() { 5 } else { 30 }, "{denied:?}");
}

#[test]
fn h32_the_filter_is_on_and_stays_when_a_job_asks_for_no_init() {
    for options in [&[][..], &["--no-init"], &["--security-opt", "no-new-privileges:false"]] {
        sh(options, "grep Seccomp: /proc/self/status").exits(0).says("Seccomp:\t2");
    }
    if is_filtered() {
        skip_on_this_kind_of_host!("a filter is on the test itself");
    }
    let open = ["--security-opt", "seccomp=unconfined"];
    sh(&open, "grep Seccomp: /proc/self/status").exits(0).says("Seccomp:\t0");
}

#[test]
fn h32_a_profile_that_denies_what_set_up_needs_is_loaded_after_it() {
    let scratch = Scratch::new();
    let names = [
        "capset",
        "chdir",
        "chroot",
        "close_range",
        "dup3",
        "fchdir",
        "fsconfig",
        "fsmount",
        "fsopen",
        "keyctl",
        "landlock_add_rule",
        "landlock_create_ruleset",
        "landlock_restrict_self",
        "mount",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "openat2",
        "pivot_root",
        "setgroups",
        "sethostname",
        "setns",
        "setresgid",
        "setresuid",
        "setsid",
        "umask",
        "umount2",
        "unshare",
    ];
    let profile = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
        [{"names": names, "action": "SCMP_ACT_KILL_PROCESS"}]});
    let file = scratch.file("profile.json", &profile.to_string());
    let option = format!("seccomp={}", file.display());
    jail(["--security-opt", &option, "--", "echo", "started"]).exits(0).says("started\n");
    // Control: it is in force.
    sh(&["--security-opt", &option], "umask 0; echo lived on").exits(159);
}

#[test]
fn h35_a_job_makes_namespaces_by_clone() {
    let run = attack(&[], &["namespaces"]).exits(0);
    for line in run.stdout.lines() {
        let (call, verdict) = line.split_once(' ').unwrap();
        assert_eq!(verdict, if call == "clone3" { "ENOSYS" } else { "EPERM" }, "{call}");
    }
    assert!(run.stdout.lines().count() == 15);
    let seen = outside(&["namespaces"]);
    assert_eq!(answer(&seen, "clone_newuser"), "ok", "the control makes one");
    assert_eq!(answer(&seen, "clone3"), "EINVAL", "the control has clone3");
}

#[test]
fn h35_threads_and_posix_spawn_still_work() {
    attack(&[], &["threads"]).exits(0).says("thread ok\nspawned\n");
    python(
        &[],
        "import threading, subprocess
t = threading.Thread(target=lambda: print('thread')); t.start(); t.join()
print(subprocess.run(['echo', 'child'], capture_output=True).stdout)",
    )
    .exits(0)
    .says("thread\nb'child\\n'");
}

#[test]
fn h36_t32_calls_of_another_architecture_end_the_job() {
    let seen = outside(&["int80"]);
    if seen.contains("answered") {
        attack(&[], &["int80"]).exits(128 + libc::SIGSYS).has("signal", libc::SIGSYS);
    } else {
        eprintln!("the kernel has no 32-bit calls: nothing shown by int 0x80");
    }
    let run = attack(&[], &["x32"]);
    assert!(run.code == 128 + libc::SIGSYS || run.stdout.contains("ENOSYS"), "{run:#?}");
    assert!(!run.stdout.contains("ok"), "{run:#?}");
}

#[test]
fn h37_t32_odd_socket_families_are_denied() {
    let seen = outside(&["sockets"]);
    for options in [&[][..], &["-u", "0"], &["--network", "host"]] {
        let run = attack(options, &["sockets"]).exits(0);
        for line in run.stdout.lines() {
            let (family, verdict) = line.split_once(' ').unwrap();
            let usual = ["AF_UNIX", "AF_INET", "NETLINK_ROUTE"].contains(&family);
            assert_eq!(verdict, if usual { "ok" } else { "EPERM" }, "{options:?} {family}");
        }
    }
    assert_ne!(answer(&seen, "AF_ALG"), "EPERM", "the control");
}

/// A command line under a new terminal, and what was on it.
fn under_a_terminal(command: &str) -> String {
    let out = Command::new("script")
        .args(["-qefc", command, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("script is installed");
    String::from_utf8_lossy(&out.stdout).replace('\r', "")
}

#[test]
fn t30_a_job_types_into_a_terminal() {
    let program = crate::attack::program().display().to_string();
    let jail = format!("{} jail -v {}", crate::support::bin(), volume());
    for how in ["-t", "-t --no-init", "", "-i"] {
        let text = under_a_terminal(&format!("{jail} {how} -- /t/attack ioctls"));
        for call in ["TIOCSTI", "TIOCSTI+bit32", "TIOCLINUX", "TIOCLINUX+bit32"] {
            assert_eq!(answer(&text, call), "EIO", "{how}");
        }
        let terminal = if how.contains("-t") { "ok" } else { "ENOTTY" };
        assert_eq!(answer(&text, "TIOCGWINSZ"), terminal, "{how}: {text}");
    }
    // What was typed in is echoed, wherever the terminal happens to be.
    let control = under_a_terminal(&format!("{program} ioctls")).replace('x', "");
    if crate::support::is_root() {
        assert_eq!(answer(&control, "TIOCSTI"), "ok", "the control types");
    }
    // Even without the filter the terminal is the jail's own and not the caller's.
    let open = "-t --security-opt seccomp=unconfined";
    let text = under_a_terminal(&format!("{jail} {open} -- sh -c 'tty; ls /dev/pts'"));
    // Its echo of an end of input may come first.
    assert!(text.trim_start_matches("^@").starts_with("/dev/pts/0\n"), "{text}");
}

#[test]
fn t30_a_job_has_no_controlling_terminal_of_the_callers() {
    let jail = format!("{} jail", crate::support::bin());
    let text = under_a_terminal(&format!("{jail} -- sh -c 'echo x > /dev/tty || echo none'"));
    assert!(text.contains("none"), "{text}");
    let text = under_a_terminal("sh -c 'echo x > /dev/tty || echo none'");
    assert!(!text.contains("none"), "the control: {text}");
}

#[test]
fn h41_only_lo_and_no_host_socket_by_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("host-abstract-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let code = format!(
        "import socket, os
print('links', sorted(os.listdir('/proc/self/net/dev_snmp6')) if
      os.path.isdir('/proc/self/net/dev_snmp6') else '',
      [l.split(':')[0].strip() for l in open('/proc/net/dev').readlines()[2:]])
print('listed', '{name}' in open('/proc/net/unix').read())
s = socket.socket(socket.AF_UNIX)
try: s.connect('\\0{name}'); print('connected')
except OSError as e: print(e.strerror)
try: socket.create_connection(('127.0.0.1', 1)); print('open')
except OSError as e: print(e.strerror)
try: socket.create_connection(('192.0.2.1', 80)); print('open')
except OSError as e: print(e.strerror)"
    );
    // By the network namespace alone: Landlock would refuse too, and earlier.
    let off = ["--security-opt", "landlock=off"];
    let run = python(&off, &code).exits(0);
    assert!(run.stdout.contains("['lo']\nlisted False\nConnection refused\n"), "{run:#?}");
    // lo is up (refused and not unreachable), and there is no way beyond it.
    assert!(run.stdout.ends_with("Connection refused\nNetwork is unreachable\n"), "{run:#?}");
    let control = python(&[&["--network", "host"], &off[..]].concat(), &code).exits(0);
    assert!(control.stdout.contains("listed True\nconnected"), "{control:#?}");
}

#[test]
fn h41_a_look_up_of_a_name_fails_and_does_not_wait() {
    let code = "import socket
try: socket.getaddrinfo('example.org', 80); print('found')
except socket.gaierror as e: print('gaierror', e.errno)";
    let run = python(&["--timeout", "20s"], code).exits(0).has("status", "exited");
    assert!(run.stdout.starts_with("gaierror"), "{run:#?}");
}

#[test]
fn t37_the_supervisor_has_no_socket_with_a_name() {
    let live = Live::start("named", &["--", "sh", "-c", "echo up; exec sleep 60"]);
    let fds = format!("/proc/{}/fd", live.child.id());
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let mut sockets = 0;
    for fd in std::fs::read_dir(fds).unwrap().flatten() {
        let to = std::fs::read_link(fd.path()).unwrap_or_default().display().to_string();
        let Some(inode) = to.strip_prefix("socket:[").and_then(|t| t.strip_suffix(']')) else {
            continue;
        };
        sockets += 1;
        for line in table.lines() {
            let columns: Vec<&str> = line.split_whitespace().collect();
            if columns.get(6) == Some(&inode) {
                assert_eq!(columns.len(), 7, "a socket with a name: {line}");
            }
        }
    }
    assert!(sockets > 0, "the supervisor talks to its child by a socket");
    // Those of other tests on this host are below their own directories.
    let named = |line: &&str| line.contains("stockade") && !line.contains("/stockade-test-");
    assert_eq!(table.lines().find(named), None);
}

#[test]
fn h29_t34_a_job_writes_to_the_cgroup_file_system() {
    need_root!();
    let own = sh(
        &[],
        "cut -d: -f3 /proc/self/cgroup | sort -u; grep -c ' - cgroup' /proc/self/mountinfo",
    );
    assert_eq!(own.stdout, "/\n0\n", "{own:#?}");
    for options in [&[][..], &["-u", "0"]] {
        let script = "mkdir -p /sys/fs/cgroup/x || mount -t cgroup2 c /tmp || mount -t cgroup \
            -o memory c /tmp || echo refused";
        assert_eq!(sh(options, script).stdout, "refused\n");
    }
    // With the right to mount it can have its own cgroup's files, but they are root's.
    let script = "mkdir -p /tmp/c; for o in memory pids cpu cpuset devices; do
            mount -t cgroup -o $o c /tmp/c || continue
            for f in memory.limit_in_bytes pids.max cpu.cfs_quota_us cgroup.procs release_agent \
                tasks notify_on_release devices.allow; do
                [ ! -e /tmp/c/$f ] || { echo 1 > /tmp/c/$f && echo WROTE $o $f; }
            done; mkdir /tmp/c/sub && echo MADE $o; umount /tmp/c; done
        mount -t cgroup2 c /tmp/c && { echo 1 > /tmp/c/memory.max && echo WROTE 2
            mkdir /tmp/c/sub && echo MADE 2; }; echo done";
    let run =
        sh(&["-u", "0", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"], script);
    assert_eq!(run.stdout, "done\n", "{run:#?}");
}

#[test]
fn h30_the_limits_read_back_equal_on_the_host_while_the_job_runs() {
    need_root!();
    let live = Live::start(
        "limits",
        &[
            "-m",
            "64m",
            "--pids-limit",
            "10",
            "--cpus",
            "0.5",
            "--",
            "sh",
            "-c",
            "echo up; exec sleep 60",
        ],
    );
    let dirs = live.cgroups();
    assert!(!dirs.is_empty(), "no cgroup of {}", live.id);
    let read = |names: &[&str]| {
        dirs.iter()
            .flat_map(|d| names.iter().map(move |n| d.join(n)))
            .find_map(|f| std::fs::read_to_string(f).ok())
            .map(|t| t.trim().to_owned())
    };
    assert_eq!(read(&["memory.max", "memory.limit_in_bytes"]).as_deref(), Some("67108864"));
    assert_eq!(read(&["pids.max"]).as_deref(), Some("10"));
    let quota = read(&["cpu.max", "cpu.cfs_quota_us"]).unwrap();
    assert!(["50000 100000", "50000"].contains(&quota.as_str()), "{quota}");
    let swap = read(&["memory.swap.max", "memory.memsw.limit_in_bytes"]);
    assert!([None, Some("0"), Some("67108864")].contains(&swap.as_deref()), "{swap:?}");
    // Everybody of the jail is in every one of its cgroups, the init included.
    let pids = live.pids();
    assert_eq!(pids.len(), 2, "{pids:?}");
    for dir in &dirs {
        let procs = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        assert_eq!(procs.lines().count(), 2, "{dir:?}: {procs}");
    }
}

#[test]
fn h30_the_job_is_in_its_cgroup_from_its_first_instruction() {
    need_root!();
    // Its own page charges are its cgroup's before it does anything: /bin/true has some.
    let run = crate::support::jail(["-m", "16m", "--", "true"]).exits(0);
    if run.outcome["memory_peak_bytes"].is_null() {
        skip!("no memory peak on this host");
    }
    assert!(run.outcome["memory_peak_bytes"].as_u64().unwrap() > 0, "{run:#?}");
}
