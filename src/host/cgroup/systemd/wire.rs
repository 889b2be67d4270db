//! D-Bus messages as bytes, as far as systemd's manager needs them (D-Bus specification, "Type
//! System" and "Message Protocol"). Pure.

use crate::error::{Error, Kind, Result};

/// A reply that is longer is none of systemd's.
const MOST: usize = 1 << 20;
/// The protocol's own limit.
const LONGEST: usize = 128 << 20;
/// Bytes of a header before its fields.
const FIXED: usize = 16;

/// An argument, or what a property is set to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(f64),
    Text(String),
    ObjectPath(String),
    /// All of one type, whose signature is the first.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Variant(Box<Value>),
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub(super) fn bytes(bytes: &[u8]) -> Value {
        Value::Array("y".to_owned(), bytes.iter().map(|b| Value::Byte(*b)).collect())
    }

    /// `a(sv)`.
    pub(super) fn properties(list: &[(String, Value)]) -> Value {
        let pair = |(name, value): &(String, Value)| {
            Value::Struct(vec![Value::text(name), Value::Variant(Box::new(value.clone()))])
        };
        Value::Array("(sv)".to_owned(), list.iter().map(pair).collect())
    }

    pub(super) fn signature(&self) -> String {
        match self {
            Value::Bool(_) => "b".to_owned(),
            Value::Byte(_) => "y".to_owned(),
            Value::I16(_) => "n".to_owned(),
            Value::U16(_) => "q".to_owned(),
            Value::I32(_) => "i".to_owned(),
            Value::U32(_) => "u".to_owned(),
            Value::I64(_) => "x".to_owned(),
            Value::U64(_) => "t".to_owned(),
            Value::Double(_) => "d".to_owned(),
            Value::Text(_) => "s".to_owned(),
            Value::ObjectPath(_) => "o".to_owned(),
            Value::Array(of, _) => format!("a{of}"),
            Value::Struct(list) => {
                format!("({})", list.iter().map(Value::signature).collect::<String>())
            }
            Value::Variant(_) => "v".to_owned(),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Value::Bool(b) => number(out, &u32::from(*b).to_le_bytes()),
            Value::Byte(b) => out.push(*b),
            Value::I16(n) => number(out, &n.to_le_bytes()),
            Value::U16(n) => number(out, &n.to_le_bytes()),
            Value::I32(n) => number(out, &n.to_le_bytes()),
            Value::U32(n) => number(out, &n.to_le_bytes()),
            Value::I64(n) => number(out, &n.to_le_bytes()),
            Value::U64(n) => number(out, &n.to_le_bytes()),
            Value::Double(n) => number(out, &n.to_le_bytes()),
            Value::Text(text) | Value::ObjectPath(text) => put_text(out, text),
            Value::Array(of, list) => {
                number(out, &[0; 4]);
                let at = out.len();
                // The padding before the first element does not count.
                align(out, alignment(of));
                let begin = out.len();
                list.iter().for_each(|v| v.put(out));
                let long = length(out.len() - begin);
                if let Some(slot) = out.get_mut(at - 4..at) {
                    slot.copy_from_slice(&long);
                }
            }
            Value::Struct(list) => {
                align(out, 8);
                list.iter().for_each(|v| v.put(out));
            }
            Value::Variant(value) => {
                put_signature(out, &value.signature());
                value.put(out);
            }
        }
    }
}

fn alignment(signature: &str) -> usize {
    match signature.bytes().next() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

fn align(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn number(out: &mut Vec<u8>, bytes: &[u8]) {
    align(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn length(n: usize) -> [u8; 4] {
    // What we send is far below the protocol's own limit of 64 MiB.
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    number(out, &length(text.len()));
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn put_signature(out: &mut Vec<u8>, signature: &str) {
    out.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(signature.as_bytes());
    out.push(0);
}

/// A method call.
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) body: &'a [Value],
}

impl Call<'_> {
    pub(super) fn to_bytes(&self, serial: u32) -> Vec<u8> {
        let mut body = Vec::new();
        self.body.iter().for_each(|v| v.put(&mut body));
        // Little-endian, a method call, no flags, version 1.
        let mut out = vec![b'l', 1, 0, 1];
        out.extend_from_slice(&length(body.len()));
        out.extend_from_slice(&serial.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let fields = [
            (1, "o", self.path),
            (2, "s", self.interface),
            (3, "s", self.member),
            (6, "s", self.destination),
        ];
        for (code, signature, text) in fields {
            align(&mut out, 8);
            out.push(code);
            put_signature(&mut out, signature);
            put_text(&mut out, text);
        }
        if !self.body.is_empty() {
            align(&mut out, 8);
            out.push(8);
            put_signature(&mut out, "g");
            let list: String = self.body.iter().map(Value::signature).collect();
            put_signature(&mut out, &list);
        }
        let long = length(out.len() - FIXED);
        if let Some(slot) = out.get_mut(FIXED - 4..FIXED) {
            slot.copy_from_slice(&long);
        }
        align(&mut out, 8);
        out.extend_from_slice(&body);
        out
    }
}

/// What sort of message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Return,
    Error,
    Signal,
    Other,
}

/// What came, as far as it matters here.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Type,
    pub(super) reply_to: u32,
    pub(super) error: String,
    pub(super) member: String,
    /// Who sent it, as the bus says.
    pub(super) sender: String,
    signature: String,
    body: Vec<u8>,
}

fn torn() -> Error {
    Error::new(Kind::Os, "the bus sent what is no D-Bus message")
}

impl Message {
    /// The first message, and how many bytes it has; `None`: it is not complete. Anybody may send us a
    /// signal, so that one which is none of systemd's is no error but let by, without a message, and
    /// may have more bytes than there are as yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Option<Message>, usize)>> {
        let Some(fixed) = bytes.get(..FIXED) else { return Ok(None) };
        let mut at = Reader { bytes: fixed, at: 0 };
        let (order, kind) = (at.byte()?, at.byte()?);
        at.at = 4;
        let kind = match kind {
            2 => Type::Return,
            3 => Type::Error,
            4 => Type::Signal,
            _ => Type::Other,
        };
        let asked = matches!(kind, Type::Return | Type::Error);
        let numbers = [at.u32()?, at.u32()?, at.u32()?];
        let [body, _serial, fields] = match order {
            b'l' => numbers,
            // What comes from a sender of the other order stays so.
            b'B' if !asked => numbers.map(u32::swap_bytes),
            _ => return Err(torn()),
        }
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        if body > LONGEST || fields > LONGEST {
            return Err(torn());
        }
        let begin = (FIXED + fields).next_multiple_of(8);
        if order != b'l' || body > MOST || fields > MOST {
            return if asked { Err(torn()) } else { Ok(Some((None, begin + body))) };
        }
        let Some(whole) = bytes.get(..begin + body) else { return Ok(None) };
        let (head, body) = (whole.get(..FIXED + fields), whole.get(begin..));
        let (Some(head), Some(body)) = (head, body) else { return Err(torn()) };
        match Message::of(kind, head, body) {
            Ok(message) => Ok(Some((Some(message), whole.len()))),
            Err(e) if asked => Err(e),
            Err(_) => Ok(Some((None, whole.len()))),
        }
    }

    fn of(kind: Type, head: &[u8], body: &[u8]) -> Result<Message> {
        let mut message = Message {
            kind,
            reply_to: 0,
            error: String::new(),
            member: String::new(),
            sender: String::new(),
            signature: String::new(),
            body: body.to_vec(),
        };
        let mut reader = Reader { bytes: head, at: FIXED };
        while reader.at < head.len() {
            reader.align(8);
            let code = reader.byte()?;
            let signature = reader.signature()?;
            match (code, signature.as_str()) {
                (5, "u") => message.reply_to = reader.u32()?,
                (3, "s") => message.member = reader.text()?,
                (4, "s") => message.error = reader.text()?,
                (7, "s") => message.sender = reader.text()?,
                (8, "g") => message.signature = reader.signature()?,
                (_, "u") => drop(reader.u32()?),
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                _ => return Err(torn()),
            }
        }
        Ok(message)
    }

    /// The body's texts in their order, numbers left out, a variant as what is in it.
    pub(super) fn texts(&self) -> Result<Vec<String>> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let mut texts = Vec::new();
        for sort in self.signature.bytes() {
            let sort = match sort {
                b'v' => match reader.signature()?.as_bytes() {
                    [one] => *one,
                    _ => return Err(torn()),
                },
                sort => sort,
            };
            match sort {
                b'u' | b'b' | b'i' => drop(reader.u32()?),
                b's' | b'o' => texts.push(reader.text()?),
                _ => return Err(torn()),
            }
        }
        Ok(texts)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(count).ok_or_else(torn)?;
        let found = self.bytes.get(self.at..end).ok_or_else(torn)?;
        self.at = end;
        Ok(found)
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> Result<u8> {
        self.take(1)?.first().copied().ok_or_else(torn)
    }

    fn u32(&mut self) -> Result<u32> {
        self.align(4);
        let bytes: [u8; 4] = self.take(4)?.try_into().map_err(|_| torn())?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn size(&mut self) -> Result<usize> {
        usize::try_from(self.u32()?).map_err(|_| torn())
    }

    /// That many bytes and the NUL behind.
    fn ended(&mut self, count: usize) -> Result<String> {
        let found = String::from_utf8(self.take(count)?.to_vec()).map_err(|_| torn())?;
        if self.byte()? == 0 { Ok(found) } else { Err(torn()) }
    }

    fn text(&mut self) -> Result<String> {
        let count = self.size()?;
        self.ended(count)
    }

    fn signature(&mut self) -> Result<String> {
        let count = usize::from(self.byte()?);
        self.ended(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that the specification's rules give, counted out by hand.
    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let body = [Value::text("a"), Value::properties(&[("B".to_owned(), Value::U64(7))])];
        let call = Call { destination: "d", path: "/p", interface: "i", member: "M", body: &body };
        let bytes = call.to_bytes(5);
        assert_eq!(bytes.get(..4).unwrap(), b"l\x01\0\x01");
        assert_eq!(bytes.get(8..12).unwrap(), 5u32.to_le_bytes());
        let body_long =
            usize::try_from(u32::from_le_bytes(bytes[4..8].try_into().unwrap())).unwrap();
        let body = &bytes[bytes.len() - body_long..];
        let wanted: &[u8] =
            b"\x01\0\0\0a\0\0\0\x18\0\0\0\0\0\0\0\x01\0\0\0B\0\x01t\0\0\0\0\0\0\0\0\
            \x07\0\0\0\0\0\0\0";
        // The array: its length, padding to 8, then the struct of name and variant.
        assert_eq!(body, wanted);
        assert!(bytes.windows(11).any(|w| w == b"\x08\x01g\0\x06sa(sv)"));
        assert_eq!((bytes.len() - body_long) % 8, 0);
    }

    #[test]
    fn signatures_are_those_of_the_types() {
        assert_eq!(Value::bytes(&[1]).signature(), "ay");
        assert_eq!(Value::properties(&[]).signature(), "a(sv)");
        let list = Value::Array("u".to_owned(), vec![Value::U32(1)]);
        assert_eq!(Value::Struct(vec![list, Value::Bool(true)]).signature(), "(aub)");
    }

    /// A reply with a body of one object path, in two pieces.
    #[test]
    fn what_comes_is_read_whole_or_not_at_all() {
        let mut reply = b"l\x02\0\x01\x0b\0\0\0\x09\0\0\0\x0f\0\0\0".to_vec();
        reply.extend_from_slice(b"\x05\x01u\0\x03\0\0\0\x08\x01g\0\x01o\0\0");
        reply.extend_from_slice(b"\x06\0\0\0/job/1\0");
        for end in 0..reply.len() {
            assert!(Message::parse(&reply[..end]).unwrap().is_none(), "{end}");
        }
        let long = reply.len();
        reply.extend_from_slice(b"more");
        let (message, used) = Message::parse(&reply).unwrap().unwrap();
        let message = message.unwrap();
        assert_eq!((message.kind, message.reply_to, used), (Type::Return, 3, long));
        assert_eq!(message.texts().unwrap(), ["/job/1"]);
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        // A signal of anybody's: of the other order, far too long, with a field that nobody knows.
        let (none, used) =
            Message::parse(b"B\x04\0\x01\0\0\0\x03\0\0\0\x01\0\0\0\0").unwrap().unwrap();
        assert!(none.is_none() && used == 19);
        let (none, used) =
            Message::parse(b"l\x04\0\x01\0\0\x20\0\x01\0\0\0\0\0\0\0").unwrap().unwrap();
        assert!(none.is_none() && used == 16 + (2 << 20));
        let odd = b"l\x04\0\x01\0\0\0\0\x01\0\0\0\x08\0\0\0\x63\x02as\0\0\0\0\0";
        let (none, used) = Message::parse(odd).unwrap().unwrap();
        assert!(none.is_none() && used == 24);
        assert!(Message::parse(b"l\x04\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0").is_err());
        assert!(Message::parse(b"B\x02\0\x01\0\0\0\0\0\0\0\0\0\0\0\0").is_err());
        assert!(Message::parse(b"l\x02\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0").is_err());
        let mut torn = b"l\x02\0\x01\0\0\0\0\x09\0\0\0\x08\0\0\0".to_vec();
        torn.extend_from_slice(b"\x05\x01s\0\xff\0\0\0");
        assert!(Message::parse(&torn).is_err());
    }
}
