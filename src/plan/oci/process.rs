//! The process of a configuration.

#![forbid(unsafe_code)]

use super::annotations::Annotations;
use super::{Asked, bad, spec};
use crate::error::{Error, Kind, Result};
use crate::plan::caps::{self, CapSets};
use crate::plan::detail::{ExecAffinity, Terminal, Tuning};
use crate::plan::facts::Facts;
use crate::plan::rlimits::{self, Rlimit};
use crate::plan::seccomp::{self, Arch, Extra};
use crate::plan::values::{escape, quote};
use crate::plan::{Process, Seccomp, SeccompWhen};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The parts of the plan that follow.
pub(super) struct Job {
    pub(super) process: Process,
    pub(super) tuning: Tuning,
    pub(super) terminal: Terminal,
    pub(super) labels: Vec<(String, String)>,
}

pub(super) fn plan(
    p: &spec::Process,
    linux: &spec::Linux,
    notes: &Annotations,
    facts: &Facts,
    asked: &Asked<'_>,
    warnings: &mut Vec<String>,
) -> Result<Job> {
    if p.args.first().is_none_or(String::is_empty) {
        return Err(bad("process.args is empty", "say what is to be run"));
    }
    if !p.cwd.starts_with('/') {
        return Err(bad(
            format!("process.cwd {} is no absolute path", quote(&p.cwd)),
            "begin it with /",
        ));
    }
    if let Some(umask) = p.user.umask.filter(|u| *u > 0o777) {
        return Err(bad(format!("process.user.umask is {umask:o} (octal)"), "0777 is the most"));
    }
    for id in [p.user.uid, p.user.gid].into_iter().chain(p.user.additional_gids.iter().copied()) {
        if id == u32::MAX {
            return Err(bad(
                "4294967295 is no id of a user or group",
                "the kernel takes it for \"leave it as it is\"",
            ));
        }
    }
    let caps = capabilities(p.capabilities.as_ref(), facts, warnings);
    let process = Process {
        argv: p.args.clone(),
        env: environment(&p.env)?,
        cwd: p.cwd.clone(),
        uid: p.user.uid,
        gid: p.user.gid,
        groups: groups(p, linux, facts, notes, warnings)?,
        caps,
        no_new_privs: p.no_new_privileges,
        seccomp: filter(linux.seccomp.as_ref(), notes, p.no_new_privileges, warnings)?,
        rlimits: limits(&p.rlimits)?,
        umask: p.user.umask.unwrap_or(0o022),
        init: false,
        terminal: p.terminal,
    };
    Ok(Job {
        process,
        tuning: tuning(p, linux)?,
        terminal: Terminal {
            size: p
                .console_size
                .as_ref()
                .filter(|s| p.terminal && (s.width, s.height) != (0, 0))
                .map(|s| (s.width, s.height)),
            console: p.terminal,
        },
        labels: labels(p, linux, asked)?,
    })
}

/// Each variable once, as the last of its name says; an empty HOME is none, as in runc.
fn environment(env: &[String]) -> Result<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::with_capacity(env.len() + 1);
    for entry in env.iter().rev() {
        let Some((key, value)) = entry.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(bad(
                format!("environment entry {} is not KEY=value", quote(entry)),
                "nothing is taken from the caller's environment",
            ));
        };
        if seen.insert(key) && !(key == "HOME" && value.is_empty()) {
            out.push(entry.clone());
        }
    }
    out.reverse();
    Ok(out)
}

/// All supplementary groups; `None`: the caller's stay. An ordinary user whose namespace maps one id
/// cannot set any.
fn groups(
    p: &spec::Process,
    linux: &spec::Linux,
    facts: &Facts,
    notes: &Annotations,
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<u32>>> {
    if notes.keep_groups {
        if !p.user.additional_gids.is_empty() {
            warnings.push(
                "process.user.additionalGids has no effect: run.oci.keep_original_groups keeps the \
                 caller's groups"
                    .to_owned(),
            );
        }
        return Ok(None);
    }
    let single = !facts.privileged
        && linux.uid_mappings.iter().all(|m| m.size == 1)
        && linux.uid_mappings.len() == 1;
    if !single {
        return Ok(Some(p.user.additional_gids.clone()));
    }
    if p.user.additional_gids.is_empty() {
        return Ok(None);
    }
    Err(bad(
        "additional groups cannot be set in a user namespace of an ordinary user's one id",
        "leave additionalGids away, or map more ids by /etc/subuid and /etc/subgid",
    ))
}

/// Absent lists are empty sets. What no one knows is a warning, as in runc.
fn capabilities(
    c: Option<&spec::Capabilities>,
    facts: &Facts,
    warnings: &mut Vec<String>,
) -> CapSets {
    let Some(c) = c else { return CapSets::default() };
    let known = if facts.last_cap >= 63 { u64::MAX } else { (1 << (facts.last_cap + 1)) - 1 };
    let mut unknown: Vec<String> = Vec::new();
    let mut set = |names: &[String]| {
        let mut bits = 0;
        for name in names {
            match caps::bit(name) {
                Ok(bit) if name.starts_with("CAP_") && bit & known != 0 => bits |= bit,
                _ if unknown.contains(name) => {}
                _ => unknown.push(name.clone()),
            }
        }
        bits
    };
    let mut sets = CapSets {
        bounding: set(&c.bounding),
        effective: set(&c.effective),
        permitted: set(&c.permitted),
        inheritable: set(&c.inheritable),
        ambient: set(&c.ambient),
    };
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|n| escape(n)).collect();
        let list = names.join(" ");
        warnings.push(format!("ignoring unknown or unavailable capabilities: [{list}]"));
    }
    // The kernel raises no ambient capability that is not both.
    let may = sets.permitted & sets.inheritable;
    for name in caps::names(sets.ambient & !may) {
        warnings.push(format!(
            "can't raise ambient capability {name}: it is not both permitted and inheritable"
        ));
    }
    sets.ambient &= may;
    sets
}

fn limits(list: &[spec::Rlimit]) -> Result<Vec<Rlimit>> {
    let mut out: Vec<Rlimit> = Vec::with_capacity(list.len());
    for limit in list {
        let named = quote(&limit.kind);
        let name = limit.kind.strip_prefix("RLIMIT_").map(str::to_ascii_lowercase);
        let resource = (0u32..)
            .zip(rlimits::DEFAULTS)
            .find(|(_, (known, _, _))| name.as_deref() == Some(*known))
            .map(|(resource, _)| resource)
            .ok_or_else(|| {
                bad(format!("there is no limit {named}"), "setrlimit(2) lists them: RLIMIT_NOFILE")
            })?;
        if out.iter().any(|r| r.resource == resource) {
            return Err(bad(format!("the limit {named} is there twice"), "give each once"));
        }
        if limit.soft > limit.hard {
            return Err(bad(
                format!("the limit {named} has a soft value above its hard one"),
                "lower the soft one",
            ));
        }
        out.push(Rlimit { resource, soft: limit.soft, hard: limit.hard });
    }
    Ok(out)
}

fn filter(
    spec: Option<&LinuxSeccomp>,
    notes: &Annotations,
    no_new_privs: bool,
    warnings: &mut Vec<String>,
) -> Result<Seccomp> {
    let when = if no_new_privs { SeccompWhen::Last } else { SeccompWhen::BeforeDroppingCaps };
    let none = Seccomp {
        name: "unconfined".to_owned(),
        filter: Vec::new(),
        flags: 0,
        when,
        telling: None,
        asking: None,
        execs: 0,
    };
    if let Some(program) = &notes.filter {
        // Whatever the kernel makes of it: linux.seccomp is not looked at, as in crun.
        let name = "run.oci.seccomp_bpf_data".to_owned();
        return Ok(Seccomp { name, filter: program.clone(), ..none });
    }
    let Some(spec) = spec else { return Ok(none) };
    let mut spec = Cow::Borrowed(spec);
    let path = spec.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    if let (None, Some(receiver)) = (path, &notes.receiver) {
        spec.to_mut().set_listener_path(Some(receiver.clone()));
    }
    let spec = &*spec;
    let rules = spec.syscalls().as_ref().is_some_and(|s| !s.is_empty());
    if spec.default_action() == LinuxSeccompAction::ScmpActAllow && !rules {
        return Ok(none);
    }
    let mut compiled = seccomp::compile(spec, Arch::native(), &Extra::default())
        .map_err(|e| bad(format!("linux.seccomp: {e}"), "see docs of the OCI seccomp section"))?;
    if spec.flags().is_none() {
        // As runc: who wants the mitigation that this takes away (spec_store_bypass_disable=seccomp, the
        // kernel's default before Linux 5.16) says `"flags": []`.
        compiled.flags |= seccomp::SPEC_ALLOW;
        if let Some(asking) = &mut compiled.asking {
            asking.flags |= seccomp::SPEC_ALLOW;
        }
    }
    if let Some(unknown) = compiled.warnings.iter().find(|w| is_unknown_call(w))
        && notes.fail_unknown_calls
    {
        return Err(bad(
            format!("linux.seccomp: {unknown}, and run.oci.seccomp_fail_unknown_syscall is set"),
            "correct the name, or take the annotation out",
        ));
    }
    // A profile names calls of every architecture and kernel: those that this one has not are no news, and
    // runc tells of them in its debug log only.
    let news = compiled.warnings.iter().filter(|w| !is_unknown_call(w));
    warnings.extend(news.map(|w| format!("linux.seccomp: {w}")));
    Ok(Seccomp {
        name: "linux.seccomp".to_owned(),
        filter: compiled.instructions,
        flags: compiled.flags,
        asking: compiled.asking,
        ..none
    })
}

fn is_unknown_call(warning: &str) -> bool {
    warning.starts_with("unknown system call")
}

fn tuning(p: &spec::Process, linux: &spec::Linux) -> Result<Tuning> {
    if let Some(adj) = p.oom_score_adj.filter(|a| !(-1000..=1000).contains(a)) {
        return Err(bad(
            format!("process.oomScoreAdj is {adj}"),
            "it is a number from -1000 to 1000",
        ));
    }
    Ok(Tuning {
        oom_score_adj: p.oom_score_adj,
        scheduler: p.scheduler.as_ref().map(super::scheduler::plan).transpose()?,
        io_priority: p.io_priority.as_ref().map(io_priority).transpose()?,
        personality: linux.personality.as_ref().map(personality).transpose()?,
        memory_policy: linux.memory_policy.as_ref().map(memory_policy).transpose()?,
        exec_affinity: affinity(p.exec_cpu_affinity.as_ref())?,
    })
}

/// The number of a name in a list of them.
pub(super) fn number(what: &str, name: &str, names: &[(&str, u32)]) -> Result<u32> {
    names.iter().find(|(n, _)| *n == name).map(|(_, number)| *number).ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(n, _)| *n).collect();
        bad(format!("{what} {} is unknown", quote(name)), &format!("known: {}", known.join(" ")))
    })
}

fn io_priority(p: &spec::IoPriority) -> Result<u16> {
    let classes = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
    let class = number("the IO priority class", &p.class, &classes)?;
    let level = u32::try_from(p.priority).ok().filter(|p| *p < 8).ok_or_else(|| {
        bad(format!("the IO priority {} is none", p.priority), "it is from 0 to 7")
    })?;
    Ok(u16::try_from(class << 13 | level).unwrap_or_default())
}

fn personality(p: &spec::Personality) -> Result<u32> {
    if !p.flags.is_empty() {
        return Err(bad(
            "linux.personality.flags is not supported",
            "the specification defines none",
        ));
    }
    number("the personality", &p.domain, &[("LINUX", 0), ("LINUX32", 8)])
}

fn memory_policy(p: &spec::MemoryPolicy) -> Result<(u32, [u64; 16])> {
    let modes = [
        ("MPOL_DEFAULT", 0),
        ("MPOL_PREFERRED", 1),
        ("MPOL_BIND", 2),
        ("MPOL_INTERLEAVE", 3),
        ("MPOL_LOCAL", 4),
        ("MPOL_PREFERRED_MANY", 5),
        ("MPOL_WEIGHTED_INTERLEAVE", 6),
    ];
    let known = [
        ("MPOL_F_NUMA_BALANCING", 1 << 13),
        ("MPOL_F_RELATIVE_NODES", 1 << 14),
        ("MPOL_F_STATIC_NODES", 1 << 15),
    ];
    let mut mode = number("invalid memory policy mode:", &p.mode, &modes)?;
    let plain = mode == 0 || mode == 4;
    for flag in &p.flags {
        mode |= number("invalid memory policy flag:", flag, &known)?;
    }
    let nodes = list(&p.nodes).ok_or_else(|| {
        bad(
            format!("invalid memory policy nodes {}: they are no list", quote(&p.nodes)),
            "write it 0-3,5, up to 1023",
        )
    })?;
    let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
    if plain && count > 0 {
        return Err(bad(
            format!("invalid memory policy: {} mode requires 0 nodes but got {count}", p.mode),
            "leave linux.memoryPolicy.nodes away",
        ));
    }
    Ok((mode, nodes))
}

/// Where a process of `exec` runs: while it joins the container, and then.
fn affinity(asked: Option<&spec::CpuAffinity>) -> Result<ExecAffinity> {
    let set = |which: &str, text: &str| {
        if text.is_empty() {
            return Ok(None);
        }
        list(text).filter(|set| set.iter().any(|word| *word != 0)).map(Some).ok_or_else(|| {
            bad(
                format!("execCPUAffinity.{which} {} is no list of processors", quote(text)),
                "write it 0-3,5, up to 1023",
            )
        })
    };
    let Some(asked) = asked else { return Ok((None, None)) };
    Ok((set("initial", &asked.initial)?, set("final", &asked.r#final)?))
}

/// Numbers below 1024 as the kernel's lists have them.
fn list(text: &str) -> Option<[u64; 16]> {
    let mut set = [0u64; 16];
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n < 1024);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        for n in first..=last {
            *set.get_mut(n / 64)? |= 1 << (n % 64);
        }
    }
    Some(set)
}

/// A label that cannot be given must not be missing in silence.
fn labels(
    p: &spec::Process,
    linux: &spec::Linux,
    asked: &Asked<'_>,
) -> Result<Vec<(String, String)>> {
    let missing = |what: &str, module: &str| {
        Error::new(Kind::Unsupported, format!("{what} is set, and this host has no {module}"))
            .hint("take it out of config.json")
    };
    let mut labels = Vec::new();
    if !["", "unconfined"].contains(&p.apparmor_profile.as_str()) {
        if !asked.apparmor {
            return Err(missing("process.apparmorProfile", "AppArmor"));
        }
        labels.push(("self/attr/apparmor/exec".to_owned(), format!("exec {}", p.apparmor_profile)));
    }
    if !p.selinux_label.is_empty() || !linux.mount_label.is_empty() {
        if !asked.selinux {
            return Err(missing("an SELinux label", "SELinux"));
        }
        if !linux.mount_label.is_empty() {
            return Err(Error::new(Kind::Unsupported, "linux.mountLabel is not supported")
                .hint("take it out of config.json"));
        }
        labels.push(("self/attr/exec".to_owned(), p.selinux_label.clone()));
    }
    Ok(labels)
}
