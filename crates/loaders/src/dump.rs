//! What `chordata dump` writes, and `load ndjson` reads back exactly: a pair a line, text as text, other bytes as base64.
//!
//! ```text
//! {"key":"Berlin","value":"Spree"}
//! {"key_base64":"/wA=","value":"bytes that are no text"}
//! {"key_id":"0x2a","value_base64":"/w=="}        under the id 0x2a itself
//! {"key":"soon","value":"x","expires_at_ms":1795000000000}
//! ```
//!
//! A line may also have `position` and `reason`, as rejects have them: they are passed over, so that a file of rejects can
//! be mended and loaded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::cell::push_string;
use crate::{Pair, PairKey, Position};

/// Writes a pair as a line, without its end. `more` are further fields, such as a reject's reason.
pub fn write(
    out: &mut String,
    key: &PairKey,
    value: &[u8],
    expires_at_ms: Option<u64>,
    more: &[(&str, &str)],
) {
    out.push('{');
    match key {
        PairKey::Bytes(bytes) => push_bytes(out, "key", bytes),
        PairKey::Id(id) => push_field(out, "key_id", id),
    }
    out.push(',');
    push_bytes(out, "value", value);
    if let Some(expires) = expires_at_ms {
        out.push_str(&format!(",\"expires_at_ms\":{expires}"));
    }
    for (name, text) in more {
        out.push(',');
        push_field(out, name, text);
    }
    out.push('}');
}

fn push_field(out: &mut String, name: &str, text: &str) {
    push_string(out, name);
    out.push(':');
    push_string(out, text);
}

fn push_bytes(out: &mut String, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => push_field(out, name, text),
        Err(_) => push_field(out, &format!("{name}_base64"), &STANDARD.encode(bytes)),
    }
}

/// The pair that an object with these fields is, if it is one of a dump; the reason if it is one that nobody wrote.
pub(crate) fn read(fields: &[(String, Box<RawValue>)], position: Position) -> Option<Result<Pair, String>> {
    let (mut key, mut value, mut expires) = (None, None, None);
    for (name, raw) in fields {
        let place = match name.as_str() {
            "key" | "key_base64" | "key_id" => &mut key,
            "value" | "value_base64" => &mut value,
            "expires_at_ms" => &mut expires,
            "position" | "reason" => continue,
            _ => return None,
        };
        if place.replace((name.as_str(), raw.get())).is_some() {
            return None;
        }
    }
    let ((key_name, key), (value_name, value)) = (key?, value?);
    // Two columns that happen to have these names may hold anything.
    if key_name == "key" && value_name == "value" && expires.is_none() && fields.len() == 2 {
        return None;
    }
    let pair = || {
        let key = match key_name {
            "key_id" => PairKey::Id(text(key_name, key)?),
            name => PairKey::Bytes(bytes(name, key)?),
        };
        let value = bytes(value_name, value)?;
        let moment = |(name, raw): (&str, &str)| {
            raw.parse().map_err(|_| format!("{name} is a number of milliseconds, not {raw}"))
        };
        let expires_at_ms = expires.map(moment).transpose()?;
        Ok(Pair { key, value, expires_at_ms, position })
    };
    Some(pair())
}

fn text(name: &str, raw: &str) -> Result<String, String> {
    serde_json::from_str(raw).map_err(|_| format!("{name} is text in a dump"))
}

fn bytes(name: &str, raw: &str) -> Result<Vec<u8>, String> {
    let text = text(name, raw)?;
    if !name.ends_with("_base64") {
        return Ok(text.into_bytes());
    }
    STANDARD.decode(text).map_err(|error| format!("{name} is no base64: {error}"))
}
