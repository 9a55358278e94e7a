//! The side that compares: a state machine that asks another node about smaller and smaller arcs.
//!
//! Arcs that differ are kept on a stack, so that it goes deep before it goes wide and the stack stays short; a handful of
//! questions are out at once. Findings come in pages and nothing of them is kept.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use super::arc::{offset, split};
use super::exchange::{Answer, LIST_RECORDS_MAX, Listed, Question, Source};
use super::hash::Digest;
use crate::id::Space;
use crate::key::Key;
use crate::message::Range;

/// Names a question until it is answered.
pub type Ticket = u32;

/// Questions that are out at once.
const OUT_MAX: usize = 8;
/// The most records of one's own that are compared in one step.
const PAGE: usize = 256;
/// How often one question may be lost before the comparison gives up.
const LOST_MAX: u8 = 4;

/// Something that is not the same here and there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Both have the key, with different versions or contents.
    Differs {
        /// What is here.
        mine: Listed,
        /// What is there.
        theirs: Listed,
    },
    /// Only the other node has the key.
    OnlyTheirs(Listed),
    /// Only this node has the key.
    OnlyMine(Listed),
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Ask the other node these, at once; tell every answer ([`Difference::answered`]) or its loss
    /// ([`Difference::lost`]), and call `step` again after each.
    Ask(Vec<(Ticket, Question)>),
    /// These are not the same. Call `step` again. At most 512; may be none, after a stretch of equal records.
    Found(Vec<Finding>),
    /// Answers are still out.
    Wait,
    /// It has ended.
    Done(Summary),
}

/// What a comparison took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Was everything compared? No: an answer was lost too often, or made no sense.
    pub complete: bool,
    /// Questions asked, repetitions included.
    pub questions: u64,
    /// Records, of either side, that were compared one by one.
    pub compared: u64,
    /// Records that are not the same.
    pub found: u64,
}

/// A question that is to be asked.
#[derive(Clone, Debug)]
struct Open {
    question: Question,
    lost: u8,
}

/// A list from the other node that is being compared with what is here.
#[derive(Clone, Debug)]
struct Comparison {
    range: Range,
    /// What is up to this key has been compared.
    after: Option<Key>,
    /// What the other node has behind it.
    theirs: VecDeque<Listed>,
    /// The list ends with this key; none: with the range.
    until: Option<Key>,
}

/// A comparison of a range of this node's store with another node's. See the [module](super).
#[derive(Clone, Debug)]
pub struct Difference {
    space: Space,
    /// The range that has not been asked about at all.
    start: Option<Range>,
    open: Vec<Open>,
    out: BTreeMap<Ticket, Open>,
    answers: VecDeque<(Question, Answer)>,
    comparisons: VecDeque<Comparison>,
    next_ticket: Ticket,
    failed: bool,
    summary: Summary,
}

impl Difference {
    /// Of this range.
    pub fn new(space: Space, range: Range) -> Difference {
        Difference {
            space,
            start: Some(range),
            open: Vec::new(),
            out: BTreeMap::new(),
            answers: VecDeque::new(),
            comparisons: VecDeque::new(),
            next_ticket: 0,
            failed: false,
            summary: Summary::default(),
        }
    }

    /// What it took so far.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// The other node answered.
    pub fn answered(&mut self, ticket: Ticket, answer: Answer) {
        let Some(Open { question, .. }) = self.out.remove(&ticket) else { return };
        if answer.is_possible(self.space, &question) {
            self.answers.push_back((question, answer));
        } else {
            self.failed = true;
        }
    }

    /// A question or its answer got lost: it is asked again, a few times.
    pub fn lost(&mut self, ticket: Ticket) {
        let Some(mut open) = self.out.remove(&ticket) else { return };
        open.lost += 1;
        self.failed |= open.lost >= LOST_MAX;
        self.open.push(open);
    }

    /// What to do next. `source` is this node's own store, as it is now. Reads at most about 64 digests or 256
    /// records of it, and what digests need.
    pub fn step(&mut self, source: &dyn Source) -> Step {
        if self.failed {
            return Step::Done(self.summary);
        }
        if let Some(range) = self.start.take() {
            self.ask(range, None, source.digest(range));
        }
        if let Some(comparison) = self.comparisons.pop_front() {
            return Step::Found(self.compare(comparison, source));
        }
        while let Some((question, answer)) = self.answers.pop_front() {
            self.take(question, answer, source);
            if let Some(comparison) = self.comparisons.pop_front() {
                return Step::Found(self.compare(comparison, source));
            }
        }
        let questions = self.send();
        if !questions.is_empty() {
            return Step::Ask(questions);
        }
        if !self.out.is_empty() {
            return Step::Wait;
        }
        self.summary.complete = true;
        Step::Done(self.summary)
    }

    fn ask(&mut self, range: Range, after: Option<Key>, mine: Digest) {
        self.open.push(Open { question: Question { range, after, mine }, lost: 0 });
    }

    fn send(&mut self) -> Vec<(Ticket, Question)> {
        let mut questions = Vec::new();
        while self.out.len() < OUT_MAX {
            let Some(open) = self.open.pop() else { break };
            let ticket = self.next_ticket;
            self.next_ticket = self.next_ticket.wrapping_add(1);
            self.summary.questions += 1;
            questions.push((ticket, open.question.clone()));
            self.out.insert(ticket, open);
        }
        questions
    }

    fn take(&mut self, question: Question, answer: Answer, source: &dyn Source) {
        let range = question.range;
        match answer {
            Answer::Same => {}
            Answer::Parts(digests) => self.take_parts(range, digests, source),
            Answer::Records { records, more } => {
                let until = if more { records.last().map(|listed| listed.key.clone()) } else { None };
                if until.is_some() {
                    self.ask(range, until.clone(), question.mine);
                }
                let theirs = records.into();
                self.comparisons.push_back(Comparison { range, after: question.after, theirs, until });
            }
        }
    }

    /// Asks about the parts that differ, neighbours in one question while a list of them fits in one answer. Parts
    /// of which the other node has nothing need no question.
    fn take_parts(&mut self, range: Range, digests: Vec<Digest>, source: &dyn Source) {
        let mut questions: Vec<(Range, Digest, u64)> = Vec::new();
        for (part, theirs) in split(self.space, range).into_iter().zip(digests) {
            let mine = source.digest(part);
            if mine == theirs {
                continue;
            }
            if theirs.count == 0 {
                let theirs = VecDeque::new();
                self.comparisons.push_back(Comparison { range: part, after: None, theirs, until: None });
                continue;
            }
            match questions.last_mut() {
                Some((before, digest, count))
                    if before.high == part.low && count.saturating_add(theirs.count) <= LIST_RECORDS_MAX =>
                {
                    before.high = part.high;
                    *digest += mine;
                    *count = count.saturating_add(theirs.count);
                }
                _ => questions.push((part, mine, theirs.count)),
            }
        }
        for (part, mine, _) in questions.into_iter().rev() {
            self.ask(part, None, mine);
        }
    }

    /// Compares the next records here with those of the list; what is left of both comes back to the queue.
    fn compare(&mut self, mut comparison: Comparison, source: &dyn Source) -> Vec<Finding> {
        let (space, range) = (self.space, comparison.range);
        let place = |key: &Key| offset(space, range, key.id(space));
        let order = |a: &Key, b: &Key| place(a).cmp(&place(b)).then_with(|| a.cmp(b));
        let mut findings = Vec::new();
        let (mut visited, mut more) = (0, false);
        let mut last = None;
        source.visit(range, comparison.after.as_ref(), &mut |key, version, hash| {
            if comparison.until.as_ref().is_some_and(|until| order(key, until).is_gt()) {
                return ControlFlow::Break(());
            }
            if visited == PAGE {
                more = true;
                return ControlFlow::Break(());
            }
            visited += 1;
            while let Some(listed) = comparison.theirs.pop_front_if(|listed| order(&listed.key, key).is_lt())
            {
                findings.push(Finding::OnlyTheirs(listed));
            }
            let mine = Listed { key: key.clone(), version, hash };
            match comparison.theirs.pop_front_if(|listed| listed.key == *key) {
                Some(theirs) if theirs == mine => {}
                Some(theirs) => findings.push(Finding::Differs { mine, theirs }),
                None => findings.push(Finding::OnlyMine(mine)),
            }
            last = Some(key.clone());
            ControlFlow::Continue(())
        });
        self.summary.compared += visited as u64;
        if more {
            comparison.after = last;
            self.comparisons.push_front(comparison);
        } else {
            findings.extend(comparison.theirs.into_iter().map(Finding::OnlyTheirs));
        }
        self.summary.found += findings.len() as u64;
        findings
    }
}
