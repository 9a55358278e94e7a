//! A guide as text: its files and its commands.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// The numbers that are taken for ports.
const PORTS: [std::ops::Range<u16>; 3] = [18800..19000, 5000..5100, 7000..7100];

/// What a reader does with a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Block {
    /// Writes this file.
    File { name: String, text: String },
    /// Types these.
    Commands(Vec<String>),
    /// Cannot be done here, for that reason.
    LeftOut(String),
}

/// Where the guides are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides")
}

/// The program without which a page cannot be followed.
pub(crate) fn needs(text: &str) -> Option<&str> {
    text.lines().next()?.strip_prefix("<!-- needs: ")?.strip_suffix(" -->")
}

/// All blocks that are for doing, in order.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(opening) = line.strip_prefix("```") else { continue };
        let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let (language, rest) = opening.split_once(' ').unwrap_or((opening, ""));
        let reason = rest.strip_prefix("(left out: ").and_then(|reason| reason.strip_suffix(')'));
        match (language, reason) {
            ("sh", Some(reason)) => blocks.push(Block::LeftOut(reason.to_owned())),
            ("sh", None) => {
                assert_eq!(rest, "", "a block of commands has no name");
                blocks.push(Block::Commands(commands(&inside)));
            }
            _ if rest.is_empty() => {}
            _ => {
                let text = inside.iter().map(|line| format!("{line}\n")).collect();
                blocks.push(Block::File { name: rest.to_owned(), text });
            }
        }
    }
    blocks
}

/// Whole commands: those of several lines are put together.
fn commands(lines: &[&str]) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        let mut command = (*line).to_owned();
        while command.ends_with('\\') {
            command.push('\n');
            command.push_str(lines.next().expect("a line that goes on is not the last"));
        }
        if let Some((_, word)) = command.split_once("<<") {
            let end = word.split_whitespace().next().unwrap().trim_matches('\'').to_owned();
            for line in lines.by_ref() {
                command.push('\n');
                command.push_str(line);
                if *line == end {
                    break;
                }
            }
        }
        if !command.trim().is_empty() && !command.starts_with('#') {
            commands.push(command);
        }
    }
    commands
}

/// The page with other ports.
pub(crate) fn with_free_ports(text: &str) -> String {
    // All are held until all are chosen.
    let mut held: BTreeMap<u16, TcpListener> = BTreeMap::new();
    let (mut changed, mut digits) = (String::new(), String::new());
    // The sign at the end closes the last number.
    for sign in text.chars().chain(['\n']) {
        if sign.is_ascii_digit() {
            digits.push(sign);
            continue;
        }
        let number = digits.parse().ok().filter(|number| PORTS.iter().any(|ports| ports.contains(number)));
        match number {
            // Part of a word, such as an id in hexadecimal digits.
            Some(number) if !sign.is_ascii_alphabetic() => {
                let listener =
                    held.entry(number).or_insert_with(|| TcpListener::bind(("127.0.0.1", 0)).unwrap());
                changed.push_str(&listener.local_addr().unwrap().port().to_string());
            }
            _ => changed.push_str(&digits),
        }
        digits.clear();
        changed.push(sign);
    }
    changed.pop();
    changed
}

#[test]
fn a_page_is_taken_apart() {
    let text = "<!-- needs: curl -->\n# A\n```toml a.toml\nlisten_port = 18861\n```\n```sh\none \\\n  two\ncat <<'END'\nx\nEND\n# no\n\n```\n\
                ```sh (left out: no VMs)\nup\n```\n```text\nlook\n```\n";
    assert_eq!(needs(text), Some("curl"));
    let file = Block::File { name: "a.toml".to_owned(), text: "listen_port = 18861\n".to_owned() };
    let commands = Block::Commands(vec!["one \\\n  two".to_owned(), "cat <<'END'\nx\nEND".to_owned()]);
    assert_eq!(blocks(text), [file, commands, Block::LeftOut("no VMs".to_owned())]);
}

#[test]
fn ports_are_replaced_and_nothing_else() {
    let changed = with_free_ports("a 18861 b 127.0.0.1:5000/x 18861 1886 188610 5000ab\n");
    let words: Vec<&str> = changed.split_whitespace().collect();
    assert_ne!(words[1], "18861");
    assert_eq!(words[1], words[4], "the same by the same");
    assert!(!words[3].contains("5000"), "{changed}");
    assert_eq!(words[5..], ["1886", "188610", "5000ab"]);
    assert!(changed.ends_with('\n'));
}
