//! What one process asks of another when it passes a call on, as header fields.
//!
//! ```text
//!  stockade-route: run node=<32 hex> db=<32 hex> generation=<number>
//!  stockade-route: start node=<32 hex>
//!  stockade-route: start node=<32 hex> db=<32 hex> generation=<number>     released by its owner
//!  stockade-timeout-ms: <number>                                           what the caller has left
//! ```
//! Invariant: a route that does not read as one of these is refused; a field of a later version
//! would be misunderstood.

use std::time::Duration;

use axum::http::HeaderMap;
use stockade::host::Route;
use stockade::limits::CALLER_TIMEOUT_MAX;
use stockade_depot::{DbId, Generation, NodeSession};

/// Header of a call that another process passes on: what it asks for.
pub(crate) const ROUTE_HEADER: &str = "stockade-route";
/// Header of a call: how long the caller waits, in milliseconds.
pub(crate) const TIMEOUT_HEADER: &str = "stockade-timeout-ms";

/// The text of a route to the process `to`.
pub(crate) fn write_route(to: NodeSession, route: &Route) -> String {
    let of = |word: &str, db: &DbId, generation: &Generation| {
        format!("{word} node={to} db={db} generation={generation}")
    };
    match route {
        Route::Run { db, generation } => of("run", db, generation),
        Route::Start { released: Some((db, generation)) } => of("start", db, generation),
        Route::Start { released: None } => format!("start node={to}"),
    }
}

/// The route of a call, and the process that it names. `None`: there is none that reads.
pub(crate) fn read_route(headers: &HeaderMap) -> Option<(NodeSession, Route)> {
    let mut all = headers.get_all(ROUTE_HEADER).iter();
    let (text, None) = (all.next()?.to_str().ok()?, all.next()) else { return None };
    let mut words = text.split(' ');
    let word = words.next()?;
    let to = NodeSession(id(words.next()?.strip_prefix("node=")?)?);
    let of = match words.next() {
        None => None,
        Some(db) => {
            let db = DbId(id(db.strip_prefix("db=")?)?);
            let generation = words.next()?.strip_prefix("generation=")?.parse().ok()?;
            Some((db, Generation(generation)))
        }
    };
    if words.next().is_some() {
        return None;
    }
    match (word, of) {
        ("run", Some((db, generation))) => Some((to, Route::Run { db, generation })),
        ("start", released) => Some((to, Route::Start { released })),
        _ => None,
    }
}

fn id(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

/// How long the caller waits, if it says so: at most [`CALLER_TIMEOUT_MAX`]. The error: the field
/// does not read.
pub(crate) fn read_timeout(headers: &HeaderMap) -> Result<Option<Duration>, ()> {
    let mut all = headers.get_all(TIMEOUT_HEADER).iter();
    let Some(first) = all.next() else { return Ok(None) };
    let number = first.to_str().ok().filter(|_| all.next().is_none());
    let number = number.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let ms: u64 = number.and_then(|text| text.parse().ok()).ok_or(())?;
    Ok(Some(Duration::from_millis(ms).min(CALLER_TIMEOUT_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn a_route_reads_as_it_was_written() {
        let to = NodeSession([0xa1; 16]);
        let (db, generation) = (DbId([7; 16]), Generation(u64::MAX));
        for route in [
            Route::Run { db, generation },
            Route::Start { released: None },
            Route::Start { released: Some((db, Generation(1))) },
        ] {
            let text = write_route(to, &route);
            assert_eq!(read_route(&headers(ROUTE_HEADER, &[&text])), Some((to, route)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_route() {
        let run = write_route(
            NodeSession([1; 16]),
            &Route::Run { db: DbId([2; 16]), generation: Generation(3) },
        );
        for text in [
            "",
            "run",
            "start",
            &run[..run.len() - 1].replace("generation=", ""),
            &run.replace("node=01", "node=0"),
            &run.replace("run", "walk"),
            &format!("{run} more=1"),
            &run.replace("generation=3", "generation=-3"),
            &format!("run node={}", NodeSession([1; 16])),
        ] {
            assert_eq!(read_route(&headers(ROUTE_HEADER, &[text])), None, "{text}");
        }
        assert_eq!(read_route(&headers(ROUTE_HEADER, &[&run, &run])), None, "two");
        assert_eq!(read_route(&HeaderMap::new()), None);
    }

    #[test]
    fn a_callers_time_is_a_bounded_number() {
        let read = |values: &[&str]| read_timeout(&headers(TIMEOUT_HEADER, values));
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["1500"]), Ok(Some(Duration::from_millis(1500))));
        assert_eq!(read(&["99999999999"]), Ok(Some(CALLER_TIMEOUT_MAX)));
        for wrong in [&["-1"][..], &["+1"], &["1.5"], &[""], &["1", "1"]] {
            assert_eq!(read(wrong), Err(()), "{wrong:?}");
        }
    }
}
