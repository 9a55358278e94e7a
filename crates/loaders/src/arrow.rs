//! Arrow IPC: files (Feather version 2, `df.to_feather`) and streams.
//!
//! A file is known by its first bytes and needs to be a real one: it is read from its end. A stream may come through a
//! pipe.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};

use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::ArrowError;

use crate::batches::Rows;
use crate::{Choice, Sink, SourceError};

/// What a file begins with; a stream begins with a length.
const FILE: &[u8] = b"ARROW1";
/// What Feather version 1 begins with.
const FEATHER_1: &[u8] = b"FEA1";

fn wrong(error: &ArrowError) -> SourceError {
    SourceError::input(format!("it is no Arrow file or stream that can be read: {error}"))
}

/// Makes pairs of a file, or of a stream in a file.
///
/// # Errors
/// When it cannot be read, or has not the columns.
pub fn read(mut file: File, choice: &Choice, sink: Sink<'_>) -> Result<(), SourceError> {
    let beginning = beginning(&mut file)?;
    if beginning != FILE {
        return from_beginning(beginning, file, choice, sink);
    }
    file.rewind()?;
    let reader = FileReader::try_new(BufReader::new(file), None).map_err(|error| wrong(&error))?;
    Rows::new(&reader.schema(), choice)?.give(reader, sink)
}

/// Makes pairs of a stream.
///
/// # Errors
/// When it cannot be read, is a file, or has not the columns.
pub fn read_stream(mut input: impl Read, choice: &Choice, sink: Sink<'_>) -> Result<(), SourceError> {
    let beginning = beginning(&mut input)?;
    if beginning == FILE {
        let text = "it is an Arrow file, which is read from its end: name the file instead of -";
        return Err(SourceError::input(text));
    }
    from_beginning(beginning, input, choice, sink)
}

fn beginning(input: &mut impl Read) -> Result<Vec<u8>, SourceError> {
    let mut beginning = Vec::new();
    input.take(FILE.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning)
}

fn from_beginning(
    beginning: Vec<u8>,
    input: impl Read,
    choice: &Choice,
    sink: Sink<'_>,
) -> Result<(), SourceError> {
    if beginning.starts_with(FEATHER_1) {
        let text = "it is Feather version 1: write it again with a newer pandas or pyarrow";
        return Err(SourceError::input(text));
    }
    let input = Cursor::new(beginning).chain(input);
    let reader = StreamReader::try_new(BufReader::new(input), None).map_err(|error| wrong(&error))?;
    Rows::new(&reader.schema(), choice)?.give(reader, sink)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::ops::ControlFlow;

    use arrow_ipc::writer::{FileWriter, StreamWriter};

    use super::*;
    use crate::batches::tests::{ROWS, batch, by_id, shown, wanted};

    type Found = Result<Vec<(String, String)>, String>;

    fn collected(read: impl FnOnce(Sink<'_>) -> Result<(), SourceError>) -> Found {
        let mut items = Vec::new();
        let sink: Sink<'_> = &mut |item| {
            items.push(shown(item));
            ControlFlow::Continue(())
        };
        read(sink).map_err(|error| error.to_string())?;
        Ok(items)
    }

    fn in_file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn files_and_streams_are_read() {
        let (mut file, mut stream) = (Vec::new(), Vec::new());
        let mut writer = FileWriter::try_new(&mut file, &batch().schema()).unwrap();
        writer.write(&batch()).unwrap();
        writer.finish().unwrap();
        drop(writer);
        let mut writer = StreamWriter::try_new(&mut stream, &batch().schema()).unwrap();
        writer.write(&batch()).unwrap();
        writer.finish().unwrap();
        drop(writer);
        let rows = || Ok(wanted(&ROWS));
        assert_eq!(collected(|sink| read(in_file(&file), &by_id(), sink)), rows());
        assert_eq!(collected(|sink| read(in_file(&stream), &by_id(), sink)), rows());
        assert_eq!(collected(|sink| read_stream(&stream[..], &by_id(), sink)), rows());
        let error = collected(|sink| read_stream(&file[..], &by_id(), sink)).unwrap_err();
        assert!(error.contains("read from its end"), "{error}");
        let error = collected(|sink| read(in_file(b"FEA1 and more"), &by_id(), sink)).unwrap_err();
        assert!(error.contains("Feather version 1"), "{error}");
        let error = collected(|sink| read(in_file(b"key,value\n"), &by_id(), sink)).unwrap_err();
        assert!(error.starts_with("it is no Arrow file"), "{error}");
    }
}
