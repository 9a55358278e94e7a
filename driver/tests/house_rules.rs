//! The rules of the house: dependencies point one way, every file says what it is for.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Our crates, and which of ours each may use outside its tests.
const ALLOWED: &[(&str, &[&str])] = &[
    ("chordata-protocol", &[]),
    ("chordata-store", &["chordata-protocol"]),
    ("chordata-rpc", &["chordata-protocol"]),
    ("chordata-client", &["chordata-protocol", "chordata-rpc"]),
    ("chordata-files", &["chordata-protocol", "chordata-rpc", "chordata-client"]),
    ("chordata-consensus", &[]),
    ("chordata-loaders", &[]),
    ("chordata-workload", &["chordata-protocol", "chordata-rpc", "chordata-client"]),
    ("chordata-sim", &["chordata-protocol", "chordata-store"]),
    (
        "chordata-server",
        &[
            "chordata-protocol",
            "chordata-store",
            "chordata-rpc",
            "chordata-client",
            "chordata-files",
            "chordata-consensus",
            "chordata-loaders",
            "chordata-workload",
        ],
    ),
    ("chordata-manager", &["chordata-protocol", "chordata-rpc", "chordata-client"]),
    (
        "chordata",
        &[
            "chordata-protocol",
            "chordata-rpc",
            "chordata-client",
            "chordata-files",
            "chordata-loaders",
            "chordata-server",
            "chordata-manager",
            "chordata-workload",
        ],
    ),
    (
        "chordata-bench",
        &[
            "chordata-protocol",
            "chordata-store",
            "chordata-rpc",
            "chordata-client",
            "chordata-files",
            "chordata-server",
        ],
    ),
];

/// What the pure crate may use of others: nothing that has a clock, a socket, a file or a global generator.
const PURE: &[&str] = &["blake3", "fastrand", "serde", "serde_bytes", "sha1", "thiserror"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let normal = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        let normal = all.filter(|dependency| dependency["kind"].is_null());
        normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|package| (package["name"].as_str().unwrap().to_owned(), normal(package))).collect()
}

#[test]
fn dependencies_point_one_way() {
    let found = dependencies();
    let listed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let ours: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(ours, listed, "every crate of the workspace is listed here");
    for (name, allowed) in ALLOWED {
        for used in found[*name].iter().filter(|used| ours.contains(used.as_str())) {
            assert!(allowed.contains(&used.as_str()), "{name} must not know {used}");
        }
    }
    for used in &found["chordata-protocol"] {
        assert!(PURE.contains(&used.as_str()), "the pure crate must not use {used}");
    }
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_nothing_is_unfinished() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 50, "the sources are found");
    // Put together here, so that this file does not contain them.
    let unfinished = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let left_out = format!("#[{}", "ignore");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{} does not open with //!", file.display());
        for word in unfinished.iter().chain([&left_out]) {
            assert!(!text.contains(word), "{} contains {word}", file.display());
        }
    }
}

#[test]
fn only_the_driver_is_built_by_default_and_nothing_is_unsafe() {
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let default = manifest["workspace"]["default-members"].as_array().unwrap();
    assert_eq!(default, &[toml::Value::from("driver")]);
    assert_eq!(manifest["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
}
