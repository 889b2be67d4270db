//! YAML as policies need it: a bounded tree in which every node knows its line.
//!
//! Anchors, aliases and tags are refused, so nothing can grow beyond what was typed; size, depth
//! and number of nodes have limits besides.

#![forbid(unsafe_code)]

use crate::plan::values::{escape, quote};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

/// Longest file.
pub const MAX_SIZE: usize = 64 << 10;
/// Deepest nesting: `policies`, a policy, a list or mapping in it, and one to spare.
const MAX_DEPTH: usize = 5;
/// Most nodes.
const MAX_NODES: usize = 4096;

/// What is wrong, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1; 0: the file as a whole.
    pub line: usize,
    /// What; escaped.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Fault {
    /// A fault in this line.
    pub fn new(line: usize, message: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault { line, message: message.into(), hint: hint.into() }
    }
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its line.
    pub line: usize,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, and whether it stood there without quotes.
    Scalar(String, bool),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file; no key is there twice.
    Map(Vec<(String, usize, Node)>),
}

impl Value {
    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Scalar(..) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Whether nothing stands there.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Scalar(text, true)
            if ["", "~", "null", "Null", "NULL"].contains(&text.as_str()))
    }
}

/// The one document of a file.
pub fn parse(bytes: &[u8]) -> Result<Node, Fault> {
    if bytes.len() > MAX_SIZE {
        let hint = format!("at most {} KiB are read", MAX_SIZE >> 10);
        return Err(Fault::new(0, "it is too long for a policy", hint));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let good = bytes.get(..e.valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|b| **b == b'\n').count();
        Fault::new(line, "it is no UTF-8", "save it as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { parser: Parser::new_from_str(text), nodes: 0 };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            (Event::StreamEnd, _) => {
                return Err(Fault::new(0, "it is empty", "write a key, such as memory: 256m"));
            }
            (event, line) => {
                let node = reader.node(event, line, 0)?;
                return reader.end().map(|()| node);
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Fault> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, .. }))) => Ok((event, start.line())),
            Some(Err(e)) => Err(Fault::new(
                e.marker().line(),
                format!("it is no YAML: {}", escape(e.info())),
                "see the indentation and the quotes there and in the line above",
            )),
            None => Err(Fault::new(0, "it ends too early", "it may have been cut short")),
        }
    }

    /// Nothing but the end may follow.
    fn end(&mut self) -> Result<(), Fault> {
        loop {
            match self.next()? {
                (Event::DocumentEnd, _) => {}
                (Event::StreamEnd, _) => return Ok(()),
                (_, line) => {
                    let hint = "write several under policies:, each with its name";
                    return Err(Fault::new(line, "a second document begins", hint));
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let hint = format!("a policy file has at most {MAX_NODES} values");
            return Err(Fault::new(line, "it holds too many values", hint));
        }
        if depth > MAX_DEPTH {
            let hint = "no key of a policy has so much in it";
            return Err(Fault::new(line, "it is nested too deeply", hint));
        }
        let (anchor, tag) = match &event {
            Event::Alias(_) => (1, false),
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag.is_some())
            }
            _ => (0, false),
        };
        if anchor != 0 {
            let hint = "write the value out where it is needed";
            return Err(Fault::new(line, "anchors and aliases are not supported", hint));
        }
        if tag {
            let hint = "leave it out: the key says what the value is";
            return Err(Fault::new(line, "tags are not supported", hint));
        }
        let value = match event {
            Event::Scalar(text, style, _, _) => {
                Value::Scalar(text.into_owned(), style == ScalarStyle::Plain)
            }
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            _ => return Err(Fault::new(line, "a value is missing", "write one behind the key")),
        };
        Ok(Node { line, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, line) => items.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut entries: Vec<(String, usize, Node)> = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let Value::Scalar(key, _) = self.node(event, line, depth + 1)?.value else {
                let hint = "a key is a word: quote a value that begins with [ or {";
                return Err(Fault::new(line, "a list or a mapping is used as a key", hint));
            };
            if let Some((_, first, _)) = entries.iter().find(|(k, _, _)| *k == key) {
                return Err(Fault::new(
                    line,
                    format!("the key {} is there twice, first in line {first}", quote(&key)),
                    "leave one of them out",
                ));
            }
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1)?;
            entries.push((key, line, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (usize, String) {
        let fault = parse(text.as_bytes()).unwrap_err();
        (fault.line, fault.message)
    }

    #[test]
    fn every_value_knows_its_line() {
        let root = parse(b"# c\n\na: 1\nb:\n  - 'x'\n  - y\nc: {d: e}\n").unwrap();
        let Value::Map(entries) = root.value else { panic!() };
        let lines: Vec<_> = entries.iter().map(|(k, line, _)| (k.as_str(), *line)).collect();
        assert_eq!(lines, [("a", 3), ("b", 4), ("c", 7)]);
        let Value::List(items) = &entries[1].2.value else { panic!() };
        assert_eq!((items[0].line, items[1].line), (5, 6));
        assert_eq!(items[0].value, Value::Scalar("x".into(), false));
        assert_eq!(items[1].value, Value::Scalar("y".into(), true));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_at_its_first_anchor() {
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n";
        assert_eq!(fault(bomb), (1, "anchors and aliases are not supported".into()));
        assert_eq!(fault("a: *a\n").0, 1);
        assert_eq!(fault("? &a k\n: v\n").1, "anchors and aliases are not supported");
        assert_eq!(fault("x: 1\na: !!str 5\n"), (2, "tags are not supported".into()));
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        let long = vec![b'#'; MAX_SIZE + 1];
        assert_eq!(parse(&long).unwrap_err().message, "it is too long for a policy");
        for deep in ["[", "{a: ", "- ", "? "] {
            assert!(parse(deep.repeat(2000).as_bytes()).is_err(), "{deep}");
        }
        assert_eq!(fault(&format!("a: {}x", "[".repeat(9))).1, "it is nested too deeply");
        let many = format!("a: [{}]", "x,".repeat(MAX_NODES));
        assert_eq!(fault(&many).1, "it holds too many values");
    }

    #[test]
    fn what_is_no_policy_at_all_is_said() {
        assert_eq!(fault(""), (0, "it is empty".into()));
        assert_eq!(fault("# only a comment\n"), (0, "it is empty".into()));
        assert_eq!(fault("a: 1\n---\nb: 2\n").1, "a second document begins");
        assert_eq!(
            fault("a: 1\nb: 2\na: 3\n"),
            (3, "the key \"a\" is there twice, first in line 1".into())
        );
        assert_eq!(fault("[a]: 1\n").1, "a list or a mapping is used as a key");
        assert_eq!(parse(b"a: 1\nb: \xff\n").unwrap_err().line, 2);
        let (line, message) = fault("a: 1\nb: [1\nc: \"\x1b[31m\n");
        assert!(line >= 2 && message.starts_with("it is no YAML: "), "{line} {message}");
        assert!(!message.contains('\x1b'), "{message}");
        parse("\u{feff}a: 1\n".as_bytes()).unwrap();
    }

    #[test]
    fn no_input_makes_the_reader_panic() {
        // A small generator of its own: the seeds are policies, spoilt in a few places.
        let seeds = [
            "policies:\n  python: {memory: \"512m\", tmpfs: [\"/tmp\"]}\n",
            "a: |\n  text\n  more\nb: >-\n x\nc: 'it''s'\n? k\n: v\n%TAG ! x\n--- &a !t\n...\n",
        ];
        let words = b"{}[]:,-?&*!|>'\"%@`#\n\t \r~a0.\xc3\xa9\xff";
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % n
        };
        for round in 0..20_000 {
            let mut text = seeds[round % 2].as_bytes().to_vec();
            for _ in 0..=random(5) {
                let at = random(text.len());
                match random(3) {
                    0 => text[at] = words[random(words.len())],
                    1 => text.insert(at, words[random(words.len())]),
                    _ => drop(text.remove(at)),
                }
            }
            let _ = parse(&text);
        }
    }
}
