//! The rest of a command line: env, env-file, label, signal, capability and security-opt.
//!
//! Nothing here reads the host's environment (T38) or opens a file: an env-file arrives as bytes,
//! a seccomp profile stays a path.
#![forbid(unsafe_code)]

use super::{Result, ValueError, digits, nearest, quote};

/// An environment variable or a label: name and value.
pub type Pair = (String, String);

const ENV_HINT: &str = "write NAME=value; the host's environment is never read";

/// `--env NAME=value`.
///
/// Docker copies a bare `NAME` from the caller's environment; here that is an error (T38).
pub fn env(value: &str) -> Result<Pair> {
    env_entry("environment variable", value)
}

/// Errors repeat only the name: values are often secrets.
fn env_entry(what: &str, entry: &str) -> Result<Pair> {
    let Some((name, value)) = entry.split_once('=') else {
        return Err(ValueError::new(what, entry, "it has no \"=\"").hint(ENV_HINT));
    };
    let bad = |why: &str| Err(ValueError::new(what, name, why));
    if name.is_empty() {
        return bad("its name is empty");
    }
    if name.contains(char::is_control) {
        return bad("its name holds a control character");
    }
    if value.contains('\0') {
        return bad("its value holds a NUL");
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// The contents of an `--env-file`, by Docker's rules: one `NAME=value` per line, no quoting;
/// blank lines and lines that start with `#` are skipped, blanks before a name too. What follows
/// the `=` is taken as it is. The order is kept: the last of two equal names wins later.
pub fn env_file(contents: &[u8]) -> Result<Vec<Pair>> {
    let contents = contents.strip_prefix(b"\xef\xbb\xbf").unwrap_or(contents);
    let mut pairs = Vec::new();
    for (index, line) in contents.split(|b| *b == b'\n').enumerate() {
        let what = format!("line {} of the env-file", index + 1);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(text) = std::str::from_utf8(line) else {
            let name = line.split(|b| *b == b'=').next().unwrap_or_default();
            return Err(ValueError::from_bytes(what, name, "the line is not UTF-8"));
        };
        let text = text.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (name, value) = env_entry(&what, text)?;
        if name.contains(char::is_whitespace) {
            return Err(ValueError::new(what, &name, "its name holds a blank"));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// `--label key[=value]`; without a value it is empty, as in Docker.
pub fn label(value: &str) -> Result<Pair> {
    let (key, text) = value.split_once('=').unwrap_or((value, ""));
    let bad = |why: &str| Err(ValueError::new("label", value, why).hint("write key=value"));
    if key.is_empty() {
        return bad("its key is empty");
    }
    if value.contains('\0') || key.contains(char::is_control) {
        return bad("it holds a NUL, or a control character in its key");
    }
    Ok((key.to_owned(), text.to_owned()))
}

/// Signal names; the index plus one is the number on x86, Arm and RISC-V.
pub const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Second names of some signals.
const SIGNAL_ALIASES: [(&str, &str); 3] = [("IOT", "ABRT"), ("CLD", "CHLD"), ("POLL", "IO")];

/// The first real-time signal that the C library leaves to programs.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// A signal as `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `RTMAX-1`, in any case: its number.
pub fn signal(value: &str) -> Result<i32> {
    let bad = |why: &str| ValueError::new("signal", value, why);
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return match digits(value).and_then(|number| i32::try_from(number).ok()) {
            Some(number @ 1..=RTMAX) => Ok(number),
            _ => Err(bad("a signal's number is from 1 to 64")),
        };
    }
    let upper = value.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let name =
        SIGNAL_ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    if let Some((number, _)) = (1..).zip(SIGNALS).find(|(_, known)| *known == name) {
        return Ok(number);
    }
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        _ => text.strip_prefix(sign).and_then(digits).and_then(|n| i32::try_from(n).ok()),
    };
    let realtime = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').and_then(|offset| RTMIN.checked_add(offset))
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-').and_then(|offset| RTMAX.checked_sub(offset))
    } else {
        return Err(bad("unknown signal").suggest(name, &SIGNALS));
    };
    realtime
        .filter(|number| (RTMIN..=RTMAX).contains(number))
        .ok_or_else(|| bad("real-time signals are RTMIN to RTMIN+30, and RTMAX-30 to RTMAX"))
}

/// The names of all capabilities; the index is the kernel's number (Linux 5.9 and newer).
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// One `--cap-add` or `--cap-drop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// `ALL`
    All,
    /// The index into [`CAPABILITIES`], which is the kernel's number.
    One(u8),
}

/// A capability as `NET_ADMIN`, `CAP_NET_ADMIN` or `ALL`, in any case.
pub fn capability(value: &str) -> Result<Capability> {
    let upper = value.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(Capability::All);
    }
    let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    for (number, known) in (0..).zip(CAPABILITIES) {
        if known == name {
            return Ok(Capability::One(number));
        }
    }
    let error = ValueError::new("capability", value, "unknown name");
    Err(match nearest(&name, CAPABILITIES) {
        Some(found) => error.hint(format!("did you mean \"{found}\"?")),
        None => error.hint("use ALL or a name of capabilities(7), such as NET_BIND_SERVICE"),
    })
}

/// One `--security-opt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurityOpt {
    /// `no-new-privileges`, or with a value of true or false.
    NoNewPrivileges(bool),
    /// `seccomp=unconfined`: no filter.
    SeccompUnconfined,
    /// `seccomp=builtin`: the default filter.
    SeccompBuiltin,
    /// `seccomp=FILE`: a profile, by its path as typed.
    SeccompFile(String),
    /// `landlock=auto`: as far as the kernel has it.
    LandlockAuto,
    /// `landlock=required`: in full or not at all.
    LandlockRequired,
    /// `landlock=off`.
    LandlockOff,
}

/// `--security-opt name[=value]`; Docker's older `name:value` works too.
pub fn security_opt(value: &str) -> Result<SecurityOpt> {
    let bad = |why: String| ValueError::new("security option", value, why);
    let (name, argument) = match value.split_once('=').or_else(|| value.split_once(':')) {
        Some((name, argument)) => (name, Some(argument)),
        None => (value, None),
    };
    match (name, argument) {
        ("no-new-privileges", None | Some("true")) => Ok(SecurityOpt::NoNewPrivileges(true)),
        ("no-new-privileges", Some("false")) => Ok(SecurityOpt::NoNewPrivileges(false)),
        ("no-new-privileges", Some(_)) => {
            Err(bad("its value is neither true nor false".to_owned()))
        }
        ("seccomp", Some("unconfined")) => Ok(SecurityOpt::SeccompUnconfined),
        ("seccomp", Some("builtin")) => Ok(SecurityOpt::SeccompBuiltin),
        ("seccomp", None | Some("")) => Err(bad("it has no profile".to_owned())
            .hint("use seccomp=FILE, seccomp=builtin or seccomp=unconfined")),
        ("seccomp", Some(path)) if path.contains('\0') => {
            Err(bad("the path holds a NUL".to_owned()))
        }
        ("seccomp", Some(path)) => Ok(SecurityOpt::SeccompFile(path.to_owned())),
        ("landlock", Some("auto")) => Ok(SecurityOpt::LandlockAuto),
        ("landlock", Some("required")) => Ok(SecurityOpt::LandlockRequired),
        ("landlock", Some("off")) => Ok(SecurityOpt::LandlockOff),
        ("landlock", _) => Err(bad("it is neither auto nor required nor off".to_owned())
            .hint("use landlock=auto, landlock=required or landlock=off")),
        ("apparmor" | "label" | "systempaths" | "writable-cgroups", _) => {
            Err(bad(format!("{name} is not supported")))
        }
        _ => Err(bad(format!("unknown option {}", quote(name)))
            .suggest(name, &["no-new-privileges", "seccomp", "landlock"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> Pair {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn t38_bare_name_does_not_read_the_hosts_environment() {
        assert_eq!(env("A=b=c"), Ok(pair("A", "b=c")));
        assert_eq!(env("A="), Ok(pair("A", "")));
        let error = env("SECRET").unwrap_err();
        assert_eq!(error.to_string(), r#"invalid environment variable "SECRET": it has no "=""#);
        assert!(error.hint.unwrap().starts_with("write NAME=value"));
        for bad in ["", "=", "=x", "A\0=b", "A=b\0", "A\n=b"] {
            assert!(env(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn user_gives_an_env_file() {
        let file = b"\xef\xbb\xbf# note\r\n\n  A=1 # kept \nB=\"q\"\r\n\t#x\nA=2\nC=";
        let expected = [pair("A", "1 # kept "), pair("B", "\"q\""), pair("A", "2"), pair("C", "")];
        assert_eq!(env_file(file).unwrap(), expected);
        assert_eq!(env_file(b""), Ok(vec![]));
    }

    #[test]
    fn t38_env_file_error_names_the_line() {
        for bad in [&b"A=1\nSECRET\n"[..], b"\nA=\xff", b"#\n=x", b"\nA=\0", b"\nA B=c", b"\nA =c"]
        {
            let error = env_file(bad).unwrap_err();
            assert_eq!(error.what, "line 2 of the env-file", "{error}");
        }
    }

    #[test]
    fn error_does_not_print_the_secret() {
        for bad in ["A B=hunter2", "=hunter2", "A=hunter2\0", "A=hunter2\u{fffd}\0"] {
            assert!(!env_file(bad.as_bytes()).unwrap_err().to_string().contains("hunter2"));
        }
        assert!(!env_file(b"A=hunter2\xff").unwrap_err().to_string().contains("hunter2"));
        for bad in ["=hunter2", "A=hunter2\0", "\n=hunter2"] {
            assert!(!env(bad).unwrap_err().to_string().contains("hunter2"));
        }
    }

    #[test]
    fn user_labels_a_container() {
        assert_eq!(label("a.b/c=d=e"), Ok(pair("a.b/c", "d=e")));
        assert_eq!(label("a"), Ok(pair("a", "")));
        for bad in ["", "=x", "a\n=x", "a=\0"] {
            assert!(label(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn user_names_a_signal() {
        let cases = [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("15", 15), ("SIGSYS", 31)];
        for (text, number) in cases.into_iter().chain([("RTMIN", 34), ("RTMIN+3", 37), ("CLD", 17)])
        {
            assert_eq!(signal(text), Ok(number), "{text}");
        }
        assert_eq!(signal("SIGRTMAX-2"), Ok(62));
        let words = "0 65 -9 +9 SIG SIGSIGTERM RTMIN+31 RTMAX-31 RTMIN-1 RTMIN+ RTMIN+99999999999 RTMAX+1 \
            99999999999999999999";
        for bad in words.split_whitespace().chain(["", "9 "]) {
            assert!(signal(bad).is_err(), "{bad:?}");
        }
        assert_eq!(signal("TREM").unwrap_err().hint.unwrap(), "did you mean \"TERM\"?");
    }

    #[test]
    fn user_names_a_capability() {
        assert_eq!(capability("ALL"), Ok(Capability::All));
        for text in ["NET_ADMIN", "CAP_NET_ADMIN", "net_admin", "cap_Net_admin"] {
            assert_eq!(capability(text), Ok(Capability::One(12)));
        }
        assert_eq!(capability("CHOWN"), Ok(Capability::One(0)));
        assert_eq!(capability("CHECKPOINT_RESTORE"), Ok(Capability::One(40)));
        let hint = capability("NET_ADMN").unwrap_err().hint.unwrap();
        assert_eq!(hint, "did you mean \"CAP_NET_ADMIN\"?");
        for bad in ["", "CAP_", "CAP_ALL", "CAP_CAP_CHOWN", "12", " CHOWN", "NONE"] {
            assert!(capability(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn user_sets_security_options() {
        for text in ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"] {
            assert_eq!(security_opt(text), Ok(SecurityOpt::NoNewPrivileges(true)));
        }
        assert_eq!(
            security_opt("no-new-privileges:false"),
            Ok(SecurityOpt::NoNewPrivileges(false))
        );
        assert_eq!(security_opt("seccomp:unconfined"), Ok(SecurityOpt::SeccompUnconfined));
        assert_eq!(security_opt("seccomp=unconfined"), Ok(SecurityOpt::SeccompUnconfined));
        assert_eq!(security_opt("landlock=auto"), Ok(SecurityOpt::LandlockAuto));
        assert_eq!(security_opt("landlock:required"), Ok(SecurityOpt::LandlockRequired));
        assert_eq!(security_opt("landlock=off"), Ok(SecurityOpt::LandlockOff));
        assert_eq!(security_opt("seccomp=a:b=c"), Ok(SecurityOpt::SeccompFile("a:b=c".into())));
        let words = "seccomp seccomp= apparmor=unconfined label=disable label:disable no-new-privileges= \
            no-new-privileges=1 selinux = landlock landlock= landlock=on";
        for bad in words.split_whitespace().chain(["", "seccomp=a\0"]) {
            assert!(security_opt(bad).is_err(), "{bad:?}");
        }
        let hint = security_opt("secomp=x").unwrap_err().hint.unwrap();
        assert_eq!(hint, "did you mean \"seccomp\"?");
    }
}
