//! Tables of Kudu clusters that the operator granted by `grants: { kudu: ENDPOINT }`.
//!
//! ```no_run
//! use weir_plugin::kudu::{self, Cell, Failure, Operation, Rows};
//!
//! fn count(host: &str, load: f64) -> Result<bool, Failure> {
//!     let cluster = kudu::endpoint(""); // the only one that was granted
//!     let mut rows = Rows::new(Operation::Upsert, ["host", "load"]);
//!     rows.push([Cell::Text(host), Cell::Text(&load.to_string())]);
//!     let wrong = cluster.write("loads", vec![rows])?;
//!     Ok(wrong.is_empty())
//! }
//! ```
//!
//! A plugin knows a cluster by name alone: addresses, connections and credentials are the host's. Nothing can be asked while a plugin is
//! being configured.

use crate::bindings::kudu as wit;
use crate::reject::Reject;

pub use crate::cells::{Cell, Cells};
pub use wit::{Column, Hash, NewTable, Operation, WrongRow};

/// Rows of the same columns, with which the same is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// What is done.
    pub operation: Operation,
    /// Their columns; all of the primary key are among them.
    pub columns: Vec<String>,
    /// As many for each row as there are columns.
    pub values: Cells,
}

impl Rows {
    /// None so far.
    pub fn new<S: Into<String>>(operation: Operation, columns: impl IntoIterator<Item = S>) -> Self {
        Rows { operation, columns: columns.into_iter().map(Into::into).collect(), values: Cells::default() }
    }

    /// Adds a row: a value for each column.
    pub fn push<'a>(&mut self, values: impl IntoIterator<Item = Cell<'a>>) {
        values.into_iter().for_each(|cell| self.values.push(cell));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.columns.len()).unwrap_or(0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why something did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It is not allowed, or not well formed.
    Refused(String),
    /// The cluster could not be reached, or did not do it in time. Rows may have been written or not.
    Unavailable(String),
    /// A table or column is not there.
    Missing(String),
}

/// A cluster that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    name: String,
}

/// The cluster of an endpoint; an empty name is that of the only one. Nothing is connected to.
pub fn endpoint(name: &str) -> Endpoint {
    Endpoint { name: name.to_owned() }
}

/// Ends the call of a sink that cannot go on for now: the task begins again from its last commit, with a fresh instance.
pub fn begin_again(why: &str) -> ! {
    #[cfg(target_family = "wasm")]
    wit::begin_again(why);
    #[allow(clippy::panic, reason = "the host does not come back; in tests this is how it looks")]
    {
        panic!("begins again: {why}")
    }
}

#[cfg(target_family = "wasm")]
impl Endpoint {
    /// The columns of a table; none where it is not there.
    pub fn describe(&self, table: &str) -> Result<Option<Vec<Column>>, Failure> {
        wit::describe(&self.name, table).map_err(Failure::of_wit)
    }

    /// Creates a table. One that is there already stays as it is.
    pub fn create(&self, table: &str, definition: &NewTable) -> Result<(), Failure> {
        wit::create(&self.name, table, definition).map_err(Failure::of_wit)
    }

    /// Adds columns to a table. Those that are there already stay as they are.
    pub fn add_columns(&self, table: &str, columns: &[Column]) -> Result<(), Failure> {
        wit::add_columns(&self.name, table, columns).map_err(Failure::of_wit)
    }

    /// Writes rows in their order, and returns those that cannot be written.
    pub fn write(&self, table: &str, rows: Vec<Rows>) -> Result<Vec<WrongRow>, Failure> {
        let of_wit = |Rows { operation, columns, values }| wit::Rows { operation, columns, values: values.into_wit() };
        let rows: Vec<wit::Rows> = rows.into_iter().map(of_wit).collect();
        wit::write(&self.name, table, &rows).map_err(Failure::of_wit)
    }
}

#[cfg(not(target_family = "wasm"))]
impl Endpoint {
    /// The columns of a table; none where it is not there.
    pub fn describe(&self, table: &str) -> Result<Option<Vec<Column>>, Failure> {
        match fake::ask(&self.name, &fake::KuduCall::Describe { table })? {
            fake::KuduAnswer::Columns(columns) => Ok(columns),
            other => Err(other.unexpected()),
        }
    }

    /// Creates a table. One that is there already stays as it is.
    pub fn create(&self, table: &str, definition: &NewTable) -> Result<(), Failure> {
        fake::ask(&self.name, &fake::KuduCall::Create { table, definition }).map(drop)
    }

    /// Adds columns to a table. Those that are there already stay as they are.
    pub fn add_columns(&self, table: &str, columns: &[Column]) -> Result<(), Failure> {
        fake::ask(&self.name, &fake::KuduCall::AddColumns { table, columns }).map(drop)
    }

    /// Writes rows in their order, and returns those that cannot be written.
    pub fn write(&self, table: &str, rows: Vec<Rows>) -> Result<Vec<WrongRow>, Failure> {
        match fake::ask(&self.name, &fake::KuduCall::Write { table, rows: &rows })? {
            fake::KuduAnswer::Wrong(wrong) => Ok(wrong),
            other => Err(other.unexpected()),
        }
    }
}

impl Failure {
    /// It in words.
    pub fn message(&self) -> String {
        match self {
            Failure::Refused(why) => format!("Kudu refuses it: {why}"),
            Failure::Unavailable(why) => format!("Kudu is not available: {why}"),
            Failure::Missing(why) => format!("something is missing in Kudu: {why}"),
        }
    }

    #[cfg(target_family = "wasm")]
    fn of_wit(of: wit::Failure) -> Self {
        match of {
            wit::Failure::Refused(why) => Failure::Refused(why),
            wit::Failure::Unavailable(why) => Failure::Unavailable(why),
            wit::Failure::Missing(why) => Failure::Missing(why),
        }
    }
}

/// It is not displayed as other errors are, so that `?` does not make every failure a reject for good.
impl From<Failure> for Reject {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(_) => Reject::retriable(failure.message()),
            Failure::Refused(_) | Failure::Missing(_) => Reject::permanent(failure.message()),
        }
    }
}

/// What stands in for the host in tests; see [`testing`](crate::testing).
#[cfg(not(target_family = "wasm"))]
pub(crate) mod fake {
    use std::cell::RefCell;

    use super::{Column, Failure, NewTable, Rows, WrongRow};

    /// What a plugin asks of a cluster.
    #[derive(Debug)]
    pub enum KuduCall<'a> {
        /// The columns of a table. Answered by [`KuduAnswer::Columns`].
        Describe {
            /// Which.
            table: &'a str,
        },
        /// A new table. Any answer will do.
        Create {
            /// Its name.
            table: &'a str,
            /// What it is to be.
            definition: &'a NewTable,
        },
        /// New columns of a table. Any answer will do.
        AddColumns {
            /// Which.
            table: &'a str,
            /// The columns.
            columns: &'a [Column],
        },
        /// Rows. Answered by [`KuduAnswer::Wrong`].
        Write {
            /// Of which table.
            table: &'a str,
            /// The rows.
            rows: &'a [Rows],
        },
    }

    /// What a cluster answers.
    #[derive(Debug)]
    pub enum KuduAnswer {
        /// The columns of a table; none where it is not there.
        Columns(Option<Vec<Column>>),
        /// It is done.
        Done,
        /// It is done, but for these rows.
        Wrong(Vec<WrongRow>),
    }

    impl KuduAnswer {
        pub(super) fn unexpected(&self) -> Failure {
            Failure::Refused(format!("the test answers with {self:?}"))
        }
    }

    type Cluster = Box<dyn FnMut(&KuduCall<'_>) -> Result<KuduAnswer, Failure>>;

    thread_local! {
        static CLUSTER: RefCell<Option<Cluster>> = const { RefCell::new(None) };
    }

    /// Has a function answer what plugins on this thread ask of Kudu clusters, from now on. Without one they are refused.
    pub fn serve_kudu(answer: impl FnMut(&KuduCall<'_>) -> Result<KuduAnswer, Failure> + 'static) {
        CLUSTER.set(Some(Box::new(answer)));
    }

    pub(super) fn ask(_endpoint: &str, call: &KuduCall<'_>) -> Result<KuduAnswer, Failure> {
        CLUSTER.with_borrow_mut(|cluster| match cluster {
            Some(answer) => answer(call),
            None => Err(Failure::Refused("no endpoint is granted".into())),
        })
    }
}
