//! A client of RabbitMQ that is not ours: Python's pika, told what to do line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::server::Server;
use crate::services::Facts;

/// The script that does it.
const SCRIPT: &str = include_str!("client.py");

/// A connected client.
pub struct Client {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    pub fn connect(server: &Server) -> Self {
        let mut process = Command::new(Facts::shared().text("clients", "python"))
            .args(["-c", SCRIPT, &server.port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Client { process, commands, answers }
    }

    fn ask(&mut self, command: Value) -> Value {
        writeln!(self.commands, "{command}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{command} failed"))
    }

    /// Creates a queue of a type: `classic`, `quorum` or `stream`.
    pub fn declare(&mut self, queue: &str, kind: &str) {
        self.ask(json!({"do": "declare", "queue": queue, "kind": kind}));
    }

    /// Creates a classic queue bound to a topic exchange.
    pub fn bind(&mut self, queue: &str, exchange: &str, key: &str) {
        self.ask(json!({"do": "declare", "queue": queue, "kind": "classic", "exchange": exchange, "key": key}));
    }

    pub fn delete(&mut self, queue: &str) {
        self.ask(json!({"do": "delete", "queue": queue}));
    }

    /// Publishes messages `{body, properties}`.
    pub fn publish(&mut self, queue: &str, messages: Value) {
        self.ask(json!({"do": "publish", "queue": queue, "messages": messages}));
    }

    /// Publishes `number N` for each N, with the number as message-id.
    pub fn numbers(&mut self, queue: &str, first: u64, count: u64) {
        self.ask(json!({"do": "numbers", "queue": queue, "first": first, "count": count}));
    }

    /// As [`Client::numbers`], each on the broker's disk before the next.
    pub fn confirmed_numbers(&mut self, queue: &str, first: u64, count: u64) {
        self.ask(json!({"do": "numbers", "queue": queue, "first": first, "count": count, "confirmed": true}));
    }

    /// Publishes messages of so many bytes.
    pub fn large(&mut self, queue: &str, count: u64, size: usize) {
        self.ask(json!({"do": "large", "queue": queue, "count": count, "size": size}));
    }

    /// How many messages wait.
    pub fn waiting(&mut self, queue: &str) -> u64 {
        self.ask(json!({"do": "waiting", "queue": queue})).as_u64().unwrap()
    }

    /// Consumes a queue, and takes so many messages without acknowledging them.
    pub fn hold(&mut self, queue: &str, count: usize) {
        let held = self.ask(json!({"do": "hold", "queue": queue, "count": count}));
        assert_eq!(held.as_array().unwrap().len(), count);
    }

    /// Takes messages, at most so many.
    pub fn read(&mut self, queue: &str, count: usize) -> Vec<Value> {
        self.ask(json!({"do": "read", "queue": queue, "count": count})).as_array().unwrap().clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
