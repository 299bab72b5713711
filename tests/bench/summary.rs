//! The figures: collected, printed, written as one flat JSON object.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Map, Value};

/// Named numbers in the order they were measured.
#[derive(Default)]
pub struct Summary {
    figures: Map<String, Value>,
}

impl Summary {
    /// Adds a figure and prints it with what it was made from.
    pub fn add(&mut self, name: &str, value: f64, made_from: &str) {
        let rounded = (value * 1000.0).round() / 1000.0;
        say(&format!("{name:42} {rounded:>12}   {made_from}"));
        self.figures.insert(name.to_owned(), rounded.into());
    }

    /// Writes `target/bench/<file>`. Figures of an earlier run that this one did not measure are not
    /// kept: a file never mixes runs.
    pub fn write(self, file: &str) -> anyhow::Result<()> {
        let dir = figures_dir();
        std::fs::create_dir_all(&dir)?;
        let path = dir.join(file);
        std::fs::write(&path, serde_json::to_string_pretty(&Value::Object(self.figures))? + "\n")?;
        say(&format!("written to {}", path.display()));
        Ok(())
    }
}

/// One line to the terminal.
pub fn say(line: &str) {
    let mut text = String::new();
    // Writing to a string and to a terminal that has gone away: neither is worth failing for.
    let _ = writeln!(text, "{line}");
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Value below which `share` of all lie.
pub fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = (0..=last).find(|i| *i as f64 >= share * last as f64).unwrap_or(last);
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// Where figures and their report are written.
pub fn figures_dir() -> PathBuf {
    target_dir().join("bench")
}

/// Where cargo builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}
