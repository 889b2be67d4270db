//! criu, which saves processes and brings them back: started as `criu swrk`, asked over its socket.
//!
//! By its RPC and not by its command line: only there does it tell of its steps (when hooks are to
//! run, which process it is, the master of a terminal) and waits meanwhile, and directories are
//! descriptors.

#![forbid(unsafe_code)]

mod images;
mod log;
mod message;
mod process;

pub(crate) use images::Directory;
pub(crate) use message::{Fields, Verb, opt};
pub(crate) use process::{Criu, Root, Streams};

use crate::error::{Error, Kind, Result};
use message::{acknowledge, question, request};
use std::os::fd::OwnedFd;

/// The oldest that is talked to: the first with everything that is asked of it (2020).
const OLDEST: u32 = 31_500;
/// The first that can change a label on restore.
const LABELS: u32 = 31_600;

/// Where its log goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log<'a> {
    pub(crate) dir: &'a Directory,
    pub(crate) name: &'a str,
}

/// Hears of each of criu's steps, from which it does not go on before: its name, the pid of the restored init
/// where it is told, a descriptor.
pub(crate) type Notified<'a> = &'a mut dyn FnMut(&str, Option<i32>, Option<OwnedFd>) -> Result<()>;

/// What is needed of criu beyond a plain dump and restore.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// Telling which pages have changed.
    pub(crate) mem_track: bool,
    pub(crate) lazy_pages: bool,
    /// Another security label.
    pub(crate) label: bool,
}

impl Criu {
    /// Asks whether it is good enough.
    pub(crate) fn check(&self, needs: Needs) -> Result<()> {
        let version = self.ask(Verb::Version)?.version;
        let least = if needs.label { LABELS } else { OLDEST };
        if version < least {
            let shown = |v: u32| format!("{}.{}.{}", v / 10_000, v / 100 % 100, v % 100);
            return Err(Error::new(
                Kind::Unsupported,
                format!("criu is {}, and {} is needed", shown(version), shown(least)),
            )
            .hint("install a newer criu"));
        }
        if !needs.mem_track && !needs.lazy_pages {
            return Ok(());
        }
        let has = self.ask(Verb::FeatureCheck)?;
        let lacks = |feature: &str, option: &str| {
            // runc's words.
            Err(Error::new(Kind::Unsupported, format!("CRIU is missing features: [{feature}]"))
                .hint(format!("the kernel or criu has none of it: leave {option} away")))
        };
        if needs.mem_track && !has.mem_track {
            return lacks("MemTrack", "--pre-dump");
        }
        if needs.lazy_pages && !has.lazy_pages {
            return lacks("LazyPages", "--lazy-pages");
        }
        Ok(())
    }

    fn ask(&self, verb: Verb) -> Result<message::Response> {
        self.send(&question(verb))?;
        match self.receive()? {
            Some((answer, _)) if answer.success => Ok(answer),
            _ => Err(self
                .failed(verb, 0, Vec::new(), "")
                .with_kind(Kind::Unsupported)
                .hint("`criu check` says what this host lacks")),
        }
    }

    /// Has it do its work. What comes back is the pid of the restored init.
    pub(crate) fn work(
        &self,
        verb: Verb,
        options: &Fields,
        log: Log<'_>,
        notified: Notified<'_>,
    ) -> Result<Option<i32>> {
        // Whatever it was, a link or an old log whose errors are not ours.
        log.dir.remove(log.name)?;
        self.send(&request(verb, options))?;
        let mut refused = None;
        loop {
            let Some((answer, fd)) = self.receive()? else {
                let why = || self.failed_at_work(verb, 0, "it has ended without an answer", log);
                return Err(refused.unwrap_or_else(why));
            };
            if answer.verb == Verb::Notify as u64 && answer.success {
                let script = answer.script.unwrap_or_default();
                let heard = match &refused {
                    None => notified(&script, answer.script_pid, fd),
                    Some(_) => Ok(()),
                };
                refused = refused.or(heard.err());
                // It takes everything back then, and says that it has failed.
                self.send(&acknowledge(refused.is_none()))?;
                continue;
            }
            if let Some(refused) = refused {
                return Err(refused);
            }
            if !answer.success || answer.verb != verb as u64 {
                return Err(self.failed_at_work(verb, answer.errno, &answer.message, log));
            }
            return Ok(answer.pid);
        }
    }

    fn failed_at_work(&self, verb: Verb, errno: i32, message: &str, log: Log<'_>) -> Error {
        let causes = log::causes(log.dir, log.name);
        let all = format!("{} in {} is the whole log", log.name, log.dir.shown());
        self.failed(verb, errno, causes, message)
            .hint(format!("{all}; `criu check` says what this host lacks"))
    }

    /// runc's words before the causes.
    fn failed(&self, verb: Verb, errno: i32, mut causes: Vec<String>, message: &str) -> Error {
        if causes.is_empty() {
            causes = log::errors(&self.said());
        }
        if causes.is_empty() && !message.trim().is_empty() {
            causes.push(crate::plan::values::escape(message.trim()));
        }
        let mut text = format!("criu failed: type {} errno {errno}", verb.name());
        if !causes.is_empty() {
            text.push_str(": ");
            text.push_str(&causes.join("; "));
        }
        Error::new(Kind::Os, text)
    }
}
