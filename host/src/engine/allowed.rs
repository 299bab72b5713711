//! The limits that the system sets for this process (`ulimit`).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where Linux reports the limits of this process.
const LIMITS_FILE: &str = "/proc/self/limits";
/// Where Linux reports the address space of this process, in pages.
const SIZES_FILE: &str = "/proc/self/statm";
/// Where Linux lists the open descriptors of this process.
const DESCRIPTORS_DIR: &str = "/proc/self/fd";
/// Bytes of those pages. 4 KiB everywhere except on some ARM machines, where the count is too low.
const SYSTEM_PAGE_BYTES: u64 = 4096;

/// Bytes of address space that are left to this process (`ulimit -v`); `None`: no bound.
#[must_use]
pub fn address_space_left() -> Option<u64> {
    let max = limit("Max address space")?;
    let sizes = std::fs::read_to_string(SIZES_FILE).unwrap_or_default();
    let pages: u64 = sizes.split_ascii_whitespace().next()?.parse().ok()?;
    Some(max.saturating_sub(pages.saturating_mul(SYSTEM_PAGE_BYTES)))
}

/// The greatest size of a file that this process writes (`ulimit -f`), in bytes; `None`: no bound.
#[must_use]
pub fn file_bytes_max() -> Option<u64> {
    limit("Max file size")
}

/// Raises the number of descriptors to the greatest that the system allows (`ulimit -n`).
pub fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // If the system refuses, the limit stays as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Descriptors that this process may have open.
#[must_use]
pub fn descriptors_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Descriptors that this process has open.
#[must_use]
pub fn descriptors_open() -> u64 {
    std::fs::read_dir(DESCRIPTORS_DIR).map_or(0, |open| open.count() as u64)
}

fn limit(name: &str) -> Option<u64> {
    soft(&std::fs::read_to_string(LIMITS_FILE).ok()?, name)
}

/// The soft limit of that name.
fn soft(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_or_none() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max file size             1048576              unlimited            bytes     \n\
                    Max address space         unlimited            unlimited            bytes     \n";
        assert_eq!(soft(text, "Max file size"), Some(1 << 20));
        assert_eq!(soft(text, "Max address space"), None);
        assert_eq!(soft(text, "Max cpu time"), None);
        let here = std::fs::read_to_string(LIMITS_FILE).expect("needs Linux");
        assert!(here.contains("Max file size") && here.contains("Max address space"));
    }
}
