//! Sends every question to a host on a damaged store, and compares the answers with those of an
//! undamaged store.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value as Json, json};
use stockade::error::Code;
use stockade::host::SqlRequest;
use stockade::{ActorId, Arguments, CallError, Host};
use stockade_tests::guest;

use super::images::{actors, host};

/// An answer, or the code of the error.
type Answer = Result<Json, Code>;

/// The answers of an undamaged store, in the order of the questions.
pub(super) struct Right {
    actors: BTreeMap<ActorId, Vec<Json>>,
    listed: Vec<String>,
}

/// The outcome for a damaged store.
pub(super) enum Outcome {
    /// No host starts on the store.
    Refused,
    /// Some answers report damage.
    Corrupt,
    /// Every answer is right.
    Right,
}

/// The findings on a damaged store.
pub(super) struct Asked {
    pub(super) outcome: Outcome,
    /// Answers that are neither right nor `depot.corrupt`.
    pub(super) wrong: Vec<String>,
    /// Whether an answer was not right and the check of the store found nothing.
    pub(super) verify_missed: bool,
}

/// A question to an actor.
struct Question {
    name: &'static str,
    /// The method and its arguments, if the question is a call.
    call: Option<(&'static str, Json)>,
    writes: bool,
}

fn questions(actor: &ActorId) -> Vec<Question> {
    let call = |method: &'static str, arguments: Json, writes| Question {
        name: method,
        call: Some((method, arguments)),
        writes,
    };
    let other = |name| Question { name, call: None, writes: false };
    let mut questions = vec![other("export")];
    if actor.kind() == guest::COUNTER.name {
        questions.extend([
            call("calls", json!([]), false),
            call("get", json!([]), false),
            other("sql"),
            call("increment", json!([1_000_000]), true),
            call("get", json!([]), false),
        ]);
    } else {
        questions.extend([
            call("point", json!([300]), false),
            other("sql"),
            call("touch", json!([1]), true),
            call("point", json!([300]), false),
        ]);
    }
    questions
}

/// The question after a restart.
fn last_question(actor: &ActorId) -> Question {
    let (name, arguments) = match actor.kind() == guest::COUNTER.name {
        true => ("get", json!([])),
        false => ("point", json!([300])),
    };
    Question { name, call: Some((name, arguments)), writes: false }
}

async fn answer(host: &Host, actor: &ActorId, question: &Question) -> Answer {
    let answer = match (&question.call, question.name) {
        (Some((method, arguments)), _) => {
            let reply = host.actor(actor).call(method, Arguments::Json(arguments.clone())).await;
            reply.map(|reply| reply.to_json())
        }
        (None, "export") => export(host, actor).await,
        (None, _) => sql(host, actor).await,
    };
    answer.map_err(|error| error.code())
}

async fn export(host: &Host, actor: &ActorId) -> Result<Json, CallError> {
    let mut export = host.actor(actor).export().await?;
    let (mut bytes, mut sum) = (0, 0_u64);
    while let Some(chunk) = export.next().await? {
        bytes += chunk.len();
        sum = chunk.iter().fold(sum, |sum, byte| {
            sum.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(*byte)
        });
    }
    Ok(json!([export.txid.0, bytes, sum]))
}

async fn sql(host: &Host, actor: &ActorId) -> Result<Json, CallError> {
    let table = if actor.kind() == guest::COUNTER.name { "counter" } else { "item" };
    let request = SqlRequest {
        sql: format!("SELECT * FROM {table}"),
        parameters: Vec::new(),
        write: false,
        rows_max: None,
    };
    let reply = host.actor(actor).sql(request).await?;
    Ok(format!("{:?}", reply.rows).into())
}

async fn listed(host: &Host) -> Result<Vec<String>, Code> {
    let infos = host.actors(None, None, 1000).await.map_err(|error| error.code())?;
    Ok(infos.iter().map(|info| info.actor.to_string()).collect())
}

/// Asks an undamaged store.
pub(super) async fn right(dir: &Path) -> Right {
    let first = host(dir).await.unwrap();
    let verified = first.verify_all(None, &mut |_| {}).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
    assert_eq!(usize::try_from(verified.actors).unwrap(), actors().len());
    let listed = listed(&first).await.unwrap();
    let mut all = BTreeMap::new();
    for actor in actors() {
        let mut answers = Vec::new();
        for question in questions(&actor) {
            answers.push(answer(&first, &actor, &question).await.unwrap());
        }
        all.insert(actor, answers);
    }
    first.shutdown().await;
    let second = host(dir).await.unwrap();
    for (actor, answers) in &mut all {
        answers.push(answer(&second, actor, &last_question(actor)).await.unwrap());
    }
    second.shutdown().await;
    Right { actors: all, listed }
}

/// Asks a damaged store.
pub(super) async fn ask(dir: &Path, right: &Right) -> Asked {
    let mut judge = Judge::default();
    let Ok(first) = host(dir).await else {
        return Asked { outcome: Outcome::Refused, wrong: Vec::new(), verify_missed: false };
    };
    let verified = first.verify_all(None, &mut |_| {}).await;
    let sound = verified.is_ok_and(|verified| verified.is_sound());
    judge.hear("list", listed(&first).await.map(Json::from), &[&right.listed.clone().into()]);
    let mut torn: BTreeMap<&ActorId, Json> = BTreeMap::new();
    for (actor, answers) in &right.actors {
        let mut before: BTreeMap<&str, Json> = BTreeMap::new();
        for (question, right) in questions(actor).into_iter().zip(answers) {
            let name = format!("{actor} {}", question.name);
            let answer = answer(&first, actor, &question).await;
            if question.writes && answer.is_err() {
                torn.insert(actor, Json::Null);
            }
            // A write that failed may have been kept or not.
            let earlier = before.get(question.name).filter(|_| torn.contains_key(actor));
            let allowed: Vec<&Json> = [right].into_iter().chain(earlier).collect();
            judge.hear(&name, answer, &allowed);
            before.insert(question.name, right.clone());
        }
        if torn.contains_key(actor) {
            torn.insert(
                actor,
                answers[1 + usize::from(actor.kind() == guest::COUNTER.name)].clone(),
            );
        }
    }
    first.shutdown().await;
    match host(dir).await {
        Ok(second) => {
            for (actor, answers) in &right.actors {
                let question = last_question(actor);
                let name = format!("{actor} {} after a restart", question.name);
                let allowed: Vec<&Json> =
                    answers.last().into_iter().chain(torn.get(actor)).collect();
                judge.hear(&name, answer(&second, actor, &question).await, &allowed);
            }
            second.shutdown().await;
        }
        // Damage that was found in the meantime.
        Err(_) => judge.corrupt += 1,
    }
    let failed = judge.corrupt > 0 || !judge.wrong.is_empty();
    Asked {
        outcome: if judge.corrupt > 0 { Outcome::Corrupt } else { Outcome::Right },
        wrong: judge.wrong,
        verify_missed: failed && sound,
    }
}

#[derive(Default)]
struct Judge {
    corrupt: u64,
    wrong: Vec<String>,
}

impl Judge {
    fn hear(&mut self, name: &str, answer: Answer, allowed: &[&Json]) {
        match answer {
            Ok(answer) if allowed.contains(&&answer) => {}
            Ok(answer) => self.wrong.push(format!("{name}: {answer} instead of {allowed:?}")),
            Err(Code::StoreCorrupt) => self.corrupt += 1,
            Err(code) => self.wrong.push(format!("{name}: {}.{}", code.group(), code.name())),
        }
    }
}
