//! Records of a CSV file, one after another, each with the line on which it begins.
//!
//! What a record is, `csv-core` knows. It counts only LF as lines, forgets where a record began, and takes a quote that is
//! never closed for the rest of the file: that is what this adds, and a bound on the length of a record.

use std::borrow::Cow;
use std::io::Read;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::detect;
use crate::encoding::Encoding;
use crate::{ROW_BYTES_MAX, SourceError};

/// Bytes of the file in memory. The tests see records that reach over its end.
const BUFFER: usize = if cfg!(test) { 64 } else { 256 * 1024 };
/// Bytes of the beginning that tell how the file is written.
const ENOUGH: usize = 16;
/// Fields in a record, at most.
const FIELDS_MAX: usize = 100_000;

/// A record.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
    /// Which one it is, from 1.
    pub(super) number: u64,
    /// The line on which it begins, from 1.
    pub(super) line: u64,
}

impl Record {
    /// How many fields it has.
    pub(super) fn len(&self) -> usize {
        self.fields
    }

    fn field(&self, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.bytes[start..self.ends[place]]
    }

    /// The text of a field.
    pub(super) fn text(
        &self,
        place: usize,
        encoding: Encoding,
        column: Option<&str>,
    ) -> Result<Cow<'_, str>, SourceError> {
        let field = self.field(place);
        encoding.decode(field).map_err(|at| {
            let of = column.map_or_else(|| format!("field {}", place + 1), |name| format!("column {name}"));
            SourceError::input(format!(
                "line {}: byte {} of {of} is 0x{:02x}, which is no UTF-8: say how the file is written, most likely \
                 --encoding windows-1252",
                self.line,
                at + 1,
                field[at],
            ))
        })
    }

    /// The fields for people, whatever they are.
    pub(super) fn shown(&self) -> String {
        let fields = (0..self.fields).map(|place| String::from_utf8_lossy(self.field(place)));
        fields.collect::<Vec<_>>().join(",")
    }
}

/// See the [module](self).
pub(super) struct Records<R> {
    input: R,
    core: Reader,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    number: u64,
    /// The line that the next byte is on.
    line: u64,
    after_cr: bool,
}

impl<R: Read> Records<R> {
    /// Looks at the beginning of a file.
    pub(super) fn new(input: R, delimiter: Option<u8>) -> Result<Records<R>, SourceError> {
        let mut records = Records {
            input,
            core: Reader::new(),
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            at_end: false,
            number: 0,
            line: 1,
            after_cr: false,
        };
        // As much as is needed to know how it is written: more may come slowly, through a pipe.
        let enough = if delimiter.is_some() { ENOUGH } else { detect::BYTES.min(BUFFER) };
        while !records.at_end && records.end < enough {
            records.fill()?;
        }
        let beginning = &records.buffer[..records.end];
        if beginning.starts_with(&[0xff, 0xfe]) || beginning.starts_with(&[0xfe, 0xff]) {
            let text = "it is UTF-16: write it as UTF-8 first (iconv -f UTF-16 -t UTF-8)";
            return Err(SourceError::input(text));
        }
        if beginning.starts_with(b"\xef\xbb\xbf") {
            records.start = 3;
        }
        // Excel says so in a line of its own.
        let beginning = &records.buffer[records.start..records.end];
        let said = match beginning {
            [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', said, b'\r' | b'\n', ..] => Some(*said),
            _ => None,
        };
        if said.is_some() {
            records.start += 5;
        }
        let beginning = &records.buffer[records.start..records.end];
        let delimiter = delimiter.or(said).unwrap_or_else(|| detect::delimiter(beginning, records.at_end));
        records.core = ReaderBuilder::new().delimiter(delimiter).build();
        Ok(records)
    }

    /// Reads more behind what is there.
    fn fill(&mut self) -> Result<(), SourceError> {
        let count = loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.end += count;
        self.at_end = count == 0;
        Ok(())
    }

    /// Reads the next record; false: that was the last.
    pub(super) fn next(&mut self, record: &mut Record) -> Result<bool, SourceError> {
        let (mut wrote, mut fields, mut line) = (0, 0, None);
        loop {
            if self.start == self.end && !self.at_end {
                (self.start, self.end) = (0, 0);
                self.fill()?;
            }
            // The last line may have no end. If it is still not over with one, it is in quotes.
            let at_end = self.start == self.end && line.is_some();
            let input = if at_end { &b"\n"[..] } else { &self.buffer[self.start..self.end] };
            let (result, read, more_bytes, more_ends) =
                self.core.read_record(input, &mut record.bytes[wrote..], &mut record.ends[fields..]);
            wrote += more_bytes;
            fields += more_ends;
            if !at_end {
                self.count_lines(read, &mut line);
            }
            match result {
                ReadRecordResult::InputEmpty if at_end => {
                    let line = line.unwrap_or(self.line);
                    let text = format!("line {line}: a quote is opened in this row and never closed");
                    return Err(SourceError::input(text));
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if wrote < ROW_BYTES_MAX => {
                    let length = (record.bytes.len() * 2).clamp(4096, ROW_BYTES_MAX);
                    record.bytes.resize(length, 0);
                }
                ReadRecordResult::OutputEndsFull if fields < FIELDS_MAX => {
                    record.ends.resize((record.ends.len() * 2).max(32), 0);
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    return Err(SourceError::input(format!(
                        "line {}: the row that begins here has more than {} MiB or {FIELDS_MAX} fields: is a quote not \
                         closed?",
                        line.unwrap_or(self.line),
                        ROW_BYTES_MAX / 1024 / 1024,
                    )));
                }
                ReadRecordResult::Record => {
                    self.number += 1;
                    (record.fields, record.number) = (fields, self.number);
                    record.line = line.unwrap_or(self.line);
                    return Ok(true);
                }
                ReadRecordResult::End => return Ok(false),
            }
        }
    }

    /// Takes note of the lines that were read; `line` becomes the one on which the record begins.
    fn count_lines(&mut self, read: usize, line: &mut Option<u64>) {
        for byte in &self.buffer[self.start..self.start + read] {
            match byte {
                b'\n' if self.after_cr => {}
                b'\r' | b'\n' => self.line += 1,
                // Empty lines are no records.
                _ if line.is_none() => *line = Some(self.line),
                _ => {}
            }
            self.after_cr = *byte == b'\r';
        }
        self.start += read;
    }
}
