//! What a stream processor remembers: Weir beside Kafka Streams, which do the same jobs from one Kafka to the same Kafka.
//!
//! A job's records are in the topic before a program starts. It is ended when all that has to come out is there, started again
//! for some more records, killed, and started once more.

mod input;
mod program;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use crate::job::Guarantee;
use crate::{Servers, kafka, table, unique};

use input::Feed;
use program::{Program, Running, Who};
use watch::Watch;

#[derive(clap::Args)]
pub struct Streams {
    /// The program.
    #[arg(long)]
    weir: PathBuf,
    /// The directory of the guests that tests use, one of which counts.
    #[arg(long)]
    plugins: PathBuf,
    /// The class path of Kafka Streams and of `Streams.java`.
    #[arg(long)]
    classes: String,
    /// What `cargo xtask services up` printed, as a file.
    #[arg(long)]
    services: PathBuf,
    /// A directory for the programs' data and logs.
    #[arg(long)]
    directory: PathBuf,
    /// The file that the tables are written to.
    #[arg(long)]
    page: PathBuf,
    /// How many records there are.
    #[arg(long)]
    records: u64,
    /// How many rows the table has that records are joined with; none: they are not.
    #[arg(long, default_value_t = 0)]
    rows: u64,
    /// How often each program runs; the medians count.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Job {
    /// Counts records by key and minute.
    Count,
    /// Joins records with the row of their key.
    Enrich,
}

const PROGRAMS: [(Who, Guarantee); 4] = [
    (Who::KafkaStreams, Guarantee::ExactlyOnce),
    (Who::Weir, Guarantee::ExactlyOnce),
    (Who::KafkaStreams, Guarantee::AtLeastOnce),
    (Who::Weir, Guarantee::AtLeastOnce),
];

/// What one run cost.
#[derive(Clone, Copy)]
struct Cost {
    /// Until the first output, which is when the table is read.
    loading: Used,
    /// From the start, for a count; else from the first output.
    working: Used,
    rss_max: u64,
    /// On the disk, after it has ended.
    stored: u64,
    /// From a start to the first output of records that have come since, after it was ended and after it was killed.
    again: [Duration; 2],
    is_right_after_kill: bool,
}

#[derive(Clone, Copy)]
struct Used {
    cpu: Duration,
    wall: Duration,
}

impl Streams {
    /// Measures, and writes tables.
    pub fn run(&self) {
        let servers = Servers::read(&self.services);
        let mut page = vec![self.counted(&servers)];
        if self.rows > 0 {
            page.push(self.enriched(&servers));
        }
        std::fs::write(&self.page, page.join("\n\n")).unwrap();
    }

    fn counted(&self, servers: &Servers) -> String {
        let costs = self.rounds(servers, Job::Count);
        format!(
            "{} records with one of {} keys, {} a minute of event time and up to {} s out of order, in {} partitions, are \
             counted by key and minute; a count goes to another topic once its minute is over by 30 s of event time. Each \
             program ran {} times, in turn; these are medians. All counts were right, and exactly once each came \
             once. CPU is user and system time of the program from its start, not of the broker. The store is what \
             lies on the disk after the program has ended. A start is timed to the first count of records that came \
             since: one after an end that was asked for, one after `kill -9`.\n\n{}\n\n\
             At least once, the counts after the kill were right in {} of these runs of Kafka Streams, and in {} of Weir. \
             What is wanted is three \
             times the rate in a third of the memory.\n\n\
             The jobs of Kafka Streams are in `tests/bench/brokers/streams/Streams.java`, its settings in `program.rs` \
             beside it. Its counts are on RocksDB, the default, and are held back by `suppress`; \
             `EmitStrategy.onWindowClose` took as much. It commits once a second: every 100 ms, the default exactly once, \
             took half as much processor time again. Its processor time includes the start of Java and what the compiler \
             takes. When a run ends all windows are over, and the store is what is left. The changelogs of its stores are \
             topics, and the work and room that they take are the broker's, which are not counted; Weir keeps its state \
             itself, with fsync.",
            self.records,
            input::KEYS,
            input::PER_MINUTE,
            input::LATE_MS_MAX / 1_000,
            kafka::PARTITIONS,
            self.runs,
            self.table("count by key and minute", &costs),
            right_after_kill(Who::KafkaStreams, &costs),
            right_after_kill(Who::Weir, &costs)
        )
    }

    fn enriched(&self, servers: &Servers) -> String {
        let costs = self.rounds(servers, Job::Enrich);
        let rows = PROGRAMS.iter().zip(&costs).map(|((who, guarantee), costs)| {
            let cpu = median(costs, |cost| cost.loading.cpu.as_secs_f64());
            let wall = median(costs, |cost| cost.loading.wall.as_secs_f64());
            vec![
                who.title(*guarantee),
                format!("{:.0}", self.rows as f64 / cpu),
                format!("{cpu:.1}"),
                format!("{wall:.1}"),
            ]
        });
        let head = ["reading the table", "rows per CPU second", "CPU s", "wall s"];
        format!(
            "{} JSON records get the row of their key from a table of {} rows, which is a topic that is read before them.\n\n{}\n\n{}",
            self.records,
            self.rows,
            table::markdown(&head, &rows.collect::<Vec<_>>()),
            self.table("join with a table", &costs)
        )
    }

    fn rounds(&self, servers: &Servers, job: Job) -> Vec<Vec<Cost>> {
        let mut costs = vec![Vec::new(); PROGRAMS.len()];
        for round in 1..=self.runs {
            for ((who, guarantee), costs) in PROGRAMS.into_iter().zip(&mut costs) {
                let cost = self.one_run(servers, job, who, guarantee);
                let (cpu, wall) = (cost.working.cpu.as_secs_f64(), cost.working.wall.as_secs_f64());
                eprintln!("run {round}: {}: {cpu:.2} s CPU, {wall:.2} s", who.title(guarantee));
                costs.push(cost);
            }
        }
        costs
    }

    fn one_run(&self, servers: &Servers, job: Job, who: Who, guarantee: Guarantee) -> Cost {
        let [source, rows, target] = ["in", "rows", "out"].map(unique);
        let topics = [source.as_str(), &rows, &target];
        topics.iter().for_each(|topic| kafka::create(&servers.bootstrap, topic));
        let mut feed = Feed::new(&servers.bootstrap, job, &source);
        if job == Job::Enrich {
            feed.rows(&rows, self.rows);
        }
        let expected = feed.records(self.records);
        let program = Program::new(self, servers, job, who, guarantee, topics);
        let mut watch = Watch::new(&servers.bootstrap, &target);

        let mut running = program.start();
        watch.first(&mut feed, &mut running);
        let first = running.used();
        assert!(
            watch.all(&mut feed, &mut running, expected),
            "{}: other outputs came than those that had to",
            who.title(guarantee)
        );
        let (all, rss_max) = (running.used(), running.rss_max());
        running.end();
        let stored = program.stored();
        let [ended, killed] = [Running::kill, Running::end].map(|end| {
            let expected = feed.records(input::MORE);
            let mut running = program.start();
            watch.first(&mut feed, &mut running);
            let first = running.used().wall;
            let is_right = watch.all(&mut feed, &mut running, expected);
            end(running);
            (first, is_right)
        });
        // At least once, outputs may come again, and what was not committed may be counted again.
        let is_exact = guarantee == Guarantee::ExactlyOnce;
        assert!(ended.1 && (killed.1 || !is_exact), "{}: {ended:?} {killed:?}", who.title(guarantee));
        assert!(!is_exact || watch.repeated == 0, "{}: {} outputs came twice", who.title(guarantee), watch.repeated);
        kafka::delete(&servers.bootstrap, &topics);
        let working =
            if job == Job::Count { all } else { Used { cpu: all.cpu - first.cpu, wall: all.wall - first.wall } };
        Cost { loading: first, working, rss_max, stored, again: [ended.0, killed.0], is_right_after_kill: killed.1 }
    }

    fn table(&self, title: &str, costs: &[Vec<Cost>]) -> String {
        let rate = |costs: &[Cost]| self.records as f64 / median(costs, |cost| cost.working.cpu.as_secs_f64());
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let memory = |costs: &[Cost]| median(costs, |cost| mib(cost.rss_max));
        let row = |((_, (who, guarantee)), of): ((usize, &(Who, Guarantee)), &Vec<Cost>)| {
            let beside = PROGRAMS.iter().position(|other| *other == (Who::KafkaStreams, *guarantee)).unwrap();
            vec![
                who.title(*guarantee),
                format!("{:.0}", rate(of)),
                format!("{:.1}", median(of, |cost| cost.working.cpu.as_secs_f64())),
                format!("{:.1}", median(of, |cost| cost.working.wall.as_secs_f64())),
                format!("{:.0}", memory(of)),
                format!("{:.0}", median(of, |cost| mib(cost.stored))),
                format!("{:.1}", median(of, |cost| cost.again[0].as_secs_f64())),
                format!("{:.1}", median(of, |cost| cost.again[1].as_secs_f64())),
                format!("{:.2}", rate(of) / rate(&costs[beside])),
                format!("{:.2}", memory(of) / memory(&costs[beside])),
            ]
        };
        let head = [
            title,
            "records per CPU second",
            "CPU s",
            "wall s",
            "peak RSS MiB",
            "store MiB",
            "start s",
            "start after a kill s",
            "rate against Kafka Streams",
            "memory against it",
        ];
        table::markdown(&head, &PROGRAMS.iter().enumerate().zip(costs).map(row).collect::<Vec<_>>())
    }
}

/// In how many runs at least once a kill made no difference.
fn right_after_kill(who: Who, costs: &[Vec<Cost>]) -> usize {
    let at = PROGRAMS.iter().position(|program| *program == (who, Guarantee::AtLeastOnce)).unwrap();
    costs[at].iter().filter(|cost| cost.is_right_after_kill).count()
}

fn median(costs: &[Cost], number: impl Fn(&Cost) -> f64) -> f64 {
    table::quantile(costs.iter().map(number).collect(), 0.5)
}
