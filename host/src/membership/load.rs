//! How busy this process is: actors awake, memory of guests, and its use of the cores in the last
//! seconds.

use std::fs;
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::store::NodeLoad;
use tokio::time::Instant;

/// Ticks of a second in which the kernel counts processor time: `USER_HZ`, 100 on all machines that
/// Linux runs this program on.
const TICKS_PER_S: u64 = 100;
/// The shortest time over which the use of the cores is measured. 1 s: a hundred ticks of a core.
const MEASURED_OVER: Duration = Duration::from_secs(1);

/// Measures the load of this process.
pub struct Gauge {
    /// What may be awake, and the memory of guests: everything but the use of the cores.
    held: Box<dyn Fn() -> NodeLoad + Send + Sync>,
    /// `None`: the use of the cores is not measured.
    cores: Option<u64>,
    cpu: Mutex<Cpu>,
}

/// The use of the cores since it was last measured.
#[derive(Default)]
struct Cpu {
    last: Option<(Instant, u64)>,
    permille: u64,
}

impl Gauge {
    /// A gauge that takes all but the use of the cores from `held`. `cores`: how many there are;
    /// `None`: their use counts as none.
    pub fn new(held: impl Fn() -> NodeLoad + Send + Sync + 'static, cores: Option<usize>) -> Self {
        let cores = cores.map(|cores| u64::try_from(cores).unwrap_or(u64::MAX).max(1));
        Self { held: Box::new(held), cores, cpu: Mutex::default() }
    }

    /// The load now.
    #[must_use]
    pub fn load(&self) -> NodeLoad {
        let cpu_permille = self.cores.map_or(0, |cores| self.cpu(cores));
        NodeLoad { cpu_permille, ..(self.held)() }
    }

    fn cpu(&self, cores: u64) -> u64 {
        let mut cpu = self.cpu.lock();
        let now = Instant::now();
        let due = cpu.last.is_none_or(|(at, _)| now - at >= MEASURED_OVER);
        if due
            && let Some(ticks) = ticks(&fs::read_to_string("/proc/self/stat").unwrap_or_default())
        {
            if let Some((at, before)) = cpu.last {
                cpu.permille = permille(ticks.saturating_sub(before), now - at, cores);
            }
            cpu.last = Some((now, ticks));
        }
        cpu.permille
    }
}

/// Thousandths of all cores that so many ticks in this time are.
fn permille(ticks: u64, over: Duration, cores: u64) -> u64 {
    let used_ms = u128::from(ticks) * 1000 / u128::from(TICKS_PER_S);
    let had_ms = over.as_millis().max(1) * u128::from(cores);
    u64::try_from(used_ms * 1000 / had_ms).unwrap_or(u64::MAX).min(1000)
}

/// Processor time of a process, user and system, as `/proc/self/stat` has it. The name of the
/// program stands in parentheses and may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user.saturating_add(system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 120 30 0 0 20 0 4 0 99 1 1";
        assert_eq!(ticks(stat), Some(150));
        assert_eq!(ticks("7 (a) S 1"), None);
        let own = fs::read_to_string("/proc/self/stat").expect("Linux says");
        assert!(ticks(&own).is_some());
    }

    #[test]
    fn the_use_of_the_cores_is_a_part_of_all_of_them() {
        let second = Duration::from_secs(1);
        assert_eq!(permille(100, second, 1), 1000);
        assert_eq!(permille(100, second, 4), 250);
        assert_eq!(permille(100, second * 2, 2), 250);
        assert_eq!(permille(500, second, 1), 1000, "ticks are coarse");
    }

    #[test]
    fn work_shows_after_a_second() {
        let gauge = Gauge::new(NodeLoad::default, Some(1));
        assert_eq!(gauge.load().cpu_permille, 0);
        // As if the last measurement was a while ago.
        let ago = Instant::now().checked_sub(MEASURED_OVER * 2).expect("later");
        gauge.cpu.lock().last = Some((ago, 0));
        let mut sum = 0_u64;
        while ticks(&fs::read_to_string("/proc/self/stat").expect("Linux says")) == Some(0) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(gauge.load().cpu_permille > 0);
        let idle = Gauge::new(NodeLoad::default, None);
        assert_eq!(idle.load(), NodeLoad::default());
    }
}
