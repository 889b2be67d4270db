//! Standard input, standard output and signals: between the caller and the job.

mod support;
use nix::sys::signal::Signal;
use std::io::Write;
use std::process::{Command, Stdio};
use support::live::Live;
use support::{Scratch, bin, jail_with, sh};

/// A host shell script in which `$S` is stockade.
fn host(script: &str) -> (i32, String, String) {
    let scratch = Scratch::new();
    let output = Command::new("sh")
        .args(["-c", script])
        .env("S", bin())
        .current_dir(scratch.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

// --- standard input --------------------------------------------------------------------------

#[test]
fn input_comes_from_a_file() {
    let (code, out, err) = host("seq 100000 >in; $S jail -- md5sum <in; md5sum <in");
    assert_eq!((code, err.as_str()), (0, ""));
    let sums: Vec<&str> = out.lines().collect();
    assert_eq!(sums.len(), 2);
    assert_eq!(sums[0], sums[1]);
}

#[test]
fn input_comes_from_a_pipe() {
    let (code, out, err) = host("seq 100000 | $S jail -- wc -l");
    assert_eq!((code, out.as_str(), err.as_str()), (0, "100000\n", ""));
    // And as it comes, not only at its end.
    let mut live =
        Live::start_with(&[], &["sh", "-c", "read a; echo got $a; read b; echo got $b"], |c| {
            c.stdin(Stdio::piped());
        });
    let mut input = live.stdin();
    input.write_all(b"one\n").unwrap();
    live.until("got one");
    input.write_all(b"two\n").unwrap();
    live.until("got two");
    live.end().exits(0);
}

#[test]
fn a_job_reads_to_the_end_of_its_input() {
    let (code, out, _) =
        host("printf abc | $S jail -- cat; $S jail -- cat </dev/null; $S jail -- cat <&-");
    assert_eq!((code, out.as_str()), (0, "abc"));
}

#[test]
fn a_loop_over_a_file_sees_every_line() {
    let script = "printf 'a\\nb\\nc\\n' >list
        while read line; do $S jail -- true; echo $line; done <list";
    let (code, out, err) = host(script);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "a\nb\nc\n", ""));
}

#[test]
fn what_a_job_leaves_of_a_file_the_next_one_finds() {
    let script = "seq 5 >list
        { $S jail -- sh -c 'read a; read b; echo $a $b'; $S jail -- cat; } <list";
    let (code, out, _) = host(script);
    // dash reads a byte at a time.
    assert_eq!((code, out.as_str()), (0, "1 2\n3\n4\n5\n"));
}

#[test]
fn h58_a_job_that_never_reads_does_not_hang() {
    let (code, out, err) = host("yes | $S jail --timeout 60s -- echo done; yes | $S jail -- true");
    assert_eq!((code, out.as_str(), err.as_str()), (0, "done\n", ""));
    // A writer who is there and writes nothing.
    let mut live = Live::start_with(&[], &["echo", "done"], |c| {
        c.stdin(Stdio::piped());
    });
    let writer = live.stdin();
    live.end().exits(0).says("done");
    drop(writer);
}

#[test]
fn h58_a_job_that_closes_its_streams_does_not_hang() {
    let script = "exec >&- 2>&- <&-; sleep 0.2; exit 4";
    sh(&["--timeout", "60s"], script).exits(4).has("status", "exited");
}

// --- standard output -------------------------------------------------------------------------

#[test]
fn a_reader_who_has_enough_ends_it_cleanly() {
    let (code, out, err) = host("$S jail --timeout 60s -- seq 10000000 | head -1");
    assert_eq!((code, out.as_str(), err.as_str()), (0, "1\n", ""));
    let (_, out, _) = host("($S jail --timeout 60s -- yes; echo $? >&2) | head -1");
    assert_eq!(out, "y\n");
}

#[test]
fn the_streams_have_names() {
    let script = "echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin; cat /dev/fd/0";
    for user in ["65534:65534", "0:0", "1001:1001"] {
        let run = jail_with(["-u", user, "--", "sh", "-c", script], |c| {
            let scratch = Scratch::new();
            let file = scratch.file("in", "in\n");
            c.stdin(std::fs::File::open(file).unwrap());
        })
        .exits(0);
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\nin\n", "err\n"), "{user}");
    }
}

#[test]
fn both_streams_into_one_keep_their_order() {
    let (code, out, _) =
        host("$S jail -- sh -c 'echo 1; sleep 0.1; echo 2 >&2; sleep 0.1; echo 3' 2>&1");
    assert_eq!((code, out.as_str()), (0, "1\n2\n3\n"));
}

#[test]
fn a_full_disk_of_the_caller_is_seen_by_the_job() {
    let (code, _, err) = host("$S jail --timeout 60s -- sh -c 'trap \"\" PIPE; yes' >/dev/full");
    assert_ne!(code, 0);
    assert!(err.contains("Broken pipe") || err.contains("No space"), "{err}");
}

// --- signals ---------------------------------------------------------------------------------

const HANDLER: &str = "
for s in TERM INT HUP USR1 USR2 QUIT ALRM; do trap \"echo got $s; exit 7\" $s; done
echo ready
while :; do sleep 0.05; done
";

#[test]
fn signals_to_stockade_reach_the_job() {
    for init in ["--init", "--no-init"] {
        for signal in [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGQUIT,
            Signal::SIGALRM,
        ] {
            let live = Live::sh(&[init], HANDLER);
            live.signal(signal);
            let run = live.end().exits(7).has("status", "exited");
            let name = signal.as_str().strip_prefix("SIG").unwrap();
            assert!(run.stdout.contains(&format!("got {name}\n")), "{init} {signal}: {run:#?}");
        }
    }
}

#[test]
fn a_signal_that_the_job_does_not_handle_ends_it() {
    for (signal, number) in [(Signal::SIGTERM, 15), (Signal::SIGINT, 2), (Signal::SIGUSR1, 10)] {
        let live = Live::sh(&[], "echo ready; exec sleep 100");
        live.signal(signal);
        live.end().exits(128 + number).has("status", "signaled").has("signal", number);
    }
}

#[test]
fn a_signal_in_the_first_instant_ends_it_one_way_or_the_other() {
    for delay in 0..12 {
        let live = Live::start(&[], &["sh", "-c", "exec sleep 100"]);
        std::thread::sleep(std::time::Duration::from_micros(delay * 700));
        live.signal(Signal::SIGTERM);
        let run = live.end();
        // By the signal's own default, during set-up, or by the job.
        let set_up = run.code == 125 && run.stderr.contains("before the command was started");
        assert!(run.code == 143 || set_up, "after {delay}: {run:#?}");
    }
}

#[test]
fn h45_the_job_starts_with_no_signal_blocked_or_ignored() {
    let script = "cat /proc/self/status";
    // The control: a caller that ignores and blocks some.
    let (code, out, _) = host(&format!("trap '' HUP INT TERM PIPE; $S jail -- {script}"));
    assert_eq!(code, 0);
    for name in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(out.contains(&format!("{name}:\t0000000000000000\n")), "{out}");
    }
}
