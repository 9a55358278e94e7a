//! A Redis server of our own on a socket in the file system, and the little of its protocol that loading it takes:
//! arrays of strings out, in a pipeline; status, number and string back.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::BenchError;

/// How long the server may take until it can be called.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How often that is tried.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// A running server. Ends when it is dropped.
pub(super) struct Redis {
    child: Child,
    stream: BufReader<UnixStream>,
}

/// What it says of its version; or why it cannot be had, and what to do about that.
pub(super) async fn version(program: &Path) -> Result<String, String> {
    let output = Command::new(program).arg("--version").kill_on_drop(true).output().await;
    let missing = |error| {
        format!(
            "{} cannot be run ({error}): apt-get install redis-server, or say --redis PROGRAM",
            program.display()
        )
    };
    let output = output.map_err(missing)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="));
    let allocator = text.split_whitespace().find_map(|word| word.strip_prefix("malloc="));
    match (version, allocator) {
        (Some(version), Some(allocator)) => Ok(format!("{version} ({allocator})")),
        _ => Err(format!("{} says {text:?} of its version", program.display())),
    }
}

impl Redis {
    /// Starts one that keeps nothing on disk.
    pub(super) async fn start(program: &Path, socket: &Path) -> Result<Redis, BenchError> {
        let directory = socket.parent().unwrap_or(Path::new("."));
        let child = Command::new(program)
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"])
            .arg(directory)
            .arg("--unixsocket")
            .arg(socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(BenchError::server)?;
        let began = Instant::now();
        let stream = loop {
            match UnixStream::connect(socket).await {
                Ok(stream) => break stream,
                Err(error) if began.elapsed() > START_WITHIN => return Err(BenchError::server(error)),
                Err(_) => tokio::time::sleep(TRY_EVERY).await,
            }
        };
        Ok(Redis { child, stream: BufReader::new(stream) })
    }

    /// The number of its process.
    pub(super) fn process(&self) -> String {
        self.child.id().map_or_else(String::new, |id| id.to_string())
    }

    /// Stores values, all in one pipeline.
    pub(super) async fn set_many<K: AsRef<[u8]>>(
        &mut self,
        entries: impl Iterator<Item = (K, Vec<u8>)>,
    ) -> Result<(), BenchError> {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for (key, value) in entries {
            command(&mut bytes, &[b"SET", key.as_ref(), &value]);
            count += 1;
        }
        self.stream.write_all(&bytes).await.map_err(BenchError::call)?;
        for _ in 0..count {
            let line = self.line().await?;
            if line != "+OK" {
                return Err(BenchError::Call(format!("Redis answers {line:?} to SET")));
            }
        }
        Ok(())
    }

    /// How many keys it holds.
    pub(super) async fn count(&mut self) -> Result<u64, BenchError> {
        let line = self.ask(&[b"DBSIZE"]).await?;
        let count = line.strip_prefix(':').and_then(|count| count.parse().ok());
        count.ok_or_else(|| BenchError::Call(format!("Redis answers {line:?} to DBSIZE")))
    }

    /// A value.
    pub(super) async fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, BenchError> {
        let line = self.ask(&[b"GET", key]).await?;
        if line == "$-1" {
            return Ok(None);
        }
        let length = line.strip_prefix('$').and_then(|length| length.parse::<usize>().ok());
        let length = length.ok_or_else(|| BenchError::Call(format!("Redis answers {line:?} to GET")))?;
        let mut value = vec![0; length + 2];
        self.stream.read_exact(&mut value).await.map_err(BenchError::call)?;
        value.truncate(length);
        Ok(Some(value))
    }

    /// Ends it.
    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        self.child.kill().await.map_err(BenchError::server)
    }

    async fn ask(&mut self, words: &[&[u8]]) -> Result<String, BenchError> {
        let mut bytes = Vec::new();
        command(&mut bytes, words);
        self.stream.write_all(&bytes).await.map_err(BenchError::call)?;
        self.line().await
    }

    async fn line(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.map_err(BenchError::call)?;
        Ok(line.trim_end().to_owned())
    }
}

/// One command as the protocol writes it.
fn command(bytes: &mut Vec<u8>, words: &[&[u8]]) {
    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_counted_strings() {
        let mut bytes = Vec::new();
        command(&mut bytes, &[b"SET", b"k", b"a\r\nb"]);
        assert_eq!(bytes, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_said_to_be_missing() {
        let reason = version(Path::new("/no/such/redis-server")).await.unwrap_err();
        assert!(reason.contains("apt-get install redis-server"), "{reason}");
    }
}
