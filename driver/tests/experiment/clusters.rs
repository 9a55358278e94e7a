//! On clusters that run, and on those that are started for it.

use std::process::Stdio;

use serde_json::Value as Json;

use crate::support::ring::Ring;
use crate::support::{children, chordata, eventually, is_running, run};

/// The sum of a number over all entry nodes of all runs of a kind.
pub(crate) fn sum(cell: &Json, kind: &str, operation: &str, number: &str) -> u64 {
    let experiments = cell["experiments"].as_array().unwrap().iter();
    let runs = experiments
        .filter(|experiment| experiment["kind"] == kind)
        .flat_map(|e| e["runs"].as_array().unwrap());
    let entries = runs.flat_map(|run| run["entries"].as_array().unwrap());
    entries.map(|entry| entry[operation][number].as_u64().unwrap()).sum()
}

pub(crate) fn read(path: &std::path::Path) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn what_is_inserted_on_a_running_cluster_is_found_by_a_later_query() {
    let ring = Ring::with_chains(3, 3, "memory");
    let common = ["--warm-up", "0", "--repeat", "2", "--generate", "20"];
    let with = |kind: &str, out: &str| {
        let arguments = [&["experiment", kind, "--out", out][..], &common].concat();
        ring.run(&arguments)
    };
    with("insert", "i.json").exits(0).says("chain, k = 3").says("result: i.json").remarks("insert");
    assert_eq!(
        ring.keys(),
        2 * 20 * 3 * 3,
        "two repeats of twenty keys at each of three nodes, three copies"
    );
    let cell = &read(&ring.home().join("i.json"))["cells"][0];
    assert_eq!((sum(cell, "insert", "insert", "done"), cell["nodes"].as_u64()), (120, Some(3)));
    assert_eq!((&cell["consistency"], &cell["start_seconds"]), (&"chain".into(), &Json::Null));
    with("query", "q.json").exits(0);
    let result = read(&ring.home().join("q.json"));
    let cell = &result["cells"][0];
    assert_eq!(sum(cell, "query", "query", "done"), 120, "the first repeat's keys, twice");
    assert_eq!(sum(cell, "query", "query", "missing") + sum(cell, "query", "query", "other"), 0);
    let run = &cell["experiments"][0]["runs"][1];
    assert!(run["generators"][0]["cores"].as_u64() > Some(0) && run["seconds"].as_f64() > Some(0.0));
    assert!(result["host"]["load_average"].is_array() && result["settings"]["in_flight"] == 8, "{result}");
    // Keys of other lengths are other values, and keys that nobody has stored are missing.
    let ran = ring.run(&[
        "--json",
        "experiment",
        "query",
        "--generate",
        "25",
        "--warm-up",
        "0",
        "--repeat",
        "1",
        "--out",
        "m.json",
    ]);
    let row = ran.exits(0).json()["rows"][0].clone();
    assert_eq!((row["missing"].as_u64(), row["answered"].as_u64()), (Some(15), Some(75)), "{row}");
    let other =
        ["--value-bytes", "9", "--generate", "20", "--warm-up", "0", "--repeat", "1", "--out", "o.json"];
    let arguments = [&["--json", "experiment", "query"][..], &other].concat();
    assert_eq!(ring.run(&arguments).exits(0).json()["rows"][0]["other"], 60);
}

#[test]
fn a_sweep_starts_a_cluster_for_each_cell_and_leaves_none() {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    for (name, text) in
        [("insert_00_part.txt", "Hey Jude\nTaxman\n"), ("insert_01_part.txt", "Ob-La-Di, Ob-La-Da\n")]
    {
        std::fs::write(keys.join(name), text).unwrap();
    }
    let arguments =
        ["experiment", "all", "--local", "3", "--replication", "1,3", "--consistency", "chain,eventual"];
    let more = ["--keys", "keys", "--warm-up", "0.1", "--repeat", "2", "--out", "sweep.json"];
    let ran = run(home.path(), &[&arguments[..], &more].concat()).exits(0);
    for cluster in ["chain, k = 1", "chain, k = 3", "eventual, k = 1", "eventual, k = 3"] {
        assert_eq!(ran.out.matches(cluster).count(), 3, "a row for each experiment:\n{}", ran.out);
    }
    let result = read(&home.path().join("sweep.json"));
    let cells = result["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 4);
    assert_eq!(result["settings"]["keys"], "3 keys of 2 files");
    for cell in cells {
        assert_eq!(cell["durability"], "memory");
        assert!(cell["start_seconds"].as_f64() > Some(0.0));
        assert_eq!(sum(cell, "insert", "insert", "done"), 6);
        // After copies have arrived everywhere every key is found, in eventual mode too.
        assert_eq!((sum(cell, "query", "query", "done"), sum(cell, "query", "query", "missing")), (6, 0));
        let requests = sum(cell, "request", "insert", "done") + sum(cell, "request", "query", "done");
        assert_eq!(requests + sum(cell, "request", "query", "missing"), 2 * 3 * 1000);
        let runs = cell["experiments"][2]["runs"].as_array().unwrap();
        let stale: u64 = runs.iter().map(|run| run["stale"].as_u64().unwrap()).sum();
        assert!(cell["consistency"] != "chain" || stale == 0, "chains have no stale reads: {stale}");
        // What each node holds: three keys and those of the warm-up, in k copies.
        let inserts = &cell["experiments"][0]["runs"][1];
        let warm_up: u64 =
            inserts["nodes"].as_array().unwrap().iter().map(|n| n["keys"].as_u64().unwrap()).sum();
        let copies = cell["replication"].as_u64().unwrap();
        assert!(warm_up > 3 * copies && warm_up.is_multiple_of(copies), "{inserts}");
        assert!(inserts["nodes"][0]["processor_seconds"].is_number());
    }
}

#[test]
fn everything_travels_over_http_as_well() {
    let home = tempfile::tempdir().unwrap();
    let arguments = [
        "experiment",
        "all",
        "--local",
        "2",
        "--replication",
        "2",
        "--http",
        "--consistency",
        "chain,eventual",
    ];
    let more = ["--generate", "30", "--warm-up", "0", "--repeat", "1", "--out", "r.json"];
    run(home.path(), &[&arguments[..], &more].concat()).exits(0);
    let result = read(&home.path().join("r.json"));
    assert_eq!(result["settings"]["transport"], "http");
    for cell in result["cells"].as_array().unwrap() {
        assert_eq!((sum(cell, "insert", "insert", "done"), sum(cell, "query", "query", "done")), (60, 60));
        assert_eq!(sum(cell, "query", "query", "other"), 0, "the values that were stored");
        let requests = sum(cell, "request", "insert", "done") + sum(cell, "request", "query", "done");
        assert_eq!(requests + sum(cell, "request", "query", "missing"), 60);
        assert_eq!(sum(cell, "request", "query", "other"), 0, "values of mixed requests are read from JSON");
        let stale = &cell["experiments"][2]["runs"][0]["stale"];
        assert!(cell["consistency"] != "chain" || *stale == 0, "{stale}");
    }
    // A cluster that runs says itself where it answers HTTP.
    let ring = Ring::start_with(2, &["--http", "0"]);
    let running =
        ["experiment", "insert", "--http", "--generate", "5", "--warm-up", "0", "--out", "running.json"];
    ring.run(&running).exits(0);
    assert_eq!(sum(&read(&ring.home().join("running.json"))["cells"][0], "insert", "insert", "done"), 3 * 10);
    let ring = Ring::start_with(1, &[]);
    ring.run(&running).exits(2).remarks("--http");
}

#[test]
fn an_interrupted_experiment_leaves_no_server_and_keeps_what_was_measured() {
    let home = tempfile::tempdir().unwrap();
    let arguments =
        ["experiment", "insert", "--local", "2", "--replication", "1", "--seconds", "600", "--out", "r.json"];
    let mut command = chordata(home.path(), &arguments);
    let mut driver = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut servers = Vec::new();
    eventually("two servers run", || {
        servers = children(driver.id());
        servers.len() == 2
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(driver.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(driver.wait().unwrap().code(), Some(1));
    eventually("no server is left", || !servers.iter().any(|server| is_running(*server)));
    assert_eq!(read(&home.path().join("r.json"))["cells"], Json::Array(Vec::new()));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_started() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (&["insert", "--sweep"][..], "--local N or -i"),
        (&["insert", "--local", "3", "--replication", "5"], "5 copies"),
        (&["query", "--seconds", "1"], "--generate N"),
        (&["insert", "--pipeline", "2"], "--http"),
        (&["insert", "--http-at", "127.0.0.1:1", "--durability", "sync"], "as they were started"),
        (&["insert", "--local", "2", "-i", "x.toml"], "both say where"),
        (&["insert", "--keys", "nowhere.txt"], "nowhere.txt"),
        (&["insert", "--generate", "0"], "0"),
        (&["insert", "--seconds", "-1"], "-1"),
    ] {
        run(home.path(), &[&["experiment"][..], arguments].concat()).exits(2).remarks(says);
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing was written");
}
