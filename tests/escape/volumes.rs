//! Volumes: what a job may leave in them for the host, and what is no volume.

use crate::attack::{attack, open_scratch, outside};
use crate::need_root;
use crate::support::{Scratch, jail, sh};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Files with a set-user-ID or set-group-ID bit in a directory.
fn suid_files(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .filter(|e| e.metadata().unwrap().mode() & 0o6000 != 0)
        .map(|e| format!("{:?} {:o}", e.file_name(), e.metadata().unwrap().mode()))
        .collect()
}

#[test]
fn h75_a_job_leaves_a_set_uid_file_in_a_volume() {
    need_root!();
    for more in [
        &[][..],
        &["-u", "0"],
        &["--no-idmap"],
        &["--security-opt", "seccomp=unconfined"],
        &["--security-opt", "seccomp=unconfined", "-u", "0"],
        &["--security-opt", "seccomp=unconfined", "-u", "0", "--cap-add", "FSETID"],
        &["--userns", "host", "-u", "0"],
        &["--no-init", "--security-opt", "no-new-privileges:false"],
    ] {
        let scratch = open_scratch();
        let volume = format!("{}:/v", scratch.path().display());
        let options = [&["-v", &volume, "-w", "/v"], more].concat();
        let run = attack(&options, &["suidfile"]).exits(0);
        assert_eq!(suid_files(scratch.path()), [""; 0], "{more:?} {run:#?}");
        assert!(scratch.join("plain").exists(), "the volume is writable: {run:#?}");
    }
    // Control: outside it makes quite a few.
    assert!(outside(&["suidfile"]).contains("chmod ok"));
}

#[test]
fn h75_a_job_leaves_a_set_uid_file_in_a_writable_rootfs() {
    need_root!();
    let root = crate::support::busybox_rootfs();
    std::fs::create_dir(root.join("drop")).unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(root.join("drop"), open).unwrap();
    let dir = root.path().to_str().unwrap();
    for more in [&[][..], &["-u", "0"], &["--security-opt", "seccomp=unconfined", "-u", "0"]] {
        let options = [&["--rootfs", dir, "--writable", "-w", "/drop"], more].concat();
        let run = attack(&options, &["suidfile"]).exits(0);
        assert_eq!(suid_files(&root.join("drop")), [""; 0], "{more:?} {run:#?}");
    }
}

#[test]
fn h09_a_read_only_volume_cannot_be_written_to_in_any_way() {
    let scratch = open_scratch();
    let file = scratch.file("file", "as it was");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let before = crate::decoy::digest(scratch.path());
    let shown = scratch.path().display();
    let script = "cd /v; echo x > file; echo x >> file; touch new file; rm -f file; mkdir d
        chmod 777 file .; mv file other; ln file hard; ln -s file soft; truncate -s 0 file
        mount -o remount,rw /v; exec 7<>file; dd if=/dev/zero of=/proc/self/cwd/file 2>/dev/null; true";
    for more in [&[][..], &["-u", "0"], &["--no-idmap"], &["-u", "0", "--cap-add", "ALL"]] {
        for volume in [
            vec!["-v".to_owned(), format!("{shown}:/v:ro")],
            vec!["--mount".to_owned(), format!("type=bind,src={shown},dst=/v,readonly")],
        ] {
            let words = volume.iter().map(String::as_str).chain(more.iter().copied());
            jail(words.chain(["--", "bash", "-c", script]));
            assert_eq!(crate::decoy::digest(scratch.path()), before, "{more:?} {volume:?}");
        }
    }
    sh(&["-v", &format!("{shown}:/v"), "--no-idmap"], "echo x > /v/file").exits(0);
    assert_ne!(crate::decoy::digest(scratch.path()), before, "the control writes");
}

#[test]
fn h26_what_is_neither_file_nor_directory_is_no_volume() {
    let scratch = Scratch::new();
    let fifo = scratch.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let socket = scratch.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let link = scratch.join("link");
    std::os::unix::fs::symlink(&socket, &link).unwrap();
    for source in
        [fifo.to_str(), socket.to_str(), link.to_str(), Some("/dev/null"), Some("/dev/vda")]
    {
        let source = source.unwrap();
        if Path::new(source).exists() {
            for options in [["-v", &format!("{source}:/v")], ["-v", &format!("{source}:/v:ro")]] {
                let run = jail(options.iter().chain(&["--", "true"])).exits(125);
                assert!(run.stderr.contains("neither a directory nor"), "{run:#?}");
            }
        }
    }
    jail(["-v", "/nowhere-5f1c:/v", "--", "true"]).exits(125).complains("/nowhere-5f1c");
    assert!(!Path::new("/nowhere-5f1c").exists(), "and it is not made, as Docker would");
}

#[test]
fn h14_files_of_a_volume_keep_their_owners_on_disk() {
    need_root!();
    let scratch = Scratch::new();
    std::os::unix::fs::chown(scratch.path(), Some(1234), Some(1235)).unwrap();
    let volume = format!("{}:/v", scratch.path().display());
    for user in ["65534", "0", "1001:1002"] {
        let script = "echo hi > /v/f && stat -c %u:%g /v /v/f && id -u";
        let run = sh(&["-u", user, "-v", &volume], script).exits(0);
        let uid = run.stdout.lines().last().unwrap();
        assert!(run.stdout.lines().take(2).all(|l| l.starts_with(&format!("{uid}:"))), "{run:#?}");
        let m = std::fs::metadata(scratch.join("f")).unwrap();
        assert_eq!((m.uid(), m.gid()), (1234, 1235));
        std::fs::remove_file(scratch.join("f")).unwrap();
    }
}
