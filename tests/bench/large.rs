//! `make bench-large`: one database of 1 GiB beside the same file in plain SQLite, and a store of
//! 100,000 actors.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rusqlite::{Connection, backup::Backup};
use serde_json::json;
use stockade::ActorId;

use crate::growth::{self, Dice, ROWS_PER_MIB, make_wide};
use crate::stand::Stand;
use crate::summary::{Summary, median};

const ACTORS: u32 = 100_000;
const POINTS: u32 = 20_000;

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let mib = if stand.quick { 8 } else { 1024 };
    beside_plain(stand, summary, mib).await?;
    growth::run(&Stand::new(stand.quick).await?, summary, mib).await?;
    let actors = Stand::new(stand.quick).await?;
    actors.deploy("sql", "sqlite_bench").await?;
    let many = stand.scaled(ACTORS);
    crate::wake::make_sleepers(&actors.host, "sleeper", many, 10).await?;
    actors.host.shutdown().await;
    growth::by_actors(&actors, summary, many).await
}

/// Measures both sides in turn. A figure is the median of the rounds' ratios.
async fn beside_plain(stand: &Stand, summary: &mut Summary, mib: u64) -> anyhow::Result<()> {
    stand.deploy("sql", "sqlite_bench").await?;
    let path = stand.dir.path().join("plain.db");
    make_wide(&path, mib)?;
    let actor = ActorId::new("sql", "huge")?;
    let begun = Instant::now();
    stand.host.actor(&actor).import(&path, &mut |_| {}).await?;
    summary.add(
        "large.import_s",
        begun.elapsed().as_secs_f64(),
        "of a plain file, checks included",
    );
    Connection::open(&path)?.pragma_update(None, "journal_mode", "wal")?;
    let rows = mib * ROWS_PER_MIB;
    let mut dice = Dice(3);

    let mut sides: [Vec<(f64, f64)>; 5] = Default::default();
    let rounds = if stand.quick { 1 } else { 5 };
    for round in 0..rounds {
        for _ in 0..10 {
            let row = dice.below(rows);
            stand.host.actor(&actor).stop().await?;
            let (ours, _) = stand.call(&actor, "wide-point", json!([1, row, rows])).await?;
            sides[0].push((secs(ours), secs(plain_open(&path, row)?)));
        }
        let first = dice.below(rows);
        let (ours, _) = stand.call(&actor, "wide-point", json!([POINTS, first, rows])).await?;
        sides[1].push((secs(ours), secs(plain_points(&path, first, rows)?)));
        let (ours, reply) = stand.call(&actor, "wide-scan", json!([])).await?;
        let (theirs, bytes) = plain_scan(&path)?;
        ensure!(reply.to_json()["ok"].to_string().contains(&bytes.to_string()), "same bytes");
        sides[2].push((secs(ours), secs(theirs)));
        let ours = export(stand, &actor, &stand.dir.path().join(format!("out-{round}.db"))).await?;
        let theirs = plain_backup(&path, &stand.dir.path().join(format!("copy-{round}.db")))?;
        sides[3].push((secs(ours), secs(theirs)));
        let begun = Instant::now();
        let report = stand.host.actor(&actor).verify().await?;
        ensure!(report.is_sound(), "{report:?}");
        sides[4].push((secs(begun.elapsed()), secs(plain_check(&path)?)));
    }
    for (name, sides) in ["cold_open", "point", "scan", "export", "verify"].iter().zip(sides) {
        let made_from = format!(
            "{mib} MiB: ours {:.3} ms, SQLite {:.3} ms",
            median(sides.iter().map(|side| side.0 * 1e3).collect()),
            median(sides.iter().map(|side| side.1 * 1e3).collect())
        );
        let ratio = median(sides.iter().map(|side| side.0 / side.1).collect());
        summary.add(&format!("large.{name}_over_native"), ratio, &made_from);
    }
    Ok(())
}

/// Opens the file and reads one row: the work of a wake without the takeover.
fn plain_open(path: &Path, row: u64) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let conn = Connection::open(path)?;
    conn.query_row("SELECT n FROM wide WHERE id = ?1", [i64::try_from(row)?], |row| {
        row.get::<_, i64>(0)
    })?;
    Ok(begun.elapsed())
}

fn plain_points(path: &Path, first: u64, rows: u64) -> anyhow::Result<Duration> {
    let conn = Connection::open(path)?;
    let mut select = conn.prepare("SELECT n FROM wide WHERE id = ?1")?;
    let begun = Instant::now();
    let mut sum = 0;
    for i in 0..u64::from(POINTS) {
        let id = i64::try_from((first + i * 7919) % rows)?;
        sum += select.query_row([id], |row| row.get::<_, i64>(0))?;
    }
    std::hint::black_box(sum);
    Ok(begun.elapsed())
}

fn plain_scan(path: &Path) -> anyhow::Result<(Duration, i64)> {
    let conn = Connection::open(path)?;
    let begun = Instant::now();
    let bytes =
        conn.query_row("SELECT sum(length(body) + n * 0) FROM wide", [], |row| row.get(0))?;
    Ok((begun.elapsed(), bytes))
}

/// Exports the actor's database into a file, synced.
async fn export(stand: &Stand, actor: &ActorId, path: &Path) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut export = stand.host.actor(actor).export().await?;
    let mut file = std::fs::File::create(path)?;
    while let Some(bytes) = export.next().await? {
        std::io::Write::write_all(&mut file, &bytes)?;
    }
    file.sync_data()?;
    let took = begun.elapsed();
    std::fs::remove_file(path)?;
    Ok(took)
}

/// Copies the file by SQLite's backup, which works on a database in use; synced.
fn plain_backup(from: &Path, to: &Path) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let (from, mut copy) = (Connection::open(from)?, Connection::open(to)?);
    Backup::new(&from, &mut copy)?.run_to_completion(256, Duration::ZERO, None)?;
    drop(copy);
    std::fs::File::open(to)?.sync_data()?;
    let took = begun.elapsed();
    std::fs::remove_file(to)?;
    Ok(took)
}

/// Checks the file by `quick_check`, the closest that plain SQLite has to a check of checksums.
fn plain_check(path: &Path) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let conn = Connection::open(path)?;
    let answer: String = conn.query_row("PRAGMA quick_check", [], |row| row.get(0))?;
    ensure!(answer == "ok", "{answer}");
    Ok(begun.elapsed())
}

fn secs(took: Duration) -> f64 {
    took.as_secs_f64()
}
