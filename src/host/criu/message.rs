//! The few messages of criu's RPC that are needed, in the wire format of protocol buffers.
//!
//! Field numbers: images/rpc.proto of criu. The encoding: protobuf.dev, "Encoding". A library for
//! it would be larger than this and needed for nothing else.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};

/// What criu is asked for (`criu_req_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

impl Verb {
    /// Its name in criu's own words, which callers of runc look for.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Verb::Dump => "DUMP",
            Verb::Restore => "RESTORE",
            Verb::PreDump => "PRE_DUMP",
            Verb::Notify => "NOTIFY",
            Verb::FeatureCheck => "FEATURE_CHECK",
            Verb::Version => "VERSION",
        }
    }
}

/// Numbers of the fields of `criu_opts`.
pub(crate) mod opt {
    pub(crate) const IMAGES_DIR_FD: u32 = 1;
    pub(crate) const PID: u32 = 2;
    pub(crate) const LEAVE_RUNNING: u32 = 3;
    pub(crate) const EXT_UNIX_SK: u32 = 4;
    pub(crate) const TCP_ESTABLISHED: u32 = 5;
    pub(crate) const EVASIVE_DEVICES: u32 = 6;
    pub(crate) const SHELL_JOB: u32 = 7;
    pub(crate) const FILE_LOCKS: u32 = 8;
    pub(crate) const LOG_LEVEL: u32 = 9;
    pub(crate) const LOG_FILE: u32 = 10;
    pub(crate) const PAGE_SERVER: u32 = 11;
    pub(crate) const NOTIFY_SCRIPTS: u32 = 12;
    pub(crate) const ROOT: u32 = 13;
    pub(crate) const PARENT_IMG: u32 = 14;
    pub(crate) const TRACK_MEM: u32 = 15;
    pub(crate) const AUTO_DEDUP: u32 = 16;
    pub(crate) const WORK_DIR_FD: u32 = 17;
    pub(crate) const LINK_REMAP: u32 = 18;
    pub(crate) const EXT_MNT: u32 = 23;
    pub(crate) const MANAGE_CGROUPS: u32 = 24;
    pub(crate) const CGROUP_ROOT: u32 = 25;
    pub(crate) const RST_SIBLING: u32 = 26;
    pub(crate) const INHERIT_FD: u32 = 27;
    pub(crate) const MANAGE_CGROUPS_MODE: u32 = 34;
    pub(crate) const EXTERNAL: u32 = 37;
    pub(crate) const EMPTY_NS: u32 = 38;
    pub(crate) const JOIN_NS: u32 = 39;
    pub(crate) const FREEZE_CGROUP: u32 = 44;
    pub(crate) const TCP_SKIP_IN_FLIGHT: u32 = 46;
    pub(crate) const LAZY_PAGES: u32 = 48;
    pub(crate) const ORPHAN_PTS_MASTER: u32 = 50;
    pub(crate) const CONFIG_FILE: u32 = 51;
    pub(crate) const LSM_PROFILE: u32 = 53;
    pub(crate) const LSM_MOUNT_CONTEXT: u32 = 63;
}

/// A message in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<u8>);

impl Fields {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// An integer; a negative one is written as 64 bits, as the format has it.
    pub(crate) fn int(&mut self, field: u32, value: i32) -> &mut Fields {
        self.varint(u64::from(field) << 3);
        self.varint(i64::from(value).cast_unsigned());
        self
    }

    pub(crate) fn bool(&mut self, field: u32, value: bool) -> &mut Fields {
        self.int(field, i32::from(value))
    }

    pub(crate) fn text(&mut self, field: u32, value: impl AsRef<[u8]>) -> &mut Fields {
        self.bytes(field, value.as_ref());
        self
    }

    pub(crate) fn message(&mut self, field: u32, value: &Fields) -> &mut Fields {
        self.bytes(field, &value.0);
        self
    }

    /// A message of two texts in its fields 1 and 2: `ext_mount_map`, `join_namespace`, `cgroup_root`.
    pub(crate) fn pair(&mut self, field: u32, one: &[u8], two: &[u8]) -> &mut Fields {
        let mut inner = Fields::default();
        inner.text(1, one).text(2, two);
        self.message(field, &inner)
    }

    /// A message of a text and a number: `inherit_fd`, `criu_page_server_info`.
    pub(crate) fn numbered(&mut self, field: u32, text: &str, number: i32) -> &mut Fields {
        let mut inner = Fields::default();
        inner.text(1, text).int(2, number);
        self.message(field, &inner)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// `criu_req` with these options.
pub(crate) fn request(verb: Verb, options: &Fields) -> Fields {
    let mut request = Fields::default();
    request.int(1, verb as i32).message(2, options);
    request
}

/// A question about criu itself, after which it waits for the next request.
pub(crate) fn question(verb: Verb) -> Fields {
    let mut request = Fields::default();
    request.int(1, verb as i32).bool(4, true);
    if verb == Verb::FeatureCheck {
        let mut features = Fields::default();
        features.bool(1, true).bool(2, true);
        request.message(5, &features);
    }
    request
}

/// The answer to what criu tells on its way.
pub(crate) fn acknowledge(success: bool) -> Fields {
    let mut request = Fields::default();
    request.int(1, Verb::Notify as i32).bool(3, success);
    request
}

/// `criu_resp`, as far as it is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) verb: u64,
    pub(crate) success: bool,
    /// Of the restored init.
    pub(crate) pid: Option<i32>,
    /// What a notification is about, and its pid.
    pub(crate) script: Option<String>,
    pub(crate) script_pid: Option<i32>,
    pub(crate) errno: i32,
    pub(crate) message: String,
    pub(crate) mem_track: bool,
    pub(crate) lazy_pages: bool,
    /// Major, minor and sublevel as one number: 31700.
    pub(crate) version: u32,
}

impl Response {
    pub(crate) fn read(bytes: &[u8]) -> Result<Response> {
        let mut r = Response::default();
        each(bytes, &mut |field, value| {
            match (field, value) {
                (1, Value::Number(n)) => r.verb = n,
                (2, Value::Number(n)) => r.success = n != 0,
                (4, Value::Bytes(inner)) => each(inner, &mut |field, value| {
                    if let (1, Value::Number(n)) = (field, value) {
                        r.pid = int(n);
                    }
                    Some(())
                })?,
                (5, Value::Bytes(inner)) => each(inner, &mut |field, value| {
                    match (field, value) {
                        (1, Value::Bytes(text)) => r.script = Some(lossy(text)),
                        (2, Value::Number(n)) => r.script_pid = int(n),
                        _ => {}
                    }
                    Some(())
                })?,
                (7, Value::Number(n)) => r.errno = int(n)?,
                (8, Value::Bytes(inner)) => each(inner, &mut |field, value| {
                    match (field, value) {
                        (1, Value::Number(n)) => r.mem_track = n != 0,
                        (2, Value::Number(n)) => r.lazy_pages = n != 0,
                        _ => {}
                    }
                    Some(())
                })?,
                (9, Value::Bytes(text)) => r.message = lossy(text),
                (10, Value::Bytes(inner)) => each(inner, &mut |field, value| {
                    let weight = match field {
                        1 => 10_000,
                        2 => 100,
                        4 => 1,
                        _ => 0,
                    };
                    if let Value::Number(n) = value {
                        let n = u32::try_from(n).ok().filter(|n| *n < 1000)?;
                        r.version += weight * n;
                    }
                    Some(())
                })?,
                _ => {}
            }
            Some(())
        })
        .map(|()| r)
        .ok_or_else(|| Error::new(Kind::Os, "criu's answer cannot be read"))
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// An int32, which negative ones are 64 bits of.
fn int(n: u64) -> Option<i32> {
    i32::try_from(n.cast_signed()).ok()
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Calls `take` with each field; `None`: the bytes are no message, or `take` said so.
fn each(mut bytes: &[u8], take: &mut dyn FnMut(u64, Value<'_>) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let mut cut = |n: u64| {
            let (head, tail) = bytes.split_at_checked(usize::try_from(n).ok()?)?;
            bytes = tail;
            Some(head)
        };
        let value = match key & 7 {
            1 => Value::Bytes(cut(8)?),
            5 => Value::Bytes(cut(4)?),
            2 => {
                let length = varint(&mut bytes)?;
                let (head, tail) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
                bytes = tail;
                Value::Bytes(head)
            }
            0 => Value::Number(varint(&mut bytes)?),
            _ => return None,
        };
        take(key >> 3, value)?;
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_as_protocol_buffers_have_them() {
        let mut f = Fields::default();
        f.int(1, 150).text(2, "testing").int(51, -1).bool(3, true);
        let negative = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let mut want = vec![0x08, 0x96, 0x01, 0x12, 0x07];
        want.extend(b"testing");
        want.extend([0x98, 0x03]);
        want.extend(negative);
        want.extend([0x18, 0x01]);
        assert_eq!(f.as_bytes(), want);
    }

    /// Bytes that criu 3.17.1 has sent.
    #[test]
    fn answers_are_read() {
        let r = Response::read(&[8, 10, 16, 1, 82, 6, 8, 3, 16, 17, 32, 1]).unwrap();
        assert_eq!((r.verb, r.success, r.version), (10, true, 31_701));
        let mut note = vec![8, 6, 16, 1, 42, 21, 10, 16];
        note.extend(b"setup-namespaces");
        note.extend([16, 0xb9, 0x0a]);
        let r = Response::read(&note).unwrap();
        assert_eq!(r.script.as_deref(), Some("setup-namespaces"));
        assert_eq!(r.script_pid, Some(1337));
        let r = Response::read(&[
            8, 2, 16, 0, 34, 11, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 56, 22,
        ]);
        let r = r.unwrap();
        assert_eq!((r.success, r.pid, r.errno), (false, Some(-1), 22));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bad in [
            &[8][..],
            &[0x82, 9, 1],
            &[0x0b],
            &[0x80; 11],
            &[42, 200, 1, 0],
            &[56, 255, 255, 255, 255, 127],
        ] {
            assert!(Response::read(bad).is_err(), "{bad:?}");
        }
        // Any bytes at all are read or refused, and no more.
        let mut seed = 1u32;
        for length in 0..2000 {
            let bytes: Vec<u8> = (0..length % 40)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 24) as u8
                })
                .collect();
            let _ = Response::read(&bytes);
        }
    }
}
