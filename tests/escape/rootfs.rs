//! A hostile root file system: its names point at a decoy outside.

use crate::decoy::{Decoy, SECRET};
use crate::need_root;
use crate::support::{Run, Scratch, busybox_rootfs, jail};
use std::os::unix::fs::symlink;

/// Runs a shell in the rootfs; what comes of it may be a start or an error, but nothing else.
fn start(root: &Scratch, options: &[&str]) -> Run {
    let dir = root.path().to_str().unwrap();
    let script = "echo started; cat /work/* /tmp/* /data/* /data/x/* 2>/dev/null";
    let words = ["--", "/bin/sh", "-c", script];
    let run = jail(["--rootfs", dir].iter().chain(options).chain(&words));
    let clean = run.stdout.starts_with("started") || run.code == 125;
    assert!(clean, "{options:?} {run:#?}");
    assert!(!run.stdout.contains(SECRET), "{options:?} shows the decoy: {run:#?}");
    run
}

/// Replaces a name of the rootfs by a symlink.
fn point(root: &Scratch, name: &str, to: &str) {
    let path = root.join(name);
    let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    symlink(to, path).unwrap();
}

/// The decoy by an absolute path, and by one that climbs.
fn both_ways(decoy: &Decoy) -> [String; 2] {
    let shown = decoy.shown();
    [shown.clone(), format!("../../../../../../../../..{shown}")]
}

#[test]
fn t03_the_rootfs_has_a_symlink_where_stockade_mounts() {
    need_root!();
    let decoy = Decoy::new();
    for name in ["work", "tmp", "dev", "proc", "sys", "etc"] {
        for to in both_ways(&decoy) {
            for mode in ["--read-only", "--writable"] {
                let root = busybox_rootfs();
                point(&root, name, &to);
                start(&root, &[mode]);
                decoy.unchanged();
                start(&root, &[mode, "--no-idmap", "-u", "0"]);
                decoy.unchanged();
            }
        }
    }
}

#[test]
fn t03_a_mount_point_lies_behind_a_symlink() {
    need_root!();
    let decoy = Decoy::new();
    let given = Scratch::new();
    given.file("hello", "given");
    let dir = given.path().display().to_string();
    for to in both_ways(&decoy) {
        for target in ["/a/x", "/a", "/a/sub/deep", "/a/new/er/still", "/a/secret"] {
            for writable in ["--read-only", "--writable"] {
                let root = busybox_rootfs();
                point(&root, "a", &to);
                start(&root, &[writable, "-v", &format!("{dir}:{target}")]);
                start(&root, &[writable, "-v", &format!("{dir}/hello:{target}/f:ro")]);
                start(&root, &[writable, "--tmpfs", target]);
                decoy.unchanged();
            }
        }
    }
}

#[test]
fn t03_a_link_within_the_rootfs_still_works() {
    let root = busybox_rootfs();
    std::fs::create_dir_all(root.join("run/deep")).unwrap();
    std::fs::create_dir(root.join("var")).unwrap();
    symlink("/run", root.join("var/run")).unwrap();
    let given = Scratch::new();
    given.file("hello", "given");
    let volume = format!("{}:/var/run/deep", given.path().display());
    let dir = root.path().to_str().unwrap();
    jail(["--rootfs", dir, "-v", &volume, "--", "cat", "/run/deep/hello"]).exits(0).says("given");
}

#[test]
fn t07_procfs_on_a_symlink_or_a_file_is_refused() {
    need_root!();
    let decoy = Decoy::new();
    for to in ["/bad", "tmp", "/etc", &decoy.shown()] {
        let root = busybox_rootfs();
        std::fs::create_dir(root.join("bad")).unwrap();
        point(&root, "proc", to);
        let run = start(&root, &[]);
        assert_eq!(run.code, 125, "{to}: {run:#?}");
        assert!(run.stderr.contains("/proc"), "{run:#?}");
    }
    let root = busybox_rootfs();
    std::fs::remove_dir(root.join("proc")).unwrap();
    root.file("proc", "");
    start(&root, &[]).exits(125);
    decoy.unchanged();
}

#[test]
fn t07_nothing_may_be_mounted_on_what_the_kernel_says() {
    let given = Scratch::new();
    let dir = given.path().display().to_string();
    for target in [
        "/",
        "//",
        "/.",
        "/proc",
        "/proc/",
        "/proc/self/attr",
        "/proc/sys",
        "/proc/1",
        "/sys",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/",
        "/dev/pts",
        "/./proc/x",
        "/x/../proc",
        "/..",
    ] {
        jail(["-v", &format!("{dir}:{target}"), "--", "true"]).exits(125);
        jail(["--tmpfs", target, "--", "true"]).exits(125);
        let long = format!("type=bind,src={dir},dst={target}");
        jail(["--mount", &long, "--", "true"]).exits(125);
    }
}

#[test]
fn t12_a_file_is_mounted_on_a_symlink_out_of_the_rootfs() {
    need_root!();
    let decoy = Decoy::new();
    let given = Scratch::new();
    let file = given.file("resolv.conf", "given").display().to_string();
    for name in ["resolv.conf", "sub/none", "none"] {
        for base in both_ways(&decoy) {
            for writable in ["--read-only", "--writable"] {
                let root = busybox_rootfs();
                symlink(format!("{base}/{name}"), root.join("etc/resolv.conf")).unwrap();
                start(&root, &[writable, "-v", &format!("{file}:/etc/resolv.conf")]);
                decoy.unchanged();
                assert_eq!(std::fs::read_to_string(&file).unwrap(), "given");
            }
        }
    }
}

#[test]
fn t13_the_working_directory_lies_behind_a_symlink() {
    need_root!();
    let decoy = Decoy::new();
    for to in both_ways(&decoy) {
        for cwd in ["/work/x", "/work", "/work/sub/deep", "/gone", "/gone/x/y", "/work/../.."] {
            for writable in ["--read-only", "--writable"] {
                let root = busybox_rootfs();
                point(&root, "work", &to);
                point(&root, "gone", &to);
                let run = start(&root, &[writable, "-w", cwd]);
                assert!(!run.stdout.contains("decoy"), "{run:#?}");
                decoy.unchanged();
            }
        }
    }
}

#[test]
fn t03_every_name_that_stockade_touches_points_out_at_once() {
    need_root!();
    let decoy = Decoy::new();
    let names = [
        "work",
        "tmp",
        "dev/shm",
        "dev/pts",
        "dev/null",
        "dev/ptmx",
        "dev/console",
        "dev/fd",
        "dev/stdin",
        "sys/devices",
        "etc/passwd",
        "etc/group",
        "etc/hosts",
    ];
    for to in both_ways(&decoy) {
        for writable in ["--read-only", "--writable"] {
            let root = busybox_rootfs();
            for name in names {
                if let Some(parent) = root.join(name).parent() {
                    std::fs::create_dir_all(parent).unwrap();
                }
                point(&root, name, &format!("{to}/null"));
            }
            start(&root, &[writable]);
            start(&root, &[writable, "-u", "0:0", "--no-idmap"]);
            decoy.unchanged();
        }
    }
}

#[test]
fn t03_the_rootfs_links_in_a_circle() {
    for name in ["work", "tmp", "etc", "sys"] {
        let root = busybox_rootfs();
        point(&root, name, name);
        start(&root, &["-v", "/usr/share:/work/a/b:ro"]);
        point(&root, name, "a");
        symlink(name, root.join("a")).unwrap();
        start(&root, &[]);
    }
}

#[test]
fn t04_a_mask_is_the_real_null_device() {
    need_root!();
    let root = busybox_rootfs();
    // The rootfs brings its own /dev/null, full of words.
    root.file("dev/null", SECRET);
    let dir = root.path().to_str().unwrap();
    let run = jail(["--rootfs", dir, "--", "/bin/sh", "-c", "cat /dev/null /proc/keys; echo end"]);
    assert_eq!(run.stdout, "end\n", "{run:#?}");
}

#[test]
fn t01_the_rootfs_itself_is_a_symlink_or_no_directory() {
    let root = busybox_rootfs();
    let scratch = Scratch::new();
    let link = scratch.join("link");
    symlink(root.path(), &link).unwrap();
    // The caller's own link is the caller's to follow.
    jail(["--rootfs", link.to_str().unwrap(), "--", "true"]).exits(0);
    let file = scratch.file("file", "");
    for bad in [file.to_str().unwrap(), "/dev/null", "/nowhere", ""] {
        jail(["--rootfs", bad, "--", "true"]).exits(125);
    }
}

#[test]
fn h07_an_unprivileged_rootfs_stays_as_it_was_after_a_read_only_run() {
    need_root!();
    let root = busybox_rootfs();
    for dir in ["work", "dev", "proc", "sys", "tmp"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let before = crate::decoy::digest(root.path());
    let dir = root.path().to_str().unwrap();
    let script = "touch /x /bin/x /etc/x; rm -rf /bin/sh /etc/passwd; chmod 777 /bin; true";
    for user in ["0", "65534"] {
        jail(["--rootfs", dir, "-u", user, "--", "/bin/sh", "-c", script]).exits(0);
        assert_eq!(crate::decoy::digest(root.path()), before, "as {user}");
    }
}
