//! Errors of librdkafka in words that say what to do, and whether they may heal.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Signals;
use crate::config::KafkaCluster;
use crate::source::Error;

/// What an error is about, in the words of its message.
pub struct Doing<'a> {
    /// Where.
    pub cluster: &'a KafkaCluster,
    /// What was done: `read the topic orders`.
    pub what: &'a str,
    /// What the user would have to be allowed to: `Read and Describe on the topic orders`.
    pub needs: &'a str,
}

/// Whether an error says why a broker cannot be worked with.
pub fn says_why(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{BrokerTransportFailure, OperationTimedOut, Resolve};
    is_refusal(code) || matches!(code, BrokerTransportFailure | Resolve | OperationTimedOut)
}

/// Whether the broker was reached and will not have us: trying again gives the same answer.
pub fn is_refusal(code: RDKafkaErrorCode) -> bool {
    is_login(code) || is_denial(code) || code == RDKafkaErrorCode::SSL
}

fn is_login(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{Authentication, IllegalSASLState, SaslAuthenticationFailed, UnsupportedSASLMechanism};
    matches!(code, Authentication | SaslAuthenticationFailed | UnsupportedSASLMechanism | IllegalSASLState)
}

fn is_denial(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed,
        TransactionalIdAuthorizationFailed,
    };
    matches!(
        code,
        ClusterAuthorizationFailed
            | GroupAuthorizationFailed
            | TopicAuthorizationFailed
            | TransactionalIdAuthorizationFailed
    )
}

fn is_missing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    matches!(code, UnknownTopic | UnknownTopicOrPartition | UnknownPartition)
}

fn is_fatal(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_fatal())
}

impl Doing<'_> {
    /// The error in words. What the client told of itself says more than an operation that timed out.
    pub fn failed(&self, error: &KafkaError, signals: &Signals) -> Error {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let (code, reason) = match signals.trouble() {
            Some((why, reason)) if !is_refusal(code) && !is_missing(code) && !is_fatal(error) => (why, reason),
            _ => (code, reason_of(error)),
        };
        self.failed_with(code, &reason)
    }

    /// The same of a code and what was said with it.
    pub fn failed_with(&self, code: RDKafkaErrorCode, reason: &str) -> Error {
        let (Doing { what, needs, .. }, brokers) = (self, self.cluster.brokers.join(", "));
        if is_login(code) {
            return Error::stop(self.login(reason));
        }
        if code == RDKafkaErrorCode::SSL {
            return Error::stop(format!(
                "cannot {what}: TLS with {brokers} failed: {reason}; look at `tls`: `ca` has to hold who signed the brokers' certificate, \
                 and the brokers may want a `certificate` and `key` of the client"
            ));
        }
        if is_denial(code) {
            let who =
                self.cluster.sasl.as_ref().map_or("this client".to_owned(), |sasl| format!("the user {}", sasl.user));
            return Error::stop(format!("cannot {what}: {who} is not allowed to ({reason}); grant {needs}"));
        }
        if is_missing(code) {
            return Error::stop(format!(
                "cannot {what}: there is no such topic at {brokers}; make it, or correct the name"
            ));
        }
        match code {
            RDKafkaErrorCode::InvalidTransactionTimeout => Error::stop(format!(
                "cannot {what}: {reason}; set `transaction.timeout.ms` under `properties` to what the brokers allow"
            )),
            RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve => {
                Error::retry(format!("cannot {what}: no broker of {brokers} can be reached: {reason}"))
            }
            _ => Error::retry(format!("cannot {what}: {reason}")),
        }
    }

    fn login(&self, reason: &str) -> String {
        let brokers = self.cluster.brokers.join(", ");
        match &self.cluster.sasl {
            Some(sasl) => format!(
                "{brokers} refuses the login of the user {} by {}: {reason}; look at `sasl`: the mechanism, the user and the password",
                sasl.user,
                sasl.mechanism.to_lowercase()
            ),
            None => format!("{brokers} wants a login: {reason}; give it one under `sasl`"),
        }
    }
}

/// A client that cannot even be made: a file that cannot be read, or a setting that contradicts another.
pub fn not_created(error: &KafkaError) -> Error {
    let reason = match error {
        KafkaError::ClientConfig(_, reason, name, _) => format!("{name}: {reason}"),
        KafkaError::ClientCreation(reason) => reason.clone(),
        other => other.to_string(),
    };
    let message = format!("librdkafka refuses its settings: {reason}; look at `tls` and `properties`");
    Error::stop(message)
}

/// What the code means, without the name that the binding gives it.
pub fn reason_of(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => error.to_string(),
        other => other.rdkafka_error_code().map_or_else(|| other.to_string(), meaning),
    }
}

/// What a code means, in librdkafka's words.
pub fn meaning(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    let inner = text.split_once(" (").and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or_else(
        || text.clone(),
        |inner| inner.trim_start_matches("Broker: ").trim_start_matches("Local: ").to_owned(),
    )
}

/// librdkafka begins with the connection's name and ends with the state that it was in.
pub fn shortened(reason: &str) -> String {
    let reason = reason.split_once(": ").filter(|(name, _)| name.contains("://")).map_or(reason, |(_, rest)| rest);
    reason.split(" (after ").next().unwrap_or(reason).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Disposition;

    fn cluster() -> KafkaCluster {
        KafkaCluster { brokers: vec!["kafka:9092".into()], tls: None, sasl: None, properties: Default::default() }
    }

    #[test]
    fn what_cannot_heal_stops_and_all_else_is_tried_again() {
        let cluster = cluster();
        let doing = Doing { cluster: &cluster, what: "read the topic t", needs: "Read on the topic t" };
        for code in [
            RDKafkaErrorCode::Authentication,
            RDKafkaErrorCode::SSL,
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::UnknownTopicOrPartition,
        ] {
            assert_eq!(doing.failed_with(code, "x").disposition, Disposition::Stop, "{code:?}");
        }
        for code in [RDKafkaErrorCode::AllBrokersDown, RDKafkaErrorCode::OperationTimedOut, RDKafkaErrorCode::Resolve] {
            assert_eq!(doing.failed_with(code, "x").disposition, Disposition::Retry, "{code:?}");
        }
    }

    #[test]
    fn the_reason_that_the_client_told_is_said_instead_of_a_timeout() {
        let cluster = cluster();
        let doing = Doing { cluster: &cluster, what: "read the topic t", needs: "Read on the topic t" };
        let signals = Signals::new("source s".into());
        signals.on_error(
            &KafkaError::Global(RDKafkaErrorCode::SSL),
            "ssl://kafka:9092/bootstrap: verify failed (after 3ms in state X)",
        );
        let error = doing.failed(&KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut), &signals);
        assert!(error.message.contains("kafka:9092 failed: verify failed; look at `tls`"), "{error}");
    }

    #[test]
    fn meanings_are_those_of_librdkafka_without_names() {
        assert_eq!(meaning(RDKafkaErrorCode::OffsetOutOfRange), "Offset out of range");
    }
}
