//! `target/bench/report.html`: every figure of the last runs beside its goal. The page is made from
//! `summary.json` and `peers.json` alone, and needs no other file.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value};

/// The files from which the report is made.
const SOURCES: [&str; 2] = ["summary.json", "peers.json"];

/// The goal of a figure.
#[derive(Clone, Copy)]
enum Reach {
    AtMost(f64),
    AtLeast(f64),
}
use Reach::{AtLeast, AtMost};

/// The figures with a goal, in the order of the page. README.md beside this file says what each
/// counts.
const FIGURES: [(&str, Reach); 67] = [
    ("sql.point.guest_over_native", AtMost(0.5)),
    ("sql.point.guest_over_exclusive", AtMost(2.2)),
    ("sql.scan10k.guest_over_native", AtMost(1.0)),
    ("sql.update.guest_over_native", AtMost(0.6)),
    ("sql.update.guest_over_exclusive", AtMost(1.5)),
    ("sql.insert100k.guest_over_native", AtMost(1.25)),
    ("sql.insert100k.row_by_row_over_native", AtMost(2.5)),
    ("ingest.catalog_over_native", AtMost(1.2)),
    ("commit.sequential_over_fdatasync", AtMost(2.0)),
    ("commit.durable_over_fdatasync_rate", AtLeast(2.0)),
    ("call.actor_to_actor_over_embedded", AtMost(2.0)),
    ("alarm.late_ms_p99", AtMost(10.0)),
    ("alarm.per_s_over_durable", AtLeast(0.5)),
    ("message.per_s_over_durable", AtLeast(0.25)),
    ("http.write_over_workerd", AtLeast(4.0)),
    ("http.read_over_workerd", AtLeast(2.0)),
    ("http.write_p50_over_workerd", AtMost(0.7)),
    ("http.write_p99_over_workerd", AtMost(0.2)),
    ("actors.calls_over_workerd", AtLeast(2.0)),
    ("actors.alarms_over_workerd", AtLeast(2.0)),
    ("http.write_over_rivet", AtLeast(20.0)),
    ("wake.cold_ms_p50", AtMost(1.0)),
    ("wake.cold_over_workerd", AtMost(0.4)),
    ("wake.storm_per_s", AtLeast(4_000.0)),
    ("resident.kib_per_actor", AtMost(200.0)),
    ("host.idle_rss_mib", AtMost(30.0)),
    ("fatal.revoke_ms_p99", AtMost(100.0)),
    ("hostile.neighbour_p99_ratio_8_wasm", AtMost(4.0)),
    ("hostile.neighbour_p99_ratio_8_sql", AtMost(4.0)),
    ("hostile.neighbour_p99_ratio_128_wasm", AtMost(5.0)),
    ("hostile.neighbour_p99_ratio_128_sql", AtMost(5.0)),
    ("hostile.neighbour_read_p99_ratio_8_wasm", AtMost(4.0)),
    ("hostile.neighbour_read_p99_ratio_8_sql", AtMost(4.0)),
    ("hostile.neighbour_read_p99_ratio_128_wasm", AtMost(5.0)),
    ("hostile.neighbour_read_p99_ratio_128_sql", AtMost(5.0)),
    ("hostile.bodies_p99_ratio_base64", AtMost(3.0)),
    ("hostile.bodies_read_p99_ratio_base64", AtMost(3.0)),
    ("hostile.bodies_p99_ratio_arrays", AtMost(3.0)),
    ("hostile.bodies_read_p99_ratio_arrays", AtMost(3.0)),
    ("hostile.idle_cores_used_wasm", AtLeast(0.8)),
    ("hostile.idle_cores_used_sql", AtLeast(0.8)),
    ("hostile.fair_share_wasm", AtLeast(0.9)),
    ("hostile.fair_share_sql", AtLeast(0.9)),
    ("store.growth.commit_256mib_over_1mib", AtMost(1.5)),
    ("store.growth.wake_256mib_over_1mib", AtMost(1.5)),
    ("store.growth.commit_10000_over_100_actors", AtMost(1.5)),
    ("store.growth.wake_10000_over_100_actors", AtMost(1.5)),
    ("store.growth.wake_again_10000_over_100_actors", AtMost(1.5)),
    ("pg.commit_over_insert", AtLeast(1.2)),
    ("pg.commit_over_insert_1ms", AtLeast(1.2)),
    ("pg.sequential_over_insert_p50", AtMost(1.5)),
    ("pg.sequential_over_insert_p50_1ms", AtMost(1.5)),
    ("pg.wake_round_trips", AtMost(2.0)),
    ("pg.wake_round_trips_1ms", AtMost(2.0)),
    ("pg.wake_round_trips_slept_here", AtMost(1.0)),
    ("pg.wake_round_trips_slept_here_1ms", AtMost(1.0)),
    ("pg.cold_scan_round_trips", AtMost(40.0)),
    ("pg.cold_scan_round_trips_1ms", AtMost(40.0)),
    ("pg.wake_round_trips_two_primaries", AtMost(2.0)),
    ("pg.wake_round_trips_slept_here_two_primaries", AtMost(1.0)),
    ("pg.cold_scan_round_trips_two_primaries", AtMost(40.0)),
    ("pg.bytes_per_page_byte", AtMost(4.0)),
    ("remote.commit_over_embedded", AtLeast(0.5)),
    ("remote.sequential_over_embedded_p50", AtMost(1.5)),
    ("remote.wake_round_trips", AtMost(3.0)),
    ("remote.wake_round_trips_slept_here", AtMost(1.0)),
    ("remote.cold_scan_round_trips", AtMost(40.0)),
];

/// Half the width of the column of bars, in pixels, and the factor of the goal that it stands for.
const HALF: f64 = 110.0;
const HALF_TIMES: f64 = 16.0;

/// Writes the report of the figures in `dir`.
pub fn write(dir: &Path) -> anyhow::Result<()> {
    let mut figures = Map::new();
    for source in SOURCES {
        // One of the two benches may not have run yet: the page says how many figures are missing.
        let Ok(text) = std::fs::read_to_string(dir.join(source)) else { continue };
        let read: Map<String, Value> =
            serde_json::from_str(&text).with_context(|| format!("read {source}"))?;
        figures.extend(read);
    }
    std::fs::write(dir.join("report.html"), page(&figures)).context("write report.html")
}

/// The HTML of the page.
pub fn page(figures: &Map<String, Value>) -> String {
    let mut rows = String::new();
    for (name, reach) in FIGURES {
        rows.push_str(&row(name, reach, figures.get(name).and_then(Value::as_f64)));
    }
    let values = FIGURES.iter().filter_map(|(name, reach)| {
        figures.get(*name).and_then(Value::as_f64).map(|value| reach.beyond(value))
    });
    let (measured, met) = (values.clone().count(), values.filter(|beyond| *beyond >= 1.0).count());
    let missing = FIGURES.len() - measured;
    let mut others = String::new();
    for (name, value) in figures {
        if FIGURES.iter().all(|(known, _)| known != name) {
            let (name, value) = (escaped(name), escaped(&value.to_string()));
            // A write to a string does not fail.
            let _ = writeln!(others, "<tr><td>{name}</td><td class=n>{value}</td></tr>");
        }
    }
    format!(
        "<!doctype html>\n<html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>Stockade: figures</title>\n\
         <style>{STYLE}</style>\n<h1>Stockade: figures</h1>\n\
         <p>{met} of {measured} reach their goal; {missing} were not measured. A bar to the right \
         is better than the goal, a bar to the left is short of it; from each line to the next is \
         a factor of two. Made by <code>make bench</code> and <code>make bench-peers</code>. \
         <code>tests/bench/README.md</code> says what each figure counts, and how both sides are \
         set.</p>\n\
         <table><tr><th>figure<th class=n>measured<th class=n>goal<th>short of it | better<th>met\
         </tr>\n{rows}\
         </table>\n<h2>Other figures</h2>\n<table><tr><th>figure<th class=n>measured</tr>\n\
         {others}</table>\n</html>\n"
    )
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
    padding:0 1rem;color:#1c2530}table{border-collapse:collapse;width:100%}\
    td,th{padding:.2rem .6rem;border-bottom:1px solid #e3e8ee;text-align:left}\
    td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.yes{color:#16703c}.no{color:#b3261e}\
    .none{color:#77808c}h2{margin-top:2.5rem}code{font-size:.9em}";

fn row(name: &str, reach: Reach, value: Option<f64>) -> String {
    let (class, verdict) = match value {
        None => ("none", "not measured"),
        Some(value) if reach.beyond(value) >= 1.0 => ("yes", "yes"),
        Some(_) => ("no", "no"),
    };
    let measured = value.map_or(String::new(), |value| value.to_string());
    let bar = value.map_or(String::new(), |value| bar(reach.beyond(value)));
    format!(
        "<tr><td>{}</td><td class=n>{measured}</td><td class=n>{}</td><td>{bar}</td>\
         <td class={class}>{verdict}</td></tr>\n",
        escaped(name),
        reach.text()
    )
}

impl Reach {
    /// How many times better than the goal: 1 is the goal itself, less is short of it.
    fn beyond(self, value: f64) -> f64 {
        match self {
            AtMost(most) => most / value,
            AtLeast(least) => value / least,
        }
    }

    fn text(self) -> String {
        match self {
            AtMost(most) => format!("&le; {most}"),
            AtLeast(least) => format!("&ge; {least}"),
        }
    }
}

/// A bar from the middle, which is the goal. Its length is the logarithm of the factor.
fn bar(beyond: f64) -> String {
    let unit = HALF / HALF_TIMES.log2();
    let length = (beyond.log2() * unit).clamp(-HALF, HALF);
    let (from, colour) = if length < 0.0 { (HALF + length, "#d96a62") } else { (HALF, "#4aa673") };
    let mut svg = format!("<svg width={} height=16 role=img>", HALF * 2.0);
    for step in [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0_f64] {
        let x = HALF + step * unit;
        let _ = write!(svg, "<path d=\"M{x} 0v16\" stroke=\"#e3e8ee\"/>");
    }
    let length = length.abs();
    let _ = write!(
        svg,
        "<rect x={from:.1} y=3 width={length:.1} height=10 fill=\"{colour}\"/>\
         <path d=\"M{HALF} 0v16\" stroke=\"#1c2530\"/></svg>"
    );
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
