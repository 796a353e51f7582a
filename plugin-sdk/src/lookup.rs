//! Lookups by key, in directories and databases that the operator granted by `grants: { lookup: ENDPOINT }`.
//!
//! ```no_run
//! use weir_plugin::lookup::{self, Answer, Cell, Failure};
//!
//! fn owner(host: &str) -> Result<Option<String>, Failure> {
//!     let assets = lookup::endpoint(""); // the only one that was granted
//!     let query = "SELECT owner, site FROM hosts WHERE name = ?";
//!     let answers = assets.find(query, 1, &[Cell::Text(host)].into_iter().collect())?;
//!     Ok(answers.first().and_then(|answer| match answer {
//!         Answer::Found(json) => Some(json.clone()), // {"owner":"ops","site":7}
//!         Answer::Missing | Answer::Wrong(_) => None,
//!     }))
//! }
//! ```
//!
//! A plugin knows an endpoint by name alone: address, connections, credentials and the filter of a directory are the host's, which keeps
//! answers as long as the endpoint says. Nothing can be asked while a plugin is being configured, but [`Endpoint::check`].

use crate::bindings::lookup as wit;

pub use crate::cells::{Cell, Cells};

/// What was found for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Missing,
    /// A JSON object.
    Found(String),
    /// The server does not take the key, or its answer is too large: why.
    Wrong(String),
}

/// Why there are no answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It is not allowed, or not well formed.
    Refused(String),
    /// The server could not be asked.
    Unavailable(String),
}

impl Failure {
    /// It in words.
    pub fn message(&self) -> String {
        match self {
            Failure::Refused(why) => format!("the lookup is refused: {why}"),
            Failure::Unavailable(why) => format!("the lookup is not available: {why}"),
        }
    }

    fn of_wit(of: wit::Failure) -> Self {
        match of {
            wit::Failure::Refused(why) => Failure::Refused(why),
            wit::Failure::Unavailable(why) => Failure::Unavailable(why),
        }
    }
}

/// What was granted to look things up in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    name: String,
}

/// That of a name; an empty one is that of the only one.
pub fn endpoint(name: &str) -> Endpoint {
    Endpoint { name: name.to_owned() }
}

/// Ends the call of a plugin that cannot go on for now: the task begins again from its last commit, with a fresh instance.
pub fn begin_again(why: &str) -> ! {
    #[cfg(target_family = "wasm")]
    wit::begin_again(why);
    #[allow(clippy::panic, reason = "the host does not come back; in tests this is how it looks")]
    {
        panic!("begins again: {why}")
    }
}

impl Endpoint {
    /// Whether it is granted, and can be asked by such a query with so many values for each key. Asks nobody.
    pub fn check(&self, query: &str, width: usize) -> Result<(), Failure> {
        #[cfg(target_family = "wasm")]
        let checked = wit::check(&self.name, query, width as u32);
        #[cfg(not(target_family = "wasm"))]
        let checked = fake::check(&self.name, query, width);
        checked.map_err(Failure::of_wit)
    }

    /// What is found for each key, of `width` values each: of a directory by the filter of the endpoint, and an empty query; of a
    /// database by a query with as many placeholders. At most 100,000 values.
    pub fn find(&self, query: &str, width: usize, keys: &Cells) -> Result<Vec<Answer>, Failure> {
        #[cfg(target_family = "wasm")]
        let found = wit::find(&self.name, query, width as u32, &keys.clone().into_wit()).map(Cells::of_wit);
        #[cfg(not(target_family = "wasm"))]
        let found = fake::find(&self.name, query, width, keys);
        let answer = |cell: Cell<'_>| match cell {
            Cell::Null => Answer::Missing,
            Cell::Text(json) => Answer::Found(json.to_owned()),
            Cell::Bytes(why) => Answer::Wrong(String::from_utf8_lossy(why).into_owned()),
        };
        Ok(found.map_err(Failure::of_wit)?.iter().map(answer).collect())
    }
}

/// What stands in for the host in tests; see [`testing`](crate::testing).
#[cfg(not(target_family = "wasm"))]
pub(crate) mod fake {
    use std::cell::RefCell;

    use super::{Answer, Cell, Cells, Failure, wit};

    /// What a plugin asks.
    #[derive(Debug, Clone, Copy)]
    pub struct LookupCall<'a> {
        /// The endpoint, as the plugin names it.
        pub endpoint: &'a str,
        /// Of a database.
        pub query: &'a str,
        /// Values of a key.
        pub width: usize,
        /// The keys, one after the other; none where it is but checked whether they could be asked for.
        pub keys: &'a Cells,
    }

    type Answers = Box<dyn FnMut(LookupCall<'_>) -> Result<Vec<Answer>, Failure>>;

    thread_local! {
        static ANSWERS: RefCell<Option<Answers>> = const { RefCell::new(None) };
    }

    /// Has the lookups of plugins on this thread answered by a function, from now on. Without one they are refused.
    pub fn serve_lookup(answer: impl FnMut(LookupCall<'_>) -> Result<Vec<Answer>, Failure> + 'static) {
        ANSWERS.set(Some(Box::new(answer)));
    }

    pub(super) fn check(endpoint: &str, query: &str, width: usize) -> Result<(), wit::Failure> {
        find(endpoint, query, width, &Cells::default()).map(drop)
    }

    pub(super) fn find(endpoint: &str, query: &str, width: usize, keys: &Cells) -> Result<Cells, wit::Failure> {
        let found = ANSWERS.with_borrow_mut(|answers| match answers {
            Some(answer) => answer(LookupCall { endpoint, query, width, keys }),
            None => Err(Failure::Refused("the step was granted no endpoint".into())),
        });
        let found = found.map_err(|failure| match failure {
            Failure::Refused(why) => wit::Failure::Refused(why),
            Failure::Unavailable(why) => wit::Failure::Unavailable(why),
        })?;
        let cells = found.iter().map(|answer| match answer {
            Answer::Missing => Cell::Null,
            Answer::Found(json) => Cell::Text(json),
            Answer::Wrong(why) => Cell::Bytes(why.as_bytes()),
        });
        Ok(cells.collect())
    }
}
