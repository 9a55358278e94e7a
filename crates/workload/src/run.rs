//! Doing a job: one thread, and a worker for each request that is under way.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::facts::{Facts, thread_seconds};
use crate::http::{self, Connection, Style};
use crate::job::{Job, JobError, Transport, VERSION};
use crate::measured::{ByEntry, Measured, SENTENCES_MAX};
use crate::rpc::Clients;
use crate::source::{Source, Task};
use crate::stale::{Judgement, Moment, Oracle};

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A worker whose connection fails so often, without one answer between, stops.
const FAILURES_MAX: u32 = 5;
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Does a job on the calling thread.
///
/// # Errors
/// When it makes no sense, or an entry node cannot be reached at the beginning. Later failures are counted.
pub fn run(job: &Job) -> Result<Measured, JobError> {
    job.check()?;
    let host = Facts::here();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| JobError::System(error.to_string()))?;
    let mut measured = LocalSet::new().block_on(&runtime, work(job))?;
    measured.generators = vec![host];
    Ok(measured)
}

async fn work(job: &Job) -> Result<Measured, JobError> {
    let link = Rc::new(match &job.transport {
        Transport::Http { token } => Link::Http(Http::open(job, token.as_deref()).await?),
        Transport::Rpc { cluster, secret } => {
            Link::Rpc(Clients::connect(&job.entries, cluster.as_deref(), secret.as_deref()).await?)
        }
    });
    let began = Instant::now();
    let deadline = job.limit_ms.map(|limit| began + Duration::from_millis(limit));
    let book = Rc::new(RefCell::new(Book::new(job, deadline)));
    let busy_before = thread_seconds();
    let is_http = matches!(&*link, Link::Http(_));
    let pipeline = if is_http { job.pipeline } else { 1 };
    let workers = (job.in_flight.div_ceil(pipeline)) * job.entries.len();
    let workers: Vec<_> = (0..workers)
        .map(|number| tokio::task::spawn_local(worker(link.clone(), book.clone(), number, pipeline)))
        .collect();
    for worker in workers {
        worker.await.map_err(|error| JobError::System(format!("a worker ended: {error}")))?;
    }
    let mut book = book.borrow_mut();
    let seconds = book.ended.map_or(0.0, |ended| (ended - began).as_secs_f64());
    let begun = book.source.by_entry().to_vec();
    for (entry, begun) in book.entries.iter_mut().zip(begun) {
        entry.begun = begun;
    }
    Ok(Measured {
        version: VERSION,
        seconds,
        entries: std::mem::take(&mut book.entries),
        stale: book.oracle.as_ref().map(|_| book.stale),
        failures: std::mem::take(&mut book.failures),
        generator_seconds: thread_seconds().zip(busy_before).map(|(after, before)| after - before),
        generators: Vec::new(),
    })
}

/// How requests travel.
enum Link {
    Http(Http),
    Rpc(Clients),
}

/// A request under way.
#[derive(Default)]
struct Flight {
    task: Task,
    /// When it began, for the oracle.
    moment: Option<Moment>,
}

/// How a request ended.
enum Ending<'a> {
    Stored,
    /// Found, and compared already with what was expected.
    Compared {
        is_expected: bool,
    },
    Found(&'a [u8]),
    Missing,
    Failed(String),
    Unknown(String),
}

/// What all workers share.
struct Book {
    source: Source,
    deadline: Option<Instant>,
    oracle: Option<Oracle>,
    entries: Vec<ByEntry>,
    stale: u64,
    failures: Vec<String>,
    ended: Option<Instant>,
}

impl Book {
    fn new(job: &Job, deadline: Option<Instant>) -> Book {
        let source = Source::new(job);
        let oracle = source.is_mixed().then(Oracle::default);
        let entry = |name: &String| ByEntry { name: name.clone(), ..ByEntry::default() };
        Book {
            source,
            deadline,
            oracle,
            entries: job.entries.iter().map(|node| entry(&node.name)).collect(),
            stale: 0,
            failures: Vec::new(),
            ended: None,
        }
    }

    /// The next requests of a worker, all for one entry node; returns how many.
    fn take(&mut self, worker: usize, flights: &mut [Flight]) -> usize {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return 0;
        }
        let entry = self.source.entry(worker);
        let mut taken = 0;
        for flight in flights {
            if !self.source.next(entry, &mut flight.task) {
                break;
            }
            let task = &flight.task;
            flight.moment = self.oracle.as_mut().map(|oracle| match task.is_insert {
                true => oracle.insert_begins(&task.key, &task.value),
                false => oracle.query_begins(),
            });
            taken += 1;
        }
        taken
    }

    /// Does this worker compare a query's answer with what is expected, or does the oracle look at it?
    fn is_judged(&self) -> bool {
        self.oracle.is_some()
    }

    fn ended(&mut self, flight: &Flight, began: Instant, ending: &Ending<'_>) {
        let now = Instant::now();
        self.ended = Some(now);
        let task = &flight.task;
        self.judge(flight, ending);
        let entry = &mut self.entries[task.entry];
        let count = if task.is_insert { &mut entry.insert } else { &mut entry.query };
        match ending {
            Ending::Stored | Ending::Found(_) => count.done += 1,
            Ending::Compared { is_expected } => {
                count.done += 1;
                count.other += u64::from(!is_expected);
            }
            Ending::Missing => count.missing += 1,
            Ending::Failed(reason) | Ending::Unknown(reason) => {
                match ending {
                    Ending::Failed(_) => count.failed += 1,
                    _ => count.unknown += 1,
                }
                if self.failures.len() < SENTENCES_MAX {
                    self.failures.push(format!("{}: {reason}", entry.name));
                }
                return;
            }
        }
        count.latency.record(now - began);
    }

    fn judge(&mut self, flight: &Flight, ending: &Ending<'_>) {
        let (Some(oracle), Some(moment)) = (&mut self.oracle, flight.moment) else { return };
        let key = &flight.task.key;
        let answer = match ending {
            Ending::Stored => return oracle.acknowledged(key, moment),
            Ending::Found(value) => Some(*value),
            Ending::Missing => None,
            _ if flight.task.is_insert => return,
            _ => return oracle.query_failed(moment),
        };
        match oracle.judge(key, moment, answer) {
            Judgement::Fresh => {}
            Judgement::Stale => self.stale += 1,
            Judgement::Foreign => self.entries[flight.task.entry].query.other += 1,
        }
    }
}

async fn worker(link: Rc<Link>, book: Rc<RefCell<Book>>, number: usize, pipeline: usize) {
    let mut flights: Vec<Flight> = (0..pipeline).map(|_| Flight::default()).collect();
    let mut requests = Vec::new();
    let mut failures = 0;
    while failures < FAILURES_MAX {
        let taken = book.borrow_mut().take(number, &mut flights);
        if taken == 0 {
            break;
        }
        match &*link {
            Link::Rpc(clients) => call(clients, &book, &flights[0]).await,
            Link::Http(http) => match http.exchange(&book, &flights[..taken], &mut requests).await {
                Ok(()) => failures = 0,
                Err(()) => {
                    failures += 1;
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            },
        }
    }
}

/// One request through the client library.
async fn call(clients: &Clients, book: &RefCell<Book>, flight: &Flight) {
    let began = Instant::now();
    let failed = |failure: chordata_client::Failure| match failure.is_certain() {
        true => Ending::Failed(failure.to_string()),
        false => Ending::Unknown(failure.to_string()),
    };
    let found;
    let ending = if flight.task.is_insert {
        clients.insert(&flight.task).await.map_or_else(failed, |()| Ending::Stored)
    } else {
        match clients.query(&flight.task).await {
            Ok(answer) => {
                found = answer;
                let is_judged = book.borrow().is_judged();
                match &found {
                    None => Ending::Missing,
                    Some(value) if is_judged => Ending::Found(value),
                    Some(value) => Ending::Compared { is_expected: value == flight.task.value.as_bytes() },
                }
            }
            Err(failure) => Ending::Failed(failure.to_string()),
        }
    };
    book.borrow_mut().ended(flight, began, &ending);
}

/// Open connections to every entry node, and how to ask there.
struct Http {
    nodes: Vec<HttpNode>,
}

struct HttpNode {
    address: String,
    style: Style,
    /// Nobody uses them at the moment.
    idle: RefCell<Vec<Connection>>,
}

impl Http {
    async fn open(job: &Job, token: Option<&str>) -> Result<Http, JobError> {
        let mut nodes = Vec::new();
        for entry in &job.entries {
            let address = entry.http.clone().unwrap_or_default();
            let mut idle = Vec::new();
            for _ in 0..job.in_flight.div_ceil(job.pipeline) {
                let connection = within(CONNECT_WITHIN, Connection::open(&address)).await;
                let unreachable =
                    |error| JobError::Unreachable(format!("{address} of {}: {error}", entry.name));
                idle.push(connection.map_err(unreachable)?);
            }
            let style = Style::new(&address, token);
            nodes.push(HttpNode { address, style, idle: RefCell::new(idle) });
        }
        Ok(Http { nodes })
    }

    /// Sends requests and reads their answers; all of them are in the book afterwards. An error: the connection failed.
    async fn exchange(
        &self,
        book: &RefCell<Book>,
        flights: &[Flight],
        requests: &mut Vec<u8>,
    ) -> Result<(), ()> {
        let node = &self.nodes[flights[0].task.entry];
        requests.clear();
        for flight in flights {
            node.style.write(&flight.task, requests);
        }
        let idle = node.idle.borrow_mut().pop();
        let began = Instant::now();
        let mut connection = match idle {
            Some(connection) => connection,
            None => match within(CONNECT_WITHIN, Connection::open(&node.address)).await {
                Ok(connection) => connection,
                Err(error) => {
                    let reason = format!("{}: {error}", node.address);
                    for flight in flights {
                        book.borrow_mut().ended(flight, began, &Ending::Failed(reason.clone()));
                    }
                    return Err(());
                }
            },
        };
        let mut answered = 0;
        let talked =
            within(ANSWER_WITHIN, talk(&mut connection, book, flights, requests, &mut answered)).await;
        match talked {
            Ok(keeps) => {
                if keeps {
                    node.idle.borrow_mut().push(connection);
                }
                Ok(())
            }
            Err(error) => {
                // They were sent, or at least may have been.
                let reason = error.to_string();
                for flight in &flights[answered..] {
                    let ending = match flight.task.is_insert {
                        true => Ending::Unknown(reason.clone()),
                        false => Ending::Failed(reason.clone()),
                    };
                    book.borrow_mut().ended(flight, began, &ending);
                }
                Err(())
            }
        }
    }
}

/// Returns whether the connection can be used again.
async fn talk(
    connection: &mut Connection,
    book: &RefCell<Book>,
    flights: &[Flight],
    requests: &[u8],
    answered: &mut usize,
) -> io::Result<bool> {
    let began = Instant::now();
    connection.send(requests).await?;
    let mut keeps = true;
    for flight in flights {
        if !keeps {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        let answer = connection.receive().await?;
        keeps = !answer.closes;
        let body = connection.body(&answer);
        let is_judged = book.borrow().is_judged();
        let value;
        let ending = match (answer.status, flight.task.is_insert) {
            (200..=299, true) => Ending::Stored,
            (200..=299, false) if is_judged => {
                value = http::value_in(body);
                match &value {
                    Some(value) => Ending::Found(value),
                    None => Ending::Failed("a query was answered without a value".to_owned()),
                }
            }
            (200..=299, false) => Ending::Compared { is_expected: http::has_value(body, &flight.task.value) },
            (404, false) => Ending::Missing,
            // Somebody behind the server did not answer in time: the insert may be done.
            (504, true) => Ending::Unknown(refusal(504, body)),
            (status, _) => Ending::Failed(refusal(status, body)),
        };
        book.borrow_mut().ended(flight, began, &ending);
        *answered += 1;
    }
    Ok(keeps)
}

fn refusal(status: u16, body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    format!("status {status}: {}", text.trim())
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"))),
    }
}
