//! What `state` and `list` print.

#![forbid(unsafe_code)]

use super::args::{Parsed, invalid};
use super::json::Json;
use super::{Context, life};
use crate::cli::print_line;
use crate::container::State;
use crate::error::Result;
use crate::plan::formats::passwd;
use std::io::Read;

/// `state`: one container.
pub(super) fn state(context: &Context, parsed: &Parsed) -> Result<u8> {
    let state = context.runtime.load(life::id(parsed)?)?.state()?;
    print_line(&object(&state, &mut Owners::default()).indented("  "));
    Ok(0)
}

/// What `--format` says.
pub(super) enum Format {
    Table,
    Json,
}

/// Reads it.
pub(super) fn format(parsed: &Parsed) -> Result<Format> {
    match parsed.text("format")? {
        None | Some("table") => Ok(Format::Table),
        Some("json") => Ok(Format::Json),
        Some(_) => Err(invalid("invalid format option").hint("it is table or json")),
    }
}

/// `list`: all of a root.
pub(super) fn list(context: &Context, parsed: &Parsed) -> Result<u8> {
    let format = format(parsed)?;
    let states = states(context)?;
    if parsed.on("quiet") {
        print_line(&states.iter().map(|s| format!("{}\n", s.id)).collect::<String>());
        return Ok(0);
    }
    let mut owners = Owners::default();
    let text = match format {
        Format::Table => table(&states, &mut owners),
        // As runc, whose callers know it.
        Format::Json if states.is_empty() => "null\n".to_owned(),
        Format::Json => {
            let list = states.iter().map(|s| object(s, &mut owners)).collect();
            Json::List(list).line() + "\n"
        }
    };
    print_line(&text);
    Ok(0)
}

/// Those that can be read; what is wrong with the others goes to stderr and does not hide them.
fn states(context: &Context) -> Result<Vec<State>> {
    // A root that nobody has used yet has no containers; one that was asked for should be there.
    if !context.root_given && !context.runtime.root().exists() {
        return Ok(Vec::new());
    }
    if let Err(e) = std::fs::metadata(context.runtime.root()) {
        return Err(super::path_error("list", context.runtime.root(), e));
    }
    let mut states = Vec::new();
    for (id, state) in context.runtime.list()? {
        match state {
            Ok(state) => states.push(state),
            Err(e) => context.log.warn(&format!("load container {id}: {e}")),
        }
    }
    Ok(states)
}

fn object(state: &State, owners: &mut Owners) -> Json {
    let text = |k: &str, v: &str| (k.to_owned(), Json::from(v));
    let mut entries = vec![
        text("ociVersion", &state.oci_version),
        text("id", &state.id),
        ("pid".to_owned(), state.pid.into()),
        text("status", &state.status.to_string()),
        text("bundle", &state.bundle.to_string_lossy()),
        text("rootfs", &state.rootfs.to_string_lossy()),
        text("created", &state.created),
    ];
    if !state.annotations.is_empty() {
        let all = state.annotations.iter().map(|(k, v)| text(k, v)).collect();
        entries.push(("annotations".to_owned(), Json::Object(all)));
    }
    entries.push(text("owner", &owners.name(state.owner)));
    Json::Object(entries)
}

/// Columns as wide as their longest word, 12 at least, as Go's tabwriter has them for runc.
fn table(states: &[State], owners: &mut Owners) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |s: &State| {
        [
            s.id.clone(),
            s.pid.to_string(),
            s.status.to_string(),
            s.bundle.to_string_lossy().into_owned(),
            s.created.clone(),
            owners.name(s.owner),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(states.iter().map(row)).collect();
    let width = |column: usize| {
        let longest = rows.iter().map(|r| r[column].chars().count() + 3).max().unwrap_or(0);
        longest.max(12)
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut out = String::new();
    for [first @ .., owner] in &rows {
        for (cell, width) in first.iter().zip(&widths) {
            out.push_str(&format!("{cell:<width$}"));
        }
        out.push_str(owner);
        out.push('\n');
    }
    out
}

/// Names of the host's users, read once.
#[derive(Default)]
struct Owners(Option<Vec<u8>>);

impl Owners {
    fn name(&mut self, uid: u32) -> String {
        const MOST: u64 = 1 << 20;
        let file = self.0.get_or_insert_with(|| {
            let mut text = Vec::new();
            // Without it, or with a part of it, the number does.
            if let Ok(file) = std::fs::File::open("/etc/passwd") {
                let _ = file.take(MOST).read_to_end(&mut text);
            }
            text
        });
        match passwd::passwd_by_uid(file, uid) {
            Some(entry) => String::from_utf8_lossy(entry.name).into_owned(),
            None => format!("#{uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Status;

    fn one() -> State {
        State {
            oci_version: "1.0.2".to_owned(),
            id: "c".to_owned(),
            status: Status::Running,
            pid: 42,
            bundle: "/b".into(),
            annotations: [("k".to_owned(), "v".to_owned())].into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-01-02T03:04:05.000000006Z".to_owned(),
            owner: 0,
        }
    }

    #[test]
    fn the_keys_are_runc_s_and_in_its_order() {
        assert_eq!(
            object(&one(), &mut Owners(Some(b"root:x:0:0::/:".to_vec()))).line(),
            "{\"ociVersion\":\"1.0.2\",\"id\":\"c\",\"pid\":42,\"status\":\"running\",\
             \"bundle\":\"/b\",\"rootfs\":\"/b/rootfs\",\
             \"created\":\"2026-01-02T03:04:05.000000006Z\",\"annotations\":{\"k\":\"v\"},\
             \"owner\":\"root\"}"
        );
    }

    #[test]
    fn the_table_is_runc_s() {
        let mut owners = Owners(Some(Vec::new()));
        assert_eq!(
            table(&[], &mut owners),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        assert_eq!(
            table(&[one()], &mut owners).lines().nth(1),
            Some(
                "c           42          running     /b          2026-01-02T03:04:05.000000006Z   #0"
            )
        );
    }
}
