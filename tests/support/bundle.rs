//! A container made by the OCI face, or by another runtime with the same command line.

use super::{Scratch, bin, busybox_rootfs};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// Debian's runc, the reference.
pub fn reference() -> Option<&'static str> {
    ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|p| Path::new(p).exists())
}

/// A bundle, a state root, and at most one container in it, which goes when this is dropped.
#[derive(Debug)]
pub struct Bundle {
    pub program: PathBuf,
    pub id: String,
    pub scratch: Scratch,
    rootfs: Scratch,
}

impl Bundle {
    /// busybox, and a configuration that `change` has had its say in.
    pub fn new(change: impl FnOnce(&mut Value)) -> Bundle {
        Bundle::of(bin(), change)
    }

    /// The same for another runtime.
    pub fn of(program: impl AsRef<Path>, change: impl FnOnce(&mut Value)) -> Bundle {
        let scratch = Scratch::new();
        let rootfs = busybox_rootfs();
        for applet in
            ["sleep", "ps", "kill", "chmod", "env", "tty", "readlink", "stty", "head", "wc", "pwd"]
        {
            let _ = std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet));
        }
        let n = SERIAL.fetch_add(1, Ordering::Relaxed);
        let id = format!("oci-test-{}-{n}", std::process::id());
        for dir in ["root", "bundle"] {
            std::fs::create_dir(scratch.join(dir)).unwrap();
            let private = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(scratch.join(dir), private).unwrap();
        }
        let bundle = Bundle { program: program.as_ref().to_owned(), id, scratch, rootfs };
        let status =
            Command::new(bin()).args(["spec", "--bundle"]).arg(bundle.dir()).status().unwrap();
        assert!(status.success());
        let file = bundle.dir().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        config["root"] = json!({ "path": bundle.rootfs.path(), "readonly": false });
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = json!(["sleep", "1000"]);
        config["linux"]["cgroupsPath"] = format!("/{}", bundle.id).into();
        change(&mut config);
        std::fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
        bundle
    }

    /// The bundle's directory.
    pub fn dir(&self) -> PathBuf {
        self.scratch.join("bundle")
    }

    /// The root file system.
    pub fn rootfs(&self) -> &Path {
        self.rootfs.path()
    }

    /// `RUNTIME --root ROOT ARGS`, with the id in the place of `ID`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.scratch.join("root"));
        command.args(args.iter().map(|a| if *a == "ID" { self.id.as_str() } else { a }));
        command.current_dir(self.dir()).stdin(Stdio::null());
        command
    }

    /// The same, to its end.
    pub fn call(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The same, which must succeed: what it printed.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let o = self.call(args);
        assert!(o.status.success(), "{args:?}: {o:?}");
        String::from_utf8(o.stdout).unwrap()
    }

    /// The same, which must fail: what it said.
    #[track_caller]
    pub fn fails(&self, args: &[&str]) -> String {
        let o = self.call(args);
        assert!(!o.status.success(), "{args:?}: {o:?}");
        String::from_utf8(o.stderr).unwrap()
    }

    /// Runs it in the background. Its streams are not ours: it would keep them open.
    #[track_caller]
    pub fn start(self) -> Bundle {
        let log = std::fs::File::create(self.scratch.join("output")).unwrap();
        let status = self
            .command(&["run", "--detach", "ID"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        let said = std::fs::read_to_string(self.scratch.join("output")).unwrap();
        assert!(status.success(), "run: {said}");
        self
    }

    /// `exec ID COMMAND`.
    #[track_caller]
    pub fn exec(&self, command: &[&str]) -> String {
        self.exec_with(&[], command)
    }

    /// `exec OPTIONS ID COMMAND`.
    #[track_caller]
    pub fn exec_with(&self, options: &[&str], command: &[&str]) -> String {
        let args: Vec<&str> =
            ["exec"].iter().chain(options).chain(&["ID"]).chain(command).copied().collect();
        self.ok(&args)
    }

    /// What `state` says.
    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", "ID"])).unwrap()
    }

    /// Its init, as the host knows it.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.state()["pid"].as_i64().unwrap()).unwrap()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let o = self.call(&["delete", "--force", "ID"]);
        if !std::thread::panicking() {
            assert!(o.status.success(), "delete --force: {o:?}");
        }
    }
}

/// The value of a line of `/proc/PID/status`, from its text.
#[track_caller]
pub fn status_line<'a>(status: &'a str, key: &str) -> &'a str {
    let line = status.lines().find(|l| l.split(':').next() == Some(key));
    line.unwrap_or_else(|| panic!("no {key} in {status}")).split_once(':').unwrap().1.trim()
}
