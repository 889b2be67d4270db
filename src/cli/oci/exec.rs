//! `exec`: what may be said of the process, and the call that it means.

#![forbid(unsafe_code)]

use super::args::{Parsed, invalid};
use super::{Context, life, path_error};
use crate::container::{Container, ExecOptions, ExecProcess, Overrides};
use crate::error::Result;
use crate::plan::oci::exec::{group, terminal_size};
use crate::plan::values::{misc, user};
use std::io::Read;

/// Most bytes of a process's file.
const MOST: u64 = 4 << 20;

/// Options that the process's file says itself.
const OF_THE_PROCESS: [&str; 9] = [
    "cwd",
    "env",
    "user",
    "additional-gids",
    "process-label",
    "apparmor",
    "no-new-privs",
    "cap",
    "console-size",
];

/// Runs the process.
pub(super) fn exec(context: &Context, parsed: &Parsed) -> Result<u8> {
    let load = || context.runtime.load(life::id(parsed)?);
    let mut container = None;
    if parsed.given("process") {
        // Before it is read: a pipe can be read once only.
        let loaded: &Container = container.insert(load()?);
        loaded.run_sealed_for_exec()?;
    }
    let options = ExecOptions {
        process: process(parsed)?,
        console_socket: parsed.path("console-socket"),
        pid_file: parsed.path("pid-file"),
        pidfd_socket: parsed.path("pidfd-socket"),
        detach: parsed.on("detach"),
        preserve_fds: parsed.number("preserve-fds")?.unwrap_or(0),
        cgroups: parsed.texts("cgroup")?.into_iter().map(str::to_owned).collect(),
        ignore_paused: parsed.on("ignore-paused"),
        may_replace_program: true,
    };
    let container = container.map_or_else(load, Ok)?;
    let status = container.exec_telling(&options, &mut |started| {
        for warning in &started.warnings {
            context.log.warn(warning);
        }
        if let Some(mask) = &started.affinity {
            context.log.debug(|| format!("nsexec: affinity: {}", hexadecimal(mask)));
        }
        life::set_up(context, &["setns_init: about to exec"]);
        life::filter_flags(context, started);
    })?;
    context.log.debug(|| format!("process exited with status {status}"));
    Ok(life::exit_code(status))
}

/// A set of processors as the number that has their bits.
fn hexadecimal(mask: &[u64; 16]) -> String {
    let mut digits = String::new();
    for word in mask.iter().rev() {
        digits.push_str(&format!("{word:016x}"));
    }
    let digits = digits.trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

fn process(parsed: &Parsed) -> Result<ExecProcess> {
    let Some(path) = parsed.path("process") else { return typed(parsed).map(ExecProcess::Changed) };
    // A file and options that contradict it: neither may be lost without a word.
    if let Some(other) = OF_THE_PROCESS.iter().find(|o| parsed.given(o)) {
        return Err(
            invalid(format!("--{other} cannot be used with --process")).hint("say it in the file")
        );
    }
    if parsed.words.len() > 1 {
        return Err(
            invalid("a command cannot be given with --process").hint("say it in the file, as args")
        );
    }
    let mut bytes = Vec::new();
    std::fs::File::open(&path)
        .and_then(|f| f.take(MOST + 1).read_to_end(&mut bytes))
        .map_err(|e| path_error("read", &path, e))?;
    if bytes.len() as u64 > MOST {
        return Err(invalid(format!("the process's file is longer than {MOST} bytes")));
    }
    Ok(ExecProcess::Json { bytes, terminal: parsed.on("tty") })
}

fn typed(parsed: &Parsed) -> Result<Overrides> {
    let args = (1..parsed.words.len())
        .map(|n| parsed.word(n).map(str::to_owned))
        .collect::<Result<Vec<_>>>()?;
    if args.is_empty() {
        return Err(invalid("exec args cannot be empty"));
    }
    for entry in parsed.texts("env")? {
        misc::env(entry)?;
    }
    let owned = |name| parsed.text(name).map(|text| text.map(str::to_owned));
    let groups = parsed.texts("additional-gids")?;
    Ok(Overrides {
        args,
        env: parsed.texts("env")?.into_iter().map(str::to_owned).collect(),
        cwd: owned("cwd")?,
        user: parsed.text("user")?.map(user::user).transpose()?,
        groups: groups.iter().flat_map(|g| g.split(',')).map(group).collect::<Result<_>>()?,
        caps: parsed.texts("cap")?.into_iter().map(str::to_owned).collect(),
        terminal: parsed.on("tty"),
        terminal_size: parsed.text("console-size")?.map(terminal_size).transpose()?,
        no_new_privs: parsed.given("no-new-privs").then(|| parsed.on("no-new-privs")),
        apparmor: owned("apparmor")?,
        selinux: owned("process-label")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{args, verbs};
    use super::*;

    fn of(line: &str) -> Result<ExecProcess> {
        let words: Vec<std::ffi::OsString> = line.split_whitespace().map(Into::into).collect();
        let verb = verbs::find("exec").unwrap();
        process(&args::parse(&words, verb.options, verb.order)?)
    }

    #[test]
    fn options_are_changes_and_the_command_keeps_its_own() {
        let ExecProcess::Changed(p) =
            of("-t -e A=1 --env B=2 --cwd /x -u 1:2 -g 3 --additional-gids=4,5 -c CAP_KILL \
             --no-new-privs --console-size 80x24 c ls -la -t")
            .unwrap()
        else {
            panic!("a file")
        };
        assert_eq!(p.args, ["ls", "-la", "-t"]);
        assert_eq!((p.env.len(), p.groups), (2, vec![3, 4, 5]));
        assert_eq!((p.terminal, p.terminal_size), (true, Some((80, 24))));
        assert_eq!((p.no_new_privs, p.cwd.as_deref()), (Some(true), Some("/x")));
        let ExecProcess::Changed(p) = of("c --user 5 true").unwrap() else { panic!("a file") };
        assert!(p.user.is_some() && p.no_new_privs.is_none() && !p.terminal);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "c",
            "-e A c true",
            "-u -1 c true",
            "-u 4294967296 c true",
            "-g x c true",
            "-p /nonexistent c",
            "-p /dev/null -e A=1 c",
            "-p /dev/null c true",
            "--console-size 1 c true",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
