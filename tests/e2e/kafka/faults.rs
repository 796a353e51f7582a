//! What goes wrong is said in words that help: what can heal is tried again, what cannot ends with 69.

use rdkafka::producer::{BaseRecord, Producer};

use super::client::{Client, unique};
use super::flow::pipeline;
use super::server::{Kafka, USER};
use crate::harness::{Bench, PATIENCE};
use crate::reload::{append, reload};

/// Runs a file that cannot work, and returns what was said.
fn refused(bench: &Bench, file: &str) -> String {
    bench.write("weir.yaml", file);
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{said}");
    said
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn records_that_are_gone_need_the_operators_word() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let (from, to) = (client.topic("in", 1, &[]), client.topic("out", 1, &[]));
    client.write_numbers(&from, 0..100, 1);
    bench.write("weir.yaml", &pipeline(&kafka.address(), &from, &to, "", ""));
    assert!(bench.run(&["run", "--once", "weir.yaml"]).status.success());
    client.write_numbers(&from, 100..400, 1);
    client.delete_before(&from, 0, 150);
    let said = refused(&bench, &pipeline(&kafka.address(), &from, &to, "", ""));
    assert_says(
        &said,
        &[&from, "partition 0", "from offset 100", "offset 150", "up to 50 records", "on_lost: earliest"],
    );
    bench.write("weir.yaml", &pipeline(&kafka.address(), &from, &to, "on_lost: earliest", ""));
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    assert_says(&String::from_utf8(output.stderr).unwrap(), &["up to 50 records", "going on at offset 150"]);
    let numbers: Vec<u64> = client.read(&to).iter().map(|record| record.number()).collect();
    assert_eq!(numbers, (0..100).chain(150..400).collect::<Vec<_>>());
}

#[test]
fn what_a_topic_never_takes_becomes_a_dead_letter() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let from = client.topic("in", 1, &[]);
    let to = client.topic("out", 1, &[("cleanup.policy", "compact"), ("max.message.bytes", "2000")]);
    let producer = client.producer();
    let large = "x".repeat(3_000);
    for n in 0..300 {
        let (key, value) = (n.to_string(), if n % 10 == 1 { large.clone() } else { n.to_string() });
        let mut record = BaseRecord::to(&from).payload(&value);
        record.key = (n % 10 != 2).then_some(&key);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    bench.write("weir.yaml", &pipeline(&kafka.address(), &from, &to, "", ""));
    let output = bench.run(&["run", "--once", "--json", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((summary["total"]["records_out"].as_u64(), summary["total"]["dead"].as_u64()), (Some(240), Some(60)));
    assert_eq!(client.read(&to).len(), 240);
}

#[test]
fn what_the_broker_alone_refuses_is_found_and_the_rest_is_delivered() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let from = client.topic("in", 1, &[]);
    let to = client.topic("out", 1, &[("message.timestamp.before.max.ms", "3600000")]);
    let producer = client.producer();
    for n in 0..50 {
        let record = BaseRecord::to(&from).key("k");
        let value = n.to_string();
        let record = if n % 10 == 3 { record.timestamp(1_000_000_000_000) } else { record };
        producer.send(record.payload(&value)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    bench.write("weir.yaml", &pipeline(&kafka.address(), &from, &to, "", ""));
    let output = bench.run(&["run", "--once", "--json", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["total"]["dead"], 5, "{summary}");
    let numbers: Vec<u64> = client.read(&to).iter().map(|record| record.number()).collect();
    assert_eq!(numbers, (0..50).filter(|n| n % 10 != 3).collect::<Vec<u64>>());
}

#[test]
fn topics_that_are_missing_stop_it() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let (there, missing) = (client.topic("in", 1, &[]), unique("missing"));
    let said = refused(&bench, &pipeline(&kafka.address(), &missing, &there, "", ""));
    assert_says(&said, &[&missing, "there is no such topic", "orders"]);
    let said = refused(&bench, &pipeline(&kafka.address(), &there, &missing, "", ""));
    assert_says(&said, &[&missing, "there is no topic", "`create`", "shop"]);
}

#[test]
fn logins_and_certificates_are_told_apart() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let (from, to) = (client.topic("in", 1, &[]), client.topic("out", 1, &[]));
    client.write_numbers(&from, 0..10, 1);
    let file = |ca: &str, mechanism: &str, secret: &str| {
        let login = format!(
            "tls: {{ {ca} }}, sasl: {{ mechanism: {mechanism}, user: {}, password: {{ secret: {secret} }} }}",
            USER.0
        );
        let file = pipeline(&kafka.secure_address(), &from, &to, &login, &login);
        let secrets = format!("version: 1\nsecrets: {{ {secret}: {{ file: {secret} }} }}");
        file.replace("version: 1", &secrets)
    };
    bench.write("right", USER.1);
    bench.write("wrong", "something else\n");
    let ca = format!("ca: '{}'", kafka.ca().display());
    for mechanism in ["scram-sha-512", "plain"] {
        let said = refused(&bench, &file(&ca, mechanism, "wrong"));
        assert_says(&said, &["refuses the login of the user alice", mechanism, "`sasl`"]);
        assert!(!said.contains("something else"), "the password was told: {said}");
    }
    let said = refused(&bench, &file("", "plain", "right"));
    assert_says(&said, &["TLS", "`ca`"]);
    bench.write("weir.yaml", &file(&ca, "scram-sha-512", "right"));
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(client.read(&to).len(), 10);
}

#[test]
fn what_an_acl_denies_is_said_with_what_to_grant() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let (from, to, closed) = (client.topic("in", 1, &[]), client.topic("out", 1, &[]), client.topic("closed", 1, &[]));
    let transactions = unique("acl");
    client.write_numbers(&from, 0..10, 1);
    kafka.keep_for_bob(&["--topic", &closed]);
    kafka.keep_for_bob(&["--transactional-id", &transactions, "--resource-pattern-type", "prefixed"]);
    bench.write("right", USER.1);
    let login = format!(
        "tls: {{ ca: '{}' }}, sasl: {{ mechanism: plain, user: {}, password: {{ secret: right }} }}",
        kafka.ca().display(),
        USER.0
    );
    let file = |from: &str, to: &str, more: &str| {
        let file = pipeline(&kafka.secure_address(), from, to, &login, &format!("{login}, {more}"));
        file.replace("version: 1", "version: 1\nsecrets: { right: { file: right } }")
    };
    let said = refused(&bench, &file(&closed, &to, ""));
    assert_says(&said, &["the user alice is not allowed to", "grant Describe and Read", &closed]);
    let said = refused(&bench, &file(&from, &closed, ""));
    assert_says(&said, &["the user alice is not allowed to", "grant Describe and Write", &closed]);
    let said = refused(&bench, &file(&from, &to, &format!("transactional_id: {transactions}")));
    assert_says(&said, &["the user alice is not allowed to", "on the transactional id", &transactions]);
    bench.write("weir.yaml", &file(&from, &to, ""));
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(client.read(&to).len(), 10);
}

#[test]
fn of_two_appliances_on_copies_of_one_data_directory_one_stops() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let (from, to) = (client.topic("in", 1, &[]), client.topic("out", 1, &[]));
    bench.write("weir.yaml", &pipeline(&kafka.address(), &from, &to, "", ""));
    client.write_numbers(&from, 0..100, 1);
    assert!(bench.run(&["run", "--once", "weir.yaml"]).status.success());
    let copied =
        std::process::Command::new("cp").arg("-r").args([bench.path("weir-data"), bench.path("copy")]).status();
    assert!(copied.unwrap().success());
    let mut both = [bench.start(&["weir.yaml"]), bench.start(&["weir.yaml", "--data", "copy"])];
    let (end, mut next) = (std::time::Instant::now() + PATIENCE, 100);
    let code = loop {
        assert!(std::time::Instant::now() < end, "both go on: {}", both[0].said());
        client.write_numbers(&from, next..next + 10, 1);
        next += 10;
        if let Some(code) = both.iter_mut().find_map(|weir| weir.ended()) {
            break code;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(code, 69);
    assert_says(&both[0].said(), &["another weir uses the transactional id", "copy"]);
    let mut left = both.into_iter().filter_map(|mut weir| weir.ended().is_none().then_some(weir));
    let mut left = left.next().expect("both have stopped");
    left.until("all of the output", || client.read(&to).len() as u64 >= next);
    assert_eq!(left.terminate(), 0);
    let numbers: Vec<u64> = client.read(&to).iter().map(|record| record.number()).collect();
    assert_eq!(numbers, (0..next).collect::<Vec<_>>());
}

#[test]
fn a_broker_that_is_down_is_waited_for() {
    let (mut kafka, bench) = (Kafka::prepare(), Bench::new());
    let (from, to) = ("from", "to");
    let file = pipeline(
        &kafka.address(),
        from,
        to,
        "properties: { topic.metadata.refresh.interval.ms: 300 }",
        "create: { partitions: 1 }",
    );
    bench.write("weir.yaml", &file.replace("topics: 'from'", "topics: '^from-'"));
    let mut weir = bench.start(&["weir.yaml"]);
    let log = bench.path("weir.log");
    let says = |word: &str| std::fs::read_to_string(&log).unwrap().contains(word);
    weir.until("a warning", || says("no broker of") && says("trying again"));
    kafka.start();
    let client = Client::new(&kafka.address());
    let topic = client.topic("from", 1, &[]);
    client.write_numbers(&topic, 0..100, 1);
    weir.until("the output", || says("the topic was made") && client.read(to).len() == 100);
    kafka.kill();
    kafka.start();
    client.write_numbers(&topic, 100..200, 1);
    weir.until("the output after a restart", || client.read(to).len() == 200);
    assert_eq!(weir.terminate(), 0);
    let numbers: Vec<u64> = client.read(to).iter().map(|record| record.number()).collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
}

const BESIDE: &str = "
version: 1
sources: { in: { type: file, path: in.txt } }
pipelines: { beside: { from: in, to: copy } }
sinks: { copy: { type: file, path: copy.txt } }
";

/// A pipeline whose broker is gone does not hold up a reload for ever; what it had in hand is written once, when it is back.
#[test]
fn what_waits_for_a_broker_that_is_gone_can_be_taken_away() {
    let (mut kafka, bench) = (Kafka::prepare(), Bench::new());
    kafka.start();
    let client = Client::new(&kafka.address());
    let to = client.topic("out", 1, &[]);
    let both = BESIDE.replace("{ beside:", "{ send: { from: in, to: out }, beside:").replace(
        "{ copy:",
        &format!("{{ out: {{ type: kafka, brokers: ['{}'], topic: {to} }}, copy:", kafka.address()),
    );
    bench.write("in.txt", "0\n1\n");
    bench.write("weir.yaml", &both);
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the first records", || client.read(&to).len() == 2);
    kafka.kill();
    append(&bench, "2\n3\n");
    weir.until("the copy", || bench.lines("copy.txt").len() == 4);
    let log = bench.path("weir.log");
    weir.until("a warning", || std::fs::read_to_string(&log).unwrap().contains("can be reached"));
    bench.write("weir.yaml", BESIDE);
    let (code, said) = reload(&bench);
    assert!(code == 0 && said.contains("send    stopped: "), "{code} {said}");
    let log = std::fs::read_to_string(bench.path("weir.log")).unwrap();
    assert!(log.contains("not all that was on its way was committed"), "{log}");
    kafka.start();
    append(&bench, "4\n");
    bench.write("weir.yaml", &both);
    assert_eq!(reload(&bench).0, 0);
    weir.until("the rest", || client.read(&to).len() >= 5);
    assert_eq!(weir.terminate(), 0);
    let values: Vec<u64> = client.read(&to).iter().map(|record| record.number()).collect();
    assert_eq!(values, [0, 1, 2, 3, 4]);
}
