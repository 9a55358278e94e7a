//! The words of a line: where they are, and what they mean once quotes and escapes are resolved.
//!
//! The rules are in the [module's documentation](super). A blank is a space or a tab. Other white space and control
//! characters are refused outside quotes: a no-break space that was pasted along would silently become part of a
//! key.

use std::borrow::Cow;
use std::ops::Range;

use super::Mistake;
use crate::suggest::{problem, shown};

/// One word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// What it means.
    pub(crate) bytes: Vec<u8>,
    /// Was it in quotes?
    pub(crate) quoted: bool,
    /// Where it is in the file, quotes included.
    pub(crate) span: Range<usize>,
}

impl Word {
    /// What it means, as text; bytes that are none are replaced.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

/// Splits a line, which begins at that offset of the file, into words; a comment ends it.
pub(crate) fn split(line: &str, offset: usize) -> Result<Vec<Word>, Mistake> {
    let mut scanner = Scanner { line, at: 0, offset };
    let mut words = Vec::new();
    while let Some(word) = scanner.word()? {
        words.push(word);
    }
    Ok(words)
}

struct Scanner<'l> {
    line: &'l str,
    at: usize,
    offset: usize,
}

const BLANKS: [char; 2] = [' ', '\t'];

const ESCAPES: &str = "possible are \\\" \\\\ \\n \\r \\t \\xHH \\u{...}; inside '...' a backslash is itself";

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.line[self.at..]
    }

    /// From there to the present place, in the file.
    fn since(&self, start: usize) -> Range<usize> {
        self.offset + start..self.offset + self.at
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest().chars().next()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn word(&mut self) -> Result<Option<Word>, Mistake> {
        self.at = self.line.len() - self.rest().trim_start_matches(BLANKS).len();
        let start = self.at;
        let (bytes, quoted) = match self.rest().chars().next() {
            None | Some('#') => return Ok(None),
            Some('\'') => (self.verbatim()?, true),
            Some('"') => (self.escaped()?, true),
            Some(_) => (self.bare()?, false),
        };
        Ok(Some(Word { bytes, quoted, span: self.since(start) }))
    }

    fn bare(&mut self) -> Result<Vec<u8>, Mistake> {
        let start = self.at;
        while let Some(character) = self.rest().chars().next() {
            if BLANKS.contains(&character) {
                break;
            }
            let at = self.at;
            self.at += character.len_utf8();
            if character.is_whitespace() || character.is_control() {
                let message =
                    format!("the character U+{:04X} stands outside of quotes", u32::from(character));
                return Err(Box::new(
                    problem(message, self.since(at), "here")
                        .with_help("separate words by blanks; put the word into quotes if it belongs to it"),
                ));
            }
        }
        Ok(self.line.as_bytes()[start..self.at].to_vec())
    }

    fn verbatim(&mut self) -> Result<Vec<u8>, Mistake> {
        let start = self.at;
        self.at += 1;
        let Some(length) = self.rest().find('\'') else {
            return Err(self.unterminated(start, '\''));
        };
        let bytes = self.rest().as_bytes()[..length].to_vec();
        self.at += length + 1;
        self.word_ends(start)?;
        Ok(bytes)
    }

    fn escaped(&mut self) -> Result<Vec<u8>, Mistake> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                None => return Err(self.unterminated(start, '"')),
                Some('"') => break,
                Some('\\') => self.escape(&mut bytes)?,
                Some(character) => push(&mut bytes, character),
            }
        }
        self.word_ends(start)?;
        Ok(bytes)
    }

    /// What follows a backslash.
    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), Mistake> {
        let start = self.at - 1;
        match self.next() {
            Some(same @ ('"' | '\\')) => push(bytes, same),
            Some('n') => bytes.push(b'\n'),
            Some('r') => bytes.push(b'\r'),
            Some('t') => bytes.push(b'\t'),
            Some('x') => {
                let digits: String =
                    self.rest().chars().take(2).take_while(char::is_ascii_hexdigit).collect();
                self.at += digits.len();
                match u8::from_str_radix(&digits, 16) {
                    Ok(byte) if digits.len() == 2 => bytes.push(byte),
                    Ok(_) | Err(_) => return Err(self.bad_escape(start, "\\x takes two hexadecimal digits")),
                }
            }
            Some('u') => match self.unicode() {
                Some(character) => push(bytes, character),
                None => {
                    let help = "\\u{...} takes the hexadecimal number of a Unicode character, as in \\u{e9}";
                    return Err(self.bad_escape(start, help));
                }
            },
            Some(_) | None => return Err(self.bad_escape(start, ESCAPES)),
        }
        Ok(())
    }

    fn unicode(&mut self) -> Option<char> {
        let digits = self.rest().strip_prefix('{')?;
        let digits = &digits[..digits.find('}')?];
        let hexadecimal =
            (1..=6).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let character =
            hexadecimal.then(|| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32))??;
        self.at += digits.len() + 2;
        Some(character)
    }

    fn bad_escape(&self, start: usize, help: &str) -> Mistake {
        let span = self.since(start);
        let message = format!("`{}` is no escape", shown(&self.line[start..self.at]));
        Box::new(problem(message, span, "here").with_help(help.to_owned()))
    }

    fn unterminated(&self, start: usize, quote: char) -> Mistake {
        let help = format!(
            "end the word with {quote}; a word cannot go on in the next line: use \\n inside \"...\""
        );
        let at = self.offset + start;
        Box::new(problem("a quoted word does not end", at..at + 1, "begins here").with_help(help))
    }

    /// Behind a closing quote.
    fn word_ends(&self, start: usize) -> Result<(), Mistake> {
        if self.rest().is_empty() || self.rest().starts_with(BLANKS) {
            return Ok(());
        }
        let message = format!("text follows the closing quote of {}", shown(&self.line[start..self.at]));
        let at = self.offset + self.at;
        let help = "put a blank between two words; a quote inside \"...\" is written \\\"";
        Err(Box::new(problem(message, at..at + 1, "here").with_help(help)))
    }
}

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The word for these bytes: bare where that reads back, else in quotes.
pub(super) fn render(bytes: &[u8]) -> String {
    let bare = |text: &&str| {
        !text.is_empty()
            && !text.starts_with(['"', '\'', '#'])
            && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\u{feff}')
    };
    match std::str::from_utf8(bytes).ok().filter(bare) {
        Some(text) => text.to_owned(),
        None => quoted(bytes),
    }
}

/// The word for these bytes, in quotes.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut word = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => word.extend(['\\', character]),
                '\n' => word.push_str("\\n"),
                '\r' => word.push_str("\\r"),
                '\t' => word.push_str("\\t"),
                _ if character.is_control() || (character.is_whitespace() && character != ' ') => {
                    word.push_str(&format!("\\u{{{:x}}}", u32::from(character)));
                }
                _ => word.push(character),
            }
        }
        chunk.invalid().iter().for_each(|byte| word.push_str(&format!("\\x{byte:02x}")));
    }
    word.push('"');
    word
}
