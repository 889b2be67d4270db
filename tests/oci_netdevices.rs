//! `linux.netDevices`: network devices of the caller's namespace become the container's. All of them
//! are made in a network namespace of the test's own, which ends with its thread.

mod support;

use serde_json::{Value, json};
use std::process::{Command, Stdio};
use support::bundle::Bundle;

/// Runs a test in a new network namespace: whatever it starts is in there too.
fn in_a_network_of_its_own(test: &str, body: impl FnOnce() + Send + 'static) {
    if !support::is_root() {
        return support::record_skip(test, "needs root");
    }
    if Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_err() {
        return support::record_skip(test, "needs ip of iproute2");
    }
    let run = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        body();
    });
    if let Err(panic) = run.join() {
        std::panic::resume_unwind(panic);
    }
}

#[track_caller]
fn said(command: &mut Command) -> String {
    let o = command.stdin(Stdio::null()).output().unwrap();
    assert!(o.status.success(), "{command:?}: {o:?}");
    String::from_utf8(o.stdout).unwrap()
}

#[track_caller]
fn ip(arguments: &str) -> String {
    said(Command::new("ip").args(arguments.split(' ')))
}

/// Whether there is a device of this name here.
fn is_here(name: &str) -> bool {
    ip("-o link show").split(' ').any(|word| word.split(['@', ':']).next() == Some(name))
}

/// A device with everything that it can bring along, and more. The other end is `NAME-p`.
fn make(name: &str, net: u8) {
    ip(&format!(
        "link add {name} mtu 1789 address 02:11:22:33:44:{net:02x} type veth peer name {name}-p"
    ));
    ip(&format!("link set {name}-p up"));
    ip(&format!("link set {name} up"));
    ip(&format!("address add 10.9.{net}.5/24 broadcast 10.9.{net}.255 dev {name}"));
    ip(&format!("address add 10.9.{net}.6/24 dev {name}"));
    ip(&format!("address add 10.8.{net}.1 peer 10.8.{net}.2/32 dev {name}"));
    ip(&format!("address add 2001:db8:{net}::5/64 dev {name} nodad"));
    // None of these is for the container: of this link only, and for a while only.
    ip(&format!("address add 10.7.{net}.1/24 scope link dev {name}"));
    ip(&format!("address add 10.6.{net}.1/24 valid_lft 3000 preferred_lft 3000 dev {name}"));
    ip(&format!(
        "address add 2001:db8:f{net}::5/64 valid_lft 3000 preferred_lft 3000 dev {name} nodad"
    ));
}

/// The device's addresses of a scope beyond its link that are there for good.
fn kept(shown: &str) -> Vec<&str> {
    let lines = shown.lines().map(str::trim).filter(|l| l.starts_with("inet"));
    let global = lines.filter(|l| l.contains(" scope global") && !l.contains(" dynamic"));
    let mut found: Vec<&str> = global.filter_map(|l| l.split(" scope ").next()).collect();
    found.sort_unstable();
    found
}

#[track_caller]
fn has_everything(shown: &str, net: u8) {
    let all = [
        format!("inet 10.8.{net}.1 peer 10.8.{net}.2/32"),
        format!("inet 10.9.{net}.5/24 brd 10.9.{net}.255"),
        format!("inet 10.9.{net}.6/24"),
        format!("inet6 2001:db8:{net}::5/64"),
    ];
    assert_eq!(kept(shown), all, "{shown}");
    assert!(shown.contains("mtu 1789"), "{shown}");
    assert!(shown.contains(&format!("02:11:22:33:44:{net:02x}")), "{shown}");
    assert!(shown.contains("UP,LOWER_UP"), "{shown}");
}

fn bundle(devices: Value) -> Bundle {
    Bundle::new(|config| config["linux"]["netDevices"] = devices)
}

/// `ip address show DEVICE` in the network namespace of this process.
#[track_caller]
fn shown_in(namespace: &str, device: &str) -> String {
    let net = format!("--net={namespace}");
    said(Command::new("nsenter").args([&net, "ip", "address", "show", "dev", device]))
}

fn of(pid: i32) -> String {
    format!("/proc/{pid}/ns/net")
}

/// Sets the path of the network namespace.
fn join(config: &mut Value, path: &str) {
    let list = config["linux"]["namespaces"].as_array_mut().unwrap();
    for n in list.iter_mut().filter(|n| n["type"] == "network") {
        n["path"] = path.into();
    }
}

/// A network namespace that lives as long as this.
struct Other(std::process::Child);

impl Other {
    fn new() -> Other {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo; exec sleep 1000"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
        Other(child)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    #[track_caller]
    fn ip(&self, arguments: &str) -> String {
        let net = format!("--net={}", self.path());
        said(Command::new("nsenter").args([&net, "ip"]).args(arguments.split(' ')))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_device_comes_with_its_addresses_mtu_and_mac_under_a_new_name_and_is_up() {
    in_a_network_of_its_own("a_device_comes_with_its_addresses", || {
        make("data0", 1);
        make("data1", 2);
        let bundle = bundle(json!({"data0": {"name": "eth0"}, "data1": {}})).start();
        assert!(!is_here("data0") && !is_here("data1"), "still here: {}", ip("-o link show"));
        let namespace = of(bundle.pid());
        has_everything(&shown_in(&namespace, "eth0"), 1);
        has_everything(&shown_in(&namespace, "data1"), 2);
        let inside = bundle.exec(&["busybox", "ip", "address", "show", "dev", "eth0"]);
        assert!(inside.contains("inet 10.9.1.5/24"), "{inside}");
    });
}

#[test]
fn a_device_that_is_down_comes_up_in_a_user_namespace_too() {
    in_a_network_of_its_own("a_device_that_is_down", || {
        ip("link add data0 type veth peer name data0-p");
        ip("address add 10.9.1.5/24 dev data0");
        let bundle = Bundle::new(|config| {
            config["linux"]["netDevices"] = json!({"data0": {"name": "eth0"}});
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.push(json!({"type": "user"}));
            for ids in ["uidMappings", "gidMappings"] {
                config["linux"][ids] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            }
        })
        .start();
        let shown = shown_in(&of(bundle.pid()), "eth0");
        assert!(shown.contains(",UP") && shown.contains("10.9.1.5/24"), "{shown}");
    });
}

#[test]
fn in_a_joined_namespace_the_device_stays_when_the_container_is_gone() {
    in_a_network_of_its_own("in_a_joined_namespace", || {
        make("data0", 1);
        // The name that it has here is taken there.
        let other = Other::new();
        other.ip("link add data0 type veth peer name x");
        let bundle = Bundle::new(|config| {
            config["linux"]["netDevices"] = json!({"data0": {"name": "eth0"}});
            join(config, &other.path());
        })
        .start();
        has_everything(&shown_in(&of(bundle.pid()), "eth0"), 1);
        drop(bundle);
        has_everything(&shown_in(&other.path(), "eth0"), 1);
        assert!(!is_here("data0"));
    });
}

#[test]
fn hooks_find_the_device_and_sysctls_may_be_about_it() {
    in_a_network_of_its_own("hooks_find_the_device", || {
        make("data0", 1);
        let bundle = Bundle::new(|config| {
            config["linux"]["netDevices"] = json!({"data0": {"name": "eth0"}});
            config["linux"]["sysctl"] = json!({"net.ipv4.conf.eth0.forwarding": "1"});
            let script = "pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*'); grep -q eth0: /proc/$pid/net/dev";
            let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
            config["hooks"] = json!({"prestart": hook, "createRuntime": hook});
        })
        .start();
        let set = bundle.exec(&["cat", "/proc/sys/net/ipv4/conf/eth0/forwarding"]);
        assert_eq!(set, "1\n");
    });
}

#[test]
fn a_sysctl_may_be_about_a_device_that_a_hook_makes() {
    in_a_network_of_its_own("a_sysctl_may_be_about_a_device_that_a_hook_makes", || {
        let bundle = Bundle::new(|config| {
            config["linux"]["sysctl"] = json!({"net.ipv4.conf.made0.forwarding": "1"});
            let script = "pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*')
                nsenter --net=/proc/$pid/ns/net ip link add made0 type veth peer name made1";
            let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
            let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": [path]}]);
            config["hooks"] = json!({ "createRuntime": hook });
        })
        .start();
        let set = bundle.exec(&["cat", "/proc/sys/net/ipv4/conf/made0/forwarding"]);
        assert_eq!(set, "1\n");
    });
}

#[test]
fn a_container_that_fails_gives_the_device_back_as_it_was() {
    in_a_network_of_its_own("a_container_that_fails", || {
        make("data0", 1);
        ip("link add down0 type veth peer name down0-p");
        let given = || {
            assert!(!is_here("eth0") && !is_here("eth1"), "{}", ip("-o link show"));
            has_everything(&ip("address show dev data0"), 1);
            assert!(!ip("link show dev down0").contains(",UP"), "set up by nobody");
        };
        let devices = json!({"data0": {"name": "eth0"}, "down0": {"name": "eth1"}});
        let hook = json!([{"path": "/bin/false"}]);
        for at in ["createRuntime", "createContainer", "startContainer", "poststart"] {
            let bundle = Bundle::new(|config| {
                config["linux"]["netDevices"] = devices.clone();
                config["hooks"] = json!({ at: hook });
            });
            let error = bundle.fails(&["run", "ID"]);
            assert!(error.contains(at), "{error}");
            assert!(!error.contains("given back"), "{error}");
            given();
            assert_eq!(bundle.ok(&["list", "--quiet"]), "");
        }
        let bundle = Bundle::new(|config| {
            config["linux"]["netDevices"] = devices.clone();
            config["process"]["args"] = json!(["/no/such/program"]);
        });
        bundle.fails(&["create", "ID"]);
        given();
    });
}

#[test]
fn one_device_that_cannot_leave_brings_back_those_that_have() {
    in_a_network_of_its_own("one_device_that_cannot_leave", || {
        make("data0", 1);
        // The kernel keeps a bridge where it is.
        ip("link add stays0 type bridge");
        let bundle = bundle(json!({"data0": {"name": "eth0"}, "stays0": {}}));
        let error = bundle.fails(&["create", "ID"]);
        assert!(
            error.contains("move into the container the network device \\\"stays0\\\"")
                || error.contains("move into the container the network device \"stays0\""),
            "{error}"
        );
        has_everything(&ip("address show dev data0"), 1);
        assert!(is_here("stays0"));
    });
}

#[test]
fn what_can_be_known_to_fail_touches_no_device() {
    in_a_network_of_its_own("what_can_be_known_to_fail", || {
        make("data0", 1);
        ip("link property add dev data0-p altname another");
        let index = || ip("-o link show dev data0").split(':').next().unwrap().to_owned();
        let before = index();
        let refused = |devices: Value, change: &dyn Fn(&mut Value), why: &str| {
            let bundle = Bundle::new(|config| {
                config["linux"]["netDevices"] = devices.clone();
                // It would tell of a container that came about up to here.
                config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
                change(config);
            });
            let error = bundle.fails(&["create", "ID"]);
            assert!(error.contains(why), "{devices}: {error}");
            assert_eq!(bundle.ok(&["list", "--quiet"]), "", "{devices}");
            has_everything(&ip("address show dev data0"), 1);
            assert_eq!(index(), before);
        };
        let plain = |_: &mut Value| {};
        for name in [
            "a/b",
            "a:b",
            "a b",
            "a\tb",
            ".",
            "..",
            "sixteen-bytes-xx",
            "eth%d",
            "a\u{a0}b",
            "a\u{0}b",
        ] {
            refused(json!({"data0": {"name": name}}), &plain, "invalid network device name");
            refused(json!({"data0": {}, name: {}}), &plain, "invalid network device name");
        }
        refused(json!({"": {"name": "eth0"}}), &plain, "invalid network device name");
        refused(json!({"data0": {"name": "lo"}}), &plain, "of each network namespace's own");
        refused(json!({"data0": {}, "lo": {}}), &plain, "of each network namespace's own");
        refused(json!({"data0": {"name": 7}}), &plain, "invalid type");
        let twice = json!({"data0": {"name": "eth0"}, "data0-p": {"name": "eth0"}});
        refused(twice, &plain, "would both be");
        let twice = json!({"data0": {"name": "data0-p"}, "data0-p": {}});
        refused(twice, &plain, "would both be");
        refused(json!({"data0": {}, "zz": {}}), &plain, "link not found");
        refused(json!({"another": {}, "data0": {}}), &plain, "is another name of");
        let no_network = |config: &mut Value| {
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.retain(|n| n["type"] != "network");
        };
        let words = "unable to move network devices without a NET namespace";
        refused(json!({"data0": {"name": "eth0"}}), &no_network, words);
        let own = |config: &mut Value| join(config, "/proc/thread-self/ns/net");
        refused(json!({"data0": {"name": "eth0"}}), &own, "is the caller's own");
        let other = Other::new();
        other.ip("link add eth0 type veth peer name x");
        let taken = |config: &mut Value| join(config, &other.path());
        refused(json!({"data0": {"name": "eth0"}}), &taken, "its network namespace has one");
    });
}

/// With runc's words, which are looked for.
#[test]
fn a_rootless_container_gets_no_devices() {
    in_a_network_of_its_own("a_rootless_container", || {
        make("data0", 1);
        let bundle = bundle(json!({"data0": {}}));
        let mut rootless = Command::new("unshare");
        rootless.args(["--user", "--map-root-user"]).arg(support::bin());
        rootless.arg("--root").arg(bundle.scratch.join("root")).args(["create", &bundle.id]);
        let o = rootless.current_dir(bundle.dir()).output().unwrap();
        let error = String::from_utf8(o.stderr).unwrap();
        let words = "network devices are not supported for rootless containers";
        assert!(!o.status.success() && error.contains(words), "{error}");
        has_everything(&ip("address show dev data0"), 1);
    });
}

#[test]
fn features_say_that_there_are_network_devices() {
    let features: Value =
        serde_json::from_str(&said(Command::new(support::bin()).arg("features"))).unwrap();
    assert_eq!(features["linux"]["netDevices"]["enabled"], true);
}
