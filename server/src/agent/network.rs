//! `listen` and `reach`: do pairs of hosts reach each other's ports, before any server runs?
//!
//! `listen` takes the ports for a bounded time and tells whoever connects a number used once; `reach` connects and
//! reads it. The driver compares: an answer from the wrong machine (an address used twice, a translated port) is
//! not an answer. A port that a server holds already is fine, it says nothing and is merely reachable.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::error::AgentError;
use super::files;
use super::logs;
use super::probe;
use super::report::{ListenReport, PortState, ReachReport, ReachState, ReachedTarget};

/// What comes before the nonce.
const GREETING: &str = "chordata-check ";
/// The longest greeting that is read.
const LONGEST_GREETING: u64 = 200;
/// How long `reach` waits for the greeting once it is connected. A server that holds the port never sends one.
const GREETING_PATIENCE: Duration = Duration::from_millis(500);
/// How many targets are tried at once.
const PARALLEL: usize = 64;

/// `listen`: answers on ports for a while, for `reach` from other hosts.
#[derive(Debug, clap::Args)]
pub struct ListenArguments {
    /// A port to listen on (repeatable)
    #[arg(long = "port", value_name = "PORT", required = true)]
    ports: Vec<u16>,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    bind: IpAddr,
    /// How long to listen, unless standard input is closed before
    #[arg(long, value_name = "SECONDS", value_parser = super::seconds)]
    seconds: Duration,
    /// What to tell whoever connects (default: made up)
    #[arg(long, value_name = "TEXT")]
    nonce: Option<String>,
}

/// `reach`: tries to connect to other hosts.
#[derive(Debug, clap::Args)]
pub struct ReachArguments {
    /// Where to connect to
    #[arg(value_name = "HOST:PORT", required = true, value_parser = target)]
    targets: Vec<String>,
    /// How long each may take
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout_ms: u64,
}

/// Accepts `HOST:PORT` and `[ADDRESS]:PORT`.
fn target(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(text.to_owned())
        }
        _ => Err("expected HOST:PORT".into()),
    }
}

/// Listens, says so, and goes on until the time is over or standard input is closed.
pub(super) fn listen(arguments: &ListenArguments) -> ExitCode {
    let nonce = arguments.nonce.clone().unwrap_or_else(made_up_nonce);
    let (listeners, ports): (Vec<_>, Vec<_>) =
        arguments.ports.iter().map(|port| probe::try_port(arguments.bind, *port)).unzip();
    let refused = ports.iter().find(|fact| !matches!(fact.state, PortState::Free | PortState::InUse));
    if let Some(fact) = refused {
        let reason = fact.reason.as_deref().unwrap_or("unknown reason");
        let address = SocketAddr::new(arguments.bind, fact.port);
        return super::answer::<ListenReport>(Err(AgentError::System {
            doing: format!("listen on {address}"),
            source: io::Error::other(reason.to_owned()),
        }));
    }
    let greeting: Arc<[u8]> = format!("{GREETING}{nonce}\n").into_bytes().into();
    for listener in listeners.into_iter().flatten() {
        let greeting = Arc::clone(&greeting);
        thread::spawn(move || greet_all(&listener, &greeting));
    }
    let said = super::answer(Ok(ListenReport { nonce, ports }));
    let _ = logs::watch_standard_input().recv_timeout(arguments.seconds);
    said
}

fn greet_all(listener: &TcpListener, greeting: &[u8]) {
    for stream in listener.incoming() {
        match stream {
            Ok(mut stream) => {
                // A line fits any socket's buffer: the write does not wait for the reader.
                let _ = stream.write_all(greeting);
            }
            // Out of file descriptors, or the caller gave up: neither lasts.
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Differs between hosts and calls; nobody needs to be unable to guess it.
fn made_up_nonce() -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let host = probe::host_name().unwrap_or_default();
    files::hash(format!("{host} {} {time}", std::process::id()).as_bytes())[..16].to_owned()
}

/// Tries every target, many at a time.
pub(super) fn reach(arguments: &ReachArguments) -> ReachReport {
    let timeout = Duration::from_millis(arguments.timeout_ms);
    let mut targets = Vec::with_capacity(arguments.targets.len());
    for some in arguments.targets.chunks(PARALLEL) {
        let tries: Vec<_> = some.iter().map(|target| begin(target, timeout)).collect();
        targets.extend(tries.into_iter().map(|attempt| attempt.finish(timeout)));
    }
    ReachReport { targets }
}

/// Why a target was not reached: what the driver sees, and the system's words.
type Unreached = (ReachState, String);

/// What came of an attempt (the nonce, if any, of a target that was reached), and how long the connection took.
type Outcome = (Result<Option<String>, Unreached>, Duration);

/// An attempt under way in a thread of its own. The thread may outlive its time: a resolver cannot be told to stop.
struct Attempt {
    target: String,
    began: Instant,
    outcome: mpsc::Receiver<Outcome>,
}

fn begin(target: &str, timeout: Duration) -> Attempt {
    let began = Instant::now();
    let (sender, outcome) = mpsc::channel();
    let place = target.to_owned();
    thread::spawn(move || {
        let connected = connect(&place, began + timeout);
        let took = began.elapsed();
        // Nobody receives it when the time is over.
        let _ = sender.send((connected.map(|stream| read_nonce(&stream)), took));
    });
    Attempt { target: target.to_owned(), began, outcome }
}

impl Attempt {
    fn finish(self, timeout: Duration) -> ReachedTarget {
        let left = (timeout + GREETING_PATIENCE * 2).saturating_sub(self.began.elapsed());
        let (result, took) = self.outcome.recv_timeout(left).unwrap_or_else(|_| {
            (Err((ReachState::Timeout, "the name was not resolved in time".into())), self.began.elapsed())
        });
        let (state, nonce, reason) = match result {
            Ok(nonce) => (ReachState::Reachable, nonce, None),
            Err((state, reason)) => (state, None, Some(reason)),
        };
        ReachedTarget { target: self.target, state, microseconds: took.as_micros() as u64, nonce, reason }
    }
}

/// Connects to the first address of a name that answers.
fn connect(place: &str, deadline: Instant) -> Result<TcpStream, Unreached> {
    let addresses: Vec<SocketAddr> = match place.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err((ReachState::Unresolvable, error.to_string())),
    };
    let mut failure = (ReachState::Unresolvable, "the name has no address".to_owned());
    for address in addresses {
        // At least a moment for each: zero is not allowed.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let state = match error.kind() {
                    ErrorKind::ConnectionRefused => ReachState::Refused,
                    ErrorKind::TimedOut | ErrorKind::WouldBlock => ReachState::Timeout,
                    _ => ReachState::Unreachable,
                };
                failure = (state, error.to_string());
            }
        }
    }
    Err(failure)
}

/// The nonce, if `listen` is at the other end.
fn read_nonce(stream: &TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(GREETING_PATIENCE)).ok()?;
    let mut text = String::new();
    // What came before a timeout or an error counts: the line's end says whether it is whole.
    let _ = stream.take(LONGEST_GREETING).read_to_string(&mut text);
    text.strip_prefix(GREETING)?.strip_suffix('\n').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ReachArguments,
    }

    fn reach_words(words: &[&str]) -> ReachReport {
        reach(&Line::parse_from(["x"].iter().chain(words)).arguments)
    }

    fn port_of(listener: &TcpListener) -> u16 {
        listener.local_addr().expect("bound").port()
    }

    #[test]
    fn a_greeting_a_silent_server_and_a_closed_port_are_told_apart() {
        let greeting = TcpListener::bind("127.0.0.1:0").expect("free");
        let silent = TcpListener::bind("127.0.0.1:0").expect("free");
        let closed = port_of(&TcpListener::bind("127.0.0.1:0").expect("free"));
        let targets: Vec<String> = [port_of(&greeting), port_of(&silent), closed]
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        thread::spawn(move || greet_all(&greeting, b"chordata-check abc\n"));

        let report = reach_words(&[&targets[0], &targets[1], &targets[2], "no-such-host.invalid:1"]);

        let seen: Vec<(ReachState, Option<&str>)> =
            report.targets.iter().map(|found| (found.state, found.nonce.as_deref())).collect();
        assert_eq!(seen[0], (ReachState::Reachable, Some("abc")));
        assert_eq!(seen[1], (ReachState::Reachable, None));
        assert_eq!(seen[2], (ReachState::Refused, None));
        // A resolver without a network may take longer than its time.
        assert!(matches!(seen[3].0, ReachState::Unresolvable | ReachState::Timeout), "{report:?}");
        assert_eq!(report.targets[1].target, targets[1]);
    }

    #[test]
    fn targets_without_a_port_are_bad_usage() {
        for text in ["host", "host:", ":80", "host:0", "host:99999", "host:http"] {
            assert!(Line::try_parse_from(["x", text]).is_err(), "{text}");
        }
        for text in ["host:80", "[::1]:80", "10.0.0.1:18861"] {
            assert!(Line::try_parse_from(["x", text]).is_ok(), "{text}");
        }
    }

    #[test]
    fn made_up_nonces_differ() {
        assert_ne!(made_up_nonce(), made_up_nonce());
    }
}
