//! What HTTP says of a cluster in eventual mode.

use serde_json::json;

use crate::support::ring::TestRing;
use crate::support::within;
use crate::web;

const EVENTUAL: [&str; 14] = [
    "--stabilize-ms",
    "100",
    "--finger-ms",
    "300",
    "--call-timeout-ms",
    "2000",
    "--consistency",
    "eventual",
    "--replication",
    "3",
    "--durability",
    "memory",
    "--http",
    "127.0.0.1:0",
];

#[tokio::test]
async fn eventual_mode_has_acks_and_refuses_what_needs_an_order() {
    within(90, async {
        let ring = TestRing::start(3, &EVENTUAL).await;
        let web = web(&ring, 0);
        let stored = web.put("/v1/kv/k?acks=3", "v").await;
        assert_eq!(stored.status, 204, "{stored:?}");
        for place in 0..3 {
            let found = crate::web(&ring, place).get("/v1/kv/k?acks=3").await;
            assert_eq!((found.status.as_u16(), &found.body[..]), (200, &b"v"[..]));
            assert_eq!(found.header("etag"), stored.header("etag"));
        }
        let tag = stored.header("etag").unwrap();
        for headers in [[("if-match", tag)], [("if-none-match", "*")], [("if-match", "*")]] {
            for method in ["PUT", "DELETE"] {
                let refused = web.send(method, "/v1/kv/k", &headers, "").await;
                assert_eq!((refused.status.as_u16(), refused.code().as_str()), (501, "not_supported"));
            }
        }
        let unchanged = web.send("GET", "/v1/kv/k?acks=3", &[("if-none-match", tag)], "").await;
        assert_eq!(unchanged.status, 304, "whether it is the same can be said");
        assert_eq!(web.get("/v1/kv/k?level=linearizable").await.code(), "not_supported");
        assert_eq!(web.get("/v1/kv/k?level=any&acks=3").await.status, 200);
        let batch = json!([{"op": "put", "key": "k", "value": "x", "if_absent": true}]).to_string();
        assert_eq!(web.send("POST", "/v1/batch", &[], batch).await.json()[0]["status"], 501);
        assert_eq!(web.get("/v1/kv").await.json()["keys"].as_array().unwrap().len(), 1);
        assert_eq!(web.put("/v1/files/f", "1").await.status, 201);
        assert_eq!(web.put("/v1/files/f", "2").await.status, 204);
        let found = web.get("/v1/files/f").await;
        assert_eq!((found.status.as_u16(), &found.body[..]), (200, &b"2"[..]));
        let tag = found.header("etag").unwrap();
        assert_eq!(web.send("GET", "/v1/files/f", &[("if-none-match", tag)], "").await.status, 304);
        for method in ["PUT", "DELETE"] {
            let refused = web.send(method, "/v1/files/f", &[("if-match", tag)], "x").await;
            assert_eq!((refused.status.as_u16(), refused.code().as_str()), (501, "not_supported"));
        }
        assert_eq!(web.delete("/v1/files/f").await.status, 204);
        let metrics = web.get("/metrics").await;
        assert!(std::str::from_utf8(&metrics.body).unwrap().contains("\nchordata_hints 0\n"));
    })
    .await;
}
