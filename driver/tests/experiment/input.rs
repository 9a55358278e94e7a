//! Bad files are pointed at by line, before anything is sent.

use crate::fake::{Fake, Faults};
use crate::support::run;

#[test]
fn a_bad_line_is_pointed_at_and_nothing_is_sent() {
    let home = tempfile::tempdir().unwrap();
    let fake = Fake::start(Faults::default());
    for (kind, flag, text, says) in [
        (
            "request",
            "--requests",
            "insert, a, 1\nfetch, a\n".to_owned(),
            ["f.txt:2:1", "unknown request `fetch`"],
        ),
        ("request", "--requests", "query, a\n\ninsert, a\n".to_owned(), ["f.txt:3:10", "without a value"]),
        ("insert", "--keys", format!("a\n{}\n", "k".repeat(5000)), ["f.txt:2:1", "at most 4096 bytes"]),
        ("query", "--keys", "\n\n".to_owned(), ["f.txt", "there is no key in it"]),
    ] {
        std::fs::write(home.path().join("f.txt"), text).unwrap();
        let ran = run(home.path(), &["experiment", kind, "--http-at", &fake.address, flag, "f.txt"]).exits(2);
        says.iter().fold(ran, |ran, says| ran.remarks(says));
    }
    std::fs::write(home.path().join("f.txt"), b"caf\xe9\n").unwrap();
    run(home.path(), &["experiment", "insert", "--http-at", &fake.address, "--keys", "f.txt"])
        .exits(2)
        .remarks("f.txt");
    assert_eq!(fake.requests(), 0);
}
