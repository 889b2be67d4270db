//! The policies of profiles/examples, each run with what it is for. R2's snippets are in
//! tests/requirements.rs.

mod support;
use minisign::KeyPair;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use support::{Run, Scratch, bin, jail};

fn example(name: &str) -> String {
    format!("{}/profiles/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn limits_are(run: &Run, expected: &[(&str, u64)]) {
    for (name, value) in expected {
        assert_eq!(run.outcome["isolation"]["limits"][name], *value, "{name} {run:#?}");
    }
}

#[test]
fn every_example_passes_check() {
    let mut count = 0;
    for entry in std::fs::read_dir(example("")).unwrap() {
        let path = entry.unwrap().path();
        // Its key is the engine's to make.
        let signed = path.ends_with("workflow.yaml");
        let spec = format!("{}{}", path.display(), if signed { "#untrusted" } else { "" });
        let output = Command::new(bin()).args(["policy", "check", &spec]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{spec}: {output:?}");
        count += 1;
    }
    assert_eq!(count, 5);
}

/// The workflow engine's directory for one step: the policy, input and output.
fn step() -> Scratch {
    let dir = Scratch::new();
    std::fs::copy(example("workflow.yaml"), dir.join("workflow.yaml")).unwrap();
    dir.file("input/data.csv", "1,2,3");
    std::fs::create_dir(dir.join("output")).unwrap();
    dir
}

const STEP: &str = "
import json, os
data = [int(n) for n in open('/data/input/data.csv').read().split(',')]
json.dump(sum(data), open('/data/output/results.json', 'w'))
for path in ('/data/input/data.csv', '/data/input/new', '/usr/new'):
    try:
        open(path, 'a')
        print('could write', path)
    except OSError:
        pass
";

#[test]
fn r1_a_step_of_the_workflow_reads_its_input_and_writes_its_output() {
    need_root!();
    let dir = step();
    let spec = |name| format!("{}#{name}", dir.join("workflow.yaml").display());
    let run =
        jail(["--profile", &spec("untrusted"), "--", "/usr/bin/python3", "-c", STEP]).exits(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    let figures =
        [("memory", 512 << 20), ("cpu_quota_us_per_100ms", 50_000), ("timeout_ms", 60_000)];
    limits_are(&run, &figures);
    assert_eq!(run.outcome["isolation"]["network"], "none");
    assert_eq!(run.outcome["isolation"]["no_new_privs"], true);
    let results = dir.join("output/results.json");
    assert_eq!(std::fs::read_to_string(&results).unwrap(), "6");
    assert_eq!(std::fs::metadata(&results).unwrap().uid(), nix::unistd::geteuid().as_raw());
    assert_eq!(std::fs::read_to_string(dir.join("input/data.csv")).unwrap(), "1,2,3");
    assert_eq!(std::fs::read_dir(dir.join("input")).unwrap().count(), 1);
}

#[test]
fn r1_a_trusted_step_is_one_that_the_engine_signed() {
    need_root!();
    let dir = step();
    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    dir.file("engine.pub", &pair.pk.to_box().unwrap().to_string());
    let script = dir.file("step.py", STEP);
    let spec = format!("{}#trusted", dir.join("workflow.yaml").display());
    let options = ["--profile", &spec, "--", script.to_str().unwrap()];
    jail(options).exits(125).complains("has no signature");
    assert!(!dir.join("output/results.json").exists());
    let signature = minisign::sign(None, &pair.sk, STEP.as_bytes(), None, None).unwrap();
    dir.file("step.py.minisig", &signature.into_string());
    let run = jail(options).exits(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    assert_eq!(std::fs::read_to_string(dir.join("output/results.json")).unwrap(), "6");
    limits_are(&run, &[("memory", 512 << 20), ("timeout_ms", 60_000)]);
}

#[test]
fn r3_the_executor_runs_code_as_user_1000_and_out_of_memory_is_137() {
    let options = ["--profile", &example("executor.yaml"), "--", "/usr/bin/python3", "-c"];
    let code = "
import os, socket
print(os.getuid(), os.getgid(), os.getcwd())
for path in ('/work/x', '/tmp/x', '/x', '/usr/x'):
    try:
        open(path, 'w'); print('wrote', path)
    except OSError:
        pass
try:
    socket.create_connection(('1.1.1.1', 53), timeout=3)
except OSError as e:
    print(chr(78) if e.errno in (13, 101) else e.errno)
";
    let run = jail(options.into_iter().chain([code])).exits(0);
    assert_eq!(run.stdout, "1000 1000 /work\nwrote /work/x\nwrote /tmp/x\nN\n");
    let figures = [("memory", 1 << 30), ("disk", 2 << 30), ("timeout_ms", 300_000)];
    limits_are(&run, &figures);
    // Of its gigabyte a part, so that the test does not need one.
    let hog = ["-m", "64m", "--", "/usr/bin/python3", "-c", "x = bytearray(200 << 20)"];
    let options = ["--profile", &example("executor.yaml")];
    jail(options.into_iter().chain(hog)).exits(137).has("status", "oom_killed");
}

#[test]
fn r4_the_policies_of_the_agents_run_python_and_node() {
    need_root!();
    let dirs = Scratch::new();
    dirs.file("in/script.py", "open('/output/py', 'w').write(open('/input/data').read())");
    dirs.file(
        "in/script.js",
        "fs=require('fs');fs.writeFileSync('/output/js', fs.readFileSync('/input/data'))",
    );
    dirs.file("in/data", "kept");
    std::fs::create_dir(dirs.join("out")).unwrap();
    let volume = |from: &Path, to| format!("{}:{to}", from.display());
    let (input, output) =
        (volume(&dirs.join("in"), "/input:ro"), volume(&dirs.join("out"), "/output:rw"));
    for (name, program, script, out) in [
        ("python", "/usr/bin/python3", "/input/script.py", "py"),
        ("node", "/usr/bin/node", "/input/script.js", "js"),
    ] {
        let spec = format!("{}#{name}", example("execution-policy.yaml"));
        let run = jail(["--profile", &spec, "-v", &input, "-v", &output, "--", program, script]);
        let run = run.exits(0);
        limits_are(&run, &[("memory", 512 << 20), ("cpu_quota_us_per_100ms", 100_000)]);
        assert_eq!(run.outcome["isolation"]["network"], "none");
        assert_eq!(run.outcome["isolation"]["read_only_root"], true);
        assert_eq!(std::fs::read_to_string(dirs.join("out").join(out)).unwrap(), "kept");
    }
}

#[test]
fn r5_the_flow_builders_policy_holds_its_line() {
    let profile = example("flows.yaml");
    let code = "
import os
print(os.getuid(), os.getgid(), sorted(os.environ))
status = dict(l.split(':\\t', 1) for l in open('/proc/self/status').read().splitlines())
print(status['NoNewPrivs'], status['Seccomp'], int(status['CapEff'], 16), int(status['CapBnd'], 16))
";
    let run = jail(["--profile", &profile, "--", "/usr/bin/python3", "-c", code]).exits(0);
    assert_eq!(run.stdout, "1001 1001 ['HOME', 'LANG', 'PATH', 'TERM']\n1 2 0 0\n");
    let figures = [
        ("memory", 256 << 20),
        ("cpu_quota_us_per_100ms", 50_000),
        ("pids", 10),
        ("timeout_ms", 60_000),
    ];
    limits_are(&run, &figures);
    let seccomp = run.outcome["isolation"]["seccomp"].as_str().unwrap();
    assert!(seccomp.ends_with("seccomp-default.json"), "{run:#?}");
    let bomb = "i=0; while [ $i -lt 20 ]; do sleep 5 & i=$((i+1)); done; echo made all";
    let run = jail(["--profile", &profile, "--", "sh", "-c", bomb]);
    assert!(run.hit("pids") && run.stdout.is_empty(), "{run:#?}");
    let js = ["--pids-limit", "32", "--", "/usr/bin/node", "-e", "console.log(6 * 7)"];
    jail(["--profile", &profile].into_iter().chain(js)).exits(0).says("42\n");
}
