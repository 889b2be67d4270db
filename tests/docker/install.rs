//! scripts/install-docker-runtime: what it does to a daemon.json, and that a dockerd takes it.

use super::clients::{finish, runtime};
use super::daemon::{BUSYBOX, Docker};
use super::support::live::eventually;
use super::support::{Run, Scratch, bin};
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

fn script(config: &Path, args: &[&str]) -> Run {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install-docker-runtime");
    finish(Command::new(script).arg("--config").arg(config).args(args))
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn it_adds_its_entry_and_takes_it_out_again() {
    let scratch = Scratch::new();
    let before = json!({
        "log-level": "warn",
        "runtimes": { "other": { "path": "/opt/other", "runtimeArgs": ["--x"] } },
        "live-restore": true,
        "insecure-registries": ["ä.example:5000"],
    });
    let text = serde_json::to_string_pretty(&before).unwrap();
    let file = scratch.file("daemon.json", &text);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let run = script(&file, &["--binary", bin()]).exits(0);
    run.says("systemctl reload docker").says("kill -HUP");
    let mut expected = before.clone();
    expected["runtimes"]["stockade"] = json!({ "path": bin() });
    assert_eq!(read(&file), expected);
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
    assert!(std::fs::read_to_string(&file).unwrap().contains("ä.example"));
    // Once more changes nothing, not even the file.
    let inode = std::fs::metadata(&file).unwrap().ino();
    script(&file, &["--binary", bin()]).exits(0).says("nothing was to be done");
    assert_eq!(std::fs::metadata(&file).unwrap().ino(), inode);
    script(&file, &["--undo"]).exits(0).says("no longer in");
    assert_eq!(read(&file), before);
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), text);
    script(&file, &["--undo"]).exits(0).says("nothing was to be done");
    // No half-written file is left beside it.
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
}

#[test]
fn without_a_file_it_makes_one_and_undo_removes_it() {
    let scratch = Scratch::new();
    let file = scratch.join("docker/daemon.json");
    script(&file, &["--binary", bin(), "--default"]).exits(0);
    let expected =
        json!({ "runtimes": { "stockade": { "path": bin() } }, "default-runtime": "stockade" });
    assert_eq!(read(&file), expected);
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o644);
    script(&file, &["--undo"]).exits(0);
    assert!(!file.exists());
}

#[test]
fn the_path_is_changed_and_arguments_are_kept() {
    let scratch = Scratch::new();
    let entry = json!({ "path": "/old/stockade", "runtimeArgs": ["--debug"] });
    let text = json!({ "runtimes": { "stockade": entry } }).to_string();
    let file = scratch.file("real.json", &text);
    // By a link, which stays one.
    let link = scratch.join("daemon.json");
    std::os::unix::fs::symlink("real.json", &link).unwrap();
    script(&link, &["--binary", bin()]).exits(0).says("no longer /old/stockade");
    let entry = json!({ "path": bin(), "runtimeArgs": ["--debug"] });
    assert_eq!(read(&file)["runtimes"]["stockade"], entry);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn what_it_does_not_understand_it_leaves_alone() {
    let scratch = Scratch::new();
    for (text, why) in [
        ("{\"a\": 1,}", "not valid JSON"),
        ("[]", "no JSON object"),
        ("{\"a\": 1, \"a\": 2}", "is there twice"),
        ("{\"runtimes\": []}", "no JSON object"),
        ("{\"runtimes\": {\"stockade\": {\"runtimeType\": \"x\"}}}", "runtimeType"),
    ] {
        let file = scratch.file("daemon.json", text);
        script(&file, &["--binary", bin()]).exits(1).complains(why);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
    let file = scratch.file("daemon.json", "{}");
    script(&file, &["--binary", "/bin/true"]).exits(1).complains("does not say that it is");
    script(&file, &["--binary", "/no/such"]).exits(1).complains("does not run");
    script(&file, &["--binary", bin(), "--name", "runc"]).exits(2).complains("Docker's own");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{}");
}

#[test]
fn a_running_dockerd_takes_it_by_a_reload() {
    need_clients!("dockerd", "docker");
    let docker = Docker::plain("{\"max-concurrent-downloads\": 2}");
    docker.load_images();
    let run = ["run", "--rm", "--network", "none", "--runtime", "stockade", BUSYBOX, "echo", "hi"];
    docker.run(&run).exits(125).complains("stockade");
    script(&docker.config_file(), &["--binary", bin()]).exits(0);
    if runtime() != bin() {
        // The control's binary does not say that it is stockade.
        let text = std::fs::read_to_string(docker.config_file()).unwrap();
        std::fs::write(docker.config_file(), text.replace(bin(), &runtime())).unwrap();
    }
    docker.reload();
    let known = || docker.run(&["info", "--format", "{{json .Runtimes}}"]).stdout;
    eventually("the runtime", || known().contains("\"stockade\""));
    docker.run(&run).exits(0).says("hi\n");
    let run = script(&docker.config_file(), &["--undo"]).exits(0);
    run.says("systemctl restart docker");
    docker.stop_daemon();
    docker.start_it(&[]);
    assert!(!known().contains("\"stockade\""));
}
