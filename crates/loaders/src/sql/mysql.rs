//! MySQL and MariaDB: by the text protocol.

use std::ops::ControlFlow;

use futures::TryStreamExt;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::{Column, ConnectOptions, Connection, Executor, Row, Statement, TypeInfo, ValueRef};

use super::{Dialect, Query, Rows, bytes, json, not_connected, number, select, trusted, wrong};
use crate::cell::Cell;
use crate::{Choice, Item, SourceError};

pub(super) async fn read(
    options: &MySqlConnectOptions,
    query: &Query,
    choice: &Choice,
    give: &mut impl AsyncFnMut(Item) -> ControlFlow<()>,
) -> Result<(), SourceError> {
    let mut connection = options.connect().await.map_err(|error| not_connected(&error))?;
    connection.execute("SET SESSION TRANSACTION READ ONLY").await.map_err(wrong)?;
    let sql = statement(&mut connection, query, choice).await?;
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

async fn statement(
    connection: &mut MySqlConnection,
    query: &Query,
    choice: &Choice,
) -> Result<String, SourceError> {
    match query {
        Query::Text(sql) => Ok(sql.clone()),
        Query::Table(table) => {
            let all = format!("SELECT * FROM {}", Dialect::MySql.table(table)?);
            let prepared =
                connection.prepare(sqlx::SqlSafeStr::into_sql_str(trusted(all))).await.map_err(wrong)?;
            let columns: Vec<String> =
                prepared.columns().iter().map(|column| column.name().to_owned()).collect();
            select(Dialect::MySql, table, &columns, choice)
        }
    }
}

fn cell(row: &MySqlRow, place: usize) -> Result<Cell<'static>, sqlx::Error> {
    let value = row.try_get_raw(place)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let kind = value.type_info().name().to_owned();
    let raw = row.try_get_unchecked::<Vec<u8>, _>(place)?;
    let is_number =
        ["INT", "DECIMAL", "FLOAT", "DOUBLE", "BOOLEAN", "YEAR"].iter().any(|name| kind.contains(name));
    // Names of types say nothing of the character set: what is no text is bytes.
    Ok(match String::from_utf8(raw) {
        Ok(text) if is_number => number(text),
        Ok(text) if kind == "JSON" => json(text),
        Ok(text) => bytes(text.into_bytes()),
        Err(error) => bytes(error.into_bytes()),
    })
}
