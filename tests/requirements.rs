//! What the systems that stockade is for ask of it: the snippets of R2, the command lines of R4
//! and R5 (docs of the requirements), run as written.

mod support;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Run, Scratch, bin, jail};

// --- R2: a Python code provider --------------------------------------------------------------

/// R2's limits: 5 s, 100 MB, 10 MB of output.
const R2: [&str; 6] = ["--timeout", "5s", "--memory", "100m", "--output-limit", "10m"];

/// A snippet by the policy that has them.
fn r2(code: &str) -> Run {
    let options = ["--profile", &example("snippets.yaml")];
    jail(options.into_iter().chain(["--", "/usr/bin/python3", "-c", code]))
}

/// A policy of profiles/examples.
fn example(name: &str) -> String {
    format!("{}/profiles/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn r2_the_policy_has_its_figures() {
    let typed = jail(R2.iter().copied().chain(["--", "true"])).exits(0);
    let by_policy = jail(["--profile", &example("snippets.yaml"), "--", "true"]).exits(0);
    let limits = &by_policy.outcome["isolation"]["limits"];
    assert_eq!(limits["memory"], 100 << 20);
    assert_eq!(typed.outcome["isolation"], by_policy.outcome["isolation"]);
}

/// Names of accounts that only this host has.
fn host_users() -> Vec<String> {
    let made_up = ["root", "nobody", "jail", "job", "user"];
    std::fs::read_to_string("/etc/passwd")
        .unwrap()
        .lines()
        .filter_map(|l| l.split(':').next())
        .filter(|name| !made_up.contains(name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn r2_reading_etc_passwd_shows_a_made_up_one() {
    let run = r2("print(open('/etc/passwd').read())").exits(0);
    assert!(run.stdout.contains("root:x:0:0:"), "{run:#?}");
    let users = host_users();
    assert!(users.len() > 3, "the control: this host has accounts");
    for user in users {
        assert!(!run.stdout.lines().any(|l| l.starts_with(&format!("{user}:"))), "{user} {run:#?}");
    }
    let run = r2("print(open('/etc/shadow').read())").exits(1);
    run.complains("FileNotFoundError");
}

#[test]
fn r2_a_system_command_reaches_nothing_of_the_host() {
    let scratch = Scratch::new();
    let canary = scratch.file("canary", "secret");
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    let path = canary.display();
    let code = format!(
        "import os
os.system('id -u; cat {path}; echo spoilt > {path}; rm -rf {path} / 2>/dev/null; ls /home /root')"
    );
    let run = r2(&code);
    assert!(run.stdout.starts_with("65534\n"), "{run:#?}");
    assert!(!run.stdout.contains("secret"), "{run:#?}");
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "secret");
}

/// A server on the host that would be reached if anything leaked.
fn reachable() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::net::TcpStream::connect(("127.0.0.1", port)).expect("the control: from the host it is");
    listener.accept().unwrap();
    listener.set_nonblocking(true).unwrap();
    (listener, port)
}

#[test]
fn r2_urlopen_reaches_nobody() {
    let (listener, port) = reachable();
    let code = format!(
        "
import urllib.request
for url in ('http://127.0.0.1:{port}/', 'http://example.com/', 'http://1.1.1.1/'):
    try:
        urllib.request.urlopen(url, timeout=3)
        print('reached', url)
    except OSError as e:
        print('failed')
"
    );
    let run = r2(&code).exits(0);
    assert_eq!(run.stdout, "failed\nfailed\nfailed\n");
    assert!(listener.accept().is_err(), "somebody came");
}

#[test]
fn r2_a_socket_reaches_nobody() {
    let (listener, port) = reachable();
    let code = format!(
        "
import socket
for address in (('127.0.0.1', {port}), ('1.1.1.1', 53)):
    try:
        socket.create_connection(address, timeout=3)
        print('reached', address)
    except OSError as e:
        print(type(e).__name__, e.errno)
"
    );
    let run = r2(&code).exits(0);
    let by_landlock = run.outcome["isolation"]["landlock"]["tcp"] == true;
    let by_namespace = "ConnectionRefusedError 111\nOSError 101\n";
    let both = if by_landlock { "PermissionError 13\nPermissionError 13\n" } else { by_namespace };
    assert_eq!(run.stdout, both);
    let off = ["--security-opt", "landlock=off", "--", "/usr/bin/python3", "-c", &code];
    let run = jail(R2.into_iter().chain(off)).exits(0);
    assert_eq!(run.stdout, by_namespace);
    assert!(listener.accept().is_err(), "somebody came");
}

#[test]
fn r2_an_endless_loop_ends_at_the_time_limit() {
    let run = r2("while True: pass").exits(124).has("status", "timeout");
    assert!(run.hit("wall"), "{run:#?}");
    let wall = run.outcome["wall_ms"].as_f64().unwrap();
    assert!((5_000.0..20_000.0).contains(&wall), "{run:#?}");
}

#[test]
fn r2_a_sleep_ends_at_the_time_limit() {
    let code = "import time; print('before', flush=True); time.sleep(1000)";
    let run = r2(code).exits(124).has("status", "timeout").says("before\n");
    assert_eq!(run.outcome["reason"], "the wall time limit of 5 s ended it");
}

#[test]
fn r2_a_huge_list_ends_at_the_memory_limit() {
    // The kernel may refuse 80 GB at once, which Python survives with a MemoryError.
    let run = r2("[0] * (10**10)");
    let refused = run.code == 1 && run.stderr.contains("MemoryError");
    let killed = run.code == 137 && run.outcome["status"] == "oom_killed";
    assert!(refused || killed, "{run:#?}");
    assert!(run.outcome["memory_peak_bytes"].as_u64().unwrap() <= 101 << 20, "{run:#?}");
    // And one that is given out but cannot be filled.
    let run = r2("[0] * (10**8)").exits(137).has("status", "oom_killed");
    assert!(run.hit("memory"), "{run:#?}");
    assert!(run.outcome["memory_peak_bytes"].as_u64().unwrap() <= 101 << 20, "{run:#?}");
}

#[test]
fn r2_os_by_way_of_builtins_gains_nothing() {
    let code = "
os = __builtins__.__import__('os')
print(os.getuid(), os.listdir('/work'), sum([os.listdir('/' + d) for d in ('home', 'root', 'run', 'mnt', 'opt') if os.path.exists('/' + d)], []))
try:
    os.setuid(0)
except PermissionError:
    print('refused')
try:
    open('/usr/x', 'w')
except OSError as e:
    print(e.errno in (13, 30))
";
    r2(code).exits(0).says("65534 [] []\nrefused\nTrue\n");
}

#[test]
fn r2_eval_gains_nothing() {
    let code = "
eval(\"__import__('os').system('cat /etc/passwd | wc -l; kill -9 -1; kill -9 1 $PPID; echo tried')\")
";
    let scratch = Scratch::new();
    let canary = scratch.file("canary", "alive");
    // It may kill what is in its jail; the init, and this test, live on.
    let run = r2(code);
    assert!(run.code == 0 || run.code == 137, "{run:#?}");
    assert_eq!(std::fs::read_to_string(canary).unwrap(), "alive");
    let users: usize = run.stdout.lines().next().unwrap().parse().unwrap();
    assert!(users < 10, "{run:#?}");
    let hosts = std::fs::read_to_string("/etc/passwd").unwrap().lines().count();
    assert!(hosts >= 10, "the control: this host has {hosts}");
}

#[test]
fn r2_unbounded_recursion_harms_nobody() {
    let code = "
def f(): f()
f()
";
    r2(code).exits(1).complains("RecursionError").has("status", "exited");
    // Without Python's own guard the stack overflows, inside.
    let code = "
import sys
sys.setrecursionlimit(10**9)
class A:
    def __repr__(self): return repr(self) + ''
f = lambda n: f(n + 1)
f(0)
";
    let run = r2(code);
    let status = run.outcome["status"].as_str().unwrap();
    assert!(["signaled", "oom_killed", "exited"].contains(&status) && run.code != 0, "{run:#?}");
    assert!(run.outcome["memory_peak_bytes"].as_u64().unwrap() <= 101 << 20, "{run:#?}");
}

#[test]
fn r2_output_is_cut_at_ten_megabytes() {
    let run = r2("while True: print('x' * 1000)").exits(137).has("status", "output_limit");
    assert_eq!(run.stdout.len(), 10 << 20);
}

#[test]
fn r2_what_must_work_works() {
    for (code, expected) in [
        ("print(sum([1,2,3,4,5]))", "15\n"),
        ("print([x**2 for x in range(10)])", "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]\n"),
        ("print('hello world'.upper())", "HELLO WORLD\n"),
        ("import math; print(math.sqrt(16))", "4.0\n"),
        ("import json; print(json.dumps(json.loads('{\"a\": [1, 2]}')))", "{\"a\": [1, 2]}\n"),
        (
            "import datetime; print(datetime.date(2024, 2, 28) + datetime.timedelta(days=2))",
            "2024-03-01\n",
        ),
    ] {
        let run = r2(code).exits(0).has("status", "exited");
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), (expected, ""), "{code}");
        assert_eq!(run.outcome["limits_hit"], serde_json::json!([]), "{code}");
    }
}

// --- R4 and R5: command lines ----------------------------------------------------------------

/// Runs a line as it is written, in which `stockade` is the program and IN and OUT are
/// directories, given as variables.
fn line(text: &str, dir: &Path) -> (i32, String, String) {
    let path = format!("{}:/usr/bin:/bin", Path::new(bin()).parent().unwrap().display());
    let output = Command::new("sh")
        .args(["-c", text])
        .env("PATH", path)
        .env("IN", dir.join("in"))
        .env("OUT", dir.join("out"))
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Two directories as mkdtemp makes them: for their owner alone.
fn private_directories() -> Scratch {
    use std::os::unix::fs::DirBuilderExt;
    let scratch = Scratch::new();
    for name in ["in", "out"] {
        std::fs::DirBuilder::new().mode(0o700).create(scratch.join(name)).unwrap();
    }
    scratch
}

const R4_SCRIPT: &str = "
import os, json
data = open('/input/data.csv').read()
with open('/output/results.json', 'w') as f:
    json.dump(data.split(','), f)
os.makedirs('/output/sub')
open('/output/sub/file', 'w').write('x')
open('/tmp/scratch', 'w').write('temporary')
for path in ('/input/new', '/input/data.csv', '/usr/new', '/new'):
    try:
        open(path, 'a')
        print('could write', path)
    except OSError:
        pass
print('done')
";

#[test]
fn r4_the_line_of_the_agents_runs_as_written() {
    need_root!();
    use std::os::unix::fs::MetadataExt;
    let dirs = private_directories();
    dirs.file("in/script.py", R4_SCRIPT);
    dirs.file("in/data.csv", "a,b,c");
    let text = "stockade jail --rm --memory=512m --cpus=1.0 --network=none --read-only \
                --tmpfs /tmp -v $IN:/input:ro -v $OUT:/output:rw python3 /input/script.py";
    let (code, stdout, stderr) = line(text, dirs.path());
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "done\n", ""));
    let results = dirs.join("out/results.json");
    assert_eq!(std::fs::read_to_string(&results).unwrap(), r#"["a", "b", "c"]"#);
    // The caller's, and not those of a user that exists nowhere.
    let uid = nix::unistd::geteuid().as_raw();
    for path in ["out/results.json", "out/sub", "out/sub/file"] {
        assert_eq!(std::fs::metadata(dirs.join(path)).unwrap().uid(), uid, "{path}");
    }
    assert_eq!(std::fs::read_to_string(dirs.join("in/data.csv")).unwrap(), "a,b,c");
    assert_eq!(std::fs::read_dir(dirs.join("in")).unwrap().count(), 2);
    assert_eq!(std::fs::metadata(dirs.join("out")).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn r4_its_defaults_are_the_jails() {
    // 512 MB, 1 CPU, 1 GB of temporary disk, no network, 30 min.
    let run = jail(["--", "true"]).exits(0);
    let limits = &run.outcome["isolation"]["limits"];
    assert_eq!(limits["memory"], 512 << 20);
    assert_eq!(limits["cpu_quota_us_per_100ms"], 100_000);
    assert_eq!(limits["disk"], 1 << 30);
    assert_eq!(limits["timeout_ms"], 30 * 60 * 1000);
    assert_eq!(run.outcome["isolation"]["network"], "none");
}

#[test]
fn r5_the_line_of_the_flow_builder_runs_as_written() {
    let dirs = private_directories();
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/seccomp-default.json");
    std::fs::copy(profile, dirs.join("seccomp.json")).unwrap();
    let options = "--user 1001:1001 --read-only --network none --memory 256m --cpus 0.5 \
                   --security-opt no-new-privileges:true --security-opt seccomp=seccomp.json \
                   --cap-drop ALL --pids-limit 10";
    let code = "
import os
print(os.getuid(), os.getgid(), len(os.sched_getaffinity(0)) > 0)
status = dict(l.split(':\\t', 1) for l in open('/proc/self/status').read().splitlines())
print(status['NoNewPrivs'], status['Seccomp'], int(status['CapEff'], 16), int(status['CapBnd'], 16))
print(sorted(k for k in os.environ))
";
    dirs.file("code.py", code);
    let text = format!("SECRET=x stockade jail {options} python3 -c \"$(cat code.py)\"");
    let (code, stdout, stderr) = line(&text, dirs.path());
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, "1001 1001 True\n1 2 0 0\n['HOME', 'LANG', 'PATH', 'TERM']\n");
    // What it blocks: processes beyond ten.
    let bomb = "i=0; while [ $i -lt 20 ]; do sleep 5 & i=$((i+1)); done; echo made all";
    let text = format!("stockade jail --result 3 {options} sh -c '{bomb}' 3>result");
    let (_, stdout, _) = line(&text, dirs.path());
    assert_eq!(stdout, "");
    let outcome: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dirs.join("result")).unwrap()).unwrap();
    assert_eq!(outcome["limits_hit"], serde_json::json!(["pids"]), "{outcome:#}");
    let limits = &outcome["isolation"]["limits"];
    assert_eq!(limits["memory"], 256 << 20);
    assert_eq!(limits["cpu_quota_us_per_100ms"], 50_000);
}

#[test]
fn r5_a_profile_of_its_own_is_the_one_that_holds() {
    let dirs = private_directories();
    dirs.file(
        "seccomp.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]}"#,
    );
    let text = "stockade jail --security-opt seccomp=seccomp.json python3 -c 'import os
try:
    os.mkdir(\"/tmp/x\")
except OSError as e:
    print(e.errno)'";
    let (code, stdout, stderr) = line(text, dirs.path());
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "99\n", ""));
}

#[test]
fn r1_half_a_cpu_and_two_volumes() {
    need_root!();
    let dirs = private_directories();
    dirs.file("in/data.csv", "1,2,3");
    let text = "stockade jail --network none --read-only --security-opt no-new-privileges \
                --memory 512m --cpus 0.5 --timeout 60s -v $IN:/data/input:ro \
                -v $OUT:/data/output sh -c 'cp /data/input/data.csv /data/output/results.json'";
    let (code, _, stderr) = line(text, dirs.path());
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(dirs.join("out/results.json")).unwrap(), "1,2,3");
}

#[test]
fn r3_out_of_memory_is_137() {
    let code = "x = bytearray(200 << 20)";
    let options = ["--memory", "100m", "--disk", "2g", "--cpu-shares", "1024", "-u", "1000"];
    let command = ["--", "/usr/bin/python3", "-c", code];
    jail(options.into_iter().chain(command)).exits(137).has("status", "oom_killed");
}
