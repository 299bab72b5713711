//! A good caller over HTTP beside others that send large bodies without pause: its p99 over its p99
//! alone, in turn.
//!
//! The attackers are a process of the idle scheduling class, as if they were on another machine: they
//! use what the program leaves of the cores.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};
use stockade_tests::program::{Caller, Program};

use crate::child;
use crate::stand::Stand;
use crate::summary::{Summary, median, quantile};

/// Connections of the attackers.
const CONNECTIONS: usize = 4;
/// Until each of the connections has sent its first bodies.
const WARM: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
/// What a body consists of, and how many bytes it tells: 4 MB in base64, 8 MB as an indented array of
/// numbers.
const FORMS: [(&str, usize); 2] = [("base64", 3_000_000), ("arrays", 1_000_000)];
const METHODS: [(&str, &str); 2] = [("bodies", "update"), ("bodies_read", "point")];

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let (dir, quick) = (stand.dir.path().join("bodies"), stand.quick);
    let figures = tokio::task::spawn_blocking(move || measure(&dir, quick)).await??;
    for (name, ratio, made_from) in figures {
        summary.add(&name, ratio, &made_from);
    }
    Ok(())
}

fn measure(dir: &Path, quick: bool) -> anyhow::Result<Vec<(String, f64, String)>> {
    let (rounds, lasting) =
        if quick { (1, Duration::from_millis(300)) } else { (3, Duration::from_secs(3)) };
    let program = Program::serve(dir)?;
    program.deploy("sql", &stockade_tests::guest("sqlite_bench")?)?;
    program.deploy("typed_all", &stockade_tests::guest("typed_all")?)?;
    let neighbour = Neighbour { caller: Caller::new(PATIENCE), listen: program.addresses().listen };
    neighbour.call("setup", &json!([crate::native::ROWS]))?;
    let mut figures = Vec::new();
    for (form, bytes) in FORMS {
        let mut measured = METHODS.map(|_| (Vec::new(), Vec::new()));
        for _ in 0..rounds {
            for ((_, method), (alone, _)) in METHODS.iter().zip(&mut measured) {
                alone.push(neighbour.p99_ms(method, lasting)?);
            }
            let attackers = Attackers::begin(&neighbour.listen, form, bytes)?;
            std::thread::sleep(WARM);
            for ((_, method), (_, attacked)) in METHODS.iter().zip(&mut measured) {
                attacked.push(neighbour.p99_ms(method, lasting)?);
            }
            attackers.end()?;
        }
        for ((name, method), (alone, attacked)) in METHODS.iter().zip(measured) {
            let ratios = attacked.iter().zip(&alone).map(|(with, without)| with / without);
            let ratio = median(ratios.collect());
            let made_from = format!(
                "`{method}` of one row beside {CONNECTIONS} senders of {form}: p99 {:.2} ms, {:.2} alone",
                median(attacked),
                median(alone)
            );
            figures.push((format!("hostile.{name}_p99_ratio_{form}"), ratio, made_from));
        }
    }
    program.stop()?;
    Ok(figures)
}

/// A good caller.
struct Neighbour {
    caller: Caller,
    listen: String,
}

impl Neighbour {
    fn call(&self, method: &str, arguments: &Json) -> anyhow::Result<()> {
        let reply = self.caller.call(&self.listen, "sql/neighbour", method, arguments)?;
        ensure!(reply.status == 200, "{method}: {reply:?}");
        Ok(())
    }

    /// Calls again and again. The 99th percentile in milliseconds.
    fn p99_ms(&self, method: &str, lasting: Duration) -> anyhow::Result<f64> {
        let (mut took, begun) = (Vec::new(), Instant::now());
        while begun.elapsed() < lasting {
            let asked = Instant::now();
            self.call(method, &json!([1]))?;
            took.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        Ok(quantile(took, 0.99))
    }
}

/// A process that sends bodies until it is ended.
struct Attackers(Child);

impl Attackers {
    fn begin(listen: &str, form: &str, bytes: usize) -> anyhow::Result<Self> {
        let errand = json!({ "errand": "bodies", "listen": listen, "form": form, "bytes": bytes });
        child::begin_idle(&errand).map(Self)
    }

    fn end(mut self) -> anyhow::Result<()> {
        ensure!(self.0.try_wait()?.is_none(), "the senders of bodies ended by themselves");
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

/// What the process of the attackers does. It ends only if a body is refused.
pub fn send(errand: &Json) -> anyhow::Result<Json> {
    let text = |name: &str| errand[name].as_str().context("an errand with a text");
    let listen = text("listen")?;
    let bytes = usize::try_from(child::count(errand, "bytes")?)?;
    let arguments = match text("form")? {
        "base64" => json!(["AAAA".repeat(bytes / 3)]),
        _ => json!([vec![65; bytes]]),
    };
    std::thread::scope(|scope| {
        let senders = (0..CONNECTIONS).map(|number| {
            let arguments = &arguments;
            scope.spawn(move || -> anyhow::Result<()> {
                let caller = Caller::new(PATIENCE);
                loop {
                    let actor = format!("typed_all/{number}");
                    let reply = caller.call(listen, &actor, "echo-bytes", arguments)?;
                    ensure!(reply.status == 200, "{}", reply.body);
                }
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        Ok(json!({}))
    })
}
