//! A JSON document: an object is a dictionary, an array has an object a row.
//!
//! In a dictionary the names are the keys. A value that is a string is stored as its text, all others as JSON, as they are
//! written; with [`ValueChoice::Row`](crate::ValueChoice) strings are stored as JSON too.

use std::cell::Cell as Shared;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::rc::Rc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::cell::Cell;
use crate::choice::{Choice, check_names};
use crate::{Item, Pair, PairKey, Position, ROW_BYTES_MAX, Sink, SourceError, ValueChoice, dump};

/// The fields of an object in their order, each as it is written.
pub(crate) struct Fields(pub(crate) Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A value as it is written.
pub(crate) fn cell(raw: &RawValue) -> Result<Cell<'_>, serde_json::Error> {
    match raw.get() {
        "null" => Ok(Cell::Null),
        text if text.starts_with('"') => Ok(Cell::text(serde_json::from_str::<String>(text)?)),
        other => Ok(Cell::json(other)),
    }
}

/// Makes a pair of an object.
pub(crate) fn row(text: &str, choice: &Choice, position: Position) -> Item {
    let fields = match serde_json::from_str::<Fields>(text) {
        Ok(Fields(fields)) => fields,
        Err(error) => return Item::reject(position, format!("it is no JSON object: {error}"), text),
    };
    if choice.is_default()
        && let Some(dumped) = dump::read(&fields, position)
    {
        return dumped.map_or_else(|reason| Item::reject(position, reason, text), Item::Pair);
    }
    let columns: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    // The two names that a dump uses mean what they say, in any order.
    let index = (columns == ["value", "key"]).then_some(1);
    let places = choice.places(&columns, index);
    let places = places.and_then(|places| check_names(&columns, places).map(|()| places));
    let cells = fields.iter().map(|(_, raw)| cell(raw)).collect::<Result<Vec<_>, _>>();
    match (places, cells) {
        (Ok(places), Ok(cells)) => places.pair(&columns, cells, position),
        (Err(error), _) => Item::reject(position, error.to_string(), text),
        (_, Err(error)) => Item::reject(position, error.to_string(), text),
    }
}

/// Fails when a row is too long, before it fills the memory.
struct Bounded<R> {
    input: R,
    left: Rc<Shared<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        let left = self.left.get().checked_sub(count).ok_or_else(|| {
            std::io::Error::other(format!("a row has more than {} MiB", ROW_BYTES_MAX / 1024 / 1024))
        })?;
        self.left.set(left);
        Ok(count)
    }
}

/// Makes pairs of a document.
///
/// # Errors
/// When it cannot be read, or is no such document.
pub fn read(input: impl Read, choice: &Choice, sink: Sink<'_>) -> Result<(), SourceError> {
    let mut input = BufReader::with_capacity(256 * 1024, input);
    let beginning = input.fill_buf()?;
    if beginning.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    let left = Rc::new(Shared::new(ROW_BYTES_MAX));
    let input = Bounded { input, left: Rc::clone(&left) };
    let mut document = serde_json::Deserializer::from_reader(input);
    let (mut stopped, mut wrong) = (false, None);
    let top = Top { choice, sink, left: &left, stopped: &mut stopped, wrong: &mut wrong };
    let read = document.deserialize_any(top);
    if stopped {
        return wrong.map_or(Ok(()), Err);
    }
    read.map_err(wrong_json)?;
    document.end().map_err(|error| {
        SourceError::input(format!(
            "more follows behind the document (line {}): if every line has an object of its own, it is ndjson",
            error.line()
        ))
    })
}

fn wrong_json(error: serde_json::Error) -> SourceError {
    if error.is_io() {
        return SourceError::Io(error.into());
    }
    SourceError::input(format!("it is no such JSON: {error}"))
}

/// What is at the top of the document.
struct Top<'t, 's> {
    choice: &'t Choice,
    sink: Sink<'s>,
    left: &'t Shared<usize>,
    stopped: &'t mut bool,
    wrong: &'t mut Option<SourceError>,
}

impl Top<'_, '_> {
    /// Hands an item on; break: that was enough.
    fn give(&mut self, item: Item) -> ControlFlow<()> {
        self.left.set(ROW_BYTES_MAX);
        let flow = (self.sink)(item);
        *self.stopped = flow.is_break();
        flow
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object (a dictionary) or an array of objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let as_json = match (&self.choice.key, &self.choice.value) {
            (None, ValueChoice::Row) => true,
            (None, ValueChoice::Column(None)) => false,
            _ => {
                let text = "an object is a dictionary, it has no columns: leave --key and --value out";
                (*self.wrong, *self.stopped) = (Some(SourceError::input(text)), true);
                return Ok(());
            }
        };
        let mut number = 0;
        while let Some(key) = map.next_key::<String>()? {
            let raw: Box<RawValue> = map.next_value()?;
            number += 1;
            let position = Position { row: number, line: None };
            let value = match cell(&raw) {
                _ if as_json => Ok(raw.get().to_owned().into_bytes()),
                Ok(cell) => cell.into_bytes().ok_or_else(|| "the value is null".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            let item = match value {
                Ok(value) => Item::Pair(Pair {
                    key: PairKey::Bytes(key.into_bytes()),
                    value,
                    expires_at_ms: None,
                    position,
                }),
                Err(reason) => Item::reject(position, reason, &key),
            };
            if self.give(item).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(raw) = rows.next_element::<Box<RawValue>>()? {
            number += 1;
            let item = row(raw.get(), self.choice, Position { row: number, line: None });
            if self.give(item).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str, choice: &Choice) -> Result<Vec<Item>, String> {
        let mut items = Vec::new();
        let sink: Sink<'_> = &mut |item| {
            items.push(item);
            ControlFlow::Continue(())
        };
        read(text.as_bytes(), choice, sink).map_err(|error| error.to_string())?;
        Ok(items)
    }

    fn shown(text: &str, choice: &Choice) -> Vec<String> {
        let show = |item| match item {
            Item::Pair(Pair { key: PairKey::Bytes(key), value, .. }) => {
                format!("{} {}", String::from_utf8(key).unwrap(), String::from_utf8(value).unwrap())
            }
            Item::Pair(Pair { key: PairKey::Id(id), .. }) => panic!("{id}"),
            Item::Reject(reject) => format!("{}: {}", reject.position, reject.reason),
        };
        items(text, choice).unwrap().into_iter().map(show).collect()
    }

    #[test]
    fn an_object_is_a_dictionary() {
        let text =
            "\u{feff}{\"a\": \"x\\n\", \"n\": 1.50, \"o\": {\"p\": [1, null]}, \"none\": null, \"\": true}";
        let wanted = ["a x\n", "n 1.50", "o {\"p\": [1, null]}", "row 4: the value is null", " true"];
        assert_eq!(shown(text, &Choice::default()), wanted);
        let as_json = Choice { key: None, value: ValueChoice::Row };
        let wanted = ["a \"x\\n\"", "n 1.50", "o {\"p\": [1, null]}", "none null", " true"];
        assert_eq!(shown(text, &as_json), wanted);
        let named = Choice { key: Some("a".into()), value: ValueChoice::Row };
        assert!(items(text, &named).unwrap_err().contains("a dictionary"));
    }

    #[test]
    fn an_array_has_a_row_an_object_and_numbers_stay_as_they_are_written() {
        let text = r#"[{"k": 12345678901234567890, "v": "x"}, {"v": 1e400, "k": "b"}, 7, {"k": 1}, {"k": null, "v": 1}]"#;
        let by_name = Choice { key: Some("k".into()), ..Choice::default() };
        let found = shown(text, &by_name);
        assert_eq!(found[..2], ["12345678901234567890 x", "b 1e400"]);
        assert!(found[2].starts_with("row 3: it is no JSON object"), "{found:?}");
        assert!(found[3].starts_with("row 4: what is the value?"), "{found:?}");
        assert_eq!(found[4], "row 5: the key is null");
        let whole = Choice { key: Some("k".into()), value: ValueChoice::Row };
        assert_eq!(
            shown(r#"[{"k": 1.0, "deep": {"b": 1, "a": 2}}]"#, &whole),
            [r#"1.0 {"k":1.0,"deep":{"b": 1, "a": 2}}"#]
        );
    }

    #[test]
    fn other_documents_are_refused_with_a_hint() {
        let none = Choice::default();
        assert!(items("17", &none).unwrap_err().contains("an object (a dictionary) or an array"));
        assert!(items("{\"a\": 1}\n{\"b\": 2}", &none).unwrap_err().contains("it is ndjson"));
        assert!(items("[{\"a\": 1, ", &none).unwrap_err().contains("EOF"));
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(ROW_BYTES_MAX));
        assert!(items(&long, &none).unwrap_err().contains("more than 1 MiB"));
    }

    #[test]
    fn reading_ends_when_nobody_wants_more() {
        for text in
            [r#"{"a": 1, "b": 2, "c": 3}"#, r#"[{"k": 1, "v": 2}, {"k": 3, "v": 4}, {"k": 5, "v": 6}]"#]
        {
            let mut seen = 0;
            let sink: Sink<'_> = &mut |_| {
                seen += 1;
                if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            read(text.as_bytes(), &Choice::default(), sink).unwrap();
            assert_eq!(seen, 2);
        }
    }
}
