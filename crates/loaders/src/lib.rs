//! Data from outside as pairs of a key and a value: tables, dictionaries, databases.
//!
//! A source is read once, from its beginning to its end, in memory that does not grow with it. What it has comes as
//! [`Item`]s: a [`Pair`], or a [`Reject`] that says why a row is none. Both know where in the source they are. What ends
//! the whole reading is a [`SourceError`].
//!
//! | source | rows | module |
//! |---|---|---|
//! | csv | one a record, the first names the columns | [`csv`] |
//! | json | an object is a dictionary, an array has an object a row | [`json`] |
//! | ndjson | an object a line; also what `chordata dump` writes ([`dump`]) | [`ndjson`] |
//! | parquet | feature `parquet` | `parquet` |
//! | Arrow IPC: files, streams, Feather version 2 | feature `arrow` | `arrow` |
//! | SQLite, PostgreSQL, MySQL, MariaDB, SQL Server | feature `sql` | `sql` |
//!
//! Which columns are key and value is a [`Choice`]: the only two of a table unless it says more. Values keep the type
//! that their source gives them ([`Cell`]): a number of a database is a number in a row that is stored as JSON, a field of
//! a CSV file is text.
//!
//! This crate knows nothing of where the pairs go: no limits of keys and values, no network but to databases.
//!
//! ```
//! use std::ops::ControlFlow;
//! use chordata_loaders::{Choice, Item, csv};
//!
//! let mut pairs = Vec::new();
//! let text = "city;founded\rBerlin;1237\rBonn;11 BC\r";
//! csv::read(text.as_bytes(), &csv::Options::default(), &Choice::default(), &mut |item| {
//!     if let Item::Pair(pair) = item {
//!         pairs.push(pair.value);
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! assert_eq!(pairs, [b"1237".to_vec(), b"11 BC".to_vec()]);
//! # Ok::<(), chordata_loaders::SourceError>(())
//! ```

#[cfg(feature = "arrow")]
pub mod arrow;
#[cfg(any(feature = "arrow", feature = "parquet"))]
mod batches;
mod cell;
mod choice;
pub mod csv;
pub mod dump;
pub mod encoding;
pub mod json;
pub mod ndjson;
#[cfg(feature = "parquet")]
pub mod parquet;
#[cfg(feature = "sql")]
pub mod sql;

use std::fmt;
use std::ops::ControlFlow;

pub use cell::Cell;
pub use choice::{Choice, ValueChoice};
pub use encoding::Encoding;

/// The longest row that is read, in bytes: memory must not grow with a quote that nobody closed. Tests have less of it.
pub const ROW_BYTES_MAX: usize = if cfg!(test) { 1024 * 1024 } else { 16 * 1024 * 1024 };

/// Where in its source something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Which row it is, from 1; a CSV file's header is none.
    pub row: u64,
    /// The line on which it begins, from 1, where the source has lines.
    pub line: Option<u64>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}"),
            None => write!(f, "row {}", self.row),
        }
    }
}

/// What a pair is to be stored under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PairKey {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A literal place of the store, as its dump names it.
    Id(String),
}

/// A key and its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// The key.
    pub key: PairKey,
    /// The value.
    pub value: Vec<u8>,
    /// When it ends, in milliseconds since 1970; none: never. Only what was dumped has it.
    pub expires_at_ms: Option<u64>,
    /// Where it was.
    pub position: Position,
}

/// A row that is no pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reject {
    /// Where it is.
    pub position: Position,
    /// Why.
    pub reason: String,
    /// What is there, as far as it helps to find it.
    pub row: String,
}

/// What a source has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A pair.
    Pair(Pair),
    /// A row that is none.
    Reject(Reject),
}

impl Item {
    /// Where it is.
    pub fn position(&self) -> Position {
        match self {
            Item::Pair(pair) => pair.position,
            Item::Reject(reject) => reject.position,
        }
    }

    pub(crate) fn reject(position: Position, reason: impl Into<String>, row: &str) -> Item {
        /// As much of a row as is shown.
        const SHOWN: usize = 1000;
        let end = row.char_indices().nth(SHOWN).map_or(row.len(), |(end, _)| end);
        Item::Reject(Reject { position, reason: reason.into(), row: row[..end].to_owned() })
    }
}

/// Takes what a source has; a break ends the reading.
pub type Sink<'a> = &'a mut dyn FnMut(Item) -> ControlFlow<()>;

/// Why a source cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Mend the source, or say something else about it.
    #[error("{0}")]
    Input(String),
    /// Look at the file or its disk.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// Look at the database.
    #[error("{0}")]
    Database(String),
}

impl SourceError {
    pub(crate) fn input(reason: impl fmt::Display) -> SourceError {
        SourceError::Input(reason.to_string())
    }
}
