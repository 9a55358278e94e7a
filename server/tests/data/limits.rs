//! Keys and values at their limits and beyond. Whatever is refused has changed nothing.

use chordata_client::{Failure, Routing};
use chordata_protocol::{BadInput, Id, Key, Policy, Value};
use chordata_rpc::service::{Error, Options, Route};
use chordata_rpc::within as deadline;

use crate::support::ring::{TestRing, status, stub};
use crate::support::{CALL, PATIENT, answer, within};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn keys_and_values_beyond_the_limits_are_refused_by_library_and_server() {
    within(60, async {
        let ring = TestRing::start(2, &PATIENT).await;
        let client = ring.client().await;
        let value = Value::from("v");
        for (key, value, expected) in [
            (Key::new(""), value.clone(), BadInput::EmptyKey),
            (Key::new(vec![b'k'; 5000]), value.clone(), BadInput::KeyTooLong(5000)),
            (Key::new(vec![b'k'; 4097]), value, BadInput::KeyTooLong(4097)),
            (Key::new("k"), Value::from(vec![0; MIB + 1]), BadInput::ValueTooLong(MIB + 1)),
        ] {
            let put = client.put(key.clone(), value.clone()).await.map(|_| ());
            assert_eq!(put, Err(Failure::BadInput(expected.clone())), "the library");
            let swap = client.compare_and_swap(key.clone(), None, Some(value.clone())).await.map(|_| ());
            assert_eq!(swap, Err(Failure::BadInput(expected.clone())), "compare-and-swap");
            for route in [Route::Direct, Route::Entry(Policy::Finger)] {
                let options = Options { route, ..Options::DIRECT };
                for server in &ring.servers {
                    let stub = stub(&client, server);
                    let put = stub.put(deadline(CALL), key.clone(), value.clone(), options).await;
                    let refusal = answer(put).map(|_| ());
                    assert_eq!(refusal, Err(Error::BadInput(expected.clone())), "{}", server.address);
                }
            }
            if key.size() != 1 {
                let got = client.get(key.clone()).await.map(|_| ());
                assert_eq!(got, Err(Failure::BadInput(expected.clone())));
                let deleted = client.delete(key).await.map(|_| ());
                assert_eq!(deleted, Err(Failure::BadInput(expected)));
            }
        }
        for server in &ring.servers {
            assert_eq!(status(&client, server).await.keys, 0, "nothing was stored");
        }
    })
    .await;
}

#[tokio::test]
async fn keys_and_values_at_the_limits_travel_through_every_node() {
    within(90, async {
        let ring = TestRing::start(3, &PATIENT).await;
        let client = ring.client().await;
        let bytes: Vec<u8> = (0..MIB).map(|place| (place % 251) as u8).collect();
        let every_byte: Vec<u8> = (0..=255).collect();
        for (key, value) in [
            (Key::new(vec![0xff; 4096]), Value::from(bytes.clone())),
            (Key::new("k"), Value::from("")),
            (Key::new([0]), Value::from(every_byte.clone())),
            (Key::new(every_byte), Value::from("any bytes are a key")),
            (Key::Literal(Id::ZERO), Value::from("a literal id")),
            (Key::new("@0"), Value::from("not a literal id")),
        ] {
            for server in &ring.servers {
                let entry = client.through(server.address.clone(), Routing::Entry(Policy::Finger), false);
                entry.put(key.clone(), value.clone()).await.unwrap();
                let found = entry.get(key.clone()).await.unwrap().result.map(|record| record.value);
                assert!(found.as_ref() == Some(&value), "{key} at {}", server.address);
                assert!(client.get(key.clone()).await.unwrap().result.is_some_and(|r| r.value == value));
                entry.delete(key.clone()).await.unwrap();
                assert_eq!(client.get(key.clone()).await.unwrap().result, None);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_literal_id_outside_a_small_ring_is_refused() {
    within(60, async {
        let ring = TestRing::start(1, &["--bits", "3"]).await;
        let client = ring.client().await;
        let outside = Key::Literal(Id::from_u128(8));
        let Err(Failure::BadInput(reason)) = client.put(outside, Value::from("v")).await else {
            panic!("it was taken")
        };
        assert!(reason.to_string().contains("3 bits"), "{reason}");
        client.put(Key::Literal(Id::from_u128(7)), Value::from("v")).await.unwrap();
    })
    .await;
}
