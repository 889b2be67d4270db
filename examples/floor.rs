//! The floor that `scripts/bench` measures against: what no jail can be faster than.
//!
//! One clone3 with the namespaces of a jail, the id maps, and execve of `/bin/true`: no mount,
//! no cgroup, no filter. Needs root.

#![forbid(unsafe_code)]

use std::io::{Error, Result};
use std::os::fd::{AsFd, OwnedFd};
use stockade::sys::process::{self, CStringArray};
use stockade::sys::{Errno, io};

struct Job {
    go: OwnedFd,
    argv: CStringArray,
    envp: CStringArray,
}

/// The child: waits for its id maps, then execs.
fn child(job: &Job) -> ! {
    let mut byte = [0u8; 1];
    if io::read(job.go.as_fd(), &mut byte) == Ok(1) {
        process::execve(c"/bin/true", &job.argv, &job.envp);
    }
    process::exit_group(127)
}

fn main() -> Result<()> {
    let (go, write) = io::pipe()?;
    let job =
        Job { go, argv: CStringArray::new(vec![c"true".into()]), envp: CStringArray::new(vec![]) };
    let flags = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    let flags = flags.into_iter().fold(0, |all, f| all | u64::from(f.cast_unsigned()));
    let (pid, _pidfd) = process::clone_into(flags, None, child, &job)?;
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{map}"), "0 2000000000 65536\n")?;
    }
    io::write(write.as_fd(), b"g")?;
    let status = loop {
        match process::wait4(pid, 0) {
            Ok(Some(waited)) => break waited.status,
            Ok(None) | Err(Errno(libc::EINTR)) => {}
            Err(e) => return Err(e.into()),
        }
    };
    if status == 0 { Ok(()) } else { Err(Error::other(format!("wait status {status:#x}"))) }
}
