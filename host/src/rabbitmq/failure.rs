//! What went wrong with a broker, in words that say what to do, and whether it heals by itself.

use std::io;

use lapin::ErrorKind;
use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPHardError, AMQPSoftError};

use super::address;
use crate::config::rabbitmq::{RabbitmqLogin, RabbitmqServer};

/// Why something with a broker failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What happened, and what to do.
    pub message: String,
    /// Whether it may be well later without anybody doing something.
    pub heals: bool,
}

/// What is known of a channel that the broker has closed, once its reason has passed by.
const CHANNEL_CLOSED: &str = "the channel is closed";

impl Failure {
    /// Whether the broker has given a reason that this does not tell: to do the same again may bring it.
    pub fn hides_the_reason(&self) -> bool {
        self.message.contains(CHANNEL_CLOSED)
    }

    /// One that may heal.
    pub fn passing(message: impl Into<String>) -> Self {
        Failure { message: message.into(), heals: true }
    }

    /// One that somebody has to act on.
    pub fn lasting(message: impl Into<String>) -> Self {
        Failure { message: message.into(), heals: false }
    }
}

/// Says what an error on an open connection means.
pub fn explain(error: &lapin::Error) -> Failure {
    match error.kind() {
        ErrorKind::ProtocolError(error) => answer(error),
        ErrorKind::IOError(error) => Failure::passing(format!("the connection was lost: {error}")),
        ErrorKind::MissingHeartbeatError => Failure::passing("the connection was silent for too long and was given up"),
        ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidChannel(_) => Failure::passing(CHANNEL_CLOSED),
        ErrorKind::InvalidConnectionState(_) => Failure::passing("the connection is closed"),
        _ => Failure::passing(error.to_string()),
    }
}

/// Says what an answer of the broker calls for.
fn answer(error: &AMQPError) -> Failure {
    let text = error.get_message().to_string();
    let code = error.get_id();
    match error.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) if text.contains("no queue") => {
            lasting(code, &text, "create the queue, or let Weir do it: `declare: {}`")
        }
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) if text.contains("no exchange") => {
            lasting(code, &text, "create the exchange, or correct its name")
        }
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => lasting(
            code,
            &text,
            "give the user the permission (rabbitmqctl set_permissions: configure to declare, write to publish, read to consume)",
        ),
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if text.contains("inequivalent") => {
            lasting(code, &text, "it exists and is not what `declare` says: correct `declare`, or delete what exists")
        }
        AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => lasting(
            code,
            &text,
            "correct the virtual host at the end of `url`, or create it, and give the user access to it",
        ),
        AMQPErrorKind::Hard(AMQPHardError::NOTIMPLEMENTED) => {
            Failure::lasting(format!("the broker cannot do what it was asked ({code} {text})"))
        }
        AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED) => {
            Failure::passing(format!("the broker ended the connection ({code} {text})"))
        }
        _ => Failure::passing(format!("the broker answered {code} {text}")),
    }
}

fn lasting(code: u16, text: &str, help: &str) -> Failure {
    Failure::lasting(format!("the broker answered {code} {text}; {help}"))
}

/// Says why a broker did not let us in.
pub fn refused(error: &lapin::Error, server: &RabbitmqServer) -> Failure {
    let at = address(server);
    match error.kind() {
        ErrorKind::ProtocolError(error) if error.get_message().as_str().contains("Login was refused") => {
            let who = match &server.login {
                RabbitmqLogin::Plain { user, .. } => {
                    format!("the login of `{user}`; check the user in `url` and its `password`")
                }
                RabbitmqLogin::External => {
                    "the login by certificate; check that the broker has a user of the certificate's name, and the mechanism EXTERNAL".into()
                }
            };
            Failure::lasting(format!("{at} refused {who} ({} {})", error.get_id(), error.get_message()))
        }
        ErrorKind::ProtocolError(error) => {
            let failure = answer(error);
            Failure { message: format!("{at}: {}", failure.message), ..failure }
        }
        ErrorKind::InvalidProtocolVersion(version) => {
            Failure::lasting(format!("{at} speaks AMQP {version}, not 0-9-1; is it RabbitMQ?"))
        }
        ErrorKind::IOError(error) if server.tls.is_none() => Failure::passing(format!(
            "{at} ended the connection before it let us in ({error}); if the port is one for TLS, write `amqps://`"
        )),
        ErrorKind::IOError(error) => at_tls(&alert(error), error, &at),
        ErrorKind::ParsingError(_) => Failure::lasting(format!("what {at} answers is not AMQP; is the port right?")),
        _ => Failure::passing(format!("{at} did not let us in: {error}")),
    }
}

/// Says why TLS could not be agreed upon.
pub fn tls(error: &io::Error, at: &str) -> Failure {
    at_tls(&alert(error), error, at)
}

/// The error of the TLS stack within one of the system.
fn alert(error: &io::Error) -> Option<rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned()
}

fn at_tls(alert: &Option<rustls::Error>, error: &io::Error, at: &str) -> Failure {
    match alert {
        Some(rustls::Error::InvalidCertificate(why)) => Failure::lasting(format!(
            "the certificate of {at} is not trusted: {why}; name the authority that signed it by `tls: {{ca: FILE}}`, and write the host as the certificate has it"
        )),
        Some(rustls::Error::AlertReceived(why)) => Failure::lasting(format!(
            "{at} refused our side of TLS ({why:?}); if it wants a client certificate, name one by `tls: {{certificate: FILE, key: FILE}}`"
        )),
        Some(rustls::Error::InvalidMessage(_)) => {
            Failure::lasting(format!("{at} does not speak TLS; is the port right, or should the URL be `amqp://`?"))
        }
        Some(other) => Failure::lasting(format!("no TLS with {at}: {other}")),
        None => Failure::passing(format!("{at} ended the connection while TLS was agreed upon: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: u16, text: &str) -> Failure {
        explain(&ErrorKind::ProtocolError(AMQPError::from_id(code, text.into()).unwrap()).into())
    }

    #[test]
    fn what_an_operator_has_to_do_is_said_and_what_heals_is_known() {
        let lasting = [
            (404, "NOT_FOUND - no queue 'auth' in vhost '/'", "declare"),
            (404, "NOT_FOUND - no exchange 'logs' in vhost '/'", "create the exchange"),
            (403, "ACCESS_REFUSED - access to queue 'auth' in vhost '/' refused for user 'weir'", "set_permissions"),
            (406, "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'auth'", "correct `declare`"),
            (530, "NOT_ALLOWED - vhost nope not found", "virtual host"),
        ];
        for (code, text, help) in lasting {
            let failure = of(code, text);
            assert!(!failure.heals && failure.message.contains(text) && failure.message.contains(help), "{failure}");
        }
        let passing = [
            (404, "NOT_FOUND - home node 'a@b' of durable queue 'auth' in vhost '/' is down or inaccessible"),
            (405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'auth'"),
            (406, "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out"),
            (320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"),
            (541, "INTERNAL_ERROR"),
        ];
        for (code, text) in passing {
            let failure = of(code, text);
            assert!(failure.heals && failure.message.contains(text), "{failure}");
        }
    }
}
