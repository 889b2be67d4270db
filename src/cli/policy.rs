//! `stockade policy`: what a policy file says, before anything is run with it.

#![forbid(unsafe_code)]

use super::profile::{self, Loaded};
use super::settings::{BRIDGE, Settings};
use super::{FAILED, eprint, print_line};
use crate::error::{Error, Kind, Result};
use crate::plan::policy::{LandlockChoice, Network, Policy, SeccompChoice, Swap, Tmpfs, Volume};
use crate::plan::profile::keys::{KEYS, Key};
use crate::plan::profile::schema;
use crate::plan::rlimits;
use crate::plan::values::user::{IdOrName, User};
use crate::plan::values::{escape, nearest, quote};
use std::ffi::OsString;
use std::time::Duration;

const USAGE: &str = "\
Policies: files of options for stockade jail --profile.

Usage: stockade policy check NAME|FILE[#POLICY]
       stockade policy schema

  check   validate, and print what would be in force; without #POLICY, of every policy
  schema  print the JSON schema of a policy file, for editors

NAME is python, node, shell or restricted.
";

/// Runs it and returns the exit status.
pub(super) fn main(args: Vec<OsString>) -> u8 {
    let words: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let texts = match words.as_slice() {
        ["--help" | "-h" | "help"] | ["check" | "schema", "--help" | "-h"] => {
            vec![Ok(USAGE.to_owned())]
        }
        ["check", spec] if !spec.starts_with('-') => match profile::load_all(spec) {
            Ok(all) => {
                let among = all.len() > 1;
                all.into_iter().map(|one| one.and_then(|one| shown(&one, among))).collect()
            }
            Err(error) => vec![Err(error)],
        },
        ["schema"] => vec![Ok(format!("{:#}\n", schema::schema()))],
        _ => vec![Err(misunderstood(&words))],
    };
    let mut status = 0;
    for (i, text) in texts.iter().enumerate() {
        match text {
            Ok(text) => print_line(&format!("{}{text}", if i > 0 { "\n" } else { "" })),
            Err(error) => {
                eprint(error);
                status = FAILED;
            }
        }
    }
    status
}

fn misunderstood(words: &[&str]) -> Error {
    let all = "stockade policy --help lists the commands".to_owned();
    let (message, hint) = match words {
        [] => ("no command given after policy".to_owned(), all),
        ["check"] => ("no policy given".to_owned(), "stockade policy check FILE".to_owned()),
        ["check", _, ..] => (
            "policy check takes one name or file and no options".to_owned(),
            "stockade policy check FILE#POLICY".to_owned(),
        ),
        ["schema", ..] => ("policy schema takes nothing behind it".to_owned(), all),
        [other, ..] => (
            format!("unknown command {} of policy", quote(other)),
            nearest(other, ["check", "schema"]).map_or(all, |near| format!("did you mean {near}?")),
        ),
    };
    Error::new(Kind::InvalidConfig, message).hint(hint)
}

/// Validates one as a run would, and says what would hold. `among` others a network that a jail
/// does not have is told and no error: the others are of use, and the option can be typed.
fn shown(loaded: &Loaded, among: bool) -> Result<String> {
    let name = match &loaded.profile.name {
        Some(name) => format!("{}#{name}", loaded.file),
        None => loaded.file.clone(),
    };
    let about = |e: Error| e.context(format!("policy {}", quote(&name)));
    let mut settings = Settings::default();
    loaded.apply(&mut settings, |_| false)?;
    let refused = match settings.refused.take() {
        Some(error) if !among => return Err(error),
        refused => refused.is_some(),
    };
    settings.policy().map_err(about)?;
    let mut lines = own(&name, loaded);
    for key in KEYS.iter().filter(|k| k.option) {
        let set: Vec<usize> = loaded
            .profile
            .settings
            .iter()
            .filter(|s| s.key.name == key.name)
            .map(|s| s.line)
            .collect();
        let mut values = in_force(key, &settings.policy, settings.user.as_ref(), &settings.groups);
        if refused && key.name == "network" {
            values = vec![format!("{BRIDGE}: refused when it is run, unless --network is typed")];
        }
        let each = set.len() == values.len();
        for (i, value) in values.into_iter().enumerate() {
            let origin = match set.get(if each { i } else { 0 }) {
                Some(line) => format!("line {line}"),
                None => "default".to_owned(),
            };
            lines.push((key.name.to_owned(), value, origin));
        }
    }
    // What contradicts itself is found by the plan, as in a run.
    let mut jail = settings.jail().map_err(about)?;
    jail.policy_mut().command.push("true".to_owned());
    jail.explain().map_err(about)?;
    let widest = lines.iter().map(|(_, v, _)| v.chars().count()).filter(|n| *n <= 48).max();
    let widest = widest.unwrap_or(0);
    Ok(lines.iter().fold(String::new(), |mut text, (key, value, origin)| {
        let line = format!("{key:<18} {value:<widest$}  {origin}");
        text.push_str(line.trim_end());
        text.push('\n');
        text
    }))
}

/// The keys that are no options.
fn own(name: &str, loaded: &Loaded) -> Vec<(String, String, String)> {
    let p = &loaded.profile;
    let line = |key: &str, value: String| (key.to_owned(), value, String::new());
    let mut lines = vec![line("policy", escape(name))];
    if let Some(text) = &p.description {
        let words: Vec<&str> = text.split_whitespace().collect();
        lines.push(line("description", escape(&words.join(" "))));
    }
    if let Some(image) = &p.image {
        let text = format!(
            "{}: not used; the job sees the host's /usr, or with --rootfs an unpacked image",
            escape(image)
        );
        lines.push(line("image", text));
    }
    if let Some(restricted) = p.restricted {
        let threads = if restricted.threads { "with" } else { "without" };
        lines.push(line("restrict", format!("computation only, {threads} threads")));
    }
    if let Some((key, at)) = &p.require_signature {
        let text = format!("by {}: the command is the script, then its arguments", escape(key));
        lines.push(("require_signature".to_owned(), text, format!("line {at}")));
        let with = match p.interpreter.as_slice() {
            [] => "none: its #! line says".to_owned(),
            words => words.iter().map(|w| escape(w)).collect::<Vec<_>>().join(" "),
        };
        lines.push(line("interpreter", with));
    }
    lines
}

/// An option's values in the forms in which they are typed; nothing for an empty list.
fn in_force(key: &Key, p: &Policy, user: Option<&User>, groups: &[IdOrName]) -> Vec<String> {
    let unlimited = || "unlimited".to_owned();
    let or = |value: Option<String>, none: &str| vec![value.unwrap_or_else(|| none.to_owned())];
    let list = |items: &[String]| items.iter().map(|i| escape(i)).collect::<Vec<_>>();
    let size = |n: Option<u64>| vec![n.map_or_else(unlimited, bytes)];
    let switch = |on: bool| vec![on.to_string()];
    match key.name {
        "memory" => size(p.memory),
        "memory-swap" => vec![match p.swap {
            Swap::None => "no swap".to_owned(),
            Swap::Total(n) => bytes(n),
            Swap::Unlimited => unlimited(),
        }],
        "cpus" => vec![p.cpu_quota_us.map_or_else(unlimited, cpus)],
        "cpu-shares" => or(p.cpu_shares.map(|n| n.to_string()), "1024"),
        "cpuset-cpus" => or(p.cpuset.clone(), "all"),
        "pids-limit" => vec![p.pids.map_or_else(unlimited, |n| n.to_string())],
        "timeout" => vec![p.timeout.map_or_else(unlimited, time)],
        "cpu-time" => vec![p.cpu_time.map_or_else(unlimited, time)],
        "output-limit" => size(p.output_limit),
        "disk" => size(Some(p.disk)),
        "inodes" => or(p.inodes.map(|n| n.to_string()), "half as many as pages of memory"),
        "ulimit" => p.ulimits.iter().map(ulimit).collect(),
        "shm-size" => or(p.shm_size.map(bytes), "shares disk"),
        "allow-degraded" => switch(p.allow_degraded),
        "cgroup-parent" => or(p.cgroup_parent.as_deref().map(escape), "found"),
        "rootfs" => or(p.rootfs.as_ref().map(|d| path(d)), "the host view"),
        "read-only" => switch(p.read_only),
        "no-idmap" => switch(p.no_idmap),
        "workdir" => or(p.workdir.as_deref().map(escape), "/work"),
        "tmpfs" => p.tmpfs.iter().map(tmpfs).collect(),
        "volume" => p.volumes.iter().map(volume).collect(),
        "cap-add" => list(&p.cap_add),
        "cap-drop" => list(&p.cap_drop),
        "security-opt" => {
            let seccomp = match &p.seccomp {
                SeccompChoice::Default => "builtin".to_owned(),
                SeccompChoice::Profile(file, _) => escape(file),
                SeccompChoice::Unconfined => "unconfined".to_owned(),
            };
            let landlock = match p.landlock {
                LandlockChoice::Auto => "auto",
                LandlockChoice::Required => "required",
                LandlockChoice::Off => "off",
            };
            vec![
                format!("no-new-privileges:{}", p.no_new_privs),
                format!("seccomp={seccomp}"),
                format!("landlock={landlock}"),
            ]
        }
        "userns" => vec![if p.userns { "auto" } else { "host" }.to_owned()],
        "network" => vec![if p.network == Network::None { "none" } else { "host" }.to_owned()],
        "no-trace-denied" => switch(!p.trace_denied),
        "time-ns" => switch(p.time_ns),
        "nested-userns" => switch(p.nested_userns),
        "hostname" => or(p.hostname.as_deref().map(escape), "stockade"),
        // What env-file brought is among them. Values are often secrets.
        "env" => p
            .env
            .iter()
            .map(|e| format!("{}=...", escape(e.split_once('=').map_or(e, |(key, _)| key))))
            .collect(),
        "init" => switch(p.init),
        "stop-signal" => or(p.stop_signal.map(|n| n.to_string()), "none: SIGKILL at once"),
        "stop-timeout" if p.stop_signal.is_some() => vec![time(p.stop_timeout)],
        "user" => vec![user.map_or_else(|| format!("{}:{}", p.uid, p.gid), who)],
        "group-add" => groups.iter().map(id).collect(),
        // In volume, tmpfs and env, where they went.
        _ => Vec::new(),
    }
}

fn path(p: &std::path::Path) -> String {
    escape(&p.to_string_lossy())
}

fn bytes(n: u64) -> String {
    let units = [(40, "t"), (30, "g"), (20, "m"), (10, "k")];
    match units.into_iter().find(|(shift, _)| n != 0 && n.is_multiple_of(1 << shift)) {
        Some((shift, unit)) => format!("{}{unit}", n >> shift),
        None => n.to_string(),
    }
}

fn time(d: Duration) -> String {
    match (d.as_secs(), d.subsec_millis()) {
        (s, 0) if s > 0 && s % 3600 == 0 => format!("{}h", s / 3600),
        (s, 0) if s > 0 && s % 60 == 0 => format!("{}m", s / 60),
        (s, 0) => format!("{s}s"),
        (_, _) => format!("{}ms", d.as_millis()),
    }
}

/// Microseconds per 100 ms as a number of CPUs.
fn cpus(us: u64) -> String {
    let period = crate::plan::CPU_PERIOD_US;
    let text = format!("{}.{:05}", us / period, us % period);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn ulimit(r: &rlimits::Rlimit) -> String {
    let show = |v: u64| if v == rlimits::UNLIMITED { "-1".to_owned() } else { v.to_string() };
    format!("{}={}:{}", rlimits::name(r.resource), show(r.soft), show(r.hard))
}

fn tmpfs(t: &Tmpfs) -> String {
    let mut text = format!("{}:mode={:o}", path(&t.target), t.mode);
    if let Some(n) = t.size {
        text.push_str(&format!(",size={}", bytes(n)));
    }
    if let Some(n) = t.inodes {
        text.push_str(&format!(",nr_inodes={n}"));
    }
    for (on, word) in [(t.exec, ",exec"), (t.read_only, ",ro")] {
        if on {
            text.push_str(word);
        }
    }
    text
}

fn volume(v: &Volume) -> String {
    let mode = if v.read_only { "ro" } else { "rw" };
    let idmap = if v.idmap { "" } else { ",noidmap" };
    format!("{}:{}:{mode}{idmap}", path(&v.source), path(&v.target))
}

fn who(user: &User) -> String {
    match &user.group {
        Some(group) => format!("{}:{}", id(&user.user), id(group)),
        None => id(&user.user),
    }
}

fn id(id: &IdOrName) -> String {
    match id {
        IdOrName::Id(n) => n.to_string(),
        IdOrName::Name(name) => escape(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_a_policy_is_shown() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("ulimit", "nofile=10"),
            ("tmpfs", "/a:size=1m"),
            ("volume", "/usr:/u:ro"),
            ("cap-add", "CHOWN"),
            ("cap-drop", "ALL"),
            ("env", "SECRET=hunter2"),
            ("stop-signal", "TERM"),
            ("group-add", "7"),
        ] {
            settings.set(name, value).unwrap();
        }
        for key in KEYS.iter().filter(|k| k.option && !["mount", "env-file"].contains(&k.name)) {
            let shown = in_force(key, &settings.policy, settings.user.as_ref(), &settings.groups);
            assert!(!shown.is_empty(), "{}", key.name);
            assert!(!shown.concat().contains("hunter2"), "{shown:?}");
        }
    }

    #[test]
    fn values_are_shown_as_they_are_typed() {
        for (n, text) in [(512 << 20, "512m"), (1 << 30, "1g"), (1000, "1000"), (0, "0")] {
            assert_eq!(bytes(n), text);
        }
        for (ms, text) in [(60_000, "1m"), (90_000, "90s"), (500, "500ms"), (0, "0s")] {
            assert_eq!(time(Duration::from_millis(ms)), text);
        }
        assert_eq!((cpus(100_000), cpus(50_000)), ("1".to_owned(), "0.5".to_owned()));
    }
}
