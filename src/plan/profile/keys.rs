//! The keys of a policy: the one table that the parser, the schema and `policy check` share.

#![forbid(unsafe_code)]

/// What may stand behind a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// A number, or one with a unit.
    Amount,
    /// true or false.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list, or a single value.
    List,
    /// A list of `KEY=value`, or a mapping.
    Pairs,
    /// `threads: true|false`.
    Restrict,
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Another name, of another form of policies.
    pub alias: Option<&'static str>,
    /// What may stand behind it.
    pub form: Form,
    /// Whether it is the command-line option of that name.
    pub option: bool,
    /// One line on it.
    pub about: &'static str,
}

const fn option(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, alias: None, form, option: true, about }
}

const fn own(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, alias: None, form, option: false, about }
}

/// All keys, in the order in which options are applied.
pub const KEYS: &[Key] = &[
    own("description", Form::Text, "What the policy is for"),
    own("image", Form::Text, "Image of a container engine; a jail has none: see rootfs"),
    own("restrict", Form::Restrict, "Computation only, with or without threads"),
    own("require_signature", Form::Text, "minisign public key: the script must be signed by it"),
    own("interpreter", Form::List, "What runs the signed script, and options before it"),
    option("memory", Form::Amount, "Memory, tmpfs included, such as 512m"),
    option("memory-swap", Form::Amount, "Memory and swap together; -1: unlimited"),
    option("cpus", Form::Amount, "CPUs, such as 0.5"),
    option("cpu-shares", Form::Amount, "Relative weight, 1024 is usual"),
    option("cpuset-cpus", Form::Amount, "CPUs allowed, such as 0-3,5"),
    option("pids-limit", Form::Amount, "Processes and threads; -1: unlimited"),
    option("timeout", Form::Amount, "Wall time, such as 60s"),
    option("cpu-time", Form::Amount, "CPU time of all processes together"),
    option("output-limit", Form::Amount, "stdout and stderr, each"),
    option("disk", Form::Amount, "All writable tmpfs together"),
    option("inodes", Form::Amount, "Files on that tmpfs"),
    option("ulimit", Form::List, "Resource limit of each process: NAME=SOFT[:HARD]"),
    option("shm-size", Form::Amount, "/dev/shm, out of disk"),
    option("allow-degraded", Form::Switch, "Run without what this host cannot enforce"),
    option("cgroup-parent", Form::Text, "Make the cgroup below this one"),
    option("rootfs", Form::Text, "Unpacked root file system instead of the host view"),
    Key {
        alias: Some("readonly"),
        ..option("read-only", Form::Switch, "Whether the root is read-only")
    },
    option("no-idmap", Form::Switch, "Volumes and rootfs keep the owners they have on disk"),
    option("workdir", Form::Text, "Working directory"),
    option("tmpfs", Form::List, "Mount a tmpfs: DIR[:OPTIONS]"),
    option("volume", Form::List, "Give a file or directory of the host: SRC:DST[:ro]"),
    option("mount", Form::List, "The same in Docker's long form: type=bind|tmpfs,..."),
    option("cap-add", Form::List, "Keep a capability"),
    option("cap-drop", Form::List, "Drop a capability"),
    option(
        "security-opt",
        Form::List,
        "no-new-privileges[:false], seccomp=FILE|unconfined, landlock=off",
    ),
    option("no-trace-denied", Form::Switch, "Do not count the system calls that seccomp denies"),
    option("userns", Form::Choice(&["auto", "host"]), "User namespace"),
    option(
        "network",
        Form::Choice(&["none", "host", "bridge"]),
        "Network; bridge, of other engines, is refused at run time unless --network overrides it",
    ),
    option("time-ns", Form::Switch, "New time namespace"),
    option("nested-userns", Form::Switch, "The job may make namespaces of its own"),
    option("hostname", Form::Text, "Host name"),
    option("env-file", Form::List, "Environment variables from a file"),
    option("env", Form::Pairs, "Environment variables"),
    option("init", Form::Switch, "Whether a minimal init is PID 1"),
    option("stop-signal", Form::Amount, "Sent at a time limit, before SIGKILL"),
    option("stop-timeout", Form::Amount, "How long before SIGKILL follows it"),
    option("user", Form::Amount, "User inside: UID[:GID]"),
    option("group-add", Form::List, "Supplementary group"),
];

/// The key of this name or alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name || k.alias == Some(name))
}

/// Options that are no keys and what to write instead.
const INSTEAD: &[(&str, &str)] = &[
    ("writable", "write read-only: false"),
    ("no-init", "write init: false"),
    ("net", "write network: none or network: host"),
    ("volumes", "write volume, with a list"),
    ("environment", "write env, with a list or a mapping"),
    ("cpu_quota", "write cpus: 50000 of it are cpus: 0.5"),
    (
        "command",
        "the command is given when the policy is used: stockade jail --profile FILE -- ...",
    ),
    ("entrypoint", "the command is given when the policy is used, with --rootfs its full path"),
    ("caps", "write cap-add or cap-drop, with a list"),
    ("capabilities", "write cap-add or cap-drop, with a list"),
    ("privileged", "write cap-add, with a list of what is needed"),
    ("seccomp", "write security-opt: seccomp=FILE, or seccomp=unconfined"),
    ("landlock", "write security-opt: landlock=auto, landlock=required or landlock=off"),
    ("no-new-privileges", "write security-opt: no-new-privileges:true"),
    ("threads", "write it, indented, below restrict"),
    ("memswap-limit", "write memory-swap: memory and swap together"),
    ("working-dir", "write workdir"),
    ("processes", "write pids-limit"),
    ("id", "a name is one run's: give --id on the command line"),
    ("tty", "a terminal is one run's: give -t on the command line"),
    ("policies", "a policy has none of its own: they all stand side by side at the top"),
    ("label", "labels are one run's: give --label on the command line"),
    ("result", "results are one run's: give --result on the command line"),
];

/// What to say of a key that is none.
#[must_use]
pub fn hint(unknown: &str) -> String {
    let plain = plain(unknown);
    if let Some((_, instead)) = INSTEAD.iter().find(|(name, _)| self::plain(name) == plain) {
        return (*instead).to_owned();
    }
    let names = || KEYS.iter().map(|k| k.name).chain(["policies"]);
    match crate::plan::values::nearest(unknown, names()).or_else(|| related(&plain, names())) {
        Some(near) => format!("did you mean {near}?"),
        None => "keys are the options of stockade jail without --: stockade policy schema lists \
                 them"
            .to_owned(),
    }
}

/// `memoryLimit` and `memory_limit` as `memory-limit`.
fn plain(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars().take(64) {
        if c.is_ascii_uppercase() && out.ends_with(|before: char| before.is_ascii_lowercase()) {
            out.push('-');
        }
        out.push(if "_. ".contains(c) { '-' } else { c.to_ascii_lowercase() });
    }
    out
}

/// The key of which the name has all the words (`max_memory`); or one that begins with the name
/// (`mem`), ends with it (`signature`), or begins with one of its words (`mem_limit`).
fn related<'a>(unknown: &str, keys: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let within = format!("-{unknown}-");
    let has = |key: &&str| within.contains(&format!("-{}-", plain(key)));
    // The longest: memory-swap and not memory. Below, the shortest: memory and not memory-swap.
    if let Some(key) = keys.clone().filter(has).max_by_key(|key| key.len()) {
        return Some(key);
    }
    let shortest = |of: &dyn Fn(&str) -> bool| {
        keys.clone().filter(|key| of(&plain(key))).min_by_key(|key| key.len())
    };
    // Shorter ones begin too much, as `no` or `in` would.
    let long = |word: &&str| word.len() >= 3;
    let word = || unknown.split('-').filter(long);
    shortest(&|key| long(&unknown) && key.starts_with(unknown))
        .or_else(|| shortest(&|key| long(&unknown) && key.ends_with(&format!("-{unknown}"))))
        .or_else(|| word().find_map(|word| shortest(&|key| key.starts_with(word))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h43_an_unknown_key_has_its_nearest() {
        assert_eq!(hint("memroy"), "did you mean memory?");
        assert_eq!(hint("memory_swap"), "did you mean memory-swap?");
        assert_eq!(hint("require-signature"), "did you mean require_signature?");
        assert_eq!(hint("polices"), "did you mean policies?");
        assert!(hint("policies").starts_with("a policy has none of its own"));
        assert_eq!(hint("writable"), "write read-only: false");
        for (unknown, near) in [
            ("mem", "memory"),
            ("memory_limit", "memory"),
            ("memoryLimit", "memory"),
            ("max_memory", "memory"),
            ("mem_limit", "memory"),
            ("memory_swap_limit", "memory-swap"),
            ("pids", "pids-limit"),
            ("max_pids", "pids-limit"),
            ("tmp", "tmpfs"),
            ("signature", "require_signature"),
            ("network_mode", "network"),
            ("user_id", "user"),
            ("time", "timeout"),
            ("cpu_limit", "cpus"),
            ("env_vars", "env"),
        ] {
            assert_eq!(hint(unknown), format!("did you mean {near}?"), "{unknown}");
        }
        for (unknown, instead) in [
            ("caps", "cap-add or cap-drop"),
            ("seccomp", "security-opt: seccomp=FILE"),
            ("landlock", "security-opt: landlock="),
            ("no_new_privileges", "security-opt: no-new-privileges"),
        ] {
            assert!(hint(unknown).contains(instead), "{unknown}: {}", hint(unknown));
        }
        for none in ["no", "x", "-", ""] {
            assert!(hint(none).contains("policy schema"), "{none}: {}", hint(none));
        }
        assert!(hint("zzzzzz").contains("policy schema"));
        for (name, _) in INSTEAD {
            assert!(find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn each_name_is_there_once() {
        let mut names: Vec<_> =
            KEYS.iter().flat_map(|k| [Some(k.name), k.alias]).flatten().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
