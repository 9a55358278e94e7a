//! Many puts as lines of JSON.

use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Bytes, Frame};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;

use crate::support::ring::TestRing;
use crate::support::within;
use crate::{CHAINS, web};

fn lines(body: &[u8]) -> Vec<Json> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[tokio::test]
async fn every_line_is_a_put_and_of_one_key_the_last_counts() {
    within(120, async {
        let ring = TestRing::start(3, &CHAINS).await;
        let web = web(&ring, 0);
        let mut body = String::new();
        for number in 0..5000 {
            body += &json!({"key": format!("k{number}"), "value": format!("v{number}")}).to_string();
            body += if number % 7 == 0 { "\r\n\n" } else { "\n" };
        }
        for turn in 0..50 {
            body += &format!("{}\n", json!({"key": "again", "value": turn.to_string()}));
        }
        body += &format!("{}\n", json!({"key_base64": "/w==", "value_base64": "/w=="}));
        // The last one has no end of line.
        body += &json!({"key": "last", "value": ""}).to_string();
        let reply = web.send("POST", "/v1/bulk", &[], body).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, Some("application/x-ndjson")));
        let answers = lines(&reply.body);
        assert_eq!(answers.last(), Some(&json!({"stored": 5052, "failed": 0, "end": true})));
        assert!(answers.len() > 5, "there is progress on the way: {answers:?}");
        assert!(answers.iter().all(|answer| answer.get("line").is_none()));
        assert_eq!(web.get("/v1/kv/k4999").await.body, "v4999");
        assert_eq!(web.get("/v1/kv/again").await.body, "49");
        assert_eq!(web.get("/v1/kv/%FF").await.body, vec![0xff]);
        assert_eq!(web.get("/v1/kv/last").await.body, "");

        let body = "{\"key\":\"a\",\"value\":\"1\"}\nnonsense\n{\"key\":\"\",\"value\":\"1\"}\n{\"key\":\"b\"}\n\
            {\"key\":\"c\",\"value\":\"2\"}\n";
        let answers = lines(&web.send("POST", "/v1/bulk?each=true", &[], body).await.body);
        let wrong: Vec<u64> = answers.iter().filter(|answer| answer["code"] == "bad_request").map(line).collect();
        assert_eq!(wrong, [2, 3, 4]);
        let stored: Vec<u64> = answers.iter().filter(|answer| answer["version"].is_string()).map(line).collect();
        assert_eq!(stored, [1, 5]);
        assert_eq!(answers.last(), Some(&json!({"stored": 2, "failed": 3, "end": true})));

        for wrong in ["nonsense", "\n[]\n{\"key\":\"n\",\"value\":\"1\"}", "null", "{\"kye\":\"n\"}"] {
            let refused = web.send("POST", "/v1/bulk", &[], wrong).await;
            assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "bad_request"), "{wrong}");
        }
        assert_eq!(web.get("/v1/kv/n").await.status, 404, "nothing was read further");
        assert_eq!(lines(&web.send("POST", "/v1/bulk", &[], "").await.body).len(), 1, "nothing is a body");
    })
    .await;
}

fn line(answer: &Json) -> u64 {
    answer["line"].as_u64().unwrap()
}

/// Lines are stored and answered while the request is still being sent.
#[tokio::test]
async fn answers_come_while_lines_are_sent() {
    within(60, async {
        let ring = TestRing::start(1, &CHAINS).await;
        let web = web(&ring, 0);
        let stream = TcpStream::connect(&web.address).await.unwrap();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let (pieces, received) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let received = futures::stream::unfold(received, |mut received| async move {
            let piece = received.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(Frame::data(piece)), received))
        });
        let request = Request::post("/v1/bulk").header("host", &web.address);
        let answer = sender.send_request(request.body(StreamBody::new(received)).unwrap());
        pieces.send("{\"key\":\"first\",\"value\":\"1\"}\n{\"key\":\"sec".into()).unwrap();
        let mut answer = answer.await.unwrap();
        let frame = answer.frame().await.unwrap().unwrap();
        assert_eq!(lines(frame.data_ref().unwrap()), [json!({"stored": 1, "failed": 0})]);
        assert_eq!(web.get("/v1/kv/first").await.body, "1");
        assert_eq!(web.get("/v1/kv/second").await.status, 404);
        pieces.send("ond\",\"value\":\"2\"}\n".into()).unwrap();
        drop(pieces);
        let rest = answer.collect().await.unwrap().to_bytes();
        assert_eq!(lines(&rest).last(), Some(&json!({"stored": 2, "failed": 0, "end": true})));
        assert_eq!(web.get("/v1/kv/second").await.body, "2");
    })
    .await;
}
