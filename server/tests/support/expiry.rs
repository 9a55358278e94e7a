//! What tests of times to live ask: what every node says of a key, by every way.

use std::time::Duration;

use chordata_client::{Client, PutOptions, Routing};
use chordata_protocol::{Key, Moment, Outcome, Policy, Record, Ttl, Value};

use super::eventually;
use super::ring::TestRing;

/// How long after its moment a value may be seen, on a busy machine. The promise is about a second.
pub(crate) const ENDED_WITHIN: Duration = Duration::from_secs(20);

/// A time to live.
pub(crate) fn for_a_while(text: &str) -> PutOptions {
    PutOptions { ttl: Some(text.parse::<Ttl>().unwrap()) }
}

/// Clients that ask one node each, and one that asks the owners itself.
pub(crate) async fn clients(ring: &TestRing, places: &[usize]) -> Vec<Client> {
    let mut clients = Vec::new();
    for place in places {
        let client = ring.client_of(*place).await;
        let entry = client.entry();
        clients.push(client.through(entry.clone(), Routing::Entry(Policy::Finger), false));
        clients.push(client);
    }
    clients
}

/// What they all see.
///
/// # Panics
/// When they see different things.
pub(crate) async fn seen_by_all(clients: &[Client], key: &Key) -> Option<Record> {
    let mut seen: Vec<Option<Record>> = Vec::new();
    for client in clients {
        seen.push(client.get(key.clone()).await.unwrap().result);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{key}: {seen:?}");
    seen.pop().flatten()
}

/// Writes a value that lives for a while; when it ends.
pub(crate) async fn put_for(client: &Client, key: &Key, value: &str, ttl: &str) -> Moment {
    let before = chordata_client::now();
    let options = for_a_while(ttl);
    let answer = client.put_with(key.clone(), Value::from(value), options).await.unwrap();
    assert!(matches!(answer.result, Outcome::Written(_)), "{:?}", answer.result);
    let expires = client.get(key.clone()).await.unwrap().result.expect("it is there").expires.unwrap();
    assert!(expires >= before + options.ttl.unwrap(), "not before its time is over");
    assert!(expires <= chordata_client::now() + options.ttl.unwrap(), "nor later");
    expires
}

/// Waits until one of them finds a value gone; not before its moment.
pub(crate) async fn gone(client: &Client, key: &Key, expires: Moment) {
    let left = expires.since(chordata_client::now());
    eventually("the value has ended", left + ENDED_WITHIN, async || {
        match client.get(key.clone()).await.unwrap().result {
            Some(record) => Err(format!("{record:?}")),
            None => Ok(()),
        }
    })
    .await;
    assert!(chordata_client::now() >= expires, "{:?} too early", expires.since(chordata_client::now()));
}
