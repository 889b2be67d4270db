//! `checkpoint` and `restore`. Where criu cannot save anything (`criu check` says so) what is left to
//! test is that its reason is told; Debian 12's criu 3.17.1 can on Linux 6.1:
//! `scripts/test --vm --kernel 6.1 oci_checkpoint`.

mod support;

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::bundle::{Bundle, status_line};
use support::live::eventually;

/// What `criu check` says: `Err` with its reason if it cannot work here, `None` without criu.
fn criu() -> Option<Result<(), String>> {
    let o = Command::new("criu").arg("check").stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&o.stderr).into_owned();
    Some(if o.status.success() { Ok(()) } else { Err(said) })
}

/// Whether it has one of its features here.
fn has(feature: &str) -> bool {
    let o =
        Command::new("criu").args(["check", "--feature", feature]).stdin(Stdio::null()).output();
    o.unwrap().status.success()
}

macro_rules! need_criu {
    () => {
        need_root!();
        match criu() {
            None => skip!("criu is not installed"),
            Some(Err(why)) => skip_on_this_kind_of_host!("criu cannot work here: {}", why.trim()),
            Some(Ok(())) => {}
        }
    };
}

/// It counts in a file of its root, and its streams are the null device.
const COUNTS: &str = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.1; done";

fn counting(change: impl FnOnce(&mut Value)) -> Bundle {
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["sh", "-c", COUNTS]);
        change(c);
    });
    start(&c);
    eventually("it counts", || count(&c) > 0);
    c
}

#[track_caller]
fn start(c: &Bundle) {
    let o = quiet(c, &["run", "--detach", "ID"]);
    assert!(o.0.success(), "{}", o.1);
}

/// With the null device as all three streams; what it logs.
fn quiet(c: &Bundle, args: &[&str]) -> (std::process::ExitStatus, String) {
    let log = c.scratch.join("log");
    let _ = std::fs::remove_file(&log);
    let all: Vec<&str> = ["--log", log.to_str().unwrap()].iter().chain(args).copied().collect();
    let mut command = c.command(&all);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    (status, std::fs::read_to_string(log).unwrap_or_default())
}

#[track_caller]
fn restore(c: &Bundle, options: &[&str]) {
    let args: Vec<&str> = ["restore", "-d"].iter().chain(options).chain(&["ID"]).copied().collect();
    let (status, log) = quiet(c, &args);
    assert!(status.success(), "{log}\n{}", tail(&c.dir(), "restore.log"));
    assert_eq!(c.state()["status"], "running");
}

#[track_caller]
fn checkpoint(c: &Bundle, options: &[&str]) {
    let args: Vec<&str> = ["checkpoint"].iter().chain(options).chain(&["ID"]).copied().collect();
    let o = c.call(&args);
    assert!(o.status.success(), "{o:?}\n{}", tail(&c.dir(), "dump.log"));
}

/// The end of a log, wherever it is below.
fn tail(dir: &Path, name: &str) -> String {
    for place in [dir.join("work"), dir.join("checkpoint"), dir.join("image")] {
        if let Ok(text) = std::fs::read_to_string(place.join(name)) {
            let lines: Vec<&str> = text.lines().collect();
            return lines[lines.len().saturating_sub(60)..].join("\n");
        }
    }
    "no log".to_owned()
}

fn count(c: &Bundle) -> u64 {
    let text = std::fs::read_to_string(c.rootfs().join("count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// checkpoint.c, static, built once.
fn counts() -> &'static Path {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BUILT.get_or_init(|| {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("checkpoint-{}", std::process::id()));
        std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/checkpoint.c");
        let built = Command::new("gcc").args(["-static", "-o"]).arg(&file).arg(source).output();
        let built = built.expect("gcc is installed");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        file
    })
}

/// Its cgroups, in every hierarchy.
fn cgroups(c: &Bundle) -> Vec<PathBuf> {
    let tops = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path());
    let all = tops.chain([PathBuf::from("/sys/fs/cgroup")]).map(|top| top.join(&c.id));
    all.filter(|dir| dir.is_dir()).collect()
}

/// Neither state nor cgroups, and no mount anywhere.
#[track_caller]
fn gone(c: &Bundle) {
    assert!(c.fails(&["state", "ID"]).contains("does not exist"));
    assert_eq!(cgroups(c), Vec::<PathBuf>::new());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let scratch = c.scratch.path().to_str().unwrap();
    assert!(
        !mounts.contains(scratch) && !mounts.contains(c.rootfs().to_str().unwrap()),
        "{mounts}"
    );
}

#[test]
fn a_container_that_was_saved_goes_on_where_it_was() {
    need_criu!();
    let c = counting(|_| {});
    let first = c.pid();
    for work in [&[][..], &["--work-path", "work"]] {
        checkpoint(&c, work);
        gone(&c);
        let saved = count(&c);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(count(&c), saved, "nobody counts any more");
        let options: Vec<&str> = work.iter().chain(&["--pid-file", "pid"]).copied().collect();
        restore(&c, &options);
        let pid = c.pid();
        assert_ne!(pid, first);
        assert_eq!(std::fs::read_to_string(c.dir().join("pid")).unwrap(), pid.to_string());
        eventually("it counts on", || count(&c) > saved);
        assert!(count(&c) < saved + 200, "{} after {saved}: not from the beginning", count(&c));
        // It is a container as any other.
        assert!(c.exec(&["ps"]).contains("while :"));
        assert!(c.ok(&["events", "--stats", "ID"]).contains("\"cpu\""));
        assert!(c.ok(&["ps", "ID"]).contains(&pid.to_string()));
        c.ok(&["pause", "ID"]);
        assert_eq!(c.state()["status"], "paused");
        c.ok(&["resume", "ID"]);
        let inside = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(inside.lines().all(|l| l.ends_with(&format!("/{}", c.id))), "{inside}");
    }
    assert!(c.dir().join("work/dump.log").exists() && c.dir().join("work/restore.log").exists());
    c.ok(&["kill", "ID", "KILL"]);
    eventually("it has ended", || c.state()["status"] == "stopped");
    c.ok(&["delete", "ID"]);
    gone(&c);
}

#[test]
fn one_that_is_left_running_runs_on_and_can_be_restored_later() {
    need_criu!();
    let c = counting(|_| {});
    let pid = c.pid();
    checkpoint(&c, &["--leave-running"]);
    assert_eq!((c.state()["status"].as_str(), c.pid()), (Some("running"), pid));
    let saved = count(&c);
    eventually("it counts on", || count(&c) > saved + 3);
    let o = quiet(&c, &["restore", "-d", "ID"]);
    assert!(!o.0.success() && o.1.contains("exists already"), "{}", o.1);
    c.ok(&["delete", "--force", "ID"]);
    let later = count(&c);
    restore(&c, &[]);
    eventually("it counts from where it was saved", || count(&c) < later);
}

/// Also one that is paused, which stays so if it is left running.
#[test]
fn a_paused_container_can_be_saved() {
    need_criu!();
    let c = counting(|_| {});
    c.ok(&["pause", "ID"]);
    checkpoint(&c, &["--leave-running"]);
    assert_eq!(c.state()["status"], "paused");
    c.ok(&["resume", "ID"]);
    c.ok(&["pause", "ID"]);
    let saved = count(&c);
    checkpoint(&c, &[]);
    gone(&c);
    restore(&c, &[]);
    eventually("it counts on", || count(&c) > saved);
}

/// Pipes of the caller: those of the restore take their place.
#[test]
fn pipes_of_the_caller_are_those_of_the_one_who_restores() {
    need_criu!();
    let c = Bundle::new(|c| {
        let script = "n=0; while read x; do n=$((n+1)); echo got $n $x; done; echo end >&2; exit 7";
        c["process"]["args"] = json!(["sh", "-c", script]);
    });
    let pipe = || {
        // Closed in what other tests start.
        let (read, write) = std::io::pipe().unwrap();
        (std::fs::File::from(OwnedFd::from(read)), std::fs::File::from(OwnedFd::from(write)))
    };
    let talk = |first: &mut std::fs::File, back: &mut std::fs::File, say: &str, hear: &str| {
        first.write_all(say.as_bytes()).unwrap();
        let mut buf = [0; 64];
        let n = back.read(&mut buf).unwrap();
        assert_eq!(String::from_utf8_lossy(&buf[..n]), hear);
    };
    let run = |args: &[&str], ends: [std::fs::File; 3]| {
        let [i, o, e] = ends;
        c.command(args).stdin(i).stdout(o).stderr(e).spawn().unwrap()
    };
    let ((in_r, mut in_w), (mut out_r, out_w), (_err_r, err_w)) = (pipe(), pipe(), pipe());
    assert!(run(&["run", "-d", "ID"], [in_r, out_w, err_w]).wait().unwrap().success());
    talk(&mut in_w, &mut out_r, "a\n", "got 1 a\n");
    checkpoint(&c, &[]);
    let saved = std::fs::read_to_string(c.dir().join("checkpoint/descriptors.json")).unwrap();
    assert_eq!(saved.matches("pipe:[").count(), 3, "{saved}");
    // In the foreground: it is waited for, and its status is ours.
    let ((in_r, mut in_w), (mut out_r, out_w), (mut err_r, err_w)) = (pipe(), pipe(), pipe());
    let mut child = run(&["restore", "ID"], [in_r, out_w, err_w]);
    talk(&mut in_w, &mut out_r, "b\n", "got 2 b\n");
    // Once more, with the new ones.
    checkpoint(&c, &[]);
    assert_eq!(child.wait().unwrap().code(), Some(137), "it was killed once it was saved");
    drop((in_w, out_r));
    let mut rest = String::new();
    err_r.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    let ((in_r, mut in_w), (mut out_r, out_w), (mut err_r, err_w)) = (pipe(), pipe(), pipe());
    let mut child = run(&["restore", "ID"], [in_r, out_w, err_w]);
    talk(&mut in_w, &mut out_r, "c\n", "got 3 c\n");
    drop(in_w);
    assert_eq!(child.wait().unwrap().code(), Some(7));
    err_r.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "end\n");
    gone(&c);
}

/// The master of a terminal that the container holds comes to the console socket.
#[test]
fn a_terminal_comes_to_the_console_socket_of_the_one_who_restores() {
    need_criu!();
    let c = Bundle::new(|c| {
        c["process"]["terminal"] = true.into();
        let script = "n=0; while read x; do n=$((n+1)); echo got:$n $x; done";
        c["process"]["args"] = json!(["sh", "-c", script]);
    });
    let socket = c.scratch.join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let path = socket.to_str().unwrap();
    let master = || {
        let (peer, _) = listener.accept().unwrap();
        let (_, fd) = stockade::sys::io::recv(peer.as_fd(), &mut [0u8; 64], false).unwrap();
        std::fs::File::from(fd.expect("a descriptor"))
    };
    let talk = |master: &mut std::fs::File, say: &str, hear: &str| {
        master.write_all(say.as_bytes()).unwrap();
        let mut seen = String::new();
        while !seen.contains(hear) {
            let mut buf = [0; 256];
            let n = master.read(&mut buf).unwrap();
            seen.push_str(&String::from_utf8_lossy(&buf[..n]));
        }
    };
    let o = quiet(&c, &["run", "-d", "--console-socket", path, "ID"]);
    assert!(o.0.success(), "{}", o.1);
    let mut first = master();
    talk(&mut first, "a\n", "got:1 a");
    checkpoint(&c, &[]);
    drop(first);
    let o = quiet(&c, &["restore", "-d", "ID"]);
    assert!(!o.0.success() && o.1.contains("console socket"), "{}", o.1);
    restore(&c, &["--console-socket", path]);
    let mut second = master();
    talk(&mut second, "b\n", "got:2 b");
    let tty = c.exec(&["readlink", "/proc/1/fd/0"]);
    assert!(tty.starts_with("/dev/pts/"), "{tty}");
}

/// Connections within the container, which takes its loopback interface, and what needs an option of
/// its own: each is an error that names the cause without it.
#[test]
fn what_needs_an_option_is_refused_with_criu_s_reason_and_kept_with_it() {
    need_criu!();
    let cases = [
        (
            "sleep 1000 | nc -l -p 7 > /got & sleep 0.5; \
             (i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done) | nc 127.0.0.1 7",
            "--tcp-established",
        ),
        (
            "exec 3>/got; ln /got /kept; rm /got; while :; do echo 1 >&3; sleep 0.1; done",
            "--link-remap",
        ),
        ("exec counts lock /lock /got", "--file-locks"),
    ];
    for (script, option) in cases {
        let c = Bundle::new(|c| c["process"]["args"] = json!(["sh", "-c", script]));
        for applet in ["nc", "ln", "rm"] {
            let _ = symlink("busybox", c.rootfs().join("bin").join(applet));
        }
        std::fs::copy(counts(), c.rootfs().join("bin/counts")).unwrap();
        let file = if option == "--link-remap" { "kept" } else { "got" };
        let lines = || std::fs::read_to_string(c.rootfs().join(file)).unwrap_or_default();
        start(&c);
        eventually(&format!("it writes: {script}"), || lines().len() > 2);
        let said = c.fails(&["checkpoint", "ID"]);
        assert!(said.contains("criu failed: type DUMP") && said.contains("Error ("), "{said}");
        let saved = lines().len();
        eventually("it goes on", || lines().len() > saved);
        assert!(!c.dir().join("checkpoint/descriptors.json").exists());
        checkpoint(&c, &[option]);
        let saved = lines();
        let more: &[&str] = if option == "--link-remap" { &[] } else { &[option] };
        restore(&c, more);
        eventually("it writes on", || lines().len() > saved.len());
        if option == "--tcp-established" {
            // Nothing is lost and nothing comes twice.
            eventually("some more", || lines().len() > saved.len() + 8);
            let text = lines();
            let whole = text.rsplit_once('\n').unwrap().0;
            let numbers: Vec<u64> = whole.lines().map(|l| l.parse().unwrap()).collect();
            assert!(numbers.iter().zip(1..).all(|(a, b)| *a == b), "{numbers:?}");
        }
    }
}

/// A datagram socket whose other end is outside.
#[test]
fn unix_sockets_of_others_are_connected_again() {
    need_criu!();
    // criu finds out whose they are within one network namespace, and connects by the path that the
    // other end is bound to.
    let place = support::Scratch::new();
    let socket = UnixDatagram::bind(place.join("sock")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["/bin/counts", "tell", place.join("sock")]);
        let bind = json!({"destination": place.path(), "type": "bind", "source": place.path(), "options": ["bind"]});
        c["mounts"].as_array_mut().unwrap().push(bind);
        c["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
    });
    std::fs::copy(counts(), c.rootfs().join("bin/counts")).unwrap();
    start(&c);
    let heard = || {
        let mut buf = [0; 32];
        let n = socket.recv(&mut buf).unwrap();
        String::from_utf8_lossy(&buf[..n]).parse::<u64>().unwrap()
    };
    assert!(heard() > 0);
    let said = c.fails(&["checkpoint", "ID"]);
    assert!(said.contains("Error (") && said.contains("unix"), "{said}");
    checkpoint(&c, &["--ext-unix-sk"]);
    socket.set_nonblocking(true).unwrap();
    let mut last = 0;
    let mut buf = [0; 32];
    while let Ok(n) = socket.recv(&mut buf) {
        last = String::from_utf8_lossy(&buf[..n]).parse().unwrap();
    }
    socket.set_nonblocking(false).unwrap();
    restore(&c, &["--ext-unix-sk"]);
    assert!(heard() > last, "it counts on, after {last}");
}

/// The memory ahead, and then what has changed of it.
#[test]
fn memory_can_be_saved_ahead() {
    need_criu!();
    if !has("mem_dirty_track") {
        skip_on_this_kind_of_host!("the kernel does not tell which pages have changed");
    }
    let c = counting(|_| {});
    checkpoint(&c, &["--pre-dump", "--image-path", "parent"]);
    assert_eq!(c.state()["status"], "running");
    assert!(!c.dir().join("parent/descriptors.json").exists());
    let (status, log) = quiet(&c, &["restore", "-d", "--image-path", "parent", "other"]);
    assert!(!status.success() && log.contains("descriptors.json"), "{log}");
    let saved = count(&c);
    eventually("it counts on", || count(&c) > saved);
    checkpoint(&c, &["--parent-path", "../parent", "--image-path", "image", "--work-path", "work"]);
    assert_eq!(std::fs::read_link(c.dir().join("image/parent")).unwrap(), Path::new("../parent"));
    gone(&c);
    let saved = count(&c);
    restore(&c, &["--image-path", "image", "--work-path", "work", "--auto-dedup"]);
    eventually("it counts on", || count(&c) > saved);
}

/// Needs nothing of criu: it is refused before.
#[test]
fn earlier_images_are_named_from_the_image_directory() {
    need_root!();
    let c = counting(|_| {});
    for parent in ["/tmp", "nope", "../config.json"] {
        let said = c.fails(&["checkpoint", "--parent-path", parent, "ID"]);
        assert!(said.contains("--parent-path"), "{said}");
    }
    assert_eq!(c.state()["status"], "running");
}

/// The restored container runs at once, and gets its memory from the old one page by page.
#[test]
fn memory_can_be_handed_over_while_it_runs() {
    need_criu!();
    if !has("uffd-noncoop") {
        skip_on_this_kind_of_host!("no userfaultfd as criu needs it");
    }
    let c = counting(|_| {});
    let (mut ready, end) = {
        let (read, write) = nix::unistd::pipe().unwrap();
        (std::fs::File::from(read), write)
    };
    // A child inherits it by its number.
    let number = std::os::fd::AsRawFd::as_raw_fd(&end);
    nix::fcntl::fcntl(&end, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let port = free_port();
    let (server, status_fd) = (format!("127.0.0.1:{port}"), number.to_string());
    let args =
        ["checkpoint", "--lazy-pages", "--page-server", &server, "--status-fd", &status_fd, "ID"];
    let mut old = c.command(&args).stderr(Stdio::piped()).spawn().unwrap();
    drop(end);
    let mut byte = [1];
    let told = ready.read(&mut byte).unwrap();
    if (told, byte) != (1, [0]) {
        let o = old.wait_with_output().unwrap();
        panic!("{o:?}\n{}", tail(&c.dir(), "dump.log"));
    }
    let daemon = Command::new("criu")
        .args([
            "lazy-pages",
            "--page-server",
            "--address",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ])
        .args(["-D", "checkpoint", "-o", "lazy.log"])
        .current_dir(c.dir())
        .stdin(Stdio::null())
        .spawn();
    let mut daemon = daemon.unwrap();
    eventually("it listens", || c.dir().join("checkpoint/lazy-pages.socket").exists());
    let saved = count(&c);
    let other = format!("{}-restored", c.id);
    let file = c.dir().join("config.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(&format!("\"/{}\"", c.id), &format!("\"/{other}\"")))
        .unwrap();
    let (status, log) = quiet(&c, &["restore", "-d", "--lazy-pages", &other]);
    let counts = status.success() && {
        let until = Instant::now() + Duration::from_secs(60);
        while count(&c) <= saved && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        count(&c) > saved
    };
    let ended = old.wait().unwrap();
    let daemon_ended = daemon.wait().unwrap();
    c.ok(&["delete", "--force", &other]);
    assert!(status.success() && counts, "{log}\n{}", tail(&c.dir(), "restore.log"));
    assert!(ended.success() && daemon_ended.success());
    gone(&c);
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Namespaces that others have made.
#[test]
fn a_joined_network_namespace_is_joined_again() {
    need_criu!();
    // Held by its bind, as `ip netns` does it.
    let mut holder = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up; echo; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let path = format!("/proc/{}/ns/net", holder.id());
    let inode = |path: &str| std::fs::read_link(path).unwrap();
    let result = std::panic::catch_unwind(|| {
        let c = counting(|c| {
            let list = c["linux"]["namespaces"].as_array_mut().unwrap();
            list.iter_mut().find(|n| n["type"] == "network").unwrap()["path"] = json!(path);
        });
        let of = |c: &Bundle| inode(&format!("/proc/{}/ns/net", c.pid()));
        assert_eq!(of(&c), inode(&path));
        checkpoint(&c, &[]);
        let saved = count(&c);
        restore(&c, &[]);
        assert_eq!(of(&c), inode(&path));
        eventually("it counts on", || count(&c) > saved);
    });
    holder.kill().unwrap();
    holder.wait().unwrap();
    result.unwrap();
}

/// Mounts of the host's are the host's again, also where their places have to be made first and where
/// the root's symlinks lead.
#[test]
fn binds_are_what_the_host_has_by_then() {
    need_criu!();
    let host = support::Scratch::new();
    for dir in ["one", "two", "conf"] {
        std::fs::create_dir(host.join(dir)).unwrap();
    }
    let file = host.file("file", "old");
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["sh", "-c", COUNTS]);
        let bind = |to: &str, from: PathBuf| json!({"destination": to, "type": "bind", "source": from, "options": ["bind", "ro"]});
        c["mounts"].as_array_mut().unwrap().extend([
            json!({"destination": "/test", "type": "bind", "source": host.join("one"), "options": ["rbind"]}),
            bind("/test/for/nested", host.join("two")),
            bind("/conf", host.join("conf")),
            json!({"destination": "/follows", "type": "bind", "source": host.join("two"),
                "options": ["rbind", "rslave"]}),
            bind("/etc/file", file.clone()),
            json!({"destination": "/cache", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]}),
            bind("/cache/in/file", file.clone()),
        ]);
    });
    std::fs::create_dir_all(c.rootfs().join("real/conf")).unwrap();
    symlink("/real/conf", c.rootfs().join("conf")).unwrap();
    std::fs::create_dir_all(c.rootfs().join("etc")).unwrap();
    start(&c);
    eventually("it counts", || count(&c) > 0);
    c.exec(&["sh", "-c", "echo kept > /cache/own"]);
    let slave = |c: &Bundle| {
        let mounts = c.exec(&["cat", "/proc/self/mountinfo"]);
        let line = mounts.lines().find(|l| l.split(' ').nth(4) == Some("/follows")).unwrap();
        line.split(' ').find(|f| f.starts_with("master:")).unwrap_or("no master").to_owned()
    };
    let before = slave(&c);
    checkpoint(&c, &[]);
    std::fs::remove_dir_all(host.join("one/for")).unwrap();
    std::fs::remove_file(c.rootfs().join("etc/file")).unwrap();
    std::fs::write(&file, "new").unwrap();
    host.file("two/there", "nested");
    host.file("conf/there", "through a symlink");
    restore(&c, &[]);
    assert_eq!(c.exec(&["cat", "/etc/file"]), "new");
    assert_eq!(c.exec(&["cat", "/cache/in/file"]), "new");
    assert_eq!(c.exec(&["cat", "/cache/own"]), "kept\n");
    assert_eq!(c.exec(&["cat", "/test/for/nested/there"]), "nested");
    assert_eq!(c.exec(&["cat", "/conf/there"]), "through a symlink");
    let mounts = c.exec(&["cat", "/proc/self/mountinfo"]);
    let options = |place: &str| {
        let line = mounts.lines().find(|l| l.split(' ').nth(4) == Some(place)).unwrap();
        line.split(' ').nth(5).unwrap().to_owned()
    };
    assert!(
        options("/etc/file").starts_with("ro,") && options("/test").starts_with("rw,"),
        "{mounts}"
    );
    // What followed the host's mounts does so again.
    assert_eq!(slave(&c), before, "{before}");
    // What is masked is masked, and what is read-only is.
    assert_eq!(c.exec(&["cat", "/proc/timer_list"]), "");
    assert!(options("/proc/sys").starts_with("ro,"), "{mounts}");
}

/// Those of the network run when its namespaces are there, those of the end when it is removed; the
/// others are of a start, which this is none.
#[test]
fn hooks_run_as_with_runc() {
    need_criu!();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["sh", "-c", COUNTS]);
        let hook = |name: &str| {
            let script = format!("read s; echo \"{name} $s\" >> told");
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
        };
        let kinds = [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ];
        c["hooks"] = kinds.iter().map(|k| ((*k).to_owned(), hook(k))).collect();
        c["hooks"]["createContainer"] = json!([]);
        c["hooks"]["startContainer"] = json!([]);
    });
    start(&c);
    let told = || {
        let text = std::fs::read_to_string(c.dir().join("told")).unwrap_or_default();
        let _ = std::fs::remove_file(c.dir().join("told"));
        let word = |l: &str| l.split(' ').next().unwrap().to_owned();
        (text.lines().map(word).collect::<Vec<_>>(), text)
    };
    assert_eq!(told().0, ["prestart", "createRuntime", "poststart"]);
    checkpoint(&c, &["--leave-running"]);
    assert_eq!(told().0, Vec::<String>::new());
    checkpoint(&c, &[]);
    assert_eq!(told().0, ["poststop"]);
    restore(&c, &[]);
    let (names, text) = told();
    assert_eq!(names, ["prestart", "createRuntime"]);
    assert!(text.contains(&format!("\"pid\":{}", c.pid())), "{text}");
    c.ok(&["delete", "--force", "ID"]);
    assert_eq!(told().0, ["poststop"]);
    // One that fails takes all back.
    let file = c.dir().join("config.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("echo \\\"createRuntime", "exit 3; echo \\\"createRuntime"))
        .unwrap();
    let (status, log) = quiet(&c, &["restore", "-d", "ID"]);
    assert!(!status.success() && log.contains("createRuntime hook"), "{log}");
    assert_eq!(told().0, ["prestart", "poststop"]);
    gone(&c);
}

/// The causes are in the error, and the container runs on; afterwards nothing restores what is half
/// made.
#[test]
fn what_criu_cannot_save_is_told_and_runs_on() {
    need_criu!();
    let c = Bundle::new(|c| c["process"]["args"] = json!(["sh", "-c", COUNTS]));
    let file = std::fs::File::create(c.scratch.join("outside")).unwrap();
    let status =
        c.command(&["run", "-d", "ID"]).stdout(file).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    eventually("it counts", || count(&c) > 0);
    let said = c.fails(&["checkpoint", "--work-path", "work", "ID"]);
    assert!(said.contains("Can't lookup mount=") && said.contains("outside"), "{said}");
    assert!(said.contains("dump.log") && said.contains("criu check"), "{said}");
    assert_eq!(c.state()["status"], "running");
    let saved = count(&c);
    eventually("it counts on", || count(&c) > saved);
    c.ok(&["delete", "--force", "ID"]);
    let (status, log) = quiet(&c, &["restore", "-d", "ID"]);
    assert!(!status.success() && log.contains("descriptors.json"), "{log}");
    gone(&c);
}

/// Images that are damaged, and a file that is gone: nothing is left of the attempt.
#[test]
fn what_cannot_be_restored_leaves_nothing_behind() {
    need_criu!();
    let c = Bundle::new(|c| {
        let script = format!("exec 3> /held; {COUNTS}");
        c["process"]["args"] = json!(["sh", "-c", script]);
    });
    start(&c);
    eventually("it counts", || count(&c) > 0);
    checkpoint(&c, &[]);
    let image = c.dir().join("checkpoint");
    let fails = |why: &str| {
        let (status, log) = quiet(&c, &["restore", "-d", "--work-path", "work", "ID"]);
        assert!(!status.success() && log.contains("criu failed: type RESTORE"), "{log}");
        assert!(log.contains("Error (") && log.contains(why), "{log}");
        gone(&c);
    };
    // Early, when there are no processes yet.
    let inventory = std::fs::read(image.join("inventory.img")).unwrap();
    std::fs::write(image.join("inventory.img"), b"nonsense").unwrap();
    fails("inventory");
    std::fs::write(image.join("inventory.img"), inventory).unwrap();
    // Late, when there are.
    std::fs::rename(c.rootfs().join("held"), c.rootfs().join("moved")).unwrap();
    fails("held");
    std::fs::rename(c.rootfs().join("moved"), c.rootfs().join("held")).unwrap();
    let saved = count(&c);
    restore(&c, &[]);
    eventually("it counts on", || count(&c) > saved);
}

/// Somebody ends `restore` while a hook of it is at work: `delete` finds all that there is by then.
#[test]
fn a_restore_that_is_killed_leaves_what_delete_removes() {
    need_criu!();
    let c = counting(|_| {});
    checkpoint(&c, &[]);
    let file = c.dir().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let script = "echo > at-work; while [ -e at-work ]; do sleep 0.1; done";
    config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    std::fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
    let mut command = c.command(&["restore", "-d", "ID"]);
    let mut restore = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the hook is at work", || c.dir().join("at-work").exists());
    restore.kill().unwrap();
    restore.wait().unwrap();
    c.ok(&["delete", "--force", "ID"]);
    gone(&c);
    std::fs::remove_file(c.dir().join("at-work")).unwrap();
}

/// criu believes its images as root, so nobody else may write there; and a log is no way to a file of
/// the host's.
#[test]
fn directories_that_others_may_write_to_are_refused() {
    need_root!();
    let c = counting(|_| {});
    let image = c.dir().join("image");
    for mode in [0o777, 0o770, 0o1777] {
        let _ = std::fs::create_dir(&image);
        std::fs::set_permissions(&image, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::write(image.join("descriptors.json"), "[]").unwrap();
        for option in ["--image-path", "--work-path"] {
            let said = c.fails(&["checkpoint", option, "image", "ID"]);
            assert!(said.contains("others could change"), "{said}");
        }
        let said = c.fails(&["restore", "--image-path", "image", "other"]);
        assert!(said.contains("others could change"), "{said}");
    }
    std::fs::set_permissions(&image, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&image, Some(1000), None).unwrap();
    let said = c.fails(&["checkpoint", "--image-path", "image", "ID"]);
    assert!(said.contains("belongs to user 1000"), "{said}");
    std::os::unix::fs::chown(&image, Some(0), None).unwrap();
    // Whatever becomes of the checkpoint here.
    let decoy = c.scratch.file("decoy", "precious");
    for name in ["dump.log", "descriptors.json"] {
        let _ = std::fs::remove_file(image.join(name));
        symlink(&decoy, image.join(name)).unwrap();
    }
    let _ = c.call(&["checkpoint", "--leave-running", "--image-path", "image", "ID"]);
    assert_eq!(std::fs::read_to_string(&decoy).unwrap(), "precious");
    assert!(std::fs::symlink_metadata(image.join("dump.log")).unwrap().is_file());
    assert_eq!(c.state()["status"], "running");
}

#[test]
fn what_makes_no_sense_is_refused_before_criu_is_asked() {
    need_root!();
    let c = counting(|_| {});
    let bad: [(&[&str], &str); 8] = [
        (&["--manage-cgroups-mode", "most"], "invalid manage-cgroups-mode value"),
        (&["--empty-ns", "pid"], "is not supported"),
        (&["--page-server", "nowhere"], "ADDRESS:PORT"),
        (&["--page-server", "a:x"], "Invalid port number"),
        (&["--status-fd", "77"], "invalid --status-fd argument 77"),
        (&["--status-fd", "0"], "invalid --status-fd argument 0"),
        (&["--status-fd", "x"], "status-fd"),
        (&["--nope"], "not defined"),
    ];
    for (options, why) in bad {
        let args: Vec<&str> =
            ["checkpoint"].iter().chain(options).chain(&["ID"]).copied().collect();
        let said = c.fails(&args);
        assert!(said.contains(why), "{options:?}: {said}");
    }
    let created = Bundle::new(|_| {});
    let o = quiet(&created, &["create", "ID"]);
    assert!(o.0.success(), "{}", o.1);
    let said = created.fails(&["checkpoint", "ID"]);
    assert!(said.contains("cannot be checkpointed in created state"), "{said}");
    let said = c.fails(&["checkpoint", "nosuch"]);
    assert!(said.contains("does not exist"), "{said}");
    let o = c.command(&["checkpoint", "ID"]).env("PATH", "/nonexistent").output().unwrap();
    let said = String::from_utf8_lossy(&o.stderr);
    assert!(!o.status.success() && said.contains("there is none in PATH"), "{said}");
    let said = c.fails(&["restore", "--image-path", "nope", "other"]);
    assert!(said.contains("nope") && !c.dir().join("nope").exists(), "{said}");
    assert_eq!(c.state()["status"], "running");
}

/// criu can do it for root of the host alone.
#[test]
fn an_ordinary_user_is_told_that_it_takes_root() {
    need_root!();
    let c = counting(|_| {});
    // In a user namespace root is an ordinary user.
    for verb in ["checkpoint", "restore"] {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).arg(support::bin()).arg("--root");
        command.arg(c.scratch.join("root")).args([verb, &c.id]).current_dir(c.dir());
        let o: Output = command.output().unwrap();
        let said = String::from_utf8_lossy(&o.stderr);
        assert!(!o.status.success() && said.contains("needs root of the host"), "{verb}: {said}");
    }
}

/// Where criu cannot work at all the reason is in the error.
#[test]
fn where_criu_fails_its_reason_is_told() {
    need_root!();
    let c = counting(|_| {});
    let why = match criu() {
        None => skip!("criu is not installed"),
        Some(Ok(())) => skip_on_this_kind_of_host!("criu works here"),
        Some(Err(why)) => why,
    };
    let cause = why.lines().find(|l| l.starts_with("Error (")).unwrap_or_else(|| panic!("{why}"));
    let cause = cause.split_once("): ").unwrap().1;
    for options in [&[][..], &["--work-path", "work"]] {
        let args: Vec<&str> =
            ["checkpoint"].iter().chain(options).chain(&["ID"]).copied().collect();
        let said = c.fails(&args);
        assert!(
            said.contains("criu failed: type DUMP") && said.contains(cause),
            "{said}\nnot: {why}"
        );
    }
    // Before it has a log criu cuts its own lines.
    let said = c.fails(&["checkpoint", "--pre-dump", "ID"]);
    assert!(said.contains("criu failed: type FEATURE_CHECK errno 0: Error (criu/"), "{said}");
    assert_eq!(c.state()["status"], "running");
    let saved = count(&c);
    eventually("it counts on", || count(&c) > saved);
    std::fs::write(c.dir().join("checkpoint/descriptors.json"), "[]").unwrap();
    std::fs::set_permissions(
        c.dir().join("checkpoint/descriptors.json"),
        std::fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    c.ok(&["delete", "--force", "ID"]);
    let (status, log) = quiet(&c, &["restore", "-d", "ID"]);
    assert!(!status.success() && log.contains(cause), "{log}");
    gone(&c);
}

/// Limits come from the configuration, and its own cgroups' settings as the mode says.
#[test]
fn the_restored_container_has_its_limits() {
    need_criu!();
    for mode in ["ignore", "soft", "full", "strict"] {
        let c = counting(|c| {
            c["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50}});
        });
        let limit = || {
            let file = |dir: &PathBuf| {
                let of = |name| std::fs::read_to_string(dir.join(name)).ok();
                of("memory.max").or_else(|| of("memory.limit_in_bytes"))
            };
            let found = c.id.as_str();
            let mut dirs = vec![PathBuf::from("/sys/fs/cgroup").join(found)];
            let text = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
            let memory = text.lines().find_map(|l| l.split_once(":memory:"));
            dirs.extend(
                memory.map(|(_, path)| PathBuf::from(format!("/sys/fs/cgroup/memory{path}"))),
            );
            dirs.iter().find_map(file).unwrap().trim().to_owned()
        };
        assert_eq!(limit(), (64 << 20).to_string());
        checkpoint(&c, &["--manage-cgroups-mode", mode]);
        let saved = count(&c);
        let (status, log) = quiet(&c, &["restore", "-d", "--manage-cgroups-mode", mode, "ID"]);
        if mode == "strict" {
            // What there is is made by us, and criu wants to make it.
            assert!(status.success() || log.contains("Error ("), "{log}");
            continue;
        }
        assert!(status.success(), "{mode}: {log}\n{}", tail(&c.dir(), "restore.log"));
        assert_eq!(limit(), (64 << 20).to_string(), "{mode}");
        eventually("it counts on", || count(&c) > saved);
    }
}

/// With a seccomp filter, no new privileges and few capabilities; also what criu does not bring back: that they
/// can gain none (before criu 4), the session keyring, sysctls of the network.
#[test]
fn rights_are_as_they_were() {
    need_criu!();
    const PORT: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let host = std::fs::read_to_string(PORT).unwrap();
    let c = counting(|c| {
        c["process"]["args"] =
            json!(["sh", "-c", COUNTS.replace("echo", "cat /proc/keys > /keys; echo")]);
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "77"});
        c["process"]["noNewPrivileges"] = true.into();
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]});
    });
    let keys =
        ["CapEff", "CapBnd", "CapPrm", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Uid", "Groups"];
    let rights = |c: &Bundle| {
        let text = std::fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
        keys.map(|key| status_line(&text, key).to_owned())
    };
    let before = rights(&c);
    checkpoint(&c, &[]);
    restore(&c, &[]);
    assert_eq!(rights(&c), before);
    assert_eq!(c.exec(&["cat", PORT]), "77\n");
    assert_eq!(std::fs::read_to_string(PORT).unwrap(), host);
    let saved = count(&c);
    eventually("it looks at its keys again", || count(&c) > saved + 1);
    let keys = std::fs::read_to_string(c.rootfs().join("keys")).unwrap();
    assert!(keys.contains(&format!("_ses.{}", c.id)), "{keys}");
    let names = |pid: i32| {
        ["mnt", "pid", "net", "ipc", "uts"]
            .map(|n| std::fs::read_link(format!("/proc/{pid}/ns/{n}")).unwrap())
    };
    let own = names(i32::try_from(std::process::id()).unwrap());
    assert!(names(c.pid()).iter().zip(&own).all(|(a, b)| a != b));
    assert_eq!(c.exec(&["cat", "/proc/sys/kernel/hostname"]), "runc\n");
    // The runtime leaves nothing open in there.
    let fds = c.exec(&["ls", "/proc/1/fd"]);
    assert!(fds.split_whitespace().all(|fd| ["0", "1", "2", "10"].contains(&fd)), "{fds}");
}

/// In a user namespace, where devices are binds.
#[test]
fn a_container_with_a_user_namespace_goes_on_too() {
    need_criu!();
    let c = Bundle::new(|c| {
        c["process"]["args"] = json!(["sh", "-c", COUNTS]);
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        c["linux"]["uidMappings"] = map.clone();
        c["linux"]["gidMappings"] = map;
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    });
    // What it counts in has to be its own, and it has to find it.
    std::os::unix::fs::chown(c.rootfs(), Some(100_000), Some(100_000)).unwrap();
    let mut above = c.rootfs().to_owned();
    while above.pop() && above != Path::new("/tmp") && above != Path::new("/") {
        let mode = std::fs::metadata(&above).unwrap().permissions().mode();
        std::fs::set_permissions(&above, std::fs::Permissions::from_mode(mode | 0o111)).unwrap();
    }
    std::fs::set_permissions(c.rootfs(), std::fs::Permissions::from_mode(0o755)).unwrap();
    start(&c);
    eventually("it counts", || count(&c) > 0);
    std::fs::create_dir(c.dir().join("checkpoint")).unwrap();
    std::fs::set_permissions(c.dir().join("checkpoint"), std::fs::Permissions::from_mode(0o711))
        .unwrap();
    checkpoint(&c, &[]);
    let saved = count(&c);
    restore(&c, &[]);
    eventually("it counts on", || count(&c) > saved);
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", c.pid())).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert_eq!(c.exec(&["sh", "-c", "echo x > /dev/null && echo well"]), "well\n");
}

/// The null device that a container has as a stream is its own: by a descriptor of the host's it could
/// change the host's file.
#[test]
fn the_null_device_of_the_caller_is_the_containers() {
    need_root!();
    let c = counting(|_| {});
    let device = |path: &str| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).unwrap().dev()
    };
    for fd in 0..3 {
        assert_ne!(device(&format!("/proc/{}/fd/{fd}", c.pid())), device("/dev/null"), "{fd}");
    }
    let o = quiet(&c, &["exec", "ID", "sh", "-c", "chmod 600 /proc/self/fd/1"]);
    assert!(o.0.success(), "{}", o.1);
    let mode = std::fs::metadata("/dev/null").unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
}

/// runc's images are ours and ours are runc's.
#[test]
fn what_runc_has_saved_is_restored_and_the_other_way_round() {
    need_criu!();
    let Some(runc) = support::bundle::reference() else { skip!("runc is not installed") };
    for (saver, restorer) in [(runc, support::bin()), (support::bin(), runc)] {
        let mut c = Bundle::of(saver, |c| {
            c["process"]["args"] = json!(["sh", "-c", COUNTS]);
            let bind = json!({"destination": "/etc/host", "type": "bind", "source": "/etc/hostname",
                "options": ["bind", "ro"]});
            let mounts = c["mounts"].as_array_mut().unwrap();
            mounts.push(bind);
            // On a hybrid host they show another number of hierarchies.
            mounts.retain(|m| m["type"] != "cgroup");
        });
        start(&c);
        eventually("it counts", || count(&c) > 0);
        checkpoint(&c, &["--image-path", "image"]);
        let saved = count(&c);
        c.program = restorer.into();
        restore(&c, &["--image-path", "image"]);
        eventually("it counts on", || count(&c) > saved);
        assert!(count(&c) < saved + 200);
        assert_eq!(
            c.exec(&["cat", "/etc/host"]),
            std::fs::read_to_string("/etc/hostname").unwrap()
        );
        c.ok(&["delete", "--force", "ID"]);
    }
}

/// The library's face.
#[test]
fn the_library_saves_and_restores() {
    need_criu!();
    use stockade::container::{
        CheckpointOptions, CreateOptions, CriuOptions, RestoreOptions, RunOptions, Runtime,
    };
    let c = counting(|_| {});
    let runtime = Runtime::new(c.scratch.join("root"));
    let images = CriuOptions { images: c.dir().join("library"), ..CriuOptions::default() };
    let options = CheckpointOptions { criu: images.clone(), ..CheckpointOptions::default() };
    let ready: Option<OwnedFd> = options.ready;
    assert!(ready.is_none());
    let options = CheckpointOptions { criu: images.clone(), ..CheckpointOptions::default() };
    assert_eq!(runtime.load(&c.id).unwrap().checkpoint(options).unwrap(), Vec::<String>::new());
    gone(&c);
    let saved = count(&c);
    let restore = RestoreOptions { criu: images, ..RestoreOptions::default() };
    let run = RunOptions { detach: true, ..RunOptions::default() };
    let create = CreateOptions::new(c.dir());
    let status = runtime.restore(&c.id, &create, &restore, run, &mut |w| panic!("{w}")).unwrap();
    assert_eq!(status, 0);
    eventually("it counts on", || count(&c) > saved);
    runtime.delete(&c.id, true).unwrap();
}
