//! Single keys: bodies, entity tags, conditions, levels, limits, outcomes; and batches.

use chordata_protocol::Key;
use serde_json::{Value as Json, json};

use crate::support::ring::{Server, TestRing};
use crate::support::{LOOK_EVERY, eventually, within};
use crate::web::{Web, escape};
use crate::{CHAINS, SINGLE, web};

#[tokio::test]
async fn a_value_is_stored_as_it_is_and_its_version_is_its_tag() {
    within(90, async {
        let ring = TestRing::start(3, &CHAINS).await;
        let bytes: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let path = format!("/v1/kv/{}", escape(b"a/b\xff"));
        let stored = web(&ring, 0).put(&path, bytes.clone()).await;
        assert_eq!((stored.status.as_u16(), &stored.body[..]), (204, &b""[..]));
        let tag = stored.header("etag").unwrap().to_owned();
        let record = ring.client().await.get(Key::new(*b"a/b\xff")).await.unwrap().result.unwrap();
        assert_eq!(format!("\"{}\"", record.version), tag);

        let found = web(&ring, 1).get(&path).await;
        assert_eq!((found.status.as_u16(), &found.body[..]), (200, &bytes[..]));
        assert_eq!(found.header("etag"), Some(tag.as_str()));
        assert_eq!(found.header("content-type"), Some("application/octet-stream"));
        let head = web(&ring, 2).send("HEAD", &path, &[], "").await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        assert_eq!(
            (head.header("etag"), head.header("content-length")),
            (Some(tag.as_str()), Some("100000"))
        );
        for level in ["linearizable", "any"] {
            let found = web(&ring, 2).get(&format!("{path}?level={level}")).await;
            assert_eq!((found.status.as_u16(), found.body.len()), (200, 100_000), "{level}");
        }
        let unchanged = web(&ring, 2).send("GET", &path, &[("if-none-match", &tag)], "").await;
        assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
        assert_eq!(
            web(&ring, 2).send("GET", &path, &[("if-match", "\"1.1\"")], "").await.code(),
            "precondition_failed"
        );

        assert_eq!(web(&ring, 1).delete(&path).await.status, 204);
        for reply in [web(&ring, 0).get(&path).await, web(&ring, 0).delete(&path).await] {
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (404, "not_found"));
        }
        assert_eq!(web(&ring, 0).send("HEAD", &path, &[], "").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn conditions_are_compare_and_swap() {
    within(120, async {
        let ring = TestRing::start(3, &CHAINS).await;
        let web = web(&ring, 0);
        let path = "/v1/kv/counter";
        let put = async |headers: &[(&str, &str)], value: &'static str| {
            let reply = web.send("PUT", path, headers, value).await;
            if reply.status == 412 {
                assert_eq!(reply.code(), "precondition_failed");
            }
            (reply.status.as_u16(), reply.header("etag").unwrap_or("").to_owned())
        };
        assert_eq!(put(&[("if-match", "*")], "0").await.0, 412, "it is absent");
        let (status, first) = put(&[("if-none-match", "*")], "0").await;
        assert_eq!(status, 204);
        assert_eq!(put(&[("if-none-match", "*")], "x").await.0, 412, "it is there");
        let (status, second) = put(&[("if-match", &first)], "1").await;
        assert_eq!(status, 204);
        assert_eq!(put(&[("if-match", &first)], "x").await.0, 412, "the version is an old one");
        let either = format!("{first}, {second}");
        let (status, third) = put(&[("if-match", &either)], "2").await;
        assert_eq!(status, 204, "one of them is it");
        assert_eq!(put(&[("if-none-match", &third)], "x").await.0, 412);
        assert_eq!(put(&[("if-none-match", &first)], "3").await.0, 204);
        assert_eq!(put(&[("if-match", "*")], "4").await.0, 204);
        assert_eq!(put(&[("if-match", "4.5")], "x").await.0, 400, "a tag has quotation marks");
        assert_eq!(put(&[("if-match", "\"a, b\"")], "x").await.0, 412, "one tag of somebody else's");
        assert_eq!(web.get(path).await.body, "4");

        assert_eq!(web.send("DELETE", path, &[("if-match", &third)], "").await.status, 412);
        let tag = web.get(path).await.header("etag").unwrap().to_owned();
        assert_eq!(web.send("DELETE", path, &[("if-match", &tag)], "").await.status, 204);
        assert_eq!(web.get(path).await.status, 404);

        // Many add one at the same time, through different servers: every one of them counts.
        web.put(path, "0").await;
        let add = async |web: Web| {
            let mut done = 0;
            while done < 20 {
                let found = web.get(path).await;
                let number: u64 = std::str::from_utf8(&found.body).unwrap().parse().unwrap();
                let tag = found.header("etag").unwrap().to_owned();
                let body = (number + 1).to_string();
                match web.send("PUT", path, &[("if-match", &tag)], body).await.status.as_u16() {
                    204 => done += 1,
                    412 => {}
                    other => panic!("{other}"),
                }
            }
        };
        let webs = [0, 1, 2].map(|place| crate::web(&ring, place));
        let [a, b, c] = webs;
        tokio::join!(add(a), add(b), add(c));
        assert_eq!(web.get(path).await.body, "60");
    })
    .await;
}

#[tokio::test]
async fn what_is_not_possible_is_refused_with_a_code_and_changes_nothing() {
    within(90, async {
        let ring = TestRing::start(1, &SINGLE).await;
        let web = web(&ring, 0);
        let mebibyte = vec![7; 1024 * 1024];
        assert_eq!(web.put("/v1/kv/large", mebibyte.clone()).await.status, 204);
        assert_eq!(web.get("/v1/kv/large").await.body, mebibyte);
        let longer = [mebibyte, vec![7]].concat();
        let refused = web.put("/v1/kv/large", longer.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (413, "too_large"));
        assert_eq!(web.get("/v1/kv/large").await.body.len(), 1024 * 1024);

        assert_eq!(web.put(&format!("/v1/kv/{}", "k".repeat(4096)), "x").await.status, 204);
        let cases = [
            ("PUT", format!("/v1/kv/{}", "k".repeat(4097)), 400, "bad_request"),
            ("PUT", "/v1/kv/%".to_owned(), 400, "bad_request"),
            ("PUT", "/v1/kv/a?tll=5".to_owned(), 400, "bad_request"),
            ("GET", "/v1/kv/a?level=some".to_owned(), 400, "bad_request"),
            ("GET", "/v1/kv/a?level=any&level=any".to_owned(), 400, "bad_request"),
            ("GET", "/v1/kv?limit=0".to_owned(), 400, "bad_request"),
            ("GET", "/v1/kv?cursor=%00".to_owned(), 400, "bad_request"),
            ("PATCH", "/v1/kv/a".to_owned(), 405, "method_not_allowed"),
            ("GET", "/v2/kv/a".to_owned(), 404, "no_such_route"),
            ("POST", "/v1/batch".to_owned(), 400, "bad_request"),
        ];
        for (method, path, status, code) in cases {
            let reply = web.send(method, &path, &[], "x").await;
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (status, code), "{method} {path}");
            assert_eq!(reply.header("content-type"), Some("application/json"));
        }
        assert_eq!(web.get("/v1/kv").await.json()["keys"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_it_says_try_again_and_any_replica_still_answers() {
    within(150, async {
        let mut ring = TestRing::start(3, &CHAINS).await;
        let web = web(&ring, 0);
        assert_eq!(web.put("/v1/kv/k", "v").await.status, 204);
        assert_eq!(web.get("/readyz").await.status, 200);
        for server in &mut ring.servers[1..] {
            tokio::task::block_in_place(|| server.process.kill());
        }
        let write = async {
            let reply = web.put("/v1/kv/k", "w").await;
            assert!([503, 504].contains(&reply.status.as_u16()), "{reply:?}");
            if reply.status == 503 {
                assert_eq!((reply.code().as_str(), reply.header("retry-after")), ("unavailable", Some("1")));
            } else {
                assert_eq!(reply.code(), "unknown_outcome");
            }
        };
        let read = async {
            // Its lease must have run out first.
            eventually("a read is refused", std::time::Duration::from_secs(60), async || {
                let reply = web.get("/v1/kv/k").await;
                tokio::time::sleep(LOOK_EVERY).await;
                if reply.status == 503 { Ok(reply) } else { Err(format!("{reply:?}")) }
            })
            .await
        };
        let (refused, ()) = tokio::join!(read, write);
        assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("unavailable", Some("1")));
        let any = web.get("/v1/kv/k?level=any").await;
        assert_eq!(any.status, 200, "{any:?}");
        assert_eq!(web.get("/healthz").await.status, 200);
        eventually("it is not ready", std::time::Duration::from_secs(30), async || {
            let reply = web.get("/readyz").await;
            if reply.status == 503 { Ok(()) } else { Err(format!("{reply:?}")) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_carried_out_in_its_order_with_an_answer_each() {
    within(90, async {
        let ring = TestRing::start(3, &CHAINS).await;
        let web = web(&ring, 0);
        let send = async |operations: Json| {
            let reply = web.send("POST", "/v1/batch", &[], operations.to_string()).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            reply.json().as_array().unwrap().clone()
        };
        let answers = send(json!([
            {"op": "put", "key": "a", "value": "1"},
            {"op": "put", "key": "b", "value_base64": "/w=="},
            {"op": "put", "key": "a", "value": "2"},
            {"op": "get", "key": "a"},
            {"op": "get", "key": "b", "level": "any"},
            {"op": "delete", "key": "b"},
            {"op": "get", "key": "b"},
            {"op": "put", "key": "a", "value": "x", "if_absent": true},
            {"op": "put", "key": "c", "value": "3", "if_absent": true},
            {"op": "put", "key_id": "0x2a", "value": "at the place itself"},
            {"op": "get", "key_id": "42"},
            {"op": "get"},
            {"op": "put", "key": "", "value": "x"},
            {"op": "put", "key": "d"},
            {"op": "delete", "key": "a", "if_version": "0.1"},
        ]))
        .await;
        let statuses: Vec<u64> = answers.iter().map(|answer| answer["status"].as_u64().unwrap()).collect();
        assert_eq!(statuses, [204, 204, 204, 200, 200, 204, 404, 412, 204, 204, 200, 400, 400, 400, 412]);
        assert_eq!(answers[3]["value"], "2", "the later put of a key counts");
        assert_eq!(answers[3]["version"], answers[2]["version"]);
        assert_eq!(answers[4]["value_base64"], "/w==");
        assert_eq!(answers[7]["version"], answers[2]["version"], "what is there instead");
        assert_eq!(answers[7]["code"], "precondition_failed");
        assert_eq!(answers[10]["value"], "at the place itself");
        let version = answers[2]["version"].clone();
        let answers =
            send(json!([{"op": "delete", "key": "a", "if_version": version}, {"op": "get", "key": "a"}]))
                .await;
        assert_eq!((&answers[0]["status"], &answers[1]["status"]), (&json!(204), &json!(404)));

        let many: Vec<Json> =
            (0..2000).map(|number| json!({"op": "put", "key": format!("k{number}"), "value": "v"})).collect();
        assert!(send(Json::from(many)).await.iter().all(|answer| answer["status"] == 204));
        for wrong in ["{}", "[1]", "[{\"op\":\"put\",\"keys\":\"a\"}]", "[{\"op\":\"putt\"}]"] {
            assert_eq!(web.send("POST", "/v1/batch", &[], wrong).await.code(), "bad_request", "{wrong}");
        }
        let too_many = format!("[{}]", vec!["{\"op\":\"get\",\"key\":\"a\"}"; 10_001].join(","));
        assert_eq!(web.send("POST", "/v1/batch", &[], too_many).await.code(), "too_large");
    })
    .await;
}

#[tokio::test]
async fn the_answer_to_a_batch_is_bounded() {
    within(120, async {
        let server = Server::start(None, &SINGLE);
        let web = Web::new(server.http.as_ref().unwrap());
        for number in 0..20 {
            let reply = web.put(&format!("/v1/kv/{number}"), vec![b'v'; 1024 * 1024]).await;
            assert_eq!(reply.status, 204, "{number}: {reply:?}");
        }
        let mut operations: Vec<Json> =
            (0..20).map(|number| json!({"op": "get", "key": number.to_string()})).collect();
        operations.push(json!({"op": "put", "key": "small", "value": "1"}));
        operations.push(json!({"op": "get", "key": "small"}));
        operations.push(json!({"op": "get", "key": "small", "level": "any"}));
        let reply = web.send("POST", "/v1/batch", &[], Json::from(operations).to_string()).await;
        assert_eq!(reply.status, 200);
        assert!(reply.body.len() < 12 * 1024 * 1024, "{} bytes", reply.body.len());
        let answers = reply.json();
        let status = |place: usize| answers[place]["status"].as_u64().unwrap();
        let read = (0..20).filter(|place| status(*place) == 200).count();
        assert!((8..=10).contains(&read), "{read} of them");
        for place in (0..20).chain([21, 22]).filter(|place| status(*place) != 200) {
            assert_eq!((status(place), answers[place]["code"].as_str()), (413, Some("too_large")));
        }
        assert_eq!((status(20), status(21), status(22)), (204, 413, 413), "what needs no room is done");
        let small = json!([{"op": "get", "key": "small"}]).to_string();
        assert_eq!(web.send("POST", "/v1/batch", &[], small).await.json()[0]["value"], "1");
    })
    .await;
}

/// Without a majority each of these would be tried for ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_ends_in_time() {
    within(180, async {
        let mut ring = TestRing::start(3, &CHAINS).await;
        let web = web(&ring, 0);
        for server in &mut ring.servers[1..] {
            tokio::task::block_in_place(|| server.process.kill());
        }
        let operations: Vec<Json> =
            (0..100).map(|key| json!({"op": "delete", "key": key.to_string()})).collect();
        let reply = web.send("POST", "/v1/batch", &[], Json::from(operations).to_string()).await;
        assert_eq!(reply.status, 200);
        let answers = reply.json().as_array().unwrap().clone();
        assert_eq!(answers.len(), 100);
        assert!(answers.iter().all(|answer| [503, 504].contains(&answer["status"].as_u64().unwrap())));
        let last = answers.last().unwrap();
        assert_eq!((last["status"].as_u64(), last["code"].as_str()), (Some(503), Some("unavailable")));
        assert!(last["message"].as_str().unwrap().starts_with("not begun"), "{last}");
    })
    .await;
}

#[tokio::test]
async fn a_value_with_a_time_to_live_says_what_is_left_and_ends() {
    within(90, async {
        let ring = TestRing::start(3, &CHAINS).await;
        let web = web(&ring, 0);
        assert_eq!(web.put("/v1/kv/long?ttl=1h", "v").await.status, 204);
        let left = web.get("/v1/kv/long").await.header("chordata-ttl").unwrap().to_owned();
        let left: u64 = left.strip_suffix("ms").unwrap().parse().unwrap();
        assert!((3_500_000..=3_600_000).contains(&left), "{left}");
        assert_eq!(web.put("/v1/kv/long", "v").await.status, 204);
        assert_eq!(web.get("/v1/kv/long").await.header("chordata-ttl"), None, "a later put has its own, or none");
        for wrong in ["5", "0s", "-1s", "1y", "99999999d"] {
            let refused = web.put(&format!("/v1/kv/long?ttl={wrong}"), "x").await;
            assert_eq!(refused.code(), "bad_request", "{wrong}");
        }
        assert_eq!(web.put("/v1/kv/single?ttl=300ms", "v").await.status, 204);
        let swap = web.send("PUT", "/v1/kv/swapped?ttl=300ms", &[("if-none-match", "*")], "v").await;
        assert_eq!(swap.status, 204);
        let batch = json!([{"op": "put", "key": "batched", "value": "v", "ttl": "300ms"},
            {"op": "put", "key": "stays", "value": "v"}, {"op": "put", "key": "hour", "value": "v", "ttl": "1h"},
            {"op": "get", "key": "hour"}, {"op": "get", "key": "stays"}, {"op": "delete", "key": "x", "ttl": "1h"}]);
        let answers = web.send("POST", "/v1/batch", &[], batch.to_string()).await.json();
        assert!(answers[3]["ttl"].as_str().unwrap().ends_with("ms") && answers[4].get("ttl").is_none(), "{answers}");
        assert_eq!(answers[5]["status"], 400);
        let lines = "{\"key\":\"line\",\"value\":\"v\",\"ttl\":\"300ms\"}\n{\"key\":\"kept\",\"value\":\"v\"}\n";
        assert_eq!(web.send("POST", "/v1/bulk", &[], lines).await.status, 200);
        for key in ["single", "swapped", "batched", "line"] {
            eventually(key, std::time::Duration::from_secs(20), async || {
                let status = web.get(&format!("/v1/kv/{key}")).await.status;
                if status == 404 { Ok(()) } else { Err(status.to_string()) }
            })
            .await;
        }
        for key in ["stays", "kept", "hour"] {
            assert_eq!(web.get(&format!("/v1/kv/{key}")).await.status, 200, "{key}");
        }
    })
    .await;
}
