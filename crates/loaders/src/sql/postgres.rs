//! PostgreSQL: by its simple protocol, in which every type has a text.

use std::ops::ControlFlow;

use futures::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{Column, ConnectOptions, Connection, Executor, Row, Statement, TypeInfo, ValueRef};

use super::{Dialect, Query, Rows, bytes, json, not_connected, number, select, trusted, wrong};
use crate::cell::Cell;
use crate::{Choice, Item, SourceError};

pub(super) async fn read(
    options: &PgConnectOptions,
    query: &Query,
    choice: &Choice,
    give: &mut impl AsyncFnMut(Item) -> ControlFlow<()>,
) -> Result<(), SourceError> {
    let mut connection = options.connect().await.map_err(|error| not_connected(&error))?;
    connection.execute("SET default_transaction_read_only = on").await.map_err(wrong)?;
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
    connection: &mut PgConnection,
    query: &Query,
    choice: &Choice,
) -> Result<String, SourceError> {
    match query {
        Query::Text(sql) => Ok(sql.clone()),
        Query::Table(table) => {
            let all = format!("SELECT * FROM {}", Dialect::Postgres.table(table)?);
            let prepared =
                connection.prepare(sqlx::SqlSafeStr::into_sql_str(trusted(all))).await.map_err(wrong)?;
            let columns: Vec<String> =
                prepared.columns().iter().map(|column| column.name().to_owned()).collect();
            select(Dialect::Postgres, table, &columns, choice)
        }
    }
}

fn cell(row: &PgRow, place: usize) -> Result<Cell<'static>, sqlx::Error> {
    let value = row.try_get_raw(place)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let kind = value.type_info().name().to_owned();
    if kind == "BYTEA" {
        return row.try_get_unchecked::<Vec<u8>, _>(place).map(bytes);
    }
    let text = value
        .as_str()
        .map_err(|error| sqlx::Error::ColumnDecode { index: place.to_string(), source: error })?;
    Ok(match kind.as_str() {
        "BOOL" => Cell::json(if text == "t" { "true" } else { "false" }),
        "INT2" | "INT4" | "INT8" | "OID" | "FLOAT4" | "FLOAT8" | "NUMERIC" => number(text.to_owned()),
        "JSON" | "JSONB" => json(text.to_owned()),
        _ => Cell::text(text.to_owned()),
    })
}
