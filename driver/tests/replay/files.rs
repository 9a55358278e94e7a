//! What is in the file: right and wrong answers, mistakes, keys of all kinds.

use std::process::Stdio;

use crate::INPUT;
use crate::support::ring::Ring;
use crate::support::{chordata, eventually, run};

#[test]
fn the_input_of_the_repository_is_answered_right() {
    let ring = Ring::start(3);
    ring.file("input.txt", INPUT);
    ring.run(&["replay"]).exits(0).says("60 operations: 30 puts, 30 gets, 0 deletes; 30 of 30 gets right");
    let ran = ring.run(&["replay", "--quiet"]).exits(0).says("30 of 30 gets right");
    assert_eq!(ran.out.lines().count(), 2, "only the summary:\n{}", ran.out);
}

#[test]
fn an_answer_that_somebody_else_changed_is_shown_with_its_line_and_exit_code_1() {
    let ring = Ring::start(2);
    let filler: String = (0..60).map(|number| format!("get filler{number}\n")).collect();
    ring.file("changed.txt", &format!("# the last line is 63\nput a 1\n{filler}get a\n"));
    let node = ["--node", &ring.nodes[0].address];
    let mut replay =
        chordata(ring.home(), &[&node[..], &["replay", "changed.txt", "--interval", "50"]].concat());
    let replay = replay.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The replay goes on for three seconds after its put.
    eventually("the replay has put its value", || ring.run(&["get", "a"]).out == "1");
    ring.run(&["put", "a", "2"]).exits(0);
    let output = replay.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
    let line = out.lines().find(|line| line.contains("WRONG")).unwrap_or_else(|| panic!("{out}"));
    assert!(line.trim_start().starts_with("63 ") && line.contains("2 (WRONG: expected 1)"), "{line}");
    assert!(out.contains("0 of 61 gets right, 1 wrong, 60 not judged"), "{out}");
    assert!(err.contains("1 answer wrong: line 63"), "{err}");
}

#[test]
fn a_malformed_line_is_exit_code_2_with_line_and_column_and_nothing_is_sent() {
    let ring = Ring::start(1);
    for (text, place, reason) in [
        ("put a 1\nput b 2\nputt c 3\n", "bad.txt:3:1", "unknown operation `putt`"),
        ("put a 1\n  get\n", "bad.txt:2:6", "without a key"),
        ("put a 1\nput b\n", "bad.txt:2:6", "without a value"),
        ("put a 1\nget a b\n", "bad.txt:2:7", "takes one key"),
        ("put a 1\nput \"b 2\n", "bad.txt:2:5", "does not end"),
        ("put a 1\nput @0xg 2\n", "bad.txt:2:5", "is not an id"),
        ("put a 1\nput \"\" 2\n", "bad.txt:2:5", "the key is empty"),
    ] {
        ring.file("bad.txt", text);
        ring.run(&["replay", "bad.txt"]).exits(2).remarks(place).remarks(reason);
    }
    assert_eq!(ring.keys(), 0, "not even the good lines were sent");
    ring.run(&["replay", "missing.txt"]).exits(2).remarks("missing.txt");
    ring.run(&["replay"]).exits(2).remarks("input.txt");
    // A mistake is found although nobody could be asked.
    run(ring.home(), &["--node", "127.0.0.1:1", "replay", "bad.txt"]).exits(2).remarks("bad.txt:2:5");
}

#[test]
fn an_id_outside_of_the_ring_is_a_mistake_of_the_file() {
    let ring = Ring::start_with(1, &["--bits", "8"]);
    ring.file("bad.txt", "put a 1\nput @255 2\nput @256 3\n");
    ring.run(&["replay", "bad.txt"]).exits(2).remarks("bad.txt:3:5").remarks("ring of 8 bits");
    assert_eq!(ring.keys(), 0);
}

#[test]
fn literal_ids_are_served_where_they_are_and_quotes_comments_and_deletes_work() {
    let ring = Ring::start(3);
    let text = "\
        PUT @0x0 first           # at the first node's own place\n\
        put @42 'the answer'\r\n\
        get @0x2a                # the same id\n\
        put @@42 \"no id\"\n\
        get \"@42\"\n\
        put 'New York' \"The\\tBig\\x20Apple\"\n\
        get \"New York\"\n\
        delete 'New York'\n\
        get 'New York'\n\
        put empty \"\"\n\
        get empty\n\
        delete never\n\
        \n\
        get never\n";
    ring.file("all.txt", text);
    let ran = ring.run(&["replay", "all.txt", "--json"]).exits(0);
    let lines = ran.json_lines();
    assert_eq!(lines[0]["owner"], ring.nodes[0].address.as_str(), "id 0 is the first node's");
    let found = |line: u64| {
        let done = lines.iter().find(|done| done["line"] == line).expect("a record a line");
        (done["verdict"].as_str().expect("a verdict").to_owned(), done["found"].clone())
    };
    assert_eq!(found(3), ("right".to_owned(), "the answer".into()));
    assert_eq!(found(5), ("right".to_owned(), "no id".into()));
    assert_eq!(found(7), ("right".to_owned(), "The\\tBig Apple".into()), "shown escaped");
    assert_eq!(found(9), ("right".to_owned(), serde_json::Value::Null), "deleted");
    assert_eq!(found(11), ("right".to_owned(), "".into()));
    assert_eq!(found(14), ("right".to_owned(), serde_json::Value::Null), "a delete is a write, too");
}

#[test]
fn what_the_replay_did_not_write_is_reported_and_not_judged() {
    let ring = Ring::start(1);
    ring.run(&["put", "old", "from before"]).exits(0);
    ring.file("gets.txt", "get old\nget nothing\nput old new\nget old\n");
    let ran = ring.run(&["replay", "gets.txt"]).exits(0).says("1 of 3 gets right, 2 not judged");
    assert!(ran.out.contains("from before (not written by this replay)"), "{}", ran.out);
    assert!(ran.out.contains("nothing (not written by this replay)"), "{}", ran.out);
}

#[test]
fn an_empty_file_is_nothing_to_do() {
    let ring = Ring::start(1);
    ring.file("empty.txt", "# nothing\n\n");
    ring.run(&["replay", "empty.txt"]).exits(0).says("0 operations");
}
