//! The file of rows that could not be stored: one a line, with its place in the source and the reason.
//!
//! A line has the fields of a dump where there is a key and a value: mended, the file can be loaded. It is made when there
//! is something to write, and is never the source itself.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chordata_loaders::{Pair, Reject, dump};

use super::arguments::Source;
use crate::failure::{Failure, Outcome};

/// See the [module](self).
pub(super) struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    /// Bytes of an earlier load that is resumed.
    keep: u64,
    /// Bytes that are written.
    length: u64,
}

/// A line for a pair that the cluster cannot take.
pub(super) fn line_of_pair(pair: &Pair, reason: &str) -> String {
    let mut line = String::new();
    let position = pair.position.to_string();
    let more = [("position", position.as_str()), ("reason", reason)];
    dump::write(&mut line, &pair.key, &pair.value, pair.expires_at_ms, &more);
    line.push('\n');
    line
}

/// A line for a row that is no pair.
pub(super) fn line_of_row(reject: &Reject) -> String {
    let row = serde_json::json!({
        "position": reject.position.to_string(),
        "reason": reject.reason,
        "row": reject.row,
    });
    format!("{row}\n")
}

impl Rejects {
    /// Behind what an earlier load has written that is resumed.
    ///
    /// # Errors
    /// When it is the source: what is rejected would be written over what is read.
    pub(super) fn new(path: PathBuf, keep: u64, source: &Source) -> Outcome<Rejects> {
        let identity = |path: &Path| path.metadata().ok().map(|about| (about.dev(), about.ino()));
        let is_it = |source: &Path| identity(&path).is_some_and(|it| identity(source) == Some(it));
        if source.local().is_some_and(|source| is_it(&source)) {
            return Err(Failure::input(format!(
                "{} is the source itself: rows that cannot be stored would be written over it. Say with --rejects where they \
                 are to go",
                path.display()
            )));
        }
        Ok(Rejects { path, file: None, keep, length: keep })
    }

    /// Writes lines.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn write(&mut self, lines: &[String]) -> Outcome {
        if lines.is_empty() {
            return Ok(());
        }
        let path = self.path.display().to_string();
        let failed = |error: std::io::Error| Failure::failed(format!("{path} cannot be written: {error}"));
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut file = OpenOptions::new()
                    .create(true)
                    .truncate(self.keep == 0)
                    .write(true)
                    .open(&self.path)
                    .map_err(failed)?;
                if file.metadata().map_err(failed)?.len() < self.keep {
                    return Err(Failure::failed(format!(
                        "{path} has lost what was in it: load from the beginning"
                    )));
                }
                // What was written behind the last note comes again.
                file.set_len(self.keep).map_err(failed)?;
                file.seek(SeekFrom::End(0)).map_err(failed)?;
                self.file.insert(BufWriter::new(file))
            }
        };
        for line in lines {
            file.write_all(line.as_bytes()).map_err(failed)?;
            self.length += line.len() as u64;
        }
        file.flush().map_err(failed)
    }

    /// How long it is.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Where it is, if there is one.
    pub(super) fn path(&self) -> Option<&Path> {
        (self.length > 0).then_some(&self.path)
    }
}
