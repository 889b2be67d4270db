//! Which devices a container may open and make: the rules in the order of the specification, and
//! what v1's devices controller needs to be told for them.
//!
//! A rule counts over those before it. v1 keeps no order: it has a default and exceptions to it,
//! so the rules are played through here first, and only what differs from the cgroup's present
//! state is written; an update then takes no device away for a moment that stays allowed.

use crate::error::{Error, Kind, Result};
use crate::host::cgroup::dir::Dir;
use crate::sys::io;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

/// Making a node (`m`), as `BPF_DEVCG_ACC_MKNOD`.
pub(super) const MAKE: u8 = 1;
/// Reading (`r`), as `BPF_DEVCG_ACC_READ`.
pub(super) const READ: u8 = 2;
/// Writing (`w`), as `BPF_DEVCG_ACC_WRITE`.
pub(super) const WRITE: u8 = 4;
/// All of them.
pub(super) const ALL: u8 = MAKE | READ | WRITE;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    /// Every device.
    Any,
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// One rule; `None` is any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    pub(super) which: Which,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) access: u8,
}

/// Character devices that every container may use: null, zero, full, random, urandom, tty,
/// terminals (pts), ptmx, tun. runc and crun add these behind the configuration's rules, and
/// callers count on it. They add the right to make *any* node as well; here only a configuration
/// gives that (T33), as Docker's does, and the nodes that the container is made with get it.
const EVERYBODYS: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
    (10, Some(200)),
];

/// Rules in their order; what none of them is about is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules(pub(super) Vec<Rule>);

impl Rules {
    /// The configuration's rules, and behind them those that every container has.
    pub(super) fn of_container(r: &LinuxResources, nodes: &[LinuxDevice]) -> Result<Rules> {
        let mut rules = Vec::new();
        for rule in r.devices().iter().flatten() {
            rules.extend(Rule::parse(rule)?);
        }
        for node in nodes {
            let which = match node.typ() {
                LinuxDeviceType::B => Which::Block,
                LinuxDeviceType::C | LinuxDeviceType::U => Which::Char,
                // A FIFO is no device to the kernel.
                LinuxDeviceType::P | LinuxDeviceType::A => continue,
            };
            let (major, minor) = (number(node.major())?, number(node.minor())?);
            rules.push(Rule { allow: true, which, major, minor, access: MAKE });
        }
        rules.extend(EVERYBODYS.iter().map(|(major, minor)| Rule {
            allow: true,
            which: Which::Char,
            major: Some(*major),
            minor: *minor,
            access: ALL,
        }));
        Ok(Rules(rules))
    }

    /// Writes what is needed to `devices.allow` and `devices.deny`.
    pub(super) fn set_v1(&self, dir: &Dir) -> Result<()> {
        let target = State::of(self)?;
        let read = || {
            let text = dir
                .read_long("devices.list")
                .map_err(|e| Error::os(format!("read {}/devices.list", dir.path), e))?;
            State::parse(&text).ok_or_else(|| {
                Error::new(Kind::Os, format!("{}/devices.list has {text:?}", dir.path))
            })
        };
        let mut files: [Option<OwnedFd>; 2] = [None, None];
        for (allow, rule) in read()?.steps_to(&target) {
            let file = if allow { "devices.allow" } else { "devices.deny" };
            let [deny_fd, allow_fd] = &mut files;
            let slot = if allow { allow_fd } else { deny_fd };
            let open = match slot.take() {
                Some(fd) => Ok(fd),
                None => dir.open_file(file, libc::O_WRONLY),
            };
            let written =
                open.and_then(|fd| io::write_whole(slot.insert(fd).as_fd(), rule.as_bytes()));
            written.map_err(|e| {
                let error = Error::os(format!("write {rule:?} to {}/{file}", dir.path), e);
                if allow && e.0 == libc::EPERM {
                    error.hint("the cgroup above does not allow that device itself")
                } else {
                    error
                }
            })?;
        }
        // The kernel drops what it finds pointless without a word. Exceptions to "all" it does not
        // list, so there only the default can be compared.
        let now = read()?;
        let same = now.allow == target.allow && (now.allow || now.exceptions == target.exceptions);
        if same {
            return Ok(());
        }
        let text = format!("the device rules of {} are not those that were set", dir.path);
        Err(Error::new(Kind::Refused, text))
    }
}

fn number(value: i64) -> Result<Option<u32>> {
    if value == -1 {
        return Ok(None);
    }
    u32::try_from(value).map(Some).map_err(|_| {
        Error::new(Kind::InvalidConfig, format!("a device rule has the number {value}"))
    })
}

impl Rule {
    /// `None` for a rule about nothing.
    fn parse(rule: &LinuxDeviceCgroup) -> Result<Option<Rule>> {
        let bad = |text: String| Error::new(Kind::InvalidConfig, text);
        let mut access = 0;
        for c in rule.access().as_deref().unwrap_or_default().chars() {
            access |= match c {
                'm' => MAKE,
                'r' => READ,
                'w' => WRITE,
                // runc lets it pass; to deny more than it may have meant harms nobody.
                'a' if !rule.allow() => ALL,
                _ => {
                    return Err(bad(format!("a device rule has the access {c:?}"))
                        .hint("access is of r, w and m"));
                }
            };
        }
        let which = match rule.typ() {
            None | Some(LinuxDeviceType::A) => Which::Any,
            Some(LinuxDeviceType::B) => Which::Block,
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Which::Char,
            Some(LinuxDeviceType::P) => {
                return Err(bad("a device rule is about FIFOs, which are no devices".to_owned()));
            }
        };
        let of = |value: Option<i64>| value.map_or(Ok(None), number);
        let (major, minor, allow) = (of(rule.major())?, of(rule.minor())?, rule.allow());
        if which == Which::Any {
            // The controller takes the whole for any such rule. That is more than is denied, and
            // must not be more than is allowed.
            if allow && (major.is_some() || minor.is_some() || access != ALL) {
                return Err(bad("a device rule without a type allows only a part".to_owned())
                    .hint("give its type, b or c, or allow all access to all numbers"));
            }
            return Ok(Some(Rule { allow, which, major: None, minor: None, access: ALL }));
        }
        Ok((access != 0).then_some(Rule { allow, which, major, minor, access }))
    }
}

type Key = (Which, Option<u32>, Option<u32>);

/// A v1 devices cgroup: a default, and the access that is otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    allow: bool,
    exceptions: BTreeMap<Key, u8>,
    /// As they came, which is how the kernel lists them; some are no exceptions any more.
    order: Vec<Key>,
}

impl State {
    fn of(rules: &Rules) -> Result<State> {
        let mut state = State::default();
        rules.0.iter().try_for_each(|rule| state.play(rule))?;
        Ok(state)
    }

    fn play(&mut self, rule: &Rule) -> Result<()> {
        if rule.which == Which::Any {
            *self = State { allow: rule.allow, ..State::default() };
            return Ok(());
        }
        let key = (rule.which, rule.major, rule.minor);
        if rule.allow != self.allow {
            self.order.push(key);
            *self.exceptions.entry(key).or_default() |= rule.access;
            return Ok(());
        }
        // Back to the default: an exception goes, if it is exactly about that. One about more
        // stays in the kernel's eyes, silently, and one about less does as well.
        let overlaps = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        let other = self.exceptions.iter().find(|((which, major, minor), access)| {
            *which == rule.which
                && (*which, *major, *minor) != key
                && *access & rule.access != 0
                && overlaps(*major, rule.major)
                && overlaps(*minor, rule.minor)
        });
        if let Some((other, access)) = other {
            let text = format!(
                "device rule {:?} cuts into {:?}, which cgroup v1 cannot express",
                line(&key, rule.access),
                line(other, *access)
            );
            return Err(Error::new(Kind::InvalidConfig, text)
                .hint("let the two rules be about the same numbers, or list the devices singly"));
        }
        if let Some(access) = self.exceptions.get_mut(&key) {
            *access &= !rule.access;
            if *access == 0 {
                self.exceptions.remove(&key);
            }
        }
        Ok(())
    }

    /// From `devices.list`, which lists what is allowed.
    fn parse(text: &str) -> Option<State> {
        let mut state = State::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let which = match words.next()? {
                "a" => return Some(State { allow: true, ..State::default() }),
                "b" => Which::Block,
                "c" => Which::Char,
                _ => return None,
            };
            let (major, minor) = words.next()?.split_once(':')?;
            let number = |text: &str| match text {
                "*" => Some(None),
                text => text.parse().ok().map(Some),
            };
            let mut access = 0;
            for c in words.next()?.chars() {
                access |= match c {
                    'm' => MAKE,
                    'r' => READ,
                    'w' => WRITE,
                    _ => return None,
                };
            }
            let key = (which, number(major)?, number(minor)?);
            state.order.push(key);
            state.exceptions.insert(key, access);
        }
        Some(state)
    }

    /// Lines to write, each with whether to `devices.allow`.
    fn steps_to(mut self, target: &State) -> Vec<(bool, String)> {
        let mut steps = Vec::new();
        // What is denied where all is allowed is not listed, so that has to be set anew as well.
        if self.allow || self.allow != target.allow {
            steps.push((target.allow, "a".to_owned()));
            self = State { allow: target.allow, ..State::default() };
        }
        let missing = |from: &State, than: &State| -> Vec<String> {
            let mut lines = Vec::new();
            for (at, key) in from.order.iter().enumerate() {
                let again = from.order.iter().take(at).any(|before| before == key);
                let Some(access) = from.exceptions.get(key).filter(|_| !again) else { continue };
                let access = access & !than.exceptions.get(key).copied().unwrap_or(0);
                if access != 0 {
                    lines.push(line(key, access));
                }
            }
            lines
        };
        steps.extend(missing(&self, target).into_iter().map(|l| (target.allow, l)));
        steps.extend(missing(target, &self).into_iter().map(|l| (!target.allow, l)));
        steps
    }
}

fn line((which, major, minor): &Key, access: u8) -> String {
    let number = |n: &Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    let kind = match which {
        Which::Any => 'a',
        Which::Block => 'b',
        Which::Char => 'c',
    };
    let mut text = format!("{kind} {}:{} ", number(major), number(minor));
    for (bit, c) in [(READ, 'r'), (WRITE, 'w'), (MAKE, 'm')] {
        if access & bit != 0 {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Result<Rules> {
        let r: LinuxResources = serde_json::from_str(&format!(r#"{{"devices":{json}}}"#)).unwrap();
        Rules::of_container(&r, &[])
    }

    fn steps(from: &str, json: &str) -> Vec<String> {
        let target = State::of(&rules(json).unwrap()).unwrap();
        let show =
            |(allow, line): (bool, String)| format!("{}{line}", if allow { '+' } else { '-' });
        State::parse(from).unwrap().steps_to(&target).into_iter().map(show).collect()
    }

    /// T33
    #[test]
    fn no_rules_are_a_denial_of_all_but_everybodys_devices() {
        for json in ["[]", r#"[{"allow":false,"access":"rwm"}]"#] {
            let steps = steps("a *:* rwm\n", json);
            assert_eq!(steps[0], "-a", "{json}");
            assert_eq!(steps.len(), 1 + EVERYBODYS.len(), "{steps:?}");
            assert!(steps[1..].iter().all(|s| s.starts_with("+c ") && s.ends_with(" rwm")));
            assert!(steps.contains(&"+c 136:* rwm".to_owned()));
        }
    }

    /// T33
    #[test]
    fn a_later_rule_counts() {
        let of = |json: &str| steps("a *:* rwm\n", json);
        let deny = r#"{"allow":false,"access":"rwm"}"#;
        let disk = r#"{"allow":true,"type":"b","major":8,"minor":0,"access":"rwm"}"#;
        let write = r#"{"allow":false,"type":"b","major":8,"minor":0,"access":"w"}"#;
        assert!(of(&format!("[{deny},{disk}]")).contains(&"+b 8:0 rwm".to_owned()));
        assert!(of(&format!("[{deny},{disk},{write}]")).contains(&"+b 8:0 rm".to_owned()));
        assert!(!of(&format!("[{disk},{deny}]")).iter().any(|s| s.contains("b 8:0")));
        // All, without one.
        let all = r#"{"allow":true,"access":"rwm"}"#;
        assert_eq!(of(&format!("[{all}]")), ["+a"]);
        assert_eq!(of(&format!("[{all},{write}]")), ["+a", "-b 8:0 w"]);
        assert_eq!(of(&format!("[{all},{write},{disk}]")), ["+a"]);
    }

    /// The kernel lists them as they were written.
    #[test]
    fn rules_are_written_in_the_order_in_which_they_were_given() {
        let json = r#"[{"allow":false,"access":"rwm"},
            {"allow":true,"type":"c","major":10,"minor":229,"access":"rwm"},
            {"allow":true,"type":"b","major":8,"minor":20,"access":"r"},
            {"allow":true,"type":"c","major":1,"minor":3,"access":"r"},
            {"allow":true,"type":"b","major":8,"minor":20,"access":"w"}]"#;
        let steps = steps("a *:* rwm\n", json);
        assert_eq!(steps[..4], ["-a", "+c 10:229 rwm", "+b 8:20 rw", "+c 1:3 rwm"]);
        assert_eq!(steps.len(), 3 + EVERYBODYS.len());
    }

    #[test]
    fn an_update_writes_the_difference() {
        let now = "c 1:3 rwm\nc 1:5 rwm\nc 1:7 rwm\nc 1:8 rwm\nc 1:9 rwm\nc 5:0 rwm\nc 5:2 rwm\n\
            c 136:* rwm\nc 10:200 rwm\nb 8:0 r\n";
        assert_eq!(steps(now, "[]"), ["-b 8:0 r"]);
        let read = r#"[{"allow":true,"type":"b","major":8,"minor":0,"access":"r"}]"#;
        assert_eq!(steps(now, read), [""; 0]);
        let write = r#"[{"allow":true,"type":"b","major":8,"minor":0,"access":"w"}]"#;
        assert_eq!(steps(now, write), ["-b 8:0 r", "+b 8:0 w"]);
        assert_eq!(steps(now, r#"[{"allow":true,"access":"rwm"}]"#), ["+a"]);
    }

    #[test]
    fn what_v1_would_silently_not_do_is_an_error() {
        let e = |json| State::of(&rules(json).unwrap()).unwrap_err();
        let hole = r#"[{"allow":true,"type":"b","major":8,"access":"rwm"},
            {"allow":false,"type":"b","major":8,"minor":0,"access":"w"}]"#;
        assert!(e(hole).to_string().contains("b 8:* rwm"), "{}", e(hole));
        let over = r#"[{"allow":true,"type":"b","major":8,"minor":0,"access":"rwm"},
            {"allow":false,"type":"b","access":"w"}]"#;
        assert_eq!(e(over).kind(), Kind::InvalidConfig);
    }

    #[test]
    fn a_rule_that_cannot_be_is_refused() {
        for json in [
            r#"[{"allow":true,"access":"r"}]"#,
            r#"[{"allow":true,"major":1,"access":"rwm"}]"#,
            r#"[{"allow":true}]"#,
            r#"[{"allow":true,"type":"c","access":"x"}]"#,
            r#"[{"allow":true,"type":"p","access":"r"}]"#,
            r#"[{"allow":true,"type":"c","major":-2,"access":"r"}]"#,
            r#"[{"allow":true,"type":"c","major":4294967296,"access":"r"}]"#,
        ] {
            assert_eq!(rules(json).unwrap_err().kind(), Kind::InvalidConfig, "{json}");
        }
        // Denying a part of everything denies everything, and no access is no rule.
        assert_eq!(rules(r#"[{"allow":false,"access":"r"}]"#).unwrap().0[0].access, ALL);
        assert_eq!(rules(r#"[{"allow":true,"type":"c"}]"#).unwrap().0.len(), EVERYBODYS.len());
    }

    #[test]
    fn nodes_of_the_container_may_be_made_but_not_opened() {
        let node = r#"[{"path":"/dev/x","type":"b","major":8,"minor":1},
            {"path":"/dev/p","type":"p","major":0,"minor":0}]"#;
        let nodes: Vec<LinuxDevice> = serde_json::from_str(node).unwrap();
        let rules = Rules::of_container(&LinuxResources::default(), &nodes).unwrap();
        assert_eq!(rules.0.len(), 1 + EVERYBODYS.len());
        let state = State::of(&rules).unwrap();
        assert_eq!(state.exceptions.get(&(Which::Block, Some(8), Some(1))), Some(&MAKE));
    }
}
