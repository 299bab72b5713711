//! The manifest of a deploy: what it sets, over the host's defaults for all kinds.

use axum::http::HeaderMap;
use serde_json::Value as Json;

use super::MANIFEST_HEADER;
use stockade::error::HostError;
use stockade::host::Manifest;
use stockade::limits::{HostLimits, Limits};

/// Reads the manifest that came with a deploy, merged over the host's `defaults`. Its own settings
/// must be possible within the host's limits.
pub(super) fn read(
    headers: &HeaderMap,
    defaults: Manifest,
    limits: &HostLimits,
) -> Result<Manifest, HostError> {
    let Some(header) = headers.get(MANIFEST_HEADER) else { return Ok(defaults) };
    let wrong = |error: serde_json::Error| HostError::Manifest(error.to_string());
    let said: Json = serde_json::from_slice(header.as_bytes()).map_err(wrong)?;
    for (name, _) in said["limits"].as_object().into_iter().flatten() {
        Limits::known(name).map_err(HostError::Manifest)?;
    }
    let mut whole = serde_json::to_value(&defaults).map_err(wrong)?;
    overlay(&mut whole, said).map_err(HostError::Manifest)?;
    let manifest: Manifest = serde_json::from_value(whole).map_err(wrong)?;
    manifest.check(limits)?;
    Ok(manifest)
}

/// Replaces values of `under` by those of `over`, table by table. A table is never replaced by
/// another type: serde would read a list as a table with its fields in order.
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
        let defaults = Manifest { limits: defaults, ..Manifest::default() };
        read(&headers, defaults, &HostLimits::default()).map(|manifest| manifest.limits)
    }

    #[test]
    fn what_a_manifest_leaves_out_is_the_hosts_default() {
        let limits = check(Some(r#"{"limits":{"rows_max":9}}"#)).expect("reads");
        assert_eq!((limits.call_time_ms, limits.rows_max), (7, 9));
        assert_eq!(check(None).expect("reads").rows_max, 8);
    }

    #[test]
    fn what_a_manifest_sets_is_refused_if_the_host_cannot_give_it() {
        // The program's default for this limit, written out in the manifest of a smaller host.
        let default = Limits::default().payload_bytes_max;
        let header = format!(r#"{{"limits":{{"payload_bytes_max":{default}}}}}"#);
        let mut headers = HeaderMap::new();
        headers.insert(MANIFEST_HEADER, header.parse().expect("header"));
        let host = HostLimits { body_bytes_max: 1000, ..HostLimits::default() };
        let defaults = Manifest { limits: Limits::default().within(&host), ..Manifest::default() };
        assert!(matches!(read(&headers, defaults, &host), Err(HostError::Manifest(_))));
    }

    #[test]
    fn unknown_settings_are_refused_by_name() {
        for header in [r#"{"limits":{"rows":9}}"#, r#"{"limit":{}}"#, "[]", "{", r#"{"limits":[]}"#]
        {
            assert!(matches!(check(Some(header)), Err(HostError::Manifest(_))), "{header}");
        }
        let told = |header| check(Some(header)).expect_err("unknown").to_string();
        let meant = told(r#"{"limits":{"cal_time_ms":9}}"#);
        assert_eq!(meant, "manifest: no limit \"cal_time_ms\"; did you mean \"call_time_ms\"?");
        assert!(told(r#"{"limits":{"zzz":9}}"#).contains("rows_max"));
    }
}
