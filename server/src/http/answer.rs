//! What handlers answer with: bodies of a kind, and what came of writes.

use axum::body::Body;
use axum::http::{HeaderValue, header::CONTENT_TYPE};
use axum::response::Response;
use chordata_protocol::{Key, Outcome, Version};
use serde::Serialize;

use super::problem::{Code, Problem};

/// A body of this kind.
pub(crate) fn of_kind(kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A JSON answer.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    let text = serde_json::to_vec(value).expect("what is answered has only keys that are text");
    of_kind("application/json", text)
}

/// The version that was stored.
///
/// # Errors
/// When it was not.
pub(crate) fn written(outcome: Outcome) -> Result<Version, Problem> {
    match outcome {
        Outcome::Written(version) => Ok(version),
        Outcome::Conflict(found) => Err(Problem::conflict(found)),
        Outcome::Deleted(_) => Err(odd()),
    }
}

/// The version that was removed.
///
/// # Errors
/// When there was none, or it was not.
pub(crate) fn deleted(key: &Key, outcome: Outcome) -> Result<Version, Problem> {
    match outcome {
        Outcome::Deleted(Some(version)) => Ok(version),
        Outcome::Deleted(None) => Err(Problem::missing(key)),
        Outcome::Conflict(found) => Err(Problem::conflict(found)),
        Outcome::Written(_) => Err(odd()),
    }
}

/// Something that a node of ours never answers.
fn odd() -> Problem {
    Problem::new(Code::UnknownOutcome, "the node answered something else than was asked")
}
