//! Runs in a few numbers: the median of the runs and their spread, percentiles over all runs.

use chordata_workload::Latency;
use chordata_workload::measured::Count;
use serde::Serialize;

use super::result::{Cell, Experiment, Kind, Results};
use crate::report::{self, Report, table};

/// A table of all experiments.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Where the whole result is.
    pub(crate) file: String,
    rows: Vec<Row>,
}

/// One experiment on one cluster.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Row {
    /// Which of the three.
    pub(crate) experiment: Kind,
    /// `chain`, ...
    pub(crate) consistency: Option<String>,
    /// Copies.
    pub(crate) replication: Option<u8>,
    /// Answered requests each second, the median of the runs.
    pub(crate) per_second: f64,
    /// The slowest run.
    pub(crate) per_second_min: f64,
    /// The fastest one.
    pub(crate) per_second_max: f64,
    /// Of all runs together, in microseconds.
    pub(crate) p50_us: Option<u64>,
    /// Likewise.
    pub(crate) p90_us: Option<u64>,
    /// Likewise.
    pub(crate) p99_us: Option<u64>,
    /// Likewise.
    pub(crate) p999_us: Option<u64>,
    /// Requests that were answered, in all runs.
    pub(crate) answered: u64,
    /// Requests that failed or whose outcome is not known.
    pub(crate) unanswered: u64,
    /// Queries that found nothing.
    pub(crate) missing: u64,
    /// Queries that found a value of somebody else.
    pub(crate) other: u64,
    /// Answers that were older than what had been acknowledged; none: not looked at.
    pub(crate) stale: Option<u64>,
}

/// The middle one; of an even number the mean of the two in the middle. 0 without any.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// All times of an experiment.
pub(crate) fn latency(experiment: &Experiment) -> Latency {
    let mut all = Latency::default();
    for run in &experiment.runs {
        all.add(&run.measured.inserts().latency);
        all.add(&run.measured.queries().latency);
    }
    all
}

impl Row {
    /// Of an experiment.
    pub(crate) fn of(cell: &Cell, experiment: &Experiment) -> Row {
        let rates: Vec<f64> = experiment.runs.iter().map(|run| run.measured.per_second()).collect();
        let (mut inserts, mut queries) = (Count::default(), Count::default());
        for run in &experiment.runs {
            inserts.add(&run.measured.inserts());
            queries.add(&run.measured.queries());
        }
        let latency = latency(experiment);
        let stale: Vec<u64> = experiment.runs.iter().filter_map(|run| run.measured.stale).collect();
        Row {
            experiment: experiment.kind,
            consistency: cell.consistency.clone(),
            replication: cell.replication,
            per_second_min: rates.iter().copied().reduce(f64::min).unwrap_or(0.0),
            per_second_max: rates.iter().copied().reduce(f64::max).unwrap_or(0.0),
            per_second: median(rates),
            p50_us: latency.percentile(50.0),
            p90_us: latency.percentile(90.0),
            p99_us: latency.percentile(99.0),
            p999_us: latency.percentile(99.9),
            answered: inserts.answered() + queries.answered(),
            unanswered: inserts.unanswered() + queries.unanswered(),
            missing: queries.missing,
            other: queries.other,
            stale: (!stale.is_empty()).then(|| stale.iter().sum()),
        }
    }

    /// `chain, k = 3`, or that it is not known.
    pub(crate) fn cluster(&self) -> String {
        match (&self.consistency, self.replication) {
            (Some(model), Some(copies)) => format!("{model}, k = {copies}"),
            (Some(model), None) => model.clone(),
            (None, _) => "not known".to_owned(),
        }
    }
}

impl Summary {
    /// Of a result that is in this file.
    pub(crate) fn new(results: &Results, file: String) -> Summary {
        Summary { file, rows: rows(results) }
    }

    /// Requests that were not answered.
    pub(crate) fn unanswered(&self) -> u64 {
        self.rows.iter().map(|row| row.unanswered).sum()
    }
}

/// A row for each experiment on each cluster.
pub(crate) fn rows(results: &Results) -> Vec<Row> {
    let of = |cell: &Cell| -> Vec<Row> {
        cell.experiments.iter().map(|experiment| Row::of(cell, experiment)).collect()
    };
    results.cells.iter().flat_map(of).collect()
}

/// `12,345`.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && digits.as_bytes()[place - 1] != b'-' {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time of a percentile.
pub(crate) fn time(microseconds: Option<u64>) -> String {
    microseconds.map_or_else(|| "-".to_owned(), |us| report::duration(std::time::Duration::from_micros(us)))
}

impl Report for Summary {
    fn text(&self) -> String {
        let has_stale = self.rows.iter().any(|row| row.stale.is_some());
        let mut headings = vec![
            "experiment",
            "cluster",
            "per second",
            "slowest..fastest",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "missing",
            "failed",
        ];
        headings.extend(has_stale.then_some("stale"));
        let rows = self.rows.iter().map(|row| {
            let mut cells = vec![
                row.experiment.name().to_owned(),
                row.cluster(),
                grouped(row.per_second),
                format!("{}..{}", grouped(row.per_second_min), grouped(row.per_second_max)),
                time(row.p50_us),
                time(row.p90_us),
                time(row.p99_us),
                time(row.p999_us),
                row.missing.to_string(),
                row.unanswered.to_string(),
            ];
            if has_stale {
                cells.push(row.stale.map_or_else(|| "-".to_owned(), |stale| stale.to_string()));
            }
            cells
        });
        format!("{}\nresult: {}\n", table(&headings, rows), self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::result::tests::results;

    #[test]
    fn the_median_is_the_middle_of_the_runs() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_row_has_median_spread_and_percentiles() {
        let summary = Summary::new(&results(), "r.json".to_owned());
        assert_eq!(summary.rows.len(), 8);
        let row = &summary.rows[0];
        assert!(
            (row.per_second - 1000.0).abs() < 1e-6 && (row.per_second_min - 900.0).abs() < 1e-6,
            "{row:?}"
        );
        assert!((row.per_second_max - 1200.0).abs() < 1e-6);
        assert_eq!((row.answered, row.unanswered, row.stale), (3100, 0, None));
        let p50 = row.p50_us.expect("there are some");
        assert!((600..640).contains(&p50), "{p50}");
        let text = summary.text();
        assert!(
            text.contains("chain, k = 1") && text.contains("1,000") && text.contains("900..1,200"),
            "{text}"
        );
    }
}
