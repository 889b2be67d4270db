//! `update`: a container's new limits, from options or as JSON.

#![forbid(unsafe_code)]

use super::args::{Parsed, invalid};
use super::{Context, life, path_error};
use crate::error::{Error, Kind, Result};
use crate::plan::values::{quote, size};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::Path;

/// Most bytes of a resources file.
const MOST: u64 = 1 << 20;

/// Changes them.
pub(super) fn update(context: &Context, parsed: &Parsed) -> Result<u8> {
    let container = context.runtime.load(life::id(parsed)?)?;
    let resources = resources(parsed)?;
    if ["kernel-memory", "kernel-memory-tcp"].iter().any(|o| parsed.given(o)) {
        context.log.warn("Kernel memory settings are ignored and will be removed");
    }
    for warning in container.update(&resources)? {
        context.log.warn(&warning);
    }
    Ok(0)
}

/// What shall change; the rest stays.
fn resources(parsed: &Parsed) -> Result<LinuxResources> {
    for option in ["l3-cache-schema", "mem-bw-schema"] {
        if parsed.raw(option).is_some() {
            return Err(Error::new(
                Kind::Unsupported,
                format!("--{option} is not supported yet: stockade changes no Intel RDT groups"),
            ));
        }
    }
    let value = match parsed.path("resources") {
        Some(path) => {
            let bytes = read(&path)?;
            serde_json::from_slice(&bytes).map_err(|e| unreadable(&path, &e))?
        }
        None => typed(parsed)?,
    };
    serde_json::from_value(value).map_err(|e| invalid(format!("the resources make no sense: {e}")))
}

fn unreadable(path: &Path, e: &serde_json::Error) -> Error {
    invalid(format!("read the resources in {}: {e}", quote(&path.to_string_lossy())))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let result = if path == Path::new("-") {
        std::io::stdin().lock().take(MOST + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|f| f.take(MOST + 1).read_to_end(&mut bytes))
    };
    result.map_err(|e| path_error("read", path, e))?;
    if bytes.len() as u64 > MOST {
        return Err(invalid(format!("the resources are longer than {MOST} bytes")));
    }
    Ok(bytes)
}

/// Options and the property of the specification that each one is.
const AMOUNTS: [(&str, &str, &str); 3] = [
    ("memory", "memory", "limit"),
    ("memory-reservation", "memory", "reservation"),
    ("memory-swap", "memory", "swap"),
];
const SIGNED: [(&str, &str, &str); 4] = [
    ("cpu-quota", "cpu", "quota"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
    ("cpu-idle", "cpu", "idle"),
    ("pids-limit", "pids", "limit"),
];
const UNSIGNED: [(&str, &str, &str); 4] = [
    ("cpu-period", "cpu", "period"),
    ("cpu-burst", "cpu", "burst"),
    ("cpu-share", "cpu", "shares"),
    ("cpu-rt-period", "cpu", "realtimePeriod"),
];
const TEXTS: [(&str, &str, &str); 2] =
    [("cpuset-cpus", "cpu", "cpus"), ("cpuset-mems", "cpu", "mems")];

fn typed(parsed: &Parsed) -> Result<Value> {
    let mut all: Map<String, Value> = Map::new();
    let mut put = |group: &str, key: &str, value: Value| {
        all.entry(group).or_insert_with(|| json!({}))[key] = value;
    };
    for (option, group, key) in AMOUNTS {
        if let Some(text) = parsed.text(option)? {
            put(group, key, amount(option, text)?.into());
        }
    }
    for (option, group, key) in SIGNED {
        if let Some(number) = parsed.number::<i64>(option)? {
            put(group, key, number.into());
        }
    }
    for (option, group, key) in UNSIGNED {
        if let Some(number) = parsed.number::<u64>(option)? {
            put(group, key, number.into());
        }
    }
    for (option, group, key) in TEXTS {
        if let Some(text) = parsed.text(option)? {
            put(group, key, text.into());
        }
    }
    // 0, as in runc, is as good as nothing.
    if let Some(weight) = parsed.number::<u16>("blkio-weight")?.filter(|w| *w != 0) {
        put("blockIO", "weight", weight.into());
    }
    Ok(Value::Object(all))
}

/// A size, or -1.
fn amount(option: &str, text: &str) -> Result<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    let bytes = size::bytes(&format!("value for {option}:"), text)?;
    i64::try_from(bytes).map_err(|_| invalid(format!("invalid value for {option}: too large")))
}

#[cfg(test)]
mod tests {
    use super::super::args;
    use super::super::verbs;
    use super::*;

    fn of(line: &str) -> Result<LinuxResources> {
        let words: Vec<std::ffi::OsString> = line.split_whitespace().map(Into::into).collect();
        let verb = verbs::find("update").unwrap();
        resources(&args::parse(&words, verb.options, verb.order)?)
    }

    #[test]
    fn every_option_is_a_property() {
        let r = of("c --memory 64m --memory-swap=-1 --memory-reservation 1024 --cpu-quota 50000 \
                    --cpu-period 100000 --cpu-burst 7 --cpu-share 512 --cpuset-cpus 0-1 \
                    --cpuset-mems 0 --cpu-idle 1 --pids-limit 20 --blkio-weight 500 \
                    --cpu-rt-period 5 --cpu-rt-runtime 6")
        .unwrap();
        let memory = r.memory().as_ref().unwrap();
        assert_eq!(memory.limit(), Some(64 << 20));
        assert_eq!((memory.swap(), memory.reservation()), (Some(-1), Some(1024)));
        let cpu = r.cpu().as_ref().unwrap();
        assert_eq!((cpu.quota(), cpu.period(), cpu.burst()), (Some(50000), Some(100_000), Some(7)));
        assert_eq!((cpu.shares(), cpu.idle()), (Some(512), Some(1)));
        assert_eq!((cpu.realtime_period(), cpu.realtime_runtime()), (Some(5), Some(6)));
        assert_eq!(cpu.cpus().as_deref(), Some("0-1"));
        assert_eq!(cpu.mems().as_deref(), Some("0"));
        assert_eq!(serde_json::to_value(r.pids()).unwrap(), json!({ "limit": 20 }));
        assert_eq!(serde_json::to_value(r.block_io()).unwrap()["weight"], 500);
    }

    #[test]
    fn what_is_not_said_is_not_changed() {
        assert_eq!(of("c").unwrap(), LinuxResources::default());
        assert!(of("c --memory 1m").unwrap().cpu().is_none());
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "c --memory 1x",
            "c --memory -2",
            "c --cpu-share -1",
            "c --cpu-quota 1.5",
            "c --blkio-weight 70000",
            "c --l3-cache-schema L3:0=f",
            "c -r /nonexistent",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
