//! `GET /v1/kv`: pages over all keys of the ring.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use chordata_client::listing::{Place, Wanted};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::json;
use super::bytes::{seal, spell, split, unseal};
use super::front::Shared;
use super::problem::Problem;
use super::request::Parameters;

/// Keys of a page, unless it is said, and at most.
const LIMIT: (u32, u32) = (100, 1000);
/// Bytes of keys and values after which a page ends.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time after which a page ends: of few keys with a prefix, many nodes may have none.
const LOOKS_FOR: Duration = Duration::from_secs(2);

/// A key of the ring. It has one of the three spellings.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedKey {
    /// The key, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The key in base64, if it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// The identifier, if the key is a literal one.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    /// Its version.
    #[schema(example = "3.17")]
    version: String,
    /// The value, if it was asked for and is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// The value in base64, if it was asked for and is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// A page of keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyPage {
    /// In the order of the keys' identifiers.
    keys: Vec<ListedKey>,
    /// Where the next page begins. Left away: this was the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// Lists keys
///
/// All keys of the ring, node by node in the order of their identifiers, a page at a time. A page may have fewer keys
/// than its limit (none at all, even) and a cursor all the same: the last one has no cursor. What is there all the time
/// is listed once, whoever joins, leaves or dies meanwhile.
#[utoipa::path(
    get, path = "/v1/kv", tag = "keys",
    params(
        ("prefix" = Option<String>, Query, description = "only keys that begin with these bytes"),
        ("limit" = Option<u32>, Query, description = "keys of a page [default: 100]", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "where to go on, from the page before", pattern = "^AA$"),
        ("values" = Option<String>, Query, pattern = "^(true|false)?$",
            description = "true, or nothing behind the name: values too [default: false]"),
    ),
    responses(
        (status = 200, description = "A page", body = KeyPage),
        (status = 400, description = "The request is not possible", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
    ),
)]
pub(crate) async fn list(State(front): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    let parameters = Parameters::read(&uri, &["prefix", "limit", "cursor", "values"])?;
    let prefix = parameters.bytes("prefix").unwrap_or_default();
    let limit = parameters.parse::<u32>("limit")?.unwrap_or(LIMIT.0);
    if !(1..=LIMIT.1).contains(&limit) {
        return Err(Problem::bad(format!("limit is from 1 to {}", LIMIT.1)));
    }
    let values = parameters.flag("values")?;
    let serving = front.serving()?;
    let mut place = match parameters.bytes("cursor") {
        None => Place::Start,
        Some(cursor) => read_cursor(cursor)
            .filter(|place| place.fits(serving.client.space()))
            .ok_or_else(|| Problem::bad("the cursor is none of ours: take it from the page before"))?,
    };
    let (began, mut keys, mut bytes) = (Instant::now(), Vec::new(), 0);
    let cursor = loop {
        let left = limit - u32::try_from(keys.len()).unwrap_or(limit);
        let wanted = Wanted { prefix, limit: left, values };
        let listed = Box::pin(serving.client.list_page(&place, wanted)).await?;
        for (key, version, value) in listed.entries {
            bytes += key.size() + value.as_ref().map_or(0, |value| value.len());
            let (key, key_base64, key_id) = spell(key);
            let (value, value_base64) = value.map_or((None, None), |value| split(value.into_bytes()));
            let version = version.to_string();
            keys.push(ListedKey { key, key_base64, key_id, version, value, value_base64 });
        }
        match listed.next {
            None => break None,
            Some(next) => place = next,
        }
        if keys.len() >= limit as usize || bytes >= BYTES_MAX || began.elapsed() >= LOOKS_FOR {
            break Some(cursor(&place)?);
        }
    };
    Ok(json(&KeyPage { keys, cursor }))
}

fn cursor(place: &Place) -> Result<String, Problem> {
    let bytes = postcard::to_allocvec(place);
    bytes.map(|bytes| seal(&bytes)).map_err(|error| Problem::bad(format!("there is no cursor: {error}")))
}

fn read_cursor(text: &[u8]) -> Option<Place> {
    let bytes = unseal(text)?;
    let (place, rest) = postcard::take_from_bytes(&bytes).ok()?;
    rest.is_empty().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chordata_protocol::{Id, Key};

    #[test]
    fn a_cursor_is_read_back_and_no_other_text_is_one() {
        for place in [Place::Start, Place::Key(Key::new([0xff, 0])), Place::Id(Id::MAX)] {
            let text = cursor(&place).unwrap();
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
            assert_eq!(read_cursor(text.as_bytes()), Some(place));
        }
        for wrong in ["", "x", "AAA", "Aw", "=="] {
            assert_eq!(read_cursor(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
