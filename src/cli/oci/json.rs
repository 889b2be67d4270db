//! JSON whose keys stay in the order in which they were written: what people read should begin
//! with what matters, and some of runc's callers compare its lines as text.

#![forbid(unsafe_code)]

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

/// A value.
#[derive(Debug)]
pub(super) enum Json {
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Bool(b) => s.serialize_bool(*b),
            Json::Number(n) => n.serialize(s),
            Json::Text(t) => s.serialize_str(t),
            Json::List(list) => {
                let mut seq = s.serialize_seq(Some(list.len()))?;
                list.iter().try_for_each(|v| seq.serialize_element(v))?;
                seq.end()
            }
            Json::Object(entries) => {
                let mut map = s.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(k, v)| map.serialize_entry(k, v))?;
                map.end()
            }
        }
    }
}

impl Json {
    /// On one line.
    pub(super) fn line(&self) -> String {
        // Into memory, with keys that are text: nothing of it can fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Over several lines, indented by this.
    pub(super) fn indented(&self, by: &str) -> String {
        let mut out = Vec::new();
        let form = serde_json::ser::PrettyFormatter::with_indent(by.as_bytes());
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, form);
        // As above.
        let _ = self.serialize(&mut serializer);
        String::from_utf8(out).unwrap_or_default()
    }
}

/// An object.
pub(super) fn object<const N: usize>(entries: [(&str, Json); N]) -> Json {
    Json::Object(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

/// A list of texts.
pub(super) fn texts<S: AsRef<str>>(list: impl IntoIterator<Item = S>) -> Json {
    Json::List(list.into_iter().map(|s| s.as_ref().into()).collect())
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Text(text)
    }
}

impl From<bool> for Json {
    fn from(b: bool) -> Json {
        Json::Bool(b)
    }
}

macro_rules! numbers {
    ($($kind:ty)*) => {$(
        impl From<$kind> for Json {
            fn from(n: $kind) -> Json {
                Json::Number(n.into())
            }
        }
    )*};
}

numbers!(u16 u32 u64 i32 i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_text_escaped() {
        let v = object([("z", 1u64.into()), ("a", texts(["x\"y\n"])), ("n", true.into())]);
        assert_eq!(v.line(), r#"{"z":1,"a":["x\"y\n"],"n":true}"#);
        assert_eq!(object([("z", true.into())]).indented("\t"), "{\n\t\"z\": true\n}");
    }
}
