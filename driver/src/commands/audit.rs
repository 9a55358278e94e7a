//! `audit`: are all replicas there, and do they hold the same?

use chordata_client::audit::{Audit, Problem, RangeAudit};
use chordata_protocol::chain::Epoch;
use chordata_protocol::{Id, Space};
use serde::Serialize;

use crate::commands::chains::range_text;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{self, Report, table};

/// What `audit --help` says.
pub(crate) const ABOUT: &str = "\
Compare all replicas of every key, and check ring and ranges

It reads what every replica itself has: keys, versions, hashes of the values. It finds ranges with too few replicas or \
whose chain is being changed, replicas that hold different things, records that are damaged, nodes that hold keys which \
are not theirs, and whatever is wrong with the ring. It changes nothing, needs little memory however many keys there \
are, and can run while the cluster is used: where replicas differ because a write is on its way, they are asked again.

Exit code 0: everything is as it should be. 1: something is wrong. 4: the cluster cannot be reached.";

/// `audit`: compares all replicas of every key, while the cluster goes on serving. Exit code 1 when something is wrong.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AuditArguments {}

#[derive(Debug, Serialize)]
struct Audited {
    sound: bool,
    /// Does the cluster keep replicas at all?
    replicated: bool,
    nodes: usize,
    ranges: Vec<RangeRow>,
    replicas: usize,
    keys_compared: u64,
    problems: Vec<ProblemRow>,
    more_problems: u64,
    #[serde(skip)]
    space: Space,
}

#[derive(Debug, Serialize)]
struct RangeRow {
    low: Id,
    high: Id,
    epoch: Option<Epoch>,
    replicas: usize,
    wanted: usize,
    keys: u64,
    asked_again: u64,
    never_at_rest: u64,
}

#[derive(Debug, Serialize)]
struct ProblemRow {
    kind: &'static str,
    low: Option<Id>,
    high: Option<Id>,
    key: Option<String>,
    text: String,
}

impl From<RangeAudit> for RangeRow {
    fn from(of: RangeAudit) -> RangeRow {
        RangeRow {
            low: of.range.low,
            high: of.range.high,
            epoch: of.epoch,
            replicas: of.replicas,
            wanted: of.wanted,
            keys: of.keys,
            asked_again: of.asked_again,
            never_at_rest: of.never_at_rest,
        }
    }
}

impl From<Problem> for ProblemRow {
    fn from(of: Problem) -> ProblemRow {
        ProblemRow {
            kind: of.kind.name(),
            low: of.range.map(|range| range.low),
            high: of.range.map(|range| range.high),
            key: of.key.map(|key| key.to_string()),
            text: of.text,
        }
    }
}

impl Audited {
    fn new(audit: Audit, space: Space) -> Audited {
        let replicated = audit.has_chains;
        let compared = audit.ranges.iter().map(|range| range.keys).sum();
        Audited {
            sound: audit.is_sound(),
            replicated,
            nodes: audit.nodes,
            replicas: audit.ranges.iter().map(|range| range.replicas).sum(),
            keys_compared: if replicated { compared } else { 0 },
            ranges: audit.ranges.into_iter().map(RangeRow::from).collect(),
            problems: audit.problems.into_iter().map(ProblemRow::from).collect(),
            more_problems: audit.more_problems,
            space,
        }
    }

    fn range(&self, low: Id, high: Id) -> String {
        range_text(chordata_protocol::Range { low, high }, self.space)
    }
}

impl Report for Audited {
    fn text(&self) -> String {
        let rows = self.ranges.iter().map(|row| {
            let mut note = Vec::new();
            if row.asked_again > 0 {
                note.push(format!("{} asked for again", row.asked_again));
            }
            if row.never_at_rest > 0 {
                note.push(format!("{} written all the time, not compared", row.never_at_rest));
            }
            vec![
                self.range(row.low, row.high),
                row.epoch.map_or("-".to_owned(), |epoch| epoch.to_string()),
                format!("{} of {}", row.replicas, row.wanted),
                row.keys.to_string(),
                note.join("; "),
            ]
        });
        let mut text = table(&["range", "epoch", "replicas", "keys", ""], rows);
        for problem in &self.problems {
            let range = problem.low.zip(problem.high).map(|(low, high)| self.range(low, high));
            let about = [range, problem.key.clone()].into_iter().flatten().collect::<Vec<String>>().join(" ");
            let about = if about.is_empty() { about } else { format!("{about}: ") };
            text += &format!("{}  {about}{}\n", problem.kind.to_uppercase(), problem.text);
        }
        if self.more_problems > 0 {
            text += &format!("and {} more problems\n", self.more_problems);
        }
        let ranges = report::count(self.ranges.len(), "range");
        let what = if self.replicated {
            let (replicas, keys) = (report::count(self.replicas, "replica"), self.keys_compared);
            format!("{ranges}, {replicas}, {keys} keys compared")
        } else {
            format!("{ranges}; this cluster keeps one copy of each key: there are no replicas to compare")
        };
        let problems = self.problems.len() as u64 + self.more_problems;
        text + &match problems {
            0 => format!("sound: {what}\n"),
            1 => format!("not sound: {what}; 1 problem\n"),
            _ => format!("not sound: {what}; {problems} problems\n"),
        }
    }
}

impl AuditArguments {
    /// Audits the cluster.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let connection = context.target.connect(context.output).await?;
        let audit = connection.client.audit().await?;
        let audited = Audited::new(audit, connection.client.space());
        context.output.show(&audited);
        if audited.sound { Ok(()) } else { Err(Failure::Said) }
    }
}
