//! Files over HTTP: what comes back, ranges, conditions, and what is left of uploads that break off.

use std::time::Duration;

use chordata_files::{FileName, Files, Hash, Output};
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::ring::{Server, TestRing};
use crate::support::{eventually, within};
use crate::web::{Web, escape};
use crate::{CHAINS, SINGLE, web};

const MIB: usize = 1 << 20;

fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut all = vec![0; bytes];
    fastrand::Rng::with_seed(seed).fill(&mut all);
    all
}

fn tag(content: &[u8]) -> String {
    format!("\"{}\"", Hash::of(content))
}

/// All keys that belong to files.
async fn keys(web: &Web) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = web.get(&format!("/v1/kv?prefix=.chordata/&limit=1000{cursor}")).await;
        if page.status == 503 {
            // The test as a whole has its limit.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let page = page.json();
        let found = page["keys"].as_array().unwrap().iter();
        keys.extend(found.map(|key| key["key"].as_str().unwrap().to_owned()));
        let Some(next) = page["cursor"].as_str() else { return keys };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_any_size_is_stored_and_given_back_by_every_server() {
    within(180, async {
        let ring = TestRing::start(3, &CHAINS).await;
        let all = content(1, 9 * MIB + 17);
        let path = format!("/v1/files/{}", escape("a dir/größe".as_bytes()));
        let stored = web(&ring, 0).send("PUT", &path, &[("content-type", "text/x-y")], all.clone()).await;
        assert_eq!((stored.status.as_u16(), stored.body.len()), (201, 0));
        assert_eq!(stored.header("etag"), Some(&*tag(&all)), "what b3sum prints");
        for place in 0..3 {
            let found = web(&ring, place).get(&path).await;
            assert_eq!(found.status, 200);
            assert!(found.body == all, "the same bytes");
            for (name, value) in [
                ("etag", tag(&all).as_str()),
                ("content-type", "text/x-y"),
                ("accept-ranges", "bytes"),
                ("content-length", &all.len().to_string()),
                ("x-content-type-options", "nosniff"),
                ("content-security-policy", "sandbox"),
            ] {
                assert_eq!(found.header(name), Some(value));
            }
            let head = web(&ring, place).send("HEAD", &path, &[], "").await;
            assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
            for name in ["etag", "content-type", "accept-ranges", "content-length"] {
                assert_eq!(head.header(name), found.header(name), "{name}");
            }
        }
        // The library finds the same file, and what it stores is found here.
        let files = Files::new(ring.client().await);
        let name = FileName::new("a dir/größe").unwrap();
        let home = tempfile::tempdir().unwrap();
        let copy = home.path().join("copy");
        files.download(&name, Output::File(copy.clone()), None).await.unwrap();
        assert!(std::fs::read(copy).unwrap() == all);
        let next = content(2, 3 * MIB);
        files.put(&name, next.clone().into(), chordata_files::PutOptions::default()).await.unwrap();
        let found = web(&ring, 1).get(&path).await;
        assert_eq!(found.header("content-type"), Some("application/octet-stream"));
        assert!(found.body == next);

        let unchanged = web(&ring, 2).send("GET", &path, &[("if-none-match", &tag(&next))], "").await;
        assert_eq!((unchanged.status.as_u16(), unchanged.header("etag")), (304, Some(&*tag(&next))));
        let replaced = web(&ring, 2).put(&path, "").await;
        assert_eq!((replaced.status.as_u16(), replaced.header("etag")), (204, Some(&*tag(b""))));
        let empty = web(&ring, 0).get(&path).await;
        assert_eq!(
            (empty.status.as_u16(), empty.body.len(), empty.header("content-length")),
            (200, 0, Some("0"))
        );
        assert_eq!(web(&ring, 1).delete(&path).await.status, 204);
        assert_eq!(keys(&web(&ring, 0)).await, Vec::<String>::new(), "nothing is left");
        for reply in [web(&ring, 0).get(&path).await, web(&ring, 0).delete(&path).await] {
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (404, "not_found"));
        }
        assert_eq!(web(&ring, 0).send("HEAD", &path, &[], "").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn ranges_are_parts_of_a_file_wherever_its_chunks_are_cut() {
    within(120, async {
        let server = Server::start(None, &SINGLE);
        let web = Web::new(server.http.as_ref().unwrap());
        let all = content(3, 3 * MIB + 100);
        let size = all.len();
        assert_eq!(web.put("/v1/files/f", all.clone()).await.status, 201);
        let ask = async |headers: &[(&str, &str)]| web.send("GET", "/v1/files/f", headers, "").await;
        for (range, part) in [
            ("bytes=0-0".to_owned(), 0..1),
            (format!("bytes={}-{}", MIB - 1, MIB), MIB - 1..MIB + 1),
            (format!("bytes={MIB}-{MIB}"), MIB..MIB + 1),
            (format!("bytes={}-{}", MIB - 1, MIB - 1), MIB - 1..MIB),
            (format!("bytes={MIB}-{}", 2 * MIB - 1), MIB..2 * MIB),
            (format!("bytes={}-{}", MIB / 2, 3 * MIB), MIB / 2..3 * MIB + 1),
            (format!("bytes={}-", 3 * MIB), 3 * MIB..size),
            (format!("bytes={}-99999999999999999999999", size - 1), size - 1..size),
            ("bytes=-101".to_owned(), size - 101..size),
            ("bytes=1-".to_owned(), 1..size),
        ] {
            let reply = ask(&[("range", &range)]).await;
            assert_eq!(reply.status, 206, "{range}");
            assert!(reply.body == all[part.clone()], "{range}");
            let said = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            assert_eq!(reply.header("content-range"), Some(&*said));
            assert_eq!(reply.header("content-length"), Some(&*part.len().to_string()));
            assert_eq!(reply.header("etag"), Some(&*tag(&all)));
        }
        for range in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
            let reply = ask(&[("range", &range)]).await;
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (416, "no_such_range"), "{range}");
            assert_eq!(reply.header("content-range"), Some(&*format!("bytes */{size}")));
        }
        let (own, other) = (tag(&all), tag(b"another"));
        let weak = format!("W/{own}");
        for (headers, status) in [
            (vec![("range", "bytes=0-0,2-2")], 200),
            (vec![("range", "lines=1-2")], 200),
            (vec![("range", "bytes=0-0"), ("range", "bytes=2-2")], 200),
            (vec![("range", "bytes=0-0"), ("if-range", own.as_str())], 206),
            (vec![("range", "bytes=0-0"), ("if-range", other.as_str())], 200),
            (vec![("range", "bytes=0-0"), ("if-range", weak.as_str())], 200),
            (vec![("range", "bytes=0-0"), ("if-range", "Fri, 20 Nov 2026 10:00:00 GMT")], 200),
            (vec![("range", "bytes=99999999-"), ("if-range", other.as_str())], 200),
            (vec![("range", "bytes=0-0"), ("if-match", other.as_str())], 412),
            (vec![("range", "bytes=0-0"), ("if-none-match", own.as_str())], 304),
        ] {
            let reply = ask(&headers).await;
            assert_eq!(reply.status.as_u16(), status, "{headers:?}");
            assert_eq!(reply.body.len() == size, status == 200, "{headers:?}");
        }
        // More at once than there is room for: some wait.
        let first = [("range", "bytes=0-9")];
        let many = (0..150).map(|_| web.send("GET", "/v1/files/f", &first, ""));
        assert!(futures::future::join_all(many).await.iter().all(|reply| reply.body == all[..10]));
        let head = web.send("HEAD", "/v1/files/f", &[("range", "bytes=0-0")], "").await;
        assert_eq!((head.status.as_u16(), head.header("content-length")), (200, Some(&*size.to_string())));
    })
    .await;
}

#[tokio::test]
async fn conditions_are_about_the_content() {
    within(120, async {
        let ring = TestRing::start(3, &CHAINS).await;
        let web = web(&ring, 0);
        let put = async |headers: &[(&str, &str)], bytes: &'static str| {
            web.send("PUT", "/v1/files/f", headers, bytes).await.status.as_u16()
        };
        let (one, two, three) = (tag(b"1"), tag(b"2"), tag(b"3"));
        assert_eq!(put(&[("if-match", "*")], "1").await, 412, "it is absent");
        assert_eq!(put(&[("if-match", &one)], "1").await, 412);
        assert_eq!(put(&[("if-none-match", "*")], "1").await, 201);
        assert_eq!(put(&[("if-none-match", "*")], "x").await, 412, "it is there");
        assert_eq!(put(&[("if-match", &two)], "x").await, 412);
        assert_eq!(put(&[("if-match", &one)], "2").await, 204);
        assert_eq!(put(&[("if-match", &format!("{one}, {two}"))], "3").await, 204, "one of them is it");
        assert_eq!(put(&[("if-none-match", &format!("{one}, {three}"))], "x").await, 412);
        assert_eq!(put(&[("if-none-match", &one)], "4").await, 204);
        assert_eq!(put(&[("if-match", "*")], "5").await, 204);
        assert_eq!(put(&[("if-match", "")], "x").await, 412, "none of nothing is it");
        assert_eq!(put(&[("if-match", &"f".repeat(64))], "x").await, 400, "a tag has quotation marks");
        assert_eq!(web.get("/v1/files/f").await.body, "5");
        let delete = async |headers: &[(&str, &str)]| {
            web.send("DELETE", "/v1/files/f", headers, "").await.status.as_u16()
        };
        assert_eq!(delete(&[("if-match", &one)]).await, 412);
        assert_eq!(delete(&[("if-none-match", &tag(b"5"))]).await, 412);
        assert_eq!(delete(&[("if-match", &tag(b"5"))]).await, 204);
        assert_eq!(delete(&[("if-match", "*")]).await, 412);
        assert_eq!(delete(&[]).await, 404);
        // Of several that want the name for themselves one gets it.
        let contents: Vec<Vec<u8>> = (0..4).map(|seed| content(seed, 2 * MIB)).collect();
        let first = contents.iter().zip([0, 1, 2, 0]).map(|(content, place)| {
            let web = crate::web(&ring, place);
            async move { web.send("PUT", "/v1/files/f", &[("if-none-match", "*")], content.clone()).await }
        });
        let replies = futures::future::join_all(first).await;
        let won: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
        assert_eq!(won.len(), 1, "{replies:?}");
        assert!(replies.iter().all(|reply| [201, 409, 412].contains(&reply.status.as_u16())), "{replies:?}");
        assert_eq!(web.send("HEAD", "/v1/files/f", &[], "").await.header("etag"), won[0].header("etag"));
        assert_eq!(keys(&web).await.len(), 3, "the winner's entry and its two chunks");
    })
    .await;
}

#[tokio::test]
async fn what_is_not_possible_is_refused_and_changes_nothing() {
    within(90, async {
        let server = Server::start(None, &SINGLE);
        let web = Web::new(server.http.as_ref().unwrap());
        let long = "n".repeat(1025);
        let kind = "x".repeat(257);
        for (path, headers, status) in [
            ("/v1/files/", vec![], 404),
            ("/v1/files/a/b", vec![], 404),
            ("/v1/files/%0A", vec![], 400),
            ("/v1/files/%FF", vec![], 400),
            ("/v1/files/%", vec![], 400),
            ("/v1/files/a?ttl=5s", vec![], 400),
            (&*format!("/v1/files/{long}"), vec![], 400),
            ("/v1/files/a", vec![("content-range", "bytes 0-0/2")], 400),
            ("/v1/files/a", vec![("content-type", kind.as_str())], 400),
        ] {
            let reply = web.send("PUT", path, &headers, "x").await;
            assert_eq!(reply.status.as_u16(), status, "{path}");
            assert!(!reply.code().is_empty());
        }
        assert_eq!(keys(&web).await, Vec::<String>::new());
        // What is there and is no entry is not a file, and is not taken for one that may be replaced.
        assert_eq!(web.put("/v1/kv/.chordata%2Ffile%2Fodd", "{}").await.status, 204);
        for method in ["GET", "PUT", "DELETE"] {
            let reply = web.send(method, "/v1/files/odd", &[], "x").await;
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (500, "damaged"), "{method}");
        }
        // A chunk that is lost is said before anything is sent, or breaks the answer off.
        assert_eq!(web.put("/v1/files/f", content(1, 2 * MIB)).await.status, 201);
        let mut chunks = keys(&web).await;
        chunks.retain(|key| key.starts_with(".chordata/chunk/f/"));
        for (lost, status) in [(".c00000001.", 200), (".c00000000.", 500)] {
            let key = chunks.iter().find(|key| key.contains(lost)).unwrap();
            assert_eq!(web.delete(&format!("/v1/kv/{}", escape(key.as_bytes()))).await.status, 204);
            let answer = web.open("GET", "/v1/files/f").await;
            assert_eq!(answer.status().as_u16(), status);
            let body = http_body_util::BodyExt::collect(answer.into_body()).await;
            assert_eq!(body.is_ok(), status == 500, "what breaks off is no whole answer");
        }
    })
    .await;
}

/// Sends the beginning of an upload.
async fn begin(web: &Web, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&web.address).await.unwrap();
    let head = format!("PUT /v1/files/f HTTP/1.1\r\nhost: {}\r\n{head}\r\n\r\n", web.address);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_an_upload_that_breaks_off() {
    within(240, async {
        let mut ring = TestRing::start(3, &CHAINS).await;
        let old = content(1, MIB + 5);
        let there = web(&ring, 0);
        assert_eq!(there.put("/v1/files/f", old.clone()).await.status, 201);
        let before = keys(&there).await;
        assert_eq!(before.len(), 3);
        let part = content(2, 5 * MIB);
        let chunked = [format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat();
        let known = format!("content-length: {}", 6 * MIB);
        let ways = [(known.as_str(), &part), ("transfer-encoding: chunked", &chunked)];
        for (place, (head, sent)) in [(1, ways[0]), (2, ways[1]), (2, ways[0])] {
            let web = web(&ring, place);
            let stream = begin(&web, head, sent).await;
            eventually("some of it is stored", Duration::from_secs(60), async || {
                let count = keys(&there).await.len();
                if count > before.len() { Ok(()) } else { Err(format!("{count} keys")) }
            })
            .await;
            assert!(there.get("/v1/files/f").await.body == old, "nobody sees any of it");
            if place == 2 && head == known {
                // It is the server that goes away.
                tokio::task::block_in_place(|| ring.servers[2].terminate());
            }
            drop(stream);
            eventually("nothing is left of it", Duration::from_secs(60), async || {
                let now = keys(&there).await;
                if now == before { Ok(()) } else { Err(format!("{now:?}")) }
            })
            .await;
            assert!(there.get("/v1/files/f").await.body == old);
        }
    })
    .await;
}

/// A number of `/metrics`.
async fn gauge(web: &Web, name: &str) -> u64 {
    let text = String::from_utf8(web.get("/metrics").await.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// It counts as being carried out until it is given up, and then its connection is closed.
#[tokio::test]
async fn who_does_not_read_an_answer_loses_it() {
    within(180, async {
        let server = Server::start(None, &SINGLE);
        let web = Web::new(server.http.as_ref().unwrap());
        // More than what the system takes for the other end.
        assert_eq!(web.put("/v1/files/f", vec![7; 32 * MIB]).await.status, 201);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let mut stuck = socket.connect(web.address.parse().unwrap()).await.unwrap();
        let request = format!("GET /v1/files/f HTTP/1.1\r\nhost: {}\r\n\r\n", web.address);
        stuck.write_all(request.as_bytes()).await.unwrap();
        let mut begin = [0; 12];
        stuck.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        // Its own request, and the one that is stuck.
        assert_eq!(gauge(&web, "chordata_http_in_flight").await, 2);
        eventually("it is given up", Duration::from_secs(120), async || {
            let (requests, connections) = (
                gauge(&web, "chordata_http_in_flight").await,
                gauge(&web, "chordata_http_connections").await,
            );
            if requests == 1 {
                Ok(())
            } else {
                Err(format!("{requests} requests, {connections} connections"))
            }
        })
        .await;
        let mut rest = Vec::new();
        let ended = stuck.read_to_end(&mut rest).await;
        assert!(ended.is_err() || rest.len() < 32 * MIB, "it did not get all");
        assert_eq!(
            web.send("GET", "/v1/files/f", &[("range", "bytes=0-9")], Bytes::new()).await.body,
            vec![7; 10]
        );
    })
    .await;
}
