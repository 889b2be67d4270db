//! A decoy: a tree of the host that no attack may read or change, and the digest that shows it.

#![allow(dead_code)] // each test crate uses a part

use crate::support::Scratch;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// What a jail must never show.
pub const SECRET: &str = "decoy-secret-5f1c";

/// A tree outside of every jail, and how it was when it was made.
#[derive(Debug)]
pub struct Decoy {
    scratch: Scratch,
    before: Vec<String>,
}

impl Decoy {
    pub fn new() -> Decoy {
        let scratch = Scratch::new();
        scratch.file("secret", SECRET);
        scratch.file("sub/deep/file", SECRET);
        scratch.file("null", SECRET);
        scratch.file("resolv.conf", SECRET);
        std::fs::create_dir(scratch.join("empty")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(scratch.join("secret"), mode).unwrap();
        std::os::unix::fs::symlink("secret", scratch.join("link")).unwrap();
        if crate::support::is_root() {
            std::os::unix::fs::chown(scratch.join("sub/deep/file"), Some(1234), Some(5678))
                .unwrap();
        }
        let before = digest(scratch.path());
        Decoy { scratch, before }
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    pub fn shown(&self) -> String {
        self.path().display().to_string()
    }

    /// unch(D): type, mode, owner, inode, device number, contents.
    #[track_caller]
    pub fn unchanged(&self) {
        assert_eq!(digest(self.path()), self.before, "the decoy was changed");
    }
}

/// One line a file.
pub fn digest(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk(dir, dir, &mut lines);
    lines.sort();
    lines
}

fn walk(top: &Path, path: &Path, lines: &mut Vec<String>) {
    let m = std::fs::symlink_metadata(path).unwrap();
    let what = if m.is_symlink() {
        format!("{:?}", std::fs::read_link(path).unwrap())
    } else if m.is_file() {
        format!("{:?}", std::fs::read(path).unwrap())
    } else {
        String::new()
    };
    // Times too, but for directories, which a mere look may touch on some file systems.
    let time = if m.is_dir() { 0 } else { m.mtime_nsec() };
    lines.push(format!(
        "{:?} {:o} {}:{} {} {} {} {time} {what}",
        path.strip_prefix(top).unwrap(),
        m.mode(),
        m.uid(),
        m.gid(),
        m.ino(),
        m.rdev(),
        m.nlink()
    ));
    if m.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            walk(top, &entry.unwrap().path(), lines);
        }
    }
}
