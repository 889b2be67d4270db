//! What options mean: a name and a value, typed or from a policy file, put into a policy.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::host::probe::read_bounded;
use crate::jail::Jail;
use crate::plan::policy::{LandlockChoice, Network, Policy, SeccompChoice, Swap, Tmpfs, Volume};
use crate::plan::rlimits::Rlimit;
use crate::plan::values::duration::Zero;
use crate::plan::values::misc::SecurityOpt;
use crate::plan::values::mount::{Bind, Mount, Recursive};
use crate::plan::values::size::{MemorySwap, PidsLimit};
use crate::plan::values::user::{IdOrName, User};
use crate::plan::values::{duration, misc, mount, quote, size, user};
use std::path::PathBuf;

/// A policy in the making.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) policy: Policy,
    pub(super) user: Option<User>,
    pub(super) groups: Vec<IdOrName>,
    /// Where relative paths of the host begin; empty: in the working directory.
    pub(super) base: PathBuf,
    /// What is wrong with a policy and may stand in its file, as long as it is not to be run.
    pub(super) refused: Option<Error>,
    stop_timeout: bool,
    /// Mounts from before [`Settings::then_typed`], which a later one on the same target replaces.
    earlier: (Vec<Tmpfs>, Vec<Volume>),
}

/// A network that other engines have, and policies of theirs name.
pub(super) const BRIDGE: &str = "bridge";

pub(super) fn invalid(message: String, hint: &str) -> Error {
    Error::new(Kind::InvalidConfig, message).hint(hint)
}

fn one_of(what: &str, value: &str, choices: &str) -> Error {
    invalid(format!("invalid {what} {}", quote(value)), &format!("give {choices}"))
}

/// A limit for which 0 means, as in Docker, that there is none.
fn unless_zero(n: u64) -> Option<u64> {
    (n != 0).then_some(n)
}

impl Settings {
    /// What is set from here on was typed, and overrides what was set before.
    pub(super) fn then_typed(mut self) -> Settings {
        self.earlier.0.append(&mut self.policy.tmpfs);
        self.earlier.1.append(&mut self.policy.volumes);
        self.base = PathBuf::new();
        self
    }

    /// Sets the option of this name. A list adds up, of a single value the last one counts.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        if self.set_limit(name, value)? || self.set_file(name, value)? {
            return Ok(());
        }
        self.set_identity(name, value)
    }

    fn set_limit(&mut self, name: &str, v: &str) -> Result<bool> {
        let p = &mut self.policy;
        match name {
            "memory" => p.memory = unless_zero(size::bytes("memory limit", v)?),
            "memory-swap" => {
                p.swap = match size::memory_swap(v)? {
                    MemorySwap::Unlimited => Swap::Unlimited,
                    MemorySwap::Bytes(n) => Swap::Total(n),
                };
            }
            "cpus" => p.cpu_quota_us = Some(duration::cpus(v)?),
            "cpu-shares" => p.cpu_shares = Some(duration::cpu_shares(v)?),
            "cpuset-cpus" => p.cpuset = Some(duration::cpuset("CPU list", v)?.to_string()),
            "pids-limit" => {
                p.pids = match size::pids_limit(v)? {
                    PidsLimit::Unlimited => None,
                    PidsLimit::Max(n) => Some(u64::from(n)),
                };
            }
            "timeout" => p.timeout = Some(duration::duration("timeout", v, Zero::Refused)?),
            "cpu-time" => {
                p.cpu_time = Some(duration::duration("CPU time limit", v, Zero::Refused)?);
            }
            "output-limit" => p.output_limit = unless_zero(size::bytes("output limit", v)?),
            "disk" => {
                p.disk = size::bytes("disk limit", v)?;
                if p.disk < 1 << 20 {
                    return Err(invalid(
                        format!(
                            "a disk limit of {} is too little for the jail's own files",
                            quote(v)
                        ),
                        "give at least 1m",
                    ));
                }
            }
            "inodes" => {
                let n = v.parse().ok().filter(|n: &u64| *n >= 64);
                p.inodes = Some(n.ok_or_else(|| {
                    invalid(
                        format!("invalid number of inodes {}", quote(v)),
                        "give a number of at least 64: the jail's own files count",
                    )
                })?);
            }
            "ulimit" => {
                let u = size::ulimit(v)?;
                p.ulimits.push(Rlimit {
                    resource: u.resource.number(),
                    soft: u.soft,
                    hard: u.hard,
                });
            }
            "shm-size" => {
                let bytes = size::bytes("size of /dev/shm", v)?;
                if bytes == 0 {
                    return Err(invalid(
                        "a /dev/shm of 0 bytes".to_owned(),
                        "give a size, such as 64m",
                    ));
                }
                p.shm_size = Some(bytes);
            }
            "allow-degraded" => p.allow_degraded = v == "true",
            "cgroup-parent" => p.cgroup_parent = Some(v.to_owned()),
            "stop-signal" => p.stop_signal = Some(misc::signal(v)?),
            "stop-timeout" => {
                self.stop_timeout = true;
                p.stop_timeout = duration::duration("stop timeout", v, Zero::Allowed)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_file(&mut self, name: &str, v: &str) -> Result<bool> {
        match name {
            "rootfs" if v.is_empty() => self.policy.rootfs = Some(PathBuf::new()),
            "rootfs" => self.policy.rootfs = Some(self.base.join(v)),
            "read-only" => self.policy.read_only = v == "true",
            "no-idmap" => self.policy.no_idmap = v == "true",
            "workdir" => self.policy.workdir = Some(v.to_owned()),
            "tmpfs" => self.policy.tmpfs.push(tmpfs(mount::tmpfs(v)?)?),
            "volume" => self.volume(mount::volume(v)?)?,
            "mount" => match mount::mount(v)? {
                Mount::Bind(bind) => self.volume(bind)?,
                Mount::Tmpfs(t) => self.policy.tmpfs.push(tmpfs(t)?),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn volume(&mut self, b: Bind) -> Result<()> {
        if b.recursive != Recursive::Enabled {
            return Err(invalid(
                format!(
                    "the volume {} asks for another recursion than the usual one",
                    quote(&b.dest)
                ),
                "leave bind-recursive out: submounts are given too, and read-only with the volume",
            ));
        }
        self.policy.volumes.push(Volume {
            source: self.base.join(b.source),
            target: b.dest.into(),
            read_only: b.read_only,
            idmap: b.idmap,
        });
        Ok(())
    }

    fn set_identity(&mut self, name: &str, v: &str) -> Result<()> {
        let p = &mut self.policy;
        match name {
            "cap-add" => p.cap_add.push(v.to_owned()),
            "cap-drop" => p.cap_drop.push(v.to_owned()),
            "security-opt" => match misc::security_opt(v)? {
                SecurityOpt::NoNewPrivileges(on) => p.no_new_privs = on,
                SecurityOpt::SeccompUnconfined => p.seccomp = SeccompChoice::Unconfined,
                SecurityOpt::LandlockAuto => p.landlock = LandlockChoice::Auto,
                SecurityOpt::LandlockRequired => p.landlock = LandlockChoice::Required,
                SecurityOpt::LandlockOff => p.landlock = LandlockChoice::Off,
                SecurityOpt::SeccompBuiltin => p.seccomp = SeccompChoice::Default,
                SecurityOpt::SeccompFile(file) => {
                    let path = self.base.join(&file);
                    let json = read_bounded(&path).map_err(|e| {
                        let shown = quote(&path.to_string_lossy());
                        Error::os(format!("read the seccomp profile {shown}"), e)
                    })?;
                    p.seccomp = SeccompChoice::Profile(file, json);
                }
            },
            "userns" => {
                p.userns = match v {
                    "auto" => true,
                    "host" => false,
                    _ => return Err(one_of("user namespace", v, "auto or host")),
                };
            }
            "network" => {
                p.network = match v {
                    "none" => Network::None,
                    "host" => Network::Host,
                    BRIDGE => {
                        return Err(invalid(
                            "a network of the kind \"bridge\" is not supported".to_owned(),
                            "give none, or host for the caller's network with all it reaches",
                        ));
                    }
                    _ => return Err(one_of("network", v, "none or host")),
                };
            }
            "no-trace-denied" => p.trace_denied = v != "true",
            "time-ns" => p.time_ns = v == "true",
            "nested-userns" => p.nested_userns = v == "true",
            "init" => p.init = v == "true",
            "hostname" => p.hostname = Some(v.to_owned()),
            "env-file" => {
                let path = self.base.join(v);
                let data = read_bounded(&path).map_err(|e| {
                    let shown = quote(&path.to_string_lossy());
                    Error::os(format!("read the environment file {shown}"), e)
                })?;
                for (key, value) in misc::env_file(&data)? {
                    p.env.push(format!("{key}={value}"));
                }
            }
            "env" => {
                let (key, value) = misc::env(v)?;
                p.env.push(format!("{key}={value}"));
            }
            "user" => self.user = Some(user::user(v)?),
            "group-add" => {
                for group in user::group_add(&[v])? {
                    if !self.groups.contains(&group) {
                        self.groups.push(group);
                    }
                }
            }
            _ => {
                return Err(invalid(
                    format!("the option {} cannot be set here", quote(name)),
                    "see docs/policies.md",
                ));
            }
        }
        Ok(())
    }

    /// The policy with its mounts: a later one replaces an earlier one on the same target.
    pub(super) fn policy(&mut self) -> Result<&mut Policy> {
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let (tmpfs, volumes) = std::mem::take(&mut self.earlier);
        let p = &mut self.policy;
        let later: Vec<PathBuf> = p
            .tmpfs
            .iter()
            .map(|t| &t.target)
            .chain(p.volumes.iter().map(|v| &v.target))
            .cloned()
            .collect();
        let kept = |target: &PathBuf| !later.contains(target);
        p.tmpfs.splice(..0, tmpfs.into_iter().filter(|t| kept(&t.target)));
        p.volumes.splice(..0, volumes.into_iter().filter(|v| kept(&v.target)));
        if self.stop_timeout && p.stop_signal.is_none() {
            return Err(invalid(
                "--stop-timeout without --stop-signal".to_owned(),
                "at a time limit SIGKILL is sent at once unless a stop signal is given",
            ));
        }
        Ok(p)
    }

    /// The jail.
    pub(super) fn jail(mut self) -> Result<Jail> {
        self.policy()?;
        let jail = Jail::from_policy(self.policy).groups_named(self.groups);
        Ok(match self.user {
            Some(user) => jail.user_as(user),
            None => jail,
        })
    }
}

fn tmpfs(t: mount::Tmpfs) -> Result<Tmpfs> {
    if t.uid.is_some() || t.gid.is_some() {
        return Err(invalid(
            format!("uid= and gid= of the tmpfs {} are not supported", quote(&t.dest)),
            "give it a mode, such as mode=1777: then everybody may write to it",
        ));
    }
    Ok(Tmpfs {
        target: t.dest.into(),
        size: t.size,
        inodes: t.inodes,
        mode: t.mode.unwrap_or(0o1777),
        exec: t.exec.unwrap_or(false),
        read_only: t.read_only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::profile::keys::KEYS;

    #[test]
    fn h43_every_key_of_a_policy_is_an_option_that_can_be_set() {
        for key in KEYS.iter().filter(|k| k.option) {
            let error = Settings::default().set(key.name, "no/such\0value").err();
            let text = error.map(|e| e.to_string()).unwrap_or_default();
            assert!(!text.contains("cannot be set here"), "{}: {text}", key.name);
        }
        assert!(Settings::default().set("description", "x").is_err());
    }

    #[test]
    fn what_is_typed_replaces_the_mount_of_the_policy_on_its_target() {
        let mut settings = Settings::default();
        settings.set("tmpfs", "/tmp").unwrap();
        settings.set("tmpfs", "/a").unwrap();
        settings.set("volume", "/usr:/v").unwrap();
        let mut settings = settings.then_typed();
        settings.set("tmpfs", "/tmp:size=1m").unwrap();
        settings.set("volume", "/etc:/a//").unwrap();
        let policy = settings.policy().unwrap();
        let tmpfs: Vec<_> = policy.tmpfs.iter().map(|t| (t.target.to_str(), t.size)).collect();
        assert_eq!(tmpfs, [(Some("/tmp"), Some(1 << 20))]);
        let volumes: Vec<_> = policy.volumes.iter().map(|v| v.target.as_path()).collect();
        assert_eq!(volumes, [std::path::Path::new("/v"), std::path::Path::new("/a")]);
    }

    #[test]
    fn a_path_of_a_policy_begins_where_its_file_is() {
        let mut settings = Settings { base: "/etc/jobs".into(), ..Settings::default() };
        settings.set("volume", "./in:/in").unwrap();
        settings.set("volume", "/usr:/u").unwrap();
        settings.set("rootfs", "root").unwrap();
        let p = settings.policy().unwrap();
        assert_eq!(p.volumes[0].source, std::path::Path::new("/etc/jobs/./in"));
        assert_eq!(p.volumes[1].source, std::path::Path::new("/usr"));
        assert_eq!(p.rootfs.as_deref(), Some(std::path::Path::new("/etc/jobs/root")));
    }
}
