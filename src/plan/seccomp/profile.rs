//! Reads a profile in Docker's form or in the plain OCI form, and resolves it for one job.
//!
//! Docker's form (moby's `profiles/seccomp`, also used by containerd and Podman) is the OCI form
//! plus `archMap`, the old key `name`, `comment`, and `includes`/`excludes` on each rule. Fields we
//! do not know are errors: a restriction that is silently dropped is a hole.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSyscall,
};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Arch, SeccompError, Target};
use crate::plan::values::misc::CAPABILITIES;

/// A parsed profile, not yet resolved for a job.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile<'a> {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<OciArch>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<std::path::PathBuf>,
    listener_metadata: Option<String>,
    #[serde(borrow)]
    syscalls: Option<Vec<Rule<'a>>>,
    #[serde(rename = "comment")]
    _comment: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMap {
    architecture: OciArch,
    sub_architectures: Option<Vec<OciArch>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule<'a> {
    #[serde(borrow)]
    names: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(borrow)]
    includes: Option<Filter<'a>>,
    #[serde(borrow)]
    excludes: Option<Filter<'a>>,
    #[serde(rename = "comment")]
    _comment: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter<'a> {
    #[serde(borrow)]
    caps: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    arches: Option<Vec<Text<'a>>>,
    min_kernel: Option<KernelVersion>,
}

/// A string of the JSON text, copied only if it has escapes: a profile has some 350 names.
#[derive(Clone, Debug)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;

            fn expecting(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
                out.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        from.deserialize_str(Read)
    }
}

/// `"4.8"`: exactly two numbers, as moby asks for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct KernelVersion(u32, u32);

impl TryFrom<String> for KernelVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.split_once('.')
            .and_then(|(major, minor)| Some(Self(major.parse().ok()?, minor.parse().ok()?)))
            .ok_or_else(|| format!("minKernel {text:?} is not of the form \"4.8\""))
    }
}

impl<'a> Profile<'a> {
    /// Reads a profile.
    ///
    /// # Errors
    /// Names the field or the rule that is wrong or unknown.
    pub fn parse(json: &'a [u8]) -> Result<Self, SeccompError> {
        let profile: Self = serde_json::from_slice(json)?;
        let filled = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
        if filled(&profile.architectures)
            && profile.arch_map.as_ref().is_some_and(|m| !m.is_empty())
        {
            return Err(SeccompError::ArchTwice);
        }
        for (at, rule) in profile.syscalls.iter().flatten().enumerate() {
            let names = rule.names.as_ref().is_some_and(|names| !names.is_empty());
            let name = rule.name.as_ref().is_some_and(|name| !name.0.is_empty());
            match (names, name) {
                (true, true) => return Err(SeccompError::NameTwice(at)),
                (false, false) => return Err(SeccompError::NoName(at)),
                _ => {}
            }
        }
        Ok(profile)
    }

    /// Decides the conditional parts for one job. The result is what a `config.json` would hold.
    ///
    /// # Errors
    /// An errno name that is unknown or contradicts the number next to it.
    pub fn resolve(&self, target: &Target) -> Result<LinuxSeccomp, SeccompError> {
        let mut spec = LinuxSeccomp::default();
        spec.set_default_action(self.default_action);
        spec.set_default_errno_ret(errno(
            self.default_errno_ret,
            self.default_errno.as_ref(),
            || "defaultErrno".into(),
        )?);
        spec.set_architectures(self.architectures_for(target.arch));
        spec.set_flags(self.flags.clone());
        spec.set_listener_path(self.listener_path.clone());
        spec.set_listener_metadata(self.listener_metadata.clone());

        let mut syscalls = Vec::with_capacity(self.syscalls.as_ref().map_or(0, Vec::len));
        for (at, rule) in self.syscalls.iter().flatten().enumerate() {
            if !rule.applies_to(target) {
                continue;
            }
            let mut call = LinuxSyscall::default();
            // `parse` has checked that exactly one of the two is filled.
            let one = rule.name.iter().filter(|name| !name.0.is_empty());
            call.set_names(
                rule.names.iter().flatten().chain(one).map(|name| name.0.to_string()).collect(),
            );
            call.set_action(rule.action);
            call.set_errno_ret(errno(rule.errno_ret, rule.errno.as_ref(), || {
                format!("syscalls[{at}]")
            })?);
            call.set_args(rule.args.clone());
            syscalls.push(call);
        }
        spec.set_syscalls(Some(syscalls));
        Ok(spec)
    }

    /// The first entry of `archMap` for this machine; without one the native ABI alone.
    fn architectures_for(&self, arch: Arch) -> Option<Vec<OciArch>> {
        let own = oci_arch(arch);
        let mapped = self.arch_map.iter().flatten().find(|entry| entry.architecture == own);
        match mapped {
            Some(entry) => {
                let subs = entry.sub_architectures.iter().flatten().copied();
                Some(std::iter::once(own).chain(subs).collect())
            }
            None => self.architectures.clone(),
        }
    }
}

impl Profile<'static> {
    /// The profile of the jail, `profiles/seccomp-default.json`.
    ///
    /// # Panics
    /// Never: a test reads the very same bytes.
    #[must_use]
    pub fn embedded() -> Self {
        let json = include_bytes!("../../../profiles/seccomp-default.json");
        Self::parse(json).expect("the embedded profile is valid")
    }
}

impl Rule<'_> {
    fn applies_to(&self, target: &Target) -> bool {
        let excluded = self.excludes.as_ref().is_some_and(|filter| filter.excludes(target));
        let included = self.includes.as_ref().is_none_or(|filter| filter.includes(target));
        included && !excluded
    }
}

impl Filter<'_> {
    /// Every kind of condition that is given must hold, and all capabilities must be held.
    fn includes(&self, target: &Target) -> bool {
        self.arches.as_ref().is_none_or(|list| list.is_empty() || has_arch(list, target.arch))
            && self.caps.iter().flatten().all(|cap| has_cap(&cap.0, target.caps))
            && self.min_kernel.is_none_or(|min| target.kernel >= (min.0, min.1))
    }

    /// One condition that holds is enough.
    fn excludes(&self, target: &Target) -> bool {
        self.arches.as_ref().is_some_and(|list| has_arch(list, target.arch))
            || self.caps.iter().flatten().any(|cap| has_cap(&cap.0, target.caps))
            || self.min_kernel.is_some_and(|min| target.kernel >= (min.0, min.1))
    }
}

/// Docker compares with the native architecture only, in libseccomp's spelling.
fn has_arch(list: &[Text], arch: Arch) -> bool {
    let own = match arch {
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
    };
    list.iter().any(|name| name.0 == own)
}

/// A capability that we do not know is one that we cannot grant, so the job does not hold it.
fn has_cap(name: &str, held: u64) -> bool {
    CAPABILITIES.iter().position(|cap| *cap == name).is_some_and(|bit| held >> bit & 1 == 1)
}

pub(super) const fn oci_arch(arch: Arch) -> OciArch {
    match arch {
        Arch::X86_64 => OciArch::ScmpArchX86_64,
        Arch::Aarch64 => OciArch::ScmpArchAarch64,
    }
}

/// Podman's profile gives errnos by name too; the name must agree with the number.
fn errno(
    number: Option<u32>,
    name: Option<&String>,
    item: impl Fn() -> String,
) -> Result<Option<u32>, SeccompError> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(number) };
    let named = ERRNOS.iter().find(|entry| entry.0 == name).map(|entry| entry.1);
    match (named, number) {
        (Some(named), None) => Ok(Some(named)),
        (Some(named), Some(number)) if named == number => Ok(Some(number)),
        _ => Err(SeccompError::ErrnoName { item: item(), name: name.clone() }),
    }
}

/// The errnos that profiles use; these numbers are the same on `x86_64` and aarch64.
const ERRNOS: [(&str, u32); 9] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("EACCES", 13),
    ("EINVAL", 22),
    ("ENOTTY", 25),
    ("ENOSYS", 38),
    ("EOPNOTSUPP", 95),
    ("EAFNOSUPPORT", 97),
];
