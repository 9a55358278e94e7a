//! What went wrong, as HTTP says it: a status, and JSON with a code for programs and a sentence for people.

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chordata_client::Failure;
use chordata_protocol::{BadInput, Key, Version};
use chordata_rpc::service::Error;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::json;

/// What went wrong with a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Problem {
    #[serde(skip)]
    pub(crate) status: StatusCode,
    /// For programs.
    pub(crate) code: Code,
    /// For people.
    #[schema(example = "there is no such key")]
    pub(crate) message: String,
}

/// Names what went wrong, by what the caller does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// Mend the request. Nothing was changed.
    BadRequest,
    /// Bring the token of this server: `Authorization: Bearer TOKEN`.
    Unauthorized,
    /// Pages of other sites may not ask this server through somebody's browser.
    Forbidden,
    /// There is no such key, or no such file.
    NotFound,
    /// There is no such route.
    NoSuchRoute,
    /// The route has other methods.
    MethodNotAllowed,
    /// Send faster.
    Timeout,
    /// The node cannot do that as things are. Nothing was changed.
    Refused,
    /// The key has another version, or the file another content, than the request allows. Nothing was changed.
    PreconditionFailed,
    /// Send less at once. Nothing was changed.
    TooLarge,
    /// This cluster, as it keeps its data, does not do that. Nothing was changed.
    NotSupported,
    /// Try again later. Nothing was changed.
    Unavailable,
    /// Try again later, more slowly. Nothing was changed.
    Overloaded,
    /// The server is up, but not in a ring. Nothing was changed.
    NotInRing,
    /// Look before trying again: it may or may not have been done.
    UnknownOutcome,
    /// It is done, but fewer copies than wanted are known to be stored.
    FewerCopies,
    /// The file has no such bytes: ask for others.
    NoSuchRange,
    /// Restore it from elsewhere: part of the file is lost or wrong, and no replica has it right.
    Damaged,
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Code::BadRequest => StatusCode::BAD_REQUEST,
            Code::Unauthorized => StatusCode::UNAUTHORIZED,
            Code::Forbidden => StatusCode::FORBIDDEN,
            Code::NotFound | Code::NoSuchRoute => StatusCode::NOT_FOUND,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::Timeout => StatusCode::REQUEST_TIMEOUT,
            Code::Refused => StatusCode::CONFLICT,
            Code::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::NotSupported => StatusCode::NOT_IMPLEMENTED,
            Code::Unavailable | Code::Overloaded | Code::NotInRing => StatusCode::SERVICE_UNAVAILABLE,
            Code::UnknownOutcome | Code::FewerCopies => StatusCode::GATEWAY_TIMEOUT,
            Code::NoSuchRange => StatusCode::RANGE_NOT_SATISFIABLE,
            Code::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Problem {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Problem {
        Problem { status: code.status(), code, message: message.into() }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Problem {
        Problem::new(Code::BadRequest, message)
    }

    /// There is no such key.
    pub(crate) fn missing(key: &Key) -> Problem {
        Problem::new(Code::NotFound, format!("there is no key {}", Short(key)))
    }

    /// It has another version, or none.
    pub(crate) fn conflict(found: Option<Version>) -> Problem {
        let found =
            found.map_or("it is absent".to_owned(), |version| format!("its version is \"{version}\""));
        Problem::new(Code::PreconditionFailed, format!("the key is not as the request wants it: {found}"))
    }

    /// The server is in no ring.
    pub(crate) fn not_in_ring() -> Problem {
        Problem::new(
            Code::NotInRing,
            "this server is not in a ring at the moment: POST /join, or ask another",
        )
    }
}

/// A key, shortened for a sentence.
struct Short<'a>(&'a Key);

impl std::fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.0.to_string();
        match text.char_indices().nth(60) {
            Some((end, _)) => write!(f, "{:?}...", &text[..end]),
            None => write!(f, "{text:?}"),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let code = match &failure {
            Failure::BadInput(BadInput::ValueTooLong(_) | BadInput::TooManyKeys(..)) => Code::TooLarge,
            Failure::BadInput(_) => Code::BadRequest,
            Failure::Refused(Error::NotSupported(_)) => Code::NotSupported,
            Failure::Refused(_) => Code::Refused,
            Failure::Unknown(_) | Failure::TooOld(_) => Code::UnknownOutcome,
            Failure::FewerCopies(_) => Code::FewerCopies,
            Failure::Unavailable(_) | Failure::Unreachable(_) | Failure::NoNodes => Code::Unavailable,
        };
        Problem::new(code, failure.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        match error {
            Error::NotMember => Problem::not_in_ring(),
            Error::Overloaded => Problem::new(Code::Overloaded, error.to_string()),
            error => Failure::from(error).into(),
        }
    }
}

impl From<BadInput> for Problem {
    fn from(bad: BadInput) -> Problem {
        Failure::BadInput(bad).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json(&self);
        *response.status_mut() = self.status;
        match self.code {
            Code::Unavailable | Code::Overloaded | Code::NotInRing => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Code::Unauthorized => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
