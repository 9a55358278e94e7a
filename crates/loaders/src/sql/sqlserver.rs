//! SQL Server, by tiberius.

use std::ops::ControlFlow;

use futures::TryStreamExt;
use tiberius::{AuthMethod, Client, ColumnData, Config};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use super::rows::{Rows, select};
use super::{Dialect, Login, Query, bytes, not_connected, number};
use crate::cell::Cell;
use crate::{Choice, Item, SourceError};

/// The port on which it listens unless it was told otherwise.
const PORT: u16 = 1433;

/// How to connect to a server.
#[derive(Clone)]
pub struct SqlServer {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    password: String,
    pub(super) database: Option<String>,
    /// Take any certificate: the server has made its own.
    pub(super) trust: bool,
}

impl SqlServer {
    pub(super) fn new(login: &Login) -> Result<SqlServer, SourceError> {
        let missing = |what: &str| SourceError::input(format!("SQL Server needs {what}"));
        Ok(SqlServer {
            host: login.server.clone().ok_or_else(|| missing("a server: --server HOST"))?,
            port: login.port.unwrap_or(PORT),
            user: login.user.clone().ok_or_else(|| missing("a user: --user NAME, or in the URL"))?,
            password: login.password.clone().ok_or_else(|| missing("a password: --password-env VARIABLE"))?,
            database: login.database.clone(),
            trust: false,
        })
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        config.host(&self.host);
        config.port(self.port);
        config.authentication(AuthMethod::sql_server(&self.user, &self.password));
        if let Some(database) = &self.database {
            config.database(database);
        }
        if self.trust {
            config.trust_cert();
        }
        config.application_name("chordata load");
        config.readonly(true);
        config
    }

    async fn connect(&self) -> Result<Client<Compat<TcpStream>>, SourceError> {
        let config = self.config();
        let stream = TcpStream::connect(config.get_addr()).await.map_err(|error| not_connected(&error))?;
        stream.set_nodelay(true)?;
        let connected = Box::pin(Client::connect(config, stream.compat_write())).await;
        connected.map_err(|error| not_connected(&error))
    }
}

fn wrong(error: &tiberius::error::Error) -> SourceError {
    SourceError::Database(format!("the database says: {error}"))
}

pub(super) async fn read(
    server: &SqlServer,
    query: &Query,
    choice: &Choice,
    give: &mut impl AsyncFnMut(Item) -> ControlFlow<()>,
) -> Result<(), SourceError> {
    let mut client = Box::pin(server.connect()).await?;
    let sql = match query {
        Query::Text(sql) => sql.clone(),
        Query::Table(table) => {
            let none = format!("SELECT TOP 0 * FROM {}", Dialect::SqlServer.table(table)?);
            let mut described = client.simple_query(none).await.map_err(|error| wrong(&error))?;
            let columns = described.columns().await.map_err(|error| wrong(&error))?.unwrap_or_default();
            let columns: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
            drop(described.into_results().await.map_err(|error| wrong(&error))?);
            select(Dialect::SqlServer, table, &columns, choice)?
        }
    };
    let mut rows = Rows::new(choice);
    let mut stream = client.simple_query(sql).await.map_err(|error| wrong(&error))?.into_row_stream();
    while let Some(row) = stream.try_next().await.map_err(|error| wrong(&error))? {
        let cells = row.cells().map(|(_, data)| cell(data)).collect();
        let item = rows.item(row.columns().iter().map(tiberius::Column::name), cells)?;
        if give(item).await.is_break() {
            break;
        }
    }
    Ok(())
}

/// One value.
pub(super) fn cell(data: &ColumnData<'_>) -> Cell<'static> {
    fn integer(value: Option<impl ToString>) -> Cell<'static> {
        value.map_or(Cell::Null, |value| Cell::json(value.to_string()))
    }
    fn text(value: Option<impl ToString>) -> Cell<'static> {
        value.map_or(Cell::Null, |value| Cell::text(value.to_string()))
    }
    match data {
        ColumnData::U8(value) => integer(*value),
        ColumnData::I16(value) => integer(*value),
        ColumnData::I32(value) => integer(*value),
        ColumnData::I64(value) => integer(*value),
        ColumnData::Bit(value) => integer(*value),
        ColumnData::F32(value) => value.map_or(Cell::Null, |value| number(value.to_string())),
        ColumnData::F64(value) => value.map_or(Cell::Null, Cell::number),
        ColumnData::Numeric(value) => {
            value.map_or(Cell::Null, |value| number(decimal(value.value(), value.scale())))
        }
        ColumnData::String(value) => text(value.as_ref()),
        ColumnData::Guid(value) => text(*value),
        ColumnData::Xml(value) => text(value.as_ref()),
        ColumnData::Binary(value) => value.as_ref().map_or(Cell::Null, |value| bytes(value.to_vec())),
        ColumnData::Date(value) => text(value.map(|date| day(i64::from(date.days())))),
        ColumnData::Time(value) => text(value.map(|time| clock(time.increments(), time.scale()))),
        ColumnData::DateTime2(value) => text(value.map(moment)),
        ColumnData::DateTimeOffset(value) => {
            text(value.map(|value| format!("{}Z", moment(value.datetime2()))))
        }
        ColumnData::DateTime(value) => text(value.map(|value| {
            // 1/300 of a second.
            let millis = (u64::from(value.seconds_fragments()) * 10).div_ceil(3);
            format!("{}T{}", day(TO_1900 + i64::from(value.days())), clock(millis, 3))
        })),
        ColumnData::SmallDateTime(value) => text(value.map(|value| {
            // Minutes.
            let seconds = u64::from(value.seconds_fragments()) * 60;
            format!("{}T{}", day(TO_1900 + i64::from(value.days())), clock(seconds, 0))
        })),
    }
}

/// Days from the first of January of the year 1 to that of 1900.
const TO_1900: i64 = 693_595;

fn moment(value: tiberius::time::DateTime2) -> String {
    let (date, time) = (value.date(), value.time());
    format!("{}T{}", day(i64::from(date.days())), clock(time.increments(), time.scale()))
}

/// A number with that many digits behind the point.
fn decimal(value: i128, scale: u8) -> String {
    let digits = format!("{:0width$}", value.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, part) = digits.split_at(digits.len() - usize::from(scale));
    let sign = if value < 0 { "-" } else { "" };
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

/// The date so many days behind the first of January of the year 1.
fn day(days: i64) -> String {
    // Years begin in March, so that the odd day is the last: Howard Hinnant, "chrono-compatible low-level date algorithms".
    let days = days + 306;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The time so many 10^-scale seconds behind midnight.
fn clock(increments: u64, scale: u8) -> String {
    let parts = 10_u64.pow(u32::from(scale.min(9)));
    let (seconds, part) = (increments / parts, increments % parts);
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if part == 0 { time } else { format!("{time}.{part:0width$}", width = usize::from(scale.min(9))) }
}

#[cfg(test)]
mod tests {
    use tiberius::numeric::Numeric;
    use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time};

    use super::*;

    #[test]
    fn every_type_has_its_text() {
        let shown = |data: ColumnData<'static>| {
            let mut out = String::new();
            cell(&data).write_json(&mut out);
            out
        };
        assert_eq!(shown(ColumnData::I64(Some(-5))), "-5");
        assert_eq!(shown(ColumnData::I32(None)), "null");
        assert_eq!(shown(ColumnData::Bit(Some(true))), "true");
        assert_eq!(shown(ColumnData::F64(Some(0.5))), "0.5");
        assert_eq!(shown(ColumnData::F32(Some(0.1))), "0.1");
        assert_eq!(shown(ColumnData::String(Some("a\"b".into()))), "\"a\\\"b\"");
        assert_eq!(shown(ColumnData::Binary(Some(vec![0xff].into()))), "\"/w==\"");
        assert_eq!(shown(ColumnData::Numeric(Some(Numeric::new_with_scale(-5, 2)))), "-0.05");
        assert_eq!(shown(ColumnData::Numeric(Some(Numeric::new_with_scale(12_345, 0)))), "12345");
        let noon = Time::new(432_000_000_001, 7);
        let at = DateTime2::new(Date::new(738_944), noon);
        assert_eq!(shown(ColumnData::Date(Some(Date::new(0)))), "\"0001-01-01\"");
        assert_eq!(shown(ColumnData::DateTime2(Some(at))), "\"2024-02-29T12:00:00.0000001\"");
        assert_eq!(
            shown(ColumnData::DateTimeOffset(Some(DateTimeOffset::new(at, 60)))),
            "\"2024-02-29T12:00:00.0000001Z\""
        );
        assert_eq!(shown(ColumnData::DateTime(Some(DateTime::new(0, 301)))), "\"1900-01-01T00:00:01.004\"");
        assert_eq!(
            shown(ColumnData::SmallDateTime(Some(SmallDateTime::new(365, 61)))),
            "\"1901-01-01T01:01:00\""
        );
    }
}
