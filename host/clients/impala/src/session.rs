//! A session: statements, one after the other, each begun, watched, fetched and closed.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::codec::{Reader, Writer};
use crate::error::{Error, Result};
use crate::literal::Dialect;
use crate::message::{self, Identifier, Operation, Progress};
use crate::options::{Login, Options};
use crate::rows::{self, Answer, Budget};
use crate::transport::{Failure, Transport};

/// The longest answer beside rows: the message of a failure may hold the trace of many a thread.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// What a message with rows may have beside them.
const BESIDE_ROWS_BYTES: usize = 1 << 20;

/// For so long past its deadline a statement is cancelled and its last answer awaited. Hive and Spark answer a question about a statement
/// after 5 s where nothing changes; most often they end it by themselves before that, as they are told how long it may take.
const CANCEL_MAX: Duration = Duration::from_secs(6);

/// The call that hands a statement over.
const EXECUTE: &str = "ExecuteStatement";

/// The call that asks for rows.
const FETCH: &str = "FetchResults";

/// How long a session may take to end.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// How long to wait before it is asked again whether a statement is done: grows from the one to the other.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// A session at a server, for one statement at a time. What is dropped without [`Session::close`] the server ends when it sees that
/// the connection is gone.
pub struct Session {
    transport: Transport,
    identifier: Identifier,
    /// Of the last call.
    number: i32,
    /// Whether no statement is on its way, and none has left something behind.
    is_usable: bool,
    /// Whether an answer is missing, or was not understood.
    is_broken: bool,
    /// Whether the statement was handed over.
    is_sent: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("is_usable", &self.is_usable).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, logs in and opens a session.
    pub async fn open(options: &Options) -> Result<Session> {
        options.login.check()?;
        let opened = timeout(options.connect_timeout, Self::opened(options)).await;
        opened.unwrap_or_else(|_| {
            let Options { host, port, connect_timeout, .. } = options;
            Err(Error::Connect(format!("{host}:{port}: not within {} ms", connect_timeout.as_millis())))
        })
    }

    async fn opened(options: &Options) -> Result<Session> {
        let transport = Transport::connect(options).await?;
        let identifier = Identifier::default();
        let mut session =
            Session { transport, identifier, number: 0, is_usable: true, is_broken: false, is_sent: false };
        let user = match &options.login {
            Login::None => None,
            Login::Plain { user, .. } => Some(user.as_str()),
        };
        let settings = settings(options);
        let write = |writer: &mut Writer| message::write_open(writer, user, &settings);
        let opened = session.call("OpenSession", MESSAGE_BYTES_MAX, write, message::read_open).await;
        session.identifier = opened.map_err(|error| match error {
            Error::Broken { reason, .. } => Error::Connect(format!("while a session was opened: {reason}")),
            other => other,
        })?;
        Ok(session)
    }

    /// Carries out a statement and fetches its rows, of so many bytes of memory at most.
    ///
    /// At `until` it is cancelled at the server; that takes six seconds at most. Where the server has not answered by then, or where this
    /// future is dropped, the session is not usable any more.
    ///
    /// # Errors
    /// Errors of the statement leave the session usable. See [`Error::leaves_doubt`] for what may have been done.
    pub async fn execute(&mut self, sql: &str, until: Instant, bytes_max: usize) -> Result<Answer> {
        if !self.is_usable {
            return Err(Error::Broken { reason: "the session is not usable any more".to_owned(), is_sent: false });
        }
        (self.is_usable, self.is_sent) = (false, false);
        let Ok(done) = timeout_at(until + CANCEL_MAX, self.run(sql, until, Budget::new(bytes_max))).await else {
            return Err(Error::Timeout);
        };
        self.is_usable = !self.is_broken;
        done
    }

    /// Whether another statement can be given. Once it is not, it never is again.
    pub fn is_usable(&self) -> bool {
        self.is_usable
    }

    /// Ends the session at the server, within five seconds.
    pub async fn close(mut self) {
        if self.is_usable {
            let identifier = self.identifier.clone();
            let write = |writer: &mut Writer| message::write_session(writer, &identifier);
            let closed = self.call("CloseSession", MESSAGE_BYTES_MAX, write, message::read_status);
            // The server ends it when the connection is gone, too.
            let _ = timeout(CLOSE_MAX, closed).await;
        }
    }

    async fn run(&mut self, sql: &str, until: Instant, budget: Budget) -> Result<Answer> {
        let identifier = self.identifier.clone();
        let limit = until.saturating_duration_since(Instant::now());
        let write = |writer: &mut Writer| message::write_execute(writer, &identifier, sql, limit);
        let operation = self.call(EXECUTE, MESSAGE_BYTES_MAX, write, message::read_execute).await?;
        let answer = self.result(&operation, until, budget).await;
        if matches!(answer, Err(Error::Timeout)) {
            self.about("CancelOperation", &operation).await;
        }
        self.about("CloseOperation", &operation).await;
        answer
    }

    async fn result(&mut self, operation: &Operation, until: Instant, budget: Budget) -> Result<Answer> {
        let (affected, has_rows) = self.done(operation, until).await?;
        let mut answer = Answer { affected: affected.or(operation.affected()), ..Answer::default() };
        if has_rows.unwrap_or(operation.has_rows) {
            let write = |writer: &mut Writer| operation.write(writer);
            answer.columns = self.call("GetResultSetMetadata", MESSAGE_BYTES_MAX, write, rows::read_columns).await?;
            answer.rows = self.rows(operation, answer.columns.len(), until, budget).await?;
        }
        Ok(answer)
    }

    /// Waits until a statement is done.
    async fn done(&mut self, operation: &Operation, until: Instant) -> Result<(Option<u64>, Option<bool>)> {
        let mut pause = PAUSE_MIN;
        loop {
            let write = |writer: &mut Writer| operation.write(writer);
            let progress = self.call("GetOperationStatus", MESSAGE_BYTES_MAX, write, message::read_progress).await?;
            if let Progress::Done { affected, has_rows } = progress {
                return Ok((affected, has_rows));
            }
            in_time(until)?;
            sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
    }

    /// Fetches all rows.
    async fn rows(
        &mut self,
        operation: &Operation,
        width: usize,
        until: Instant,
        budget: Budget,
    ) -> Result<Vec<Vec<rows::Value>>> {
        let (mut all, mut budget) = (Vec::new(), budget);
        // On the wire a value is never longer than in memory.
        let bytes_max = budget.max().saturating_add(BESIDE_ROWS_BYTES);
        loop {
            in_time(until)?;
            let write = |writer: &mut Writer| rows::write_fetch(writer, operation);
            let message = self.exchange(FETCH, bytes_max, write).await.map_err(|error| match error {
                Error::TooLarge(_) => Error::TooLarge(budget.max()),
                other => other,
            })?;
            let fetched = self.read(FETCH, &message, |reader| rows::read_fetch(reader, width, &mut budget))?;
            if fetched.rows.is_empty() && !fetched.has_more {
                return Ok(all);
            }
            if fetched.rows.is_empty() {
                sleep(PAUSE_MIN).await;
            }
            all.extend(fetched.rows);
        }
    }

    /// Asks that an operation ends. If it does not, it goes with the session.
    async fn about(&mut self, method: &'static str, operation: &Operation) {
        if !self.is_broken {
            let write = |writer: &mut Writer| operation.write(writer);
            let _ = self.call(method, MESSAGE_BYTES_MAX, write, message::read_status).await;
        }
    }

    /// Calls a method and reads its answer.
    async fn call<T>(
        &mut self,
        method: &'static str,
        bytes_max: usize,
        write: impl FnOnce(&mut Writer) -> Result<()>,
        read: impl Fn(&mut Reader<'_>) -> Result<T>,
    ) -> Result<T> {
        let answer = self.exchange(method, bytes_max, write).await?;
        self.read(method, &answer, read)
    }

    /// Calls a method, and returns its answer unread.
    async fn exchange(
        &mut self,
        method: &'static str,
        bytes_max: usize,
        write: impl FnOnce(&mut Writer) -> Result<()>,
    ) -> Result<Vec<u8>> {
        self.number = self.number.wrapping_add(1);
        let request = Writer::call(method, self.number, write)?;
        self.is_sent |= method == EXECUTE;
        let mut answer = self.transport.send(&request).await;
        if answer.is_ok() {
            match self.transport.receive(bytes_max).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => answer = Err(failure),
            }
        }
        self.is_broken = true;
        Err(match answer {
            Err(Failure::Strange(error)) => error,
            Err(Failure::TooLarge) if method == FETCH => Error::TooLarge(bytes_max),
            Err(Failure::TooLarge) => Error::protocol(&format!("at most {bytes_max} bytes for {method}"), "more"),
            Err(Failure::Lost(reason)) => Error::Broken { reason, is_sent: self.is_sent },
            Ok(()) => Error::protocol("an answer", "none"),
        })
    }

    /// Reads an answer, and notes whether another can follow it.
    fn read<T>(
        &mut self,
        method: &'static str,
        answer: &[u8],
        read: impl FnMut(&mut Reader<'_>) -> Result<T>,
    ) -> Result<T> {
        let read = Reader::new(answer)?.reply(method, self.number, read);
        read.map_err(|error| match error {
            // A session that the server has forgotten has begun nothing.
            Error::Broken { reason, .. } => {
                self.is_broken = true;
                Error::Broken { reason, is_sent: self.is_sent && method != EXECUTE }
            }
            Error::Protocol(reason) => {
                self.is_broken = true;
                Error::Protocol(format!("{method}: {reason}"))
            }
            other => other,
        })
    }
}

fn in_time(until: Instant) -> Result<()> {
    if Instant::now() < until { Ok(()) } else { Err(Error::Timeout) }
}

/// The settings of a session as the protocol has them. Hive and Spark take no notice of one that does not say what kind it is.
fn settings(options: &Options) -> Vec<(String, String)> {
    let (kind, ours): (_, &[_]) = match options.dialect {
        Dialect::Spark => {
            ("set:hiveconf:", &["spark.sql.variable.substitute", "spark.sql.parser.escapedStringLiterals"])
        }
        Dialect::Hive => ("set:hiveconf:", &["hive.variable.substitute"]),
        Dialect::Impala => ("", &[]),
    };
    // Values are written so that nothing in them is substituted, which is the lock on that door; this is one more. Escapes are what
    // values are written with.
    let ours = ours.iter().map(|name| ((*name).to_owned(), "false".to_owned()));
    let all = options.settings.iter().cloned().chain(ours);
    let mut settings: Vec<_> = all.map(|(name, value)| (format!("{kind}{name}"), value)).collect();
    settings.extend(options.database.iter().map(|database| ("use:database".to_owned(), database.clone())));
    settings
}
