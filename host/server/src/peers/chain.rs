//! A call of an actor, as a header field of its request, and what processes ask each other about such
//! calls.
//!
//! ```text
//!  stockade-chain: call=<node>-<number> age=<ms>-<node>-<number> left=<ms>
//!                  steps=<n> rows=<n> bytes=<n> pages=<n> [types=<digest>] KIND/KEY KIND/KEY ..
//!
//!  <node>   32 hexadecimal digits     left, steps, rows, bytes, pages   what the callee may use
//!  KEY      percent-encoded           the last actor is the one that calls
//!  <digest> 64 hexadecimal digits     of the types that the caller expects the method to have
//! ```
//! Invariant: a field that does not read as this is refused, and so is one that comes twice.

use std::time::Duration;

use axum::http::HeaderMap;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use stockade::internal::{Age, Allowance, ByActor, CallId, Chain};
use stockade::limits::{CALLER_TIMEOUT_MAX, CHAIN_ACTORS_MAX};
use stockade_depot::{ActorId, Digest, NodeSession};
use tokio::time::Instant;

/// Header of a call that an actor has made.
pub(crate) const CHAIN_HEADER: &str = "stockade-chain";

/// The text of the field.
pub(crate) fn write_chain(by: &ByActor) -> String {
    let left = by.until.saturating_duration_since(Instant::now()).as_millis();
    let Allowance { sql_steps, rows, row_bytes, pages } = by.allowed;
    let mut text = format!(
        "call={} age={} left={left} steps={sql_steps} rows={rows} bytes={row_bytes} pages={pages}",
        write_call(by.id),
        by.chain.age()
    );
    if let Some(types) = by.types {
        text.push_str(&format!(" types={types}"));
    }
    for actor in by.chain.actors() {
        let key = utf8_percent_encode(actor.key(), NON_ALPHANUMERIC);
        text.push_str(&format!(" {}/{key}", actor.kind()));
    }
    text
}

/// The actor that has made a call; `None`: a caller that is none. The error: the field does not read.
pub(crate) fn read_chain(headers: &HeaderMap) -> Result<Option<ByActor>, ()> {
    let mut all = headers.get_all(CHAIN_HEADER).iter();
    let Some(first) = all.next() else { return Ok(None) };
    let text = first.to_str().ok().filter(|_| all.next().is_none()).ok_or(())?;
    read(text).map(Some).ok_or(())
}

fn read(text: &str) -> Option<ByActor> {
    let mut words = text.split(' ');
    let id = read_call(words.next()?.strip_prefix("call=")?)?;
    let age = read_age(words.next()?.strip_prefix("age=")?)?;
    let mut amount = |name: &str| number(words.next()?.strip_prefix(name)?);
    let left = Duration::from_millis(amount("left=")?);
    let (sql_steps, rows) = (amount("steps=")?, amount("rows=")?);
    let (row_bytes, pages) = (amount("bytes=")?, amount("pages=")?);
    let allowed = Allowance { sql_steps, rows, row_bytes, pages };
    let mut words = words.peekable();
    let types = match words.peek().and_then(|word| word.strip_prefix("types=")) {
        Some(digits) => {
            let mut bytes = [0; 32];
            hex::decode_to_slice(digits, &mut bytes).ok()?;
            words.next();
            Some(Digest(bytes))
        }
        None => None,
    };
    let mut actors = Vec::new();
    for word in words {
        if actors.len() == CHAIN_ACTORS_MAX {
            return None;
        }
        let (kind, key) = word.split_once('/')?;
        let key = percent_decode_str(key).decode_utf8().ok()?;
        actors.push(ActorId::existing(kind, &key).ok()?);
    }
    let until = Instant::now() + left.min(CALLER_TIMEOUT_MAX);
    Some(ByActor { id, chain: Chain::received(age, actors)?, until, allowed, types })
}

/// The text of a call's id.
pub(crate) fn write_call(id: CallId) -> String {
    format!("{}-{}", id.node, id.number)
}

/// The id in a text.
pub(crate) fn read_call(text: &str) -> Option<CallId> {
    let (node, count) = text.split_once('-')?;
    Some(CallId { node: node_of(node)?, number: number(count)? })
}

/// The age in a text, as it is displayed.
pub(crate) fn read_age(text: &str) -> Option<Age> {
    let (began_ms, rest) = text.split_once('-')?;
    let (node, count) = rest.split_once('-')?;
    Some(Age { began_ms: number(began_ms)?, node: node_of(node)?, number: number(count)? })
}

fn node_of(text: &str) -> Option<NodeSession> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| NodeSession(bytes))
}

fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CHAIN_HEADER, value.parse().expect("a value"));
        }
        headers
    }

    fn by(keys: &[&str]) -> ByActor {
        let id = CallId { node: NodeSession([0xa1; 16]), number: 7 };
        let age = Age { began_ms: 1_700, node: NodeSession([0xb2; 16]), number: 9 };
        let actors = keys.iter().map(|key| ActorId::new("kind", key).expect("a name")).collect();
        let chain = Chain::received(age, actors).expect("a chain");
        let allowed = Allowance { sql_steps: 1, rows: 2, row_bytes: 3, pages: u64::MAX };
        let until = Instant::now() + Duration::from_secs(60);
        ByActor { id, chain, until, allowed, types: None }
    }

    #[test]
    fn a_chain_reads_as_it_was_written() {
        let by = by(&["a", "b c/d-é", "%2F"]);
        let text = write_chain(&by);
        let begin = format!("call={}-7 age=1700-{}-9 left=", "a1".repeat(16), "b2".repeat(16));
        assert!(text.starts_with(&begin), "{text}");
        assert!(text.ends_with(" kind/a kind/b%20c%2Fd%2D%C3%A9 kind/%252F"), "{text}");
        let read = read_chain(&headers(&[&text])).expect("reads").expect("an actor");
        assert_eq!((read.id, &read.chain, read.allowed), (by.id, &by.chain, by.allowed));
        let late = by.until.saturating_duration_since(read.until);
        assert!(late < Duration::from_secs(1), "{late:?}");
        assert_eq!(read.types, None);
        let typed = ByActor { types: Some(Digest([0xc3; 32])), ..by };
        let read = read_chain(&headers(&[&write_chain(&typed)])).expect("reads").expect("an actor");
        assert_eq!((read.types, &read.chain), (typed.types, &typed.chain));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(read_chain(&HeaderMap::new()).map(|by| by.is_some()), Ok(false));
        let good = write_chain(&by(&["a"]));
        let many: Vec<String> = (0..=CHAIN_ACTORS_MAX).map(|n| format!(" kind/{n}")).collect();
        let begin = good.strip_suffix(" kind/a").expect("it ends so");
        for wrong in [
            "",
            begin,
            &format!("{good} kind/a"),
            &format!("{good} kind"),
            &format!("{good} Kind/b"),
            &format!("{begin}{}", many.concat()),
            &good.replace("call=a1", "call=a"),
            &good.replace("age=", "age=-"),
            &good.replace("left=", "left=+"),
            &good.replace("rows=", "row="),
            &good.replace(" kind/a", " types=c3 kind/a"),
        ] {
            assert!(read_chain(&headers(&[wrong])).is_err(), "{wrong}");
        }
        assert!(read_chain(&headers(&[&good, &good])).is_err(), "two");
    }

    #[test]
    fn the_longest_chain_fits_into_a_head() {
        let keys: Vec<String> = (10..10 + CHAIN_ACTORS_MAX)
            .map(|number| format!("{number}{}", "é".repeat((ActorId::KEY_BYTES_MAX - 2) / 2)))
            .collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let text = write_chain(&by(&keys));
        assert!(text.len() < stockade::limits::HEAD_BYTES_MAX / 2, "{}", text.len());
        assert!(read_chain(&headers(&[&text])).is_ok_and(|by| by.is_some()));
    }
}
