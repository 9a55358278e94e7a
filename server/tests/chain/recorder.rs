//! Clients whose requests are all written down in one history, by one clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chordata_client::{Client, Failure};
use chordata_protocol::{Key, Outcome as Became, Record};
use chordata_rpc::service::Answer as Answered;
use chordata_sim::history::zones::Coverage;
use chordata_sim::history::{Answer, History, Kind, Outcome, Seen, lost, once, versions, zones};
use parking_lot::Mutex;

/// The history that all recorders write.
#[derive(Debug)]
pub(crate) struct Book {
    began: Instant,
    history: Mutex<History>,
}

/// A client whose requests are written down.
#[derive(Clone)]
pub(crate) struct Recorder {
    book: Arc<Book>,
    client: Client,
    number: u64,
}

/// How many requests came to which end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Count {
    pub(crate) done: usize,
    pub(crate) refused: usize,
    pub(crate) unknown: usize,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("tests end sooner")
}

impl Book {
    /// An empty one.
    pub(crate) fn new() -> Arc<Book> {
        Arc::new(Book { began: Instant::now(), history: Mutex::default() })
    }

    /// A client that writes in it, under this number.
    pub(crate) fn recorder(self: &Arc<Book>, client: Client, number: u64) -> Recorder {
        Recorder { book: self.clone(), client, number }
    }

    /// Microseconds since it was begun.
    pub(crate) fn now(&self) -> u64 {
        micros(self.began.elapsed())
    }

    /// How many writes of the key were acknowledged that were sent at or after this time.
    pub(crate) fn written_since(&self, key: &Key, since: u64) -> usize {
        let history = self.history.lock();
        let late = history.operations().iter().rev().take_while(|operation| operation.invoked >= since);
        late.filter(|operation| {
            operation.key == *key && matches!(operation.outcome, Outcome::Done(Answer::Written(_)))
        })
        .count()
    }

    /// The longest time within these bounds in which no write of the key was acknowledged.
    pub(crate) fn longest_stall(&self, key: &Key, from: u64, to: u64) -> Duration {
        let history = self.history.lock();
        let written = history.operations().iter().filter(|operation| {
            operation.key == *key && matches!(operation.outcome, Outcome::Done(Answer::Written(_)))
        });
        let mut times: Vec<u64> = written.filter_map(|operation| operation.returned).collect();
        times.retain(|at| (from..=to).contains(at));
        times.extend([from, to]);
        times.sort_unstable();
        Duration::from_micros(times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
    }

    /// How requests about a key ended.
    pub(crate) fn count(&self, key: &Key) -> Count {
        let mut count = Count::default();
        for operation in self.history.lock().operations().iter().filter(|operation| operation.key == *key) {
            match operation.outcome {
                Outcome::Done(_) => count.done += 1,
                Outcome::NotDone => count.refused += 1,
                Outcome::Unknown => count.unknown += 1,
            }
        }
        count
    }

    /// Checks everything that was written down, with what is there in the end. How much of it could be checked twice:
    /// without the versions, too.
    ///
    /// # Panics
    /// When it is not linearizable, something was lost, or took effect twice.
    pub(crate) fn check(&self, end: &BTreeMap<Key, Option<Record>>) -> Coverage {
        let history = self.history.lock();
        let wrong = |failure| panic!("{failure}");
        versions::check(&history).unwrap_or_else(wrong);
        once::check(&history).unwrap_or_else(wrong);
        lost::check(&history, end).unwrap_or_else(wrong);
        zones::check(&history).unwrap_or_else(|failure| panic!("{failure}"))
    }
}

impl Recorder {
    /// Carries a request out and writes it down. None: it has no answer.
    pub(crate) async fn ask(&self, key: &Key, kind: Kind) -> Option<Answer> {
        let number = self.book.history.lock().invoke(self.number, key.clone(), kind.clone(), self.book.now());
        let answered = self.send(key.clone(), kind).await;
        let outcome = match &answered {
            Ok(answer) => Outcome::Done(answer.clone()),
            Err(failure) if failure.is_certain() => Outcome::NotDone,
            Err(_) => Outcome::Unknown,
        };
        let at = self.book.now();
        self.book.history.lock().close(number, at, outcome);
        answered.ok()
    }

    /// Reads a key until there is an answer.
    pub(crate) async fn read(&self, key: &Key) -> Option<Record> {
        let read = super::support::eventually("the key is read", super::support::WHOLE_WITHIN, async || {
            self.ask(key, Kind::Get).await.ok_or_else(|| format!("{key} has no answer"))
        });
        match read.await {
            Answer::Found(record) => Some(record),
            _ => None,
        }
    }

    async fn send(&self, key: Key, kind: Kind) -> Result<Answer, Failure> {
        match kind {
            Kind::Get => {
                let found = self.client.get(key).await?;
                let as_of = found.at;
                Ok(match found.result {
                    Some(record) => Answer::Found(record),
                    None => {
                        Answer::Absent { as_of: as_of.expect("a chain says up to where a key is absent") }
                    }
                })
            }
            Kind::Put(value) => self.client.put(key, value).await.map(|answered| written(&answered)),
            Kind::Delete => self.client.delete(key).await.map(|answered| written(&answered)),
            Kind::CompareAndSwap { expected, value } => {
                self.client.compare_and_swap(key, expected, value).await.map(|answered| written(&answered))
            }
        }
    }
}

/// What a write answered, as a history notes it.
fn written(answered: &Answered<Became>) -> Answer {
    let place = || answered.at.expect("a chain gives every write a place");
    match answered.result {
        Became::Written(version) => Answer::Written(version),
        Became::Deleted(before) => Answer::Deleted { version: place(), existed: before.is_some() },
        Became::Conflict(Some(version)) => Answer::Conflict(Seen::Version(version)),
        Became::Conflict(None) => Answer::Conflict(Seen::Absent { as_of: place() }),
    }
}
