//! Databases: SQLite, PostgreSQL, MySQL and MariaDB, SQL Server. A table, or what a query gives, row after row.
//!
//! [`Database::parse`] reads which database is meant, and takes no password from what everybody on the machine can see;
//! [`Query::Table`] is quoted as the database quotes names ([`dialect`]); [`read`] streams the rows. PostgreSQL, MySQL and
//! SQLite are opened so that nothing can be changed through them.
//!
//! Numbers, booleans and JSON columns stay what they are; moments, dates and times are text as the database writes them,
//! moments in UTC; bytes are bytes.

pub mod dialect;
mod login;
mod mysql;
mod postgres;
mod rows;
mod sqlite;
mod sqlserver;

use std::ops::ControlFlow;

use crate::cell::Cell;
use crate::{Choice, Item, SourceError};
pub use dialect::Dialect;
pub use login::{Database, Login};

/// What is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Query {
    /// A table or view: the parts of its name, such as schema and table.
    Table(Vec<String>),
    /// What this statement gives.
    Text(String),
}

impl Query {
    /// A table by its name: `table`, `schema.table`, or `"a.b".c` with quotes around a part that has dots; a quote in
    /// quotes is written twice.
    ///
    /// # Errors
    /// When a part is empty, or a quote is not closed.
    pub fn table(name: &str) -> Result<Query, SourceError> {
        let wrong = || SourceError::input(format!("{name} is no name of a table"));
        let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
        let mut letters = name.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '"' if quoted && letters.next_if_eq(&'"').is_some() => part.push('"'),
                '"' => quoted = !quoted,
                '.' if !quoted => parts.push(std::mem::take(&mut part)),
                letter => part.push(letter),
            }
        }
        parts.push(part);
        if quoted || parts.iter().any(String::is_empty) {
            return Err(wrong());
        }
        Ok(Query::Table(parts))
    }
}

/// Makes pairs of what a query gives. `give` takes them one after another; a break ends the reading.
///
/// # Errors
/// When the database does not answer or refuses, or the rows have not the columns.
pub async fn read(
    database: &Database,
    query: &Query,
    choice: &Choice,
    mut give: impl AsyncFnMut(Item) -> ControlFlow<()>,
) -> Result<(), SourceError> {
    install_provider();
    match database {
        Database::Sqlite(options) => sqlite::read(options, query, choice, &mut give).await,
        Database::Postgres(options) => postgres::read(options, query, choice, &mut give).await,
        Database::MySql(options) => mysql::read(options, query, choice, &mut give).await,
        Database::SqlServer(server) => sqlserver::read(server, query, choice, &mut give).await,
    }
}

/// Two implementations of cryptography are in this program (tiberius brings a second one): rustls must be told which one
/// is meant before anybody uses it.
fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else was quicker: then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn wrong(error: sqlx::Error) -> SourceError {
    SourceError::Database(match error {
        sqlx::Error::Database(error) => format!("the database says: {error}"),
        other => format!("the database does not answer as it should: {other}"),
    })
}

fn not_connected(error: &dyn std::fmt::Display) -> SourceError {
    SourceError::Database(format!("cannot connect to the database: {error}"))
}

/// A number as the database writes it; text if JSON has no such number (NaN, leading zeros).
fn number(text: String) -> Cell<'static> {
    let begins = text.starts_with(|letter: char| letter == '-' || letter.is_ascii_digit());
    if begins && serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok() {
        Cell::json(text)
    } else {
        Cell::text(text)
    }
}

/// JSON as the database writes it.
fn json(text: String) -> Cell<'static> {
    // A text of JSON is text; all else stays JSON.
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(serde_json::Value::Null) => Cell::Null,
        Ok(serde_json::Value::String(text)) => Cell::text(text),
        Ok(_) => Cell::json(text),
        Err(_) => Cell::text(text),
    }
}

/// Text if it is, else bytes.
fn bytes(bytes: Vec<u8>) -> Cell<'static> {
    Cell::Bytes(bytes.into())
}

#[cfg(test)]
mod tests;
