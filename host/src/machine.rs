//! The memory of the machine, or of the control group that this process is in.

use std::fs;
use std::path::{Path, PathBuf};

const MEMINFO: &str = "/proc/meminfo";
const CGROUP: &str = "/proc/self/cgroup";
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Amounts of memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Total memory.
    pub total: u64,
    /// Memory that can be used without swapping.
    pub available: u64,
}

/// The smallest of the machine and of each group around this process, by available memory and by
/// total. `None` if the system reports none.
#[must_use]
pub(crate) fn memory() -> Option<Memory> {
    let machine = of_meminfo(&fs::read_to_string(MEMINFO).ok()?)?;
    let groups = fs::read_to_string(CGROUP).unwrap_or_default();
    let least = |least: Memory, group: Memory| Memory {
        total: least.total.min(group.total),
        available: least.available.min(group.available),
    };
    Some(
        groups_of(&groups, Path::new(CGROUP_ROOT))
            .filter_map(|dir| of_group(&dir))
            .fold(machine, least),
    )
}

fn of_meminfo(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = rest.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
        Some(kib.saturating_mul(1024))
    };
    Some(Memory { total: field("MemTotal")?, available: field("MemAvailable")? })
}

/// The directory of this process's group and of those around it: of version 2, or of the memory
/// controller of version 1.
fn groups_of(text: &str, root: &Path) -> impl Iterator<Item = PathBuf> {
    let named = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let path = path.trim_start_matches('/');
        match controllers {
            "" => Some((root.to_owned(), root.join(path))),
            _ if controllers.split(',').any(|name| name == "memory") => {
                let root = root.join("memory");
                Some((root.clone(), root.join(path)))
            }
            _ => None,
        }
    });
    let all: Vec<_> = named
        .flat_map(|(root, own)| {
            let within = move |dir: &&Path| dir.starts_with(&root);
            own.ancestors().take_while(within).map(Path::to_owned).collect::<Vec<_>>()
        })
        .collect();
    all.into_iter()
}

/// A group that is bounded. Inactive page cache of the group counts as available.
fn of_group(dir: &Path) -> Option<Memory> {
    let number = |name: &str| fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok();
    let either = |new: &str, old: &str| number(new).or_else(|| number(old));
    let total = either("memory.max", "memory.limit_in_bytes")?;
    let current = either("memory.current", "memory.usage_in_bytes")?;
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let cached = ["inactive_file ", "total_inactive_file "].into_iter().find_map(|name| {
        stat.lines().find_map(|line| line.strip_prefix(name))?.trim().parse::<u64>().ok()
    });
    let used = current.saturating_sub(cached.unwrap_or(0));
    Some(Memory { total, available: total.saturating_sub(used) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kibibytes() {
        let text = "MemTotal:       2048 kB\nMemFree:  1 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(of_meminfo(text), Some(Memory { total: 2 << 20, available: 1 << 20 }));
        assert_eq!(of_meminfo("MemTotal: many"), None);
    }

    #[test]
    fn a_group_is_found_with_those_around_it() {
        let root = Path::new("/cg");
        let two: Vec<_> = groups_of("0::/a/b\n", root).collect();
        assert_eq!(two, ["/cg/a/b", "/cg/a", "/cg"].map(PathBuf::from));
        let one: Vec<_> = groups_of("3:cpu:/x\n2:memory,hugetlb:/y\n", root).collect();
        assert_eq!(one, ["/cg/memory/y", "/cg/memory"].map(PathBuf::from));
    }

    #[test]
    fn a_bounded_group_has_what_it_does_not_use_and_an_unbounded_one_says_nothing() {
        let dir = tempfile::tempdir().expect("directory");
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("writes");
        put("memory.current", "700\n");
        put("memory.stat", "anon 300\ninactive_file 200\n");
        put("memory.max", "max\n");
        assert_eq!(of_group(dir.path()), None);
        put("memory.max", "1000\n");
        assert_eq!(of_group(dir.path()), Some(Memory { total: 1000, available: 500 }));
    }

    #[test]
    fn this_machine_has_some() {
        let memory = memory().expect("Linux says");
        assert!(0 < memory.available && memory.available <= memory.total);
    }
}
