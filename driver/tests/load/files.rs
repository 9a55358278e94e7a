//! Tables and dictionaries.

use std::time::Duration;

use crate::support::ring::Ring;
use crate::support::{chordata, run, run_with};

#[test]
fn csv_of_the_real_world_is_stored_and_what_cannot_be_is_told() {
    let ring = Ring::start(3);
    // Bare carriage returns, a byte order mark, semicolons, a quoted line end; a row too short, an empty key.
    let text = "\u{feff}name;value\rBerlin;1\r\"New\nYork\";\"2;3\"\rBonn\r;4\rBerlin;5\r";
    ring.file("cities.csv", text);
    let ran = ring.run(&["load", "csv", "cities.csv"]).exits(1);
    let ran = ran.says("3 loaded").says("2 failed").says("line 5: it has 1 field, and there are 2 columns");
    ran.says("line 6: the key is empty").says("cities.csv.rejects.ndjson");
    assert_eq!(ring.run(&["get", "Berlin"]).exits(0).out, "5", "the last row with a key is what stays");
    assert_eq!(ring.run(&["get", "New\nYork"]).exits(0).out, "2;3");
    assert_eq!(ring.keys(), 2 * 3, "copies of two keys");
    let rejects = std::fs::read_to_string(ring.home().join("cities.csv.rejects.ndjson")).unwrap();
    let lines: Vec<serde_json::Value> =
        rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{rejects}");
    assert_eq!((&lines[0]["row"], &lines[1]["value"]), (&"Bonn".into(), &"4".into()));
    // Mended, the file can be loaded.
    let mended = lines[1].to_string().replace("\"key\":\"\"", "\"key\":\"Bonn\"");
    ring.run_with_input(&["load", "ndjson", "-"], mended.as_bytes()).exits(0).says("1 loaded");
    assert_eq!(ring.run(&["get", "Bonn"]).exits(0).out, "4");
}

#[test]
fn columns_rows_and_dictionaries_become_values() {
    let ring = Ring::start(2);
    ring.file("events.csv", "EVENT_ID,STATE,INJURIES\n10096222,OKLAHOMA,007\n10120412,CURA\u{c7}AO,0\n");
    ring.run(&["load", "csv", "events.csv", "--key", "EVENT_ID", "--value-json"]).exits(0).says("2 loaded");
    let row = ring.run(&["get", "10096222"]).exits(0).json();
    assert_eq!(row, serde_json::json!({"EVENT_ID": "10096222", "STATE": "OKLAHOMA", "INJURIES": "007"}));
    ring.run(&["load", "csv", "events.csv", "--key", "STATE", "--value", "EVENT_ID"]).exits(0);
    assert_eq!(ring.run(&["get", "OKLAHOMA"]).exits(0).out, "10096222");

    ring.file("dictionary.json", r#"{"a": "text", "b": 1.50, "c": {"d": [null]}}"#);
    ring.run(&["load", "json", "dictionary.json"]).exits(0).says("3 loaded");
    assert_eq!(ring.run(&["get", "a"]).exits(0).out, "text");
    assert_eq!(ring.run(&["get", "b"]).exits(0).out, "1.50");
    assert_eq!(ring.run(&["get", "c"]).exits(0).out, r#"{"d": [null]}"#);
    ring.run_with_input(
        &["load", "json", "-", "--key", "k", "--value", "v"],
        br#"[{"x": 1, "v": true, "k": 7}]"#,
    )
    .exits(0);
    assert_eq!(ring.run(&["get", "7"]).exits(0).out, "true");
}

#[test]
fn what_is_too_long_is_a_reject_and_what_is_as_long_as_possible_is_not() {
    let ring = Ring::start(2);
    let (key, value) = ("k".repeat(4096), "v".repeat(1024 * 1024));
    let text = format!("k,v\n{key},{value}\n{key}k,1\na,{value}v\nb,2\n");
    ring.file("long.csv", &text);
    let ran = ring.run(&["load", "csv", "long.csv", "--rejects", "why.ndjson"]).exits(1);
    ran.says("2 loaded").says("line 3: the key has 4097 bytes").says("line 4: the value has 1048577 bytes");
    assert_eq!(ring.run(&["get", &key]).exits(0).out.len(), 1024 * 1024);
    let rejects = std::fs::read_to_string(ring.home().join("why.ndjson")).unwrap();
    assert!(rejects.lines().count() == 2 && rejects.contains(&value), "the rows are there as they were");
}

#[test]
fn rejects_are_never_written_over_the_source() {
    let ring = Ring::start(1);
    let text = "k,v\na,1\n,2\nb\n";
    ring.file("rows.csv", text);
    let at = |name: &str| ring.home().join(name);
    std::os::unix::fs::symlink(at("rows.csv"), at("link.csv")).unwrap();
    std::fs::hard_link(at("rows.csv"), at("same.csv")).unwrap();
    for rejects in ["rows.csv", "./rows.csv", "link.csv", "same.csv"] {
        let ran = ring.run(&["load", "csv", "rows.csv", "--rejects", rejects]).exits(2);
        ran.remarks(&format!("{rejects} is the source itself")).remarks("--rejects");
    }
    // Also where nobody has named either of them.
    std::fs::copy(at("rows.csv"), at("load.rejects.ndjson")).unwrap();
    let node = &ring.nodes[0].address;
    let mut command = chordata(ring.home(), &["--node", node, "load", "csv", "-"]);
    let ran = command.stdin(std::fs::File::open(at("load.rejects.ndjson")).unwrap()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(2) && said.contains("is the source itself"), "{said}");
    for name in ["rows.csv", "load.rejects.ndjson"] {
        assert_eq!(std::fs::read_to_string(at(name)).unwrap(), text);
    }
    assert_eq!(ring.keys(), 0, "and nothing was stored");
    ring.run(&["load", "csv", "rows.csv", "--rejects", "why.ndjson"]).exits(1).says("1 loaded");
}

#[test]
fn a_dry_run_needs_no_cluster_and_shows_what_would_be() {
    let home = tempfile::tempdir().unwrap();
    let rows: String = (0..20_000).map(|number| format!("{number},value {number}\n")).collect();
    std::fs::write(home.path().join("many.csv"), format!("k,v\n{rows}x,y,z\n")).unwrap();
    let ran = run(home.path(), &["load", "csv", "many.csv", "--dry-run"]).exits(1);
    let ran = ran.says("20000 would be loaded").says("1 failed").says("value 4");
    ran.says("line 20002: it has 3 fields, and there are 2 columns");
    let json = run(home.path(), &["--json", "load", "csv", "many.csv", "--dry-run"]).exits(1).json();
    assert_eq!(
        (&json["loaded"], &json["failed"], &json["first"][0]["key"]),
        (&20_000.into(), &1.into(), &"0".into())
    );
    assert!(!home.path().join("many.csv.rejects.ndjson").exists());
}

#[test]
fn what_is_wrong_with_a_source_is_said_before_or_where_it_is() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(home.path().join(name), bytes).unwrap();
    write("three.csv", b"a,b,c\n1,2,3\n");
    write("old.csv", b"k,v\nx,1\ncaf\xe9,2\n");
    let dry = |arguments: &[&str]| run(home.path(), &[arguments, &["--dry-run"]].concat());
    dry(&["load", "csv", "three.csv"]).exits(2).remarks("exactly two columns; there are a, b, c");
    dry(&["load", "csv", "three.csv", "--key", "d", "--value", "a"])
        .exits(2)
        .remarks("no column d; there are a, b, c");
    dry(&["load", "csv", "old.csv"])
        .exits(2)
        .remarks("line 3")
        .remarks("0xe9")
        .remarks("--encoding windows-1252");
    dry(&["load", "csv", "old.csv", "--encoding", "windows-1252"]).exits(0).says("café");
    dry(&["load", "csv", "old.csv", "--encoding", "ebcdic"])
        .exits(2)
        .remarks("utf-8, windows-1252 and latin1");
    dry(&["load", "csv", "missing.csv"]).exits(2).remarks("missing.csv cannot be read");
    dry(&["load", "json", "three.csv"]).exits(2).remarks("three.csv");
    let none = run_with(home.path(), &["load", "csv", "-", "--dry-run"], &[], b"");
    none.exits(2).remarks("standard input: it is empty");
    run(home.path(), &["load", "csv", "-", "--resume"]).exits(2).remarks("--resume is for files");
}

#[test]
fn a_build_without_a_format_says_how_to_get_it() {
    let home = tempfile::tempdir().unwrap();
    for (format, is_there, more) in [
        ("parquet", cfg!(feature = "parquet"), &[][..]),
        ("arrow", cfg!(feature = "arrow"), &[][..]),
        ("sql", cfg!(feature = "sql"), &["--table", "t"][..]),
    ] {
        // Needs no cluster: there is no such file.
        let ran = run(home.path(), &[&["load", format, "x.db", "--dry-run"], more].concat()).exits(2);
        if is_there {
            ran.remarks("x.db");
        } else {
            ran.remarks(&format!("built without {format}")).remarks("make dist");
        }
    }
}

#[test]
fn a_cluster_that_stores_nothing_ends_the_load_and_it_can_go_on_later() {
    let mut ring = Ring::with_chains(3, 3, "interval");
    let rows: String = (0..3000).map(|number| format!("{number},{number}\n")).collect();
    ring.file("rows.csv", &format!("k,v\n{rows}"));
    for place in 1..3 {
        ring.nodes[place].stop();
    }
    let began = std::time::Instant::now();
    let ran = ring.run(&["load", "csv", "rows.csv", "--patience", "2"]);
    assert!(matches!(ran.code, 4 | 5), "{ran:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "it does not try for ever");
    for place in 1..3 {
        ring.start_again(place, 3, "interval");
    }
    ring.becomes_whole();
    ring.run(&["load", "csv", "rows.csv", "--resume"]).exits(0);
    assert_eq!(ring.run(&["get", "2999"]).exits(0).out, "2999");
    let dumped = ring.run(&["dump"]).exits(0);
    assert_eq!(dumped.out.lines().count(), 3000);
}
