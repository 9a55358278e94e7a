//! SQLite: each value has a type of its own.

use std::ops::ControlFlow;

use futures::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{Column, ConnectOptions, Connection, Executor, Row, Statement, TypeInfo, ValueRef};

use super::{Dialect, Query, Rows, bytes, not_connected, select, trusted, wrong};
use crate::cell::Cell;
use crate::{Choice, Item, SourceError};

pub(super) async fn read(
    options: &SqliteConnectOptions,
    query: &Query,
    choice: &Choice,
    give: &mut impl AsyncFnMut(Item) -> ControlFlow<()>,
) -> Result<(), SourceError> {
    let mut connection = options.connect().await.map_err(|error| not_connected(&error))?;
    let sql = statement(&mut connection, query, choice).await?;
    let mut rows = Rows::new(choice);
    let mut stream = sqlx::raw_sql(trusted(sql)).fetch(&mut connection);
    while let Some(row) = stream.try_next().await.map_err(wrong)? {
        let cells =
            (0..row.len()).map(|place| cell(&row, place)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let item = rows.item(row.columns().iter().map(|column| column.name()), cells)?;
        if give(item).await.is_break() {
            break;
        }
    }
    drop(stream);
    connection.close().await.map_err(wrong)
}

async fn statement(
    connection: &mut SqliteConnection,
    query: &Query,
    choice: &Choice,
) -> Result<String, SourceError> {
    match query {
        Query::Text(sql) => Ok(sql.clone()),
        Query::Table(table) => {
            let all = format!("SELECT * FROM {}", Dialect::Sqlite.table(table)?);
            let prepared =
                connection.prepare(sqlx::SqlSafeStr::into_sql_str(trusted(all))).await.map_err(wrong)?;
            let columns: Vec<String> =
                prepared.columns().iter().map(|column| column.name().to_owned()).collect();
            select(Dialect::Sqlite, table, &columns, choice)
        }
    }
}

fn cell(row: &SqliteRow, place: usize) -> Result<Cell<'static>, sqlx::Error> {
    let value = row.try_get_raw(place)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let kind = value.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INTEGER" => Cell::json(row.try_get_unchecked::<i64, _>(place)?.to_string()),
        "REAL" => Cell::number(row.try_get_unchecked::<f64, _>(place)?),
        // Text need not be UTF-8 here.
        _ => bytes(row.try_get_unchecked::<Vec<u8>, _>(place)?),
    })
}
