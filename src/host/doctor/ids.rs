//! User and group ids: which a jail has here, and who maps them.

#![forbid(unsafe_code)]

use super::blockers::{self, Blocker, Effect, ids};
use super::namespaces::{UserNamespace, user_blocker};
use super::report::{Findings, Need, Row, State};
use super::settings::Settings;
use crate::plan::MapWriter;
use crate::plan::ids::{self as id_plan, IdMap};

const LAYER: &str = "ids";

pub(super) fn look(found: &mut Findings, host: &Settings, user: &UserNamespace) {
    let facts = &host.facts;
    let rights = if facts.privileged {
        Row::yes(Need::Info, "root with the capabilities it needs")
    } else if facts.uid == 0 {
        Row::no(Need::Limits, "root without the capabilities it needs")
    } else {
        Row::no(Need::Info, format!("an ordinary user, {}:{}", facts.uid, facts.gid))
    };
    found.add(LAYER, "privileged", rights.because(|| blockers::weak_root(host)));
    let plan = id_plan::plan(facts, 65_534, 65_534);
    let row = match user {
        UserNamespace::Works => Row::yes(Need::Run, lines(&plan.uids)),
        UserNamespace::NotMapped(e) => Row::no(Need::Run, e.to_string()),
        _ => Row::new(State::Unknown, Need::Run, "not tried without a user namespace"),
    };
    let count: i64 = plan.uids.iter().map(|m| i64::from(m.count)).sum();
    let why = || match user {
        UserNamespace::NotMapped(_) => user_blocker(host, user),
        _ => None,
    };
    found.add(LAYER, "id map", row.value(count).because(why));
    look_at_ranges(found, host, plan.writer);
}

fn look_at_ranges(found: &mut Findings, host: &Settings, writer: MapWriter) {
    let facts = &host.facts;
    let row = match (writer, facts.sub_ids) {
        (MapWriter::Privileged, Some(s)) => {
            Row::yes(Need::Info, format!("root's jails have {} ids from {} on", s.count, s.uid))
        }
        (MapWriter::Privileged, None) => Row::yes(
            Need::Info,
            format!("none configured; root's jails have 65536 from {} on", id_plan::DEFAULT_BASE),
        ),
        (MapWriter::Helpers, Some(s)) => {
            Row::yes(Need::Limits, format!("{} from {} on, by newuidmap", s.count, s.uid))
        }
        (_, Some(_)) => Row::no(Need::Limits, "configured, but newuidmap is not installed"),
        (_, None) => Row::no(
            Need::Limits,
            "none of 65535 in /etc/subuid and /etc/subgid: a jail has one id, and the caller's \
             groups stay",
        ),
    };
    let blocker = || {
        Some(Blocker::new(
            ids::NO_SUBORDINATE_IDS,
            Effect::Degrades,
            "this user has no subordinate ids: a jail has one id, and the caller's supplementary \
             groups cannot be dropped",
            format!(
                "as root: apt install uidmap (or your system's package of newuidmap), and usermod \
                 --add-subuids 100000-165535 --add-subgids 100000-165535 USER, or the same as lines \
                 {}:100000:65536 of /etc/subuid and /etc/subgid",
                facts.uid
            ),
        ))
    };
    found.add(LAYER, "subordinate ids", row.because(blocker));
}

/// `inside:outside:count`, as the outcome writes it.
fn lines(maps: &[IdMap]) -> String {
    let all: Vec<String> =
        maps.iter().map(|m| format!("{}:{}:{}", m.inside, m.outside, m.count)).collect();
    all.join(" ")
}
