//! SQL from inside a guest beside the same SQL in rusqlite.

use std::time::Duration;

use serde_json::json;
use stockade::ActorId;

use crate::native::{Native, Sync};
use crate::stand::Stand;
use crate::summary::{Summary, median};

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    stand.deploy("sql", "sqlite_bench").await?;
    let actor = ActorId::new("sql", "one")?;
    stand.call(&actor, "setup", json!([crate::native::ROWS])).await?;
    let mut native = Native::open(&stand.dir.path().join("native.db"), Sync::Off)?;
    native.setup()?;

    for (name, method, count, unit) in [
        ("sql.point.guest_over_native", "point", stand.scaled(50_000), "us"),
        ("sql.scan10k.guest_over_native", "scan", stand.scaled(100), "us"),
        ("sql.update.guest_over_native", "update", stand.scaled(20_000), "us"),
        ("sql.insert100k.guest_over_native", "insert", stand.scaled(100_000), "us"),
    ] {
        let mut guest_us = Vec::new();
        let mut native_us = Vec::new();
        // One more round than counted: the first warms both sides.
        for round in 0..=stand.rounds() {
            if method == "insert" {
                stand.call(&actor, "clear", json!([])).await?;
            }
            let (guest, _) = stand.call(&actor, method, json!([count])).await?;
            let other = match method {
                "point" => native.point(count)?,
                "scan" => native.scan(count)?,
                "update" => native.update(count)?,
                _ => native.insert(count)?,
            };
            if round > 0 || stand.quick {
                guest_us.push(per_op(guest, count));
                native_us.push(per_op(other, count));
            }
        }
        let ratios = guest_us.iter().zip(&native_us).map(|(guest, native)| guest / native);
        let made_from = format!(
            "guest {:.2} {unit}, native {:.2} {unit} each",
            median(guest_us.clone()),
            median(native_us.clone())
        );
        summary.add(name, median(ratios.collect()), &made_from);
    }
    Ok(())
}

fn per_op(took: Duration, count: u32) -> f64 {
    took.as_secs_f64() * 1e6 / f64::from(count)
}
