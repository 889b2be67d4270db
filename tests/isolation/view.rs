//! Masks, read-only procfs, device nodes.

use crate::attack::{answer, attack, open_scratch, outside, volume};
use crate::support::{Run, jail, python, sh};
use crate::{need_root, skip};

const MASKED: &str = "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys
    /proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats
    /sys/firmware /sys/devices/virtual/powercap /sys/devices/system/cpu/cpu0/thermal_throttle
    /proc/kallsyms /proc/kmsg /proc/kpagecount /proc/kpageflags /proc/kpagecgroup /proc/slabinfo
    /proc/vmallocinfo /proc/iomem /proc/ioports /proc/config.gz /proc/key-users /proc/modules
    /proc/mtrr /proc/swaps /proc/pagetypeinfo /sys/kernel/notes /sys/kernel/vmcoreinfo
    /sys/kernel/debug /sys/kernel/tracing /sys/kernel/security /sys/kernel/btf";

/// Prints the path of everything that yields a byte or a name.
const READ_ALL: &str = "import os, sys
for path in sys.argv[1:]:
    try:
        if os.path.isdir(path):
            if os.listdir(path): print('SHOWN', path)
        else:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            if os.read(fd, 1): print('SHOWN', path)
    except OSError: pass
print('looked')";

fn read_all(options: &[&str]) -> Run {
    let words = [options, &["--", "/usr/bin/python3", "-c", READ_ALL]].concat();
    jail(words.into_iter().chain(MASKED.split_whitespace())).exits(0)
}

#[test]
fn h20_h21_a_job_reads_nothing_from_a_masked_path() {
    for options in [
        &[][..],
        &["-u", "0"],
        &["-u", "0", "--cap-add", "ALL"],
        &["--security-opt", "seccomp=unconfined", "-u", "0"],
    ] {
        assert_eq!(read_all(options).stdout, "looked\n", "{options:?}");
    }
    // Control: on the host most of them do tell something.
    let out = std::process::Command::new("/usr/bin/python3")
        .args(["-c", READ_ALL])
        .args(MASKED.split_whitespace())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&out.stdout).matches("SHOWN").count();
    assert!(shown >= 3, "the control sees only {shown}");
}

#[test]
fn h20_sys_shows_only_the_list_of_cpus() {
    let run = sh(&[], "find /sys -type f -o -type l").exits(0);
    for file in run.stdout.lines() {
        assert!(file.starts_with("/sys/devices/system/cpu/"), "{file}");
    }
    sh(&["-u", "0"], "mkdir /sys/x || echo > /sys/devices/system/cpu/online").exits(2);
}

#[test]
fn h22_root_in_the_jail_writes_to_the_kernels_files() {
    let code = "import os
tried = 0
for top in ('bus', 'fs', 'irq', 'sys'):
    for dir, _, files in os.walk('/proc/' + top):
        for f in files:
            tried += 1
            try:
                os.close(os.open(os.path.join(dir, f), os.O_WRONLY))
                print('OPENED', dir, f)
            except OSError: pass
for f in ('sysrq-trigger', 'sys/kernel/core_pattern', 'sys/kernel/hostname', 'kmsg', 'mtrr'):
    try: os.open('/proc/' + f, os.O_WRONLY); print('OPENED' if f != 'kmsg' and f != 'mtrr' else '', f)
    except OSError: pass
print('tried', tried > 100)";
    for more in [&["-u", "0"][..], &["-u", "0", "--cap-add", "ALL"], &["-u", "0", "--no-init"]] {
        let run = python(more, code).exits(0).says("tried True");
        assert!(!run.stdout.contains("OPENED"), "{more:?} {run:#?}");
    }
}

#[test]
fn h23_masks_survive_umount_and_a_child_user_namespace() {
    let script = "umount /proc/keys; umount -l /proc/acpi; umount -l /proc/sys; umount -l /proc
        unshare -Ur umount -l /proc/keys; unshare -Urm sh -c 'umount -l /proc/keys; cat /proc/keys'
        mount -o remount,rw /proc/sys; cat /proc/keys; ls /proc/acpi
        echo x > /proc/sys/kernel/domainname && echo WROTE
        grep -c ' /proc/keys ' /proc/self/mountinfo";
    for options in [
        &[][..],
        &["-u", "0"],
        &["--security-opt", "seccomp=unconfined"],
        &["-u", "0", "--security-opt", "seccomp=unconfined"],
    ] {
        if !std::path::Path::new("/proc/keys").exists() {
            skip!("no /proc/keys here");
        }
        assert_eq!(sh(options, script).exits(0).stdout, "1\n", "{options:?}");
    }
}

#[test]
fn t15_a_nested_user_namespace_mounts_a_full_proc() {
    let script = "unshare -Urpf --mount-proc sh -c 'cat /proc/keys; echo IN';
        unshare -Urpf sh -c 'mount -t proc p /tmp && echo MOUNTED';
        unshare -Urpf sh -c 'mkdir -p /tmp/p; mount -t proc p /tmp/p && echo MOUNTED';
        unshare -Urnf sh -c 'mount -t sysfs s /tmp && echo MOUNTED'; echo done";
    for options in [&[][..], &["-u", "0"]] {
        let run = sh(options, script).exits(0);
        assert_eq!(run.stdout, "done\n", "{options:?} {run:#?}");
        assert!(run.stderr.contains("Operation not permitted"), "{run:#?}");
    }
    // Without the filter the namespace can be made; the kernel then refuses a procfs that shows
    // more than the masked one.
    let open = ["--security-opt", "seccomp=unconfined"];
    let run = sh(&open, script).exits(0);
    assert_eq!(run.stdout, "done\n", "{run:#?}");
    sh(&open, "unshare -Ur true && echo made").exits(0).says("made");
}

#[test]
fn h40_nested_user_namespaces_are_off_by_default() {
    for options in [&[][..], &["-u", "0"], &["--no-init"]] {
        let run = sh(options, "unshare -U true || unshare -Ur true || echo refused").exits(0);
        assert_eq!(run.stdout, "refused\n", "{options:?} {run:#?}");
    }
}

#[test]
fn h25_only_the_default_device_nodes_exist() {
    let run = sh(&[], "cd /dev; for f in *; do echo $f; done").exits(0);
    let names: Vec<&str> = run.stdout.lines().collect();
    let known = [
        "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    assert_eq!(names, known);
    let nodes = "find / -xdev \\( -type b -o -type c \\); ls /dev/pts";
    for options in [&[][..], &["-u", "0"]] {
        let run = sh(options, nodes);
        assert_eq!(run.stdout, "ptmx\n", "{run:#?}");
    }
    // The real ones, by number.
    let script = "stat -c '%t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty";
    assert_eq!(sh(&[], script).exits(0).stdout, "1:3\n1:5\n1:7\n1:8\n1:9\n5:0\n");
    sh(&[], "echo x > /dev/null && head -c 2 /dev/zero | od -An -tx1").exits(0).says("00 00");
}

#[test]
fn h26_a_device_node_is_made_or_brought_along() {
    need_root!();
    let scratch = open_scratch();
    for (name, major, minor) in [("null", "1", "3"), ("kmsg", "1", "11"), ("tty0", "4", "0")] {
        let made = std::process::Command::new("mknod")
            .arg("-m0666")
            .arg(scratch.join(name))
            .args(["c", major, minor])
            .status();
        assert!(made.unwrap().success());
    }
    let nodes = ["/v/null", "/v/kmsg", "/v/tty0"];
    let brought = format!("{}:/v", scratch.path().display());
    for more in [
        &[][..],
        &["-u", "0"],
        &["-u", "0", "--cap-add", "MKNOD"],
        &["-u", "0", "--cap-add", "MKNOD", "--security-opt", "seccomp=unconfined"],
        &["-u", "0", "--cap-add", "MKNOD", "--cap-add", "DAC_OVERRIDE", "--userns", "host"],
    ] {
        let options = [&["-v", &brought], more].concat();
        let run = attack(&options, &[&["devices"], &nodes[..]].concat()).exits(0);
        for node in nodes {
            assert_eq!(answer(&run.stdout, node), "EACCES", "{more:?} {run:#?}");
        }
        // With root's real CAP_MKNOD a node can be made, and is as dead as the others.
        if more.contains(&"host") {
            assert_ne!(answer(&run.stdout, "open-c"), "ok");
            assert_ne!(answer(&run.stdout, "open-b"), "ok");
        } else {
            assert_eq!(answer(&run.stdout, "mknod-c"), "EPERM", "{more:?}");
            assert_eq!(answer(&run.stdout, "mknod-b"), "EPERM", "{more:?}");
        }
    }
    let node = scratch.join("null").display().to_string();
    assert_eq!(answer(&outside(&["devices", &node]), &node), "ok", "the control opens it");

    let root = crate::support::busybox_rootfs();
    let made = std::process::Command::new("mknod")
        .arg("-m0666")
        .arg(root.join("node"))
        .args(["c", "1", "5"])
        .status();
    assert!(made.unwrap().success());
    let rootfs = root.path().to_str().unwrap();
    let program = volume();
    let words = ["-v", &program, "--", "/t/attack", "devices", "/node"];
    let run = jail(["--rootfs", rootfs, "-u", "0"].iter().chain(&words)).exits(0);
    assert_eq!(answer(&run.stdout, "/node"), "EACCES");
}

#[test]
fn h28_shared_memory_counts_and_is_limited() {
    let run = sh(&["--shm-size", "1m"], "head -c 2000000 /dev/zero > /dev/shm/x; echo rc $?");
    run.exits(0).says("rc 1").complains("No space left");
    sh(&["--shm-size", "3m"], "head -c 2000000 /dev/zero > /dev/shm/x; echo rc $?")
        .exits(0)
        .says("rc 0");
}
