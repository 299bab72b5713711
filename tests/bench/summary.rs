//! Collects the figures, prints them, and writes them as one flat JSON object.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Map, Value};

/// The figures in the order of their measurement.
#[derive(Default)]
pub struct Summary {
    figures: Map<String, Value>,
}

impl Summary {
    /// Adds a figure, and prints it with `made_from`, a description of its parts.
    pub fn add(&mut self, name: &str, value: f64, made_from: &str) {
        let rounded = (value * 1000.0).round() / 1000.0;
        say(&format!("{name:42} {rounded:>12}   {made_from}"));
        self.figures.insert(name.to_owned(), rounded.into());
    }

    /// Writes `target/bench/<file>`, which then has figures of this run only.
    pub fn write(self, file: &str) -> anyhow::Result<()> {
        let dir = figures_dir();
        std::fs::create_dir_all(&dir)?;
        let path = dir.join(file);
        std::fs::write(&path, serde_json::to_string_pretty(&Value::Object(self.figures))? + "\n")?;
        say(&format!("written to {}", path.display()));
        Ok(())
    }
}

/// Prints one line.
pub fn say(line: &str) {
    let mut text = String::new();
    // A write to a string does not fail, and a closed terminal must not stop the bench.
    let _ = writeln!(text, "{line}");
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which `share` of all values are.
pub fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = (0..=last).find(|i| *i as f64 >= share * last as f64).unwrap_or(last);
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// The folder of the figures and their report.
pub fn figures_dir() -> PathBuf {
    target_dir().join("bench")
}

/// The target folder of cargo.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}
