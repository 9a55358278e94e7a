//! Pictures and pages of a result that was measured.

use std::path::Path;

use crate::clusters::read;
use crate::fake::{Fake, Faults};
use crate::support::{Ran, run};

/// Measures a small result, with all three experiments, as `r.json`.
fn measured(home: &Path) {
    let arguments =
        ["experiment", "all", "--local", "2", "--replication", "1,2", "--consistency", "chain,eventual"];
    let more = ["--generate", "30", "--warm-up", "0", "--repeat", "2", "--out", "r.json"];
    run(home, &[&arguments[..], &more].concat()).exits(0);
}

fn plot(home: &Path, more: &[&str]) -> Ran {
    run(home, &[&["plot", "r.json"][..], more].concat())
}

/// Are all elements of an XML text closed in order? Attributes in quotes, no entities but the usual ones.
fn is_well_formed(text: &str) -> bool {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let Some(end) = rest[at..].find('>') else { return false };
        let tag = &rest[at + 1..at + end];
        if rest[..at].contains('>') || tag.matches('"').count() % 2 == 1 {
            return false;
        }
        match tag.strip_prefix('/') {
            Some(name) if open.pop() != Some(name.trim()) => return false,
            Some(_) => {}
            None if tag.ends_with('/') || tag.starts_with(['?', '!']) => {}
            None => open.extend(tag.split_whitespace().next()),
        }
        rest = &rest[at + end + 1..];
    }
    open.is_empty()
}

#[test]
fn well_formed_is_told_from_torn() {
    assert!(is_well_formed("<?xml?><svg a=\"1\">\n<g><text>x</text><line/></g></svg>\n"));
    for torn in ["<svg><g></svg></g>", "<svg>", "<svg a=\"1>x</svg>", "<svg", "</svg>"] {
        assert!(!is_well_formed(torn), "{torn}");
    }
}

#[test]
fn a_measured_result_becomes_pictures_a_page_and_a_part_of_markdown() {
    let home = tempfile::tempdir().unwrap();
    measured(home.path());
    std::fs::write(home.path().join("theirs.csv"), "insert,chain,2,0.5\n").unwrap();
    std::fs::write(
        home.path().join("page.md"),
        "# Mine\n<!-- begin: experiment -->\n<!-- end: experiment -->\nMy words\n",
    )
    .unwrap();
    let more = ["-o", "pictures", "--report", "out.html", "--fill", "page.md", "--against", "theirs.csv"];
    let ran = plot(home.path(), &more).exits(0);
    let result = read(&home.path().join("r.json"));
    let kinds = ["throughput", "latency", "load"];
    for name in kinds {
        let svg = std::fs::read_to_string(home.path().join(format!("pictures/{name}.svg"))).unwrap();
        assert!(is_well_formed(&svg), "{name}");
        for word in ["chain", "eventual"] {
            assert!(svg.contains(word), "{word} in {name}");
        }
        let path = home.path().join(format!("pictures/{name}.png"));
        let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let size = format!("width=\"{}\" height=\"{}\"", info.width / 2, info.height / 2);
        assert!(svg.contains(&size), "the PNG of {name} is twice as large: {size}");
        assert!(pixels.iter().filter(|byte| **byte < 200).count() > 5_000, "{name} is not empty");
    }
    let page = std::fs::read_to_string(home.path().join("out.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 3);
    let markdown = std::fs::read_to_string(home.path().join("page.md")).unwrap();
    assert!(markdown.starts_with("# Mine\n") && markdown.ends_with("\nMy words\n"));
    assert!(markdown.contains("](pictures/load.svg)"), "{markdown}");
    // The numbers are those of the result: the median of two runs is their mean.
    for cell in result["cells"].as_array().unwrap() {
        for experiment in cell["experiments"].as_array().unwrap() {
            let rates: Vec<f64> = experiment["runs"].as_array().unwrap().iter().map(per_second).collect();
            let median = grouped(f64::midpoint(rates[0], rates[1]));
            for text in [&page, &markdown] {
                assert!(text.contains(&median), "{median} of {} is missing", experiment["kind"]);
            }
        }
    }
    assert!(page.contains("theirs per second"));
    let model = result["host"]["cpu_model"].as_str().unwrap_or("not known");
    assert!(page.contains(model) && markdown.contains("| insert | chain, k = 2 |"), "{model}");
    assert_eq!(ran.out.lines().count(), 8, "six pictures and two pages are listed:\n{}", ran.out);
}

fn per_second(run: &serde_json::Value) -> f64 {
    let entries = run["entries"].as_array().unwrap().iter();
    let answered = entries.map(|entry| {
        let count = |of: &str| entry[of]["done"].as_u64().unwrap() + entry[of]["missing"].as_u64().unwrap();
        count("insert") + count("query")
    });
    answered.sum::<u64>() as f64 / run["seconds"].as_f64().unwrap()
}

fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut groups: Vec<&str> = Vec::new();
    let mut end = digits.len();
    while end > 3 {
        groups.push(&digits[end - 3..end]);
        end -= 3;
    }
    groups.push(&digits[..end]);
    groups.reverse();
    groups.join(",")
}

#[test]
fn other_files_and_results_of_nothing_are_refused() {
    let home = tempfile::tempdir().unwrap();
    plot(home.path(), &[]).exits(2).remarks("r.json");
    std::fs::write(home.path().join("r.json"), "{\"format\":\"chordata-experiment\",\"version\":99}")
        .unwrap();
    plot(home.path(), &[]).exits(2).remarks("version 99");
    std::fs::write(home.path().join("r.json"), "{\"cells\":[]}").unwrap();
    plot(home.path(), &[]).exits(2).remarks("no result");
    // Nothing was answered.
    let fake = Fake::start(Faults { refuses_every: Some(1), ..Faults::default() });
    let arguments = ["experiment", "insert", "--http-at", &fake.address, "--generate", "3", "--warm-up", "0"];
    run(home.path(), &[&arguments[..], &["--out", "r.json"]].concat()).exits(1);
    plot(home.path(), &[]).exits(2).remarks("nothing to draw");
    assert!(!home.path().join("r").exists(), "no empty directory is made");
}

#[test]
fn pictures_stand_beside_the_result_unless_told_otherwise() {
    let home = tempfile::tempdir().unwrap();
    let fake = Fake::start(Faults::default());
    let arguments = ["experiment", "insert", "--http-at", &fake.address, "--generate", "3", "--warm-up", "0"];
    run(home.path(), &[&arguments[..], &["--out", "r.json"]].concat()).exits(0);
    let files = run(home.path(), &["--json", "plot", "r.json"]).exits(0).json();
    // Where only HTTP is known nobody can say which node holds what.
    let expected =
        ["throughput", "latency"].map(|name| [format!("r/{name}.svg"), format!("r/{name}.png")]).concat();
    assert_eq!(files["files"], serde_json::to_value(expected).unwrap());
    assert!(home.path().join("r/latency.png").exists());
}
