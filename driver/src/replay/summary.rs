//! What came of a replay, operation by operation and in all.

use std::time::Duration;

use chordata_protocol::procedure::lookup::Hop;
use chordata_protocol::{Address, Id, Space, Value};
use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::report::{self, Report, short_id};

/// What an operation's answer was worth.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// A write was acknowledged.
    Stored,
    /// A get answered what it had to.
    Right {
        /// That.
        found: Option<Value>,
    },
    /// A get answered something else.
    Wrong {
        /// What was possible.
        expected: Vec<Option<Value>>,
        /// What came.
        found: Option<Value>,
    },
    /// A get of a key that this replay had not written.
    Unjudged {
        /// What came.
        found: Option<Value>,
    },
    /// Definitely not done.
    Failed {
        /// Why.
        reason: String,
    },
    /// Perhaps done.
    Unknown {
        /// Why that is not known.
        reason: String,
    },
}

/// An operation that was carried out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Done {
    /// Line of the file.
    pub(crate) line: usize,
    /// put, get or delete.
    pub(crate) operation: &'static str,
    /// The key, as it would be typed.
    pub(crate) key: String,
    /// Its place.
    pub(crate) id: Id,
    /// The server that it was sent to.
    pub(crate) entered: Address,
    /// The server that answered.
    pub(crate) owner: Option<Address>,
    /// Nodes asked after the first.
    pub(crate) hops: u32,
    /// Nodes that did not answer on the way.
    pub(crate) timeouts: u32,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// What it was worth.
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    /// Every node asked; empty without `--trace`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) path: Vec<Hop>,
}

fn shown(value: &Option<Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = value.to_string();
    if text.chars().count() > 24 { format!("{}…", text.chars().take(23).collect::<String>()) } else { text }
}

impl Done {
    /// The heading over the lines of all operations.
    pub(crate) fn heading() -> String {
        format!(
            "{:>5}  {:6} {:14} {:10} {:21} {:21} {:>4} {:>9}  {}\n",
            "LINE", "DO", "KEY", "ID", "ENTERED AT", "ANSWERED BY", "HOPS", "TIME", "RESULT"
        )
    }

    /// One line.
    pub(crate) fn row(&self, space: Space) -> String {
        let result = match &self.verdict {
            Verdict::Stored => "ok".to_owned(),
            Verdict::Right { found } => format!("{} (right)", shown(found)),
            Verdict::Wrong { expected, found } => {
                let expected: Vec<String> = expected.iter().map(shown).collect();
                format!("{} (WRONG: expected {})", shown(found), expected.join(" or "))
            }
            Verdict::Unjudged { found } => format!("{} (not written by this replay)", shown(found)),
            Verdict::Failed { reason } => format!("FAILED: {reason}"),
            Verdict::Unknown { reason } => format!("UNKNOWN: {reason}"),
        };
        format!(
            "{:>5}  {:6} {:14} {:10} {:21} {:21} {:>4} {:>9}  {result}\n",
            self.line,
            self.operation,
            self.key,
            short_id(self.id, space),
            self.entered.to_string(),
            self.owner.as_ref().map_or("-".to_owned(), Address::to_string),
            self.hops,
            report::duration(self.elapsed),
        )
    }
}

/// A whole replay.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    operations: usize,
    puts: usize,
    gets: usize,
    deletes: usize,
    right: usize,
    wrong: usize,
    unjudged: usize,
    failed: usize,
    unknown: usize,
    hops_mean: f64,
    time_median_micros: u64,
    time_p99_micros: u64,
    seconds: f64,
    wrong_lines: Vec<usize>,
}

impl Summary {
    /// Counts.
    pub(crate) fn new(done: &[Done], elapsed: Duration) -> Summary {
        let count = |wanted: fn(&Verdict) -> bool| done.iter().filter(|one| wanted(&one.verdict)).count();
        let operations = |name: &str| done.iter().filter(|one| one.operation == name).count();
        let mut times: Vec<u64> =
            done.iter().map(|one| u64::try_from(one.elapsed.as_micros()).unwrap_or(u64::MAX)).collect();
        times.sort_unstable();
        let at = |share: f64| {
            times.get((times.len() as f64 * share) as usize).or(times.last()).copied().unwrap_or(0)
        };
        let answered: Vec<&Done> = done.iter().filter(|one| one.owner.is_some()).collect();
        let hops: u32 = answered.iter().map(|one| one.hops).sum();
        Summary {
            operations: done.len(),
            puts: operations("put"),
            gets: operations("get"),
            deletes: operations("delete"),
            right: count(|verdict| matches!(verdict, Verdict::Right { .. })),
            wrong: count(|verdict| matches!(verdict, Verdict::Wrong { .. })),
            unjudged: count(|verdict| matches!(verdict, Verdict::Unjudged { .. })),
            failed: count(|verdict| matches!(verdict, Verdict::Failed { .. })),
            unknown: count(|verdict| matches!(verdict, Verdict::Unknown { .. })),
            hops_mean: f64::from(hops) / answered.len().max(1) as f64,
            time_median_micros: at(0.5),
            time_p99_micros: at(0.99),
            seconds: elapsed.as_secs_f64(),
            wrong_lines: done
                .iter()
                .filter(|one| matches!(one.verdict, Verdict::Wrong { .. }))
                .map(|one| one.line)
                .collect(),
        }
    }

    /// Is everything as it must be? Mismatches weigh most, then what failed, then what is not known.
    ///
    /// # Errors
    /// When it is not, with the exit code that belongs to it.
    pub(crate) fn judge(&self) -> Outcome {
        let lines: Vec<String> = self.wrong_lines.iter().map(usize::to_string).collect();
        if self.wrong > 0 {
            let lines = lines.join(", ");
            return Err(Failure::failed(format!(
                "{} wrong: line {lines}",
                report::count(self.wrong, "answer")
            )));
        }
        if self.failed > 0 {
            let failed = report::count(self.failed, "operation");
            return Err(Failure::Unreachable(format!("{failed} of {} not done", self.operations)));
        }
        if self.unknown > 0 {
            let unknown = report::count(self.unknown, "operation");
            return Err(Failure::Unknown(format!("{unknown} of {} with unknown outcome", self.operations)));
        }
        Ok(())
    }
}

impl Report for Summary {
    fn text(&self) -> String {
        let Summary { operations, puts, gets, right, unjudged, wrong, failed, unknown, .. } = self;
        let mut text =
            format!("{operations} operations: {puts} puts, {gets} gets, {} deletes; ", self.deletes);
        text += &format!("{right} of {gets} gets right");
        for (number, what) in
            [(wrong, "wrong"), (unjudged, "not judged"), (failed, "failed"), (unknown, "unknown")]
        {
            if *number > 0 {
                text += &format!(", {number} {what}");
            }
        }
        text + &format!(
            "\n{:.2} hops on average, {} median, {} at the 99th percentile, {} in all ({:.0}/s)\n",
            self.hops_mean,
            report::duration(Duration::from_micros(self.time_median_micros)),
            report::duration(Duration::from_micros(self.time_p99_micros)),
            report::duration(Duration::from_secs_f64(self.seconds)),
            self.operations as f64 / self.seconds.max(1e-9),
        )
    }
}
