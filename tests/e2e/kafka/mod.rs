//! Kafka in and out, against a real broker, read back by clients that are not Weir's.

mod client;
mod dead;
mod faults;
mod flow;
mod server;
