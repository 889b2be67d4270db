//! What may be typed after `stockade jail`, and the jail that it means. Names and values are
//! Docker's wherever Docker has one.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::jail::Jail;
use crate::plan::policy::{Network, Policy, SeccompChoice, Swap, Tmpfs, Volume};
use crate::plan::rlimits::Rlimit;
use crate::plan::values::duration::Zero;
use crate::plan::values::misc::SecurityOpt;
use crate::plan::values::mount::{Bind, Mount, Recursive};
use crate::plan::values::size::{MemorySwap, PidsLimit};
use crate::plan::values::{self, duration, misc, mount, quote, size, user};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::{Path, PathBuf};

fn value(name: &'static str, metavar: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(metavar).help(help).allow_hyphen_values(true)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// A flag that Docker has too, and with it the forms `--rm=true` and `--rm=false`.
fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_parser(clap::value_parser!(bool))
        .value_name("BOOL")
        .hide_default_value(true)
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
                .value_parser(clap::value_parser!(std::ffi::OsString))
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
        flag("no-idmap", "Volumes and rootfs keep the owners they have on disk"),
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
        flag("allow-degraded", "Run without what this host cannot enforce, and say so"),
        value("cgroup-parent", "PATH", "Make the cgroup below this one"),
    ]
}

fn identity() -> Vec<Arg> {
    vec![
        value("user", "UID[:GID]", "User inside [default: 65534:65534]").short('u'),
        many("group-add", "GROUP", "Supplementary group"),
        many("cap-add", "CAP", "Keep a capability"),
        many("cap-drop", "CAP", "Drop a capability (all are, unless added)"),
        many("security-opt", "OPT", "no-new-privileges[:false], seccomp=FILE|unconfined"),
        value("userns", "auto|host", "User namespace [default: auto]"),
        value("network", "none|host", "Network [default: none]").alias("net"),
        flag("time-ns", "New time namespace"),
        flag("nested-userns", "The job may make namespaces of its own"),
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
        flag("json", "Print the outcome on stdout, the job's output inside it"),
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
    pub(super) id: Option<String>,
    pub(super) labels: Vec<(String, String)>,
}

fn text<'m>(m: &'m ArgMatches, name: &str) -> Option<&'m str> {
    m.get_one::<String>(name).map(String::as_str)
}

fn texts<'m>(m: &'m ArgMatches, name: &str) -> Vec<&'m str> {
    m.get_many::<String>(name).into_iter().flatten().map(String::as_str).collect()
}

fn invalid(message: String, hint: &str) -> Error {
    Error::new(Kind::InvalidConfig, message).hint(hint)
}

/// Of two options that contradict each other clap keeps the last; the first one is the default.
fn on_unless(m: &ArgMatches, on: &str, off: &str) -> bool {
    match m.value_source(on) {
        Some(ValueSource::CommandLine) => m.get_flag(on),
        _ => !m.get_flag(off),
    }
}

/// The report part, which is wanted even if the rest makes no sense.
pub(super) fn report(m: &ArgMatches) -> Result<Report> {
    let labels =
        texts(m, "label").into_iter().map(misc::label).collect::<values::Result<Vec<_>>>()?;
    Ok(Report {
        result: text(m, "result").map(str::to_owned),
        json: m.get_flag("json"),
        explain: m.get_flag("explain"),
        id: text(m, "id").map(str::to_owned),
        labels,
    })
}

/// The jail.
pub(super) fn jail(m: &ArgMatches) -> Result<Jail> {
    let mut p = Policy { command: words(m)?, ..Policy::default() };
    apply_limits(m, &mut p)?;
    apply_files(m, &mut p)?;
    apply_identity(m, &mut p)?;
    p.init = on_unless(m, "init", "no-init");
    p.tty = m.get_flag("tty");
    p.allow_degraded = m.get_flag("allow-degraded");
    p.id = text(m, "id").map(str::to_owned);
    if let Some(signal) = text(m, "stop-signal") {
        p.stop_signal = Some(misc::signal(signal)?);
    }
    if let Some(time) = text(m, "stop-timeout") {
        if p.stop_signal.is_none() {
            return Err(invalid(
                "--stop-timeout without --stop-signal".to_owned(),
                "at a time limit SIGKILL is sent at once unless a stop signal is given",
            ));
        }
        p.stop_timeout = duration::duration("stop timeout", time, Zero::Allowed)?;
    }
    let mut jail = Jail::from_policy(p);
    if let Some(user) = text(m, "user") {
        jail = jail.user_named(user)?;
    }
    jail = jail.groups_named(user::group_add(&texts(m, "group-add"))?);
    for (key, value) in report(m)?.labels {
        jail = jail.label(key, value);
    }
    Ok(jail)
}

fn words(m: &ArgMatches) -> Result<Vec<String>> {
    let words: Vec<String> = m
        .get_many::<std::ffi::OsString>("command")
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

/// A limit for which 0 means, as in Docker, that there is none.
fn unless_zero(n: u64) -> Option<u64> {
    (n != 0).then_some(n)
}

fn apply_limits(m: &ArgMatches, p: &mut Policy) -> Result<()> {
    if let Some(v) = text(m, "memory") {
        p.memory = unless_zero(size::bytes("memory limit", v)?);
    }
    if let Some(v) = text(m, "memory-swap") {
        p.swap = match size::memory_swap(v)? {
            MemorySwap::Unlimited => Swap::Unlimited,
            MemorySwap::Bytes(n) => Swap::Total(n),
        };
    }
    if let Some(v) = text(m, "cpus") {
        p.cpu_quota_us = Some(duration::cpus(v)?);
    }
    if let Some(v) = text(m, "cpu-shares") {
        p.cpu_shares = Some(duration::cpu_shares(v)?);
    }
    if let Some(v) = text(m, "cpuset-cpus") {
        p.cpuset = Some(duration::cpuset("CPU list", v)?.to_string());
    }
    if let Some(v) = text(m, "pids-limit") {
        p.pids = match size::pids_limit(v)? {
            PidsLimit::Unlimited => None,
            PidsLimit::Max(n) => Some(u64::from(n)),
        };
    }
    if let Some(v) = text(m, "timeout") {
        p.timeout = Some(duration::duration("timeout", v, Zero::Refused)?);
    }
    if let Some(v) = text(m, "cpu-time") {
        p.cpu_time = Some(duration::duration("CPU time limit", v, Zero::Refused)?);
    }
    if let Some(v) = text(m, "output-limit") {
        p.output_limit = unless_zero(size::bytes("output limit", v)?);
    }
    if let Some(v) = text(m, "disk") {
        p.disk = size::bytes("disk limit", v)?;
        if p.disk < 1 << 20 {
            return Err(invalid(
                format!("a disk limit of {} is too little for the jail's own files", quote(v)),
                "give at least 1m",
            ));
        }
    }
    if let Some(v) = text(m, "inodes") {
        let n = v.parse().ok().filter(|n: &u64| *n >= 64);
        p.inodes = Some(n.ok_or_else(|| {
            invalid(
                format!("invalid number of inodes {}", quote(v)),
                "give a number of at least 64: the jail's own files count",
            )
        })?);
    }
    for v in texts(m, "ulimit") {
        let u = size::ulimit(v)?;
        p.ulimits.push(Rlimit { resource: u.resource.number(), soft: u.soft, hard: u.hard });
    }
    if let Some(v) = text(m, "shm-size") {
        let bytes = size::bytes("size of /dev/shm", v)?;
        if bytes == 0 {
            return Err(invalid("a /dev/shm of 0 bytes".to_owned(), "give a size, such as 64m"));
        }
        p.shm_size = Some(bytes);
    }
    p.cgroup_parent = text(m, "cgroup-parent").map(str::to_owned);
    Ok(())
}

fn apply_files(m: &ArgMatches, p: &mut Policy) -> Result<()> {
    p.rootfs = text(m, "rootfs").map(PathBuf::from);
    p.read_only = on_unless(m, "read-only", "writable");
    p.no_idmap = m.get_flag("no-idmap");
    p.workdir = text(m, "workdir").map(str::to_owned);
    for v in texts(m, "tmpfs") {
        p.tmpfs.push(tmpfs(mount::tmpfs(v)?)?);
    }
    for v in texts(m, "volume") {
        p.volumes.push(volume(mount::volume(v)?)?);
    }
    for v in texts(m, "mount") {
        match mount::mount(v)? {
            Mount::Bind(bind) => p.volumes.push(volume(bind)?),
            Mount::Tmpfs(t) => p.tmpfs.push(tmpfs(t)?),
        }
    }
    Ok(())
}

fn tmpfs(t: mount::Tmpfs) -> Result<Tmpfs> {
    if t.uid.is_some() || t.gid.is_some() {
        return Err(invalid(
            format!("uid= and gid= of the tmpfs {} are not supported", quote(&t.dest)),
            "give it a mode, such as mode=1777: then everybody may write to it",
        ));
    }
    Ok(Tmpfs {
        target: t.dest.into(),
        size: t.size,
        inodes: t.inodes,
        mode: t.mode.unwrap_or(0o1777),
        exec: t.exec.unwrap_or(false),
        read_only: t.read_only,
    })
}

fn volume(b: Bind) -> Result<Volume> {
    if b.recursive != Recursive::Enabled {
        return Err(invalid(
            format!("the volume {} asks for another recursion than the usual one", quote(&b.dest)),
            "leave bind-recursive out: submounts are given too, and read-only with the volume",
        ));
    }
    Ok(Volume {
        source: b.source.into(),
        target: b.dest.into(),
        read_only: b.read_only,
        idmap: b.idmap,
    })
}

fn apply_identity(m: &ArgMatches, p: &mut Policy) -> Result<()> {
    p.cap_add = texts(m, "cap-add").into_iter().map(str::to_owned).collect();
    p.cap_drop = texts(m, "cap-drop").into_iter().map(str::to_owned).collect();
    for v in texts(m, "security-opt") {
        match misc::security_opt(v)? {
            SecurityOpt::NoNewPrivileges(on) => p.no_new_privs = on,
            SecurityOpt::SeccompUnconfined => p.seccomp = SeccompChoice::Unconfined,
            SecurityOpt::SeccompBuiltin => p.seccomp = SeccompChoice::Default,
            SecurityOpt::SeccompFile(file) => {
                let json = crate::host::probe::read_bounded(Path::new(&file)).map_err(|e| {
                    Error::os(format!("read the seccomp profile {}", quote(&file)), e)
                })?;
                p.seccomp = SeccompChoice::Profile(file, json);
            }
        }
    }
    if let Some(v) = text(m, "userns") {
        p.userns = match v {
            "auto" => true,
            "host" => false,
            _ => return Err(one_of("user namespace", v, "auto or host")),
        };
    }
    if let Some(v) = text(m, "network") {
        p.network = match v {
            "none" => Network::None,
            "host" => Network::Host,
            _ => return Err(one_of("network", v, "none or host")),
        };
    }
    p.time_ns = m.get_flag("time-ns");
    p.nested_userns = m.get_flag("nested-userns");
    p.hostname = text(m, "hostname").map(str::to_owned);
    for file in texts(m, "env-file") {
        let data = crate::host::probe::read_bounded(Path::new(file))
            .map_err(|e| Error::os(format!("read the environment file {}", quote(file)), e))?;
        for (key, value) in misc::env_file(&data)? {
            p.env.push(format!("{key}={value}"));
        }
    }
    for v in texts(m, "env") {
        let (key, value) = misc::env(v)?;
        p.env.push(format!("{key}={value}"));
    }
    Ok(())
}

fn one_of(what: &str, value: &str, choices: &str) -> Error {
    invalid(format!("invalid {what} {}", quote(value)), &format!("give {choices}"))
}
