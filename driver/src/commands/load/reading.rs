//! Reads a source, ahead of what is done with it.
//!
//! A file is read by a thread of its own: reading standard input may stand still, and nobody has to wait for that thread
//! when the command ends.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chordata_loaders::{Choice, Item, Sink, SourceError, csv, json, ndjson};
use tokio::sync::{mpsc, oneshot};

use super::arguments::{Format, Source};
use crate::failure::{Failure, Outcome};

/// Some rows.
pub(super) type Chunk = Vec<Item>;

/// Rows and bytes in a chunk.
const CHUNK: (usize, usize) = (512, 256 * 1024);

/// A source that can be read.
pub(super) struct Feed {
    input: Input,
    /// Bytes that were read so far.
    read: Arc<AtomicU64>,
    /// Bytes that there are; none: nobody knows.
    length: Option<u64>,
}

enum Input {
    File {
        file: Option<File>,
        format: Format,
    },
    #[cfg(feature = "sql")]
    Sql {
        database: Box<chordata_loaders::sql::Database>,
        query: chordata_loaders::sql::Query,
    },
}

impl Feed {
    /// Opens it.
    ///
    /// # Errors
    /// When there is no such file, or it is not said well which database is meant.
    pub(super) fn open(source: &Source) -> Outcome<Feed> {
        let read = Arc::new(AtomicU64::new(0));
        match source {
            Source::File { path: None, format: Format::Parquet } => {
                Err(Failure::input("a Parquet file is read from its end: name the file instead of -"))
            }
            Source::File { path: None, format } => {
                Ok(Feed { input: Input::File { file: None, format: format.clone() }, read, length: None })
            }
            Source::File { path: Some(path), format } => {
                let failed = |error| Failure::input(format!("{} cannot be read: {error}", path.display()));
                let file = File::open(path).map_err(failed)?;
                let about = file.metadata().map_err(failed)?;
                if about.is_dir() {
                    return Err(Failure::input(format!("{} is a directory", path.display())));
                }
                let is_counted = matches!(format, Format::Csv(_) | Format::Json | Format::Ndjson);
                let length = Some(about.len()).filter(|_| about.is_file() && is_counted);
                Ok(Feed { input: Input::File { file: Some(file), format: format.clone() }, read, length })
            }
            #[cfg(feature = "sql")]
            Source::Sql(arguments) => sql::open(arguments, read),
            #[cfg(not(feature = "sql"))]
            Source::Sql(_) => Err(Failure::input("this chordata is built without sql")),
        }
    }

    /// How much was read, as it is counted while that goes on, and how much there is.
    pub(super) fn extent(&self) -> (Arc<AtomicU64>, Option<u64>) {
        (Arc::clone(&self.read), self.length)
    }

    /// Reads everything, until nobody takes it any more.
    ///
    /// # Errors
    /// When it cannot be read any further.
    pub(super) async fn run(self, choice: &Choice, chunks: mpsc::Sender<Chunk>) -> Result<(), SourceError> {
        match self.input {
            Input::File { file, format } => {
                let (choice, read) = (choice.clone(), self.read);
                let (ended, end) = oneshot::channel();
                std::thread::spawn(move || {
                    let mut chunks = Chunks { chunks, chunk: Vec::new(), bytes: 0 };
                    let result = read_file(file, &format, &choice, read, &mut |item| chunks.push(item));
                    // What was found before an error counts.
                    let _ = chunks.send();
                    drop(chunks);
                    // If nobody waits for it any more, nobody needs to know.
                    let _ = ended.send(result);
                });
                end.await.unwrap_or_else(|_| {
                    Err(SourceError::Io(std::io::Error::other("the thread that reads it has panicked")))
                })
            }
            #[cfg(feature = "sql")]
            Input::Sql { database, query } => sql::run(&database, &query, choice, chunks).await,
        }
    }
}

/// Collects rows.
struct Chunks {
    chunks: mpsc::Sender<Chunk>,
    chunk: Chunk,
    bytes: usize,
}

impl Chunks {
    /// One more; true: the chunk is to be sent.
    fn add(&mut self, item: Item) -> bool {
        self.bytes += match &item {
            Item::Pair(pair) => pair.value.len() + 64,
            Item::Reject(reject) => reject.row.len() + 64,
        };
        self.chunk.push(item);
        self.chunk.len() >= CHUNK.0 || self.bytes >= CHUNK.1
    }

    fn take(&mut self) -> Chunk {
        self.bytes = 0;
        std::mem::take(&mut self.chunk)
    }

    fn push(&mut self, item: Item) -> ControlFlow<()> {
        if self.add(item) { self.send() } else { ControlFlow::Continue(()) }
    }

    fn send(&mut self) -> ControlFlow<()> {
        let chunk = self.take();
        match self.chunks.blocking_send(chunk) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

fn read_file(
    file: Option<File>,
    format: &Format,
    choice: &Choice,
    read: Arc<AtomicU64>,
    sink: Sink<'_>,
) -> Result<(), SourceError> {
    let input = |file: Option<File>| {
        let input: Box<dyn Read> = match file {
            Some(file) => Box::new(file),
            None => Box::new(std::io::stdin()),
        };
        Counted { input, read }
    };
    match format {
        Format::Csv(options) => csv::read(input(file), options, choice, sink),
        Format::Json => json::read(input(file), choice, sink),
        Format::Ndjson => ndjson::read(input(file), choice, sink),
        #[cfg(feature = "parquet")]
        Format::Parquet => match file {
            Some(file) => chordata_loaders::parquet::read(file, choice, sink),
            None => Err(SourceError::Input("a Parquet file is read from its end".to_owned())),
        },
        #[cfg(feature = "arrow")]
        Format::Arrow => match file {
            Some(file) => chordata_loaders::arrow::read(file, choice, sink),
            None => chordata_loaders::arrow::read_stream(std::io::stdin(), choice, sink),
        },
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => Err(SourceError::Input("this chordata is built without parquet".to_owned())),
        #[cfg(not(feature = "arrow"))]
        Format::Arrow => Err(SourceError::Input("this chordata is built without arrow".to_owned())),
    }
}

#[cfg(feature = "sql")]
mod sql {
    //! Rows of a database.

    use chordata_loaders::sql::{Database, Login, Query, read};

    use super::*;
    use crate::commands::load::arguments::SqlArguments;

    pub(super) fn open(arguments: &SqlArguments, read: Arc<AtomicU64>) -> Outcome<Feed> {
        let SqlArguments { source, server, port, user, password_env, database, table, query } = arguments;
        let password = password_env.as_ref().map(|variable| {
            std::env::var(variable).map_err(|_| {
                Failure::input(format!("the environment variable {variable} has no password in it"))
            })
        });
        let login = Login {
            server: server.clone(),
            port: *port,
            user: user.clone(),
            password: password.transpose()?,
            database: database.clone(),
        };
        let database = Box::new(Database::parse(source, &login).map_err(Failure::input)?);
        let query = match (table, query) {
            (Some(table), _) => Query::table(table).map_err(Failure::input)?,
            (None, Some(query)) => Query::Text(query.clone()),
            (None, None) => return Err(Failure::input("say --table or --query")),
        };
        Ok(Feed { input: Input::Sql { database, query }, read, length: None })
    }

    pub(super) async fn run(
        database: &Database,
        query: &Query,
        choice: &Choice,
        chunks: mpsc::Sender<Chunk>,
    ) -> Result<(), SourceError> {
        let mut rows = Chunks { chunks: chunks.clone(), chunk: Vec::new(), bytes: 0 };
        let result = read(database, query, choice, async |item| {
            if !rows.add(item) {
                return ControlFlow::Continue(());
            }
            match chunks.send(rows.take()).await {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        let result = result.await;
        // What was found before an error counts; nobody may want it any more.
        let _ = chunks.send(rows.take()).await;
        result
    }
}
