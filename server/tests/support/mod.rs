//! Rings of real server processes, for tests.
//!
//! A test starts servers, talks to them with the client library, kills some, and looks at what is left. Every process
//! has a home of its own, no `CHORDATA_` variables, and a guard that kills it when the test ends, however it ends.
//! Nothing here waits for a length of time: what is waited for is a condition, with a deadline.

#![allow(dead_code, reason = "each of the test targets uses its own part of this")]

pub(crate) mod expiry;
pub(crate) mod process;
pub(crate) mod ring;

use std::time::{Duration, Instant};

use chordata_protocol::{Address, Key, Value};
use chordata_rpc::service::Error;
use tarpc::client::RpcError;

/// How often a condition is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long a ring may take to become whole, on a busy machine.
pub(crate) const WHOLE_WITHIN: Duration = Duration::from_secs(40);
/// How long one call may take.
pub(crate) const CALL: Duration = Duration::from_secs(15);

/// Rounds that react quickly, so that tests of crashes are short; the data in single copies.
pub(crate) const QUICK: [&str; 8] =
    ["--stabilize-ms", "100", "--finger-ms", "300", "--call-timeout-ms", "300", "--consistency", "single"];

/// Rounds that react quickly, but with patience for answers: on a busy machine no live node counts as dead.
pub(crate) const PATIENT: [&str; 8] =
    ["--stabilize-ms", "100", "--finger-ms", "300", "--call-timeout-ms", "2000", "--consistency", "single"];

/// Tries again and again until it succeeds.
///
/// # Panics
/// When it has not within that time, with the last reason.
pub(crate) async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let failure = match attempt().await {
            Ok(result) => return result,
            Err(failure) => failure,
        };
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}: {failure}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Bounds a test in time.
///
/// # Panics
/// When it takes longer.
pub(crate) async fn within<T>(seconds: u64, story: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(seconds);
    tokio::time::timeout(limit, story).await.unwrap_or_else(|_| panic!("the test took more than {limit:?}"))
}

/// The server's answer, good or bad.
///
/// # Panics
/// When there is none.
pub(crate) fn answer<T>(called: Result<Result<T, Error>, RpcError>) -> Result<T, Error> {
    called.unwrap_or_else(|error| panic!("no answer: {error}"))
}

/// A key and a value that no other number has.
pub(crate) fn entry(number: usize) -> (Key, Value) {
    (Key::new(format!("key {number}")), Value::from(format!("value {number}")))
}

/// A port that is free, outside of the range from which the system takes ports by itself: so it is still free when a
/// server that used it comes back. No two calls give the same one.
pub(crate) fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + (std::process::id().wrapping_mul(97) + step) % COUNT;
        let port = u16::try_from(port).expect("it is below 65,536");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("there is no free port");
}

/// An address where nobody listens.
pub(crate) fn dead_address() -> Address {
    Address::new(&format!("127.0.0.1:{}", free_port()))
}
