//! `POST /v1/batch`: several operations in one request, an answer each, in their order.
//!
//! They take effect one after another, as if each were a request of its own; the batch as a whole is no transaction.
//! Neighbours that only put, or only get, travel together.

use std::collections::HashSet;

use axum::extract::{Request, State};
use axum::response::Response;
use chordata_client::{Client, Failure, PutOptions};
use chordata_protocol::{Key, Outcome, Record, Ttl, Value, Version};
use chordata_rpc::service::Level;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::bytes::{join, key, split};
use super::classic::odd;
use super::front::{Front, Shared};
use super::kv::{fetch, remaining};
use super::problem::{Code, Problem, json};
use super::request::{self, Parameters};

/// Operations of a batch, at most.
const OPERATIONS_MAX: usize = 10_000;
/// Bytes of a batch, at most.
const BYTES_MAX: usize = 8 * 1024 * 1024;

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

    fn of_outcome(key: &Key, outcome: Outcome) -> BatchAnswer {
        match outcome {
            Outcome::Written(version) => BatchAnswer::new(204, Some(version)),
            Outcome::Deleted(Some(version)) => BatchAnswer::new(204, Some(version)),
            Outcome::Deleted(None) => Problem::missing(key).into(),
            Outcome::Conflict(found) => BatchAnswer {
                version: found.map(|found| found.to_string()),
                ..Problem::conflict(found).into()
            },
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
    GetAt(Key, Level),
    Delete(Key),
    Swap(Key, Option<Version>, Option<Value>, PutOptions),
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
                    Some(expected) => Step::Swap(key, expected, Some(value), options),
                })
            }
            What::Get => {
                only(value.is_none() && expected.is_none(), "a get has no value and no condition")?;
                only(ttl.is_none(), "only a put has a time to live")?;
                Ok(level.map_or_else(|| Step::Get(key.clone()), |level| Step::GetAt(key.clone(), level)))
            }
            What::Delete => {
                only(value.is_none(), "a delete has no value")?;
                only(ttl.is_none(), "only a put has a time to live")?;
                only(level.is_none(), "only a get has a level")?;
                Ok(match expected {
                    None => Step::Delete(key),
                    Some(expected) => Step::Swap(key, expected, None, options),
                })
            }
        }
    }
}

/// Carries out several operations
///
/// A list of operations; the answer is a list of the same length. Each has the status that a single request would have
/// (204 stored or removed, 200 found, 404, 412, ...). They take effect in their order; the batch is no transaction.
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
    Ok(json(&Box::pin(carry_out(&front, &serving.client, operations)).await))
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

    async fn end(&mut self, client: &Client, answers: &mut Vec<BatchAnswer>) {
        let Run { puts, options, gets, .. } = std::mem::take(self);
        if !puts.is_empty() {
            let keys: Vec<Key> = puts.iter().map(|(key, _)| key.clone()).collect();
            let outcomes = Box::pin(client.put_many_with(puts, options)).await;
            let outcomes = keys.iter().zip(outcomes);
            answers.extend(outcomes.map(|(key, outcome)| match outcome {
                Ok(outcome) => BatchAnswer::of_outcome(key, outcome),
                Err(failure) => Problem::from(failure).into(),
            }));
        }
        if !gets.is_empty() {
            let records = Box::pin(client.get_many(gets.clone())).await;
            answers.extend(gets.iter().zip(records).map(|(key, record)| match record {
                Ok(record) => BatchAnswer::of_record(key, record),
                Err(failure) => Problem::from(failure).into(),
            }));
        }
    }
}

async fn carry_out(front: &Front, client: &Client, operations: Vec<BatchOperation>) -> Vec<BatchAnswer> {
    let mut answers = Vec::with_capacity(operations.len());
    let mut run = Run::default();
    for operation in operations {
        let step = operation.understand(client);
        if run.ends_before(step.as_ref().ok()) {
            run.end(client, &mut answers).await;
        }
        let single: Result<BatchAnswer, Problem> = match step {
            Err(problem) => Err(problem),
            Ok(Step::Put(key, value, options)) => {
                run.keys.insert(key.clone());
                run.options = options;
                run.puts.push((key, value));
                continue;
            }
            Ok(Step::Get(key)) => {
                run.gets.push(key);
                continue;
            }
            Ok(Step::GetAt(key, level)) => {
                let record = fetch(front, client, key.clone(), Some(level)).await;
                record.map(|record| BatchAnswer::of_record(&key, record))
            }
            Ok(Step::Delete(key)) => {
                let answer = Box::pin(client.delete(key.clone())).await;
                answer
                    .map_err(Problem::from)
                    .map(|answer| BatchAnswer::of_outcome(&key, front.arrived(answer)))
            }
            Ok(Step::Swap(key, expected, value, options)) => {
                let removes = value.is_none();
                let answer =
                    Box::pin(client.compare_and_swap_with(key.clone(), expected, value, options)).await;
                match answer.map(|answer| front.arrived(answer)) {
                    Ok(Outcome::Written(_)) if removes => Err(odd()),
                    Ok(outcome) => Ok(BatchAnswer::of_outcome(&key, outcome)),
                    Err(failure) => Err(Failure::into(failure)),
                }
            }
        };
        answers.push(single.unwrap_or_else(BatchAnswer::from));
    }
    run.end(client, &mut answers).await;
    answers
}
