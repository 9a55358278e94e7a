//! A linearizable register, and the histories that clients behind a bad network record of it.
//!
//! Each step takes effect at one moment between its invocation and its return, in the order of those moments; or its
//! answer is lost, or its request is lost, or it is refused. So what is recorded is correct by construction.

use chordata_protocol::{Key, Record, Value, Version};
use chordata_sim::history::{Answer, History, Kind, Outcome, Seen};
use proptest::prelude::*;

/// What can be asked of the register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    Put,
    Get,
    Delete,
    /// Swap the version that is there (or, if stale, the one before it), for a value or for nothing.
    Swap {
        stale: bool,
        absent: bool,
        remove: bool,
    },
}

/// What the network does to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Answered,
    AnswerLost,
    RequestLost,
    Refused,
}

/// One operation to be.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) asked: Asked,
    pub(crate) fate: Fate,
    /// When it is invoked, how long until its effect, how long from there until its return.
    pub(crate) start: u64,
    pub(crate) before: u64,
    pub(crate) after: u64,
    /// Writes of other keys before it.
    pub(crate) others: u64,
    /// A new epoch begins before it.
    pub(crate) epoch: bool,
    /// How far an absence lags behind what is committed.
    pub(crate) lag: u64,
}

fn asked(only_puts_and_gets: bool) -> BoxedStrategy<Asked> {
    if only_puts_and_gets {
        return prop_oneof![Just(Asked::Put), Just(Asked::Get)].boxed();
    }
    prop_oneof![
        3 => Just(Asked::Put),
        4 => Just(Asked::Get),
        2 => Just(Asked::Delete),
        3 => (any::<bool>(), prop::bool::weighted(0.3), any::<bool>())
            .prop_map(|(stale, absent, remove)| Asked::Swap { stale, absent, remove }),
    ]
    .boxed()
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Answered),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::RequestLost),
        1 => Just(Fate::Refused),
    ]
}

/// Up to `count` steps within `span` microseconds, with or without changes of the epoch.
pub(crate) fn steps(
    only_puts_and_gets: bool,
    count: usize,
    span: u64,
    epochs: bool,
) -> impl Strategy<Value = Vec<Step>> {
    let epoch = prop::bool::weighted(if epochs { 0.1 } else { 0.0 });
    let times = (0..span, 0..=span / 4, 0..=span / 4);
    let step = (asked(only_puts_and_gets), fate(), times, 0..3u64, epoch, 0..4u64);
    let step = step.prop_map(|(asked, fate, (start, before, after), others, epoch, lag)| Step {
        asked,
        fate,
        start,
        before,
        after,
        others,
        epoch,
        lag,
    });
    prop::collection::vec(step, count / 3..=count)
}

/// The register.
#[derive(Default)]
struct Register {
    /// The last that was committed in its range.
    committed: Version,
    /// The last effect on the key, and the one before.
    last: Option<Version>,
    before: Option<Version>,
    present: Option<Record>,
}

impl Register {
    fn advance(&mut self) -> Version {
        self.committed.sequence += 1;
        self.committed
    }

    fn effect(&mut self, value: Option<Value>) -> Version {
        let version = self.advance();
        self.before = self.last.replace(version);
        self.present = value.map(|value| Record { version, value, expires: None });
        version
    }

    /// What the register answers, and what is left; given the kind, as a server gets it.
    fn apply(&mut self, kind: &Kind, lag: u64) -> Answer {
        let lowest =
            self.last.filter(|last| last.epoch == self.committed.epoch).map_or(0, |last| last.sequence);
        let sequence = self.committed.sequence.saturating_sub(lag).max(lowest);
        let as_of = Version { sequence, ..self.committed };
        match kind {
            Kind::Put(value) => Answer::Written(self.effect(Some(value.clone()))),
            Kind::Get => self.present.clone().map_or(Answer::Absent { as_of }, Answer::Found),
            Kind::Delete if self.present.is_none() => {
                Answer::Deleted { version: self.advance(), existed: false }
            }
            Kind::Delete => Answer::Deleted { version: self.effect(None), existed: true },
            Kind::CompareAndSwap { expected, value } => {
                match (self.present.as_ref().map(|record| record.version), value) {
                    (found, _) if found != *expected => {
                        Answer::Conflict(found.map_or(Seen::Absent { as_of }, Seen::Version))
                    }
                    (None, None) => Answer::Deleted { version: as_of, existed: false },
                    (_, None) => Answer::Deleted { version: self.effect(None), existed: true },
                    (_, Some(value)) => Answer::Written(self.effect(Some(value.clone()))),
                }
            }
        }
    }
}

/// The key of all these histories.
pub(crate) fn key() -> Key {
    Key::new("k")
}

/// Runs the steps: what was recorded, and what the register holds in the end.
pub(crate) fn run(steps: &[Step]) -> (History, Option<Record>) {
    let mut history = History::new();
    let mut register = Register { committed: Version { epoch: 1, sequence: 0 }, ..Register::default() };
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|at| steps[*at].start + steps[*at].before);
    for at in order {
        let step = &steps[at];
        register.committed.sequence += step.others;
        if step.epoch {
            register.committed = Version { epoch: register.committed.epoch + 1, sequence: 0 };
        }
        let value = Value::from(format!("v{at}").into_bytes());
        let kind = match step.asked {
            Asked::Put => Kind::Put(value),
            Asked::Get => Kind::Get,
            Asked::Delete => Kind::Delete,
            Asked::Swap { stale, absent, remove } => {
                let there = register.present.as_ref().map(|record| record.version);
                let expected = if stale { register.before } else { there };
                Kind::CompareAndSwap {
                    expected: expected.filter(|_| !absent),
                    value: (!remove).then_some(value),
                }
            }
        };
        let number = history.invoke(at as u64, key(), kind.clone(), step.start);
        let takes_effect = matches!(step.fate, Fate::Answered | Fate::AnswerLost);
        let answer = takes_effect.then(|| register.apply(&kind, step.lag));
        let end = step.start + step.before + step.after;
        match (step.fate, answer) {
            (Fate::Answered, Some(answer)) => history.close(number, end, Outcome::Done(answer)),
            (Fate::Refused, _) => history.close(number, end, Outcome::NotDone),
            // The client gives up, maybe long before the effect; or is never heard of again.
            _ if step.lag == 0 => {}
            _ => history.close(number, step.start + step.after, Outcome::Unknown),
        }
    }
    (history, register.present)
}
