//! A JSON object a line. Empty lines are none; what `chordata dump` has written comes back exactly ([`dump`](crate::dump)).

use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;

use crate::choice::Choice;
use crate::{Item, Position, ROW_BYTES_MAX, Sink, SourceError, json};

/// Makes pairs of a file. A line that is no object, or has not the columns, is a reject.
///
/// # Errors
/// When it cannot be read.
pub fn read(input: impl Read, choice: &Choice, sink: Sink<'_>) -> Result<(), SourceError> {
    let mut input = BufReader::with_capacity(256 * 1024, input);
    if input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    let (mut line, mut number, mut row) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let length = next_line(&mut input, &mut line)?;
        if length == 0 {
            return Ok(());
        }
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) && length == line.len() {
            continue;
        }
        row += 1;
        let position = Position { row, line: Some(number) };
        let item = match std::str::from_utf8(&line) {
            _ if length > line.len() => {
                let reason = format!("the line has more than {} MiB", ROW_BYTES_MAX / 1024 / 1024);
                Item::reject(position, reason, &String::from_utf8_lossy(&line[..1000]))
            }
            Ok(text) => json::row(text.trim_end(), choice, position),
            Err(error) => {
                let reason = format!("byte {} of the line is no UTF-8", error.valid_up_to() + 1);
                Item::reject(position, reason, &String::from_utf8_lossy(&line))
            }
        };
        if let ControlFlow::Break(()) = sink(item) {
            return Ok(());
        }
    }
}

/// Reads a line with its end, as much of it as is allowed; how long it is.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<usize, SourceError> {
    let mut length = 0;
    loop {
        let there = input.fill_buf()?;
        if there.is_empty() {
            return Ok(length);
        }
        let end = there.iter().position(|byte| *byte == b'\n');
        let part = &there[..end.map_or(there.len(), |end| end + 1)];
        let room = ROW_BYTES_MAX - line.len();
        line.extend_from_slice(&part[..part.len().min(room)]);
        length += part.len();
        let count = part.len();
        input.consume(count);
        if end.is_some() {
            return Ok(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Pair, PairKey, ValueChoice, dump};

    fn items(bytes: &[u8], choice: &Choice) -> Vec<Item> {
        let mut items = Vec::new();
        let sink: Sink<'_> = &mut |item| {
            items.push(item);
            ControlFlow::Continue(())
        };
        read(bytes, choice, sink).unwrap();
        items
    }

    fn shown(item: &Item) -> String {
        match item {
            Item::Pair(Pair { key: PairKey::Bytes(key), value, position, .. }) => {
                format!("{position}: {}={}", key.escape_ascii(), value.escape_ascii())
            }
            Item::Pair(Pair { key: PairKey::Id(id), value, position, .. }) => {
                format!("{position}: @{id}={}", value.escape_ascii())
            }
            Item::Reject(reject) => format!("{}: {}", reject.position, reject.reason),
        }
    }

    #[test]
    fn lines_are_rows_and_wrong_ones_are_rejects() {
        let mut text =
            b"\xef\xbb\xbf{\"k\":\"a\",\"v\":1}\r\n\n{\"k\":\"b\",\"v\":{\"x\":[]}}\n{\"k\":\n".to_vec();
        text.extend_from_slice(b"{\"k\":\"\xff\",\"v\":1}\n{\"k\":true,\"v\":\"end\"}");
        let found: Vec<String> = items(&text, &Choice::default()).iter().map(shown).collect();
        assert_eq!(found[..2], ["line 1: a=1", "line 3: b={\\\"x\\\":[]}"]);
        assert!(found[2].starts_with("line 4: it is no JSON object"), "{found:?}");
        assert_eq!(found[3..], ["line 5: byte 7 of the line is no UTF-8", "line 6: true=end"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let mut text = vec![b'x'; ROW_BYTES_MAX + 5];
        text.extend_from_slice(b"\n{\"k\":\"a\",\"v\":\"b\"}\n");
        let found: Vec<String> = items(&text, &Choice::default()).iter().map(shown).collect();
        assert_eq!(found, ["line 1: the line has more than 1 MiB", "line 2: a=b"]);
    }

    #[test]
    fn a_dump_is_known_by_its_names_unless_columns_are_chosen() {
        let found = |text: &str| shown(&items(text.as_bytes(), &Choice::default())[0]);
        assert_eq!(found(r#"{"key":1,"value":[2]}"#), "line 1: 1=[2]", "any two columns");
        assert_eq!(found(r#"{"value":"v","key":"k"}"#), "line 1: k=v", "in any order");
        assert_eq!(
            found(r#"{"city":"v","name":"k"}"#),
            "line 1: v=k",
            "the first of any other two is the key"
        );
        assert_eq!(found(r#"{"value":"v","key_id":"0x2a"}"#), "line 1: @0x2a=v");
        assert_eq!(found(r#"{"key":"k","value":"v","reason":"r","position":"line 7"}"#), "line 1: k=v");
        assert!(found(r#"{"key_base64":"!","value":"v"}"#).contains("no base64"));
        assert!(found(r#"{"key":"k","value_base64":7}"#).contains("is text in a dump"));
        assert!(found(r#"{"key":"k","value":"v","expires_at_ms":"soon"}"#).contains("milliseconds"));
        let row = Choice { key: Some("key_base64".into()), value: ValueChoice::Row };
        let line = r#"{"key_base64":"!","value":"v"}"#;
        assert_eq!(shown(&items(line.as_bytes(), &row)[0]), format!("line 1: !={}", line.escape_default()));
    }

    proptest! {
        #[test]
        fn what_is_dumped_is_read_back_exactly(
            pairs in prop::collection::vec((
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 1..40).prop_map(PairKey::Bytes),
                    "\\PC{1,20}".prop_map(|text| PairKey::Bytes(text.into_bytes())),
                    "0x[0-9a-f]{1,40}".prop_map(PairKey::Id),
                ],
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..200),
                    "[\\x00-\\x7fé\u{2028}]{0,30}".prop_map(String::into_bytes),
                ],
                prop::option::of(any::<u64>()),
            ), 0..20)
        ) {
            let mut text = String::new();
            for (key, value, expires) in &pairs {
                dump::write(&mut text, key, value, *expires, &[]);
                text.push('\n');
            }
            let wanted: Vec<Item> = pairs.into_iter().zip(1..).map(|((key, value, expires_at_ms), number)| {
                Item::Pair(Pair { key, value, expires_at_ms, position: Position { row: number, line: Some(number) } })
            }).collect();
            prop_assert_eq!(items(text.as_bytes(), &Choice::default()), wanted);
        }
    }
}
