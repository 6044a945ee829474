//! What the machine has: its memory, against which sizes are held before a run.

use std::fs;

/// Bytes of memory that this process may use: that of the machine or of its control group, whichever is less. `None`
/// where the system does not say so in files (it is not Linux).
pub fn memory() -> Option<u64> {
    let total = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        total.lines().find_map(|l| l.strip_prefix("MemTotal:"))?.split_whitespace().next()?.parse().ok()?;
    let limit = |path| fs::read_to_string(path).ok()?.trim().parse().ok();
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    Some(groups.into_iter().filter_map(limit).fold(kib.saturating_mul(1024), u64::min))
}

/// Bytes in words, such as `1.5 GiB`.
pub fn in_words(bytes: u64) -> String {
    let (size, unit) = match bytes {
        0..0x10_0000 => (bytes as f64 / 1024.0, "KiB"),
        0x10_0000..0x4000_0000 => (bytes as f64 / f64::from(1 << 20), "MiB"),
        _ => (bytes as f64 / f64::from(1 << 30), "GiB"),
    };
    format!("{size:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        assert_eq!(in_words(1536), "1.5 KiB");
        assert_eq!(in_words(3 << 29), "1.5 GiB");
    }

    #[test]
    fn some_memory_is_there_if_the_system_says_so() {
        assert!(memory().is_none_or(|m| m > 1 << 20));
    }
}
