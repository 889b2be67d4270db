//! `events`, and the verbs that act on a container's cgroup: `pause` and `resume`.

#![forbid(unsafe_code)]

use super::args::Parsed;
use super::{Context, life};
use crate::container::{Container, OomEvent, Status};
use crate::error::{Error, Kind, Result};
use crate::plan::values::duration::{Zero, duration};
use crate::plan::values::quote;
use std::io::Write;
use std::time::{Duration, Instant};

/// `pause`.
pub(super) fn pause(context: &Context, parsed: &Parsed) -> Result<u8> {
    context.runtime.load(life::id(parsed)?)?.pause()?;
    Ok(0)
}

/// `resume`.
pub(super) fn resume(context: &Context, parsed: &Parsed) -> Result<u8> {
    context.runtime.load(life::id(parsed)?)?.resume()?;
    Ok(0)
}

/// `events`: figures once, or at every interval until the container ends.
pub(super) fn events(context: &Context, parsed: &Parsed) -> Result<u8> {
    let container = context.runtime.load(life::id(parsed)?)?;
    let interval = match parsed.text("interval")? {
        Some(text) => duration("interval", text, Zero::Refused)?,
        None => Duration::from_secs(5),
    };
    if container.state()?.status == Status::Stopped {
        return Err(Error::new(
            Kind::InvalidConfig,
            format!("container with id {} is not running", quote(container.id())),
        ));
    }
    if parsed.on("stats") {
        print(&stats(&container)?)?;
        return Ok(0);
    }
    let mut watch = container.oom_events()?;
    let mut due = Instant::now() + interval;
    loop {
        let left = due.saturating_duration_since(Instant::now());
        match watch.next(Some(left))? {
            Some(OomEvent::Oom) => print(&line("oom", container.id(), None))?,
            Some(OomEvent::End) => return Ok(0),
            None => {
                due += interval;
                match stats(&container) {
                    Ok(text) => print(&text)?,
                    // It may be ending right now.
                    Err(_) if over(&container) => return Ok(0),
                    Err(e) => context.log.error(&e.to_string(), e.hint_text()),
                }
            }
        }
    }
}

fn over(container: &Container) -> bool {
    container.state().map_or(true, |s| s.status == Status::Stopped)
}

fn stats(container: &Container) -> Result<String> {
    let stats = container.stats()?;
    let text = serde_json::to_string(&stats)
        .map_err(|e| Error::new(Kind::Os, format!("write the figures: {e}")))?;
    Ok(line("stats", container.id(), Some(&text)))
}

fn line(kind: &str, id: &str, data: Option<&str>) -> String {
    let id = serde_json::Value::from(id);
    let data = data.map(|d| format!(",\"data\":{d}")).unwrap_or_default();
    format!("{{\"type\":\"{kind}\",\"id\":{id}{data}}}\n")
}

/// Whoever reads is gone: then there is nobody to watch for.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Error::os("write to standard output", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_runc_s() {
        assert_eq!(line("oom", "c", None), "{\"type\":\"oom\",\"id\":\"c\"}\n");
        assert_eq!(
            line("stats", "c", Some("{}")),
            "{\"type\":\"stats\",\"id\":\"c\",\"data\":{}}\n"
        );
    }
}
