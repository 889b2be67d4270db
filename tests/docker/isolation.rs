//! What keeps a container apart, and the options that share some of it again.

use super::clients::status;
use super::daemon::docker;
use super::support::Scratch;

#[test]
fn cap_drop_all_and_cap_add_leave_just_those() {
    need_clients!("dockerd", "docker");
    let options = ["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", "--cap-add", "CHOWN"];
    let script = "grep ^Cap /proc/self/status; touch /tmp/x; chown 1:1 /tmp/x && echo chowned; \
                  chroot / true || echo refused";
    let run = docker().sh(&options, script).exits(0);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(run.stdout.contains(&format!("{set}:\t0000000000000401\n")), "{run:#?}");
    }
    assert!(run.stdout.contains("CapAmb:\t0000000000000000\n"), "{run:#?}");
    run.says("chowned\nrefused\n");
    // What Docker gives without options.
    let run = docker().sh(&[], "grep CapBnd /proc/self/status").exits(0);
    assert_eq!(run.stdout, "CapBnd:\t00000000a80425fb\n");
}

#[test]
fn a_seccomp_profile_of_ones_own_holds() {
    need_clients!("dockerd", "docker");
    let scratch = Scratch::new();
    let profile = scratch.file(
        "seccomp.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#,
    );
    let option = format!("seccomp={}", profile.display());
    let script = "mkdir /tmp/d; grep ^Seccomp: /proc/self/status";
    let run = docker().sh(&["--security-opt", &option], script).exits(0);
    run.complains("Operation not permitted").says("Seccomp:\t2\n");
    // It holds for exec too.
    let job = docker().detached(&["--security-opt", &option], &["sleep", "1000"]);
    job.exec(&[], &["mkdir", "/tmp/d"]).exits(1).complains("Operation not permitted");
    let run = docker().sh(&["--security-opt", "seccomp=unconfined"], script).exits(0);
    run.says("Seccomp:\t0\n");
    // Docker's default denies mounting, even to who has the capability for other things.
    docker().sh(&[], "grep ^Seccomp: /proc/self/status; mount -t tmpfs none /tmp").exits(1);
}

#[test]
fn no_new_privileges_is_kept() {
    need_clients!("dockerd", "docker");
    let script = "grep ^NoNewPrivs /proc/self/status";
    let run = docker().sh(&["--security-opt", "no-new-privileges"], script).exits(0);
    assert_eq!(run.stdout, "NoNewPrivs:\t1\n");
    let run = docker().sh(&[], script).exits(0);
    assert_eq!(run.stdout, "NoNewPrivs:\t0\n");
}

#[test]
fn every_namespace_is_its_own_unless_shared() {
    need_clients!("dockerd", "docker");
    let of_host = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    let show = |options: &[&str]| {
        let script = "for n in mnt pid uts ipc net; do readlink /proc/self/ns/$n; done";
        docker().sh(options, script).exits(0).stdout
    };
    let own = show(&[]);
    for name in ["mnt", "pid", "uts", "ipc", "net"] {
        assert!(!own.contains(&of_host(name).display().to_string()), "{name}: {own}");
    }
    let shared = show(&["--pid", "host", "--ipc", "host", "--uts", "host"]);
    for name in ["pid", "ipc", "uts"] {
        assert!(shared.contains(&of_host(name).display().to_string()), "{name}: {shared}");
    }
}

#[test]
fn pid_ipc_and_network_of_another_container_are_joined() {
    need_clients!("dockerd", "docker");
    let first = docker().detached(&["--ipc", "shareable"], &["sh", "-c", "sleep 4321"]);
    let other = format!("container:{}", first.name);
    let job = docker().detached(&["--pid", &other, "--ipc", &other], &["sleep", "1000"]);
    let same = |name: &str| {
        let of = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        of(first.pid()) == of(job.pid())
    };
    assert!(same("pid") && same("ipc") && !same("mnt") && !same("uts") && !same("net"));
    job.exec(&[], &["ps"]).exits(0).says("sleep 4321");
    first.exec(&[], &["ps"]).exits(0).says("sleep 1000");
    // Its end is not the other's.
    job.ask(&["kill"], &[]).exits(0);
    job.waits_to_be("exited");
    first.exec(&[], &["true"]).exits(0);
    // Without the option nothing of it is seen.
    let run = docker().job(&[], &["ps"]).exits(0);
    assert!(!run.stdout.contains("4321"), "{run:#?}");
}

#[test]
fn the_network_of_another_container_is_joined() {
    need_clients!("dockerd", "docker");
    let first = docker().detached(&[], &["sh", "-c", "nc -l -p 8080 -e echo hello from afar"]);
    let other = format!("container:{}", first.name);
    let name = super::daemon::fresh_name();
    super::support::live::eventually("an answer", || {
        let run = docker().run(&[
            "run",
            "--rm",
            "--runtime",
            "stockade",
            "--name",
            &name,
            "--network",
            &other,
            super::daemon::BUSYBOX,
            "nc",
            "127.0.0.1",
            "8080",
        ]);
        run.stdout == "hello from afar\n"
    });
}

#[test]
fn cgroup_parent_is_where_it_is_put() {
    need_clients!("dockerd", "docker");
    let parent = format!("/{}/apart", docker().place.cgroup);
    let job = docker().detached(&["--cgroup-parent", &parent], &["sleep", "1000"]);
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", job.pid())).unwrap();
    let path = format!(":{parent}/{}", job.id);
    assert!(
        text.contains(&format!("memory{path}\n")) || text.contains(&format!("0::{}", &path[1..])),
        "{text}"
    );
    job.exec(&[], &["true"]).exits(0);
    job.ask(&["rm", "--force"], &[]).exits(0);
    for dir in docker().place.cgroups() {
        if dir.ends_with("apart") {
            std::fs::remove_dir(&dir).unwrap();
        }
    }
}

#[test]
fn t33_a_device_is_there_with_just_the_rights_asked_for() {
    need_clients!("dockerd", "docker");
    let script = "stat -c '%t:%T' /dev/there; head -c 4 /dev/there | wc -c; : > /dev/there";
    let run = docker().sh(&["--device", "/dev/zero:/dev/there:rwm"], script).exits(0);
    assert_eq!(run.stdout, "1:5\n4\n");
    // One that no default rule allows: the kernel's log, if this host has it.
    let script =
        "head -c 0 /dev/kmsg; echo $?; mknod /tmp/kmsg c 1 11; head -c 0 /tmp/kmsg; echo $?";
    let run = docker().sh(&["--device", "/dev/kmsg:/dev/kmsg:r", "--cap-add", "SYSLOG"], script);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.first(), Some(&"0"), "{run:#?}");
    let refused = docker().sh(&[], "mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg").exits(1);
    refused.complains("Operation not permitted");
}

#[test]
fn a_sysctl_of_its_namespaces_is_set() {
    need_clients!("dockerd", "docker");
    let before = std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
    let options = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=4096"];
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax; \
                  echo 0 > /proc/sys/kernel/msgmax || echo refused";
    let run = docker().sh(&options, script).exits(0);
    assert_eq!(run.stdout, "1\n4096\nrefused\n");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), before);
}

/// What Docker masks has no content and cannot be unmasked.
#[test]
fn masked_and_read_only_paths_are() {
    need_clients!("dockerd", "docker");
    let script = "
cat /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug 2>/dev/null | wc -c
ls /proc/scsi /sys/firmware /proc/acpi 2>/dev/null | grep -v : | wc -w
for path in /proc/sys/vm/drop_caches /proc/sysrq-trigger /proc/irq/default_smp_affinity; do
    (echo 1 > $path) 2>/dev/null && echo could write $path
done
umount /proc/kcore 2>/dev/null || echo kept";
    let run = docker().sh(&[], script).exits(0);
    assert_eq!(run.stdout, "0\n0\nkept\n");
}

/// Where root may, the container has all rights; where it may not (no CAP_SYS_RESOURCE), the
/// runtime fails as runc does, and says what it could not do.
#[test]
fn privileged_has_all_that_root_has_here() {
    need_clients!("dockerd", "docker");
    let script = "grep CapEff /proc/self/status; mount -t tmpfs none /tmp && echo mounted; \
                  test -e /dev/kmsg && echo devices; : > /proc/sys/kernel/domainname && echo writes";
    let run = docker().sh(&["--privileged"], script);
    let own = status(i32::try_from(std::process::id()).unwrap(), "CapEff");
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let all = (1u64 << (last.trim().parse::<u32>().unwrap() + 1)) - 1;
    if own == format!("{all:016x}") {
        let run = run.exits(0);
        assert_eq!(run.stdout, format!("CapEff:\t{own}\nmounted\ndevices\nwrites\n"));
    } else {
        let run = run.exits(125);
        assert!(run.stderr.to_lowercase().contains("cap"), "{run:#?}");
        assert!(run.stderr.contains("peration not permitted"), "{run:#?}");
    }
}
