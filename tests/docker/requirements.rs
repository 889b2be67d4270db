//! The command lines of the requirements R1, R3, R4 and R5, as written, for Docker with
//! `--runtime stockade`.

use super::daemon::{PYTHON, docker};
use super::support::Scratch;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a line as it is written, in which `docker` is that of these tests, IMAGE is a Python
/// one, and IN and OUT are directories.
fn line(text: &str, dir: &Path) -> (i32, String, String) {
    let output = Command::new("timeout")
        .args(["--kill-after=5", "120", "sh", "-c", text])
        .env("DOCKER_HOST", format!("unix://{}", docker().place.join("docker.sock").display()))
        .env("DOCKER_CONFIG", docker().place.join("config"))
        .env("IMAGE", PYTHON)
        .env("IN", dir.join("in"))
        .env("OUT", dir.join("out"))
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn directories() -> Scratch {
    let scratch = Scratch::new();
    for name in ["in", "out"] {
        std::fs::create_dir(scratch.join(name)).unwrap();
    }
    scratch
}

#[test]
fn r1_the_workflow_engine() {
    need_clients!("dockerd", "docker");
    let dirs = directories();
    dirs.file("in/data.csv", "1,2,3");
    dirs.file(
        "in/script.py",
        "import json, os
numbers = [int(n) for n in open('/data/input/data.csv').read().split(',')]
json.dump({'sum': sum(numbers)}, open('/data/output/results.json', 'w'))
for path in ('/new', '/data/input/new'):
    try:
        open(path, 'w')
        print('could write', path)
    except OSError:
        pass
print(os.listdir('/sys/class/net'))
",
    );
    let text = "docker run --rm --runtime stockade --network none --read-only \
                --security-opt no-new-privileges --memory 512m --cpu-quota 50000 \
                -v $IN:/data/input:ro -v $OUT:/data/output $IMAGE python /data/input/script.py";
    assert_eq!(line(text, dirs.path()), (0, "['lo']\n".into(), String::new()));
    let results = std::fs::read_to_string(dirs.join("out/results.json")).unwrap();
    assert_eq!(results, r#"{"sum": 6}"#);
}

#[test]
fn r3_the_executor_service() {
    need_clients!("dockerd", "docker");
    let dirs = directories();
    let head = "docker run --rm -i --runtime stockade --network none --read-only --user 1000 \
                --tmpfs /work:size=2g,uid=1000 --tmpfs /tmp --workdir /work --memory 1g \
                --cpu-shares 1024 $IMAGE";
    // The code arrives as a tar archive.
    dirs.file(
        "code/main.py",
        "import os\nopen('/work/made', 'w').write('x')\nprint(os.getuid(), os.getcwd())",
    );
    let text = format!("tar -C code -c . | {head} sh -c 'tar -x && python main.py'");
    assert_eq!(line(&text, dirs.path()), (0, "1000 /work\n".into(), String::new()));
    // Out of memory is 137.
    let text = format!("{head} python -c 'x = bytearray(200 << 20)'")
        .replace("--memory 1g", "--memory 100m");
    assert_eq!(line(&text, dirs.path()).0, 137);
}

#[test]
fn r4_the_agents() {
    need_clients!("dockerd", "docker");
    let dirs = directories();
    dirs.file("in/data.csv", "a,b,c");
    dirs.file(
        "in/script.py",
        "import json, os
json.dump(open('/input/data.csv').read().split(','), open('/output/results.json', 'w'))
open('/tmp/scratch', 'w').write('temporary')
for path in ('/input/new', '/input/data.csv', '/usr/new', '/new'):
    try:
        open(path, 'a')
        print('could write', path)
    except OSError:
        pass
print('done')
",
    );
    let text = "docker run --runtime stockade --rm --memory=512m --cpus=1.0 --network=none \
                --read-only --tmpfs /tmp -v $IN:/input:ro -v $OUT:/output:rw $IMAGE \
                python /input/script.py";
    assert_eq!(line(text, dirs.path()), (0, "done\n".into(), String::new()));
    let results = dirs.join("out/results.json");
    assert_eq!(std::fs::read_to_string(&results).unwrap(), r#"["a", "b", "c"]"#);
    assert_eq!(std::fs::metadata(results).unwrap().uid(), 0);
    assert_eq!(std::fs::read_dir(dirs.join("in")).unwrap().count(), 2);
}

#[test]
fn r5_the_flow_builder() {
    need_clients!("dockerd", "docker");
    let dirs = directories();
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/seccomp-default.json");
    std::fs::copy(profile, dirs.join("seccomp.json")).unwrap();
    let head = "docker run --rm --runtime stockade --user 1001:1001 --read-only --network none \
                --memory 256m --cpus 0.5 --security-opt no-new-privileges:true \
                --security-opt seccomp=seccomp.json --cap-drop ALL --pids-limit 10 $IMAGE";
    let code = "
import os
print(os.getuid(), os.getgid())
status = dict(l.split(':\\t', 1) for l in open('/proc/self/status').read().splitlines())
print(status['NoNewPrivs'], status['Seccomp'], int(status['CapEff'], 16), int(status['CapBnd'], 16))
print('SECRET' in os.environ)
";
    dirs.file("code.py", code);
    let text = format!("SECRET=x {head} python -c \"$(cat code.py)\"");
    let expected = "1001 1001\n1 2 0 0\nFalse\n";
    assert_eq!(line(&text, dirs.path()), (0, expected.into(), String::new()));
    let bomb = "i=0; while [ $i -lt 20 ]; do sleep 5 & i=$((i+1)); done; echo made all";
    let (code, stdout, _) = line(&format!("{head} sh -c '{bomb}'"), dirs.path());
    assert!(code != 0 && stdout.is_empty(), "{code} {stdout}");
}
