//! A connection to systemd's manager over a bus, for a few calls and no longer.
//!
//! The bus is shared by the whole host: everything is asked for in as few messages as will do, and
//! the bus filters the signals. Sign-in and the first calls go out in one write.

use super::wire::{Call, Message, Type, Value};
use crate::error::{Error, Kind, Result};
use crate::plan::values::quote;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const SYSTEM: &str = "/run/dbus/system_bus_socket";
/// For everything on one connection, as long as runc waits for a unit's job.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of what comes before the first message.
const LONGEST_GREETING: usize = 16 << 10;

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// What a call was answered with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The texts in it.
    Done(Vec<String>),
    /// The error's name without what all of systemd's begin with, and what it says.
    Failed(String, String),
}

impl Reply {
    /// What it says, or as an error what was tried.
    pub(super) fn or_failed(self, what: &str) -> Result<Vec<String>> {
        match self {
            Reply::Done(texts) => Ok(texts),
            Reply::Failed(name, text) => {
                let (kind, hint) = match name.as_str() {
                    "UnitExists" => (
                        Kind::Exists,
                        "another container has this unit: give each a linux.cgroupsPath of its own",
                    ),
                    "AccessDenied" | "InteractiveAuthorizationRequired" => (
                        Kind::Permission,
                        "run as root, or with --rootless true by your own manager",
                    ),
                    "PropertyReadOnly" | "UnknownProperty" => {
                        (Kind::Unsupported, "systemd 244 or newer has all properties")
                    }
                    _ => (Kind::Os, "systemctl status and journalctl may tell more"),
                };
                Err(Error::new(kind, format!("{what}: systemd says {} ({name})", quote(&text)))
                    .hint(hint))
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    signed_in: bool,
    out: Vec<u8>,
    input: Vec<u8>,
    /// Bytes to come, or to be taken from there, that are of no interest any more.
    passing: usize,
    serial: u32,
    replies: Vec<Message>,
    /// Jobs that are over: who says so, path and result.
    over: Vec<(String, String, String)>,
    /// Who answers for systemd. Everybody may send everybody signals.
    systemd: Option<String>,
    until: Instant,
}

impl Bus {
    /// The system's, or the calling user's.
    pub(super) fn connect(user: bool) -> Result<Bus> {
        let path = if user { user_path()? } else { system_path() };
        let stream = UnixStream::connect(&path).map_err(|e| {
            let hint = if user {
                "a user's own manager needs a session (no-user-manager): dbus-user-session, loginctl \
                 enable-linger"
            } else {
                "start dbus, or leave --systemd-cgroup away"
            };
            Error::os(format!("connect to the bus at {}", quote(&path)), e).hint(hint)
        })?;
        Ok(Bus::on(stream, PATIENCE))
    }

    fn on(stream: UnixStream, patience: Duration) -> Bus {
        let mut bus = Bus {
            stream,
            signed_in: false,
            // Who we are the bus reads from the socket: a number of ours would be of our user namespace.
            out: b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_vec(),
            input: Vec::new(),
            passing: 0,
            serial: 0,
            replies: Vec::new(),
            over: Vec::new(),
            systemd: None,
            until: Instant::now() + patience,
        };
        bus.ask_bus("Hello", &[]);
        bus
    }

    /// Asks the bus itself.
    fn ask_bus(&mut self, member: &str, body: &[Value]) -> u32 {
        const NAME: &str = "org.freedesktop.DBus";
        let path = "/org/freedesktop/DBus";
        self.put(&Call { destination: NAME, path, interface: NAME, member, body })
    }

    fn put(&mut self, call: &Call<'_>) -> u32 {
        self.serial += 1;
        let bytes = call.to_bytes(self.serial);
        self.out.extend_from_slice(&bytes);
        self.serial
    }

    /// From here on the ends of jobs of this unit are noted.
    pub(super) fn watch(&mut self, unit: &str) {
        // A unit's name has neither quotes nor commas.
        let rule = format!(
            "type='signal',sender='{DESTINATION}',path='{MANAGER}',interface='{INTERFACE}',\
             member='JobRemoved',arg2='{unit}'"
        );
        self.ask_bus("AddMatch", &[Value::text(rule)]);
    }

    /// Calls a method of the manager and waits for its answer.
    pub(super) fn call(&mut self, member: &str, body: &[Value]) -> Result<Reply> {
        let serial = self.put(&Call {
            destination: DESTINATION,
            path: MANAGER,
            interface: INTERFACE,
            member,
            body,
        });
        self.reply(serial, member)
    }

    /// A property of the manager that is a text.
    pub(super) fn property(&mut self, name: &str) -> Result<String> {
        let reply = self.property_of(MANAGER, INTERFACE, name)?;
        let texts = reply.or_failed(&format!("ask for {name}"))?;
        texts.into_iter().next().ok_or_else(|| {
            Error::new(Kind::Os, format!("systemd answers nothing to the question for {name}"))
        })
    }

    /// A property that is a text, of any object of systemd's.
    pub(super) fn property_of(&mut self, path: &str, of: &str, name: &str) -> Result<Reply> {
        let serial = self.put(&Call {
            destination: DESTINATION,
            path,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            body: &[Value::text(of), Value::text(name)],
        });
        self.reply(serial, name)
    }

    /// Waits for the end of a job: its result, such as `done`.
    pub(super) fn finished(&mut self, job: &str, what: &str) -> Result<String> {
        loop {
            let is_it = |(sender, path, _): &&(String, String, String)| {
                path == job && self.systemd.as_ref() == Some(sender)
            };
            if let Some((_, _, result)) = self.over.iter().find(is_it) {
                return Ok(result.clone());
            }
            self.next(what)?;
        }
    }

    fn reply(&mut self, serial: u32, what: &str) -> Result<Reply> {
        let out = std::mem::take(&mut self.out);
        self.arm(what)?;
        self.stream.write_all(&out).map_err(|e| failed(what, e))?;
        loop {
            // Those before it were asked in vain as well, if they failed.
            let at =
                self.replies.iter().position(|m| m.reply_to == serial || m.kind == Type::Error);
            let Some(at) = at else {
                self.next(what)?;
                continue;
            };
            let message = self.replies.swap_remove(at);
            let texts = message.texts();
            if message.kind == Type::Return {
                self.systemd = Some(message.sender);
                return texts.map(Reply::Done);
            }
            let text = texts.unwrap_or_default().into_iter().next().unwrap_or_default();
            let name = message.error.rsplit('.').next().unwrap_or_default().to_owned();
            return Ok(Reply::Failed(name, text));
        }
    }

    /// Takes in one message.
    fn next(&mut self, what: &str) -> Result<()> {
        loop {
            let passing = self.passing.min(self.input.len());
            self.input.drain(..passing);
            self.passing -= passing;
            if self.passing == 0
                && (self.signed_in || self.sign_in()?)
                && let Some((message, used)) = Message::parse(&self.input)?
            {
                self.passing = used;
                if let Some(message) = message {
                    self.note(message);
                    return Ok(());
                }
                continue;
            }
            self.arm(what)?;
            let mut more = [0; 4096];
            let count = match self.stream.read(&mut more) {
                Ok(0) => {
                    let text = format!("{what}: the bus has closed the connection");
                    return Err(Error::new(Kind::Os, text));
                }
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(failed(what, e)),
            };
            self.input.extend_from_slice(more.get(..count).unwrap_or_default());
        }
    }

    /// Whether the bus has let us in; it says so in two lines.
    fn sign_in(&mut self) -> Result<bool> {
        while let Some(end) = self.input.windows(2).position(|w| w == b"\r\n") {
            let line: Vec<u8> = self.input.drain(..end + 2).collect();
            if line.starts_with(b"OK ") {
                self.signed_in = true;
                return Ok(true);
            }
            if !line.starts_with(b"DATA") {
                let said = String::from_utf8_lossy(&line).trim().to_owned();
                return Err(Error::new(
                    Kind::Permission,
                    format!("the bus does not let this user in: it says {}", quote(&said)),
                ));
            }
        }
        if self.input.len() > LONGEST_GREETING {
            return Err(Error::new(Kind::Os, "the bus does not speak D-Bus"));
        }
        Ok(false)
    }

    fn note(&mut self, message: Message) {
        match message.kind {
            // Hello's and AddMatch's are not looked for, unless they are errors.
            Type::Return | Type::Error => self.replies.push(message),
            Type::Signal if message.member == "JobRemoved" => {
                let others = self.systemd.as_ref().is_some_and(|s| *s != message.sender);
                if !others && let Ok([job, _unit, result]) = message.texts().as_deref() {
                    self.over.push((message.sender, job.clone(), result.clone()));
                }
            }
            _ => {}
        }
    }

    /// Gives the next call what is left of the time.
    fn arm(&self, what: &str) -> Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late(what));
        }
        let set = |s: &UnixStream| {
            s.set_read_timeout(Some(left)).and_then(|()| s.set_write_timeout(Some(left)))
        };
        set(&self.stream).map_err(|e| failed(what, e))
    }
}

fn late(what: &str) -> Error {
    Error::new(Kind::Os, format!("{what}: systemd did not answer in time"))
        .hint("systemctl list-jobs shows what it waits for")
}

fn failed(what: &str, e: std::io::Error) -> Error {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => late(what),
        _ => Error::os(format!("{what}: speak with the bus"), e),
    }
}

fn system_path() -> String {
    let asked = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok();
    asked.as_deref().and_then(socket_of).unwrap_or_else(|| SYSTEM.to_owned())
}

fn user_path() -> Result<String> {
    let asked = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok();
    if let Some(path) = asked.as_deref().and_then(socket_of) {
        return Ok(path);
    }
    match std::env::var("XDG_RUNTIME_DIR") {
        Ok(dir) if dir.starts_with('/') => Ok(format!("{dir}/bus")),
        _ => Err(Error::new(
            Kind::NotFound,
            "find the bus of this user's systemd: no address is set",
        )
        .hint("set DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR, as a login session does (no-user-manager)")),
    }
}

/// The path of the first socket in a D-Bus address (`unix:path=/run/bus,guid=…;…`).
fn socket_of(address: &str) -> Option<String> {
    let parts = address.split(';').filter_map(|part| part.strip_prefix("unix:"));
    let escaped = parts.flat_map(|p| p.split(',')).find_map(|key| key.strip_prefix("path="))?;
    let mut out = Vec::new();
    let mut bytes = escaped.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok().filter(|p| p.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bus that has said these things before it is asked anything.
    fn bus(said: &[&[u8]], patience: Duration) -> (Bus, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for part in said {
            theirs.write_all(part).unwrap();
        }
        (Bus::on(ours, patience), theirs)
    }

    const IN: &[u8] = b"DATA\r\nOK 0123\r\n";
    const HELLO: &[u8] =
        b"l\x02\0\x01\x05\0\0\0\x01\0\0\0\x0f\0\0\0\x05\x01u\0\x01\0\0\0\x08\x01g\0\x01s\0\0\0\0\0\0\0";

    /// A message about the call of this number: its type, and texts as its body.
    fn message(kind: u8, serial: u8, more: &[u8], texts: &[&str]) -> Vec<u8> {
        let mut body = Vec::new();
        for text in texts {
            body.resize(body.len().next_multiple_of(4), 0);
            body.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        let mut fields = b"\x05\x01u\0".to_vec();
        fields.extend_from_slice(&[serial, 0, 0, 0]);
        fields.extend_from_slice(more);
        fields.resize(fields.len().next_multiple_of(8), 0);
        fields.extend_from_slice(b"\x08\x01g\0");
        fields.push(u8::try_from(texts.len()).unwrap());
        fields.resize(fields.len() + texts.len(), b's');
        fields.push(0);
        let mut out = vec![b'l', kind, 0, 1];
        out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&[9, 0, 0, 0]);
        out.extend_from_slice(&u32::try_from(fields.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&fields);
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend_from_slice(&body);
        out
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn everything_that_is_asked_goes_out_at_once() {
        let answer = message(2, 3, b"", &["/job/1"]);
        let (mut bus, mut theirs) = bus(&[IN, HELLO, &answer], LONG);
        bus.watch("a.scope");
        let reply = bus.call("StartTransientUnit", &[]).unwrap();
        assert_eq!(reply, Reply::Done(vec!["/job/1".to_owned()]));
        let mut sent = vec![0; 4096];
        let count = theirs.read(&mut sent).unwrap();
        let sent = String::from_utf8_lossy(&sent[..count]).into_owned();
        assert!(sent.starts_with("\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\nl"), "{sent}");
        for word in ["Hello", "AddMatch", "arg2='a.scope'", "StartTransientUnit"] {
            assert!(sent.contains(word), "{word}: {sent}");
        }
    }

    #[test]
    fn the_end_of_a_job_is_heard_before_and_after_the_answer() {
        let member = b"\x03\x01s\0\x0a\0\0\0JobRemoved\0";
        let early = message(4, 0, member, &["/job/1", "a.scope", "done"]);
        let answer = message(2, 2, b"", &["/job/1"]);
        let late = message(4, 0, member, &["/job/2", "a.scope", "failed"]);
        let (mut bus, _theirs) = bus(&[IN, HELLO, &early, &answer, &late], LONG);
        bus.call("StopUnit", &[]).unwrap();
        assert_eq!(bus.finished("/job/1", "x").unwrap(), "done");
        assert_eq!(bus.finished("/job/2", "x").unwrap(), "failed");
    }

    /// Any user of the system's bus may send this connection such a signal.
    #[test]
    fn the_end_of_a_job_is_believed_of_systemd_alone() {
        let from = |name: &[u8; 5], more: &[u8]| {
            [b"\x07\x01s\0\x04\0\0\0", &name[..4], &name[4..], b"\0\0\0", more].concat()
        };
        let member = b"\x03\x01s\0\x0a\0\0\0JobRemoved\0";
        let said =
            |name, result| message(4, 0, &from(name, member), &["/job/1", "a.scope", result]);
        let answer = message(2, 2, &from(b":1.1\0", b""), &["/job/1"]);
        let (before, after) = (said(b":1.9\0", "failed"), said(b":1.8\0", "canceled"));
        let mut long = b"l\x04\0\x01\0\0\x20\0\x01\0\0\0\0\0\0\0".to_vec();
        long.resize(16 + (2 << 20), b'x');
        let real = said(b":1.1\0", "done");
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let all = [IN, HELLO, &before, &answer, &long, &after, &real].concat();
        // More than a socket holds.
        std::thread::spawn(move || theirs.write_all(&all).map(|()| theirs));
        let mut bus = Bus::on(ours, LONG);
        assert_eq!(
            bus.call("StartTransientUnit", &[]).unwrap(),
            Reply::Done(vec!["/job/1".into()])
        );
        assert_eq!(bus.finished("/job/1", "x").unwrap(), "done");
    }

    #[test]
    fn what_systemd_refuses_is_told_in_its_words() {
        let name = b"\x04\x01s\0\x23\0\0\0org.freedesktop.systemd1.UnitExists\0";
        let answer = message(3, 2, name, &["it is there"]);
        let (mut bus, _theirs) = bus(&[IN, HELLO, &answer], LONG);
        let e = bus.call("X", &[]).unwrap().or_failed("start it").unwrap_err();
        assert_eq!(e.kind(), Kind::Exists);
        assert!(e.to_string().contains("start it: systemd says \"it is there\""), "{e}");
    }

    #[test]
    fn a_bus_that_says_nothing_or_goes_away_is_an_error() {
        let (mut silent, _theirs) = bus(&[IN, HELLO], Duration::from_millis(20));
        let e = silent.call("X", &[]).unwrap_err().to_string();
        assert!(e.contains("did not answer in time"), "{e}");
        let (mut gone, theirs) = bus(&[IN], LONG);
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let e = gone.call("X", &[]).unwrap_err().to_string();
        assert!(e.contains("closed the connection"), "{e}");
        let (mut refused, _theirs) = bus(&[b"REJECTED EXTERNAL\r\n"], LONG);
        assert_eq!(refused.call("X", &[]).unwrap_err().kind(), Kind::Permission);
    }

    #[test]
    fn an_address_is_a_socket_s_path() {
        for (address, path) in [
            ("unix:path=/run/user/1000/bus", Some("/run/user/1000/bus")),
            ("unix:path=/a%20b,guid=12", Some("/a b")),
            ("tcp:host=x;unix:guid=1,path=/b", Some("/b")),
            ("unix:abstract=x", None),
            ("unix:path=b", None),
            ("", None),
        ] {
            assert_eq!(socket_of(address).as_deref(), path, "{address}");
        }
    }
}
