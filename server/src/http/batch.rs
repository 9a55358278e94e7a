//! `POST /v1/batch`: several operations in one request, an answer each, in their order.
//!
//! They take effect one after another, as if each were a request of its own; the batch as a whole is no transaction.
//! Neighbours that only put, or only get, travel together.

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use chordata_client::{Client, PutOptions};
use chordata_protocol::{Key, Outcome, Record, Ttl, Value, Version};
use chordata_rpc::service::Level;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::answer::{deleted, json, written};
use super::bytes::{join, key, split};
use super::front::{Front, Shared};
use super::kv::{fetch, remaining};
use super::problem::{Code, Problem};
use super::request::{self, Parameters};

/// Operations of a batch, at most.
const OPERATIONS_MAX: usize = 10_000;
/// Bytes of a batch, at most.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of values in the answer, about: gets that come later are refused.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long a batch may take: operations that come later are not begun.
const WITHIN: Duration = Duration::from_secs(30);

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// Store a value.
    Put,
    /// Read a value.
    Get,
    /// Remove a key.
    Delete,
}

/// An operation. The key has one of three spellings, the value one of two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchOperation {
    /// What is to be done.
    op: What,
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
    /// Only over this version.
    if_version: Option<String>,
    /// Only if the key is absent.
    #[serde(default)]
    if_absent: bool,
    /// Of a get: `linearizable` or `any`.
    level: Option<String>,
    /// Of a put: for how long, as in `30s`. Left away: for ever.
    ttl: Option<String>,
}

/// What became of an operation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchAnswer {
    /// As the status of a single request.
    status: u16,
    /// The version that the key has now; of a delete, had.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Of a get: the value, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Of a get: the value in base64, if it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// Of a get: how long the value still lives, if not for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<String>,
    /// Why not, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    /// Why not, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl BatchAnswer {
    fn new(status: u16, version: Option<Version>) -> BatchAnswer {
        let version = version.map(|version| version.to_string());
        BatchAnswer { status, version, value: None, value_base64: None, ttl: None, code: None, message: None }
    }

    /// Of a write; a delete has its key.
    fn of_outcome(deletes: Option<&Key>, outcome: Outcome) -> BatchAnswer {
        let found = match outcome {
            Outcome::Conflict(found) => found,
            Outcome::Written(_) | Outcome::Deleted(_) => None,
        };
        let version = deletes.map_or_else(|| written(outcome), |key| deleted(key, outcome));
        match version {
            Ok(version) => BatchAnswer::new(204, Some(version)),
            Err(problem) => BatchAnswer { version: found.map(|found| found.to_string()), ..problem.into() },
        }
    }

    fn of_record(key: &Key, record: Option<Record>) -> BatchAnswer {
        let Some(record) = record else { return Problem::missing(key).into() };
        let ttl = remaining(&record);
        let (value, value_base64) = split(record.value.into_bytes());
        BatchAnswer { value, value_base64, ttl, ..BatchAnswer::new(200, Some(record.version)) }
    }
}

impl From<Problem> for BatchAnswer {
    fn from(problem: Problem) -> BatchAnswer {
        let Problem { status, code, message } = problem;
        BatchAnswer { code: Some(code), message: Some(message), ..BatchAnswer::new(status.as_u16(), None) }
    }
}

/// An operation that was understood.
enum Step {
    Put(Key, Value, PutOptions),
    Get(Key),
    Single(Key, Single),
}

/// An operation that does not travel with its neighbours.
enum Single {
    GetAt(Level),
    Delete,
    Swap(Option<Version>, Option<Value>, PutOptions),
}

impl BatchOperation {
    fn understand(self, client: &Client) -> Result<Step, Problem> {
        let key = key(self.key, self.key_base64, self.key_id, client.space())?;
        let value = join("value", self.value, self.value_base64)?.map(Value::from);
        let version = self.if_version.map(|text| text.parse::<Version>()).transpose();
        let version = version.map_err(Problem::bad)?;
        let expected = match (version, self.if_absent) {
            (Some(_), true) => return Err(Problem::bad("give if_version or if_absent, not both")),
            (Some(version), false) => Some(Some(version)),
            (None, true) => Some(None),
            (None, false) => None,
        };
        let ttl = self.ttl.map(|text| text.parse::<Ttl>()).transpose().map_err(Problem::bad)?;
        let options = PutOptions { ttl };
        let level = self.level.map(|text| text.parse::<Level>()).transpose().map_err(Problem::bad)?;
        let only = |is_fine: bool, what: &str| if is_fine { Ok(()) } else { Err(Problem::bad(what)) };
        match self.op {
            What::Put => {
                let value =
                    value.ok_or_else(|| Problem::bad("the value is missing: give value or value_base64"))?;
                only(level.is_none(), "only a get has a level")?;
                Ok(match expected {
                    None => Step::Put(key, value, options),
                    Some(expected) => Step::Single(key, Single::Swap(expected, Some(value), options)),
                })
            }
            What::Get => {
                only(value.is_none() && expected.is_none(), "a get has no value and no condition")?;
                only(ttl.is_none(), "only a put has a time to live")?;
                Ok(match level {
                    None => Step::Get(key),
                    Some(level) => Step::Single(key, Single::GetAt(level)),
                })
            }
            What::Delete => {
                only(value.is_none(), "a delete has no value")?;
                only(ttl.is_none(), "only a put has a time to live")?;
                only(level.is_none(), "only a get has a level")?;
                let single =
                    expected.map_or(Single::Delete, |expected| Single::Swap(expected, None, options));
                Ok(Step::Single(key, single))
            }
        }
    }
}

/// Carries out several operations
///
/// A list of operations; the answer is a list of the same length. Each has the status that a single request would have
/// (204 stored or removed, 200 found, 404, 412, ...). They take effect in their order; the batch is no transaction. The
/// values of an answer have at most about 8 MiB (413 for a get that comes later), and all of it takes at most 30 s (503 for
/// an operation that was not begun then, 504 for a write that was cut off).
#[utoipa::path(
    post, path = "/v1/batch", tag = "keys",
    request_body(content = Vec<BatchOperation>, description = "at most 10000 operations in 8 MiB",
        example = json!([{"op": "put", "key": "a", "value": "1"}, {"op": "get", "key": "a"}])),
    responses(
        (status = 200, description = "What became of each", body = Vec<BatchAnswer>),
        (status = 400, description = "It is no list of operations", body = Problem),
        (status = 408, description = "The body did not come in time", body = Problem),
        (status = 413, description = "It is too long", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
    ),
)]
pub(crate) async fn batch(State(front): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Parameters::read(&parts.uri, &[])?;
    let serving = front.serving()?;
    let body = request::body(&parts.headers, body, BYTES_MAX, "a batch").await?;
    let operations: Vec<BatchOperation> = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("no list of operations: {error}")))?;
    if operations.len() > OPERATIONS_MAX {
        return Err(Problem::new(Code::TooLarge, format!("a batch has at most {OPERATIONS_MAX} operations")));
    }
    let work = Work::new(&front, &serving.client, operations.len());
    Ok(json(&Box::pin(work.carry_out(operations)).await))
}

/// Neighbours of one kind, which have no key twice.
#[derive(Default)]
struct Run {
    puts: Vec<(Key, Value)>,
    /// The keys of the puts.
    keys: HashSet<Key>,
    /// Of all the puts.
    options: PutOptions,
    gets: Vec<Key>,
}

impl Run {
    /// Must it be carried out before this step?
    fn ends_before(&self, step: Option<&Step>) -> bool {
        match step {
            Some(Step::Put(key, _, options)) => {
                !self.gets.is_empty()
                    || self.keys.contains(key)
                    || (!self.puts.is_empty() && self.options != *options)
            }
            Some(Step::Get(_)) => !self.puts.is_empty(),
            _ => true,
        }
    }
}

/// A batch that is being carried out.
struct Work<'a> {
    front: &'a Front,
    client: &'a Client,
    answers: Vec<BatchAnswer>,
    run: Run,
    /// Bytes of values that still fit the answer.
    room: usize,
    deadline: Instant,
}

impl<'a> Work<'a> {
    fn new(front: &'a Front, client: &'a Client, count: usize) -> Work<'a> {
        let answers = Vec::with_capacity(count);
        let deadline = Instant::now() + WITHIN;
        Work { front, client, answers, run: Run::default(), room: ANSWER_BYTES_MAX, deadline }
    }

    async fn carry_out(mut self, operations: Vec<BatchOperation>) -> Vec<BatchAnswer> {
        for operation in operations {
            let step = operation.understand(self.client);
            if self.run.ends_before(step.as_ref().ok()) {
                self.end_run().await;
            }
            match step {
                Err(problem) => self.answers.push(problem.into()),
                Ok(Step::Put(key, value, options)) => {
                    self.run.keys.insert(key.clone());
                    self.run.options = options;
                    self.run.puts.push((key, value));
                }
                Ok(Step::Get(key)) => self.run.gets.push(key),
                Ok(Step::Single(key, single)) => {
                    let answer = self.single(&key, single).await;
                    self.answers.push(answer.unwrap_or_else(BatchAnswer::from));
                }
            }
        }
        self.end_run().await;
        self.answers
    }

    async fn end_run(&mut self) {
        let Run { puts, options, gets, .. } = std::mem::take(&mut self.run);
        if !puts.is_empty() {
            let count = puts.len();
            let outcomes = self.in_time(Code::UnknownOutcome, self.client.put_many_with(puts, options)).await;
            match outcomes {
                Ok(outcomes) => {
                    self.answers.extend(outcomes.into_iter().map(|outcome| match outcome {
                        Ok(outcome) => BatchAnswer::of_outcome(None, outcome),
                        Err(failure) => Problem::from(failure).into(),
                    }));
                }
                Err(problem) => self.answers.extend((0..count).map(|_| problem.clone().into())),
            }
        }
        if !gets.is_empty() {
            let records =
                self.in_time(Code::Unavailable, self.client.get_many_up_to(gets.clone(), self.room)).await;
            let records = match records {
                Ok(records) => records,
                Err(problem) => {
                    self.answers.extend(gets.iter().map(|_| problem.clone().into()));
                    return;
                }
            };
            for (key, record) in gets.iter().zip(records) {
                let answer = match record {
                    None => no_room().into(),
                    Some(Ok(record)) => self.take(key, record),
                    Some(Err(failure)) => Problem::from(failure).into(),
                };
                self.answers.push(answer);
            }
        }
    }

    /// An operation that travels alone.
    async fn single(&mut self, key: &Key, single: Single) -> Result<BatchAnswer, Problem> {
        let (front, client, key_too) = (self.front, self.client, key.clone());
        match single {
            Single::GetAt(_) if self.room == 0 => Err(no_room()),
            Single::GetAt(level) => {
                let record = fetch(front, client, key_too, Some(level));
                let record = self.in_time(Code::Unavailable, record).await??;
                Ok(self.take(key, record))
            }
            Single::Delete => {
                let answer = self.in_time(Code::UnknownOutcome, client.delete(key_too)).await??;
                Ok(BatchAnswer::of_outcome(Some(key), front.arrived(answer)))
            }
            Single::Swap(expected, value, options) => {
                let deletes = value.is_none().then_some(key);
                let swap = client.compare_and_swap_with(key_too, expected, value, options);
                let answer = self.in_time(Code::UnknownOutcome, swap).await??;
                Ok(BatchAnswer::of_outcome(deletes, front.arrived(answer)))
            }
        }
    }

    /// The answer to a get, which takes its room.
    fn take(&mut self, key: &Key, record: Option<Record>) -> BatchAnswer {
        self.room = self.room.saturating_sub(record.as_ref().map_or(0, |record| record.value.len()));
        BatchAnswer::of_record(key, record)
    }

    /// What comes before the time is over; what is cut off then has this code.
    async fn in_time<T>(&self, cut_off: Code, work: impl Future<Output = T>) -> Result<T, Problem> {
        if Instant::now() >= self.deadline {
            let message = format!("not begun: a batch has {WITHIN:?}");
            return Err(Problem::new(Code::Unavailable, message));
        }
        let done = Box::pin(timeout_at(self.deadline, work)).await;
        done.map_err(|_| Problem::new(cut_off, format!("cut off: a batch has {WITHIN:?}")))
    }
}

fn no_room() -> Problem {
    let message = format!(
        "the values of an answer have at most {ANSWER_BYTES_MAX} bytes: ask for this one in another request"
    );
    Problem::new(Code::TooLarge, message)
}
