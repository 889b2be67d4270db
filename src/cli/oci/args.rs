//! Reading a command line by a table of options, the way runc's callers write them.
//!
//! Not clap: building its commands takes as long as several mounts, and `state` or `kill` is
//! called by the thousand. What Go's flag package and GNU's getopt both take is taken: `--name
//! value`, `--name=value`, `-name value`, `-n value`, `-nvalue`, `--flag=false`, `-td`, `--`.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::plan::values::{nearest, quote};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// One option of a verb.
#[derive(Debug)]
pub(super) struct Opt {
    pub(super) long: &'static str,
    pub(super) short: Option<u8>,
    /// What the value is called in the help; `None`: a flag.
    pub(super) value: Option<&'static str>,
    pub(super) help: &'static str,
}

/// A flag.
pub(super) const fn flag(long: &'static str, help: &'static str) -> Opt {
    Opt { long, short: None, value: None, help }
}

/// An option with a value.
pub(super) const fn value(long: &'static str, help: &'static str) -> Opt {
    Opt { long, short: None, value: Some("value"), help }
}

impl Opt {
    /// The same, with a letter.
    pub(super) const fn short(self, letter: u8) -> Opt {
        Opt { short: Some(letter), ..self }
    }
}

/// Where options may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Anywhere.
    Mixed,
    /// Up to the second word that is none: what follows the container's id is a command.
    UntilCommand,
    /// Up to the first word that is none, which is the verb.
    UntilVerb,
    /// Anywhere before the id; after it those of another program.
    UntilForeign,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    options: Vec<(&'static str, OsString)>,
    /// The words that are no options.
    pub(super) words: Vec<OsString>,
    /// How many of the arguments were read; less than all only with [`Order::UntilVerb`].
    pub(super) used: usize,
    /// Whether help was asked for.
    pub(super) help: bool,
}

impl Parsed {
    /// Whether it was given at all.
    pub(super) fn given(&self, long: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long)
    }

    /// Whether a flag is on: the last one counts.
    pub(super) fn on(&self, long: &str) -> bool {
        self.raw(long).is_some_and(|v| v == "true")
    }

    /// A value as it was typed: the last one counts. An empty one is as good as none, as in runc.
    pub(super) fn raw(&self, long: &str) -> Option<&OsStr> {
        let found = self.options.iter().rev().find(|(name, _)| *name == long);
        found.map(|(_, value)| value.as_os_str()).filter(|v| !v.is_empty())
    }

    /// A path.
    pub(super) fn path(&self, long: &str) -> Option<PathBuf> {
        self.raw(long).map(PathBuf::from)
    }

    /// A value that must be text.
    pub(super) fn text(&self, long: &str) -> Result<Option<&str>> {
        self.raw(long).map(|v| text(long, v)).transpose()
    }

    /// All values of an option that may be repeated.
    pub(super) fn texts(&self, long: &str) -> Result<Vec<&str>> {
        let of = self.options.iter().filter(|(name, _)| *name == long);
        of.map(|(_, value)| text(long, value)).collect()
    }

    /// A whole number.
    pub(super) fn number<N: std::str::FromStr>(&self, long: &str) -> Result<Option<N>> {
        let Some(value) = self.text(long)? else { return Ok(None) };
        value.parse().map(Some).map_err(|_| {
            invalid(format!(
                "invalid value {} for flag -{long}: not a number in range",
                quote(value)
            ))
        })
    }

    /// A word that must be text; absent ones are empty.
    pub(super) fn word(&self, index: usize) -> Result<&str> {
        self.words.get(index).map_or(Ok(""), |w| text("argument", w))
    }
}

fn text<'a>(what: &str, value: &'a OsStr) -> Result<&'a str> {
    value
        .to_str()
        .ok_or_else(|| invalid(format!("{what}: {} is no UTF-8", quote(&value.to_string_lossy()))))
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidConfig, message)
}

/// Reads `args` by the table.
///
/// # Errors
/// An option that is not in it, one without its value, a flag with a value that is no boolean.
pub(super) fn parse(args: &[OsString], table: &'static [Opt], order: Order) -> Result<Parsed> {
    let mut parsed = Parsed::default();
    let mut at = 0;
    let mut only_words = false;
    while let Some(arg) = args.get(at) {
        let bytes = arg.as_bytes();
        let is_option = !only_words && bytes.len() > 1 && bytes.first() == Some(&b'-');
        if is_option && foreign(&parsed, args, at, order) {
            only_words = true;
            continue;
        }
        if is_option {
            if bytes == b"--" {
                only_words = true;
                at += 1;
                continue;
            }
            at += 1;
            at += option(bytes, args.get(at), table, &mut parsed)?;
            if parsed.help {
                break;
            }
            continue;
        }
        if order == Order::UntilVerb {
            break;
        }
        parsed.words.push(arg.clone());
        at += 1;
        if order == Order::UntilCommand && parsed.words.len() == 2 {
            only_words = true;
        }
    }
    parsed.used = at;
    Ok(parsed)
}

/// Whether an option after the container's id is another program's: `ps ID -f` is ps's own full
/// format, but `ps ID -f json` and `ps ID --format table` mean nothing to ps.
fn foreign(parsed: &Parsed, args: &[OsString], at: usize, order: Order) -> bool {
    if order != Order::UntilForeign || parsed.words.is_empty() {
        return false;
    }
    let ours = |v: Option<&[u8]>| matches!(v, Some(b"json" | b"table"));
    match args.get(at).map(|a| a.as_bytes()) {
        Some(b"--format" | b"-f") => !ours(args.get(at + 1).map(|a| a.as_bytes())),
        Some(arg) => !ours(arg.strip_prefix(b"--format=")),
        None => true,
    }
}

/// Reads one option. Returns how many further arguments it took.
fn option(
    arg: &[u8],
    next: Option<&OsString>,
    table: &'static [Opt],
    parsed: &mut Parsed,
) -> Result<usize> {
    let name = arg.strip_prefix(b"--").or_else(|| arg.strip_prefix(b"-")).unwrap_or(arg);
    let (name, attached) = match name.iter().position(|b| *b == b'=') {
        Some(at) => (&name[..at], Some(&name[at + 1..])),
        None => (name, None),
    };
    if name == b"help" || name == b"h" {
        parsed.help = true;
        return Ok(0);
    }
    let of_letter = |letter: u8| table.iter().find(|o| o.short == Some(letter));
    let found = match name {
        [letter] => of_letter(*letter),
        _ => table.iter().find(|o| o.long.as_bytes() == name),
    };
    if let Some(opt) = found {
        return take(opt, attached, next, parsed);
    }
    // `-td`, `-buser`: letters in one word, of which the last may have its value attached.
    if !arg.starts_with(b"--") {
        let mut letters = &arg[1..];
        while let Some((letter, rest)) = letters.split_first() {
            let Some(opt) = of_letter(*letter) else { return Err(unknown(arg, table)) };
            if opt.value.is_some() || rest.first() == Some(&b'=') {
                let value = if rest.is_empty() { None } else { Some(rest) };
                let value = value.map(|v| v.strip_prefix(b"=").unwrap_or(v));
                return take(opt, value, next, parsed);
            }
            take(opt, None, None, parsed)?;
            letters = rest;
        }
        return Ok(0);
    }
    Err(unknown(arg, table))
}

fn take(
    opt: &'static Opt,
    attached: Option<&[u8]>,
    next: Option<&OsString>,
    parsed: &mut Parsed,
) -> Result<usize> {
    let (value, used) = match (opt.value, attached, next) {
        (Some(_), Some(value), _) => (OsString::from_vec(value.to_vec()), 0),
        (Some(_), None, Some(next)) => (next.clone(), 1),
        (Some(_), None, None) => {
            return Err(invalid(format!("flag needs an argument: --{}", opt.long)));
        }
        (None, None, _) => (OsString::from("true"), 0),
        (None, Some(value), _) => (OsString::from(boolean(opt, value)?), 0),
    };
    parsed.options.push((opt.long, value));
    Ok(used)
}

/// Go's words for true and false.
fn boolean(opt: &Opt, value: &[u8]) -> Result<&'static str> {
    match value {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok("true"),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok("false"),
        other => Err(invalid(format!(
            "invalid boolean value {} for --{}: it is true or false",
            quote(&String::from_utf8_lossy(other)),
            opt.long
        ))),
    }
}

/// runc's words, which its callers know.
fn unknown(arg: &[u8], table: &'static [Opt]) -> Error {
    let text = String::from_utf8_lossy(arg);
    let name = text.split('=').next().unwrap_or_default();
    let error =
        invalid(format!("flag provided but not defined: {}", crate::plan::values::escape(name)));
    match nearest(name.trim_start_matches('-'), table.iter().map(|o| o.long)) {
        Some(near) => error.hint(format!("did you mean --{near}?")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Opt] = &[
        value("bundle", "").short(b'b'),
        flag("detach", "").short(b'd'),
        flag("tty", "").short(b't'),
        value("env", "").short(b'e'),
        value("format", "").short(b'f'),
    ];

    fn read(line: &str, order: Order) -> Result<Parsed> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        parse(&args, TABLE, order)
    }

    #[test]
    fn every_form_of_an_option_is_one() {
        for line in [
            "--bundle /b c",
            "--bundle=/b c",
            "-b /b c",
            "-b=/b c",
            "-b/b c",
            "-bundle /b c",
            "c -b /b",
        ] {
            let p = read(line, Order::Mixed).unwrap();
            assert_eq!(p.path("bundle").unwrap().to_str(), Some("/b"), "{line}");
            assert_eq!(p.words, ["c"], "{line}");
        }
        let p = read("-td -e A=1 --env B=2=3 c", Order::Mixed).unwrap();
        assert!(p.on("tty") && p.on("detach"));
        assert_eq!(p.texts("env").unwrap(), ["A=1", "B=2=3"]);
        assert!(!read("--tty=false c", Order::Mixed).unwrap().on("tty"));
        assert!(read("--tty --tty=0 c", Order::Mixed).unwrap().given("tty"));
        assert!(!read("--tty --tty=0 c", Order::Mixed).unwrap().on("tty"));
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let p = read("-t c -d sh -c -t --bundle", Order::UntilCommand).unwrap();
        assert!(p.on("tty") && p.on("detach"));
        assert_eq!(p.words, ["c", "sh", "-c", "-t", "--bundle"]);
        let p = read("c -- -odd", Order::UntilCommand).unwrap();
        assert_eq!(p.words, ["c", "-odd"]);
        let p = read("c -f -t", Order::UntilForeign).unwrap();
        assert_eq!(p.words, ["c", "-f", "-t"]);
        let p = read("c -f json", Order::UntilForeign).unwrap();
        assert_eq!((p.words.len(), p.text("format").unwrap()), (1, Some("json")));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for line in ["--nope c", "-x c", "-tx c", "c --bundle", "--tty=maybe c", "--bundl /b"] {
            assert!(read(line, Order::Mixed).is_err(), "{line}");
        }
        let e = read("--bundl=/b", Order::Mixed).unwrap_err();
        assert_eq!(e.to_string(), "flag provided but not defined: --bundl");
        assert_eq!(e.hint_text(), Some("did you mean --bundle?"));
    }

    #[test]
    fn options_before_the_verb_end_at_it() {
        let p = read("-t state -d", Order::UntilVerb).unwrap();
        assert!(p.on("tty") && !p.given("detach"));
        assert_eq!(p.used, 1);
    }
}
