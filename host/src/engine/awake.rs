//! How many actors may be awake at the same time, from the memory maps and the address space that
//! the system allows.
//!
//! Each awake actor holds memory maps, and address space where there is no pool. At the system's
//! limit even `malloc` can fail, and then the whole process aborts with every actor in it: so the
//! cap is computed at start, not found out.

use std::fmt;

/// Memory maps of one awake actor: two for its linear memory in the pool, and two for its stack.
/// Measured with 15,000 actors awake: 60,120 maps. The pool takes those of the stacks when it is
/// made, for all its slots.
pub const MAPS_PER_ACTOR: usize = 4;

/// Maps kept for everything else: libraries, threads, allocator, compiled code.
const MAPS_RESERVED: u64 = 5_000;

/// Address space of one awake actor without a pool: its stack, 6 MiB; its memory with room to grow,
/// and SQLite's. 12 MiB: more than the examples need; an actor whose guest takes more finds less
/// room.
const ADDRESS_SPACE_PER_ACTOR: u64 = 12 << 20;

/// Address space kept for everything else: stacks of threads, caches, compiled code. 1 GiB.
const ADDRESS_SPACE_RESERVED: u64 = 1 << 30;

/// Where Linux reports how many maps a process may have.
const MAP_COUNT_FILE: &str = "/proc/sys/vm/max_map_count";

/// Where Linux lists the maps of this process, one to a line.
const MAPS_FILE: &str = "/proc/self/maps";

/// The cap on awake actors, and the figures behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwakeCap {
    /// Actors that may be awake at the same time; at least 1.
    pub actors_max: usize,
    /// The number in the configuration.
    pub configured: usize,
    /// Maps that each actor takes.
    pub maps_per_actor: usize,
    /// Maps that the system allows this process to add; `None` if the system does not report it,
    /// and then nothing is capped.
    pub map_count_max: Option<u64>,
    /// Bytes of address space left to this process, where that is bounded; `None`: it is not.
    pub address_space_left: Option<u64>,
}

#[cfg(test)]
/// The cap for this machine, as a number, for a process that runs nothing else. An engine that was
/// made knows better: [`Engine::awake`](crate::engine::Engine::awake).
#[must_use]
pub fn actors_awake_max(configured: usize, maps_per_actor: usize) -> usize {
    AwakeCap::of_this_machine(configured, maps_per_actor).actors_max
}

impl AwakeCap {
    /// The cap for this machine.
    #[must_use]
    pub fn of_this_machine(configured: usize, maps_per_actor: usize) -> Self {
        Self::new(configured, maps_per_actor, map_count_max())
    }

    /// The cap for this process, with its present maps subtracted: several hosts in one process
    /// share what the system allows.
    #[must_use]
    pub fn of_this_process(configured: usize, maps_per_actor: usize) -> Self {
        let used = std::fs::read(MAPS_FILE).unwrap_or_default();
        let used = used.iter().filter(|byte| **byte == b'\n').count();
        let used = u64::try_from(used).unwrap_or(u64::MAX);
        let free = map_count_max().map(|maps| maps.saturating_sub(used));
        Self::new(configured, maps_per_actor, free)
    }

    /// The cap for a system that allows `map_count_max` maps.
    #[must_use]
    pub fn new(configured: usize, maps_per_actor: usize, map_count_max: Option<u64>) -> Self {
        let maps_per_actor = maps_per_actor.max(1);
        let possible = match map_count_max {
            Some(maps) => {
                let free =
                    usize::try_from(maps.saturating_sub(MAPS_RESERVED)).unwrap_or(usize::MAX);
                free / maps_per_actor
            }
            None => configured,
        };
        let actors_max = configured.min(possible).max(1);
        Self { actors_max, configured, maps_per_actor, map_count_max, address_space_left: None }
    }

    /// The cap where each actor takes address space of its own, of which so much is left. `None`:
    /// not even one actor has room.
    #[must_use]
    pub fn within(self, left: Option<u64>) -> Option<Self> {
        let Some(bytes) = left else { return Some(self) };
        let possible = bytes.saturating_sub(ADDRESS_SPACE_RESERVED) / ADDRESS_SPACE_PER_ACTOR;
        let possible = usize::try_from(possible).unwrap_or(usize::MAX);
        let actors_max = self.actors_max.min(possible);
        let address_space_left = (possible <= self.actors_max).then_some(bytes);
        (actors_max > 0).then_some(Self { actors_max, address_space_left, ..self })
    }

    /// The `vm.max_map_count` with which the configured number would be possible, if it is not.
    #[must_use]
    pub fn map_count_wanted(&self) -> Option<u64> {
        let is_why = self.actors_max < self.configured && self.address_space_left.is_none();
        is_why.then(|| {
            let actors = u64::try_from(self.configured).unwrap_or(u64::MAX);
            let maps = u64::try_from(self.maps_per_actor).unwrap_or(u64::MAX);
            actors.saturating_mul(maps).saturating_add(MAPS_RESERVED)
        })
    }
}

impl fmt::Display for AwakeCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} actors awake at once", self.actors_max)?;
        if let Some(left) = self.address_space_left {
            return write!(
                f,
                " ({} are configured, but each takes {} MiB of address space, and {} MiB are left: \
                 ulimit -v)",
                self.configured,
                ADDRESS_SPACE_PER_ACTOR >> 20,
                left >> 20
            );
        }
        if let (Some(wanted), Some(maps)) = (self.map_count_wanted(), self.map_count_max) {
            write!(
                f,
                " ({} are configured, but each takes {} memory maps and the system allows {maps}; \
                 raise it with `sysctl -w vm.max_map_count={wanted}`)",
                self.configured, self.maps_per_actor
            )?;
        }
        Ok(())
    }
}

/// The limit that the system reports; `None` if it does not.
fn map_count_max() -> Option<u64> {
    let text = std::fs::read_to_string(MAP_COUNT_FILE).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_count_lowers_the_cap() {
        let cap = AwakeCap::new(20_000, 4, Some(65_530));
        assert_eq!(cap.actors_max, 15_132);
        assert_eq!(cap.map_count_wanted(), Some(85_000));
        assert_eq!(
            cap.to_string(),
            "at most 15132 actors awake at once (20000 are configured, but each takes 4 memory \
             maps and the system allows 65530; raise it with `sysctl -w vm.max_map_count=85000`)"
        );
    }

    #[test]
    fn a_high_map_count_changes_nothing() {
        let cap = AwakeCap::new(20_000, 4, Some(262_144));
        assert_eq!((cap.actors_max, cap.map_count_wanted()), (20_000, None));
        assert_eq!(cap.to_string(), "at most 20000 actors awake at once");
        assert_eq!(AwakeCap::new(500, 4, None).actors_max, 500);
    }

    #[test]
    fn where_address_space_is_short_it_lowers_the_cap() {
        let cap = AwakeCap::new(20_000, 4, Some(65_530));
        assert_eq!(cap.within(None), Some(cap));
        assert_eq!(cap.within(Some(1 << 40)), Some(cap));
        let short = cap.within(Some(4 << 30)).expect("room for some");
        assert_eq!((short.actors_max, short.map_count_wanted()), (256, None));
        assert!(short.to_string().ends_with("and 4096 MiB are left: ulimit -v)"), "{short}");
        assert_eq!(cap.within(Some(ADDRESS_SPACE_RESERVED)), None);
    }

    #[test]
    fn at_least_one_actor_is_possible() {
        assert_eq!(AwakeCap::new(100, 4, Some(10)).actors_max, 1);
        assert_eq!(AwakeCap::new(0, 0, Some(0)).actors_max, 1);
    }

    #[test]
    fn this_machine_has_an_answer() {
        let cap = AwakeCap::of_this_machine(100, MAPS_PER_ACTOR);
        assert_eq!(actors_awake_max(100, MAPS_PER_ACTOR), cap.actors_max);
        assert!((1..=100).contains(&cap.actors_max));
        let here = AwakeCap::of_this_process(usize::MAX, MAPS_PER_ACTOR);
        assert!(here.actors_max < AwakeCap::of_this_machine(usize::MAX, MAPS_PER_ACTOR).actors_max);
    }
}
