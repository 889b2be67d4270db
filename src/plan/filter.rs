//! The system call filter that a policy means.

#![forbid(unsafe_code)]

use super::facts::Facts;
use super::policy::{Policy, SeccompChoice};
use super::seccomp;
use super::{Seccomp, SeccompWhen};
use crate::error::{Error, Kind, Result};

// Their numbers.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SETFCAP: u32 = 31;

/// The filter, and the form of it that tells what it denies.
pub(super) fn seccomp_filter(policy: &Policy, caps: u64, facts: &Facts) -> Result<Seccomp> {
    let mut seccomp = plain(policy, caps, facts)?;
    // Once, the job's own start, where the policy lets nothing else be executed.
    seccomp.execs = u32::from(policy.restricted.is_some());
    if policy.restricted.is_some() {
        seccomp.name.push_str(", restricted");
    }
    // Loaded early, it would be in force while set-up still goes on.
    let can_tell = seccomp.when == SeccompWhen::Last && !seccomp.filter.is_empty();
    if can_tell && (policy.trace_denied || seccomp.execs > 0) {
        let enosys = policy.seccomp != SeccompChoice::Default;
        let native = seccomp::Arch::native();
        seccomp.telling = seccomp::notify::telling(&seccomp.filter, native, enosys);
    }
    if seccomp.execs > 0 && seccomp.telling.is_none() {
        return Err(Error::new(
            Kind::InvalidConfig,
            "a restricted job needs a seccomp filter with a listener",
        )
        .hint("leave out no-new-privileges=false, and use a shorter seccomp profile"));
    }
    Ok(seccomp)
}

fn plain(policy: &Policy, caps: u64, facts: &Facts) -> Result<Seccomp> {
    let when =
        if policy.no_new_privs { SeccompWhen::Last } else { SeccompWhen::BeforeDroppingCaps };
    // A job that owns a volume's files could leave a set-user-ID program there for the host, or one
    // with capabilities if it can be root somewhere: by a capability, or in a namespace of its own,
    // which the default profile keeps it from making.
    let leaves_files = policy.volumes.iter().any(|v| !v.read_only)
        || (policy.rootfs.is_some() && !policy.read_only);
    let can_be_root = caps & (1 << CAP_SYS_ADMIN | 1 << CAP_SETFCAP) != 0
        || policy.nested_userns
        || policy.seccomp != SeccompChoice::Default;
    let extra = seccomp::Extra {
        restrict_suid_files: leaves_files,
        restrict_file_caps: leaves_files && can_be_root,
        computation: policy.restricted.map(|r| seccomp::Computation { threads: r.threads }),
        ..seccomp::Extra::default()
    };
    // A job that may make namespaces holds CAP_SYS_ADMIN over them, so the profile permits what
    // goes with it. Over the jail itself the job holds nothing more.
    let caps = if policy.nested_userns { caps | 1 << CAP_SYS_ADMIN } else { caps };
    if policy.seccomp == SeccompChoice::Default
        && caps == 0
        && !extra.restrict_suid_files
        && extra.computation.is_none()
        && let Some(filter) = seccomp::precompiled()
    {
        let name = "default".to_owned();
        return Ok(Seccomp { name, filter, flags: 0, when, telling: None, asking: None, execs: 0 });
    }
    let arch = seccomp::Arch::native();
    let target = seccomp::Target { arch, caps, kernel: facts.kernel };
    let unconfined = policy.seccomp == SeccompChoice::Unconfined;
    let (name, spec) = match &policy.seccomp {
        SeccompChoice::Default => {
            ("default".to_owned(), seccomp::Profile::embedded().resolve(&target))
        }
        SeccompChoice::Profile(name, json) => {
            (name.clone(), seccomp::Profile::parse(json).and_then(|p| p.resolve(&target)))
        }
        SeccompChoice::Unconfined => ("unconfined".to_owned(), Ok(seccomp::unconfined(arch))),
    };
    let bad = |e: seccomp::SeccompError| {
        Error::new(Kind::InvalidConfig, format!("{}: {e}", super::values::quote(&name)))
    };
    let filter = if unconfined && !extra.restrict_suid_files && extra.computation.is_none() {
        None
    } else {
        Some(seccomp::compile(&spec.map_err(bad)?, arch, &extra).map_err(bad)?)
    };
    if filter.as_ref().is_some_and(|f| f.asking.is_some()) {
        return Err(Error::new(
            Kind::Unsupported,
            format!("{}: SCMP_ACT_NOTIFY needs a listener", super::values::quote(&name)),
        )
        .hint("a jail hands its filter to nobody; a container does (linux.seccomp.listenerPath)"));
    }
    let flags = filter.as_ref().map_or(0, |f| f.flags);
    Ok(Seccomp {
        name: if unconfined && filter.is_some() {
            "unconfined, but for what the policy forbids".to_owned()
        } else {
            name
        },
        filter: filter.map_or_else(Vec::new, |f| f.instructions),
        flags,
        when,
        telling: None,
        asking: None,
        execs: 0,
    })
}
