//! Figures of another system to set a result beside: `experiment,consistency,replication,per_second` on each line, as
//! `insert,chain,3,151`. The first line may be the names of the columns; `#` begins a comment.

use std::path::Path;

use crate::experiment::summary::Row;
use crate::failure::{Failure, Outcome};
use crate::suggest;

/// Figures of another system.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Against {
    figures: Vec<Figure>,
}

#[derive(Clone, PartialEq, Debug)]
struct Figure {
    experiment: String,
    consistency: String,
    replication: u8,
    per_second: f64,
}

impl Against {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or has a line that is none of these: which.
    pub(crate) fn load(path: &Path) -> Outcome<Against> {
        let text = suggest::read_text(path)?;
        Against::parse(&text).map_err(|reason| Failure::input(format!("{}: {reason}", path.display())))
    }

    fn parse(text: &str) -> Result<Against, String> {
        let mut figures = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() || line == "experiment,consistency,replication,per_second" {
                continue;
            }
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let figure = match fields[..] {
                [experiment @ ("insert" | "query" | "request"), consistency, replication, per_second] => {
                    replication.parse().ok().zip(per_second.parse().ok()).map(|(replication, per_second)| {
                        let (experiment, consistency) = (experiment.to_owned(), consistency.to_owned());
                        Figure { experiment, consistency, replication, per_second }
                    })
                }
                _ => None,
            };
            let figure = figure.filter(|figure| figure.per_second.is_finite() && figure.per_second > 0.0);
            figures.push(figure.ok_or_else(|| {
                format!(
                    "line {}: write experiment,consistency,replication,per_second as in insert,chain,3,151",
                    number + 1
                )
            })?);
        }
        Ok(Against { figures })
    }

    /// Its requests a second, if it has them for this row.
    pub(crate) fn per_second(&self, row: &Row) -> Option<f64> {
        let is_same = |figure: &&Figure| {
            figure.experiment == row.experiment.name()
                && Some(&figure.consistency) == row.consistency.as_ref()
                && Some(figure.replication) == row.replication
        };
        self.figures.iter().find(is_same).map(|figure| figure.per_second)
    }
}

/// `12.3 times`, `250 times`.
pub(crate) fn times(ours: f64, theirs: f64) -> String {
    let times = ours / theirs;
    if times < 20.0 { format!("{times:.1}") } else { format!("{times:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::result::tests::results;
    use crate::experiment::summary::rows;

    #[test]
    fn figures_are_found_by_experiment_model_and_copies() {
        let text = "experiment,consistency,replication,per_second\n# theirs\ninsert, chain, 3, 151\nquery,chain,3,153 # so\n";
        let against = Against::parse(text).expect("figures");
        let found: Vec<Option<f64>> = rows(&results()).iter().map(|row| against.per_second(row)).collect();
        assert_eq!(found[..4], [None, None, Some(151.0), Some(153.0)]);
        assert_eq!((times(1510.0, 151.0), times(15100.0, 151.0)), ("10.0".to_owned(), "100".to_owned()));
    }

    #[test]
    fn a_line_that_is_none_is_pointed_at() {
        for line in [
            "insert,chain,3",
            "inserts,chain,3,1",
            "insert,chain,x,1",
            "insert,chain,3,0",
            "insert,chain,3,NaN",
        ] {
            let error = Against::parse(&format!("insert,chain,1,1\n{line}\n")).expect_err(line);
            assert!(error.contains("line 2"), "{error}");
        }
    }
}
