//! The bytes of a TLS handshake, inside messages of the negotiation as Kudu has them; afterwards bytes pass as they are.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::frame;
use crate::proto::rpc::{ErrorStatus, Negotiate, RequestHeader, step};

/// The call id of all messages of the negotiation.
pub const NEGOTIATION_CALL: i32 = -33;

/// A connection whose bytes are wrapped in messages until [`Handshake::finish`].
#[derive(Debug)]
pub struct Handshake {
    tcp: TcpStream,
    is_wrapped: bool,
    /// Written by TLS, and not yet put into a message: a message holds all that TLS wants to say in one go.
    said: Vec<u8>,
    sending: Bytes,
    /// The frame that is being read.
    frame: Vec<u8>,
    /// How many of its bytes are there.
    filled: usize,
    /// Taken out of messages, for TLS to read.
    heard: Bytes,
}

impl Handshake {
    /// Wraps what is sent from now on.
    pub fn new(tcp: TcpStream) -> Self {
        let (said, frame) = (Vec::new(), vec![0; LENGTH_BYTES]);
        Handshake { tcp, is_wrapped: true, said, sending: Bytes::new(), frame, filled: 0, heard: Bytes::new() }
    }

    /// From now on bytes pass as they are.
    pub fn finish(&mut self) {
        self.is_wrapped = false;
    }

    /// Sends what was said as one message.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said.is_empty() {
            let said = Bytes::from(std::mem::take(&mut self.said));
            let message = Negotiate { step: step::TLS_HANDSHAKE, tls_handshake: Some(said), ..Negotiate::default() };
            let header = RequestHeader { call_id: NEGOTIATION_CALL, ..RequestHeader::default() };
            self.sending = frame::encode(&header, &message);
        }
        while !self.sending.is_empty() {
            let sent = ready!(Pin::new(&mut self.tcp).poll_write(context, &self.sending))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sending.advance(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads one message, and not a byte more.
    fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Some(rest) = self.frame.get_mut(self.filled..).filter(|rest| !rest.is_empty()) {
                let mut buffer = ReadBuf::new(rest);
                ready!(Pin::new(&mut self.tcp).poll_read(context, &mut buffer))?;
                match buffer.filled().len() {
                    0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    read => self.filled += read,
                }
            }
            if self.filled == LENGTH_BYTES {
                let length = self.frame.first_chunk::<LENGTH_BYTES>().copied().unwrap_or_default();
                self.frame.resize(LENGTH_BYTES + frame::check_length(length)?, 0);
                continue;
            }
            let mut frame = Bytes::from(std::mem::replace(&mut self.frame, vec![0; LENGTH_BYTES]));
            self.filled = 0;
            frame.advance(LENGTH_BYTES);
            self.heard = heard(frame)?;
            return Poll::Ready(Ok(()));
        }
    }
}

const LENGTH_BYTES: usize = 4;

fn heard(frame: Bytes) -> io::Result<Bytes> {
    let frame = frame::decode(frame)?;
    if frame.header.is_error() {
        let status = ErrorStatus::decode(frame.body).map_err(io::Error::other)?;
        return Err(io::Error::other(status.message));
    }
    let message = Negotiate::decode(frame.body).map_err(io::Error::other)?;
    match message.tls_handshake {
        Some(bytes) if message.step == step::TLS_HANDSHAKE => Ok(bytes),
        _ => Err(io::Error::other(format!("expected a step of the TLS handshake, got step {}", message.step))),
    }
}

impl AsyncRead for Handshake {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.heard.is_empty() {
            if !this.is_wrapped {
                return Pin::new(&mut this.tcp).poll_read(context, buffer);
            }
            ready!(this.poll_send(context))?;
            while this.heard.is_empty() {
                ready!(this.poll_hear(context))?;
            }
        }
        let taken = this.heard.split_to(this.heard.len().min(buffer.remaining()));
        buffer.put_slice(&taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Handshake {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.is_wrapped {
            return Pin::new(&mut this.tcp).poll_write(context, bytes);
        }
        this.said.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_wrapped {
            ready!(this.poll_send(context))?;
        }
        Pin::new(&mut this.tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }
}
