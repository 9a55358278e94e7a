//! What an input file may say, what it may not, and that the one which people see first does what it promises.

use chordata_protocol::id::in_half_open;
use chordata_protocol::key::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use chordata_protocol::{Id, Value};
use proptest::prelude::*;

use super::*;
use crate::suggest::rendered;

fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> InputOperation {
    InputOperation::Put { key: Key::new(key), value: Value::from(value) }
}

fn get(key: impl Into<Vec<u8>>) -> InputOperation {
    InputOperation::Get { key: Key::new(key) }
}

fn operations(text: &str) -> Vec<InputOperation> {
    parse(text, "input.txt", Space::default()).unwrap().into_iter().map(|line| line.operation).collect()
}

fn refusal(text: &str) -> String {
    let error = parse(text, "input.txt", Space::default()).expect_err(text);
    rendered(&error)
}

#[test]
fn operations_are_read_with_their_line_numbers() {
    let text = "\u{feff}# all three\r\n\r\nput 12 2\r\n  GET\t12   # read it\r\nDelete 12";
    let lines = parse(text, "input.txt", Space::default()).unwrap();
    assert_eq!(
        lines,
        [
            Line { number: 3, operation: put("12", "2") },
            Line { number: 4, operation: get("12") },
            Line { number: 5, operation: InputOperation::Delete { key: Key::new("12") } },
        ]
    );
    assert_eq!(lines[0].operation.key(), &Key::new("12"));
    assert_eq!(operations(""), [], "an empty file asks for nothing");
}

#[test]
fn quotes_join_blanks_and_escapes_name_any_byte() {
    assert_eq!(operations(r#"put "New York" 'The "Big" \Apple'"#), [put("New York", r#"The "Big" \Apple"#)]);
    assert_eq!(
        operations(r#"put "a\"\\\n\r\t\x00\xff\u{e9}" """#),
        [put(b"a\"\\\n\r\t\x00\xff\xc3\xa9".as_slice(), "")]
    );
    assert_eq!(
        operations(r#"put it's C:\dir#1{"a":2}"#),
        [put("it's", r#"C:\dir#1{"a":2}"#)],
        "quotes, backslashes and # inside an unquoted word are themselves"
    );
    assert_eq!(operations("get '#' # the key #"), [get("#")]);
    assert_eq!(operations("put a @5"), [put("a", "@5")], "a value is never an id");
}

#[test]
fn an_at_sign_begins_a_literal_id_unless_doubled_or_quoted() {
    let literal = |number| InputOperation::Get { key: Key::Literal(Id::from_u128(number)) };
    assert_eq!(operations("get @0x2a\nget @42"), [literal(42), literal(42)]);
    assert_eq!(operations("get @@home\nget \"@home\"\nget '@1'"), [get("@home"), get("@home"), get("@1")]);

    let report = refusal("get 1\nget @x1");
    assert!(report.contains("`@x1` is not an id") && report.contains("[input.txt:2:5]"), "{report}");
    assert!(report.contains("double the `@`"), "{report}");
    refusal("get @");
    let small = parse("get @8", "input.txt", Space::new(3).unwrap()).unwrap_err();
    assert!(rendered(&small).contains("the id 8 is outside a ring of 3 bits"), "{small}");
}

#[test]
fn malformed_lines_are_refused_where_they_are_malformed() {
    for (text, message, place, help) in [
        ("pt 1 2", "unknown operation `pt`: did you mean `put`?", "1:1", "a line is `put KEY VALUE`"),
        ("set 1 2", "unknown operation `set`: did you mean `put`?", "1:1", ""),
        ("rm 1", "unknown operation `rm`: did you mean `delete`?", "1:1", ""),
        ("1 2", "unknown operation `1`", "1:1", "`#` begins a comment"),
        ("put 1", "`put` without a value", "1:6", "an empty value is written \"\""),
        ("put", "`put` without a key", "1:4", "a line is"),
        ("get # 12", "`get` without a key", "1:4", ""),
        (
            "put Paris the capital",
            "`put` takes one key and one value, but 3 words follow it",
            "1:15",
            "put Paris \"the capital\"",
        ),
        ("get New York", "`get` takes one key, but 2 words follow it", "1:9", "get \"New York\""),
        ("delete a 'b'", "`delete` takes one key, but 2 words follow it", "1:10", "stands in quotes"),
        ("put a \"b", "a quoted word does not end", "1:7", "end the word with \""),
        ("put a 'b", "a quoted word does not end", "1:7", "end the word with '"),
        (r#"put a "\q""#, r"`\q` is no escape", "1:8", r"\n \r \t \xHH"),
        (r#"put a "\x4""#, r"`\x4` is no escape", "1:8", "two hexadecimal digits"),
        (r#"put a "\u{d800}""#, r"`\u` is no escape", "1:8", "Unicode"),
        ("put a \"b\\", "`\\` is no escape", "1:9", ""),
        ("put a \"b\"c", "text follows the closing quote of \"b\"", "1:10", "put a blank"),
        ("put \"\" x", "the key is empty", "1:5", "1 to 4096 bytes"),
        ("put\u{a0}a b", "the character U+00A0 stands outside of quotes", "1:4", "quotes"),
        ("put a b\u{0}", "the character U+0000 stands outside of quotes", "1:8", "quotes"),
        ("get a\n\n  get 'ü' x", "`get` takes one key", "3:11", ""),
    ] {
        let report = refusal(text);
        assert!(report.contains(message), "{text}: {report}");
        assert!(report.contains(&format!("[input.txt:{place}]")), "{text}: {report}");
        assert!(report.contains(help), "{text}: {report}");
    }
}

#[test]
fn keys_and_values_over_the_limits_are_refused_and_not_printed() {
    let (key, value) = ("k".repeat(KEY_BYTES_MAX), "v".repeat(VALUE_BYTES_MAX));
    assert_eq!(operations(&format!("put {key} {value}")).len(), 1, "the limits themselves are possible");
    let report = refusal(&format!("put {key}k x"));
    assert!(report.contains("the key has 4097 bytes") && report.contains("[input.txt:1:5]"), "{report}");
    assert!(report.len() < 1500, "{}", report.len());
    let report = refusal(&format!("put x {value}v"));
    assert!(report.contains("the value has 1048577 bytes") && report.contains("[input.txt:1:7]"), "{report}");
    assert!(report.len() < 1500, "{}", report.len());
}

#[test]
fn all_malformed_lines_are_told_and_of_a_strange_file_the_first_ten() {
    let report = refusal("put 1\nput 1 1\nget\n");
    assert!(report.contains("input.txt: 2 mistakes"), "{report}");
    assert!(report.contains("[input.txt:1:6]") && report.contains("[input.txt:3:4]"), "{report}");
    let report = refusal(&"\u{1}\u{2}garbage\n".repeat(500));
    assert!(report.contains("500 mistakes; the first 10 are shown"), "{report}");
    assert!(!report.contains('\u{1}'), "{report}");
}

fn key_strategy() -> impl Strategy<Value = Key> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..20).prop_map(Key::new),
        any::<String>().prop_filter("keys are not empty", |text| !text.is_empty()).prop_map(Key::new),
        "[@#\"' \\\\a]{1,5}".prop_map(Key::new),
        any::<[u8; 20]>().prop_map(|bytes| Key::Literal(Id::from_bytes(bytes))),
    ]
}

fn operation_strategy() -> impl Strategy<Value = InputOperation> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        any::<String>().prop_map(String::into_bytes),
        "[@#\"' \\\\a]{0,5}".prop_map(String::into_bytes),
    ];
    (key_strategy(), bytes, 0..3).prop_map(|(key, value, verb)| match verb {
        0 => InputOperation::Put { key, value: Value::from(value) },
        1 => InputOperation::Get { key },
        _ => InputOperation::Delete { key },
    })
}

proptest! {
    #[test]
    fn what_is_rendered_reads_back(all in prop::collection::vec(operation_strategy(), 0..10)) {
        let text: String = all.iter().map(|operation| render(operation) + "\n").collect();
        prop_assert_eq!(operations(&text), all);
    }

    #[test]
    fn no_text_is_too_strange_to_answer(text in any::<String>(), words in "[a-z\"'\\\\#@ \r\n]{0,60}") {
        for text in [text, words] {
            if let Err(error) = parse(&text, "input.txt", Space::default()) {
                prop_assert!(rendered(&error).contains("[input.txt:"));
            }
        }
    }
}

/// The file at the repository's root, which the demo replays.
const FIRST_SEEN: &str = include_str!("../../../input.txt");

#[test]
fn the_first_file_begins_with_the_classic_ten() {
    let classic = ["1", "12", "123", "1234", "12345", "123456", "234567", "345678", "506789", "767890"];
    let puts = classic.iter().zip(1..).map(|(key, value): (_, u32)| put(*key, value.to_string()));
    let gets = classic.iter().map(|key| get(*key));
    assert_eq!(operations(FIRST_SEEN)[..20], puts.chain(gets).collect::<Vec<_>>());
}

#[test]
fn every_server_of_a_ring_of_up_to_sixteen_holds_a_key_of_the_first_file() {
    let space = Space::default();
    let operations = operations(FIRST_SEEN);
    let written: Vec<&Key> = operations
        .iter()
        .filter(|operation| matches!(operation, InputOperation::Put { .. }))
        .map(InputOperation::key)
        .collect();
    // By bisection, servers stand at sixteenths of the ring and each owns one or several whole sixteenths.
    let mark = |sixteenth: u8| {
        let mut bytes = [0; 20];
        bytes[0] = (sixteenth % 16) << 4;
        Id::from_bytes(bytes)
    };
    for sixteenth in 0..16 {
        let held = written
            .iter()
            .filter(|key| in_half_open(mark(sixteenth), key.id(space), mark(sixteenth + 1)))
            .count();
        assert!(held > 0, "no key between {} and {}", mark(sixteenth), mark(sixteenth + 1));
    }
    for key in &written {
        assert!(operations.contains(&InputOperation::Get { key: (*key).clone() }), "{key} is never read");
    }
}
