//! The audit log: every attempt leaves one line, whole, and nothing hostile in it.

mod support;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use stockade::{AuditLog, Jail};
use support::live::{Live, eventually, fresh_id};
use support::{Run, Scratch, bin, jail, jail_with};

/// The lines of a log, each of which must be whole.
#[track_caller]
fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}\nin {text}")))
        .collect()
}

/// The only line.
#[track_caller]
fn line(log: &Path) -> Value {
    let mut all = lines(log);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn logged(log: &Path, args: &[&str]) -> Run {
    jail([&["--audit-log", log.to_str().unwrap()], args].concat())
}

/// A shell script of the host, with the binary and a directory in its environment.
fn script(dir: &Path, text: &str) -> Output {
    Command::new("sh")
        .args(["-c", text])
        .env("S", bin())
        .env("DIR", dir)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn audit(args: &[&str], file: &Path) -> (String, String) {
    let output = Command::new(bin()).arg("audit").args(args).arg(file).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    let err = String::from_utf8(err).unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {out}{err}");
    (out, err)
}

#[test]
fn a_run_leaves_one_line_that_says_who_ran_what_and_how_it_ended() {
    let scratch = Scratch::new();
    let log = scratch.join("audit.jsonl");
    let options = ["--label", "team=blue", "-u", "7:8", "-m", "64m"];
    let run = logged(&log, &[&options[..], &["--", "sh", "-c", "echo hidden; exit 3"]].concat());
    let run = run.exits(3);
    let l = line(&log);
    assert_eq!(l["schema"], 1);
    assert_eq!(l["id"], run.outcome["id"]);
    assert_eq!(l["labels"], serde_json::json!({ "team": "blue" }));
    assert_eq!(l["command"], serde_json::json!(["sh", "-c", "echo hidden; exit 3"]));
    assert_eq!(l["rootfs"], "host-view");
    assert_eq!(l["user"]["uid"], nix::unistd::getuid().as_raw());
    assert_eq!(l["user"]["inside"], "7:8");
    if support::is_root() {
        assert_eq!(l["user"]["name"], "root");
    }
    assert_eq!(l["outcome"]["status"], "exited");
    assert_eq!(l["outcome"]["exit_code"], 3);
    assert_eq!(l["outcome"]["reason"], run.outcome["reason"]);
    assert_eq!(l["outcome"]["isolation"], run.outcome["isolation"]);
    assert_eq!(l["outcome"]["stdout"]["bytes"], 7);
    assert!(l["policy"].as_str().unwrap().starts_with("sha256:"));
    let (time, ended) = (l["time"].as_str().unwrap(), l["ended"].as_str().unwrap());
    assert!(time.ends_with('Z') && time.len() == 24 && time <= ended, "{time} {ended}");
    let mode = std::fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(run.outcome.get("audit_error"), None);
}

#[test]
fn captured_output_is_in_the_outcome_and_not_in_the_log() {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    let run = logged(&log, &["--json", "--", "sh", "-c", "printf %s%s top secret"]).exits(0);
    assert_eq!(run.outcome["stdout"]["data"], "topsecret");
    assert!(!std::fs::read_to_string(&log).unwrap().contains("topsecret"));
}

#[test]
fn the_digest_is_of_the_rules_and_not_of_the_run() {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    for options in [&["-m", "64m"][..], &["-m", "64m", "--id", &fresh_id()], &["-m", "65m"]] {
        logged(&log, &[options, &["--", "true"]].concat()).exits(0);
    }
    let all = lines(&log);
    assert_eq!(all[0]["policy"], all[1]["policy"]);
    assert_ne!(all[0]["policy"], all[2]["policy"]);
}

#[test]
fn fifty_writers_at_once_leave_fifty_whole_lines() {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    // Longer than some pages, so that a line passes their borders.
    let long = "x".repeat(20_000);
    std::thread::scope(|scope| {
        for i in 0..50 {
            let (log, long) = (&log, &long);
            scope.spawn(move || {
                let label = format!("n={i}");
                logged(log, &["-l", &label, "--", "true", long]).exits(0);
            });
        }
    });
    let all = lines(&log);
    let mut numbers: Vec<u32> =
        all.iter().map(|l| l["labels"]["n"].as_str().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    assert!(all.iter().all(|l| l["command"][1] == long.as_str()));
}

#[test]
fn killed_supervisors_damage_no_line() {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    let long = "y".repeat(60_000);
    let kept = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|t: u64| {
                let (log, long) = (&log, &long);
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for i in 0..25u64 {
                        let id = fresh_id();
                        let mut child = Command::new(bin())
                            .args(["jail", "--id", &id, "--audit-log"])
                            .arg(log)
                            .args(["--", "true", long])
                            .stdin(Stdio::null())
                            .spawn()
                            .unwrap();
                        // From before the run to after the line was written.
                        let after = (t * 25 + i) * 37 % 100;
                        std::thread::sleep(Duration::from_micros(after * 400));
                        let _ = child.kill();
                        if child.wait().unwrap().code() == Some(0) {
                            kept.push(id);
                        }
                    }
                    kept
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    logged(&log, &["--id", "last-of-all", "--", "true"]).exits(0);
    let whole = lines(&log);
    for id in kept.iter().map(String::as_str).chain(["last-of-all"]) {
        assert_eq!(whole.iter().filter(|l| l["id"] == id).count(), 1, "the line of {id}");
    }
    eventually("their cgroups are gone", || {
        kept.iter().all(|id| support::live::cgroups_of(id).is_empty())
    });
}

/// Runs again and again what cannot be set up, until it is killed.
fn append_for_ever(log: &OsStr) -> ! {
    let long = "z".repeat(60_000);
    loop {
        let jail = Jail::new("true").arg(long.as_str()).rootfs("/no/such/dir").capture_output();
        jail.audit_log(AuditLog::File(log.into())).run().unwrap_err();
    }
}

/// On a tmpfs, where the kernel stops the write of a killed process at the next page.
#[test]
fn a_supervisor_that_is_killed_while_it_writes_leaves_no_torn_line() {
    if let Some(log) = std::env::var_os("STOCKADE_TEST_APPEND") {
        append_for_ever(&log);
    }
    let dir = format!("/dev/shm/stockade-test-audit-{}", std::process::id());
    std::fs::create_dir(&dir).unwrap();
    let log = Path::new(&dir).join("log");
    let (mut written, mut torn) = (0, 0);
    for _ in 0..50 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_supervisor_that_is_killed_while_it_writes_leaves_no_torn_line"])
            .env("STOCKADE_TEST_APPEND", &log)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let length = || std::fs::metadata(&log).map_or(0, |m| m.len());
        eventually("it writes", || length() > 0);
        // All lines are of one length: when that of the file is no multiple, one is being written.
        let text = std::fs::read_to_string(&log).unwrap();
        let line = text.find('\n').map_or(1, |n| n as u64 + 1);
        let until = Instant::now() + Duration::from_millis(50);
        while length() % line == 0 && Instant::now() < until {}
        child.kill().unwrap();
        child.wait().unwrap();
        let file = std::fs::File::open(&log).unwrap();
        // Until whoever still writes has ended.
        file.lock().unwrap();
        let text = std::fs::read_to_string(&log).unwrap();
        written += text.matches('\n').count();
        torn += usize::from(!text.ends_with('\n'));
        std::fs::remove_file(&log).unwrap();
    }
    std::fs::remove_dir_all(dir).unwrap();
    assert_eq!(torn, 0, "of {written} lines");
}

#[test]
fn a_full_disk_costs_the_line_and_not_the_exit_status() {
    need_root!();
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.join("m")).unwrap();
    let output = script(
        scratch.path(),
        r#"
        exec unshare -m --propagation private sh -ec '
            mount -t tmpfs -o size=16k t "$DIR/m"
            run() { set +e; "$S" jail --audit-log "$DIR/m/log" --id "$1" --result "$DIR/$1" \
                -- sh -c "exit 7"; echo "$1 $?"; set -e; }
            run disk-a
            head -c 12288 /dev/zero > "$DIR/m/filler" || true
            for i in b c d e f; do run disk-$i; done
            rm "$DIR/m/filler"
            run disk-z
            cp "$DIR/m/log" "$DIR/log"
        '"#,
    );
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stdout}{stderr}");
    for id in ["a", "b", "c", "d", "e", "f", "z"] {
        assert!(stdout.contains(&format!("disk-{id} 7\n")), "{stdout}{stderr}");
    }
    let full = "append a line to the audit log: no space left on device";
    assert!(stderr.contains(full), "{stderr}");
    // The first one that does not fit is torn, and nothing else.
    let told = std::fs::read_to_string(scratch.join("disk-f")).unwrap();
    assert!(serde_json::from_str::<Value>(&told).unwrap()["audit_error"].is_string(), "{told}");
    let (shown, said) = audit(&["show"], &scratch.join("log"));
    assert!(shown.contains("disk-a") && shown.contains("disk-z"), "{shown}");
    assert!(!shown.contains("disk-f"), "{shown}");
    assert!(said.contains("1 line damaged and passed over"), "{said}");
}

#[test]
fn a_log_that_cannot_be_opened_prevents_the_run() {
    let scratch = Scratch::new();
    let victim = scratch.file("victim", "");
    std::os::unix::fs::symlink(&victim, scratch.join("link")).unwrap();
    nix::unistd::mkfifo(&scratch.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = UnixDatagram::bind(scratch.join("socket")).unwrap();
    let dir = format!("{}:/made", scratch.path().display());
    for (name, why) in [
        ("link", "is a symlink"),
        ("fifo", "is a FIFO"),
        ("socket", "is a socket"),
        (".", "names no file"),
        ("no/such/dir/log", "no such file or directory"),
        ("../../../../../../../dev/null", "is a device"),
    ] {
        let log = scratch.join(name);
        let run = logged(&log, &["-v", &dir, "--", "touch", "/made/it"]).exits(125).complains(why);
        assert_eq!(run.outcome["status"], "setup_failed", "{run:#?}");
    }
    for (target, why) in [
        ("fd:77", "write the audit log to descriptor 77: bad file"),
        ("fd:x", "invalid audit log \"fd:x\""),
        ("", "invalid audit log \"\""),
    ] {
        jail(["--audit-log", target, "-v", &dir, "--", "touch", "/made/it"])
            .exits(125)
            .complains(why);
    }
    assert!(!scratch.join("it").exists(), "something was run");
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "", "the symlink was followed");
}

#[test]
fn attempts_that_fail_are_logged_too() {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    logged(&log, &["-m", "lots", "--id", "one", "--", "true"]).exits(125);
    logged(&log, &["-l", "a=b", "--rootfs", "/no/such/dir", "--", "true"]).exits(125);
    logged(&log, &["--", "no-such-command"]).exits(127);
    logged(&log, &["-l", "=", "--", "true"]).exits(125);
    logged(&log, &["-t", "--", "true"]).exits(125);
    logged(&log, &["-l", "a=b", "--bogus", "--", "true"]).exits(125);
    logged(&log, &[]).exits(125);
    // The result cannot be written.
    let to = log.to_str().unwrap();
    jail(["--audit-log", to, "--result", "/no/such/dir/x", "--", "true"]).exits(125);
    let all = lines(&log);
    let reasons: Vec<_> =
        all.iter().map(|l| l["outcome"]["reason"].as_str().unwrap().to_owned()).collect();
    for (i, why) in [
        "invalid memory limit \"lots\"",
        "/no/such/dir",
        "\"no-such-command\": not found",
        "invalid label",
        "standard input is no terminal",
        "unknown option \"--bogus\"",
        "no command given",
        "write the result to",
    ]
    .iter()
    .enumerate()
    {
        assert!(reasons.get(i).is_some_and(|r| r.contains(why)), "{i} {why}: {reasons:#?}");
    }
    assert_eq!(all.len(), 8, "{all:#?}");
    assert!(all.iter().all(|l| l["outcome"]["status"] == "setup_failed"));
    assert_eq!(all[0]["id"], "one");
    assert_eq!(all[0]["command"], serde_json::json!(["true"]));
    assert_eq!(all[1]["labels"]["a"], "b");
    assert_eq!(all[2]["outcome"]["exit_code"], 127);
    assert!(all[2]["policy"].is_string(), "there was a plan");
    assert_eq!(all[5]["labels"]["a"], "b", "what came before the mistake is known");
}

#[test]
fn explain_runs_nothing_and_logs_nothing() {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    logged(&log, &["--explain", "--", "true"]).exits(0);
    assert!(!log.exists());
}

/// T41: a hostile command line, label and file name show as escapes, in the log and in the table.
#[test]
fn t41_a_hostile_command_line_cannot_reach_the_terminal_of_who_reads_the_log() {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    let bad = "a\n{\"schema\":1}\n\x1b]0;x\x07\r\x7f\u{9b}2J\u{202e}\u{2028}\u{feff}";
    let label = format!("k={bad}");
    logged(&log, &["-l", &label, "--", "sh", "-c", "exit 1", bad]).exits(1);
    jail_with(["--audit-log", log.to_str().unwrap(), "--", "true"], |c| {
        c.arg(OsStr::from_bytes(b"\xff\xfe\x1b[2J"));
    })
    .exits(125);
    let all = lines(&log);
    assert_eq!(all.len(), 2, "no line was forged");
    assert_eq!(all[0]["command"][3], bad);
    assert_eq!(all[0]["labels"]["k"], bad);
    assert_eq!(all[1]["command"][1], "\\xff\\xfe\\u{1b}[2J");
    assert_eq!(all[1]["escaped"], serde_json::json!([1]));
    let text = std::fs::read_to_string(&log).unwrap();
    for shown in [
        text,
        audit(&["show"], &log).0,
        audit(&["show", "--json"], &log).0,
        audit(&["stats", "--by", "k"], &log).0,
        audit(&["stats", "--by", "k", "--json"], &log).0,
    ] {
        let hostile =
            |c: &char| c.is_control() && *c != '\n' || "\u{202e}\u{2028}\u{feff}".contains(*c);
        assert_eq!(shown.chars().find(hostile), None, "{shown:?}");
    }
}

#[test]
fn a_rotated_log_is_followed() {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    let options = ["--audit-log", log.to_str().unwrap()];
    let mut live = Live::start_with(&options, &["sh", "-c", "echo ready; read x"], |c| {
        c.stdin(Stdio::piped());
    });
    live.until("ready");
    std::fs::rename(&log, scratch.join("log.1")).unwrap();
    drop(live.stdin());
    let id = live.id.clone();
    live.end();
    assert_eq!(line(&log)["id"], id.as_str());
    assert_eq!(std::fs::read_to_string(scratch.join("log.1")).unwrap(), "");
}

#[test]
fn a_job_that_puts_something_else_in_the_logs_place_costs_the_line_but_not_silently() {
    for trick in
        ["rm /v/log; mkfifo /v/log", "rm /v/log; ln -s /v/x /v/log", "rm /v/log; mkdir /v/log"]
    {
        let dir = Scratch::new();
        let volume = format!("{}:/v", dir.path().display());
        let script = format!("{trick}; exit 3");
        let run = logged(&dir.join("log"), &["-v", &volume, "--", "sh", "-c", &script]).exits(3);
        let told = run.outcome["audit_error"].as_str().unwrap_or_default();
        assert!(told.contains("was removed during the run: the line is lost"), "{trick}: {run:#?}");
        assert!(run.stderr.contains(told), "{run:#?}");
    }
    // A removed log is made again, which loses nothing.
    let dir = Scratch::new();
    let volume = format!("{}:/v", dir.path().display());
    logged(&dir.join("log"), &["-v", &volume, "--", "rm", "/v/log"]).exits(0);
    line(&dir.join("log"));
}

#[test]
fn the_job_has_no_descriptor_of_the_log() {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    let run = logged(&log, &["--no-init", "--", "sh", "-c", "ls -l /proc/$$/fd"]).exits(0);
    assert!(!run.stdout.contains("log"), "{run:#?}");
    assert_eq!(run.stdout.matches(" -> ").count(), 3, "{run:#?}");
}

#[test]
fn a_descriptor_takes_lines_if_they_stay_whole_there() {
    let scratch = Scratch::new();
    let run = |redirect: &str, words: &str| {
        let text = format!(r#""$S" jail --audit-log fd:3 -- {words} {redirect}"#);
        let output = script(scratch.path(), &text);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let log = scratch.file("log", "{\"torn\":");
    assert_eq!(run(r#"3>>"$DIR/log""#, "true").0, Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    let last = text.strip_prefix("{\"torn\":\n").expect("only the torn line is lost");
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["command"][0], "true");

    let (code, said) = run(r#"3>"$DIR/log2""#, "true");
    assert_eq!(code, Some(125), "{said}");
    assert!(said.contains("is a file that is not open for appending"), "{said}");
    let (code, said) = run(r#"3<"$DIR/log""#, "true");
    assert_eq!(code, Some(125), "{said}");
    assert!(said.contains("cannot be written to"), "{said}");

    // A pipe takes 4096 bytes whole: a longer line is shortened, and says what is missing.
    let (code, said) = run(r#"3>&1 | cat > "$DIR/piped""#, "true $(seq 5000)");
    assert_eq!(code, Some(0), "{said}");
    let piped = line(&scratch.join("piped"));
    assert!(serde_json::to_string(&piped).unwrap().len() <= 4096);
    assert_eq!(piped["truncated"]["command_words"], 5001);
}

#[test]
fn a_reader_who_went_away_does_not_change_the_exit_status() {
    let scratch = Scratch::new();
    let output = script(
        scratch.path(),
        r#"{ sleep 0.1; "$S" jail --audit-log fd:3 -- sh -c "sleep 0.3; exit 7" 3>&1 >&2;
             echo "status $?" >&2; } | true"#,
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("write to the audit log: broken pipe"), "{said}");
    assert!(said.contains("status 7"), "{said}");
}

#[test]
fn a_socket_gets_one_datagram_a_line_and_a_network_socket_is_refused() {
    let (here, there) = UnixDatagram::pair().unwrap();
    let mut command = Command::new(bin());
    command.args(["jail", "--audit-log", "fd:0", "--", "true"]);
    command.stdin(std::os::fd::OwnedFd::from(there));
    assert_eq!(command.status().unwrap().code(), Some(0));
    let mut buffer = [0; 8192];
    let n = here.recv(&mut buffer).unwrap();
    let line: Value = serde_json::from_slice(&buffer[..n]).unwrap();
    assert_eq!(line["outcome"]["status"], "exited");

    let network = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(bin());
    command.args(["jail", "--audit-log", "fd:0", "--", "true"]);
    command.stdin(std::os::fd::OwnedFd::from(network));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is a socket of the network"));
}

#[test]
fn the_system_log_gets_one_message_a_run_by_authpriv() {
    need_root!();
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.join("dev")).unwrap();
    let daemon = UnixDatagram::bind(scratch.join("dev/log")).unwrap();
    let inside = |run: &str| {
        script(
            scratch.path(),
            &format!(
                r#"exec unshare -m --propagation private sh -ec '
                    for d in null zero full random urandom tty; do
                        touch "$DIR/dev/$d"; mount --bind /dev/$d "$DIR/dev/$d"
                    done
                    mount --rbind "$DIR/dev" /dev
                    {run}'"#
            ),
        )
    };
    let output = inside(r#""$S" jail --audit-log syslog -- true $(seq 9000)"#);
    assert!(output.status.success(), "{output:?}");
    let mut buffer = [0; 65_536];
    let n = daemon.recv(&mut buffer).unwrap();
    assert!(n <= 8192, "{n}");
    let message = String::from_utf8(buffer[..n].to_vec()).unwrap();
    let (head, json) = message.split_once(": ").unwrap();
    let pid = head.strip_prefix("<86>stockade[").and_then(|h| h.strip_suffix(']'));
    assert!(pid.is_some_and(|p| p.parse::<u32>().is_ok()), "{head}");
    let line: Value = serde_json::from_str(json).unwrap();
    assert_eq!(line["truncated"]["command_words"], 9001, "cut, and not silently");
    // Without a daemon nothing is run.
    drop(daemon);
    let output = inside(r#""$S" jail --audit-log syslog -- true"#);
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("connect to the system log at /dev/log"), "{said}");
}

#[test]
fn a_file_size_limit_costs_the_line_and_not_the_exit_status() {
    let scratch = Scratch::new();
    let log = scratch.file("log", &format!("{}\n", "#".repeat(99_999)));
    let options = ["--audit-log", log.to_str().unwrap()];
    let mut live = Live::start_with(&options, &["sh", "-c", "echo ready; read x; exit 7"], |c| {
        c.stdin(Stdio::piped());
    });
    live.until("ready");
    let pid = live.pid().to_string();
    let done = Command::new("prlimit").args(["--fsize=100100", "--pid", &pid]).status().unwrap();
    assert!(done.success());
    drop(live.stdin());
    let run = live.end().exits(7).complains("append a line to the audit log: file too large");
    assert!(run.outcome["audit_error"].is_string(), "{run:#?}");
}

#[test]
fn a_lock_that_somebody_keeps_does_not_cost_the_line() {
    let scratch = Scratch::new();
    let log = scratch.file("log", "");
    let keeper = std::fs::File::open(&log).unwrap();
    keeper.lock().unwrap();
    logged(&log, &["--", "sh", "-c", "exit 5"]).exits(5);
    assert_eq!(line(&log)["outcome"]["exit_code"], 5);
}

#[test]
fn an_embedding_program_has_the_log_too() {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    let to = || AuditLog::File(log.clone());
    let outcome = Jail::new("true").capture_output().audit_log(to()).run().unwrap();
    assert_eq!(outcome.audit_error, None);
    let running = Jail::new("sh").args(["-c", "exit 2"]).capture_output().audit_log(to());
    running.spawn().unwrap().wait().unwrap();
    Jail::new("no-such-command").capture_output().audit_log(to()).run().unwrap_err();
    let all = lines(&log);
    let codes: Vec<_> = all.iter().map(|l| l["outcome"]["exit_code"].as_i64().unwrap()).collect();
    assert_eq!(codes, [0, 2, 127]);
    let nowhere = AuditLog::File("/no/such/dir/log".into());
    let error = Jail::new("true").capture_output().audit_log(nowhere).run().unwrap_err();
    assert!(error.to_string().contains("open the directory of the audit log"), "{error}");
}

/// A line as stockade writes it, with these figures.
fn made(second: u32, id: &str, team: &str, code: i32, wall: u32, memory: u64) -> String {
    format!(
        r#"{{"schema":1,"time":"2026-01-01T00:00:{second:02}.000Z","ended":"2026-01-01T00:01:00.000Z","id":"{id}","labels":{{"team":"{team}"}},"user":{{"uid":0,"gid":0,"name":"root","login_uid":null,"inside":"1:1"}},"command":["run","{id}"],"policy":null,"rootfs":"host-view","outcome":{{"status":"exited","exit_code":{code},"signal":null,"reason":"","wall_ms":{wall}.5,"memory_peak_bytes":{memory}}}}}"#
    )
}

#[test]
fn show_filters_and_stats_sum_up_what_is_whole() {
    let scratch = Scratch::new();
    let mut text = String::new();
    for i in 0..20u32 {
        let code = i32::from(i % 5 == 4) * 9;
        let team = if i < 10 { "red" } else { "blue" };
        text += &made(i, &format!("run{i:02}"), team, code, i * 100, u64::from(i) << 20);
        text += if i == 7 { "\n{\"schema\":1,\"ti\n" } else { "\n" };
    }
    let log = scratch.file("log", &text);
    let ids = |args: &[&str]| {
        let (out, said) = audit(args, &log);
        assert!(said.contains("1 line damaged and passed over, the first is line 9"), "{said}");
        let rows = out.lines().skip(1).map(|l| l.split_whitespace().nth(1).unwrap().to_owned());
        rows.collect::<Vec<_>>()
    };
    assert_eq!(ids(&["show"]).len(), 20);
    assert_eq!(ids(&["show", "--last", "2"]), ["run18", "run19"]);
    assert_eq!(ids(&["show", "--failed"]), ["run04", "run09", "run14", "run19"]);
    assert_eq!(ids(&["show", "--failed", "-n", "1"]), ["run19"]);
    assert_eq!(ids(&["show", "--since", "2026-01-01T00:00:18Z"]), ["run18", "run19"]);
    assert_eq!(ids(&["show", "--since", "1s"]), [""; 0]);
    let (out, _) = audit(&["show", "--json", "--last", "1"], &log);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["id"], "run19");

    let (out, _) = audit(&["stats", "--by", "team"], &log);
    for row in [
        "runs        20",
        "failed      4",
        "exited 9",
        "p50 900 ms, p95 1800 ms, most 1900 ms",
        "p50 9216 KiB, p95 18 MiB, most 19 MiB",
    ] {
        assert!(out.contains(row), "no {row:?} in {out}");
    }
    let (out, _) = audit(&["stats", "--by", "team", "--json"], &log);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["runs"], 20);
    assert_eq!(json["failures"]["exited 9"], 4);
    assert_eq!(json["damaged_lines"], 1);
    assert_eq!(json["by"]["red"]["wall_ms"]["p50"], 400.5);
    assert_eq!(json["by"]["blue"]["failed"], 2);
}

#[test]
fn the_last_lines_of_a_long_log_are_shown_in_little_memory() {
    let mut child = Command::new("prlimit")
        .args(["--as=50331648", bin(), "audit", "show", "--last", "2", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let padding = "p".repeat(1000);
    // 150 MB, three times what it may use.
    for i in 0..100_000u32 {
        let line = made(i % 60, &format!("run{i}"), &padding, 0, 1, 1);
        writeln!(stdin, "{line}").unwrap();
    }
    drop(stdin);
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(out.lines().count(), 3, "{out}");
    assert!(out.contains("run99998") && out.contains("run99999"), "{out}");
}

#[test]
fn a_mistake_in_stockade_audit_is_named() {
    let said = |args: &[&str]| {
        let output = Command::new(bin()).arg("audit").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let end = "hint: did you mean show?\n";
    assert_eq!(said(&["shwo"]), format!("stockade: unknown audit command \"shwo\"\n{end}"));
    assert!(said(&["show"]).starts_with("stockade: no audit log given\n"));
    assert!(said(&["show", "--lst", "1", "x"]).contains("unknown option \"--lst\"\nhint: did you"));
    assert!(said(&["show", "--last", "x", "y"]).contains("invalid number of runs \"x\""));
    assert!(said(&["show", "--since", "then", "y"]).contains("invalid time \"then\""));
    let missing = said(&["stats", "/no/such/log"]);
    assert!(missing.contains("open the audit log \"/no/such/log\": no such file"), "{missing}");
}
