//! Files of the classic experiments.
//!
//! - Keys: one on each line, whatever it has in it; blanks around it and blank lines do not count. A file for each entry
//!   node; a directory means its files, by name.
//! - Requests: `insert, KEY, VALUE` or `query, KEY` on each line. A key may have commas: the value is what stands behind
//!   the last one.
//!
//! Mistakes are reported with their lines before anything is sent.

use std::ops::Range;
use std::path::{Path, PathBuf};

use chordata_protocol::key::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use chordata_workload::job::Request;
use miette::{MietteDiagnostic, Report};

use crate::failure::{Failure, Outcome};
use crate::suggest::{self, Problems, did_you_mean, problem, shown};

const FORMS: &str = "a line is `insert, KEY, VALUE` or `query, KEY`";

/// The keys of these files and directories: a list for each file.
///
/// # Errors
/// When one cannot be read, is empty, or has a line that is no key.
pub(crate) fn load_keys(paths: &[PathBuf]) -> Outcome<Vec<Vec<String>>> {
    let files = files(paths)?;
    files.iter().map(|file| Ok(parse_keys(&suggest::read_text(file)?, &name(file))?)).collect()
}

/// The requests of these files and directories, one file behind the other.
///
/// # Errors
/// When one cannot be read, is empty, or has a line that is no request.
pub(crate) fn load_requests(paths: &[PathBuf]) -> Outcome<Vec<Request>> {
    let mut all = Vec::new();
    for file in files(paths)? {
        all.extend(parse_requests(&suggest::read_text(&file)?, &name(&file))?);
    }
    Ok(all)
}

fn name(file: &Path) -> String {
    file.display().to_string()
}

/// The files of directories, by name, and files as they are.
fn files(paths: &[PathBuf]) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |error| Failure::input(format!("the directory {}: {error}", path.display()));
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            let is_hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if file.is_file() && !is_hidden {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(Failure::input(format!("the directory {} has no files", path.display())));
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// Each line that is not blank, without blanks around it, and where it is in the text.
fn lines(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut offset = 0;
    text.split_inclusive('\n').filter_map(move |raw| {
        let at = offset + (raw.len() - raw.trim_start().len());
        offset += raw.len();
        let line = raw.trim();
        (!line.is_empty()).then_some((line, at))
    })
}

fn parse_keys(text: &str, name: &str) -> Result<Vec<String>, Report> {
    let text = suggest::without_mark(text);
    let mut problems = Problems::default();
    let mut keys = Vec::new();
    for (line, at) in lines(text) {
        match check_key(line, at) {
            Ok(()) => keys.push(line.to_owned()),
            Err(problem) => problems.push(*problem),
        }
    }
    finish(keys, problems, name, text, "there is no key in it: one stands on each line")
}

fn parse_requests(text: &str, name: &str) -> Result<Vec<Request>, Report> {
    let text = suggest::without_mark(text);
    let mut problems = Problems::default();
    let mut requests = Vec::new();
    for (line, at) in lines(text) {
        match request(line, at) {
            Ok(request) => requests.push(request),
            Err(problem) => problems.push(*problem),
        }
    }
    finish(requests, problems, name, text, &format!("there is no request in it: {FORMS}"))
}

fn finish<T>(
    found: Vec<T>,
    mut problems: Problems,
    name: &str,
    text: &str,
    empty: &str,
) -> Result<Vec<T>, Report> {
    if found.is_empty() && problems.is_empty() {
        problems.push(problem(empty, 0..0, ""));
    }
    if problems.is_empty() { Ok(found) } else { Err(problems.into_report(name, text)) }
}

/// A boxed mistake: an error as large as miette's would make every success as large.
type Mistake = Box<MietteDiagnostic>;

fn check_key(key: &str, at: usize) -> Result<(), Mistake> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    let message = format!("a key has at most {KEY_BYTES_MAX} bytes, this one has {}", key.len());
    Err(Box::new(problem(message, at..at + key.len(), "this key")))
}

/// A part of a line between commas, and where it is.
fn part(line: &str, range: Range<usize>, at: usize) -> (&str, usize) {
    let text = &line[range.clone()];
    (text.trim(), at + range.start + (text.len() - text.trim_start().len()))
}

fn request(line: &str, at: usize) -> Result<Request, Mistake> {
    let first = line.find(',').unwrap_or(line.len());
    let (verb, place) = part(line, 0..first, at);
    let is_insert = match verb.to_ascii_lowercase().as_str() {
        "insert" => true,
        "query" => false,
        other => {
            let message =
                format!("unknown request `{}`{}", shown(verb), did_you_mean(other, ["insert", "query"]));
            return Err(Box::new(problem(message, place..place + verb.len(), "").with_help(FORMS)));
        }
    };
    let missing = |what: &str| {
        let end = at + line.len();
        let message = format!("`{verb}` without a {what}");
        Box::new(problem(message, end..end, &format!("the {what} is missing here")).with_help(FORMS))
    };
    if first == line.len() {
        return Err(missing("key"));
    }
    let last = line.rfind(',').unwrap_or(first);
    let (key, key_at) = match (is_insert, last > first) {
        (true, false) => return Err(missing("value")),
        (true, true) => part(line, first + 1..last, at),
        (false, _) => part(line, first + 1..line.len(), at),
    };
    if key.is_empty() {
        return Err(missing("key"));
    }
    check_key(key, key_at)?;
    if !is_insert {
        return Ok(Request::Query { key: key.to_owned() });
    }
    let (value, value_at) = part(line, last + 1..line.len(), at);
    if value.len() > VALUE_BYTES_MAX {
        let message = format!("a value has at most {VALUE_BYTES_MAX} bytes, this one has {}", value.len());
        return Err(Box::new(problem(message, value_at..value_at + value.len(), "this value")));
    }
    if value.is_empty() {
        return Err(missing("value"));
    }
    Ok(Request::Insert { key: key.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suggest::rendered;

    #[test]
    fn keys_are_lines_whatever_is_in_them() {
        let keys = parse_keys("\u{feff}Hey Jude\r\n\r\n  Ob-La-Di, Ob-La-Da \n#9 Dream\nlast", "k.txt");
        assert_eq!(keys.expect("keys"), ["Hey Jude", "Ob-La-Di, Ob-La-Da", "#9 Dream", "last"]);
    }

    #[test]
    fn requests_are_read_also_with_commas_in_keys() {
        let insert =
            |key: &str, value: &str| Request::Insert { key: key.to_owned(), value: value.to_owned() };
        let query = |key: &str| Request::Query { key: key.to_owned() };
        let text = "insert, Hey Jude, 12\nquery, Hey Jude\nINSERT,Ob-La-Di, Ob-La-Da,3\r\nquery,Ob-La-Di, Ob-La-Da\n";
        let expected = [
            insert("Hey Jude", "12"),
            query("Hey Jude"),
            insert("Ob-La-Di, Ob-La-Da", "3"),
            query("Ob-La-Di, Ob-La-Da"),
        ];
        assert_eq!(parse_requests(text, "r.txt").expect("requests"), expected);
    }

    #[test]
    fn mistakes_are_pointed_at() {
        for (text, place, says) in [
            ("query, a\nqueri, b\n", "r.txt:2:1", "did you mean `query`?"),
            ("insert, a\n", "r.txt:1:10", "without a value"),
            ("query, a\n\n  insert, , 3", "r.txt:3:14", "without a key"),
            ("query, a\nquery\n", "r.txt:2:6", "without a key"),
            ("insert, a, \n", "r.txt:1:11", "without a value"),
            ("\n \n", "r.txt:1:1", "no request"),
        ] {
            let text = rendered(&parse_requests(text, "r.txt").expect_err(says));
            assert!(text.contains(place) && text.contains(says), "{place} {says}:\n{text}");
        }
        let long = format!("a\n  {}\n", "k".repeat(KEY_BYTES_MAX + 1));
        let text = rendered(&parse_keys(&long, "k.txt").expect_err("too long"));
        assert!(text.contains("k.txt:2:3") && text.contains("4096"), "{text}");
        assert!(rendered(&parse_keys("\n", "k.txt").expect_err("empty")).contains("no key"));
    }
}
