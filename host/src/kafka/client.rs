//! Settings of a cluster as librdkafka takes them, and what its clients tell of themselves.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;

use super::words;
use crate::config::KafkaCluster;
use crate::metrics::links::LINKS;
use crate::source::Error;

/// The longest pause of librdkafka before it connects again to a broker that is gone.
const RECONNECT_PAUSE_MAX_MS: &str = "1000";

/// What every client of a cluster is set to. Reads the password: it may have changed since the last time.
pub fn settings(cluster: &KafkaCluster) -> Result<ClientConfig, Error> {
    // First of all, so that OpenSSL is set up to do nothing when the process exits: there it would free what threads of
    // librdkafka may still be using, which end when their brokers let them.
    openssl_sys::init();
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Warning);
    config.set("bootstrap.servers", cluster.brokers.join(","));
    config.set("client.id", "weir");
    config.set("reconnect.backoff.max.ms", RECONNECT_PAUSE_MAX_MS);
    config.set("socket.keepalive.enable", "true");
    let protocol = match (&cluster.tls, &cluster.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &cluster.tls {
        let paths = [
            ("ssl.ca.location", tls.ca.as_ref()),
            ("ssl.certificate.location", tls.identity.as_ref().map(|(certificate, _)| certificate)),
            ("ssl.key.location", tls.identity.as_ref().map(|(_, key)| key)),
        ];
        for (name, path) in paths {
            if let Some(path) = path {
                config.set(name, path.to_string_lossy());
            }
        }
        if tls.ca.is_none() {
            // OpenSSL is built into the program, so it does not know where this system keeps them.
            config.set("ssl.ca.location", "probe");
        }
    }
    if let Some(sasl) = &cluster.sasl {
        let password = sasl.password.reveal().map_err(|error| Error::stop(error.to_string()))?;
        config.set("sasl.mechanisms", &sasl.mechanism);
        config.set("sasl.username", &sasl.user);
        config.set("sasl.password", password.expose());
    }
    for (name, value) in &cluster.properties {
        config.set(name, value);
    }
    Ok(config)
}

/// What a client has told of itself, for whoever works with it.
#[derive(Debug, Default)]
pub struct Signals {
    /// Who the client is for, in the log: `source orders`.
    owner: String,
    /// The last error that says why a broker cannot be worked with.
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// No broker can be reached, and that was told.
    is_down: AtomicBool,
    /// Where the end of a partition was last met; -1: nowhere.
    end: AtomicI64,
    /// The ends of partitions, as far as the client knows them.
    ends: Mutex<Vec<(String, i32, i64)>>,
}

impl Signals {
    /// Nothing told yet.
    pub fn new(owner: String) -> Arc<Signals> {
        Arc::new(Signals {
            owner,
            trouble: Mutex::default(),
            is_down: AtomicBool::new(false),
            end: AtomicI64::new(-1),
            ends: Mutex::default(),
        })
    }

    /// The last error that says why a broker cannot be worked with.
    pub fn trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A broker has answered: what was wrong before is over.
    pub fn works(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.is_down.swap(false, Ordering::Relaxed) {
            LINKS.of(&self.owner).up();
            tracing::info!("{}: a broker answers again", self.owner);
        }
    }

    /// The offset behind the last record of the partition whose end was met last.
    pub fn take_end(&self) -> Option<i64> {
        Some(self.end.swap(-1, Ordering::Relaxed)).filter(|end| *end >= 0)
    }

    /// The end of each partition that the client reads, as far as it has been told since the last call.
    pub fn take_ends(&self) -> Vec<(String, i32, i64)> {
        std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn error(&self, error: &KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PartitionEOF) => self.end.store(end_in(reason).unwrap_or(-1), Ordering::Relaxed),
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                let why = self.trouble().map(|(_, why)| format!(" ({why})")).unwrap_or_default();
                if !self.is_down.swap(true, Ordering::Relaxed) {
                    LINKS.of(&self.owner).down();
                    tracing::warn!("{}: no broker can be reached{why}; trying again", self.owner);
                }
            }
            Some(code) if words::says_why(code) => {
                tracing::debug!("{}: {reason}", self.owner);
                let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                // A refused login is followed by lost connections, which say less.
                if !trouble.as_ref().is_some_and(|(known, _)| words::is_refusal(*known) && !words::is_refusal(code)) {
                    *trouble = Some((code, words::shortened(reason)));
                }
            }
            _ => tracing::debug!("{}: {error}: {reason}", self.owner),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        LINKS.forget(&self.owner);
    }
}

/// The offset in `Fetch from broker 1 reached end of partition at offset 42 (HighwaterMark 42)`: librdkafka's only way to
/// tell it that its Rust binding passes on.
fn end_in(reason: &str) -> Option<i64> {
    let (_, rest) = reason.split_once("at offset ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What a consumer or administrator calls back.
#[derive(Debug, Clone)]
pub struct Context(pub Arc<Signals>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(&self.0.owner, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut ends = Vec::new();
        for topic in statistics.topics.into_values() {
            let known = topic.partitions.values().filter(|of| of.partition >= 0 && of.ls_offset >= 0);
            ends.extend(known.map(|of| (topic.topic.clone(), of.partition, of.ls_offset)));
        }
        *self.0.ends.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }
}

impl ConsumerContext for Context {
    fn commit_callback(
        &self,
        result: rdkafka::error::KafkaResult<()>,
        _: &rdkafka::topic_partition_list::TopicPartitionList,
    ) {
        if let Err(error) = result {
            tracing::debug!("{}: the group's offsets, which are advice, could not be committed: {error}", self.0.owner);
        }
    }
}

/// Passes on what librdkafka logs. Its errors come as errors too, and are told in words there.
pub fn log(owner: &str, level: RDKafkaLogLevel, facility: &str, message: &str) {
    let mut text = String::new();
    let _ = write!(text, "{owner}: librdkafka {facility}: {message}");
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => tracing::warn!("{text}"),
        _ => tracing::debug!("{text}"),
    }
}

impl Context {
    /// A client's ear for an owner.
    pub fn new(owner: String) -> Context {
        Context(Signals::new(owner))
    }
}

/// A producer's context hears the same signals.
impl Signals {
    /// See [`ClientContext::error`].
    pub fn on_error(&self, error: &KafkaError, reason: &str) {
        self.error(error, reason);
    }

    /// See [`ClientContext::log`].
    pub fn on_log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(&self.owner, level, facility, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_partition_is_read_from_its_message() {
        let reason = "Fetch from broker 1 reached end of partition at offset 4711 (HighwaterMark 4711)";
        assert_eq!(end_in(reason), Some(4711));
        assert_eq!(end_in("Broker: something else"), None);
    }

    #[test]
    fn a_refused_login_is_not_covered_by_a_lost_connection() {
        let signals = Signals::new("source a".into());
        signals.error(&KafkaError::Global(RDKafkaErrorCode::Authentication), "wrong password");
        signals.error(&KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "disconnected");
        assert_eq!(signals.trouble().unwrap().1, "wrong password");
        signals.works();
        assert!(signals.trouble().is_none());
    }
}
