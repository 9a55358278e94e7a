//! The strict reader: a TOML text as a tree that knows the place of everything, and typed access to its tables.
//!
//! Reading never stops at the first mistake: every getter reports what is wrong and answers none, so that one run
//! names all that has to be corrected. The callers go on with defaults and throw the result away at the end.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use miette::MietteDiagnostic;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;
use crate::suggest::{Problems, closest, did_you_mean, one_of, problem, shown};

/// A table of the document, under the name that messages give it.
#[derive(Clone)]
pub(super) struct Section<'d> {
    /// As in `[defaults]`; empty for the document itself.
    pub title: String,
    /// Where it begins: its header.
    pub span: Range<usize>,
    table: &'d DeTable<'d>,
}

impl<'d> Section<'d> {
    /// The value of a key, whatever it is.
    pub(super) fn value(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table.get(key)
    }

    fn within(&self) -> String {
        if self.title.is_empty() { String::new() } else { format!(" in {}", self.title) }
    }
}

/// Reads a document and collects its mistakes.
pub(super) struct Reader<'d> {
    text: &'d str,
    problems: Problems,
}

impl<'d> Reader<'d> {
    /// Reads that text.
    pub(super) fn new(text: &'d str) -> Reader<'d> {
        Reader { text, problems: Problems::default() }
    }

    /// Adds a mistake.
    pub(super) fn problem(&mut self, problem: MietteDiagnostic) {
        self.problems.push(problem);
    }

    /// Was nothing wrong so far?
    pub(super) fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// The mistakes, if there are any.
    pub(super) fn finish(self) -> Option<Problems> {
        (!self.problems.is_empty()).then_some(self.problems)
    }

    /// The line of a place, counted from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.text[..span.start].matches('\n').count() + 1
    }

    /// The whole document as a section.
    pub(super) fn document<'s>(&mut self, document: &'s Spanned<DeTable<'s>>) -> Section<'s> {
        let section = Section { title: String::new(), span: 0..0, table: document.get_ref() };
        self.known(&section, keys::DOCUMENT);
        section
    }

    /// The table under a key; its own keys are checked.
    pub(super) fn section<'s>(
        &mut self,
        parent: &Section<'s>,
        key: &str,
        title: &str,
        known: &[&str],
    ) -> Option<Section<'s>> {
        let section = self.table(parent, key, title)?;
        self.known(&section, known);
        Some(section)
    }

    /// An element of an array of tables; its keys are checked.
    pub(super) fn element<'s>(
        &mut self,
        value: &'s Spanned<DeValue<'s>>,
        title: &str,
        known: &[&str],
    ) -> Option<Section<'s>> {
        let Some(table) = value.get_ref().as_table() else {
            self.problem(problem(format!("each {title} must be a table"), value.span(), "is none"));
            return None;
        };
        let section = Section { title: title.to_owned(), span: value.span(), table };
        self.known(&section, known);
        Some(section)
    }

    fn table<'s>(&mut self, parent: &Section<'s>, key: &str, title: &str) -> Option<Section<'s>> {
        let value = parent.value(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Section { title: title.to_owned(), span: value.span(), table }),
            None => {
                let help = match value.get_ref() {
                    DeValue::Array(_) => format!("there is one of it: write [{key}], with single brackets"),
                    _ => format!("write [{key}] on a line of its own, and its keys below"),
                };
                self.wrong_type(parent, key, value, "a table", help);
                None
            }
        }
    }

    fn known(&mut self, section: &Section<'_>, known: &[&str]) {
        for key in section.table.keys() {
            if !known.contains(&&**key.get_ref()) {
                self.problem(unknown(key, section, known));
            }
        }
    }

    fn wrong_type(
        &mut self,
        section: &Section<'_>,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        wanted: &str,
        help: impl Into<Option<String>>,
    ) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let message = format!("`{key}`{} must be {wanted}, but is {found}", section.within());
        let mut mistake = problem(message, value.span(), &format!("not {wanted}"));
        mistake.help = help.into();
        self.problem(mistake);
    }

    /// A text.
    pub(super) fn text(&mut self, section: &Section<'_>, key: &str) -> Option<Spanned<String>> {
        let value = section.value(key)?;
        if let Some(text) = value.get_ref().as_str() {
            return Some(Spanned::new(value.span(), text.to_owned()));
        }
        let scalar = !value.get_ref().is_table() && !value.get_ref().is_array();
        let help =
            scalar.then(|| format!("write it in quotes: {key} = \"{}\"", shown(&self.text[value.span()])));
        self.wrong_type(section, key, value, "a text", help);
        None
    }

    /// A whole number within the range.
    pub(super) fn number(
        &mut self,
        section: &Section<'_>,
        key: &str,
        range: RangeInclusive<u16>,
    ) -> Option<Spanned<u16>> {
        let value = section.value(key)?;
        let span = value.span();
        let Some(number) = value.get_ref().as_integer() else {
            let digits = value.get_ref().as_str().filter(|text| text.parse::<u16>().is_ok());
            let help = digits.map(|digits| format!("write it without quotes: {key} = {digits}"));
            self.wrong_type(section, key, value, "a whole number", help);
            return None;
        };
        let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
        match parsed.and_then(|number| u16::try_from(number).ok()).filter(|number| range.contains(number)) {
            Some(number) => Some(Spanned::new(span, number)),
            None => {
                let message = format!(
                    "`{key}`{} is {}: it must be from {} to {}",
                    section.within(),
                    shown(&self.text[value.span()]),
                    range.start(),
                    range.end()
                );
                self.problem(problem(message, span, "out of range"));
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, section: &Section<'_>, key: &str) -> Option<bool> {
        let value = section.value(key)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            let help = format!("write {key} = true or {key} = false, without quotes");
            self.wrong_type(section, key, value, "true or false", help);
        }
        found
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        choices: &[(&str, T)],
    ) -> Option<Spanned<T>> {
        let word = self.text(section, key)?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| name == word.get_ref()) {
            return Some(Spanned::new(word.span(), *choice));
        }
        let names = || choices.iter().map(|(name, _)| *name);
        let suggestion = did_you_mean(word.get_ref(), names());
        let message = format!(
            "`{}` is not possible for `{key}`{}{suggestion}",
            shown(word.get_ref()),
            section.within()
        );
        self.problem(problem(message, word.span(), "").with_help(format!("`{key}` is {}", one_of(names()))));
        None
    }

    /// A table of texts with keys of the user's choice.
    pub(super) fn texts(
        &mut self,
        section: &Section<'_>,
        key: &str,
    ) -> BTreeMap<String, (Range<usize>, Spanned<String>)> {
        let Some(table) = self.table(section, key, &format!("`{key}`{}", section.within())) else {
            return BTreeMap::new();
        };
        let texts = table.table.keys().filter_map(|name| {
            let text = self.text(&table, name.get_ref())?;
            Some((name.get_ref().to_string(), (name.span(), text)))
        });
        texts.collect()
    }

    /// A table of texts, numbers and booleans with keys that somebody else judges.
    pub(super) fn scalars(
        &mut self,
        section: &Section<'_>,
        key: &str,
    ) -> BTreeMap<String, (Range<usize>, toml::Value)> {
        let Some(table) = self.table(section, key, &format!("`{key}`{}", section.within())) else {
            return BTreeMap::new();
        };
        let mut scalars = BTreeMap::new();
        for (name, value) in table.table {
            // Numbers are kept as text by the parser; taking the slice as a value reads them.
            match value.get_ref() {
                DeValue::String(text) => {
                    let text = toml::Value::String(text.to_string());
                    scalars.insert(name.get_ref().to_string(), (name.span(), text));
                }
                DeValue::Boolean(flag) => {
                    scalars.insert(name.get_ref().to_string(), (name.span(), toml::Value::Boolean(*flag)));
                }
                DeValue::Integer(_) | DeValue::Float(_) => match self.text[value.span()].parse() {
                    Ok(number) => {
                        scalars.insert(name.get_ref().to_string(), (name.span(), number));
                    }
                    Err(_) => self.problem(problem(
                        format!(
                            "`{}`{} is no number that can be represented",
                            name.get_ref(),
                            table.within()
                        ),
                        value.span(),
                        "too large",
                    )),
                },
                DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                    self.wrong_type(
                        &table,
                        name.get_ref(),
                        value,
                        "a text, a number, true or false",
                        None::<String>,
                    );
                }
            }
        }
        scalars
    }
}

fn unknown(
    key: &Spanned<std::borrow::Cow<'_, str>>,
    section: &Section<'_>,
    known: &[&str],
) -> MietteDiagnostic {
    let name = key.get_ref();
    let what = if section.title.is_empty() { "unknown section or key" } else { "unknown key" };
    let all = || known.iter().copied();
    let (suggestion, help) = if let Some(place) = keys::elsewhere(name, known) {
        (String::new(), Some(format!("`{name}` {place}")))
    } else {
        match keys::alias(name, known).or_else(|| closest(name, all())) {
            Some(meant) => (format!(": did you mean `{meant}`?"), None),
            None => (String::new(), Some(format!("possible here: {}", one_of(all())))),
        }
    };
    let message = format!("{what} `{}`{}{suggestion}", shown(name), section.within());
    let mut mistake = problem(message, key.span(), "");
    mistake.help = help;
    mistake
}
