//! The verbs of a container's life: `create`, `start`, `run`, `kill`, `delete`.

#![forbid(unsafe_code)]

use super::Context;
use super::args::{Parsed, invalid};
use crate::container::{CreateOptions, RunOptions, Status};
use crate::error::{Error, Kind, Result};
use crate::plan::values::{misc, quote};
use crate::sys::regex::Pattern;
use std::ffi::{CString, OsString};

/// `create`.
pub(super) fn create(context: &Context, parsed: &Parsed) -> Result<u8> {
    let id = id(parsed)?;
    let options = options(parsed)?;
    context.log.later(|| format!("create {id} from the bundle {}", options.bundle.display()));
    let container = context.runtime.create(id, &options)?;
    for warning in container.warnings() {
        context.log.warn(warning);
    }
    set_up(context, &["init: closing the pipe to signal completion"]);
    Ok(0)
}

/// `start`.
pub(super) fn start(context: &Context, parsed: &Parsed) -> Result<u8> {
    let container = context.runtime.load(id(parsed)?)?;
    match service_manager() {
        Some(manager) => container.start_notifying(&manager)?,
        None => container.start()?,
    }
    Ok(0)
}

/// `run`.
pub(super) fn run(context: &Context, parsed: &Parsed) -> Result<u8> {
    let id = id(parsed)?;
    let options = options(parsed)?;
    let run = RunOptions {
        detach: parsed.on("detach"),
        keep: parsed.on("keep"),
        subreaper: !parsed.on("no-subreaper"),
    };
    context.log.later(|| format!("run {id} from the bundle {}", options.bundle.display()));
    let mut started = |started: &crate::container::Started| {
        for warning in &started.warnings {
            context.log.warn(warning);
        }
        set_up(context, &["init: closing the pipe to signal completion"]);
        filter_flags(context, started);
    };
    let mut warned = |warning: &str| context.log.warn(warning);
    let status = context.runtime.run_telling(id, &options, run, &mut started, &mut warned)?;
    context.log.debug(|| format!("process exited with status {status}"));
    Ok(exit_code(status))
}

/// What has been done, in runc's words: who debugs looks for them.
pub(super) fn set_up(context: &Context, more: &[&str]) {
    for line in ["nsexec container setup", "child process in init()"].iter().chain(more) {
        context.log.debug(|| (*line).to_owned());
    }
}

/// The flags of its filter, likewise.
pub(super) fn filter_flags(context: &Context, started: &crate::container::Started) {
    if let Some(flags) = started.filter_flags {
        context.log.debug(|| format!("seccomp filter flags: {flags}"));
    }
}

/// A process's status as ours. It is never out of range: 128 and a signal at most.
pub(super) fn exit_code(status: i32) -> u8 {
    u8::try_from(status).unwrap_or(super::FAILED)
}

/// `kill`.
pub(super) fn kill(context: &Context, parsed: &Parsed) -> Result<u8> {
    let signal = signal(parsed.word(1)?)?;
    let all = parsed.on("all");
    let container = context.runtime.load(id(parsed)?)?;
    match container.kill(signal, all) {
        Ok(()) => Ok(0),
        // As runc: who signals all has none left to signal.
        Err(_) if all && container.state().is_ok_and(|s| s.status == Status::Stopped) => Ok(0),
        Err(e) => Err(e),
    }
}

/// A name with or without SIG, in any case, or a number; 0 only asks whether it could be sent.
fn signal(word: &str) -> Result<i32> {
    const LAST: i32 = 64;
    let known = match word.parse::<i32>() {
        Ok(number) => (0..=LAST).contains(&number).then_some(number),
        Err(_) if word.is_empty() => Some(libc::SIGTERM),
        Err(_) => misc::signal(word).ok(),
    };
    known.ok_or_else(|| {
        invalid(format!("unknown signal {}", quote(word)))
            .hint("such as TERM, SIGKILL or a number up to 64")
    })
}

/// `delete`.
pub(super) fn delete(context: &Context, parsed: &Parsed) -> Result<u8> {
    if parsed.on("regex") {
        return delete_all(context, id(parsed)?, parsed.on("force"));
    }
    for warning in context.runtime.delete(id(parsed)?, parsed.on("force"))? {
        context.log.warn(&warning);
    }
    Ok(0)
}

/// `delete --regex`: every container whose id matches.
fn delete_all(context: &Context, expression: &str, force: bool) -> Result<u8> {
    let pattern = CString::new(expression).ok().and_then(|text| Pattern::new(&text));
    let pattern = pattern.ok_or_else(|| {
        invalid(format!("{} is no regular expression", quote(expression)))
            .hint("it is a POSIX extended one (regex(7)), such as '^web-[0-9]+$'")
    })?;
    let matches = |id: &str| CString::new(id).is_ok_and(|id| pattern.matches(&id));
    let mut failed = 0;
    for (id, _) in context.runtime.list()?.iter().filter(|(id, _)| matches(id)) {
        match context.runtime.delete(id, force) {
            Ok(warnings) => warnings.iter().for_each(|warning| context.log.warn(warning)),
            // Somebody else was faster.
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => {
                failed += 1;
                context.log.warn(&e.to_string());
            }
        }
    }
    if failed == 0 {
        return Ok(0);
    }
    Err(Error::new(Kind::Os, format!("{failed} of the containers could not be deleted")))
}

/// How many sockets systemd has activated us with, if it was us that it meant (sd_listen_fds(3)).
fn listeners() -> Result<u32> {
    let of = |name: &str| std::env::var(name).ok();
    let (Some(count), Some(pid)) = (of("LISTEN_FDS"), of("LISTEN_PID")) else { return Ok(0) };
    if pid.parse() != Ok(std::process::id()) {
        return Ok(0);
    }
    count.parse::<u32>().ok().filter(|n| *n <= 1024).ok_or_else(|| {
        invalid(format!("LISTEN_FDS is {}, which is no number of descriptors", quote(&count)))
    })
}

/// The socket of the service manager that waits for us to be ready (sd_notify(3)).
fn service_manager() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())
}

/// The container's id, which stands first.
pub(super) fn id(parsed: &Parsed) -> Result<&str> {
    match parsed.word(0)? {
        "" => Err(invalid("container id cannot be empty")),
        id => Ok(id),
    }
}

fn options(parsed: &Parsed) -> Result<CreateOptions> {
    let mut options = CreateOptions::new(parsed.path("bundle").unwrap_or_else(|| ".".into()));
    options.config = parsed.path("config");
    options.console_socket = parsed.path("console-socket");
    options.pid_file = parsed.path("pid-file");
    options.pidfd_socket = parsed.path("pidfd-socket");
    options.preserve_fds = parsed.number("preserve-fds")?.unwrap_or(0);
    options.listen_fds = listeners()?;
    options.notify_socket = service_manager();
    options.no_pivot = parsed.on("no-pivot");
    options.no_new_keyring = parsed.on("no-new-keyring");
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (word, number) in
            [("", 15), ("KILL", 9), ("SIGKILL", 9), ("sigkill", 9), ("9", 9), ("0", 0), ("34", 34)]
        {
            assert_eq!(signal(word).unwrap(), number, "{word}");
        }
        for bad in ["FOO", "-9", "65", "9x", "SIGSIGKILL", "99999999999"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
