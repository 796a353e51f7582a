//! What the system knows of this process.

use std::time::Duration;

/// The length of a tick of `/proc/self/stat`: 1/100 s, whatever the kernel's own ticks are.
const TICK: Duration = Duration::from_millis(10);
/// The bytes of a page where the system does not say: of all processors that Weir is built for.
const PAGE_BYTES: u64 = 4096;

/// What it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time of all threads, by programs and by the kernel for them.
    pub cpu: Duration,
    /// Memory that is in use.
    pub resident_bytes: u64,
    /// Open files and sockets.
    pub files: u64,
}

/// What it uses now; nothing where `/proc` is not mounted.
pub fn usage() -> Usage {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let (cpu, resident_pages) = of_stat(&stat).unwrap_or_default();
    Usage { cpu, resident_bytes: resident_pages * page_bytes(), files }
}

fn page_bytes() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(PAGE_BYTES)
}

/// The processor time and the resident pages in a line of `/proc/PID/stat`, whose second field may hold anything in parentheses.
fn of_stat(stat: &str) -> Option<(Duration, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = number(11)? + number(12)?;
    Some((TICK * u32::try_from(ticks).unwrap_or(u32::MAX), number(21)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_process_is_called() {
        let line =
            "7 (a) b (c) R 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 8 0 100 5000000 1234 18446744073709551615";
        assert_eq!(of_stat(line), Some((Duration::from_secs(3), 1234)));
        assert_eq!(of_stat("nonsense"), None);
        let usage = usage();
        assert!(usage.resident_bytes > 1 << 20 && usage.files > 2, "{usage:?}");
    }
}
