//! The classic routes: key and value in the path, JSON back. Their shape is that of the system that this one replaces.

use std::io;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;
use chordata_client::listing::{Listed, Place, Wanted};
use chordata_protocol::{Address, Key, Value, Version};
use futures::stream;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

use super::answer::{deleted, json, of_kind, written};
use super::bytes::{spell, split};
use super::front::{Front, Serving, Shared, has_segments};
use super::problem::{Code, Problem};
use super::request::{self, Parameters, segment};
use chordata_rpc::service::Error;
use chordata_rpc::standby::JoinWish;

/// Pairs asked for at once.
const PAIRS_PER_PAGE: u32 = 1000;
/// The longest body of `/join`.
const JOIN_BYTES_MAX: usize = 64 * 1024;

/// What was done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {
    /// For people.
    message: String,
    /// The version that the key has now, or had.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "3.17")]
    version: Option<String>,
}

/// A value.
#[derive(Serialize, ToSchema)]
pub(crate) struct Found {
    /// For people.
    message: String,
    /// The value, if it is text. Of `*`: an object for each node, with its `node` and `pairs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<serde_json::Value>,
    /// The value in base64, if it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// Its version.
    #[schema(example = "3.17")]
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

fn done(message: String, version: Option<Version>) -> Response {
    json(&Done { message, version: version.map(|version| version.to_string()) })
}

/// Stores a value
///
/// Key and value are percent-encoded bytes: `/insert/K%C3%B6ln/50667`. With `/insert/KEY/` the value is empty. What is
/// longer than a path (64 KiB) goes to `PUT /v1/kv/{key}`.
#[utoipa::path(
    post, path = "/insert/{key}/{value}", tag = "classic",
    params(
        ("key" = String, Path, description = "1 to 4096 bytes", min_length = 1),
        ("value" = String, Path, description = "any bytes", min_length = 1),
    ),
    responses(
        (status = 200, description = "It is stored", body = Done),
        (status = 400, description = "The key or the path is not possible", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
        (status = 504, description = "Unknown whether it was done", body = Problem),
    ),
)]
pub(crate) async fn insert(State(front): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    insert_value(&front, &uri).await
}

/// The same for an empty value, which no path parameter can be.
pub(crate) async fn insert_nothing(State(front): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    insert_value(&front, &uri).await
}

async fn insert_value(front: &Front, uri: &Uri) -> Result<Response, Problem> {
    Parameters::read(uri, &[])?;
    debug_assert!(has_segments(uri, 3), "the route has three");
    let (key, value) = (request::key(uri, 1)?, Value::from(request::decode(segment(uri, 2))?));
    let serving = front.serving()?;
    let answer = Box::pin(serving.client.put(key, value)).await?;
    Ok(done("stored".to_owned(), Some(written(front.arrived(answer))?)))
}

/// The value of a key, or all pairs
///
/// `/query/*` streams all pairs, node by node in the order of the ring; the key `*` itself is `/query/%2A`. If a node
/// cannot be reached while pairs are streamed, the connection is cut before the JSON ends.
#[utoipa::path(
    get, path = "/query/{key}", tag = "classic",
    params(("key" = String, Path, description = "1 to 4096 bytes, or *", min_length = 1)),
    responses(
        (status = 200, description = "The value, or all pairs", body = Found),
        (status = 400, description = "The key or the path is not possible", body = Problem),
        (status = 404, description = "There is no such key", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
    ),
)]
pub(crate) async fn query(State(front): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Parameters::read(&uri, &[])?;
    let serving = front.serving()?;
    if segment(&uri, 1) == "*" {
        return Box::pin(everything(serving)).await;
    }
    let key = request::key(&uri, 1)?;
    let answer = Box::pin(serving.client.get(key.clone())).await?;
    let Some(record) = front.arrived(answer) else { return Err(Problem::missing(&key)) };
    let (text, value_base64) = split(record.value.into_bytes());
    Ok(json(&Found {
        message: "found".to_owned(),
        value: text.map(serde_json::Value::String),
        value_base64,
        version: Some(record.version.to_string()),
    }))
}

#[derive(Serialize)]
struct Pair {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl Pair {
    fn new(key: Key, value: Value) -> Pair {
        let (key, key_base64, key_id) = spell(key);
        let (value, value_base64) = split(value.into_bytes());
        Pair { key, key_base64, key_id, value, value_base64 }
    }
}

/// How far the pairs are streamed.
struct Pouring {
    serving: Arc<Serving>,
    /// The page that was read, and is to be written.
    page: Option<Listed>,
    /// Whose pairs are being written.
    node: Option<Address>,
    is_first: bool,
}

async fn page(serving: &Serving, place: &Place) -> Result<Listed, Problem> {
    let wanted = Wanted { prefix: b"", limit: PAIRS_PER_PAGE, values: true };
    Ok(Box::pin(serving.client.list_page(place, wanted)).await?)
}

async fn everything(serving: Arc<Serving>) -> Result<Response, Problem> {
    // The first page is there before the answer begins: a ring that cannot be read is an error, and no broken answer.
    let first = page(&serving, &Place::Start).await?;
    let pouring = Pouring { serving, page: Some(first), node: None, is_first: true };
    let pieces = stream::try_unfold(pouring, |mut pouring| async move {
        let Some(listed) = pouring.page.take() else { return Ok::<_, io::Error>(None) };
        let next = listed.next.clone();
        let mut text = Vec::new();
        pouring.write(&mut text, listed);
        match next {
            Some(place) => {
                let page = page(&pouring.serving, &place).await;
                pouring.page = Some(page.map_err(|problem| io::Error::other(problem.message))?);
            }
            None => text.extend_from_slice(b"]}]}"),
        }
        Ok(Some((axum::body::Bytes::from(text), pouring)))
    });
    Ok(of_kind("application/json", Body::from_stream(pieces)))
}

impl Pouring {
    fn write(&mut self, text: &mut Vec<u8>, listed: Listed) {
        let address = listed.node.address;
        if self.node.as_ref() != Some(&address) {
            let before: &[u8] = match self.node {
                None => b"{\"message\":\"all pairs, node by node\",\"value\":[{\"node\":",
                Some(_) => b"]},{\"node\":",
            };
            text.extend_from_slice(before);
            append(text, &address);
            text.extend_from_slice(b",\"pairs\":[");
            (self.node, self.is_first) = (Some(address), true);
        }
        for (key, _, value) in listed.entries {
            if !std::mem::take(&mut self.is_first) {
                text.push(b',');
            }
            append(text, &Pair::new(key, value.unwrap_or_default()));
        }
    }
}

fn append<T: Serialize>(text: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(text, value).expect("it is written to memory, and has only keys that are text");
}

/// Removes a key
#[utoipa::path(
    delete, path = "/delete/{key}", tag = "classic",
    params(("key" = String, Path, description = "1 to 4096 bytes", min_length = 1)),
    responses(
        (status = 200, description = "It is gone", body = Done),
        (status = 400, description = "The key or the path is not possible", body = Problem),
        (status = 404, description = "There was no such key", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
        (status = 504, description = "Unknown whether it was done", body = Problem),
    ),
)]
pub(crate) async fn delete(State(front): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Parameters::read(&uri, &[])?;
    let key = request::key(&uri, 1)?;
    let serving = front.serving()?;
    let answer = Box::pin(serving.client.delete(key.clone())).await?;
    Ok(done("deleted".to_owned(), Some(deleted(&key, front.arrived(answer))?)))
}

/// A node's place in the ring.
#[derive(Serialize, ToSchema)]
pub(crate) struct OverlayNode {
    /// From the lowest id, counted from 0.
    number: usize,
    /// Its place on the ring.
    #[schema(example = "0x2000")]
    id: String,
    /// Where other nodes and clients reach it.
    #[schema(example = "127.0.0.1:18861")]
    address: String,
    /// Where it answers HTTP, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<String>,
    /// Who is before it.
    predecessor: String,
    /// Who is behind it.
    successor: String,
}

/// The ring.
#[derive(Serialize, ToSchema)]
pub(crate) struct Overlay {
    /// For people.
    message: String,
    /// The nodes, from the lowest id.
    overlay: Vec<OverlayNode>,
}

/// The nodes of the ring, in its order
#[utoipa::path(
    get, path = "/overlay", tag = "classic",
    responses(
        (status = 200, description = "The ring", body = Overlay),
        (status = 400, description = "There is no such parameter", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
    ),
)]
pub(crate) async fn overlay(State(front): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Parameters::read(&uri, &[])?;
    let serving = front.serving()?;
    let view = Box::pin(serving.client.view()).await;
    let members = view.members();
    let count = members.len();
    let overlay = members.iter().enumerate().map(|(number, status)| OverlayNode {
        number,
        id: status.me.id.to_literal(),
        address: status.me.address.to_string(),
        http: status.http.clone(),
        predecessor: members[(number + count - 1) % count].me.address.to_string(),
        successor: members[(number + 1) % count].me.address.to_string(),
    });
    Ok(json(&Overlay { message: format!("{count} nodes"), overlay: overlay.collect() }))
}

/// Leaves the ring
///
/// Hands all keys over first, and answers when that is done.
#[utoipa::path(
    post, path = "/depart", tag = "classic",
    responses(
        (status = 200, description = "It has left", body = Done),
        (status = 400, description = "There is no such parameter", body = Problem),
        (status = 409, description = "It cannot leave", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
    ),
)]
pub(crate) async fn depart(State(front): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Parameters::read(&uri, &[])?;
    Box::pin(front.seat.depart()).await?;
    Ok(done("this server has left the ring: others have its keys".to_owned(), None))
}

/// Whom to ask for a place in their ring.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Join {
    /// Nodes of that ring: HOST or HOST:PORT. None: those of the ring that it was in before, or those that the server was
    /// started with; without either, it founds a ring.
    #[serde(default)]
    contacts: Vec<String>,
}

/// Joins the ring
///
/// For servers that were started outside of it, or have left it. Whoever was in a ring before goes back to that one, unless
/// others are named, and never founds a second one.
#[utoipa::path(
    post, path = "/join", tag = "classic", request_body(content = Option<Join>, description = "may be left away"),
    responses(
        (status = 200, description = "It is in the ring", body = Done),
        (status = 400, description = "The request is not possible", body = Problem),
        (status = 409, description = "It is in the ring already, or the ring does not take it", body = Problem),
        (status = 413, description = "The body is too long", body = Problem),
        (status = 503, description = "No ring answers", body = Problem),
    ),
)]
pub(crate) async fn join(State(front): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Parameters::read(&parts.uri, &[])?;
    let body = request::body(&parts.headers, body, JOIN_BYTES_MAX, "this request").await?;
    let join: Join = match &body[..] {
        b"" => Join::default(),
        json => {
            serde_json::from_slice(json).map_err(|error| Problem::bad(format!("no such JSON: {error}")))?
        }
    };
    let contacts = join.contacts.iter().map(|text| crate::settings::with_port(text));
    let contacts =
        contacts.collect::<Result<Vec<_>, _>>().map_err(|error| Problem::bad(error.to_string()))?;
    if front.seat.node().is_some() {
        return Err(Error::Barred("this server is already in the ring".to_owned()).into());
    }
    let wish = match contacts {
        contacts if contacts.is_empty() => JoinWish::AsSet,
        contacts => JoinWish::Join { contacts, cluster: None, placement: None },
    };
    let joined = Box::pin(front.seat.join(wish)).await;
    let me = joined.map_err(|error| match error {
        // The request is a good one: as this server is, or that ring, it cannot be.
        Error::NotSupported(reason) => Problem::new(Code::Refused, reason),
        error => error.into(),
    })?;
    let cluster = front.seat.node().map(|node| format!(", of the cluster {}", node.cluster().cluster));
    Ok(done(format!("this server is in the ring, at {:?}{}", me.id, cluster.unwrap_or_default()), None))
}
