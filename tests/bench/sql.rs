//! SQL inside a guest beside the same SQL in rusqlite.

use std::time::Duration;

use serde_json::json;
use stockade::ActorId;

use crate::native::{self, Settings};
use crate::stand::Stand;
use crate::summary::{Summary, median};

/// A native side: the figure of the comparison, and the native settings.
type Against = (&'static str, Settings);

/// One loop of the guest, and the native sides that it is compared with.
struct Workload {
    method: &'static str,
    count: u32,
    against: &'static [Against],
}

const WORKLOADS: [Workload; 5] = [
    Workload {
        method: "point",
        count: 50_000,
        against: &[
            ("sql.point.guest_over_native", ("Off", "Normal")),
            ("sql.point.guest_over_exclusive", ("Off", "Exclusive")),
        ],
    },
    Workload {
        method: "scan",
        count: 100,
        against: &[("sql.scan10k.guest_over_native", ("Off", "Normal"))],
    },
    Workload {
        method: "update",
        count: 20_000,
        against: &[
            ("sql.update.guest_over_native", ("Off", "Normal")),
            ("sql.update.guest_over_exclusive", ("Off", "Exclusive")),
        ],
    },
    Workload {
        method: "insert",
        count: 100_000,
        against: &[("sql.insert100k.guest_over_native", ("Full", "Normal"))],
    },
    Workload {
        method: "insert-one-by-one",
        count: 100_000,
        against: &[("sql.insert100k.row_by_row_over_native", ("Full", "Normal"))],
    },
];

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    stand.deploy("sql", "sqlite_bench").await?;
    let actor = ActorId::new("sql", "one")?;
    stand.call(&actor, "setup", json!([native::ROWS])).await?;
    for Workload { method, count, against } in WORKLOADS {
        let count = stand.scaled(count);
        let mut sides: Vec<Vec<f64>> = vec![Vec::new(); against.len()];
        let mut guest_us = Vec::new();
        // One round more than are counted: the first round warms the guest.
        for round in 0..=stand.rounds() {
            let counted = round > 0 || stand.quick;
            stand.call(&actor, "clear", json!([])).await?;
            let (guest, _) = stand.call(&actor, method, json!([count])).await?;
            if counted {
                guest_us.push(per_op(guest, count));
            }
            for ((name, settings), native_us) in against.iter().zip(&mut sides) {
                if counted {
                    let path = stand.dir.path().join(format!("{name}.db"));
                    let took = native::seconds(&path, *settings, method, count)?;
                    native_us.push(took * 1e6 / f64::from(count));
                }
            }
        }
        for ((name, _), native_us) in against.iter().zip(sides) {
            let ratios = guest_us.iter().zip(&native_us).map(|(guest, native)| guest / native);
            let made_from = format!(
                "guest {:.2} us, native {:.2} us each",
                median(guest_us.clone()),
                median(native_us.clone())
            );
            summary.add(name, median(ratios.collect()), &made_from);
        }
    }
    Ok(())
}

fn per_op(took: Duration, count: u32) -> f64 {
    took.as_secs_f64() * 1e6 / f64::from(count)
}
