//! What a query gives, row after row: the same for all databases that sqlx speaks with, and the columns for all.

use std::ops::ControlFlow;

use futures::TryStreamExt;
use sqlx::{Column, Connection, Executor, Row, Statement};

use super::{Dialect, Query, wrong};
use crate::cell::Cell;
use crate::choice::{Choice, Places, check_names};
use crate::{Item, Position, SourceError};

/// Makes pairs of what a query gives. `cell` takes a value out of a row.
pub(super) async fn read<DB>(
    mut connection: DB::Connection,
    dialect: Dialect,
    (query, choice): (&Query, &Choice),
    cell: impl Fn(&DB::Row, usize) -> Result<Cell<'static>, sqlx::Error>,
    give: &mut impl AsyncFnMut(Item) -> ControlFlow<()>,
) -> Result<(), SourceError>
where
    DB: sqlx::Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let sql = match query {
        Query::Text(sql) => sql.clone(),
        Query::Table(table) => {
            let all = trusted(format!("SELECT * FROM {}", dialect.table(table)?));
            let prepared =
                (&mut connection).prepare(sqlx::SqlSafeStr::into_sql_str(all)).await.map_err(wrong)?;
            let columns: Vec<String> =
                prepared.columns().iter().map(|column| column.name().to_owned()).collect();
            select(dialect, table, &columns, choice)?
        }
    };
    let mut rows = Rows::new(choice);
    let mut stream = sqlx::raw_sql(trusted(sql)).fetch(&mut connection);
    let mut at_end = true;
    while let Some(row) = stream.try_next().await.map_err(wrong)? {
        let cells =
            (0..row.len()).map(|place| cell(&row, place)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let item = rows.item(row.columns().iter().map(|column| column.name()), cells)?;
        if give(item).await.is_break() {
            at_end = false;
            break;
        }
    }
    drop(stream);
    // A connection that is let go ends a query that nobody reads to its end.
    if at_end { connection.close().await.map_err(wrong) } else { Ok(()) }
}

/// Statements of ours: they have no input but quoted names.
fn trusted(sql: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(sql)
}

/// The statement for a table of which the columns are known: only what is needed.
pub(super) fn select(
    dialect: Dialect,
    table: &[String],
    columns: &[String],
    choice: &Choice,
) -> Result<String, SourceError> {
    let places = choice.places(columns, None)?;
    check_names(columns, places)?;
    let table = dialect.table(table)?;
    let Some(value) = places.value else { return Ok(format!("SELECT * FROM {table}")) };
    let (key, value) = (dialect.quote(&columns[places.key])?, dialect.quote(&columns[value])?);
    Ok(format!("SELECT {key}, {value} FROM {table}"))
}

/// Turns rows into items: finds the columns when the first row comes.
pub(super) struct Rows<'c> {
    choice: &'c Choice,
    columns: Vec<String>,
    places: Option<Places>,
    row: u64,
}

impl<'c> Rows<'c> {
    pub(super) fn new(choice: &'c Choice) -> Rows<'c> {
        Rows { choice, columns: Vec::new(), places: None, row: 0 }
    }

    /// The item of a row.
    pub(super) fn item<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        cells: Vec<Cell<'static>>,
    ) -> Result<Item, SourceError> {
        let places = match self.places {
            Some(places) => places,
            None => {
                self.columns = names.map(str::to_owned).collect();
                let places = self.choice.places(&self.columns, None)?;
                check_names(&self.columns, places)?;
                *self.places.insert(places)
            }
        };
        self.row += 1;
        if cells.len() != self.columns.len() {
            return Err(SourceError::input("the query gives rows with different columns"));
        }
        Ok(places.pair(&self.columns, cells, Position { row: self.row, line: None }))
    }
}
