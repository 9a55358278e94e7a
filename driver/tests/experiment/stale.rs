//! Stale answers are counted: all that a fake server plants, and no other.

use crate::fake::{Fake, Faults};
use crate::support::run;

/// Requests on one key, one insert and some queries again and again.
fn requests(home: &std::path::Path) {
    let text: String = (0..50)
        .map(|round| format!("insert, Hey Jude, {round}\n{}", "query, Hey Jude\n".repeat(4)))
        .collect();
    std::fs::write(home.join("requests.txt"), text).unwrap();
}

fn stale(fake: &Fake) -> (u64, u64) {
    let home = tempfile::tempdir().unwrap();
    requests(home.path());
    // One request at a time, so that every planted answer is surely stale.
    let arguments =
        ["--json", "experiment", "request", "--requests", "requests.txt", "--http-at", &fake.address];
    let more = ["--in-flight", "1", "--warm-up", "0", "--repeat", "1", "--out", "r.json"];
    let summary = run(home.path(), &[&arguments[..], &more].concat()).exits(0).json();
    assert_eq!(summary["rows"][0]["answered"], 250);
    (summary["rows"][0]["stale"].as_u64().unwrap(), fake.planted())
}

#[test]
fn planted_stale_answers_are_counted_and_others_are_not() {
    assert_eq!(stale(&Fake::start(Faults::default())), (0, 0));
    let (counted, planted) = stale(&Fake::start(Faults { stale_every: Some(9), ..Faults::default() }));
    assert_eq!(counted, planted);
    assert!(planted >= 20, "{planted}");
}

#[test]
fn a_server_that_fails_is_said_and_is_exit_code_1() {
    let home = tempfile::tempdir().unwrap();
    let fake = Fake::start(Faults { refuses_every: Some(10), ..Faults::default() });
    let arguments =
        ["experiment", "insert", "--http-at", &fake.address, "--generate", "100", "--warm-up", "0"];
    let ran = run(home.path(), &[&arguments[..], &["--repeat", "1", "--out", "r.json"]].concat()).exits(1);
    ran.remarks("10 FAILED")
        .remarks("status 503")
        .remarks("10 requests were not answered")
        .says("result: r.json");
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().to_string();
    run(home.path(), &["experiment", "insert", "--http-at", &nobody, "--out", "n.json"])
        .exits(4)
        .remarks(&nobody);
}

#[test]
fn a_token_comes_from_a_file_and_requests_can_be_pipelined() {
    let home = tempfile::tempdir().unwrap();
    let fake = Fake::start(Faults::default());
    fake.wants("0123456789abcdef");
    std::fs::write(home.path().join("token"), "0123456789abcdef\n").unwrap();
    let arguments =
        ["experiment", "insert", "--http-at", &fake.address, "--generate", "100", "--warm-up", "0"];
    let without = [&arguments[..], &["--repeat", "1", "--out", "r.json"]].concat();
    run(home.path(), &without).exits(1).remarks("status 401");
    let with = [&without[..], &["--token-file", "token", "--pipeline", "4", "--generators", "1"]].concat();
    run(home.path(), &with).exits(0);
    assert_eq!(fake.keys(), 100);
    let result = crate::clusters::read(&home.path().join("r.json"));
    assert_eq!(
        (&result["settings"]["pipeline"], &result["settings"]["transport"]),
        (&4.into(), &"http".into())
    );
    assert!(!std::fs::read_to_string(home.path().join("r.json")).unwrap().contains("0123456789abcdef"));
}
