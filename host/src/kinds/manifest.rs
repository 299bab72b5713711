//! The settings of a kind: given at deploy time, stored as JSON.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use stockade_depot::ActorId;
use stockade_depot::store::KindRow;

use super::bounds::{Bound, CREATES_PER_S_MAX, bounds};
use crate::capability::Grants;
use crate::engine::{Component, ComponentError};
use crate::error::HostError;
use crate::limits::{CLIENTS_MAX, HostLimits, Limits};
use crate::typed::MethodTable;
use crate::typed::bounds::FUNCTIONS_MAX;

/// Names of methods, all together. 64 KiB.
const METHODS_BYTES_MAX: usize = 64 << 10;

/// Limits that the former version does not know: it reads no settings that have them. At their
/// defaults they are not stored, so that its processes work on beside those of this version.
const NEW_LIMITS: [&str; 5] =
    ["cpu_weight", "log_bytes_per_s", "actors_max", "stored_bytes_max", "creates_per_s"];

/// Settings of a kind, given at deploy time and stored as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manifest {
    /// Limits of the kind's actors; a limit left out has the host's default.
    pub limits: Limits,
    /// Exported functions that are methods although they belong to no interface of a package, each
    /// by its full name: `ping`, `tools#ping`. Without the list, leftovers of a toolchain would be
    /// methods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Where an actor begins that no process owns: at the process that owns the actor of this kind
    /// with the same key, `KIND/{key}`, if that process lives and is not over its share. Processes of
    /// former versions read no settings that have this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near: Option<String>,
    /// Which actors those of the kind may call: each `*`, `KIND`, `KIND/KEY` or `KIND/PREFIX*`. Without
    /// it, none. Processes of former versions read no settings that have this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<String>,
    /// Which kind a client leads to that the component imports, `stockade-client:counter/counter`, where
    /// that is another kind than the name says. Processes of former versions read no settings that have
    /// this.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<String, String>,
    /// Methods that run in a transaction of the host: what they write is kept if they answer without an
    /// error, together with the record of the call, and else nothing of it. Each by a name that finds
    /// it. Processes of former versions read no settings that have this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transactional: Vec<String>,
    /// What happens to later messages of a sender when one of them is parked. Processes of former
    /// versions read no settings that have this.
    #[serde(skip_serializing_if = "AfterParked::is_pass")]
    pub after_parked: AfterParked,
}

/// What happens to later messages of a sender when one of them is parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterParked {
    /// They run.
    #[default]
    Pass,
    /// They wait until an operator retries or drops the parked one.
    Wait,
}

impl AfterParked {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_pass(&self) -> bool {
        *self == Self::Pass
    }
}

/// What stands for the key in `near`.
const OF_KEY: &str = "/{key}";

impl Manifest {
    fn stored(&self) -> serde_json::Result<Json> {
        let (mut stored, defaults) = (serde_json::to_value(self)?, json!(Limits::default()));
        if let Some(limits) = stored.get_mut("limits").and_then(Json::as_object_mut) {
            limits.retain(|name, value| {
                !NEW_LIMITS.contains(&name.as_str()) || *value != defaults[name.as_str()]
            });
        }
        Ok(stored)
    }

    /// The actor next to which this one begins, if the settings name one.
    #[must_use]
    pub fn near(&self, actor: &ActorId) -> Option<ActorId> {
        let kind = self.near.as_ref()?.strip_suffix(OF_KEY)?;
        let other = ActorId::existing(kind, actor.key()).ok()?;
        (other != *actor).then_some(other)
    }

    /// The text that the store keeps.
    ///
    /// # Errors
    /// `Manifest` if the settings have no form in JSON.
    pub fn to_stored(&self) -> Result<String, HostError> {
        let text = self.stored().map(|stored| stored.to_string());
        text.map_err(|error| HostError::Manifest(error.to_string()))
    }

    /// The manifest for a host with these limits. A limit at its default is lowered to what the
    /// host allows; a limit with another value is taken as it is or refused.
    ///
    /// # Errors
    /// `Manifest` names the setting and the allowed value.
    pub fn fitted(mut self, host: &HostLimits) -> Result<Self, HostError> {
        let mut defaults = Limits::default();
        let standing = bounds(&mut defaults, host).map(|bound| *bound.value);
        for (bound, default) in bounds(&mut self.limits, host).into_iter().zip(standing) {
            if *bound.value == default {
                *bound.value = default.min(bound.max);
            }
        }
        self.check(host)?;
        Ok(self)
    }

    /// Checks that a host with these limits can keep its promises.
    ///
    /// # Errors
    /// `Manifest` names the setting and the allowed value.
    pub fn check(&self, host: &HostLimits) -> Result<(), HostError> {
        if self.limits.creates_per_s > CREATES_PER_S_MAX {
            let (given, max) = (self.limits.creates_per_s, CREATES_PER_S_MAX);
            let text =
                format!("limits.creates_per_s is {given}; possible are 0 (no quota) to {max}");
            return Err(HostError::Manifest(text));
        }
        let mut limits = self.limits.clone();
        for Bound { name, value, max } in bounds(&mut limits, host) {
            if *value == 0 || *value > max {
                let text = format!("limits.{name} is {value}; this host allows 1 to {max}");
                return Err(HostError::Manifest(text));
            }
        }
        if let Some(near) = &self.near {
            let kind = near.strip_suffix(OF_KEY);
            if kind.is_none_or(|kind| ActorId::new(kind, "key").is_err()) {
                let text = format!("near is {near:?}; possible is KIND{OF_KEY}, as room{OF_KEY}");
                return Err(HostError::Manifest(text));
            }
        }
        Grants::of(&self.calls).map_err(HostError::Manifest)?;
        self.check_client_names()?;
        for (list, names) in [("methods", &self.methods), ("transactional", &self.transactional)] {
            let (count, bytes) = (names.len(), names.iter().map(String::len).sum::<usize>());
            if count > FUNCTIONS_MAX || bytes > METHODS_BYTES_MAX {
                return Err(HostError::Manifest(format!(
                    "{list} has {count} names of {bytes} bytes; at most {FUNCTIONS_MAX} names of \
                     {METHODS_BYTES_MAX} bytes are possible",
                )));
            }
        }
        Ok(())
    }

    fn check_client_names(&self) -> Result<(), HostError> {
        let (count_max, bytes_max) = CLIENTS_MAX;
        let pairs =
            self.clients.iter().map(|(import, kind)| import.len().saturating_add(kind.len()));
        let bytes = pairs.fold(0, usize::saturating_add);
        if self.clients.len() > count_max || bytes > bytes_max {
            return Err(HostError::Manifest(format!(
                "clients has {} entries of {bytes} bytes; at most {count_max} entries of {bytes_max} \
                 bytes are possible",
                self.clients.len()
            )));
        }
        match self.clients.values().find(|kind| !ActorId::kind_is_valid(kind)) {
            Some(kind) => {
                Err(HostError::Manifest(format!("clients has {kind:?}, which is no kind")))
            }
            None => Ok(()),
        }
    }

    /// Checks that the component imports the clients that are named. A stored kind is not checked.
    ///
    /// # Errors
    /// `Manifest` names the first entry that is not imported.
    pub fn check_clients(&self, component: &Component) -> Result<(), HostError> {
        let imported: Vec<&str> =
            component.clients().iter().map(|client| client.import.as_str()).collect();
        match self.clients.keys().find(|name| !imported.contains(&name.as_str())) {
            Some(name) => Err(HostError::Manifest(format!(
                "clients: the component does not import {name:?}; it imports {imported:?}"
            ))),
            None => Ok(()),
        }
    }

    /// Checks that the component has the methods that are named, and has any at all. A stored kind
    /// is not checked: it runs as before.
    ///
    /// # Errors
    /// `Manifest` names the first missing method; `Component` if there are no methods.
    pub fn check_methods(&self, methods: &MethodTable) -> Result<(), HostError> {
        for name in &self.methods {
            match methods.find(name) {
                Ok(method) if method.full_name() == *name => {}
                Ok(method) => {
                    let full = method.full_name();
                    let text = format!("methods: {name:?} is not a full name; it is {full:?}");
                    return Err(HostError::Manifest(text));
                }
                Err(unknown) => return Err(HostError::Manifest(format!("methods: {unknown}"))),
            }
        }
        for name in &self.transactional {
            methods
                .find(name)
                .map_err(|unknown| HostError::Manifest(format!("transactional: {unknown}")))?;
        }
        if methods.is_empty() {
            let excluded = methods.excluded().first();
            let excluded = excluded.map(|function| format!("{}: {}", function.name, function.why));
            return Err(ComponentError::NoMethod { excluded }.into());
        }
        Ok(())
    }
}

/// The settings of a stored kind. No caller has sent them, so settings that do not parse are
/// damage.
///
/// # Errors
/// `Corrupt` names the kind.
pub fn row_manifest(row: &KindRow) -> Result<Manifest, HostError> {
    serde_json::from_str(&row.manifest).map_err(|error| {
        let of = "of a newer version of this program, or damaged";
        HostError::corrupt(format!("the settings of kind {:?} are {of}: {error}", row.kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limits that the former version reads.
    const FORMER_LIMITS: [&str; 30] = [
        "batch_bytes_max",
        "call_time_ms",
        "commit_bytes_max",
        "crash_backoff_ms",
        "crash_backoff_ms_max",
        "crashes_max",
        "database_bytes_max",
        "handles_max",
        "history_commits_min",
        "history_ms",
        "log_line_bytes_max",
        "log_lines_max",
        "mailbox_calls_max",
        "memory_bytes_max",
        "packed_bytes_max",
        "pages_max",
        "payload_bytes_max",
        "reply_bytes_max",
        "row_bytes_max",
        "rows_max",
        "scratch_bytes_max",
        "sleep_after_ms",
        "snapshot_bytes_max",
        "snapshot_time_ms",
        "sql_steps_max",
        "start_time_ms",
        "statement_bytes_max",
        "stop_time_ms",
        "table_elements_max",
        "value_bytes_max",
    ];

    #[test]
    fn settings_that_a_former_version_knows_are_stored_as_it_knows_them() {
        let mut manifest = Manifest::default();
        manifest.limits.call_time_ms = 7;
        let stored = manifest.to_stored().expect("JSON");
        let settings: Json = serde_json::from_str(&stored).expect("JSON");
        assert_eq!(settings.as_object().map(|settings| settings.len()), Some(1), "{stored}");
        let limits = settings["limits"].as_object().expect("limits");
        let mut names: Vec<&str> = limits.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, FORMER_LIMITS);
        assert_eq!(serde_json::from_str::<Manifest>(&stored).expect("reads"), manifest);
        manifest.limits.actors_max = 5;
        let stored = manifest.to_stored().expect("JSON");
        assert!(stored.contains("\"actors_max\":5") && !stored.contains("cpu_weight"), "{stored}");
        assert_eq!(serde_json::from_str::<Manifest>(&stored).expect("reads"), manifest);
    }

    #[test]
    fn an_actor_is_near_the_one_of_another_kind_with_its_key() {
        let manifest = |near: &str| Manifest { near: Some(near.to_owned()), ..Manifest::default() };
        let actor = ActorId::new("player", "a/{key}").expect("a name");
        let near = |text: &str| manifest(text).near(&actor).map(|other| other.to_string());
        assert_eq!(near("room/{key}").as_deref(), Some("room/a/{key}"));
        assert_eq!(near("player/{key}"), None, "itself");
        assert_eq!(Manifest::default().near(&actor), None);
        let host = HostLimits::default();
        assert!(manifest("room/{key}").fitted(&host).is_ok());
        for wrong in
            ["", "room", "room/", "room/b", "{key}", "/{key}", "Room/{key}", "room/{key}/x"]
        {
            let refused = manifest(wrong).fitted(&host).expect_err(wrong);
            assert!(refused.to_string().contains("near"), "{refused}");
            assert_eq!(near(wrong).filter(|_| wrong != "Room/{key}"), None, "{wrong}");
        }
        let stored = manifest("room/{key}").to_stored().expect("JSON");
        let read: Manifest = serde_json::from_str(&stored).expect("reads");
        assert_eq!(read, manifest("room/{key}"));
        assert!(!Manifest::default().to_stored().expect("JSON").contains("near"));
    }

    #[test]
    fn a_client_leads_to_another_kind_or_is_refused() {
        let host = HostLimits::default();
        let manifest = |kind: &str| Manifest {
            clients: [("stockade-client:a/a".to_owned(), kind.to_owned())].into(),
            ..Manifest::default()
        };
        let stored = manifest("b").to_stored().expect("JSON");
        assert_eq!(serde_json::from_str::<Manifest>(&stored).expect("reads"), manifest("b"));
        assert!(!Manifest::default().to_stored().expect("JSON").contains("clients"));
        assert!(manifest("b").fitted(&host).is_ok());
        let refused = manifest("No kind").fitted(&host).expect_err("no kind");
        assert!(refused.to_string().contains("No kind"), "{refused}");
        let many = (0..=CLIENTS_MAX.0).map(|at| (at.to_string(), "b".to_owned())).collect();
        assert!(Manifest { clients: many, ..Manifest::default() }.fitted(&host).is_err());
    }

    #[test]
    fn defaults_shrink_to_a_small_host_and_what_was_set_is_refused() {
        let host = HostLimits { body_bytes_max: 1000, ..HostLimits::default() };
        let fitted = Manifest::default().fitted(&host).expect("defaults always fit");
        assert_eq!(fitted.limits.payload_bytes_max, 1000);
        assert_eq!(fitted.limits.memory_bytes_max, Limits::default().memory_bytes_max);
        let with = |payload_bytes_max| Manifest {
            limits: Limits { payload_bytes_max, ..Limits::default() },
            ..Manifest::default()
        };
        assert_eq!(with(999).fitted(&host).expect("fits").limits.payload_bytes_max, 999);
        for payload_bytes_max in [0, 1001] {
            let refused = with(payload_bytes_max).fitted(&host).expect_err("cannot be");
            assert!(refused.to_string().contains("payload_bytes_max"), "{refused}");
        }
        let defaults = Limits { payload_bytes_max: 5000, rows_max: 7, ..Limits::default() };
        let within = defaults.within(&host);
        assert_eq!((within.payload_bytes_max, within.rows_max), (1000, 7));
    }
}
