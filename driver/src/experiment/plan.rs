//! What is measured: the jobs of the load generator.
//!
//! Generated keys are `experiment/R/N/0`, `experiment/R/N/1`, ... of repeat R and entry node N, the same each time, so that
//! a query tomorrow finds what an insert stored today. Keys of warm-ups begin with `experiment/warm-up/`.

use std::time::Duration;

use chordata_workload::job::{Entry, Job, Keys, Request, Requests, Transport, VERSION, Work};

use super::result::Kind;

/// Keys that mixed requests are about, unless they come from files.
const REQUEST_KEYS: u64 = 500;

/// Where keys come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum KeySource {
    /// From files: a list for each.
    Listed(Vec<Vec<String>>),
    /// So many for each entry node; none: as many as there is time for.
    Generated(Option<u64>),
}

/// Where mixed requests come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RequestSource {
    /// From files.
    Listed(Vec<Request>),
    /// So many for each entry node; none: as many as there is time for.
    Generated(Option<u64>),
}

/// What is measured, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// In this order.
    pub(crate) kinds: Vec<Kind>,
    /// Over HTTP, or by the client library?
    pub(crate) is_http: bool,
    /// The bearer token.
    pub(crate) token: Option<String>,
    /// For inserts and queries.
    pub(crate) keys: KeySource,
    /// Mixed.
    pub(crate) requests: RequestSource,
    /// Requests under way at each entry node.
    pub(crate) in_flight: usize,
    /// Requests written to a connection at once.
    pub(crate) pipeline: usize,
    /// Bytes of a value.
    pub(crate) value_bytes: usize,
    /// Length of a run.
    pub(crate) limit: Option<Duration>,
    /// Length of the run before the first.
    pub(crate) warm_up: Duration,
    /// Runs.
    pub(crate) repeats: u32,
    /// Threads that send, unless hosts do.
    pub(crate) generators: usize,
    /// Do the hosts send?
    pub(crate) on_hosts: bool,
}

impl Plan {
    /// The keys of a repeat, for each entry node.
    pub(super) fn keys(&self, repeat: u32, entries: usize) -> Vec<Keys> {
        match &self.keys {
            KeySource::Listed(files) => deal(files, entries).into_iter().map(Keys::Listed).collect(),
            KeySource::Generated(count) => (0..entries)
                .map(|entry| Keys::Generated {
                    prefix: format!("experiment/{repeat}/{entry}/"),
                    count: *count,
                })
                .collect(),
        }
    }

    /// The mixed requests of a repeat.
    pub(super) fn requests(&self, repeat: u32, entries: usize) -> Requests {
        match &self.requests {
            RequestSource::Listed(requests) => Requests::Listed(requests.clone()),
            RequestSource::Generated(count) => Requests::Generated {
                prefix: format!("experiment/{repeat}/requests/"),
                keys: REQUEST_KEYS,
                count: count.map(|count| count * entries as u64),
            },
        }
    }

    /// What comes before the first run of a kind. Queries warm up with the keys that they then ask for.
    pub(super) fn warm_up(&self, kind: Kind, keys: &[Keys]) -> Work {
        match kind {
            Kind::Insert => Work::Insert(
                (0..keys.len())
                    .map(|entry| Keys::Generated {
                        prefix: format!("experiment/warm-up/{entry}/"),
                        count: None,
                    })
                    .collect(),
            ),
            Kind::Query => Work::Query(keys.to_vec()),
            Kind::Request => Work::Requests(Requests::Generated {
                prefix: "experiment/warm-up/requests/".to_owned(),
                keys: REQUEST_KEYS,
                count: None,
            }),
        }
    }

    /// A job for the generator.
    pub(super) fn job(
        &self,
        work: Work,
        limit: Option<Duration>,
        entries: &[Entry],
        transport: Transport,
        seed: u64,
    ) -> Job {
        Job {
            version: VERSION,
            transport,
            entries: entries.to_vec(),
            in_flight: self.in_flight,
            pipeline: self.pipeline,
            value_bytes: self.value_bytes,
            limit_ms: limit.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
            seed,
            work,
        }
    }

    /// The keys in words.
    pub(super) fn keys_in_words(&self) -> String {
        match &self.keys {
            _ if self.kinds == [Kind::Request] => "none".to_owned(),
            KeySource::Listed(files) => {
                let keys: usize = files.iter().map(Vec::len).sum();
                format!("{keys} keys of {} files", files.len())
            }
            KeySource::Generated(Some(count)) => format!("{count} generated keys for each entry node"),
            KeySource::Generated(None) => "generated keys, as many as there was time for".to_owned(),
        }
    }

    /// The mixed requests in words.
    pub(super) fn requests_in_words(&self) -> String {
        match &self.requests {
            _ if !self.kinds.contains(&Kind::Request) => "none".to_owned(),
            RequestSource::Listed(requests) => format!("{} requests from files", requests.len()),
            RequestSource::Generated(count) => {
                let count = count.map_or_else(
                    || "as many as there was time for".to_owned(),
                    |count| format!("{count} for each entry node"),
                );
                format!("half inserts, half queries of {REQUEST_KEYS} keys, {count}")
            }
        }
    }
}

/// A list for each entry node: one file for each, the rest behind those, and a single file dealt out line by line.
fn deal(files: &[Vec<String>], entries: usize) -> Vec<Vec<String>> {
    let mut dealt = vec![Vec::new(); entries];
    match files {
        [only] => {
            for (number, key) in only.iter().enumerate() {
                dealt[number % entries].push(key.clone());
            }
        }
        _ => {
            for (number, file) in files.iter().enumerate() {
                dealt[number % entries].extend(file.iter().cloned());
            }
        }
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_dealt_out_to_entry_nodes() {
        let file = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let three = [file(&["a", "b"]), file(&["c"]), file(&["d"])];
        assert_eq!(deal(&three, 2), [file(&["a", "b", "d"]), file(&["c"])]);
        assert_eq!(deal(&three, 4), [file(&["a", "b"]), file(&["c"]), file(&["d"]), file(&[])]);
        let one = [file(&["a", "b", "c"])];
        assert_eq!(deal(&one, 2), [file(&["a", "c"]), file(&["b"])]);
    }
}
