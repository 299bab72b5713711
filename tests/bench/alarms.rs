//! Alarms: how late they run, and how many of them in a second.
//!
//! ```text
//!  rate   64 awake actors, each with as many alarms, all due at one time ──> until the last has run
//!  late   10,000 sleeping actors with one alarm each, spread over a minute ──> guest's clock - due
//! ```

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use stockade::{ActorId, Arguments, Host};

use crate::commit;
use crate::stand::Stand;
use crate::summary::{Summary, median, quantile};

const KIND: &str = "alarms";
/// Calls in flight while actors are made and asked.
const IN_FLIGHT: usize = 256;
/// Rounds of the rate: each takes seconds.
const ROUNDS: usize = 3;
/// How long after alarms were set they are due, for the rate: the bench has set all of them by then.
const AHEAD: Duration = Duration::from_secs(3);
/// Between two looks whether an actor has run its alarms.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long the bench waits for alarms that do not run.
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    stand.deploy("sql", "sqlite_bench").await?;
    stand.deploy(KIND, "lifecycle_alarms").await?;
    rate(stand, summary).await?;
    late(stand, summary).await
}

async fn rate(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let lasting = Duration::from_secs(if stand.quick { 1 } else { 5 });
    let each = stand.scaled(200).max(10);
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for round in 1..=stand.rounds().min(ROUNDS) {
        let durable_per_s = commit::durable_per_s(stand, lasting).await?;
        let due = now_ms()? + millis(AHEAD)?;
        for actor in 0..commit::ACTORS {
            stand.call(&id("busy", actor)?, "arm", json!([each, due])).await?;
        }
        let early =
            due.checked_sub(now_ms()?).context("the alarms were due before all were set")?;
        tokio::time::sleep(Duration::from_millis(early)).await;
        let begun = Instant::now();
        let expected = i64::from(each) * i64::try_from(round)?;
        // One actor after the other is asked: they run their alarms beside each other.
        for actor in 0..commit::ACTORS {
            while ran(stand, actor).await? < expected {
                ensure!(begun.elapsed() < PATIENCE, "alarms do not run");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        let all = f64::from(each) * commit::ACTORS as f64;
        let per_s = all / begun.elapsed().as_secs_f64();
        rates.push(per_s);
        ratios.push(per_s / durable_per_s);
    }
    let made_from = format!(
        "{} awake actors with {each} alarms each, all due; each run writes a row",
        commit::ACTORS
    );
    summary.add("alarm.per_s", median(rates), &made_from);
    let made_from = "over durable calls of as many actors, in turn";
    summary.add("alarm.per_s_over_durable", median(ratios), made_from);
    Ok(())
}

async fn ran(stand: &Stand, actor: usize) -> anyhow::Result<i64> {
    let (_, reply) = stand.call(&id("busy", actor)?, "ran", json!([0])).await?;
    let answer = reply.to_json();
    answer["ok"].as_i64().with_context(|| format!("answered {answer}"))
}

async fn late(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let actors = usize::try_from(stand.scaled(10_000))?;
    let (ahead, spread) = if stand.quick { (3, 2) } else { (60, 60) };
    let (ahead, spread) = (Duration::from_secs(ahead), Duration::from_secs(spread));
    let (first, spread_ms) = (now_ms()? + millis(ahead)?, millis(spread)?);
    let due = |actor: usize| first + spread_ms * actor as u64 / actors as u64;
    let arm = |actor| arm_and_stop(&stand.host, actor, due(actor));
    let armed = stream::iter(0..actors).map(arm).buffer_unordered(IN_FLIGHT);
    armed.try_collect::<()>().await?;
    let early = first.checked_sub(now_ms()?).context("alarms were due before all were set")?;
    tokio::time::sleep(Duration::from_millis(early) + spread + Duration::from_secs(1)).await;

    let ask = |actor| lateness(&stand.host, actor);
    let asked = stream::iter(0..actors).map(ask).buffer_unordered(IN_FLIGHT);
    let late: Vec<f64> = asked.try_collect().await?;
    ensure!(late.iter().all(|ms| *ms >= 0.0), "an alarm ran before its time");
    let made_from =
        format!("{actors} sleeping actors with one alarm each, spread over {} s", spread.as_secs());
    summary.add("alarm.late_ms_p50", median(late.clone()), &made_from);
    summary.add("alarm.late_ms_p99", quantile(late.clone(), 0.99), "the same");
    summary.add("alarm.late_ms_most", quantile(late, 1.0), "the same");
    Ok(())
}

/// Makes an actor with one alarm, and puts it to sleep.
async fn arm_and_stop(host: &Host, actor: usize, due: u64) -> anyhow::Result<()> {
    let actor = id("sleeper", actor)?;
    host.actor(&actor).call("arm", Arguments::Json(json!([1, due]))).await?;
    host.actor(&actor).stop().await?.context("it was awake")?;
    Ok(())
}

/// How late the one alarm of an actor has run, in milliseconds.
async fn lateness(host: &Host, actor: usize) -> anyhow::Result<f64> {
    let actor = id("sleeper", actor)?;
    let begun = Instant::now();
    loop {
        let reply = host.actor(&actor).call("late", Arguments::Json(json!([]))).await?;
        let answer = reply.to_json();
        match answer["ok"].as_array().map(Vec::as_slice) {
            Some([late]) => return Ok(late.as_f64().context("a number")? / 1e3),
            Some([]) => ensure!(begun.elapsed() < PATIENCE, "{actor}: its alarm does not run"),
            _ => anyhow::bail!("{actor} answered {answer}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn id(name: &str, number: usize) -> anyhow::Result<ActorId> {
    Ok(ActorId::new(KIND, &format!("{name}-{number}"))?)
}

fn now_ms() -> anyhow::Result<u64> {
    millis(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

fn millis(duration: Duration) -> anyhow::Result<u64> {
    Ok(u64::try_from(duration.as_millis())?)
}
