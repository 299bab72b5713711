//! The interfaces that the host offers to components.

use stockade_componentize::{CLIENT_NAMESPACE, kind_of};

use crate::engine::error::ComponentError;

/// Imports named in an error. 20: what a person reads.
const IMPORTS_NAMED_MAX: usize = 20;
/// Characters of each name.
const IMPORT_CHARS_MAX: usize = 128;

/// Interfaces by name and version track.
///
/// Versions match as the engine's linker matches them: `wasi:io/streams@0.2.3` is offered if any
/// `0.2` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered(Vec<&'static str>);

/// `stockade:actor` without the hooks, which only guests export.
const ACTOR: &[&str] = &[
    "stockade:actor/sqlite@0.2",
    "stockade:actor/context@0.2",
    "stockade:actor/log@0.2",
    "stockade:actor/alarms@0.2",
    ACTORS,
    "stockade:actor/messages@0.2",
];

/// Calls of other actors.
const ACTORS: &str = "stockade:actor/actors@0.2";

/// WASI 0.2, as the linker has it. Linked with nothing granted.
const WASI: &[&str] = &[
    "wasi:cli/environment@0.2",
    "wasi:cli/exit@0.2",
    "wasi:cli/stderr@0.2",
    "wasi:cli/stdin@0.2",
    "wasi:cli/stdout@0.2",
    "wasi:cli/terminal-input@0.2",
    "wasi:cli/terminal-output@0.2",
    "wasi:cli/terminal-stderr@0.2",
    "wasi:cli/terminal-stdin@0.2",
    "wasi:cli/terminal-stdout@0.2",
    "wasi:clocks/monotonic-clock@0.2",
    "wasi:clocks/wall-clock@0.2",
    "wasi:filesystem/preopens@0.2",
    "wasi:filesystem/types@0.2",
    "wasi:io/error@0.2",
    "wasi:io/poll@0.2",
    "wasi:io/streams@0.2",
    "wasi:random/insecure-seed@0.2",
    "wasi:random/insecure@0.2",
    "wasi:random/random@0.2",
    "wasi:sockets/instance-network@0.2",
    "wasi:sockets/ip-name-lookup@0.2",
    "wasi:sockets/network@0.2",
    "wasi:sockets/tcp-create-socket@0.2",
    "wasi:sockets/tcp@0.2",
    "wasi:sockets/udp-create-socket@0.2",
    "wasi:sockets/udp@0.2",
];

impl Offered {
    /// Everything that the host links: `stockade:actor` and WASI 0.2.
    #[must_use]
    pub fn all() -> Self {
        Self([ACTOR, WASI].concat())
    }

    /// Offers only these, each as `ns:pkg/interface@track`, where the track is `0.2` or `1`.
    #[must_use]
    pub fn only(interfaces: &[&'static str]) -> Self {
        Self(interfaces.to_vec())
    }

    /// Checks that a component may import all of `names`, which are guest-controlled.
    ///
    /// # Errors
    /// `Imports` names the imports that are not offered, and the way out.
    pub(super) fn check<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<(), ComponentError> {
        let missing: Vec<&str> = names.filter(|name| !self.has(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let named = missing.iter().take(IMPORTS_NAMED_MAX);
        Err(ComponentError::Imports {
            names: named.map(|name| name.chars().take(IMPORT_CHARS_MAX).collect()).collect(),
            count: missing.len(),
            way_out: way_out(&missing),
        })
    }

    /// Whether a component may import `name`. Where calls of actors are offered, so are typed ones, of
    /// every kind.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        if kind_of(name).is_some() {
            return self.0.contains(&ACTORS);
        }
        let Some((interface, version)) = name.split_once('@') else {
            return self.0.contains(&name);
        };
        let track = track(version);
        self.0.iter().any(|offered| {
            offered.split_once('@').is_some_and(|(i, t)| i == interface && t == track)
        })
    }
}

/// What to do about imports that are not offered.
fn way_out(missing: &[&str]) -> &'static str {
    let any = |is: fn(&str) -> bool| missing.iter().any(|name| is(name));
    if any(|name| name.starts_with("wasi:http/")) {
        "build it without HTTP (componentize-js: `disableFeatures: ['http', 'fetch-event']`)"
    } else if any(|name| name.starts_with("wasi:") && name.contains("@0.3.")) {
        "build it for WASI 0.2, synchronously (componentize-qjs: `--sync`)"
    } else if any(|name| name.starts_with(CLIENT_NAMESPACE)) {
        "a client of a kind is imported as `stockade client KIND` writes it"
    } else if any(|name| name.starts_with("stockade:actor/")) {
        "build it against `stockade:actor@0.2`, the version of this host"
    } else {
        "the host offers `stockade:actor@0.2` and WASI 0.2 without HTTP; build it without the rest, and \
         to call other actors import what `stockade client KIND` writes"
    }
}

/// The part of a version that decides compatibility: `0.2.3` and `0.2.9` are `0.2`, `1.4.0` is
/// `1`. A pre-release is compatible with nothing but itself.
fn track(version: &str) -> &str {
    if version.contains('-') {
        return version;
    }
    let parts = if version.starts_with("0.") { 2 } else { 1 };
    let end = version.match_indices('.').nth(parts - 1).map_or(version.len(), |(at, _)| at);
    &version[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_by_track() {
        let offered = Offered::all();
        for name in [
            "stockade:actor/sqlite@0.2.0",
            "wasi:io/streams@0.2.0",
            "wasi:cli/exit@0.2.99",
            "stockade-client:counter/counter",
        ] {
            assert!(offered.has(name), "{name}");
        }
        for name in [
            // Its records and cases are others.
            "stockade:actor/sqlite@0.1.0",
            "stockade:actor/sqlite@0.3.0",
            "stockade:actor/lifecycle@0.2.0",
            "stockade:actor/sqlite",
            "wasi:io/streams@0.3.0",
            "wasi:io/streams@0.2.0-rc-2024",
            "wasi:http/types@0.2.0",
            "stockade-client:counter/counter@1.0.0",
            "env",
            "",
        ] {
            assert!(!offered.has(name), "{name}");
        }
        assert!(Offered::only(&["a:b/c@1"]).has("a:b/c@1.7.0"));
        assert!(!Offered::only(&["a:b/c@1"]).has("a:b/c@2.0.0"));
        assert!(!Offered::only(&["a:b/c@1"]).has("stockade-client:counter/counter"));
    }
    #[test]
    fn words_name_the_version_that_is_offered() {
        let (_, track) = ACTOR[0].split_once('@').expect("a track");
        for missing in ["stockade:actor/sqlite@9.0.0", "env"] {
            let words = way_out(&[missing]);
            assert!(words.contains(&format!("stockade:actor@{track}")), "{words}");
        }
        for missing in ["stockade-client:counter/counter@1.0.0", "demo:counter/api"] {
            assert!(way_out(&[missing]).contains("`stockade client KIND`"));
        }
    }
}
