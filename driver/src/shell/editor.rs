//! The terminal: prompt, history, completion.

use std::borrow::Cow;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use reedline::{
    ColumnarMenu, Completer, CompletionResult, DefaultHinter, Emacs, FileBackedHistory, KeyCode,
    KeyModifiers, MenuBuilder, Prompt, PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus,
    Reedline, ReedlineEvent, ReedlineMenu, Signal, Span, Suggestion, default_emacs_keybindings,
};

use super::classic::WORDS;
use super::session::commands_here;
use crate::cli::Cli;
use crate::failure::{Failure, Outcome};

/// Lines that are kept.
const LINES_MAX: usize = 10_000;
/// The name that reedline knows the menu by.
const MENU: &str = "completions";

/// A line editor with what was typed before.
pub(crate) struct Editor {
    line: Reedline,
    history: PathBuf,
}

/// What the user did.
pub(crate) enum Typed {
    /// This line.
    Line(String),
    /// Took it back.
    Nothing,
    /// Left.
    End,
}

impl Editor {
    /// Whose history is in that file; it is made if there is none, for its owner's eyes only, since values are in it.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(crate) fn new(history: &Path) -> Outcome<Editor> {
        let told = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", history.display()));
        if let Some(directory) = history.parent() {
            std::fs::create_dir_all(directory).map_err(|error| told(&error))?;
        }
        let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(history);
        drop(file.map_err(|error| told(&error))?);
        let lines =
            FileBackedHistory::with_file(LINES_MAX, history.to_owned()).map_err(|error| told(&error))?;
        let mut keys = default_emacs_keybindings();
        let tab =
            ReedlineEvent::UntilFound(vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext]);
        keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, tab);
        let menu = ReedlineMenu::EngineCompleter(Box::new(ColumnarMenu::default().with_name(MENU)));
        let line = Reedline::create()
            .with_history(Box::new(lines))
            .with_hinter(Box::new(DefaultHinter::default()))
            .with_completer(Box::new(Words))
            .with_menu(menu)
            .with_quick_completions(true)
            .with_edit_mode(Box::new(Emacs::new(keys)));
        Ok(Editor { line, history: history.to_owned() })
    }

    /// Reads a line.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(crate) fn read(&mut self, through: Option<&str>) -> Outcome<Typed> {
        Ok(match self.line.read_line(&Greeting(through))? {
            Signal::Success(line) => Typed::Line(line),
            Signal::CtrlD => Typed::End,
            _ => Typed::Nothing,
        })
    }

    /// Shows the lines of before.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn show_history(&mut self) -> Outcome {
        self.line.sync_history()?;
        let text = std::fs::read(&self.history)?;
        std::io::stdout().write_all(&text)?;
        Ok(())
    }
}

/// The prompt: the node that requests go through.
struct Greeting<'a>(Option<&'a str>);

impl Prompt for Greeting<'_> {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        match self.0 {
            Some(node) => format!("chordata {node}").into(),
            None => "chordata".into(),
        }
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        "> ".into()
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        "... ".into()
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let found = match search.status {
            PromptHistorySearchStatus::Passing => "search",
            PromptHistorySearchStatus::Failing => "nothing found",
        };
        format!("({found}: {}) ", search.term).into()
    }
}

/// Completes the names of commands, then their flags.
struct Words;

impl Completer for Words {
    fn complete(&mut self, line: &str, at: usize) -> CompletionResult {
        let typed = line.get(..at).unwrap_or(line);
        let start = typed.rfind([' ', '\t']).map_or(0, |blank| blank + 1);
        let suggestion = |(value, about): (String, String)| Suggestion {
            value,
            description: Some(about).filter(|about| !about.is_empty()),
            span: Span::new(start, at),
            append_whitespace: true,
            ..Suggestion::default()
        };
        let found = candidates(&typed[..start], &typed[start..]);
        CompletionResult::fresh(found.into_iter().map(suggestion).collect::<Vec<_>>())
    }
}

/// Words that begin like this one, behind those before it, and what each means.
fn candidates(before: &str, word: &str) -> Vec<(String, String)> {
    let mut cli = Cli::command();
    let mut before = before.split_whitespace();
    let (all, prefix) = match before.next() {
        Some("help") => (names(&cli), word),
        Some(first) if word.starts_with('-') => {
            cli.build();
            let as_driver = match first {
                "insert" => "put",
                "query" => "get",
                first => first,
            };
            let mut command = cli.find_subcommand(as_driver);
            for inner in before {
                command = command.map(|outer| outer.find_subcommand(inner).unwrap_or(outer));
            }
            (command.map(flags).unwrap_or_default(), word)
        }
        Some(first) => {
            let command = cli.find_subcommand(first);
            let inner = command.into_iter().flat_map(clap::Command::get_subcommands);
            (inner.map(|command| (command.get_name().to_owned(), about(command))).collect(), word)
        }
        None => (names(&cli), word),
    };
    all.into_iter().filter(|(name, _)| name.starts_with(prefix)).collect()
}

fn about(command: &clap::Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn names(cli: &clap::Command) -> Vec<(String, String)> {
    let ours = WORDS.iter().map(|(name, _, about)| ((*name).to_owned(), (*about).to_owned()));
    let known = |name: &String| !WORDS.iter().any(|(word, ..)| word == name);
    let theirs = commands_here().into_iter().filter(known).map(|name| {
        let about = cli.find_subcommand(&name).map(about).unwrap_or_default();
        (name, about)
    });
    let mut all: Vec<_> = ours.chain(theirs).collect();
    all.sort();
    all
}

fn flags(command: &clap::Command) -> Vec<(String, String)> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let long = shown.filter_map(|argument| {
        let about = argument.get_help().map(ToString::to_string).unwrap_or_default();
        Some((format!("--{}", argument.get_long()?), about))
    });
    long.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(before: &str, word: &str) -> Vec<String> {
        candidates(before, word).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn names_and_flags_are_completed() {
        assert_eq!(completed("", "ins"), ["insert"]);
        assert!(completed("", "l").contains(&"lookup".to_owned()));
        assert_eq!(completed("help ", "look"), ["lookup"]);
        assert_eq!(completed("lookup Berlin ", "--rep"), ["--replicas"]);
        assert!(completed("insert a b ", "--if").contains(&"--if-absent".to_owned()));
        assert_eq!(completed("", "up"), Vec::<String>::new(), "what is not for the shell is not offered");
    }
}
