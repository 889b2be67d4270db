//! The plan of an `exec`: a process of the container's configuration, with what the caller
//! changes, and nothing made around it.

#![forbid(unsafe_code)]

use super::spec::{Capabilities, Config, ConsoleSize, Linux, Process};
use super::{Asked, bad};
use crate::error::{Error, Kind, Result};
use crate::plan::detail::{Details, Keyring, Lifetime, NamespaceKind};
use crate::plan::facts::Facts;
use crate::plan::values::quote;
use crate::plan::values::user::{self, IdOrName, User};
use crate::plan::{
    MapWriter, Namespaces, Plan, Resources, Root, RootSource, Supervision, UserNamespace,
};

/// What an `exec` changes of the container's process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The command. Never the configuration's.
    pub args: Vec<String>,
    /// Further environment variables, `NAME=value`.
    pub env: Vec<String>,
    /// The working directory.
    pub cwd: Option<String>,
    /// User and group. A user by number without a group keeps the configuration's, as in runc;
    /// one by name brings its own.
    pub user: Option<User>,
    /// Further supplementary groups.
    pub groups: Vec<u32>,
    /// Further capabilities. None becomes inheritable, and ambient only what the configuration has
    /// as inheritable: what the command executes as another user does not get them
    /// (CVE-2022-29162).
    pub caps: Vec<String>,
    /// Whether it has a terminal. Never the configuration's.
    pub terminal: bool,
    /// Columns and rows of the terminal.
    pub terminal_size: Option<(u16, u16)>,
    /// no_new_privs.
    pub no_new_privs: Option<bool>,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// SELinux label.
    pub selinux: Option<String>,
}

/// Who the process is, once names have been looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Group, if it changes.
    pub gid: Option<u32>,
    /// Supplementary groups, if they change.
    pub groups: Option<Vec<u32>>,
}

impl Overrides {
    /// The user and group if both are numbers, so that nobody needs to look anything up.
    #[must_use]
    pub fn numeric_ids(&self) -> Option<Ids> {
        let user = self.user.as_ref()?;
        let IdOrName::Id(uid) = user.user else { return None };
        let gid = match &user.group {
            None => None,
            Some(IdOrName::Id(gid)) => Some(*gid),
            Some(IdOrName::Name(_)) => return None,
        };
        Some(Ids { uid, gid, groups: None })
    }

    /// The container's process with these changes.
    ///
    /// # Errors
    /// There is no command.
    pub fn apply(&self, configured: &Process, ids: Option<Ids>) -> Result<Process> {
        if self.args.is_empty() {
            return Err(Error::new(Kind::InvalidConfig, "exec args cannot be empty"));
        }
        let mut p = configured.clone();
        p.args.clone_from(&self.args);
        p.terminal = self.terminal;
        if let Some((width, height)) = self.terminal_size {
            p.console_size = Some(ConsoleSize { height, width });
        }
        for entry in &self.env {
            // The last one counts, and some programs look at the first.
            let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
            p.env.retain(|old| old.split_once('=').is_none_or(|(n, _)| n != name));
            p.env.push(entry.clone());
        }
        if let Some(cwd) = &self.cwd {
            p.cwd.clone_from(cwd);
        }
        if let Some(ids) = ids {
            p.user.uid = ids.uid;
            p.user.gid = ids.gid.unwrap_or(p.user.gid);
            p.user.additional_gids = ids.groups.unwrap_or(p.user.additional_gids);
        }
        p.user.additional_gids.extend(&self.groups);
        if !self.caps.is_empty() {
            let caps = p.capabilities.get_or_insert_with(Capabilities::default);
            for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
                set.extend(self.caps.iter().cloned());
            }
            // As in runc: what the configuration has made inheritable stays with a command that
            // another user executes.
            let inheritable = |c: &&String| caps.inheritable.contains(*c);
            caps.ambient.extend(self.caps.iter().filter(inheritable).cloned());
        }
        p.no_new_privileges = self.no_new_privs.unwrap_or(p.no_new_privileges);
        if let Some(profile) = &self.apparmor {
            p.apparmor_profile.clone_from(profile);
        }
        if let Some(label) = &self.selinux {
            p.selinux_label.clone_from(label);
        }
        Ok(p)
    }
}

/// The plan of a process that joins a container of this configuration, and what has no effect.
///
/// # Errors
/// The process makes no sense.
pub fn plan(
    config: &Config,
    process: &Process,
    facts: &Facts,
    asked: &Asked<'_>,
) -> Result<(Plan, Vec<String>)> {
    let mut warnings = Vec::new();
    let empty = Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&empty);
    // What has no effect was told when the container was made.
    let notes = super::annotations::read(&config.annotations, &mut Vec::new())?;
    let job = super::process::plan(process, linux, &notes, facts, asked, &mut warnings)?;
    let mut terminal = job.terminal;
    // /dev/console is the init's.
    terminal.console = false;
    let plan = Plan {
        id: asked.id.to_owned(),
        // Not made, but it says what is out of reach of the container's ids.
        namespaces: Namespaces { user: user_namespace(linux), network: false, time: false },
        hostname: String::new(),
        root: Root { source: RootSource::Pool, read_only: false, idmap: false, guarded: false },
        pool: None,
        steps: Vec::new(),
        process: job.process,
        landlock: None,
        resources: Resources { allow_degraded: true, ..Resources::default() },
        supervision: Supervision { wall: None, cpu: None, output: None, stop: None },
        details: Details {
            // None is made: they are all there.
            shared: NamespaceKind::ALL.to_vec(),
            keyring: if asked.no_new_keyring {
                Keyring::Inherited
            } else {
                Keyring::Named(format!("_ses.{}", asked.id))
            },
            tuning: job.tuning,
            terminal,
            lifetime: Lifetime::Released,
            preserved_fds: asked.preserved_fds,
            exec_labels: job.labels,
            ..Details::default()
        },
    };
    Ok((plan, warnings))
}

/// The container's user namespace, if the configuration says how its ids map.
fn user_namespace(linux: &Linux) -> Option<UserNamespace> {
    let own = linux.namespaces.iter().any(|n| n.kind == "user" && n.path.as_os_str().is_empty());
    let mapped = own && !linux.uid_mappings.is_empty() && !linux.gid_mappings.is_empty();
    mapped.then(|| UserNamespace {
        uids: super::maps(&linux.uid_mappings),
        gids: super::maps(&linux.gid_mappings),
        writer: MapWriter::Privileged,
        setup_ids: None,
    })
}

/// Reads a process from a file of its own.
///
/// # Errors
/// It is no JSON, or a property of another type.
pub fn parse(json: &[u8]) -> Result<Process> {
    let wrong = |text: &str| {
        let text: String = text.chars().take(300).collect();
        bad(
            format!("the process: {}", text.escape_debug()),
            "see process in the OCI runtime specification",
        )
    };
    super::object("the process", json)?;
    serde_json::from_slice(json).map_err(|e| wrong(&e.to_string()))
}

/// Columns and rows of `--console-size`, such as `80x24`.
///
/// # Errors
/// Anything else.
pub fn terminal_size(text: &str) -> Result<(u16, u16)> {
    let size = text.split_once('x').and_then(|(columns, rows)| {
        let number = |s: &str| s.parse::<u16>().ok().filter(|_| !s.starts_with('+'));
        Some((number(columns)?, number(rows)?))
    });
    size.ok_or_else(|| {
        bad(
            format!("invalid console size {}", quote(text)),
            "write columns and rows, such as 80x24",
        )
    })
}

/// A supplementary group, by number.
///
/// # Errors
/// What is no id.
pub fn group(text: &str) -> Result<u32> {
    Ok(user::id("additional gid", text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured() -> Process {
        parse(
            br#"{"terminal": true, "args": ["sh"], "env": ["A=1", "C=3"], "cwd": "/",
            "user": {"uid": 5, "gid": 6, "additionalGids": [7]},
            "capabilities": {"bounding": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}}"#,
        )
        .unwrap()
    }

    fn change(args: &str) -> Overrides {
        Overrides { args: vec![args.to_owned()], ..Overrides::default() }
    }

    #[test]
    fn what_is_not_changed_is_the_configuration_s_but_the_command_and_the_terminal() {
        let p = change("true").apply(&configured(), None).unwrap();
        assert_eq!((p.args.as_slice(), p.terminal), (&["true".to_owned()][..], false));
        assert_eq!((p.env, p.cwd.as_str()), (configured().env, "/"));
        assert_eq!((p.user.uid, p.user.gid, p.user.additional_gids), (5, 6, vec![7]));
    }

    /// T26
    #[test]
    fn t26_a_further_capability_is_neither_inheritable_nor_ambient() {
        let c = Overrides { caps: vec!["CAP_CHOWN".into()], ..change("true") };
        let caps = c.apply(&configured(), None).unwrap().capabilities.unwrap();
        assert_eq!(caps.bounding, ["CAP_KILL", "CAP_CHOWN"]);
        assert_eq!(
            (caps.effective, caps.permitted),
            (vec!["CAP_CHOWN".to_owned()], vec!["CAP_CHOWN".to_owned()])
        );
        assert_eq!(caps.inheritable, ["CAP_KILL"]);
        assert!(caps.ambient.is_empty());
    }

    #[test]
    fn every_change_is_made() {
        let c = Overrides {
            env: vec!["B=2".into(), "A=9".into()],
            cwd: Some("/tmp".into()),
            user: Some(user::user("1:2").unwrap()),
            groups: vec![9],
            terminal: true,
            terminal_size: Some((80, 24)),
            no_new_privs: Some(true),
            apparmor: Some("a".into()),
            selinux: Some("s".into()),
            ..change("true")
        };
        let p = c.apply(&configured(), c.numeric_ids()).unwrap();
        assert_eq!(p.env, ["C=3", "B=2", "A=9"]);
        assert_eq!((p.user.uid, p.user.gid, p.user.additional_gids), (1, 2, vec![7, 9]));
        let size = p.console_size.unwrap();
        assert_eq!((size.height, size.width), (24, 80));
        assert_eq!((p.cwd.as_str(), p.terminal, p.no_new_privileges), ("/tmp", true, true));
        assert_eq!((p.apparmor_profile.as_str(), p.selinux_label.as_str()), ("a", "s"));
    }

    #[test]
    fn a_user_without_a_group_keeps_the_configuration_s() {
        let of = |u: &str| Overrides { user: Some(user::user(u).unwrap()), ..change("x") };
        let ids = |u: &str| of(u).numeric_ids();
        assert_eq!(ids("3"), Some(Ids { uid: 3, gid: None, groups: None }));
        assert_eq!(ids("ann"), None);
        assert_eq!(ids("3:staff"), None);
        let p = of("3").apply(&configured(), ids("3")).unwrap();
        assert_eq!((p.user.uid, p.user.gid, p.user.additional_gids), (3, 6, vec![7]));
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(Overrides::default().apply(&configured(), None).is_err());
        for bad in ["", "80", "80x", "x24", "80x24x1", "+80x24", "70000x1", "-1x2"] {
            assert!(terminal_size(bad).is_err(), "{bad}");
        }
        assert_eq!(terminal_size("80x24").unwrap(), (80, 24));
        assert!(group("-1").is_err() && group("4294967295").is_err());
        assert!(parse(b"{").is_err() && parse(b"3").is_err() && parse(b"[]").is_err());
    }
}
