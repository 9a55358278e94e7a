//! The guides: what they tell people to type works, word for word.
//!
//! A guide is a page of `docs/guides`. Its code blocks are followed in order, in a directory of its own in which
//! `input.txt`, `inventory/` and `data/` of the repository are at hand:
//!
//! | a block that opens with | is |
//! |---|---|
//! | ```` ```toml NAME ````, `csv NAME`, `json NAME`, ... | a file that the reader writes: it is written as `NAME` |
//! | ```` ```sh ```` | commands, one per line (a line that ends with `\` goes on; so does a here-document) |
//! | ```` ```sh (left out: WHY) ```` | commands that cannot be run here; they are counted aloud |
//! | anything else | something to look at |
//!
//! A command may say what it expects: `chordata status   # exit code 1`; without that it is 0. A command that only
//! looks is repeated until it is so: states take a moment to come. A line that ends with `&` starts a server: the next
//! one is run when it has printed its `ready` line; it is killed at the end of the guide.
//!
//! Ports are replaced by free ones, the same by the same, so that guides can be followed side by side: every number from
//! 18800 to 18999, 5000 to 5099 and 7000 to 7099. Nothing else is changed.
//!
//! A page that opens with `<!-- needs: PROGRAM -->` is left out, aloud, where there is no such program.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod follow;
mod page;

/// A test for each page.
macro_rules! guides {
    ($($name:ident: $file:literal,)*) => {
        $(#[test]
        fn $name() {
            follow::follow($file);
        })*

        const FILES: &[&str] = &[$($file),*];
    };
}

guides! {
    chains: "chain.md",
    coming_from_elsewhere: "coming-from.md",
    durability: "durability.md",
    expiry: "expiry.md",
    files: "files.md",
    loading: "load.md",
    shell: "shell.md",
    eventual_mode: "eventual.md",
    experiments: "experiments.md",
    dying_nodes: "when-nodes-die.md",
    http: "http.md",
    managers: "manager.md",
}

#[test]
fn every_guide_is_followed() {
    let mut pages: Vec<String> = std::fs::read_dir(page::directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let mut followed = FILES.to_vec();
    followed.sort_unstable();
    assert_eq!(pages, followed, "each page of docs/guides is in this list");
}
