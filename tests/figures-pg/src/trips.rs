//! How often a process waits for the server: flights, counted on the wire of a store with one
//! connection, or steps where they are served. The statements of a PostgreSQL store were prepared for
//! another actor before.

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use stockade_depot::store::{ActorState, PreviousEnd};
use stockade_depot::{ActorId, Pgno, Reason, Session, Store};

use crate::Figure;
use crate::server::{Bench, COMPONENT, depot, put};

/// Pages that an actor reads when it wakes.
const WAKE_PAGES: u32 = 8;
/// 50 MiB.
const SCAN_PAGES: u32 = 12_800;

pub(crate) async fn run(bench: &Bench, quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (there, store) = (bench.store().await?, bench.counted().await?);
    let named = ("pg", bench.way.suffix());
    let figures = measure(&there, &store, &|| bench.relay.flights(), named, quick).await?;
    store.close().await;
    there.close().await;
    Ok(figures)
}

/// Over `store`, whose flights are counted, what another process has made over `there`.
pub(crate) async fn measure(
    there: &Arc<dyn Store>,
    store: &Arc<dyn Store>,
    flights: &(dyn Fn() -> u64 + Sync),
    (prefix, suffix): (&str, &str),
    quick: bool,
) -> anyhow::Result<Vec<Figure>> {
    let scanned = if quick { SCAN_PAGES / 20 } else { SCAN_PAGES };
    let named = |name: &str| format!("{prefix}.{name}{suffix}");
    for (key, pages) in [("warm", WAKE_PAGES), ("cold", WAKE_PAGES), ("large", scanned)] {
        let actor = ActorId::new("trip", key)?;
        let session = depot(there, 1).create(&actor, COMPONENT).await?.session;
        put(&session, 1..=pages, 1)?;
        session.durable(session.mark()).await?;
        session.close(Reason::Operator);
    }
    let here = depot(store, 2);
    let mut figures = Vec::new();
    for key in ["warm", "cold"] {
        let actor = ActorId::new("trip", key)?;
        let (begun, before) = (Instant::now(), flights());
        let state = found(store.as_ref(), &actor).await?;
        let opened = here.take_over(&state, COMPONENT, PreviousEnd::Neutral).await?;
        read(&opened.session, WAKE_PAGES)?;
        let any = (flights() - before, begun.elapsed());
        let head = opened.session.seal_for_heir().await?;
        let (begun, before) = (Instant::now(), flights());
        let session = here.inherit(ActorState { head, ..state }).await?.session;
        read(&session, WAKE_PAGES)?;
        let again = (flights() - before, begun.elapsed());
        session.close(Reason::Operator);
        if key == "cold" {
            for (name, (made, took)) in
                [("wake_round_trips", any), ("wake_round_trips_slept_here", again)]
            {
                let told =
                    format!("with {WAKE_PAGES} pages, {:.2} ms", took.as_secs_f64() * 1000.0);
                figures.push(Figure::new(&named(name), count(made), told));
            }
        }
    }
    let state = found(store.as_ref(), &ActorId::new("trip", "large")?).await?;
    let session = here.take_over(&state, COMPONENT, PreviousEnd::Neutral).await?.session;
    let (begun, before) = (Instant::now(), flights());
    read(&session, scanned)?;
    let made = flights() - before;
    let mib = scanned / 256;
    let told = format!("{mib} MiB in order, {:.2} s", begun.elapsed().as_secs_f64());
    figures.push(Figure::new(&named("cold_scan_round_trips"), count(made), told));
    Ok(figures)
}

async fn found(store: &dyn Store, actor: &ActorId) -> anyhow::Result<ActorState> {
    let state = store.actor(actor).await?;
    state.ok_or_else(|| anyhow::anyhow!("{actor} was made"))
}

/// Reads the first pages in order, and compares them.
fn read(session: &Session, pages: u32) -> anyhow::Result<()> {
    tokio::task::block_in_place(|| {
        for pgno in 1..=pages {
            let read = session.read(Pgno(pgno))?;
            ensure!(read == stockade_testkit::owner::page(pgno, 1), "page {pgno}");
        }
        Ok(())
    })
}

fn count(flights: u64) -> f64 {
    f64::from(u32::try_from(flights).unwrap_or(u32::MAX))
}
