//! `stockade doctor`: on this host, and where a test takes something away from it.
//!
//! Everything that is taken away is taken in namespaces of the test's own.

mod support;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Scratch, jail, sh};

const LAYERS: [&str; 8] =
    ["kernel", "namespaces", "ids", "mounts", "cgroups", "seccomp", "landlock", "container"];

/// A directory with a copy of the binary where everybody may run it.
fn with_binary() -> Scratch {
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // By another process: a descriptor that writes to it could reach what another test starts.
    let copied = Command::new("cp").arg(support::bin()).arg(scratch.join("stockade")).status();
    assert!(copied.unwrap().success());
    scratch
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// A report, and the exit status that goes with it.
#[derive(Debug)]
struct Report {
    json: serde_json::Value,
    code: i32,
}

impl Report {
    #[track_caller]
    fn of(out: &Output) -> Report {
        let json = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"));
        Report { json, code: out.status.code().unwrap() }
    }

    #[track_caller]
    fn exits(&self, code: i32, verdict: &str) -> &Report {
        assert_eq!(self.code, code, "{self:#?}");
        assert_eq!(self.json["exit_status"], code);
        assert_eq!(self.json["verdict"], verdict);
        self
    }

    fn blockers(&self) -> Vec<&str> {
        let list = self.json["blockers"].as_array().unwrap();
        list.iter().map(|b| b["id"].as_str().unwrap()).collect()
    }

    /// Asserts that a blocker is named, with this effect, a sentence and a fix.
    #[track_caller]
    fn blocks(&self, id: &str, effect: &str) -> &Report {
        let list = self.json["blockers"].as_array().unwrap();
        let Some(b) = list.iter().find(|b| b["id"] == id) else { panic!("no {id}: {self:#?}") };
        assert_eq!(b["effect"], effect, "{b:#?}");
        assert!(b["what"].as_str().unwrap().len() > 20 && b["fix"].as_str().unwrap().len() > 10);
        self
    }

    #[track_caller]
    fn feature(&self, layer: &str, name: &str) -> &serde_json::Value {
        let list = self.json["features"].as_array().unwrap();
        list.iter()
            .find(|f| f["layer"] == layer && f["name"] == name)
            .unwrap_or_else(|| panic!("no {layer} {name}: {self:#?}"))
    }

    #[track_caller]
    fn is(&self, layer: &str, name: &str, state: &str) -> &Report {
        assert_eq!(self.feature(layer, name)["state"], state, "{layer} {name}\n{self:#?}");
        self
    }
}

/// `doctor --json` and a jail, in a shell script of a new mount namespace in which `$s` is
/// stockade: what doctor reports, and what the jail's error says.
#[track_caller]
fn with(unshare: &[&str], script: &str) -> (Report, String) {
    let scratch = with_binary();
    let both =
        format!("s=./stockade; {script}\n$s doctor --json; code=$?; $s jail -- true; exit $code");
    let out = run(Command::new("unshare")
        .args(unshare)
        .args(["sh", "-euc", &both.replace("$s doctor", "set +e; $s doctor")])
        .current_dir(scratch.path()));
    (Report::of(&out), String::from_utf8_lossy(&out.stderr).into_owned())
}

const MOUNTS: [&str; 3] = ["-m", "--propagation", "private"];

#[test]
fn the_host_of_the_tests_runs_a_default_jail_in_full() {
    need_root!();
    let report = Report::of(&run(Command::new(support::bin()).args(["doctor", "--json"])));
    report.exits(0, "full");
    assert_eq!(report.json["schema"], 1);
    assert_eq!(report.json["stockade"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report.json["user"]["uid"], 0);
    assert_eq!(report.json["user"]["privileged"], true);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(report.json["kernel"]["release"], release.trim());
    assert!(report.json["kernel"]["major"].as_u64().unwrap() >= 5);
    assert_eq!(report.json["trial"]["result"], "full");
    for kind in ["user", "mount", "pid", "network", "ipc", "uts", "cgroup"] {
        report.is("namespaces", kind, "yes");
    }
    for name in ["memory", "cpu", "pids"] {
        report.is("cgroups", name, "yes");
    }
    report.is("seccomp", "filter", "yes").is("mounts", "proc", "yes").is("kernel", "pidfd", "yes");
    assert_eq!(report.feature("ids", "id map")["value"], 65_536);
    for name in ["/", "/tmp", "working directory"] {
        report.feature("mounts", &format!("idmapped {name}"));
    }
    let landlock = report.feature("landlock", "abi");
    assert_eq!(landlock["state"] == "yes", landlock["value"].as_i64().unwrap() > 0);
    for f in report.json["features"].as_array().unwrap() {
        assert!(["yes", "no", "unknown"].contains(&f["state"].as_str().unwrap()), "{f}");
        assert!(["run", "limits", "option", "info"].contains(&f["need"].as_str().unwrap()), "{f}");
        // No "no" of what every jail needs without a reason.
        assert!(f["state"] != "no" || f["need"] == "info" || f["blocker"].is_string(), "{f}");
    }
}

#[test]
fn the_table_names_every_layer_and_gives_the_verdict() {
    need_root!();
    let out = run(Command::new(support::bin()).arg("doctor"));
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{text}");
    for layer in LAYERS {
        let row = text.lines().find(|l| l.starts_with(layer));
        assert!(row.is_some_and(|l| l.split_whitespace().count() > 2), "{layer}: {text}");
    }
    assert!(text.ends_with("a default jail runs here in full\n"), "{text}");
}

#[test]
fn a_sysctl_of_0_takes_user_namespaces_away_and_is_named() {
    need_root!();
    // The sysctl is one of each user namespace: the host's stays as it is.
    let (report, said) = with(&["-Urm"], "echo 0 > /proc/sys/user/max_user_namespaces");
    report.exits(2, "none").blocks("userns-sysctl-max", "blocks").is("namespaces", "user", "no");
    assert_eq!(report.feature("namespaces", "user")["blocker"], "userns-sysctl-max");
    assert!(said.contains("hint: the sysctl user.max_user_namespaces is 0"), "{said}");
    assert!(said.contains("(userns-sysctl-max); sysctl -w user.max_user_namespaces="), "{said}");
}

#[test]
fn root_of_a_rootless_container_is_told_which_ids_it_lacks() {
    need_root!();
    let (report, said) = with(&["-Urm"], "");
    report.exits(2, "none").blocks("ids-outside-namespace", "blocks").is("ids", "id map", "no");
    report.is("container", "inside a user namespace", "yes");
    assert!(said.contains("uid_map") && said.contains("ids-outside-namespace"), "{said}");
    let (report, _) = with(&["-Ur"], "");
    report.exits(2, "none").blocks("mounts-of-another", "blocks");
}

#[test]
fn a_proc_that_is_masked_as_containers_do_it_is_named() {
    need_root!();
    let (report, said) = with(&MOUNTS, "mount --bind /dev/null /proc/version");
    report.exits(2, "none").blocks("proc-masked", "blocks").is("mounts", "proc", "no");
    report.is("mounts", "tmpfs", "yes");
    assert!(said.contains("mount proc on \"/proc\"") && said.contains("/proc/version"), "{said}");
    assert!(said.contains("(proc-masked)") && said.contains("systempaths=unconfined"), "{said}");
}

#[test]
fn a_host_without_proc_is_told_to_mount_it() {
    need_root!();
    let (report, said) = with(&MOUNTS, "umount -R /proc || umount -l /proc");
    report.exits(2, "none").blocks("proc-not-mounted", "blocks");
    // Which of its needs of /proc comes first depends on the C library.
    assert!(
        said.contains("hint: is /proc mounted?") || said.contains("hint: /proc has to be mounted")
    );
}

#[test]
fn a_set_uid_copy_probes_nothing_for_its_caller() {
    need_root!();
    let scratch = with_binary();
    let binary = scratch.join("stockade");
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let out = run(Command::new(&binary).arg("doctor").uid(4321).gid(4321));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(125), "{out:?}");
    assert!(said.contains("started set-uid") && out.stdout.is_empty(), "{out:?}");
}

#[test]
fn a_read_only_cgroup_file_system_is_named_and_a_jail_runs_degraded() {
    need_root!();
    if std::fs::read_dir("/sys/fs/cgroup").map_or(0, Iterator::count) == 0 {
        skip!("no cgroups here");
    }
    let script = "grep -E ' - cgroup2? ' /proc/self/mountinfo | cut -d' ' -f5 | while read -r d; do
            mount -o remount,bind,ro \"$d\"; done
        $s jail --allow-degraded -- echo ran >&2";
    let (report, said) = with(&MOUNTS, script);
    report
        .exits(1, "degraded")
        .blocks("cgroup-read-only", "degrades")
        .is("cgroups", "memory", "no");
    assert!(said.starts_with("ran\n"), "{said}");
    assert!(said.contains("(cgroup-read-only)") && said.contains("--allow-degraded"), "{said}");
}

#[test]
fn a_host_without_cgroups_is_told_to_mount_them() {
    need_root!();
    let (report, said) = with(&MOUNTS, "umount -R /sys/fs/cgroup || exec umount -l /sys/fs/cgroup");
    report.exits(1, "degraded").blocks("cgroup-none", "degrades").is("cgroups", "version", "no");
    assert!(said.contains("mount -t cgroup2 none /sys/fs/cgroup"), "{said}");
}

#[test]
fn a_host_whose_cgroups_lack_the_controllers_is_told_which() {
    need_root!();
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    if !table.lines().any(|l| l.contains("/memory ") && l.contains(" - cgroup ")) {
        skip_on_this_kind_of_host!("v1 does not have the memory controller here, so v2 does");
    }
    // As a host with v2 alone sees it, but the controllers are all v1's.
    let script = "umount -R /sys/fs/cgroup || umount -l /sys/fs/cgroup
        mount -t cgroup2 none /sys/fs/cgroup";
    let (report, said) = with(&MOUNTS, script);
    report.exits(1, "degraded").blocks("cgroup-controller", "degrades");
    report.is("cgroups", "version", "yes").is("cgroups", "clone into cgroup", "yes");
    assert_eq!(report.feature("cgroups", "version")["value"], 2);
    report.is("cgroups", "memory", "no").is("cgroups", "pids", "no");
    assert!(
        said.contains("no memory controller") && said.contains("(cgroup-controller)"),
        "{said}"
    );
}

#[test]
fn a_kind_of_namespace_that_a_sysctl_forbids_is_named() {
    need_root!();
    for (sysctl, name) in [("net", "network"), ("cgroup", "cgroup"), ("time", "time")] {
        let script = format!("echo 0 > /proc/sys/user/max_{sysctl}_namespaces");
        let (report, _) = with(&["-Urm"], &script);
        let effect = if name == "time" { "option" } else { "blocks" };
        report.is("namespaces", name, "no").is("namespaces", "user", "yes");
        report.blocks(&format!("no-{name}-namespace"), effect);
    }
}

#[test]
fn a_user_with_subordinate_ids_has_them_unless_newuidmap_has_lost_its_rights() {
    need_root!();
    if !std::path::Path::new("/usr/bin/newuidmap").exists() {
        skip!("no newuidmap here");
    }
    // In a mount namespace of its own, so that the host's accounts stay as they are.
    let scratch = with_binary();
    let line = "stk-test:x:4321:4321::/:/bin/sh\n";
    scratch.file("passwd", &(std::fs::read_to_string("/etc/passwd").unwrap() + line));
    scratch.file("subid", "stk-test:700000:65536\n");
    let run_with = |more: &str| {
        let script = format!(
            "for f in subuid subgid; do [ -e /etc/$f ] || exit 77; mount --bind subid /etc/$f; done
            mount --bind passwd /etc/passwd
            {more}
            exec setpriv --reuid 4321 --regid 4321 --clear-groups ./stockade doctor --json"
        );
        let mut command = Command::new("unshare");
        run(command.args(MOUNTS).args(["sh", "-euc", &script]).current_dir(scratch.path()))
    };
    let out = run_with("");
    if out.status.code() == Some(77) {
        skip!("no /etc/subuid and /etc/subgid to mount over");
    }
    let report = Report::of(&out);
    report.exits(1, "degraded").is("ids", "subordinate ids", "yes").is("ids", "id map", "yes");
    assert_eq!(report.feature("ids", "id map")["value"], 65_536);
    assert!(!report.blockers().contains(&"no-subordinate-ids"), "{report:#?}");
    let out = run_with("cp /usr/bin/newuidmap plain; mount --bind plain /usr/bin/newuidmap");
    Report::of(&out).exits(2, "none").blocks("ids-helper", "blocks").is("ids", "id map", "no");
}

#[test]
fn an_ordinary_user_without_delegation_is_told_how_to_get_it() {
    need_root!();
    const UID: u32 = 4321;
    let scratch = with_binary();
    let user = |args: &[&str]| {
        let mut command = Command::new(scratch.join("stockade"));
        run(command.args(args).uid(UID).gid(UID).current_dir("/"))
    };
    let report = Report::of(&user(&["doctor", "--json"]));
    report.exits(1, "degraded").blocks("cgroup-no-delegation", "degrades");
    report.blocks("no-network-devices", "option").blocks("no-device-rules", "option");
    report.blocks("no-lower-oom-score", "option").is("containers", "lower oom score", "no");
    report.blocks("no-subordinate-ids", "degrades").is("namespaces", "user", "yes");
    assert_eq!(report.json["user"]["privileged"], false);
    assert_eq!(report.feature("ids", "id map")["value"], 1);
    let said = String::from_utf8(user(&["jail", "--", "true"]).stderr).unwrap();
    assert!(said.contains("(cgroup-no-delegation)") && said.contains("--allow-degraded"), "{said}");
}

/// A filter that answers these calls, and clone(2) with CLONE_NEWUSER, so.
fn filter(calls: &[(libc::c_long, i32)], new_user: Option<i32>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut add = |code: u16, jt: u8, jf: u8, k: u32| {
        out.extend(code.to_ne_bytes());
        out.extend([jt, jf]);
        out.extend(k.to_ne_bytes());
    };
    let answer = |errno: i32| 0x0005_0000 | errno.cast_unsigned();
    add(0x20, 0, 0, 0);
    for (call, errno) in calls {
        add(0x15, 0, 1, u32::try_from(*call).unwrap());
        add(0x06, 0, 0, answer(*errno));
    }
    if let Some(errno) = new_user {
        add(0x15, 0, 3, u32::try_from(libc::SYS_clone).unwrap());
        add(0x20, 0, 0, 16); // the flags' lower half
        add(0x45, 0, 1, libc::CLONE_NEWUSER.cast_unsigned());
        add(0x06, 0, 0, answer(errno));
    }
    add(0x06, 0, 0, 0x7fff_0000);
    out
}

/// A filter under which a new user namespace gives no rights, as AppArmor has it.
fn powerless() -> Vec<u8> {
    const DROP_BOUNDING: u32 = 24; // PR_CAPBSET_DROP
    let mut out = Vec::new();
    for (code, jf, k) in [
        (0x20u16, 0u8, 0u32),
        (0x15, 3, u32::try_from(libc::SYS_prctl).unwrap()),
        (0x20, 0, 16), // the first argument's lower half
        (0x15, 1, DROP_BOUNDING),
        (0x06, 0, 0x0005_0000 | libc::EPERM.cast_unsigned()),
        (0x06, 0, 0x7fff_0000),
    ] {
        out.extend(code.to_ne_bytes());
        out.extend([0, jf]);
        out.extend(k.to_ne_bytes());
    }
    out
}

/// Below a filter, as in a container.
#[track_caller]
fn filtered(filter: &[u8]) -> (Report, String) {
    let scratch = with_binary();
    let file = scratch.join("filter");
    std::fs::File::create(&file).unwrap().write_all(filter).unwrap();
    let script = "exec bwrap --cap-add ALL --dev-bind / / --seccomp 9 sh -c \
        './stockade doctor --json; code=$?; ./stockade jail -- true; exit $code' 9<filter";
    let out = run(Command::new("sh").args(["-c", script]).current_dir(scratch.path()));
    (Report::of(&out), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn a_containers_seccomp_filter_that_refuses_user_namespaces_is_named() {
    need_root!();
    let calls = [(libc::SYS_clone3, libc::EPERM), (libc::SYS_unshare, libc::EPERM)];
    let (report, said) = filtered(&filter(&calls, Some(libc::EPERM)));
    report.exits(2, "none").blocks("userns-seccomp", "blocks").is("namespaces", "user", "no");
    report.blocks("clone3-filtered", "blocks").is("kernel", "clone3", "no");
    assert!(said.contains("(userns-seccomp)") && said.contains("seccomp=unconfined"), "{said}");
}

#[test]
fn debians_and_ubuntus_sysctls_are_blamed_where_they_are_set_and_bind_the_user() {
    need_root!();
    // This kernel has neither: files of the same names stand in for them, and a filter for what
    // they do. It shows that they are read, and go before the filter.
    let refused = filter(&[(libc::SYS_clone3, libc::EPERM)], Some(libc::EPERM));
    for (sysctl, value, filter, id) in [
        ("unprivileged_userns_clone", "0", &refused, "userns-sysctl-clone"),
        ("unprivileged_userns_clone", "1", &refused, "userns-seccomp"),
        ("apparmor_restrict_unprivileged_userns", "1", &powerless(), "userns-apparmor"),
        ("apparmor_restrict_unprivileged_userns", "0", &powerless(), "userns-seccomp"),
    ] {
        let scratch = with_binary();
        std::fs::write(scratch.join("filter"), filter).unwrap();
        let script = format!(
            "mount -t tmpfs -o mode=755 none /proc/sys/kernel
            echo 65534 | tee /proc/sys/kernel/overflowuid > /proc/sys/kernel/overflowgid
            echo {value} > /proc/sys/kernel/{sysctl}
            u='setpriv --reuid 4321 --regid 4321 --clear-groups ./stockade'
            exec bwrap --cap-add ALL --dev-bind / / --seccomp 9 sh -c \
                \"$u doctor --json; code=\\$?; $u jail --allow-degraded -- true; exit \\$code\" \
                9<filter"
        );
        let out = run(Command::new("unshare")
            .args(MOUNTS)
            .args(["sh", "-euc", &script])
            .current_dir(scratch.path()));
        let report = Report::of(&out);
        report.exits(2, "none").is("namespaces", "user", "no").blocks(id, "blocks");
        assert_eq!(report.feature("namespaces", "user")["blocker"], id);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(said.contains(&format!("({id})")), "{sysctl}={value}: {said}");
    }
}

#[test]
fn a_filter_that_knows_no_clone3_is_told_from_one_that_refuses_namespaces() {
    need_root!();
    let (report, said) = filtered(&filter(&[(libc::SYS_clone3, libc::ENOSYS)], None));
    report.exits(2, "none").blocks("clone3-filtered", "blocks");
    assert!(!report.blockers().contains(&"userns-seccomp"), "{report:#?}");
    assert!(said.contains("(clone3-filtered)"), "{said}");
}

#[test]
fn inside_a_jail_it_says_that_nothing_can_be_made() {
    need_root!();
    let scratch = with_binary();
    let volume = format!("{}:/s:ro", scratch.join("stockade").display());
    let run = jail(["-v", &volume, "--", "/s", "doctor", "--json"]).exits(2);
    let report = Report { json: serde_json::from_str(&run.stdout).unwrap(), code: run.code };
    report.exits(2, "none").blocks("userns-seccomp", "blocks").blocks("cgroup-none", "degrades");
    report.is("container", "inside a user namespace", "yes");
    sh(&["-v", &volume], "/s doctor | tail -n 1; /s jail --allow-degraded -- true")
        .exits(125)
        .says("no default jail runs here")
        .complains("(userns-seccomp)");
}

#[test]
fn without_capabilities_root_is_told_that_it_is_an_ordinary_user() {
    need_root!();
    let scratch = with_binary();
    let out = run(Command::new("setpriv")
        .args(["--bounding-set", "-sys_admin", "--inh-caps", "-all"])
        .arg(scratch.join("stockade"))
        .args(["doctor", "--json"]));
    let report = Report::of(&out);
    report.blocks("root-without-capabilities", "degrades");
    assert_eq!(report.json["user"]["privileged"], false);
}

#[test]
fn in_a_chroot_it_is_the_chroot_that_is_named() {
    need_root!();
    // A directory of the host's mounts that is no mount point itself.
    let script = "mkdir -p c/b
        for d in usr proc sys dev bin lib lib64 tmp; do [ -e /$d ] || continue
            mkdir c/$d; mount --rbind /$d c/$d; done
        cp stockade c/b/; set +e; chroot c /b/stockade doctor --json";
    let scratch = with_binary();
    let out = run(Command::new("unshare")
        .args(MOUNTS)
        .args(["sh", "-euc", script])
        .current_dir(scratch.path()));
    Report::of(&out).exits(2, "none").blocks("userns-chroot", "blocks");
}

#[test]
fn t41_what_the_host_says_of_itself_is_escaped() {
    need_root!();
    let script = "./stockade doctor; ./stockade doctor --json; true";
    let scratch = with_binary();
    let out = run(Command::new("unshare")
        .args(["-mpf", "--propagation", "private", "--mount-proc", "sh", "-c", script])
        .env("container", "evil\u{1b}[2J\u{9b}\nroot")
        .current_dir(scratch.path()));
    let text = String::from_utf8(out.stdout).unwrap();
    let (table, json) = text.split_once("\n{\n").unwrap();
    assert!(table.contains("evil\\u{1b}[2J\\u{9b}\\nroot"), "{table}");
    assert!(!table.chars().any(|c| c.is_control() && c != '\n'), "{table}");
    let json: serde_json::Value = serde_json::from_str(&format!("{{{json}")).unwrap();
    let kinds = json["container"]["signs"].as_array().unwrap();
    assert!(kinds.iter().any(|s| s["kind"] == "evil\\u{1b}[2J\\u{9b}\\nroot"), "{kinds:?}");
    let out = run(Command::new(support::bin()).args(["doctor", "--\u{1b}[2J"]));
    assert_eq!(out.status.code(), Some(125));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains("unknown option \"--\\u{1b}[2J\"\nhint: "), "{said}");
}

#[test]
fn it_leaves_no_process_mount_or_cgroup_behind() {
    need_root!();
    let scratch = with_binary();
    let script = "cat /proc/self/mountinfo > before
        ./stockade doctor > /dev/null; cat /proc/self/mountinfo > after
        cmp before after && cat /proc/[0-9]*/comm";
    let out = run(Command::new("unshare")
        .args(["-mpf", "--propagation", "private", "--mount-proc", "sh", "-c", script])
        .current_dir(scratch.path()));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && text.contains("sh"), "{out:?}");
    assert!(!text.contains("stockade"), "{text}");
    // Others that run now have some too: what stays is what counts.
    let ours = || support::our_cgroups().into_iter().filter(|c| c.contains("stockade-doctor-"));
    let seen: Vec<String> = ours().collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while ours().any(|c| seen.contains(&c)) {
        assert!(Instant::now() < deadline, "left behind: {seen:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_mistyped_option_has_a_hint() {
    let out = run(Command::new(support::bin()).args(["doctor", "--jsn"]));
    assert_eq!(out.status.code(), Some(125));
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(said, "stockade: unknown option \"--jsn\"\nhint: did you mean --json?\n");
    let out = run(Command::new(support::bin()).args(["doctor", "--help"]));
    assert!(out.status.success() && String::from_utf8_lossy(&out.stdout).contains("Exit status"));
}
