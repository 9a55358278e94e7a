//! Values that end by themselves, in single copies: their owner ends them, also when they have come to it from another.

use chordata_protocol::{Key, Moment, Outcome, Value};

use crate::support::expiry::{clients, for_a_while, gone, put_for, seen_by_all};
use crate::support::ring::{TestRing, status};
use crate::support::{PATIENT, entry, within};

#[tokio::test]
async fn values_end_with_their_owner_and_with_the_one_that_they_move_to() {
    within(120, async {
        let mut ring = TestRing::start(2, &PATIENT).await;
        let client = ring.client().await;
        let key = Key::new("session");
        let expires = put_for(&client, &key, "open", "1500ms").await;
        gone(&client, &key, expires).await;
        put_for(&client, &key, "short", "1s").await;
        client.put(key.clone(), Value::from("stays")).await.unwrap();

        let entries: Vec<(Key, Value)> = (0..200).map(entry).collect();
        let keys: Vec<Key> = entries.iter().map(|(key, _)| key.clone()).collect();
        for outcome in client.put_many_with(entries, for_a_while("4s")).await {
            assert!(matches!(outcome, Ok(Outcome::Written(_))), "{outcome:?}");
        }
        // They are on their way while they end, or there already.
        ring.add();
        ring.whole().await;
        let client = ring.client().await;
        let ends: Vec<Option<Moment>> = client
            .get_many(keys.clone())
            .await
            .into_iter()
            .map(|found| found.unwrap().and_then(|record| record.expires))
            .collect();
        let last = ends.into_iter().flatten().max().unwrap_or_else(chordata_client::now);
        for key in &keys {
            gone(&client, key, chordata_client::now().min(last)).await;
        }
        assert!(chordata_client::now() >= last, "not before their time");
        let mut left = 0;
        for server in &ring.servers {
            left += status(&client, server).await.keys;
        }
        assert_eq!(left, 1, "what has no end stays");
        let all = clients(&ring, &[0, 1, 2]).await;
        assert_eq!(seen_by_all(&all, &key).await.unwrap().value, Value::from("stays"));

        let swapped =
            client.compare_and_swap_with(key.clone(), None, Some("x".into()), for_a_while("1s")).await;
        let Outcome::Conflict(Some(version)) = swapped.unwrap().result else { panic!("it is there") };
        let options = for_a_while("1s");
        let swapped =
            client.compare_and_swap_with(key.clone(), Some(version), Some("x".into()), options).await;
        assert!(matches!(swapped.unwrap().result, Outcome::Written(_)));
        let expires = client.get(key.clone()).await.unwrap().result.unwrap().expires.unwrap();
        gone(&client, &key, expires).await;
    })
    .await;
}
