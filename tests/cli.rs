//! The options: Docker's forms of each, and what they do inside.

mod support;
use std::process::{Command, Stdio};
use support::live::{cgroups_of, fresh_id};
use support::{Scratch, bin, jail, jail_with, python, sh};

/// A line of `/proc/self/status`.
#[track_caller]
fn status_line(options: &[&str], name: &str) -> String {
    let run = jail(options.iter().copied().chain(["--", "cat", "/proc/self/status"])).exits(0);
    let line = run.stdout.lines().find(|l| l.starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name}")).split_once(':').unwrap().1.trim().to_owned()
}

// --- forms -----------------------------------------------------------------------------------

#[test]
fn docker_forms_of_each_option_are_accepted() {
    let scratch = Scratch::new();
    let dir = scratch.path().to_str().unwrap();
    let env = scratch.file("env", "A=1\n");
    let volume = |options: &str| format!("{dir}:/x{options}");
    let mounts = [
        format!("type=bind,source={dir},target=/x"),
        format!("type=bind,src={dir},dst=/x,readonly"),
        format!("type=bind,src={dir},destination=/x,ro=true"),
        "type=tmpfs,target=/x".to_owned(),
        "type=tmpfs,destination=/x,tmpfs-size=1m,tmpfs-mode=1770".to_owned(),
    ];
    let mut lines: Vec<Vec<String>> =
        mounts.iter().map(|m| vec!["--mount".into(), m.clone()]).collect();
    for options in ["", ":ro", ":rw", ":ro,rbind"] {
        lines.push(vec!["-v".into(), volume(options)]);
        lines.push(vec![format!("--volume={}", volume(options))]);
    }
    lines.push(vec![format!("--env-file={}", env.display())]);
    let plain = "
        -m 64m|-m64m|-m=64m|--memory 64m|--memory=64M|--memory=67108864|--memory=65536k|--memory=1.5g
        -m 0|--memory-swap=-1|--memory-swap 1g|-m 64m --memory-swap 64m
        --cpus 0.5|--cpus=1|--cpus=.5|--cpus 1.50|--cpu-shares 1024|-c 512|--cpuset-cpus 0|--cpuset-cpus=0-0
        --pids-limit 10|--pids-limit=-1
        --ulimit nofile=1024:2048|--ulimit=nofile=1024|--ulimit core=0|--ulimit nproc=100|--ulimit core=-1
        --shm-size 64m|--shm-size=1mb
        --read-only|--read-only=true|--read-only=false
        --tmpfs /x|--tmpfs /x:size=1m|--tmpfs=/x:rw,noexec,nosuid,size=1m,mode=1777|--tmpfs /x:exec
        --network none|--network=host|--net none|--net=none
        -u 1001|-u 1001:1001|--user=1001:1001|-u 0|-u root|-u nobody
        --group-add 1010|--group-add=1010
        --cap-drop ALL|--cap-drop=all|--cap-add NET_BIND_SERVICE|--cap-add=CAP_NET_BIND_SERVICE
        --cap-drop NET_RAW|--cap-add ALL --cap-drop ALL
        --security-opt no-new-privileges|--security-opt no-new-privileges:true
        --security-opt=no-new-privileges=true|--security-opt seccomp=unconfined
        -e A=1|--env A=1|--env=A=1|-eA=1
        -w /tmp|--workdir /tmp|--workdir=/tmp|-h box|--hostname box|--hostname=box.example
        --userns host|--init|--init=true|--init=false
        -i|-i=true|--interactive|--rm|--rm=true|--rm=false
        --stop-signal SIGTERM|--stop-signal TERM|--stop-signal=15|--stop-signal TERM --stop-timeout 3
        --label a=b|-l a=b|--label a";
    for line in plain.split(['|', '\n']).map(str::trim).filter(|l| !l.is_empty()) {
        lines.push(line.split(' ').map(str::to_owned).collect());
    }
    for line in lines {
        let run = jail(line.iter().map(String::as_str).chain(["--", "true"]));
        assert_eq!(run.code, 0, "{line:?}: {}", run.stderr);
    }
}

#[test]
fn the_command_may_come_without_the_dashes_and_keeps_its_own_options() {
    jail(["-m", "64m", "echo", "-m", "--json", "--", "x"]).exits(0).says("-m --json -- x\n");
    jail(["--", "echo", "--memory"]).exits(0).says("--memory\n");
}

#[test]
fn the_last_of_options_that_contradict_each_other_counts() {
    let root =
        ["-u", "0", "--", "sh", "-c", "touch /x 2>/dev/null && echo writable || echo read-only"];
    for (options, expected) in [
        (&["--read-only"][..], "read-only\n"),
        (&["--writable"], "writable\n"),
        (&["--writable", "--read-only"], "read-only\n"),
        (&["--read-only", "--writable"], "writable\n"),
        (&["--read-only=false"], "writable\n"),
        (&["--read-only=false", "--read-only"], "read-only\n"),
        (&[], "read-only\n"),
    ] {
        let run = jail(options.iter().chain(&root).copied()).exits(0);
        assert_eq!(run.stdout, expected, "{options:?}");
    }
    let parent = ["--", "sh", "-c", "echo $PPID"];
    for (options, expected) in [
        (&[][..], "1\n"),
        (&["--init"], "1\n"),
        (&["--no-init"], "0\n"),
        (&["--init", "--no-init"], "0\n"),
        (&["--no-init", "--init"], "1\n"),
        (&["--init=false"], "0\n"),
    ] {
        let run = jail(options.iter().chain(&parent).copied()).exits(0);
        assert_eq!(run.stdout, expected, "{options:?}");
    }
    sh(&["-m", "1k", "-m", "64m", "-h", "a", "-h", "b"], "hostname").exits(0).says("b\n");
}

#[test]
fn explain_prints_the_plan_and_runs_nothing() {
    let scratch = Scratch::new();
    let volume = format!("{}:/made", scratch.path().display());
    let result = scratch.join("result");
    let id = fresh_id();
    let output = Command::new(bin())
        .args(["jail", "--explain", "--id", &id, "-v", &volume, "-m", "96m", "-e", "A=b"])
        .args(["--result", result.to_str().unwrap(), "--", "sh", "-c", "touch /made/it"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    for part in [
        &format!("id              {id}\n"),
        "memory          100663296 bytes\n",
        "processes       64\n",
        "command         \"sh\" \"-c\" \"touch /made/it\"\n",
        "\"A=b\"",
        "\"/made\"",
        "65534:65534",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "something ran");
    assert_eq!(cgroups_of(&id), Vec::<std::path::PathBuf>::new());
}

#[test]
fn version_and_help_are_on_stdout() {
    for (args, part) in [
        (&["--version"][..], "stockade "),
        (&["--help"], "Usage: stockade jail"),
        (&["jail", "--help"], "--memory"),
    ] {
        let output = Command::new(bin()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains(part), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}");
    }
}

// --- identity --------------------------------------------------------------------------------

#[test]
fn h13_a_capability_that_is_added_is_effective_for_an_ordinary_user() {
    // A job without a network may not bind TCP at all where the kernel has Landlock.
    let bind = |options: &[&str]| {
        let code = "
import socket
try:
    socket.socket().bind(('127.0.0.1', 80))
    print('bound')
except PermissionError:
    print('refused')
";
        python(&[options, &["--security-opt", "landlock=off"]].concat(), code).exits(0).stdout
    };
    let one = "0000000000000400";
    let none = "0000000000000000";
    let add = ["--cap-add", "NET_BIND_SERVICE"];
    for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh"] {
        assert_eq!(status_line(&add, set), one, "{set}");
        assert_eq!(status_line(&[], set), none, "{set}");
        assert_eq!(status_line(&["--cap-drop", "ALL"], set), none, "{set}");
    }
    assert_eq!(bind(&add), "bound\n");
    assert_eq!(bind(&["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"]), "bound\n");
    assert_eq!(bind(&[]), "refused\n");
    // What is dropped by name is not among all.
    let most = ["--cap-add", "ALL", "--cap-drop", "NET_BIND_SERVICE"];
    let kept = u64::from_str_radix(&status_line(&most, "CapEff"), 16).unwrap();
    assert!(kept.count_ones() > 30 && kept & (1 << 10) == 0, "{kept:x}");
    assert_eq!(bind(&most), "refused\n");
}

#[test]
fn h14_user_and_groups_are_those_that_were_given() {
    sh(&[], "id -u; id -g").exits(0).says("65534\n65534\n");
    sh(&["-u", "1001:1002"], "id -u; id -g").exits(0).says("1001\n1002\n");
    let groups =
        status_line(&["-u", "1001:1002", "--group-add", "1010", "--group-add", "44"], "Groups");
    let mut groups: Vec<&str> = groups.split_whitespace().collect();
    groups.sort_unstable();
    assert_eq!(groups, ["1010", "44"]);
    need_root!();
    assert_eq!(status_line(&["-u", "1001:1002"], "Groups"), "");
}

#[test]
fn h18_the_environment_is_what_was_given_and_nothing_of_the_callers() {
    let scratch = Scratch::new();
    let file = scratch.file("env", "# note\nFROM_FILE=a b\nBOTH=file\n");
    let options =
        ["--env-file", file.to_str().unwrap(), "-e", "BOTH=option", "-e", "EMPTY=", "--", "env"];
    let run = jail_with(options, |c| {
        c.env("SECRET", "of the host").env("LD_PRELOAD", "/nope.so").env("TERM", "host");
    })
    .exits(0);
    let mut lines: Vec<&str> = run.stdout.lines().collect();
    lines.sort_unstable();
    let expected = [
        "BOTH=option",
        "EMPTY=",
        "FROM_FILE=a b",
        "HOME=/work",
        "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TERM=xterm",
    ];
    assert_eq!(lines, expected);
    assert_eq!(run.stderr, "");
}

#[test]
fn directory_and_host_name_are_those_that_were_given() {
    sh(&[], "pwd; hostname; cat /etc/hostname").exits(0).says("/work\nstockade\nstockade\n");
    let options = ["-w", "/usr/bin", "-h", "box.example"];
    let run = sh(&options, "pwd; uname -n; cat /etc/hostname").exits(0);
    assert_eq!(run.stdout, "/usr/bin\nbox.example\nbox.example\n");
}

// --- namespaces ------------------------------------------------------------------------------

fn own(namespace: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap().display().to_string()
}

fn theirs(options: &[&str], namespace: &str) -> String {
    let script = format!("readlink /proc/self/ns/{namespace}");
    sh(options, &script).exits(0).stdout.trim().to_owned()
}

#[test]
fn h10_every_namespace_is_new() {
    for namespace in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        assert_ne!(theirs(&[], namespace), own(namespace), "{namespace}");
    }
    assert_eq!(theirs(&[], "time"), own("time"));
    assert_ne!(theirs(&["--time-ns"], "time"), own("time"));
}

#[test]
fn the_network_of_the_host_is_given_when_asked_for() {
    assert_eq!(theirs(&["--network", "host"], "net"), own("net"));
    let interfaces = "cut -d: -f1 -s /proc/net/dev | tr -d ' '";
    sh(&[], interfaces).exits(0).says("lo\n");
    let run = sh(&[], interfaces);
    assert_eq!(run.stdout, "lo\n");
}

#[test]
fn the_user_namespace_of_the_host_is_given_when_asked_for() {
    need_root!();
    let options = ["--userns", "host"];
    assert_eq!(theirs(&options, "user"), own("user"));
    assert_ne!(theirs(&options, "mnt"), own("mnt"));
    let run = sh(&options, "id -u").exits(0).says("65534\n");
    assert!(run.outcome["isolation"]["uid_map"].is_null(), "{run:#?}");
}

#[test]
fn a_writable_root_is_gone_afterwards() {
    let script = "ls /new 2>/dev/null; touch /new && echo made";
    for _ in 0..2 {
        let run = sh(&["--writable", "-u", "0"], script).exits(0);
        assert_eq!(run.stdout, "made\n");
    }
    assert!(!std::path::Path::new("/new").exists());
}
