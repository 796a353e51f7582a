//! Calls over connections: framing, negotiation, encryption, many calls on one connection, one connection to a server. Must
//! not know tables.

mod connection;
mod frame;
mod handshake;
mod negotiate;
mod pool;
mod tls;

pub use connection::Call;
pub use pool::{Peer, Pool};
