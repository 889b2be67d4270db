//! Sandboxes inside a jail, and what of the host's kernel is never given to one.

mod support;
use support::{jail, sh};

#[test]
fn h40_nested_user_namespaces_are_off_and_a_switch_turns_them_on() {
    need_root!();
    sh(&[], "unshare -Ur true").exits(1).complains("Operation not permitted");
    sh(&["--nested-userns"], "unshare -Ur id -u").exits(0).says("0\n");
    // A sandbox in the jail works, with a root of its own.
    jail(
        ["--nested-userns", "--", "bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev"]
            .into_iter()
            .chain(["sh", "-c", "echo nested"]),
    )
    .exits(0)
    .says("nested\n");
}

#[test]
fn t15_a_nested_namespace_cannot_mount_a_full_proc() {
    need_root!();
    let run = sh(&["--nested-userns"], "unshare -Urpf --mount-proc cat /proc/kallsyms; echo $?");
    assert_eq!(run.stdout, "1\n", "{run:#?}");
    run.complains("/proc failed");
}

#[test]
fn t15_the_hosts_proc_and_sys_are_no_volumes() {
    need_root!();
    for source in ["/proc", "/proc/sys", "/sys", "/sys/kernel", "/sys/fs/cgroup/memory", "/dev/pts"]
    {
        if std::path::Path::new(source).exists() {
            let volume = format!("{source}:/x:ro");
            jail(["-v", &volume, "--", "true"]).exits(125).complains("is not given to a jail");
        }
    }
}

#[test]
fn t15_a_volume_above_the_hosts_proc_does_not_bring_it_along() {
    need_root!();
    for options in [&["-v", "/:/x:ro"][..], &["-v", "/:/x:ro", "--no-idmap"], &["--rootfs", "/"]] {
        let run = jail(options.iter().copied().chain(["--", "true"])).exits(125);
        run.complains("is mounted below \"/\"").complains("give the directories");
    }
    // A directory with nothing of the kind below it is as before.
    jail(["-v", "/usr/share:/x:ro", "--no-idmap", "--", "test", "-d", "/x"]).exits(0);
}

#[test]
fn a_job_with_the_hosts_network_asks_the_hosts_name_servers() {
    need_root!();
    let ours = sh(&[], "cat /etc/resolv.conf").exits(0).stdout;
    let theirs = sh(&["--network", "host"], "cat /etc/resolv.conf").exits(0).stdout;
    assert!(!ours.contains("nameserver"));
    assert_eq!(theirs, std::fs::read_to_string("/etc/resolv.conf").unwrap());
}
