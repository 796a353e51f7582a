//! One connection: calls go out in turn, and answers come back in any order, each to who waits for it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::frame;
use super::negotiate::Duplex;
use crate::error::{Error, Result};
use crate::proto::rpc::{ErrorStatus, RemoteMethod, RequestHeader, RequestId, code};

/// Calls that wait to be sent on one connection. What they hold is bounded in bytes by who makes them.
const QUEUE_MAX: usize = 64;

/// What is read in one go; larger frames are read past this buffer.
const READ_BYTES: usize = 64 * 1024;

/// What is called, and how long it may take.
pub struct Call {
    pub service: &'static str,
    pub method: &'static str,
    pub until: Instant,
    /// Where the server remembers answers, the name of the request across its tries.
    pub id: Option<RequestId>,
}

/// An answer: the body, and what lies beside it.
#[derive(Debug)]
pub struct Response {
    pub body: Bytes,
    pub beside: Vec<Bytes>,
}

/// A connection that was negotiated.
#[derive(Debug)]
pub struct Connection {
    address: String,
    outgoing: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<i32, oneshot::Sender<Result<Response, Failure>>>,
    last_id: i32,
    /// How many frames have come.
    heard: u64,
    /// Why the connection is of no more use.
    broken: Option<String>,
    /// Those that read and write: ended when it breaks, as a server that hangs would hold them up.
    tasks: Vec<AbortHandle>,
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    /// The connection is of no more use.
    Broken(String),
    /// The server refused this call.
    Refused(ErrorStatus),
    /// The answer makes no sense.
    Garbled(String),
}

impl Connection {
    /// Takes over a connection that was negotiated.
    pub fn new(address: String, stream: Box<dyn Duplex>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let (outgoing, queue) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        // Held until both are known, so that neither can break it off before.
        let mut state = shared.lock();
        let reading = tokio::spawn(read(BufReader::with_capacity(READ_BYTES, reader), Arc::clone(&shared)));
        let writing = tokio::spawn(write(writer, queue, Arc::clone(&shared)));
        state.tasks = vec![reading.abort_handle(), writing.abort_handle()];
        drop(state);
        Connection { address, outgoing, shared }
    }

    /// The host and port of the server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it can still be used.
    pub fn is_alive(&self) -> bool {
        self.shared.lock().broken.is_none() && !self.outgoing.is_closed()
    }

    /// Calls, and waits for the answer.
    pub async fn call(&self, call: &Call, request: &impl Message) -> Result<Response> {
        let (sender, answer) = oneshot::channel();
        let (id, heard) = self.shared.begin(sender).map_err(|reason| self.lost(reason))?;
        // Forgets the call when this future is dropped, too.
        let _waiting = Waiting { shared: &self.shared, id };
        let frame = frame::encode(&header(call, id), request);
        let work = async {
            if self.outgoing.send(frame).await.is_err() {
                return Err(Failure::Broken("it was closed".to_owned()));
            }
            answer.await.unwrap_or_else(|_| Err(Failure::Broken("it was closed".to_owned())))
        };
        match tokio::time::timeout_at(call.until, work).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(failure)) => Err(self.error(call, failure)),
            Err(_) => {
                self.shared.suspect(heard);
                Err(self.lost(format!("{} was not answered in time", call.method)))
            }
        }
    }

    fn error(&self, call: &Call, failure: Failure) -> Error {
        match failure {
            Failure::Broken(reason) => self.lost(reason),
            Failure::Garbled(got) => Error::protocol(&self.address, "an answer", got),
            Failure::Refused(status) => {
                let (code, message) = (status.code(), status.message);
                Error::Call { address: self.address.clone(), method: call.method, code, message }
            }
        }
    }

    fn lost(&self, reason: String) -> Error {
        Error::ConnectionLost { address: self.address.clone(), reason }
    }
}

fn header(call: &Call, id: i32) -> RequestHeader {
    let left = call.until.saturating_duration_since(Instant::now()).as_millis();
    RequestHeader {
        call_id: id,
        remote_method: Some(RemoteMethod {
            service_name: call.service.to_owned(),
            method_name: call.method.to_owned(),
        }),
        timeout_millis: Some(u32::try_from(left).unwrap_or(u32::MAX).max(1)),
        required_feature_flags: Vec::new(),
        request_id: call.id.clone(),
    }
}

/// A call whose answer is waited for.
struct Waiting<'a> {
    shared: &'a Shared,
    id: i32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.lock().calls.remove(&self.id);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a call its id. Also returns how many frames had come by then.
    fn begin(&self, sender: oneshot::Sender<Result<Response, Failure>>) -> Result<(i32, u64), String> {
        let mut state = self.lock();
        if let Some(reason) = &state.broken {
            return Err(reason.clone());
        }
        // Ids below 0 are those of the negotiation.
        state.last_id = state.last_id.checked_add(1).unwrap_or_default();
        let id = state.last_id;
        state.calls.insert(id, sender);
        Ok((id, state.heard))
    }

    /// A call was not answered in time. Where nothing at all came meanwhile, nobody may be there any more.
    fn suspect(&self, heard: u64) {
        if self.lock().heard == heard {
            self.break_off("nothing came in time");
        }
    }

    fn break_off(&self, reason: &str) {
        let mut state = self.lock();
        state.broken.get_or_insert_with(|| reason.to_owned());
        for (_, call) in state.calls.drain() {
            // Who waited may have gone.
            let _ = call.send(Err(Failure::Broken(reason.to_owned())));
        }
        state.tasks.iter().for_each(AbortHandle::abort);
    }

    /// Hands an answer to who waits for it. An error says why the connection cannot go on.
    fn deliver(&self, frame: frame::Frame) -> Result<(), String> {
        let (id, is_error) = (frame.header.call_id, frame.header.is_error());
        let answer = if is_error { refused(&frame.body) } else { answered(frame) };
        let fatal = match &answer {
            Err(Failure::Refused(status)) if is_fatal(status) => Some(status.message.clone()),
            _ => None,
        };
        let call = {
            let mut state = self.lock();
            state.heard += 1;
            state.calls.remove(&id)
        };
        if let Some(call) = call {
            let _ = call.send(answer);
        }
        fatal.map_or(Ok(()), Err)
    }
}

fn answered(frame: frame::Frame) -> Result<Response, Failure> {
    let (body, beside) = frame.into_parts().map_err(|error| Failure::Garbled(error.to_string()))?;
    Ok(Response { body, beside })
}

fn refused(body: &Bytes) -> Result<Response, Failure> {
    let status = ErrorStatus::decode(body.clone()).map_err(|error| Failure::Garbled(error.to_string()))?;
    Err(Failure::Refused(status))
}

fn is_fatal(status: &ErrorStatus) -> bool {
    let code = status.code();
    code >= FIRST_FATAL && code != code::INVALID_AUTHORIZATION_TOKEN
}

/// From this number on an error ends the connection, with one exception.
const FIRST_FATAL: i32 = 10;

async fn read(mut from: BufReader<ReadHalf<Box<dyn Duplex>>>, shared: Arc<Shared>) {
    loop {
        let delivered = match frame::read(&mut from).await {
            Ok(frame) => shared.deliver(frame),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err("the server closed it".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = delivered {
            shared.break_off(&reason);
            return;
        }
    }
}

/// Sends what is queued until nobody holds the connection any more, or it breaks.
async fn write(mut to: WriteHalf<Box<dyn Duplex>>, mut queue: mpsc::Receiver<Bytes>, shared: Arc<Shared>) {
    while let Some(frame) = queue.recv().await {
        let sent = async {
            to.write_all(&frame).await?;
            // What is queued already goes out with it.
            while let Ok(frame) = queue.try_recv() {
                to.write_all(&frame).await?;
            }
            to.flush().await
        };
        if let Err(error) = sent.await {
            shared.break_off(&error.to_string());
            return;
        }
    }
    let _ = to.shutdown().await;
    shared.break_off("it was closed");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::rpc::ResponseHeader;

    fn call(within_ms: u64) -> Call {
        let until = Instant::now() + Duration::from_millis(within_ms);
        Call { service: "s", method: "m", until, id: None }
    }

    fn answer(id: i32, message: &str) -> Vec<u8> {
        let header = ResponseHeader { call_id: id, is_error: Some(true), sidecar_offsets: Vec::new() };
        let body = ErrorStatus { message: message.to_owned(), code: Some(code::SERVER_TOO_BUSY) };
        let mut frame = Vec::new();
        header.encode_length_delimited(&mut frame).unwrap();
        body.encode_length_delimited(&mut frame).unwrap();
        [&(frame.len() as u32).to_be_bytes()[..], &frame].concat()
    }

    #[tokio::test]
    async fn answers_find_who_waits_whatever_their_order() {
        let (client, mut server) = tokio::io::duplex(1024);
        let connection = Connection::new("a:1".to_owned(), Box::new(client));
        let (first, second) = (call(5_000), call(5_000));
        let request = ErrorStatus::default();
        let calls = async { tokio::join!(connection.call(&first, &request), connection.call(&second, &request)) };
        let serve = async {
            server.write_all(&[answer(2, "two"), answer(1, "one")].concat()).await.unwrap();
        };
        let ((one, two), ()) = tokio::join!(calls, serve);
        assert!(one.unwrap_err().to_string().ends_with("one"));
        assert!(two.unwrap_err().to_string().ends_with("two"));
        assert!(connection.is_alive());
        drop(server);
        let error = connection.call(&call(5_000), &request).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
        assert!(!connection.is_alive());
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_comes_is_given_up() {
        let (client, _server) = tokio::io::duplex(1024);
        let connection = Connection::new("a:1".to_owned(), Box::new(client));
        let error = connection.call(&call(20), &ErrorStatus::default()).await.unwrap_err();
        assert_eq!(error.to_string(), "lost the connection to a:1: m was not answered in time");
        assert!(!connection.is_alive());
    }

    #[tokio::test]
    async fn a_server_that_reads_nothing_holds_up_nobody() {
        let (client, server) = tokio::io::duplex(16);
        let connection = Connection::new("a:1".to_owned(), Box::new(client));
        let request = ErrorStatus { message: "x".repeat(1_000), code: None };
        assert!(connection.call(&call(20), &request).await.is_err());
        // The other end sees that both halves are gone, though nothing of the call was ever read.
        let (mut from, _to) = tokio::io::split(server);
        let mut rest = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut from, &mut rest);
        let read = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap().unwrap();
        assert_eq!(read, 16);
    }
}
