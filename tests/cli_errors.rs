//! What is said of a mistake: one line that names it, one hint, the right exit status.

mod support;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use support::{Scratch, bin, jail_with};

/// The whole of stderr of a command line that is wrong.
#[track_caller]
fn said(args: &[&str], code: i32) -> String {
    let output = Command::new(bin()).args(args).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{args:?}");
    stderr
}

/// `stockade jail ARGS` says exactly this and this hint, and runs nothing.
#[track_caller]
fn wrong(args: &[&str], message: &str, hint: &str) {
    let scratch = Scratch::new();
    let dir = format!("{}:/made", scratch.path().display());
    let all = [&["jail", "-v", &dir][..], args].concat();
    let text = said(&all, 125);
    assert_eq!(text, format!("stockade: {message}\nhint: {hint}\n"), "{args:?}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "{args:?} ran something");
}

const RUN: [&str; 4] = ["--", "sh", "-c", "touch /made/it"];

/// The same for options before a command that would leave a trace.
#[track_caller]
fn bad(options: &[&str], message: &str, hint: &str) {
    wrong(&[options, &RUN].concat(), message, hint);
}

#[test]
fn the_command_is_missing() {
    let hint = "say what to run, such as: stockade jail -- python3 -c 'print(1)'";
    wrong(&[], "no command given", hint);
    wrong(&["-m", "64m"], "no command given", hint);
    wrong(&["--"], "no command given", hint);
    wrong(
        &["--", ""],
        "the command is empty",
        "say what to run: stockade jail -- COMMAND [ARG...]",
    );
    assert_eq!(
        said(&[], 125),
        "stockade: no command given\nhint: try: stockade jail -- python3 -c 'print(1)', or \
         stockade --help\n"
    );
    assert_eq!(
        said(&["jial", "--", "true"], 125),
        "stockade: unknown command \"jial\"\nhint: did you mean jail?\n"
    );
}

/// An image without accounts, and a trap in place of them.
#[test]
fn a_name_is_looked_up_where_there_are_none() {
    let root = Scratch::new();
    let dir = root.path().to_str().unwrap();
    let hint = "give a number, such as -u 1000:1000";
    let options = ["--rootfs", dir, "-u", "bob"];
    let what = format!("read /etc/passwd of the rootfs \"{dir}\"");
    std::fs::create_dir(root.path().join("etc")).unwrap();
    bad(&options, &format!("{what}: no such file or directory"), hint);
    std::fs::create_dir(root.path().join("etc/passwd")).unwrap();
    bad(&options, &format!("{what}: it is no regular file"), hint);
}

#[test]
fn an_option_is_unknown() {
    bad(&["--memry", "1m"], "unknown option \"--memry\"", "did you mean --memory?");
    let hint = "stockade jail --help lists the options; put -- before the command";
    let never = "a jail never is: give what the job needs, such as --cap-add CAP or -v SRC:DST";
    bad(&["--privileged"], "unknown option \"--privileged\"", never);
    bad(&["--zzzzzz"], "unknown option \"--zzzzzz\"", hint);
    bad(&["-z"], "unknown option \"-z\"", hint);
    wrong(&["--memory"], "the option --memory needs a value", hint);
    bad(&["--json=true"], "the option --json takes no value", hint);
    bad(&["--rm=maybe"], "the option --rm is true or false, and not \"maybe\"", hint);
}

const SIZE: &str = "use a number with b, k, m, g or t, such as 256m";
const TIME: &str = "use a number with ms, s, m or h, such as 90s or 1m30s";
const HELP: &str = "stockade jail --help lists the options and their forms";

#[test]
fn an_amount_is_wrong() {
    bad(&["-m", "lots"], "invalid memory limit \"lots\": it does not start with a number", SIZE);
    bad(&["-m", "5x"], "invalid memory limit \"5x\": unknown unit \"x\"", SIZE);
    bad(&["-m", "-5"], "invalid memory limit \"-5\": it is negative", SIZE);
    bad(
        &["-m", "1m"],
        "a memory limit of 1048576 bytes is too little to start anything",
        "give at least 2m; most interpreters need 16m and more",
    );
    bad(
        &["--memory-swap", "x"],
        "invalid memory-swap size \"x\": it does not start with a number",
        "use a size such as 1g, or -1 for no limit",
    );
    bad(
        &["--memory-swap", "1m"],
        "memory and swap together are less than the memory limit",
        "--memory-swap counts both: give as much as -m for no swap, or more",
    );
    bad(&["--output-limit", ""], "invalid output limit \"\": it is empty", SIZE);
    bad(
        &["--disk", "1k"],
        "a disk limit of \"1k\" is too little for the jail's own files",
        "give at least 1m",
    );
    bad(
        &["--inodes", "3"],
        "invalid number of inodes \"3\"",
        "give a number of at least 64: the jail's own files count",
    );
    bad(&["--shm-size", "0"], "a /dev/shm of 0 bytes", "give a size, such as 64m");
}

#[test]
fn a_number_of_processors_or_processes_is_wrong() {
    let hint = "use a number such as 0.5, 1 or 2.25";
    bad(&["--cpus", "x"], "invalid number of CPUs \"x\": it is not a decimal number", hint);
    bad(&["--cpus", "0"], "invalid number of CPUs \"0\": the smallest is 0.01", hint);
    bad(
        &["--cpu-shares", "1"],
        "invalid cpu shares \"1\": it is not a number from 2 to 262144",
        "1024 is the usual weight",
    );
    bad(
        &["--cpuset-cpus", "a"],
        "invalid CPU list \"a\": \"a\" is not a number",
        "use numbers and ranges, such as 0-3,5",
    );
    bad(
        &["--pids-limit", "0"],
        "invalid pids limit \"0\": it is not a number from 1 to 4194304",
        "use a number such as 256, or -1 for no limit",
    );
    bad(
        &["--pids-limit", "1"],
        "the process limit leaves no process for the command",
        "the init counts too: give at least 2, or 1 with --no-init",
    );
    bad(
        &["--ulimit", "nofiles=3"],
        "invalid ulimit \"nofiles=3\": unknown resource \"nofiles\"",
        "did you mean \"nofile\"?",
    );
    bad(
        &["--ulimit", "nofile"],
        "invalid ulimit \"nofile\": it has no \"=\"",
        "write name=soft:hard, such as nofile=1024",
    );
    bad(
        &["--ulimit", "nofile=9:3"],
        "invalid ulimit \"nofile=9:3\": the soft limit is above the hard limit",
        HELP,
    );
}

#[test]
fn a_time_or_a_signal_is_wrong() {
    bad(&["--timeout", "5x"], "invalid timeout \"5x\": unknown unit \"x\"", TIME);
    bad(&["--timeout", "0"], "invalid timeout \"0\": it must be longer than zero", TIME);
    bad(&["--cpu-time", "-1"], "invalid CPU time limit \"-1\": it is negative", TIME);
    bad(
        &["--stop-signal", "TREM"],
        "invalid signal \"TREM\": unknown signal",
        "did you mean \"TERM\"?",
    );
    bad(&["--stop-signal", "FOO"], "invalid signal \"FOO\": unknown signal", HELP);
    bad(
        &["--stop-timeout", "3s"],
        "--stop-timeout without --stop-signal",
        "at a time limit SIGKILL is sent at once unless a stop signal is given",
    );
}

const ON_HOST: &str = "such a path is one of the host, as the caller sees it";

#[test]
fn a_volume_is_wrong() {
    bad(&["-v", "/nope:/x"], "open \"/nope\": no such file or directory", ON_HOST);
    bad(
        &["-v", "data:/x"],
        "invalid volume source \"data\": named volumes are not supported",
        "use a path, such as \"./data\"",
    );
    bad(
        &["-v", "/etc"],
        "invalid volume \"/etc\": it has no destination: anonymous volumes are not supported",
        "use --tmpfs for an empty directory, or source:destination",
    );
    bad(&["-v", "/etc:x"], "invalid volume destination \"x\": it is not an absolute path", HELP);
    bad(&["-v", "/etc:/x:zz"], "invalid volume \"/etc:/x:zz\": unknown option \"zz\"", HELP);
    bad(
        &["-v", "/etc:/proc/x"],
        "nothing may be mounted on \"/proc/x\"",
        "the root, /proc, /sys, /dev and /dev/pts are stockade's to mount",
    );
    bad(
        &["--mount", "type=bind,target=/x"],
        "invalid mount \"type=bind,target=/x\": it has no source",
        "add source=/path",
    );
    bad(&["--tmpfs", "/a", "--tmpfs", "/a"], "two mounts on \"/a\"", "give each target once");
    bad(
        &["--tmpfs", "/a", "--tmpfs", "/b", "--tmpfs", "//a/"],
        "two mounts on \"/a\"",
        "give each target once",
    );
    bad(&["--tmpfs", "tmp"], "invalid tmpfs destination \"tmp\": it is not an absolute path", HELP);
}

#[test]
fn a_file_is_missing() {
    bad(&["--rootfs", "/nope"], "the rootfs: open \"/nope\": no such file or directory", ON_HOST);
    bad(
        &["--env-file", "/nope"],
        "read the environment file \"/nope\": no such file or directory",
        ON_HOST,
    );
    bad(
        &["--security-opt", "seccomp=/nope"],
        "read the seccomp profile \"/nope\": no such file or directory",
        ON_HOST,
    );
    bad(
        &["--result", "/nope/x"],
        "write the result to \"/nope/x\": no such file or directory",
        ON_HOST,
    );
    bad(
        &["-w", "/nope"],
        "change to the working directory \"/nope\": no such file or directory",
        "name a directory that is in there: -w of a jail, such as /work or /tmp, --cwd of exec",
    );
}

#[test]
fn an_identity_is_wrong() {
    let hint = "use an id or a name, such as 1000:1000 or nobody";
    bad(&["-u", "-1"], "invalid user \"-1\": \"-1\" starts with \"-\"", hint);
    bad(&["-u", "01"], "invalid user \"01\": a leading zero is ambiguous (octal or decimal)", hint);
    bad(
        &["-u", "bob"],
        "no user \"bob\" in /etc/passwd of the host view",
        "give a number, such as -u 1000:1000",
    );
    bad(
        &["--cap-add", "NET_BIND"],
        "unknown capability \"NET_BIND\"",
        "capabilities(7) lists them; write NET_BIND_SERVICE or CAP_NET_BIND_SERVICE",
    );
    bad(&["--userns", "keep"], "invalid user namespace \"keep\"", "give auto or host");
    bad(&["--network", "brige"], "invalid network \"brige\"", "give none or host");
    bad(
        &["--network", "bridge"],
        "a network of the kind \"bridge\" is not supported",
        "give none, or host for the caller's network with all it reaches",
    );
    bad(
        &["--security-opt", "secomp=x"],
        "invalid security option \"secomp=x\": unknown option \"secomp\"",
        "did you mean \"seccomp\"?",
    );
    bad(
        &["-h", "_x"],
        "invalid host name \"_x\": \"_x\" holds more than letters, digits and \"-\"",
        "use letters, digits and -, in parts of up to 63 joined by dots",
    );
    bad(&["-w", "rel"], "the working directory \"rel\" is not absolute", "begin it with /");
}

#[test]
fn t44_an_id_is_wrong() {
    let hint = "use letters, digits and _ + . -, and do not start with \".\"";
    for (id, why) in [
        ("", "it is empty"),
        (".", "it starts with \".\""),
        ("..", "it starts with \".\""),
        ("../x", "it starts with \".\""),
        ("a/b", "it holds \"/\""),
        ("a\n", "it holds \"\\n\""),
    ] {
        let shown = if id == "a\n" { "a\\n" } else { id };
        bad(&["--id", id], &format!("invalid container id \"{shown}\": {why}"), hint);
    }
    let text = said(&["jail", "--id", &"a".repeat(5000), "--", "true"], 125);
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn t38_an_environment_variable_is_wrong() {
    let hint = "write NAME=value; the host's environment is never read";
    bad(&["-e", "SECRET"], "invalid environment variable \"SECRET\": it has no \"=\"", hint);
    bad(&["-e", "=x"], "invalid environment variable \"\": its name is empty", HELP);
    let scratch = Scratch::new();
    let file = scratch.file("env", "A=1\nSECRET\n");
    bad(
        &["--env-file", file.to_str().unwrap()],
        "invalid line 2 of the env-file \"SECRET\": it has no \"=\"",
        hint,
    );
    bad(&["--label", "=x"], "invalid label \"=x\": its key is empty", "write key=value");
}

#[test]
fn the_command_is_not_there_or_not_executable() {
    let jail = |command: &str, code| said(&["jail", "--", command], code);
    let bring = "hint: the host view shows /usr, /bin, /sbin and /lib*, and nothing under /home, \
                 /root or /opt; bring a program in with -v, or give a --rootfs that has it\n";
    assert_eq!(
        jail("nosuch", 127),
        format!(
            "stockade: \"nosuch\": not found in the jail's PATH, or its interpreter is missing\n{bring}"
        )
    );
    assert_eq!(
        jail("/root/x", 127),
        format!(
            "stockade: \"/root/x\": no such file in the jail, or its interpreter is missing\n{bring}"
        )
    );
    assert_eq!(
        jail("/etc", 126),
        "stockade: \"/etc\": permission denied\nhint: it is a directory, lacks the x bit, is on \
         a noexec mount, or the job's user may not reach it\n"
    );
}

#[test]
fn t41_a_mistake_with_control_characters_is_still_one_line() {
    for bad in ["a\nb", "a\x1b[31mb", "a\rb", "a\u{7f}b"] {
        for args in [
            vec!["jail", "--network", bad, "--", "true"],
            vec!["jail", "-v", bad, "--", "true"],
            vec!["jail", "-m", bad, "--", "true"],
            vec!["jail", "-w", bad, "--", "true"],
            vec!["jail", "--profile", bad, "--", "true"],
            vec!["jail", "--", bad],
            vec!["policy", bad],
            vec!["policy", "check", bad],
            vec![bad],
        ] {
            let output = Command::new(bin()).args(&args).stdin(Stdio::null()).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(text.lines().count(), 2, "{args:?}: {text:?}");
            let plain = text.chars().all(|c| c == '\n' || !c.is_control());
            assert!(plain, "{args:?}: {text:?}");
        }
    }
}

#[test]
fn h43_every_option_that_help_lists_is_one_and_every_documented_one_is_listed() {
    let output = Command::new(bin()).args(["jail", "--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let listed: BTreeSet<&str> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|w| w.starts_with("--") && w.len() > 2)
        .collect();
    let documented = "rootfs memory memory-swap cpus cpu-shares cpuset-cpus pids-limit timeout \
        cpu-time output-limit disk inodes ulimit shm-size read-only writable tmpfs volume mount \
        network user group-add cap-drop cap-add security-opt env env-file workdir hostname userns \
        init no-init interactive tty rm stop-signal result json id label allow-degraded explain \
        time-ns cgroup-parent profile help";
    for option in documented.split_whitespace() {
        assert!(listed.contains(format!("--{option}").as_str()), "--{option} is not in --help");
    }
    for option in listed.iter().filter(|o| **o != "--help") {
        // Somewhere else, for `--result` makes a file of that name.
        let scratch = Scratch::new();
        let run = jail_with([option, "--nosuchoption", "--", "true"], |c| {
            c.current_dir(scratch.path());
        });
        let unknown = format!("unknown option \"{option}\"");
        assert!(!run.stderr.contains(&unknown), "{run:#?}");
    }
}
