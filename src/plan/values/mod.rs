//! Values as they are typed on a command line, in Docker's forms, turned into plain data.
//!
//! This file holds what the parsers share: the one error type, the escaping of foreign text for
//! messages, "did you mean", and exact decimal numbers. The parsers are sorted by subject:
//!
//! * `size` - bytes, memory-swap, pids-limit, ulimit
//! * `duration` - time, and CPU time: durations, cpus, cpu-shares, cpuset
//! * `mount` - tmpfs, volume, mount
//! * `user` - who and which: user, group-add, container id, hostname
//! * `misc` - env, env-file, label, signal, capability, security-opt
//!
//! Everything here is pure: no file, clock or environment is read, so whether a path or a user
//! exists is not known here. A value that could mean two things is refused, not guessed.
#![forbid(unsafe_code)]

pub mod duration;
pub mod misc;
pub mod mount;
pub mod size;
pub mod user;

use std::fmt;

/// The result of every parser of this module.
pub type Result<T> = std::result::Result<T, ValueError>;

/// A value that was refused: what it was meant to be, what was typed, and why it cannot be.
///
/// `value` is already escaped and shortened, so it is safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// What the value was meant to be, such as `memory size`.
    pub what: String,
    /// The value, escaped and shortened.
    pub value: String,
    /// Why it was refused; escaped.
    pub why: String,
    /// What to type instead.
    pub hint: Option<String>,
}

impl ValueError {
    /// An error without a hint. `why` must hold foreign text only by way of [`quote`].
    pub fn new(what: impl Into<String>, value: &str, why: impl Into<String>) -> Self {
        Self { what: what.into(), value: echo(value), why: why.into(), hint: None }
    }

    /// Like [`ValueError::new`], for a value that need not be UTF-8.
    pub fn from_bytes(what: impl Into<String>, value: &[u8], why: impl Into<String>) -> Self {
        // A character is at most four bytes, so this much input is enough.
        let value = &value[..value.len().min(MAX_ECHO * 4 + 4)];
        Self {
            what: what.into(),
            value: shorten(&escape_bytes(value)),
            why: why.into(),
            hint: None,
        }
    }

    /// Adds what to type instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds `did you mean "…"?` if a candidate is near to `word`.
    #[must_use]
    pub fn suggest(self, word: &str, candidates: &[&str]) -> Self {
        match nearest(word, candidates.iter().copied()) {
            Some(found) => self.hint(format!("did you mean \"{found}\"?")),
            None => self,
        }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid {} \"{}\": {}", self.what, self.value, self.why)
    }
}

impl std::error::Error for ValueError {}

/// The longest text, in characters, that a message repeats from its input.
const MAX_ECHO: usize = 100;

/// Text made safe to show between double quotes on a terminal: control characters, bidirectional
/// overrides, quotes and backslashes become Rust escapes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' => out.push(c),
            // Fillers of Hangul count as letters and are not seen.
            '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => out.extend(c.escape_unicode()),
            _ => out.extend(c.escape_debug()),
        }
    }
    out
}

/// Like [`escape`]; bytes that are not UTF-8 become `\xNN`.
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&escape(chunk.valid()));
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// A foreign word for use in `why` or `hint`: escaped, shortened, between double quotes.
pub fn quote(text: &str) -> String {
    format!("\"{}\"", echo(text))
}

fn echo(text: &str) -> String {
    // One character of input gives at least one of output, so no more is ever needed.
    let end = text.char_indices().nth(MAX_ECHO + 1).map_or(text.len(), |(at, _)| at);
    shorten(&escape(&text[..end]))
}

fn shorten(escaped: &str) -> String {
    match escaped.char_indices().nth(MAX_ECHO) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None => escaped.to_owned(),
    }
}

/// The candidate that `word` most likely was meant to be: at most two typing errors away, one for
/// a word of up to three letters, ignoring case.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let limit = if word.len() <= 3 { 1 } else { 2 };
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edit distance in bytes, ignoring ASCII case. Two neighbours swapped count as one edit, since
/// that is the commonest typing error ("optimal string alignment").
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase().into_bytes(), b.to_ascii_lowercase().into_bytes());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

/// A whole number of ASCII digits only. (`str::parse` would also take `+5`.)
pub(crate) fn digits(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Splits `1.5g` into `1.5` and `g`.
pub(crate) fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// A decimal number times `unit`, exactly, rounded down. Refuses what does not fit in an `i64`,
/// since that is what Docker and the kernel's interfaces hold.
pub(crate) fn scaled(number: &str, unit: u64) -> std::result::Result<u64, &'static str> {
    const TOO_LARGE: &str = "the number is too large";
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return Err("it is not a decimal number");
    }
    let mut total = match whole.trim_start_matches('0') {
        "" => 0,
        whole => u128::from(whole.parse::<u64>().map_err(|_| TOO_LARGE)?) * u128::from(unit),
    };
    // 18 digits are exact for every unit in use; what follows them is less than one byte or tick.
    let (mut numerator, mut denominator) = (0_u128, 1_u128);
    for digit in fraction.bytes().take(18) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        denominator *= 10;
    }
    total += numerator * u128::from(unit) / denominator;
    match i64::try_from(total) {
        Ok(total) => Ok(total.unsigned_abs()),
        Err(_) => Err(TOO_LARGE),
    }
}

/// The fields of one line of CSV (RFC 4180): a field with a comma stands between double quotes.
pub(crate) fn csv(line: &str) -> std::result::Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let mut field = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            rest = loop {
                let (text, after) = quoted.split_once('"').ok_or("a quote is not closed")?;
                field.push_str(text);
                let Some(next) = after.strip_prefix('"') else { break after };
                field.push('"');
                quoted = next;
            };
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field.push_str(&rest[..end]);
            rest = &rest[end..];
            if field.contains('"') {
                return Err("a quote stands inside a field");
            }
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(fields),
            None => return Err("text follows a closing quote"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_the_thing_the_value_and_the_reason() {
        let error = ValueError::new("memory size", "12q", format!("unknown unit {}", quote("q")));
        assert_eq!(error.to_string(), r#"invalid memory size "12q": unknown unit "q""#);
    }

    #[test]
    fn t41_control_characters_never_reach_the_terminal() {
        assert_eq!(escape("a\x1b[2J\n\"\\'\u{202e}é"), r#"a\u{1b}[2J\n\"\\'\u{202e}é"#);
        assert_eq!(escape_bytes(b"ok\xff\0\xc3"), r"ok\xff\0\xc3");
        assert_eq!(ValueError::new("x", "\x1b", "no").to_string(), r#"invalid x "\u{1b}": no"#);
    }

    #[test]
    fn t41_a_megabyte_of_input_gives_a_short_message() {
        assert_eq!(ValueError::new("x", &"é".repeat(1 << 20), "no").value.chars().count(), 101);
        let bytes = ValueError::from_bytes("x", &vec![0xff; 1 << 20], "no");
        assert_eq!(bytes.value.chars().count(), 101);
        assert_eq!(ValueError::new("x", &"a".repeat(100), "no").value, "a".repeat(100));
    }

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(nearest("raedonly", ["ro", "readonly"]), Some("readonly"));
        assert_eq!(nearest("NET_ADMN", ["NET_RAW", "NET_ADMIN"]), Some("NET_ADMIN"));
        assert_eq!(nearest("xyz", ["ro", "rw"]), None);
        assert_eq!(nearest("", ["r"]), None);
        assert_eq!(nearest(&"a".repeat(1 << 20), ["ro"]), None);
    }

    #[test]
    fn numbers_are_plain_decimals() {
        assert_eq!(digits("10"), Some(10));
        for bad in ["", "+1", "-1", " 1", "1_0", "0x1", "１", "99999999999999999999"] {
            assert_eq!(digits(bad), None, "{bad}");
        }
        assert_eq!(scaled("1.5", 1024), Ok(1536));
        assert_eq!(scaled(".5", 10), Ok(5));
        assert_eq!(scaled("2.", 10), Ok(20));
        assert_eq!(scaled("0.3333333333333333333333", 9), Ok(2));
        assert_eq!(scaled("9223372036854775807", 1), Ok(9_223_372_036_854_775_807));
        for bad in ["", ".", "1.2.3", "1e3", "NaN", "inf", "9223372036854775808"] {
            assert!(scaled(bad, 1).is_err(), "{bad}");
        }
        assert!(scaled("8388608", 1 << 40).is_err());
    }
}
