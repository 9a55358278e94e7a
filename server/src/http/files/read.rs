//! Giving files out: all of one, a range of it, or what there is to know of it.

use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_RANGE,
    RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chordata_files::range::{Requested, requested};
use chordata_files::{Failure, Hash, Info, Reader};
use futures::{Stream, StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use super::super::conditions::{self, Conditions, etag};
use super::super::front::{Front, Shared};
use super::super::problem::{Code, Problem};
use super::super::request::Parameters;
use super::{FileContent, a_place, differs, name, open};

/// How often a file is opened again that is replaced just then.
const ATTEMPTS_MAX: usize = 5;

/// Reads a file
///
/// Its content, or with `Range` one part of it. The `ETag` is the BLAKE3 of the whole content, as `b3sum` prints it.
#[utoipa::path(
    get, path = "/v1/files/{name}", tag = "files",
    params(
        ("name" = String, Path, description = "1 to 1024 bytes of text, percent-encoded (`/` is `%2F`)", min_length = 1,
            pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("Range" = Option<String>, Header, description = "one range of bytes, as in bytes=0-99, bytes=100- or bytes=-100; what \
            is not understood, as several ranges, is left out of account"),
        ("If-Range" = Option<String>, Header, description = "Range counts only if the file has this entity tag"),
        ("If-Match" = Option<String>, Header, description = "412 unless the file has one of these entity tags"),
        ("If-None-Match" = Option<String>, Header, description = "304 if the file has one of these entity tags"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream", body = FileContent,
            headers(("ETag" = String, description = "the BLAKE3 of the content, in quotation marks"))),
        (status = 206, description = "Part of it", content_type = "application/octet-stream", body = FileContent,
            headers(("Content-Range" = String, description = "which part"))),
        (status = 304, description = "It still has this content"),
        (status = 400, description = "The request is not possible", body = Problem),
        (status = 404, description = "There is no such file", body = Problem),
        (status = 412, description = "It has another content", body = Problem),
        (status = 416, description = "It has no such bytes", body = Problem,
            headers(("Content-Range" = String, description = "how many it has"))),
        (status = 500, description = "Part of it is lost at every replica", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
    ),
)]
pub(crate) async fn get(
    State(front): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Box::pin(read(&front, &uri, &headers, true)).await
}

/// Is there such a file, and how long is it?
///
/// As `GET` of all of it, without the content.
#[utoipa::path(
    head, path = "/v1/files/{name}", tag = "files",
    params(
        ("name" = String, Path, description = "1 to 1024 bytes of text, percent-encoded", min_length = 1,
            pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("If-Match" = Option<String>, Header, description = "as of GET"),
        ("If-None-Match" = Option<String>, Header, description = "as of GET"),
    ),
    responses(
        (status = 200, description = "It is there", headers(("ETag" = String, description = "as of GET"))),
        (status = 304, description = "It still has this content"),
        (status = 400, description = "The request is not possible"),
        (status = 404, description = "There is no such file"),
        (status = 412, description = "It has another content"),
        (status = 500, description = "Its entry cannot be read"),
        (status = 503, description = "Not possible at the moment"),
    ),
)]
pub(crate) async fn head(
    State(front): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Box::pin(read(&front, &uri, &headers, false)).await
}

async fn read(
    front: &Front,
    uri: &Uri,
    headers: &HeaderMap,
    with_content: bool,
) -> Result<Response, Problem> {
    let name = name(uri)?;
    Parameters::read(uri, &[])?;
    let conditions = Conditions::<Hash>::read(headers)?;
    let serving = front.serving()?;
    let mut attempts = 1;
    loop {
        let reader = open(&serving.files, &name).await?;
        let current = reader.as_ref().map(|reader| reader.info().hash);
        if !conditions.matches(current) {
            return Err(differs(current));
        }
        let reader = reader.ok_or_else(|| Problem::from(Failure::NotFound(name.clone())))?;
        let info = reader.info();
        if !conditions.is_new(current) {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            response.headers_mut().insert(ETAG, etag(info.hash));
            return Ok(response);
        }
        if !with_content {
            return Ok(found(&info, 0..info.size, Body::empty()));
        }
        let range = match wanted(headers, &info) {
            Requested::Whole => 0..info.size,
            Requested::Part(range) => range,
            Requested::Unsatisfiable => return Ok(out_of_range(&info)),
        };
        // What it fails with at once can still be said.
        let place = a_place(front).await?;
        match content(&reader, range.clone(), place).await {
            Ok(content) => return Ok(found(&info, range, Body::from_stream(content))),
            Err(Failure::Changed(_)) if attempts < ATTEMPTS_MAX => attempts += 1,
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// Which bytes are asked for.
fn wanted(headers: &HeaderMap, info: &Info) -> Requested {
    let is_this_one = headers.get(IF_RANGE).is_none_or(|tag| conditions::is_tag_of(tag, &info.hash));
    let mut ranges = headers.get_all(RANGE).into_iter();
    match (ranges.next().and_then(|range| range.to_str().ok()), ranges.next()) {
        (Some(range), None) if is_this_one => requested(range, info.size),
        _ => Requested::Whole,
    }
}

/// These bytes; the first of them are there.
async fn content(
    reader: &Reader,
    range: Range<u64>,
    place: OwnedSemaphorePermit,
) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + 'static, Failure> {
    let mut content = Box::pin(reader.read(range));
    let first = content.next().await.transpose()?;
    let name = reader.info().name;
    Ok(stream::iter(first.map(Ok)).chain(content).inspect(move |piece| {
        // Kept as long as there is something to send.
        let _: &OwnedSemaphorePermit = &place;
        if let Err(failure) = piece {
            warn!(%name, %failure, "a file that is being sent breaks off");
        }
    }))
}

/// What there is of a file: all of it, or a part.
fn found(info: &Info, range: Range<u64>, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let length = range.end - range.start;
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ETAG, etag(info.hash));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let kind = info.content_type.as_deref().and_then(|kind| HeaderValue::from_str(kind).ok());
    headers
        .insert(CONTENT_TYPE, kind.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream")));
    // A page that somebody stored must not ask this server in the name of who looks at it.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    if length < info.size {
        let part = format!("bytes {}-{}/{}", range.start, range.end - 1, info.size);
        headers.insert(CONTENT_RANGE, HeaderValue::try_from(part).expect("digits and signs"));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

fn out_of_range(info: &Info) -> Response {
    let mut response =
        Problem::new(Code::NoSuchRange, format!("{} has {} bytes", info.name, info.size)).into_response();
    let all = HeaderValue::try_from(format!("bytes */{}", info.size)).expect("digits and signs");
    response.headers_mut().insert(CONTENT_RANGE, all);
    response
}
