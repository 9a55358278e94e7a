//! Reading requests: what stands in the path, behind the question mark, and in the body.
//!
//! Keys and values are any bytes, so nothing here goes through text: the raw path is looked at, and `%XX` is a byte.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Uri, header::CONTENT_LENGTH};
use chordata_protocol::Key;
use http_body_util::BodyExt;

use super::problem::{Code, Problem};

/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// How long the next piece of a body may take that is read while it comes.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// What is read of a body that is too long, so that the other end has sent it and reads the answer.
const REST_MAX: usize = 8 * 1024 * 1024;
const REST_WITHIN: Duration = Duration::from_secs(3);

/// The raw segment of a path with this number, counted from 0; empty if there is none.
pub(crate) fn segment(uri: &Uri, number: usize) -> &str {
    uri.path().split('/').nth(number + 1).unwrap_or("")
}

/// The bytes that a raw text of a path stands for.
///
/// # Errors
/// When a `%` is not followed by two hexadecimal digits.
pub(crate) fn decode(raw: &str) -> Result<Vec<u8>, Problem> {
    unescape(raw, false)
}

fn unescape(raw: &str, plus_is_blank: bool) -> Result<Vec<u8>, Problem> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = raw.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut place = 0;
    while let Some(byte) = bytes.get(place) {
        place += 1;
        match byte {
            b'%' => match (digit(bytes.get(place)), digit(bytes.get(place + 1))) {
                (Some(high), Some(low)) => {
                    plain.push(u8::try_from(high * 16 + low).unwrap_or(0));
                    place += 2;
                }
                _ => {
                    return Err(Problem::bad(
                        "a % must be followed by two hexadecimal digits: write %25 for a % itself",
                    ));
                }
            },
            b'+' if plus_is_blank => plain.push(b' '),
            byte => plain.push(*byte),
        }
    }
    Ok(plain)
}

/// The key in a segment of the path.
///
/// # Errors
/// When it is badly escaped. Its length is looked at later.
pub(crate) fn key(uri: &Uri, number: usize) -> Result<Key, Problem> {
    decode(segment(uri, number)).map(Key::new)
}

/// What stands behind the question mark.
pub(crate) struct Parameters {
    pairs: Vec<(String, Vec<u8>)>,
}

impl Parameters {
    /// Reads them.
    ///
    /// # Errors
    /// When one is none of these, is there twice, or is badly escaped.
    pub(crate) fn read(uri: &Uri, known: &[&str]) -> Result<Parameters, Problem> {
        let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
        for pair in uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = String::from_utf8_lossy(&unescape(name, true)?).into_owned();
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Problem::bad(format!("there is no parameter {name:?} here; there are: {known}")));
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(Problem::bad(format!("the parameter {name} is there twice")));
            }
            pairs.push((name, unescape(value, true)?));
        }
        Ok(Parameters { pairs })
    }

    /// The bytes of one.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| &value[..])
    }

    /// One that is read from text.
    ///
    /// # Errors
    /// When it cannot be.
    pub(crate) fn parse<T>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let Some(bytes) = self.bytes(name) else { return Ok(None) };
        let text = std::str::from_utf8(bytes).map_err(|_| Problem::bad(format!("{name} is no text")))?;
        let parsed =
            text.parse().map_err(|error| Problem::bad(format!("{name} cannot be {text:?}: {error}")))?;
        Ok(Some(parsed))
    }

    /// One that is true or false; there without a value, it is true.
    ///
    /// # Errors
    /// When it is neither.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.bytes(name) {
            Some(b"" | b"true") => Ok(true),
            None | Some(b"false") => Ok(false),
            Some(_) => Err(Problem::bad(format!("{name} is true or false"))),
        }
    }
}

/// The whole body.
///
/// # Errors
/// When it is longer than that, does not come in time, or breaks off.
pub(crate) async fn body(
    headers: &HeaderMap,
    mut body: Body,
    bytes_max: usize,
    what: &str,
) -> Result<Bytes, Problem> {
    let announced =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let too_long = || Problem::new(Code::TooLarge, format!("{what} has at most {bytes_max} bytes"));
    if announced.is_some_and(|length| length > bytes_max) {
        drain(body).await;
        return Err(too_long());
    }
    if announced == Some(0) {
        return Ok(Bytes::new());
    }
    let whole = async {
        let (mut first, mut more): (Option<Bytes>, Vec<u8>) = (None, Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::bad(format!("the body breaks off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            let have = first.as_ref().map_or(0, Bytes::len) + more.len();
            if have + data.len() > bytes_max {
                return Err(too_long());
            }
            match &first {
                None => first = Some(data),
                Some(_) => more.extend_from_slice(&data),
            }
        }
        match first {
            Some(first) if more.is_empty() => Ok(first),
            Some(first) => Ok(Bytes::from([&first[..], &more[..]].concat())),
            None => Ok(Bytes::new()),
        }
    };
    let whole = Box::pin(tokio::time::timeout(BODY_WITHIN, whole)).await;
    match whole {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(problem)) => {
            if problem.code == Code::TooLarge {
                drain(body).await;
            }
            Err(problem)
        }
        Err(_) => Err(Problem::new(Code::Timeout, format!("the body did not come within {BODY_WITHIN:?}"))),
    }
}

/// The next piece of a body that is read while it comes; none: that was all.
///
/// # Errors
/// When it does not come in time, or the body breaks off.
pub(crate) async fn piece(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        match tokio::time::timeout(PIECE_WITHIN, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(Some(Err(error))) => return Err(Problem::bad(format!("the body breaks off: {error}"))),
            Ok(None) => return Ok(None),
            Err(_) => {
                return Err(Problem::new(Code::Timeout, format!("nothing came within {PIECE_WITHIN:?}")));
            }
        }
    }
}

/// Reads on for a while: an answer that comes while the other end still sends may get lost.
pub(crate) async fn drain(mut body: Body) {
    let rest = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > REST_MAX {
                return;
            }
        }
    };
    // However it ends, the answer is the same.
    let _ = tokio::time::timeout(REST_WITHIN, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_any_bytes() {
        let uri: Uri = "/insert/a%2Fb%00%ff/%E2%82%AC+".parse().unwrap();
        assert_eq!(decode(segment(&uri, 1)).unwrap(), b"a/b\0\xff");
        assert_eq!(decode(segment(&uri, 2)).unwrap(), "\u{20ac}+".as_bytes());
        assert_eq!(segment(&uri, 3), "");
        for wrong in ["%", "%2", "a%zz", "%-1"] {
            assert_eq!(decode(wrong).unwrap_err().code, Code::BadRequest, "{wrong}");
        }
    }

    #[test]
    fn parameters_are_known_and_there_once() {
        let read = |query: &str| {
            let uri: Uri = format!("/v1/kv?{query}").parse().unwrap();
            Parameters::read(&uri, &["prefix", "limit", "values"])
        };
        let found = read("prefix=a%ffb+c&limit=7&values").unwrap_or_else(|_| panic!("they are fine"));
        assert_eq!(found.bytes("prefix"), Some(&b"a\xffb c"[..]));
        assert_eq!(found.parse::<u32>("limit"), Ok(Some(7)));
        assert_eq!(found.flag("values"), Ok(true));
        assert!(found.parse::<u32>("prefix").is_err());
        for wrong in ["limits=7", "limit=1&limit=2", "prefix=%f"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
