//! The OCI face's command line without a container: options, help, version, logs, `spec`,
//! `features`, and what runc says in the same place.

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use support::{Scratch, bin};

/// A program called by this path, in this directory.
fn call(program: impl AsRef<Path>, dir: &Path, args: &[&str]) -> Output {
    Command::new(program.as_ref()).args(args).current_dir(dir).output().unwrap()
}

fn ours(args: &[&str]) -> Output {
    call(bin(), Path::new("/"), args)
}

fn out(o: &Output) -> String {
    String::from_utf8(o.stdout.clone()).unwrap()
}

fn err(o: &Output) -> String {
    String::from_utf8(o.stderr.clone()).unwrap()
}

/// stockade under the name of runc.
fn as_runc(scratch: &Scratch) -> std::path::PathBuf {
    let link = scratch.join("runc");
    let target = std::path::absolute(bin()).unwrap();
    std::os::unix::fs::symlink(target, &link).unwrap();
    link
}

/// Debian's runc, the reference.
fn reference() -> Option<&'static str> {
    ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|p| Path::new(p).exists())
}

const VERBS: [&str; 17] = [
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "kill",
    "list",
    "pause",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
    "features",
];

#[test]
fn every_verb_has_help_in_runcs_form() {
    let scratch = Scratch::new();
    for (program, name) in
        [(std::path::PathBuf::from(bin()), "stockade"), (as_runc(&scratch), "runc")]
    {
        for verb in VERBS {
            for args in [[verb, "--help"], [verb, "-h"], ["help", verb]] {
                let o = call(&program, Path::new("/"), &args);
                assert_eq!(o.status.code(), Some(0), "{args:?}");
                let text = out(&o);
                let begin = format!("NAME:\n   {name} {verb} - ");
                assert!(text.starts_with(&begin), "{args:?}: {text}");
                assert!(o.stderr.is_empty());
            }
        }
    }
}

#[test]
fn called_runc_it_is_runc() {
    let scratch = Scratch::new();
    let runc = as_runc(&scratch);
    let o = call(&runc, Path::new("/"), &["--version"]);
    let text = out(&o);
    assert!(text.starts_with("runc version 1."), "{text}");
    assert!(text.contains("\nspec: 1.3.0\n"), "{text}");
    assert!(
        out(&call(&runc, Path::new("/"), &["--help"])).contains("The default root is /run/runc")
    );
    // The jail's verbs are not runc's.
    let o = call(&runc, Path::new("/"), &["jail", "--", "true"]);
    assert_eq!(o.status.code(), Some(3));
    assert!(err(&o).contains("No help topic for 'jail'"), "{o:?}");
    let own = out(&ours(&["--version"]));
    assert!(own.starts_with("stockade version ") && own.contains("\nspec: 1.3.0\n"), "{own}");
}

/// The lines that containerd (go-runc) and Docker look for.
#[test]
fn version_is_what_containerd_and_docker_parse() {
    let text = out(&ours(&["--version"]));
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains(" version "), "{text}");
    assert!(lines[1].starts_with("commit: ") && lines[2].starts_with("spec: "), "{text}");
}

#[test]
fn a_wrong_command_line_is_said_as_runc_says_it() {
    let root = Scratch::new();
    let root = root.path().to_str().unwrap();
    let cases: [(&[&str], &str, i32); 9] = [
        (&["state"], "\\\"state\\\" requires exactly 1 argument(s)", 1),
        (&["state", "a", "b"], "\\\"state\\\" requires exactly 1 argument(s)", 1),
        (&["exec"], "\\\"exec\\\" requires a minimum of 1 argument(s)", 1),
        (&["kill", "a", "9", "b"], "\\\"kill\\\" requires a maximum of 2 argument(s)", 1),
        (&["list", "a"], "\\\"list\\\" requires exactly 0 argument(s)", 1),
        (&["state", "--foo", "x"], "flag provided but not defined: -", 1),
        (&["list", "-f", "foo"], "invalid format option", 1),
        (&["--log-format", "xml", "list"], "invalid log-format: xml", 1),
        (&["kill", "nope", "FOO"], "unknown signal", 1),
    ];
    for (args, text, code) in cases {
        let args: Vec<&str> = ["--root", root].into_iter().chain(args.iter().copied()).collect();
        let o = ours(&args);
        assert_eq!(o.status.code(), Some(code), "{args:?} {o:?}");
        assert!(err(&o).contains(text), "{args:?}: {}", err(&o));
        assert!(err(&o).contains("level=error msg="), "{args:?}: {}", err(&o));
        if let Some(runc) = reference().filter(|_| args[2] != "kill") {
            let control = call(runc, Path::new("/"), &args);
            assert_eq!(control.status.code(), Some(code), "runc {args:?} {control:?}");
            let said = err(&control);
            assert!(said.contains(text), "runc {args:?}: {said}");
        }
    }
}

#[test]
fn a_missing_container_is_an_error_for_every_verb_that_needs_one() {
    let root = Scratch::new();
    let root = root.path().to_str().unwrap();
    for (verb, code) in [
        ("state", 1),
        ("start", 1),
        ("kill", 1),
        ("delete", 1),
        ("ps", 1),
        ("pause", 1),
        ("resume", 1),
        ("update", 1),
        ("events", 1),
        ("exec", 255),
    ] {
        let mut args = vec!["--root", root, verb, "nope"];
        if verb == "exec" {
            args.push("true");
        }
        let o = ours(&args);
        assert_eq!(o.status.code(), Some(code), "{verb} {o:?}");
        assert!(err(&o).contains("does not exist"), "{verb}: {}", err(&o));
        if let Some(runc) = reference() {
            let control = call(runc, Path::new("/"), &args);
            assert_eq!(control.status.code(), Some(code), "runc {verb} {control:?}");
            assert!(err(&control).contains("does not exist"), "runc {verb}");
        }
    }
    let o = ours(&["--root", root, "delete", "--force", "nope"]);
    assert_eq!((o.status.code(), err(&o).as_str()), (Some(0), ""));
}

/// T44
#[test]
fn t44_an_id_that_is_none_is_refused_by_every_verb() {
    let scratch = Scratch::new();
    let root = scratch.join("root");
    std::fs::create_dir(&root).unwrap();
    let victim = scratch.join("victim");
    std::fs::create_dir(&victim).unwrap();
    let long = "x".repeat(5000);
    for id in ["", ".", "..", "../victim", "a/b", "a\n", "/", long.as_str()] {
        for verb in [
            "state", "start", "kill", "delete", "ps", "pause", "resume", "update", "events",
            "exec", "create", "run",
        ] {
            let mut args = vec!["--root", root.to_str().unwrap(), verb, id];
            if verb == "exec" {
                args.push("true");
            }
            let o = ours(&args);
            assert!(matches!(o.status.code(), Some(1 | 255)), "{verb} {id:?}: {o:?}");
            let said = err(&o);
            assert!(said.contains("container id"), "{verb} {id:?}: {said}");
            assert!(!said.contains('\u{1b}') && said.len() < 1000, "{verb}: {said}");
        }
        let o = ours(&["--root", root.to_str().unwrap(), "delete", "--force", id]);
        assert_ne!(o.status.code(), Some(0), "delete --force {id:?}");
    }
    assert!(victim.exists());
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}

#[test]
fn errors_go_to_the_log_as_containerd_parses_it_and_to_stderr() {
    let scratch = Scratch::new();
    let root = scratch.join("root");
    std::fs::create_dir(&root).unwrap();
    let base = |program: &str, log: &Path, format: &str| {
        call(
            program,
            Path::new("/"),
            &[
                "--root",
                root.to_str().unwrap(),
                "--log",
                log.to_str().unwrap(),
                "--log-format",
                format,
                "state",
                "nope",
            ],
        )
    };
    let programs = [Some(bin()), reference()];
    for (i, program) in programs.into_iter().flatten().enumerate() {
        let json = scratch.join(&format!("{i}.json"));
        let o = base(program, &json, "json");
        assert_eq!(o.status.code(), Some(1));
        let text = std::fs::read_to_string(&json).unwrap();
        let line: Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["level"], "error", "{program}");
        let msg = line["msg"].as_str().unwrap();
        assert!(msg.contains("does not exist"), "{program}: {msg}");
        assert_eq!(line["time"].as_str().unwrap().len(), "2026-01-02T03:04:05Z".len());
        assert_eq!(err(&o).trim_end(), msg, "{program}");
        // A second call appends.
        base(program, &json, "json");
        assert_eq!(std::fs::read_to_string(&json).unwrap().lines().count(), 2, "{program}");

        let plain = scratch.join(&format!("{i}.text"));
        let o = base(program, &plain, "text");
        let text = std::fs::read_to_string(&plain).unwrap();
        assert!(text.starts_with("time=\"20"), "{program}: {text}");
        assert!(text.contains("level=error msg=\""), "{program}: {text}");
        assert!(err(&o).contains("does not exist"), "{program}");
    }
    // Without a log the line itself is on stderr, once.
    let o = ours(&["--root", root.to_str().unwrap(), "state", "nope"]);
    assert_eq!(err(&o).matches("does not exist").count(), 1, "{o:?}");
    let o = ours(&["--log", "/nonexistent/log", "state", "nope"]);
    assert_eq!(o.status.code(), Some(1));
    assert!(err(&o).contains("/nonexistent/log"), "{o:?}");
}

#[test]
fn debug_says_what_is_done_and_without_it_nothing_is_said() {
    let root = Scratch::new();
    let root = root.path().to_str().unwrap();
    let o = ours(&["--root", root, "--debug", "list"]);
    assert!(err(&o).contains("level=debug msg="), "{o:?}");
    assert!(ours(&["--root", root, "list"]).stderr.is_empty());
}

#[test]
fn an_empty_root_lists_as_runc_does() {
    let scratch = Scratch::new();
    let root = scratch.join("root");
    std::fs::create_dir(&root).unwrap();
    std::os::unix::fs::chown(&root, None, None).unwrap();
    let root = root.to_str().unwrap();
    for args in
        [&["list"][..], &["list", "-q"], &["list", "-f", "json"], &["list", "--format=table"]]
    {
        let args: Vec<&str> = ["--root", root].into_iter().chain(args.iter().copied()).collect();
        let o = ours(&args);
        assert_eq!(o.status.code(), Some(0), "{o:?}");
        if let Some(runc) = reference() {
            assert_eq!(out(&o), out(&call(runc, Path::new("/"), &args)), "{args:?}");
        }
    }
    let o = ours(&["--root", "/nonexistent/root", "list"]);
    assert_eq!(o.status.code(), Some(1), "{o:?}");
    assert!(!Path::new("/nonexistent").exists());
    for root in ["/", "/..", ""] {
        assert_eq!(ours(&["--root", root, "list"]).status.code(), Some(1), "{root:?}");
    }
}

/// Everything but the version and what newer versions of runc write is Debian's runc's.
#[test]
fn spec_writes_runcs_config_and_never_overwrites() {
    let scratch = Scratch::new();
    for (i, more) in [&[][..], &["--rootless"]].into_iter().enumerate() {
        let dir = scratch.join(&format!("o{i}"));
        std::fs::create_dir(&dir).unwrap();
        let bundle = dir.to_str().unwrap();
        let args: Vec<&str> =
            ["spec", "--bundle", bundle].into_iter().chain(more.iter().copied()).collect();
        assert_eq!(ours(&args).status.code(), Some(0));
        let text = std::fs::read_to_string(dir.join("config.json")).unwrap();
        let ours_: Value = serde_json::from_str(&text).unwrap();
        assert!(text.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {"), "{text}");

        let o = ours(&args);
        assert_eq!(o.status.code(), Some(1));
        assert!(err(&o).contains("Remove it first"), "{o:?}");
        assert_eq!(std::fs::read_to_string(dir.join("config.json")).unwrap(), text);

        if let Some(runc) = reference() {
            let theirs_dir = scratch.join(&format!("t{i}"));
            std::fs::create_dir(&theirs_dir).unwrap();
            let args: Vec<&str> = ["spec"].into_iter().chain(more.iter().copied()).collect();
            assert_eq!(call(runc, &theirs_dir, &args).status.code(), Some(0));
            let theirs = std::fs::read(theirs_dir.join("config.json")).unwrap();
            let mut theirs: Value = serde_json::from_slice(&theirs).unwrap();
            theirs["ociVersion"] = "1.3.0".into();
            // Since 1.2 it leaves inheritable and ambient ones away, which were never needed.
            let caps = theirs["process"]["capabilities"].as_object_mut().unwrap();
            caps.remove("ambient");
            caps.remove("inheritable");
            assert_eq!(ours_, theirs, "{more:?}");
        }
    }
    let o = call(bin(), scratch.path(), &["spec"]);
    assert_eq!(o.status.code(), Some(0));
    assert!(scratch.join("config.json").exists());
    assert_eq!(ours(&["spec", "-b", "/nonexistent"]).status.code(), Some(1));
}

/// What runc of this machine knows, we know, but for what it has lost since.
#[test]
fn features_are_those_of_the_specification() {
    let o = ours(&["features"]);
    assert_eq!(o.status.code(), Some(0));
    let ours_: Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!(ours_["ociVersionMin"], "1.0.0");
    assert_eq!(ours_["ociVersionMax"], "1.3.0");
    assert_eq!(ours_["linux"]["seccomp"]["enabled"], true);
    let Some(runc) = reference() else { skip!("no runc to compare with") };
    let theirs: Value =
        serde_json::from_slice(&call(runc, Path::new("/"), &["features"]).stdout).unwrap();
    let list = |v: &Value, p: &str| -> Vec<String> {
        let all = v.pointer(p).unwrap().as_array().unwrap();
        all.iter().map(|s| s.as_str().unwrap().to_owned()).collect()
    };
    for pointer in [
        "/hooks",
        "/mountOptions",
        "/linux/namespaces",
        "/linux/capabilities",
        "/linux/seccomp/actions",
        "/linux/seccomp/operators",
    ] {
        let have = list(&ours_, pointer);
        for name in list(&theirs, pointer) {
            // acl: withdrawn from the specification.
            let gone = ["acl", "noacl"].contains(&name.as_str());
            assert!(gone || have.contains(&name), "{pointer}: {name} is missing");
        }
    }
}
