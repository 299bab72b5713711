//! Durable commits beside plain inserts of the same bytes.
//!
//! ```text
//! insert  64 clients on 64 connections: one autocommit row of one page each
//! store   64 actors: one commit of one page each, in a session, durable before the next one
//! ```
//! A slice of inserts comes directly before each slice of commits; the figure is the median of the
//! pairs. Then one client and one actor alone, in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stockade_depot::{ActorId, Session};
use stockade_testkit::owner;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::server::{Bench, COMPONENT, depot, put};
use crate::{Figure, median};

pub(crate) const CLIENTS: u64 = 64;
const SLICE: Duration = Duration::from_millis(500);
const WARM_UP: Duration = Duration::from_millis(50);
const INSERT: &str = "INSERT INTO plain (bytes) VALUES ($1)";

pub(crate) async fn run(bench: &Bench, quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (pairs, rounds) = if quick { (1, 10) } else { (9, 500) };
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Arc::new(bench.client().await?));
    }
    let table =
        "CREATE TABLE plain (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, bytes BYTEA)";
    clients[0].batch_execute(table).await?;
    let store = bench.store().await?;
    let here = depot(&store, 1);
    let mut sessions = Vec::new();
    for n in 0..CLIENTS {
        let actor = ActorId::new("row", &format!("{n}"))?;
        sessions.push(Arc::new(here.create(&actor, COMPONENT).await?.session));
    }
    let (mut ratios, mut last) = (Vec::new(), (0.0, 0.0));
    for pair in 0..=pairs {
        last = (inserts(&clients).await?, commits(&sessions).await?);
        // The first one warms up.
        if pair > 0 {
            ratios.push(last.1 / last.0);
        }
    }
    let told = format!("{:.0} commits/s over {:.0} inserts/s in the last pair", last.1, last.0);
    let rate = Figure::new(&bench.way.named("pg.commit_over_insert"), median(ratios), told);
    let (insert, commit) = alone(&clients[0], &sessions[0], rounds).await?;
    let told = format!("{:.3} ms over {:.3} ms", commit * 1000.0, insert * 1000.0);
    let name = bench.way.named("pg.sequential_over_insert_p50");
    let sequential = Figure::new(&name, commit / insert, told);
    store.close().await;
    Ok(vec![rate, sequential])
}

/// What the tasks of one rate share.
#[derive(Clone, Default)]
struct Pace(Arc<Shared>);

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
}

impl Pace {
    fn continues(&self) -> bool {
        !self.0.stop.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }

    /// What these tasks count in a second. Ends them.
    async fn rate(&self, tasks: Vec<JoinHandle<anyhow::Result<()>>>) -> anyhow::Result<f64> {
        tokio::time::sleep(WARM_UP).await;
        let done = || self.0.done.load(Ordering::Relaxed);
        let (begun, before) = (Instant::now(), done());
        tokio::time::sleep(SLICE).await;
        let (made, took) = (done() - before, begun.elapsed());
        self.0.stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await??;
        }
        Ok(f64::from(u32::try_from(made).unwrap_or(u32::MAX)) / took.as_secs_f64())
    }
}

/// Rows a second.
async fn inserts(clients: &[Arc<Client>]) -> anyhow::Result<f64> {
    let pace = Pace::default();
    let insert = |(n, client): (u32, &Arc<Client>)| {
        let (client, pace) = (Arc::clone(client), pace.clone());
        tokio::spawn(async move {
            let statement = client.prepare(INSERT).await?;
            let mut version = 0;
            while pace.continues() {
                version += 1;
                client.execute(&statement, &[&&owner::page(n, version)[..]]).await?;
                pace.count();
            }
            anyhow::Ok(())
        })
    };
    pace.rate((0..).zip(clients).map(insert).collect()).await
}

/// Commits a second.
pub(crate) async fn commits(sessions: &[Arc<Session>]) -> anyhow::Result<f64> {
    let pace = Pace::default();
    let commit = |session: &Arc<Session>| {
        let (session, pace) = (Arc::clone(session), pace.clone());
        tokio::spawn(async move {
            while pace.continues() {
                put(&session, 1..=1, session.durable_txid().0)?;
                session.durable(session.mark()).await?;
                pace.count();
            }
            anyhow::Ok(())
        })
    };
    pace.rate(sessions.iter().map(commit).collect()).await
}

/// Medians in seconds of one insert and of one commit, in turn.
async fn alone(client: &Client, session: &Session, rounds: u64) -> anyhow::Result<(f64, f64)> {
    let statement = client.prepare(INSERT).await?;
    let (mut of_insert, mut of_commit) = (Vec::new(), Vec::new());
    for version in 0..rounds {
        let page = owner::page(1, version);
        let begun = Instant::now();
        client.execute(&statement, &[&&page[..]]).await?;
        of_insert.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        put(session, 1..=1, version)?;
        session.durable(session.mark()).await?;
        of_commit.push(begun.elapsed().as_secs_f64());
    }
    Ok((median(of_insert), median(of_commit)))
}
