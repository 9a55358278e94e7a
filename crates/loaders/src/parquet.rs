//! Parquet files: how DataFrames arrive (`df.to_parquet`).
//!
//! They are read from their end, so a stream cannot be one. Only the columns that are needed are read.

use std::fs::File;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;

use crate::batches::Rows;
use crate::{Choice, Sink, SourceError};

/// Rows in memory at once.
const BATCH: usize = 1024;

fn wrong(error: ParquetError) -> SourceError {
    SourceError::input(format!("it is no Parquet file that can be read: {error}"))
}

/// Makes pairs of a file.
///
/// # Errors
/// When it cannot be read, or has not the columns.
pub fn read(file: File, choice: &Choice, sink: Sink<'_>) -> Result<(), SourceError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(wrong)?;
    let mut rows = Rows::new(builder.schema(), choice)?;
    let mask = match rows.needed() {
        Some(columns) => ProjectionMask::roots(builder.parquet_schema(), columns),
        None => ProjectionMask::all(),
    };
    let reader = builder.with_projection(mask).with_batch_size(BATCH).build().map_err(wrong)?;
    rows.give(reader, sink)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::ops::ControlFlow;

    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::ValueChoice;
    use crate::batches::tests::{ROWS, batch, by_id, shown, wanted};

    fn items(file: File, choice: &Choice) -> Result<Vec<(String, String)>, SourceError> {
        let mut items = Vec::new();
        let sink: Sink<'_> = &mut |item| {
            items.push(shown(item));
            ControlFlow::Continue(())
        };
        read(file, choice, sink)?;
        Ok(items)
    }

    #[test]
    fn a_file_is_read_whole_or_the_columns_that_are_needed() {
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = ArrowWriter::try_new(&mut file, batch().schema(), None).unwrap();
        writer.write(&batch()).unwrap();
        writer.close().unwrap();
        assert_eq!(items(file.try_clone().unwrap(), &by_id()).unwrap(), wanted(&ROWS));
        let choice =
            Choice { key: Some("kind".to_owned()), value: ValueChoice::Column(Some("price".to_owned())) };
        assert_eq!(items(file, &choice).unwrap(), wanted(&[("x", "123.45"), ("y", "0.10")]));
    }

    #[test]
    fn another_file_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"key,value\na,1\n").unwrap();
        file.rewind().unwrap();
        let error = items(file, &by_id()).unwrap_err().to_string();
        assert!(error.starts_with("it is no Parquet file"), "{error}");
    }
}
