//! The runtime's own binary, out of a job's reach (CVE-2019-5736).

use crate::attack::open_scratch;
use crate::need_root;
use crate::support::{Scratch, busybox_rootfs};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What must stay: contents, times, owner, mode.
fn state(file: &Path) -> (Vec<u8>, i64, i64, u32, u32, u64) {
    let m = std::fs::metadata(file).unwrap();
    (std::fs::read(file).unwrap(), m.mtime(), m.mtime_nsec(), m.uid(), m.mode(), m.size())
}

/// A program that opens what it is run through, holds it, and writes.
const OVERWRITE: &str = "import os, sys, time
print('in')
held = []
for name in ('/proc/self/exe', '/proc/1/exe', '/proc/%d/exe' % os.getppid()):
    for flags in (os.O_RDONLY, os.O_PATH, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        try: held.append(os.open(name, flags))
        except OSError: pass
for fd in list(held):
    for flags in (os.O_WRONLY, os.O_RDWR | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        try: os.write(os.open('/proc/self/fd/%d' % fd, flags), b'#!/bin/sh\\n')
        except OSError: pass
    for act in (lambda: os.fchmod(fd, 0o777), lambda: os.chmod('/proc/self/fd/%d' % fd, 0o777),
                lambda: os.ftruncate(fd, 0), lambda: os.utime(fd, (0, 0))):
        try: act()
        except OSError: pass
print('done')";

/// A copy of the binary that the caller owns, and a run of it.
struct Copy {
    dir: Scratch,
    file: PathBuf,
    uid: u32,
}

impl Copy {
    fn new(uid: u32, mode: u32) -> Copy {
        let dir = open_scratch();
        let file = dir.join("stockade");
        // By another process: a descriptor that writes to it could reach what another test starts.
        let copied = Command::new("cp").arg(crate::support::bin()).arg(&file).status();
        assert!(copied.unwrap().success());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&file, Some(uid), Some(uid)).unwrap();
        Copy { dir, file, uid }
    }

    /// A second at most: through the stub, `#!/proc/self/exe` is the stub over and over.
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.file);
        command
            .args(["jail", "--allow-degraded", "--timeout", &crate::support::seconds(1)])
            .args(args)
            .stdin(Stdio::null());
        if self.uid != 0 {
            command.uid(self.uid).gid(self.uid);
        }
        command.current_dir(self.dir.path()).output().unwrap()
    }
}

fn attack(copy: &Copy, options: &[&str]) {
    let before = state(&copy.file);
    // The entry point is the runtime itself, by a script's first line and by a link.
    let root = busybox_rootfs();
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = root.file("bin/script", "#!/proc/self/exe\n");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/proc/self/exe", root.join("bin/link")).unwrap();
    symlink("/proc/1/exe", root.join("bin/one")).unwrap();
    for dir in ["work", "dev", "proc", "sys", "tmp"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let rootfs = root.path().to_str().unwrap();
    for entry in ["/bin/script", "/bin/link", "/bin/one", "/proc/self/exe"] {
        let args = [&["--rootfs", rootfs], options, &["--", entry, "jail", "--", "true"]].concat();
        let out = copy.run(&args);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_ne!(out.status.code(), Some(0), "{entry} ran: {said}");
        assert!(state(&copy.file) == before, "{options:?} {entry}: the binary was changed");
    }
    let args = [options, &["--", "/usr/bin/python3", "-c", OVERWRITE]].concat();
    let out = copy.run(&args);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("done"), "{options:?} {out:?}");
    assert!(state(&copy.file) == before, "{options:?}: the binary was changed");
}

#[test]
fn t18_h05_a_job_of_roots_overwrites_the_runtime() {
    need_root!();
    let copy = Copy::new(0, 0o755);
    for options in [
        &[][..],
        &["-u", "0"],
        &["--no-init"],
        &["-u", "0", "--no-init"],
        &["--userns", "host"],
        &["--userns", "host", "-u", "0"],
        &["--userns", "host", "-u", "0", "--no-init"],
        &["--userns", "host", "-u", "0", "--cap-add", "DAC_OVERRIDE", "--no-init"],
        &["-u", "0", "--security-opt", "seccomp=unconfined"],
    ] {
        attack(&copy, options);
    }
}

#[test]
fn t18_a_job_overwrites_a_runtime_that_everybody_may_write_to() {
    need_root!();
    let copy = Copy::new(0, 0o777);
    for options in [&[][..], &["-u", "0"], &["--no-init"]] {
        attack(&copy, options);
    }
}

#[test]
fn t18_a_job_of_the_user_who_owns_the_binary_overwrites_it() {
    need_root!();
    let copy = Copy::new(4321, 0o755);
    for options in [&[][..], &["--no-init"], &["-u", "0"], &["-u", "0", "--no-init"]] {
        attack(&copy, options);
    }
}

#[test]
fn t18_an_interpreter_of_a_script_may_still_be_named_by_a_link() {
    // The protection must not break honest scripts, with or without the stub.
    let root = busybox_rootfs();
    let script = root.file("bin/honest", "#!/bin/sh\necho honest $0 \"$@\"\n");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let rootfs = root.path().to_str().unwrap();
    let words = ["--rootfs", rootfs, "--", "honest", "a b", "c"];
    crate::support::jail(words).exits(0).says("honest /bin/honest a b c\n");
    if crate::support::is_root() {
        let words = [&["--userns", "host"], &words[..]].concat();
        crate::support::jail(words).exits(0).says("honest /bin/honest a b c\n");
    }
}
