//! crun's annotations (`run.oci.NAME`, crun(1)): what each changes of a plan.
//!
//! One that belongs to crun's plug-ins is an error, and so is a value that makes no sense: a container
//! without what was asked for would be another one. Annotations are as trusted as config.json, of
//! which they are a part: who lets somebody else set them lets him write to files of the host
//! (`hooks.stdout`) and leave out the seccomp profile (`seccomp_bpf_data`).

#![forbid(unsafe_code)]

use super::bad;
use crate::error::{Error, Kind, Result};
use crate::plan::seccomp::{Instruction, MAX_INSTRUCTIONS};
use crate::plan::values::quote;
use base64::Engine;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

type All = BTreeMap<String, String>;

/// What they all begin with.
const PREFIX: &str = "run.oci.";

/// What they say.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    /// The caller's supplementary groups stay.
    pub(super) keep_groups: bool,
    /// A system call that nobody knows is an error in a filter.
    pub(super) fail_unknown_calls: bool,
    /// The filter, instead of linux.seccomp.
    pub(super) filter: Option<Vec<Instruction>>,
    /// Who answers what the filter asks, if linux.seccomp does not say it.
    pub(super) receiver: Option<PathBuf>,
    /// A line of `/proc/PID/timens_offsets`.
    pub(super) time_offset: Option<String>,
    /// The mount that becomes the v1 hierarchy of systemd.
    pub(super) cgroup_v1: Option<PathBuf>,
}

/// Reads all.
pub(super) fn read(all: &All, warnings: &mut Vec<String>) -> Result<Annotations> {
    let mut found = Annotations::default();
    for (key, value) in all {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        match name {
            "hooks.stdout" | "hooks.stderr" | "pidfd_receiver" => file(key, value).map(drop)?,
            "keep_original_groups" => found.keep_groups = value != "0",
            "seccomp_fail_unknown_syscall" => found.fail_unknown_calls = value != "0",
            "seccomp_bpf_data" => found.filter = Some(filter(key, value)?),
            "seccomp.receiver" => found.receiver = Some(absolute(key, value)?),
            "timens_offset" => found.time_offset = Some(time_offset(key, value)?),
            "systemd.force_cgroup_v1" => found.cgroup_v1 = Some(absolute(key, value)?),
            // The process is in the scope's own cgroup, as if it was empty.
            "systemd.subgroup" | "delegate-cgroup" if value.is_empty() => {}
            "systemd.subgroup" | "delegate-cgroup" => {
                return Err(no(key, "the container's processes are in its own cgroup"));
            }
            // It says how linux.mountLabel is set, which is an error by itself.
            "mount_context_type" => context_type(key, value)?,
            "handler" if value.is_empty() || is_sandbox(all) => {}
            "handler" => return Err(no(key, &format!("crun has a plug-in for {}", quote(value)))),
            "seccomp.plugins" => {
                return Err(no(key, "it names plug-ins of crun, which are loaded into it"));
            }
            _ => warnings.push(format!("the annotation {} is unknown", quote(key))),
        }
    }
    if found.receiver.is_some() && found.filter.is_some() {
        return Err(bad(
            "run.oci.seccomp.receiver has no effect with run.oci.seccomp_bpf_data",
            "a filter as data asks nobody: leave one of them away",
        ));
    }
    Ok(found)
}

/// The files that hooks print to, their output and their errors: absolute, or counting from the bundle.
#[must_use]
pub fn hook_files(all: &All) -> [Option<&Path>; 2] {
    ["run.oci.hooks.stdout", "run.oci.hooks.stderr"].map(|key| all.get(key).map(Path::new))
}

/// The socket that gets a pidfd of the container's process: absolute, or counting from the bundle.
#[must_use]
pub fn pidfd_receiver(all: &All) -> Option<&Path> {
    all.get("run.oci.pidfd_receiver").map(Path::new)
}

/// The pause container of a pod, which runs as it is whatever the pod's handler.
fn is_sandbox(all: &All) -> bool {
    all.get("io.kubernetes.cri.container-type").is_some_and(|kind| kind == "sandbox")
}

fn no(key: &str, why: &str) -> Error {
    Error::new(Kind::Unsupported, format!("the annotation {key} is not supported: {why}"))
        .hint("take it out of config.json")
}

fn file(key: &str, value: &str) -> Result<PathBuf> {
    if value.is_empty() || value.contains('\0') {
        return Err(bad(format!("the annotation {key} names no file"), "give it a path"));
    }
    Ok(PathBuf::from(value))
}

fn absolute(key: &str, value: &str) -> Result<PathBuf> {
    file(key, value).and_then(|path| {
        if path.is_absolute() {
            return Ok(path);
        }
        let text = format!("the annotation {key}: {} is not an absolute path", quote(value));
        Err(bad(text, "begin it with /"))
    })
}

/// The raw program that seccomp(2) takes, in base64.
fn filter(key: &str, value: &str) -> Result<Vec<Instruction>> {
    let wrong = |why: &str| {
        bad(
            format!("the annotation {key} {why}"),
            "it has instructions of 8 bytes each (struct sock_filter), in base64",
        )
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(value)
        .map_err(|e| wrong(&format!("is no base64: {e}")))?;
    let (instructions, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || instructions.is_empty() || instructions.len() > MAX_INSTRUCTIONS {
        return Err(wrong(&format!(
            "has {} bytes, which is no program of 1 to {MAX_INSTRUCTIONS} instructions",
            bytes.len()
        )));
    }
    Ok(instructions
        .iter()
        .map(|[a, b, jt, jf, k @ ..]| Instruction {
            code: u16::from_ne_bytes([*a, *b]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes(*k),
        })
        .collect())
}

/// `ID SECONDS NANOSECONDS`, the id being a clock's name or number (time_namespaces(7)).
fn time_offset(key: &str, value: &str) -> Result<String> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let read = match words[..] {
        [clock, seconds, nanoseconds] => {
            let clock = match clock {
                "monotonic" | "1" => Some("monotonic"),
                "boottime" | "7" => Some("boottime"),
                _ => None,
            };
            let nanoseconds = nanoseconds.parse::<u32>().ok().filter(|n| *n < 1_000_000_000);
            clock.zip(seconds.parse::<i64>().ok()).zip(nanoseconds)
        }
        _ => None,
    };
    let Some(((clock, seconds), nanoseconds)) = read else {
        return Err(bad(
            format!("the annotation {key}: {} is no offset of a clock", quote(value)),
            "write the clock, monotonic or boottime, seconds, and nanoseconds below 10^9",
        ));
    };
    Ok(format!("{clock} {seconds} {nanoseconds}\n"))
}

fn context_type(key: &str, value: &str) -> Result<()> {
    if ["context", "fscontext", "defcontext", "rootcontext"].contains(&value) {
        return Ok(());
    }
    Err(bad(
        format!("the annotation {key}: {} is no context of a mount", quote(value)),
        "it is context, fscontext, defcontext or rootcontext",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Annotations> {
        let all = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        read(&all, &mut Vec::new())
    }

    #[test]
    fn a_filter_as_data_is_a_program() {
        // RET ALLOW; twice is as good.
        let found = of(&[("run.oci.seccomp_bpf_data", "BgAAAAAA/38=")]).unwrap().filter.unwrap();
        assert_eq!((found.len(), found[0].code, found[0].k), (1, 6, 0x7fff_0000));
        for bad in ["", "x", "BgAAAAAA/w==", &"BgAAAAAA/38".repeat(9)] {
            assert!(of(&[("run.oci.seccomp_bpf_data", bad)]).is_err(), "{bad}");
        }
        let long = base64::engine::general_purpose::STANDARD.encode(vec![0; 8 * 4097]);
        assert!(of(&[("run.oci.seccomp_bpf_data", &long)]).is_err());
    }

    #[test]
    fn what_belongs_to_crun_s_plug_ins_is_an_error_that_names_it() {
        for (key, value) in [
            ("run.oci.handler", "krun"),
            ("run.oci.handler", "wasm"),
            ("run.oci.seccomp.plugins", "/lib/p.so"),
            ("run.oci.systemd.subgroup", "a"),
            ("run.oci.delegate-cgroup", "a"),
        ] {
            let e = of(&[(key, value)]).unwrap_err();
            assert_eq!(e.kind(), Kind::Unsupported, "{key}");
            assert!(e.to_string().contains(key), "{e}");
        }
        assert!(of(&[("run.oci.handler", ""), ("run.oci.systemd.subgroup", "")]).is_ok());
        let pod = ("io.kubernetes.cri.container-type", "sandbox");
        assert!(of(&[("run.oci.handler", "krun"), pod]).is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for (key, value) in [
            ("run.oci.hooks.stdout", ""),
            ("run.oci.hooks.stderr", "a\0"),
            ("run.oci.pidfd_receiver", ""),
            ("run.oci.seccomp.receiver", "socket"),
            ("run.oci.systemd.force_cgroup_v1", "sys"),
            ("run.oci.mount_context_type", "x"),
            ("run.oci.timens_offset", "monotonic 1"),
            ("run.oci.timens_offset", "realtime 1 1"),
            ("run.oci.timens_offset", "boottime 1 1000000000"),
            ("run.oci.timens_offset", "boottime 1 1 monotonic"),
        ] {
            assert!(of(&[(key, value)]).is_err(), "{key}={value}");
        }
        let both =
            [("run.oci.seccomp_bpf_data", "BgAAAAAA/38="), ("run.oci.seccomp.receiver", "/s")];
        assert!(of(&both).is_err());
        let offset = of(&[("run.oci.timens_offset", "7 -5 10")]).unwrap().time_offset.unwrap();
        assert_eq!(offset, "boottime -5 10\n");
        // A switch is off by this word alone.
        assert!(of(&[("run.oci.keep_original_groups", "")]).unwrap().keep_groups);
        assert!(!of(&[("run.oci.keep_original_groups", "0")]).unwrap().keep_groups);
    }

    #[test]
    fn an_unknown_one_is_told() {
        let all = [("run.oci.new".to_owned(), "1".to_owned()), ("x".to_owned(), String::new())];
        let mut warnings = Vec::new();
        read(&all.into(), &mut warnings).unwrap();
        assert_eq!(warnings, ["the annotation \"run.oci.new\" is unknown"]);
    }
}
