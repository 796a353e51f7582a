//! What can be wrong with a broker or with what was asked of it: each is found by `weir check --connect` before a run, ends a
//! run with exit code 69 where it cannot heal, and is retried where it can.

use std::time::{Duration, Instant};

use super::flow::{number, rabbitmq, with_head, write_secrets};
use crate::harness::Bench;
use crate::proxy::Proxy;
use crate::services::{Facts, address, unique};

/// One thing that is wrong: the source and the sink of a pipeline, and words that the message has to contain.
struct Wrong {
    name: &'static str,
    source: String,
    sink: String,
    said: &'static [&'static str],
}

fn pipeline(source: &str, sink: &str) -> String {
    with_head(&format!(
        "
sources: {{ in: {{ {source} }} }}
pipelines: {{ pass: {{ from: in, to: out }} }}
sinks: {{ out: {{ {sink} }} }}
"
    ))
}

/// How long a run may take to find what is wrong, on a machine whose other tests keep the brokers busy.
const PATIENCE: Duration = Duration::from_secs(120);

const DEMO: &str = "type: demo, count: 10";
const STDOUT: &str = "type: stdout";

impl Wrong {
    fn source(name: &'static str, source: String, said: &'static [&'static str]) -> Self {
        Wrong { name, source, sink: STDOUT.to_owned(), said }
    }

    fn sink(name: &'static str, sink: String, said: &'static [&'static str]) -> Self {
        Wrong { name, source: DEMO.to_owned(), sink, said }
    }

    /// What is not as it should be, in words.
    fn objections(&self, facts: &Facts) -> Vec<String> {
        let bench = Bench::new();
        write_secrets(&bench, facts);
        bench.write("weir.yaml", &pipeline(&self.source, &self.sink));
        let checked = bench.run(&["check", "--connect", "weir.yaml"]);
        let said = [checked.stdout, checked.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        let mut objections = self.object("check --connect", checked.status.code(), &said);
        let code = bench.start(&["weir.yaml"]).end_within(PATIENCE);
        objections.extend(self.object("run", code, &bench.lines("weir.log").join("\n")));
        objections
    }

    fn object(&self, command: &str, code: Option<i32>, said: &str) -> Vec<String> {
        // Reports are drawn in lines of limited width.
        let flat = said.split(|c: char| c.is_whitespace() || c == '│').filter(|word| !word.is_empty());
        let flat = flat.collect::<Vec<_>>().join(" ").to_lowercase();
        let silent = self.said.iter().filter(|words| !flat.contains(**words));
        let mut objections: Vec<String> = silent.map(|words| format!("does not say `{words}`")).collect();
        if code != Some(69) {
            objections.push(format!("ended with {code:?}, not 69"));
        }
        if flat.contains("weir-secret") {
            objections.push("tells the password".to_owned());
        }
        objections
            .iter()
            .map(|objection| format!("{}: weir {command} {objection}; it said: {said}\n", self.name))
            .collect()
    }
}

/// All cases are tried before the first objection ends the test.
fn assert_all_found(cases: &[Wrong], facts: &Facts) {
    let objections: Vec<String> = cases.iter().flat_map(|wrong| wrong.objections(facts)).collect();
    assert!(objections.is_empty(), "{} objections:\n{}", objections.len(), objections.join("\n"));
}

fn rabbitmq_tls(facts: &Facts, ca: &str) -> String {
    let url = facts.text("rabbitmq", "amqps");
    let ca = facts.text("rabbitmq", ca);
    format!("type: rabbitmq, url: '{url}', password: {{ secret: rabbitmq }}, tls: {{ ca: '{ca}' }}")
}

fn kafka(facts: &Facts) -> String {
    format!("type: kafka, brokers: ['{}']", facts.text("kafka", "bootstrap"))
}

fn kafka_sasl(facts: &Facts, ca: &str, user: &str) -> String {
    let (address, ca) = (facts.text("kafka", "sasl_ssl"), facts.text("kafka", ca));
    let sasl = format!("{{ mechanism: scram-sha-512, user: {user}, password: {{ secret: kafka }} }}");
    format!("type: kafka, brokers: ['{address}'], tls: {{ ca: '{ca}' }}, sasl: {sasl}")
}

/// The pipeline file's secret of that name is another one: `weir` is asked with a wrong password.
fn with_wrong_password(settings: &str) -> String {
    settings.replace("secret: rabbitmq", "secret: wrong").replace("secret: kafka", "secret: wrong")
}

fn rabbitmq_cases(facts: &Facts) -> Vec<Wrong> {
    let name = unique("failures");
    let base = rabbitmq(facts, facts.rabbitmq_address());
    let elsewhere = base.replace("/%2f", "/nowhere");
    // A user of the broker who may do nothing there.
    let user = unique("limited");
    facts.rabbitmqctl(&["add_user", &user, facts.text("rabbitmq", "password")]);
    facts.rabbitmqctl(&["set_permissions", "-p", "/", &user, "", "", ""]);
    let limited = base.replace("amqp://weir@", &format!("amqp://{user}@"));
    facts.ask(&["rabbit-declare", "--url", &url(facts), "--queue", &name, "--type", "classic"]);
    vec![
        Wrong::source("wrong password", with_wrong_password(&format!("{base}, queue: {name}")), &["password"]),
        Wrong::source("unknown vhost", format!("{elsewhere}, queue: {name}"), &["nowhere", "vhost"]),
        Wrong::source("no such queue", format!("{base}, queue: no-such-queue"), &["no-such-queue", "declare"]),
        Wrong::source(
            "wrong authority",
            format!("{}, queue: {name}", rabbitmq_tls(facts, "other_ca")),
            &["certificate", "ca"],
        ),
        Wrong::source("no right to read", format!("{limited}, queue: {name}"), &["failures", "permission"]),
        Wrong::sink(
            "wrong password",
            with_wrong_password(&format!("{base}, exchange: '', routing_key: x")),
            &["password"],
        ),
        Wrong::sink(
            "no such exchange",
            format!("{base}, exchange: no-such-exchange, routing_key: x"),
            &["no-such-exchange"],
        ),
        Wrong::sink(
            "no right to write",
            format!("{limited}, exchange: amq.topic, routing_key: x"),
            &["amq.topic", "permission"],
        ),
    ]
}

fn kafka_cases(facts: &Facts) -> Vec<Wrong> {
    let name = unique("failures");
    let base = kafka(facts);
    let weir = kafka_sasl(facts, "ca", "weir");
    let stranger = kafka_sasl(facts, "ca", facts.text("kafka", "stranger"));
    let foreign = kafka_sasl(facts, "other_ca", "weir");
    let bootstrap = facts.text("kafka", "bootstrap");
    facts.ask(&["kafka-create", "--bootstrap", bootstrap, "--topic", &name, "--partitions", "1"]);
    vec![
        Wrong::source("no such topic", format!("{base}, topics: [no-such-topic]"), &["no-such-topic"]),
        Wrong::source("wrong password", with_wrong_password(&format!("{weir}, topics: [{name}]")), &["password"]),
        Wrong::source("wrong authority", format!("{foreign}, topics: [{name}]"), &["certificate", "ca"]),
        Wrong::source("no right to read", format!("{stranger}, topics: [{name}]"), &["failures", "grant"]),
        Wrong::sink("no such topic", format!("{base}, topic: no-such-topic"), &["no-such-topic", "create"]),
        Wrong::sink("wrong password", with_wrong_password(&format!("{weir}, topic: {name}")), &["password"]),
        Wrong::sink("wrong authority", format!("{foreign}, topic: {name}"), &["certificate", "ca"]),
        Wrong::sink("no right to write", format!("{stranger}, topic: {name}"), &["failures", "grant"]),
    ]
}

fn url(facts: &Facts) -> String {
    facts.rabbitmq_url(facts.rabbitmq_address())
}

#[test]
fn what_is_wrong_with_rabbitmq_is_found_and_named() {
    let facts = Facts::shared();
    assert_all_found(&rabbitmq_cases(&facts), &facts);
}

#[test]
fn what_is_wrong_with_kafka_is_found_and_named() {
    let facts = Facts::shared();
    assert_all_found(&kafka_cases(&facts), &facts);
}

#[test]
fn brokers_that_are_down_at_the_start_are_waited_for() {
    let facts = Facts::shared();
    let bench = Bench::new();
    write_secrets(&bench, &facts);
    let (kafka, rabbit) = (Proxy::listen(), Proxy::listen());
    let bootstrap = facts.text("kafka", "bootstrap");
    let late = unique("late");
    facts.ask(&["rabbit-declare", "--url", &url(&facts), "--queue", &late, "--type", "classic"]);
    facts.ask(&["kafka-create", "--bootstrap", bootstrap, "--topic", &late, "--partitions", "1"]);
    facts.put(&["kafka-put", "--bootstrap", bootstrap, "--topic", &late], "{\"n\":1}\n{\"n\":2}\n");
    let source = format!("type: kafka, brokers: ['127.0.0.1:{}'], topics: [{late}]", kafka.port());
    let sink = rabbitmq(&facts, &format!("127.0.0.1:{}", rabbit.port()));
    bench.write("weir.yaml", &pipeline(&source, &format!("{sink}, exchange: '', routing_key: {late}")));
    let checked = bench.run(&["check", "--connect", "weir.yaml"]);
    assert_eq!(checked.status.code(), Some(69), "{checked:?}");
    let mut weir = bench.start(&["weir.yaml"]);
    let log = bench.path("weir.log");
    let speaks_of = |port: u16| std::fs::read_to_string(&log).unwrap_or_default().contains(&port.to_string());
    weir.until("words on Kafka", || speaks_of(kafka.port()));
    let patient_until = Instant::now() + Duration::from_secs(3);
    weir.until("that it goes on trying", || Instant::now() > patient_until);
    kafka.forward_to(address(bootstrap));
    weir.until("words on RabbitMQ", || speaks_of(rabbit.port()));
    rabbit.forward_to(address(facts.rabbitmq_address()));
    let mut numbers = Vec::new();
    weir.until("both messages", || {
        let messages = facts.read(&["rabbit-read", "--url", &url(&facts), "--queue", &late]);
        numbers.extend(messages.iter().map(|message| number(message, "n")));
        numbers.len() >= 2
    });
    assert_eq!(weir.terminate(), 0);
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
}
