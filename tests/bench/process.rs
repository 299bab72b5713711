//! The CPU time of a process, from the system's files.

use anyhow::Context;

/// Microseconds of CPU time, user and system, that a process has used: fields 14 and 15 of its
/// `stat`, in hundredths of a second.
pub fn cpu_us(process: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // They are the 12th and 13th fields behind the name, which may contain spaces.
    let (_, fields) = stat.rsplit_once(')').context("the end of a program's name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).context("a field")?.parse::<f64>().context("ticks");
    Ok((ticks(11)? + ticks(12)?) * 10_000.0)
}
