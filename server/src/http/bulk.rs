//! `POST /v1/bulk`: any number of puts as lines of JSON, with answers while they come, in bounded memory.
//!
//! Lines are gathered into batches, a few of which are on their way at once. If a key comes again while an earlier put of
//! it is on its way, that is waited for: of one key the last line counts. Reading stops while too much is on its way, so
//! whoever sends faster than the ring stores is slowed down.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use chordata_client::{Failure, PutOptions};
use chordata_protocol::key::VALUE_BYTES_MAX;
use chordata_protocol::{Key, Outcome, Ttl, Value};
use futures::future::{BoxFuture, FutureExt};
use futures::stream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{of_kind, written};
use super::bytes::{join, key};
use super::front::{Serving, Shared};
use super::problem::{Code, Problem};
use super::request::{self, Parameters};

/// Lines and bytes of one batch.
const LINES_PER_BATCH: usize = 1000;
const BYTES_PER_BATCH: usize = 768 * 1024;
/// Batches on their way at once.
const BATCHES_AT_ONCE: usize = 4;
/// The longest line: a value in base64 or with every byte escaped, and a key.
const LINE_BYTES_MAX: usize = VALUE_BYTES_MAX * 2 + 64 * 1024;
/// What was gathered leaves when nothing more comes for so long.
const LINGER: Duration = Duration::from_millis(100);

/// A line: a put.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkLine {
    /// The key, as text.
    key: Option<String>,
    /// The key, in base64.
    key_base64: Option<String>,
    /// The key, as a literal identifier.
    key_id: Option<String>,
    /// The value, as text.
    value: Option<String>,
    /// The value, in base64.
    value_base64: Option<String>,
    /// For how long, as in `30s`. Left away: for ever.
    ttl: Option<String>,
}

/// A line of the answer: a put that failed, progress, or the end.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct BulkAnswer {
    /// Of a put: which line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// Of a put that was asked for with `each`: its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Why not, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    /// Why not, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// Of progress and the end: lines that are done so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<u64>,
    /// Of progress and the end: lines that failed so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<u64>,
    /// Only in the last line: true. An answer without it broke off.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<bool>,
}

/// Stores many values
///
/// The body is lines of JSON, a put each: `{"key": "a", "value": "1"}` or with `key_base64`, `value_base64`, `key_id`. If
/// the first one is no put, nothing is read further (400); any later one is judged by itself.
/// Answers come while the lines are read: a line for each put that failed (with `each=true` for every put), now and then
/// how many are done, and at the end a line with `"end": true`. Of one key the last line counts. Memory stays bounded,
/// however long the body is.
#[utoipa::path(
    post, path = "/v1/bulk", tag = "keys",
    params(("each" = Option<String>, Query, pattern = "^(true|false)?$",
        description = "true, or nothing behind the name: a line for every put [default: only for those that failed]")),
    request_body(content = Option<BulkLine>, content_type = "application/x-ndjson"),
    responses(
        (status = 200, description = "Lines of JSON", body = BulkAnswer, content_type = "application/x-ndjson"),
        (status = 400, description = "There is no such parameter, or the first line is no put", body = Problem),
        (status = 408, description = "No line came in time", body = Problem),
        (status = 413, description = "The first line is too long", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
    ),
)]
pub(crate) async fn bulk(State(front): State<Shared>, request: Request) -> Result<Response, Problem> {
    let each = Parameters::read(request.uri(), &["each"])?.flag("each")?;
    let serving = front.serving()?;
    let mut lines = Lines::new(request.into_body());
    // What does not begin with a put is not meant for this: later there is no status to say so with.
    if let Err(problem) = Box::pin(lines.begin()).await {
        request::drain(lines.body).await;
        return Err(problem);
    }
    let work = Work {
        serving,
        lines,
        filling: Batch::default(),
        on_their_way: VecDeque::new(),
        keys: HashSet::new(),
        each,
        stored: 0,
        failed: 0,
        is_over: false,
    };
    let answers = stream::unfold(work, |mut work| async move {
        let text = Box::pin(work.next()).await?;
        Some((Ok::<_, io::Error>(text), work))
    });
    Ok(of_kind("application/x-ndjson", Body::from_stream(answers)))
}

/// The lines of a body.
struct Lines {
    body: Body,
    read: Vec<u8>,
    /// Up to here of what is read there is no end of a line.
    looked: usize,
    number: u64,
    ended: bool,
    /// The first line, once it was looked at.
    first: Option<(u64, Vec<u8>)>,
}

impl Lines {
    fn new(body: Body) -> Lines {
        Lines { body, read: Vec::new(), looked: 0, number: 0, ended: false, first: None }
    }

    /// Looks whether the first line is a put.
    async fn begin(&mut self) -> Result<(), Problem> {
        self.first = self.next().await?;
        self.first.iter().try_for_each(|(_, line)| put_in(line).map(drop))
    }

    /// The next line that is not empty, with its number; none: that was all.
    async fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, Problem> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            if let Some(at) = self.read[self.looked..].iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(self.looked + at + 1);
                let line = std::mem::replace(&mut self.read, rest);
                self.looked = 0;
                self.number += 1;
                if !line.trim_ascii().is_empty() {
                    return Ok(Some((self.number, line)));
                }
                continue;
            }
            self.looked = self.read.len();
            if self.read.len() > LINE_BYTES_MAX {
                return Err(Problem::new(
                    Code::TooLarge,
                    format!("a line has at most {LINE_BYTES_MAX} bytes"),
                ));
            }
            if self.ended {
                let line = std::mem::take(&mut self.read);
                self.looked = 0;
                self.number += 1;
                return Ok((!line.trim_ascii().is_empty()).then_some((self.number, line)));
            }
            match request::piece(&mut self.body).await? {
                Some(piece) => self.read.extend_from_slice(&piece),
                None => self.ended = true,
            }
        }
    }
}

/// What a line says.
fn put_in(line: &[u8]) -> Result<BulkLine, Problem> {
    serde_json::from_slice(line).map_err(|error| Problem::bad(format!("no put: {error}")))
}

/// Puts that travel together.
#[derive(Default)]
struct Batch {
    lines: Vec<u64>,
    entries: Vec<(Key, Value)>,
    bytes: usize,
    /// Of all of them.
    options: PutOptions,
}

type Outcomes = (Vec<u64>, Vec<Key>, Vec<Result<Outcome, Failure>>);

struct Work {
    serving: Arc<Serving>,
    lines: Lines,
    filling: Batch,
    on_their_way: VecDeque<BoxFuture<'static, Outcomes>>,
    /// Of what is being filled and what is on its way.
    keys: HashSet<Key>,
    each: bool,
    stored: u64,
    failed: u64,
    is_over: bool,
}

impl Work {
    /// The next piece of the answer; none: it is complete.
    async fn next(&mut self) -> Option<Bytes> {
        let mut text = Vec::new();
        while text.is_empty() {
            if self.is_over {
                return None;
            }
            let is_busy = !self.filling.lines.is_empty() || !self.on_their_way.is_empty();
            let line = if is_busy {
                match tokio::time::timeout(LINGER, self.lines.next()).await {
                    Ok(line) => line,
                    Err(_) => {
                        self.finish_all(&mut text).await;
                        continue;
                    }
                }
            } else {
                self.lines.next().await
            };
            match line {
                Ok(Some((number, line))) => self.take(number, &line, &mut text).await,
                Ok(None) => self.end(None, &mut text).await,
                Err(problem) => self.end(Some(problem), &mut text).await,
            }
        }
        Some(text.into())
    }

    async fn take(&mut self, number: u64, line: &[u8], text: &mut Vec<u8>) {
        let (key, value, options) = match self.understand(line) {
            Ok(entry) => entry,
            Err(problem) => {
                self.fail(number, problem, text);
                return;
            }
        };
        if self.keys.contains(&key) {
            self.finish_all(text).await;
        }
        let size = key.size() + value.len();
        if self.filling.lines.len() == LINES_PER_BATCH
            || self.filling.bytes + size > BYTES_PER_BATCH
            || self.filling.options != options
        {
            self.send(text).await;
        }
        self.filling.options = options;
        self.keys.insert(key.clone());
        self.filling.lines.push(number);
        self.filling.entries.push((key, value));
        self.filling.bytes += size;
    }

    fn understand(&self, line: &[u8]) -> Result<(Key, Value, PutOptions), Problem> {
        let line = put_in(line)?;
        let space = self.serving.client.space();
        let key = key(line.key, line.key_base64, line.key_id, space)?;
        key.check(space)?;
        let value = join("value", line.value, line.value_base64)?;
        let value = value.ok_or_else(|| Problem::bad("the value is missing: give value or value_base64"))?;
        let value = Value::from(value);
        value.check()?;
        let ttl = line.ttl.map(|text| text.parse::<Ttl>()).transpose().map_err(Problem::bad)?;
        Ok((key, value, PutOptions { ttl }))
    }

    /// What was gathered leaves.
    async fn send(&mut self, text: &mut Vec<u8>) {
        let Batch { lines, entries, options, .. } = std::mem::take(&mut self.filling);
        if lines.is_empty() {
            return;
        }
        while self.on_their_way.len() >= BATCHES_AT_ONCE {
            self.finish_one(text).await;
        }
        let client = self.serving.client.clone();
        let task = tokio::spawn(async move {
            let keys = entries.iter().map(|(key, _)| key.clone()).collect();
            (lines, keys, Box::pin(client.put_many_with(entries, options)).await)
        });
        // A panic has ended the process.
        let outcomes = async move { task.await.unwrap_or_default() };
        self.on_their_way.push_back(outcomes.boxed());
    }

    async fn finish_one(&mut self, text: &mut Vec<u8>) {
        let Some(task) = self.on_their_way.pop_front() else { return };
        let (lines, keys, outcomes) = task.await;
        for key in keys {
            self.keys.remove(&key);
        }
        for (number, outcome) in lines.into_iter().zip(outcomes) {
            match outcome.map_err(Problem::from).and_then(written) {
                Ok(version) => {
                    self.stored += 1;
                    if self.each {
                        let version = Some(version.to_string());
                        append(text, &BulkAnswer { line: Some(number), version, ..BulkAnswer::default() });
                    }
                }
                Err(problem) => self.fail(number, problem, text),
            }
        }
        let (stored, failed) = (Some(self.stored), Some(self.failed));
        append(text, &BulkAnswer { stored, failed, ..BulkAnswer::default() });
    }

    async fn finish_all(&mut self, text: &mut Vec<u8>) {
        self.send(text).await;
        while !self.on_their_way.is_empty() {
            self.finish_one(text).await;
        }
    }

    fn fail(&mut self, number: u64, problem: Problem, text: &mut Vec<u8>) {
        self.failed += 1;
        let Problem { code, message, .. } = problem;
        let (code, message) = (Some(code), Some(message));
        append(text, &BulkAnswer { line: Some(number), code, message, ..BulkAnswer::default() });
    }

    async fn end(&mut self, problem: Option<Problem>, text: &mut Vec<u8>) {
        self.finish_all(text).await;
        self.is_over = true;
        let (stored, failed) = (Some(self.stored), Some(self.failed));
        let (code, message) = problem.map(|problem| (problem.code, problem.message)).unzip();
        append(text, &BulkAnswer { stored, failed, code, message, end: Some(true), ..BulkAnswer::default() });
    }
}

fn append(text: &mut Vec<u8>, answer: &BulkAnswer) {
    serde_json::to_writer(&mut *text, answer).expect("it is written to memory");
    text.push(b'\n');
}
