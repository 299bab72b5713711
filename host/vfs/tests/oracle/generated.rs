//! Random SQL, seeded: `SEED=n` repeats a run, `STEPS=n` makes it longer.

use std::time::{Duration, Instant};

use stockade_depot::DepotLimits;
use stockade_testkit::faulty_store::{self, Step};
use stockade_testkit::random::Random;
use stockade_vfs::Fault;

use crate::pair::Pair;
use crate::rig::quick_limits;

/// How long a run continues without `STEPS`, at most.
const TIME_MAX: Duration = Duration::from_secs(4);
const STEPS: u64 = 1500;

/// What happened in a run, so that a run in which nothing did cannot pass.
#[derive(Debug, Default)]
struct Counts {
    too_large: u64,
    scratch_full: u64,
    lost_reads: u64,
    reopened: u64,
    compared: u64,
    staged: u64,
}

struct Run {
    pair: Pair,
    random: Random,
    counts: Counts,
    tables: u64,
    savepoints: u64,
    auto_vacuum: u64,
    small_commits: bool,
}

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

fn fuzz(name: &str, seed: u64, auto_vacuum: u64, commit_pages_max: u64) -> Counts {
    fuzz_in_steps(name, seed, auto_vacuum, commit_pages_max, 1024)
}

/// The same with steps of the store that are no larger than `step_pages`.
fn fuzz_in_steps(
    name: &str,
    seed: u64,
    auto_vacuum: u64,
    commit_pages_max: u64,
    step_pages: u64,
) -> Counts {
    let seed = env("SEED").unwrap_or(seed);
    let steps = env("STEPS").unwrap_or(STEPS);
    let print_seed = PrintSeed { name, seed };
    let limits = DepotLimits {
        commit_bytes_max: commit_pages_max * 4096,
        step_bytes_max: step_pages * 4096,
        ..quick_limits()
    };
    let pair = Pair::new(limits, |o| {
        o.cache_pages = 8;
        o.scratch_bytes_max = 4 << 20;
        o.scratch_memory_bytes_max = 32 << 10;
    });
    let mut run = Run {
        pair,
        random: Random::new(seed),
        counts: Counts::default(),
        tables: 0,
        savepoints: 0,
        auto_vacuum,
        small_commits: commit_pages_max < 1000,
    };
    run.start();
    let begun = Instant::now();
    for step in 0..steps {
        if env("STEPS").is_none() && begun.elapsed() > TIME_MAX && run.met_all() {
            break;
        }
        run.step(step);
    }
    run.finish();
    run.counts.staged = run.pair.rig.faults.calls(Step::Stage);
    std::mem::forget(print_seed);
    run.counts
}

/// Dropped only when the run panics.
struct PrintSeed<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for PrintSeed<'_> {
    #[allow(clippy::print_stderr, reason = "a failure prints its seed")]
    fn drop(&mut self) {
        eprintln!("{}: SEED={}", self.name, self.seed);
    }
}

impl Run {
    fn start(&mut self) {
        self.pair.run(&format!(
            "PRAGMA auto_vacuum = {};
             CREATE TABLE t(id INTEGER PRIMARY KEY, k INT, v);
             CREATE INDEX t_k ON t(k);
             CREATE TABLE w(a TEXT PRIMARY KEY, b) WITHOUT ROWID;
             CREATE VIRTUAL TABLE f USING fts5(a);",
            self.auto_vacuum
        ));
    }

    fn step(&mut self, step: u64) {
        let outage = self
            .random
            .one_in(25)
            .then(|| self.pair.rig.faults.outage(Step::Read, faulty_store::Fault::Unavailable));
        let sql = self.statement();
        let mut lost_read = false;
        match self.pair.run_faulty(&sql) {
            None => {}
            Some(Fault::CommitTooLarge { .. }) => self.counts.too_large += 1,
            Some(Fault::ScratchFull { .. }) => self.counts.scratch_full += 1,
            Some(Fault::Unavailable(_)) => {
                self.counts.lost_reads += 1;
                lost_read = true;
            }
            Some(other) => panic!("step {step}: {other:?} in {sql}"),
        }
        if outage.is_some() {
            // The statement may have found all it needs in the cache: fire it in any case.
            self.pair.rig.ask_store(&self.pair.session);
        }
        drop(outage);
        if lost_read && sql.contains(" f") {
            // A failed read in the middle of FTS5 leaves its memory wrong (the tables are right):
            // the same connection may call them malformed from then on.
            self.pair.reopen();
            self.pair.compare();
        }
        assert_eq!(
            self.pair.ours().connection().is_autocommit(),
            self.pair.plain().is_autocommit(),
            "step {step}: transaction state after {sql}"
        );
        // In a transaction near the limit even a read may be refused: it makes SQLite's cache
        // spill.
        let reads_are_safe = !self.small_commits || self.pair.ours().connection().is_autocommit();
        if self.random.one_in(60) && reads_are_safe {
            self.counts.compared += 1;
            let _stale = self.pair.ours().handle().take_fault();
            self.pair.compare();
        }
        if self.random.one_in(90) {
            self.counts.reopened += 1;
            self.pair.reopen();
            self.pair.compare();
        }
    }

    /// Whether what the run is about has happened: on a busy machine it takes longer.
    fn met_all(&self) -> bool {
        let Counts { too_large, lost_reads, reopened, compared, .. } = self.counts;
        let refused = !self.small_commits || too_large > 0;
        refused && lost_reads > 0 && reopened > 0 && compared > 0
    }

    fn finish(&mut self) {
        self.pair.reopen();
        self.pair.compare();
    }

    fn statement(&mut self) -> String {
        let r = &mut self.random;
        let id = r.below(600);
        let size = [10, 90, 900, 4_000, 30_000][usize::try_from(r.below(5)).unwrap()];
        match r.below(40) {
            0..=7 => format!(
                "INSERT OR REPLACE INTO t VALUES ({id}, {}, '{}')",
                r.below(50),
                text(r, size)
            ),
            8..=11 => format!(
                "UPDATE t SET v = '{}', k = k + 1 WHERE id % 97 = {}",
                text(r, size / 4 + 1),
                r.below(97)
            ),
            12..=13 => format!("UPDATE t SET k = k + 1 WHERE k = {}", r.below(50)),
            14..=15 => format!("DELETE FROM t WHERE id BETWEEN {id} AND {}", id + r.below(60)),
            16 => format!(
                "INSERT INTO t(id, k, v) SELECT id + 1, k, v FROM t WHERE k < {} ORDER BY id",
                r.below(10)
            ),
            17..=18 => format!("INSERT OR REPLACE INTO w VALUES ('{}', {id})", text(r, 40)),
            19 => format!("DELETE FROM w WHERE b % 7 = {}", r.below(7)),
            20 => format!("INSERT INTO f VALUES ('{} common word')", text(r, 12)),
            21 => format!("DELETE FROM f WHERE rowid % 5 = {}", r.below(5)),
            22 => "INSERT INTO f(f) VALUES ('optimize')".into(),
            23..=24 => "BEGIN".into(),
            25 => "BEGIN IMMEDIATE".into(),
            26..=27 => "COMMIT".into(),
            28 => "ROLLBACK".into(),
            29 => {
                self.savepoints += 1;
                format!("SAVEPOINT s{}", self.savepoints % 4)
            }
            30 => format!("ROLLBACK TO s{}", r.below(4)),
            31 => format!("RELEASE s{}", r.below(4)),
            32 => {
                self.tables += 1;
                format!("CREATE TABLE x{} AS SELECT k, v FROM t LIMIT 20", self.tables)
            }
            33 => format!("DROP TABLE IF EXISTS x{}", r.below(self.tables + 1)),
            // No ANALYZE: it visits tables in the order of a hash table, which a rollback changes.
            34 => ["VACUUM", "REINDEX"][usize::try_from(r.below(2)).unwrap()].into(),
            35 => format!("PRAGMA incremental_vacuum({})", r.below(20)),
            36 => {
                "SELECT a.v, b.v FROM t a JOIN t b ON a.k = b.k ORDER BY a.v || b.v LIMIT 5".into()
            }
            37 => "SELECT rowid FROM f WHERE f MATCH 'common' ORDER BY rowid DESC LIMIT 9".into(),
            38 => "CREATE TEMP TABLE IF NOT EXISTS tt AS SELECT * FROM t".into(),
            _ => "DROP TABLE IF EXISTS tt".into(),
        }
    }
}

/// Letters that do not compress to the same page twice.
fn text(random: &mut Random, bytes: u64) -> String {
    (0..bytes).map(|_| char::from(b'a' + u8::try_from(random.below(26)).unwrap())).collect()
}

#[test]
fn random_sql_gives_what_plain_sqlite_gives() {
    let counts = fuzz("no auto_vacuum", 1, 0, 100_000);
    assert!(counts.compared > 0 && counts.reopened > 0, "{counts:?}");
}

#[test]
fn random_sql_with_full_auto_vacuum() {
    let counts = fuzz("auto_vacuum full", 2, 1, 100_000);
    assert!(counts.compared > 0 && counts.reopened > 0, "{counts:?}");
}

#[test]
fn random_sql_with_incremental_auto_vacuum() {
    let counts = fuzz("auto_vacuum incremental", 3, 2, 100_000);
    assert!(counts.compared > 0 && counts.reopened > 0, "{counts:?}");
}

/// Commits of more than 60 pages are refused, early or at the sync.
#[test]
fn random_sql_with_refused_commits() {
    for auto_vacuum in [0, 2] {
        let counts = fuzz("refused commits", 4 + auto_vacuum, auto_vacuum, 60);
        assert!(counts.too_large > 0 && counts.lost_reads > 0, "{counts:?}");
    }
}

/// Steps of a few pages: most transactions go through a file and are staged.
#[test]
fn random_sql_with_staged_commits() {
    for (seed, auto_vacuum, step_pages) in [(7, 0, 5), (8, 1, 1), (9, 2, 12)] {
        let counts = fuzz_in_steps("staged commits", seed, auto_vacuum, 100_000, step_pages);
        assert!(counts.staged > 50 && counts.compared > 0 && counts.reopened > 0, "{counts:?}");
    }
}

/// Staged and refused ones side by side.
#[test]
fn random_sql_with_staged_and_refused_commits() {
    let counts = fuzz_in_steps("staged and refused commits", 10, 2, 60, 9);
    assert!(counts.staged > 50 && counts.too_large > 0, "{counts:?}");
}
