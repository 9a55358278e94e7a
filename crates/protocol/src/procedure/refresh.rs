//! `update_finger_table`: have every node refresh every finger, and wait until all have.
//!
//! The node that was asked walks the ring, orders each node to start a refresh, and then asks for the reports. No
//! handler waits for a refresh: each order and each report is answered at once, and a node that is already
//! refreshing lets the new order join. So all nodes can be asked for this at the same moment.

use std::time::Duration;

use super::walk::Walk;
use super::{Procedure, Step, Ticket};
use crate::message::{CallError, RefreshSummary, Request, Response};
use crate::peer::Peer;
use crate::time::Time;

/// Pause between two rounds of asking for reports; it doubles up to the longest.
const PAUSE_SHORTEST: Duration = Duration::from_millis(2);
const PAUSE_LONGEST: Duration = Duration::from_millis(100);
/// How long the slowest node may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What refreshing the whole ring gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RefreshedAll {
    /// Nodes of the ring.
    pub nodes: u32,
    /// Nodes of them that reported the end of their refresh.
    pub refreshed: u32,
    /// Finger entries that now point elsewhere.
    pub changed: u64,
    /// Questions that it took, on all nodes together.
    pub calls: u64,
}

#[derive(Clone, Debug)]
enum Stage {
    Walking(Walk),
    Starting,
    Reporting,
}

/// A refresh of the whole ring under way.
#[derive(Clone, Debug)]
pub struct RefreshAll {
    stage: Stage,
    nodes: Vec<Peer>,
    /// Nodes that have not reported, with the numbers of their runs.
    running: Vec<(usize, u64)>,
    unasked: Vec<(usize, u64)>,
    out: usize,
    pause: Duration,
    deadline: Time,
    total: RefreshedAll,
}

impl RefreshAll {
    /// Beginning at the first of these that answers.
    pub fn new(start: &[Peer]) -> RefreshAll {
        RefreshAll {
            stage: Stage::Walking(Walk::new(start)),
            nodes: Vec::new(),
            running: Vec::new(),
            unasked: Vec::new(),
            out: 0,
            pause: PAUSE_SHORTEST,
            deadline: Time::ZERO,
            total: RefreshedAll::default(),
        }
    }

    fn ask(&mut self, questions: Vec<(Ticket, Peer, Request)>) -> Step<RefreshedAll> {
        self.out = questions.len();
        self.total.calls += questions.len() as u64;
        Step::Ask(questions)
    }

    fn start_all(&mut self, now: Time) -> Step<RefreshedAll> {
        self.stage = Stage::Starting;
        self.deadline = now + PATIENCE;
        let orders = (0..)
            .zip(&self.nodes)
            .map(|(ticket, peer)| (ticket, peer.clone(), Request::StartRefresh))
            .collect();
        self.ask(orders)
    }

    fn ask_reports(&mut self) -> Step<RefreshedAll> {
        let running = std::mem::take(&mut self.unasked);
        let questions = running.iter().filter_map(|(node, run)| {
            let ticket = Ticket::try_from(*node).ok()?;
            Some((ticket, self.nodes.get(*node)?.clone(), Request::RefreshReport { run: *run }))
        });
        let questions = questions.collect();
        self.running = running;
        self.ask(questions)
    }
}

impl Procedure for RefreshAll {
    type Output = RefreshedAll;

    fn step(&mut self, now: Time) -> Step<RefreshedAll> {
        if let Stage::Walking(walk) = &mut self.stage {
            return match walk.step(now) {
                Step::Ask(questions) => Step::Ask(questions),
                Step::Sleep(pause) => Step::Sleep(pause),
                Step::Done(walked) => {
                    self.total.calls = walk.calls();
                    self.nodes = walked.nodes.into_iter().map(|node| node.me).collect();
                    self.total.nodes = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
                    if self.nodes.is_empty() { Step::Done(self.total) } else { self.start_all(now) }
                }
            };
        }
        if self.out > 0 {
            return Step::Ask(Vec::new());
        }
        if !self.unasked.is_empty() {
            return self.ask_reports();
        }
        if self.running.is_empty() || now >= self.deadline {
            return Step::Done(self.total);
        }
        self.unasked = std::mem::take(&mut self.running);
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_LONGEST);
        Step::Sleep(pause)
    }

    fn answered(&mut self, now: Time, ticket: Ticket, answer: Result<Response, CallError>) {
        if let Stage::Walking(walk) = &mut self.stage {
            return walk.answered(now, ticket, answer);
        }
        self.out = self.out.saturating_sub(1);
        let node = ticket as usize;
        match (&self.stage, answer) {
            (Stage::Starting, Ok(Response::Started(run))) => self.running.push((node, run)),
            (Stage::Starting, _) | (_, Ok(Response::Running)) => {}
            (_, Ok(Response::Refreshed(RefreshSummary { changed, calls }))) => {
                self.running.retain(|(other, _)| *other != node);
                self.total.refreshed += 1;
                self.total.changed += u64::from(changed);
                self.total.calls += calls;
            }
            // It has left or died, or lost the run: it will not report.
            (_, Ok(_) | Err(_)) => self.running.retain(|(other, _)| *other != node),
        }
        if self.out == 0 {
            self.stage = Stage::Reporting;
        }
    }
}
