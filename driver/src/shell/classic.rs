//! What a line of the shell means.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::input::words::{self, Word};

/// The words that only the shell knows, and what they do, as `help` shows them.
pub(crate) const WORDS: [(&str, &str, &str); 11] = [
    (
        "setnode",
        "[NODE]",
        "Send what follows through this node: a number, a host's name, HOST:PORT; - through none",
    ),
    ("listnodes", "", "The ring as a table (`nodes`)"),
    ("overlay", "", "The ring, node after node"),
    ("insert", "KEY VALUE", "Store a value (`put`)"),
    ("query", "KEY | *", "Print a value (`get`); * prints all pairs, node by node"),
    ("delete", "KEY", "Remove a value"),
    ("depart", "[NODE]", "Have a node hand its keys over and leave the ring; without NODE that of setnode"),
    ("history", "", "The lines of before"),
    ("help", "[COMMAND]", "This list, or what a command takes"),
    ("exit", "", "Leave the shell; quit and Ctrl-D do as well"),
    ("quit", "", "The same"),
];

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Nothing: the line is empty, or a comment.
    Nothing,
    /// Leave.
    Exit,
    /// Explain a command, or list all.
    Help(Option<String>),
    /// Show the lines of before.
    History,
    /// Choose a node; none: say which is chosen.
    SetNode(Option<String>),
    /// This node, or the chosen one, leaves the ring.
    Depart(Option<String>),
    /// Show the ring.
    Overlay,
    /// A command of the driver, with its arguments.
    Run(Vec<OsString>),
}

/// Reads a line.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(crate) fn parse(line: &str, through: Option<&str>) -> Result<Action, String> {
    let words = words::split(line, 0).map_err(|mistake| match &mistake.help {
        Some(help) => format!("{}: {help}", mistake.message),
        None => mistake.message.clone(),
    })?;
    let Some((first, rest)) = words.split_first() else { return Ok(Action::Nothing) };
    if first.bytes != b"setnode" && rest.iter().any(|word| !word.quoted && word.bytes == b"-") {
        return Err("- means standard input, and in the shell that is for commands: write the value itself"
            .to_owned());
    }
    let name = first.text().into_owned();
    let usage = |usage: &str| Err(format!("usage: {name} {usage}"));
    let text = |word: &Word| word.text().into_owned();
    Ok(match (name.as_str(), rest) {
        ("exit" | "quit", []) => Action::Exit,
        ("exit" | "quit", _) => return Err(format!("{name} takes no arguments")),
        ("help", []) => Action::Help(None),
        ("help", [command, ..]) => Action::Help(Some(text(command))),
        ("history", []) => Action::History,
        ("overlay", []) => Action::Overlay,
        ("listnodes", rest) => run("nodes", None, rest),
        ("history" | "overlay", _) => return Err(format!("{name} takes no arguments")),
        ("setnode", []) => Action::SetNode(None),
        ("setnode", [node]) => Action::SetNode(Some(text(node))),
        ("setnode", _) => return usage("[NODE]"),
        ("depart", []) => Action::Depart(None),
        ("depart", [node]) => Action::Depart(Some(text(node))),
        ("depart", _) => return usage("[NODE]"),
        ("query", []) => return usage("KEY, or query * for all pairs"),
        ("query", [all, rest @ ..]) if !all.quoted && all.bytes == b"*" => {
            let mut arguments = vec![OsString::from("keys"), OsString::from("--values")];
            arguments.extend(rest.iter().map(argument));
            Action::Run(arguments)
        }
        ("insert" | "put", rest) => run("put", through, rest),
        ("query" | "get", rest) => run("get", through, rest),
        ("delete", rest) => run("delete", through, rest),
        (command, rest) => run(command, None, rest),
    })
}

fn argument(word: &Word) -> OsString {
    OsString::from_vec(word.bytes.clone())
}

fn run(command: &str, through: Option<&str>, rest: &[Word]) -> Action {
    let mut arguments = vec![OsString::from(command)];
    let says = |flag: &str| rest.iter().any(|word| !word.quoted && word.bytes == flag.as_bytes());
    if let Some(through) = through.filter(|_| !says("--entry")) {
        // Before everything else: what follows the key may be a value that looks like a flag.
        arguments.extend(["--entry", through].map(OsString::from));
    }
    arguments.extend(rest.iter().map(argument));
    Action::Run(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(line: &str, through: Option<&str>) -> Vec<String> {
        match parse(line, through) {
            Ok(Action::Run(arguments)) => {
                arguments.into_iter().map(|argument| argument.into_string().unwrap_or_default()).collect()
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_classic_words_are_commands_of_the_driver() {
        assert_eq!(ran("insert Berlin \"3.7 million\"", None), ["put", "Berlin", "3.7 million"]);
        assert_eq!(ran("query 'Buenos Aires'", None), ["get", "Buenos Aires"]);
        assert_eq!(ran("query *", None), ["keys", "--values"]);
        assert_eq!(ran("query '*'", None), ["get", "*"], "the key * itself");
        assert_eq!(ran("delete Berlin --json", None), ["delete", "Berlin", "--json"]);
        assert_eq!(ran("listnodes", None), ["nodes"]);
        assert_eq!(ran("lookup Berlin --replicas", None), ["lookup", "Berlin", "--replicas"]);
    }

    #[test]
    fn requests_go_through_the_chosen_node_unless_the_line_says_otherwise() {
        let node = Some("127.0.0.1:18862");
        assert_eq!(ran("insert a b", node), ["put", "--entry", "127.0.0.1:18862", "a", "b"]);
        assert_eq!(ran("get a --entry 3", node), ["get", "a", "--entry", "3"]);
        assert_eq!(ran("lookup a", node), ["lookup", "a"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, problem) in [
            ("insert \"a", "quote"),
            ("setnode 1 2", "usage: setnode"),
            ("overlay 1", "no arguments"),
            ("put a -", "standard input"),
            ("query", "usage: query"),
        ] {
            let said = parse(line, None).unwrap_err();
            assert!(said.contains(problem), "{line}: {said}");
        }
        assert_eq!(parse("  # nothing", None), Ok(Action::Nothing));
        assert_eq!(parse("setnode -", None), Ok(Action::SetNode(Some("-".to_owned()))));
    }
}
