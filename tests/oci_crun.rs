//! What crun has beyond runc, and its users count on: annotations `run.oci.*`, options of mounts, verbs,
//! and its name.

mod support;

use base64::Engine;
use serde_json::{Value, json};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use stockade::sys::io;
use support::bundle::{Bundle, status_line};

/// A container that runs this script, with these annotations.
fn annotated(script: &str, pairs: Value, more: impl FnOnce(&mut Value)) -> Bundle {
    Bundle::new(|c| {
        c["process"]["args"] = json!(["sh", "-c", script]);
        c["annotations"] = pairs;
        more(c);
    })
}

/// `run` in the foreground: whether it ended well, and both outputs.
fn run(c: &Bundle) -> (bool, String) {
    let o = c.call(&["run", "ID"]);
    let mut text = String::from_utf8_lossy(&o.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&o.stderr));
    (o.status.success(), text)
}

#[test]
fn hooks_print_to_the_files_that_annotations_name() {
    need_root!();
    let errors = support::Scratch::new();
    let errors = errors.join("errors");
    let files = json!({"run.oci.hooks.stdout": "output", "run.oci.hooks.stderr": errors});
    let c = annotated("sleep 1000", files, |c| {
        let hook = |name: &str| {
            let script = format!("echo {name}; echo e-{name} >&2");
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
        };
        for name in [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ] {
            c["hooks"][name] = hook(name);
        }
    });
    std::fs::write(c.dir().join("output"), "before\n").unwrap();
    let log = std::fs::File::create(c.scratch.join("log")).unwrap();
    let mut create = c.command(&["create", "ID"]);
    create.stdout(log.try_clone().unwrap()).stderr(log);
    assert!(create.status().unwrap().success());
    c.ok(&["start", "ID"]);
    c.ok(&["delete", "--force", "ID"]);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let order =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    assert_eq!(read(&c.dir().join("output")), format!("before\n{}\n", order.join("\n")));
    assert_eq!(read(&errors), order.map(|name| format!("e-{name}\n")).concat());
    assert_eq!(read(&c.scratch.join("log")), "");
    // A file that cannot be had: nothing runs.
    let none = json!({"run.oci.hooks.stdout": "missing/output"});
    let c = annotated("true", none, |c| {
        c["hooks"]["prestart"] = json!([{"path": "/bin/true"}]);
    });
    assert!(c.fails(&["run", "ID"]).contains("run.oci.hooks"));
}

#[test]
fn the_caller_s_groups_stay_where_an_annotation_says_so() {
    need_root!();
    let groups = |keep: &str, more: &dyn Fn(&mut Value)| {
        let pairs = json!({ "run.oci.keep_original_groups": keep });
        let c = annotated("cat /proc/self/status", pairs, |c| more(c));
        let mut call = std::process::Command::new("setpriv");
        call.args(["--groups", "7,8"])
            .arg(support::bin())
            .arg("--root")
            .arg(c.scratch.join("root"));
        let o = call.args(["run", &c.id]).current_dir(c.dir()).output().unwrap();
        assert!(o.status.success(), "{o:?}");
        let text = String::from_utf8(o.stdout).unwrap();
        (status_line(&text, "Groups").to_owned(), String::from_utf8(o.stderr).unwrap())
    };
    assert_eq!(groups("1", &|_| {}).0, "7 8");
    assert_eq!(groups("0", &|_| {}).0, "");
    let in_user_namespace = |c: &mut Value| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let all = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
        c["linux"]["uidMappings"] = all.clone();
        c["linux"]["gidMappings"] = all;
    };
    assert_eq!(groups("1", &in_user_namespace).0, "7 8");
    let (kept, said) = groups("1", &|c| c["process"]["user"]["additionalGids"] = json!([9]));
    assert_eq!(kept, "7 8");
    assert!(said.contains("additionalGids has no effect"), "{said}");
}

#[test]
fn an_unknown_system_call_is_an_error_where_an_annotation_says_so() {
    need_root!();
    let filter = |c: &mut Value| {
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["opneat"], "action": "SCMP_ACT_ERRNO"}]});
    };
    let (ok, text) = run(&annotated("true", json!({}), filter));
    assert!(ok, "{text}");
    let strict = json!({"run.oci.seccomp_fail_unknown_syscall": "1"});
    let said = annotated("true", strict, filter).fails(&["run", "ID"]);
    assert!(said.contains("opneat") && said.contains("seccomp_fail_unknown_syscall"), "{said}");
}

/// The bytes of a program that answers one call with an error number and lets all others through.
fn denying(call: i64, errno: u32) -> String {
    let call = u32::try_from(call).unwrap();
    let program: [(u16, u8, u8, u32); 4] = [
        (0x20, 0, 0, 0),    // load the number
        (0x15, 0, 1, call), // is it this one
        (0x06, 0, 0, 0x0005_0000 | errno),
        (0x06, 0, 0, 0x7fff_0000),
    ];
    let bytes: Vec<u8> = program
        .iter()
        .flat_map(|(code, jt, jf, k)| {
            let mut one = code.to_ne_bytes().to_vec();
            one.extend([*jt, *jf]);
            one.extend(k.to_ne_bytes());
            one
        })
        .collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_filter_as_data_stands_in_for_the_profile() {
    need_root!();
    let _ = std::fs::metadata("/");
    let data = denying(libc::SYS_chroot, libc::ENOMEDIUM.cast_unsigned());
    for no_new_privs in [true, false] {
        let pairs = json!({ "run.oci.seccomp_bpf_data": data });
        let c = annotated(
            "chroot / true; mkdir /made && grep Seccomp: /proc/self/status",
            pairs,
            |c| {
                c["process"]["noNewPrivileges"] = no_new_privs.into();
                // Which is not looked at.
                c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]});
            },
        );
        let _ = std::os::unix::fs::symlink("busybox", c.rootfs().join("bin/chroot"));
        let _ = std::os::unix::fs::symlink("busybox", c.rootfs().join("bin/grep"));
        let _ = std::os::unix::fs::symlink("busybox", c.rootfs().join("bin/mkdir"));
        let (ok, text) = run(&c);
        assert!(ok && text.contains("No medium found"), "{text}");
        assert!(text.contains("Seccomp:\t2"), "{text}");
        // A process of exec has it too.
        let c = annotated("sleep 1000", json!({ "run.oci.seccomp_bpf_data": data }), |c| {
            c["process"]["noNewPrivileges"] = no_new_privs.into();
        })
        .start();
        let status = c.exec(&["cat", "/proc/self/status"]);
        assert_eq!(status_line(&status, "Seccomp"), "2");
    }
    // What the kernel does not take is an error, and no container without a filter.
    let wrong = base64::engine::general_purpose::STANDARD.encode([0xff; 16]);
    let c = annotated("true", json!({ "run.oci.seccomp_bpf_data": wrong }), |_| {});
    assert!(c.fails(&["run", "ID"]).contains("seccomp"));
}

#[test]
fn a_pidfd_of_the_container_goes_to_the_socket_that_an_annotation_names() {
    need_root!();
    let c = annotated("sleep 1000", json!({"run.oci.pidfd_receiver": "pidfd.sock"}), |_| {});
    assert!(c.fails(&["run", "ID"]).contains("pidfd.sock"));
    let listener = UnixListener::bind(c.dir().join("pidfd.sock")).unwrap();
    let c = c.start();
    let (peer, _) = listener.accept().unwrap();
    let mut name = [0; 256];
    let (_, pidfd) = io::recv(peer.as_fd(), &mut name, false).unwrap();
    let pidfd = pidfd.expect("a descriptor comes along");
    let info = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let info = std::fs::read_to_string(info).unwrap();
    assert_eq!(status_line(&info, "Pid"), c.pid().to_string());
}

#[test]
fn an_offset_of_a_clock_can_be_an_annotation() {
    need_root!();
    let of = |offset: &str, own: bool| {
        annotated("cat /proc/uptime", json!({ "run.oci.timens_offset": offset }), |c| {
            if own {
                c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
            }
        })
    };
    let (ok, text) = run(&of("boottime 1000000000 0", true));
    let seconds: f64 = text.split_whitespace().next().unwrap().parse().unwrap_or_default();
    assert!(ok && seconds > 1e9, "{text}");
    assert!(of("boottime 1 0", false).fails(&["run", "ID"]).contains("time namespace"));
    assert!(of("boottime 1", true).fails(&["run", "ID"]).contains("run.oci.timens_offset"));
}

#[test]
fn what_belongs_to_crun_s_plug_ins_is_an_error() {
    need_root!();
    for (key, value) in [
        ("run.oci.handler", "krun"),
        ("run.oci.seccomp.plugins", "/lib/plugin.so"),
        ("run.oci.systemd.subgroup", "below"),
        ("run.oci.delegate-cgroup", "below"),
    ] {
        let said = annotated("true", json!({ key: value }), |_| {}).fails(&["run", "ID"]);
        assert!(said.contains(key) && said.contains("not supported"), "{said}");
    }
    let (ok, text) = run(&annotated("true", json!({"run.oci.nothing": "1"}), |_| {}));
    assert!(ok && text.contains("run.oci.nothing"), "{text}");
}

/// The hierarchy that old systemd needs, in the container's own cgroup namespace alone.
#[test]
fn systemd_s_hierarchy_of_v1_can_be_mounted_instead_of_the_others() {
    need_root!();
    let pairs = json!({"run.oci.systemd.force_cgroup_v1": "/sys/fs/cgroup"});
    let script = "grep ' /sys/fs/cgroup' /proc/self/mountinfo; cat /proc/self/cgroup";
    let spaces = |c: &mut Value, with: bool| {
        let list = c["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|n| n["type"] != "cgroup");
        if with {
            list.push(json!({"type": "cgroup"}));
        }
    };
    let c = annotated(script, pairs.clone(), |c| spaces(c, true));
    let _ = std::os::unix::fs::symlink("busybox", c.rootfs().join("bin/grep"));
    let host = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    if host.contains("name=systemd:") {
        let (ok, text) = run(&c);
        let mounts: Vec<&str> = text.lines().filter(|l| l.contains(" /sys/fs/cgroup")).collect();
        assert!(ok && mounts.len() == 1, "{text}");
        // Its root is the container's own cgroup.
        assert!(
            mounts[0].contains(" / /sys/fs/cgroup ") && mounts[0].contains("name=systemd"),
            "{text}"
        );
    } else {
        assert!(c.fails(&["run", "ID"]).contains("name=systemd"));
    }
    let c = annotated(script, pairs, |c| spaces(c, false));
    assert!(c.fails(&["run", "ID"]).contains("cgroup namespace"));
    let missing = json!({"run.oci.systemd.force_cgroup_v1": "/nowhere"});
    let c = annotated(script, missing, |c| spaces(c, true));
    assert!(c.fails(&["run", "ID"]).contains("/nowhere"));
}

fn push_mount(c: &mut Value, mount: Value) {
    c["mounts"].as_array_mut().unwrap().push(mount);
}

#[test]
fn a_symlink_of_the_host_is_copied_or_mounted_itself() {
    need_root!();
    let host = support::Scratch::new();
    std::fs::write(host.join("file"), "inside\n").unwrap();
    let (link, dangling) = (host.join("link"), host.join("dangling"));
    std::os::unix::fs::symlink(host.join("file"), &link).unwrap();
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    let bind = |source: &Path, target: &str, options: &[&str]| json!({"destination": target, "type": "bind", "source": source, "options": options});
    let with = |script: &str, mount: Value| {
        Bundle::new(|c| {
            c["process"]["args"] = json!(["sh", "-c", script]);
            push_mount(c, mount);
        })
    };
    // Copied, with the directories above it; what is there already has to be the same.
    let c = with("readlink /a/b/link", bind(&dangling, "/a/b/link", &["rbind", "copy-symlink"]));
    for _ in 0..2 {
        let (ok, text) = run(&c);
        assert!(ok && text == "nowhere\n", "{text}");
    }
    let c = with("true", bind(&dangling, "/etc", &["rbind", "copy-symlink"]));
    assert!(c.fails(&["run", "ID"]).contains("/etc"));
    // What is no symlink is mounted.
    let c = with("cat /a/file", bind(&host.join("file"), "/a/file", &["bind", "copy-symlink"]));
    assert_eq!(run(&c), (true, "inside\n".to_owned()));
    // The source followed or not, on a symlink of the image that leads nowhere.
    for (options, script, shows) in [
        (&["bind", "dest-nofollow"][..], "cat /target", "inside\n".to_owned()),
        (
            &["bind", "dest-nofollow", "src-nofollow"],
            "readlink /target",
            format!("{}\n", host.join("file").display()),
        ),
    ] {
        let c = with(script, bind(&link, "/target", options));
        std::os::unix::fs::symlink("elsewhere", c.rootfs().join("target")).unwrap();
        assert_eq!(run(&c), (true, shows));
        assert!(!c.rootfs().join("elsewhere").exists());
    }
    // A procfs is not for it.
    let c = with("true", bind(&link, "/proc/self", &["bind", "dest-nofollow", "src-nofollow"]));
    assert!(c.fails(&["run", "ID"]).contains("/proc/self"));
}

/// What is mounted on the root first is the root: also for masks, for what is read-only, and for who
/// looks for a way back to the one below.
#[test]
fn what_is_mounted_on_the_root_is_the_root() {
    need_root!();
    let with = |mount: Value, more: &dyn Fn(&mut Value)| {
        Bundle::new(|c| {
            c["process"]["args"] = json!(["sh", "-c", "ls /; cat /proc/kcore | wc -c; echo $HOME"]);
            c["mounts"].as_array_mut().unwrap().insert(0, mount);
            more(c);
        })
    };
    let other = support::busybox_rootfs();
    std::fs::write(other.join("marker"), "").unwrap();
    std::fs::write(other.join("etc/passwd"), "root:x:0:0::/of/the/cover:/bin/sh\n").unwrap();
    for tool in ["ls", "wc", "touch", "sleep"] {
        let _ = std::os::unix::fs::symlink("busybox", other.join("bin").join(tool));
    }
    let bind =
        json!({"destination": "/", "type": "bind", "source": other.path(), "options": ["bind"]});
    for args in [&["run", "ID"][..], &["run", "--no-pivot", "ID"]] {
        let c = with(bind.clone(), &|_| {});
        std::fs::write(c.rootfs().join("below"), "").unwrap();
        let o = c.call(args);
        let text = String::from_utf8(o.stdout).unwrap();
        assert!(o.status.success(), "{text} {:?}", o.stderr);
        assert!(text.contains("marker\n") && !text.contains("below\n"), "{text}");
        assert!(text.contains("\n0\n") && text.ends_with("/of/the/cover\n"), "{text}");
    }
    let c = with(bind.clone(), &|c| {
        c["root"]["readonly"] = true.into();
        c["process"]["args"] = json!(["touch", "/x"]);
    });
    assert!(run(&c).1.contains("Read-only file system"));
    // A process of exec is there too.
    let c = with(bind, &|c| c["process"]["args"] = json!(["sleep", "1000"])).start();
    assert!(c.exec(&["ls", "/"]).contains("marker"));
    // A tmpfs with what is below.
    let tmpfs =
        json!({"destination": "/", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]});
    let c = with(tmpfs.clone(), &|c| c["process"]["args"] = json!(["sh", "-c", "echo >/x; ls /"]));
    std::fs::write(c.rootfs().join("below"), "").unwrap();
    let _ = std::os::unix::fs::symlink("busybox", c.rootfs().join("bin/ls"));
    let (ok, text) = run(&c);
    assert!(ok && text.contains("below\n") && text.contains("x\n"), "{text}");
    assert!(!c.rootfs().join("x").exists());
    // Not behind others, not a procfs, not the host's own root.
    let c = Bundle::new(|c| push_mount(c, tmpfs));
    assert!(c.fails(&["run", "ID"]).contains("put it first"));
    let c = with(json!({"destination": "/", "type": "proc", "source": "proc"}), &|_| {});
    assert!(c.fails(&["run", "ID"]).contains("proc"));
    let host = json!({"destination": "/", "type": "bind", "source": "/", "options": ["rbind"]});
    assert!(with(host, &|_| {}).fails(&["run", "ID"]).contains("host's root"));
}

#[test]
fn delete_takes_an_expression_for_many_containers() {
    need_root!();
    let first = Bundle::new(|_| {}).start();
    let second = Bundle::new(|_| {});
    let root = first.scratch.join("root");
    let call = |args: &[&str]| {
        let mut command = second.command(&[]);
        command.arg("--root").arg(&root).args(args);
        command
    };
    let log = std::fs::File::create(second.scratch.join("output")).unwrap();
    let mut more = call(&["run", "--detach", "other-one"]);
    more.stdout(log.try_clone().unwrap()).stderr(log);
    assert!(more.status().unwrap().success());
    let ids = || String::from_utf8(call(&["list", "--quiet"]).output().unwrap().stdout).unwrap();
    assert_eq!(ids().lines().count(), 2);
    let said = |args: &[&str]| {
        let o = call(args).output().unwrap();
        (o.status.success(), String::from_utf8(o.stderr).unwrap())
    };
    let (ok, text) = said(&["delete", "--force", "--regex", "("]);
    assert!(!ok && text.contains("regular expression"), "{text}");
    // What runs is not deleted without force, and that is told.
    let (ok, text) = said(&["delete", "--regex", "^other-"]);
    assert!(!ok && text.contains("other-one") && text.contains("not stopped"), "{text}");
    let (ok, text) = said(&["delete", "-f", "-r", "^other-[a-z]+$"]);
    assert!(ok, "{text}");
    assert_eq!(ids(), format!("{}\n", first.id));
    let (ok, _) = said(&["delete", "-f", "--regex", "^nothing$"]);
    assert!(ok && ids().lines().count() == 1);
}

#[test]
fn by_the_name_crun_it_is_crun() {
    let scratch = support::Scratch::new();
    let crun = scratch.join("crun");
    std::os::unix::fs::symlink(support::bin(), &crun).unwrap();
    let said = |args: &[&str]| {
        let o = std::process::Command::new(&crun).args(args).output().unwrap();
        assert!(o.status.success(), "{o:?}");
        String::from_utf8(o.stdout).unwrap()
    };
    let version = said(&["--version"]);
    assert!(version.starts_with("crun version 1."), "{version}");
    assert!(version.lines().any(|l| l.starts_with('+') && l.contains("+SECCOMP")), "{version}");
    assert!(said(&["exec", "--help"]).starts_with("Usage: crun [OPTION...] exec CONTAINER cmd\n"));
    assert!(said(&["help", "delete"]).starts_with("Usage: crun [OPTION...] delete CONTAINER\n"));
    assert!(said(&["--help"]).contains("The default root is /run/crun") || !is_root());
    let features: Value = serde_json::from_str(&said(&["features"])).unwrap();
    assert!(features["annotations"]["run.oci.crun.version"].as_str().unwrap().starts_with("1."));
    let unsafe_ones = features["potentiallyUnsafeConfigAnnotations"].as_array().unwrap();
    assert!(unsafe_ones.contains(&json!("run.oci.")));
    // Its word for where the log goes.
    let log = scratch.join("log");
    let o = std::process::Command::new(&crun)
        .args(["--root", scratch.path().to_str().unwrap(), "--log"])
        .arg(format!("file:{}", log.display()))
        .args(["state", "none"])
        .output()
        .unwrap();
    assert!(!o.status.success());
    assert!(std::fs::read_to_string(log).unwrap().contains("none"));
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// Inheritable and not permitted, for a user who is not root: what is executed may still get it, by its
/// file's own capabilities.
#[test]
fn a_capability_may_be_inheritable_alone_whoever_the_user_is() {
    need_root!();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["cat", "/proc/self/status"]);
        c["process"]["user"]["uid"] = 1000.into();
        let one = json!(["CAP_SYS_ADMIN"]);
        c["process"]["capabilities"] = json!({"bounding": one, "inheritable": one});
    });
    let (ok, text) = run(&c);
    assert!(ok, "{text}");
    for (set, value) in
        [("CapInh", 1_u64 << 21), ("CapPrm", 0), ("CapEff", 0), ("CapBnd", 1 << 21), ("CapAmb", 0)]
    {
        assert_eq!(status_line(&text, set), format!("{value:016x}"), "{set}");
    }
}

/// Full mappings, in a new user namespace.
fn all_ids(c: &mut Value, first: u32) {
    let spaces = c["linux"]["namespaces"].as_array_mut().unwrap();
    spaces.push(json!({"type": "user"}));
    let all = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
    c["linux"]["uidMappings"] = all.clone();
    c["linux"]["gidMappings"] = all;
}

/// Calls `mounts` with this list.
fn mounts(c: &Bundle, verb: &str, list: &Value) -> (bool, String) {
    let file = c.scratch.join("mounts.json");
    std::fs::write(&file, list.to_string()).unwrap();
    let o = c.call(&["mounts", verb, "ID", file.to_str().unwrap()]);
    (o.status.success(), String::from_utf8(o.stderr).unwrap())
}

#[test]
fn mounts_are_made_in_a_running_container_and_taken_away() {
    need_root!();
    let host = support::Scratch::new();
    std::fs::write(host.join("file"), "of the host\n").unwrap();
    let own = [false, true];
    for user_namespace in own {
        let c = Bundle::new(|c| {
            if user_namespace {
                all_ids(c, 100_000);
            }
            push_mount(c, json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs"}));
        });
        if user_namespace {
            chown_all(c.rootfs(), 100_000);
        }
        std::fs::create_dir(c.rootfs().join("data")).unwrap();
        let c = c.start();
        let list = json!([
            {"destination": "/data/host", "type": "bind", "source": host.path(), "options": ["bind", "ro"]},
            {"destination": "/data/host/../tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]},
        ]);
        let before = c.exec(&["cat", "/proc/self/mountinfo"]);
        let (ok, said) = mounts(&c, "add", &list);
        assert!(ok, "{said}");
        assert_eq!(c.exec(&["cat", "/data/host/file"]), "of the host\n");
        let table = c.exec(&["cat", "/proc/self/mountinfo"]);
        assert!(table.contains(" /data/tmp ") && table.contains("size=64k"), "{table}");
        let line = table.lines().find(|l| l.contains(" /data/host ")).unwrap();
        assert!(line.contains(" ro,") || line.contains(" ro "), "{line}");
        // The configuration's mounts are not for it, and what is not mounted is told.
        let of_the_configuration = json!([{"destination": "/data"}]);
        assert!(mounts(&c, "remove", &of_the_configuration).1.contains("the configuration's"));
        let (ok, said) = mounts(&c, "remove", &list);
        assert!(ok, "{said}");
        assert_eq!(c.exec(&["cat", "/proc/self/mountinfo"]), before);
        assert!(mounts(&c, "remove", &list).1.contains("nothing is mounted there"));
        // All or nothing.
        let second_fails = json!([
            {"destination": "/data/tmp", "type": "tmpfs"},
            {"destination": "/data/other", "type": "tmpfs", "options": ["nonsense=1"]},
        ]);
        let (ok, said) = mounts(&c, "add", &second_fails);
        assert!(!ok && said.contains("/data/other"), "{said}");
        assert_eq!(c.exec(&["cat", "/proc/self/mountinfo"]), before);
        let missing = json!([{"destination": "/x", "type": "bind", "source": "/nowhere/at/all"}]);
        assert!(mounts(&c, "add", &missing).1.contains("/nowhere/at/all"));
        assert!(mounts(&c, "swap", &missing).1.contains("neither add nor remove"));
    }
    let c = Bundle::new(|c| c["process"]["args"] = json!(["true"]));
    c.ok(&["run", "--keep", "ID"]);
    assert!(mounts(&c, "add", &json!([])).1.contains("does not run"));
}

fn chown_all(dir: &Path, id: u32) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        std::os::unix::fs::lchown(&path, Some(id), Some(id)).unwrap();
        if path.is_dir() && !path.is_symlink() {
            chown_all(&path, id);
        }
    }
    std::os::unix::fs::lchown(dir, Some(id), Some(id)).unwrap();
}

/// A container that has put symlinks in the way gets the mount in its own root, and what hides something
/// from it stays.
#[test]
fn symlinks_of_a_running_container_lead_a_mount_nowhere_else() {
    need_root!();
    let host = support::Scratch::new();
    let c = Bundle::new(|c| c["linux"]["maskedPaths"] = json!(["/hidden/secret"]));
    std::fs::create_dir(c.rootfs().join("hidden")).unwrap();
    std::fs::write(c.rootfs().join("hidden/secret"), "secret\n").unwrap();
    std::os::unix::fs::symlink(
        format!("../../../..{}", host.path().display()),
        c.rootfs().join("out"),
    )
    .unwrap();
    std::os::unix::fs::symlink("/proc", c.rootfs().join("kernel")).unwrap();
    std::os::unix::fs::symlink("/hidden", c.rootfs().join("added")).unwrap();
    let c = c.start();
    let tmpfs = |target: &str| json!([{"destination": target, "type": "tmpfs"}]);
    let table = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = table();
    let (ok, said) = mounts(&c, "add", &tmpfs("/out/here"));
    assert!(ok, "{said}");
    assert!(!host.join("here").exists() && table() == before);
    assert!(
        c.exec(&["cat", "/proc/self/mountinfo"])
            .contains(&format!("{}/here", host.path().display()))
    );
    let (ok, said) = mounts(&c, "add", &tmpfs("/kernel/sys"));
    assert!(!ok && said.contains("/kernel/sys"), "{said}");
    let (ok, said) = mounts(&c, "remove", &tmpfs("/added/secret"));
    assert!(!ok && said.contains("without symlinks"), "{said}");
    assert_eq!(c.exec(&["cat", "/hidden/secret"]), "");
}

/// In a user namespace no node can be made: one that the host has not is made outside, for this container
/// alone.
#[test]
fn a_device_that_the_host_has_not_is_made_for_a_user_namespace_too() {
    need_root!();
    let device = json!([
        {"path": "/dev/own", "type": "c", "major": 1, "minor": 5, "uid": 10, "gid": 11, "fileMode": 0o644},
        {"path": "/dev/block", "type": "b", "major": 7, "minor": 77},
    ]);
    let c = Bundle::new(|c| {
        all_ids(c, 100_000);
        c["linux"]["devices"] = device.clone();
        let script = "ls -ln /dev/own /dev/block; head -c 3 /dev/own | wc -c";
        c["process"]["args"] = json!(["sh", "-c", script]);
        c["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "r"}]);
    });
    let _ = std::os::unix::fs::symlink("busybox", c.rootfs().join("bin/ls"));
    chown_all(c.rootfs(), 100_000);
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let (ok, text) = run(&c);
    let line = |name: &str| {
        let line = text.lines().find(|l| l.ends_with(name)).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(ok && text.ends_with("3\n"), "{text}");
    assert!(line("/dev/own").starts_with("crw-r--r-- 1 10 11 1, 5 "), "{text}");
    assert!(line("/dev/block").starts_with("brw-rw-rw- 1 0 0 7, 77 "), "{text}");
    assert!(!Path::new("/dev/own").exists());
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    // An owner that the container has not is an error.
    let c = Bundle::new(|c| {
        all_ids(c, 100_000);
        c["linux"]["devices"] =
            json!([{"path": "/dev/own", "type": "c", "major": 1, "minor": 5, "uid": 70000}]);
    });
    assert!(c.fails(&["run", "ID"]).contains("70000"));
}
