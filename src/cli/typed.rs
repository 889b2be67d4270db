//! Reading a command line by a table of options.
//!
//! A command line without a mistake is read here: making and asking clap's parser takes 0.15 ms, a
//! twentieth of a run. Whatever is not plainly understood is left to clap, made from the same table:
//! help, mistakes and their words.

#![forbid(unsafe_code)]

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;

/// How an option is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// With a value; the last one counts.
    Value,
    /// With a value; they add up.
    Many,
    /// Alone, or with `=true` or `=false`: as Docker's are.
    Switch,
    /// Alone.
    Flag,
}

/// An option.
#[derive(Debug)]
pub(super) struct Opt {
    pub(super) name: &'static str,
    kind: Kind,
    metavar: &'static str,
    help: &'static str,
    short: Option<char>,
    alias: Option<&'static str>,
    /// The option that it contradicts; the later one counts.
    against: Option<&'static str>,
}

const fn new(name: &'static str, kind: Kind, metavar: &'static str, help: &'static str) -> Opt {
    Opt { name, kind, metavar, help, short: None, alias: None, against: None }
}

pub(super) const fn value(name: &'static str, metavar: &'static str, help: &'static str) -> Opt {
    new(name, Kind::Value, metavar, help)
}

pub(super) const fn many(name: &'static str, metavar: &'static str, help: &'static str) -> Opt {
    new(name, Kind::Many, metavar, help)
}

pub(super) const fn switch(name: &'static str, help: &'static str) -> Opt {
    new(name, Kind::Switch, "BOOL", help)
}

pub(super) const fn flag(name: &'static str, help: &'static str) -> Opt {
    new(name, Kind::Flag, "", help)
}

impl Opt {
    pub(super) const fn short(self, short: char) -> Opt {
        Opt { short: Some(short), ..self }
    }

    pub(super) const fn alias(self, alias: &'static str) -> Opt {
        Opt { alias: Some(alias), ..self }
    }

    pub(super) const fn against(self, other: &'static str) -> Opt {
        Opt { against: Some(other), ..self }
    }

    /// The same for clap.
    pub(super) fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).help(self.help);
        let arg = match self.kind {
            Kind::Value => arg.value_name(self.metavar).allow_hyphen_values(true),
            Kind::Many => {
                arg.value_name(self.metavar).allow_hyphen_values(true).action(ArgAction::Append)
            }
            Kind::Switch => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(clap::value_parser!(bool))
                .value_name(self.metavar)
                .hide_possible_values(true),
            Kind::Flag => arg
                .num_args(0)
                .default_missing_value("true")
                .value_parser(clap::value_parser!(bool)),
        };
        let arg = match self.short {
            Some(short) => arg.short(short),
            None => arg,
        };
        let arg = match self.alias {
            Some(alias) => arg.alias(alias),
            None => arg,
        };
        match self.against {
            Some(other) => arg.overrides_with(other),
            None => arg,
        }
    }
}

/// What was typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Typed {
    /// Name and value; a flag's is `true`.
    given: Vec<(&'static str, String)>,
    /// What follows the options.
    pub(super) rest: Vec<OsString>,
}

impl Typed {
    /// Reads the words behind the command's name.
    pub(super) fn read(
        options: &'static [Opt],
        words: &[OsString],
        command: impl FnOnce() -> Command,
    ) -> Result<Typed, Box<clap::Error>> {
        if let Some(typed) = Typed::read_plain(options, words) {
            return Ok(typed);
        }
        let mut command = command();
        let name = OsString::from(command.get_name());
        let matches = command.try_get_matches_from_mut(std::iter::once(&name).chain(words))?;
        Ok(Typed::from_matches(options, &matches))
    }

    /// As far as it can be understood, for a command line with a mistake in it.
    pub(super) fn read_so_far(
        options: &'static [Opt],
        words: &[OsString],
        command: Command,
    ) -> Typed {
        let name = OsString::from(command.get_name());
        let words = std::iter::once(&name).chain(words);
        let matches = command.ignore_errors(true).try_get_matches_from(words);
        matches.map_or_else(|_| Typed::default(), |m| Typed::from_matches(options, &m))
    }

    /// `None`: a mistake, a call for help, or something for clap to decide.
    fn read_plain(options: &'static [Opt], words: &[OsString]) -> Option<Typed> {
        let mut typed = Typed::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let rest = words.as_slice();
            let text = word.to_str()?;
            if text == "--" {
                typed.rest = rest.to_vec();
                break;
            }
            if let Some(long) = text.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                };
                let option = options.iter().find(|o| o.name == name || o.alias == Some(name))?;
                typed.take(option, value, &mut words)?;
            } else if let Some(cluster) = text.strip_prefix('-') {
                typed.cluster(options, cluster, &mut words)?;
            } else {
                typed.rest = std::iter::once(word).chain(rest).cloned().collect();
                break;
            }
        }
        Some(typed)
    }

    /// `-it`, `-m 1g`, `-m1g`, `-m=1g`.
    fn cluster<'w>(
        &mut self,
        options: &'static [Opt],
        cluster: &str,
        words: &mut impl Iterator<Item = &'w OsString>,
    ) -> Option<()> {
        // "-" alone is for clap to decide.
        let mut letters = cluster.chars();
        let mut letter = Some(letters.next()?);
        while let Some(c) = letter {
            let option = options.iter().find(|o| o.short == Some(c))?;
            let behind = letters.as_str();
            match option.kind {
                Kind::Value | Kind::Many => {
                    let behind = behind.strip_prefix('=').unwrap_or(behind);
                    let behind = (!letters.as_str().is_empty()).then_some(behind);
                    return self.take(option, behind, words);
                }
                Kind::Switch | Kind::Flag if behind.starts_with('=') => return None,
                Kind::Switch | Kind::Flag => self.take(option, None, words)?,
            }
            letter = letters.next();
        }
        Some(())
    }

    fn take<'w>(
        &mut self,
        option: &'static Opt,
        value: Option<&str>,
        words: &mut impl Iterator<Item = &'w OsString>,
    ) -> Option<()> {
        let value = match (option.kind, value) {
            (Kind::Value | Kind::Many, Some(value)) => value.to_owned(),
            (Kind::Value | Kind::Many, None) => words.next()?.to_str()?.to_owned(),
            (Kind::Switch, Some(value @ ("true" | "false"))) => value.to_owned(),
            (Kind::Switch | Kind::Flag, None) => "true".to_owned(),
            (Kind::Switch | Kind::Flag, Some(_)) => return None,
        };
        // An empty value, and `--` where one belongs, may be mistakes.
        if value.is_empty() || value == "--" {
            return None;
        }
        self.given.push((option.name, value));
        Some(())
    }

    fn from_matches(options: &'static [Opt], m: &ArgMatches) -> Typed {
        let mut given = Vec::new();
        for option in options {
            if m.value_source(option.name) != Some(ValueSource::CommandLine) {
                continue;
            }
            match option.kind {
                Kind::Value | Kind::Many => given.extend(
                    m.get_many::<String>(option.name)
                        .into_iter()
                        .flatten()
                        .map(|v| (option.name, v.clone())),
                ),
                Kind::Switch | Kind::Flag => given
                    .extend(m.get_one::<bool>(option.name).map(|on| (option.name, on.to_string()))),
            }
        }
        let rest = m.get_many::<OsString>(REST).into_iter().flatten().cloned().collect();
        Typed { given, rest }
    }

    /// The last value of an option.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.given.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// All values of an option, in their order.
    pub(super) fn texts<'t>(&'t self, name: &'t str) -> impl Iterator<Item = &'t str> + 't {
        self.given.iter().filter(move |(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// A switch or flag, if it was typed.
    pub(super) fn switched(&self, name: &str) -> Option<bool> {
        self.text(name).map(|v| v == "true")
    }

    /// Whether a switch or flag was typed, and not as `=false`.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.switched(name).unwrap_or(false)
    }

    /// Of two options that contradict each other the last.
    pub(super) fn on_unless(&self, on: &str, off: &str) -> Option<bool> {
        let last = self.given.iter().rev().find(|(n, _)| *n == on || *n == off)?;
        Some((last.0 == on) == (last.1 == "true"))
    }
}

/// What clap knows [`Typed::rest`] by.
pub(super) const REST: &str = "command";

#[cfg(test)]
mod tests {
    use super::*;

    static OPTIONS: &[Opt] = &[
        value("memory", "SIZE", "").short('m'),
        many("env", "K=V", "").short('e').alias("environ"),
        switch("tty", "").short('t'),
        switch("interactive", "").short('i'),
        switch("on", "").against("off"),
        flag("off", "").against("on"),
    ];

    fn command() -> Command {
        Command::new("x").args_override_self(true).args(OPTIONS.iter().map(Opt::arg)).arg(
            Arg::new(REST)
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(clap::value_parser!(OsString)),
        )
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').filter(|w| !w.is_empty()).map(OsString::from).collect()
    }

    #[test]
    fn what_is_read_without_clap_is_what_clap_reads() {
        for line in [
            "",
            "true",
            "-- true",
            "-m 1g true",
            "-m1g true -m 2g",
            "-m=1g -- true --on",
            "--memory=1g --memory 2g true",
            "--memory -1 x",
            "-it -e A=1 -eB=2 --environ C=3 --env=D=4=5 sh -c x",
            "-tim 1g sh",
            "--tty=false --interactive=true sh",
            "--on --off x",
            "--off --on x",
            "-- -- x",
        ] {
            let mut by_clap = Typed::from_matches(
                OPTIONS,
                &command()
                    .try_get_matches_from(std::iter::once(&OsString::from("x")).chain(&words(line)))
                    .unwrap(),
            );
            let mut plain = Typed::read_plain(OPTIONS, &words(line)).expect(line);
            assert_eq!(plain.rest, by_clap.rest, "{line}");
            assert_eq!(plain.text("memory"), by_clap.text("memory"), "{line}");
            let env = |t: &Typed| t.texts("env").map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(env(&plain), env(&by_clap), "{line}");
            for name in ["tty", "interactive"] {
                assert_eq!(plain.switched(name), by_clap.switched(name), "{line}");
            }
            assert_eq!(plain.on_unless("on", "off"), by_clap.on_unless("on", "off"), "{line}");
            plain.given.clear();
            by_clap.given.clear();
            assert_eq!(plain, by_clap);
        }
    }

    #[test]
    fn what_is_no_plain_line_is_left_to_clap() {
        for line in [
            "--help",
            "-x",
            "--memory",
            "-m",
            "--tty=maybe",
            "--off=true",
            "--memory=",
            "-t=true x",
        ] {
            assert_eq!(Typed::read_plain(OPTIONS, &words(line)), None, "{line}");
        }
        let bad = std::os::unix::ffi::OsStringExt::from_vec(vec![b'-', 0xff]);
        assert_eq!(Typed::read_plain(OPTIONS, &[bad]), None);
        assert!(Typed::read(OPTIONS, &words("--memori 1"), command).is_err());
    }
}
