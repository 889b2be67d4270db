//! `--profile`: finding a policy file, applying it, and the script that it wants signed.

#![forbid(unsafe_code)]

use super::settings::{BRIDGE, Settings, invalid};
use crate::error::{Error, Kind, Result};
use crate::plan::policy::Script;
use crate::plan::profile::keys::{Form, Key};
use crate::plan::profile::signature::PublicKey;
use crate::plan::profile::{self, EMBEDDED, MAX_SIZE, Profile};
use crate::plan::values::{nearest, quote};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longest script that is signed.
const MAX_SCRIPT: u64 = 4 << 20;
/// Longest key or signature.
const MAX_SIGNATURE: u64 = 16 << 10;

/// A file of policies.
#[derive(Debug)]
pub(super) struct File {
    /// Its name for messages.
    pub(super) name: String,
    /// Where its relative paths begin.
    base: PathBuf,
    /// The policies in it.
    pub(super) policies: Vec<Profile>,
}

/// One policy, ready to be applied.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) file: String,
    base: PathBuf,
    pub(super) profile: Profile,
    key: Option<PublicKey>,
}

/// Reads `NAME|FILE[#POLICY]`.
pub(super) fn load(spec: &str) -> Result<Loaded> {
    let (path, policy) = split(spec);
    let mut file = read(path)?;
    let chosen = profile::select(&file.name, &file.policies, policy)?.name.clone();
    file.policies.retain(|p| p.name == chosen);
    match file.policies.pop() {
        Some(profile) => prepare(&file.name, &file.base, profile),
        None => Err(invalid(format!("policy {}: it is empty", quote(spec)), "write a key")),
    }
}

/// All policies of `NAME|FILE`, or the one that is named; each with what is wrong with it.
pub(super) fn load_all(spec: &str) -> Result<Vec<Result<Loaded>>> {
    let (path, policy) = split(spec);
    if policy.is_some() {
        return Ok(vec![load(spec)]);
    }
    let file = read(path)?;
    Ok(file.policies.into_iter().map(|p| prepare(&file.name, &file.base, p)).collect())
}

/// A path may hold a `#` as long as a `/` follows.
fn split(spec: &str) -> (&str, Option<&str>) {
    match spec.rsplit_once('#') {
        Some((path, policy)) if !policy.contains('/') => (path, Some(policy)),
        _ => (spec, None),
    }
}

fn read(path: &str) -> Result<File> {
    if let Some((name, text)) = EMBEDDED.iter().find(|(name, _)| *name == path) {
        return Ok(File {
            name: (*name).to_owned(),
            base: PathBuf::new(),
            policies: profile::parse(name, text.as_bytes())?,
        });
    }
    let names = EMBEDDED.iter().map(|(name, _)| *name);
    let bytes = read_file(Path::new(path), MAX_SIZE as u64).map_err(|e| {
        let e = e.context(format!("read the policy {}", quote(path)));
        if e.kind() != Kind::NotFound || path.contains('/') {
            return e;
        }
        e.hint(match nearest(path, names.clone()) {
            Some(near) => format!("did you mean {near}?"),
            None => {
                format!("give a file, or one of {}", names.clone().collect::<Vec<_>>().join(", "))
            }
        })
    })?;
    Ok(File {
        name: path.to_owned(),
        base: Path::new(path).parent().map(Path::to_owned).unwrap_or_default(),
        policies: profile::parse(path, &bytes)?,
    })
}

/// A regular file, whole, once. A FIFO does not hang it and a long file is an error, not cut.
fn read_file(path: &Path, longest: u64) -> Result<Vec<u8>> {
    let os = |e| Error::os(format!("open {}", quote(&path.to_string_lossy())), e);
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(os)?;
    if !file.metadata().map_err(os)?.is_file() {
        let shown = quote(&path.to_string_lossy());
        return Err(invalid(format!("{shown} is no regular file"), "give a file"));
    }
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes).map_err(os)?;
    if bytes.len() as u64 > longest {
        let shown = quote(&path.to_string_lossy());
        let hint = format!("at most {} KiB are read", longest >> 10);
        return Err(invalid(format!("{shown} is too long"), &hint));
    }
    Ok(bytes)
}

fn prepare(file: &str, base: &Path, profile: Profile) -> Result<Loaded> {
    let key = match &profile.require_signature {
        None => None,
        Some((name, line)) => {
            let path = base.join(name);
            let place = || format!("{}: require_signature", profile::place(file, *line));
            let bytes = read_file(&path, MAX_SIGNATURE).map_err(|e| e.context(place()))?;
            Some(PublicKey::parse(&bytes).map_err(|why| {
                invalid(
                    format!("{}: {}: {why}", place(), quote(&path.to_string_lossy())),
                    "give the .pub file that minisign -G made",
                )
            })?)
        }
    };
    Ok(Loaded { file: file.to_owned(), base: base.to_owned(), profile, key })
}

impl Loaded {
    /// Puts it into the settings, but for single values of options that were `typed`: those are
    /// overridden, whatever they are. What is typed of a list adds to it.
    pub(super) fn apply(
        &self,
        settings: &mut Settings,
        typed: impl Fn(&str) -> bool,
    ) -> Result<()> {
        settings.base.clone_from(&self.base);
        settings.policy.restricted = self.profile.restricted;
        let adds_up = |key: &Key| matches!(key.form, Form::List | Form::Pairs);
        for s in self.profile.settings.iter().filter(|s| adds_up(s.key) || !typed(s.key.name)) {
            let Err(e) = settings.set(s.key.name, &s.value) else { continue };
            let e = e.context(format!("{}: {}", profile::place(&self.file, s.line), s.key.name));
            // A file of the agents may say so, and its other policies are as good as ever.
            if s.key.name == "network" && s.value == BRIDGE {
                settings.refused = Some(e);
                continue;
            }
            if e.hint_text().is_some() || e.kind() != Kind::InvalidConfig {
                return Err(e);
            }
            return Err(e.hint("docs/jail.md lists the forms: a policy takes those of the options"));
        }
        Ok(())
    }

    /// What is run when this was typed: with `require_signature` the first word is the script,
    /// which is read here, once, verified, and given to the jail as the bytes that were verified.
    pub(super) fn command(
        &self,
        typed: Vec<String>,
        settings: &mut Settings,
    ) -> Result<Vec<String>> {
        let Some(key) = &self.key else { return Ok(typed) };
        let mut words = typed.into_iter();
        let path = words.next().unwrap_or_default();
        let script = verified(key, &path).map_err(|e| {
            e.context(format!("policy {} wants a signed script", quote(&self.file)))
        })?;
        let mut command = self.profile.interpreter.clone();
        command.push(script.path());
        command.extend(words);
        settings.policy.script = Some(script);
        Ok(command)
    }
}

fn verified(key: &PublicKey, path: &str) -> Result<Script> {
    let hint = "its first word after the options is the script, a file of the host, without an \
                interpreter before it";
    let shown = quote(path);
    let contents = read_file(Path::new(path), MAX_SCRIPT).map_err(|e| match e.hint_text() {
        Some(_) => e,
        None => e.hint(hint),
    })?;
    let name = Path::new(path)
        .file_name()
        .and_then(std::ffi::OsStr::to_str)
        .ok_or_else(|| invalid(format!("{shown} has no file name"), hint))?
        .to_owned();
    let beside = format!("{path}.minisig");
    let make = format!("sign it: minisign -S -s SECRET.key -m {shown}");
    let signature = read_file(Path::new(&beside), MAX_SIGNATURE).map_err(|e| {
        let e = e.context(format!("{shown} has no signature"));
        if e.hint_text().is_some() { e } else { e.hint(make.clone()) }
    })?;
    key.verify(&contents, &signature).map_err(|why| {
        Error::new(Kind::Refused, format!("the signature {} does not hold: {why}", quote(&beside)))
            .hint("do not run it; if it is yours, sign it again with the policy's key")
    })?;
    Ok(Script { name, contents })
}
