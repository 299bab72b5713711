//! The id of a call and the caller for whom it counts, as header fields.
//!
//! ```text
//!  idempotency-key: 1764561101000-order-17      from callers, and between processes; in quotes as well
//!  stockade-principal: caller                   between processes: who has called
//! ```
//! Invariants:
//! - A field that does not read is refused, and so is one that comes twice.
//! - Who has called is read from a process of the same store alone, whose certificate was checked.

use axum::http::HeaderMap;
use stockade::{CallKey, InvalidCallKey};

/// Header of a call: its id.
pub const KEY_HEADER: &str = "idempotency-key";
/// Header of a call that another process passes on: the caller for whom its id counts.
pub(crate) const PRINCIPAL_HEADER: &str = "stockade-principal";

/// The id of a call of `principal`, if it has one. The error: a sentence.
pub(crate) fn read_key(headers: &HeaderMap, principal: &str) -> Result<Option<CallKey>, String> {
    let mut all = headers.get_all(KEY_HEADER).iter();
    let Some(first) = all.next() else { return Ok(None) };
    let text = first.to_str().ok().filter(|_| all.next().is_none());
    let text = text.ok_or("it comes once, and is visible ASCII")?;
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let key = CallKey::of(principal, quoted.unwrap_or(text));
    key.map(Some).map_err(|error: InvalidCallKey| error.to_string())
}

/// The caller that another process names.
pub(crate) fn read_principal(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(PRINCIPAL_HEADER).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEY_HEADER, value.parse().expect("a value"));
        }
        Ok(read_key(&headers, "caller")?.map(|key| key.id().to_owned()))
    }

    #[test]
    fn an_id_comes_once_and_may_be_quoted() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["order-17"]), Ok(Some("order-17".to_owned())));
        assert_eq!(read(&["\"order-17\""]), Ok(Some("order-17".to_owned())));
        for wrong in [&[""][..], &["\"\""], &["\"a"], &["two words"], &["a", "a"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
