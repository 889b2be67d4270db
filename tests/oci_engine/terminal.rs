//! Terminals by a console socket.

use crate::bundle::{Bundle, wait};
use crate::need_root;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

/// The descriptor that comes over the socket, and the name with it.
fn receive(listener: &UnixListener) -> (OwnedFd, String) {
    let (peer, _) = listener.accept().unwrap();
    let mut buf = [0; 4096];
    let (n, fd) = stockade::sys::io::recv(peer.as_fd(), &mut buf, false).unwrap();
    (fd.unwrap(), String::from_utf8_lossy(&buf[..n]).into_owned())
}

/// T5, CVE-2025-52565: the terminal is one of the container's own devpts, and /dev/console is the
/// same one.
#[test]
fn t5_a_terminal_of_the_containers_own() {
    need_root!();
    let mut bundle = Bundle::new(
        "tty; stty size; test -c /dev/console && echo console; ls -l /dev/pts; stat -c %u /dev/pts/0; \
         grep console /proc/self/mountinfo; echo end",
    );
    bundle.set("/process/terminal", true);
    bundle.set("/process/consoleSize", serde_json::json!({"height": 31, "width": 97}));
    bundle.set("/process/user", serde_json::json!({"uid": 1001, "gid": 1002}));
    let socket = bundle.dir.join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut options = bundle.options();
    options.console_socket = Some(socket);
    options.pid_file = Some(bundle.dir.join("pid"));
    let container = bundle.runtime().create(&bundle.id, &options).unwrap();
    let pid = container.state().unwrap().pid;
    assert_eq!(std::fs::read_to_string(bundle.dir.join("pid")).unwrap(), pid.to_string());
    let (master, name) = receive(&listener);
    assert!(!name.is_empty());
    container.start().unwrap();
    let mut text = Vec::new();
    // The end of a terminal is an error.
    let _ = std::fs::File::from(master).read_to_end(&mut text);
    wait(pid);
    container.delete(true).unwrap();
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    for words in ["/dev/pts/0", "31 97", "console", "\n1001\n", "/dev/console", "end"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    bundle.is_gone();
}
