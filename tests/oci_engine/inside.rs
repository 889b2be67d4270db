//! What the program inside finds.

use crate::bundle::{Bundle, descriptors, wait};
use crate::need_root;
use serde_json::json;

/// T20, T28, T33, T46's neighbours: what Docker's configuration gives.
#[test]
fn the_view_is_the_one_that_was_asked_for() {
    need_root!();
    let mut bundle = Bundle::new(
        "grep -E 'Cap|NoNew|Groups' /proc/self/status; ls /dev; cat /proc/self/mountinfo; umask; \
         echo home=$HOME; ls -l /proc/self/fd; ls /sys/class/net; readlink /dev/ptmx; \
         cat /proc/keys | wc -c; mknod /x b 8 0 2>&1; echo done",
    );
    bundle.set("/process/user/additionalGids", json!([7, 9]));
    let ran = bundle.run().ends(0);
    let out = &ran.output;
    for line in [
        "CapInh:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t0",
        "Groups:\t7 9",
        "0022",
        "home=/root",
        "pts/ptmx",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    let mounts: Vec<&str> = out.lines().filter(|l| l.contains(" - ")).collect();
    let at = |point: &str| {
        let point = format!(" {point} ");
        *mounts.iter().rfind(|l| l.contains(&point)).unwrap_or_else(|| panic!("no {point}\n{out}"))
    };
    assert!(at("/sys").contains("ro,nosuid,nodev,noexec"), "{out}");
    assert!(at("/proc").contains("rw,nosuid,nodev,noexec"), "{out}");
    assert!(at("/proc/sys").contains(" ro,"), "{out}");
    assert!(at("/dev/shm").contains("size=65536k"), "{out}");
    assert!(mounts.iter().all(|m| !m.contains("shared:") && !m.contains("master:")), "{out}");
    // A sysfs shows the network of the namespace it was mounted in.
    assert!(out.lines().any(|l| l == "lo"), "{out}");
    assert!(!out.lines().any(|l| l.starts_with("eth") || l.starts_with("ens")), "{out}");
    // T33: the rules hold with CAP_MKNOD.
    assert!(out.contains("Operation not permitted"), "{out}");
    bundle.is_gone();
}

#[test]
fn a_user_namespace_with_mounts_devices_and_ids() {
    need_root!();
    let mut bundle = Bundle::new(
        "cat /proc/self/uid_map; id; echo x >/dev/null && echo null works; stat -c %u /bin/sh; \
         ls /sys/class/net; touch /made && echo made; cat /proc/self/mountinfo",
    );
    bundle.with_user_namespace();
    bundle.run().says("2000100000").says("uid=0(root)").says("null works").says("made").ends(0);
    bundle.is_gone();
}

#[test]
fn another_user_has_what_it_was_given() {
    need_root!();
    let mut bundle =
        Bundle::new("id; umask; pwd; echo $HOME; grep Cap /proc/self/status; ulimit -n");
    bundle.set("/process/user", json!({"uid": 1001, "gid": 1002, "umask": 7}));
    bundle.set("/process/cwd", "/work/here");
    bundle.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]));
    let ran = bundle.run().ends(0);
    for text in
        ["uid=1001(ann) gid=1002(ann)", "0007", "/work/here", "CapEff:\t0000000000000000", "77"]
    {
        assert!(ran.output.contains(text), "{text}\n{ran:?}");
    }
}

/// T20: a created container's init holds its standard streams and nothing of the host's but where
/// it waits; once started exactly 0, 1 and 2.
#[test]
fn t20_descriptors_of_a_created_and_of_a_started_container() {
    need_root!();
    let bundle = Bundle::new("exec sleep 100");
    // The caller's own, not close-on-exec (T19).
    let leaked = std::fs::File::open("/etc").unwrap();
    nix::fcntl::fcntl(&leaked, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let container = bundle.create().unwrap();
    let pid = container.state().unwrap().pid;
    for (fd, what) in descriptors(pid) {
        let waiting = ["socket:", "anon_inode:[signalfd]"].iter().any(|w| what.starts_with(w));
        let allowed = fd < 3 || waiting || what.contains("memfd:");
        assert!(allowed, "{fd} -> {what}");
    }
    container.start().unwrap();
    let numbers: Vec<i32> = descriptors(pid).into_iter().map(|(n, _)| n).collect();
    assert_eq!(numbers, [0, 1, 2]);
    container.delete(true).unwrap();
    wait(pid);
}

/// T19, CVE-2024-21626: a descriptor of the host is no way out.
#[test]
fn t19_a_directory_of_the_host_is_no_working_directory() {
    need_root!();
    let held: Vec<_> = (0..12).map(|_| std::fs::File::open("/").unwrap()).collect();
    for fd in &held {
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    }
    for n in 0..24 {
        let mut bundle = Bundle::new("cat /proc/1/cwd/etc/hostname; ls -a .");
        bundle.set("/process/cwd", format!("/proc/self/fd/{n}"));
        if let Ok(ran) = bundle.try_run() {
            assert!(
                !ran.output.contains("vmlinuz") && !ran.output.contains("boot"),
                "{n}: {ran:?}"
            );
        }
        bundle.is_gone();
    }
}

#[test]
fn t27_absent_capabilities_are_none() {
    need_root!();
    let mut bundle = Bundle::new("grep Cap /proc/self/status");
    bundle.config["process"].as_object_mut().unwrap().remove("capabilities");
    let ran = bundle.run();
    assert_eq!(ran.output.matches("0000000000000000").count(), 5, "{ran:?}");
}

/// T26 and what runc does with a name that nobody knows.
#[test]
fn t26_sets_are_as_written_and_an_unknown_name_is_a_warning() {
    need_root!();
    let mut bundle = Bundle::new("grep Cap /proc/self/status");
    bundle.set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NOT_YET"], "permitted": ["CAP_KILL"],
            "effective": ["CAP_KILL"], "inheritable": [], "ambient": ["CAP_KILL"]
        }),
    );
    let container = bundle.create().unwrap();
    assert!(container.warnings().iter().any(|w| w.contains("CAP_NOT_YET")));
    let pid = container.state().unwrap().pid;
    container.delete(true).unwrap();
    wait(pid);
    let ran = bundle.run();
    assert!(ran.output.contains("CapInh:\t0000000000000000"), "{ran:?}");
    assert!(ran.output.contains("CapAmb:\t0000000000000000"), "{ran:?}");
    assert!(ran.output.contains("CapBnd:\t0000000000000021"), "{ran:?}");
}

#[test]
fn mounts_of_every_kind() {
    need_root!();
    let mut bundle = Bundle::new(
        "cat /proc/self/mountinfo; touch /ro/x 2>&1; touch /ro/sub/x 2>&1; echo a >/tmp/a && cat /tmp/a; \
         cat /copied/was-there; ls -l /copied/link; cat /f; ls /var/run/inner",
    );
    let outside = crate::support::Scratch::new();
    std::fs::create_dir(outside.join("sub")).unwrap();
    bundle.rootfs.file("copied/was-there", "kept\n");
    std::os::unix::fs::symlink("/etc", bundle.rootfs.join("copied/link")).unwrap();
    std::fs::create_dir_all(bundle.rootfs.join("var")).unwrap();
    std::fs::create_dir_all(bundle.rootfs.join("run")).unwrap();
    std::os::unix::fs::symlink("/run", bundle.rootfs.join("var/run")).unwrap();
    let file = bundle.dir.file("one", "contents\n");
    for mount in [
        json!({"destination": "/ro", "type": "bind", "source": outside.path(), "options": ["rbind", "rro"]}),
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["noexec", "size=1m"]}),
        json!({"destination": "/copied", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
        json!({"destination": "/f", "source": file, "options": ["bind", "ro"]}),
        json!({"destination": "/var/run/inner", "source": outside.path(), "options": ["rbind", "nosuid"]}),
    ] {
        bundle.add("/mounts", mount);
    }
    let ran = bundle.run();
    assert_eq!(ran.output.matches("Read-only file system").count(), 2, "{ran:?}");
    for text in ["\na\n", "kept", "-> /etc", "contents", "sub"] {
        assert!(ran.output.contains(text), "{text}\n{ran:?}");
    }
    assert!(ran.output.contains(" /run/inner rw,nosuid"), "{ran:?}");
    bundle.is_gone();
}

#[test]
fn a_read_only_root() {
    need_root!();
    let mut bundle = Bundle::new("touch /x; cat /proc/self/mountinfo | head -1");
    std::fs::create_dir_all(bundle.rootfs.join("out")).ok();
    std::fs::remove_dir(bundle.rootfs.join("out")).unwrap();
    bundle.set("/root/readonly", true);
    bundle.run().says("Read-only file system");
}

#[test]
fn namespaces_are_joined_by_path() {
    need_root!();
    let bundle = Bundle::new("exec sleep 100");
    let first = bundle.create().unwrap();
    let pid = first.state().unwrap().pid;
    first.start().unwrap();
    let mut other = Bundle::new("ps; for n in net ipc uts; do readlink /proc/self/ns/$n; done");
    other.config.as_object_mut().unwrap().remove("hostname");
    other.set(
        "/linux/namespaces",
        json!([
            {"type": "mount"}, {"type": "pid", "path": format!("/proc/{pid}/ns/pid")},
            {"type": "network", "path": format!("/proc/{pid}/ns/net")},
            {"type": "ipc", "path": format!("/proc/{pid}/ns/ipc")},
            {"type": "uts", "path": format!("/proc/{pid}/ns/uts")}
        ]),
    );
    let ran = other.run().says("sleep 100");
    for ns in ["net", "ipc", "uts"] {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{ns}")).unwrap();
        assert!(ran.output.contains(&*link.to_string_lossy()), "{ns}\n{ran:?}");
    }
    other.is_gone();
    first.delete(true).unwrap();
    wait(pid);
    bundle.is_gone();
}

/// H11: what is joined is looked at by its descriptor.
#[test]
fn h11_a_namespace_of_another_kind_is_refused() {
    need_root!();
    for (kind, path) in [("network", "/proc/self/ns/ipc"), ("ipc", "/etc/passwd"), ("pid", "/nope")]
    {
        let mut bundle = Bundle::new("true");
        let list = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|n| n["type"] != kind);
        list.push(json!({"type": kind, "path": path}));
        assert!(bundle.create().is_err(), "{kind} {path}");
        bundle.is_gone();
    }
}

#[test]
fn a_user_namespace_is_joined_with_what_belongs_to_it() {
    need_root!();
    let mut bundle = Bundle::new("exec sleep 100");
    bundle.with_user_namespace();
    let first = bundle.create().unwrap();
    let pid = first.state().unwrap().pid;
    first.start().unwrap();
    let mut other = Bundle::new(
        "cat /proc/self/uid_map; readlink /proc/self/ns/user; id -u; ls /proc | head -1",
    );
    other.with_user_namespace();
    let map = other.config["linux"].as_object_mut().unwrap();
    map.remove("uidMappings");
    map.remove("gidMappings");
    other.set(
        "/linux/namespaces",
        json!([
            {"type": "mount"}, {"type": "pid"}, {"type": "uts"},
            {"type": "user", "path": format!("/proc/{pid}/ns/user")},
            {"type": "network", "path": format!("/proc/{pid}/ns/net")},
            {"type": "ipc", "path": format!("/proc/{pid}/ns/ipc")}
        ]),
    );
    let link = std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    other.run().says("2000100000").says(&link.to_string_lossy()).ends(0);
    first.delete(true).unwrap();
    wait(pid);
}

#[test]
fn the_time_namespace_has_its_offsets() {
    need_root!();
    let mut bundle = Bundle::new("cat /proc/uptime; readlink /proc/self/ns/time");
    bundle.add("/linux/namespaces", json!({"type": "time"}));
    bundle.set("/linux/timeOffsets", json!({"boottime": {"secs": 1_000_000_000, "nanosecs": 5}}));
    let ran = bundle.run().ends(0);
    let up: f64 = ran.output.split_whitespace().next().unwrap().parse().unwrap();
    assert!(up > 1e9, "{ran:?}");
}

#[test]
fn scheduling_personality_and_domainname() {
    need_root!();
    let mut bundle = Bundle::new(
        "cut -d' ' -f19 /proc/self/stat; cat /proc/sys/kernel/domainname; cat /proc/self/personality",
    );
    bundle.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5}));
    bundle.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}));
    bundle.set("/linux/personality", json!({"domain": "LINUX32"}));
    bundle.set("/domainname", "nis.example");
    bundle.run().says("5\n").says("nis.example").says("00000008");
}

/// Without no_new_privs the filter is loaded with CAP_SYS_ADMIN, and that is gone then; and it need
/// not permit what stockade itself does while the container waits.
#[test]
fn a_narrow_filter_without_no_new_privs() {
    need_root!();
    for no_new_privs in [false, true] {
        let mut bundle = Bundle::new("");
        bundle.set(
            "/process/args",
            json!(["/bin/grep", "-E", "CapEff|CapPrm|Seccomp:", "/proc/self/status"]),
        );
        bundle.set("/process/user", json!({"uid": 1001, "gid": 1002}));
        bundle.set("/process/noNewPrivileges", no_new_privs);
        bundle.set("/linux/seccomp", json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": [
                "execve", "execveat", "fcntl", "capset", "write", "exit_group", "brk", "arch_prctl",
                "set_tid_address", "set_robust_list", "rseq", "prlimit64", "readlink", "getrandom",
                "mprotect", "open", "openat", "read", "close", "fstat", "newfstatat", "getuid", "geteuid",
                "prctl", "mmap", "munmap", "rt_sigaction", "rt_sigprocmask", "ioctl", "lseek", "dup2",
                "dup3", "writev", "readv", "uname", "getpid", "getppid", "stat", "getgid", "getegid",
                "setuid", "setgid", "getgroups", "clone", "fork", "vfork", "wait4"]}]
        }));
        let ran = bundle.run().ends(0);
        assert_eq!(ran.output.matches("0000000000000000").count(), 2, "{ran:?}");
        assert!(ran.output.contains("Seccomp:\t2"), "{ran:?}");
    }
}
