//! The face of an OCI runtime: runc's verbs, options, output and exit codes over
//! [`crate::container::Runtime`].
//!
//! Called by the name `runc` or `crun` (a symlink to stockade, say) it has that one's default root and
//! names itself so in what its callers parse: the help, the version, the errors.

#![forbid(unsafe_code)]

mod args;
mod checkpoint;
mod events;
mod exec;
mod features;
mod json;
mod known;
mod life;
mod log;
mod mounts;
mod ps;
mod restore;
mod spec;
mod state;
mod update;
mod verbs;

use crate::cli::print_line;
use crate::container::{CgroupManager, Runtime};
use crate::error::{Error, Result};
use crate::host::container::in_user_namespace;
use crate::host::missing;
use crate::plan::values::{escape, nearest, quote};
use crate::sys::cred;
use args::{Order, Parsed, invalid};
use log::Log;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use verbs::Verb;

/// The runtime specification that is implemented.
pub(super) const SPEC_VERSION: &str = "1.3.0";

/// The runc whose command line this is: clients compare it with the one they need.
const RUNC_VERSION: &str = "1.4.0";

/// The crun whose annotations and options these are.
const CRUN_VERSION: &str = "1.27.1";

/// What of crun's features this program has.
const CRUN_FEATURES: &str = "+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF +CRIU\n";

/// Exit status when the runtime failed, and when `exec` did: there 1 is the process's own.
const FAILED: u8 = 1;
/// As of the library that runc reads its command line with.
const UNKNOWN_VERB: u8 = 3;
const EXEC_FAILED: u8 = 255;

/// What the options before the verb say.
#[derive(Debug)]
struct Context {
    runtime: Runtime,
    root_given: bool,
    log: Log,
}

/// By which name we were called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Stockade,
    Runc,
    Crun,
}

impl Program {
    /// By the first argument.
    pub(super) fn of(arg0: Option<&OsString>) -> Program {
        match arg0.and_then(|a| Path::new(a).file_name()) {
            Some(name) if name == "runc" => Program::Runc,
            Some(name) if name == "crun" => Program::Crun,
            _ => Program::Stockade,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Program::Stockade => "stockade",
            Program::Runc => "runc",
            Program::Crun => "crun",
        }
    }

    /// Where containers are kept unless `--root` says so: below the directory that an ordinary
    /// user has for such things. Root of a user namespace is one, as Podman calls its runtime, unless
    /// it is called root: then it may be the root of a container.
    fn root(self) -> PathBuf {
        let private = std::env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty());
        let ordinary = || {
            cred::euid() != 0
                || in_user_namespace() && std::env::var_os("USER").is_none_or(|name| name != "root")
        };
        match private.filter(|_| ordinary()) {
            Some(dir) => Path::new(&dir).join(self.name()),
            None => Path::new("/run").join(self.name()),
        }
    }

    /// As clients parse it: containerd and Docker look for these beginnings of lines.
    pub(super) fn version(self) -> String {
        let own = env!("CARGO_PKG_VERSION");
        let version = match self {
            Program::Stockade => own.to_owned(),
            Program::Runc => format!("{RUNC_VERSION}+stockade.{own}"),
            Program::Crun => format!("{CRUN_VERSION}+stockade.{own}"),
        };
        // crun's words for what it was built with.
        let features = if self == Program::Crun { CRUN_FEATURES } else { "" };
        format!(
            "{} version {version}\ncommit: v{own}\nspec: {SPEC_VERSION}\n{features}",
            self.name()
        )
    }
}

/// Whether the word is one of ours: a verb, or an option that stands before it.
pub(super) fn is_ours(word: &str) -> bool {
    verbs::find(word).is_some() || word.starts_with('-') && !matches!(word, "-h" | "--help")
}

/// The names of the verbs.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    verbs::VERBS.iter().map(|v| v.name)
}

/// Runs the command line and returns the exit status.
pub(super) fn main(program: Program, args: &[OsString]) -> u8 {
    let global = match args::parse(args, verbs::GLOBAL, Order::UntilVerb) {
        Ok(global) => global,
        Err(e) => {
            usage(&format!("{e}"), &verbs::help_all(program.name(), &shown_root(program)));
            return report(&Log::default(), &e, FAILED);
        }
    };
    let log = match Log::open(&global, program == Program::Crun) {
        Ok(mut log) => {
            log.hints = program == Program::Stockade;
            log
        }
        Err(e) => return report(&Log::default(), &e, FAILED),
    };
    let rest = args.get(global.used..).unwrap_or_default();
    if global.on("version") {
        print_line(&program.version());
        return 0;
    }
    let (name, rest) = match rest.split_first() {
        Some((name, rest)) if !global.help => (name.to_string_lossy(), rest),
        _ => {
            print_line(&verbs::help_all(program.name(), &shown_root(program)));
            return 0;
        }
    };
    if matches!(&*name, "help" | "h") {
        return help(program, rest.first(), &log);
    }
    // By the name runc it has runc's verbs alone.
    let foreign = |verb: &&Verb| program == Program::Runc && verb.name == "mounts";
    let Some(verb) = verbs::find(&name).filter(|verb| !foreign(verb)) else {
        let error = invalid(format!("No help topic for '{}'", escape(&name)));
        let error = match nearest(&name, names()) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error,
        };
        return report(&log, &error, UNKNOWN_VERB);
    };
    let failed = if verb.name == "exec" { EXEC_FAILED } else { FAILED };
    match read(program, verb, rest) {
        Ok(None) => 0,
        Ok(Some(parsed)) => {
            let context = match context(program, &global, log) {
                Ok(context) => context,
                Err((log, e)) => return report(&log, &e, failed),
            };
            let log = &context.log;
            let root = context.runtime.root().display();
            log.later(|| format!("{} {name}, state in {root}", program.name()));
            match run(&context, verb, &parsed) {
                Ok(status) => status,
                Err(e) => report(log, &prefixed(program, verb, missing::named(e)), failed),
            }
        }
        Err(e) => report(&log, &e, FAILED),
    }
}

/// Reads the verb's own part. `None`: help was asked for, and given.
fn read(program: Program, verb: &'static Verb, args: &[OsString]) -> Result<Option<Parsed>> {
    let help = || verbs::help(program.name(), verb);
    let parsed = match args::parse(args, verb.options, verb.order) {
        Ok(parsed) => parsed,
        Err(e) => {
            usage(&e.to_string(), &help());
            return Err(e);
        }
    };
    if parsed.help {
        print_line(&help());
        return Ok(None);
    }
    let (least, most) = verb.count;
    let given = parsed.words.len();
    let wanted = match (given < least, given > most) {
        (false, false) => return Ok(Some(parsed)),
        _ if least == most => format!("exactly {least}"),
        (true, _) => format!("a minimum of {least}"),
        _ => format!("a maximum of {most}"),
    };
    usage("", &help());
    Err(invalid(format!("{}: \"{}\" requires {wanted} argument(s)", program.name(), verb.name)))
}

/// As runc: the help goes to stdout, the error to the log.
fn usage(why: &str, help: &str) {
    let colon = if why.is_empty() { "." } else { ": " };
    print_line(&format!("Incorrect Usage{colon}{why}\n\n{help}"));
}

fn help(program: Program, verb: Option<&OsString>, log: &Log) -> u8 {
    let Some(name) = verb else {
        print_line(&verbs::help_all(program.name(), &shown_root(program)));
        return 0;
    };
    match verbs::find(&name.to_string_lossy()) {
        Some(verb) => {
            print_line(&verbs::help(program.name(), verb));
            0
        }
        None => {
            let name = escape(&name.to_string_lossy());
            report(log, &invalid(format!("No help topic for '{name}'")), FAILED)
        }
    }
}

fn shown_root(program: Program) -> String {
    program.root().display().to_string()
}

fn report(log: &Log, error: &Error, status: u8) -> u8 {
    error.warnings().iter().for_each(|warning| log.warn(warning));
    if error.is_of_execve() && status == FAILED {
        // runc's child says it itself, when nobody is left to log it.
        log.bare(&error.to_string(), error.hint_text());
    } else {
        log.error(&error.to_string(), error.hint_text());
    }
    status
}

/// runc's words before the errors of these verbs, for whoever looks for them.
fn prefixed(program: Program, verb: &Verb, error: Error) -> Error {
    match verb.name {
        "create" | "run" if error.is_of_execve() => error,
        "create" | "run" => error.context(format!("{} {} failed", program.name(), verb.name)),
        "exec" => error.context("exec failed"),
        _ => error,
    }
}

fn context(
    program: Program,
    global: &Parsed,
    log: Log,
) -> std::result::Result<Context, (Log, Error)> {
    match runtime(program, global) {
        Ok(runtime) => Ok(Context { runtime, root_given: global.given("root"), log }),
        Err(e) => Err((log, e)),
    }
}

fn runtime(program: Program, global: &Parsed) -> Result<Runtime> {
    let root = match global.path("root") {
        Some(root) => std::path::absolute(&root).map_err(|e| path_error("find", &root, e))?,
        None if global.given("root") => {
            return Err(invalid("Option --root argument should not be empty"));
        }
        None => program.root(),
    };
    // By its parts: `/..` is it too.
    if !root.components().any(|c| matches!(c, std::path::Component::Normal(_))) {
        return Err(invalid("Option --root argument should not be set to /"));
    }
    let manager = match global.text("cgroup-manager")? {
        Some("systemd") => CgroupManager::Systemd,
        Some("disabled") => CgroupManager::Disabled,
        None if global.on("systemd-cgroup") => CgroupManager::Systemd,
        None | Some("cgroupfs") => CgroupManager::Cgroupfs,
        Some(other) => {
            return Err(invalid(format!("unknown cgroup manager {}", quote(other)))
                .hint("it is cgroupfs, systemd or disabled"));
        }
    };
    let rootless = match global.text("rootless")?.map(str::to_ascii_lowercase).as_deref() {
        None | Some("auto") => None,
        Some("1" | "t" | "true") => Some(true),
        Some("0" | "f" | "false") => Some(false),
        Some(other) => {
            return Err(invalid(format!(
                "--rootless is true, false or auto, and not {}",
                quote(other)
            )));
        }
    };
    Ok(Runtime::new(root).cgroup_manager(manager).rootless(rootless).may_restart(true))
}

fn run(context: &Context, verb: &Verb, parsed: &Parsed) -> Result<u8> {
    match verb.name {
        "create" => life::create(context, parsed),
        "start" => life::start(context, parsed),
        "run" => life::run(context, parsed),
        "kill" => life::kill(context, parsed),
        "delete" => life::delete(context, parsed),
        "state" => state::state(context, parsed),
        "list" => state::list(context, parsed),
        "ps" => ps::ps(context, parsed),
        "exec" => exec::exec(context, parsed),
        "pause" => events::pause(context, parsed),
        "resume" => events::resume(context, parsed),
        "events" => events::events(context, parsed),
        "mounts" => mounts::mounts(context, parsed),
        "update" => update::update(context, parsed),
        "spec" => spec::run(parsed),
        "features" => Ok(features::features()),
        "checkpoint" => checkpoint::checkpoint(context, parsed),
        "restore" => restore::restore(context, parsed),
        other => Err(invalid(format!("{other}: no such verb"))),
    }
}

/// What could not be done with a path of the host, and why.
fn path_error(what: &str, path: &Path, e: impl Into<std::io::Error>) -> Error {
    Error::os(format!("{what} {}", quote(&path.to_string_lossy())), e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_is_the_last_part() {
        let of = |s: &str| Program::of(Some(&OsString::from(s)));
        assert_eq!(of("/usr/sbin/runc"), Program::Runc);
        assert_eq!(of("runc"), Program::Runc);
        assert_eq!(of("/usr/bin/crun"), Program::Crun);
        assert_eq!(of("/runc/stockade"), Program::Stockade);
        assert_eq!(Program::of(None), Program::Stockade);
    }

    #[test]
    fn clients_find_the_version() {
        for (program, begin) in [
            (Program::Runc, "runc version 1."),
            (Program::Crun, "crun version 1."),
            (Program::Stockade, "stockade version "),
        ] {
            let text = program.version();
            assert!(text.starts_with(begin), "{text}");
            assert!(text.lines().any(|l| l.strip_prefix("spec: ") == Some(SPEC_VERSION)), "{text}");
        }
    }
}
