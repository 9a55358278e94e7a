//! Files into local files and pipes.
//!
//! A local file is written under a temporary name beside it, `.NAME.chordata-part`, chunk by chunk from its beginning. What
//! is there already is compared with the manifest and kept as far as it is right, so an interrupted download goes on. The
//! name is given when all of it is there, has the hash of the whole, and is on disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream::{Stream, StreamExt};

use crate::failure::Failure;
use crate::manifest::{Hash, Info};
use crate::name::FileName;
use crate::read::Reader;
use crate::{Files, Progress, Step};

/// How often it is begun again because the file was replaced meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// Where content goes.
pub enum Output {
    /// Under this name, in place of what may be there.
    File(PathBuf),
    /// Anything that takes it, in order. What was written cannot be taken back.
    Stream(Box<dyn Write + Send>),
}

/// What a download did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Downloaded {
    /// The file.
    pub info: Info,
    /// Bytes that an earlier attempt had left.
    pub reused: u64,
}

/// Does something that may block the thread, off those that drive connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Failure::task(&error)))
}

/// What is written to, and the hash of what was written.
struct Sink<W> {
    to: W,
    whole: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Sink<W> {
    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.to.write_all(content)?;
        self.whole.update(content);
        self.bytes += content.len() as u64;
        Ok(())
    }
}

/// Writes all of a stream.
async fn copy<W: Write + Send + 'static>(
    content: impl Stream<Item = Result<Bytes, Failure>> + Send,
    sink: &mut Option<Box<Sink<W>>>,
    progress: Option<&Progress>,
    fail: impl Fn(io::Error) -> Failure + Send + Clone + 'static,
) -> Result<(), Failure> {
    let mut content = Box::pin(content);
    while let Some(bytes) = content.next().await {
        let bytes = bytes?;
        let count = bytes.len() as u64;
        let Some(mut mine) = sink.take() else { break };
        let fail = fail.clone();
        let written = blocking(move || {
            mine.write(&bytes).map_err(fail)?;
            Ok(mine)
        });
        *sink = Some(written.await?);
        if let Some(tell) = progress {
            tell(Step { bytes: count, reused: false });
        }
    }
    Ok(())
}

impl Files {
    /// Writes a file somewhere. A file that is replaced meanwhile is begun again, unless something was given to a stream.
    ///
    /// # Errors
    /// [`Failure::NotFound`], [`Failure::Broken`], [`Failure::Changed`], and when the output or the cluster fails: what a
    /// temporary file has then is used by the next attempt.
    pub async fn download(
        &self,
        name: &FileName,
        output: Output,
        progress: Option<&Progress>,
    ) -> Result<Downloaded, Failure> {
        match output {
            Output::File(path) => {
                let mut attempts = 1;
                loop {
                    let reader = self.open(name).await?;
                    match Box::pin(into_file(&reader, &path, progress)).await {
                        Err(Failure::Changed(_)) if attempts < ATTEMPTS_MAX => attempts += 1,
                        result => return result,
                    }
                }
            }
            Output::Stream(stream) => self.stream_to(name, stream, progress).await,
        }
    }

    async fn stream_to(
        &self,
        name: &FileName,
        stream: Box<dyn Write + Send>,
        progress: Option<&Progress>,
    ) -> Result<Downloaded, Failure> {
        let mut sink = Some(Box::new(Sink { to: stream, whole: blake3::Hasher::new(), bytes: 0 }));
        let fail = |error: io::Error| Failure::Local(format!("writing the output: {error}"));
        let mut attempts = 1;
        let info = loop {
            let reader = self.open(name).await?;
            match copy(reader.read(0..u64::MAX), &mut sink, progress, fail).await {
                Ok(()) => break reader.info(),
                Err(Failure::Changed(_))
                    if attempts < ATTEMPTS_MAX && sink.as_ref().is_some_and(|sink| sink.bytes == 0) =>
                {
                    attempts += 1;
                }
                Err(failure) => return Err(failure),
            }
        };
        let Some(mut sink) = sink else { return Err(Failure::Local("writing was cut off".to_owned())) };
        let hash = blocking(move || {
            sink.to.flush().map_err(fail)?;
            Ok(Hash(*sink.whole.finalize().as_bytes()))
        });
        must_be(&info, hash.await?)?;
        Ok(Downloaded { info, reused: 0 })
    }
}

/// Every chunk was right, so this can only fail if the manifest contradicts itself.
fn must_be(info: &Info, hash: Hash) -> Result<(), Failure> {
    if hash == info.hash {
        return Ok(());
    }
    let reason = format!("has the hash {hash}, and the manifest says {}", info.hash);
    Err(Failure::Broken { name: info.name.clone(), what: "the whole".to_owned(), reason })
}

/// The name that a file has until it is whole.
fn temporary(path: &Path) -> Result<PathBuf, Failure> {
    let Some(name) = path.file_name() else {
        return Err(Failure::Local(format!("{} is no name for a file", path.display())));
    };
    if path.is_dir() {
        return Err(Failure::Local(format!("{} is a directory", path.display())));
    }
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".chordata-part");
    Ok(path.with_file_name(temporary))
}

/// Opens it for this process alone.
fn open(path: &Path) -> Result<File, Failure> {
    let local = |error: io::Error| Failure::local(path, &error);
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(local)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(Failure::Local(format!("{}: another download is writing it", path.display())))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(local(error)),
    }
}

/// Keeps what is right from the beginning on, and is ready to write behind it.
fn keep(mut file: File, hashes: &[Hash], chunk_bytes: usize, size: u64) -> io::Result<Sink<File>> {
    let mut sink = blake3::Hasher::new();
    let (mut bytes, mut chunk) = (0, Vec::with_capacity(chunk_bytes));
    for hash in hashes {
        chunk.clear();
        let length = (size - bytes).min(chunk_bytes as u64);
        Read::by_ref(&mut file).take(length).read_to_end(&mut chunk)?;
        if chunk.len() as u64 != length || Hash::of(&chunk) != *hash {
            break;
        }
        sink.update(&chunk);
        bytes += length;
    }
    file.set_len(bytes)?;
    file.seek(SeekFrom::Start(bytes))?;
    Ok(Sink { to: file, whole: sink, bytes })
}

async fn into_file(reader: &Reader, path: &Path, progress: Option<&Progress>) -> Result<Downloaded, Failure> {
    let info = reader.info();
    let part = temporary(path)?;
    let fail = {
        let part = part.clone();
        move |error: io::Error| Failure::local(&part, &error)
    };
    let file = {
        let part = part.clone();
        blocking(move || open(&part)).await?
    };
    let is_begun = file.metadata().is_ok_and(|metadata| metadata.len() > 0);
    let hashes = if is_begun { reader.hashes().await? } else { Vec::new() };
    let (chunk_bytes, size) = (reader.manifest().chunk_bytes as usize, info.size);
    let kept = {
        let fail = fail.clone();
        blocking(move || keep(file, &hashes, chunk_bytes, size).map(Box::new).map_err(fail)).await?
    };
    let reused = kept.bytes;
    if let Some(tell) = progress.filter(|_| reused > 0) {
        tell(Step { bytes: reused, reused: true });
    }
    let mut sink = Some(kept);
    copy(reader.read(reused..u64::MAX), &mut sink, progress, fail.clone()).await?;
    let Some(sink) = sink else { return Err(Failure::Local("writing was cut off".to_owned())) };
    let (path, wanted) = (path.to_owned(), info.clone());
    blocking(move || {
        let must = must_be(&wanted, Hash(*sink.whole.finalize().as_bytes()));
        if must.is_err() {
            // It would be taken for good again and again.
            std::fs::remove_file(&part).map_err(&fail)?;
        }
        must?;
        sink.to.sync_all().map_err(&fail)?;
        std::fs::rename(&part, &path).map_err(|error| Failure::local(&path, &error))?;
        sync_directory(&path).map_err(|error| Failure::local(&path, &error))
    })
    .await?;
    Ok(Downloaded { info, reused })
}

/// The new name is on disk, too.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}
