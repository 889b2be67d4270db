//! The audit line of a run: opened before, filled on the way, written at the end whatever it was.

#![forbid(unsafe_code)]

use super::Jail;
use crate::error::{Error, Result};
use crate::host::audit::{self, AuditLog, Entry, Log};
use crate::outcome::Outcome;
use crate::plan::Plan;
use std::collections::BTreeMap;
use std::ffi::OsStr;

/// A line that is to be written.
#[derive(Debug)]
pub(crate) struct Audit {
    log: Log,
    entry: Entry,
}

impl Audit {
    /// Opens the log.
    pub(crate) fn open(target: AuditLog) -> Result<Audit> {
        Ok(Audit { log: Log::open(target)?, entry: Entry::new(audit::caller()) })
    }

    /// What is to be run, under which name.
    pub(crate) fn about<S: AsRef<OsStr>>(
        &mut self,
        id: &str,
        labels: &BTreeMap<String, String>,
        command: &[S],
    ) {
        id.clone_into(&mut self.entry.id);
        self.entry.labels.clone_from(labels);
        self.entry.command(command);
    }

    pub(super) fn planned(&mut self, plan: &Plan) {
        self.entry.planned(plan);
    }

    /// Writes the line of a run that did not come about.
    pub(crate) fn not_run(self, error: &Error) -> Result<()> {
        let outcome = Jail::setup_failed(error, "", BTreeMap::new());
        self.log.append(&self.entry, &outcome)
    }

    /// Writes the line. That it could not be written is told, and changes nothing else.
    pub(super) fn finish(self, result: Result<Outcome>) -> Result<Outcome> {
        match result {
            Ok(mut outcome) => {
                if let Err(e) = self.log.append(&self.entry, &outcome) {
                    outcome.audit_error = Some(e.to_string());
                }
                Ok(outcome)
            }
            Err(error) => match self.not_run(&error) {
                Ok(()) => Err(error),
                Err(e) => {
                    let hint = error.hint_text().map_or_else(String::new, |h| format!("{h}; "));
                    Err(error.hint(format!("{hint}and the audit log has no line of this: {e}")))
                }
            },
        }
    }
}

/// What a jail has been told of its audit log.
#[derive(Debug, Default)]
pub(super) enum Audited {
    #[default]
    No,
    To(AuditLog),
    Open(Box<Audit>),
}

impl Jail {
    /// Appends a line about this run to an audit log: who ran what under which rules, and how it
    /// ended. The log is opened before the run, and if it cannot be opened nothing is run. A line
    /// that cannot be written afterwards is told in [`Outcome::audit_error`].
    #[must_use]
    pub fn audit_log(mut self, to: AuditLog) -> Jail {
        self.audited = Audited::To(to);
        self
    }

    /// The same with a log that is open.
    pub(crate) fn audit_open(mut self, audit: Audit) -> Jail {
        self.audited = Audited::Open(Box::new(audit));
        self
    }

    pub(super) fn start_audit(&mut self) -> Result<Option<Audit>> {
        let mut audit = match std::mem::take(&mut self.audited) {
            Audited::No => return Ok(None),
            Audited::To(target) => Audit::open(target)?,
            Audited::Open(audit) => *audit,
        };
        let id = self.policy.id.clone().unwrap_or_default();
        audit.about(&id, &self.labels, &self.policy.command);
        Ok(Some(audit))
    }
}
