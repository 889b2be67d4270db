//! `docker run` and `docker exec`: streams, terminals, exit statuses, users, files.

use super::daemon::{BUSYBOX, docker, fresh_name};
use super::support::pty::Terminal;
use super::support::{Run, Scratch};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

#[test]
fn output_errors_and_the_exit_status_come_back() {
    need_clients!("dockerd", "docker");
    let run = docker().sh(&[], "echo out; echo err >&2; exit 42").exits(42);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\n", "err\n"));
    docker().sh(&[], "kill -TERM $$").exits(0); // PID 1 ignores what it has no handler for.
    docker().sh(&[], "sh -c 'kill -KILL $$'; exit $?").exits(137);
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_that_may_not_run_126() {
    need_clients!("dockerd", "docker");
    let run = docker().job(&[], &["no-such-program"]).exits(127);
    run.complains("no-such-program").complains("not found in $PATH");
    docker().job(&[], &["/no/such/program"]).exits(127).complains("no such file or directory");
    docker().job(&[], &["/etc/passwd"]).exits(126).complains("permission denied");
    docker().job(&[], &["/etc"]).exits(126);
}

/// Runs a docker command with this on its standard input.
fn with_input(mut command: Command, input: &str) -> Run {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        outcome: serde_json::Value::Null,
    }
}

/// `docker run --rm` with more options, as a command.
fn command(options: &[&str], rest: &[&str]) -> Command {
    let head = ["run", "--rm", "--runtime", "stockade", "--network", "none"];
    docker().command(&[&head, options, &[BUSYBOX], rest].concat())
}

#[test]
fn i_gives_it_our_standard_input_and_its_end() {
    need_clients!("dockerd", "docker");
    let run = with_input(command(&["-i"], &["cat"]), "one\ntwo\n").exits(0);
    assert_eq!(run.stdout, "one\ntwo\n");
    // More than any pipe holds.
    let much = "0123456789abcde\n".repeat(40_000);
    let run = with_input(command(&["-i"], &["sh", "-c", "cat | wc -c"]), &much).exits(0);
    assert_eq!(run.stdout.trim(), much.len().to_string());
    // Without it there is none.
    let run = with_input(command(&[], &["cat"]), "one\n").exits(0);
    assert_eq!(run.stdout, "");
}

#[test]
fn t_gives_it_a_terminal() {
    need_clients!("dockerd", "docker");
    let options = ["-t"];
    let script = "test -t 0 && test -t 1 && test -t 2 && tty && ls -l /dev/console";
    let run = docker().sh(&options, script).exits(0);
    assert!(run.stdout.starts_with("/dev/pts/0\r\n"), "{run:#?}");
    assert!(run.stdout.contains("crw"), "{run:#?}");
    docker().sh(&[], "test -t 0 || test -t 1 || test -t 2").exits(1);
}

/// Types until this is the answer.
#[track_caller]
fn answers(terminal: &mut Terminal, answer: &str) {
    for _ in 0..100 {
        terminal.seen.clear();
        terminal.type_in("asked\n");
        terminal.until("asked at");
        // The line's end.
        std::thread::sleep(std::time::Duration::from_millis(50));
        terminal.until("\n");
        if terminal.seen.contains(answer) {
            return;
        }
    }
    panic!("never {answer:?}");
}

#[test]
fn it_talks_with_a_terminal_of_ours_and_follows_its_size() {
    need_clients!("dockerd", "docker");
    let name = fresh_name();
    let script = "echo ready
while read line; do
    echo $line at $(stty size)
    test $line = end && exit 4
done";
    let mut terminal = Terminal::run(command(&["-it", "--name", &name], &["sh", "-c", script]));
    terminal.until("ready");
    // The client sends the size when the container runs, and again when it changes.
    answers(&mut terminal, "asked at 24 80");
    terminal.resize(40, 100);
    answers(&mut terminal, "asked at 40 100");
    terminal.type_in("end\n");
    assert_eq!(terminal.end(), 4, "{:?}", terminal.seen);
}

#[test]
fn ctrl_c_ends_what_runs_at_the_terminal() {
    need_clients!("dockerd", "docker");
    let script = "sleep 1000; echo ended by $?; exit 3";
    let script = ["sh", "-c", &format!("trap : INT; echo ready; {script}")];
    let mut terminal = Terminal::run(command(&["-it"], &script));
    terminal.until("ready");
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.type_in("\u{3}");
    terminal.until("ended by 130");
    assert_eq!(terminal.end(), 3);
}

#[test]
fn exec_runs_more_in_the_container() {
    need_clients!("dockerd", "docker");
    let job = docker().detached(&["--env", "OUTER=1"], &["sleep", "1000"]);
    let run = job.exec(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]).exits(7);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\n", "err\n"));
    // The same namespaces, cgroup, root and environment.
    let of = |pid: &str| {
        let script = format!(
            "for n in mnt pid uts ipc net; do readlink /proc/{pid}/ns/$n; done; cat /proc/{pid}/cgroup"
        );
        job.exec(&[], &["sh", "-c", &script]).exits(0).stdout
    };
    assert_eq!(of("self"), of("1"));
    job.exec(&[], &["sh", "-c", "echo $OUTER"]).says("1\n");
    job.exec(&["--env", "X=y", "--workdir", "/etc"], &["sh", "-c", "echo $X; pwd"])
        .says("y\n/etc\n");
    job.exec(&["--user", "1001:1002"], &["id"]).exits(0).says("uid=1001(ann) gid=1002(ann)");
    job.exec(&["-t"], &["sh", "-c", "test -t 0 && tty"]).exits(0).says("/dev/pts/");
    job.exec(&[], &["no-such-program"]).exits(126).says("no-such-program");
    job.exec(&[], &["/etc"]).exits(126);
    let mut command = docker().command(&["exec", "-i", &job.name, "cat"]);
    command.stdin(Stdio::piped());
    assert_eq!(with_input(command, "typed").exits(0).stdout, "typed");
    // In the background, and with all rights.
    job.exec(&["--detach"], &["sh", "-c", "echo made > /tmp/made"]).exits(0);
    super::support::live::eventually("/tmp/made", || {
        job.exec(&[], &["cat", "/tmp/made"]).code == 0
    });
}

#[test]
fn exec_has_the_containers_rights_and_no_more() {
    need_clients!("dockerd", "docker");
    let job = docker().detached(
        &["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "1001"],
        &["sleep", "1000"],
    );
    let status = |fields: &str| {
        let script = format!(
            "grep -E '^({fields}):' /proc/$$/status; grep -E '^({fields}):' /proc/1/status"
        );
        job.exec(&[], &["sh", "-c", &script]).exits(0).stdout
    };
    for field in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb", "NoNewPrivs", "Seccomp", "Uid"]
    {
        let text = status(field);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0] == lines[1], "{text}");
    }
    assert!(status("Seccomp").starts_with("Seccomp:\t2"));
    assert!(status("CapBnd").starts_with("CapBnd:\t0000000000000000"));
    assert!(status("NoNewPrivs").starts_with("NoNewPrivs:\t1"));
}

#[test]
fn logs_are_kept_with_their_stream() {
    need_clients!("dockerd", "docker");
    let job = docker()
        .detached(&[], &["sh", "-c", "for i in 1 2 3; do echo line $i; echo bad $i >&2; done"]);
    job.ask(&["wait"], &[]).exits(0).says("0\n");
    let run = job.ask(&["logs"], &[]).exits(0);
    assert_eq!(run.stdout, "line 1\nline 2\nline 3\n");
    assert_eq!(run.stderr, "bad 1\nbad 2\nbad 3\n");
    let run = job.ask(&["logs", "--tail", "1"], &[]).exits(0);
    assert_eq!(run.stdout.lines().count() + run.stderr.lines().count(), 1);
}

#[test]
fn init_reaps_and_passes_signals_on() {
    need_clients!("dockerd", "docker", "docker-init");
    let job = docker().detached(
        &["--init"],
        &["sh", "-c", "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.1; done"],
    );
    job.until("ready");
    job.exec(&[], &["cat", "/proc/1/comm"]).exits(0).says("docker-init");
    job.ask(&["stop", "--time", "20"], &[]).exits(0);
    assert_eq!(job.inspect(".State.ExitCode"), "5");
    assert!(job.logs().contains("bye"));
}

#[test]
fn read_only_refuses_every_write_but_to_tmpfs_and_volumes() {
    need_clients!("dockerd", "docker");
    let scratch = Scratch::new();
    let volume = format!("{}:/volume", scratch.path().display());
    let script = "
for path in /new /etc/passwd /usr/new /proc/sys/kernel/hostname /sys/new; do
    (: >> $path) 2>/dev/null && echo could write $path
done
echo one > /tmp/file && cat /tmp/file
echo two > /volume/file && echo three > /dev/shm/file && echo wrote
exit 0";
    let options = ["--read-only", "--tmpfs", "/tmp", "-v", &volume];
    let run = docker().sh(&options, script).exits(0);
    assert_eq!(run.stdout, "one\nwrote\n");
    assert_eq!(std::fs::read_to_string(scratch.join("file")).unwrap(), "two\n");
    docker().sh(&[], ": > /new && echo the control").exits(0).says("the control");
}

#[test]
fn tmpfs_has_its_size_mode_and_flags() {
    need_clients!("dockerd", "docker");
    let options = ["--tmpfs", "/run/x:rw,noexec,nosuid,nodev,size=65536k,mode=1770"];
    let script =
        "grep ' /run/x ' /proc/mounts; stat -c %a /run/x; cp /bin/busybox /run/x/true; /run/x/true";
    let run = docker().sh(&options, script).exits(126);
    let line = run.stdout.lines().next().unwrap();
    for flag in ["tmpfs /run/x tmpfs rw", "nosuid", "nodev", "noexec", "size=65536k"] {
        assert!(line.contains(flag), "{run:#?}");
    }
    assert!(run.stdout.contains("\n1770\n"), "{run:#?}");
    let script = "dd if=/dev/zero of=/t/file bs=1k count=2048; stat -c %s /t/file";
    let run = docker().sh(&["--tmpfs", "/t:size=1m"], script).exits(0);
    assert_eq!(run.stdout, "1048576\n", "{run:#?}");
}

#[test]
fn a_volume_is_shared_and_may_be_read_only() {
    need_clients!("dockerd", "docker");
    let scratch = Scratch::new();
    scratch.file("in/data", "from outside");
    scratch.file("file", "one file");
    scratch.file("out/.keep", "");
    let at = |name: &str, to: &str| format!("{}:{to}", scratch.join(name).display());
    let (input, output, file) =
        (at("in", "/input:ro"), at("out", "/output"), at("file", "/a/file"));
    let script =
        "cat /input/data /a/file; (: > /input/new) || echo refused; echo inside > /output/result";
    let options = ["-v", &input, "-v", &output, "-v", &file];
    let run = docker().sh(&options, script).exits(0);
    assert!(run.stdout.starts_with("from outsideone filerefused\n"), "{run:#?}");
    assert_eq!(std::fs::read_to_string(scratch.join("out/result")).unwrap(), "inside\n");
    assert!(!scratch.join("in/new").exists());
    // A volume of Docker's own outlives its container.
    let name = format!("volume-{}", fresh_name());
    let options = ["-v", &format!("{name}:/kept")];
    docker().sh(&options, "echo kept > /kept/file").exits(0);
    docker().sh(&options, "cat /kept/file").exits(0).says("kept\n");
    docker().run(&["volume", "rm", &name]).exits(0);
}

#[test]
fn mounts_by_their_long_form() {
    need_clients!("dockerd", "docker");
    let scratch = Scratch::new();
    scratch.file("data", "x");
    let source = scratch.path().display();
    let bind = format!("type=bind,source={source},target=/m,readonly");
    let options = ["--mount", &bind, "--mount", "type=tmpfs,target=/t,tmpfs-size=64k"];
    let script = "grep -E ' (/m|/t) ' /proc/self/mountinfo";
    let run = docker().sh(&options, script).exits(0);
    let line = |at: &str| run.stdout.lines().find(|l| l.contains(at)).unwrap().to_owned();
    assert!(line(" /m ").contains(" ro,"), "{run:#?}");
    assert!(line(" /t ").contains("size=64k"), "{run:#?}");
}

#[test]
fn user_is_by_name_by_number_and_has_its_groups() {
    need_clients!("dockerd", "docker");
    docker()
        .job(&["--user", "ann"], &["id"])
        .exits(0)
        .says("uid=1001(ann) gid=1002(ann) groups=1002(ann),1010(extra)");
    let run = docker().job(&["--user", "4321:1234", "--group-add", "77"], &["id"]).exits(0);
    run.says("uid=4321 gid=1234 groups=77,1234");
    let run =
        docker().sh(&["--user", "1001"], "grep -E '^Cap(Eff|Prm|Amb)' /proc/self/status").exits(0);
    assert_eq!(run.stdout.matches("0000000000000000").count(), 3, "{run:#?}");
    // What it makes on a volume is its own.
    let scratch = Scratch::new();
    std::os::unix::fs::chown(scratch.path(), Some(4321), Some(4321)).unwrap();
    let volume = format!("{}:/out", scratch.path().display());
    docker().sh(&["--user", "4321:4321", "-v", &volume], ": > /out/file").exits(0);
    assert_eq!(std::fs::metadata(scratch.join("file")).unwrap().uid(), 4321);
}

#[test]
fn the_view_is_the_one_that_docker_gives() {
    need_clients!("dockerd", "docker");
    let script = "
hostname; pwd; echo $HOME $X
ls /dev | grep -v core | tr '\\n' ' '; echo
cat /etc/hosts | head -1
for link in fd stdin ptmx; do readlink /dev/$link; done
stat -c '%F %t:%T' /dev/null
head -c 4 /dev/urandom | wc -c";
    let options = ["--hostname", "box", "--workdir", "/made/here", "--env", "X=1 2"];
    let run = docker().sh(&options, script).exits(0);
    let expected = "box\n/made/here\n/root 1 2\n\
                    fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero \n\
                    127.0.0.1\tlocalhost\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n\
                    character special file 1:3\n4\n";
    assert_eq!(run.stdout, expected, "{run:#?}");
}

#[test]
fn cp_goes_in_and_comes_out() {
    need_clients!("dockerd", "docker");
    let scratch = Scratch::new();
    let file = scratch.file("in", "copied");
    let job = docker().detached(&[], &["sleep", "1000"]);
    let name = &job.name;
    docker().run(&["cp", file.to_str().unwrap(), &format!("{name}:/tmp/in")]).exits(0);
    job.exec(&[], &["cp", "/tmp/in", "/tmp/out"]).exits(0);
    let back = scratch.join("out");
    docker().run(&["cp", &format!("{name}:/tmp/out"), back.to_str().unwrap()]).exits(0);
    assert_eq!(std::fs::read_to_string(back).unwrap(), "copied");
}
