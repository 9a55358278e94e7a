//! What every request passes: who may ask, how many at once, and counting.
//!
//! Without a token everybody on this machine may ask; but pages of the web in somebody's browser there may not, neither
//! by asking for `127.0.0.1` (then the browser says which page asks: `Origin`) nor through a name of their own that leads
//! here (then the `Host` is that name).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};

use super::front::{Front, InFlight, Shared};
use super::problem::{Code, Problem};

/// Requests that are carried out at once, at most.
const IN_FLIGHT_MAX: u64 = 4096;
/// What tells only whether the process runs needs no token: whoever asks for it seldom can bring one.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Lets a request in, or answers why not; counts it.
pub(crate) async fn pass(State(front): State<Shared>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let response = match admit(&front, request.uri(), request.headers()) {
        Err(problem) => problem.into_response(),
        Ok(()) => match InFlight::begin(&front, IN_FLIGHT_MAX) {
            Some(counted) => until_its_end(next.run(request).await, counted),
            None => Problem::new(Code::Overloaded, "too many requests are being carried out at once")
                .into_response(),
        },
    };
    let route = route.as_ref().map(MatchedPath::as_str);
    front.metrics.count(route, &method, response.status(), began.elapsed());
    response
}

/// An answer that is made while it is sent counts as being carried out until its end, or until nobody wants it any more.
fn until_its_end(response: Response, counted: InFlight) -> Response {
    if response.body().size_hint().exact().is_some() {
        // All of it is there.
        return response;
    }
    response.map(|body| Body::new(Streamed { body, _counted: counted }))
}

/// A body that counts as a request.
struct Streamed {
    body: Body,
    _counted: InFlight,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn admit(front: &Arc<Front>, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    match &front.token {
        Some(_) if OPEN.contains(&uri.path()) => Ok(()),
        Some(token) => {
            let offered = headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
            let offered = match offered.split_at_checked(7) {
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer ") => rest.trim_ascii(),
                _ => b"",
            };
            if token.is(offered) {
                return Ok(());
            }
            Err(Problem::new(Code::Unauthorized, "bring this server's token: Authorization: Bearer TOKEN"))
        }
        None => {
            let host = headers
                .get(HOST)
                .and_then(|host| host.to_str().ok())
                .or_else(|| Some(uri.authority()?.as_str()));
            let strange = host.is_some_and(|host| !is_an_address(host))
                || headers.get(ORIGIN).is_some_and(|origin| !is_origin_of(origin.as_bytes(), host));
            if strange {
                return Err(Problem::new(
                    Code::Forbidden,
                    "pages of other sites may not ask this server: use its IP address or localhost, or give it a token",
                ));
            }
            Ok(())
        }
    }
}

/// Is it an IP address or `localhost`, with a port or not?
fn is_an_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_ip = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
    bare.eq_ignore_ascii_case("localhost") || is_ip(bare) || is_ip(host)
}

fn is_origin_of(origin: &[u8], host: Option<&str>) -> bool {
    host.is_some_and(|host| origin.strip_prefix(b"http://") == Some(host.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_this_machine() {
        for host in
            ["127.0.0.1", "127.0.0.1:5000", "localhost:5000", "LOCALHOST", "[::1]:5000", "[::1]", "::1"]
        {
            assert!(is_an_address(host), "{host}");
        }
        for host in ["evil.example", "evil.example:5000", "127.0.0.1.evil.example", "", "localhost.evil:80"] {
            assert!(!is_an_address(host), "{host}");
        }
        assert!(is_origin_of(b"http://127.0.0.1:5000", Some("127.0.0.1:5000")));
        assert!(!is_origin_of(b"http://127.0.0.1:5001", Some("127.0.0.1:5000")));
        assert!(!is_origin_of(b"null", Some("127.0.0.1:5000")));
    }
}
