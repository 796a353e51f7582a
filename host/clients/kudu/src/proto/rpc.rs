//! Headers of calls, the negotiation of a connection, and the tokens that a master hands out.

use bytes::Bytes;
use prost::Message;

/// Features of a connection, as both sides tell them when it begins.
pub mod feature {
    pub const APPLICATION_FEATURE_FLAGS: i32 = 1;
    pub const TLS: i32 = 2;
}

/// Steps of the negotiation.
pub mod step {
    pub const SASL_SUCCESS: i32 = 0;
    pub const NEGOTIATE: i32 = 1;
    pub const SASL_INITIATE: i32 = 2;
    pub const SASL_CHALLENGE: i32 = 3;
    pub const TLS_HANDSHAKE: i32 = 5;
    pub const TOKEN_EXCHANGE: i32 = 6;
}

/// What a call as a whole may fail with. Those that begin with `FATAL` end the connection.
pub mod code {
    pub const SERVER_TOO_BUSY: i32 = 4;
    pub const REQUEST_STALE: i32 = 6;
    pub const UNAVAILABLE: i32 = 7;
    pub const FATAL_SERVER_SHUTTING_DOWN: i32 = 11;
    pub const FATAL_INVALID_AUTHENTICATION_TOKEN: i32 = 16;
    pub const INVALID_AUTHORIZATION_TOKEN: i32 = 17;
}

#[derive(Clone, PartialEq, Message)]
pub struct RequestHeader {
    #[prost(int32, required, tag = "3")]
    pub call_id: i32,
    #[prost(message, optional, tag = "6")]
    pub remote_method: Option<RemoteMethod>,
    #[prost(uint32, optional, tag = "10")]
    pub timeout_millis: Option<u32>,
    #[prost(uint32, repeated, packed = "false", tag = "11")]
    pub required_feature_flags: Vec<u32>,
    #[prost(message, optional, tag = "15")]
    pub request_id: Option<RequestId>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RemoteMethod {
    #[prost(string, required, tag = "1")]
    pub service_name: String,
    #[prost(string, required, tag = "2")]
    pub method_name: String,
}

/// Names a request across its attempts, so that a server which has carried it out answers as it did then.
#[derive(Clone, PartialEq, Message)]
pub struct RequestId {
    #[prost(string, required, tag = "1")]
    pub client_id: String,
    #[prost(int64, required, tag = "2")]
    pub seq_no: i64,
    #[prost(int64, required, tag = "3")]
    pub first_incomplete_seq_no: i64,
    #[prost(int64, required, tag = "4")]
    pub attempt_no: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ResponseHeader {
    #[prost(int32, required, tag = "1")]
    pub call_id: i32,
    #[prost(bool, optional, tag = "2")]
    pub is_error: Option<bool>,
    #[prost(uint32, repeated, packed = "false", tag = "3")]
    pub sidecar_offsets: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ErrorStatus {
    #[prost(string, required, tag = "1")]
    pub message: String,
    #[prost(int32, optional, tag = "2")]
    pub code: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Negotiate {
    #[prost(int32, repeated, packed = "false", tag = "1")]
    pub supported_features: Vec<i32>,
    #[prost(int32, required, tag = "2")]
    pub step: i32,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub token: Option<Bytes>,
    #[prost(message, repeated, tag = "4")]
    pub sasl_mechanisms: Vec<SaslMechanism>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub tls_handshake: Option<Bytes>,
    #[prost(message, repeated, tag = "7")]
    pub authn_types: Vec<AuthenticationType>,
    #[prost(message, optional, tag = "8")]
    pub authn_token: Option<SignedToken>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SaslMechanism {
    #[prost(string, required, tag = "2")]
    pub mechanism: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct AuthenticationType {
    #[prost(oneof = "Authentication", tags = "1, 2, 3")]
    pub kind: Option<Authentication>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Authentication {
    #[prost(message, tag = "1")]
    Sasl(Empty),
    #[prost(message, tag = "2")]
    Token(Empty),
    #[prost(message, tag = "3")]
    Certificate(Empty),
}

#[derive(Clone, PartialEq, Message)]
pub struct Empty {}

/// The first message after the negotiation; nothing of it is of use to this client.
#[derive(Clone, PartialEq, Message)]
pub struct ConnectionContext {}

/// Signed by a master, and opaque to clients.
#[derive(Clone, PartialEq, Message)]
pub struct SignedToken {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub token_data: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub signature: Option<Bytes>,
    #[prost(int64, optional, tag = "3")]
    pub signing_key_seq_num: Option<i64>,
}
