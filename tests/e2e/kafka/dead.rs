//! Dead letters and Kafka: what a topic refused is replayed into it alone, and letters are handed on as Connect does.

use rdkafka::producer::{BaseRecord, Producer};

use super::client::Client;
use super::flow::pipeline;
use super::server::Kafka;
use crate::harness::{Bench, PATIENCE};

fn dlq(bench: &Bench, arguments: &[&str]) -> String {
    let output = bench.run(&[&["dlq"], arguments].concat());
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_a_topic_refused_goes_to_that_sink_alone_once_it_is_mended() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let from = client.topic("in", 2, &[]);
    let (small, large) = (client.topic("out", 1, &[("max.message.bytes", "2000")]), client.topic("out", 1, &[]));
    let other = client.topic("other", 1, &[]);
    let producer = client.producer();
    for n in 0..200 {
        let value = if n % 10 == 1 { format!("{n} {}", "x".repeat(3_000)) } else { n.to_string() };
        producer.send(BaseRecord::to(&from).key(&n.to_string()).payload(&value)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let file = |to: &str| {
        let file = pipeline(&kafka.address(), &from, to, "", "").replace("to: shop", "to: [shop, other]");
        file + &format!("  other: {{ type: kafka, brokers: '{}', topic: '{other}' }}\n", kafka.address())
    };
    bench.write("weir.yaml", &file(&small));
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("all that fits", || client.read(&small).len() == 180 && client.read(&other).len() == 200);
    weir.until("the letters", || dlq(&bench, &["ls", "--json"]).lines().count() == 20);
    let letter = dlq(&bench, &["show", "0-0", "--json"]);
    assert!(letter.contains(&format!("\"topic\":\"{from}\"")) && letter.contains("\"stage\":\"sink\""), "{letter}");
    // The pipeline is restarted with another topic, and what was refused goes there.
    bench.write("weir.yaml", &file(&large));
    assert!(bench.run(&["reload"]).status.success());
    // A task that has not started yet leaves its letters as they are.
    weir.until("the replay", || {
        dlq(&bench, &["replay", "--all"]);
        dlq(&bench, &["ls", "--json"]).is_empty()
    });
    let read = client.read(&large);
    assert_eq!((read.len(), client.read(&other).len()), (20, 200), "the other sink had them already");
    for record in &read {
        assert!(!record.headers.iter().any(|(name, _)| name == "weir-reason"), "{record:?}");
    }
    assert_eq!(weir.terminate(), 0);
}

#[test]
fn dead_letters_are_handed_on_with_the_headers_of_connect() {
    let (kafka, bench) = (Kafka::shared(), Bench::new());
    let client = Client::new(&kafka.address());
    let (from, to) = (client.topic("in", 1, &[]), client.topic("dead", 1, &[]));
    let producer = client.producer();
    for n in 0..10 {
        let value = if n == 7 { "no syslog, as it is no text: \u{0}".repeat(3) } else { String::new() };
        producer.send(BaseRecord::to(&from).key("k").payload(&value)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let address = kafka.address();
    let file = pipeline(&address, &from, &to, "", "")
        .replace("to: shop", "steps: [ { plugin: event-time, config: { field: at } } ], to: out")
        + "  out: { type: file, path: out.txt }\ndead_letters: { to: shop, retention: 3d }\n";
    bench.write("weir.yaml", &file);
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    let read = client.read(&to);
    assert_eq!(read.len(), 10);
    let header = |name: &str| {
        let name = format!("__connect.errors.{name}");
        read[7].headers.iter().find(|(found, _)| *found == name).unwrap().1.clone().unwrap()
    };
    assert_eq!((&*header("topic"), &*header("partition"), &*header("offset")), (&*from, "0", "7"));
    assert_eq!((&*header("connector.name"), &*header("task.id")), ("copy", "0"));
    assert_eq!((&*header("stage"), &*header("class.name")), ("TRANSFORMATION", "event-time"));
    assert_eq!(header("exception.class.name"), "weir.Rejected");
    let reason = header("exception.message");
    assert!(!reason.is_empty() && header("exception.stacktrace").contains(&reason));
    assert_eq!(read[7].key.as_deref(), Some("k"));
    // They are kept as well, and once.
    assert_eq!(dlq(&bench, &["ls", "--json"]).lines().count(), 10);
    assert!(bench.run(&["run", "--once", "weir.yaml"]).status.success());
    assert_eq!(client.read(&to).len(), 10);
}
