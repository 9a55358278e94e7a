//! MySQL and MariaDB: by the text protocol.

use std::ops::ControlFlow;

use sqlx::mysql::{MySql, MySqlConnectOptions, MySqlRow};
use sqlx::{ConnectOptions, Executor, Row, TypeInfo, ValueRef};

use super::{Dialect, Query, bytes, json, not_connected, number, rows, wrong};
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
    rows::read::<MySql>(connection, Dialect::MySql, (query, choice), cell, give).await
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
