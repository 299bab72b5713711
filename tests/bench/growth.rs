//! How the cost of a commit and of a wake grows with the size of a database, and with the number of
//! actors in a store.
//!
//! Each round measures the small and the large side in turn. A ratio is the median over the rounds
//! of the ratio of a round's medians.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::Connection;
use serde_json::json;
use stockade::limits::HostLimits;
use stockade::{ActorId, Arguments, Host, HostConfig};

use crate::stand::Stand;
use crate::summary::{Summary, median};
use crate::wake;

/// Commits of one side in a round.
const COMMITS: u32 = 100;
/// Wakes of one side in a round.
const WAKES: u32 = 10;
/// Bytes of a row's body in `wide`.
const BODY_BYTES: u64 = 1_000;
/// Rows of `wide` in 1 MiB, three to a page.
pub const ROWS_PER_MIB: u64 = 256 * 3;
/// Actors of the small store.
const FEW: u32 = 100;

/// Medians of one side in one round, in milliseconds.
struct Pace {
    commit: f64,
    /// Wakes of actors that fell asleep in this process; in the first part of `by_actors`, in
    /// another process.
    wake: f64,
}

/// Numbers of the actors that have not been awake in this process.
struct Asleep(Vec<u32>);

impl Asleep {
    fn all(actors: u32) -> Self {
        Self((0..actors).collect())
    }

    fn pick(&mut self, dice: &mut Dice) -> anyhow::Result<ActorId> {
        let at = dice.below(u64::try_from(self.0.len())?);
        wake::id("sleeper", self.0.swap_remove(usize::try_from(at)?))
    }
}

pub async fn run(stand: &Stand, summary: &mut Summary, mib: u64) -> anyhow::Result<()> {
    stand.deploy("sql", "sqlite_bench").await?;
    let small = imported(stand, "small", 1).await?;
    let large = imported(stand, "large", mib).await?;
    let mut dice = Dice(1);
    let mut rounds = Vec::new();
    // One round more than are counted: the first round warms both sides.
    for _ in 0..=stand.rounds() {
        let one = pace_of_size(&stand.host, &small, ROWS_PER_MIB, &mut dice).await?;
        let other = pace_of_size(&stand.host, &large, mib * ROWS_PER_MIB, &mut dice).await?;
        rounds.push((one, other));
    }
    add(summary, &format!("{mib}mib_over_1mib"), rounds, mib as f64);
    Ok(())
}

/// Compares a store of a few actors with the store of `many` in the stand's directory. The stand's
/// host must be shut down.
pub async fn by_actors(stand: &Stand, summary: &mut Summary, many: u32) -> anyhow::Result<()> {
    let few = FEW.min(many);
    let one = host_in(stand.dir.path().join("few")).await?;
    one.deploy("sql", stockade_tests::guest("sqlite_bench")?, one.manifest()).await?;
    wake::make_sleepers(&one, "sleeper", few, 10).await?;
    one.shutdown().await;
    let hosts = [host_in(stand.dir.path().join("few")).await?, host_in(stand.host_dir()).await?];
    let mut asleep = [Asleep::all(few), Asleep::all(many)];
    let mut dice = Dice(2);
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..=stand.rounds() {
        let small = pace_among(&hosts[0], &mut asleep[0], &mut dice).await?;
        let large = pace_among(&hosts[1], &mut asleep[1], &mut dice).await?;
        first.push((small.0, large.0));
        again.push((small.1, large.1));
    }
    for host in hosts {
        host.shutdown().await;
    }
    let (name, factor) = (format!("{many}_over_{few}_actors"), f64::from(many / few));
    add(summary, &name, first, factor);
    add(summary, &format!("again_{name}"), again, factor);
    Ok(())
}

/// Adds the ratios and exponents of the rounds. The first round does not count.
fn add(summary: &mut Summary, name: &str, mut rounds: Vec<(Pace, Pace)>, factor: f64) {
    if rounds.len() > 1 {
        rounds.remove(0);
    }
    let mut steepest = f64::MIN;
    for (what, of) in
        [("commit", (|pace| pace.commit) as fn(&Pace) -> f64), ("wake", |pace| pace.wake)]
    {
        let ratios = rounds.iter().map(|(small, large)| of(large) / of(small)).collect();
        let ratio = median(ratios);
        let ms = |side: fn(&(Pace, Pace)) -> &Pace| {
            median(rounds.iter().map(|round| of(side(round))).collect())
        };
        let made_from = format!("p50 {:.3} ms over {:.3} ms", ms(|r| &r.1), ms(|r| &r.0));
        summary.add(&format!("store.growth.{what}_{name}"), ratio, &made_from);
        steepest = steepest.max(ratio.ln() / factor.ln());
    }
    let name = format!("store.growth_exponent.{name}");
    summary.add(&name, steepest, "ln(ratio) / ln(growth), the steeper of commit and wake");
}

async fn pace_of_size(
    host: &Host,
    actor: &ActorId,
    rows: u64,
    dice: &mut Dice,
) -> anyhow::Result<Pace> {
    let (mut commits, mut wakes) = (Vec::new(), Vec::new());
    for _ in 0..COMMITS {
        commits.push(ms(host, actor, "wide-touch", json!([dice.below(rows)])).await?);
    }
    for _ in 0..WAKES {
        host.actor(actor).stop().await?;
        wakes.push(ms(host, actor, "wide-point", json!([1, dice.below(rows), rows])).await?);
    }
    Ok(Pace { commit: median(commits), wake: median(wakes) })
}

/// The pace of actors that fell asleep in another process, and of the same actors after they fell
/// asleep in this one.
async fn pace_among(
    host: &Host,
    asleep: &mut Asleep,
    dice: &mut Dice,
) -> anyhow::Result<(Pace, Pace)> {
    let (mut paces, mut actors) = (Vec::new(), Vec::new());
    for _ in 0..WAKES {
        actors.push(asleep.pick(dice)?);
    }
    for _ in 0..2 {
        let (mut commits, mut wakes) = (Vec::new(), Vec::new());
        for actor in &actors {
            wakes.push(wake::woken_ms(host, actor).await?);
            for _ in 0..COMMITS / WAKES {
                commits.push(ms(host, actor, "touch", json!([dice.below(10)])).await?);
            }
            host.actor(actor).stop().await?;
        }
        paces.push(Pace { commit: median(commits), wake: median(wakes) });
    }
    let again = paces.pop().expect("BUG: two");
    Ok((paces.pop().expect("BUG: two"), again))
}

async fn ms(
    host: &Host,
    actor: &ActorId,
    method: &str,
    arguments: serde_json::Value,
) -> anyhow::Result<f64> {
    let begun = Instant::now();
    host.actor(actor).call(method, Arguments::Json(arguments)).await?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// Starts one of several hosts in this process.
async fn host_in(dir: PathBuf) -> anyhow::Result<Host> {
    // Few actors are awake at the same time. Both hosts share the address space and the memory maps
    // of the process.
    let limits = HostLimits { actors_awake_max: 512, ..HostLimits::default() };
    Ok(Host::start(HostConfig::new(dir).with_limits(limits)).await?)
}

/// Imports a plain file with the table `wide` of `mib` MiB. Returns the actor.
pub async fn imported(stand: &Stand, name: &str, mib: u64) -> anyhow::Result<ActorId> {
    let path = stand.dir.path().join(format!("{name}.db"));
    make_wide(&path, mib)?;
    let actor = ActorId::new("sql", name)?;
    stand.host.actor(&actor).import(&path, &mut |_| {}).await?;
    Ok(actor)
}

/// Makes a plain file with the table `wide`: ids from 0, a number, and a body that does not
/// compress.
pub fn make_wide(path: &Path, mib: u64) -> anyhow::Result<()> {
    let conn = Connection::open(path)?;
    conn.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         CREATE TABLE wide (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, body BLOB NOT NULL);",
    )?;
    conn.execute(
        "WITH RECURSIVE id (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM id WHERE n + 1 < ?1)
         INSERT INTO wide SELECT n, 0, randomblob(?2) FROM id",
        [i64::try_from(mib * ROWS_PER_MIB)?, i64::try_from(BODY_BYTES)?],
    )?;
    Ok(())
}

/// Random numbers, the same in every run.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `max`.
    pub fn below(&mut self, max: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % max
    }
}
