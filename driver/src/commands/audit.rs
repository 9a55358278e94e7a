//! `audit`: are all replicas there, and do they hold the same?

use chordata_client::audit::{Audit, Problem, RangeAudit};
use chordata_protocol::chain::{Epoch, Sequence};
use chordata_protocol::{Consistency, Id, Space};
use serde::Serialize;

use crate::commands::chains::range_text;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{self, Report, table};

/// What `audit --help` says.
pub(crate) const ABOUT: &str = "\
Compare all replicas of every key, and check ring and ranges

All replicas of a range are compared as they are at one place of its log: digests of keys, versions and values first, \
then, where those differ, key by key. In eventual mode there is no log: what differs is looked at again for some \
seconds, as copies may be on their way. It finds ranges with too few replicas or whose chain is being changed, replicas \
that hold different things, records that are damaged, nodes that hold keys which are not theirs, and whatever is wrong \
with the ring. It changes no key, needs little memory however many keys there are, and can run while the cluster is \
written to: that makes no difference to what it finds.

Exit code 0: everything is as it should be. 1: something is wrong. 4: the cluster cannot be reached.";

/// `audit`: compares all replicas of every key, while the cluster goes on serving. Exit code 1 when something is wrong.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AuditArguments {}

#[derive(Debug, Serialize)]
struct Audited {
    sound: bool,
    /// Does the cluster keep replicas at all?
    replicated: bool,
    consistency: Option<Consistency>,
    nodes: usize,
    ranges: Vec<RangeRow>,
    replicas: usize,
    keys_compared: u64,
    problems: Vec<ProblemRow>,
    more_problems: u64,
    /// What is not wrong, and worth knowing.
    remarks: Vec<String>,
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
    sequence: Option<Sequence>,
    keys: u64,
    listed: u64,
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
            sequence: of.sequence,
            keys: of.keys,
            listed: of.listed,
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
        let replicated = audit.consistency.is_some();
        let compared = audit.ranges.iter().map(|range| range.keys).sum();
        Audited {
            sound: audit.is_sound(),
            replicated,
            consistency: audit.consistency,
            nodes: audit.nodes,
            replicas: audit.ranges.iter().map(|range| range.replicas).sum(),
            keys_compared: if replicated { compared } else { 0 },
            ranges: audit.ranges.into_iter().map(RangeRow::from).collect(),
            problems: audit.problems.into_iter().map(ProblemRow::from).collect(),
            more_problems: audit.more_problems,
            remarks: audit.remarks,
            space,
        }
    }

    fn range(&self, low: Id, high: Id) -> String {
        range_text(chordata_protocol::Range { low, high }, self.space)
    }
}

impl Report for Audited {
    fn text(&self) -> String {
        let has_no_log = self.consistency == Some(Consistency::Eventual);
        let rows = self.ranges.iter().map(|row| {
            let note =
                if row.listed > 0 { format!("{} of them one by one", row.listed) } else { String::new() };
            let mut cells = vec![
                self.range(row.low, row.high),
                row.epoch.map_or("-".to_owned(), |epoch| epoch.to_string()),
                format!("{} of {}", row.replicas, row.wanted),
                row.sequence.map_or("-".to_owned(), |sequence| sequence.to_string()),
                row.keys.to_string(),
                note,
            ];
            if has_no_log {
                cells.remove(3);
                cells.remove(1);
            }
            cells
        });
        let mut headings = vec!["range", "epoch", "replicas", "at", "keys", ""];
        if has_no_log {
            headings = vec!["range", "replicas", "keys", ""];
        }
        let mut text = table(&headings, rows);
        for remark in &self.remarks {
            text += &format!("{remark}\n");
        }
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
            let replicas = report::count(self.replicas, "replica");
            let keys = report::count(usize::try_from(self.keys_compared).unwrap_or(usize::MAX), "key");
            format!("{ranges}, {replicas}, {keys} compared")
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
