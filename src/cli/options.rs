//! What may be typed after `stockade jail`, and the jail that it means. Names and values are
//! Docker's wherever Docker has one.

#![forbid(unsafe_code)]

use super::profile;
use super::settings::{Settings, invalid};
use crate::error::Result;
use crate::jail::Jail;
use crate::plan::profile::keys::{Form, KEYS};
use crate::plan::values::{self, misc, quote};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;
use std::ffi::OsString;

fn value(name: &'static str, metavar: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(metavar).help(help).allow_hyphen_values(true)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    // Not SetTrue, and no default for a switch either: clap takes the time to parse each one.
    Arg::new(name)
        .long(name)
        .num_args(0)
        .default_missing_value("true")
        .value_parser(clap::value_parser!(bool))
        .help(help)
}

/// Whether a flag or switch was given, and not as `=false`.
fn is_on(m: &ArgMatches, name: &str) -> bool {
    m.get_one::<bool>(name).copied().unwrap_or(false)
}

/// A flag that Docker has too, and with it the forms `--rm=true` and `--rm=false`.
fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(clap::value_parser!(bool))
        .value_name("BOOL")
        .hide_possible_values(true)
        .help(help)
}

fn many(name: &'static str, metavar: &'static str, help: &'static str) -> Arg {
    value(name, metavar, help).action(ArgAction::Append)
}

/// The options.
#[must_use]
pub(super) fn command() -> Command {
    Command::new("stockade jail")
        .about("Runs a command in a jail and says how it ended.")
        .override_usage("stockade jail [OPTIONS] [--] COMMAND [ARG...]")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .next_line_help(false)
        .args(root_and_files())
        .args(limits())
        .args(identity())
        .args(run())
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(clap::value_parser!(OsString))
                .help("What to run, and its arguments"),
        )
        .after_help(
            "Exit status: the job's own; 128+N if signal N ended it (137: out of memory or \
             output limit);\n124 at a time limit; 127 or 126 if the command is not found or \
             cannot be executed;\n125 if stockade itself failed and the job was not run.",
        )
}

fn root_and_files() -> Vec<Arg> {
    vec![
        value(
            "profile",
            "NAME|FILE[#POLICY]",
            "Policy to begin with: python, node, shell, restricted, or a file",
        ),
        value("rootfs", "DIR", "Unpacked root file system [default: the host view]"),
        switch("read-only", "Read-only root (the default)").overrides_with("writable"),
        flag("writable", "Writable root").overrides_with("read-only"),
        many("tmpfs", "DIR[:OPTIONS]", "Mount a tmpfs (size=, mode=, exec, nr_inodes=, ro)"),
        many(
            "volume",
            "SRC:DST[:ro]",
            "Give a file or directory of the host; its owner is the job's user inside",
        )
        .short('v'),
        many("mount", "type=bind|tmpfs,...", "The same in Docker's long form"),
        switch("no-idmap", "Volumes and rootfs keep the owners they have on disk"),
        value("workdir", "DIR", "Working directory [default: /work]").short('w'),
    ]
}

fn limits() -> Vec<Arg> {
    vec![
        value("memory", "SIZE", "Memory, tmpfs included [default: 512m]").short('m'),
        value("memory-swap", "SIZE", "Memory and swap together [default: no swap]; -1: unlimited"),
        value("cpus", "N", "CPUs [default: 1]"),
        value("cpu-shares", "N", "Relative weight, 1024 is usual").short('c'),
        value("cpuset-cpus", "LIST", "CPUs allowed, such as 0-3,5"),
        value("pids-limit", "N", "Processes and threads [default: 64]; -1: unlimited"),
        value("timeout", "TIME", "Wall time [default: 30m]"),
        value("cpu-time", "TIME", "CPU time of all processes together"),
        value("output-limit", "SIZE", "stdout and stderr, each [default: 10m]"),
        value("disk", "SIZE", "All writable tmpfs together [default: 1g]"),
        value("inodes", "N", "Files on that tmpfs"),
        many("ulimit", "NAME=SOFT[:HARD]", "Resource limit of each process"),
        value("shm-size", "SIZE", "/dev/shm, out of --disk"),
        switch("allow-degraded", "Run without what this host cannot enforce, and say so"),
        value("cgroup-parent", "PATH", "Make the cgroup below this one"),
    ]
}

fn identity() -> Vec<Arg> {
    vec![
        value("user", "UID[:GID]", "User inside [default: 65534:65534]").short('u'),
        many("group-add", "GROUP", "Supplementary group"),
        many("cap-add", "CAP", "Keep a capability"),
        many("cap-drop", "CAP", "Drop a capability (all are, unless added)"),
        many(
            "security-opt",
            "OPT",
            "no-new-privileges[:false], seccomp=FILE|unconfined, landlock=off",
        ),
        switch("no-trace-denied", "Do not count the system calls that seccomp denies"),
        value("userns", "auto|host", "User namespace [default: auto]"),
        value("network", "none|host", "Network [default: none]").alias("net"),
        switch("time-ns", "New time namespace"),
        switch("nested-userns", "The job may make namespaces of its own"),
        value("hostname", "NAME", "Host name [default: stockade]").short('h'),
        many("env", "KEY=VALUE", "Environment variable").short('e'),
        many("env-file", "FILE", "Environment variables from a file"),
    ]
}

fn run() -> Vec<Arg> {
    vec![
        switch("init", "A minimal init is PID 1 (the default)").overrides_with("no-init"),
        flag("no-init", "The command is PID 1").overrides_with("init"),
        switch("interactive", "Keep stdin open (it always is)").short('i'),
        switch("tty", "Give the job a terminal").short('t'),
        switch("rm", "Remove everything afterwards (it always is)"),
        value("stop-signal", "SIGNAL", "Sent at a time limit, before SIGKILL"),
        value("stop-timeout", "TIME", "How long before SIGKILL follows it [default: 10s]"),
        value("id", "ID", "Name of the run [default: made up]").alias("name"),
        many("label", "KEY=VALUE", "Repeated in the outcome").short('l'),
        value("result", "FILE|FD", "Write the outcome there, as JSON"),
        value("audit-log", "FILE|fd:N|syslog", "Append a line about this run"),
        flag("json", "Print the outcome on stdout, the job's output inside it"),
        flag("quiet", "On a terminal, do not say at the end why a job failed").short('q'),
        flag("explain", "Print the plan and run nothing"),
        Arg::new("help").long("help").action(ArgAction::Help).help("Print this help"),
    ]
}

/// How to report.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) result: Option<String>,
    pub(super) json: bool,
    pub(super) explain: bool,
    pub(super) quiet: bool,
    pub(super) id: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) audit: Option<String>,
    /// What is to be run, which need not be UTF-8 to be told.
    pub(super) command: Vec<OsString>,
}

fn text<'m>(m: &'m ArgMatches, name: &str) -> Option<&'m str> {
    m.get_one::<String>(name).map(String::as_str)
}

fn texts<'m>(m: &'m ArgMatches, name: &str) -> Vec<&'m str> {
    m.get_many::<String>(name).into_iter().flatten().map(String::as_str).collect()
}

/// A switch, if it was typed.
fn switched(m: &ArgMatches, name: &str) -> Option<bool> {
    (m.value_source(name) == Some(ValueSource::CommandLine)).then(|| is_on(m, name))
}

/// Of two options that contradict each other clap keeps the last.
fn on_unless(m: &ArgMatches, on: &str, off: &str) -> Option<bool> {
    switched(m, on).or_else(|| switched(m, off).map(|off| !off))
}

/// The report part, which is wanted even if the rest makes no sense.
pub(super) fn report(m: &ArgMatches) -> Report {
    Report {
        result: text(m, "result").map(str::to_owned),
        json: is_on(m, "json"),
        explain: is_on(m, "explain"),
        quiet: is_on(m, "quiet"),
        id: text(m, "id").map(str::to_owned),
        // A label that makes no sense is an error of `jail`.
        labels: texts(m, "label").into_iter().flat_map(misc::label).collect(),
        audit: text(m, "audit-log").map(str::to_owned),
        command: m.get_many("command").into_iter().flatten().cloned().collect(),
    }
}

/// What was understood of a command line up to its first mistake.
pub(super) fn report_so_far(words: &[OsString]) -> Report {
    let matches = command().ignore_errors(true).try_get_matches_from(words);
    matches.map_or_else(|_| Report::default(), |m| report(&m))
}

/// The jail: what the policy of `--profile` says, and over it what was typed.
pub(super) fn jail(m: &ArgMatches) -> Result<Jail> {
    let typed = words(m)?;
    let mut settings = Settings::default();
    let mut command = typed;
    if let Some(spec) = text(m, "profile") {
        let loaded = profile::load(spec)?;
        loaded.apply(&mut settings)?;
        command = loaded.command(command, &mut settings)?;
        settings = settings.then_typed();
    }
    apply(m, &mut settings)?;
    settings.policy.command = command;
    let mut jail = settings.jail()?;
    for (key, value) in
        texts(m, "label").into_iter().map(misc::label).collect::<values::Result<Vec<_>>>()?
    {
        jail = jail.label(key, value);
    }
    Ok(jail)
}

/// Sets what was typed. Keys of a policy are options too, so their table says which there are.
fn apply(m: &ArgMatches, settings: &mut Settings) -> Result<()> {
    for key in KEYS.iter().filter(|k| k.option) {
        let name = key.name;
        match (key.form, name) {
            (_, "read-only") => {
                if let Some(on) = on_unless(m, "read-only", "writable") {
                    settings.policy.read_only = on;
                }
            }
            (_, "init") => {
                if let Some(on) = on_unless(m, "init", "no-init") {
                    settings.policy.init = on;
                }
            }
            (Form::Switch, _) => {
                if let Some(on) = switched(m, name) {
                    settings.set(name, if on { "true" } else { "false" })?;
                }
            }
            _ => {
                for value in texts(m, name) {
                    settings.set(name, value)?;
                }
            }
        }
    }
    settings.policy.tty = is_on(m, "tty");
    settings.policy.id = text(m, "id").map(str::to_owned);
    Ok(())
}

fn words(m: &ArgMatches) -> Result<Vec<String>> {
    let words: Vec<String> = m
        .get_many::<OsString>("command")
        .into_iter()
        .flatten()
        .map(|w| {
            w.clone().into_string().map_err(|w| {
                let shown = quote(&w.to_string_lossy());
                invalid(
                    format!("the argument {shown} is no UTF-8"),
                    "pass such bytes in a file or on stdin",
                )
            })
        })
        .collect::<Result<_>>()?;
    if words.is_empty() {
        return Err(invalid(
            "no command given".to_owned(),
            "say what to run, such as: stockade jail -- python3 -c 'print(1)'",
        ));
    }
    Ok(words)
}
