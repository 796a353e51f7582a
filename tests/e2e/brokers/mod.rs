//! RabbitMQ and Kafka, in and out, with real servers, read back by clients that are not Weir's.

mod account;
mod failures;
mod flow;
mod kill;
mod slow;
mod state;
