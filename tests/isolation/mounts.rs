//! What is mounted in a jail, and that nothing of it gets out or of the host in.

use crate::decoy::{Decoy, SECRET};
use crate::need_root;
use crate::support::{Run, Scratch, busybox_rootfs, sh};
use std::process::{Command, Stdio};

/// A line of mountinfo.
#[derive(Debug)]
struct Mount {
    target: String,
    options: Vec<String>,
    fstype: String,
}

fn mounts(run: &Run) -> Vec<Mount> {
    run.stdout
        .lines()
        .filter(|l| l.contains(" - "))
        .map(|line| {
            let (left, right) = line.split_once(" - ").unwrap();
            let left: Vec<&str> = left.split(' ').collect();
            Mount {
                target: left[4].to_owned(),
                options: left[5].split(',').map(str::to_owned).collect(),
                fstype: right.split(' ').next().unwrap().to_owned(),
            }
        })
        .collect()
}

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

fn expected(target: &str, extra: &[&str]) -> bool {
    const KNOWN: &[&str] = &["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/sys", "/tmp", "/work"];
    KNOWN.contains(&target)
        || extra.contains(&target)
        || target.strip_prefix("/dev/").is_some_and(|d| DEVICES.contains(&d))
        || (target.starts_with("/proc/") && target.matches('/').count() == 2)
}

#[test]
fn h07_the_old_root_is_gone_and_only_expected_mounts_are_there() {
    let script = "cat /proc/self/mountinfo; stat -c 'inode %d:%i' / /.. /../..";
    let run = sh(&[], script).exits(0);
    let host = |t: &str| {
        ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32", "/libexec"].contains(&t)
            || t.starts_with("/etc/")
    };
    let seen = mounts(&run);
    for mount in &seen {
        let t = &mount.target;
        assert!(host(t) || expected(t, &[]), "unexpected: {mount:?}");
        let again = seen.iter().filter(|m| m.target == *t).count();
        assert_eq!(again, 1, "something is hidden below {t}");
    }
    let inodes: Vec<&str> = run.stdout.lines().filter(|l| l.starts_with("inode")).collect();
    assert!(inodes.len() == 3 && inodes.iter().all(|i| *i == inodes[0]), "{inodes:?}");

    let root = busybox_rootfs();
    let script = "cat /proc/self/mountinfo; stat -c 'inode %d:%i' / /.. /../..";
    let run = sh(&["--rootfs", root.path().to_str().unwrap()], script).exits(0);
    for mount in mounts(&run) {
        assert!(expected(&mount.target, &[]), "unexpected: {mount:?}");
    }
    let inodes: Vec<&str> = run.stdout.lines().filter(|l| l.starts_with("inode")).collect();
    assert!(inodes.iter().all(|i| *i == inodes[0]), "{inodes:?}");
}

#[test]
fn h07_nothing_of_the_hosts_tree_is_there() {
    let decoy = Decoy::new();
    let script = format!(
        "for d in home root run var/lib var/log opt srv mnt media boot; do ls -A /$d; done;
         ls /etc/shadow /etc/machine-id /etc/ssh /run/* {d}; cat {d}/secret;
         ls /var/run/*.sock /var/lib/dpkg; true",
        d = decoy.shown()
    );
    for options in [&[][..], &["-u", "0"]] {
        let run = sh(options, &script).exits(0);
        assert_eq!(run.stdout, "", "{run:#?}");
    }
}

/// Root in the jail with the rights to mount, and no filter: every way back that there is.
const WAY_BACK: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
decoy = sys.argv[1]
def look(how):
    for start in ('/', '/..', '/tmp', '/tmp/x', '.', '../../../../../../../..'):
        for path in (start + decoy, start + '/etc/shadow', start + decoy + '/secret'):
            if os.path.lexists(path): print('FOUND', how, path)
    for pid in os.listdir('/proc') if os.path.isdir('/proc') else ():
        if pid.isdigit() and os.path.lexists(f'/proc/{pid}/root{decoy}'): print('FOUND', how, pid)
def child(how, attack):
    pid = os.fork()
    if pid == 0:
        try: attack()
        except OSError as e: print(how, e)
        look(how); sys.stdout.flush(); os._exit(0)
    os.waitpid(pid, 0)
def umount(path, flags=2):
    if libc.umount2(path.encode(), flags): raise OSError(ctypes.get_errno(), path)
def all_gone():
    for line in reversed(open('/proc/self/mountinfo').readlines()):
        try: umount(line.split(' ')[4])
        except OSError: pass
    look('umount all'); umount('/'); look('umount /'); umount('/')
def pivot():
    os.makedirs('/tmp/x/old', exist_ok=True)
    libc.mount(b'/tmp/x', b'/tmp/x', None, 4096, None); os.chdir('/tmp/x')
    if libc.syscall(155, b'.', b'.'): raise OSError(ctypes.get_errno(), 'pivot_root')
    look('pivoted'); umount('.')
def chroot():
    os.makedirs('/tmp/x', exist_ok=True); fd = os.open('/', os.O_RDONLY); os.chroot('/tmp/x')
    os.fchdir(fd)
    for _ in range(200): os.chdir('..')
    os.chroot('.')
def unshared():
    if libc.unshare(0x00020000): raise OSError(ctypes.get_errno(), 'unshare')
    all_gone()
def bind():
    os.makedirs('/tmp/x', exist_ok=True)
    if libc.mount(b'/', b'/tmp/x', None, 4096 | 16384, None): raise OSError(ctypes.get_errno(), 'b')
    os.chdir('/tmp/x')
for attack in (chroot, pivot, bind, unshared, all_gone): child(attack.__name__, attack)
print('done')
"#;

#[test]
fn h07_root_with_sys_admin_finds_no_way_back_to_the_old_root() {
    let decoy = Decoy::new();
    let shown = decoy.shown();
    let rights = ["--cap-add", "SYS_ADMIN", "--cap-add", "SYS_CHROOT", "--cap-add", "SYS_PTRACE"];
    let open = ["-u", "0", "--security-opt", "seccomp=unconfined", "--"];
    for more in [&[][..], &["--no-init"], &["--userns", "host"]] {
        if more.contains(&"host") && !crate::support::is_root() {
            continue;
        }
        let words = ["/usr/bin/python3", "-c", WAY_BACK, &shown];
        let args = [&rights[..], more, &open, &words].concat();
        let run = crate::support::jail(args).exits(0).says("done");
        assert!(!run.stdout.contains("FOUND"), "{more:?} {run:#?}");
        assert!(!run.stdout.contains(SECRET));
    }
    decoy.unchanged();
}

/// Runs a shell script in a mount namespace of its own; `$STOCKADE` is the binary.
/// Whether tmpfs, which the scripts mount into volumes, can be id-mapped (Linux 6.3).
fn tmpfs_can_be_mapped() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(6), Some(3))
}

fn apart(script: &str, args: &[&str]) -> (i32, String, String) {
    let out = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-euc", script, "sh"])
        .args(args)
        .env("STOCKADE", crate::support::bin())
        .env("IDMAP", if tmpfs_can_be_mapped() { "" } else { "--no-idmap" })
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

#[test]
fn h08_t42_no_mount_propagates_out_of_a_jail_or_into_it() {
    need_root!();
    let scratch = Scratch::new();
    let script = r#"
        cd "$1"; mkdir src late; mount --make-rshared /
        for i in $(seq 500); do mkdir -p m$i; mount --bind src m$i; done
        cat /proc/self/mountinfo > before
        cp /proc/self/mountinfo /dev/null
        mkdir v; mount -t tmpfs t v; mount --make-shared v; mkdir v/sub
        cat /proc/self/mountinfo > before
        "$STOCKADE" jail $IDMAP -u 0 --cap-add SYS_ADMIN --security-opt seccomp=unconfined \
            -v "$1/v:/v" -- sh -c '
            mount -t tmpfs inner /v/sub && mount -t tmpfs inner /tmp && mkdir /tmp/b && mount --bind / /tmp/b
            grep -c shared: /proc/self/mountinfo; touch /v/ready
            while [ ! -e /v/go ]; do sleep 0.05; done
            grep -c LATE /proc/self/mountinfo; true' > out 2> err & pid=$!
        n=0; while [ ! -e v/ready ] && [ $n -lt 600 ]; do sleep 0.05; n=$((n+1)); done
        cat /proc/self/mountinfo > during
        mount -t tmpfs LATE late; mkdir -p v/late; mount -t tmpfs LATE v/late
        touch v/go; wait $pid; umount late v/late
        cat /proc/self/mountinfo > after
        cat out; cat err >&2; cmp before during; cmp before after; echo same"#;
    let (code, out, err) = apart(script, &[scratch.path().to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (0, "0\n0\nsame\n"), "{err}");
}

#[test]
fn h09_t46_every_mount_is_nosuid_and_nodev_and_pseudo_ones_noexec() {
    let scratch = Scratch::new();
    let volume = format!("{}:/v", scratch.path().display());
    let root = busybox_rootfs();
    let rootfs = root.path().to_str().unwrap();
    for options in [
        &[][..],
        &["-v", &volume],
        &["--tmpfs", "/scratch:exec,size=1m", "--shm-size", "1m"],
        &["--writable"],
        &["--rootfs", rootfs],
        &["--rootfs", rootfs, "--writable", "-u", "0"],
    ] {
        let run = sh(options, "cat /proc/self/mountinfo").exits(0);
        let seen = mounts(&run);
        assert!(seen.len() > 10, "{run:#?}");
        for mount in seen {
            let has = |o: &str| mount.options.iter().any(|have| have == o);
            assert!(has("nosuid"), "{options:?} {mount:?}");
            let node = mount.fstype == "devtmpfs" || mount.fstype == "devpts";
            assert!(has("nodev") || node, "{options:?} {mount:?}");
            let pseudo = ["proc", "sysfs", "mqueue", "devpts", "devtmpfs", "cgroup", "cgroup2"]
                .contains(&mount.fstype.as_str())
                || ["/dev", "/dev/shm", "/sys"].contains(&mount.target.as_str());
            assert!(has("noexec") || !pseudo, "{options:?} {mount:?}");
        }
    }
}

#[test]
fn h09_a_read_only_volume_is_read_only_in_its_submounts_too() {
    need_root!();
    let scratch = Scratch::new();
    let script = r#"
        cd "$1"; mkdir d; mount -t tmpfs t d; mkdir d/sub; mount -t tmpfs t d/sub
        chmod 777 d d/sub
        "$STOCKADE" jail $IDMAP -v "$1/d:/d:ro" -u 0 -- sh -c 'touch /d/x || echo no; touch /d/sub/x || echo no'
        "$STOCKADE" jail $IDMAP --mount "type=bind,src=$1/d,dst=/d,readonly" -- sh -c 'touch /d/sub/y || echo no'
        ls d d/sub
        "$STOCKADE" jail --no-idmap -v "$1/d:/d" -- sh -c 'touch /d/sub/z && echo yes'"#;
    let (code, out, err) = apart(script, &[scratch.path().to_str().unwrap()]);
    assert_eq!(out, "no\nno\nno\nd:\nsub\n\nd/sub:\nyes\n", "{code} {err}");
}

#[test]
fn h09_a_read_only_rootfs_is_read_only_in_its_submounts_too() {
    need_root!();
    let root = busybox_rootfs();
    let script = r#"
        mkdir "$1/sub" "$1/work"; mount -t tmpfs t "$1/sub"; chmod 777 "$1/sub"
        "$STOCKADE" jail $IDMAP --rootfs "$1" -u 0 -- sh -c 'touch /x || echo no; touch /sub/x || echo no'
        "$STOCKADE" jail --rootfs "$1" --no-idmap --writable -- sh -c 'touch /sub/x && echo yes'
        ls "$1/sub""#;
    let script = script.replace("ls \"$1/sub\"\"", "ls \"$1/sub\"");
    let (code, out, err) = apart(&script, &[root.path().to_str().unwrap()]);
    assert_eq!(out, "no\nno\nyes\nx\n", "{code} {err}");
}
