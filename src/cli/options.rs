//! What may be typed after `stockade jail`, and the jail that it means. Names and values are
//! Docker's wherever Docker has one.

#![forbid(unsafe_code)]

use super::profile;
use super::settings::{Settings, invalid};
use super::typed::{Opt, REST, Typed, flag, many, switch, value};
use crate::error::Result;
use crate::jail::Jail;
use crate::plan::profile::keys::{Form, KEYS};
use crate::plan::values::{self, misc, quote};
use clap::{Arg, ArgAction, Command};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// The options.
static OPTIONS: &[Opt] = &[
    // The root and what is in it.
    value(
        "profile",
        "NAME|FILE[#POLICY]",
        "Policy to begin with: python, node, shell, restricted, or a file",
    ),
    value("rootfs", "DIR", "Unpacked root file system [default: the host view]"),
    switch("read-only", "Read-only root (the default)").against("writable"),
    flag("writable", "Writable root").against("read-only"),
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
    // Limits.
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
    // Who the job is and what it may do.
    value("user", "UID[:GID]", "User inside [default: 65534:65534]").short('u'),
    many("group-add", "GROUP", "Supplementary group"),
    many("cap-add", "CAP", "Keep a capability"),
    many("cap-drop", "CAP", "Drop a capability (all are, unless added)"),
    many("security-opt", "OPT", "no-new-privileges[:false], seccomp=FILE|unconfined, landlock=off"),
    switch("no-trace-denied", "Do not count the system calls that seccomp denies"),
    value("userns", "auto|host", "User namespace [default: auto]"),
    value("network", "none|host", "Network [default: none]").alias("net"),
    switch("time-ns", "New time namespace"),
    switch("nested-userns", "The job may make namespaces of its own"),
    value("hostname", "NAME", "Host name [default: stockade]").short('h'),
    many("env", "KEY=VALUE", "Environment variable").short('e'),
    many("env-file", "FILE", "Environment variables from a file"),
    // The run.
    switch("init", "A minimal init is PID 1 (the default)").against("no-init"),
    flag("no-init", "The command is PID 1").against("init"),
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
];

fn command() -> Command {
    Command::new("stockade jail")
        .about("Runs a command in a jail and says how it ended.")
        .override_usage("stockade jail [OPTIONS] [--] COMMAND [ARG...]")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .next_line_help(false)
        .args(OPTIONS.iter().map(Opt::arg))
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print this help"))
        .arg(
            Arg::new(REST)
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

/// Reads what was typed after `stockade jail`.
pub(super) fn read(words: &[OsString]) -> std::result::Result<Typed, Box<clap::Error>> {
    Typed::read(OPTIONS, words, command)
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

/// The report part, which is wanted even if the rest makes no sense.
pub(super) fn report(typed: &Typed) -> Report {
    Report {
        result: typed.text("result").map(str::to_owned),
        json: typed.is_on("json"),
        explain: typed.is_on("explain"),
        quiet: typed.is_on("quiet"),
        id: typed.text("id").map(str::to_owned),
        // A label that makes no sense is an error of `jail`.
        labels: typed.texts("label").flat_map(misc::label).collect(),
        audit: typed.text("audit-log").map(str::to_owned),
        command: typed.rest.clone(),
    }
}

/// What was understood of a command line up to its first mistake.
pub(super) fn report_so_far(words: &[OsString]) -> Report {
    report(&Typed::read_so_far(OPTIONS, words, command()))
}

/// The jail: what the policy of `--profile` says, and over it what was typed.
pub(super) fn jail(typed: &Typed) -> Result<Jail> {
    let mut command = words(typed)?;
    let mut settings = Settings::default();
    if let Some(spec) = typed.text("profile") {
        let loaded = profile::load(spec)?;
        loaded.apply(&mut settings, |name| typed.text(name).is_some())?;
        command = loaded.command(command, &mut settings)?;
        settings = settings.then_typed();
    }
    apply(typed, &mut settings)?;
    settings.policy.command = command;
    let mut jail = settings.jail()?;
    for (key, value) in typed.texts("label").map(misc::label).collect::<values::Result<Vec<_>>>()? {
        jail = jail.label(key, value);
    }
    Ok(jail)
}

/// Sets what was typed. Keys of a policy are options too, so their table says which there are.
fn apply(typed: &Typed, settings: &mut Settings) -> Result<()> {
    for key in KEYS.iter().filter(|k| k.option) {
        let name = key.name;
        match (key.form, name) {
            (_, "read-only") => {
                if let Some(on) = typed.on_unless("read-only", "writable") {
                    settings.policy.read_only = on;
                }
            }
            (_, "init") => {
                if let Some(on) = typed.on_unless("init", "no-init") {
                    settings.policy.init = on;
                }
            }
            (Form::Switch, _) => {
                if let Some(on) = typed.switched(name) {
                    settings.set(name, if on { "true" } else { "false" })?;
                }
            }
            _ => {
                for value in typed.texts(name) {
                    settings.set(name, value)?;
                }
            }
        }
    }
    settings.policy.tty = typed.is_on("tty");
    settings.policy.id = typed.text("id").map(str::to_owned);
    Ok(())
}

fn words(typed: &Typed) -> Result<Vec<String>> {
    let words: Vec<String> = typed
        .rest
        .iter()
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
