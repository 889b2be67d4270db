//! Policy files: what one or several policies say, read from YAML and not yet applied.
//!
//! PURE: bytes in, data out. What stands behind a key stays the text that was typed; the parsers
//! of the command line read it when the policy is applied, so both take the same forms.

#![forbid(unsafe_code)]

pub mod keys;
pub mod schema;
pub mod signature;
mod yaml;

use super::policy::Restricted;
use super::values::{nearest, quote};
use crate::error::{Error, Kind, Result};
use keys::{Form, Key};
use yaml::{Fault, Node, Value};

pub use yaml::MAX_SIZE;

/// The profiles that are part of the program, by name.
pub const EMBEDDED: [(&str, &str); 4] = [
    ("python", include_str!("../../../profiles/python.yaml")),
    ("node", include_str!("../../../profiles/node.yaml")),
    ("shell", include_str!("../../../profiles/shell.yaml")),
    ("restricted", include_str!("../../../profiles/restricted.yaml")),
];

/// One policy of a file.
#[derive(Debug, Default)]
pub struct Profile {
    /// Its name, if the file names its policies.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The image that another engine would use.
    pub image: Option<String>,
    /// Computation only.
    pub restricted: Option<Restricted>,
    /// The public key that the script's signature must be of: its file and the line.
    pub require_signature: Option<(String, usize)>,
    /// What runs the signed script.
    pub interpreter: Vec<String>,
    /// Options, in the order in which they are applied.
    pub settings: Vec<Setting>,
}

/// One value of an option.
#[derive(Debug)]
pub struct Setting {
    /// Which.
    pub key: &'static Key,
    /// Where it stands.
    pub line: usize,
    /// As it would be typed on the command line.
    pub value: String,
}

/// The policies of a file. `file` is its name for messages.
///
/// # Errors
/// It is no YAML, or has a key that is unknown, twice, or of the wrong form; with the line.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Vec<Profile>> {
    document(bytes).map_err(|fault| {
        let place = place(file, fault.line);
        Error::new(Kind::InvalidConfig, format!("{place}: {}", fault.message)).hint(fault.hint)
    })
}

/// A line of a file, for messages.
#[must_use]
pub fn place(file: &str, line: usize) -> String {
    match line {
        0 => format!("policy {}", quote(file)),
        _ => format!("policy {}, line {line}", quote(file)),
    }
}

/// The policy of this name, or the only one.
///
/// # Errors
/// There is none of the name; there are several and none was named.
pub fn select<'a>(file: &str, all: &'a [Profile], name: Option<&str>) -> Result<&'a Profile> {
    let names: Vec<&str> = all.iter().filter_map(|p| p.name.as_deref()).collect();
    let listed = || names.iter().map(|n| quote(n)).collect::<Vec<_>>().join(", ");
    let bad = |message: String, hint: String| {
        Err(Error::new(Kind::InvalidConfig, format!("policy {}: {message}", quote(file)))
            .hint(hint))
    };
    match (all, name) {
        ([only], None) => Ok(only),
        (_, None) => bad(
            format!("it holds {} policies and none was named", all.len()),
            format!("add # and a name of {}", listed()),
        ),
        (_, Some(name)) => match all.iter().find(|p| p.name.as_deref() == Some(name)) {
            Some(found) => Ok(found),
            None if names.is_empty() => bad(
                format!("it is a single policy, and has none of the name {}", quote(name)),
                "leave # and the name out".to_owned(),
            ),
            None => bad(
                format!("it has no policy {}", quote(name)),
                match nearest(name, names.iter().copied()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("it has {}", listed()),
                },
            ),
        },
    }
}

fn document(bytes: &[u8]) -> std::result::Result<Vec<Profile>, Fault> {
    let root = yaml::parse(bytes)?;
    let Value::Map(entries) = root.value else {
        let hint = "write keys and values, such as memory: 256m";
        return Err(Fault::new(root.line, format!("it is {}", root.value.kind()), hint));
    };
    if !entries.iter().any(|(key, _, _)| key == "policies") {
        return Ok(vec![profile(None, entries)?]);
    }
    let mut found = Vec::new();
    for (key, line, node) in entries {
        match (key.as_str(), node.value) {
            ("policies", Value::Map(policies)) if !policies.is_empty() => {
                for (name, line, node) in policies {
                    found.push(named(name, line, node)?);
                }
            }
            ("policies", other) => {
                let what = if other.is_null() { "nothing" } else { other.kind() };
                let hint = "write a name and, indented, its keys";
                return Err(Fault::new(line, format!("behind policies is {what}"), hint));
            }
            ("description", Value::Scalar(..)) => {}
            ("description", other) => return Err(wrong_form("description", line, &other, "text")),
            (key, _) => {
                let message = format!("the key {} stands beside policies", quote(key));
                let hint = match keys::find(key) {
                    Some(_) => "write it in the policies that need it".to_owned(),
                    None => keys::hint(key),
                };
                return Err(Fault::new(line, message, hint));
            }
        }
    }
    Ok(found)
}

fn named(name: String, line: usize, node: Node) -> std::result::Result<Profile, Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        let hint = "use letters, digits and _ . -";
        return Err(Fault::new(line, format!("{} is no name of a policy", quote(&name)), hint));
    }
    match node.value {
        Value::Map(entries) => profile(Some(name), entries),
        ref value if value.is_null() => profile(Some(name), Vec::new()),
        other => {
            let message = format!("the policy {} is {}", quote(&name), other.kind());
            Err(Fault::new(line, message, "write its keys, indented"))
        }
    }
}

fn wrong_form(key: &str, line: usize, value: &Value, wanted: &str) -> Fault {
    let what = if value.is_null() { "no value" } else { value.kind() };
    Fault::new(line, format!("{key} has {what}"), format!("give it {wanted}"))
}

fn profile(
    name: Option<String>,
    entries: Vec<(String, usize, Node)>,
) -> std::result::Result<Profile, Fault> {
    let mut profile = Profile { name, ..Profile::default() };
    let mut seen: Vec<(&'static str, usize)> = Vec::new();
    let mut interpreter = 0;
    for (typed, line, node) in entries {
        let Some(key) = keys::find(&typed) else {
            let message = format!("unknown key {}", quote(&typed));
            return Err(Fault::new(line, message, keys::hint(&typed)));
        };
        if let Some((_, first)) = seen.iter().find(|(name, _)| *name == key.name) {
            let message = format!("{} is there twice, first in line {first}", key.name);
            return Err(Fault::new(line, message, "leave one of them out"));
        }
        seen.push((key.name, line));
        if node.value.is_null() {
            let hint = format!("give it one, or leave {} out", key.name);
            return Err(Fault::new(line, format!("{} has no value", key.name), hint));
        }
        if key.name == "restrict" {
            profile.restricted = Some(restricted(line, node.value)?);
            continue;
        }
        let values = values(key, line, node)?;
        let first = || values.first().map(|(_, text)| text.clone()).unwrap_or_default();
        match key.name {
            "description" => profile.description = Some(first()),
            "image" => profile.image = Some(first()),
            "require_signature" => profile.require_signature = Some((first(), line)),
            "interpreter" => {
                interpreter = line;
                profile.interpreter = values.into_iter().map(|(_, text)| text).collect();
            }
            _ => profile.settings.extend(values.into_iter().map(|(line, value)| Setting {
                key,
                line,
                value,
            })),
        }
    }
    if interpreter != 0 && profile.require_signature.is_none() {
        let hint = "leave it out: the command is given when the policy is used";
        let message = "interpreter without require_signature";
        return Err(Fault::new(interpreter, message, hint));
    }
    // As on the command line, where env wins over env-file wherever it stands.
    let order = |key: &Key| keys::KEYS.iter().position(|k| k.name == key.name);
    profile.settings.sort_by_key(|s| order(s.key));
    Ok(profile)
}

fn restricted(line: usize, value: Value) -> std::result::Result<Restricted, Fault> {
    let wanted = "threads: true or threads: false, indented";
    let Value::Map(entries) = value else {
        return Err(wrong_form("restrict", line, &value, wanted));
    };
    let mut threads = None;
    for (key, line, node) in entries {
        if key != "threads" {
            let message = format!("unknown key {} of restrict", quote(&key));
            return Err(Fault::new(line, message, format!("it has one: {wanted}")));
        }
        threads = Some(switch("threads", line, &node.value)?);
    }
    match threads {
        Some(threads) => Ok(Restricted { threads }),
        None => Err(Fault::new(line, "restrict does not say threads", format!("give it {wanted}"))),
    }
}

fn switch(key: &str, line: usize, value: &Value) -> std::result::Result<bool, Fault> {
    match value {
        Value::Scalar(text, true) if text == "true" => Ok(true),
        Value::Scalar(text, true) if text == "false" => Ok(false),
        Value::Scalar(text, _) => {
            let message = format!("{key} is true or false, and not {}", quote(text));
            Err(Fault::new(line, message, "write true or false, without quotes"))
        }
        other => Err(wrong_form(key, line, other, "true or false")),
    }
}

/// The values behind a key, as texts with their lines.
fn values(
    key: &'static Key,
    line: usize,
    node: Node,
) -> std::result::Result<Vec<(usize, String)>, Fault> {
    match (key.form, node.value) {
        (Form::Switch, value) => Ok(vec![(line, switch(key.name, line, &value)?.to_string())]),
        (_, Value::Scalar(text, _)) => Ok(vec![(line, text)]),
        (Form::List | Form::Pairs, Value::List(items)) => items
            .into_iter()
            .map(|item| match item.value {
                ref value if value.is_null() => {
                    Err(wrong_form(key.name, item.line, value, "a value behind each -"))
                }
                Value::Scalar(text, _) => Ok((item.line, text)),
                other => {
                    let hint = "write one text behind each -, in quotes if it has a colon and a \
                                blank";
                    let message = format!("an item of {} is {}", key.name, other.kind());
                    Err(Fault::new(item.line, message, hint))
                }
            })
            .collect(),
        (Form::Pairs, Value::Map(pairs)) => pairs
            .into_iter()
            .map(|(name, line, node)| match node.value {
                ref value if value.is_null() => {
                    let message = format!("{} of {} has no value", quote(&name), key.name);
                    let hint = "nothing is taken from the caller's environment; \"\" is an empty \
                                one";
                    Err(Fault::new(line, message, hint))
                }
                Value::Scalar(text, _) if !name.is_empty() && !name.contains('=') => {
                    Ok((line, format!("{name}={text}")))
                }
                Value::Scalar(..) => {
                    let message = format!("{} is no name for {}", quote(&name), key.name);
                    Err(Fault::new(line, message, "a name has no ="))
                }
                other => Err(wrong_form(&quote(&name), line, &other, "text")),
            })
            .collect(),
        (Form::List, other) => Err(wrong_form(key.name, line, &other, "a list or a single value")),
        (_, other) => Err(wrong_form(key.name, line, &other, "a single value")),
    }
}

#[cfg(test)]
mod tests;
