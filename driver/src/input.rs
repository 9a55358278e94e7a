//! Input files: the puts, gets and deletes that `chordata replay` sends.
//!
//! One operation a line, words separated by blanks:
//! ```text
//! # a comment; it may also follow an operation
//! put KEY VALUE
//! get KEY
//! delete KEY
//! ```
//! - A word with blanks stands in quotes: `"New York"`. Inside `"..."` the escapes `\"`, `\\`, `\n`, `\r`, `\t`, `\xHH`
//!   (any byte) and `\u{...}` (a character) are possible; inside `'...'` every character is itself. A quote, a
//!   backslash or a `#` in the middle of an unquoted word is itself.
//! - An unquoted key that begins with `@` is a literal id: `@0x2a`, `@42`. `@@x` is the key `@x`, and so is `"@x"`.
//! - Operations may be written in capitals. Blank lines, Windows line ends and a byte order mark are fine.
//!
//! Nothing is accepted by guessing: a file with a malformed line is refused as a whole, before anything is sent,
//! with the line and column of each mistake. Whether a literal id exists depends on the ring, hence the
//! [`Space`] argument.

pub(crate) mod words;

use std::ops::Range;
use std::path::Path;

use chordata_protocol::id::IdError;
use chordata_protocol::{Key, Space, Value};
use miette::{MietteDiagnostic, Report};

use crate::suggest::{self, Problems, did_you_mean, problem, shown};
use words::Word;

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InputOperation {
    /// Stores the value under the key.
    Put {
        /// Under which name.
        key: Key,
        /// What.
        value: Value,
    },
    /// Reads the key's value.
    Get {
        /// Whose value.
        key: Key,
    },
    /// Removes the key's value.
    Delete {
        /// Whose value.
        key: Key,
    },
}

impl InputOperation {
    /// The key that it is about.
    pub(crate) fn key(&self) -> &Key {
        match self {
            InputOperation::Put { key, .. }
            | InputOperation::Get { key }
            | InputOperation::Delete { key } => key,
        }
    }
}

/// An operation with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counted from 1.
    pub number: usize,
    /// What it asks for.
    pub operation: InputOperation,
}

/// Reads an input file for a ring of that size.
///
/// # Errors
/// When the file cannot be read or is not UTF-8, or as [`parse`].
pub(crate) fn load(path: &Path, space: Space) -> Result<Vec<Line>, Report> {
    parse(&suggest::read_text(path)?, &path.display().to_string(), space)
}

/// Reads the text of an input file; `name` is what messages call it.
///
/// # Errors
/// When lines are malformed: one report with the line and column of each, or of the first ten.
pub(crate) fn parse(text: &str, name: &str, space: Space) -> Result<Vec<Line>, Report> {
    let text = suggest::without_mark(text);
    let mut problems = Problems::default();
    let mut lines = Vec::new();
    let mut offset = 0;
    for (index, raw) in text.split_inclusive('\n').enumerate() {
        let line = raw.strip_suffix('\n').unwrap_or(raw);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match operation(line, offset, space) {
            Ok(None) => {}
            Ok(Some(operation)) => lines.push(Line { number: index + 1, operation }),
            Err(problem) => problems.push(*problem),
        }
        offset += raw.len();
    }
    if problems.is_empty() { Ok(lines) } else { Err(problems.into_report(name, text)) }
}

#[cfg(test)]
/// The operation as a line that [`parse`] reads back, quoted where needed.
pub(crate) fn render(operation: &InputOperation) -> String {
    match operation {
        InputOperation::Put { key, value } => format!("put {} {}", render_key(key), render_value(value)),
        InputOperation::Get { key } => format!("get {}", render_key(key)),
        InputOperation::Delete { key } => format!("delete {}", render_key(key)),
    }
}

/// The key as a word, quoted where needed.
pub(crate) fn render_key(key: &Key) -> String {
    match key {
        Key::Literal(id) => format!("@{}", id.to_literal()),
        // Quoted, it is not taken for an id.
        Key::Bytes(bytes) if bytes.first() == Some(&b'@') => words::quoted(bytes),
        Key::Bytes(bytes) => words::render(bytes),
    }
}

/// The value as a word, quoted where needed.
pub(crate) fn render_value(value: &Value) -> String {
    words::render(value)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Put,
    Get,
    Delete,
}

const VERBS: [(&str, Verb); 3] = [("put", Verb::Put), ("get", Verb::Get), ("delete", Verb::Delete)];

/// What other stores call the three.
const OTHER_NAMES: [(&str, &str); 8] = [
    ("set", "put"),
    ("store", "put"),
    ("insert", "put"),
    ("read", "get"),
    ("fetch", "get"),
    ("del", "delete"),
    ("remove", "delete"),
    ("rm", "delete"),
];

const FORMS: &str = "a line is `put KEY VALUE`, `get KEY` or `delete KEY`; `#` begins a comment";

/// A boxed mistake: an error as large as miette's would make every success as large.
type Mistake = Box<MietteDiagnostic>;

fn operation(line: &str, offset: usize, space: Space) -> Result<Option<InputOperation>, Mistake> {
    let words = words::split(line, offset)?;
    let Some((first, arguments)) = words.split_first() else {
        return Ok(None);
    };
    let verb = verb(first)?;
    let (name, wanted) = match verb {
        Verb::Put => ("put", 2),
        Verb::Get => ("get", 1),
        Verb::Delete => ("delete", 1),
    };
    if arguments.len() > wanted {
        return Err(too_many(name, arguments, wanted, line, offset));
    }
    let end = words.last().map_or(0, |word| word.span.end);
    let key = match arguments.first() {
        Some(word) => key(word, space)?,
        None => return Err(missing("key", name, end)),
    };
    Ok(Some(match verb {
        Verb::Get => InputOperation::Get { key },
        Verb::Delete => InputOperation::Delete { key },
        Verb::Put => match arguments.get(1) {
            Some(word) => InputOperation::Put { key, value: value(word)? },
            None => return Err(missing("value", name, end)),
        },
    }))
}

fn verb(word: &Word) -> Result<Verb, Mistake> {
    let text = word.text();
    if let Some((_, verb)) = VERBS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)) {
        return Ok(*verb);
    }
    let names = VERBS.map(|(name, _)| name);
    let other = OTHER_NAMES.iter().find(|(other, _)| text.eq_ignore_ascii_case(other));
    let suggestion = match other {
        Some((_, right)) => format!(": did you mean `{right}`?"),
        None => did_you_mean(&text, names),
    };
    let message = format!("unknown operation `{}`{suggestion}", shown(&text));
    Err(Box::new(problem(message, word.span.clone(), "").with_help(FORMS)))
}

fn missing(what: &str, verb: &str, at: usize) -> Mistake {
    let help = if what == "value" { "an empty value is written \"\"" } else { FORMS };
    let message = format!("`{verb}` without a {what}");
    Box::new(problem(message, at..at, &format!("the {what} is missing here")).with_help(help))
}

fn too_many(verb: &str, arguments: &[Word], wanted: usize, line: &str, offset: usize) -> Mistake {
    let takes = if wanted == 2 { "one key and one value" } else { "one key" };
    let extra = span(&arguments[wanted..]);
    // What the line would be if everything from the last word on was meant to be one.
    let kept = span(&arguments[..wanted - 1]);
    let meant = &line[arguments[wanted - 1].span.start - offset..extra.end - offset];
    let plain = arguments[wanted - 1..].iter().all(|word| !word.quoted);
    let help = if plain && kept.len() + meant.len() <= 60 {
        let blank = if wanted == 2 { " " } else { "" };
        let kept = &line[kept.start.saturating_sub(offset)..kept.end.saturating_sub(offset)];
        format!("if they are one: {verb} {kept}{blank}{}", words::quoted(meant.as_bytes()))
    } else {
        "a key or value with blanks stands in quotes".to_owned()
    };
    let message = format!("`{verb}` takes {takes}, but {} words follow it", arguments.len());
    Box::new(problem(message, extra, "too much").with_help(help))
}

/// From the first of the words to the last; empty without words.
fn span(words: &[Word]) -> Range<usize> {
    words.first().map_or(0, |word| word.span.start)..words.last().map_or(0, |word| word.span.end)
}

fn key(word: &Word, space: Space) -> Result<Key, Mistake> {
    let key = if word.quoted {
        Key::new(word.bytes.clone())
    } else {
        Key::parse(&word.text(), space).map_err(|error| literal(word, &error))?
    };
    key.check(space).map_err(|error| Box::new(problem(error.to_string(), word.span.clone(), "this key")))?;
    Ok(key)
}

fn literal(word: &Word, error: &IdError) -> Mistake {
    let message = match error {
        IdError::NotANumber(_) => format!("`{}` is not an id", shown(&word.text())),
        IdError::OutsideSpace { .. } => error.to_string(),
    };
    let help = "a literal id is written @42 or @0x2a, with at most 40 hexadecimal digits; for a key that itself \
                begins with `@`, double the `@` or use quotes";
    Box::new(problem(message, word.span.clone(), "this key").with_help(help))
}

fn value(word: &Word) -> Result<Value, Mistake> {
    let value = Value::from(word.bytes.clone());
    value.check().map_err(|error| Box::new(problem(error.to_string(), word.span.clone(), "this value")))?;
    Ok(value)
}

#[cfg(test)]
mod tests;
