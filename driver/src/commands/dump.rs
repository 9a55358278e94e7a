//! `dump`: writes everything that the cluster holds, a JSON object a line; `load ndjson` reads it back.
//!
//! With chains each range is as it was at one place of its log ([`chordata_client::dump`]). A file gets its name when all
//! of it is there.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chordata_client::Client;
use chordata_loaders::{PairKey, dump};
use chordata_protocol::{Key, Record};
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{self, Output, Report};

/// Between two lines that say how far it has come.
const LINES_EVERY: Duration = Duration::from_secs(10);

/// `dump`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DumpArguments {
    /// The file; it has its name when all is in it [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Dumped {
    command: &'static str,
    keys: u64,
    bytes: u64,
    ranges: usize,
    seconds: f64,
    file: Option<PathBuf>,
}

impl Report for Dumped {
    fn text(&self) -> String {
        let time = report::duration(Duration::from_secs_f64(self.seconds));
        let ranges = report::count(self.ranges, "range");
        let to = self.file.as_ref().map_or_else(String::new, |path| format!(" into {}", path.display()));
        format!("{} keys of {ranges} written{to} ({} bytes, {time})\n", self.keys, self.bytes)
    }
}

/// The line of a record.
fn line(out: &mut String, key: &Key, record: &Record) {
    let key = match key {
        Key::Bytes(bytes) => PairKey::Bytes(bytes.clone()),
        Key::Literal(id) => PairKey::Id(id.to_literal()),
    };
    let expires = record.expires.map(chordata_protocol::Moment::as_millis);
    dump::write(out, &key, &record.value, expires, &[]);
    out.push('\n');
}

impl DumpArguments {
    /// Writes everything.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let connection = context.target.connect(context.output).await?;
        let began = Instant::now();
        let dumped = match &self.output {
            None => {
                let mut out = BufWriter::new(std::io::stdout().lock());
                write_all(&connection.client, &mut out, context.output).await?
            }
            Some(path) => {
                let failed = |error: std::io::Error| {
                    Failure::failed(format!("{} cannot be written: {error}", path.display()))
                };
                let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
                let beside =
                    tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new("."))).map_err(failed)?;
                let mut out = BufWriter::new(beside);
                let dumped = write_all(&connection.client, &mut out, context.output).await?;
                let beside = out.into_inner().map_err(|error| failed(error.into_error()))?;
                beside.as_file().sync_all().map_err(failed)?;
                beside.persist(path).map_err(|error| failed(error.error))?;
                dumped
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        let dumped = Dumped { seconds, file: self.output.clone(), ..dumped };
        if self.output.is_some() {
            context.output.show(&dumped);
        } else {
            context.output.remark(dumped.text().trim_end());
        }
        Ok(())
    }
}

async fn write_all(client: &Client, out: &mut impl Write, output: Output) -> Outcome<Dumped> {
    let mut dump = client.dump();
    let (mut keys, mut bytes, mut lines) = (0, 0, String::new());
    let mut said = Instant::now();
    while let Some(records) = Box::pin(dump.next()).await? {
        lines.clear();
        for (key, record) in &records {
            line(&mut lines, key, record);
        }
        keys += records.len() as u64;
        bytes += lines.len() as u64;
        match out.write_all(lines.as_bytes()) {
            // Who reads has had enough (a pipe into `head`).
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
        if said.elapsed() >= LINES_EVERY {
            said = Instant::now();
            output.remark(&format!("{keys} keys written"));
        }
    }
    match out.flush() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    Ok(Dumped { command: "dump", keys, bytes, ranges: dump.ranges(), seconds: 0.0, file: None })
}
