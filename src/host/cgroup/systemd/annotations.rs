//! `org.systemd.property.NAME` annotations: further properties of the unit, their values in
//! GVariant's text format, as runc takes them (runc, docs/systemd.md). Pure.

use super::properties::Properties;
use super::wire::Value;
use crate::error::{Error, Kind, Result};
use crate::plan::values::quote;
use std::collections::BTreeMap;

const PREFIX: &str = "org.systemd.property.";

/// What says which processes are in the unit and where it is: by these a container would be outside
/// of its limits, or somebody else's process would end with it.
const OURS: [&str; 6] = ["PIDs", "PIDFDs", "Slice", "Delegate", "Controller", "User"];

/// Values within values and types before them: D-Bus has no deeper arrays (specification, "Valid
/// Signatures").
const DEEPEST: u8 = 32;

/// All of them.
///
/// # Errors
/// A name that is none, one that is not the configuration's to say, a value that cannot be read.
pub(super) fn properties(annotations: &BTreeMap<String, String>) -> Result<Properties> {
    let mut list = Properties::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let bad = |why: &str| {
            let text = format!("annotation {} {why}", quote(key));
            Error::new(Kind::InvalidConfig, text)
        };
        if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(bad("does not name a property"));
        }
        if OURS.contains(&name) {
            return Err(bad("sets what the container's unit needs otherwise")
                .hint("take the annotation out"));
        }
        let value = parse(text).ok_or_else(|| {
            bad(&format!("has the value {}, which is not understood", quote(text)))
                .hint("write it in GVariant's text format: 'text', true, uint64 5, ['a', 'b']")
        })?;
        // Units are USec on the bus, and people write seconds: `TimeoutStopSec`.
        let stem =
            name.strip_suffix("Sec").filter(|s| s.ends_with(|c: char| c.is_ascii_lowercase()));
        list.push(match stem {
            Some(stem) => {
                let value = micro(&value).ok_or_else(|| bad("is no number of seconds"))?;
                (format!("{stem}USec"), value)
            }
            None => (name.to_owned(), value),
        });
    }
    Ok(list)
}

fn micro(value: &Value) -> Option<Value> {
    const SECOND: u64 = 1_000_000;
    let whole = match value {
        Value::Byte(n) => u64::from(*n),
        Value::U16(n) => u64::from(*n),
        Value::U32(n) => u64::from(*n),
        Value::U64(n) => *n,
        Value::I16(n) => u64::try_from(*n).ok()?,
        Value::I32(n) => u64::try_from(*n).ok()?,
        Value::I64(n) => u64::try_from(*n).ok()?,
        Value::Double(n) => {
            let micro = n * 1e6;
            // By the text, which is exact where a cast would be silent.
            return format!("{micro:.0}").parse().ok().map(Value::U64);
        }
        _ => return None,
    };
    whole.checked_mul(SECOND).map(Value::U64)
}

fn parse(text: &str) -> Option<Value> {
    let mut rest = text.trim();
    let value = value(&mut rest, None, DEEPEST)?;
    rest.trim().is_empty().then_some(value)
}

/// One value, whose type is given, or by default text, boolean, int32 or double.
fn value(rest: &mut &str, asked: Option<&str>, depth: u8) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    *rest = rest.trim_start();
    if let Some(typed) = rest.strip_prefix('@') {
        let (of, behind) = typed.split_once(char::is_whitespace)?;
        *rest = behind;
        return value(rest, Some(of), depth);
    }
    match rest.chars().next()? {
        quote @ ('\'' | '"') => {
            let text = quoted(rest, quote)?;
            match asked {
                None | Some("s") => Some(Value::Text(text)),
                Some("o") => Some(Value::ObjectPath(text)),
                _ => None,
            }
        }
        '[' => array(rest, asked, depth),
        _ => {
            let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | ')'));
            let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
            *rest = behind;
            if let Some(of) = keyword(word) {
                return if asked.is_none() { value(rest, Some(of), depth) } else { None };
            }
            scalar(word, asked)
        }
    }
}

fn keyword(word: &str) -> Option<&'static str> {
    Some(match word {
        "boolean" => "b",
        "byte" => "y",
        "int16" => "n",
        "uint16" => "q",
        "int32" => "i",
        "uint32" => "u",
        "int64" => "x",
        "uint64" => "t",
        "double" => "d",
        "string" => "s",
        "objectpath" => "o",
        _ => return None,
    })
}

fn scalar(word: &str, asked: Option<&str>) -> Option<Value> {
    let default = match word {
        "true" | "false" => "b",
        w if w.contains(['.', 'e', 'E']) && !w.starts_with("0x") => "d",
        _ => "i",
    };
    let (sign, digits) = word.strip_prefix('-').map_or((1, word), |digits| (-1, digits));
    let number = || {
        let number = match digits.strip_prefix("0x") {
            Some(hex) => i128::from(u64::from_str_radix(hex, 16).ok()?),
            None => i128::from(digits.parse::<u64>().ok()?),
        };
        Some(sign * number)
    };
    Some(match asked.unwrap_or(default) {
        "b" => Value::Bool(word.parse().ok()?),
        "y" => Value::Byte(number()?.try_into().ok()?),
        "n" => Value::I16(number()?.try_into().ok()?),
        "q" => Value::U16(number()?.try_into().ok()?),
        "i" => Value::I32(number()?.try_into().ok()?),
        "u" => Value::U32(number()?.try_into().ok()?),
        "x" => Value::I64(number()?.try_into().ok()?),
        "t" => Value::U64(number()?.try_into().ok()?),
        "d" => Value::Double(word.parse().ok()?),
        _ => return None,
    })
}

fn quoted(rest: &mut &str, quote: char) -> Option<String> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                c @ ('\\' | '\'' | '"') => c,
                _ => return None,
            }),
            c if c == quote => {
                *rest = rest.get(at + 1..)?;
                return Some(out);
            }
            // The end of a text on the bus.
            '\0' => return None,
            c => out.push(c),
        }
    }
    None
}

/// All of the type of the first; an empty one needs its type said: `@as []`.
fn array(rest: &mut &str, asked: Option<&str>, depth: u8) -> Option<Value> {
    let of = match asked {
        Some(of) => Some(of.strip_prefix('a')?),
        None => None,
    };
    *rest = rest.strip_prefix('[')?.trim_start();
    let mut list = Vec::new();
    let mut found = of.map(str::to_owned);
    while !rest.starts_with(']') {
        let next = value(rest, found.as_deref(), depth)?;
        found.get_or_insert_with(|| next.signature());
        list.push(next);
        *rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(behind) => *rest = behind.trim_start(),
            None if rest.starts_with(']') => {}
            None => return None,
        }
    }
    *rest = rest.get(1..)?;
    Some(Value::Array(found?, list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, text: &str) -> Result<(String, Value)> {
        let map = BTreeMap::from([(format!("{PREFIX}{name}"), text.to_owned())]);
        properties(&map).map(|mut list| list.remove(0))
    }

    #[test]
    fn values_are_read_as_gvariant_writes_them() {
        for (text, value) in [
            ("true", Value::Bool(true)),
            ("5", Value::I32(5)),
            ("-5", Value::I32(-5)),
            ("uint64 18446744073709551615", Value::U64(u64::MAX)),
            ("byte 0x10", Value::Byte(16)),
            ("@t 7", Value::U64(7)),
            ("1.5", Value::Double(1.5)),
            ("'inactive-or-failed'", Value::text("inactive-or-failed")),
            ("\"it's\"", Value::text("it's")),
            (r"'a\'b'", Value::text("a'b")),
            ("['a', 'b']", Value::Array("s".to_owned(), vec![Value::text("a"), Value::text("b")])),
            ("@as []", Value::Array("s".to_owned(), Vec::new())),
        ] {
            assert_eq!(one("Name", text).unwrap().1, value, "{text}");
        }
        for bad in ["", "'a", "abc", "[", "[]", "['a', 5]", "5 6", "byte 256", "@u -1", "{'a': 1}"]
        {
            assert!(one("Name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_that_is_nested_without_end_is_an_error_and_no_crash() {
        for part in ["[", "@as ", "@s @as ["] {
            assert!(one("Name", &part.repeat(1 << 20)).is_err(), "{part}");
        }
    }

    #[test]
    fn seconds_are_microseconds_on_the_bus() {
        assert_eq!(
            one("TimeoutStopSec", "5").unwrap(),
            ("TimeoutStopUSec".to_owned(), Value::U64(5_000_000))
        );
        assert_eq!(one("RuntimeMaxSec", "1.5").unwrap().1, Value::U64(1_500_000));
        assert_eq!(one("TimeoutStopUSec", "uint64 9").unwrap().0, "TimeoutStopUSec");
        for bad in ["'5'", "-5", "uint64 18446744073709551615"] {
            assert!(one("TimeoutStopSec", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_is_in_the_unit_is_not_the_configurations_to_say() {
        for name in OURS {
            let e = one(name, "'x'").unwrap_err().to_string();
            assert!(e.contains(name), "{e}");
        }
        for name in ["ab", "A.b", "A1", ""] {
            assert!(one(name, "true").is_err(), "{name}");
        }
        let other = BTreeMap::from([("org.example".to_owned(), "x".to_owned())]);
        assert!(properties(&other).unwrap().is_empty());
    }
}
