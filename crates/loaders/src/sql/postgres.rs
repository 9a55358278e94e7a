//! PostgreSQL: by its simple protocol, in which every type has a text.

use std::ops::ControlFlow;

use sqlx::postgres::{PgConnectOptions, PgRow, Postgres};
use sqlx::{ConnectOptions, Executor, Row, TypeInfo, ValueRef};

use super::{Dialect, Query, bytes, json, not_connected, number, rows, wrong};
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
    rows::read::<Postgres>(connection, Dialect::Postgres, (query, choice), cell, give).await
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
