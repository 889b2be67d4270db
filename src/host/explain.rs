//! The words for a set-up that failed in the child, which can send numbers only.

#![forbid(unsafe_code)]

use crate::child::detached::SIGNALLED;
use crate::error::{Error, Kind};
use crate::plan::detail::{Hook, Lifetime, MountSource};
use crate::plan::seccomp::notify::{Answer, answer, execve};
use crate::plan::values::quote;
use crate::plan::{MountStep, Plan, RootSource, Seccomp};
use crate::wire::{Fail, Step};

/// Turns {step, index, errno} into a sentence, with the plan for the names.
pub(crate) fn explain(plan: &Plan, fail: Fail, present: &[usize], candidates: usize) -> Error {
    let p = &plan.process;
    let index = usize::try_from(fail.index).unwrap_or(0);
    let what = match fail.step {
        Step::Exec => return explain_exec(plan, fail, candidates),
        Step::Mount => {
            let at = present.get(index).copied().unwrap_or(index);
            let of = plan.steps.len();
            plan.steps.get(at).map_or_else(
                || "mount".to_owned(),
                |s| format!("{}{} (step {} of {of})", describe(s), ordinary(s, fail.errno), at + 1),
            )
        }
        // 0 is the ruleset itself, and the root; the others are the steps, one further on.
        Step::Landlock if index > 0 => {
            let at = present.get(index - 1).copied().unwrap_or(index - 1);
            let target = plan.steps.get(at).map(|s| quote(&s.target().to_string_lossy()));
            format!("let the job write to {} (Landlock)", target.unwrap_or_default())
        }
        Step::Rlimit => p.rlimits.get(index).map_or_else(
            || "set a resource limit".to_owned(),
            |r| {
                format!(
                    "set the limit {} to {}:{}",
                    crate::plan::rlimits::name(r.resource),
                    r.soft,
                    r.hard
                )
            },
        ),
        // runc's words for a container's.
        Step::Cwd if plan.details.lifetime != Lifetime::Tied => {
            format!("chdir to cwd ({}) set in config.json failed", quote(&p.cwd))
        }
        Step::Cwd => format!("change to the working directory {}", quote(&p.cwd)),
        Step::CwdEscaped => format!("the working directory {} is outside the root", quote(&p.cwd)),
        Step::Uid => format!("become user {}", p.uid),
        Step::Gid => format!("become group {}", p.gid),
        Step::Groups => "set the supplementary groups".to_owned(),
        Step::Bounding => format!("drop capability {index} from the bounding set"),
        Step::JoinNamespace => {
            let joined = plan.details.joined.get(index);
            format!("join the {} namespace", joined.map_or("", |j| j.kind.name()))
        }
        Step::Sysctl => {
            let name = plan.details.sysctls.get(index).map_or("", |(path, _)| path);
            format!("set the sysctl {}", quote(name))
        }
        Step::CreateHook | Step::StartHook => hook_name(plan, fail.step, index),
        Step::Seccomp if p.seccomp.asking.is_some() && fail.errno == libc::EBUSY => {
            "load a seccomp filter with a listener under another one that has a listener".to_owned()
        }
        Step::Seccomp => format!("load the seccomp filter {}", quote(&p.seccomp.name)),
        // sched_setattr(2): EPERM for a process that may not run everywhere. runc's words.
        Step::Scheduling if fail.errno == libc::EPERM && is_deadline(plan) => {
            "set the scheduling (process scheduler can't be used together with AllowedCPUs)"
                .to_owned()
        }
        other => sentence(other).to_owned(),
    };
    let error = Error::step(fail.step, what, fail.errno);
    let hook = matches!(fail.step, Step::CreateHook | Step::StartHook);
    if hook && (fail.errno == libc::ETIME || fail.errno >= SIGNALLED) {
        let late = fail.errno == libc::ETIME;
        let why = if late { "did not end in time and was killed" } else { "failed" };
        return Error::new(Kind::Os, format!("{} {why}", hook_name(plan, fail.step, index)));
    }
    if fail.step == Step::CwdEscaped { error.with_kind(Kind::Refused) } else { error }
}

fn is_deadline(plan: &Plan) -> bool {
    plan.details.tuning.scheduler.is_some_and(|s| s.policy == 6)
}

/// What runc says where the place of procfs or sysfs is a symlink (CVE-2019-19921).
fn ordinary(step: &MountStep, errno: i32) -> &'static str {
    let MountStep::Mount(m) = step else { return "" };
    let strict = matches!(&m.source, MountSource::Filesystem { fstype, .. }
        if fstype == "proc" || fstype == "sysfs");
    if strict && (errno == libc::ELOOP || errno == libc::ENOTDIR) {
        return ", which must be mounted on ordinary directory";
    }
    ""
}

fn hook_name(plan: &Plan, step: Step, index: usize) -> String {
    let hooks = &plan.details.hooks;
    match step {
        Step::CreateHook => hook_failed("createContainer", &hooks.create_container, index),
        _ => hook_failed("startContainer", &hooks.start_container, index),
    }
}

fn hook_failed(name: &str, hooks: &[Hook], index: usize) -> String {
    let path = hooks.get(index).map(|h| quote(&h.path.to_string_lossy()));
    format!("error running {name} hook #{index}: {}", path.unwrap_or_default())
}

fn sentence(step: Step) -> &'static str {
    match step {
        Step::Handshake => "shake hands with the supervisor",
        Step::JoinCgroup => "join the cgroup",
        Step::NewCgroupNamespace => "make the cgroup namespace",
        Step::ParentDeath => "protect the child from being looked into",
        Step::SetupIds => "take the set-up's ids in the user namespace",
        Step::Session => "make a session",
        Step::Keyring => "make a session keyring",
        Step::Network => "make the network namespace and bring up lo",
        Step::Propagation => "make the mounts private",
        Step::Pool => "mount the tmpfs for writable places",
        Step::Root => "mount the root",
        Step::Pivot => "pivot_root",
        Step::DetachOldRoot => "detach the old root",
        Step::RootReadOnly => "make the root read-only",
        Step::Hostname => "set the host name",
        Step::SpawnInit => "start the init",
        Step::Stdio => "set up standard input and output",
        Step::Terminal => "set up the terminal",
        Step::Landlock => "restrict the job by Landlock",
        Step::Capabilities => "set the capabilities",
        Step::NoNewPrivs => "set no_new_privs",
        Step::CloseFds => "close the caller's descriptors",
        Step::TimeOffsets => "set the offsets of the time namespace",
        Step::Domainname => "set the domain name",
        Step::RootPropagation => "set the propagation of the root",
        Step::Scheduling => "set the scheduling",
        Step::IoPriority => "set the IO priority",
        Step::Personality => "set the personality",
        Step::MemoryPolicy => "set the memory policy",
        Step::Label => "set the security label",
        Step::Wait => "wait for the start",
        Step::OomScore => "set oomScoreAdj",
        Step::Console => "bind the terminal on /dev/console",
        _ => "set up the jail",
    }
}

fn describe(step: &MountStep) -> String {
    let q = |p: &std::path::Path| quote(&p.to_string_lossy());
    match step {
        MountStep::Filesystem { fstype, target, .. } => format!("mount {fstype} on {}", q(target)),
        MountStep::Bind { source, target, .. } => {
            format!("bind mount {} on {}", q(source), q(target))
        }
        MountStep::PoolDir { target, .. } => format!("mount a tmpfs directory on {}", q(target)),
        MountStep::Directory { target, .. } => format!("make the directory {}", q(target)),
        MountStep::File { target, .. } => format!("make the file {}", q(target)),
        MountStep::Symlink { target, .. } => format!("make the symlink {}", q(target)),
        MountStep::Mask { target } => format!("mask {}", q(target)),
        MountStep::Mount(mount) => {
            let source = match &mount.source {
                MountSource::Filesystem { fstype, source, .. } => {
                    quote(source.as_ref().unwrap_or(fstype))
                }
                MountSource::Bind { source, .. } => q(source),
                MountSource::Cgroup | MountSource::CgroupOfSystemd => quote("cgroup"),
            };
            // runc's words, which its callers look for.
            format!(
                "unable to start container process: error during container init: \
                 error mounting {source} to rootfs at {}",
                q(&mount.target)
            )
        }
        MountStep::Device(d) => {
            format!("make the device {} ({}:{})", q(&d.target), d.major, d.minor)
        }
        MountStep::WorkingDirectory { target } => format!("make the directory {}", q(target)),
        MountStep::Remount { target } | MountStep::ReadOnly { target } => {
            format!("make {} read-only", q(target))
        }
    }
}

/// Whether the filter answers execve with this error number, whatever is executed.
fn denied_by_filter(seccomp: &Seccomp, errno: i32) -> bool {
    seccomp.execs == 0 && answer(&seccomp.filter, &execve()) == Answer::Errno(errno)
}

fn explain_exec(plan: &Plan, fail: Fail, candidates: usize) -> Error {
    let command = quote(plan.process.argv.first().map_or("", String::as_str));
    if denied_by_filter(&plan.process.seccomp, fail.errno) {
        return Error::step(Step::Exec, format!("execute {command}"), fail.errno)
            .with_kind(Kind::CommandNotExecutable)
            .hint(format!(
                "the seccomp filter {} denies execve, so nothing can be run under it",
                quote(&plan.process.seccomp.name)
            ));
    }
    match fail.errno {
        libc::ENOENT | libc::ENOTDIR => {
            let error = Error::new(
                Kind::CommandNotFound,
                if candidates > 1 {
                    format!("{command}: not found in the jail's PATH, or its interpreter is missing")
                } else {
                    format!("{command}: no such file in the jail, or its interpreter is missing")
                },
            );
            error.hint(match plan.root.source {
                RootSource::Pool => {
                    "the host view shows /usr, /bin, /sbin and /lib*, and nothing under /home, \
                     /root or /opt; bring a program in with -v, or give a --rootfs that has it"
                }
                RootSource::Directory(_) => {
                    "look for it, and for the interpreter or loader that it names, in the rootfs"
                }
            })
        }
        libc::EACCES => Error::new(
            Kind::CommandNotExecutable,
            format!("{command}: permission denied"),
        )
        .hint("it is a directory, lacks the x bit, is on a noexec mount, or the job's user may not reach it"),
        libc::ENOEXEC => Error::new(
            Kind::CommandNotExecutable,
            format!("{command}: exec format error"),
        )
        .hint("it is no program for this machine; a script needs a first line such as #!/bin/sh"),
        libc::E2BIG => Error::new(
            Kind::CommandNotExecutable,
            format!("{command}: argument list too long"),
        ),
        errno => Error::step(Step::Exec, format!("execute {command}"), errno)
            .with_kind(Kind::CommandNotExecutable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::facts::Facts;
    use crate::plan::policy::{Policy, plan};

    #[test]
    fn a_rule_of_landlock_that_fails_names_the_mount() {
        let policy = Policy { command: vec!["true".to_owned()], ..Policy::default() };
        let plan = plan(&policy, &Facts::of_a_test()).unwrap();
        let tmp = plan.steps.iter().position(|s| s.target() == std::path::Path::new("/tmp"));
        // The first step was left out, so the child's numbers are one less.
        let present: Vec<usize> = (1..plan.steps.len()).collect();
        let said = |index: usize, errno| {
            let index = u32::try_from(index).unwrap();
            explain(&plan, Fail { step: Step::Landlock, index, errno }, &present, 1)
        };
        let error = said(tmp.unwrap(), libc::EINVAL);
        assert!(error.to_string().starts_with("let the job write to \"/tmp\" (Landlock): invalid"));
        assert!(error.hint_text().unwrap().contains("landlock=off"));
        let error = said(0, libc::E2BIG);
        assert!(error.to_string().starts_with("restrict the job by Landlock: "));
        assert!(error.hint_text().unwrap().contains("sixteen"));
    }
}
