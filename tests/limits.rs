//! What a job cannot use more of: processes, memory, disk; and how the verdict names it.

mod support;
use support::live::cgroups_of;
use support::{Run, jail, python, sh};

const MIB: u64 = 1 << 20;

/// Asserts that the memory limit ended it, and near that limit.
#[track_caller]
fn ended_by_memory(run: Run, limit: u64) -> Run {
    let run = run.exits(137).has("status", "oom_killed");
    assert!(run.hit("memory"), "{run:#?}");
    assert!(run.outcome["oom_kills"].as_u64().unwrap() > 0, "{run:#?}");
    let peak = run.outcome["memory_peak_bytes"].as_u64().unwrap();
    assert!(peak > limit * 9 / 10 && peak <= limit + MIB, "peak {peak}\n{run:#?}");
    run
}

#[track_caller]
fn reason_says(run: &Run, text: &str) {
    let reason = run.outcome["reason"].as_str().unwrap();
    assert!(reason.contains(text), "no {text:?} in the reason\n{run:#?}");
}

#[track_caller]
fn reason_does_not_say(run: &Run, text: &str) {
    let reason = run.outcome["reason"].as_str().unwrap();
    assert!(!reason.contains(text), "{text:?} in the reason\n{run:#?}");
}

// --- processes -------------------------------------------------------------------------------

const FORK_BOMB: &str = "
import os, time, errno
made = 0
while True:
    try:
        pid = os.fork()
    except OSError as e:
        print(errno.errorcode[e.errno], made)
        break
    if pid == 0:
        time.sleep(1000)
        os._exit(0)
    made += 1
";

#[test]
fn h50_a_fork_bomb_hits_the_process_limit_and_nothing_of_it_is_left() {
    let id = support::live::fresh_id();
    let run = python(&["--pids-limit", "20", "--id", &id], FORK_BOMB);
    // The init and the first process count too.
    let run = run.exits(0).says("EAGAIN 18\n").has("status", "exited");
    assert!(run.hit("pids"), "{run:#?}");
    assert_eq!(run.outcome["limits_hit"].as_array().unwrap().len(), 1, "{run:#?}");
    reason_says(&run, "the limit of 20 processes refused");
    if let Some(peak) = run.outcome["pids_peak"].as_u64() {
        assert_eq!(peak, 20, "{run:#?}");
    }
    // A cgroup with a process in it cannot be removed: that it is gone says that they are.
    assert_eq!(cgroups_of(&id), Vec::<std::path::PathBuf>::new());
}

#[test]
fn h50_a_fork_bomb_that_never_stops_ends_with_the_time_limit() {
    let id = support::live::fresh_id();
    let bomb = "
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
";
    // Time for thirty processes on a slow machine too.
    let options = ["--pids-limit", "30", "--timeout", "6s", "--id", &id];
    let run = python(&options, bomb).exits(124).has("status", "timeout");
    assert!(run.hit("pids") && run.hit("wall"), "{run:#?}");
    assert_eq!(cgroups_of(&id), Vec::<std::path::PathBuf>::new());
}

#[test]
fn h50_threads_count_as_processes() {
    let code = "
import threading, time
n = 0
try:
    while True:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        n += 1
except RuntimeError:
    print('threads', n, flush=True)
import os; os._exit(0)
";
    let run = python(&["--pids-limit", "12"], code).exits(0).says("threads 10\n");
    assert!(run.hit("pids"), "{run:#?}");
}

#[test]
fn h50_without_a_bomb_the_process_limit_is_not_hit() {
    let run = sh(&["--pids-limit", "4"], "true | cat").exits(0);
    assert!(!run.hit("pids"), "{run:#?}");
}

// --- memory ----------------------------------------------------------------------------------

#[test]
fn h51_a_memory_bomb_of_anonymous_pages_is_killed() {
    let run = python(&["-m", "64m"], "x = bytearray(500 << 20); print('survived')");
    let run = ended_by_memory(run, 64 * MIB);
    assert_eq!(run.stdout, "");
    reason_says(&run, "memory limit of 64 MiB");
    reason_does_not_say(&run, "tmpfs");
}

fn fill(path: &str) -> String {
    format!(
        "
import os
fd = os.open('{path}', os.O_CREAT | os.O_WRONLY)
for _ in range(500):
    os.write(fd, bytes(1 << 20))
print('survived')
"
    )
}

#[test]
fn h51_a_memory_bomb_of_files_in_tmp_is_killed_and_the_reason_says_so() {
    let run = ended_by_memory(python(&["-m", "64m"], &fill("/tmp/big")), 64 * MIB);
    reason_says(&run, "were files in its tmpfs");
    // How much: the most of the 64 MiB.
    let reason = run.outcome["reason"].as_str().unwrap();
    let mib: f64 = reason
        .split("; ")
        .nth(1)
        .and_then(|part| {
            let mut words = part.split(' ');
            let number: f64 = words.next()?.parse().ok()?;
            Some(match words.next()? {
                "KiB" => number / 1024.0,
                "MiB" => number,
                "bytes" => number / 1_048_576.0,
                _ => return None,
            })
        })
        .unwrap_or_else(|| panic!("{reason}"));
    assert!((32.0..=64.0).contains(&mib), "{reason}");
}

#[test]
fn h51_a_memory_bomb_of_shared_memory_is_killed_and_the_reason_says_so() {
    let run = ended_by_memory(python(&["-m", "64m"], &fill("/dev/shm/big")), 64 * MIB);
    reason_says(&run, "were files in its tmpfs");
}

#[test]
fn h51_a_memory_bomb_of_shared_anonymous_pages_is_killed() {
    let code = "
import mmap
m = mmap.mmap(-1, 500 << 20)
for i in range(0, 500 << 20, 4096):
    m[i] = 1
print('survived')
";
    ended_by_memory(python(&["-m", "64m"], code), 64 * MIB);
}

#[test]
fn h51_a_memory_bomb_of_a_memfd_is_killed() {
    let code = "
import os
fd = os.memfd_create('x')
for _ in range(500):
    os.write(fd, bytes(1 << 20))
print('survived')
";
    ended_by_memory(python(&["-m", "64m"], code), 64 * MIB);
}

#[test]
fn h51_a_memory_bomb_of_pipes_is_killed() {
    let code = "
import fcntl, os
keep = []
F_SETPIPE_SZ = 1031
for _ in range(400):
    r, w = os.pipe()
    keep.append((r, w))
    os.set_blocking(w, False)
    try:
        fcntl.fcntl(w, F_SETPIPE_SZ, 1 << 20)
    except PermissionError:
        pass
    try:
        while True:
            os.write(w, bytes(1 << 16))
    except BlockingIOError:
        pass
print('survived')
";
    ended_by_memory(python(&["-m", "32m"], code), 32 * MIB);
}

#[test]
fn h51_the_kernel_kills_a_child_and_the_parent_survives() {
    let script = "/usr/bin/python3 -c 'x = bytearray(500 << 20)'; echo the child ended with $?";
    let run = sh(&["-m", "64m"], script).exits(0).has("status", "exited").has("exit_code", 0);
    assert!(run.stdout.contains("the child ended with 137\n"), "{run:#?}");
    assert!(run.hit("memory"), "{run:#?}");
    assert_eq!(run.outcome["oom_kills"], 1, "{run:#?}");
    reason_says(&run, "it exited with 0; the memory limit of 64 MiB ended 1 of its processes");
}

#[test]
fn h51_a_shell_that_passes_on_its_childs_137_is_out_of_memory_too() {
    let script = "/usr/bin/python3 -c 'x = bytearray(500 << 20)'; exit $?";
    let run = sh(&["-m", "64m"], script).exits(137).has("status", "oom_killed");
    assert!(run.hit("memory"), "{run:#?}");
}

#[test]
fn h51_a_job_that_kills_itself_is_not_taken_for_out_of_memory() {
    let run = sh(&["-m", "64m"], "kill -KILL $$").exits(137).has("status", "signaled");
    assert_eq!(run.outcome["limits_hit"], serde_json::json!([]), "{run:#?}");
    assert_eq!(run.outcome["oom_kills"], 0, "{run:#?}");
}

#[test]
fn h51_without_a_limit_much_memory_may_be_used() {
    let code = "x = bytearray(600 << 20); print(len(x) >> 20)";
    python(&["-m", "0"], code).exits(0).says("600\n");
    // The control: the default is 512 MiB.
    python(&[], code).exits(137).has("status", "oom_killed");
}

#[test]
fn h51_memory_below_its_limit_is_not_refused() {
    let run = python(&["-m", "100m"], "x = bytearray(60 << 20); print('ok')").exits(0).says("ok");
    assert!(!run.hit("memory"), "{run:#?}");
}

// --- disk ------------------------------------------------------------------------------------

/// Writes to a file until it cannot, and prints how many KiB and the errno.
const FILL: &str = "
import errno, os, sys
for path in sys.argv[1:]:
    n = 0
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        while True:
            n += os.write(fd, bytes(4096))
    except OSError as e:
        print(path, n >> 10, errno.errorcode[e.errno])
";

fn fill_all(options: &[&str], paths: &[&str]) -> (Run, Vec<(u64, String)>) {
    let command = ["--", "/usr/bin/python3", "-c", FILL];
    let run = jail(options.iter().chain(&command).chain(paths).copied()).exits(0);
    let written = run
        .stdout
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[1].parse().unwrap(), words[2].to_owned())
        })
        .collect();
    (run, written)
}

#[test]
fn h52_a_disk_flood_gets_enospc_at_the_limit() {
    let (run, written) = fill_all(&["--disk", "8m"], &["/tmp/x"]);
    let (kib, errno) = &written[0];
    assert_eq!(errno, "ENOSPC");
    assert!((6 * 1024..=8 * 1024).contains(kib), "{run:#?}");
    assert!(run.hit("disk") && !run.hit("memory"), "{run:#?}");
    reason_says(&run, "its disk of 8 MiB was full");
}

/// Not the bytes, of which there are plenty.
#[test]
fn h52_many_small_files_are_told_as_inodes_and_not_as_a_full_disk() {
    let touch = "i=0; while :>/tmp/$i; do i=$((i+1)); done 2>/dev/null; exit 0";
    let run = jail(["--inodes", "100", "--", "sh", "-c", touch]);
    assert!(run.hit("disk"), "{run:#?}");
    reason_says(&run, "its disk had all of its 100 inodes (files and directories) in use");
}

#[test]
fn h52_all_writable_places_share_the_disk_limit() {
    for root in [&["--writable"][..], &[]] {
        let options = [&["--disk", "8m", "--tmpfs", "/mine"], root].concat();
        let mut places = vec!["/tmp/x", "/work/x", "/dev/shm/x", "/mine/x"];
        if !root.is_empty() {
            // Only root may write there; so as root of the jail.
            places.push("/etc/x");
        }
        let user = if root.is_empty() { &[][..] } else { &["-u", "0:0"][..] };
        let (run, written) = fill_all(&[&options[..], user].concat(), &places);
        let total: u64 = written.iter().map(|(kib, _)| kib).sum();
        assert_eq!(written.len(), places.len(), "{run:#?}");
        assert!(written.iter().all(|(_, errno)| errno == "ENOSPC"), "{run:#?}");
        assert!((6 * 1024..=8 * 1024).contains(&total), "{total} KiB\n{run:#?}");
        assert!(run.hit("disk"), "{run:#?}");
    }
}

#[test]
fn h52_tmpfs_with_a_size_come_out_of_the_disk_limit() {
    let options = ["--disk", "12m", "--tmpfs", "/mine:size=4m", "--shm-size", "2m"];
    let (run, written) = fill_all(&options, &["/mine/x", "/dev/shm/x", "/tmp/x"]);
    assert_eq!(written[0].0, 4 * 1024, "{run:#?}");
    assert_eq!(written[1].0, 2 * 1024, "{run:#?}");
    assert!((5 * 1024..=6 * 1024).contains(&written[2].0), "{run:#?}");
    assert!(run.hit("disk"), "{run:#?}");
}

#[test]
fn h52_sizes_beyond_the_disk_limit_are_refused() {
    for options in [
        &["--disk", "12m", "--tmpfs", "/mine:size=12m"][..],
        &["--disk", "12m", "--shm-size", "1g"],
        &["--disk", "12m", "--tmpfs", "/mine:size=8m", "--shm-size", "4m"],
    ] {
        sh(options, "true").exits(125).has("status", "setup_failed").complains("the disk limit");
    }
}

#[test]
fn h52_an_inode_flood_gets_enospc_at_the_limit() {
    let code = "
import errno, os
n = 0
try:
    while True:
        os.close(os.open(f'/tmp/{n}', os.O_CREAT | os.O_WRONLY))
        n += 1
except OSError as e:
    print(n, errno.errorcode[e.errno])
";
    let run = python(&["--inodes", "500"], code).exits(0);
    let (n, errno) = run.stdout.trim().split_once(' ').unwrap();
    assert_eq!(errno, "ENOSPC");
    assert!((300..500).contains(&n.parse::<u32>().unwrap()), "{run:#?}");
    assert!(run.hit("disk"), "{run:#?}");
}

#[test]
fn h52_a_disk_that_is_not_full_is_not_hit() {
    let run = sh(&["--disk", "8m"], "head -c 1m /dev/zero >/tmp/x").exits(0);
    assert!(!run.hit("disk"), "{run:#?}");
}

#[test]
fn h52_by_default_there_is_a_gigabyte_of_disk() {
    let script = "df -k /tmp /work /dev/shm | awk 'NR > 1 { print $2 }' | sort -u";
    sh(&[], script).exits(0).says("1048576\n");
}
