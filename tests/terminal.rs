//! `-t`: the job's own terminal, and the caller's, before, meanwhile and after.

mod support;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios};
use nix::unistd::Pid;
use support::jail;
use support::pty::Terminal;

#[test]
fn a_job_has_a_terminal_on_all_three() {
    let code = "
import os
print([os.isatty(n) for n in (0, 1, 2)], os.ttyname(0), os.getpgrp() == os.tcgetpgrp(0))
print(os.stat('/dev/tty').st_rdev == os.makedev(5, 0), open('/dev/tty').isatty())
";
    let mut terminal = Terminal::start(&["-it"], &["/usr/bin/python3", "-c", code]);
    assert_eq!(terminal.end(), 0, "{:?}", terminal.seen);
    assert_eq!(terminal.seen, "[True, True, True] /dev/pts/0 True\r\nTrue True\r\n");
}

#[test]
fn without_t_there_is_none_even_at_a_terminal() {
    let script = "[ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo none; tty";
    let mut terminal = Terminal::start(&[], &["sh", "-c", script]);
    terminal.until("not a tty");
    terminal.end();
    assert!(terminal.seen.starts_with("none"), "{:?}", terminal.seen);
}

#[test]
fn a_person_is_told_in_one_line_why_a_job_failed() {
    let code = "import ctypes; ctypes.CDLL(None).syscall(321, 0, 0, 0); raise SystemExit(3)";
    let mut terminal = Terminal::start(&[], &["/usr/bin/python3", "-c", code]);
    assert_eq!(terminal.end(), 3);
    let line = "stockade: the job failed: it exited with 3; seccomp denied bpf once\r\n";
    assert_eq!(terminal.seen, line);
    // Not when it succeeds, not with --quiet.
    for (options, script, code) in
        [(&[][..], "exit 0", 0), (&["--quiet"], "exit 3", 3), (&["-q"], "exit 3", 3)]
    {
        let mut terminal = Terminal::start(options, &["sh", "-c", script]);
        assert_eq!((terminal.end(), terminal.seen.as_str()), (code, ""));
    }
    // Nor where no person looks.
    let run = jail(["--", "sh", "-c", "exit 3"]).exits(3);
    assert_eq!(run.stderr, "");
}

#[test]
fn its_streams_have_names() {
    let script = "echo one >/dev/stdout; echo two >/dev/stderr; echo three >/dev/tty";
    let mut terminal = Terminal::start(&["-t"], &["sh", "-c", script]);
    assert_eq!(terminal.end(), 0, "{:?}", terminal.seen);
    assert_eq!(terminal.seen, "one\r\ntwo\r\nthree\r\n");
}

#[test]
fn its_size_is_the_callers_and_follows_it() {
    let script = "stty size; trap 'echo resized $(stty size)' WINCH; echo ready
        while :; do sleep 0.05; done";
    let mut terminal = Terminal::start(&["-t"], &["bash", "-c", script]);
    terminal.until("24 80");
    terminal.until("ready");
    terminal.resize(50, 132);
    terminal.until("resized 50 132");
}

#[test]
fn what_is_typed_reaches_the_job_and_is_echoed_by_its_terminal() {
    let mut terminal =
        Terminal::start(&["-t"], &["sh", "-c", "echo ready; read line; echo got $line"]);
    terminal.until("ready");
    terminal.type_in("hello\r");
    terminal.until("got hello");
    assert_eq!(terminal.end(), 0);
    assert_eq!(terminal.seen, "ready\r\nhello\r\ngot hello\r\n");
}

#[test]
fn ctrl_c_reaches_the_job_and_not_stockade() {
    let script = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done";
    let mut terminal = Terminal::start(&["-t"], &["sh", "-c", script]);
    terminal.until("ready");
    terminal.type_in("\x03");
    terminal.until("interrupted");
    assert_eq!(terminal.end(), 9);
}

#[test]
fn ctrl_c_ends_a_job_that_does_not_handle_it() {
    let mut terminal = Terminal::start(&["-t"], &["sh", "-c", "echo ready; exec sleep 100"]);
    terminal.until("ready");
    terminal.type_in("\x03");
    assert_eq!(terminal.end(), 130);
}

#[test]
fn ctrl_d_is_the_end_of_its_input() {
    let mut terminal = Terminal::start(&["-t"], &["sh", "-c", "echo ready; cat; echo over"]);
    terminal.until("ready");
    terminal.type_in("line\r");
    terminal.until("line\r\nline");
    terminal.type_in("\x04");
    terminal.until("over");
    assert_eq!(terminal.end(), 0);
}

fn same(a: &Termios, b: &Termios) -> bool {
    a.local_flags == b.local_flags
        && a.input_flags == b.input_flags
        && a.output_flags == b.output_flags
        && a.control_flags == b.control_flags
        && a.control_chars == b.control_chars
}

#[test]
fn the_callers_terminal_is_raw_meanwhile_and_as_before_afterwards() {
    for (command, code) in [("exit 3", 3), ("kill -KILL $$", 137)] {
        let script = format!("echo ready; read x; {command}");
        let mut terminal = Terminal::start(&["-t"], &["sh", "-c", &script]);
        terminal.until("ready");
        let raw = terminal.settings();
        assert!(
            !raw.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
        );
        terminal.type_in("\r");
        assert_eq!(terminal.end(), code);
        assert!(same(&terminal.settings(), &terminal.before), "{command}");
    }
}

#[test]
fn the_callers_terminal_is_as_before_after_a_limit_a_signal_or_a_failure() {
    let mut terminal = Terminal::start(&["-t", "--timeout", "300ms"], &["sleep", "100"]);
    assert_eq!(terminal.end(), 124);
    assert!(same(&terminal.settings(), &terminal.before));

    let mut terminal = Terminal::start(&["-t"], &["sh", "-c", "echo ready; exec sleep 100"]);
    terminal.until("ready");
    kill(Pid::from_raw(terminal.pid()), Signal::SIGTERM).unwrap();
    assert_eq!(terminal.end(), 143);
    assert!(same(&terminal.settings(), &terminal.before));

    let mut terminal = Terminal::start(&["-t"], &["/no/such/program"]);
    assert_eq!(terminal.end(), 127);
    assert!(same(&terminal.settings(), &terminal.before));
    // And so its message is readable.
    assert!(terminal.seen.starts_with("stockade: \"/no/such/program\": "), "{:?}", terminal.seen);
    assert!(terminal.seen.contains("\r\nhint: "), "{:?}", terminal.seen);
}

#[test]
fn without_a_terminal_t_is_an_error_that_says_so() {
    let run = jail(["-t", "--", "sh", "-c", "echo ran"]).exits(125);
    assert_eq!(run.stdout, "");
    assert_eq!(
        run.stderr,
        "stockade: -t, but standard input is no terminal\nhint: leave -t out, or run it in a \
         terminal\n"
    );
}

#[test]
fn much_output_on_a_terminal_is_all_there() {
    let mut terminal = Terminal::start(&["-t"], &["sh", "-c", "seq 20000; echo end"]);
    terminal.until("end");
    assert_eq!(terminal.end(), 0);
    let lines: Vec<&str> = terminal.seen.split("\r\n").collect();
    assert_eq!(lines.len(), 20_002);
    assert_eq!(lines[19_999], "20000");
}

#[test]
fn t30_the_jobs_terminal_is_not_the_callers() {
    // Set on its own, the caller's is as it was.
    let script = "stty -echo -icanon rows 11; echo ready; read x";
    let mut terminal = Terminal::start(&["-t"], &["sh", "-c", script]);
    terminal.until("ready");
    let code = "import os; print(os.listdir('/dev/pts'))";
    let mut other = Terminal::start(&["-t"], &["/usr/bin/python3", "-c", code]);
    assert_eq!(other.end(), 0);
    // Only its own and the way to make one.
    assert!(other.seen.contains("'0'") && !other.seen.contains("'1'"), "{:?}", other.seen);
    terminal.type_in("\r");
    assert_eq!(terminal.end(), 0);
    assert!(same(&terminal.settings(), &terminal.before));
}

/// A terminal takes a part of what it is given when its reader is slow.
#[test]
fn much_that_is_typed_while_the_job_is_busy_is_all_there() {
    let script = "stty raw -echo; echo ready; sleep 1; head -c 300000 | cksum; echo end";
    let mut terminal = Terminal::start(&["-t"], &["sh", "-c", script]);
    terminal.until("ready");
    let text: String = (0..50_000).map(|n| format!("{n:05} ")).collect();
    let sums = "seq -f '%05.0f ' 0 49999 | tr -d '\\n' | cksum";
    let want = std::process::Command::new("sh").args(["-c", sums]).output().unwrap().stdout;
    let want = String::from_utf8(want).unwrap();
    terminal.type_in(&text);
    terminal.until("end");
    assert!(terminal.seen.contains(want.trim()), "{want}: {:?}", terminal.seen);
    assert_eq!(terminal.end(), 0);
}
