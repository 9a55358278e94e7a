//! A server with the classic routes and a map behind it, which can be told to answer wrongly.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// How a fake server misbehaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Every so many queries of a key that was written twice are answered with the value before the last.
    pub(crate) stale_every: Option<u64>,
    /// Every so many requests are answered with 503.
    pub(crate) refuses_every: Option<u64>,
    /// Every so many requests are not answered: the connection ends.
    pub(crate) hangs_up_every: Option<u64>,
    /// Answers in chunks.
    pub(crate) chunked: bool,
}

/// What all connections share.
#[derive(Debug, Default)]
struct Shared {
    faults: Faults,
    values: Mutex<HashMap<String, Vec<String>>>,
    requests: AtomicU64,
    queries: AtomicU64,
    stale: AtomicU64,
    token: Mutex<Option<String>>,
    stops: AtomicBool,
}

/// A running fake server; it stops taking connections when it is dropped.
pub(crate) struct Fake {
    /// Where it listens.
    pub(crate) address: String,
    shared: Arc<Shared>,
}

impl Fake {
    pub(crate) fn start(faults: Faults) -> Fake {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared { faults, ..Shared::default() });
        let all = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if all.stops.load(Ordering::Relaxed) {
                    break;
                }
                let shared = all.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Fake { address, shared }
    }

    /// Requests that it took.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Queries that it answered with an older value.
    pub(crate) fn planted(&self) -> u64 {
        self.shared.stale.load(Ordering::Relaxed)
    }

    /// What it has under a key.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        self.shared.values.lock().unwrap().get(key)?.last().cloned()
    }

    /// How many keys it has.
    pub(crate) fn keys(&self) -> usize {
        self.shared.values.lock().unwrap().len()
    }

    /// From now on it wants this bearer token.
    pub(crate) fn wants(&self, token: &str) {
        *self.shared.token.lock().unwrap() = Some(token.to_owned());
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Relaxed);
        // Wakes the listener, which sees that it is over.
        let _ = TcpStream::connect(&self.address);
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while let Some(Ok(first)) = lines.next() {
            let fields: Vec<String> =
                lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
            let is_nth = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
            if is_nth(self.faults.hangs_up_every) {
                return;
            }
            let wanted = self.token.lock().unwrap().clone();
            let wanted = wanted.map(|token| format!("authorization: Bearer {token}"));
            let (status, body) = if wanted.is_some_and(|wanted| !fields.contains(&wanted)) {
                ("401 Unauthorized", r#"{"message":"who are you?"}"#.to_owned())
            } else if is_nth(self.faults.refuses_every) {
                ("503 Service Unavailable", r#"{"message":"not now"}"#.to_owned())
            } else {
                self.answer(&first)
            };
            let text = if self.faults.chunked {
                let (one, other) = body.split_at(body.len() / 2);
                let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
                let chunks = format!("{}{}0\r\n\r\n", chunk(one), chunk(other));
                format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")
            } else {
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            };
            if stream.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, first: &str) -> (&'static str, String) {
        let path = first.split(' ').nth(1).unwrap();
        let segments: Vec<String> = path.split('/').skip(1).map(decode).collect();
        let mut values = self.values.lock().unwrap();
        match segments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["insert", key, value] if first.starts_with("POST ") => {
                values.entry(key.to_owned()).or_default().push(value.to_owned());
                ("200 OK", r#"{"message":"stored"}"#.to_owned())
            }
            ["query", key] if first.starts_with("GET ") => {
                let number = self.queries.fetch_add(1, Ordering::Relaxed) + 1;
                let Some(written) = values.get(key) else {
                    return ("404 Not Found", r#"{"message":"there is no such key"}"#.to_owned());
                };
                let is_stale = self.faults.stale_every.is_some_and(|every| number.is_multiple_of(every));
                let value = match &written[..] {
                    [.., before, last] if is_stale && before != last => {
                        self.stale.fetch_add(1, Ordering::Relaxed);
                        before
                    }
                    [.., last] => last,
                    [] => unreachable!("a key is there since it was written"),
                };
                let body =
                    format!("{{\"message\":\"found\",\"value\":{}}}", serde_json::to_string(value).unwrap());
                ("200 OK", body)
            }
            _ => ("400 Bad Request", format!("{{\"message\":\"{first}\"}}")),
        }
    }
}

fn decode(segment: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(&behind[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).unwrap()
}
