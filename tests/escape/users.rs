//! Users, ids and names that an attacker chooses.

use crate::need_root;
use crate::support::{Run, busybox_rootfs, jail, sh};
use std::os::unix::fs::symlink;

#[test]
fn t25_a_user_that_looks_like_one_and_is_another() {
    for (user, uid) in [("0", "0"), ("1", "1"), ("65534", "65534")] {
        sh(&["-u", user], "id -u").exits(0).says(&format!("{uid}\n"));
    }
    for bad in [
        "4294967295",
        "4294967296",
        "-1",
        "1:",
        "01",
        " 1",
        ":1",
        "",
        ":",
        "1:2:3",
        "1:-1",
        "0x0",
        "1:4294967295",
        "18446744073709551616",
        "root\n",
        "1\n",
        "65536",
        "1:65536",
        "nosuchuser",
        "1:nosuchgroup",
        "+0",
        "0 ",
        "1.0",
        "99999999999999999999999999999999",
    ] {
        let run = jail(["-u", bad, "--", "id", "-u"]).exits(125);
        assert_eq!(run.stdout, "", "{bad:?}");
        assert!(run.stderr.lines().count() <= 2, "{bad:?}: {run:#?}");
    }
}

/// A rootfs with these accounts, and a run as one of its users.
fn run_as(passwd: &str, group: &str, user: &str) -> Run {
    let root = busybox_rootfs();
    root.file("etc/passwd", passwd);
    root.file("etc/group", group);
    let dir = root.path().to_str().unwrap();
    jail(["--rootfs", dir, "-u", user, "--", "/bin/sh", "-c", "id -u; id -g; id -G"])
}

#[test]
fn t25_a_rootfs_with_hostile_passwd_lines() {
    // A number is a number, whatever the file says its name is.
    let run = run_as("1001:x:0:0::/:/bin/sh\n", "", "1001").exits(0);
    assert!(run.stdout.starts_with("1001\n"), "{run:#?}");
    let run = run_as("a:x:0:0::/:/bin/sh\nb:x:5:6::/:\n", "g:x:7:b\nh:x:8:a,b\n", "b").exits(0);
    assert_eq!(run.stdout.lines().take(2).collect::<Vec<_>>(), ["5", "6"]);
    for groups in ["7", "8"] {
        assert!(run.stdout.lines().nth(2).unwrap().contains(groups), "{run:#?}");
    }
    // Ids that are none must not become 0, -1 or another's.
    for line in [
        "b:x:-1:0::/:",
        "b:x:4294967295:0::/:",
        "b:x:4294967296:0::/:",
        "b:x::0::/:",
        "b:x:0x0:0::/:",
        "b:x: 0:0::/:",
        "b:x:+0:0::/:",
        "b:x",
        "b",
        "b:x:5:4294967295::/:",
        "b:x:5:-1::/:",
        "b:x:5:",
        "b:x:00:0::/:",
        "b:x:1e0:0::/:",
        "b:x:70000:0::/:",
        "\0b:x:5:5::/:",
        "B:x:5:5::/:",
        "+::::::",
        "+b::5:5::/:",
        "#b:x:5:5::/:",
        "ab:x:5:5::/:",
    ] {
        let run = run_as(&format!("{line}\n"), "", "b");
        let other = run.code == 0 && run.stdout.starts_with("0\n") && line.contains("00:");
        assert!(run.code == 125 || other, "{line:?}: {run:#?}");
        assert!(run.code == 0 || run.stdout.is_empty());
    }
}

#[test]
fn t40_account_files_without_end_or_with_a_hook() {
    need_root!();
    for name in ["passwd", "group"] {
        for kind in ["sparse", "fifo", "zero", "directory", "proc", "outside", "missing", "device"]
        {
            let root = busybox_rootfs();
            let file = root.join("etc").join(name);
            std::fs::remove_file(&file).unwrap();
            match kind {
                "sparse" => std::fs::File::create(&file).unwrap().set_len(1 << 30).unwrap(),
                "fifo" => nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                "zero" => symlink("/dev/zero", &file).unwrap(),
                "directory" => std::fs::create_dir(&file).unwrap(),
                "proc" => symlink("/proc/kmsg", &file).unwrap(),
                // The host's own, in which the name would be found.
                "outside" => {
                    symlink(format!("../../../../../../../../etc/{name}"), &file).unwrap();
                }
                "device" => {
                    let made = std::process::Command::new("mknod")
                        .arg(&file)
                        .args(["c", "1", "5"])
                        .status();
                    assert!(made.unwrap().success());
                }
                _ => {}
            }
            let dir = root.path().to_str().unwrap();
            // daemon is no account of the rootfs, and one of the host.
            let user = if name == "passwd" { "daemon" } else { "1001:daemon" };
            let run = jail(["--rootfs", dir, "-u", user, "--", "true"]).exits(125);
            assert!(!run.stderr.is_empty(), "{name} {kind}");
            // A number needs no file, and none may be in its way.
            let run = jail(["--rootfs", dir, "-u", "5:6", "--", "true"]);
            assert_eq!(run.code, 0, "{name} {kind}: {run:#?}");
        }
    }
}

#[test]
fn t44_an_id_that_is_a_path() {
    let long = "a".repeat(5000);
    for bad in [
        "", ".", "..", "../x", "a/b", "a\n", "/", "/abs", ".hidden", "a b", "a:b", "a\\b", "é",
        "a%", &long,
    ] {
        let run = jail(["--id", bad, "--", "echo", "ran"]).exits(125);
        assert!(run.stdout.is_empty() && run.stderr.len() < 600, "{bad:?} {run:#?}");
    }
    for good in ["A_b+c.d", "-x", "0", "job-1"] {
        let id = format!("--id={good}{}", std::process::id());
        jail([&id, "--", "true"]).exits(0);
    }
}

#[test]
fn t44_two_runs_of_one_id_do_not_mix() {
    need_root!();
    let live = crate::attack::Live::start("twice", &["--", "sh", "-c", "echo up; exec sleep 60"]);
    let run = jail(["--id", &live.id, "--", "true"]);
    assert_eq!(run.code, 125, "{run:#?}");
    assert_eq!(live.pids().len(), 2, "the first goes on");
    assert!(!live.cgroups().is_empty());
}
