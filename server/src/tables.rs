//! Loading a table of this machine into the ring that this server is in, as any client would do it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use chordata_client::{Client, Config};
use chordata_loaders::Encoding;
use chordata_loaders::csv::{Options, Table};
use chordata_protocol::{Key, Value};
use chordata_rpc::service::Error;
use chordata_rpc::standby::{LoadOrder, Loading};
use chordata_rpc::{Credentials, Secret};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::info;

use crate::node::Node;

/// Where tables are, unless it is said.
pub(crate) const DIRECTORY_DEFAULT: &str = "data/storm";
/// Records that are stored at once.
const BATCH: usize = 500;
/// Batches that are read ahead.
const AHEAD: usize = 4;

type Batch = Vec<(Key, Value)>;

/// How far a table is, or why it cannot be loaded.
type Far = Arc<Mutex<Result<Loading, Error>>>;

/// The table that is being loaded, or was loaded last.
#[derive(Default)]
pub(crate) struct Tables {
    current: Mutex<Option<(LoadOrder, Far)>>,
}

impl Tables {
    /// Begins to load a table, unless that was begun; how far it is.
    pub(crate) fn load(
        &self,
        order: LoadOrder,
        directory: &Path,
        node: &Node,
        secret: Option<Secret>,
    ) -> Result<Loading, Error> {
        let mut current = self.current.lock();
        if let Some((known, far)) = current.as_ref()
            && *known == order
        {
            return far.lock().clone();
        }
        let path = path(directory, &order.file)?;
        let far = Arc::new(Mutex::new(Ok(Loading::default())));
        *current = Some((order.clone(), far.clone()));
        let credentials = Credentials::new(Some(node.cluster().cluster), secret);
        let entry = node.me().address.clone();
        tokio::spawn(async move {
            let config = Config { credentials, ..Config::default() };
            let loaded = match Client::connect(&[entry], config).await {
                Ok(client) => load(&client, path, order.key, &far).await,
                Err(failure) => Err(Error::Unavailable(failure.to_string())),
            };
            let records = far.lock().as_ref().map_or(0, |loading| loading.records);
            info!("a table is loaded: {records} records, {loaded:?}");
            *far.lock() = loaded.map(|()| Loading { records, done: true });
        });
        Ok(Loading::default())
    }
}

/// A file of the directory, and of no other.
fn path(directory: &Path, file: &str) -> Result<PathBuf, Error> {
    let mut parts = Path::new(file).components();
    if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
        return Err(Error::NotSupported(format!("{file:?} is no file's name")));
    }
    let path = directory.join(file);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::NotSupported(format!(
        "there is no file {} on this server's machine: --dht-data says where the tables are",
        path.display()
    )))
}

async fn load(
    client: &Client,
    path: PathBuf,
    key: String,
    far: &Mutex<Result<Loading, Error>>,
) -> Result<(), Error> {
    let (batches, mut read) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || rows(&path, &key, &batches));
    let mut stored = HashSet::new();
    while let Some(batch) = read.recv().await {
        let keys: Vec<Key> = batch.iter().map(|(key, _)| key.clone()).collect();
        for (key, outcome) in keys.into_iter().zip(client.put_many(batch).await) {
            outcome.map_err(|failure| Error::Unavailable(format!("{key} was not stored: {failure}")))?;
            stored.insert(key);
        }
        *far.lock() = Ok(Loading { records: u64::try_from(stored.len()).unwrap_or(u64::MAX), done: false });
    }
    let read = reading.await.unwrap_or_else(|_| Err("it was not read to its end".to_owned()));
    read.map_err(Error::NotSupported)
}

/// Reads the rows of a file, a batch after the other, as long as they are wanted.
fn rows(path: &Path, column: &str, batches: &mpsc::Sender<Batch>) -> Result<(), String> {
    let wrong = |reason: String| format!("{}: {reason}", path.display());
    let open = || File::open(path).map(BufReader::new).map_err(|error| wrong(error.to_string()));
    // NOAA's files are in one encoding in one year and in another in the next, and do not say which.
    let encoding = if is_utf8(open()?).map_err(|error| wrong(error.to_string()))? {
        Encoding::Utf8
    } else {
        Encoding::Windows1252
    };
    let options = Options { encoding, ..Options::default() };
    let table = Table::new(open()?, &options).map_err(|error| wrong(error.to_string()))?;
    if !table.columns().iter().any(|name| name == column) {
        return Err(wrong(format!("there is no column {column}, but {}", table.columns().join(", "))));
    }
    let mut batch = Vec::with_capacity(BATCH);
    for row in table {
        let row = row.map_err(|error| wrong(error.to_string()))?;
        let key = row.get(column).map(str::trim).unwrap_or_default();
        if key.is_empty() {
            return Err(wrong(format!("{}: {column} is empty", row.position)));
        }
        batch.push((Key::new(key), Value::from(row.to_json().into_bytes())));
        if batch.len() == BATCH {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            if batches.blocking_send(full).is_err() {
                return Ok(());
            }
        }
    }
    // Nobody may want it any more.
    let _ = batches.blocking_send(batch);
    Ok(())
}

/// Is this text UTF-8? Reads it to the end, or to the first bytes that are not.
fn is_utf8(mut text: impl Read) -> std::io::Result<bool> {
    let mut bytes = [0; 64 * 1024];
    let mut kept = 0;
    loop {
        let read = text.read(&mut bytes[kept..])?;
        let end = kept + read;
        match std::str::from_utf8(&bytes[..end]) {
            Ok(_) => kept = 0,
            // A character may go on in what comes next.
            Err(error) if error.error_len().is_none() && read > 0 => {
                bytes.copy_within(error.valid_up_to()..end, 0);
                kept = end - error.valid_up_to();
            }
            Err(_) => return Ok(false),
        }
        if read == 0 {
            return Ok(kept == 0);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Batch, String> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("details-1950.csv");
        std::fs::write(&path, bytes).unwrap();
        let (sender, mut batches) = mpsc::channel(100);
        rows(&path, "EVENT_ID", &sender)?;
        drop(sender);
        let mut all = Vec::new();
        while let Ok(batch) = batches.try_recv() {
            all.extend(batch);
        }
        Ok(all)
    }

    #[test]
    fn rows_are_read_in_either_encoding_and_with_any_line_ends() {
        let row = |id: &str, state: &str| {
            (Key::new(id), Value::from(format!(r#"{{"EVENT_ID":"{id}","STATE":"{state}"}}"#).as_str()))
        };
        let expected = [row("1", "TEXAS"), row("2", "CA\u{d1}ON")];
        assert_eq!(read(b"EVENT_ID,STATE\r1,TEXAS\r2,CA\xd1ON\r").unwrap(), expected);
        assert_eq!(read("EVENT_ID,STATE\n1,TEXAS\r\n2,CA\u{d1}ON".as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        assert!(read(b"ID,STATE\r1,TEXAS\r").unwrap_err().contains("no column EVENT_ID, but ID, STATE"));
        assert!(read(b"EVENT_ID,STATE\r,TEXAS\r").unwrap_err().contains("EVENT_ID is empty"));
    }

    #[test]
    fn only_files_of_the_directory_are_read() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.csv"), "x").unwrap();
        std::fs::create_dir(place.path().join("d")).unwrap();
        assert!(path(place.path(), "a.csv").is_ok());
        for bad in ["../a.csv", "d/../a.csv", "/etc/passwd", "", ".", "d", "b.csv"] {
            assert!(path(place.path(), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_character_may_lie_across_two_reads() {
        struct Bits<'a>(&'a [u8]);
        impl Read for Bits<'_> {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
                (into[0], self.0) = (*first, rest);
                Ok(1)
            }
        }
        assert!(is_utf8(Bits("Ca\u{f1}on \u{20ac}".as_bytes())).unwrap());
        assert!(!is_utf8(Bits(b"Ca\xf1on")).unwrap());
        assert!(!is_utf8(Bits(b"half \xe2\x82")).unwrap());
    }
}
