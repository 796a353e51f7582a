//! The messages of Kudu's protocol that this client sends and reads, with the field numbers of Kudu 1.18. Fields that it
//! does not use are left out: decoding skips them. Must not know what the messages are used for.

pub mod common;
pub mod master;
pub mod rpc;
pub mod tserver;
