//! `dump` and `load ndjson`: what comes out goes in again, whatever it is.

use std::collections::BTreeMap;

use crate::support::ring::Ring;

/// Keys and values of all bytes, as a dump would have them.
fn odd_records() -> String {
    let mut random = fastrand::Rng::with_seed(7);
    let mut lines = String::new();
    for number in 0..300 {
        let mut bytes = |length: usize| (0..length).map(|_| random.u8(..)).collect::<Vec<u8>>();
        let key = [&[number as u8, (number / 256) as u8][..], &bytes(number % 40)].concat();
        let value = bytes(number * 7 % 2000);
        chordata_loaders::dump::write(&mut lines, &chordata_loaders::PairKey::Bytes(key), &value, None, &[]);
        lines.push('\n');
    }
    for (key, value) in [("@at", "x"), ("\u{0}\n\"", "\r\n\t"), ("é", ""), ("*", "*")] {
        let key = chordata_loaders::PairKey::Bytes(key.as_bytes().to_vec());
        chordata_loaders::dump::write(&mut lines, &key, value.as_bytes(), None, &[]);
        lines.push('\n');
    }
    let id = chordata_loaders::PairKey::Id("0x2a".to_owned());
    chordata_loaders::dump::write(&mut lines, &id, b"answer", None, &[]);
    lines + "\n"
}

/// Key to value, both as they are written.
fn records(dump: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |names: [&str; 3]| {
            let found = names.into_iter().filter_map(|name| Some((name, row.get(name)?))).next();
            let (name, value) = found.unwrap_or_else(|| panic!("{line}"));
            format!("{}={value}", name.replace("key_id", "id"))
        };
        (field(["key", "key_base64", "key_id"]), field(["value", "value_base64", "none"]))
    };
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for line in dump.lines().filter(|line| !line.is_empty()) {
        let (key, value) = pair(line);
        assert!(found.insert(key, value).is_none(), "twice: {line}");
    }
    found
}

fn round_trip(ring: &Ring, other: &Ring) {
    let lines = odd_records();
    ring.file("odd.ndjson", &lines);
    ring.run(&["load", "ndjson", "odd.ndjson"]).exits(0).says("305 loaded");
    assert_eq!(ring.run(&["get", "@0x2a"]).exits(0).out, "answer");
    assert_eq!(ring.run(&["get", "@@at"]).exits(0).out, "x");
    let first = ring.run(&["dump"]).exits(0);
    let path = other.home().join("all.ndjson");
    std::fs::write(&path, &first.bytes).unwrap();
    other.run(&["load", "ndjson", "all.ndjson"]).exits(0).says("305 loaded");
    other.run(&["dump", "-o", "again.ndjson"]).exits(0).says("305 keys of");
    let again = std::fs::read_to_string(other.home().join("again.ndjson")).unwrap();
    let found = records(&first.out);
    assert_eq!(found.len(), 305);
    assert_eq!(records(&again), found);
    let id = found.keys().find(|key| key.starts_with("id=")).cloned();
    let mut wanted = records(&lines);
    // A literal id has as many digits as the ring.
    wanted.retain(|key, _| !key.starts_with("id="));
    let mut found = found;
    found.retain(|key, _| Some(key) != id.as_ref());
    assert_eq!(found, wanted);
}

#[test]
fn everything_comes_back_exactly_also_from_another_kind_of_cluster() {
    round_trip(&Ring::with_chains(3, 3, "memory"), &Ring::single(2));
    round_trip(&Ring::in_eventual_mode(3, 2, "memory"), &Ring::start(1));
}

#[test]
fn a_dump_has_every_range_of_a_large_cluster_once_while_it_is_written_to() {
    let ring = Ring::with_chains(5, 3, "memory");
    let rows: String = (0..20_000).map(|number| format!("key {number},{number:050}\n")).collect();
    ring.file("rows.csv", &format!("k,v\n{rows}"));
    ring.run(&["load", "csv", "rows.csv"]).exits(0);
    let node = ring.nodes[1].address.clone();
    let mut load = crate::support::chordata(ring.home(), &["--node", &node, "load", "csv", "rows.csv"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let dumped = ring.run(&["dump"]).exits(0).remarks("20000 keys of");
    assert_eq!(records(&dumped.out).len(), 20_000);
    assert!(load.wait().unwrap().success());
    ring.run(&["dump", "-o", "missing/all.ndjson"]).exits(1).remarks("missing/all.ndjson cannot be written");
}

#[test]
fn what_ends_by_itself_ends_at_the_same_moment_where_it_is_loaded() {
    let (ring, other) = (Ring::with_chains(3, 3, "memory"), Ring::single(1));
    ring.run(&["put", "soon", "x", "--ttl", "1h"]).exits(0);
    ring.run(&["put", "never", "y"]).exits(0);
    let ends = |ring: &Ring| {
        let rows = ring.run(&["dump"]).exits(0).json_lines();
        assert_eq!(rows.len(), 2);
        let row = rows.iter().find(|row| row["key"] == "soon").unwrap();
        assert!(rows.iter().any(|row| row["key"] == "never" && row.get("expires_at_ms").is_none()));
        row["expires_at_ms"].as_u64().unwrap()
    };
    let before = ends(&ring);
    let dumped =
        ring.run(&["dump"]).exits(0).out + "{\"key\":\"over\",\"value\":\"z\",\"expires_at_ms\":1}\n";
    other.file("all.ndjson", &dumped);
    other.run(&["load", "ndjson", "all.ndjson"]).exits(0).says("2 loaded").says("1 skipped");
    // The time to live is counted from when the write is decided: that is a moment later.
    let after = ends(&other);
    assert!((before..before + 30_000).contains(&after), "{before} and {after}");
}
