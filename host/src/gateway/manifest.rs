//! The manifest of a deploy: what it sets, over the host's defaults for all kinds.

use axum::http::HeaderMap;
use serde_json::Value as Json;

use super::MANIFEST_HEADER;
use crate::error::HostError;
use crate::host::Manifest;
use crate::limits::Limits;

/// Reads the manifest that came with a deploy; without one, everything is a default.
pub(super) fn read(headers: &HeaderMap, defaults: &Limits) -> Result<Manifest, HostError> {
    let manifest = Manifest { limits: defaults.clone() };
    let Some(header) = headers.get(MANIFEST_HEADER) else { return Ok(manifest) };
    let wrong = |error: serde_json::Error| HostError::Manifest(error.to_string());
    let said: Json = serde_json::from_slice(header.as_bytes()).map_err(wrong)?;
    let mut whole = serde_json::to_value(&manifest).map_err(wrong)?;
    overlay(&mut whole, said).map_err(HostError::Manifest)?;
    serde_json::from_value(whole).map_err(wrong)
}

/// Replaces what `over` has in `under`, table by table. A table is never replaced by something
/// else: serde would take a list for a table with its fields in order.
fn overlay(under: &mut Json, over: Json) -> Result<(), String> {
    match (under, over) {
        (Json::Object(under), Json::Object(over)) => {
            for (name, value) in over {
                overlay(under.entry(name).or_insert(Json::Null), value)?;
            }
        }
        (Json::Object(_), other) => return Err(format!("expected a table, got {other}")),
        (under, over) => *under = over,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: Option<&str>) -> Result<Limits, HostError> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(MANIFEST_HEADER, header.parse().expect("header"));
        }
        let defaults = Limits { call_time_ms: 7, rows_max: 8, ..Limits::default() };
        read(&headers, &defaults).map(|manifest| manifest.limits)
    }

    #[test]
    fn what_a_manifest_leaves_out_is_the_hosts_default() {
        let limits = check(Some(r#"{"limits":{"rows_max":9}}"#)).expect("reads");
        assert_eq!((limits.call_time_ms, limits.rows_max), (7, 9));
        assert_eq!(check(None).expect("reads").rows_max, 8);
    }

    #[test]
    fn unknown_settings_are_refused_by_name() {
        for header in [r#"{"limits":{"rows":9}}"#, r#"{"limit":{}}"#, "[]", "{", r#"{"limits":[]}"#]
        {
            assert!(matches!(check(Some(header)), Err(HostError::Manifest(_))), "{header}");
        }
    }
}
