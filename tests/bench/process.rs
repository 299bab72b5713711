//! What the system knows of a process, for every bench.

use anyhow::Context;

/// Microseconds of CPU, user and system, that a process has used: fields 14 and 15 of its `stat`, in
/// hundredths of a second.
pub fn cpu_us(process: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may have spaces, they are the 12th and 13th.
    let (_, fields) = stat.rsplit_once(')').context("the end of a program's name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).context("a field")?.parse::<f64>().context("ticks");
    Ok((ticks(11)? + ticks(12)?) * 10_000.0)
}
