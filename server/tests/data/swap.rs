//! Compare-and-swap: by version, decided in one place, one winner.

use chordata_client::{Client, Routing};
use chordata_protocol::{Key, Outcome, Policy, Value, Version};
use futures::future::join_all;

use crate::support::ring::TestRing;
use crate::support::{PATIENT, within};

async fn swap(client: &Client, expected: Option<Version>, value: Option<&str>) -> Outcome {
    let answer = client.compare_and_swap(Key::new("k"), expected, value.map(Value::from)).await;
    answer.unwrap().result
}

async fn value(client: &Client) -> Option<String> {
    let found = client.get(Key::new("k")).await.unwrap().result?;
    Some(found.value.to_string())
}

#[tokio::test]
async fn only_the_expected_version_is_replaced() {
    within(60, async {
        let ring = TestRing::start(3, &PATIENT).await;
        for routing in [Routing::Client(Policy::Finger), Routing::Entry(Policy::OneHop)] {
            let client = ring.client().await;
            let client = client.through(client.entry(), routing, false);
            let nowhere = Version { epoch: 900, sequence: 900 };
            assert_eq!(swap(&client, Some(nowhere), Some("x")).await, Outcome::Conflict(None));
            assert_eq!(value(&client).await, None, "a conflict changes nothing");

            let Outcome::Written(first) = swap(&client, None, Some("1")).await else {
                panic!("it is absent")
            };
            assert_eq!(swap(&client, None, Some("x")).await, Outcome::Conflict(Some(first)));
            assert_eq!(swap(&client, Some(nowhere), Some("x")).await, Outcome::Conflict(Some(first)));
            assert_eq!(value(&client).await.as_deref(), Some("1"));

            let Outcome::Written(second) = swap(&client, Some(first), Some("2")).await else {
                panic!("same version")
            };
            assert!(second > first, "versions grow");
            assert_eq!(swap(&client, Some(first), Some("x")).await, Outcome::Conflict(Some(second)));
            let Outcome::Written(third) = client.put(Key::new("k"), "3".into()).await.unwrap().result else {
                panic!()
            };
            assert!(third > second, "a put is a new version too");

            assert_eq!(swap(&client, Some(second), None).await, Outcome::Conflict(Some(third)));
            assert_eq!(swap(&client, Some(third), None).await, Outcome::Deleted(Some(third)));
            assert_eq!(value(&client).await, None);
            let Outcome::Written(fourth) = swap(&client, None, Some("4")).await else {
                panic!("it is absent again")
            };
            assert!(fourth > third, "a version is never used again");
            let deleted = client.delete(Key::new("k")).await.unwrap().result;
            assert_eq!(deleted, Outcome::Deleted(Some(fourth)));
            let deleted = client.delete(Key::new("k")).await.unwrap().result;
            assert_eq!(deleted, Outcome::Deleted(None), "there is nothing to delete");
        }
    })
    .await;
}

#[tokio::test]
async fn of_many_who_swap_at_once_one_wins_each_round() {
    within(60, async {
        let ring = TestRing::start(3, &PATIENT).await;
        let mut clients = Vec::new();
        for number in 0..12 {
            clients.push(ring.client_of(number % 3).await);
        }
        let mut expected = None;
        for round in 0..10 {
            let swaps = clients.iter().enumerate().map(|(number, client)| async move {
                let value = format!("{round} by {number}");
                (value.clone(), swap(client, expected, Some(&value)).await)
            });
            let outcomes = join_all(swaps).await;
            let winners: Vec<_> =
                outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Written(_))).collect();
            let [(written, Outcome::Written(version))] = winners[..] else { panic!("{outcomes:?}") };
            let lost = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Conflict(Some(*version)));
            assert_eq!(lost.count(), 11, "{outcomes:?}");
            assert_eq!(value(&clients[0]).await.as_ref(), Some(written));
            expected = Some(*version);
        }
    })
    .await;
}
