//! `/v1/files/{name}`: files of any size, streamed both ways in bounded memory, over the library `chordata-files`.
//!
//! A file's entity tag is the BLAKE3 of its content. What is stored or removed is brought to its end, or taken back, by a
//! task of its own: a client that goes away in the middle leaves nothing behind.

pub(super) mod read;
pub(super) mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chordata_files::{Condition, Failure, FileName, Files, Hash, Reader};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinError;
use tracing::{debug, warn};

use super::conditions::Conditions;
use super::front::{Front, Shared};
use super::problem::{Code, Problem};
use super::request::{self, Parameters};

/// How long a request waits for others to end, where so many files are being read and stored already.
const PLACE_WITHIN: Duration = Duration::from_secs(5);

/// Any bytes, of any length.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "it stands for a body in the document")]
pub(crate) struct FileContent(Vec<u8>);

/// Removes a file
#[utoipa::path(
    delete, path = "/v1/files/{name}", tag = "files",
    params(
        ("name" = String, Path, description = "1 to 1024 bytes of text, percent-encoded", min_length = 1,
            pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("If-Match" = Option<String>, Header, description = "only if it has one of these entity tags"),
        ("If-None-Match" = Option<String>, Header, description = "only if it has none of these entity tags"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "The request is not possible", body = Problem),
        (status = 404, description = "There was no such file", body = Problem),
        (status = 412, description = "It has another content", body = Problem),
        (status = 500, description = "What is there cannot be read", body = Problem),
        (status = 501, description = "Conditions are not possible in this mode", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
        (status = 504, description = "Unknown whether it was done", body = Problem),
    ),
)]
pub(crate) async fn delete(
    State(front): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = name(&uri)?;
    Parameters::read(&uri, &[])?;
    let conditions = Conditions::read(&headers)?;
    let files = front.serving()?.files.clone();
    let condition = Box::pin(condition(&files, &name, &conditions)).await?;
    // It goes on when whoever asked for it goes away: else its chunks would be left.
    let removing = front.tasks.spawn(async move { files.remove(&name, condition).await });
    match removing.await.map_err(|error| cut_off(&error))? {
        Ok(removed) => {
            if let Some(failure) = removed.leftovers {
                let name = removed.info.name;
                warn!(%name, %failure, "chunks of a file that was removed are left: tidy removes them");
            }
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Err(Failure::NotFound(_)) if !conditions.matches(None) => Err(differs(None)),
        Err(failure) => Err(failure.into()),
    }
}

/// The name in the path.
fn name(uri: &Uri) -> Result<FileName, Problem> {
    let bytes = request::decode(request::segment(uri, 2))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Problem::bad("the name of a file is text (UTF-8)"))?;
    FileName::new(text).map_err(|bad| Problem::bad(bad.to_string()))
}

/// A file as it is now; none: there is none.
async fn open(files: &Files, name: &FileName) -> Result<Option<Reader>, Problem> {
    match files.open(name).await {
        Ok(reader) => Ok(Some(reader)),
        Err(Failure::NotFound(_)) => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// What must hold when a file is stored or removed. Conditions that name no single state are looked at now, and what they
/// allow must then stay as it is.
async fn condition(
    files: &Files,
    name: &FileName,
    conditions: &Conditions<Hash>,
) -> Result<Condition, Problem> {
    let exactly = |file: Option<Hash>| file.map_or(Condition::Absent, Condition::Matches);
    if conditions.is_none() {
        return Ok(Condition::None);
    }
    if conditions.want_any() {
        return Ok(Condition::Present);
    }
    if let Some(only) = conditions.only() {
        return Ok(exactly(only));
    }
    let current = open(files, name).await?.map(|reader| reader.info().hash);
    if conditions.allow(current) { Ok(exactly(current)) } else { Err(differs(current)) }
}

/// It has another content than the request wants, or there is none.
fn differs(found: Option<Hash>) -> Problem {
    let found = found.map_or("there is none".to_owned(), |hash| format!("its tag is \"{hash}\""));
    Problem::new(Code::PreconditionFailed, format!("the file is not as the request wants it: {found}"))
}

/// Room for the content of one more file.
async fn a_place(front: &Front) -> Result<OwnedSemaphorePermit, Problem> {
    let place = Arc::clone(&front.transfers).acquire_owned();
    match tokio::time::timeout(PLACE_WITHIN, place).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) | Err(_) => {
            Err(Problem::new(Code::Overloaded, "too many files are being read and stored at once"))
        }
    }
}

fn cut_off(error: &JoinError) -> Problem {
    debug!(%error, "a file's task ended early");
    Problem::new(Code::UnknownOutcome, "the server stops: look whether it was done")
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let code = match failure {
            Failure::Cluster(failure) => return failure.into(),
            Failure::NotFound(_) => Code::NotFound,
            Failure::BadName(_) | Failure::SourceChanged(_) => Code::BadRequest,
            Failure::Condition(_) => Code::PreconditionFailed,
            Failure::Superseded(_) | Failure::Shared(_) => Code::Refused,
            Failure::Untidy { .. } => Code::UnknownOutcome,
            Failure::TooLarge(_) => Code::TooLarge,
            Failure::NotSupported(_) => Code::NotSupported,
            Failure::Broken { .. } | Failure::BadEntry { .. } => Code::Damaged,
            Failure::Changed(_) | Failure::Local(_) => Code::Unavailable,
        };
        Problem::new(code, failure.to_string())
    }
}
