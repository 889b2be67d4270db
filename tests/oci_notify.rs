//! Containers as services of a manager that waits for them to be ready (NOTIFY_SOCKET).

mod support;

use serde_json::json;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use support::Scratch;
use support::bundle::Bundle;

/// Sends each of its arguments to `$NOTIFY_SOCKET`.
const SENDER: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
int main(int argc, char **argv) {
  struct sockaddr_un a = { .sun_family = AF_UNIX };
  strcpy(a.sun_path, getenv("NOTIFY_SOCKET"));
  int s = socket(AF_UNIX, SOCK_DGRAM, 0);
  for (int i = 1; i < argc; i++)
    if (sendto(s, argv[i], strlen(argv[i]), 0, (void *)&a, sizeof a) < 0) return 1;
  return 0;
}
"#;

struct Service {
    dir: Scratch,
    manager: UnixDatagram,
    bundle: Bundle,
}

/// `sh -c script`, in which `say` tells the manager, as another user than root.
fn service(script: &str, user: bool) -> Service {
    let dir = Scratch::new();
    let manager = UnixDatagram::bind(dir.join("manager")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let source = dir.file("say.c", SENDER);
    let mut root = None;
    let bundle = Bundle::new(|c| {
        c["process"]["args"] = json!(["sh", "-c", script]);
        c["process"]["user"] = json!({"uid": 1001, "gid": 1002});
        c["process"]["env"] = json!(["PATH=/bin", "NOTIFY_SOCKET=/nowhere"]);
        root = c["root"]["path"].as_str().map(str::to_owned);
        if user {
            let map = json!([{"containerID": 0, "hostID": 2_000_100_000u32, "size": 65536}]);
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            (c["linux"]["uidMappings"], c["linux"]["gidMappings"]) = (map.clone(), map);
        }
    });
    let root = root.unwrap();
    let built = std::process::Command::new("gcc")
        .args(["-static", "-o"])
        .arg(Path::new(&root).join("bin/say"))
        .arg(&source)
        .status();
    assert!(built.unwrap().success());
    if user {
        // Where the runtime makes mount points.
        std::os::unix::fs::chown(&root, Some(2_000_100_000), Some(2_000_100_000)).unwrap();
        let dirs = ["proc", "sys", "dev"].map(|d| Path::new(&root).join(d));
        for dir in dirs {
            std::os::unix::fs::chown(dir, Some(2_000_100_000), Some(2_000_100_000)).unwrap();
        }
    }
    Service { dir, manager, bundle }
}

impl Service {
    fn begin(&self, args: &[&str]) -> std::process::Child {
        let mut command = self.bundle.command(args);
        command.env("NOTIFY_SOCKET", self.dir.join("manager"));
        command.stdout(Stdio::null()).spawn().unwrap()
    }

    /// The next datagram, and the descriptor with it.
    fn hear(&self) -> (String, Option<OwnedFd>) {
        let mut buf = [0; 4096];
        let (len, fd) = stockade::sys::io::recv(self.manager.as_fd(), &mut buf, false).unwrap();
        (String::from_utf8(buf[..len].to_vec()).unwrap(), fd)
    }

    /// What the manager hears of a container in the background. The barrier's descriptor.
    fn hears_that_it_is_ready(&self) -> OwnedFd {
        assert_eq!(self.hear().0, "READY=1\n");
        let pid = self.bundle.pid();
        assert_eq!(self.hear().0, format!("MAINPID={pid}\n"));
        let (text, barrier) = self.hear();
        assert_eq!(text, "BARRIER=1");
        barrier.unwrap()
    }

    fn nothing_is_left(&self) {
        self.bundle.ok(&["delete", "--force", "ID"]);
        let left = std::fs::read_dir(self.bundle.scratch.join("root")).unwrap().count();
        assert_eq!(left, 0);
    }
}

/// Of what the program says, that it is ready is passed on, and which process is the main one.
#[test]
fn a_container_in_the_background_is_ready_when_its_program_says_so() {
    need_root!();
    for user in [false, true] {
        let s = service("say STATUS=x 'STATUS=y\nREADY=1\nX=1'; exec sleep 1000", user);
        let mut run = s.begin(&["run", "--detach", "ID"]);
        let barrier = s.hears_that_it_is_ready();
        assert!(run.try_wait().unwrap().is_none(), "it does not wait for the manager");
        drop(barrier);
        assert!(run.wait().unwrap().success());
        s.nothing_is_left();
    }
}

#[test]
fn a_created_container_is_ready_after_its_start() {
    need_root!();
    let s = service("say READY=1; exec sleep 1000", false);
    assert!(s.begin(&["create", "ID"]).wait().unwrap().success());
    let mut start = s.begin(&["start", "ID"]);
    drop(s.hears_that_it_is_ready());
    assert!(start.wait().unwrap().success());
    s.nothing_is_left();
}

/// Then the runtime is the service's process.
#[test]
fn in_the_foreground_the_runtime_is_the_main_process() {
    need_root!();
    let s = service("say READY=1; exit 7", false);
    let mut run = s.begin(&["run", "ID"]);
    assert_eq!(s.hear().0, "READY=1\n");
    assert_eq!(s.hear().0, format!("MAINPID={}\n", run.id()));
    assert_eq!(run.wait().unwrap().code(), Some(7));
    s.nothing_is_left();
}

#[test]
fn a_container_that_ends_before_it_is_ready_is_not_waited_for() {
    need_root!();
    let s = service("say STATUS=no; exit 1", false);
    assert!(s.begin(&["run", "--detach", "ID"]).wait().unwrap().success());
    assert!(s.begin(&["delete", "ID"]).wait().unwrap().success());
    s.nothing_is_left();
    // Nor does it begin with an address that is none.
    let mut command = s.bundle.command(&["run", "ID"]);
    let o = command.env("NOTIFY_SOCKET", "nonsense").output().unwrap();
    assert!(String::from_utf8_lossy(&o.stderr).contains("NOTIFY_SOCKET"), "{o:?}");
    s.nothing_is_left();
}

/// The manager's own socket is not in the container, and what is there cannot be written to but for the
/// socket.
#[test]
fn the_program_has_a_socket_of_its_own_on_a_read_only_mount() {
    need_root!();
    let s = service("echo $NOTIFY_SOCKET; ls /run/notify; touch /run/notify/x; exit 0", false);
    let mut command = s.bundle.command(&["run", "ID"]);
    let o = command.env("NOTIFY_SOCKET", s.dir.join("manager")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    assert_eq!(out, "/run/notify/notify.sock\nnotify.sock\n");
    assert!(err.contains("Read-only file system"), "{err}");
}
