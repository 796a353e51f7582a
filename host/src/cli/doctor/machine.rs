//! What the machine has: room, files, and a clock.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Source};
use crate::record::Timestamp;
use crate::sink::lines::push_timestamp;

/// Less room than this is soon gone: the store's journal alone takes up to half of it.
const FREE_BYTES_POOR: u64 = 1 << 30;
/// With less than this nothing can be committed.
const FREE_BYTES_BAD: u64 = 64 << 20;
/// Fewer free entries of the file system than this are soon gone.
const FREE_FILES_POOR: u64 = 10_000;
/// The files that the store, its journal, plugins and the program have open, at most.
const FILES_OF_STORE: u64 = 512;
/// Files and sockets for each pipeline and sink.
const FILES_EACH: u64 = 16;
/// A file may be so much newer than now: file systems and clocks have their own idea of it.
const CLOCK_SLACK: Duration = Duration::from_secs(60);
/// Before this time no Weir was made, in milliseconds: a clock that says so was never set. 2025-01-01.
const EPOCH_MS: i64 = 1_735_689_600_000;

/// Whether there is a data directory that can be written to, or can be made.
pub fn directory(data: &Path) -> Finding {
    const NAME: &str = "data directory";
    let there = nearest(data);
    let probe = there.join(format!(".weir-doctor-{}", std::process::id()));
    let written = std::fs::File::create(&probe).and_then(|mut file| {
        file.write_all(b"probe")?;
        file.sync_all()
    });
    // What was not made cannot be removed.
    let _ = std::fs::remove_file(&probe);
    match written {
        Ok(()) if there == data => Finding::good(NAME, format!("{} can be written to", data.display())),
        Ok(()) => Finding::good(NAME, format!("{} does not exist and can be made", data.display())),
        Err(error) => {
            let advice = format!("give the user that runs Weir the right to write to {}", there.display());
            Finding::bad(NAME, format!("{}: {error}", there.display()), advice)
        }
    }
}

/// The directory, or the nearest above it that exists.
fn nearest(data: &Path) -> PathBuf {
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
    if data.is_dir() {
        return data.to_path_buf();
    }
    absolute.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_path_buf()
}

/// The room that is left where the data is kept.
pub fn space(data: &Path) -> Vec<Finding> {
    let there = nearest(data);
    let Ok(of) = rustix::fs::statvfs(&there) else { return Vec::new() };
    let free = of.f_bavail.saturating_mul(of.f_frsize);
    let found = format!("{} MiB free at {}", free >> 20, there.display());
    let advice = "make room, lower `retention` of streams, or move `data` to another disk";
    let room = match free {
        free if free < FREE_BYTES_BAD => Finding::bad("disk", found, advice),
        free if free < FREE_BYTES_POOR => Finding::poor("disk", found, advice),
        _ => Finding::good("disk", found),
    };
    // Some file systems count none.
    let files = (of.f_files > 0 && of.f_favail < FREE_FILES_POOR).then(|| {
        let found = format!("{} of {} inodes are free", of.f_favail, of.f_files);
        Finding::poor("inodes", found, "remove small files there, or move `data` to another file system")
    });
    [room].into_iter().chain(files).collect()
}

/// Whether the clock can be right: it was set, and did not go back behind what was written.
pub fn clock(data: &Path) -> Vec<Finding> {
    let now = SystemClock.now();
    let advice = "let NTP set the clock: retention goes by it, and syslog records that have no time get it";
    if now.0 < EPOCH_MS {
        return vec![Finding::bad("clock", format!("it says {}", shown(now)), advice)];
    }
    let now_since = Duration::from_millis(u64::try_from(now.0).unwrap_or(0));
    let written = std::fs::read_dir(data).into_iter().flatten().flatten();
    let newest = written.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max();
    let ahead = newest.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()?.checked_sub(now_since));
    match ahead.filter(|ahead| *ahead > CLOCK_SLACK) {
        None => vec![Finding::good("clock", format!("it says {}", shown(now)))],
        Some(ahead) => {
            let found =
                format!("it says {}, and files in the data directory are {} s newer", shown(now), ahead.as_secs());
            vec![Finding::poor("clock", found, advice)]
        }
    }
}

fn shown(time: Timestamp) -> String {
    let mut text = Vec::new();
    push_timestamp(&mut text, time);
    String::from_utf8_lossy(&text).trim_matches('"').to_owned()
}

/// Whether there may be as many open files as connections are configured.
pub fn files(config: &Config) -> Finding {
    let syslog = config.sources.values().map(|source| match source {
        Source::Syslog(syslog) => syslog.connections_max as u64,
        _ => FILES_EACH,
    });
    let http = config.http.as_ref().map_or(0, |http| http.connections_max as u64);
    let others = (config.pipelines.len() + config.sinks.len()) as u64 * FILES_EACH;
    let needed = FILES_OF_STORE + syslog.sum::<u64>() + http + others;
    let limit = getrlimit(Resource::Nofile).current;
    let found = format!(
        "{} open files are allowed, up to {needed} are needed",
        limit.map_or("any number of".into(), |n| n.to_string())
    );
    match limit {
        Some(limit) if limit < needed => {
            let advice = format!(
                "raise the limit: `ulimit -n {needed}`, or `LimitNOFILE={needed}` in a systemd unit; or lower `connections_max`"
            );
            Finding::bad("open files", found, advice)
        }
        _ => Finding::good("open files", found),
    }
}

/// What is kept of compiled plugins.
pub fn plugin_cache(config: &Config) -> Finding {
    const NAME: &str = "plugin cache";
    let cache = config.plugin_cache();
    let entries = match std::fs::read_dir(&cache) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Finding::good(NAME, "empty: plugins that are not stock are compiled at the first start");
        }
        Err(error) => {
            let advice = format!("remove {}: it is made again", cache.display());
            return Finding::bad(NAME, format!("{}: {error}", cache.display()), advice);
        }
    };
    let sizes: Vec<u64> = entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).collect();
    Finding::good(NAME, format!("{} files, {} MiB", sizes.len(), sizes.iter().sum::<u64>() >> 20))
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_made_is_bad() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(super::directory(directory.path()).health, Health::Good);
        assert!(super::directory(&directory.path().join("a/b")).found.ends_with("can be made"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let bad = super::directory(Path::new("/proc/weir-data"));
        assert_eq!(bad.health, Health::Bad);
        assert!(bad.advice.unwrap().contains("/proc"));
    }

    #[test]
    fn files_from_the_future_tell_of_a_clock_that_went_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(directory.path().join("journal")).unwrap();
        assert_eq!(clock(directory.path())[0].health, Health::Good);
        let now = file.metadata().unwrap().modified().unwrap();
        file.set_modified(now + Duration::from_secs(7200)).unwrap();
        let found = clock(directory.path()).remove(0);
        assert_eq!(found.health, Health::Poor);
        assert!(found.found.contains(" s newer"), "{found:?}");
    }
}
