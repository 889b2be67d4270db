//! Images of what is installed here: one of busybox, one of Python. Made with tar in the format
//! that docker, podman and containerd load.

#![allow(dead_code)] // each test crate uses a part

use crate::support::Scratch;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An image in a file.
#[derive(Debug)]
pub struct Image {
    /// Its name with a registry's, as containerd wants it.
    pub name: String,
    pub archive: PathBuf,
}

/// `stockade.test/busybox:1`: busybox with all of its applets.
pub fn busybox(dir: &Path) -> Image {
    let tree = Scratch::new();
    make_tree(&tree);
    pack(dir, "busybox", tree.path(), &[])
}

/// `stockade.test/python:1`: the same and the host's Python with its library, as `python` too.
pub fn python(dir: &Path) -> Image {
    let tree = Scratch::new();
    make_tree(&tree);
    // A merged /usr, as the files come from one: the script's /usr/bin is a link to /bin.
    std::fs::remove_file(tree.join("usr/bin")).unwrap();
    std::fs::rename(tree.join("bin"), tree.join("usr/bin")).unwrap();
    for name in ["bin", "lib", "lib64"] {
        std::fs::create_dir_all(tree.join("usr").join(name)).unwrap();
        symlink(format!("usr/{name}"), tree.join(name)).unwrap();
    }
    let versioned = std::fs::read_link("/usr/bin/python3").expect("python3 is installed");
    let version = versioned.to_str().unwrap();
    for name in ["python", "python3"] {
        symlink(version, tree.join("usr/bin").join(name)).unwrap();
    }
    let program = format!("/usr/bin/{version}");
    for file in libraries(&program).iter().chain([&program]) {
        let to = tree.join(file.strip_prefix('/').unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
    pack(dir, "python", tree.path(), &["-C", "/", &format!("usr/lib/{version}")])
}

fn make_tree(tree: &Scratch) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-rootfs");
    let made = Command::new(script).arg(tree.path()).status().unwrap();
    assert!(made.success(), "scripts/make-rootfs");
    let passwd = tree.join("etc/passwd");
    let text = std::fs::read_to_string(&passwd).unwrap();
    std::fs::write(passwd, text + "ann:x:1001:1002::/:/bin/sh\n").unwrap();
    let group = tree.join("etc/group");
    let text = std::fs::read_to_string(&group).unwrap();
    std::fs::write(group, text + "ann:x:1002:\nextra:x:1010:ann\n").unwrap();
}

/// The shared libraries that a program is linked with, and their loader.
fn libraries(program: &str) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let path = |line: &str| line.split_whitespace().find(|w| w.starts_with('/')).map(str::to_owned);
    text.lines().filter_map(path).collect()
}

/// A tree, and more files by tar's arguments, as an image of one layer.
fn pack(dir: &Path, name: &str, tree: &Path, more: &[&str]) -> Image {
    let parts = Scratch::new();
    let layer = parts.join("layer.tar");
    let tar = |command: &mut Command| {
        let done = command.args(["--numeric-owner", "--owner=0", "--group=0"]).output().unwrap();
        assert!(done.status.success(), "tar: {}", String::from_utf8_lossy(&done.stderr));
    };
    let excluded = ["--exclude=__pycache__", "--exclude=dist-packages"];
    tar(Command::new("tar")
        .arg("-cf")
        .arg(&layer)
        .args(excluded)
        .arg("-C")
        .arg(tree)
        .arg(".")
        .args(more));
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["sh"],
        },
        "history": [{ "created": "2024-01-01T00:00:00Z" }],
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))] },
    });
    let named = parts.file("config", &config.to_string());
    let config_name = format!("{}.json", digest(&named));
    std::fs::rename(named, parts.join(&config_name)).unwrap();
    let image = format!("stockade.test/{name}:1");
    let manifest = serde_json::json!([
        { "Config": config_name, "RepoTags": [image], "Layers": ["layer.tar"] }
    ]);
    parts.file("manifest.json", &manifest.to_string());
    let archive = dir.join(format!("{name}.tar"));
    tar(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(parts.path()).args([
        "manifest.json",
        &config_name,
        "layer.tar",
    ]));
    Image { name: image, archive }
}

fn digest(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').next().filter(|sum| sum.len() == 64).expect("a checksum").to_owned()
}
