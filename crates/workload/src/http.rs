//! The classic routes over HTTP/1.1, as cheaply as can be: `POST /insert/{key}/{value}` and `GET /query/{key}`.
//!
//! A request is put together in a buffer and written with one call; of an answer only the status, the length of the body
//! and, for queries, the body's `value` are looked at.

use std::borrow::Cow;
use std::io;
use std::ops::Range;

use memchr::memmem;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::source::Task;

/// The longest head and body of an answer: a value of 1 MiB in JSON, every byte escaped, and some room.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
const BUFFER_BYTES: usize = 8 * 1024;

/// A connection to an entry node.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What has been read: answers behind one another, the first at `start`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// An answer, its body still in the connection's buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Range<usize>,
    /// The server will close the connection.
    pub(crate) closes: bool,
}

/// How the body of an answer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ends {
    After(usize),
    Chunked,
}

#[derive(Debug)]
struct Head {
    status: u16,
    ends: Ends,
    closes: bool,
    /// Bytes of the head with the empty line.
    length: usize,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(crate) async fn open(address: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0 })
    }

    /// Writes requests.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) async fn send(&mut self, requests: &[u8]) -> io::Result<()> {
        self.stream.write_all(requests).await
    }

    /// Reads the next answer.
    ///
    /// # Errors
    /// When the connection is lost, or what comes is no answer.
    pub(crate) async fn receive(&mut self) -> io::Result<Answer> {
        loop {
            if let Some(head) = head(&self.buffer[self.start..self.end])? {
                return self.receive_body(&head).await;
            }
            self.fill().await?;
        }
    }

    async fn receive_body(&mut self, head: &Head) -> io::Result<Answer> {
        let body = self.start + head.length;
        let answer = |range: Range<usize>| Answer { status: head.status, body: range, closes: head.closes };
        match head.ends {
            Ends::After(length) if length > ANSWER_BYTES_MAX => Err(bad("an answer that is too long")),
            Ends::After(length) => {
                // The buffer only grows behind what is there while an answer is read.
                while self.end < body + length {
                    self.fill().await?;
                }
                self.advance_to(body + length);
                Ok(answer(body..body + length))
            }
            Ends::Chunked => loop {
                if let Some((text, length)) = unchunk(&self.buffer[body..self.end])? {
                    let end = body + text.len();
                    self.buffer[body..end].copy_from_slice(&text);
                    self.advance_to(body + length);
                    return Ok(answer(body..end));
                }
                self.fill().await?;
            },
        }
    }

    /// Everything before is answered. The bytes stay until the next read.
    fn advance_to(&mut self, place: usize) {
        self.start = place;
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.buffer.len() {
            if self.end > ANSWER_BYTES_MAX {
                return Err(bad("an answer that is too long"));
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.end..]).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }

    /// The body of an answer, until the next one is read.
    pub(crate) fn body(&self, answer: &Answer) -> &[u8] {
        &self.buffer[answer.body.clone()]
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// The head of an answer; none: it is not whole yet.
fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let length = end + 4;
    let status = match bytes {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', a, b, c, ..]
            if [a, b, c].iter().all(|digit| digit.is_ascii_digit()) =>
        {
            let digit = |digit: &u8| u16::from(digit - b'0');
            (digit(a) * 100 + digit(b) * 10 + digit(c), *minor)
        }
        _ => return Err(bad("what came is no answer of HTTP/1.1")),
    };
    let (status, minor) = status;
    let (mut ends, mut closes) = (None, minor == b'0');
    for line in memchr::memchr_iter(b'\n', &bytes[..length]).map(|at| &bytes[at + 1..length]) {
        let is = |name: &[u8]| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name);
        let value = |name: &[u8]| {
            let rest = &line[name.len()..];
            rest[..memchr::memchr(b'\r', rest).unwrap_or(rest.len())].trim_ascii()
        };
        match line.first().map(u8::to_ascii_lowercase) {
            Some(b'c') if is(b"content-length:") => {
                let number = std::str::from_utf8(value(b"content-length:")).ok();
                let number = number.and_then(|number| number.parse().ok());
                ends = Some(Ends::After(number.ok_or_else(|| bad("a length that is no number"))?));
            }
            Some(b't') if is(b"transfer-encoding:") => ends = Some(Ends::Chunked),
            Some(b'c') if is(b"connection:") => {
                closes = value(b"connection:").eq_ignore_ascii_case(b"close");
            }
            _ => {}
        }
    }
    let has_none = matches!(status, 204 | 304);
    let ends = ends.or(has_none.then_some(Ends::After(0)));
    let ends = ends.ok_or_else(|| bad("an answer whose end is not known"))?;
    Ok(Some(Head { status, ends, closes, length }))
}

/// A chunked body put together, and how long it was in chunks; none: it is not whole yet.
fn unchunk(bytes: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let (mut text, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = memmem::find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[at..at + line]).ok();
        let size = size.and_then(|line| line.split(';').next()).map(str::trim);
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
        let size =
            size.filter(|size| *size <= ANSWER_BYTES_MAX).ok_or_else(|| bad("a chunk without a length"))?;
        at += line + 2;
        if size == 0 {
            // Fields behind the last chunk, if any, end with an empty line.
            let rest = &bytes[at..];
            let end = if rest.starts_with(b"\r\n") {
                Some(2)
            } else {
                memmem::find(rest, b"\r\n\r\n").map(|end| end + 4)
            };
            return Ok(end.map(|end| (text, at + end)));
        }
        let Some(chunk) = bytes.get(at..at + size) else { return Ok(None) };
        text.extend_from_slice(chunk);
        at += size + 2;
        if at > bytes.len() {
            return Ok(None);
        }
    }
}

/// What every request to a node has in common.
pub(crate) struct Style {
    /// The rest of the first line, and all header fields.
    rest: String,
}

impl Style {
    pub(crate) fn new(host: &str, token: Option<&str>) -> Style {
        let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        Style {
            rest: format!(
                " HTTP/1.1\r\nhost: {host}\r\n{}content-length: 0\r\n\r\n",
                authorization.unwrap_or_default()
            ),
        }
    }

    /// Writes a request behind what is there.
    pub(crate) fn write(&self, task: &Task, out: &mut Vec<u8>) {
        if task.is_insert {
            out.extend_from_slice(b"POST /insert/");
            encode(task.key.as_bytes(), out);
            out.push(b'/');
            encode(task.value.as_bytes(), out);
        } else {
            out.extend_from_slice(b"GET /query/");
            encode(task.key.as_bytes(), out);
        }
        out.extend_from_slice(self.rest.as_bytes());
    }
}

/// One segment of a path: everything but letters, digits and `-._~` as `%XX`.
fn encode(segment: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in segment {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            _ => out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
}

/// The value in the body of a query's answer; none: there is none.
pub(crate) fn value_in(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    let found: Found<'_> = serde_json::from_slice(body).ok()?;
    Some(match found.value {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

/// Is this the value in the body? Without reading the body as JSON where that can be seen at once. `expected` has only
/// characters that JSON does not escape.
pub(crate) fn has_value(body: &[u8], expected: &str) -> bool {
    const NAME: &[u8] = b"\"value\":";
    let direct = memmem::find(body, NAME).is_some_and(|at| {
        let rest = body[at + NAME.len()..].trim_ascii_start();
        let quoted = rest.strip_prefix(b"\"").and_then(|rest| rest.strip_prefix(expected.as_bytes()));
        quoted.is_some_and(|rest| rest.starts_with(b"\""))
    });
    direct || value_in(body).is_some_and(|value| value == expected.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_percent_encoded_and_whole() {
        let style = Style::new("127.0.0.1:5000", Some("t"));
        let mut out = Vec::new();
        let key = "Hey/Jude ä*".to_owned();
        style.write(&Task { entry: 0, is_insert: true, key: key.clone(), value: "a b".to_owned() }, &mut out);
        style.write(&Task { entry: 0, is_insert: false, key, value: String::new() }, &mut out);
        let rest =
            " HTTP/1.1\r\nhost: 127.0.0.1:5000\r\nauthorization: Bearer t\r\ncontent-length: 0\r\n\r\n";
        let key = "Hey%2FJude%20%C3%A4%2A";
        let expected = format!("POST /insert/{key}/a%20b{rest}GET /query/{key}{rest}");
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn heads_are_read_whatever_their_case_and_order() {
        let text =
            b"HTTP/1.1 404 Not Found\r\ndate: now\r\nContent-Length:  12 \r\nConnection: Close\r\n\r\nrest";
        let head = head(text).expect("a head").expect("whole");
        assert_eq!((head.status, head.ends, head.closes), (404, Ends::After(12), true));
        assert_eq!(&text[head.length..], b"rest");
        assert!(super::head(&text[..40]).expect("no error").is_none(), "not whole");
        assert!(super::head(b"SSH-2.0\r\n\r\n").is_err());
        assert!(super::head(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "nobody knows where it ends");
        let none = super::head(b"HTTP/1.1 204 No Content\r\n\r\n").expect("a head").expect("whole");
        assert_eq!(none.ends, Ends::After(0));
    }

    #[test]
    fn chunks_are_put_together_when_all_are_there() {
        let text = b"4\r\nWiki\r\n6;x=y\r\npedia \r\n0\r\n\r\nnext";
        for end in 0..text.len() - 4 {
            assert_eq!(unchunk(&text[..end]).expect("no error"), None, "{end}");
        }
        assert_eq!(unchunk(text).expect("no error"), Some((b"Wikipedia ".to_vec(), text.len() - 4)));
        assert!(unchunk(b"x\r\n").is_err());
    }

    #[test]
    fn values_are_found_in_bodies() {
        let body = br#"{"message":"found \"value\":\"12\"", "value": "123"}"#;
        assert!(has_value(body, "123") && !has_value(body, "12"));
        assert_eq!(value_in(br#"{"value":"a\nb"}"#).as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(value_in(br#"{"message":"not found"}"#), None);
    }
}
