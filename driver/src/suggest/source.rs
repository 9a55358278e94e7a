//! Texts that a person wrote: reading them, and showing the lines around a mistake.
//!
//! [`Source`] stands in for miette's own sources for three reasons: its columns count characters, as editors do, not
//! bytes; a line of a megabyte is shown as the few words around the place; and control characters of a file that
//! was never text do not reach the terminal.

use std::path::Path;

use miette::{
    MietteDiagnostic, MietteError, MietteSpanContents, Report, SourceCode, SourceSpan, SpanContents,
};

use super::{Problems, problem};

/// Bytes of one line that are shown whole.
const LINE_BYTES_MAX: usize = 300;
/// Bytes shown on each side of the place when the line is longer.
const AROUND_BYTES: usize = 60;

/// Some editors begin a text with it; it means nothing in UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A text under its name, for reports.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    /// As long as the text, byte for byte, and printable.
    text: String,
}

impl Source {
    /// Keeps a printable copy of the text.
    pub(crate) fn new(name: &str, text: &str) -> Source {
        Source { name: name.to_owned(), text: printable(text) }
    }
}

fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let line_end = character == '\r' && characters.peek() == Some(&'\n');
        if character.is_control() && !matches!(character, '\n' | '\t') && !line_end {
            (0..character.len_utf8()).for_each(|_| printable.push('?'));
        } else {
            printable.push(character);
        }
    }
    printable
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (start, end) = (span.offset(), span.offset() + span.len());
        if end > self.text.len() {
            return Err(MietteError::OutOfBounds);
        }
        let line_start = self.line_start(start);
        let line_end = self.line_end(end.saturating_sub(1).max(start));
        let (from, to) = if context_lines_before + context_lines_after == 0 {
            (start, end)
        } else {
            let from = (0..context_lines_before)
                .fold(line_start, |from, _| if from == 0 { 0 } else { self.line_start(from - 1) });
            let to = (0..context_lines_after).fold(line_end, |to, _| self.line_end(to));
            let too_long = self.text[from..to].split('\n').any(|line| line.len() > LINE_BYTES_MAX);
            if !too_long {
                (from, to)
            } else if self.text.as_bytes()[start..end].contains(&b'\n') {
                // Two places that are asked for together: miette then asks for each by itself.
                return Err(MietteError::OutOfBounds);
            } else {
                ((start.saturating_sub(AROUND_BYTES)).max(line_start), (end + AROUND_BYTES).min(line_end))
            }
        };
        Ok(Box::new(self.contents(self.boundary(from), self.boundary(to))))
    }
}

impl Source {
    fn line_start(&self, offset: usize) -> usize {
        self.text.as_bytes()[..offset].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
    }

    /// Just behind the line's own end.
    fn line_end(&self, offset: usize) -> usize {
        let rest = &self.text.as_bytes()[offset..];
        rest.iter().position(|byte| *byte == b'\n').map_or(self.text.len(), |at| offset + at + 1)
    }

    /// The offset, or the beginning of the character that it is in.
    fn boundary(&self, offset: usize) -> usize {
        (0..=offset).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }

    fn contents(&self, from: usize, to: usize) -> MietteSpanContents<'_> {
        let before = &self.text.as_bytes()[..from];
        let data = &self.text.as_bytes()[from..to];
        let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        let column = self.text[self.boundary(self.line_start(from))..from].chars().count();
        let span = SourceSpan::from((from, to - from));
        MietteSpanContents::new_named(self.name.clone(), data, span, lines(before), column, lines(data))
    }
}

/// The text without the byte order mark that some editors put first.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Reads a text file.
///
/// # Errors
/// When the file cannot be read, or is not UTF-8 (with the line and column of the first byte that is not).
pub(crate) fn read_text(path: &Path) -> Result<String, Report> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|error| Report::new(MietteDiagnostic::new(format!("cannot read {name}: {error}"))))?;
    decode(bytes, &name)
}

/// Takes bytes as text.
///
/// # Errors
/// When they are not UTF-8.
pub(super) fn decode(bytes: Vec<u8>, name: &str) -> Result<String, Report> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let mut problems = Problems::default();
        problems.push(
            problem(format!("{name} is not a text in UTF-8"), valid..valid + 1, "this byte is not UTF-8")
                .with_help("save it as UTF-8"),
        );
        let same_length = bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' });
        let text = String::from_utf8_lossy(&bytes[..valid]).into_owned();
        problems.into_report(name, &(text + &same_length.skip(valid).collect::<String>()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::rendered;
    use super::*;

    fn shown(text: &str, at: std::ops::Range<usize>) -> String {
        let mut problems = Problems::default();
        problems.push(problem("wrong", at, "here"));
        rendered(&problems.into_report("some.txt", text))
    }

    #[test]
    fn columns_count_characters_and_lines_keep_their_neighbours() {
        let text = "first\r\n\"äöü\" x\r\nlast";
        let at = text.find('x').unwrap();
        let report = shown(text, at..at + 1);
        assert!(report.contains("[some.txt:2:7]"), "{report}");
        assert!(report.contains("1 │ first\n") && report.contains("3 │ last\n"), "{report}");
    }

    #[test]
    fn the_end_of_the_text_can_be_pointed_at() {
        assert!(shown("abc", 3..3).contains("[some.txt:1:4]"));
        assert!(shown("abc\n", 4..4).contains("[some.txt:2:1]"));
        assert!(shown("", 0..0).contains("[some.txt:1:1]"));
    }

    #[test]
    fn a_huge_line_is_not_printed() {
        let text = format!("a\n{}X{}\nb\n", "é".repeat(100_000), "é".repeat(100_000));
        let at = text.find('X').unwrap();
        let report = shown(&text, at..text.len() - 3);
        assert!(report.contains("[some.txt:2:100001]"), "{report}");
        assert!(report.len() < 1000, "{} bytes", report.len());
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let report = shown("put \u{1b}[2J\u{85} x\n", 0..3);
        assert!(!report.contains('\u{1b}') && report.contains("put ?[2J?? x"), "{report}");
    }

    #[test]
    fn bytes_that_are_not_text_are_located() {
        let report = rendered(&decode(b"ab\ncd \xff\xfe\n".to_vec(), "x.toml").unwrap_err());
        assert!(
            report.contains("x.toml is not a text in UTF-8") && report.contains("[x.toml:2:4]"),
            "{report}"
        );
        assert_eq!(decode("ä".into(), "x").unwrap(), "ä");
        assert_eq!(without_mark("\u{feff}x"), "x");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read_text(Path::new("/nowhere/at-all.toml")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /nowhere/at-all.toml: "), "{error}");
    }
}
