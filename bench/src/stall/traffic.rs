//! Writes and reads to every range at a steady pace, and when each was answered.
//!
//! Every write is of a key of its own; its value says which. A read is of a key whose write was acknowledged before the
//! read began, so it must find it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chordata_client::Client;
use chordata_protocol::{Key, Range, Value};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::BenchError;
use crate::load::{VALUE_BYTES, numbered_key};

/// Problems that are told one by one; of more only the number.
const PROBLEMS_TOLD: usize = 10;
/// Keys read in one request in the end.
const READ_AT_ONCE: usize = 1000;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Write,
    Read,
}

impl Kind {
    pub(super) const ALL: [Kind; 2] = [Kind::Write, Kind::Read];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Write => "write",
            Kind::Read => "read",
        }
    }
}

/// What is known of one range.
#[derive(Debug, Default)]
struct Lane {
    /// When requests were answered, in order.
    written: Vec<Instant>,
    read: Vec<Instant>,
    /// Numbers of keys whose writes were acknowledged.
    acknowledged: Vec<u64>,
}

#[derive(Debug, Default)]
struct Shared {
    lanes: Vec<Mutex<Lane>>,
    over: AtomicBool,
    failed: AtomicU64,
    problems: Mutex<Vec<String>>,
}

/// Requests that go on until they are ended.
pub(super) struct Traffic {
    client: Client,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// The value of a key.
fn value(number: u64) -> Vec<u8> {
    number.to_be_bytes().into_iter().cycle().take(VALUE_BYTES).collect()
}

fn key(number: u64) -> Key {
    Key::new(numbered_key(number))
}

impl Traffic {
    /// So many writes, and as many reads, a second to each range.
    pub(super) fn start(client: &Client, ranges: &[Range], rate: u32) -> Traffic {
        let lanes = ranges.iter().map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared { lanes, ..Shared::default() });
        let mut tasks = JoinSet::new();
        for (lane, range) in ranges.iter().enumerate() {
            tasks.spawn(pace(client.clone(), Arc::clone(&shared), lane, *range, rate));
        }
        Traffic { client: client.clone(), shared, tasks }
    }

    /// Requests that failed for good so far.
    pub(super) fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// The longest time between two moments in which no request of a range was answered.
    pub(super) fn gap(&self, range: usize, kind: Kind, from: Instant, to: Instant) -> Duration {
        let lane = self.shared.lanes[range].lock();
        let answered = match kind {
            Kind::Write => &lane.written,
            Kind::Read => &lane.read,
        };
        longest_gap(answered, from, to)
    }

    /// Ends it, and reads every acknowledged write again: how many those were, how many reads were made before, and what
    /// was not as it must be.
    ///
    /// # Errors
    /// When a task failed.
    pub(super) async fn end(mut self) -> Result<(usize, u64, Vec<String>), BenchError> {
        self.shared.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(BenchError::call)?;
        }
        let (mut numbers, mut read) = (Vec::new(), 0);
        for lane in &self.shared.lanes {
            let lane = lane.lock();
            numbers.extend_from_slice(&lane.acknowledged);
            read += lane.read.len() as u64;
        }
        for some in numbers.chunks(READ_AT_ONCE) {
            let found = self.client.get_many(some.iter().map(|number| key(*number)).collect()).await;
            for (number, found) in some.iter().zip(found) {
                let found = found.map_err(BenchError::call)?.map(|record| record.value.to_vec());
                self.shared.compare(*number, found.as_deref(), "in the end");
            }
        }
        let mut problems = std::mem::take(&mut *self.shared.problems.lock());
        let more = problems.len().saturating_sub(PROBLEMS_TOLD);
        problems.truncate(PROBLEMS_TOLD);
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        Ok((numbers.len(), read, problems))
    }
}

impl Shared {
    fn compare(&self, number: u64, found: Option<&[u8]>, when: &str) {
        if found != Some(value(number).as_slice()) {
            let what = if found.is_some() { "has another value" } else { "is lost" };
            self.problems.lock().push(format!("an acknowledged write {what} {when}: {:?}", key(number)));
        }
    }
}

/// The requests to one range.
async fn pace(client: Client, shared: Arc<Shared>, lane: usize, range: Range, rate: u32) {
    let mut random = fastrand::Rng::with_seed(lane as u64);
    let space = client.space();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    // What a busy machine missed is not made up for at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut numbers = (0u64..).filter(|number| range.contains(key(*number).id(space)));
    let mut requests = JoinSet::new();
    while !shared.over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let number = numbers.next().expect("there is no last number");
        requests.spawn(write(client.clone(), Arc::clone(&shared), lane, number));
        let known = {
            let lane = shared.lanes[lane].lock();
            random.choice(&lane.acknowledged).copied()
        };
        if let Some(number) = known {
            requests.spawn(read(client.clone(), Arc::clone(&shared), lane, number));
        }
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

async fn write(client: Client, shared: Arc<Shared>, lane: usize, number: u64) {
    match client.put(key(number), Value::from(value(number))).await {
        Ok(_) => {
            let mut lane = shared.lanes[lane].lock();
            lane.written.push(Instant::now());
            lane.acknowledged.push(number);
        }
        Err(_) => {
            shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn read(client: Client, shared: Arc<Shared>, lane: usize, number: u64) {
    match client.get(key(number)).await {
        Ok(answer) => {
            shared.lanes[lane].lock().read.push(Instant::now());
            let found = answer.result.map(|record| record.value.to_vec());
            shared.compare(number, found.as_deref(), "in a read");
        }
        Err(_) => {
            shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The longest time between neighbours of these moments, of those from `from` to `to`, and these two themselves.
fn longest_gap(moments: &[Instant], from: Instant, to: Instant) -> Duration {
    let first = moments.partition_point(|moment| *moment < from);
    let (mut last, mut longest) = (from, Duration::ZERO);
    for moment in moments[first..].iter().take_while(|moment| **moment < to).chain([&to]) {
        longest = longest.max(moment.duration_since(last));
        last = *moment;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_a_time_without_answers() {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let moments = [at(0), at(10), at(70), at(80), at(200)];
        let gap = |from, to| longest_gap(&moments, at(from), at(to)).as_millis();
        assert_eq!(gap(0, 80), 60);
        assert_eq!(gap(20, 75), 50, "from where it is looked at on");
        assert_eq!(gap(75, 150), 70, "up to where it is looked at");
        assert_eq!(gap(300, 400), 100, "no answer at all");
    }
}
