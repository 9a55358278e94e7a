//! Many keys at once: an answer per key, in their order, however they are spread.

use chordata_client::{Client, Failure, Routing};
use chordata_protocol::{BadInput, Key, Outcome, Policy, Value};
use chordata_rpc::service::{Error, Options};
use chordata_rpc::within as deadline;

use crate::support::ring::{TestRing, status, stub};
use crate::support::{CALL, PATIENT, entry, within};

/// Puts all, gets all, compares all.
async fn round_trip(client: &Client, entries: Vec<(Key, Value)>) {
    let keys: Vec<Key> = entries.iter().map(|(key, _)| key.clone()).collect();
    for (outcome, key) in client.put_many(entries.clone()).await.iter().zip(&keys) {
        assert!(matches!(outcome, Ok(Outcome::Written(_))), "put of {key}: {outcome:?}");
    }
    let found = client.get_many(keys).await;
    assert_eq!(found.len(), entries.len());
    for ((key, value), found) in entries.iter().zip(found) {
        let found = found.unwrap_or_else(|failure| panic!("get of {key}: {failure}"));
        assert!(found.is_some_and(|record| record.value == *value), "another value under {key}");
    }
}

#[tokio::test]
async fn ten_thousand_keys_are_put_and_got_by_the_clients_routing() {
    within(120, async {
        let ring = TestRing::start(5, &PATIENT).await;
        let client = ring.client().await;
        round_trip(&client, (0..10_000).map(entry).collect()).await;
        let mut held = 0;
        for server in &ring.servers {
            let keys = status(&client, server).await.keys;
            assert!(keys > 100, "{} holds {keys} of 10,000 keys", server.address);
            held += keys;
        }
        assert_eq!(held, 10_000, "each key is at one node");
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_keys_are_put_and_got_through_one_entry_node() {
    within(120, async {
        let ring = TestRing::start(5, &PATIENT).await;
        let client = ring.client().await;
        let address = ring.servers[3].address.clone();
        let client = client.through(address, Routing::Entry(Policy::Finger), false);
        round_trip(&client, (0..10_000).map(entry).collect()).await;
    })
    .await;
}

#[tokio::test]
async fn many_large_values_are_more_than_one_answer_can_carry_and_come_all_the_same() {
    within(120, async {
        let ring = TestRing::start(2, &PATIENT).await;
        let client = ring.client().await;
        let large = |number: usize| {
            let value = vec![u8::try_from(number % 256).unwrap(); 100_000];
            (Key::new(format!("large {number}")), Value::from(value))
        };
        round_trip(&client, (0..200).map(large).collect()).await;
    })
    .await;
}

#[tokio::test]
async fn many_large_values_come_through_an_entry_node_too() {
    within(120, async {
        let ring = TestRing::start(2, &PATIENT).await;
        let client = ring.client().await;
        let address = ring.servers[0].address.clone();
        let client = client.through(address, Routing::Entry(Policy::Finger), false);
        let large = |number: usize| (Key::new(format!("large {number}")), Value::from(vec![7; 100_000]));
        round_trip(&client, (0..200).map(large).collect()).await;
    })
    .await;
}

#[tokio::test]
async fn one_bad_key_spoils_no_other_and_nothing_at_all_is_fine() {
    within(60, async {
        let ring = TestRing::start(2, &PATIENT).await;
        let client = ring.client().await;
        let entries = vec![
            entry(1),
            (Key::new(""), Value::from("v")),
            (Key::new("k"), vec![0; 1 << 21].into()),
            entry(2),
        ];
        for routing in [Routing::Client(Policy::Finger), Routing::Entry(Policy::Finger)] {
            let client = client.through(client.entry(), routing, false);
            let answers = client.put_many(entries.clone()).await;
            assert!(answers[0].is_ok() && answers[3].is_ok(), "{answers:?}");
            assert_eq!(answers[1], Err(Failure::BadInput(BadInput::EmptyKey)));
            assert_eq!(answers[2], Err(Failure::BadInput(BadInput::ValueTooLong(1 << 21))));
            let keys = vec![entry(2).0, Key::new(""), Key::new("never put"), entry(1).0];
            let answers = client.get_many(keys).await;
            assert_eq!(answers[1], Err(Failure::BadInput(BadInput::EmptyKey)));
            assert_eq!(answers[2], Ok(None));
            let value = |place: usize| answers[place].clone().unwrap().map(|record| record.value);
            assert_eq!((value(0), value(3)), (Some(entry(2).1), Some(entry(1).1)));
        }
        assert_eq!(client.put_many(Vec::new()).await, []);
        assert_eq!(client.get_many(Vec::new()).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_server_refuses_more_keys_in_one_request_than_it_says() {
    within(60, async {
        let ring = TestRing::start(1, &PATIENT).await;
        let client = ring.client().await;
        let keys: Vec<Key> = (0..10_001).map(|number| entry(number).0).collect();
        let stub = stub(&client, &ring.servers[0]);
        let answers = stub.get_many(deadline(CALL), keys, Options::default()).await.unwrap();
        assert_eq!(answers.len(), 10_001);
        let expected = Error::BadInput(BadInput::TooManyKeys(10_001, 10_000));
        assert!(answers.into_iter().all(|answer| answer == Err(expected.clone())));
    })
    .await;
}
