//! How many records a second of processor time carries.

use std::time::{Duration, Instant};

use wait4::Wait4 as _;

use crate::job::{From, Guarantee, Job, Placed, Who};
use crate::{Measure, Servers, kafka, rabbitmq, table, unique};

const FROM_KAFKA: [Job; 6] = [
    Job::new(From::Kafka, Guarantee::ExactlyOnce, Who::Loop),
    Job::new(From::Kafka, Guarantee::ExactlyOnce, Who::Weir),
    Job::new(From::Kafka, Guarantee::ExactlyOnce, Who::WeirFilter),
    Job::new(From::Kafka, Guarantee::AtLeastOnce, Who::Loop),
    Job::new(From::Kafka, Guarantee::AtLeastOnce, Who::Weir),
    Job::new(From::Kafka, Guarantee::AtLeastOnce, Who::WeirFilter),
];
const FROM_RABBITMQ: [Job; 4] = [
    Job::new(From::RabbitMq, Guarantee::AtLeastOnce, Who::ConsumerAlone),
    Job::new(From::RabbitMq, Guarantee::AtLeastOnce, Who::Loop),
    Job::new(From::RabbitMq, Guarantee::ExactlyOnce, Who::Weir),
    Job::new(From::RabbitMq, Guarantee::AtLeastOnce, Who::Weir),
];

/// What one run cost.
#[derive(Clone, Copy)]
struct Cost {
    cpu: Duration,
    wall: Duration,
    rss_max: u64,
}

/// Runs all in turn, and returns the tables.
pub fn run(measure: &Measure, servers: &Servers) -> String {
    let topic = unique("records");
    eprintln!("Writing {} records to {topic}.", measure.records);
    kafka::create(&servers.bootstrap, &topic);
    kafka::fill(&servers.bootstrap, &topic, measure.records);
    let kafka = rounds(measure, &FROM_KAFKA, measure.records, |job| one_run(measure, servers, job, &topic));
    let rabbitmq = rounds(measure, &FROM_RABBITMQ, measure.messages, |job| {
        let queue = unique("messages");
        rabbitmq::fill(&servers.rabbitmq_login(), &queue, measure.messages);
        let cost = one_run(measure, servers, job, &queue);
        assert_eq!(rabbitmq::waiting(&servers.rabbitmq_login(), &queue), 0, "{}: messages are left", job.title());
        cost
    });
    format!(
        "{} records of Kafka, JSON of about 200 bytes with a key, in {} partitions, are written to another topic; the \
         filter is `WHERE kind = 'order'`, which half of them pass. {} persistent messages of the same form in a classic \
         queue are written to a topic. Each program ran {} times, in turn; these are medians. CPU is user and system time \
         of the program, not of the brokers, which share the machine. All outputs had the right number of committed \
         records.\n\n{kafka}\n\n{rabbitmq}\n\n\
         The plain clients are in `tests/bench/brokers/plain.rs`. Exactly once is a transaction with the consumer's \
         offsets for the loop and a transaction with a marker for Weir, both of up to 8 MiB. At least once, Weir's records \
         bear a header with their id. The settings of the clients are the same. There is no loop from RabbitMQ that is exactly \
         once, so that line stands beside the other. From RabbitMQ, Weir writes \
         each message to its disk, with fsync, before it acknowledges it; the loop acknowledges what Kafka has.",
        measure.records,
        kafka::PARTITIONS,
        measure.messages,
        measure.runs
    )
}

fn rounds(measure: &Measure, jobs: &[Job], records: u64, mut one: impl FnMut(Job) -> Cost) -> String {
    let mut costs = vec![Vec::new(); jobs.len()];
    for round in 1..=measure.runs {
        for (job, costs) in jobs.iter().zip(&mut costs) {
            let cost = one(*job);
            let (cpu, wall) = (cost.cpu.as_secs_f64(), cost.wall.as_secs_f64());
            eprintln!("run {round}: {}: {cpu:.2} s CPU, {wall:.2} s", job.title());
            costs.push(cost);
        }
    }
    let rate = |costs: &[Cost]| records as f64 / median(costs, |cost| cost.cpu.as_secs_f64());
    let mut rows = Vec::new();
    for (job, of) in jobs.iter().zip(&costs) {
        // The loop beside which a program stands has the same guarantee, where there is one.
        let same = |other: &Job| other.who == Who::Loop && other.guarantee == job.guarantee;
        let beside = jobs.iter().position(same).or_else(|| jobs.iter().position(|other| other.who == Who::Loop));
        rows.push(vec![
            job.title().to_owned(),
            format!("{:.0}", rate(of)),
            format!("{:.2}", median(of, |cost| cost.cpu.as_secs_f64())),
            format!("{:.2}", median(of, |cost| cost.wall.as_secs_f64())),
            format!("{:.0}", median(of, |cost| cost.rss_max as f64 / f64::from(1 << 20))),
            format!("{:.2}", rate(of) / rate(&costs[beside.unwrap()])),
        ]);
    }
    let head =
        [jobs[0].from.way(), "records per CPU second", "CPU s", "wall s", "peak RSS MiB", "rate against the loop"];
    table::markdown(&head, &rows)
}

fn one_run(measure: &Measure, servers: &Servers, job: Job, source: &str) -> Cost {
    let target = unique("copy");
    kafka::create(&servers.bootstrap, &target);
    let records = if job.from == From::Kafka { measure.records } else { measure.messages };
    let placed = Placed { job, measure, servers, source, target: &target };
    let mut command = placed.command(Some(records));
    let begun = Instant::now();
    let child = command.spawn().unwrap();
    let used = child.wait4().unwrap();
    let wall = begun.elapsed();
    assert!(used.status.success(), "{}: {}", job.title(), used.status);
    assert_eq!(kafka::count(&servers.bootstrap, &target), job.kept(records), "{}: records are missing", job.title());
    Cost { cpu: used.rusage.utime + used.rusage.stime, wall, rss_max: used.rusage.maxrss }
}

fn median(costs: &[Cost], number: impl Fn(&Cost) -> f64) -> f64 {
    table::quantile(costs.iter().map(number).collect(), 0.5)
}
