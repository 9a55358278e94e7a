//! One value of a row, with the type that its source gives it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// See the [module](self).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes that need not be text.
    Bytes(Cow<'a, [u8]>),
    /// A number, true or false, a list, an object: as JSON writes it.
    Json(Cow<'a, str>),
}

impl<'a> Cell<'a> {
    /// Text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Cell<'a> {
        Cell::Text(text.into())
    }

    /// What JSON writes like this.
    pub fn json(text: impl Into<Cow<'a, str>>) -> Cell<'a> {
        Cell::Json(text.into())
    }

    /// A number; what JSON has no number for is text.
    pub fn number(number: f64) -> Cell<'static> {
        match serde_json::Number::from_f64(number) {
            Some(number) => Cell::Json(number.to_string().into()),
            None => Cell::Text(number.to_string().into()),
        }
    }

    /// As the bytes of a key or a value: text as itself, a number as its digits. None: null.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Cell::Null => None,
            Cell::Text(text) | Cell::Json(text) => Some(text.into_owned().into_bytes()),
            Cell::Bytes(bytes) => Some(bytes.into_owned()),
        }
    }

    /// As a value in JSON; bytes that are no text as base64.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Cell::Null => out.push_str("null"),
            Cell::Text(text) => push_string(out, text),
            Cell::Json(text) => out.push_str(text),
            Cell::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => push_string(out, text),
                Err(_) => push_string(out, &STANDARD.encode(bytes)),
            },
        }
    }
}

/// A text as JSON writes it.
pub(crate) fn push_string(out: &mut String, text: &str) {
    // A text can always be written.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// A row as a JSON object, its columns in their order.
pub(crate) fn object<'c>(fields: impl IntoIterator<Item = (&'c str, Cell<'c>)>) -> String {
    let mut out = String::from("{");
    for (place, (name, cell)) in fields.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        push_string(&mut out, name);
        out.push(':');
        cell.write_json(&mut out);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_their_types_in_json_and_are_text_alone() {
        let row = object([
            ("a \"name\"", Cell::text("x\n")),
            ("n", Cell::json("12345678901234567890.5")),
            ("none", Cell::Null),
            ("bytes", Cell::Bytes(vec![0xff, 0].into())),
            ("infinite", Cell::number(f64::INFINITY)),
            ("half", Cell::number(0.5)),
        ]);
        let wanted = "{\"a \\\"name\\\"\":\"x\\n\",\"n\":12345678901234567890.5,\"none\":null,\
                      \"bytes\":\"/wA=\",\"infinite\":\"inf\",\"half\":0.5}";
        assert_eq!(row, wanted);
        assert_eq!(Cell::json("5").into_bytes(), Some(b"5".to_vec()));
        assert_eq!(Cell::Null.into_bytes(), None);
    }
}
