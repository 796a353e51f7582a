//! The main jobs with brokers, end to end: syslog lines from RabbitMQ to Kafka, and JSON from Kafka to RabbitMQ.

use serde_json::{Value, json};

use crate::harness::Bench;
use crate::services::{Facts, unique};

/// The settings that every pipeline file here has in common.
pub fn rabbitmq(facts: &Facts, address: &str) -> String {
    format!(
        "type: rabbitmq, url: 'amqp://{}@{address}/%2f', password: {{ secret: rabbitmq }}",
        facts.text("rabbitmq", "user")
    )
}

/// The secrets that the pipeline files name, as files of the test's directory.
pub fn write_secrets(bench: &Bench, facts: &Facts) {
    bench.write("rabbitmq-password", facts.text("rabbitmq", "password"));
    bench.write("kafka-password", facts.text("kafka", "password"));
    bench.write("wrong-password", "not this one");
}

/// The head of a pipeline file with the secrets that the rest of it names.
pub fn with_head(rest: &str) -> String {
    let named = ["rabbitmq", "kafka", "wrong"].into_iter().filter(|name| rest.contains(&format!("secret: {name}")));
    let secrets: Vec<String> = named.map(|name| format!("{name}: {{ file: {name}-password }}")).collect();
    format!("version: 1\nsecrets: {{ {} }}\n{rest}", secrets.join(", "))
}

#[test]
fn syslog_lines_flow_from_rabbitmq_to_kafka() {
    let facts = Facts::shared();
    let bench = Bench::new();
    write_secrets(&bench, &facts);
    let url = facts.rabbitmq_url(facts.rabbitmq_address());
    let bootstrap = facts.text("kafka", "bootstrap");
    let (syslog, attempts) = (unique("flow-syslog"), unique("flow-attempts"));
    facts.ask(&["rabbit-declare", "--url", &url, "--queue", &syslog, "--type", "quorum"]);
    facts.ask(&["kafka-create", "--bootstrap", bootstrap, "--topic", &attempts, "--partitions", "3"]);
    bench.write(
        "weir.yaml",
        &with_head(&format!(
            "
sources:
  auth: {{ {rabbitmq}, queue: {syslog}, key: 'header:key' }}
pipelines:
  attempts:
    from: auth
    steps:
      - syslog-parser
      - sql: SELECT procid, message FROM input WHERE message LIKE '%Invalid user%'
    to: attempts
sinks:
  attempts: {{ type: kafka, brokers: ['{bootstrap}'], topic: {attempts}, compression: zstd }}
",
            rabbitmq = rabbitmq(&facts, facts.rabbitmq_address())
        )),
    );
    let line = |n: u32| {
        let message = if n.is_multiple_of(2) { "Invalid user" } else { "Connection closed by" };
        format!("<38>Dec 10 06:55:00 gate sshd[{n}]: {message} number {n} x\n")
    };
    facts.put(&["rabbit-put", "--url", &url, "--queue", &syslog], &(0..200).map(line).collect::<String>());
    let read = || facts.read(&["kafka-read", "--bootstrap", bootstrap, "--topic", &attempts]);
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("100 records in Kafka", || read().len() >= 100);
    assert_eq!(weir.terminate(), 0);
    let records = read();
    assert_eq!(records.len(), 100);
    let fourth = records.iter().find(|record| record["value"].as_str().unwrap().contains("number 4 ")).unwrap();
    assert_eq!(fourth["key"], "k4");
    let value: Value = serde_json::from_str(fourth["value"].as_str().unwrap()).unwrap();
    assert_eq!(value, json!({ "procid": "4", "message": "Invalid user number 4 x" }));
    let left = facts.rabbitmqctl(&["list_queues", "--quiet", "--no-table-headers", "name", "messages"]);
    assert!(left.lines().any(|line| line.split_whitespace().eq([syslog.as_str(), "0"])), "not acknowledged: {left}");
}

#[test]
fn json_flows_from_kafka_to_rabbitmq() {
    let facts = Facts::shared();
    let bench = Bench::new();
    write_secrets(&bench, &facts);
    let url = facts.rabbitmq_url(facts.rabbitmq_address());
    let bootstrap = facts.text("kafka", "bootstrap");
    let orders = unique("flow-orders");
    facts.ask(&["rabbit-declare", "--url", &url, "--queue", &orders, "--type", "classic"]);
    facts.ask(&["kafka-create", "--bootstrap", bootstrap, "--topic", &orders, "--partitions", "3"]);
    bench.write(
        "weir.yaml",
        &with_head(&format!(
            "
sources:
  orders: {{ type: kafka, brokers: ['{bootstrap}'], topics: ['^{orders}$'] }}
pipelines:
  large: {{ from: orders, steps: [sql: SELECT id FROM input WHERE amount >= 100], to: bus }}
sinks:
  bus: {{ {rabbitmq}, exchange: '', routing_key: {orders} }}
",
            rabbitmq = rabbitmq(&facts, facts.rabbitmq_address())
        )),
    );
    let order = |n: u32| format!("{{\"id\":{n},\"amount\":{}}}\n", n * 2);
    facts.put(&["kafka-put", "--bootstrap", bootstrap, "--topic", &orders], &(0..100).map(order).collect::<String>());
    let mut weir = bench.start(&["weir.yaml"]);
    let mut messages: Vec<Value> = Vec::new();
    weir.until("50 messages in RabbitMQ", || {
        messages.extend(facts.read(&["rabbit-read", "--url", &url, "--queue", &orders]));
        messages.len() >= 50
    });
    assert_eq!(weir.terminate(), 0);
    messages.extend(facts.read(&["rabbit-read", "--url", &url, "--queue", &orders]));
    let mut ids: Vec<u64> = messages.iter().map(|message| number(message, "id")).collect();
    ids.sort_unstable();
    assert_eq!(ids, (50..100).collect::<Vec<u64>>());
    assert!(messages.iter().all(|message| message["persistent"] == true), "{messages:?}");
    let mut message_ids: Vec<&str> = messages.iter().map(|message| message["message_id"].as_str().unwrap()).collect();
    message_ids.sort_unstable();
    message_ids.dedup();
    assert_eq!(message_ids.len(), 50, "each message has an id of its own");
}

/// A number in a message's JSON body.
pub fn number(message: &Value, name: &str) -> u64 {
    let body: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
    body[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {message}"))
}
