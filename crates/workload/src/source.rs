//! Which request comes next. Workers of one thread share it.

use fastrand::Rng;

use crate::job::{Job, Keys, Request, Requests, Work, push_number, value_of};

/// A request. Its texts are used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct Task {
    /// The place of the entry node.
    pub(crate) entry: usize,
    /// Store, or read?
    pub(crate) is_insert: bool,
    /// Under which name.
    pub(crate) key: String,
    /// What to store; or what a query should find, where that is known.
    pub(crate) value: String,
}

/// What is left to do.
pub(crate) struct Source {
    work: Work,
    value_bytes: usize,
    is_timed: bool,
    /// How far each entry node is; mixed requests have one place for all.
    begun: Vec<u64>,
    /// Requests that each entry node got.
    by_entry: Vec<u64>,
    lot: Rng,
}

impl Source {
    pub(crate) fn new(job: &Job) -> Source {
        Source {
            work: job.work.clone(),
            value_bytes: job.value_bytes,
            is_timed: job.limit_ms.is_some(),
            begun: vec![0; job.entries.len()],
            by_entry: vec![0; job.entries.len()],
            lot: Rng::with_seed(job.seed),
        }
    }

    /// Are these mixed requests, of which stale answers are counted?
    pub(crate) fn is_mixed(&self) -> bool {
        matches!(self.work, Work::Requests(_))
    }

    /// How many requests each entry node got.
    pub(crate) fn by_entry(&self) -> &[u64] {
        &self.by_entry
    }

    /// The entry node for a worker's next requests: its own, or one by lot.
    pub(crate) fn entry(&mut self, worker: usize) -> usize {
        let entries = self.begun.len();
        if self.is_mixed() { self.lot.usize(..entries) } else { worker % entries }
    }

    /// The next request for this entry node, or none: it is done.
    pub(crate) fn next(&mut self, entry: usize, task: &mut Task) -> bool {
        let counter = if self.is_mixed() { 0 } else { entry };
        let number = self.begun[counter];
        task.entry = entry;
        task.key.clear();
        task.value.clear();
        let is_there = match &self.work {
            Work::Insert(keys) | Work::Query(keys) => {
                let keys = &keys[entry];
                task.is_insert = matches!(self.work, Work::Insert(_));
                next_key(keys, number, self.is_timed, &mut task.key) && {
                    value_of(&task.key, self.value_bytes, &mut task.value);
                    true
                }
            }
            Work::Requests(Requests::Listed(requests)) => next_listed(requests, number, self.is_timed, task),
            Work::Requests(Requests::Generated { prefix, keys, count }) => {
                task.key.push_str(prefix);
                push_number(self.lot.u64(..*keys), &mut task.key);
                task.is_insert = self.lot.bool();
                if task.is_insert {
                    push_number(number, &mut task.value);
                }
                count.is_none_or(|count| number < count)
            }
        };
        if is_there {
            self.begun[counter] += 1;
            self.by_entry[entry] += 1;
        }
        is_there
    }
}

fn next_key(keys: &Keys, number: u64, is_timed: bool, key: &mut String) -> bool {
    let Some(count) = keys.len() else {
        keys.write(number, key);
        return true;
    };
    if count == 0 || (number >= count && !is_timed) {
        return false;
    }
    keys.write(number % count, key);
    true
}

fn next_listed(requests: &[Request], number: u64, is_timed: bool, task: &mut Task) -> bool {
    let count = requests.len() as u64;
    if count == 0 || (number >= count && !is_timed) {
        return false;
    }
    let place = usize::try_from(number % count).unwrap_or_default();
    let request = &requests[place];
    task.key.push_str(request.key());
    task.is_insert = matches!(request, Request::Insert { .. });
    if let Request::Insert { value, .. } = request {
        task.value.push_str(value);
        let round = number / count + 1;
        if round > 1 {
            task.value.push('.');
            push_number(round, &mut task.value);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Entry, Transport, VERSION};

    fn source(work: Work, limit_ms: Option<u64>) -> Source {
        let entry = |name: &str| Entry { name: name.to_owned(), rpc: None, http: Some("h:1".to_owned()) };
        Source::new(&Job {
            version: VERSION,
            transport: Transport::Http { token: None },
            entries: vec![entry("a"), entry("b")],
            in_flight: 1,
            pipeline: 1,
            value_bytes: 4,
            limit_ms,
            seed: 1,
            work,
        })
    }

    fn keys(source: &mut Source, entry: usize, limit: usize) -> Vec<String> {
        let mut task = Task::default();
        let mut all = Vec::new();
        while all.len() < limit && source.next(entry, &mut task) {
            all.push(task.key.clone());
        }
        all
    }

    #[test]
    fn each_entry_node_has_its_own_keys_once_or_round_and_round() {
        let work = || {
            Work::Query(vec![
                Keys::Listed(vec!["x".to_owned(), "y".to_owned()]),
                Keys::Generated { prefix: "g".to_owned(), count: Some(3) },
            ])
        };
        let mut once = source(work(), None);
        assert_eq!(keys(&mut once, 0, 9), ["x", "y"]);
        assert_eq!(keys(&mut once, 1, 9), ["g0", "g1", "g2"]);
        assert_eq!(once.by_entry(), [2, 3]);
        let mut round = source(work(), Some(1));
        assert_eq!(keys(&mut round, 0, 5), ["x", "y", "x", "y", "x"]);
        assert_eq!((round.entry(4), round.entry(7)), (0, 1), "a worker stays with its entry node");
    }

    #[test]
    fn an_entry_node_without_keys_is_done_at_once() {
        let mut none = source(Work::Insert(vec![Keys::Listed(Vec::new()); 2]), Some(1));
        assert!(keys(&mut none, 0, 9).is_empty());
        let mut endless =
            source(Work::Insert(vec![Keys::Generated { prefix: "g".to_owned(), count: None }; 2]), Some(1));
        assert_eq!(keys(&mut endless, 1, 100).len(), 100);
    }

    #[test]
    fn repeated_requests_write_other_values_each_round_and_enter_anywhere() {
        let insert = Request::Insert { key: "k".to_owned(), value: "v".to_owned() };
        let query = Request::Query { key: "k".to_owned() };
        let mut source = source(Work::Requests(Requests::Listed(vec![insert, query])), Some(1));
        let mut task = Task::default();
        let mut values = Vec::new();
        for _ in 0..4 {
            assert!(source.next(0, &mut task));
            values.push((task.is_insert, task.value.clone()));
        }
        let expected = [(true, "v"), (false, ""), (true, "v.2"), (false, "")];
        assert_eq!(values, expected.map(|(is_insert, value)| (is_insert, value.to_owned())));
        let entries: Vec<usize> = (0..100).map(|_| source.entry(0)).collect();
        assert!(entries.contains(&0) && entries.contains(&1));
    }

    #[test]
    fn generated_requests_never_write_a_value_twice() {
        let requests = Requests::Generated { prefix: "k".to_owned(), keys: 3, count: Some(1000) };
        let mut source = source(Work::Requests(requests), None);
        let mut task = Task::default();
        let (mut values, mut queries) = (std::collections::BTreeSet::new(), 0);
        while source.next(0, &mut task) {
            assert!(["k0", "k1", "k2"].contains(&task.key.as_str()), "{task:?}");
            match task.is_insert {
                true => assert!(values.insert(task.value.clone()), "{task:?}"),
                false => queries += 1,
            }
        }
        assert_eq!(values.len() + queries, 1000);
        assert!(values.len() > 400 && queries > 400);
    }
}
