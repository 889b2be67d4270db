//! Landlock, the layer beneath the mounts: what it denies by itself, that it is told, that it can
//! be turned off, and that what people run in a jail does not notice it.

mod support;
use serde_json::json;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Run, Scratch, bin, busybox_rootfs, jail, python, sh};

const OFF: [&str; 2] = ["--security-opt", "landlock=off"];

/// The kernel's ABI, by what a run reports; 0: none.
fn abi() -> u64 {
    sh(&[], "true").exits(0).outcome["isolation"]["landlock"]["abi"].as_u64().unwrap_or(0)
}

/// Ends the test as skipped where the kernel lacks some of it.
macro_rules! need_landlock {
    () => {
        if abi() < 6 {
            skip!("needs Landlock's ABI 6");
        }
    };
}

fn landlock(run: &Run) -> &serde_json::Value {
    &run.outcome["isolation"]["landlock"]
}

// --- what it denies --------------------------------------------------------------------------

/// Binds, connects to port 1, and does the same by UDP.
const NETWORK: &str = "
import socket
def attempt(what, f):
    try:
        f()
        print(what, 'works')
    except OSError as e:
        print(what, e.errno)
server = socket.socket()
attempt('bind', lambda: server.bind(('127.0.0.1', 0)))
attempt('bind6', lambda: socket.socket(socket.AF_INET6).bind(('::1', 0)))
attempt('connect', lambda: socket.create_connection(('127.0.0.1', 1)))
receiver = socket.socket(type=socket.SOCK_DGRAM)
receiver.bind(('127.0.0.1', 0))
attempt('udp', lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', receiver.getsockname()))
";

#[test]
fn h41_a_job_without_a_network_cannot_use_tcp_even_on_lo() {
    need_landlock!();
    // EACCES, where the network namespace alone says ECONNREFUSED.
    let denied = "bind 13\nbind6 13\nconnect 13\nudp works\n";
    for options in [
        &[][..],
        &["-u", "0"],
        &["--no-init"],
        &["--cap-add", "NET_BIND_SERVICE"],
        &["--security-opt", "no-new-privileges:false"],
        &["--security-opt", "seccomp=unconfined"],
        &["--writable"],
        &["--nested-userns"],
    ] {
        assert_eq!(python(options, NETWORK).exits(0).stdout, denied, "{options:?}");
    }
    let open = "bind works\nbind6 works\nconnect 111\nudp works\n";
    assert_eq!(python(&OFF, NETWORK).exits(0).stdout, open);
}

#[test]
fn a_job_with_the_hosts_network_uses_tcp() {
    let open = "bind works\nbind6 works\nconnect 111\nudp works\n";
    let run = python(&["--network", "host"], NETWORK).exits(0);
    assert_eq!(run.stdout, open);
    if abi() >= 6 {
        assert_eq!(landlock(&run)["tcp"], false, "{run:#?}");
        assert_eq!(landlock(&run)["scopes"], true, "{run:#?}");
    }
}

#[test]
fn a_job_without_a_user_namespace_is_held_too() {
    need_root!();
    need_landlock!();
    let run = python(&["--userns", "host"], NETWORK).exits(0);
    assert!(run.stdout.starts_with("bind 13\n"), "{run:#?}");
}

#[test]
fn h41_a_job_with_the_hosts_network_connects_to_a_hosts_abstract_socket() {
    need_landlock!();
    let name = |kind| format!("stockade-test-{kind}-{}", std::process::id());
    let address = |kind| SocketAddr::from_abstract_name(name(kind)).unwrap();
    let _stream = UnixListener::bind_addr(&address("stream")).unwrap();
    let datagram = UnixDatagram::bind_addr(&address("datagram")).unwrap();
    datagram.set_nonblocking(true).unwrap();
    let code = format!(
        "
import socket
def attempt(f):
    try: f(); print('works')
    except OSError as e: print(e.errno)
attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0{}'))
attempt(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', '\\0{}'))
own = socket.socket(socket.AF_UNIX)
own.bind('\\0own'); own.listen()
attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0own'))
",
        name("stream"),
        name("datagram")
    );
    let host = ["--network", "host"];
    assert_eq!(python(&host, &code).exits(0).stdout, "1\n1\nworks\n");
    assert!(datagram.recv(&mut [0; 8]).is_err(), "something arrived");
    // The control: nothing but this layer is in between.
    assert_eq!(python(&[host, OFF].concat(), &code).exits(0).stdout, "works\nworks\nworks\n");
    assert_eq!(datagram.recv(&mut [0; 8]).unwrap(), 1);
}

#[test]
fn a_job_signals_the_init() {
    need_landlock!();
    // As root inside, which the init is too: no difference of ids protects it.
    let code = "
import os, signal, subprocess
def attempt(what, pid, number):
    try: os.kill(pid, number); print(what, 'works')
    except OSError as e: print(what, e.errno)
attempt('init', 1, 0)
child = subprocess.Popen(['sleep', '60'])
attempt('child', child.pid, signal.SIGTERM)
print(child.wait())
";
    assert_eq!(python(&["-u", "0"], code).exits(0).stdout, "init 1\nchild works\n-15\n");
    let options = [&["-u", "0"], &OFF[..]].concat();
    assert_eq!(python(&options, code).exits(0).stdout, "init works\nchild works\n-15\n");
}

#[test]
fn a_job_writes_to_a_pipe_of_the_hosts_in_a_read_only_volume() {
    need_landlock!();
    // A read-only mount does not keep anybody from writing into a FIFO: whoever on the host reads
    // it would hear the job.
    let scratch = Scratch::new();
    let fifo = scratch.join("fifo");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::unistd::mkfifo(&fifo, mode).unwrap();
    // Whatever the umask was.
    std::fs::set_permissions(&fifo, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let mut reader = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&fifo)
        .expect("a reader does not wait");
    let volume = format!("{}:/in:ro", scratch.path().display());
    let code = "
import os
try:
    fd = os.open('/in/fifo', os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b'heard')
    print('wrote')
except OSError as e:
    print(e.errno)
os.close(os.open('/in/fifo', os.O_RDONLY | os.O_NONBLOCK))
print('opened to read')
";
    let mut heard = String::new();
    let run = python(&["-v", &volume], code).exits(0);
    assert_eq!(run.stdout, "13\nopened to read\n", "{run:#?}");
    reader.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "");
    let run = python(&[&["-v", &volume], &OFF[..]].concat(), code).exits(0);
    assert_eq!(run.stdout, "wrote\nopened to read\n", "{run:#?}");
    reader.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "heard");
    // Given to be written to, it is.
    let volume = format!("{}:/in", scratch.path().display());
    let run = python(&["-v", &volume], code).exits(0);
    assert_eq!(run.stdout, "wrote\nopened to read\n", "{run:#?}");
}

// --- what is told, and the switch ------------------------------------------------------------

#[test]
fn what_is_in_force_is_in_the_outcome() {
    need_landlock!();
    let told = |options: &[&str]| landlock(&sh(options, "true").exits(0)).clone();
    let abi = abi();
    let of = |fs, tcp| json!({"abi": abi, "fs": fs, "tcp": tcp, "scopes": true});
    assert_eq!(told(&[]), of(true, true));
    assert_eq!(told(&["--network", "host"]), of(true, false));
    assert_eq!(told(&["--security-opt", "landlock=auto"]), of(true, true));
    assert_eq!(told(&["--security-opt", "landlock=required"]), of(true, true));
    assert_eq!(told(&OFF), json!(null));
    // Those may mount, which Landlock would forbid.
    assert_eq!(told(&["--nested-userns"]), of(false, true));
    assert_eq!(told(&["--cap-add", "SYS_ADMIN"]), of(false, true));
}

#[test]
fn explain_says_what_would_be_denied() {
    need_landlock!();
    let line = |options: &[&str]| {
        let run = jail(options.iter().copied().chain(["--explain", "--", "true"])).exits(0);
        run.stdout.lines().find(|l| l.starts_with("landlock")).unwrap_or_default().to_owned()
    };
    assert!(line(&[]).contains("TCP"), "{}", line(&[]));
    assert!(!line(&["--network", "host"]).contains("TCP"));
    assert!(line(&OFF).ends_with("not used"), "{}", line(&OFF));
}

#[test]
fn a_requirement_that_contradicts_another_option_is_an_error() {
    for option in [&["--nested-userns"][..], &["--cap-add", "SYS_ADMIN"]] {
        let required = ["--security-opt", "landlock=required"];
        let run = sh(&[&required, option].concat(), "true").exits(125);
        run.complains("landlock=required, and mounts of the job's own, contradict each other");
    }
    sh(&["--security-opt", "landlock=on"], "true").exits(125).complains("landlock=off");
}

/// Runs `stockade jail ARGS` in a process that Python prepares with `code`, and returns its exit
/// status, stdout and stderr.
fn prepared(code: &str, args: &[&str]) -> (i32, String, String) {
    let code = format!(
        "import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
{code}
os.execv(sys.argv[1], sys.argv[1:])"
    );
    let out = Command::new("/usr/bin/python3")
        .args(["-c", &code, bin(), "jail"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
}

/// A seccomp filter by which landlock_create_ruleset, 444 on every machine, is ENOSYS.
const NO_LANDLOCK: &str = "
assert libc.prctl(38, 1, 0, 0, 0) == 0
filter = b''.join(struct.pack('HBBI', *i) for i in
    [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (6, 0, 0, 0x50000 | 38), (6, 0, 0, 0x7fff0000)])
buffer = ctypes.create_string_buffer(filter)
program = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 4, ctypes.addressof(buffer)))
assert libc.prctl(22, 2, program, 0, 0) == 0
";

#[test]
fn a_kernel_without_landlock_runs_a_jail_and_says_so() {
    need_root!();
    let (code, stdout, stderr) = prepared(NO_LANDLOCK, &["--json", "--", "echo", "hello"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let outcome: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(outcome["stdout"]["data"], "hello\n");
    assert_eq!(outcome["isolation"]["landlock"], json!(null));
    let required = ["--security-opt", "landlock=required", "--", "echo", "hello"];
    let (code, stdout, stderr) = prepared(NO_LANDLOCK, &required);
    assert_eq!((code, stdout.as_str()), (125, ""));
    assert!(stderr.contains("Landlock is required, and this kernel has none"), "{stderr}");
    assert!(stderr.contains("hint: ") && stderr.contains("landlock=auto"), "{stderr}");
}

#[test]
fn a_restricted_job_is_no_less_so_without_landlock_and_without_a_profile() {
    need_root!();
    // The mounts and the denials of its own have to do: what may be written to is looked for where
    // a process has something of its own, and in a namespace of its own.
    let code = "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(nr, *args):
    return ctypes.get_errno() if libc.syscall(nr, *[ctypes.c_long(a) for a in args]) < 0 else 'done'
for name in ('mem', 'comm', 'oom_score_adj', 'uid_map'):
    try:
        os.open('/proc/self/' + name, os.O_WRONLY)
        print('could open', name)
    except OSError:
        pass
print(call(272, 0x10000000), call(272, 0x20000), call(56, 0x10000011, 0, 0, 0, 0))
";
    let options = ["--profile", "restricted", "--security-opt", "seccomp=unconfined", "--json"];
    let args = [&options[..], &["--", "/usr/bin/python3", "-c", code]].concat();
    let (status, stdout, stderr) = prepared(NO_LANDLOCK, &args);
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    let outcome: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(outcome["isolation"]["landlock"], json!(null));
    assert_eq!(outcome["stdout"]["data"], "1 1 1\n");
}

#[test]
fn a_caller_below_sixteen_rulesets_is_told_the_way_out() {
    need_root!();
    need_landlock!();
    // They handle nothing but TCP, so that set-up can mount.
    let code = "
for _ in range(16):
    attr = ctypes.create_string_buffer(struct.pack('QQ', 0, 1))
    ruleset = libc.syscall(444, attr, 16, 0)
    assert ruleset >= 0 and libc.syscall(446, ruleset, 0) == 0
    os.close(ruleset)
";
    let (status, stdout, stderr) = prepared(code, &["--", "echo", "hello"]);
    assert_eq!((status, stdout.as_str()), (125, ""), "{stderr}");
    assert!(stderr.contains("restrict the job by Landlock"), "{stderr}");
    assert!(stderr.contains("landlock=off"), "{stderr}");
    let options = [&OFF[..], &["--", "echo", "hello"]].concat();
    assert_eq!(prepared(code, &options), (0, "hello\n".to_owned(), String::new()));
}

// --- what does not notice it -----------------------------------------------------------------

/// Every way of changing files that Landlock knows, and what programs do to devices.
const FILES: &str = r"
set -e
cd $1
mkdir a b; echo 1 > a/x; mv a/x b/y; ln b/y a/z; ln -s z a/s; mkfifo a/f
mv a/f b/; mv b c; : > c/y; echo 2 >> c/y; cat a/s
truncate -s 0 c/y; rm -r a c
echo done
";

#[test]
fn files_are_made_renamed_linked_and_removed_wherever_a_job_may_write() {
    need_root!();
    let scratch = Scratch::new();
    let volume = format!("{}:/vol", scratch.path().display());
    let file = scratch.file("one", "before");
    let one = format!("{}:/one", file.display());
    for place in ["/tmp", "/work", "/vol", "/dev/shm", "/new"] {
        let options = ["-v", &volume, "--tmpfs", "/new"];
        let words = ["--", "sh", "-c", FILES, "sh", place];
        let run = jail(options.into_iter().chain(words)).exits(0);
        assert_eq!(run.stdout, "2\ndone\n", "{place} {run:#?}");
    }
    // The root itself, which is root's.
    jail(["--writable", "-u", "0", "--", "sh", "-c", FILES, "sh", "/"]).exits(0).says("done\n");
    // A volume that is one file.
    sh(&["-v", &one], "cat /one; echo after > /one; cat /one").exits(0).says("beforeafter\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "after\n");
    // A read-only one is as before the mount's to refuse.
    let one = format!("{one}:ro");
    sh(&["-v", &one], "echo spoilt > /one").exits(2).complains("Read-only file system");
}

#[test]
fn a_rootfs_of_the_callers_works_read_only_and_writable() {
    need_root!();
    let rootfs = busybox_rootfs();
    let dir = rootfs.path().display().to_string();
    let run = |options: &[&str], script: &str| {
        let words = ["--rootfs", &dir, "-u", "0"].into_iter().chain(options.iter().copied());
        jail(words.chain(["--", "sh", "-c", script]))
    };
    let script = "cat /etc/passwd | head -n 1; echo x > /tmp/x && cat /tmp/x; echo y > /y";
    let closed = run(&[], script).exits(1);
    assert!(closed.stdout.ends_with("x\n"), "{closed:#?}");
    assert_eq!(landlock(&closed)["fs"].as_bool(), (abi() > 1).then_some(true));
    run(&["--writable"], script).exits(0);
    assert_eq!(std::fs::read_to_string(rootfs.join("y")).unwrap(), "y\n");
}

#[test]
fn devices_terminals_and_proc_work_as_before() {
    let script = "
echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 3 /dev/urandom | wc -c
cat /dev/stdin; echo to-stdout > /dev/stdout; echo to-stderr > /dev/stderr
echo 5 > /proc/self/oom_score_adj && cat /proc/self/oom_score_adj
echo name > /proc/self/comm";
    let run = sh(&[], script).exits(0);
    assert_eq!(run.stdout, "3\n3\nto-stdout\n5\n", "{run:#?}");
    assert_eq!(run.stderr, "to-stderr\n", "{run:#?}");
    let code = "
import os, pty, fcntl, termios, struct, multiprocessing
main, side = pty.openpty()
fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack('HHHH', 7, 9, 0, 0))
again = os.open(os.ttyname(side), os.O_RDWR)
print(fcntl.ioctl(again, termios.TIOCGWINSZ, b'x' * 8)[:4])
pid, fd = pty.fork()
if pid == 0:
    os.execvp('stty', ['stty', '-F', '/dev/tty', 'sane'])
print(os.waitpid(pid, 0)[1])
with multiprocessing.Pool(2) as pool:
    print(pool.map(abs, [-1, -2]))
";
    python(&[], code).exits(0).says("b'\\x07\\x00\\t\\x00'\n0\n[1, 2]\n");
}

#[test]
fn a_job_sandboxes_itself_further() {
    need_landlock!();
    let code = "
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
open('/tmp/before', 'w').close()
ruleset = libc.syscall(444, struct.pack('Q', 2), 8, 0)
print(ruleset >= 0, libc.syscall(446, ruleset, 0))
try:
    open('/tmp/before', 'w')
except PermissionError:
    print('denied by its own')
print(len(open('/etc/passwd').read()) > 0)
";
    python(&[], code).exits(0).says("True 0\ndenied by its own\nTrue\n");
}

#[test]
fn node_runs_and_writes() {
    let code = "
const fs = require('fs'), { execSync } = require('child_process');
fs.writeFileSync('/work/a', 'one'); fs.mkdirSync('/work/d'); fs.renameSync('/work/a', '/work/d/b');
fs.appendFileSync('/work/d/b', ' two');
console.log(fs.readFileSync('/work/d/b', 'utf8'), execSync('echo child').toString().trim());
const net = require('net');
const server = net.createServer(c => c.pipe(c)).listen('/tmp/socket', () => {
  const c = net.connect('/tmp/socket', () => c.end('by a socket with a path'));
  c.on('data', d => console.log(d.toString())); c.on('close', () => server.close());
});";
    let Some(node) =
        ["/usr/bin/node", "/usr/local/bin/node"].iter().find(|p| Path::new(p).exists())
    else {
        skip!("node is not installed");
    };
    jail(["--", node, "-e", code]).exits(0).says("one two child\nby a socket with a path\n");
}

/// A virtual environment, a wheel made on the spot, and pip.
const PIP: &str = r#"
set -e
/usr/bin/python3 -m venv /work/venv
/work/venv/bin/python - <<'END'
import zipfile
info = "hello-1.0.dist-info/"
files = {
    "hello.py": "def main(): print('from the wheel')\n",
    info + "METADATA": "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n",
    info + "WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    info + "entry_points.txt": "[console_scripts]\nhello = hello:main\n",
}
files[info + "RECORD"] = "".join(name + ",,\n" for name in files)
with zipfile.ZipFile("/tmp/hello-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
END
/work/venv/bin/pip install -q --no-index --disable-pip-version-check /tmp/hello-*.whl
/work/venv/bin/hello
"#;

#[test]
fn pip_installs_a_wheel_in_a_venv() {
    let there = Command::new("/usr/bin/python3").args(["-c", "import ensurepip, venv"]).output();
    if !there.is_ok_and(|out| out.status.success()) {
        skip!("python3-venv is not installed");
    }
    sh(&[], PIP).exits(0).says("from the wheel\n");
}

#[test]
fn gcc_compiles_and_what_it_made_runs() {
    let script = r#"
printf '#include <stdio.h>\nint main(void) { puts("compiled"); return 7; }\n' > a.c
gcc -O1 -o a a.c && ./a"#;
    sh(&[], script).exits(7).says("compiled\n");
}
