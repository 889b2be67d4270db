//! What was found, as data: the rows of the table and the fields of the JSON, which
//! docs/doctor.md promises to keep.

#![forbid(unsafe_code)]

use super::blockers::{Blocker, Effect};
use crate::plan::facts::Facts;
use serde::Serialize;

/// Version of the JSON's form. Fields may be added to a version, and none changed or removed.
pub const SCHEMA: u32 = 1;

/// Foreign text made safe to print: control characters and bidirectional overrides become Rust
/// escapes, and the rest stays as it is.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
    }
    out
}

/// Whether it works here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was done.
    Yes,
    /// It was tried and refused, or is not there.
    No,
    /// It could not be tried.
    Unknown,
}

/// Who needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Every jail.
    Run,
    /// The limits of a default jail; without it a run is degraded.
    Limits,
    /// An option, or a caller of a certain kind.
    Option,
    /// Nobody: it is told because people ask.
    Info,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Feature {
    /// Part of the host, such as `namespaces`.
    pub layer: &'static str,
    /// What.
    pub name: String,
    /// Whether it works.
    pub state: State,
    /// Who needs it.
    pub need: Need,
    /// A number, where it has one: the ABI of Landlock, say.
    pub value: Option<i64>,
    /// How it was seen or why not, for people.
    pub detail: String,
    /// Id of the blocker that explains a `no`.
    pub blocker: Option<&'static str>,
}

/// A sign of being in a container.
#[derive(Clone, Debug, Serialize)]
pub struct Sign {
    /// `docker`, `podman`, `lxc`, ...; or what the sign itself says.
    pub kind: String,
    /// By what it was seen.
    pub sign: String,
}

/// The caller.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct User {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Whether the caller may do as root does.
    pub privileged: bool,
}

/// The kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Kernel {
    /// As uname(2) says it.
    pub release: String,
    /// First number of it.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

/// Everything that the probes found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The caller.
    pub user: User,
    /// The kernel.
    pub kernel: Kernel,
    /// Signs of a container.
    pub signs: Vec<Sign>,
    /// Layer by layer.
    pub features: Vec<Feature>,
    /// What stands in the way.
    pub blockers: Vec<Blocker>,
}

impl Findings {
    pub(super) fn new(facts: &Facts, release: String) -> Findings {
        let (major, minor) = facts.kernel;
        Findings {
            user: User { uid: facts.uid, gid: facts.gid, privileged: facts.privileged },
            kernel: Kernel { release: printable(&release), major, minor },
            signs: Vec::new(),
            features: Vec::new(),
            blockers: Vec::new(),
        }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, layer: &'static str, name: &str, row: Row) {
        let blocker = row.blocker.as_ref().map(|b| b.id);
        if let Some(b) = row.blocker {
            self.block(b);
        }
        self.features.push(Feature {
            layer,
            name: printable(name),
            state: row.state,
            need: row.need,
            value: row.value,
            detail: printable(&row.detail),
            blocker,
        });
    }

    /// Adds a blocker, once; the gravest effect counts.
    pub fn block(&mut self, blocker: Blocker) {
        match self.blockers.iter_mut().find(|b| b.id == blocker.id) {
            Some(there) => there.effect = there.effect.max(blocker.effect),
            None => self.blockers.push(blocker),
        }
    }
}

/// What [`Findings::add`] takes.
#[derive(Debug)]
pub(super) struct Row {
    state: State,
    need: Need,
    value: Option<i64>,
    detail: String,
    blocker: Option<Blocker>,
}

impl Row {
    pub(super) fn new(state: State, need: Need, detail: impl Into<String>) -> Row {
        Row { state, need, value: None, detail: detail.into(), blocker: None }
    }

    pub(super) fn yes(need: Need, detail: impl Into<String>) -> Row {
        Row::new(State::Yes, need, detail)
    }

    pub(super) fn no(need: Need, detail: impl Into<String>) -> Row {
        Row::new(State::No, need, detail)
    }

    /// Yes for 0, else no with the errno's words.
    pub(super) fn errno(need: Need, errno: i32, works: &str) -> Row {
        match errno {
            0 => Row::yes(need, works),
            crate::sys::probe::NOT_ASKED => Row::new(State::Unknown, need, "not tried"),
            n => Row::no(need, crate::error::describe_errno(n)),
        }
    }

    pub(super) fn value(mut self, value: i64) -> Row {
        self.value = Some(value);
        self
    }

    /// Explains a `no`; nothing if it works.
    pub(super) fn because(mut self, blocker: impl FnOnce() -> Option<Blocker>) -> Row {
        if self.state != State::Yes {
            self.blocker = blocker();
        }
        self
    }
}

/// How the default jail went that was tried last.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// How it went.
    pub result: Verdict,
    /// What the jail lacked, if it ran degraded.
    pub degraded: Vec<String>,
    /// Why the default jail did not run.
    pub error: Option<String>,
}

/// What a default jail does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Runs with everything in force.
    Full,
    /// Runs with less than that, some of it only with `--allow-degraded`.
    Degraded,
    /// Does not run.
    None,
}

impl Verdict {
    /// The exit status of `stockade doctor`.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            Verdict::Full => 0,
            Verdict::Degraded => 1,
            Verdict::None => 2,
        }
    }
}

/// The JSON.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    schema: u32,
    stockade: &'static str,
    verdict: Verdict,
    exit_status: u8,
    user: User,
    kernel: &'a Kernel,
    container: Container<'a>,
    features: &'a [Feature],
    blockers: &'a [Blocker],
    trial: &'a Trial,
}

#[derive(Debug, Serialize)]
struct Container<'a> {
    inside: bool,
    signs: &'a [Sign],
}

impl<'a> Report<'a> {
    /// Of these findings.
    #[must_use]
    pub fn new(found: &'a Findings, trial: &'a Trial) -> Report<'a> {
        Report {
            schema: SCHEMA,
            stockade: env!("CARGO_PKG_VERSION"),
            verdict: trial.result,
            exit_status: trial.result.exit_status(),
            user: found.user,
            kernel: &found.kernel,
            container: Container { inside: !found.signs.is_empty(), signs: &found.signs },
            features: &found.features,
            blockers: &found.blockers,
            trial,
        }
    }
}

/// Brings both into line. The trial is the proof: no blocker has a graver effect than it showed;
/// and what it showed and no probe explains gets a blocker too, so that no verdict is without a
/// reason.
pub fn settle(found: &mut Findings, trial: &Trial) {
    let (effect, id) = match trial.result {
        Verdict::Full => (Effect::Option, ""),
        Verdict::Degraded => (Effect::Degrades, blockers_ids::DEGRADED),
        Verdict::None => (Effect::Blocks, blockers_ids::FAILED),
    };
    for b in &mut found.blockers {
        b.effect = b.effect.min(effect);
    }
    if trial.result == Verdict::Full {
        return;
    }
    if found.blockers.iter().any(|b| b.effect >= effect) {
        return;
    }
    let what = trial.error.clone().unwrap_or_else(|| trial.degraded.join("; "));
    found.block(Blocker::new(
        id,
        effect,
        format!("a default jail was tried, and: {what}"),
        "stockade jail --allow-degraded runs it with what there is, where that is possible",
    ));
}

use super::blockers::ids as blockers_ids;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t41_control_characters_of_the_host_are_escaped_and_quotes_kept() {
        let shown = printable("a \"b\" \\ c\u{1b}[31m\n\u{202e}é");
        assert_eq!(shown, "a \"b\" \\ c\\u{1b}[31m\\n\\u{202e}é");
    }

    #[test]
    fn a_failed_trial_that_no_probe_explains_is_a_blocker_itself() {
        let facts = super::super::settings::tests::facts();
        let mut found = Findings::new(&facts, "6.1".into());
        let trial =
            Trial { result: Verdict::None, degraded: vec![], error: Some("no tmpfs".into()) };
        settle(&mut found, &trial);
        assert_eq!(found.blockers[0].id, "setup-failed");
        assert!(found.blockers[0].what.contains("no tmpfs"));
        settle(&mut found, &trial);
        assert_eq!(found.blockers.len(), 1);
    }

    #[test]
    fn no_blocker_is_graver_than_what_the_trial_showed() {
        let facts = super::super::settings::tests::facts();
        for (result, effect) in [
            (Verdict::Full, Effect::Option),
            (Verdict::Degraded, Effect::Degrades),
            (Verdict::None, Effect::Blocks),
        ] {
            let mut found = Findings::new(&facts, "6.1".into());
            found.block(Blocker::new("x", Effect::Degrades, "what", "fix"));
            found.block(Blocker::new("x", Effect::Blocks, "what", "fix"));
            settle(&mut found, &Trial { result, degraded: vec![], error: None });
            assert_eq!((found.blockers.len(), found.blockers[0].effect), (1, effect));
        }
    }
}
