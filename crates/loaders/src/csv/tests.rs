//! What CSV files look like in the real world.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;

use super::*;
use crate::{Pair, PairKey, Reject, ValueChoice};

fn items(bytes: &[u8], options: &Options, choice: &Choice) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let sink: Sink<'_> = &mut |item| {
        items.push(item);
        ControlFlow::Continue(())
    };
    read(bytes, options, choice, sink).map_err(|error| error.to_string())?;
    Ok(items)
}

fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    pairs_of(bytes, &Options::default(), &Choice::default())
}

fn pairs_of(bytes: &[u8], options: &Options, choice: &Choice) -> Vec<(String, String)> {
    let pair = |item| match item {
        Item::Pair(Pair { key: PairKey::Bytes(key), value, .. }) => {
            (String::from_utf8(key).unwrap(), String::from_utf8(value).unwrap())
        }
        other => panic!("{other:?}"),
    };
    items(bytes, options, choice).unwrap().into_iter().map(pair).collect()
}

fn two(one: (&str, &str), other: (&str, &str)) -> Vec<(String, String)> {
    [one, other].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[test]
fn every_line_end_ends_a_line_and_mixed_ones_too() {
    let wanted = two(("a", "1"), ("b", "2"));
    for end in ["\n", "\r\n", "\r"] {
        let file = ["key,value", "a,1", "b,2", ""].join(end);
        assert_eq!(pairs(file.as_bytes()), wanted, "{end:?}");
        assert_eq!(pairs(file.trim_end().as_bytes()), wanted, "{end:?}, none at the end");
    }
    assert_eq!(pairs(b"key,value\ra,1\r\n\r\n\nb,2"), wanted);
    assert_eq!(pairs(b"\xef\xbb\xbfkey,value\na,1\nb,2"), wanted, "a byte order mark");
}

#[test]
fn quotes_hold_line_ends_delimiters_and_quotes() {
    let file = b"k,v\n\"a\nb\",\"1,\r2\"\n\"\"\"c\"\"\",\" x \"\n";
    assert_eq!(pairs(file), two(("a\nb", "1,\r2"), ("\"c\"", " x ")));
    let found = items(b"k,v\n\"a\n\nb\",1\rc,2\n\"d,3\n", &Options::default(), &Choice::default());
    assert_eq!(found.unwrap_err(), "line 6: a quote is opened in this row and never closed");
}

#[test]
fn the_delimiter_is_found_said_by_the_file_or_given() {
    let wanted = two(("a", "1,5"), ("b", "2,5"));
    for (file, delimiter) in [
        ("k;v\na;1,5\nb;2,5\n", None),
        ("k\tv\ra\t1,5\rb\t2,5", None),
        ("k|v\na|1,5\nb|2,5\n", None),
        ("sep=;\r\nk;v\r\na;1,5\r\nb;2,5\r\n", None),
        ("k:v\na:1,5\nb:2,5\n", Some(b':')),
    ] {
        let options = Options { delimiter, ..Options::default() };
        assert_eq!(pairs_of(file.as_bytes(), &options, &Choice::default()), wanted, "{file}");
    }
}

#[test]
fn rows_know_their_lines_and_wrong_ones_are_rejects() {
    let file = b"\rk,v\r\n\r\n\"a\n\",1\rb,2,3\rc\rd,4";
    let found = items(file, &Options::default(), &Choice::default()).unwrap();
    let positions: Vec<(u64, u64)> =
        found.iter().map(Item::position).map(|at| (at.row, at.line.unwrap())).collect();
    assert_eq!(positions, [(1, 4), (2, 6), (3, 7), (4, 8)]);
    let Item::Reject(Reject { reason, row, .. }) = &found[1] else { panic!("{found:?}") };
    assert_eq!((reason.as_str(), row.as_str()), ("it has 3 fields, and there are 2 columns", "b,2,3"));
    let Item::Reject(Reject { reason, .. }) = &found[2] else { panic!("{found:?}") };
    assert_eq!(reason, "it has 1 field, and there are 2 columns");
}

#[test]
fn text_in_another_encoding_is_an_error_that_names_line_byte_and_flag() {
    let file = b"key,value\nMexico,1\nCura\xe7ao,2\n";
    let error = items(file, &Options::default(), &Choice::default()).unwrap_err();
    assert!(error.starts_with("line 3: byte 5 of column key is 0xe7, which is no UTF-8"), "{error}");
    assert!(error.contains("--encoding windows-1252"), "{error}");
    let options = Options { encoding: Encoding::Windows1252, ..Options::default() };
    assert_eq!(pairs_of(file, &options, &Choice::default()), two(("Mexico", "1"), ("Curaçao", "2")));
    let utf_16 = items(b"\xff\xfek\0,\0", &Options::default(), &Choice::default()).unwrap_err();
    assert!(utf_16.contains("UTF-16"), "{utf_16}");
    // Nobody asked for that column.
    let choice = Choice { key: Some("k".into()), value: ValueChoice::Column(Some("v".into())) };
    let found = pairs_of(b"k,v,note\na,1,\xff\nb,2,\xff\n", &Options::default(), &choice);
    assert_eq!(found, two(("a", "1"), ("b", "2")));
}

#[test]
fn columns_are_chosen_by_name_numbered_without_a_header_or_stored_as_an_object() {
    let choice = Choice { key: Some("id".into()), value: ValueChoice::Row };
    let found = pairs_of(b" name ,id\nx,007\n\"y\"\"\",8\n", &Options::default(), &choice);
    assert_eq!(found, two(("007", r#"{"name":"x","id":"007"}"#), ("8", r#"{"name":"y\"","id":"8"}"#)));
    let options = Options { header: false, ..Options::default() };
    let choice = Choice { key: Some("3".into()), value: ValueChoice::Column(Some("1".into())) };
    assert_eq!(pairs_of(b"1,x,a\n2,y,b\n", &options, &choice), two(("a", "1"), ("b", "2")));
    let error = items(b"", &options, &choice).unwrap_err();
    assert_eq!(error, "it is empty");
    let error = items(
        b"a,a,b\n1,2,3\n",
        &Options::default(),
        &Choice { key: Some("b".into()), value: ValueChoice::Row },
    );
    assert!(error.unwrap_err().contains("several columns are called a"));
}

#[test]
fn a_quote_that_is_not_closed_does_not_take_all_memory() {
    let endless = std::io::Read::chain(&b"k,v\n\"a"[..], std::io::repeat(b'x'));
    let error = read(endless, &Options::default(), &Choice::default(), &mut |_| ControlFlow::Continue(()));
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("line 2: the row that begins here has more than 1 MiB"), "{error}");
}

#[test]
fn a_table_ends_behind_its_first_error() {
    let mut table = Table::new(&b"a,b\n1,2\n3\n4,5\n"[..], &Options::default()).unwrap();
    assert_eq!(table.next().unwrap().unwrap().fields(), ["1", "2"]);
    assert!(table.next().unwrap().unwrap_err().to_string().starts_with("line 3: it has 1 field"));
    assert!(table.next().is_none());
}

/// Gives a byte at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(1).min(self.0.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

proptest! {
    #[test]
    fn what_is_written_with_quotes_is_read_again(
        rows in prop::collection::vec(("[a-z\"\r\n,;é]{1,6}", "[a-z\"\r\n,;é]{0,6}"), 0..20),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        is_slow in any::<bool>(),
    ) {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut file = format!("k,v{end}");
        let mut lines = vec![];
        for (key, value) in &rows {
            let written = file.replace("\r\n", "\n");
            lines.push(1 + written.chars().filter(|c| matches!(c, '\r' | '\n')).count() as u64);
            file += &format!("{},{}{end}", quoted(key), quoted(value));
        }
        let options = Options { delimiter: Some(b','), ..Options::default() };
        let mut found = Vec::new();
        let sink: Sink<'_> = &mut |item| { found.push(item); ControlFlow::Continue(()) };
        if is_slow {
            read(Slow(file.as_bytes()), &options, &Choice::default(), sink).unwrap();
        } else {
            read(file.as_bytes(), &options, &Choice::default(), sink).unwrap();
        }
        let wanted: Vec<Item> = rows.iter().zip(lines).zip(1..).map(|(((key, value), line), row)| Item::Pair(Pair {
            key: PairKey::Bytes(key.clone().into_bytes()),
            value: value.clone().into_bytes(),
            expires_at_ms: None,
            position: Position { row, line: Some(line) },
        })).collect();
        prop_assert_eq!(found, wanted);
    }
}
