//! What runc does beyond the letter of the specification, and its users count on.

mod support;

use serde_json::json;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};
use support::bundle::{Bundle, reference, status_line};

/// `run` in the foreground: whether it ended well, and both outputs.
fn run(c: &Bundle) -> (bool, String) {
    let o = c.call(&["run", "ID"]);
    let mut text = String::from_utf8_lossy(&o.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&o.stderr));
    (o.status.success(), text)
}

fn shell(script: &str) -> Bundle {
    Bundle::new(|c| c["process"]["args"] = json!(["sh", "-c", script]))
}

#[test]
fn the_last_of_several_variables_counts_and_an_empty_home_is_looked_up() {
    need_root!();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["env"]);
        c["process"]["env"] = json!(["ONE=two", "HOME=", "PATH=/bin", "ONE=three"]);
    });
    let (ok, text) = run(&c);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert!(ok, "{text}");
    assert_eq!(lines, ["HOME=/root", "ONE=three", "PATH=/bin"]);
}

/// The working directory may be one that only the container's root may enter.
#[test]
fn a_directory_that_the_user_may_not_enter_can_be_where_the_program_starts() {
    need_root!();
    let c = Bundle::new(|c| {
        c["process"]["cwd"] = json!("/private");
        c["process"]["user"] = json!({"uid": 42, "gid": 42});
        c["process"]["args"] = json!(["sleep", "1000"]);
    });
    let dir = c.rootfs().join("private");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&dir, Some(42), Some(42)).unwrap();
    let c = c.start();
    // Without CAP_DAC_OVERRIDE: root of the container may not enter it, set-up may.
    assert_eq!(c.exec_with(&["--user", "0"], &["id", "-u"]).trim(), "0");
    // One that is not there is made, and one that nobody may enter is an error.
    let said = c.fails(&["exec", "--cwd", "/etc/passwd", "ID", "true"]);
    assert!(said.contains("set in config.json failed: not a directory"), "{said}");
}

/// Whatever processors its maker may use, a container's are its cpuset's; exec's are as asked.
#[test]
fn processors_are_the_containers_and_not_its_makers() {
    need_root!();
    let all = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let list = |status: &str| status_line(status, "Cpus_allowed_list").to_owned();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["cat", "/proc/self/status"]);
    });
    let narrow = |args: &[&str]| {
        let mut command = std::process::Command::new("taskset");
        command.args(["-c", "0"]).arg(support::bin()).arg("--root").arg(c.scratch.join("root"));
        command.args(args).current_dir(c.dir()).stdin(std::process::Stdio::null());
        let o = command.output().unwrap();
        assert!(o.status.success(), "{o:?}");
        String::from_utf8(o.stdout).unwrap()
    };
    assert_eq!(list(&narrow(&["run", &c.id])), all.trim());
    let c = Bundle::new(|c| {
        c["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    })
    .start();
    let log = c.scratch.join("log").to_string_lossy().into_owned();
    let said = c.ok(&["--debug", "--log", &log, "exec", "ID", "cat", "/proc/self/status"]);
    assert_eq!(list(&said), "0");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("nsexec: affinity: 0x1"), "{log}");
    for bad in ["x", "3-1", "5000"] {
        let c = Bundle::new(|c| c["process"]["execCPUAffinity"] = json!({"initial": bad}));
        assert!(c.fails(&["run", "ID"]).contains("execCPUAffinity"), "{bad}");
    }
}

/// T26: a further capability is ambient only where the configuration has it inheritable.
#[test]
fn t26_exec_cap_is_ambient_where_it_is_inheritable() {
    need_root!();
    let c = Bundle::new(|c| {
        let caps = json!(["CAP_CHOWN", "CAP_SYSLOG"]);
        c["process"]["capabilities"] = json!({"bounding": caps, "inheritable": caps,
            "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]});
    })
    .start();
    let ambient = |caps: &[&str]| {
        let text = c.exec_with(caps, &["cat", "/proc/self/status"]);
        status_line(&text, "CapAmb").trim_start_matches('0').to_owned()
    };
    assert_eq!(ambient(&[]), "1");
    assert_eq!(ambient(&["--cap", "CAP_SYSLOG"]), "400000001");
    assert_eq!(ambient(&["--cap", "CAP_KILL"]), "1");
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["true"]);
        c["process"]["capabilities"]["ambient"] = json!(["CAP_CHOWN"]);
    });
    let (ok, text) = run(&c);
    assert!(ok && text.contains("can't raise ambient capability CAP_CHOWN: "), "{text}");
}

#[test]
fn a_start_hook_has_the_programs_environment_and_filter_and_what_it_says_is_told() {
    need_root!();
    let hook = |script: &str, more: serde_json::Value| {
        Bundle::new(|c| {
            c["process"]["args"] = json!(["true"]);
            c["process"]["env"] = json!(["ONE=two", "PATH=/bin"]);
            let mut hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
            if let (Some(hook), Some(more)) = (hook.as_object_mut(), more.as_object()) {
                hook.extend(more.clone());
            }
            c["hooks"] = json!({ "startContainer": [hook] });
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL"}]});
        })
    };
    let (ok, text) = run(&hook("test $ONE = two && test -n \"$HOME\"", json!({})));
    assert!(ok, "{text}");
    let (ok, text) = run(&hook("test -z \"$ONE\"", json!({ "env": ["A=b"] })));
    assert!(ok, "{text}");
    let (ok, text) = run(&hook("cat /nosuchfile; exit 3", json!({})));
    assert!(!ok && text.contains("error running startContainer hook #0"), "{text}");
    assert!(text.contains("exit status 3") && text.contains("/nosuchfile"), "{text}");
    let (ok, text) = run(&hook("exec mkdir /dev/shm/foo", json!({})));
    assert!(!ok && text.contains("bad system call"), "{text}");
}

/// Who ends a container that was not started yet need not kill it.
#[test]
fn a_created_container_ends_by_sigterm() {
    need_root!();
    let c = Bundle::new(|_| {});
    let log = std::fs::File::create(c.scratch.join("output")).unwrap();
    let status = c.command(&["create", "ID"]).stdout(log.try_clone().unwrap()).stderr(log).status();
    assert!(status.unwrap().success());
    c.ok(&["kill", "ID", "TERM"]);
    let patience = Instant::now() + Duration::from_secs(10);
    while c.state()["status"] != "stopped" {
        assert!(Instant::now() < patience, "it still waits");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// H07, CVE-2019-5736's neighbour: chroot alone is no way to change the root.
#[test]
fn a_second_chroot_does_not_leave_a_container_without_pivot_root() {
    need_root!();
    let programs: Vec<_> = [Some(support::bin()), reference()].into_iter().flatten().collect();
    for program in programs {
        let c = Bundle::of(program, |c| {
            let caps = json!(["CAP_SYS_CHROOT"]);
            c["process"]["capabilities"] =
                json!({"bounding": caps, "effective": caps, "permitted": caps});
            // busybox's chroot does chdir("/"), so the directory outside is kept open by a cd.
            c["process"]["args"] = json!(["/escape"]);
            c["process"]["env"] = json!(["PATH=/bin"]);
        });
        let source = c.scratch.join("escape.c");
        std::fs::write(
            &source,
            "#include <stdio.h>\n#include <unistd.h>\n#include <sys/stat.h>\n\
             int main(void) {\n  mkdir(\"/jail\", 0755);\n  if (chroot(\"/jail\")) return 2;\n\
             for (int i = 0; i < 64; i++) if (chdir(\"..\")) return 3;\n\
             if (chroot(\".\")) return 4;\n\
             return access(\"/etc/shadow\", F_OK) ? 0 : 77;\n}\n",
        )
        .unwrap();
        let built = std::process::Command::new("gcc")
            .args(["-static", "-o"])
            .arg(c.rootfs().join("escape"))
            .arg(&source)
            .status()
            .unwrap();
        assert!(built.success());
        assert!(
            std::path::Path::new("/etc/shadow").exists() && !c.rootfs().join("etc/shadow").exists()
        );
        let o = c.call(&["run", "--no-pivot", "ID"]);
        assert_eq!(o.status.code(), Some(0), "{program}: {o:?}");
    }
}

#[test]
fn offsets_of_a_time_namespace_are_set_in_a_user_namespace_too() {
    need_root!();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["cat", "/proc/self/timens_offsets"]);
        c["process"]["capabilities"] = json!({});
        let namespaces = c["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.extend([json!({"type": "user"}), json!({"type": "time"})]);
        c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        c["linux"]["gidMappings"] = c["linux"]["uidMappings"].clone();
        c["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 7881, "nanosecs": 2718281}});
    });
    let (ok, text) = run(&c);
    assert!(ok, "{text}");
    assert!(text.split_whitespace().any(|w| w == "7881"), "{text}");
}

#[test]
fn tmpfs_and_dev_have_the_modes_that_runc_gives_them() {
    need_root!();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!([
            "sh",
            "-c",
            "stat -c %a /new/dir; stat -c %a /old; grep -c ' /hidden ' /proc/mounts; \
             touch /dev/x 2>/dev/null || echo read-only; ls /dev/null"
        ]);
        let mounts = c["mounts"].as_array_mut().unwrap();
        for mount in mounts.iter_mut().filter(|m| m["destination"] == "/dev") {
            mount["options"].as_array_mut().unwrap().push(json!("ro"));
        }
        for path in ["/new/dir", "/old"] {
            mounts.push(json!({"destination": path, "type": "tmpfs", "source": "tmpfs"}));
        }
        c["linux"]["maskedPaths"] = json!(["/hidden", "/hidden"]);
    });
    for (dir, mode) in [("old", 0o710), ("hidden", 0o755)] {
        std::fs::create_dir(c.rootfs().join(dir)).unwrap();
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(c.rootfs().join(dir), mode).unwrap();
    }
    let (ok, text) = run(&c);
    assert!(ok, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["1777", "710", "1", "read-only", "/dev/null"]);
}

/// T13: the target is made where the image's link says, inside the root.
#[test]
fn t13_a_mount_on_a_dangling_symlink_stays_inside() {
    need_root!();
    let outside = support::Scratch::new();
    let file = outside.file("source", "mounted\n");
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["cat", "/etc/resolv.conf", "/run/deep/er/resolv.conf"]);
        c["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/etc/resolv.conf", "source": file, "options": ["bind"]}));
    });
    std::fs::create_dir_all(c.rootfs().join("etc")).unwrap();
    let _ = std::fs::remove_file(c.rootfs().join("etc/resolv.conf"));
    symlink("../../../jump/er/resolv.conf", c.rootfs().join("etc/resolv.conf")).unwrap();
    symlink("/run/deep", c.rootfs().join("jump")).unwrap();
    let (ok, text) = run(&c);
    assert!(ok, "{text}");
    assert_eq!(text, "mounted\nmounted\n");
    assert!(!std::path::Path::new("/run/deep").exists());
}

/// CVE-2019-19921
#[test]
fn a_proc_that_is_a_symlink_is_refused_in_runcs_words() {
    need_root!();
    let c = shell("true");
    let _ = std::fs::remove_dir(c.rootfs().join("proc"));
    std::fs::create_dir(c.rootfs().join("elsewhere")).unwrap();
    symlink("/elsewhere", c.rootfs().join("proc")).unwrap();
    let said = c.fails(&["run", "ID"]);
    assert!(said.contains("must be mounted on ordinary directory"), "{said}");
}

/// Hooks of containers' administrators name things relative to where runc runs them.
#[test]
fn hooks_begin_in_the_bundle_and_in_the_root() {
    need_root!();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["sh", "-c", "cat /made-by-a-hook /start-hook"]);
        c["root"]["readonly"] = json!(false);
        let hook = |script: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        c["hooks"] = json!({
            "createRuntime": hook("pwd > createRuntime"),
            "createContainer": hook("echo made > ./made-by-a-hook"),
            "startContainer": hook("pwd > /start-hook"),
            "poststop": hook("pwd > poststop"),
        });
        c["process"]["cwd"] = json!("/tmp");
    });
    let (ok, text) = run(&c);
    assert!(ok, "{text}");
    assert_eq!(text, "made\n/tmp\n");
    let bundle = c.dir().canonicalize().unwrap();
    for hook in ["createRuntime", "poststop"] {
        let cwd = std::fs::read_to_string(c.dir().join(hook)).unwrap();
        assert_eq!(std::path::Path::new(cwd.trim()), bundle, "{hook}");
    }
}

/// Into a pipe a terminal's lines come as they were written, from the first one on.
#[test]
fn a_terminal_that_nobody_looks_at_keeps_line_ends() {
    need_root!();
    for _ in 0..10 {
        let c = Bundle::new(|c| {
            c["process"]["terminal"] = json!(true);
            c["process"]["args"] = json!(["sh", "-c", "echo one; echo two"]);
        });
        let (ok, text) = run(&c);
        assert!(ok && text == "one\ntwo\n", "{text:?}");
    }
    let c = Bundle::new(|_| {}).start();
    assert_eq!(c.exec_with(&["--tty"], &["echo", "x"]), "x\n");
}

/// Owners on disk show as the mapping says; what is mounted below only with `ridmap`.
#[test]
fn an_id_mapped_mount_shows_other_owners() {
    need_root!();
    if !support::linux_has(6, 3) {
        skip_on_this_kind_of_host!("id mappings of a tmpfs need Linux 6.3");
    }
    let program = support::bin();
    for (option, below) in [("idmap", "1003"), ("ridmap", "5003")] {
        let source = support::Scratch::new();
        for (name, uid) in [("a", 1000), ("b", 1003)] {
            let file = source.file(name, "");
            std::os::unix::fs::chown(&file, Some(uid), Some(uid)).unwrap();
        }
        std::fs::create_dir(source.join("sub")).unwrap();
        let c = Bundle::of(program, |c| {
            c["process"]["args"] = json!(["sh", "-c", "stat -c %u:%g /m/a /m/b /m/sub/x"]);
            let map = json!([{"containerID": 1000, "hostID": 5000, "size": 10}]);
            c["mounts"].as_array_mut().unwrap().push(json!({"destination": "/m",
                    "source": source.path(), "options": ["rbind", option],
                    "uidMappings": map, "gidMappings": map}));
        });
        // A mount below the source that nobody else sees.
        let script = format!(
            "mount -t tmpfs none {0}/sub && touch {0}/sub/x && chown 1003:1003 {0}/sub/x && \
                 exec \"$@\"",
            source.path().display()
        );
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh", program]);
        command.arg("--root").arg(c.scratch.join("root")).args(["run", &c.id]);
        let o = command.current_dir(c.dir()).stdin(std::process::Stdio::null()).output().unwrap();
        assert!(o.status.success(), "{o:?}");
        let text = String::from_utf8(o.stdout).unwrap();
        assert_eq!(text, format!("5000:5000\n5003:5003\n{below}:{below}\n"), "{option}");
    }
}

/// What the host mounts below the root file system later shows inside where the root is a slave, and
/// only there; what is mounted inside never shows outside.
#[test]
fn a_root_that_is_a_slave_follows_the_hosts_mounts() {
    need_root!();
    for (propagation, expected) in [("rslave", "inside\nlater\n"), ("private", "inside\n")] {
        let c = Bundle::new(|c| {
            c["linux"]["rootfsPropagation"] = json!(propagation);
            c["root"]["readonly"] = json!(false);
            c["process"]["args"] = json!([
                "sh",
                "-c",
                "mount -t tmpfs none /own && touch /own/x && echo ready > /ready; \
                 while ! test -e /go; do sleep 0.05; done; echo inside; cat /dir/file 2>/dev/null; true"
            ]);
            for set in ["bounding", "effective", "permitted"] {
                c["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
            }
        });
        let _ = symlink("busybox", c.rootfs().join("bin/mount"));
        for dir in ["own", "dir"] {
            std::fs::create_dir(c.rootfs().join(dir)).unwrap();
        }
        // In a mount namespace of the test's own the root file system is a shared mount.
        let script = "mount --bind \"$ROOTFS\" \"$ROOTFS\" && mount --make-shared \"$ROOTFS\" || exit 9\n\
            \"$@\" & \n\
            for i in $(seq 400); do test -e \"$ROOTFS/ready\" && break; sleep 0.05; done\n\
            test -e \"$ROOTFS/own/x\" && echo it got out\n\
            mount -t tmpfs none \"$ROOTFS/dir\" && echo later > \"$ROOTFS/dir/file\"\n\
            touch \"$ROOTFS/go\"; wait";
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "bash", "-c", script, "bash"]);
        command.arg(support::bin()).arg("--root").arg(c.scratch.join("root")).args(["run", &c.id]);
        command.env("ROOTFS", c.rootfs()).current_dir(c.dir());
        let o = command.stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&o.stdout), expected, "{propagation}: {o:?}");
    }
}

/// It is one that is read-only too.
#[test]
fn a_read_only_root_can_be_a_slave() {
    need_root!();
    let c = Bundle::new(|c| {
        c["linux"]["rootfsPropagation"] = json!("slave");
        c["root"]["readonly"] = json!(true);
        c["process"]["args"] = json!(["sh", "-c", "grep ' / ro,' /proc/self/mountinfo"]);
    });
    let _ = symlink("busybox", c.rootfs().join("bin/grep"));
    let script = "mount --make-rshared / && exec \"$@\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    command.arg(support::bin()).arg("--root").arg(c.scratch.join("root")).args(["run", &c.id]);
    let o = command.current_dir(c.dir()).stdin(std::process::Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&o.stdout);
    assert!(text.contains(" master:") && !text.contains("shared:"), "{o:?}");
}

/// H63: whatever has become of its state, no process of it is left behind.
#[test]
fn h63_a_container_with_a_damaged_state_is_ended_by_force() {
    need_root!();
    let c = Bundle::new(|_| {}).start();
    let pid = c.pid();
    let state = c.scratch.join("root").join(&c.id).join("state.json");
    std::fs::write(state, "{\"ociVersion\": \"1.").unwrap();
    assert!(c.fails(&["delete", "ID"]).contains("damaged"));
    c.ok(&["delete", "--force", "ID"]);
    let patience = Instant::now() + Duration::from_secs(10);
    let runs =
        || std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|t| !t.is_empty());
    while runs() {
        assert!(Instant::now() < patience, "its process still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
    for top in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(!top.path().join(&c.id).exists(), "{top:?}");
    }
}

/// The end of a first process ends the others only where the pid namespace was made for it.
#[test]
fn kill_ends_all_processes_of_a_container_in_anothers_pid_namespace() {
    need_root!();
    let first = shell("exec sleep 1000").start();
    let second = Bundle::new(|c| {
        c["process"]["args"] = json!(["sh", "-c", "sleep 2001 & exec sleep 2000"]);
        for namespace in c["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "pid" {
                namespace["path"] = json!(format!("/proc/{}/ns/pid", first.pid()));
            }
        }
    })
    .start();
    let lives = |n: &str| first.exec(&["ps"]).contains(&format!("sleep {n}"));
    let patience = Instant::now() + Duration::from_secs(10);
    while !(lives("2000") && lives("2001")) {
        assert!(Instant::now() < patience, "{}", first.exec(&["ps"]));
    }
    second.ok(&["kill", "ID", "KILL"]);
    while lives("2000") || lives("2001") {
        assert!(Instant::now() < patience, "{}", first.exec(&["ps"]));
    }
    assert!(lives("1000"));
}

/// With few descriptors nothing is begun that could not be undone.
#[test]
fn a_low_limit_on_descriptors_is_said_and_leaves_nothing() {
    need_root!();
    for limit in ["8", "16", "40"] {
        let c = Bundle::new(|_| {});
        let mut command = std::process::Command::new("prlimit");
        command.arg(format!("--nofile={limit}")).arg(support::bin()).arg("--root");
        command.arg(c.scratch.join("root")).args(["run", &c.id]).current_dir(c.dir());
        let o = command.stdin(std::process::Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&o.stderr);
        assert!(!o.status.success() && said.contains("RLIMIT_NOFILE"), "{limit}: {said}");
        let left = std::fs::read_dir(c.scratch.join("root")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{limit}");
    }
    let c = Bundle::new(|_| {});
    for many in ["2147483648", "4294967295"] {
        assert!(c.fails(&["create", "--preserve-fds", many, "ID"]).contains("descriptors"));
    }
}

/// Profiles from before Linux 5.8 do not know the call by which the program is looked for.
#[test]
fn a_program_is_found_in_path_under_a_filter_that_denies_to_ask_for_it() {
    need_root!();
    for denied in [&["faccessat2"][..], &["faccessat2", "faccessat", "access"]] {
        for (program, found) in [("true", true), ("there-is-none", false)] {
            let c = Bundle::new(|c| {
                c["process"]["args"] = json!([program]);
                c["process"]["env"] = json!(["PATH=/nowhere:/usr/local/bin:/sbin:/bin"]);
                c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": denied, "action": "SCMP_ACT_ERRNO"}]});
            });
            let (ok, text) = run(&c);
            assert_eq!(ok, found, "{denied:?}: {text}");
            assert!(found || text.contains("not found in $PATH"), "{denied:?}: {text}");
        }
    }
}

/// As runc takes them: from the root.
#[test]
fn masked_and_read_only_paths_may_be_relative() {
    need_root!();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["sh", "-c", "cat etc/secret; : 2>&1 >etc/kept/x"]);
        c["root"]["readonly"] = json!(false);
        c["linux"]["maskedPaths"] = json!(["etc/secret"]);
        c["linux"]["readonlyPaths"] = json!(["etc/kept"]);
    });
    std::fs::create_dir_all(c.rootfs().join("etc/kept")).unwrap();
    std::fs::write(c.rootfs().join("etc/secret"), "told").unwrap();
    let (ok, text) = run(&c);
    assert!(!ok && !text.contains("told") && text.contains("Read-only"), "{text}");
}

/// Who asks while it is being made hears so, and not that it has stopped.
#[test]
fn a_container_in_the_making_is_creating() {
    need_root!();
    let c = Bundle::new(|c| {
        c["hooks"] = json!({"createRuntime": [{"path": "/bin/sh",
            "args": ["sh", "-c", "until [ -e go ]; do sleep 0.02; done"]}]});
    });
    let mut maker = c.command(&["create", "ID"]).spawn().unwrap();
    let mut seen = Vec::new();
    let patience = Instant::now() + Duration::from_secs(10);
    while !seen.iter().any(|s| s == "creating") || seen.len() < 20 {
        assert!(Instant::now() < patience, "{seen:?}");
        let o = c.call(&["state", "ID"]);
        if o.status.success() {
            let state: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
            seen.push(state["status"].as_str().unwrap().to_owned());
        }
    }
    std::fs::write(c.dir().join("go"), "").unwrap();
    assert!(maker.wait().unwrap().success());
    assert!(seen.iter().all(|s| s == "creating"), "{seen:?}");
    assert_eq!(c.state()["status"], "created");
}

/// As with runc: by then it is a container like any other.
#[test]
fn a_poststart_hook_can_pause_and_update_its_container() {
    need_root!();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["sleep", "1000"]);
        c["hooks"] = json!({"poststart": [{"path": "/bin/sh", "args": ["sh", "./hook"],
            "timeout": 20, "env": ["PATH=/usr/bin:/bin"]}]});
    });
    let call = format!("{} --root {}", support::bin(), c.scratch.join("root").display());
    let script = format!(
        "{call} pause {0} && {call} resume {0} && {call} update --pids-limit 33 {0} && echo did >done",
        c.id
    );
    std::fs::write(c.dir().join("hook"), script).unwrap();
    let c = c.start();
    assert_eq!(std::fs::read_to_string(c.dir().join("done")).unwrap(), "did\n");
    assert_eq!(c.state()["status"], "running");
}

/// A runtime that is called runc.
fn as_runc(dir: &support::Scratch, change: impl FnOnce(&mut serde_json::Value)) -> Bundle {
    let runc = dir.join("runc");
    symlink(support::bin(), &runc).unwrap();
    Bundle::of(runc, change)
}

/// runc's child says it itself, in a line without the form of the log; the log has it too.
#[test]
fn a_program_that_the_kernel_does_not_execute_is_told_in_one_bare_line() {
    need_root!();
    for (contents, why) in [
        ("#!/there/is/none foo\nsh\n", "no such file or directory"),
        ("\u{7f}ELF and nothing else", "exec format error"),
    ] {
        let dir = support::Scratch::new();
        let c = as_runc(&dir, |c| c["process"]["args"] = json!(["/run.sh"]));
        let script = c.rootfs().join("run.sh");
        std::fs::write(&script, contents).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let line = format!("exec /run.sh: {why}\n");
        let o = c.call(&["run", "ID"]);
        assert_eq!(o.status.code(), Some(1), "{o:?}");
        assert_eq!(String::from_utf8_lossy(&o.stderr), line);
        let log = dir.join("log").to_string_lossy().into_owned();
        let null = std::process::Stdio::null;
        let made = c.command(&["create", "ID"]).stdout(null()).stderr(null()).status().unwrap();
        assert!(made.success());
        assert_eq!(c.fails(&["--log", &log, "start", "ID"]), line);
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("level=error") && log.contains(line.trim()), "{log}");
    }
}

/// Without `flags` a filter has SECCOMP_FILTER_FLAG_SPEC_ALLOW, as with runc; an empty list is the other
/// answer. The debug log has runc's words for it.
#[test]
fn a_filter_without_flags_has_runcs_default() {
    need_root!();
    for (flags, expected) in
        [(None, 4), (Some(json!([])), 0), (Some(json!(["SECCOMP_FILTER_FLAG_LOG"])), 2)]
    {
        let c = Bundle::new(|c| {
            c["process"]["args"] = json!(["true"]);
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
            if let Some(flags) = flags {
                c["linux"]["seccomp"]["flags"] = flags;
            }
        });
        let o = c.call(&["--debug", "run", "ID"]);
        let said = String::from_utf8_lossy(&o.stderr);
        assert!(said.contains(&format!("\"seccomp filter flags: {expected}\"")), "{said}");
    }
}

/// `exec` goes on as a copy of itself that nobody can write to, and has said nothing before.
#[test]
fn what_a_verb_is_going_to_do_is_said_once() {
    need_root!();
    let c = shell("exec sleep 1000").start();
    for args in [&["--debug", "exec", "ID", "true"][..], &["--debug", "exec", "ID", "/nowhere"]] {
        let o = c.call(args);
        let said = String::from_utf8_lossy(&o.stderr);
        assert_eq!(said.matches("exec, state in").count(), 1, "{said}");
    }
}

/// A chroot with the host's procfs in reach would be none: an error, where runc covers it with a tmpfs.
#[test]
fn no_pivot_is_refused_where_the_hosts_procfs_cannot_be_taken_away() {
    need_root!();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["echo", "it ran"]);
        let map = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        (c["linux"]["uidMappings"], c["linux"]["gidMappings"]) = (map.clone(), map);
    });
    let o = c.call(&["run", "--no-pivot", "ID"]);
    let said = String::from_utf8_lossy(&o.stderr);
    assert!(!o.status.success() && o.stdout.is_empty(), "{o:?}");
    assert!(said.contains("detach the old root") && said.contains("--no-pivot"), "{said}");
}

/// Nor is one whose root could not be moved onto the old one.
#[test]
fn no_pivot_ends_where_the_root_cannot_be_moved() {
    need_root!();
    let traced = |inject: &str, log: &std::path::Path| {
        let c = Bundle::new(|c| c["process"]["args"] = json!(["echo", "it ran"]));
        let mut command = std::process::Command::new("strace");
        command.args(["-f", "-e", inject, "-o"]).arg(log).arg(support::bin());
        command.arg("--root").arg(c.scratch.join("root")).args(["run", "--no-pivot", &c.id]);
        command.current_dir(c.dir()).stdin(std::process::Stdio::null()).output().unwrap()
    };
    let dir = support::Scratch::new();
    let log = dir.join("log");
    let o = traced("trace=move_mount", &log);
    assert_eq!(&*o.stdout, b"it ran\n", "{o:?}");
    // The last of them is the one.
    let calls = std::fs::read_to_string(&log).unwrap().matches("move_mount(").count();
    let o = traced(&format!("inject=move_mount:error=EINVAL:when={calls}"), &log);
    let said = String::from_utf8_lossy(&o.stderr);
    assert!(!o.status.success() && o.stdout.is_empty(), "{o:?}");
    assert!(said.contains("pivot") && !said.contains("mounting"), "{said}");
}

/// T35's other side: a joined namespace that is the host's is in the way of its own sysctls only.
#[test]
fn a_sysctl_of_its_own_namespace_is_set_beside_a_namespace_of_the_hosts() {
    need_root!();
    let of = |key: &str| {
        let key = key.to_owned();
        Bundle::new(move |c| {
            c["process"]["args"] = json!(["cat", "/proc/sys/net/core/somaxconn"]);
            c["linux"]["sysctl"] = json!({key: "1234"});
            for namespace in c["linux"]["namespaces"].as_array_mut().unwrap() {
                if namespace["type"] == "ipc" {
                    namespace["path"] = json!("/proc/self/ns/ipc");
                }
            }
        })
    };
    assert_eq!(of("net.core.somaxconn").ok(&["run", "ID"]), "1234\n");
    let said = of("kernel.shmmni").fails(&["run", "ID"]);
    assert!(said.contains("shmmni") && said.contains("ipc namespace is the host's own"), "{said}");
}

/// What this host has not is not left out in silence.
#[test]
fn a_label_or_a_class_of_cache_that_the_host_has_not_is_an_error() {
    need_root!();
    if std::path::Path::new("/sys/fs/selinux/enforce").exists()
        || std::path::Path::new("/sys/fs/resctrl/schemata").exists()
    {
        skip_on_this_kind_of_host!("it has SELinux or resctrl");
    }
    for (name, value, words) in [
        (
            "intelRdt",
            json!({"closID": "x"}),
            "intelRdt is specified in config, but Intel RDT is not enabled",
        ),
        ("mountLabel", json!("system_u:object_r:svirt_sandbox_file_t:s0"), "SELinux"),
    ] {
        let c = Bundle::new(|c| c["linux"][name] = value);
        let said = c.fails(&["run", "ID"]);
        assert!(said.contains(words), "{said}");
    }
}

/// The cgroup of a container that has ended is empty, and another one may have been given it.
#[test]
fn what_is_done_to_an_ended_container_does_not_hit_another_one_in_its_cgroup() {
    need_root!();
    let ended = shell("exit 0").start();
    let patience = Instant::now() + Duration::from_secs(10);
    while ended.state()["status"] != "stopped" {
        assert!(Instant::now() < patience, "it still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
    let other =
        Bundle::new(|c| c["linux"]["cgroupsPath"] = format!("/{}", ended.id).into()).start();
    let pid = other.pid();
    ended.ok(&["kill", "--all", "ID", "KILL"]);
    assert!(ended.fails(&["kill", "ID", "KILL"]).contains("not running"));
    let o = ended.call(&["delete", "ID"]);
    assert!(o.status.success(), "{o:?}");
    let said = String::from_utf8_lossy(&o.stderr);
    assert!(
        said.contains("somebody else's by now and stays") && said.contains(&ended.id),
        "{said}"
    );
    assert_eq!((other.state()["status"].as_str(), other.pid()), (Some("running"), pid));
    // All of it is still the other one's.
    other.ok(&["pause", "ID"]);
    other.ok(&["resume", "ID"]);
    other.ok(&["delete", "--force", "ID"]);
    for top in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(!top.path().join(&ended.id).exists(), "{top:?}");
    }
}

/// A frozen process of cgroup v1 would die only when it is thawed, for which its killer does not ask.
#[test]
fn a_paused_container_is_ended_by_kill() {
    need_root!();
    let c = shell("sleep 1000 & exec sleep 1000").start();
    c.ok(&["pause", "ID"]);
    c.ok(&["kill", "ID", "TERM"]);
    assert_eq!(c.state()["status"], "paused");
    c.ok(&["kill", "ID", "KILL"]);
    let patience = Instant::now() + Duration::from_secs(10);
    while c.state()["status"] != "stopped" {
        assert!(Instant::now() < patience, "{}", c.state());
        std::thread::sleep(Duration::from_millis(20));
    }
    c.ok(&["delete", "ID"]);
}

/// Who has a socket and does not accept would hold up the container, and whoever wants something of it.
#[test]
fn a_socket_whose_queue_is_full_is_an_error_and_no_wait() {
    need_root!();
    let c = Bundle::new(|c| c["process"]["terminal"] = json!(true));
    let path = c.scratch.join("socket");
    let name = path.to_str().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let short = nix::sys::socket::Backlog::new(1).unwrap();
    nix::sys::socket::listen(&listener, short).unwrap();
    let mut queue = Vec::new();
    let full = loop {
        match stockade::sys::net::connect_now(name.as_bytes()) {
            Ok(socket) => queue.push(socket),
            Err(e) => break e,
        }
    };
    assert_eq!(full.0, libc::EAGAIN);
    for options in
        [&["--console-socket", name][..], &["--console-socket", name, "--pidfd-socket", name]]
    {
        let said = c.fails(&[&["create"], options, &["ID"]].concat());
        assert!(said.contains("does not accept"), "{said}");
        assert_eq!(c.ok(&["list", "-q"]), "");
    }
    let c = shell("exec sleep 1000").start();
    let said = c.fails(&["exec", "--detach", "--tty", "--console-socket", name, "ID", "true"]);
    assert!(said.contains("does not accept"), "{said}");
    let said = c.fails(&["exec", "--pidfd-socket", name, "ID", "true"]);
    assert!(said.contains("pidfd") && said.contains("does not accept"), "{said}");
}

/// What a killed process leaves of its moment is no reason to refuse.
#[test]
fn a_container_can_be_deleted_right_behind_its_end() {
    need_root!();
    for _ in 0..10 {
        let c = shell("exec sleep 1000").start();
        c.ok(&["kill", "ID", "KILL"]);
        c.ok(&["delete", "ID"]);
    }
    let c = shell("exec sleep 1000").start();
    assert!(c.fails(&["delete", "ID"]).contains("that is not stopped: running"));
}

/// What had no effect may be why it fails.
#[test]
fn warnings_are_told_of_a_container_that_does_not_come_about_too() {
    need_root!();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["/nowhere"]);
        c["process"]["capabilities"]["bounding"] = json!(["CAP_NEW", "CAP_KILL", "CAP_NEWER"]);
    });
    let said = c.fails(&["run", "ID"]);
    let warning = "ignoring unknown or unavailable capabilities: [CAP_NEW CAP_NEWER]";
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("no {text} in {said}"));
    assert!(at(warning) < at("level=error"), "{said}");
}

/// Frozen it could not answer whoever starts it.
#[test]
fn a_created_container_that_is_paused_says_so_and_goes_on() {
    need_root!();
    let c = Bundle::new(|_| {});
    let log = std::fs::File::create(c.scratch.join("output")).unwrap();
    let status = c.command(&["create", "ID"]).stdout(log.try_clone().unwrap()).stderr(log).status();
    assert!(status.unwrap().success());
    c.ok(&["pause", "ID"]);
    assert_eq!(c.state()["status"], "paused");
    assert!(c.fails(&["start", "ID"]).contains("it is paused"));
    assert!(c.fails(&["exec", "ID", "true"]).contains("paused"));
    c.ok(&["resume", "ID"]);
    assert_eq!(c.state()["status"], "created");
    c.ok(&["start", "ID"]);
    assert_eq!(c.state()["status"], "running");
}

#[test]
fn neither_a_log_that_nobody_reads_nor_a_pid_file_that_cannot_be_leaves_anything() {
    need_root!();
    let c = Bundle::new(|_| {});
    let place = c.scratch.join("place");
    std::fs::create_dir_all(place.join("dir")).unwrap();
    nix::unistd::mkfifo(&place.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let at = |name: &str| place.join(name).to_str().unwrap().to_owned();
    let said = c.fails(&["--log", &at("fifo"), "create", "ID"]);
    assert!(said.contains("open the log"), "{said}");
    let said = c.fails(&["create", "--pid-file", &at("dir"), "ID"]);
    assert!(said.contains("write the pid file"), "{said}");
    let names = std::fs::read_dir(&place).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    assert_eq!(names, ["dir", "fifo"]);
    assert_eq!(c.ok(&["list", "-q"]), "");
}

/// Two may have been given one cgroup at the same time, when it was empty.
#[test]
fn a_container_that_fails_takes_nobody_elses_process_along() {
    need_root!();
    let c = Bundle::new(|_| {});
    let pid_file = c.scratch.join("stranger");
    let script = format!(
        "sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >{}
        for procs in /sys/fs/cgroup/{id}/cgroup.procs /sys/fs/cgroup/*/{id}/cgroup.procs; do
            [ ! -e $procs ] || echo $! >$procs || exit 4
        done; exit 3",
        pid_file.display(),
        id = c.id
    );
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(c.dir().join("config.json")).unwrap()).unwrap();
    config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script],
        "env": ["PATH=/usr/bin:/bin"]}]});
    std::fs::write(c.dir().join("config.json"), config.to_string()).unwrap();
    let said = c.fails(&["create", "ID"]);
    let stranger = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    let stranger = nix::unistd::Pid::from_raw(stranger);
    let program = std::fs::read(format!("/proc/{stranger}/cmdline"));
    let lives = program.is_ok_and(|words| words.starts_with(b"sleep"));
    let _ = nix::sys::signal::kill(stranger, nix::sys::signal::Signal::SIGKILL);
    assert!(said.contains("exit status 3"), "{said}");
    assert_eq!(c.ok(&["list", "-q"]), "");
    assert!(lives, "it was killed");
    let tops = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path());
    let tops = tops.chain([std::path::PathBuf::from("/sys/fs/cgroup")]);
    for dir in tops.map(|top| top.join(&c.id)) {
        let patience = Instant::now() + Duration::from_secs(10);
        while dir.exists() && std::fs::remove_dir(&dir).is_err() {
            assert!(Instant::now() < patience, "{dir:?} is not empty");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Where other runtimes contradict runc an annotation says that theirs is wanted.
#[test]
fn annotations_choose_what_others_than_runc_do() {
    need_root!();
    for (annotation, expected) in [(None, "1\n"), (Some("max"), "max\n")] {
        let c = Bundle::new(|c| {
            c["linux"]["resources"] = json!({"pids": {"limit": 0}});
            if let Some(value) = annotation {
                c["annotations"] = json!({"org.stockade.pids.zero": value});
            }
        })
        .start();
        let top = if support::pure_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
        let file = std::path::Path::new(top).join(&c.id).join("pids.max");
        assert_eq!(std::fs::read_to_string(file).unwrap(), expected, "{annotation:?}");
    }
    for (annotation, ran, ok) in [(None, "1\n2\n3\n", true), (Some("strict"), "1\n2\n", false)] {
        let dir = support::Scratch::new();
        let log = dir.join("log");
        let c = Bundle::new(|c| {
            let hook = |n: i32| {
                let script = format!("echo {n} >>{}; test {n} != 2", log.display());
                json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
            };
            c["hooks"] = json!({"poststop": [hook(1), hook(2), hook(3)]});
            if let Some(value) = annotation {
                c["annotations"] = json!({"org.stockade.poststop": value});
            }
        })
        .start();
        c.ok(&["kill", "ID", "KILL"]);
        let o = c.call(&["delete", "ID"]);
        assert_eq!(o.status.success(), ok, "{o:?}");
        assert_eq!(std::fs::read_to_string(log).unwrap(), ran);
        assert!(c.fails(&["state", "ID"]).contains("does not exist"));
    }
    let c = Bundle::new(|c| c["annotations"] = json!({"org.stockade.poststop": "lax"}));
    assert!(c.fails(&["run", "ID"]).contains("org.stockade.poststop"));
}
