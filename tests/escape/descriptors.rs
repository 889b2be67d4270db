//! Descriptors of the host as a way out.

use crate::attack::{careless, careless_jail};
use crate::decoy::{Decoy, SECRET};
use crate::need_root;
use crate::support::{Scratch, busybox_rootfs, jail_with};
use std::fs::File;

#[test]
fn t19_the_working_directory_is_a_descriptor_of_the_callers() {
    let decoy = Decoy::new();
    let leak = format!(
        "for n in range(3, 33):
    os.dup2(os.open(('/', '{}', '/etc')[n % 3], os.O_RDONLY), n + 40, inheritable=True)
for n in range(3, 33): os.dup2(n + 40, n, inheritable=True)",
        decoy.shown()
    );
    let root = busybox_rootfs();
    let rootfs = root.path().to_str().unwrap();
    for n in 0..=64 {
        let cwd = format!("/proc/self/fd/{n}");
        for (options, init) in [(&[][..], "--init"), (&["--rootfs", rootfs][..], "--no-init")] {
            let script =
                "ls -a .; cat secret ../secret; ls ../../../../../home ./etc/shadow shadow";
            let args = [options, &[init, "-w", &cwd, "--", "/bin/sh", "-c", script]].concat();
            let run = careless_jail(&leak, &args);
            assert!(!run.stdout.contains("secret"), "{n} {run:#?}");
            assert!(!run.stdout.contains("shadow") && !run.stdout.contains(SECRET), "{n} {run:#?}");
            // /proc/self/fd/N of a pipe or of nothing is no directory: it cannot start there.
            assert_eq!(run.code, 125, "{n} {run:#?}");
        }
    }
    decoy.unchanged();
}

#[test]
fn t19_other_magic_links_as_working_directory() {
    for cwd in [
        "/proc/self/cwd",
        "/proc/self/root",
        "/proc/1/root",
        "/proc/1/cwd",
        "/proc/thread-self/cwd",
        "/proc/self/root/../..",
        "/dev/fd/7",
    ] {
        for init in ["--init", "--no-init"] {
            let script = "pwd -P; ls -d /home/* ./home/* ./root/.* ../home/* 2>/dev/null";
            let words = [init, "-w", cwd, "--", "sh", "-c", script];
            let run = careless_jail("os.chdir('/')", &words);
            if run.code != 125 {
                let first = run.stdout.lines().next().unwrap_or_default();
                assert_eq!(first, "/", "{cwd} {run:#?}");
                assert!(run.stdout.lines().all(|l| !l.contains("home/")), "{cwd} {run:#?}");
            }
        }
    }
}

#[test]
fn t20_pid_1_holds_no_descriptor_but_its_own_two() {
    need_root!();
    let live = crate::attack::Live::start("fds", &["--", "sh", "-c", "echo up; exec sleep 60"]);
    let pids = live.pids();
    assert_eq!(pids.len(), 2);
    let links = |pid: i32| -> Vec<String> {
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .flatten()
            // It lets go of the rest while the job starts, so it may still be at it.
            .filter_map(|e| Some(std::fs::read_link(e.path()).ok()?.display().to_string()))
            .collect()
    };
    let settled = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        links(pids[0]).len() == 2
    });
    let init = links(pids[0]);
    assert!(settled, "{init:?}");
    for link in init {
        assert!(link.starts_with("socket:") || link.contains("signalfd"), "{link}");
    }
    let job = links(pids[1]);
    assert_eq!(job.len(), 3, "{job:?}");
    for link in job {
        assert!(link.starts_with("pipe:") || link == "/dev/null", "{link}");
    }
}

/// Tries to get from standard input to more than was given.
const FROM_STDIN: &str = "import os
def out(how, f):
    try: print(how, f())
    except OSError as e: print(how, 'no')
out('list', lambda: os.listdir(0))
out('fchdir', lambda: (os.fchdir(0), os.listdir('.'), os.listdir('..')))
out('openat', lambda: os.open('secret', os.O_RDONLY, dir_fd=0))
out('up', lambda: os.open('..', os.O_RDONLY, dir_fd=0))
out('link', lambda: os.listdir('/proc/self/fd/0/..'))
out('reopen', lambda: os.open('/proc/self/fd/0', os.O_RDWR))
out('dev', lambda: os.open('/dev/stdin', os.O_WRONLY))
out('write', lambda: os.write(0, b'x'))
out('truncate', lambda: os.ftruncate(0, 0))
out('chmod', lambda: os.fchmod(0, 0o777))
print('end')";

#[test]
fn t19_a_directory_as_standard_input_leads_nowhere() {
    let decoy = Decoy::new();
    for init in ["--init", "--no-init"] {
        let run = jail_with([init, "--", "/usr/bin/python3", "-c", FROM_STDIN], |c| {
            c.stdin(File::open(decoy.path()).unwrap());
        });
        for line in run.stdout.lines() {
            // The stream of the job is a pipe of stockade's, which it may reopen as it likes.
            let way = line.split(' ').next().unwrap();
            let harmless = ["reopen", "dev", "end", "chmod"].contains(&way);
            assert!(line.ends_with(" no") || harmless, "{init}: {line}\n{run:#?}");
        }
        assert!(!run.stdout.contains("secret"), "{run:#?}");
        decoy.unchanged();
    }
}

#[test]
fn t19_a_file_as_standard_input_cannot_be_opened_again_for_writing() {
    let scratch = Scratch::new();
    let file = scratch.file("input", "as it was");
    let before = crate::decoy::digest(scratch.path());
    for init in ["--init", "--no-init"] {
        for user in ["0", "65534"] {
            let words = [init, "-u", user, "--", "/usr/bin/python3", "-c", FROM_STDIN];
            let run = jail_with(words, |c| {
                c.stdin(File::options().read(true).write(true).open(&file).unwrap());
            });
            assert!(run.stdout.contains("end"), "{run:#?}");
            assert_eq!(crate::decoy::digest(scratch.path()), before, "{run:#?}");
        }
    }
}

#[test]
fn t19_a_file_as_standard_output_is_only_written_to_by_stockade() {
    let scratch = Scratch::new();
    let file = scratch.file("output", "");
    let script =
        "echo one; readlink /proc/self/fd/1 >&2; true > /proc/self/fd/1; chmod 777 /dev/stdout
        truncate -s 1000 /dev/stdout; echo two";
    let run = jail_with(["--", "sh", "-c", script], |c| {
        careless("")(c);
        c.stdout(File::options().append(true).open(&file).unwrap());
    });
    assert_eq!(run.code, 0, "{run:#?}");
    assert!(run.stderr.starts_with("pipe:"), "{run:#?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\ntwo\n");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
}
