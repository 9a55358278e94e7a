//! Peers that die and come back.

use std::time::Instant;

use crate::node::{LONG, STUCK, Server, ping, pool};
use chordata_protocol::{CallError, Key};
use chordata_rpc::{CallFailure, Credentials, Limits, within};

#[tokio::test]
async fn a_kill_in_the_middle_fails_outstanding_calls_at_once_and_a_restart_is_found() {
    let server = Server::plain().await;
    let (address, name) = (server.address, server.name());
    let pool = pool(Credentials::default());
    let outstanding: Vec<_> = (0..10)
        .map(|_| {
            let ring = pool.ring(&name);
            tokio::spawn(async move { ring.read(within(LONG), Key::new(STUCK)).await.map(drop) })
        })
        .collect();
    server.reads_begun(10).await;

    let before = Instant::now();
    server.kill().await;
    for call in outstanding {
        let failure = CallFailure::from(call.await.unwrap().unwrap_err());
        assert!(matches!(failure, CallFailure::Lost(..)), "{failure}");
        assert_eq!(CallError::from(failure), CallError::TimedOut, "it had been sent");
    }
    assert!(before.elapsed() < LONG / 5);

    let failure = ping(&pool, &name).await.unwrap_err();
    assert_eq!(CallError::from(failure), CallError::Unreachable, "nobody is there");

    let _again = Server::start_at(address, Credentials::default(), Limits::default()).await;
    assert!(ping(&pool, &name).await.is_ok(), "the very next call connects");
}
