//! RabbitMQ in and out, against a real server, and what is lost or doubled when things are killed: nothing.

mod client;
mod failures;
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use self::client::Client;
use self::server::{Server, shared};
use crate::harness::Bench;

/// A pipeline from a queue to a file.
fn from_queue(server: &Server, queue: &str, settings: &str) -> String {
    format!(
        "
version: 1
secrets: {{ amqp: {{ file: password }} }}
sources:
  auth:
    type: rabbitmq
    url: amqp://weir@127.0.0.1:{port}/%2f
    password: {{ secret: amqp }}
    queue: {queue}
{settings}
pipelines:
  copy: {{ from: auth, to: out }}
sinks:
  out: {{ type: file, path: out.ndjson, format: record }}
",
        port = server.port
    )
}

/// A pipeline from lines of a file to an exchange.
fn to_exchange(server: &Server, settings: &str) -> String {
    format!(
        "
version: 1
secrets: {{ amqp: {{ file: password }} }}
sources:
  lines: {{ type: file, path: in.ndjson }}
pipelines:
  send: {{ from: lines, to: bus }}
  failed: {{ from: dead-letters, to: failed }}
sinks:
  bus:
    type: rabbitmq
    url: amqp://weir@127.0.0.1:{port}
    password: {{ secret: amqp }}
{settings}
  failed: {{ type: file, path: failed.ndjson, format: record }}
",
        port = server.port
    )
}

fn bench(pipeline: &str) -> Bench {
    let bench = Bench::new();
    bench.write("password", "hunter2\n");
    bench.write("weir.yaml", pipeline);
    bench
}

fn records(bench: &Bench, name: &str) -> Vec<Value> {
    bench.lines(name).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How often each number came out of a queue of numbers.
fn numbers(bench: &Bench) -> BTreeMap<u64, u32> {
    let mut counts = BTreeMap::new();
    for record in records(bench, "out.ndjson") {
        let value = record["value"].as_str().unwrap();
        *counts.entry(value.strip_prefix("number ").unwrap().parse().unwrap()).or_default() += 1;
    }
    counts
}

/// Every number up to `count` came out once.
fn assert_each_once(bench: &Bench, count: u64) {
    let counts = numbers(bench);
    let missing: Vec<u64> = (0..count).filter(|n| !counts.contains_key(n)).collect();
    let doubled: Vec<_> = counts.iter().filter(|(_, times)| **times > 1).collect();
    assert!(missing.is_empty() && doubled.is_empty(), "missing {missing:?}, doubled {doubled:?}");
    assert_eq!(counts.len() as u64, count);
}

#[test]
fn rabbitmq_messages_become_records_with_key_headers_and_time() {
    let server = shared();
    let mut client = Client::connect(&server);
    for kind in ["classic", "quorum"] {
        let queue = format!("records-{kind}");
        client.declare(&queue, kind);
        let properties = json!({
            "message_id": "m-1", "content_type": "text/plain", "timestamp": 1_700_000_000,
            "headers": {"tenant": "acme", "count": 7, "nested": {"on": true}},
        });
        client.publish(&queue, json!([{"body": "first", "properties": properties}, {"body": ""}]));
        let bench = bench(&from_queue(&server, &queue, "    key: header:tenant"));
        let output = bench.run(&["run", "--once", "weir.yaml"]);
        assert!(output.status.success(), "{output:?}");
        let records = records(&bench, "out.ndjson");
        assert_eq!(records.len(), 2, "{records:?}");
        assert_eq!((&records[0]["value"], &records[0]["key"]), (&json!("first"), &json!("acme")));
        assert_eq!(records[0]["timestamp"], json!("2023-11-14T22:13:20.000Z"));
        let headers = records[0]["headers"].to_string();
        let wanted =
            ["amqp-routing-key", &queue, "amqp-message-id", "m-1", "text/plain", "acme", "\"7\"", "{\\\"on\\\":true}"];
        for text in wanted {
            assert!(headers.contains(text), "{text} is not in {headers}");
        }
        assert_eq!((&records[1]["value"], &records[1]["key"]), (&json!(""), &Value::Null));
        assert_eq!(client.waiting(&queue), 0);
    }
}

/// The values that came out, in their order.
fn values(bench: &Bench) -> Vec<String> {
    records(bench, "out.ndjson").iter().map(|record| record["value"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn rabbitmq_messages_keep_their_order_where_another_consumer_goes() {
    let server = shared();
    let mut client = Client::connect(&server);
    for kind in ["classic", "quorum"] {
        let queue = format!("order-{kind}");
        client.declare(&queue, kind);
        client.confirmed_numbers(&queue, 0, 10);
        let mut other = Client::connect(&server);
        other.hold(&queue, 4);
        let bench = bench(&from_queue(&server, &queue, ""));
        let mut weir = bench.start(&["weir.yaml"]);
        weir.until("its waiting", || weir_log(&bench).contains("for 1 more that consume"));
        drop(other);
        weir.until("all messages", || values(&bench).len() == 10);
        assert_eq!(values(&bench), (0..10).map(|n| format!("number {n}")).collect::<Vec<_>>());

        // One that stays has its part.
        client.confirmed_numbers(&queue, 10, 1);
        weir.until("one more", || values(&bench).len() == 11);
        assert_eq!(weir.terminate(), 0);
        client.confirmed_numbers(&queue, 11, 9);
        let mut other = Client::connect(&server);
        other.hold(&queue, 4);
        let mut weir = bench.start(&["weir.yaml"]);
        weir.until("the other part", || values(&bench).len() == 16);
        assert!(weir_log(&bench).contains("1 more consume"), "{}", weir_log(&bench));
        drop(other);
        weir.until("all messages", || values(&bench).len() == 20);
        assert_each_once(&bench, 20);
        assert_eq!(weir.terminate(), 0);
    }
}

fn weir_log(bench: &Bench) -> String {
    std::fs::read_to_string(bench.path("weir.log")).unwrap_or_default()
}

#[test]
fn rabbitmq_queue_is_created_and_bound_where_the_file_says_so() {
    let server = shared();
    let declare = "    declare: { type: quorum, exchange: declared, bindings: [\"auth.*\"] }";
    let bench = bench(&from_queue(&server, "declared", declare));
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the consumer", || server.ctl(&["list_consumers"]).contains("weir-auth"));
    let queues = server.ctl(&["list_queues", "name", "type", "durable"]);
    assert!(queues.contains("declared\tquorum\ttrue") || queues.contains("declared\tclassic\ttrue"), "{queues}");
    let bindings = server.ctl(&["list_bindings", "source_name", "destination_name", "routing_key"]);
    assert!(bindings.contains("declared\tdeclared\tauth.*"), "{bindings}");
    assert_eq!(weir.terminate(), 0);
}

#[test]
fn rabbitmq_stream_is_read_in_place_from_where_the_last_run_ended() {
    let server = shared();
    let mut client = Client::connect(&server);
    client.declare("log", "stream");
    let settings = "    queue_type: stream\n    start: first\n    prefetch: 100";
    let bench = bench(&from_queue(&server, "log", settings));
    for round in 1..=3 {
        client.numbers("log", (round - 1) * 1_000, 1_000);
        let mut weir = bench.start(&["weir.yaml"]);
        weir.until("the messages", || bench.lines("out.ndjson").len() as u64 >= round * 1_000);
        if round == 2 {
            weir.kill();
        } else {
            assert_eq!(weir.terminate(), 0);
        }
    }
    assert_each_once(&bench, 3_000);
    let offsets: Vec<u64> = records(&bench, "out.ndjson").iter().map(|r| r["offset"].as_u64().unwrap()).collect();
    assert!(offsets.is_sorted(), "the order of the stream holds");
    assert!(bench.run(&["run", "--once", "weir.yaml"]).status.success(), "a stream that holds nothing more is drained");
    assert_eq!(bench.lines("out.ndjson").len(), 3_000);
}

#[test]
fn rabbitmq_sink_publishes_with_stable_ids_and_properties() {
    let server = shared();
    let mut client = Client::connect(&server);
    client.bind("sent", "sent-x", "auth.#");
    let bench = bench(&to_exchange(&server, "    exchange: sent-x\n    routing_key: { field: to }"));
    let lines: String = (0..2_000).map(|n| format!("{{\"n\":{n},\"to\":\"auth.{}\"}}\n", n % 3)).collect();
    bench.write("in.ndjson", &lines);
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    let messages = client.read("sent", 3_000);
    assert_eq!(messages.len(), 2_000);
    let mut ids = std::collections::BTreeSet::new();
    for (n, message) in messages.iter().enumerate() {
        let body: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["n"], json!(n), "the order holds");
        assert_eq!(message["routing_key"], body["to"]);
        assert_eq!(message["delivery_mode"], json!(2));
        ids.insert(message["message_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 2_000, "each has an id of its own");
    // Another run over the same input repeats the same ids.
    std::fs::remove_dir_all(bench.path("weir-data")).unwrap();
    assert!(bench.run(&["run", "--once", "weir.yaml"]).status.success());
    let repeated: std::collections::BTreeSet<String> =
        client.read("sent", 3_000).iter().map(|m| m["message_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(repeated, ids);
}

#[test]
fn rabbitmq_message_that_no_queue_takes_becomes_a_dead_letter_with_the_brokers_words() {
    let server = shared();
    let mut client = Client::connect(&server);
    client.bind("some", "some-x", "wanted");
    let bench = bench(&to_exchange(&server, "    exchange: some-x\n    routing_key: { field: to }"));
    // Every kind among the others, so that returns and confirms of many batches cross.
    let to = |n: u32| ["\"wanted\"", "\"wanted\"", "\"elsewhere\"", "[1]"][(n % 4) as usize];
    let lines: String = (0..4_000).map(|n| format!("{{\"n\":{n},\"to\":{}}}\n", to(n))).collect();
    bench.write("in.ndjson", &(lines + &format!("{{\"to\":\"wanted\",\"big\":\"{}\"}}\n", "x".repeat(1_000_001))));
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the dead letters", || bench.lines("failed.ndjson").len() >= 2_001);
    assert_eq!(weir.terminate(), 0);
    let body = |message: &Value| serde_json::from_str::<Value>(message["body"].as_str().unwrap()).unwrap();
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    for message in client.read("some", 10_000) {
        assert_eq!(body(&message)["to"], json!("wanted"));
        *counts.entry(body(&message)["n"].as_u64().unwrap()).or_default() += 1;
    }
    assert_eq!(counts.len(), 2_000, "all that a queue takes is there");
    let failed = bench.lines("failed.ndjson");
    assert_eq!(failed.len(), 2_001);
    let with = |reason: &str| failed.iter().filter(|line| line.contains(reason)).count();
    assert_eq!(with("the broker returned it: 312 NO_ROUTE"), 1_000);
    assert_eq!(with("is neither text nor number"), 1_000);
    assert_eq!(with("the broker takes 1000000 at most"), 1);
}

#[test]
fn rabbitmq_messages_come_out_once_when_weir_is_killed() {
    let server = shared();
    let mut client = Client::connect(&server);
    client.declare("killed", "quorum");
    let bench = bench(&from_queue(&server, "killed", "    prefetch: 500"));
    let mut at_work = 0;
    for round in 0..10 {
        client.numbers("killed", round * 2_000, 2_000);
        let before = bench.size("out.ndjson");
        let weir = bench.start(&["weir.yaml"]);
        std::thread::sleep(Duration::from_millis(150 + round * 67 % 400));
        weir.kill();
        at_work += u32::from(bench.size("out.ndjson") > before);
    }
    assert!(at_work >= 3, "only {at_work} of 10 kills found the appliance at work");
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    assert_each_once(&bench, 20_000);
    assert_eq!(client.waiting("killed"), 0);
}

#[test]
fn rabbitmq_messages_survive_a_broker_that_is_killed() {
    let server = Server::start();
    Client::connect(&server).declare("down", "classic");
    server.sync_declarations();
    let bench = bench(&from_queue(&server, "down", "    prefetch: 300"));
    let mut weir = bench.start(&["weir.yaml"]);
    for round in 0..2 {
        // Published, and partly taken in, when the power goes.
        Client::connect(&server).confirmed_numbers("down", round * 1_000, 1_000);
        server.kill();
        weir.until("the loss to be noticed", || weir_said(&bench, "trying again"));
        server.restart();
    }
    weir.until("all messages", || numbers(&bench).len() == 2_000);
    assert_eq!(weir.terminate(), 0);
    assert_each_once(&bench, 2_000);
}

fn weir_said(bench: &Bench, text: &str) -> bool {
    std::fs::read_to_string(bench.path("weir.log")).unwrap_or_default().contains(text)
}
