//! Tables: what is wrong with one is said, and the real ones load.

use std::path::Path;

use crate::processes::Site;

#[test]
fn a_table_that_is_not_there_or_is_wrong_leaves_all_peers_free() {
    let tables = tempfile::tempdir().unwrap();
    let site = Site::start(&["alice", "bob", "carol"], tables.path());
    let setup = || site.peer_command(&["setup-dht", "alice", "3", "1950"]);
    setup().exits(1).says("FAILURE: alice did not load 1950").says("there is no file");
    std::fs::write(tables.path().join("details-1950.csv"), "ID,STATE\n1,TEXAS\n").unwrap();
    setup().exits(1).says("there is no column EVENT_ID");
    std::fs::write(tables.path().join("details-1950.csv"), "EVENT_ID,STATE\n1,TEXAS\n2,OHIO,more\n").unwrap();
    setup().exits(1).says("line 3");
    site.will_agree();
    assert_eq!(site.those("Free").len(), 3);
    assert!(["alice", "bob", "carol"].iter().all(|name| site.is_erased(name)));
    // An event that comes twice is one record.
    std::fs::write(tables.path().join("details-1950.csv"), "EVENT_ID,STATE\n1,TEXAS\n2,OHIO\n1,IOWA\n")
        .unwrap();
    let ran = setup().exits(0);
    assert!(ran.out.contains("2 storm events of 1950 on 3 peers"), "{}", ran.out);
}

#[test]
fn real_years_load_with_their_bare_carriage_returns_and_odd_bytes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tables = root.join("../shared/data/storm");
    if !tables.join("details-1950.csv").exists() {
        eprintln!("left out: 3 real years of storm events, since ../shared/data/storm is not there");
        return;
    }
    let site = Site::start(&["alice", "bob", "carol", "dave"], &tables);
    for year in ["1950", "1951", "1952"] {
        let text = std::fs::read(tables.join(format!("details-{year}.csv"))).unwrap();
        let lines =
            text.split(|byte| *byte == b'\r' || *byte == b'\n').filter(|line| !line.is_empty()).count();
        let report = site.report(&["setup-dht", "bob", "3", year]);
        assert_eq!(report["records"].as_u64().unwrap() as usize, lines - 1, "{year}");
        let free = site.those("Free").remove(0);
        let found = site.report(&["query-dht", &free]);
        assert_eq!(found["fields"]["YEAR"], year);
        assert_eq!(found["fields"].as_object().unwrap().len(), 14);
        site.peer_command(&["teardown-dht", "bob"]).exits(0);
    }
}
