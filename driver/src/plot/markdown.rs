//! Filling a page of Markdown: what stands between two marks is replaced by tables and pictures of a result, and what is
//! around them stays.

use std::fmt::Write;
use std::path::Path;

use super::Figure;
use super::against::{Against, times};
use crate::experiment::result::Results;
use crate::experiment::summary::{grouped, rows, time};
use crate::failure::{Failure, Outcome};
use crate::suggest;

/// The marks.
const BEGIN: &str = "<!-- begin: experiment -->";
const END: &str = "<!-- end: experiment -->";

/// The page with the result in it. `pictures` is where they were written.
///
/// # Errors
/// When the page cannot be read or has no marks.
pub(crate) fn filled(
    page: &Path,
    results: &Results,
    figures: &[Figure],
    pictures: &Path,
    against: Option<&Against>,
) -> Outcome<String> {
    let text = suggest::read_text(page)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, behind)) = parts else {
        return Err(Failure::input(format!(
            "{} has no place for a result: it stands between {BEGIN} and {END}",
            page.display()
        )));
    };
    let from = page.parent().unwrap_or(Path::new(""));
    let pictures = pictures.strip_prefix(from).unwrap_or(pictures);
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{behind}", inside(results, figures, pictures, against)))
}

fn inside(results: &Results, figures: &[Figure], pictures: &Path, against: Option<&Against>) -> String {
    let mut text = format!(
        "Measured {} with chordata {}: {}, {}, {} requests under way at each node, values of {} bytes, {} runs{}.\n\n",
        results.began,
        results.program,
        results.settings.cluster,
        results.settings.transport,
        results.settings.in_flight,
        results.settings.value_bytes,
        results.settings.repeats,
        results.settings.seconds.map_or_else(String::new, |seconds| format!(" of {seconds} s")),
    );
    let host = &results.host;
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "Machine: {}, {} cores, {:.0} GiB of memory, Linux {}, load average before {}.\n\n```sh\nchordata {}\n```\n",
        host.cpu_model.as_deref().unwrap_or("processor not known"),
        host.cores,
        host.memory_bytes.unwrap_or(0) as f64 / f64::from(1 << 30),
        host.kernel.as_deref().unwrap_or("not known"),
        host.load_average.map_or_else(|| "not known".to_owned(), |load| format!("{:.2}", load[0])),
        results.command.join(" "),
    );
    let (mut headings, mut line) = (
        "| experiment | cluster | per second | slowest..fastest |".to_owned(),
        "|---|---|---:|---:|".to_owned(),
    );
    if against.is_some() {
        headings.push_str(" theirs | times |");
        line.push_str("---:|---:|");
    }
    let _ = writeln!(
        text,
        "{headings} p50 | p99 | p99.9 | missing | failed | stale |\n{line}---:|---:|---:|---:|---:|---:|"
    );
    for row in rows(results) {
        let _ = write!(
            text,
            "| {} | {} | {} | {}..{} |",
            row.experiment.name(),
            row.cluster(),
            grouped(row.per_second),
            grouped(row.per_second_min),
            grouped(row.per_second_max),
        );
        if let Some(against) = against {
            let _ = match against.per_second(&row) {
                Some(theirs) => write!(text, " {} | {} |", grouped(theirs), times(row.per_second, theirs)),
                None => write!(text, " - | - |"),
            };
        }
        let stale = row.stale.map_or_else(|| "-".to_owned(), |stale| stale.to_string());
        let _ = writeln!(
            text,
            " {} | {} | {} | {} | {} | {stale} |",
            time(row.p50_us),
            time(row.p99_us),
            time(row.p999_us),
            row.missing,
            row.unanswered,
        );
    }
    for figure in figures {
        let path = pictures.join(format!("{}.svg", figure.name));
        let _ = write!(text, "\n![{}]({})\n\n{}\n", figure.title, path.display(), figure.caption);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::result::tests::results;

    #[test]
    fn a_page_is_filled_between_its_marks_again_and_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let page = directory.path().join("page.md");
        std::fs::write(&page, format!("# Before\n{BEGIN}\nold\n{END}\nAfter\n")).expect("it is written");
        let results = results();
        let figures = crate::plot::figures(&results).expect("figures");
        let pictures = directory.path().join("pictures");
        let mut before = String::new();
        for _ in 0..2 {
            let text = filled(&page, &results, &figures, &pictures, None).expect("it is filled");
            assert!(text.starts_with("# Before\n") && text.ends_with("\nAfter\n") && !text.contains("old"));
            assert!(text.contains("| insert | chain, k = 3 | 2,000 | 1,800..2,400 |"), "{text}");
            assert!(text.contains("![Throughput](pictures/throughput.svg)"), "{text}");
            assert!(before.is_empty() || before == text, "the second time changes nothing");
            std::fs::write(&page, &text).expect("it is written");
            before = text;
        }
        std::fs::write(&page, "# No marks\n").expect("it is written");
        assert!(filled(&page, &results, &figures, &pictures, None).is_err());
    }
}
