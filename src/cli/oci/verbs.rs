//! The verbs and their options: one table, from which they are read and explained.

#![forbid(unsafe_code)]

use super::args::{Opt, Order, flag, value};

/// A verb.
#[derive(Debug)]
pub(super) struct Verb {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// What follows the options.
    pub(super) words: &'static str,
    /// Least and most words.
    pub(super) count: (usize, usize),
    pub(super) order: Order,
    pub(super) options: &'static [Opt],
    pub(super) more: &'static str,
}

/// Options before the verb.
pub(super) const GLOBAL: &[Opt] = &[
    flag("debug", "log what is being done"),
    value("log", "file that errors are appended to (default: standard error)"),
    value("log-format", "'text' or 'json' (default: \"text\")"),
    value("root", "directory of the containers' state, which should be on a tmpfs"),
    value("criu", "ignored: runc has not had it since 1.1 either"),
    flag("systemd-cgroup", "let systemd make the cgroups; the same as --cgroup-manager systemd"),
    value(
        "cgroup-manager",
        "who makes the cgroups: cgroupfs, systemd or disabled (default: \"cgroupfs\")",
    ),
    value(
        "rootless",
        "go on without the cgroups that may not be made: true, false or auto (default: \"auto\")",
    ),
    flag("version", "print the version").short(b'v'),
];

const BUNDLE: Opt =
    value("bundle", "directory with config.json and the rootfs (default: the current one)")
        .short(b'b');
const CONFIG: Opt =
    value("config", "configuration file (default: config.json of the bundle)").short(b'f');
const CONSOLE: Opt = value("console-socket", "unix socket to which the terminal's master is sent");
const PIDFD: Opt = value("pidfd-socket", "unix socket to which a pidfd of the process is sent");
const PID_FILE: Opt = value("pid-file", "file that the process id is written to");
const NO_PIVOT: Opt =
    flag("no-pivot", "change the root without pivot_root, for a rootfs on a ramdisk");
const NO_KEYRING: Opt = flag("no-new-keyring", "stay in the caller's session keyring");
const PRESERVE: Opt =
    value("preserve-fds", "pass N more descriptors, after those of LISTEN_FDS (default: 0)");
const DETACH: Opt = flag("detach", "do not wait for the process").short(b'd');
const SUBREAPER: Opt =
    flag("no-subreaper", "do not adopt the processes that the container leaves behind");
const IMAGES: Opt = value("image-path", "directory of the images (default: \"checkpoint\")");
const WORK: Opt = value("work-path", "directory of criu's logs (default: that of the images)");
const TCP: Opt = flag("tcp-established", "save and restore established TCP connections");
const UNIX: Opt = flag("ext-unix-sk", "save and restore unix sockets with an end outside");
const SHELL: Opt = flag("shell-job", "save and restore jobs of a shell outside");
const LOCKS: Opt = flag("file-locks", "save and restore file locks");
const CGROUPS: Opt =
    value("manage-cgroups-mode", "soft, full, strict or ignore (default: criu's own, soft)");
const EMPTY: Opt =
    value("empty-ns", "network: its interfaces are not restored, which is always so");
const DEDUP: Opt =
    flag("auto-dedup", "punch pages out of older images once they are in newer ones");
const FORMAT: Opt = value("format", "'table' or 'json' (default: \"table\")").short(b'f');

const ID: &str = "<container-id>";

const fn verb(name: &'static str, about: &'static str) -> Verb {
    Verb { name, about, words: ID, count: (1, 1), order: Order::Mixed, options: &[], more: "" }
}

/// All of them, in the order of the help.
pub(super) const VERBS: &[Verb] = &[
    Verb {
        options: &[
            IMAGES,
            WORK,
            value("parent-path", "earlier images of --pre-dump, from the image directory"),
            flag("leave-running", "let the container run on"),
            TCP,
            flag("tcp-skip-in-flight", "leave out TCP connections that are not accepted yet"),
            flag("link-remap", "give files that were deleted while open a name again"),
            UNIX,
            SHELL,
            flag("lazy-pages", "hand the memory over while the restored container runs"),
            value(
                "status-fd",
                "descriptor that a zero byte is written to once --lazy-pages is ready",
            ),
            value("page-server", "ADDRESS:PORT of the page server"),
            LOCKS,
            flag("pre-dump", "save the memory alone and let the container run on"),
            CGROUPS,
            EMPTY,
            DEDUP,
        ],
        more: "Saves the container's processes to files by criu, and removes it then.",
        ..verb("checkpoint", "save a running container")
    },
    Verb {
        options: &[BUNDLE, CONFIG, CONSOLE, PIDFD, PID_FILE, NO_PIVOT, NO_KEYRING, PRESERVE],
        more: "Makes the container and everything of it but its process, which 'start' lets run.",
        ..verb("create", "create a container")
    },
    Verb {
        options: &[
            flag("force", "kill what still runs; a container that is not there is no error")
                .short(b'f'),
            flag("regex", "delete every container whose id matches this regular expression")
                .short(b'r'),
        ],
        more: "Removes what a stopped container leaves: its state, its cgroups.",
        ..verb("delete", "remove a container")
    },
    Verb {
        options: &[
            value("interval", "time between two reports (default: 5s)"),
            flag("stats", "print the container's figures once"),
        ],
        more: "Prints a line of JSON at every interval, and one whenever the kernel kills for memory.",
        ..verb("events", "print a container's figures and out-of-memory events")
    },
    Verb {
        words: "<container-id> <command> [arguments...] || -p process.json <container-id>",
        count: (1, usize::MAX),
        order: Order::UntilCommand,
        options: &[
            CONSOLE,
            PIDFD,
            value("cwd", "working directory in the container"),
            value("env", "environment variable, NAME=value").short(b'e'),
            flag("tty", "give the process a terminal").short(b't'),
            value("user", "user and group in the container, by number or name: user[:group]")
                .short(b'u'),
            value("additional-gids", "supplementary group id").short(b'g'),
            value("process", "file with the process as JSON").short(b'p'),
            DETACH,
            PID_FILE,
            value("process-label", "SELinux label of the process"),
            value("apparmor", "AppArmor profile of the process"),
            flag("no-new-privs", "never gain rights by execve"),
            value("cap", "add a capability").short(b'c'),
            PRESERVE,
            value("cgroup", "run in this existing cgroup below the container's: [controller:]path"),
            flag("ignore-paused", "start the process in a paused container too"),
            value("console-size", "size of the new terminal: COLUMNSxROWS"),
        ],
        more: "Everything that the options do not say is as in the container's configuration.",
        ..verb("exec", "run a further process in a container")
    },
    Verb {
        words: "<container-id> [signal]",
        count: (1, 2),
        options: &[flag("all", "signal every process of the container; a stopped one is no error")
            .short(b'a')],
        more: "The signal is a name, with or without SIG, or a number (default: SIGTERM).",
        ..verb("kill", "send a signal to a container's init process")
    },
    Verb {
        words: "",
        count: (0, 0),
        options: &[FORMAT, flag("quiet", "print the ids alone").short(b'q')],
        ..verb("list", "list the containers of a root")
    },
    Verb {
        words: "add|remove <container-id> <file>",
        count: (3, 3),
        more: "The file has a JSON list of mounts as config.json has them. Those of the configuration stay.",
        ..verb("mounts", "make mounts in a running container, or take them away")
    },
    Verb { more: "Freezes every process of the container.", ..verb("pause", "pause a container") },
    Verb {
        words: "<container-id> [ps options]",
        count: (1, usize::MAX),
        order: Order::UntilForeign,
        options: &[FORMAT],
        more: "The options after the id are those of ps(1) (default: -ef).",
        ..verb("ps", "list the processes of a container")
    },
    Verb {
        options: &[
            CONSOLE,
            IMAGES,
            WORK,
            TCP,
            UNIX,
            SHELL,
            LOCKS,
            CGROUPS,
            BUNDLE,
            DETACH,
            PID_FILE,
            SUBREAPER,
            NO_PIVOT,
            EMPTY,
            DEDUP,
            flag("lazy-pages", "fetch the memory while the container runs"),
            value("lsm-profile", "security label of the processes, TYPE:NAME"),
            value("lsm-mount-context", "SELinux context of the mounts"),
        ],
        more: "Makes a container of what 'checkpoint' has saved; its processes go on where they were.",
        ..verb("restore", "restore a container")
    },
    Verb { more: "Lets a paused container run on.", ..verb("resume", "resume a paused container") },
    Verb {
        options: &[
            BUNDLE,
            CONFIG,
            CONSOLE,
            PIDFD,
            DETACH,
            flag("keep", "leave the stopped container to be looked at"),
            PID_FILE,
            SUBREAPER,
            NO_PIVOT,
            NO_KEYRING,
            PRESERVE,
        ],
        more: "Does what 'create' and 'start' do, waits, and exits with the process's status.",
        ..verb("run", "create and start a container")
    },
    Verb {
        words: "",
        count: (0, 0),
        options: &[BUNDLE, flag("rootless", "one that an ordinary user can run")],
        more: "Writes a config.json to begin with. A file that is there already is left alone.",
        ..verb("spec", "write a configuration to begin with")
    },
    Verb { ..verb("start", "let a created container's process run") },
    Verb { more: "Prints the state as JSON.", ..verb("state", "print a container's state") },
    Verb {
        options: &[
            value(
                "resources",
                "file with the resources as JSON, as in the configuration; '-': standard input",
            )
            .short(b'r'),
            value("blkio-weight", "weight of block I/O, 10 to 1000"),
            value("cpu-period", "period that --cpu-quota counts in, microseconds"),
            value("cpu-quota", "CPU time in a period, microseconds; -1: unlimited"),
            value("cpu-burst", "unused CPU time that may be saved up, microseconds"),
            value("cpu-share", "weight of CPU time; 1024 is usual"),
            value("cpu-rt-period", "period that --cpu-rt-runtime counts in, microseconds"),
            value("cpu-rt-runtime", "real-time CPU time in a period, microseconds"),
            value("cpuset-cpus", "CPUs, such as 0-3,5"),
            value("cpuset-mems", "memory nodes, such as 0,1"),
            value("cpu-idle", "1: run only when nobody else would"),
            value("memory", "memory, such as 512m; -1: unlimited"),
            value("memory-reservation", "soft limit of memory"),
            value("memory-swap", "memory and swap together; -1: unlimited"),
            value("kernel-memory", "obsolete: kernels ignore it"),
            value("kernel-memory-tcp", "obsolete: kernels ignore it"),
            value("pids-limit", "number of processes and threads"),
            value("l3-cache-schema", "Intel RDT L3 cache schema"),
            value("mem-bw-schema", "Intel RDT memory bandwidth schema"),
        ],
        more: "With --resources no other option counts.",
        ..verb("update", "change a container's limits")
    },
    Verb {
        words: "",
        count: (0, 0),
        more: "Prints what this runtime knows, as JSON: features.md of the runtime specification.",
        ..verb("features", "print what this runtime supports")
    },
];

/// The verb of that name.
pub(super) fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|v| v.name == name)
}

/// The help of a verb, in the form of runc's.
pub(super) fn help(program: &str, verb: &Verb) -> String {
    let brackets = if verb.options.is_empty() { "" } else { "[command options] " };
    let crun = if program == "crun" { crun_usage(verb) } else { String::new() };
    let mut out = format!(
        "{crun}NAME:\n   {program} {name} - {about}\n\nUSAGE:\n   {program} {name} {brackets}{words}\n",
        name = verb.name,
        about = verb.about,
        words = verb.words,
    );
    if !verb.more.is_empty() {
        out.push_str(&format!("\nDESCRIPTION:\n   {}\n", verb.more));
    }
    out.push_str("\nOPTIONS:\n");
    out.push_str(&options(verb.options));
    out
}

/// The line that crun's help begins with.
fn crun_usage(verb: &Verb) -> String {
    let words = match verb.name {
        "exec" => " CONTAINER cmd",
        "kill" => " CONTAINER [SIGNAL]",
        "mounts" => " [add|remove] CONTAINER FILE",
        _ if verb.words.is_empty() => "",
        _ => " CONTAINER",
    };
    format!("Usage: crun [OPTION...] {}{words}\n\n", verb.name)
}

/// The help of the whole.
pub(super) fn help_all(program: &str, root: &str) -> String {
    let mut out = format!(
        "NAME:\n   {program} - Open Container Initiative runtime\n\n\
         USAGE:\n   {program} [global options] command [command options] [arguments...]\n\n\
         COMMANDS:\n"
    );
    for verb in VERBS {
        out.push_str(&format!("   {:<11} {}\n", verb.name, verb.about));
    }
    out.push_str("   help, h     print this help, or that of a command\n\nGLOBAL OPTIONS:\n");
    out.push_str(&options(GLOBAL));
    out.push_str(&format!("\nThe default root is {root}.\n"));
    out
}

fn options(table: &[Opt]) -> String {
    let left = |o: &Opt| {
        let value = o.value.map(|v| format!(" {v}")).unwrap_or_default();
        let short = o.short.map(|s| format!(", -{}{value}", char::from(s))).unwrap_or_default();
        format!("--{}{value}{short}", o.long)
    };
    let help = "--help, -h";
    let width = table.iter().map(|o| left(o).len()).max().unwrap_or(0).max(help.len());
    let mut out = String::new();
    for o in table {
        out.push_str(format!("   {:<width$}  {}", left(o), o.help).trim_end());
        out.push('\n');
    }
    out.push_str(&format!("   {help:<width$}  print help\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_options_of_a_verb_share_a_name_or_letter() {
        for (name, table) in VERBS.iter().map(|v| (v.name, v.options)).chain([("global", GLOBAL)]) {
            for (i, a) in table.iter().enumerate() {
                for b in table.iter().skip(i + 1) {
                    assert_ne!(a.long, b.long, "{name}");
                    assert!(a.short.is_none() || a.short != b.short, "{name}: {a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn help_lists_every_option() {
        let exec = help("runc", find("exec").unwrap());
        assert!(exec.starts_with("NAME:\n   runc exec - "));
        assert!(exec.contains("   --env value, -e value "));
        assert!(exec.contains("   --tty, -t "));
    }
}
