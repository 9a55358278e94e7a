//! Storing files: the body is stored while it comes, by a task that brings it to its end or takes it back.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPECT};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chordata_files::manifest::CONTENT_TYPE_BYTES_MAX;
use chordata_files::{Failure, Put, PutOptions, Upload};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::warn;

use super::super::conditions::{Conditions, etag};
use super::super::front::{Front, Shared};
use super::super::problem::Problem;
use super::super::request::{self, Parameters};
use super::{FileContent, a_place, condition, cut_off, name};

/// Pieces of a body that wait to be stored; each has what came at once, some hundred KiB at most.
const PIECES_AHEAD: usize = 4;

/// Stores a file
///
/// The body is the content, of any length; it is stored while it comes. The file becomes visible, whole, when all of it is
/// there; of what breaks off nothing is left. With conditions it is stored only over what they allow, and only if that is
/// still there at the end. The `Content-Type` is given back by `GET`.
#[utoipa::path(
    put, path = "/v1/files/{name}", tag = "files",
    params(
        ("name" = String, Path, description = "1 to 1024 bytes of text, percent-encoded (`/` is `%2F`)", min_length = 1,
            pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("If-Match" = Option<String>, Header, description = "only over one of these entity tags"),
        ("If-None-Match" = Option<String>, Header, description = "only over none of these entity tags; *: only if it is absent"),
    ),
    request_body(content = Option<FileContent>, content_type = "application/octet-stream", description = "any length"),
    responses(
        (status = 201, description = "It is stored, and is new", headers(("ETag" = String, description = "the BLAKE3 of the content"))),
        (status = 204, description = "It is stored, in place of another", headers(("ETag" = String, description = "as of 201"))),
        (status = 400, description = "The request is not possible", body = Problem),
        (status = 408, description = "The body did not come in time", body = Problem),
        (status = 409, description = "Another was stored under that name meanwhile", body = Problem),
        (status = 412, description = "What is there is not what the conditions want", body = Problem),
        (status = 413, description = "The file is too large", body = Problem),
        (status = 500, description = "What is there cannot be read", body = Problem),
        (status = 501, description = "Conditions are not possible in this mode", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
        (status = 504, description = "Unknown whether it was done", body = Problem),
    ),
)]
pub(crate) async fn put(State(front): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (parts, mut body) = request.into_parts();
    let stored = Box::pin(store(&front, &parts.uri, &parts.headers, &mut body)).await;
    let put = match stored {
        Ok(put) => put,
        Err(problem) => {
            // Who waits to be told to go on sends nothing that would have to be read.
            if !parts.headers.contains_key(EXPECT) {
                request::drain(body).await;
            }
            return Err(problem);
        }
    };
    if let Some(failure) = &put.leftovers {
        warn!(name = %put.info.name, %failure, "chunks of a file that was replaced are left: tidy removes them");
    }
    let status = if put.replaced.is_some() { StatusCode::NO_CONTENT } else { StatusCode::CREATED };
    let mut response = status.into_response();
    response.headers_mut().insert(ETAG, etag(put.info.hash));
    Ok(response)
}

async fn store(front: &Front, uri: &Uri, headers: &HeaderMap, body: &mut Body) -> Result<Put, Problem> {
    let name = name(uri)?;
    Parameters::read(uri, &[])?;
    let conditions = Conditions::read(headers)?;
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Problem::bad("a file is stored as a whole: leave Content-Range away"));
    }
    let content_type = match headers.get(CONTENT_TYPE).map(HeaderValue::to_str) {
        None => None,
        Some(Ok(kind)) if kind.len() <= CONTENT_TYPE_BYTES_MAX => Some(kind.to_owned()),
        Some(_) => {
            let most = CONTENT_TYPE_BYTES_MAX;
            return Err(Problem::bad(format!("a Content-Type is text of at most {most} bytes")));
        }
    };
    let serving = front.serving()?;
    let condition = condition(&serving.files, &name, &conditions).await?;
    let options = PutOptions { condition, content_type, ..PutOptions::default() };
    let place = a_place(front).await?;
    let upload = serving.files.upload(&name, options).await?;
    let (pieces, received) = mpsc::channel(PIECES_AHEAD);
    let stored = front.tasks.spawn(write(upload, received, place));
    let sent = send(body, pieces).await;
    let stored = stored.await.map_err(|error| cut_off(&error))?;
    // What the body failed with is why it was not stored.
    sent?;
    match stored {
        Some(stored) => Ok(stored?),
        None => Err(Problem::bad("the body breaks off")),
    }
}

/// What comes of a body.
enum Piece {
    Some(Bytes),
    /// That was all. Without it the body broke off.
    End,
}

/// Hands the body on, as fast as it is stored; ends early when nobody wants more.
async fn send(body: &mut Body, to: mpsc::Sender<Piece>) -> Result<(), Problem> {
    loop {
        let piece = request::piece(body).await?.map_or(Piece::End, Piece::Some);
        let is_end = matches!(piece, Piece::End);
        if to.send(piece).await.is_err() || is_end {
            return Ok(());
        }
    }
}

/// Stores what comes, up to the end; none: it broke off. Nothing is left of what is not stored.
async fn write(
    mut upload: Upload,
    mut pieces: mpsc::Receiver<Piece>,
    _place: OwnedSemaphorePermit,
) -> Option<Result<Put, Failure>> {
    let failure = loop {
        match pieces.recv().await {
            Some(Piece::Some(bytes)) => {
                if let Err(failure) = upload.push(&bytes).await {
                    break Some(failure);
                }
            }
            Some(Piece::End) => return Some(upload.finish().await),
            None => break None,
        }
    };
    let id = upload.id();
    if let Err(reason) = upload.abort().await {
        warn!(%id, %reason, "what was stored of an upload that broke off is left: tidy removes it");
    }
    failure.map(Err)
}
