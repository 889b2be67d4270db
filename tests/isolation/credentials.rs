//! Who the job is, what it may, and what it is told: ids, capabilities, environment, arguments.

use crate::attack::{answer, attack, careless_jail, volume};
use crate::need_root;
use crate::support::{Run, jail, jail_with, sh};
use std::process::Command;

/// A line of /proc/self/status.
fn status<'a>(run: &'a Run, field: &str) -> &'a str {
    run.stdout
        .lines()
        .find_map(|l| l.strip_prefix(field)?.strip_prefix(":\t"))
        .unwrap_or_else(|| panic!("no {field} in {run:#?}"))
}

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

#[test]
fn h13_t27_a_job_has_no_capability_in_any_set() {
    for options in [
        &[][..],
        &["-u", "0"],
        &["--no-init"],
        &["-u", "0", "--no-init"],
        &["--userns", "host"],
        &["--userns", "host", "-u", "0"],
        &["--security-opt", "seccomp=unconfined"],
        &["--security-opt", "no-new-privileges:false"],
    ] {
        if options.contains(&"host") && !crate::support::is_root() {
            continue;
        }
        let run = sh(options, "cat /proc/self/status").exits(0);
        for set in SETS {
            assert_eq!(status(&run, set), "0000000000000000", "{options:?} {set}");
        }
    }
}

#[test]
fn h13_a_job_has_exactly_the_capabilities_that_were_added() {
    let raw = format!("{:016x}", 1u64 << 13);
    let user = sh(&["--cap-add", "NET_RAW"], "cat /proc/self/status").exits(0);
    for set in SETS {
        assert_eq!(status(&user, set), raw, "{set}");
    }
    let root = sh(&["--cap-add", "NET_RAW", "-u", "0"], "cat /proc/self/status").exits(0);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(&root, set), raw, "{set}");
    }
    // CVE-2022-29162: root needs no inheritable capability and must not have one.
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status(&root, set), "0000000000000000", "{set}");
    }
}

#[test]
fn t26_the_callers_inheritable_and_ambient_capabilities_stop_at_the_jail() {
    need_root!();
    let through_setpriv = |options: &[&str]| {
        let script = ["--", "sh", "-c", "cat /proc/self/status"];
        jail_with(options.iter().chain(&script), |command| {
            let args: Vec<_> = command.get_args().map(std::ffi::OsString::from).collect();
            let mut outer = Command::new("setpriv");
            outer.args(["--inh-caps", "+net_raw,+chown", "--ambient-caps", "+net_raw,+chown"]);
            outer.arg(command.get_program()).args(args).stdin(std::process::Stdio::null());
            *command = outer;
        })
    };
    for options in [&[][..], &["-u", "0"], &["--no-init"], &["--userns", "host"]] {
        let run = through_setpriv(options).exits(0);
        for set in SETS {
            assert_eq!(status(&run, set), "0000000000000000", "{options:?} {set}");
        }
    }
}

#[test]
fn h14_t29_ids_and_groups_are_exact_whatever_groups_the_caller_is_in() {
    need_root!();
    let volume = volume();
    let prepare = "os.setgroups([4242, 0, 27])";
    for (options, uid, gid, groups) in [
        (&[][..], "65534", "65534", ""),
        (&["-u", "1001:1002"], "1001", "1002", ""),
        (&["-u", "1001:1002", "--group-add", "1010"], "1001", "1002", " 1010"),
        (&["-u", "0"], "0", "0", ""),
        (&["--no-init"], "65534", "65534", ""),
        (&["--userns", "host"], "65534", "65534", ""),
    ] {
        let args = [options, &["-v", &volume, "--", "/t/attack", "ids"]].concat();
        let run = careless_jail(prepare, &args).exits(0);
        assert_eq!(answer(&run.stdout, "uid"), format!("{uid} {uid} {uid}"), "{options:?}");
        assert_eq!(answer(&run.stdout, "gid"), format!("{gid} {gid} {gid}"), "{options:?}");
        let line = run.stdout.lines().find(|l| l.starts_with("groups")).unwrap();
        assert_eq!(line, format!("groups{groups}"), "{options:?}");
        assert_eq!(answer(&run.stdout, "setgroups"), "EPERM", "{options:?}");
        assert_eq!(answer(&run.stdout, "setgroups0"), "EPERM", "{options:?}");
        let become_root = if uid == "0" { "ok" } else { "EPERM" };
        assert_eq!(answer(&run.stdout, "setuid0"), become_root, "{options:?}");
    }
    // Control: without the jail the groups are there and can be set.
    let out = Command::new("/usr/bin/python3")
        .args([
            "-c",
            &format!(
                "import os\n{prepare}\nos.execv('{0}', ['{0}', 'ids'])",
                crate::attack::program().display()
            ),
        ])
        .output()
        .unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    assert!(out.contains("4242") && answer(&out, "setgroups") == "ok", "{out}");
}

#[test]
fn h14_root_inside_is_nobody_outside() {
    need_root!();
    let map = sh(&["-u", "0"], "cat /proc/self/uid_map /proc/self/gid_map").exits(0);
    for line in map.stdout.lines() {
        let n: Vec<u64> = line.split_whitespace().map(|w| w.parse().unwrap()).collect();
        assert!(n[0] == 0 && n[1] >= 65_536 && n[2] == 65_536, "{line}");
    }
    // Both files are readable for root alone.
    for file in ["/usr/sbin/unix_chkpwd", "/proc/1/environ", "/proc/1/mem"] {
        let script = format!("[ ! -e {file} ] || dd if=/dev/null of={file} 2>&1");
        let run = sh(&["-u", "0"], &script);
        assert!(!run.stdout.contains("records in"), "{file}: {run:#?}");
    }
}

const USUAL: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/work
LANG=C.UTF-8
TERM=xterm
";

fn environment(options: &[&str]) -> Run {
    let words = ["--", "cat", "/proc/self/environ"];
    let mut run = jail_with(options.iter().chain(&words), |command| {
        command.env("SECRET", "of-the-host").env("LD_PRELOAD", "").env("TERM", "callers");
    });
    run.stdout = run.stdout.replace('\0', "\n");
    run
}

#[test]
fn h18_the_environment_is_exactly_what_was_configured() {
    assert_eq!(environment(&[]).exits(0).stdout, USUAL);
    assert_eq!(environment(&["--no-init"]).exits(0).stdout, USUAL);
    let given = environment(&["-e", "A=1", "-e", "B=", "-e", "C=x=y z"]).exits(0);
    assert_eq!(given.stdout, format!("{USUAL}A=1\nB=\nC=x=y z\n"));
    let twice = environment(&["-e", "A=1", "-e", "A=2", "-e", "TERM=dumb"]).exits(0);
    assert_eq!(twice.stdout, USUAL.replace("TERM=xterm\n", "A=2\nTERM=dumb\n"));
}

#[test]
fn t38_a_bare_name_takes_nothing_from_the_callers_environment() {
    for bad in ["SECRET", "=x", ""] {
        let run = environment(&["-e", bad]).exits(125);
        assert!(!run.stdout.contains("of-the-host") && !run.stderr.contains("of-the-host"));
    }
    let scratch = crate::support::Scratch::new();
    let file = scratch.file("env", "GOOD=1\nSECRET\n");
    let run = environment(&["--env-file", file.to_str().unwrap()]);
    assert!(!run.stdout.contains("of-the-host"), "{run:#?}");
    assert_eq!(run.code, 125, "{run:#?}");
}

#[test]
fn h19_the_init_tells_nothing_of_the_hosts_paths_or_labels() {
    let scratch = crate::support::Scratch::new();
    let volume = format!("{}:/v:ro", scratch.path().display());
    let script = "tr -d '\\0' < /proc/1/cmdline; cat /proc/1/comm;
        for f in environ maps mem auxv exe cwd root fd fdinfo ns/mnt stack io syscall; do
            { cat /proc/1/$f || readlink /proc/1/$f || ls /proc/1/$f/; } 2>/dev/null && echo got $f
        done; true";
    for user in ["65534", "0"] {
        let options = ["-u", user, "-v", &volume, "--label", "secret=label-5f1c"];
        let run = sh(&options, script).exits(0);
        assert_eq!(run.stdout, "stockade:[init]\n", "as {user}: {run:#?}");
    }
}

#[test]
fn h19_the_jobs_own_arguments_are_what_was_given() {
    let run = jail(["--", "cat", "/proc/self/cmdline", "/proc/self/comm"]).exits(0);
    assert_eq!(run.stdout, "cat\0/proc/self/cmdline\0/proc/self/comm\0cat\n");
    // AT_EXECFN too: through the stub it could be a path of /proc.
    let code = "import ctypes
get = ctypes.CDLL(None).getauxval
get.restype = ctypes.c_ulong
print(ctypes.string_at(get(31)).decode())";
    for options in [&[][..], &["--userns", "host"]] {
        if options.contains(&"host") && !crate::support::is_root() {
            continue;
        }
        let run = crate::support::python(options, code).exits(0);
        assert_eq!(run.stdout, "/usr/bin/python3\n", "{options:?}");
    }
}

#[test]
fn h10_h12_every_namespace_is_new_and_no_host_process_is_seen() {
    let all = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts", "time"];
    let script = "for n in cgroup ipc mnt net pid user uts time; do
        echo $n $(readlink /proc/self/ns/$n); done; echo pids $(cd /proc; echo [0-9]*)";
    let mut cases: Vec<(&[&str], &[&str])> =
        vec![(&[], &["time"]), (&["--time-ns"], &[]), (&["--network", "host"], &["net", "time"])];
    if crate::support::is_root() {
        cases.push((&["--userns", "host"], &["user", "time"]));
    }
    for (options, same) in cases {
        let run = sh(options, script).exits(0);
        for name in all {
            let host = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            let is_same = answer(&run.stdout, name) == host.to_string_lossy();
            assert_eq!(is_same, same.contains(&name), "{options:?}: {name} {run:#?}");
        }
        for pid in answer(&run.stdout, "pids").split(' ') {
            assert!(pid.parse::<u32>().unwrap() < 50, "{options:?}: pid {pid}");
        }
    }
}

#[test]
fn h14_a_job_cannot_signal_the_supervisor_or_the_host() {
    // -1 is everything that it may signal: itself excepted, there is nobody.
    let run = sh(&[], "kill -TERM -1; kill -0 1 && echo init; echo alive").exits(0);
    assert!(run.stdout.contains("alive"), "{run:#?}");
    let run = attack(&[], &["ids"]).exits(0);
    assert!(run.stdout.starts_with("uid "));
}
