//! The classic routes.

use std::collections::BTreeMap;

use chordata_protocol::{Key, Value};

use crate::support::ring::TestRing;
use crate::support::{WHOLE_WITHIN, entry, eventually, within};
use crate::web::escape;
use crate::{CHAINS, SINGLE, web};

#[tokio::test]
async fn keys_and_values_of_any_bytes_go_in_and_out_through_any_server() {
    within(90, async {
        let ring = TestRing::start(3, &CHAINS).await;
        let client = ring.client().await;
        let all: Vec<u8> = (0..=255).collect();
        let texts = ["Köln", "a/b?c#d", "100 %", "*", ".", "..", "+ +"].map(|text| text.as_bytes().to_vec());
        for (turn, bytes) in texts.into_iter().chain([all.clone(), vec![0xff, 0xfe]]).enumerate() {
            let reply =
                web(&ring, turn % 3).post(&format!("/insert/{}/{}", escape(&bytes), escape(&bytes))).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            let record = client.get(Key::new(bytes.clone())).await.unwrap().result.unwrap();
            assert_eq!(record.value, Value::from(bytes.clone()), "it is the same key for every client");
            assert_eq!(reply.json()["version"], record.version.to_string());

            let found = web(&ring, (turn + 1) % 3).get(&format!("/query/{}", escape(&bytes))).await;
            assert_eq!(found.status, 200, "{found:?}");
            match std::str::from_utf8(&bytes) {
                Ok(text) => assert_eq!(found.json()["value"], text),
                Err(_) if bytes == [0xff, 0xfe] => assert_eq!(found.json()["value_base64"], "//4="),
                Err(_) => assert!(found.json()["value_base64"].is_string(), "{found:?}"),
            }
            let gone = web(&ring, (turn + 2) % 3).delete(&format!("/delete/{}", escape(&bytes))).await;
            assert_eq!(gone.status, 200, "{gone:?}");
            assert_eq!(client.get(Key::new(bytes)).await.unwrap().result, None);
        }
        let web = web(&ring, 0);
        assert_eq!(web.post("/insert/empty/").await.status, 200);
        assert_eq!(web.get("/query/empty").await.json()["value"], "");
        let missing = web.get("/query/nobody").await;
        assert_eq!((missing.status.as_u16(), missing.code().as_str()), (404, "not_found"));
        let again = web.delete("/delete/nobody").await;
        assert_eq!((again.status.as_u16(), again.code().as_str()), (404, "not_found"));
        let escaped_badly = web.post("/insert/a%zz/b").await;
        assert_eq!((escaped_badly.status.as_u16(), escaped_badly.code().as_str()), (400, "bad_request"));
        let nothing = web.post("/insert//b").await;
        assert_eq!((nothing.status.as_u16(), nothing.code().as_str()), (400, "bad_request"), "no key");
        let wrong = web.get("/insert/a/b").await;
        assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (405, "method_not_allowed"));
        assert_eq!(wrong.header("allow"), Some("POST"));
    })
    .await;
}

#[tokio::test]
async fn a_star_is_all_pairs_and_the_key_of_that_name_is_escaped() {
    within(90, async {
        let ring = TestRing::start(3, &SINGLE).await;
        let client = ring.client().await;
        let mut expected: BTreeMap<String, String> = BTreeMap::new();
        for number in 0..2500 {
            let (key, value) = entry(number);
            expected.insert(key.to_string(), value.to_string());
        }
        expected.insert("*".to_owned(), "a star".to_owned());
        let entries =
            expected.iter().map(|(key, value)| (Key::new(key.as_str()), Value::from(value.as_str())));
        assert!(client.put_many(entries.collect()).await.iter().all(Result::is_ok));

        assert_eq!(web(&ring, 1).get("/query/%2A").await.json()["value"], "a star");
        let all = web(&ring, 1).get("/query/*").await;
        assert_eq!(all.status, 200);
        let all = all.json();
        assert!(all["message"].is_string());
        let (mut found, mut nodes) = (BTreeMap::new(), Vec::new());
        for part in all["value"].as_array().unwrap() {
            nodes.push(part["node"].as_str().unwrap().to_owned());
            for pair in part["pairs"].as_array().unwrap() {
                let (key, value) = (pair["key"].as_str().unwrap(), pair["value"].as_str().unwrap());
                assert_eq!(found.insert(key.to_owned(), value.to_owned()), None, "{key} twice");
            }
        }
        assert_eq!(found, expected);
        let mut distinct = nodes.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 3, "each node is named");
        assert!(nodes.len() <= 4, "node by node, and the one across the top perhaps twice: {nodes:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overlay_is_the_ring_and_a_server_that_departs_leaves_its_keys_to_the_others() {
    within(120, async {
        let mut ring = TestRing::start(4, &CHAINS).await;
        let client = ring.client().await;
        assert!(client.put_many((0..200).map(entry).collect()).await.iter().all(Result::is_ok));
        let overlay = web(&ring, 0).get("/overlay").await.json();
        let nodes = overlay["overlay"].as_array().unwrap();
        assert_eq!(nodes.len(), 4);
        for (number, node) in nodes.iter().enumerate() {
            assert_eq!(node["number"], number);
            assert_eq!(node["successor"], nodes[(number + 1) % 4]["address"]);
            assert_eq!(node["predecessor"], nodes[(number + 3) % 4]["address"]);
            let server =
                ring.servers.iter().find(|server| node["address"] == server.address.as_str()).unwrap();
            assert_eq!(node["id"], server.id.to_literal());
            assert_eq!(node["http"].as_str(), server.http.as_deref(), "others know where it answers HTTP");
        }

        let refused = web(&ring, 3).post("/join").await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "refused"));
        let left = web(&ring, 3).post("/depart").await;
        assert_eq!(left.status, 200, "{left:?}");
        assert!(left.json()["message"].as_str().unwrap().contains("left"));
        assert_eq!(tokio::task::block_in_place(|| ring.servers[3].process.exit_code()), Some(0));
        ring.whole_with(&[0, 1, 2]).await;
        for number in 0..200 {
            let (key, value) = entry(number);
            let path = format!("/query/{}", escape(key.to_string().as_bytes()));
            let found = web(&ring, number % 3).get(&path).await;
            assert_eq!(found.json()["value"], value.to_string(), "{key}");
        }
        let web = web(&ring, 0);
        eventually("three are left", WHOLE_WITHIN, async || {
            let count = web.get("/overlay").await.json()["overlay"].as_array().unwrap().len();
            if count == 3 { Ok(()) } else { Err(format!("{count}")) }
        })
        .await;
    })
    .await;
}
