//! systemd as the maker of a container's cgroup: a transient scope with the container's first
//! process in it, whose limits are the unit's properties.
//!
//! The unit is delegated, so what is in its cgroup is ours: limits are written there as with any other
//! cgroup, and the unit has the same ones so that systemd does not write others. Device rules
//! are not the unit's: our own program in the kernel has all of them, where a unit's DeviceAllow
//! has no order.

mod annotations;
mod bus;
mod properties;
mod unit;
mod wire;

pub(crate) use unit::Names;

use crate::error::{Error, Kind, Result};
use crate::plan::formats::cgroup;
use crate::plan::values::quote;
use bus::{Bus, Reply};
use oci_spec::runtime::LinuxResources;
use properties::Properties;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use wire::Value;

/// A unit that is to be.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    names: Names,
    /// The calling user's own manager makes it.
    user: bool,
    /// That manager's cgroup, without slashes around.
    above: String,
    /// What annotations add.
    further: Properties,
}

/// A unit that is there: what is kept of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Such as `stockade-web.scope`.
    pub(crate) name: String,
    /// Whose manager.
    #[serde(default)]
    pub(crate) user: bool,
}

impl Unit {
    /// From `linux.cgroupsPath` and the annotations.
    ///
    /// # Errors
    /// Neither makes sense, or there is no systemd.
    pub(crate) fn new(
        asked: &str,
        id: &str,
        user: bool,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Unit> {
        let names = Names::new(asked, id, user)?;
        let further = annotations::properties(annotations)?;
        // As sd_booted(3) finds out.
        if !Path::new("/run/systemd/system").is_dir() {
            let text = "the systemd cgroup manager: systemd does not run on this host";
            return Err(Error::new(Kind::Unsupported, text)
                .hint("leave --systemd-cgroup away: the cgroupfs manager makes the same limits"));
        }
        let above =
            if user { Bus::connect(true)?.property("ControlGroup")? } else { String::new() };
        let above = above.trim_matches('/').to_owned();
        if above.split('/').any(|part| matches!(part, "." | "..")) {
            let text = format!("systemd says that it is in the cgroup {}", quote(&above));
            return Err(Error::new(Kind::Refused, text));
        }
        Ok(Unit { names, user, above, further })
    }

    /// Where its cgroup will be, as an absolute path in the hierarchy.
    pub(crate) fn cgroup(&self) -> String {
        let slash = if self.above.is_empty() { "" } else { "/" };
        format!("/{}{slash}{}", self.above, self.names.cgroup())
    }

    /// For state.json.
    pub(crate) fn kept(&self) -> Kept {
        Kept { name: self.names.scope.clone(), user: self.user }
    }

    /// Makes it with this process in it, and waits until it is there. What was a quota that systemd
    /// would round comes back rounded.
    ///
    /// # Errors
    /// There is one of this name, or systemd does not make it, in time.
    pub(crate) fn start(&self, pid: i32, resources: &LinuxResources) -> Result<LinuxResources> {
        let scope = &self.names.scope;
        let what = format!("start the unit {}", quote(scope));
        let mut bus = Bus::connect(self.user)?;
        let version = if properties::needs_version(resources) {
            properties::version(&bus.property("Version")?)
        } else {
            0
        };
        let number = u32::try_from(pid).map_err(|_| Error::new(Kind::Os, "no process"))?;
        let mut list = properties::at_start(&self.names, number, resources, version)?;
        // The last one counts.
        list.extend(self.further.iter().cloned());
        let arguments = [
            Value::text(scope),
            Value::text("replace"),
            Value::properties(&list),
            Value::Array("(sa(sv))".to_owned(), Vec::new()),
        ];
        bus.watch(scope);
        let mut reply = bus.call("StartTransientUnit", &arguments)?;
        if matches!(&reply, Reply::Failed(name, _) if name == "UnitExists") {
            // One that has failed stays until it is told to go. One that lives is not touched by this.
            let _ = reset(&mut bus, scope);
            reply = bus.call("StartTransientUnit", &arguments)?;
        }
        let job = reply.or_failed(&what)?.into_iter().next().unwrap_or_default();
        let done = bus.finished(&job, &what).and_then(|result| {
            if result == "done" {
                return Ok(());
            }
            let text = format!("{what}: its job ended as {}", quote(&result));
            Err(Error::new(Kind::Os, text).hint("systemctl status and journalctl may tell more"))
        });
        if let Err(e) = done {
            let _ = reset(&mut bus, scope);
            return Err(e);
        }
        check_place(pid, &self.cgroup())?;
        Ok(properties::rounded(resources, properties::PERIOD))
    }
}

/// The version of the manager that would make units: the calling user's own, or the system's.
///
/// # Errors
/// It does not answer.
pub(crate) fn version(user: bool) -> Result<String> {
    Bus::connect(user)?.property("Version")
}

/// That a process is where systemd was to put it, and where its limits are written.
pub(crate) fn check_place(pid: i32, meant: &str) -> Result<()> {
    let file = format!("/proc/{pid}/cgroup");
    let text = std::fs::read(&file).map_err(|e| Error::os(format!("read {file}"), e))?;
    let there = cgroup::parse(&text)?.v2.map(String::from_utf8_lossy).unwrap_or_default();
    if there == meant {
        return Ok(());
    }
    let text = format!(
        "systemd has put the process in the cgroup {}, and not in {}",
        quote(&there),
        quote(meant)
    );
    Err(Error::new(Kind::Refused, text))
}

impl Kept {
    /// Gives the unit these limits, until the next boot. `now`: the period of its cpu.max. What was a
    /// quota that systemd would round comes back rounded.
    ///
    /// # Errors
    /// systemd does not take them.
    pub(crate) fn set(&self, resources: &LinuxResources, now: u64) -> Result<LinuxResources> {
        let needs = properties::needs_version(resources);
        // Without a version nothing but that is left out.
        let list = properties::of(resources, now, 0)?;
        if list.is_empty() && !needs {
            return Ok(resources.clone());
        }
        let mut bus = Bus::connect(self.user)?;
        let list = if needs {
            properties::of(resources, now, properties::version(&bus.property("Version")?))?
        } else {
            list
        };
        let arguments = [Value::text(&self.name), Value::Bool(true), Value::properties(&list)];
        bus.call("SetUnitProperties", &arguments)?
            .or_failed(&format!("set properties of the unit {}", quote(&self.name)))?;
        Ok(properties::rounded(resources, now))
    }

    /// Moves a process of the caller's into its cgroup, or into one `below`.
    ///
    /// # Errors
    /// systemd does not do it.
    pub(crate) fn attach(&self, below: &str, pid: i32) -> Result<()> {
        let what = format!("move a process to the unit {}", quote(&self.name));
        let number = u32::try_from(pid).map_err(|_| Error::new(Kind::Os, "no process"))?;
        let below = if below.is_empty() { String::new() } else { format!("/{below}") };
        let arguments = [
            Value::text(&self.name),
            Value::text(below),
            Value::Array("u".to_owned(), vec![Value::U32(number)]),
        ];
        Bus::connect(self.user)?.call("AttachProcessesToUnit", &arguments)?.or_failed(&what)?;
        Ok(())
    }

    /// Ends it, and waits until it is gone. Its processes have ended. `cgroup`: its directory in the
    /// hierarchy, if that is still there. A unit of this name that is anywhere else is not this one: an
    /// empty scope goes by itself, and then its name is free for others.
    ///
    /// # Errors
    /// The bus is not there, or the unit stays.
    pub(crate) fn stop(&self, cgroup: Option<&str>) -> Result<()> {
        let what = format!("stop the unit {}", quote(&self.name));
        let mut bus = Bus::connect(self.user)?;
        bus.watch(&self.name);
        let Some(unit) = known(bus.call("GetUnit", &[Value::text(&self.name)])?, &what)? else {
            return Ok(());
        };
        let scope = "org.freedesktop.systemd1.Scope";
        let Some(there) = known(bus.property_of(&unit, scope, "ControlGroup")?, &what)? else {
            return Ok(());
        };
        let clean = |path: &str| path.trim_matches('/').to_owned();
        if there.is_empty() || cgroup.map(clean) != Some(clean(&there)) {
            let unit_of = "org.freedesktop.systemd1.Unit";
            let state = known(bus.property_of(&unit, unit_of, "ActiveState")?, &what)?;
            // What has failed has no process. It stays until it is told to go.
            return if state.as_deref() == Some("failed") {
                reset(&mut bus, &self.name)
            } else {
                Ok(())
            };
        }
        let arguments = [Value::text(&self.name), Value::text("replace")];
        let job = match bus.call("StopUnit", &arguments)? {
            // An empty scope goes by itself.
            Reply::Failed(name, _) if name == "NoSuchUnit" => return Ok(()),
            reply => reply.or_failed(&what)?.into_iter().next().unwrap_or_default(),
        };
        bus.finished(&job, &what)?;
        // One that has failed stays until it is told to go; most are gone by now.
        reset(&mut bus, &self.name)
    }
}

/// The text of an answer; `None`: there is no such unit (any more).
fn known(reply: Reply, what: &str) -> Result<Option<String>> {
    match reply {
        Reply::Failed(name, _) if matches!(name.as_str(), "NoSuchUnit" | "UnknownObject") => {
            Ok(None)
        }
        reply => Ok(Some(reply.or_failed(what)?.into_iter().next().unwrap_or_default())),
    }
}

fn reset(bus: &mut Bus, name: &str) -> Result<()> {
    match bus.call("ResetFailedUnit", &[Value::text(name)])? {
        Reply::Failed(error, _) if error == "NoSuchUnit" => Ok(()),
        reply => reply.or_failed(&format!("reset the unit {}", quote(name))).map(drop),
    }
}
