//! What a generator is to do. It travels to hosts as JSON.

use std::fmt;

use chordata_protocol::Address;
use serde::{Deserialize, Serialize};

/// Version of jobs and of what they answer: a generator refuses any other.
pub const VERSION: u32 = 1;

/// What a generator is to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// [`VERSION`].
    pub version: u32,
    /// How requests travel.
    pub transport: Transport,
    /// The nodes that requests are sent to.
    pub entries: Vec<Entry>,
    /// Requests under way at each entry node.
    pub in_flight: usize,
    /// Over HTTP: so many requests are written at once to a connection, and then their answers read. 1: none waits
    /// behind another one.
    pub pipeline: usize,
    /// Length of the values of `Insert` and `Query`.
    pub value_bytes: usize,
    /// Begin nothing after so many milliseconds, and go round until then; none: everything once.
    pub limit_ms: Option<u64>,
    /// For the choice of entry nodes and generated requests.
    pub seed: u64,
    /// The requests.
    pub work: Work,
}

/// A node that requests are sent to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// What people call it.
    pub name: String,
    /// Where its RPC is; none: only HTTP is known.
    pub rpc: Option<Address>,
    /// Where its HTTP is, `HOST:PORT`.
    pub http: Option<String>,
}

/// How requests travel.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// The client library, which lets the entry node find the owner.
    Rpc {
        /// The cluster's id, if it is known.
        cluster: Option<String>,
        /// Its secret.
        secret: Option<String>,
    },
    /// The classic routes.
    Http {
        /// The bearer token.
        token: Option<String>,
    },
}

/// Shows that there is a secret, never the secret.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stars = |text: &Option<String>| text.as_ref().map(|_| "***");
        match self {
            Transport::Rpc { cluster, secret } => {
                f.debug_struct("Rpc").field("cluster", cluster).field("secret", &stars(secret)).finish()
            }
            Transport::Http { token } => f.debug_struct("Http").field("token", &stars(token)).finish(),
        }
    }
}

/// The requests of a job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Keys for each entry node, each stored under a value that [`value_of`] makes from it.
    Insert(Vec<Keys>),
    /// Keys for each entry node, whose values are compared with [`value_of`].
    Query(Vec<Keys>),
    /// Mixed requests, each to an entry node by lot.
    Requests(Requests),
}

/// Keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// These.
    Listed(Vec<String>),
    /// `PREFIX0`, `PREFIX1`, ...
    Generated {
        /// What they begin with.
        prefix: String,
        /// How many; none: as many as there is time for.
        count: Option<u64>,
    },
}

/// Mixed requests.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requests {
    /// These. Where there is a time limit they are repeated; values of the second round end in `.2`, and so on.
    Listed(Vec<Request>),
    /// Half inserts, half queries, on keys by lot, every value another one.
    Generated {
        /// What keys begin with.
        prefix: String,
        /// How many different keys.
        keys: u64,
        /// How many requests; none: as many as there is time for.
        count: Option<u64>,
    },
}

/// One of mixed requests.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Stores a value.
    Insert {
        /// Under which name.
        key: String,
        /// What.
        value: String,
    },
    /// Reads a value.
    Query {
        /// Whose.
        key: String,
    },
}

impl Request {
    /// The key that it is about.
    pub fn key(&self) -> &str {
        match self {
            Request::Insert { key, .. } | Request::Query { key } => key,
        }
    }
}

/// A job that cannot be done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JobError {
    /// It is of another version.
    #[error("the job is of version {0}, this generator knows {VERSION}: deploy the same program everywhere")]
    Version(u32),
    /// It contradicts itself.
    #[error("the job cannot be done: {0}")]
    Impossible(String),
    /// An entry node cannot be reached before anything was measured.
    #[error("{0}")]
    Unreachable(String),
    /// The machine refused something.
    #[error("{0}")]
    System(String),
}

impl Job {
    /// Does it make sense?
    ///
    /// # Errors
    /// When it does not: what is wrong.
    pub fn check(&self) -> Result<(), JobError> {
        let impossible = |reason: &str| Err(JobError::Impossible(reason.to_owned()));
        if self.version != VERSION {
            return Err(JobError::Version(self.version));
        }
        if self.entries.is_empty() || self.in_flight == 0 || self.pipeline == 0 {
            return impossible("without entry nodes or requests at once nothing is sent");
        }
        let is_http = matches!(self.transport, Transport::Http { .. });
        if self.entries.iter().any(|entry| if is_http { entry.http.is_none() } else { entry.rpc.is_none() }) {
            return impossible("an entry node has no address for this transport");
        }
        let is_endless = match &self.work {
            Work::Insert(keys) | Work::Query(keys) if keys.len() != self.entries.len() => {
                return impossible("there must be keys for each entry node");
            }
            Work::Insert(keys) => keys.iter().any(|keys| keys.len().is_none()),
            Work::Query(keys) if keys.iter().any(|keys| keys.len().is_none()) => {
                return impossible("queries need to know how many keys there are");
            }
            Work::Query(_) => false,
            Work::Requests(Requests::Generated { keys: 0, .. }) => {
                return impossible("requests need at least one key");
            }
            Work::Requests(Requests::Generated { count, .. }) => count.is_none(),
            Work::Requests(Requests::Listed(_)) => false,
        };
        if is_endless && self.limit_ms.is_none() {
            return impossible("it would never end");
        }
        Ok(())
    }

    /// The same work for several generators: entry nodes are dealt out, requests by their keys, so that one generator
    /// sees all of a key. Fewer than `count` where there is no work for more.
    pub fn split(&self, count: usize) -> Vec<Job> {
        let count = count.clamp(1, self.entries.len().max(1));
        let mine = |place: usize| (place..self.entries.len()).step_by(count);
        (0..count)
            .map(|place| {
                let dealt = |keys: &[Keys]| mine(place).map(|entry| keys[entry].clone()).collect();
                let work = match &self.work {
                    Work::Insert(keys) => Work::Insert(dealt(keys)),
                    Work::Query(keys) => Work::Query(dealt(keys)),
                    Work::Requests(requests) => Work::Requests(requests.part(place, count)),
                };
                let is_mixed = matches!(self.work, Work::Requests(_));
                let entries = if is_mixed {
                    self.entries.clone()
                } else {
                    mine(place).map(|entry| self.entries[entry].clone()).collect()
                };
                // As many requests under way in all as one generator would have.
                let in_flight = if is_mixed { self.in_flight.div_ceil(count) } else { self.in_flight };
                Job { work, entries, in_flight, seed: self.seed + place as u64, ..self.clone() }
            })
            .collect()
    }
}

impl Keys {
    /// How many; none: without end.
    pub fn len(&self) -> Option<u64> {
        match self {
            Keys::Listed(keys) => Some(keys.len() as u64),
            Keys::Generated { count, .. } => *count,
        }
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Writes one of them behind what is there.
    pub(crate) fn write(&self, number: u64, text: &mut String) {
        match self {
            Keys::Listed(keys) => {
                let place = usize::try_from(number).unwrap_or(usize::MAX) % keys.len().max(1);
                text.push_str(keys.get(place).map_or("", String::as_str));
            }
            Keys::Generated { prefix, .. } => {
                text.push_str(prefix);
                push_number(number, text);
            }
        }
    }
}

impl Requests {
    fn part(&self, place: usize, count: usize) -> Requests {
        match self {
            Requests::Listed(requests) => {
                let mine =
                    |request: &&Request| usize::try_from(hash(request.key()) % count as u64) == Ok(place);
                Requests::Listed(requests.iter().filter(mine).cloned().collect())
            }
            Requests::Generated { prefix, keys, count: requests } => Requests::Generated {
                prefix: format!("{prefix}{place}/"),
                keys: (keys / count as u64).max(1),
                count: requests.map(|requests| {
                    requests / count as u64 + u64::from((place as u64) < requests % count as u64)
                }),
            },
        }
    }
}

pub(crate) fn push_number(number: u64, text: &mut String) {
    use fmt::Write;
    // Writing to a string does not fail.
    let _ = write!(text, "{number}");
}

/// FNV-1a: fast on short keys, and the same everywhere.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Writes the value that an experiment stores under a key: `length` hexadecimal digits that depend on the key, so that a
/// query, today or tomorrow, knows whether it got the right one.
pub fn value_of(key: &str, length: usize, value: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut state = hash(key);
    value.clear();
    while value.len() < length {
        // xorshift64*: another sixteen digits each time.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        for digit in 0..16.min(length - value.len()) {
            value.push(DIGITS[(word >> (60 - 4 * digit)) as usize & 0xf]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(work: Work) -> Job {
        let entry = |number: u16| Entry {
            name: format!("n{number}"),
            rpc: Some(Address::new(&format!("127.0.0.1:{number}"))),
            http: None,
        };
        Job {
            version: VERSION,
            transport: Transport::Rpc { cluster: None, secret: Some("0123456789abcdef".to_owned()) },
            entries: (1..=5).map(entry).collect(),
            in_flight: 4,
            pipeline: 1,
            value_bytes: 16,
            limit_ms: None,
            seed: 7,
            work,
        }
    }

    fn generated(count: Option<u64>) -> Vec<Keys> {
        (0..5).map(|entry| Keys::Generated { prefix: format!("{entry}/"), count }).collect()
    }

    #[test]
    fn jobs_that_make_no_sense_are_refused() {
        assert_eq!(job(Work::Insert(generated(Some(3)))).check(), Ok(()));
        for (work, says) in [
            (Work::Insert(generated(None)), "never end"),
            (Work::Insert(generated(Some(1))[..2].to_vec()), "for each entry node"),
            (Work::Query(generated(None)), "how many keys"),
        ] {
            let error = job(work).check().expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
        let mut other = job(Work::Insert(generated(Some(3))));
        other.transport = Transport::Http { token: None };
        assert!(other.check().is_err(), "no HTTP addresses");
        other.version = 9;
        assert_eq!(other.check(), Err(JobError::Version(9)));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", job(Work::Insert(generated(Some(3)))));
        assert!(shown.contains("***") && !shown.contains("0123456789abcdef"), "{shown}");
    }

    #[test]
    fn entry_nodes_are_dealt_out_and_none_is_lost() {
        let parts = job(Work::Insert(generated(Some(3)))).split(3);
        let mut names: Vec<&str> =
            parts.iter().flat_map(|part| part.entries.iter().map(|entry| entry.name.as_str())).collect();
        names.sort_unstable();
        assert_eq!(names, ["n1", "n2", "n3", "n4", "n5"]);
        assert!(parts.iter().all(|part| part.check().is_ok()));
        assert_eq!(job(Work::Insert(generated(Some(3)))).split(99).len(), 5);
    }

    #[test]
    fn all_requests_on_a_key_go_to_one_generator_in_their_order() {
        let requests: Vec<Request> = (0..100)
            .map(|number| Request::Insert { key: format!("k{}", number % 7), value: number.to_string() })
            .collect();
        let parts = job(Work::Requests(Requests::Listed(requests))).split(3);
        let mut total = 0;
        let mut home = std::collections::BTreeMap::new();
        for (place, part) in parts.iter().enumerate() {
            let Work::Requests(Requests::Listed(requests)) = &part.work else { panic!("{part:?}") };
            total += requests.len();
            let mut last = 0;
            for request in requests {
                assert_eq!(*home.entry(request.key().to_owned()).or_insert(place), place);
                let Request::Insert { value, .. } = request else { panic!("{request:?}") };
                let value: u32 = value.parse().expect("a number");
                assert!(value >= last, "out of order");
                last = value;
            }
        }
        assert_eq!(total, 100);
        let counted = Requests::Generated { prefix: "p".to_owned(), keys: 10, count: Some(100) };
        let counts = job(Work::Requests(counted)).split(3).into_iter().map(|part| match part.work {
            Work::Requests(Requests::Generated { count, .. }) => count.unwrap_or(0),
            other => panic!("{other:?}"),
        });
        assert_eq!(counts.sum::<u64>(), 100);
    }

    #[test]
    fn a_value_has_its_length_and_depends_on_the_key() {
        let (mut one, mut other) = (String::new(), String::new());
        for length in [0, 1, 15, 16, 17, 100] {
            value_of("Berlin", length, &mut one);
            assert_eq!(one.len(), length);
        }
        value_of("Berlin", 40, &mut other);
        assert!(one.starts_with(&other) && one[..16] != one[16..32], "the same key, the same digits: {one}");
        value_of("Bremen", 40, &mut other);
        assert!(!one.starts_with(&other));
    }
}
