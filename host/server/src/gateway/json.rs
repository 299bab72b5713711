//! The JSON documents of operators and callers.
//!
//! SQL values are exact in both directions. Integers that a reader with 64-bit floats would round
//! are strings in an object. So are reals for which JSON has no notation, spelled as methods spell
//! them (`typed::json`). NaN is not among them: SQLite stores NaN as NULL.
//!
//! ```text
//!  NULL      null
//!  INTEGER   5                      {"integer": "9007199254740993"} beyond 2^53
//!  REAL      1.5                    {"real": "inf"}, {"real": "-inf"}
//!  TEXT      "text"
//!  BLOB      {"blob": "<base64>"}
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use stockade_depot::ActorId;
use stockade_depot::history::Fault;
use stockade_depot::store::{Finding, Holder};

use stockade::SqlValue;
use stockade::error::HostError;
use stockade::fault::Fault as FaultOnPurpose;
use stockade::host::{
    ActorInfo, ActorTally, Deployed, ExitInfo, FaultReport, Imported, KindInfo, RemovedKind,
    SqlReply, Usage, Verified, VerifyNews, VerifyReport,
};
use stockade::host::{Outcome, OutcomeReply};
use stockade::internal::{INFINITY, MINUS_INFINITY};

/// Integers up to here are exact in every JSON reader.
const EXACT_INTEGER_MAX: u64 = 1 << 53;

/// A kind as its callers see it: the methods, not the settings.
pub(super) fn kind_for_callers(info: &KindInfo) -> Json {
    json!({
        "kind": info.kind,
        "component": info.digest.to_string(),
        "methods": info.methods["methods"],
        "excluded": info.methods["excluded"],
    })
}

/// A kind as operators see it.
pub(super) fn kind(info: &KindInfo) -> Json {
    json!({
        "kind": info.kind,
        "component": info.digest.to_string(),
        "version": info.version,
        "methods": info.methods["methods"],
        "excluded": info.methods["excluded"],
        "manifest": info.manifest,
    })
}

/// The totals of a kind's actors.
pub(super) fn usage(usage: &Usage) -> Json {
    json!({ "actors": usage.actors, "stored_bytes": usage.stored_bytes })
}

/// The answer to the removal of a kind.
pub(super) fn removed_kind(removed: &RemovedKind) -> Json {
    let RemovedKind { kind, ended, destroyed } = removed;
    json!({ "kind": kind, "removed": true, "ended": ended, "destroyed": destroyed })
}

/// The number of actors.
pub(super) fn tally(tally: &ActorTally) -> Json {
    let ActorTally { actors, bytes, complete } = tally;
    json!({ "count": actors, "bytes": bytes, "complete": complete })
}

/// The result of a deploy.
pub(super) fn deployed(deployed: &Deployed) -> Json {
    json!({
        "kind": deployed.kind,
        "component": deployed.digest.to_string(),
        "version": deployed.version,
        "methods": deployed.methods,
        "replaced": deployed.replaced.map(|digest| digest.to_string()),
        "ended": deployed.ended,
    })
}

/// An actor as the directory and this host know it.
pub(super) fn actor(info: &ActorInfo) -> Json {
    json!({
        "actor": info.actor.to_string(),
        "kind": info.actor.kind(),
        "key": info.actor.key(),
        "state": info.status.as_str(),
        "generation": info.generation.0,
        "txid": info.txid.0,
        "pages": info.page_count.0,
        "bytes": info.bytes,
        "db": info.db.to_string(),
        "component": info.component.to_string(),
        "restarts": info.restarts,
        "next_attempt_ms": info.next_attempt.map(|wait| wait.as_millis()),
        "sealed": info.sealed,
        "snapshot_of": info.handed_over.map(|generation| generation.0),
        "started_from": info.started_from.map(|from| {
            json!({ "generation": from.generation.0, "current": from.current })
        }),
        "last_exit": info.last_exit.as_ref().map(exit),
        "idle_ms": info.idle.map(|idle| idle.as_millis()),
        "due_work": info.due_work,
        "store_held_by": info.held_by.as_ref().map(holder),
        "faults": info.faults.iter().map(fault_on_purpose).collect::<Vec<_>>(),
    })
}

/// The process that keeps the file of an actor's database locked.
fn holder(holder: &Holder) -> Json {
    json!({ "pid": holder.pid, "address": holder.address, "file": holder.file })
}

/// An armed fault, with its class.
pub(super) fn fault_on_purpose(fault: &FaultOnPurpose) -> Json {
    let mut told = json!(fault);
    told["class"] = json!(fault.class());
    told
}

/// The effect of a fault.
pub(super) fn fault_report(actor: &ActorId, fault: &FaultOnPurpose, report: &FaultReport) -> Json {
    let mut told = fault_on_purpose(fault);
    told["actor"] = json!(actor.to_string());
    match report {
        FaultReport::Armed => told["did"] = json!("armed"),
        FaultReport::Crashed(info) => {
            told["did"] = json!("crashed");
            told["exit"] = exit(info);
        }
        FaultReport::Fenced { lost, winner } => {
            told["did"] = json!("fenced");
            told["lost"] = json!(lost.0);
            told["winner"] = json!(winner.0);
        }
    }
    told
}

/// How a generation ended.
pub(super) fn exit(info: &ExitInfo) -> Json {
    json!({
        "reason": info.reason.as_str(),
        "generation": info.generation.0,
        "snapshot": info.snapshot,
        "sealed": info.sealed,
        "message": info.message,
        "last_words": info.crash.as_ref().map(|crash| &crash.last_words),
        "backtrace": info.crash.as_ref().map(|crash| &crash.backtrace),
    })
}

/// Rows of an operator's statement.
pub(super) fn sql_reply(reply: &SqlReply) -> Json {
    let rows: Vec<Vec<Json>> =
        reply.rows.iter().map(|row| row.iter().map(sql_value).collect()).collect();
    json!({
        "columns": reply.columns,
        "rows": rows,
        "changes": reply.changes,
        "more": reply.more,
    })
}

/// An actor's alarms, each an object with the answer's columns as its fields.
pub(super) fn alarms(actor: &ActorId, reply: &SqlReply) -> Json {
    json!({ "actor": actor.to_string(), "changed": reply.changes, "alarms": objects(reply) })
}

/// An actor's messages, likewise.
pub(super) fn messages(actor: &ActorId, reply: &SqlReply) -> Json {
    json!({
        "actor": actor.to_string(),
        "changed": reply.changes,
        "messages": objects(reply),
        "more": reply.more,
    })
}

/// Rows as objects with the columns as their fields.
fn objects(reply: &SqlReply) -> Vec<Json> {
    let object = |row: &Vec<SqlValue>| {
        let fields = reply.columns.iter().cloned().zip(row.iter().map(sql_value));
        Json::Object(fields.collect())
    };
    reply.rows.iter().map(object).collect()
}

/// What became of a call.
pub(super) fn outcome(actor: &ActorId, id: &str, reply: &OutcomeReply) -> Json {
    let mut document = json!({
        "actor": actor.to_string(),
        "call_id": id,
        "outcome": reply.outcome.as_str(),
        "txid": reply.txid.0,
    });
    if let Outcome::Committed { answer } = &reply.outcome {
        document["answer_kept"] = answer.is_some().into();
        if let Some(answer) = answer {
            document["answer"] = answer.json.clone();
            document["is_error"] = answer.is_err.into();
        }
    }
    document
}

/// The findings of a verification.
#[must_use]
pub fn verified(report: &VerifyReport) -> Json {
    let problems: Vec<String> = report.faults.iter().map(fault).collect();
    json!({
        "ok": report.is_sound(),
        "txid": report.head.txid.0,
        "commits": report.commits,
        "pages": report.pages,
        "fault_count": report.fault_count,
        "problems": problems,
    })
}

/// A line of a check of the whole store.
#[must_use]
pub fn news(news: &VerifyNews) -> Json {
    match news {
        VerifyNews::Progress { what, done, total } => {
            json!({ "progress": { "what": what, "done": done, "total": total } })
        }
        VerifyNews::Finding(found) => json!({ "finding": finding(found) }),
        VerifyNews::Accepted(found) => json!({ "accepted": finding(found) }),
        VerifyNews::Actor { actor, report } => {
            let mut told = verified(report);
            told["actor"] = actor.to_string().into();
            json!({ "actor": told })
        }
    }
}

fn finding(finding: &Finding) -> Json {
    json!({
        "file": finding.file,
        "table": finding.table,
        "actor": finding.actor.as_ref().map(ToString::to_string),
        "what": finding.what,
    })
}

/// The last line of a check of the whole store.
#[must_use]
pub fn end_of_check(verified: &Verified) -> Json {
    let Verified { actors, damaged, findings } = verified;
    let ok = verified.is_sound();
    json!({ "end": { "ok": ok, "actors": actors, "damaged": damaged, "findings": findings } })
}

/// The result of an import.
#[must_use]
pub fn imported(actor: &ActorId, imported: &Imported) -> Json {
    json!({
        "actor": actor.to_string(),
        "db": imported.db.to_string(),
        "txid": imported.txid.0,
        "pages": imported.page_count.0,
        "bytes": imported.bytes(),
    })
}

fn fault(fault: &Fault) -> String {
    match fault {
        Fault::Page { pgno, error } => format!("page {pgno}: {error}"),
        Fault::CommitPages { txid, error } => format!("pages of commit {txid}: {error}"),
        Fault::Content { txid } => format!("commit {txid}: its pages are not those it was made of"),
        Fault::Chain { txid } => format!("commit {txid} does not follow from the one before"),
        Fault::Gap { after } => format!("commits are missing after {after}"),
        Fault::Head => "the head is not what the last commit made".to_owned(),
    }
}

/// One SQL value as JSON, exactly.
#[must_use]
pub(super) fn sql_value(value: &SqlValue) -> Json {
    match value {
        SqlValue::Null => Json::Null,
        SqlValue::Integer(integer) if integer.unsigned_abs() <= EXACT_INTEGER_MAX => {
            json!(integer)
        }
        SqlValue::Integer(integer) => json!({ "integer": integer.to_string() }),
        SqlValue::Real(real) if real.is_finite() => json!(real),
        SqlValue::Real(real) => {
            json!({ "real": if *real > 0.0 { INFINITY } else { MINUS_INFINITY } })
        }
        SqlValue::Text(text) => json!(text),
        SqlValue::Blob(blob) => json!({ "blob": BASE64.encode(blob) }),
    }
}

/// One SQL value from JSON. Booleans are 1 and 0, as SQLite writes TRUE and FALSE.
///
/// # Errors
/// `None` for arrays, other objects, and numbers that SQLite cannot hold exactly.
pub(super) fn sql_value_from(json: &Json) -> Option<SqlValue> {
    match json {
        Json::Null => Some(SqlValue::Null),
        Json::Bool(truth) => Some(SqlValue::Integer(i64::from(*truth))),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Some(SqlValue::Integer(integer)),
            // As a float, an integer beyond 64 bits would lose digits.
            None if number.is_u64() => None,
            None => number.as_f64().map(SqlValue::Real),
        },
        Json::String(text) => Some(SqlValue::Text(text.clone())),
        Json::Object(fields) if fields.len() == 1 => {
            let (name, value) = fields.iter().next()?;
            let text = value.as_str()?;
            match (name.as_str(), text) {
                ("integer", text) => text.parse().ok().map(SqlValue::Integer),
                ("real", INFINITY) => Some(SqlValue::Real(f64::INFINITY)),
                ("real", MINUS_INFINITY) => Some(SqlValue::Real(f64::NEG_INFINITY)),
                ("blob", text) => BASE64.decode(text).ok().map(SqlValue::Blob),
                _ => None,
            }
        }
        Json::Array(_) | Json::Object(_) => None,
    }
}

/// The parameters of an operator's statement.
pub(super) fn sql_parameters(values: &[Json]) -> Result<Vec<SqlValue>, HostError> {
    values
        .iter()
        .enumerate()
        .map(|(index, json)| sql_value_from(json).ok_or(index))
        .collect::<Result<_, usize>>()
        .map_err(|index| invalid_parameter(index, &values[index]))
}

fn invalid_parameter(index: usize, got: &Json) -> HostError {
    use stockade::SqlError;
    let got: String = got.to_string().chars().take(80).collect();
    SqlError::InvalidArgument(format!(
        "parameter {}: {got} is no SQL value; write null, a number, a string, \
         {{\"blob\": \"<base64>\"}}, {{\"integer\": \"<digits>\"}}, {{\"real\": \"inf\"}} or \
         {{\"real\": \"-inf\"}}",
        index + 1
    ))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_values_survive_the_way_there_and_back() {
        for value in [
            SqlValue::Null,
            SqlValue::Integer(0),
            SqlValue::Integer(i64::MAX),
            SqlValue::Integer(i64::MIN),
            SqlValue::Integer(-(1 << 53)),
            SqlValue::Real(1.0),
            SqlValue::Real(-0.1),
            SqlValue::Real(f64::MAX),
            SqlValue::Real(f64::INFINITY),
            SqlValue::Real(f64::NEG_INFINITY),
            SqlValue::Text("a\u{0}ü".to_owned()),
            SqlValue::Blob(vec![0, 255, 1]),
        ] {
            let text = sql_value(&value).to_string();
            let back: Json = serde_json::from_str(&text).expect("reads");
            assert_eq!(sql_value_from(&back), Some(value), "{text}");
        }
    }

    #[test]
    fn infinity_is_spelled_as_methods_spell_it() {
        for (real, text) in [(f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
            assert_eq!(sql_value(&SqlValue::Real(real)), json!({ "real": text }));
            let taken = sql_value_from(&json!({ "real": text }));
            assert_eq!(taken, Some(SqlValue::Real(real)));
        }
    }

    #[test]
    fn integers_that_floats_would_round_are_strings() {
        assert_eq!(
            sql_value(&SqlValue::Integer(9_007_199_254_740_993)).to_string(),
            r#"{"integer":"9007199254740993"}"#
        );
        assert_eq!(sql_value(&SqlValue::Integer(1 << 53)).to_string(), "9007199254740992");
    }

    #[test]
    fn what_is_no_sql_value_is_refused_with_its_place() {
        for text in [
            "[1]",
            "{}",
            r#"{"blob":"?"}"#,
            r#"{"a":"b"}"#,
            r#"{"real":"nan"}"#,
            r#"{"real":"Infinity"}"#,
            "18446744073709551615",
        ] {
            let json: Json = serde_json::from_str(text).expect("reads");
            let error = sql_parameters(&[Json::Null, json]).expect_err(text);
            assert!(error.to_string().contains("parameter 2"), "{error}");
        }
    }
}
