//! Bytes in JSON: text as itself, under a name; what is no text as base64, under that name and `_base64`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chordata_protocol::{Id, Key, Space};

use super::problem::Problem;

/// Text, or else base64 (RFC 4648, with padding).
pub(crate) fn split(bytes: Vec<u8>) -> (Option<String>, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
    }
}

/// Text, or else base64, back to bytes. None: neither is there.
///
/// # Errors
/// When both are, or it is no base64.
pub(crate) fn join(
    name: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Vec<u8>>, Problem> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(Problem::bad(format!("give {name} or {name}_base64, not both"))),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(&base64);
            bytes.map(Some).map_err(|error| Problem::bad(format!("{name}_base64 is no base64: {error}")))
        }
        (None, None) => Ok(None),
    }
}

/// A key in three spellings, of which one is there.
pub(crate) fn key(
    text: Option<String>,
    base64: Option<String>,
    id: Option<String>,
    space: Space,
) -> Result<Key, Problem> {
    match (join("key", text, base64)?, id) {
        (Some(bytes), None) => Ok(Key::new(bytes)),
        (None, Some(id)) => {
            let id: Id = space.parse(&id).map_err(|error| Problem::bad(error.to_string()))?;
            Ok(Key::Literal(id))
        }
        (Some(_), Some(_)) => Err(Problem::bad("give one of key, key_base64 and key_id")),
        (None, None) => Err(Problem::bad("the key is missing: give key, key_base64 or key_id")),
    }
}

/// The three spellings of a key: text, base64, the literal identifier.
pub(crate) fn spell(key: Key) -> (Option<String>, Option<String>, Option<String>) {
    match key {
        Key::Bytes(bytes) => {
            let (text, base64) = split(bytes);
            (text, base64, None)
        }
        Key::Literal(id) => (None, None, Some(id.to_literal())),
    }
}

/// Something of ours as text that is given back to us, and means nothing to anybody else.
pub(crate) fn seal(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What was sealed.
pub(crate) fn unseal(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        assert_eq!(split(vec![b'a', 0, b'b']), (Some("a\0b".to_owned()), None));
        assert_eq!(split(vec![0xff, 0]), (None, Some("/wA=".to_owned())));
        assert_eq!(join("key", None, Some("/wA=".to_owned())), Ok(Some(vec![0xff, 0])));
        assert!(join("key", None, Some("/wA".to_owned())).is_err());
        assert!(join("key", Some(String::new()), Some(String::new())).is_err());
        let space = Space::default();
        let literal = key(None, None, Some("42".to_owned()), space).unwrap();
        assert_eq!(spell(literal).2.as_deref(), Some("0x2a"));
        assert!(key(None, None, None, space).is_err());
    }
}
