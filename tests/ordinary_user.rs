//! The jail of somebody who is not root: the same, as far as the host lets an ordinary user go.

mod support;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use support::Scratch;

/// No account has this id.
const UID: u32 = 4321;

/// A copy of the binary where everybody may run it, and a directory of the user's.
struct User {
    scratch: Scratch,
}

impl User {
    fn new() -> User {
        let scratch = Scratch::new();
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        // By another process: a descriptor that writes to it could reach what another test starts.
        let copied = Command::new("cp").arg(support::bin()).arg(scratch.join("stockade")).status();
        assert!(copied.unwrap().success());
        let own = scratch.join("own");
        std::fs::create_dir(&own).unwrap();
        std::os::unix::fs::chown(&own, Some(UID), Some(UID)).unwrap();
        User { scratch }
    }

    /// `stockade jail ARGS` as the user, who is in no group.
    fn jail(&self, args: &[&str]) -> Output {
        // Dropping the groups needs root, which std does for a child that changes its uid.
        Command::new(self.scratch.join("stockade"))
            .arg("jail")
            .args(args)
            .uid(UID)
            .gid(UID)
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    #[track_caller]
    fn works(&self, args: &[&str]) -> String {
        let out = self.jail(&[&["--allow-degraded"], args].concat());
        assert_eq!(out.status.code(), Some(0), "{args:?} {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }
}

#[test]
fn a_user_without_a_cgroup_is_told_what_is_missing() {
    need_root!();
    let out = User::new().jail(&["--", "true"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(125), "{said}");
    assert!(said.contains("cgroup") && said.contains("--allow-degraded"), "{said}");
}

#[test]
fn a_degraded_run_says_what_is_missing() {
    need_root!();
    let user = User::new();
    let text = user.works(&["--json", "--", "echo", "hello"]);
    let outcome: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(outcome["status"], "exited");
    let degraded = outcome["isolation"]["degraded"].as_array().unwrap();
    let all = serde_json::to_string(degraded).unwrap();
    for part in ["every limit by cgroup", "groups"] {
        assert!(all.contains(part), "{part} is not named: {all}");
    }
    assert_eq!(outcome["isolation"]["uid_map"][0], format!("65534:{UID}:1"));
}

#[test]
fn h41_landlock_holds_an_ordinary_users_job_too() {
    need_root!();
    let user = User::new();
    let code = "import socket
try: socket.socket().bind(('127.0.0.1', 0)); print('bound')
except OSError as e: print(e.errno)
open('/tmp/x', 'w').write('written')
print(open('/tmp/x').read())";
    let of_root = support::sh(&[], "true").exits(0).outcome["isolation"]["landlock"].clone();
    if of_root["tcp"] != true {
        skip!("needs Landlock's ABI 4");
    }
    for options in [&[][..], &["--security-opt", "no-new-privileges:false"]] {
        let words = [options, &["--", "/usr/bin/python3", "-c", code]].concat();
        assert_eq!(user.works(&words), "13\nwritten\n", "{options:?}");
    }
    let text = user.works(&["--json", "--", "true"]);
    let outcome: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(outcome["isolation"]["landlock"], of_root);
}

#[test]
fn h13_h14_python_runs_and_is_nobody_inside() {
    need_root!();
    let user = User::new();
    let code = "import os; print(os.getuid(), os.getgid(), sum(range(10)))";
    assert_eq!(user.works(&["--", "/usr/bin/python3", "-c", code]), "65534 65534 45\n");
    assert_eq!(user.works(&["-u", "0", "--", "id", "-u"]), "0\n");
    assert_eq!(user.works(&["-u", "1001:1002", "--no-init", "--", "id", "-u"]), "1001\n");
    let status = user.works(&["-u", "0", "--", "cat", "/proc/self/status"]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
}

#[test]
fn a_hundred_runs_in_a_row_all_start() {
    need_root!();
    // The map is written by a parent without rights over its child: once lost in a race.
    let user = User::new();
    for _ in 0..100 {
        user.works(&["--", "true"]);
    }
}

#[test]
fn h07_files_of_the_user_and_of_the_host_are_not_there() {
    need_root!();
    let user = User::new();
    let secret = user.scratch.file("own/secret", "decoy-secret-5f1c").display().to_string();
    let script = format!(
        "cat {secret} /etc/shadow /proc/keys
         for d in home root run var/lib; do ls -A /$d; done
         echo x > /proc/sys/kernel/hostname; umount /proc/keys; mount -t tmpfs t /tmp;
         unshare -Ur true; touch /x /usr/x; stat -c %i / /.. | uniq | wc -l; ls /proc/self/fd"
    );
    for more in [&[][..], &["-u", "0"], &["--no-init"]] {
        let out = user.works(&[more, &["--", "sh", "-c", &script]].concat());
        assert_eq!(out, "1\n0\n1\n2\n3\n", "{more:?}");
    }
    let mounts = user.works(&["--", "cat", "/proc/self/mountinfo"]);
    for line in mounts.lines() {
        let options = line.split(' ').nth(5).unwrap();
        assert!(options.contains("nosuid"), "{line}");
        let node = line.contains("devtmpfs") || line.contains("devpts");
        assert!(options.contains("nodev") || node, "{line}");
    }
}

#[test]
fn a_volume_of_the_users_works_both_ways() {
    need_root!();
    let user = User::new();
    user.scratch.file("own/in", "from outside\n");
    let volume = format!("{}:/v", user.scratch.join("own").display());
    for id in ["65534", "0"] {
        let words = ["-u", id, "-v", &volume, "--", "sh", "-c", "cat /v/in; echo back > /v/out"];
        assert_eq!(user.works(&words), "from outside\n");
        let out = user.scratch.join("own/out");
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "back\n");
        assert_eq!(std::fs::metadata(&out).unwrap().uid(), UID);
        std::fs::remove_file(&out).unwrap();
    }
    let read_only = format!("{volume}:ro");
    let script = "touch /v/x 2>/dev/null || echo refused";
    assert_eq!(user.works(&["-v", &read_only, "--", "sh", "-c", script]), "refused\n");
}

#[test]
fn a_user_with_subordinate_ids_has_the_full_range_and_no_groups() {
    need_root!();
    if !std::path::Path::new("/usr/bin/newuidmap").exists() {
        skip!("no newuidmap here");
    }
    let user = User::new();
    // In a mount namespace of its own, so that the host's accounts stay as they are.
    let line = format!("stk-test:x:{UID}:{UID}::/:/bin/sh\n");
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap() + &line;
    user.scratch.file("passwd", &passwd);
    user.scratch.file("subid", "stk-test:700000:65536\n");
    let script = format!(
        r#"for f in passwd subuid subgid; do [ -e /etc/$f ] || exit 77; done
        mount --bind passwd /etc/passwd; mount --bind subid /etc/subuid
        mount --bind subid /etc/subgid
        exec setpriv --reuid {UID} --regid {UID} --groups 4242 ./stockade jail --allow-degraded \
            -u 1001:1002 --group-add 1010 -- sh -c 'id -u; id -g; id -G; cat /proc/self/uid_map'"#
    );
    let out = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-euc", &script])
        .current_dir(user.scratch.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if out.status.code() == Some(77) {
        skip!("no /etc/subuid and /etc/subgid to mount over");
    }
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert_eq!(lines[..3], ["1001", "1002", "1002 1010"], "{text}");
    let count: u64 = lines[3..]
        .iter()
        .map(|l| l.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(count, 65_536, "{text}");
}

#[test]
fn h54_a_cpu_limit_without_a_cgroup_still_ends_the_job_and_says_so() {
    need_root!();
    let args =
        ["--allow-degraded", "--cpu-time", "1s", "--json", "--", "sh", "-c", "while :; do :; done"];
    let out = User::new().jail(&args);
    assert_eq!(out.status.code(), Some(124), "{out:?}");
    let outcome: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(outcome["status"], "cpu_time");
    assert_eq!(outcome["reason"], "the CPU time limit of 1 s ended it");
}

#[test]
fn a_user_adds_lines_to_a_log_that_it_cannot_read() {
    need_root!();
    let user = User::new();
    let log = user.scratch.file("audit", "{\"torn\":");
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o622)).unwrap();
    let to = log.to_str().unwrap();
    for _ in 0..2 {
        user.works(&["--audit-log", to, "--", "true"]);
    }
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines.iter().all(|l| l["user"]["uid"] == UID), "{text}");
    // One that it may not write to is no log, and nothing is run.
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o644)).unwrap();
    let out = user.jail(&["--allow-degraded", "--audit-log", to, "--", "true"]);
    assert_eq!(out.status.code(), Some(125), "{out:?}");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("open the audit log") && said.contains("permission denied"), "{said}");
}

/// The whole of a jail, as a user has it with a session of systemd or in a cgroup that root has
/// delegated by hand: `scripts/vm run --user` has both.
#[test]
fn in_a_delegated_cgroup_a_users_jail_is_whole_and_its_limits_bite() {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or_default();
    let above = std::path::Path::new("/sys/fs/cgroup").join(own).join("../cgroup.procs");
    let delegated = std::fs::File::options().write(true).open(above).is_ok();
    if support::is_root() || !support::pure_v2() || !delegated {
        skip_on_this_kind_of_host!(
            "needs an ordinary user's delegated cgroup: scripts/vm run --user"
        );
    }
    let options = ["--memory", "64m", "--pids-limit", "20", "--cpus", "0.5"];
    let run = support::sh(&options, "cat /proc/self/uid_map; id -u").exits(0);
    let isolation = &run.outcome["isolation"];
    assert_eq!(isolation["degraded"], serde_json::json!([]), "{run:#?}");
    assert_eq!(isolation["cgroup"], "v2");
    assert_eq!(isolation["limits"]["memory"], 67_108_864);
    assert_eq!(isolation["limits"]["pids"], 20);
    assert_eq!(isolation["limits"]["cpu_quota_us_per_100ms"], 50_000);
    // Subordinate ids, of which the job's is not the user's own.
    let ids: u64 =
        run.stdout.lines().filter_map(|l| l.split_whitespace().nth(2)?.parse::<u64>().ok()).sum();
    assert_eq!(ids, 65_536, "{run:#?}");
    let run = support::sh(&["--memory", "32m"], "tail /dev/zero");
    assert!(run.code != 0 && run.hit("memory"), "{run:#?}");
    let script = "i=0; while [ $i -lt 30 ]; do sleep 1000 & i=$((i+1)); done; echo all";
    let run = support::sh(&["--pids-limit", "10"], script);
    assert!(run.code != 0 && run.hit("pids") && !run.stdout.contains("all"), "{run:#?}");
    let doctor = Command::new(support::bin()).args(["doctor", "--json"]).output().unwrap();
    assert_eq!(doctor.status.code(), Some(0), "{doctor:?}");
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let names = serde_json::to_string(&report["blockers"]).unwrap();
    for name in ["no-device-rules", "no-lower-oom-score", "no-network-devices"] {
        assert!(names.contains(name), "{names}");
    }
}
