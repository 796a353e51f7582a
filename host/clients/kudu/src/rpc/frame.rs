//! Frames: a length, a header, a body, and what lies beside the body.

use std::io;

use bytes::{Buf, Bytes};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::proto::rpc::{RequestHeader, ResponseHeader};

/// What every connection begins with: the protocol's name and version, the kind of service, and a byte that has no meaning.
pub const PREAMBLE: [u8; 7] = *b"hrpc\x09\0\0";

/// The longest frame that is taken. Servers send no longer ones by default (`--rpc_max_message_size`).
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A frame that was taken apart.
#[derive(Debug)]
pub struct Frame {
    pub header: ResponseHeader,
    /// The body, with everything beside it.
    pub body: Bytes,
}

/// A call as it is sent.
pub fn encode(header: &RequestHeader, body: &impl Message) -> Bytes {
    let length = delimited(header) + delimited(body);
    let mut out = Vec::with_capacity(4 + length);
    // More than a frame may hold is refused by the server; what writes rows keeps far below it.
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    // A vector takes as much as there is.
    let _ = header.encode_length_delimited(&mut out);
    let _ = body.encode_length_delimited(&mut out);
    Bytes::from(out)
}

fn delimited(message: &impl Message) -> usize {
    let length = message.encoded_len();
    length + prost::length_delimiter_len(length)
}

/// Reads one frame and not a byte more.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let mut frame = vec![0; check_length(length)?];
    from.read_exact(&mut frame).await?;
    decode(frame.into())
}

/// The length of a frame, from its first bytes.
pub fn check_length(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(invalid(format!("expected a frame of at most {FRAME_BYTES_MAX} bytes, got {length}")));
    }
    Ok(length)
}

/// Takes a frame apart.
pub fn decode(mut frame: Bytes) -> io::Result<Frame> {
    let header = ResponseHeader::decode_length_delimited(&mut frame).map_err(|error| invalid(error.to_string()))?;
    let length = prost::decode_length_delimiter(&mut frame).map_err(|error| invalid(error.to_string()))?;
    if length > frame.remaining() {
        return Err(invalid(format!("expected a body of {length} bytes, got {}", frame.remaining())));
    }
    Ok(Frame { header, body: frame.split_to(length) })
}

impl Frame {
    /// The body, and what lies beside it.
    pub fn into_parts(self) -> io::Result<(Bytes, Vec<Bytes>)> {
        let mut ends: Vec<usize> = self.header.sidecar_offsets.iter().map(|offset| *offset as usize).collect();
        let Some(first) = ends.first().copied() else { return Ok((self.body, Vec::new())) };
        ends.push(self.body.len());
        if !ends.is_sorted() {
            return Err(invalid(format!("expected offsets in a body of {} bytes, got {ends:?}", self.body.len())));
        }
        let beside = ends.windows(2).filter_map(|pair| Some(self.body.slice(*pair.first()?..*pair.last()?)));
        Ok((self.body.slice(..first), beside.collect()))
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::rpc::{ErrorStatus, RemoteMethod};

    #[test]
    fn a_call_has_varints_before_its_parts() {
        let header = RequestHeader {
            call_id: 300,
            remote_method: Some(RemoteMethod { service_name: "s".to_owned(), method_name: "m".to_owned() }),
            ..RequestHeader::default()
        };
        let body = ErrorStatus { message: "x".repeat(200), code: None };
        let frame = encode(&header, &body);
        let expected_header = [11, 0x18, 0xac, 0x02, 0x32, 6, 0x0a, 1, b's', 0x12, 1, b'm'];
        assert_eq!(&frame[4..16], &expected_header[..]);
        // The body is 203 bytes: a tag, a varint of two bytes, and the text.
        let header_end = 4 + 1 + header.encoded_len();
        assert_eq!(&frame[header_end..header_end + 2], &[0xcb, 0x01]);
        assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
    }

    #[test]
    fn what_lies_beside_the_body_is_told_apart() {
        let frame = |offsets: Vec<u32>| Frame {
            header: ResponseHeader { call_id: 1, is_error: None, sidecar_offsets: offsets },
            body: Bytes::from_static(b"bodyrowstext"),
        };
        let (body, beside) = frame(vec![4, 8]).into_parts().unwrap();
        assert_eq!((body.as_ref(), beside[0].as_ref(), beside[1].as_ref()), (&b"body"[..], &b"rows"[..], &b"text"[..]));
        assert!(frame(vec![8, 4]).into_parts().is_err());
        assert!(frame(vec![13]).into_parts().is_err());
        assert!(frame(vec![]).into_parts().unwrap().1.is_empty());
    }

    #[test]
    fn a_frame_of_another_protocol_is_refused() {
        assert!(check_length(*b"HTTP").is_err());
        assert!(decode(Bytes::from_static(&[0, 200])).is_err());
        assert!(decode(Bytes::from_static(&[2, 8, 1, 5, 0])).is_err());
    }
}
