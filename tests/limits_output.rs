//! Output floods: cut, flagged, kept in bounds, whoever reads and however slowly.

mod support;
use nix::sys::signal::Signal;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;
use support::live::{Live, eventually};
use support::{Run, bin, jail_with, python, sh};

const KIB: usize = 1024;

fn size_of(run: &Run, stream: &str) -> (u64, bool) {
    let s = &run.outcome[stream];
    (s["bytes"].as_u64().unwrap(), s["truncated"].as_bool().unwrap())
}

#[track_caller]
fn ended_by_output(run: Run) -> Run {
    let run = run.exits(137).has("status", "output_limit");
    assert_eq!(run.outcome["limits_hit"], serde_json::json!(["output"]), "{run:#?}");
    let reason = run.outcome["reason"].as_str().unwrap();
    assert!(reason.starts_with("it wrote more than the output limit of"), "{run:#?}");
    run
}

#[test]
fn h53_a_flood_of_stdout_is_cut_exactly() {
    let run = ended_by_output(sh(&["--output-limit", "100k"], "yes"));
    assert_eq!(run.stdout, "y\n".repeat(50 * KIB));
    assert_eq!(size_of(&run, "stdout"), (100 * KIB as u64, true), "{run:#?}");
    assert_eq!(size_of(&run, "stderr"), (0, false));
}

#[test]
fn h53_a_flood_of_stderr_is_cut_exactly() {
    let run = ended_by_output(sh(&["--output-limit", "100k"], "echo before; yes >&2"));
    assert_eq!(run.stderr, "y\n".repeat(50 * KIB));
    assert_eq!(run.stdout, "before\n");
    assert_eq!(size_of(&run, "stderr"), (100 * KIB as u64, true), "{run:#?}");
    assert_eq!(size_of(&run, "stdout"), (7, false));
}

#[test]
fn h53_a_flood_of_both_has_a_limit_for_each() {
    let run = ended_by_output(sh(&["--output-limit", "64k"], "yes >&2 & yes"));
    let (out, err) = (size_of(&run, "stdout"), size_of(&run, "stderr"));
    assert!(out.1 || err.1, "{run:#?}");
    assert!(out.0 <= 64 * KIB as u64 && err.0 <= 64 * KIB as u64, "{run:#?}");
    assert_eq!(run.stdout.len() as u64, out.0);
    assert_eq!(run.stderr.len() as u64, err.0);
}

#[test]
fn h53_output_of_exactly_the_limit_is_not_cut() {
    for (bytes, cut) in [("4095", false), ("4096", false), ("4097", true)] {
        let run = sh(&["--output-limit", "4k"], &format!("head -c {bytes} /dev/zero"));
        let expected = bytes.parse::<u64>().unwrap().min(4096);
        assert_eq!(size_of(&run, "stdout"), (expected, cut), "{run:#?}");
        assert_eq!(run.outcome["status"], if cut { "output_limit" } else { "exited" });
        assert_eq!(run.hit("output"), cut);
    }
}

#[test]
fn h53_a_limit_is_noticed_after_the_job_has_ended_too() {
    // What fits into a pipe is written before anybody looks.
    for _ in 0..10 {
        let run = sh(&["--output-limit", "10"], "echo 0123456789abcdef; exit 3");
        let run = run.exits(137).has("status", "output_limit");
        assert_eq!(run.stdout, "0123456789");
    }
}

#[test]
fn h53_the_default_is_ten_megabytes_and_0_is_none() {
    let run = ended_by_output(sh(&[], "yes"));
    assert_eq!(size_of(&run, "stdout"), (10 << 20, true));
    let run = sh(&["--output-limit", "0"], "yes | head -c 12m").exits(0);
    assert_eq!(size_of(&run, "stdout"), (12 << 20, false));
}

#[test]
fn h53_the_supervisor_stays_small_during_a_flood() {
    // Long lines, which we read faster, and time enough for a processor that is emulated.
    let mut live = Live::start(
        &["--output-limit", "0", "--timeout", "10m"],
        &[
            "sh",
            "-c",
            "yes $(head -c 1000 /dev/zero | tr '\\0' y) | head -c 100m; echo; echo end; sleep 600",
        ],
    );
    live.until("end");
    let peak = live.peak_rss_kib();
    assert!(peak < 16 * 1024, "stockade used {peak} KiB");
    live.signal(Signal::SIGTERM);
    live.end().exits(143);
}

#[test]
fn h53_a_slow_reader_gets_everything_and_costs_no_memory() {
    let options = ["--output-limit", "8m"];
    let mut live = Live::start(&options, &["sh", "-c", "echo go; yes | head -c 2m"]);
    live.until("go");
    std::thread::sleep(Duration::from_millis(300));
    let peak = live.peak_rss_kib();
    assert!(peak < 16 * 1024, "stockade used {peak} KiB");
    let run = live.end().exits(0);
    assert_eq!(run.stdout.len(), 3 + (2 << 20));
}

#[test]
fn h53_a_reader_who_is_there_and_never_reads_does_not_keep_the_job_alive() {
    let mut live = Live::start(&["--timeout", "1s"], &["sh", "-c", "echo ready; sleep 0.2; yes"]);
    live.until("ready");
    // The job ends at the limit although its output has nowhere to go ...
    eventually("the job's end", || children(live.pid()).is_empty());
    // ... and stockade when the reader is gone.
    live.stop_reading();
    let run = live.end().exits(124).has("status", "timeout");
    assert!(run.hit("wall"), "{run:#?}");
}

/// Processes whose parent is this one, dead ones left out.
fn children(pid: i32) -> Vec<String> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    list.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn h53_a_reader_who_leaves_ends_the_flood() {
    let mut stockade = std::process::Command::new(bin())
        .args(["jail", "--timeout", "60s", "--output-limit", "0", "--", "yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = [0u8; 2];
    let mut pipe = stockade.stdout.take().unwrap();
    pipe.read_exact(&mut first).unwrap();
    drop(pipe);
    let output = stockade.wait_with_output().unwrap();
    // As without stockade in between: SIGPIPE ends the job.
    assert_eq!(output.status.code(), Some(128 + 13), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn h53_a_job_may_fill_both_streams_while_it_is_fed() {
    // cat would block for ever if input, output or errors waited for one another.
    let scratch = support::Scratch::new();
    let data = "0123456789abcdef".repeat(64 * KIB);
    let file = scratch.file("in", &data);
    let run = jail_with(["--timeout", "60s", "--", "sh", "-c", "tee /dev/stderr"], |c| {
        c.stdin(std::fs::File::open(&file).unwrap());
    });
    assert_eq!((run.code, run.outcome["status"].as_str()), (0, Some("exited")));
    // Not assert_eq: what it would print is long.
    assert!(run.stdout == data, "{} bytes on stdout", run.stdout.len());
    assert!(run.stderr == data, "{} bytes on stderr", run.stderr.len());
}

#[test]
fn h53_output_may_go_to_a_file_that_is_appended_to() {
    let scratch = support::Scratch::new();
    let path = scratch.file("log", "before\n");
    let append = || std::fs::File::options().append(true).open(&path).unwrap();
    jail_with(["--", "sh", "-c", "echo out; sleep 0.1; echo err >&2"], |c| {
        c.stdout(append()).stderr(append());
    })
    .exits(0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nout\nerr\n");
}

// --- --json ----------------------------------------------------------------------------------

fn captured(run: &Run) -> serde_json::Value {
    assert!(run.stdout.ends_with("}\n") && run.stdout.lines().count() == 1, "{run:#?}");
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn h53_json_has_text_as_text_and_anything_else_as_base64() {
    let code = "
import sys
sys.stdout.write('grüße \\x1b[1m \\x00\\n')
sys.stdout.flush()
sys.stderr.buffer.write(bytes(range(256)))
";
    let run = python(&["--json"], code).exits(0);
    assert_eq!(run.stderr, "");
    let outcome = captured(&run);
    assert_eq!(outcome["stdout"]["encoding"], "utf-8");
    assert_eq!(outcome["stdout"]["data"], "grüße \u{1b}[1m \0\n");
    assert_eq!(outcome["stderr"]["encoding"], "base64");
    use base64::Engine;
    let data = outcome["stderr"]["data"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
    assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    assert_eq!(outcome["stderr"]["bytes"], 256);
    // And the same in the file.
    assert_eq!(run.outcome["stderr"]["data"], outcome["stderr"]["data"]);
}

#[test]
fn h53_json_cuts_in_the_same_place() {
    let run = ended_by_output(sh(&["--json", "--output-limit", "1k"], "yes"));
    let outcome = captured(&run);
    assert_eq!(outcome["stdout"]["data"], "y\n".repeat(512));
    assert_eq!(outcome["stdout"]["truncated"], true);
    // A character cut in the middle makes it no text, and nothing is lost.
    let run = sh(&["--json", "--output-limit", "3"], "printf 'üüü'").exits(137);
    let outcome = captured(&run);
    assert_eq!(outcome["stdout"]["encoding"], "base64");
    assert_eq!(outcome["stdout"]["data"], "w7zD");
}

#[test]
fn h53_partial_output_is_kept_in_json_when_a_limit_ends_the_job() {
    let script = "echo partial; echo err >&2; sleep 100";
    let run = sh(&["--json", "--timeout", "500ms"], script).exits(124);
    let outcome = captured(&run);
    assert_eq!(outcome["stdout"]["data"], "partial\n");
    assert_eq!(outcome["stderr"]["data"], "err\n");
    assert_eq!(outcome["status"], "timeout");
}

#[test]
fn without_json_the_outcome_has_no_output_in_it() {
    let run = sh(&[], "echo secret").exits(0);
    assert!(run.outcome["stdout"].get("data").is_none(), "{run:#?}");
    assert!(run.outcome["stdout"].get("encoding").is_none(), "{run:#?}");
}
