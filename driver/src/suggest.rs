//! What to say to somebody who mistyped: the nearest right word, and reports that point at the place.
//!
//! Two kinds of text are written by hand and read strictly: inventories and input files. Both collect what is wrong
//! in [`Problems`], which become one report: every mistake with its line and column, at most [`PROBLEMS_MAX`] of
//! them shown, the rest counted. [`closest`] finds the word that was probably meant, in these texts and wherever
//! else a name is given.

mod source;

use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, MietteDiagnostic, Report};

use source::Source;
pub(crate) use source::{read_text, without_mark};

/// Mistakes that one report shows in full: a file of another kind has one on every line.
pub(crate) const PROBLEMS_MAX: usize = 10;

/// Letters of a mistyped word that a message repeats.
const SHOWN_CHARS_MAX: usize = 40;

/// Bytes that a label underlines at most, so that a value of a megabyte is pointed at, not printed.
const LABEL_BYTES_MAX: usize = 40;

/// The candidate that `word` was probably meant to be; none when all are too far from it.
///
/// Case and the choice of `-` or `_` do not count; a third of the letters may be wrong, swapped or missing; a word
/// that only begins like the candidate (`identity` for `identity_file`) is near as well. The earlier of two equally
/// near candidates wins.
pub(crate) fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = folded(word);
    let tolerated = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (mistakes(&word, &folded(candidate)), candidate))
        .filter(|(mistakes, _)| *mistakes <= tolerated)
        .min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, candidate)| candidate)
}

/// The end of a message about an unknown word: `: did you mean ...?`, or nothing.
pub(crate) fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    closest(word, candidates).map_or_else(String::new, |right| format!(": did you mean `{right}`?"))
}

fn folded(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

fn mistakes(word: &str, candidate: &str) -> usize {
    // A single letter begins too many words to say which was meant.
    let begins = word.len() >= 3 && (candidate.starts_with(word) || word.starts_with(candidate));
    let distance = strsim::damerau_levenshtein(word, candidate);
    if word.is_empty() || distance >= candidate.chars().count() {
        usize::MAX
    } else if begins {
        distance.min(1)
    } else {
        distance
    }
}

/// A word as a message repeats it: shortened, control characters escaped.
pub(crate) fn shown(word: &str) -> String {
    let mut text: String = word.chars().take(SHOWN_CHARS_MAX).flat_map(escaped).collect();
    if word.chars().nth(SHOWN_CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}

fn escaped(character: char) -> Vec<char> {
    if character.is_control() || character == '\u{feff}' {
        character.escape_default().collect()
    } else {
        vec![character]
    }
}

/// Several items in a sentence: `a`, `b` or `c`.
pub(crate) fn one_of<'c>(items: impl IntoIterator<Item = &'c str>) -> String {
    let mut items: Vec<String> = items.into_iter().map(|item| format!("`{item}`")).collect();
    match items.pop() {
        None => "nothing".to_owned(),
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} or {last}", items.join(", ")),
    }
}

/// A mistake at a place of the text. Add labels and help with the methods of `MietteDiagnostic`.
pub(crate) fn problem(message: impl Into<String>, at: Range<usize>, label: &str) -> MietteDiagnostic {
    MietteDiagnostic::new(message).with_label(pointer(at, label))
}

/// Points at bytes of the text; an empty label only underlines.
pub(crate) fn pointer(at: Range<usize>, label: &str) -> LabeledSpan {
    let length = at.len().min(LABEL_BYTES_MAX);
    let label = (!label.is_empty()).then(|| label.to_owned());
    LabeledSpan::new_primary_with_span(label, (at.start, length))
}

/// The mistakes found in one text, in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<MietteDiagnostic>,
    count: usize,
}

impl Problems {
    /// Adds one.
    pub(crate) fn push(&mut self, problem: MietteDiagnostic) {
        self.count += 1;
        if self.found.len() < PROBLEMS_MAX {
            self.found.push(problem);
        }
    }

    /// Was nothing wrong?
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One report of them all, by their place in the text that `name` holds.
    pub(crate) fn into_report(mut self, name: &str, text: &str) -> Report {
        self.found.sort_by_key(place);
        let source = Source::new(name, text);
        if self.count == 1
            && let Some(only) = self.found.pop()
        {
            return Report::new(only).with_source_code(source);
        }
        let rest = if self.count > self.found.len() {
            format!("; the first {} are shown", self.found.len())
        } else {
            String::new()
        };
        let summary = format!("{}: {} mistakes{rest}", shown(name), self.count);
        Report::new(Several { summary, text: source, problems: self.found })
    }
}

fn place(problem: &MietteDiagnostic) -> usize {
    problem.labels.iter().flatten().map(LabeledSpan::offset).next().unwrap_or(0)
}

#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{summary}")]
struct Several {
    summary: String,
    #[source_code]
    text: Source,
    #[related]
    problems: Vec<MietteDiagnostic>,
}

/// A report as the terminal would show it, without colours and wide enough to keep sentences on one line.
#[cfg(test)]
pub(crate) fn rendered(report: &Report) -> String {
    let theme = miette::GraphicalTheme::unicode_nocolor();
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(300);
    let mut text = String::new();
    handler.render_report(&mut text, report.as_ref()).unwrap();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["user", "port", "identity_file", "listen_port", "labels"];
        for (typed, meant) in [
            ("usr", "user"),
            ("User", "user"),
            ("prot", "port"),
            ("identity-file", "identity_file"),
            ("identity", "identity_file"),
            ("listenport", "listen_port"),
            ("label", "labels"),
        ] {
            assert_eq!(closest(typed, keys), Some(meant), "{typed}");
        }
        for typed in ["", "x", "zone", "colour"] {
            assert_eq!(closest(typed, keys), None, "{typed}");
        }
        assert_eq!(closest("n5", ["n1", "n2"]), Some("n1"), "the earlier of two that are equally near");
        assert_eq!(did_you_mean("usr", keys), ": did you mean `user`?");
        assert_eq!(did_you_mean("zone", keys), "");
    }

    #[test]
    fn a_sentence_joins_any_number_of_words() {
        assert_eq!(one_of([]), "nothing");
        assert_eq!(one_of(["a"]), "`a`");
        assert_eq!(one_of(["a", "b", "c"]), "`a`, `b` or `c`");
    }

    #[test]
    fn one_mistake_is_told_alone_and_several_in_the_order_of_the_text() {
        let mut problems = Problems::default();
        assert!(problems.is_empty());
        problems.push(problem("second", 4..5, "").with_help("help yourself"));
        let text = rendered(&problems.into_report("a.toml", "abc\ndef\n"));
        assert!(
            text.contains("second") && text.contains("a.toml:2:1") && text.contains("help yourself"),
            "{text}"
        );
        assert!(!text.contains("mistakes"), "{text}");

        let mut problems = Problems::default();
        (0..12)
            .rev()
            .for_each(|line| problems.push(problem(format!("line {line}"), line * 2..line * 2 + 1, "")));
        let text = rendered(&problems.into_report("a.toml", &"x\n".repeat(12)));
        assert!(text.contains("a.toml: 12 mistakes; the first 10 are shown"), "{text}");
        assert!(text.find("line 2").unwrap() < text.find("line 11").unwrap(), "{text}");
    }
}
