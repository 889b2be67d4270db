//! The digest of a plan: two runs with the same one were contained by the same rules.
//!
//! SHA-256 of a canonical form: the line `stockade-plan-1`, then every field of the plan in the
//! order below as `name length:value` and a newline. Lengths make it unambiguous whatever a path
//! holds. Left out are what is no rule: the run's id, the command (the audit line has it), and the
//! values of environment variables, which may be secrets short enough to be guessed from a
//! digest; their names are in.
//!
//! Every struct is taken apart without `..`: a field that is added does not compile until it has
//! its place here. Such a change gives other digests, and the first line another number.

#![forbid(unsafe_code)]

use super::caps::CapSets;
use super::detail::Details;
use super::ids::IdMap;
use super::landlock::Landlock;
use super::rlimits::Rlimit;
use super::seccomp::Asking;
use super::seccomp::notify::Telling;
use super::{
    Attrs, BindIds, Existing, Expect, MapWriter, MountStep, Namespaces, Plan, Pool, Process,
    Resources, Root, RootSource, Seccomp, SeccompWhen, Supervision, UserNamespace,
};
use seccompiler::sock_filter;
use sha2::{Digest, Sha256};
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// SHA-256 as lower-case hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

impl Plan {
    /// The digest of the rules of this plan: `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut form = Form(b"stockade-plan-1\n".to_vec());
        form.plan(self);
        format!("sha256:{}", sha256(&form.0))
    }
}

/// The canonical form as it grows.
struct Form(Vec<u8>);

impl Form {
    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(format!("{name} {}:", value.len()).as_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    fn put(&mut self, name: &str, value: impl Display) {
        self.bytes(name, value.to_string().as_bytes());
    }

    fn path(&mut self, name: &str, path: &Path) {
        self.bytes(name, path.as_os_str().as_bytes());
    }

    /// Absent is another thing than empty: then the field is not there.
    fn maybe(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn plan(&mut self, plan: &Plan) {
        let Plan {
            id: _,
            namespaces: Namespaces { user, network, time },
            hostname,
            root: Root { source, read_only, idmap, guarded },
            pool,
            steps,
            process,
            landlock,
            resources,
            supervision: Supervision { wall, cpu, output, stop },
            details,
        } = plan;
        if let Some(user) = user {
            self.user(user);
        }
        self.put("new-network", network);
        self.put("new-time", time);
        self.put("hostname", hostname);
        match source {
            RootSource::Pool => self.put("root", "host-view"),
            RootSource::Directory(dir) => self.path("root-directory", dir),
        }
        self.put("root-read-only", read_only);
        self.put("root-idmap", idmap);
        if let Some(Pool { size, inodes }) = pool {
            self.put("pool", size);
            self.maybe("pool-inodes", *inodes);
        }
        // What no jail has is not in a jail's form.
        if !guarded {
            self.put("root-guarded", guarded);
        }
        if *details != Details::default() {
            self.put("details", format!("{details:?}"));
        }
        for step in steps {
            self.step(step);
        }
        self.process(process);
        if let Some(landlock) = landlock {
            self.landlock(landlock);
        }
        self.resources(resources);
        self.maybe("wall-ns", wall.map(|d| d.as_nanos()));
        self.maybe("cpu-ns", cpu.map(|d| d.as_nanos()));
        self.maybe("output", *output);
        if let Some((signal, after)) = stop {
            self.put("stop", format!("{signal} {}", after.as_nanos()));
        }
    }

    fn landlock(&mut self, landlock: &Landlock) {
        let Landlock { abi, fs, net, scoped, flags, root, rules } = landlock;
        self.put("landlock", format!("{abi} {fs} {net} {scoped} {flags} {root}"));
        for (step, rights) in rules {
            self.put("landlock-rule", format!("{step} {rights}"));
        }
    }

    fn user(&mut self, user: &UserNamespace) {
        let UserNamespace { uids, gids, writer, setup_ids } = user;
        for (name, maps) in [("uid-map", uids), ("gid-map", gids)] {
            for IdMap { inside, outside, count } in maps {
                self.put(name, format!("{inside} {outside} {count}"));
            }
        }
        let writer = match writer {
            MapWriter::Privileged => "privileged",
            MapWriter::SingleId => "single",
            MapWriter::Helpers => "helpers",
        };
        self.put("map-writer", writer);
        self.maybe("setup-ids", setup_ids.map(|(uid, gid)| format!("{uid} {gid}")));
    }

    fn attrs(&mut self, attrs: Attrs) {
        let Attrs { read_only, no_suid, no_dev, no_exec } = attrs;
        self.put("attrs", format!("{read_only} {no_suid} {no_dev} {no_exec}"));
    }

    fn step(&mut self, step: &MountStep) {
        match step {
            MountStep::Filesystem { fstype, options, target, attrs } => {
                self.path("mount", target);
                self.put("type", fstype);
                for (key, value) in options {
                    self.put("option", key);
                    self.maybe("value", value.as_ref());
                }
                self.attrs(*attrs);
            }
            MountStep::Bind { source, target, attrs, ids, expect, optional } => {
                self.path("bind", target);
                self.path("source", source);
                self.attrs(*attrs);
                match ids {
                    BindIds::Plain => self.put("ids", "plain"),
                    BindIds::Same => self.put("ids", "same"),
                    BindIds::OwnerIs(uid, gid) => self.put("ids", format!("owner {uid} {gid}")),
                }
                match expect {
                    Expect::FileOrDirectory => self.put("expect", "file or directory"),
                    Expect::CharDevice(major, minor) => {
                        self.put("expect", format!("device {major} {minor}"));
                    }
                    Expect::Node(node) => self.put("expect", format!("{node:?}")),
                    Expect::Any => self.put("expect", "any"),
                }
                self.put("optional", optional);
            }
            MountStep::PoolDir { target, mode, owner, attrs } => {
                self.path("pool-directory", target);
                self.put("mode", mode);
                self.maybe("owner", owner.map(|(uid, gid)| format!("{uid} {gid}")));
                self.attrs(*attrs);
            }
            MountStep::Directory { target, mode } => {
                self.path("directory", target);
                self.put("mode", mode);
            }
            MountStep::File { target, mode, contents } => {
                self.path("file", target);
                self.put("mode", mode);
                self.bytes("contents", contents);
            }
            MountStep::Symlink { target, to, existing } => {
                self.path("symlink", target);
                self.path("to", to);
                if *existing != Existing::Refuse {
                    self.put("existing", format!("{existing:?}"));
                }
            }
            MountStep::Mount(mount) => self.put("any-mount", format!("{mount:?}")),
            MountStep::Device(device) => self.put("device", format!("{device:?}")),
            MountStep::WorkingDirectory { target } => self.path("working-directory", target),
            MountStep::Mask { target } => self.path("mask", target),
            MountStep::Remount { target } => self.path("remount", target),
            MountStep::ReadOnly { target } => self.path("read-only", target),
        }
    }

    fn process(&mut self, process: &Process) {
        let Process {
            argv: _,
            env,
            cwd,
            uid,
            gid,
            groups,
            caps,
            no_new_privs,
            seccomp,
            rlimits,
            umask,
            init,
            terminal,
        } = process;
        for variable in env {
            self.put("env", variable.split_once('=').map_or(variable.as_str(), |(key, _)| key));
        }
        self.put("cwd", cwd);
        self.put("uid", uid);
        self.put("gid", gid);
        self.maybe("groups", groups.as_ref().map(|g| format!("{g:?}")));
        self.put("caps", format!("{:x}", caps.bounding));
        if *caps != CapSets::kept(caps.bounding, *uid) {
            self.put("cap-sets", format!("{caps:?}"));
        }
        self.put("no-new-privs", no_new_privs);
        self.seccomp(seccomp);
        for Rlimit { resource, soft, hard } in rlimits {
            self.put("rlimit", format!("{resource} {soft} {hard}"));
        }
        self.put("umask", umask);
        self.put("init", init);
        self.put("terminal", terminal);
    }

    fn seccomp(&mut self, seccomp: &Seccomp) {
        let Seccomp { name, filter, flags, when, telling, asking, execs } = seccomp;
        self.put("seccomp", name);
        self.program("filter", filter);
        if let Some(Telling { first, second }) = telling {
            self.program("telling-first", first);
            self.program("telling-second", second);
        }
        if let Some(Asking { program, flags, path, metadata }) = asking {
            self.program("asking", program);
            self.put("asking-of", format!("{flags} {} {metadata}", path.display()));
        }
        self.put("execs", execs);
        self.put("filter-flags", flags);
        let when = match when {
            SeccompWhen::Last => "last",
            SeccompWhen::BeforeDroppingCaps => "before dropping caps",
        };
        self.put("filter-when", when);
    }

    fn program(&mut self, name: &str, filter: &[sock_filter]) {
        let mut code = Vec::with_capacity(filter.len() * 8);
        for i in filter {
            code.extend_from_slice(&i.code.to_le_bytes());
            code.extend_from_slice(&[i.jt, i.jf]);
            code.extend_from_slice(&i.k.to_le_bytes());
        }
        self.bytes(name, &code);
    }

    fn resources(&mut self, resources: &Resources) {
        let Resources {
            memory,
            memory_swap,
            cpu_quota_us,
            cpu_shares,
            cpuset,
            pids,
            parent,
            allow_degraded,
        } = resources;
        self.maybe("memory", *memory);
        self.maybe("memory-swap", *memory_swap);
        self.maybe("cpu-quota-us", *cpu_quota_us);
        self.maybe("cpu-shares", *cpu_shares);
        self.maybe("cpuset", cpuset.as_ref());
        self.maybe("pids", *pids);
        self.maybe("cgroup-parent", parent.as_ref());
        self.put("allow-degraded", allow_degraded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::facts::Facts;
    use crate::plan::policy::{
        self, LandlockChoice, Network, Policy, Restricted, SeccompChoice, Swap, Volume,
    };
    use std::time::Duration;

    fn facts() -> Facts {
        Facts::of_a_test()
    }

    fn base() -> Policy {
        Policy {
            command: vec!["true".to_owned()],
            volumes: vec![volume("/srv/a", "/a", true)],
            ..Policy::default()
        }
    }

    fn volume(source: &str, target: &str, read_only: bool) -> Volume {
        Volume { source: source.into(), target: target.into(), read_only, idmap: true }
    }

    fn digest(change: impl FnOnce(&mut Policy)) -> String {
        let mut policy = base();
        change(&mut policy);
        policy::plan(&policy, &facts()).unwrap().digest()
    }

    #[test]
    fn the_digest_changes_with_every_rule() {
        let mut seen = vec![digest(|_| {})];
        let mut other = |what: &str, change: &dyn Fn(&mut Policy)| {
            let d = digest(change);
            assert!(!seen.contains(&d), "{what} makes no difference");
            seen.push(d);
        };
        other("memory", &|p| p.memory = Some(64 << 20));
        other("no memory limit", &|p| p.memory = None);
        other("swap", &|p| p.swap = Swap::Unlimited);
        other("cpus", &|p| p.cpu_quota_us = Some(50_000));
        other("shares", &|p| p.cpu_shares = Some(2));
        other("cpuset", &|p| p.cpuset = Some("0".to_owned()));
        other("pids", &|p| p.pids = Some(3));
        other("timeout", &|p| p.timeout = Some(Duration::from_millis(1)));
        other("cpu time", &|p| p.cpu_time = Some(Duration::from_secs(1)));
        other("output", &|p| p.output_limit = None);
        other("disk", &|p| p.disk = 2 << 30);
        other("inodes", &|p| p.inodes = Some(1000));
        other("ulimit", &|p| p.ulimits.push(Rlimit { resource: 7, soft: 10, hard: 10 }));
        other("writable root", &|p| p.read_only = false);
        other("rootfs", &|p| p.rootfs = Some("/srv/image".into()));
        other("another rootfs", &|p| p.rootfs = Some("/srv/image2".into()));
        other("volume", &|p| p.volumes.push(volume("/srv/b", "/b", true)));
        other("a volume's source", &|p| p.volumes[0].source = "/srv/c".into());
        other("a volume's target", &|p| p.volumes[0].target = "/c".into());
        other("network", &|p| p.network = Network::Host);
        other("uid", &|p| p.uid = 7);
        other("gid", &|p| p.gid = 7);
        other("groups", &|p| p.groups = vec![9]);
        other("capability", &|p| p.cap_add.push("NET_RAW".to_owned()));
        other("filter", &|p| p.seccomp = SeccompChoice::Unconfined);
        other("landlock", &|p| p.landlock = LandlockChoice::Off);
        other("restricted", &|p| p.restricted = Some(Restricted { threads: true }));
        other("user namespace", &|p| p.userns = false);
        other("time namespace", &|p| p.time_ns = true);
        other("a variable", &|p| p.env.push("TOKEN=1".to_owned()));
        other("directory", &|p| p.workdir = Some("/tmp".to_owned()));
        other("init", &|p| p.init = false);
        other("stop signal", &|p| p.stop_signal = Some(15));
        other("degraded", &|p| p.allow_degraded = true);
    }

    #[test]
    fn the_digest_is_the_same_for_other_runs_under_the_same_rules() {
        let same = digest(|_| {});
        assert!(same.starts_with("sha256:") && same.len() == 71, "{same}");
        assert_eq!(same, digest(|p| p.id = Some("another".to_owned())));
        assert_eq!(same, digest(|p| p.command = vec!["false".to_owned()]));
        let facts = Facts { fresh_id: "0123456789ab".to_owned(), ..facts() };
        assert_eq!(same, policy::plan(&base(), &facts).unwrap().digest());
        // A secret in the environment is not to be guessed from the digest.
        let secret = digest(|p| p.env.push("TOKEN=1".to_owned()));
        assert_eq!(secret, digest(|p| p.env.push("TOKEN=2".to_owned())));
    }

    #[test]
    fn the_canonical_form_cannot_be_forged_by_a_path_with_newlines() {
        let one = digest(|p| p.volumes[0].source = "/x\nread-only 2:/y".into());
        let mut form = Form(Vec::new());
        form.path("source", Path::new("/x\nread-only 2:/y"));
        assert_eq!(form.0, b"source 17:/x\nread-only 2:/y\n");
        assert_ne!(one, digest(|p| p.volumes[0].source = "/x".into()));
    }

    #[test]
    fn sha256_is_that_of_the_standard() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
