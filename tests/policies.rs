//! Policies: files of options, the embedded profiles, signed scripts.

mod support;
use minisign::KeyPair;
use std::process::{Command, Stdio};
use support::{Run, Scratch, bin, jail};

/// `stockade policy ARGS`: its exit status, stdout and stderr.
#[track_caller]
fn policy(args: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(bin()).arg("policy").args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A jail by a policy of this text.
#[track_caller]
fn by(text: &str, args: &[&str]) -> Run {
    let scratch = Scratch::new();
    let file = scratch.file("policy.yaml", text);
    jail(["--profile", file.to_str().unwrap()].into_iter().chain(args.iter().copied()))
}

/// The text of a line of `policy check`, blanks made one.
fn line(text: &str, key: &str) -> String {
    let found = text.lines().find(|l| l.split_whitespace().next() == Some(key));
    let words: Vec<_> =
        found.unwrap_or_else(|| panic!("no {key} in {text}")).split_whitespace().collect();
    words[1..].join(" ")
}

// --- the embedded profiles -------------------------------------------------------------------

#[test]
fn a_python_program_runs_with_its_profile() {
    let code = "
import json, math, os, sys, tempfile, threading, sqlite3, subprocess
t = threading.Thread(target=lambda: print('thread'))
t.start(); t.join()
with tempfile.NamedTemporaryFile() as f:
    f.write(b'x' * (1 << 20))
print(subprocess.run(['id', '-u'], capture_output=True, text=True).stdout.strip())
print(json.dumps({'root': math.sqrt(16)}), sys.flags.dont_write_bytecode, sys.flags.utf8_mode)
try:
    open('/usr/new', 'w')
except OSError as e:
    print(type(e).__name__)
";
    let run = jail(["--profile", "python", "--", "/usr/bin/python3", "-c", code]).exits(0);
    assert_eq!(run.stdout, "thread\n65534\n{\"root\": 4.0} 1 1\nOSError\n", "{run:#?}");
    let limits = &run.outcome["isolation"]["limits"];
    assert_eq!(limits["memory"], 256 << 20);
    assert_eq!(limits["timeout_ms"], 60_000);
    assert_eq!(limits["pids"], 32);
    let hog = "x = bytearray(400 << 20)";
    jail(["--profile", "python", "--", "/usr/bin/python3", "-c", hog])
        .exits(137)
        .has("status", "oom_killed");
}

#[test]
fn a_node_program_runs_with_its_profile() {
    // A gigabyte of garbage that lives for a while, in a jail of half of one: killed for it where
    // V8 goes by the host's memory.
    let code = "
const fs = require('fs'), zlib = require('zlib'), crypto = require('crypto');
let recent = [];
for (let round = 0; round < 30; round++) {
  let made = [];
  for (let i = 0; i < 200000; i++) made.push({ i, text: 'x' + i, pair: [i, i] });
  recent.push(made);
  if (recent.length > 3) recent.shift();
}
fs.writeFileSync('/tmp/x', 'kept');
zlib.gzip('x'.repeat(100000), (e, z) => {
  crypto.randomBytes(8, () => console.log(z.length < 1000, fs.readFileSync('/tmp/x', 'utf8'), recent.length));
});
try { fs.writeFileSync('/usr/new', 'x') } catch (e) { console.log(e.code) }
";
    let run =
        jail(["--profile", "node", "--timeout", "10m", "--", "/usr/bin/node", "-e", code]).exits(0);
    assert_eq!(run.stdout, "EROFS\ntrue kept 3\n", "{run:#?}");
    assert_eq!(run.outcome["isolation"]["limits"]["memory"], 512 << 20);
}

#[test]
fn a_shell_script_runs_with_its_profile() {
    let script = "printf 'b\\na\\n' | sort | tr a-z A-Z > /tmp/x && cat /tmp/x; echo x > /usr/new; \
                  echo $LC_ALL";
    for shell in ["sh", "bash"] {
        let run = jail(["--profile", "shell", "--", shell, "-c", script]).exits(0);
        assert_eq!(run.stdout, "A\nB\nC.UTF-8\n", "{run:#?}");
    }
    // Each part waits for those that it started, so that the bomb does not fizzle out before the
    // limit.
    let bomb = "f() { f | f & wait; }; f";
    let run = jail(["--profile", "shell", "--timeout", "3s", "--", "bash", "-c", bomb]);
    assert!(run.hit("pids"), "{run:#?}");
}

#[test]
fn a_computation_runs_with_the_restricted_profile() {
    let code = "import math; print(sum(range(10)), math.sqrt(16))";
    let run = jail(["--profile", "restricted", "--", "/usr/bin/python3", "-c", code]).exits(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("45 4.0\n", ""));
    assert_eq!(run.outcome["isolation"]["limits"]["timeout_ms"], 5000);
    // That `restrict` is in force; what it keeps from the job is tests/restricted.rs.
    let code = "
import socket, subprocess, threading
for what in (lambda: open('/tmp/x', 'w'), lambda: subprocess.run(['true']), socket.socket,
             threading.Thread(target=print).start):
    try:
        what()
        print('could')
    except (OSError, RuntimeError):
        print('could not')
";
    let options =
        ["--profile", "restricted", "--timeout", "2m", "--", "/usr/bin/python3", "-c", code];
    let run = jail(options).exits(0);
    assert_eq!(run.stdout, "could not\n".repeat(4), "{run:#?}");
    for option in [&["--writable"][..], &["--network", "host"], &["--tmpfs", "/x"]] {
        let all = [&["--profile", "restricted"], option, &["--", "true"]].concat();
        jail(all).exits(125).complains("a restricted job cannot have");
    }
    // With threads, as its comment says: Node.js.
    let text = include_str!("../profiles/restricted.yaml");
    let threads = text.replace("threads: false", "threads: true");
    assert_ne!(text, threads);
    let js = ["--timeout", "2m", "--", "/usr/bin/node", "-e", "console.log(6 * 7)"];
    by(&threads, &js).exits(0).says("42\n");
    let (code, text, _) = policy(&["check", "restricted"]);
    assert_eq!((code, line(&text, "restrict").as_str()), (0, "computation only, without threads"));
}

// --- what a policy does ----------------------------------------------------------------------

#[test]
fn what_is_typed_overrides_the_policy_and_lists_add_up() {
    let text = "memory: 64m\ntimeout: 7s\ntime-ns: true\nread-only: false\nuser: 1000:1001\n\
                env: [A=1, B=2]\ntmpfs: [\"/tmp:size=1m\", /data]\nhostname: one\ndisk: 32m\n";
    let script = "id -u; id -g; echo $A $B $C; cat /etc/hostname; df -k /tmp | tail -1 | \
                  awk '{print $2}'; touch /data/x";
    let run = by(text, &["--", "sh", "-c", script]).exits(0);
    assert_eq!(run.stdout, "1000\n1001\n1 2\none\n1024\n");
    let isolation = &run.outcome["isolation"];
    assert_eq!(isolation["limits"]["memory"], 64 << 20);
    assert_eq!(isolation["limits"]["timeout_ms"], 7000);
    assert_eq!(isolation["read_only_root"], false);
    assert!(isolation["namespaces"].to_string().contains("time"), "{run:#?}");
    let options = "--memory 96m --hostname two --user 5:6 -e B=3 -e C=4 --tmpfs /tmp:size=2m \
                   --read-only --time-ns=false";
    let args: Vec<&str> = options.split_whitespace().chain(["--", "sh", "-c", script]).collect();
    let run = by(text, &args).exits(0);
    assert_eq!(run.stdout, "5\n6\n1 3 4\ntwo\n2048\n");
    let isolation = &run.outcome["isolation"];
    assert_eq!(isolation["limits"]["memory"], 96 << 20);
    assert_eq!(isolation["limits"]["timeout_ms"], 7000);
    assert_eq!(isolation["read_only_root"], true);
    assert!(!isolation["namespaces"].to_string().contains("time"), "{run:#?}");
}

#[test]
fn what_is_typed_overrides_a_value_that_makes_no_sense_too() {
    for (bad, typed) in [
        ("memory: lots", ["-m", "64m"]),
        ("cpus: many", ["--cpus", "1"]),
        ("timeout: soon", ["--timeout", "9s"]),
        ("user: \"::\"", ["--user", "5:6"]),
        ("userns: some", ["--userns", "auto"]),
        ("network: wide", ["--network", "none"]),
        ("stop-signal: LOUD", ["--stop-signal", "TERM"]),
    ] {
        by(bad, &["--", "true"]).exits(125).complains("line 1: ");
        by(bad, &[&typed[..], &["--", "true"]].concat()).exits(0);
    }
    // A list adds up, so a bad value of one stays.
    by("tmpfs: [a]\n", &["--tmpfs", "/b", "--", "true"]).exits(125).complains("line 1: tmpfs");
}

#[test]
fn the_environment_file_that_is_typed_overrides_the_policys_variable() {
    let scratch = Scratch::new();
    let file = scratch.file("env", "A=typed\n");
    let options = ["--env-file", file.to_str().unwrap(), "--", "sh", "-c", "echo $A"];
    by("env: {A: policy}\n", &options).exits(0).says("typed\n");
}

/// A file of R4, and its line, with the image's place taken by the policy.
#[test]
fn r4_a_policy_of_the_agents_is_taken_unchanged() {
    let text = "policies:\n  python:\n    image: \"python:3.11-slim\"\n    memory: \"512m\"\n    \
                cpus: \"1.0\"\n    network: \"none\"\n    readonly: true\n    tmpfs: [\"/tmp\"]\n  \
                node:\n    image: \"node:18-slim\"\n    memory: \"512m\"\n    cpus: \"1.0\"\n    \
                network: \"bridge\"\n    readonly: true\n    tmpfs: [\"/tmp\"]\n";
    let scratch = Scratch::new();
    let file = scratch.file("execution-policy.yaml", text);
    let (python, node) = (format!("{}#python", file.display()), format!("{}#node", file.display()));
    let run = jail(["--profile", &python, "--", "/usr/bin/python3", "-c", "print(1)"]).exits(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("1\n", ""));
    assert_eq!(run.outcome["isolation"]["limits"]["memory"], 512 << 20);
    // What is typed besides, as in R4's own line.
    jail(["--profile", &python, "--tmpfs", "/tmp", "--memory=64m", "--", "true"]).exits(0);
    // Its network is one that a jail does not have, and is not quietly another.
    let run = jail(["--profile", &node, "--", "true"]).exits(125);
    let said = format!(
        "stockade: policy \"{}\", line 13: network: a network of the kind \"bridge\" is not \
         supported\nhint: give none, or host for the caller's network with all it reaches\n",
        file.display()
    );
    assert_eq!(run.stderr, said);
    jail(["--profile", &node, "--explain", "--", "true"]).exits(125).complains("\"bridge\"");
    // Unless what is typed takes its place.
    for network in ["--network", "--net"] {
        let run = jail(["--profile", &node, network, "none", "--", "true"]).exits(0);
        assert_eq!(run.outcome["isolation"]["network"], "none");
    }
    let run = jail(["--profile", &node, "--network", "bridge", "--", "true"]).exits(125);
    assert!(run.stderr.starts_with("stockade: a network of the kind"), "{run:#?}");
    // The one policy is an error for check too; the file holds others that are none.
    assert_eq!(policy(&["check", &node]), (125, String::new(), said));
    let (code, text, errors) = policy(&["check", file.to_str().unwrap()]);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(
        text.contains("bridge: refused when it is run, unless --network is typed  line 13"),
        "{text}"
    );
    let alone = scratch.file("alone.yaml", "network: bridge\n");
    let (code, _, errors) = policy(&["check", alone.to_str().unwrap()]);
    assert!(code == 125 && errors.contains("line 1: network: a network of the kind"), "{errors}");
    assert_eq!(
        line(&text, "image"),
        "python:3.11-slim: not used; the job sees the host's /usr, or with --rootfs an unpacked \
         image"
    );
    assert_eq!(line(&text, "memory"), "512m line 4");
    assert_eq!(line(&text, "read-only"), "true line 7");
    assert_eq!(line(&text, "pids-limit"), "64 default");
    let (code, _, errors) = policy(&["check", &python]);
    assert_eq!((code, errors.as_str()), (0, ""));
}

#[test]
fn paths_in_a_policy_begin_where_its_file_is() {
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    scratch.file("in/data", "found");
    scratch.file("vars", "A=1\n");
    let text = "volume: [\"./in:/in:ro\"]\nenv-file: vars\n";
    let file = scratch.file("policy.yaml", text);
    let command = ["--", "sh", "-c", "cat /in/data; echo $A"];
    jail(["--profile", file.to_str().unwrap()].into_iter().chain(command))
        .exits(0)
        .says("found1\n");
}

/// T38: nor does a bare name in it take a variable of the caller's.
#[test]
fn h43_a_mistake_in_a_policy_is_one_line_that_names_it() {
    let scratch = Scratch::new();
    for (text, message, hint) in [
        ("cpus: 1\nmemroy: 1g\n", "line 2: unknown key \"memroy\"", "did you mean memory?"),
        (
            "memory: lots\n",
            "line 1: memory: invalid memory limit \"lots\": it does not start with a number",
            "use a number with b, k, m, g or t, such as 256m",
        ),
        (
            "tmpfs:\n  - /a\n  - b\n",
            "line 3: tmpfs: invalid tmpfs destination \"b\": it is not an absolute path",
            "docs/jail.md lists the forms: a policy takes those of the options",
        ),
        (
            "env-file: none\n",
            "line 1: env-file: read the environment file \"DIR/none\": no such file or directory",
            "such a path is one of the host, as the caller sees it",
        ),
        (
            "env: [SECRET]\n",
            "line 1: env: invalid environment variable \"SECRET\": it has no \"=\"",
            "write NAME=value; the host's environment is never read",
        ),
        (
            "a: &a [x]\nb: *a\n",
            "line 1: anchors and aliases are not supported",
            "write the value out where it is needed",
        ),
        (
            "require_signature: none.pub\n",
            "line 1: require_signature: open \"DIR/none.pub\": no such file or directory",
            "such a path is one of the host, as the caller sees it",
        ),
    ] {
        let file = scratch.file("policy.yaml", text);
        let file = file.to_str().unwrap();
        let made = format!("{}:/made", scratch.path().display());
        let message = message.replace("DIR", scratch.path().to_str().unwrap());
        let said = format!("stockade: policy \"{file}\", {message}\n");
        let run = jail(["--profile", file, "-v", &made, "--", "touch", "/made/it"]).exits(125);
        assert_eq!(run.stderr, format!("{said}hint: {hint}\n"));
        assert!(!scratch.join("it").exists(), "something ran");
        let (code, stdout, stderr) = policy(&["check", file]);
        assert_eq!((code, stdout.as_str()), (125, ""));
        assert!(stderr.starts_with(&said), "{stderr}");
    }
}

/// Whatever is in a policy file, and whatever it is called.
#[test]
fn t41_control_characters_of_a_policy_do_not_reach_the_terminal() {
    let scratch = Scratch::new();
    for bad in ["\x1b[31m", "\r", "\u{7f}", "\u{202e}"] {
        let typed: String = bad.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
        for text in [
            format!("\"{typed}\": 1\n"),
            format!("memory: \"{typed}\"\n"),
            format!("restrict: {{\"{typed}\": 1}}\n"),
            format!("policies: {{\"{typed}\": {{}}}}\n"),
            format!("policies: {{}}\n\"{typed}\": {{}}\n"),
            format!("init: \"{typed}\"\n"),
            format!("env: {{\"{typed}\": [1]}}\n"),
            format!("require_signature: \"{typed}\"\n"),
            format!("volume: \"{typed}\"\n"),
            format!("description: \"{typed}\"\nimage: \"{typed}\"\nworkdir: \"/{typed}\"\n"),
        ] {
            let file = scratch.file(&format!("policy{bad}.yaml"), &text);
            let (_, stdout, stderr) = policy(&["check", file.to_str().unwrap()]);
            let shown = stdout + &stderr;
            assert!(!shown.is_empty());
            let plain = shown.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}'));
            assert!(plain, "{text:?}: {shown:?}");
        }
    }
}

#[test]
fn a_policy_that_cannot_be_read_is_an_error() {
    let run = jail(["--profile", "pyton", "--", "true"]).exits(125);
    assert_eq!(
        run.stderr,
        "stockade: read the policy \"pyton\": open \"pyton\": no such file or directory\n\
         hint: did you mean python?\n"
    );
    let scratch = Scratch::new();
    let long = scratch.file("long", &"#".repeat(100_000));
    jail(["--profile", long.to_str().unwrap(), "--", "true"]).exits(125).complains("is too long");
    let fifo = scratch.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [fifo.to_str().unwrap(), "/dev/zero", "/etc"] {
        jail(["--profile", path, "--", "true"]).exits(125).complains("is no regular file");
    }
    jail(["--profile", "python#x", "--", "true"]).exits(125).complains("it is a single policy");
}

#[test]
fn check_finds_what_contradicts_itself() {
    let scratch = Scratch::new();
    for (text, message) in [
        ("memory: 1m\n", "is too little to start anything"),
        ("pids-limit: 1\n", "the process limit leaves no process for the command"),
        ("workdir: rel\n", "the working directory \"rel\" is not absolute"),
        ("tmpfs: [/a, /a]\n", "two mounts on \"/a\""),
        ("stop-timeout: 1s\n", "--stop-timeout without --stop-signal"),
        ("cap-add: NOTHING\n", "unknown capability"),
    ] {
        let file = scratch.file("policy.yaml", text);
        let (code, stdout, stderr) = policy(&["check", file.to_str().unwrap()]);
        assert_eq!((code, stdout.as_str()), (125, ""), "{text}");
        assert!(stderr.contains(message) && stderr.contains("policy.yaml"), "{stderr}");
    }
}

#[test]
fn every_embedded_profile_passes_check_and_the_schema_is_printed() {
    for name in ["python", "node", "shell", "restricted"] {
        let (code, text, errors) = policy(&["check", name]);
        assert_eq!((code, errors.as_str()), (0, ""), "{name}");
        assert_eq!(line(&text, "network"), {
            let source = format!("{}/profiles/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
            let source = std::fs::read_to_string(source).unwrap();
            let at = source.lines().position(|l| l == "network: none").unwrap() + 1;
            format!("none line {at}")
        });
    }
    let (code, text, _) = policy(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &schema["$schema"]),
        (0, &"https://json-schema.org/draft/2020-12/schema".into())
    );
    for (args, hint) in [
        (&["chek"][..], "did you mean check?"),
        (&[], "stockade policy --help"),
        (&["check"], "stockade policy check FILE"),
        (&["check", "a", "b"], "stockade policy check FILE#POLICY"),
        (&["schema", "x"], "stockade policy --help"),
    ] {
        let (code, stdout, stderr) = policy(args);
        assert_eq!((code, stdout.as_str()), (125, ""), "{args:?}");
        assert!(stderr.contains(hint), "{stderr}");
    }
}

// --- signed scripts --------------------------------------------------------------------------

/// A directory with a policy that wants scripts signed by `key`.
struct Signed {
    dir: Scratch,
    pair: KeyPair,
}

const SCRIPT: &str = "import sys; print('ran', sys.argv, open(__file__).read().count('\\n'))\n";

impl Signed {
    fn new(more: &str) -> Signed {
        let dir = Scratch::new();
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        dir.file("key.pub", &pair.pk.to_box().unwrap().to_string());
        dir.file("policy.yaml", &format!("require_signature: key.pub\n{more}"));
        dir.file("job.py", SCRIPT);
        Signed { dir, pair }
    }

    fn python() -> Signed {
        Signed::new("interpreter: [/usr/bin/python3, -I]\n")
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn sign(&self, name: &str) {
        self.sign_by(&self.pair, name);
    }

    fn sign_by(&self, pair: &KeyPair, name: &str) {
        let data = std::fs::read(self.dir.join(name)).unwrap();
        let signature = minisign::sign(None, &pair.sk, &data[..], None, None).unwrap();
        self.dir.file(&format!("{name}.minisig"), &signature.into_string());
    }

    #[track_caller]
    fn run(&self, options: &[&str], words: &[&str]) -> Run {
        let profile = self.path("policy.yaml");
        let all = [&["--profile", &profile][..], options, &["--"], words].concat();
        jail(all)
    }

    /// It is refused with this, before anything runs.
    #[track_caller]
    fn refused(&self, words: &[&str], why: &str) {
        let made = format!("{}:/made", self.path("made"));
        std::fs::create_dir_all(self.dir.join("made")).unwrap();
        let run = self.run(&["-v", &made], words).exits(125).complains(why);
        assert_eq!(run.stdout, "", "{run:#?}");
        assert_eq!(run.stderr.lines().count(), 2, "{run:#?}");
        assert_eq!(run.outcome["status"], "setup_failed");
        assert_eq!(std::fs::read_dir(self.dir.join("made")).unwrap().count(), 0);
    }
}

#[test]
fn a_signed_script_runs_with_its_arguments() {
    let s = Signed::python();
    s.sign("job.py");
    let run = s.run(&[], &[&s.path("job.py"), "-c", "x"]).exits(0);
    assert_eq!(run.stdout, "ran ['/script/job.py', '-c', 'x'] 1\n");
    // Without an interpreter its first line says what runs it.
    let s = Signed::new("");
    s.dir.file(
        "job.sh",
        "#!/bin/sh\necho \"$0 $1\"; ls /script; echo >> $0; rm -f $0; cat $0 | wc -l\n",
    );
    s.sign("job.sh");
    let run = s.run(&[], &[&s.path("job.sh"), "a b"]).exits(0);
    assert_eq!(run.stdout, "/script/job.sh a b\njob.sh\n2\n", "{run:#?}");
}

#[test]
fn a_script_without_its_signature_does_not_run() {
    let s = Signed::python();
    let job = s.path("job.py");
    s.refused(&[&job], "has no signature");
    s.sign_by(&KeyPair::generate_unencrypted_keypair().unwrap(), "job.py");
    s.refused(&[&job], "it was made by another key");
    for text in ["", "nonsense\n", "untrusted comment: x\nAAAA\ntrusted comment: x\nAAAA\n"] {
        s.dir.file("job.py.minisig", text);
        s.refused(&[&job], "it is no signature of minisign");
    }
    s.dir.file("job.py.minisig", &"x".repeat(100_000));
    s.refused(&[&job], "is too long");
    // One byte of it changed; then the script.
    s.sign("job.py");
    let good = std::fs::read_to_string(s.dir.join("job.py.minisig")).unwrap();
    let comment = good.replace("trusted comment: timestamp", "trusted comment: Timestamp");
    assert_ne!(good, comment);
    s.dir.file("job.py.minisig", &comment);
    s.refused(&[&job], "it is not of these contents, or was altered");
    s.dir.file("job.py.minisig", &good);
    s.run(&[], &[&job]).exits(0).says("ran");
    s.dir.file("job.py", &format!("{SCRIPT}\n"));
    s.refused(&[&job], "it is not of these contents, or was altered");
    // The signature of another script of the same key.
    s.dir.file("other.py", "print('other')");
    s.sign("other.py");
    std::fs::copy(s.dir.join("other.py.minisig"), s.dir.join("job.py.minisig")).unwrap();
    s.refused(&[&job], "it is not of these contents, or was altered");
}

#[test]
fn nothing_but_the_signed_script_can_be_given_as_code() {
    let s = Signed::python();
    s.sign("job.py");
    // An interpreter typed before the script is itself taken for one.
    s.refused(&["python3", "-c", "open('/made/it', 'w')"], "open \"python3\"");
    s.refused(&["/usr/bin/python3", &s.path("job.py")], "wants a signed script");
    s.refused(&["-c", "open('/made/it', 'w')", &s.path("job.py")], "open \"-c\"");
    s.refused(&["/dev/stdin"], "wants a signed script");
    s.refused(&[s.dir.path().to_str().unwrap()], "is no regular file");
    // Nothing is mounted over it.
    let file = format!("{}:/script/job.py", s.path("key.pub"));
    for options in [["-v", &file], ["--tmpfs", "/script"], ["--tmpfs", "/script/x"]] {
        s.run(&options, &[&s.path("job.py")]).exits(125).complains("nothing may be mounted on");
    }
}

#[test]
fn a_script_that_is_too_long_is_an_error_and_not_cut() {
    let s = Signed::new("interpreter: [sh]\ndisk: 1m\n");
    s.dir.file("job.sh", &format!("echo ran > /made/it\n{}", "#\n".repeat(1 << 20)));
    s.sign("job.sh");
    s.refused(&[&s.path("job.sh")], "does not fit into 1048576 bytes of disk");
    s.dir.file("job.sh", &format!("echo ran > /made/it\n{}", "#\n".repeat(2 << 20)));
    s.sign("job.sh");
    s.refused(&[&s.path("job.sh")], "is too long");
}

#[test]
fn a_signed_script_runs_restricted_too() {
    let s = Signed::new("restrict: {threads: false}\n");
    s.dir.file("job", "#!/usr/bin/python3 -I\nprint(6 * 7)\nopen('/work/x', 'w')\n");
    s.sign("job");
    let run = s.run(&[], &[&s.path("job")]).exits(1).complains("Error");
    assert_eq!(run.stdout, "42\n");
}

/// The script is read once: what the jail has are the bytes that were verified. A job that finds
/// the host's file in a volume, and changes it, does not change what runs.
#[test]
fn a_script_that_is_swapped_after_the_check_changes_nothing() {
    let s = Signed::new("interpreter: [sh]\n");
    let script = "echo 'echo swapped' > /host/job.sh\nhead -n 1 /host/job.sh\ncat /script/job.sh | head -n 1\n";
    s.dir.file("job.sh", script);
    s.sign("job.sh");
    let host = format!("{}:/host", s.dir.path().display());
    let run = s.run(&["-v", &host], &[&s.path("job.sh")]).exits(0);
    assert_eq!(run.stdout, "echo swapped\necho 'echo swapped' > /host/job.sh\n");
    s.refused(&[&s.path("job.sh")], "it is not of these contents");
}

#[test]
fn a_signed_script_runs_in_a_rootfs_too_and_leaves_its_files_alone() {
    let s = Signed::new("interpreter: [/bin/sh]\n");
    s.dir.file("job.sh", "echo from $0; echo x 2>/dev/null > /script/new || echo read-only\n");
    s.sign("job.sh");
    let rootfs = support::busybox_rootfs();
    // A hostile root: the script's directory is a link out of it, with a decoy.
    let decoy = Scratch::new();
    std::os::unix::fs::symlink(decoy.path(), rootfs.join("script")).unwrap();
    let run = s.run(&["--rootfs", rootfs.path().to_str().unwrap()], &[&s.path("job.sh")]);
    assert!(run.code == 125 || run.stdout == "from /script/job.sh\nread-only\n", "{run:#?}");
    assert_eq!(std::fs::read_dir(decoy.path()).unwrap().count(), 0);
    std::fs::remove_file(rootfs.join("script")).unwrap();
    let run = s.run(&["--rootfs", rootfs.path().to_str().unwrap()], &[&s.path("job.sh")]).exits(0);
    assert_eq!(run.stdout, "from /script/job.sh\nread-only\n");
    assert!(!rootfs.join("script/job.sh").exists());
}

#[test]
fn a_key_that_is_none_is_an_error_of_the_policy() {
    let s = Signed::python();
    s.sign("job.py");
    for (key, why) in [
        ("", "it is no public key of minisign"),
        ("untrusted comment: x\nAAAA\n", "it is no public key of minisign"),
        // The signature in its place.
        (
            &std::fs::read_to_string(s.dir.join("job.py.minisig")).unwrap(),
            "it is no public key of minisign",
        ),
    ] {
        s.dir.file("key.pub", key);
        s.refused(&[&s.path("job.py")], why);
        let (code, _, stderr) = policy(&["check", &s.path("policy.yaml")]);
        assert!(code == 125 && stderr.contains("line 1: require_signature"), "{stderr}");
    }
}
