//! CSV as it is found: lines that end in LF, CRLF or a bare CR, also mixed; a byte order mark; quotes with line ends in
//! them; commas, semicolons, tabs or bars between the fields.
//!
//! [`read`] makes pairs of a file. [`Table`] gives its rows, for those who want the columns:
//!
//! ```
//! use chordata_loaders::csv::{Options, Table};
//!
//! let text = "EVENT_ID,STATE\r10096222,OKLAHOMA\r10120412,TEXAS\r";
//! let mut rows = Table::new(text.as_bytes(), &Options::default())?;
//! assert_eq!(rows.columns(), ["EVENT_ID", "STATE"]);
//! let row = rows.next().expect("there are two")?;
//! assert_eq!(row.get("EVENT_ID"), Some("10096222"));
//! assert_eq!(row.to_json(), r#"{"EVENT_ID":"10096222","STATE":"OKLAHOMA"}"#);
//! # Ok::<(), chordata_loaders::SourceError>(())
//! ```
//!
//! Every field is text: `007` stays `007`, also in a row that is stored as JSON. An empty field is empty text.

mod detect;
mod record;

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::cell::{Cell, object};
use crate::choice::{Choice, check_names};
use crate::encoding::Encoding;
use crate::{Item, Position, Sink, SourceError};
use record::{Record, Records};

/// What is known of a file.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is between two fields; none: look.
    pub delimiter: Option<u8>,
    /// How text is written.
    pub encoding: Encoding,
    /// Does the first row name the columns? If not, they are called 1, 2, ...
    pub header: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { delimiter: None, encoding: Encoding::Utf8, header: true }
    }
}

/// A file whose columns are known.
struct Opened<R> {
    records: Records<R>,
    columns: Arc<[String]>,
    encoding: Encoding,
    /// The records before the first row: 1 if there is a header.
    before: u64,
    /// The first record of a file without a header: it was needed to count the columns.
    first: Option<Record>,
}

impl<R: Read> Opened<R> {
    fn new(input: R, options: &Options) -> Result<Opened<R>, SourceError> {
        let mut records = Records::new(input, options.delimiter)?;
        let encoding = options.encoding;
        let mut first = Record::default();
        if !records.next(&mut first)? {
            let text =
                if options.header { "it is empty: the first row names the columns" } else { "it is empty" };
            return Err(SourceError::input(text));
        }
        if !options.header {
            let columns = (1..=first.len()).map(|number| number.to_string()).collect();
            return Ok(Opened { records, columns, encoding, before: 0, first: Some(first) });
        }
        let column = |place| Ok(first.text(place, encoding, None)?.trim().to_owned());
        let columns = (0..first.len()).map(column).collect::<Result<_, SourceError>>()?;
        Ok(Opened { records, columns, encoding, before: 1, first: None })
    }

    /// Reads the next row; none: that was all.
    fn next(&mut self, record: &mut Record) -> Result<Option<Position>, SourceError> {
        if let Some(first) = self.first.take() {
            *record = first;
        } else if !self.records.next(record)? {
            return Ok(None);
        }
        Ok(Some(Position { row: record.number - self.before, line: Some(record.line) }))
    }

    /// Has it as many fields as there are columns?
    fn fits(&self, record: &Record) -> Result<(), String> {
        if record.len() == self.columns.len() {
            return Ok(());
        }
        let fields = if record.len() == 1 { "field" } else { "fields" };
        Err(format!("it has {} {fields}, and there are {} columns", record.len(), self.columns.len()))
    }

    fn text<'r>(&self, record: &'r Record, place: usize) -> Result<std::borrow::Cow<'r, str>, SourceError> {
        record.text(place, self.encoding, Some(&self.columns[place]))
    }
}

/// Makes pairs of a file.
///
/// # Errors
/// When it cannot be read, has not the columns, or its text is in another encoding. A row with too few or too many fields
/// is a reject.
pub fn read(input: impl Read, options: &Options, choice: &Choice, sink: Sink<'_>) -> Result<(), SourceError> {
    let mut file = Opened::new(input, options)?;
    let columns = Arc::clone(&file.columns);
    let places = choice.places(&columns, None)?;
    check_names(&columns, places)?;
    let mut record = Record::default();
    while let Some(position) = file.next(&mut record)? {
        let item = match file.fits(&record) {
            Err(reason) => Item::reject(position, reason, &record.shown()),
            Ok(()) => {
                let cell = |place| {
                    let is_needed = places.value.is_none_or(|value| place == value || place == places.key);
                    if is_needed { file.text(&record, place).map(Cell::Text) } else { Ok(Cell::Null) }
                };
                let cells = (0..columns.len()).map(cell).collect::<Result<Vec<Cell<'_>>, SourceError>>()?;
                places.pair(&columns, cells, position)
            }
        };
        if let ControlFlow::Break(()) = sink(item) {
            break;
        }
    }
    Ok(())
}

/// The rows of a file, one after another.
pub struct Table<R> {
    file: Opened<R>,
    record: Record,
    failed: bool,
}

/// A row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Where it is.
    pub position: Position,
    columns: Arc<[String]>,
    fields: Vec<String>,
}

impl<R: Read> Table<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When there is none, or its text is in another encoding.
    pub fn new(input: R, options: &Options) -> Result<Table<R>, SourceError> {
        Ok(Table { file: Opened::new(input, options)?, record: Record::default(), failed: false })
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.file.columns
    }

    fn row(&mut self) -> Result<Option<Row>, SourceError> {
        let Some(position) = self.file.next(&mut self.record)? else { return Ok(None) };
        let wrong = |reason| SourceError::input(format!("{position}: {reason}"));
        self.file.fits(&self.record).map_err(wrong)?;
        let field = |place| self.file.text(&self.record, place).map(std::borrow::Cow::into_owned);
        let fields = (0..self.columns().len()).map(field).collect::<Result<_, SourceError>>()?;
        Ok(Some(Row { position, columns: Arc::clone(&self.file.columns), fields }))
    }
}

/// Ends behind the first error.
impl<R: Read> Iterator for Table<R> {
    type Item = Result<Row, SourceError>;

    fn next(&mut self) -> Option<Result<Row, SourceError>> {
        if self.failed {
            return None;
        }
        let row = self.row();
        self.failed = row.is_err();
        row.transpose()
    }
}

impl Row {
    /// The field in the first column of that name.
    pub fn get(&self, column: &str) -> Option<&str> {
        let place = self.columns.iter().position(|name| name == column)?;
        self.fields.get(place).map(String::as_str)
    }

    /// The fields, in the order of the columns.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The row as a JSON object, its fields in the order of the columns.
    pub fn to_json(&self) -> String {
        let fields = self.columns.iter().map(String::as_str).zip(&self.fields);
        object(fields.map(|(name, field)| (name, Cell::text(field.as_str()))))
    }
}

#[cfg(test)]
mod tests;
