//! A generator of auth logs as a few Linux hosts write them, with bursts of attacks: something to try Weir on.
//!
//! Every record follows from the seed and its number alone, so the source can be read again from any position, and the
//! same seed gives the same records on every machine. Addresses are those reserved for documentation (RFC 5737). Every
//! third host writes RFC 5424, the others RFC 3164.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{BATCH_RECORDS_MAX, Chunk, Error, Mode, Reader};
use crate::clock::Clock;
use crate::config::DemoSource;
use crate::record::{Batch, Offset, Position, Record, Timestamp};

/// Records that make an episode: minutes of ordinary life, or an attack from one address.
const EPISODE: u64 = 50;
/// Records that tell one small story in ordinary life: a login, a command, a job.
const STORY: u64 = 5;
/// Of so many episodes one is an attack.
const ATTACK_EVERY: u64 = 4;
/// The time between two records where no rate is set, in milliseconds.
const STEP_MS: f64 = 10.0;
/// How long records are gathered where a rate is set, so that a low rate costs no more commits than it must.
const GATHER: Duration = Duration::from_millis(100);

const HOSTS: [&str; 6] = ["gate", "web-1", "web-2", "db-1", "mail", "build"];
const USERS: [&str; 8] = ["anna", "ben", "carla", "deploy", "emil", "fatima", "greta", "hugo"];
const GUESSES: [&str; 12] = [
    "admin",
    "test",
    "oracle",
    "guest",
    "ubuntu",
    "pi",
    "ftpuser",
    "postgres",
    "git",
    "webmaster",
    "support",
    "nagios",
];
const COMMANDS: [&str; 4] = [
    "/usr/bin/systemctl restart app",
    "/usr/bin/apt-get update",
    "/usr/bin/journalctl -u app",
    "/usr/bin/tail -f /var/log/app.log",
];
const JOBS: [&str; 3] =
    ["/usr/local/bin/backup --quick", "test -x /usr/sbin/anacron || run-parts /etc/cron.daily", "/usr/lib/app/rotate"];

/// Syslog priorities: facility authpriv (10) or cron (9), severity info (6), notice (5) or warning (4).
const AUTH_INFO: u8 = 10 * 8 + 6;
const AUTH_NOTICE: u8 = 10 * 8 + 5;
const AUTH_WARNING: u8 = 10 * 8 + 4;
const CRON_INFO: u8 = 9 * 8 + 6;

/// The generator at a place in its sequence.
pub struct DemoReader {
    source: Arc<str>,
    seed: u64,
    rate: Option<u32>,
    count: u64,
    start: Timestamp,
    next: u64,
    /// When, and at which record, this reader began: what the rate is counted from.
    began: Option<(Instant, u64)>,
}

impl DemoReader {
    /// Opens the generator at a committed position, or at its first record. Fails where it is to be drained and has no
    /// end.
    pub fn open(
        name: &str,
        settings: &DemoSource,
        position: Option<&Position>,
        mode: Mode,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        if mode == Mode::Drain && settings.count.is_none() {
            let message = format!("source {name} never ends: set its `count`, or run without --once");
            return Err(Error::stop(message));
        }
        let (next, began_at) = match position {
            None => (0, clock.now()),
            Some(position) => decode(position).ok_or_else(|| {
                Error::stop(format!("source {name}: the committed position is not one of this source"))
            })?,
        };
        Ok(DemoReader {
            source: format!("{name}/{}", settings.seed).into(),
            seed: settings.seed,
            rate: settings.rate,
            count: settings.count.unwrap_or(u64::MAX),
            start: settings.start.unwrap_or(began_at),
            next,
            began: None,
        })
    }

    /// How many records may go now; waits until there is one.
    async fn allowed(&mut self) -> u64 {
        let Some(rate) = self.rate else { return BATCH_RECORDS_MAX as u64 };
        let (since, first) = *self.began.get_or_insert_with(|| (Instant::now(), self.next));
        let per_record = Duration::from_secs(1) / rate.max(1);
        let done = self.next - first;
        let due = since + per_record.mul_f64(done as f64) + GATHER.max(per_record);
        tokio::time::sleep_until(due).await;
        let by_now = (since.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        by_now.saturating_sub(done).clamp(1, BATCH_RECORDS_MAX as u64)
    }

    fn timestamp(&self, n: u64) -> Timestamp {
        let step_ms = self.rate.map_or(STEP_MS, |rate| 1_000.0 / f64::from(rate.max(1)));
        Timestamp(self.start.0.saturating_add((n as f64 * step_ms) as i64))
    }
}

#[async_trait]
impl Reader for DemoReader {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        if self.next >= self.count {
            return Ok(None);
        }
        let end = self.next.saturating_add(self.allowed().await).min(self.count);
        let mut records = Batch::with_capacity((end - self.next) as usize, 160 * (end - self.next) as usize);
        let mut line = String::new();
        for n in self.next..end {
            let timestamp = self.timestamp(n);
            line.clear();
            write_line(&mut line, self.seed, n, timestamp);
            records.push(&Record { offset: Offset(n), ..Record::of(line.as_bytes(), timestamp) });
        }
        self.next = end;
        Ok(Some(Chunk { source: self.source.clone(), records, position: encode(end, self.start) }))
    }
}

/// A position: the next record, and the time of the first one, so that a restart goes on with the same times.
fn encode(next: u64, start: Timestamp) -> Position {
    Position([next.to_le_bytes(), start.0.to_le_bytes()].concat())
}

fn decode(position: &Position) -> Option<(u64, Timestamp)> {
    let (next, start) = position.0.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*next), Timestamp(i64::from_le_bytes(start.try_into().ok()?))))
}

/// Choices that follow from a seed and a place.
struct Choices(u64);

impl Choices {
    fn of(seed: u64, what: u64, place: u64) -> Self {
        Choices(mix(seed ^ mix(what ^ mix(place))))
    }

    /// A number below `n`. The next one is another.
    fn below(&mut self, n: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % n.max(1)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.get(self.below(of.len() as u64) as usize).copied().unwrap_or_default()
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014) after its increment.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// One message: priority, program, process number, text.
struct Message {
    priority: u8,
    program: &'static str,
    pid: u64,
    text: String,
}

fn write_line(line: &mut String, seed: u64, n: u64, timestamp: Timestamp) {
    let episode = n / EPISODE;
    let mut choices = Choices::of(seed, 1, episode);
    let (host, message) = if choices.below(ATTACK_EVERY) == 0 {
        (choices.one(&HOSTS), attack(&mut choices, Choices::of(seed, 2, n), n))
    } else {
        let mut choices = Choices::of(seed, 3, n / STORY);
        (choices.one(&HOSTS), story(&mut choices, n % STORY))
    };
    let Message { priority, program, pid, text } = message;
    let time = jiff::Timestamp::from_millisecond(timestamp.0).unwrap_or_default();
    // Writing to a string cannot fail.
    let _ = if HOSTS.iter().position(|name| *name == host).is_some_and(|at| at % 3 == 2) {
        write!(line, "<{priority}>1 {time:.3} {host} {program} {pid} - - {text}")
    } else {
        let time = time.to_zoned(jiff::tz::TimeZone::UTC);
        write!(line, "<{priority}>{} {host} {program}[{pid}]: {text}", time.strftime("%b %e %H:%M:%S"))
    };
}

/// Somebody guesses passwords from one address.
fn attack(episode: &mut Choices, mut choices: Choices, n: u64) -> Message {
    let net = episode.one(&["192.0.2", "198.51.100", "203.0.113"]);
    let from = format!("{net}.{}", 1 + episode.below(254));
    let pid = 20_000 + episode.below(9_000) + n / 3 % 900;
    let port = 30_000 + choices.below(30_000);
    // The three messages of one try speak of the same name.
    let user = Choices::of(pid, 4, n / 3).one(&GUESSES);
    let (priority, text) = match n % 3 {
        0 => (AUTH_INFO, format!("Invalid user {user} from {from}")),
        1 => (AUTH_WARNING, format!("Failed password for invalid user {user} from {from} port {port} ssh2")),
        _ => (AUTH_INFO, format!("Connection closed by {from} port {port} [preauth]")),
    };
    Message { priority, program: "sshd", pid, text }
}

/// What happens on a host that nobody attacks.
fn story(choices: &mut Choices, line: u64) -> Message {
    let user = choices.one(&USERS);
    let pid = 1_000 + choices.below(30_000);
    let kind = choices.below(4);
    let from = format!("192.0.2.{}", 1 + choices.below(254));
    let port = 30_000 + choices.below(30_000);
    let session = choices.below(10_000);
    let (priority, program, text) = match (kind, line) {
        (0, 0) => (AUTH_INFO, "sshd", format!("Failed password for {user} from {from} port {port} ssh2")),
        (0 | 1, 0 | 1) => (
            AUTH_INFO,
            "sshd",
            format!("Accepted publickey for {user} from {from} port {port} ssh2: ED25519 SHA256:{:016x}", mix(session)),
        ),
        (0 | 1, 2) => (
            AUTH_INFO,
            "sshd",
            format!("pam_unix(sshd:session): session opened for user {user}(uid={}) by (uid=0)", 1_000 + session % 50),
        ),
        (0 | 1, 3) => (AUTH_INFO, "systemd-logind", format!("New session {session} of user {user}.")),
        (0 | 1, _) => {
            (AUTH_INFO, "sshd", format!("Received disconnect from {from} port {port}:11: disconnected by user"))
        }
        (2, 0) => (
            AUTH_NOTICE,
            "sudo",
            format!(
                "{user} : TTY=pts/{} ; PWD=/home/{user} ; USER=root ; COMMAND={}",
                session % 8,
                choices.one(&COMMANDS)
            ),
        ),
        (2, 1) => (
            AUTH_INFO,
            "sudo",
            format!(
                "pam_unix(sudo:session): session opened for user root(uid=0) by {user}(uid={})",
                1_000 + session % 50
            ),
        ),
        (2, 2) => (AUTH_INFO, "sudo", "pam_unix(sudo:session): session closed for user root".into()),
        (2, _) => {
            (AUTH_INFO, "systemd-logind", format!("Session {session} logged out. Waiting for processes to exit."))
        }
        (_, 0) => (CRON_INFO, "CRON", format!("(root) CMD ({})", choices.one(&JOBS))),
        (_, 1) => (AUTH_INFO, "CRON", "pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)".into()),
        (_, 2) => (AUTH_INFO, "CRON", "pam_unix(cron:session): session closed for user root".into()),
        (_, _) => (
            AUTH_NOTICE,
            "su",
            format!(
                "pam_unix(su-l:session): session opened for user {user}(uid={}) by root(uid=0)",
                1_000 + session % 50
            ),
        ),
    };
    Message { priority, program, pid, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn settings() -> DemoSource {
        DemoSource { seed: 1, rate: None, count: Some(2_500), start: Some(Timestamp(1_733_812_546_000)) }
    }

    async fn read(settings: &DemoSource, position: Option<&Position>) -> Vec<(u64, i64, String, Position)> {
        let mut reader = DemoReader::open("demo", settings, position, Mode::Drain, Arc::new(SystemClock)).unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            all.extend(chunk.records.iter().map(|record| {
                let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                (record.offset.0, record.timestamp.0, text, chunk.position.clone())
            }));
        }
        all
    }

    #[tokio::test]
    async fn the_same_seed_gives_the_same_records_from_any_position() {
        let all = read(&settings(), None).await;
        assert_eq!(all.len(), 2_500);
        assert_eq!(all, read(&settings(), None).await);
        let rest = read(&settings(), Some(&all[0].3)).await;
        assert_eq!(rest, all[1_000..]);
        let other = read(&DemoSource { seed: 2, ..settings() }, None).await;
        assert!(all.iter().zip(&other).filter(|(a, b)| a.2 == b.2).count() < 100);
    }

    #[tokio::test]
    async fn both_formats_and_attacks_are_there() {
        let all = read(&settings(), None).await;
        let share = |what: &str| all.iter().filter(|(_, _, text, _)| text.contains(what)).count();
        assert!((50..900).contains(&share("Invalid user")), "{}", share("Invalid user"));
        assert!(share("Accepted publickey") > 100);
        assert!((300..1_500).contains(&share(">1 2024-12-10T")), "{}", share(">1 2024-12-10T"));
        assert!(share("> ") == 0 && share(">Dec 10 06:") > 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept() {
        let settings = DemoSource { rate: Some(500), count: Some(2_000), ..settings() };
        let began = Instant::now();
        assert_eq!(read(&settings, None).await.len(), 2_000);
        let took = began.elapsed().as_secs_f64();
        assert!((3.9..4.4).contains(&took), "{took} s for 2,000 records at 500 a second");
    }

    #[test]
    fn a_generator_without_end_cannot_be_drained() {
        let settings = DemoSource { count: None, ..settings() };
        let refused = DemoReader::open("demo", &settings, None, Mode::Drain, Arc::new(SystemClock));
        assert!(refused.err().unwrap().message.contains("count"));
    }
}
