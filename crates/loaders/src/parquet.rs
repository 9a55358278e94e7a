//! Parquet files: how DataFrames arrive (`df.to_parquet`).
//!
//! They are read from their end, so a stream cannot be one. Only the columns that are needed are read, and as many rows at
//! once as fit a few MiB by what the file says of their sizes. The least that can be read of a column is a page, which is as
//! long as its writer made it: about 1 MiB, but some writers put up to 1024 rows into one, however long they are.

use std::fs::File;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use crate::batches::Rows;
use crate::{Choice, Sink, SourceError};

/// Bytes of rows in memory at once, if all are alike.
const BATCH_BYTES: u64 = 8 * 1024 * 1024;
/// Rows in memory at once: what bounds them where a few long rows are among many short ones.
const BATCH_ROWS: u64 = 64;

fn wrong(error: &ParquetError) -> SourceError {
    SourceError::input(format!("it is no Parquet file that can be read: {error}"))
}

/// Makes pairs of a file.
///
/// # Errors
/// When it cannot be read, or has not the columns.
pub fn read(file: File, choice: &Choice, sink: Sink<'_>) -> Result<(), SourceError> {
    let (mut rows, batches) = open(file, choice)?;
    rows.give(batches, sink)
}

fn open(file: File, choice: &Choice) -> Result<(Rows, ParquetRecordBatchReader), SourceError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| wrong(&error))?;
    let rows = Rows::new(builder.schema(), choice)?;
    let mask = match rows.needed() {
        Some(columns) => ProjectionMask::roots(builder.parquet_schema(), columns),
        None => ProjectionMask::all(),
    };
    let at_once = rows_at_once(builder.metadata(), &mask);
    let batches =
        builder.with_projection(mask).with_batch_size(at_once).build().map_err(|error| wrong(&error))?;
    Ok((rows, batches))
}

/// So many rows are read at once: fewer where they are long in any part of the file.
fn rows_at_once(metadata: &ParquetMetaData, mask: &ProjectionMask) -> usize {
    let longest = metadata.row_groups().iter().map(|group| row_bytes(group, mask)).max().unwrap_or(0);
    usize::try_from((BATCH_BYTES / longest.max(1)).clamp(1, BATCH_ROWS)).unwrap_or(1)
}

/// Bytes of a row of a part of the file, as the rows are on average.
fn row_bytes(group: &RowGroupMetaData, mask: &ProjectionMask) -> u64 {
    let needed = group.columns().iter().enumerate().filter(|(place, _)| mask.leaf_included(*place));
    let bytes = needed.map(|(_, column)| {
        // What is there once for many rows (a dictionary) is in memory for each of them.
        let unencoded = column.unencoded_byte_array_data_bytes().unwrap_or(0);
        u64::try_from(unencoded.max(column.uncompressed_size())).unwrap_or(0)
    });
    bytes.sum::<u64>() / u64::try_from(group.num_rows()).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::ops::ControlFlow;
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::{ArrayRef, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

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

    /// A file of these values, in parts of so many rows.
    fn file_of(values: &[String], part: usize) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let keys: StringArray = (0..values.len()).map(|key| Some(key.to_string())).collect();
        let values: StringArray = values.iter().map(|value| Some(value.as_str())).collect();
        let columns = [("key", Arc::new(keys) as ArrayRef), ("value", Arc::new(values))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(part)).build();
        let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        file
    }

    /// Rows and bytes of the longest batch.
    fn longest(file: File) -> (usize, usize) {
        let (_, batches) = open(file, &Choice::default()).unwrap();
        let sizes = batches.map(|batch| {
            let batch = batch.unwrap();
            (batch.num_rows(), batch.column(1).as_string::<i32>().iter().flatten().map(str::len).sum())
        });
        sizes.max_by_key(|(_, bytes): &(usize, usize)| *bytes).unwrap()
    }

    #[test]
    fn long_rows_are_read_a_few_at_a_time() {
        const ROW: usize = 1024 * 1024;
        let long = |row: usize| format!("{row:08}").repeat(ROW / 8);
        let bytes_max = 8 * ROW;
        // Each is another one; all are one; the long ones are only in one part of the file.
        let files = [
            file_of(&(0..24).map(long).collect::<Vec<_>>(), 100),
            file_of(&vec![long(7); 24], 100),
            file_of(
                &(0..300).map(|row| if row < 280 { row.to_string() } else { long(row) }).collect::<Vec<_>>(),
                20,
            ),
        ];
        for file in files {
            let (rows, bytes) = longest(file.try_clone().unwrap());
            assert!(bytes <= bytes_max && rows <= 8, "{rows} rows of together {bytes} bytes");
            let all = items(file, &Choice::default()).unwrap();
            assert!(all.iter().enumerate().all(|(row, (key, _))| *key == row.to_string()));
        }
        let (rows, _) = longest(file_of(&vec!["short".to_owned(); 5000], 1000));
        assert_eq!(rows, 64);
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
