//! A client of HiveServer2, the protocol of Impala, Hive and Spark: sessions, statements, their rows.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use impala_client::{Dialect, Literal, Login, Options, Session, bind};
//! use tokio::time::Instant;
//!
//! let mut session = Session::open(&Options {
//!     host: "impala-1".to_owned(),
//!     port: 21050,
//!     dialect: Dialect::Impala,
//!     login: Login::Plain { user: "etl".to_owned(), password: "open sesame".to_owned() },
//!     tls: None,
//!     connect_timeout: Duration::from_secs(10),
//!     settings: Vec::new(),
//!     database: Some("shop".to_owned()),
//! })
//! .await?;
//! let sql = bind(Dialect::Impala, "SELECT price FROM items WHERE name = ?", &[Literal::Text("it's")])?;
//! let answer = session.execute(&sql, Instant::now() + Duration::from_secs(30), 1 << 20).await?;
//! for row in answer.rows {
//!     println!("{row:?}");
//! }
//! session.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! What it leaves to the caller: nothing is tried again, and a session whose connection was lost has to be opened anew. What it does
//! not know: Kerberos, HTTP as transport, answers as Arrow or compressed columns, and what Impala alone has beside the protocol, such
//! as how many rows an INSERT refused.

mod codec;
mod error;
mod literal;
mod message;
mod options;
mod rows;
mod scan;
mod session;
mod transport;

pub use error::{Error, Result};
pub use literal::{BindError, Dialect, Literal, bind, quote};
pub use options::{Login, Options};
pub use rows::{Answer, Column, Value};
pub use session::Session;
