//! `/v1/kv/{key}`: single keys, with plain bytes as bodies and versions as entity tags.

use axum::extract::{Request, State};
use axum::http::header::ETAG;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chordata_client::{Client, PutOptions};
use chordata_protocol::key::VALUE_BYTES_MAX;
use chordata_protocol::{Consistency, Key, Outcome, Record, Value};
use chordata_rpc::service::Level;

use super::answer::{deleted, of_kind, written};
use super::conditions::{Conditions, etag};
use super::front::{Front, Serving, Shared};
use super::problem::{Code, Problem};
use super::request::{self, Parameters};

/// How long the value still lives; left away: for ever.
const REMAINING: HeaderName = HeaderName::from_static("chordata-ttl");
/// How often a write is tried again whose condition held, and then another writer was faster.
const RACES_MAX: u32 = 100;

/// Reads a key
///
/// The value as it is; `Chordata-Ttl` says how long it still lives, if not for ever. `If-None-Match` with the version that is there: 304, without the value.
#[utoipa::path(
    get, path = "/v1/kv/{key}", tag = "keys",
    params(
        ("key" = String, Path, description = "1 to 4096 bytes, percent-encoded", min_length = 1),
        ("level" = Option<String>, Query, pattern = "^(linearizable|any)$",
            description = "linearizable (the default; not in eventual mode): what was written last; \
            any: what any replica has, perhaps older, also when no majority is there"),
        ("acks" = Option<u8>, Query, minimum = 0, maximum = 255, description = "eventual mode: replicas that must answer"),
        ("If-Match" = Option<String>, Header, description = "412 unless the key has one of these versions"),
        ("If-None-Match" = Option<String>, Header, description = "304 if the key has one of these versions"),
    ),
    responses(
        (status = 200, description = "The value", content_type = "application/octet-stream", body = Bytes,
            headers(("ETag" = String, description = "the version, in quotation marks"))),
        (status = 304, description = "It still has this version"),
        (status = 400, description = "The request is not possible", body = Problem),
        (status = 404, description = "There is no such key", body = Problem),
        (status = 412, description = "It has another version", body = Problem),
        (status = 501, description = "Not in this mode", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
    ),
)]
pub(crate) async fn get(
    State(front): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Box::pin(read(&front, &uri, &headers)).await
}

/// Any bytes.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary, max_length = 1048576)]
#[allow(dead_code, reason = "it stands for a body in the document")]
pub(crate) struct Bytes(Vec<u8>);

/// Is there such a key, and with which version and length?
///
/// As `GET`, without the value.
#[utoipa::path(
    head, path = "/v1/kv/{key}", tag = "keys",
    params(
        ("key" = String, Path, description = "1 to 4096 bytes, percent-encoded", min_length = 1),
        ("level" = Option<String>, Query, pattern = "^(linearizable|any)$", description = "as of GET"),
        ("acks" = Option<u8>, Query, minimum = 0, maximum = 255, description = "as of GET"),
        ("If-Match" = Option<String>, Header, description = "as of GET"),
        ("If-None-Match" = Option<String>, Header, description = "as of GET"),
    ),
    responses(
        (status = 200, description = "It is there", headers(("ETag" = String, description = "the version"))),
        (status = 304, description = "It still has this version"),
        (status = 400, description = "The request is not possible"),
        (status = 404, description = "There is no such key"),
        (status = 412, description = "It has another version"),
        (status = 501, description = "Not in this mode"),
        (status = 503, description = "Not possible at the moment"),
    ),
)]
pub(crate) async fn head(
    State(front): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // Hyper leaves the body away, and says its length.
    Box::pin(read(&front, &uri, &headers)).await
}

async fn read(front: &Front, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    let key = request::key(uri, 2)?;
    let parameters = Parameters::read(uri, &["level", "acks"])?;
    let conditions = Conditions::read(headers)?;
    let serving = front.serving()?;
    let level = parameters.parse::<Level>("level")?;
    let client = acknowledged(&serving, &parameters)?;
    let record = fetch(front, client.as_ref().unwrap_or(&serving.client), key.clone(), level).await?;
    let current = record.as_ref().map(|record| record.version);
    if !conditions.matches(current) {
        return Err(Problem::conflict(current));
    }
    let Some(record) = record else { return Err(Problem::missing(&key)) };
    let remaining = remaining(&record);
    let Record { version, value, .. } = record;
    let mut response = if conditions.is_new(current) {
        of_kind("application/octet-stream", value.into_bytes())
    } else {
        StatusCode::NOT_MODIFIED.into_response()
    };
    response.headers_mut().insert(ETAG, etag(version));
    if let Some(remaining) = remaining {
        let remaining = HeaderValue::try_from(remaining).expect("digits and letters");
        response.headers_mut().insert(REMAINING, remaining);
    }
    Ok(response)
}

/// How long a value still lives, as `?ttl=` has it; none: for ever.
pub(crate) fn remaining(record: &Record) -> Option<String> {
    let remaining = record.remaining(chordata_client::now())?;
    Some(format!("{}ms", remaining.as_millis()))
}

/// Reads a key at a level; none: at the best one of the cluster's mode.
pub(crate) async fn fetch(
    front: &Front,
    client: &Client,
    key: Key,
    level: Option<Level>,
) -> Result<Option<Record>, Problem> {
    let answer = match level {
        Some(Level::Any) => Box::pin(client.get_any(key)).await?,
        Some(Level::Linearizable) if client.consistency() == Some(Consistency::Eventual) => {
            return Err(Problem::new(
                Code::NotSupported,
                "this cluster is in eventual mode: no read is known to give what was written last; leave level away",
            ));
        }
        Some(Level::Linearizable) | None => Box::pin(client.get(key)).await?,
    };
    Ok(front.arrived(answer))
}

/// A client that waits for so many copies, if that is asked for.
fn acknowledged(serving: &Serving, parameters: &Parameters) -> Result<Option<Client>, Problem> {
    Ok(parameters.parse("acks")?.map(|acks: u8| serving.client.with_acks(acks)))
}

/// Stores a value
///
/// The body is the value. With `If-Match` or `If-None-Match` it is a compare-and-swap: it is stored only if the key has
/// such a version at that moment. `If-None-Match: *`: only if the key is absent; `If-Match: *`: only if it is there.
#[utoipa::path(
    put, path = "/v1/kv/{key}", tag = "keys",
    params(
        ("key" = String, Path, description = "1 to 4096 bytes, percent-encoded", min_length = 1),
        ("ttl" = Option<String>, Query, pattern = r"^[1-9]\d{0,3}(ms|s|m|h|d)$",
            description = "for how long, as in 500ms, 30s, 5m, 2h or 7d [default: for ever]"),
        ("acks" = Option<u8>, Query, minimum = 0, maximum = 255, description = "eventual mode: replicas that must have it stored"),
        ("If-Match" = Option<String>, Header, description = "only over one of these versions"),
        ("If-None-Match" = Option<String>, Header, description = "only over none of these versions"),
    ),
    request_body(content = Option<Bytes>, content_type = "application/octet-stream", description = "at most 1 MiB"),
    responses(
        (status = 204, description = "It is stored", headers(("ETag" = String, description = "its version"))),
        (status = 400, description = "The request is not possible", body = Problem),
        (status = 408, description = "The body did not come in time", body = Problem),
        (status = 412, description = "The key has another version", body = Problem),
        (status = 413, description = "The value is too long", body = Problem),
        (status = 501, description = "Not in this mode", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
        (status = 504, description = "Unknown whether it was done, or stored in fewer copies than wanted", body = Problem),
    ),
)]
pub(crate) async fn put(State(front): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let key = request::key(&parts.uri, 2)?;
    let parameters = Parameters::read(&parts.uri, &["acks", "ttl"])?;
    let options = PutOptions { ttl: parameters.parse("ttl")? };
    let conditions = Conditions::read(&parts.headers)?;
    let serving = front.serving()?;
    let acknowledged = acknowledged(&serving, &parameters)?;
    let client = acknowledged.as_ref().unwrap_or(&serving.client);
    let value = Value::from(request::body(&parts.headers, body, VALUE_BYTES_MAX, "a value").await?);
    let outcome = if conditions.is_none() {
        front.arrived(Box::pin(client.put_with(key, value, options)).await?)
    } else {
        Box::pin(swap(&front, client, &key, &conditions, Some((value, options)))).await?
    };
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(ETAG, etag(written(outcome)?));
    Ok(response)
}

/// Removes a key
///
/// With `If-Match` or `If-None-Match` it is a compare-and-swap.
#[utoipa::path(
    delete, path = "/v1/kv/{key}", tag = "keys",
    params(
        ("key" = String, Path, description = "1 to 4096 bytes, percent-encoded", min_length = 1),
        ("acks" = Option<u8>, Query, minimum = 0, maximum = 255, description = "eventual mode: replicas that must have it stored"),
        ("If-Match" = Option<String>, Header, description = "only if it has one of these versions"),
        ("If-None-Match" = Option<String>, Header, description = "only if it has none of these versions"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "The request is not possible", body = Problem),
        (status = 404, description = "There was no such key", body = Problem),
        (status = 412, description = "The key has another version", body = Problem),
        (status = 501, description = "Not in this mode", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
        (status = 504, description = "Unknown whether it was done", body = Problem),
    ),
)]
pub(crate) async fn delete(
    State(front): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = request::key(&uri, 2)?;
    let parameters = Parameters::read(&uri, &["acks"])?;
    let conditions = Conditions::read(&headers)?;
    let serving = front.serving()?;
    let acknowledged = acknowledged(&serving, &parameters)?;
    let client = acknowledged.as_ref().unwrap_or(&serving.client);
    let outcome = if conditions.is_none() {
        front.arrived(Box::pin(client.delete(key.clone())).await?)
    } else {
        Box::pin(swap(&front, client, &key, &conditions, None)).await?
    };
    deleted(&key, outcome)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Writes (none: removes) only over what the conditions allow.
pub(crate) async fn swap(
    front: &Front,
    client: &Client,
    key: &Key,
    conditions: &Conditions,
    value: Option<(Value, PutOptions)>,
) -> Result<Outcome, Problem> {
    let (value, options) =
        value.map_or((None, PutOptions::default()), |(value, options)| (Some(value), options));
    if client.consistency() == Some(Consistency::Eventual) {
        return Err(Problem::new(
            Code::NotSupported,
            "this cluster is in eventual mode: a key's writes have no order, so no version can be asked for",
        ));
    }
    if let Some(expected) = conditions.only() {
        return Ok(front.arrived(client.compare_and_swap_with(key.clone(), expected, value, options).await?));
    }
    for _ in 0..RACES_MAX {
        let found = client.get(key.clone()).await?.result.map(|record| record.version);
        if !conditions.allow(found) {
            return Ok(Outcome::Conflict(found));
        }
        let answer = client.compare_and_swap_with(key.clone(), found, value.clone(), options).await?;
        match front.arrived(answer) {
            Outcome::Conflict(_) => {}
            outcome => return Ok(outcome),
        }
    }
    Err(Problem::new(Code::Unavailable, "others write this key all the time: try again"))
}
