//! What one jail can take from the others, and from the host: what the kernel has once for all
//! processes of a user, or once for all.

mod support;

use support::live::Live;
use support::{Run, Scratch, jail, python, sh};

/// Holds 6000 descriptors that are on their way through sockets, until its stdin ends.
const IN_FLIGHT: &str = "
import array, resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
kept, sent = [], 0
try:
    while sent < hard + 1000:
        kept += socket.socketpair()
        for _ in range(2):
            kept[-1].sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [1] * 100))])
            sent += 100
except OSError:
    pass
print('sent', sent > 1024, flush=True)
sys.stdin.read()
";

fn piped(command: &mut std::process::Command) {
    command.stdin(std::process::Stdio::piped());
}

fn holding(options: &[&str], code: &str, until: &str) -> Live {
    let mut live = Live::start_with(options, &["/usr/bin/python3", "-c", code], piped);
    live.until(until);
    live
}

#[test]
fn descriptors_that_one_jail_has_on_their_way_do_not_stop_the_next() {
    need_root!();
    for user in [&[][..], &["-u", "0"]] {
        let mut held = holding(user, IN_FLIGHT, "sent True");
        jail([user, &["--", "true"]].concat()).exits(0);
        jail([user, &["--profile", "restricted", "--", "true"]].concat()).exits(0);
        drop(held.stdin());
        held.end().exits(0);
    }
}

#[test]
fn terminals_that_one_jail_opens_are_there_for_the_next() {
    let code = "
import os
kept = []
try:
    while True: kept.append(os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY))
except OSError: pass
print(len(kept))
";
    python(&[], code).exits(0).says("64\n");
}

#[test]
fn the_hosts_asynchronous_requests_are_out_of_reach() {
    let code = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(206, 1000, ctypes.byref(ctypes.c_ulong())), ctypes.get_errno())
";
    python(&[], code).exits(0).says("-1 38\n");
}

/// `vfs_cap_data` version 2: every capability, permitted and effective.
const CAPABILITIES: &str = "01000002ffffffff00000000ff01000000000000";

/// Gives a file of the volume capabilities, as whoever it can become.
fn gives_capabilities(options: &[&str]) -> Run {
    let scratch = Scratch::new();
    let volume = scratch.join("v");
    std::fs::create_dir(&volume).unwrap();
    let bind = format!("{}:/v", volume.display());
    let code = format!(
        "
import ctypes, os
open('/v/f', 'w').close()
def give(name):
    try:
        os.setxattr('/v/f', name, bytes.fromhex('{CAPABILITIES}'))
        print('gave')
    except OSError as e:
        print('refused', e.errno)
give('security.capability')
libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.getuid(), os.getgid()
if libc.unshare(0x10000000) == 0:
    for name, text in (('setgroups', 'deny'), ('uid_map', f'0 {{uid}} 1'), ('gid_map', f'0 {{gid}} 1')):
        try: open('/proc/self/' + name, 'w').write(text)
        except OSError: pass
    give('security.capability')
"
    );
    let run = python(&[options, &["-v", &bind]].concat(), &code);
    let found = capabilities_of(&volume.join("f"));
    assert_eq!(found, "", "of the host's file\n{run:#?}");
    run
}

/// A file's capabilities in hexadecimal.
fn capabilities_of(file: &std::path::Path) -> String {
    let code = "
import os, sys
try: print(os.getxattr(sys.argv[1], 'security.capability').hex(), end='')
except OSError: pass
";
    let out = std::process::Command::new("/usr/bin/python3").args(["-c", code]).arg(file).output();
    String::from_utf8(out.unwrap().stdout).unwrap()
}

#[test]
fn h75_no_file_of_a_volume_gets_capabilities_that_are_good_for_the_host() {
    need_root!();
    for options in [
        &["--nested-userns"][..],
        &["--security-opt", "seccomp=unconfined"],
        &["--cap-add", "SETFCAP", "-u", "0"],
        &["--cap-add", "ALL", "-u", "0"],
        &["--cap-add", "SYS_ADMIN"],
    ] {
        let run = gives_capabilities(options).exits(0);
        assert!(run.stdout.contains("refused 95") && !run.stdout.contains("gave"), "{run:#?}");
    }
    // Without any of that the kernel refuses it, and other attributes are as ever.
    gives_capabilities(&[]).exits(0).says("refused 1\n");
    let scratch = Scratch::new();
    let bind = format!("{}:/v", scratch.path().display());
    sh(
        &["-v", &bind],
        "touch /v/f && /usr/bin/python3 -c 'import os; os.setxattr(\"/v/f\", \"user.x\", b\"1\")'",
    )
    .exits(0);
}
