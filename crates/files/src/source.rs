//! Storing what a local file or standard input has. The source is read by a thread of its own, a few chunks ahead.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use tokio::sync::mpsc;

use crate::Files;
use crate::failure::Failure;
use crate::name::FileName;
use crate::upload::{Put, PutOptions, Upload};

/// Chunks that are read ahead.
const AHEAD: usize = 2;

/// Where content comes from.
pub enum Source {
    /// A file. It must not change meanwhile.
    File(PathBuf),
    /// Anything that ends. It cannot be resumed.
    Stream(Box<dyn Read + Send>),
}

/// Size and time of last change (nanoseconds since 1970): what tells that a file was changed.
fn state(metadata: &Metadata) -> (u64, u64) {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let modified = since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
    (metadata.len(), modified)
}

fn open(path: &Path) -> Result<(File, (u64, u64)), Failure> {
    let local = |error: io::Error| Failure::local(path, &error);
    let file = File::open(path).map_err(local)?;
    let metadata = file.metadata().map_err(local)?;
    if !metadata.is_file() {
        return Err(Failure::Local(format!("{} is no regular file", path.display())));
    }
    Ok((file, state(&metadata)))
}

/// Reads everything in chunks; false: nobody wants more.
fn read(
    mut source: &mut dyn Read,
    chunk_bytes: usize,
    to: &mpsc::Sender<Result<Vec<u8>, Failure>>,
) -> io::Result<Option<u64>> {
    let mut bytes = 0;
    loop {
        let mut chunk = Vec::with_capacity(chunk_bytes);
        Read::by_ref(&mut source).take(chunk_bytes as u64).read_to_end(&mut chunk)?;
        let is_last = chunk.len() < chunk_bytes;
        bytes += chunk.len() as u64;
        if !chunk.is_empty() && to.blocking_send(Ok(chunk)).is_err() {
            return Ok(None);
        }
        if is_last {
            return Ok(Some(bytes));
        }
    }
}

/// Reads a file, and looks at the end whether it is still what it was.
fn read_file(
    path: &Path,
    (mut file, before): (File, (u64, u64)),
    chunk_bytes: usize,
    to: &mpsc::Sender<Result<Vec<u8>, Failure>>,
) -> Result<(), Failure> {
    let local = |error: io::Error| Failure::local(path, &error);
    let Some(bytes) = read(&mut file, chunk_bytes, to).map_err(local)? else { return Ok(()) };
    // By its name as well: it may have been replaced.
    let open = state(&file.metadata().map_err(local)?);
    let named = state(&std::fs::metadata(path).map_err(local)?);
    if open == before && named == before && bytes == before.0 {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::SourceChanged(format!(
        "{path} was changed while it was read: nothing was stored; put it again"
    )))
}

impl Files {
    /// Stores a file with the content of a source.
    ///
    /// # Errors
    /// [`Failure::SourceChanged`]: nothing is left of it. As [`Upload::finish`](crate::Upload::finish).
    pub async fn put_from(
        &self,
        source: Source,
        name: &FileName,
        mut options: PutOptions,
    ) -> Result<Put, Failure> {
        let (to, mut chunks) = mpsc::channel(AHEAD);
        let chunk_bytes = self.settings.chunk_bytes;
        let work: Box<dyn FnOnce() -> Result<(), Failure> + Send> = match source {
            Source::File(path) => {
                let opened = open(&path)?;
                options.source = Some(opened.1);
                let to = to.clone();
                Box::new(move || read_file(&path, opened, chunk_bytes, &to))
            }
            Source::Stream(mut stream) => {
                let to = to.clone();
                Box::new(move || {
                    let ended = read(&mut *stream, chunk_bytes, &to);
                    ended.map(drop).map_err(|error| Failure::Local(format!("reading the source: {error}")))
                })
            }
        };
        let mut upload = self.upload(name, options).await?;
        // Not a task: nobody could end one that waits for a source that says nothing.
        let thread = std::thread::Builder::new().name("source".to_owned()).spawn(move || {
            if let Err(failure) = work() {
                // An error: nobody waits for it any more.
                let _ = to.blocking_send(Err(failure));
            }
        });
        thread.map_err(|error| Failure::Local(format!("there can be no more threads: {error}")))?;
        match push_all(&mut upload, &mut chunks).await {
            Ok(()) => upload.finish().await,
            Err(failure @ (Failure::SourceChanged(_) | Failure::Local(_) | Failure::TooLarge(_))) => {
                upload.abort().await?;
                Err(failure)
            }
            // It can be resumed.
            Err(failure) => Err(failure),
        }
    }
}

async fn push_all(
    upload: &mut Upload,
    chunks: &mut mpsc::Receiver<Result<Vec<u8>, Failure>>,
) -> Result<(), Failure> {
    while let Some(chunk) = chunks.recv().await {
        upload.push_chunk(chunk?).await?;
    }
    Ok(())
}
