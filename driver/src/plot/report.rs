//! One page with everything of a result: it needs nothing else, no other file and no network.

use std::fmt::Write;

use chordata_workload::Facts;

use super::Figure;
use super::against::{Against, times};
use crate::experiment::result::{NodeLoad, Results};
use crate::experiment::summary::{Row, grouped, rows, time};

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:76rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.2rem}
p.lead,figcaption{color:#666}figure{margin:1rem 0;overflow-x:auto}svg{max-width:100%;height:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.25rem .8rem .25rem 0;border-bottom:1px solid #e2e2e2;text-align:left;vertical-align:top}
td.n,th.n{text-align:right}
.wide{overflow-x:auto}
";

/// The page.
pub(crate) fn page(results: &Results, figures: &[Figure], against: Option<&Against>) -> String {
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    let title = format!("Experiment of {}", results.began);
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        escaped(&title)
    );
    let _ = write!(
        page,
        "<h1>{}</h1>\n<p class=\"lead\">Chordata {}, {}, {}</p>\n",
        escaped(&title),
        escaped(&results.program),
        escaped(&results.settings.cluster),
        escaped(&results.settings.transport),
    );
    for figure in figures {
        let _ = write!(
            page,
            "<h2>{}</h2>\n<figure>\n{}\n<figcaption>{}</figcaption>\n</figure>\n",
            figure.title,
            inline(&figure.svg),
            figure.caption
        );
    }
    page.push_str("<h2>Numbers</h2>\n");
    page.push_str(&numbers(results, against));
    page.push_str("<h2>Nodes after the last run</h2>\n");
    page.push_str(&nodes(results));
    page.push_str("<h2>Settings</h2>\n");
    page.push_str(&settings(results));
    page.push_str("<h2>Machine</h2>\n");
    page.push_str(&machine(&results.host));
    let failures =
        results.cells.iter().flat_map(|cell| &cell.experiments).flat_map(|experiment| &experiment.runs);
    let failures: Vec<&String> = failures.flat_map(|run| &run.measured.failures).collect();
    if !failures.is_empty() {
        page.push_str("<h2>Failures</h2>\n<ul>\n");
        for failure in failures {
            let _ = writeln!(page, "<li>{}</li>", escaped(failure));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// An SVG inside of a page has no declaration of its own.
fn inline(svg: &str) -> &str {
    svg.find("<svg").map_or(svg, |at| &svg[at..])
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A table; columns from `numbers` on are numbers.
fn table(headings: &[&str], first_number: usize, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let class = |place: usize| if place >= first_number { " class=\"n\"" } else { "" };
    let mut text = String::from("<div class=\"wide\"><table>\n<tr>");
    for (place, heading) in headings.iter().enumerate() {
        let _ = write!(text, "<th{}>{heading}</th>", class(place));
    }
    text.push_str("</tr>\n");
    for row in rows {
        text.push_str("<tr>");
        for (place, cell) in row.iter().enumerate() {
            let _ = write!(text, "<td{}>{}</td>", class(place), escaped(cell));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table></div>\n");
    text
}

fn numbers(results: &Results, against: Option<&Against>) -> String {
    let mut headings = vec![
        "experiment",
        "cluster",
        "per second",
        "slowest",
        "fastest",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "answered",
        "missing",
        "other value",
        "failed",
        "stale",
    ];
    headings.extend(against.iter().flat_map(|_| ["theirs per second", "times"]));
    let cells = |row: Row| {
        let mut cells = vec![
            row.experiment.name().to_owned(),
            row.cluster(),
            grouped(row.per_second),
            grouped(row.per_second_min),
            grouped(row.per_second_max),
            time(row.p50_us),
            time(row.p90_us),
            time(row.p99_us),
            time(row.p999_us),
            grouped(row.answered as f64),
            row.missing.to_string(),
            row.other.to_string(),
            row.unanswered.to_string(),
            row.stale.map_or_else(|| "-".to_owned(), |stale| stale.to_string()),
        ];
        if let Some(against) = against {
            let theirs = against.per_second(&row);
            cells.push(theirs.map_or_else(|| "-".to_owned(), grouped));
            cells.push(theirs.map_or_else(|| "-".to_owned(), |theirs| times(row.per_second, theirs)));
        }
        cells
    };
    table(&headings, 2, rows(results).into_iter().map(cells))
}

fn nodes(results: &Results) -> String {
    let headings = ["cluster", "experiment", "node", "share of the ring", "keys", "bytes", "processor"];
    let mut rows = Vec::new();
    for cell in &results.cells {
        for experiment in &cell.experiments {
            let of = Row::of(cell, experiment).cluster();
            let last = experiment.runs.last().map_or(&[][..], |run| &run.nodes[..]);
            rows.extend(last.iter().map(|node: &NodeLoad| {
                vec![
                    of.clone(),
                    experiment.kind.name().to_owned(),
                    node.name.clone(),
                    format!("{:.1} %", node.share * 100.0),
                    grouped(node.keys as f64),
                    grouped(node.bytes as f64),
                    node.processor_seconds
                        .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2} s")),
                ]
            }));
        }
    }
    table(&headings, 3, rows)
}

fn settings(results: &Results) -> String {
    let settings = &results.settings;
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let generators = match settings.on_hosts {
        true => format!("{}, on the cluster's hosts", settings.generators),
        false => format!("{}, on the driver's machine", settings.generators),
    };
    let mut rows = vec![
        row("cluster", settings.cluster.clone()),
        row("requests travel by", settings.transport.clone()),
        row("requests under way at each entry node", settings.in_flight.to_string()),
        row("requests written to a connection at once", settings.pipeline.to_string()),
        row("bytes of a value", settings.value_bytes.to_string()),
        row("keys", settings.keys.clone()),
        row("mixed requests", settings.requests.clone()),
        row(
            "length of a run",
            settings.seconds.map_or_else(|| "all keys or requests once".to_owned(), |s| format!("{s} s")),
        ),
        row("warm-up", format!("{} s", settings.warm_up_seconds)),
        row("runs", settings.repeats.to_string()),
        row("load generators", generators),
        row("command", format!("chordata {}", results.command.join(" "))),
        row("program", format!("chordata {}", results.program)),
    ];
    for cell in &results.cells {
        let kept = cell.durability.clone().unwrap_or_else(|| "not known".to_owned());
        let started =
            cell.start_seconds.map_or_else(|| "ran before".to_owned(), |s| format!("whole after {s:.1} s"));
        let model = cell.consistency.clone().unwrap_or_else(|| "not known".to_owned());
        let copies = cell.replication.map_or_else(String::new, |copies| format!(", k = {copies}"));
        rows.push(row(
            &format!("{model}{copies}"),
            format!("{} entry nodes, durability {kept}, {started}", cell.nodes),
        ));
    }
    table(&["setting", "value"], 2, rows)
}

fn machine(host: &Facts) -> String {
    let unknown = || "not known".to_owned();
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    table(
        &["fact", "value"],
        2,
        [
            row("processor", host.cpu_model.clone().unwrap_or_else(unknown)),
            row("cores", host.cores.to_string()),
            row(
                "memory",
                host.memory_bytes
                    .map_or_else(unknown, |bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))),
            ),
            row("kernel", host.kernel.clone().unwrap_or_else(unknown)),
            row(
                "load average before",
                host.load_average
                    .map_or_else(unknown, |load| load.map(|load| format!("{load:.2}")).join(", ")),
            ),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::result::tests::results;

    #[test]
    fn the_page_has_all_numbers_pictures_settings_and_facts_and_refers_to_nothing() {
        let results = results();
        let page = page(&results, &crate::plot::figures(&results).expect("figures"), None);
        for part in [
            "chain, k = 3",
            "2,000",
            "eventual, k = 1",
            "A &lt;fast&gt; one",
            "Load per node",
            "whole after 1.5 s",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(page.matches("<svg").count(), 3);
        assert!(!page.contains("<?xml") && !page.contains("<script") && !page.contains("src="));
        assert_eq!(page.matches("<table>").count(), page.matches("</table>").count());
    }
}
