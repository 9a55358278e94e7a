//! SQLite: each value has a type of its own.

use std::ops::ControlFlow;

use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Row, TypeInfo, ValueRef};

use super::{Dialect, Query, bytes, not_connected, rows};
use crate::cell::Cell;
use crate::{Choice, Item, SourceError};

pub(super) async fn read(
    options: &SqliteConnectOptions,
    query: &Query,
    choice: &Choice,
    give: &mut impl AsyncFnMut(Item) -> ControlFlow<()>,
) -> Result<(), SourceError> {
    let connection = options.connect().await.map_err(|error| not_connected(&error))?;
    rows::read::<Sqlite>(connection, Dialect::Sqlite, (query, choice), cell, give).await
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
