//! What HTTP says of the ring: nodes, lookups, status, events, health, metrics; the document and its page.

use std::collections::{BTreeMap, BTreeSet};

use http_body_util::BodyExt;
use serde_json::Value as Json;

use crate::support::ring::TestRing;
use crate::support::{WHOLE_WITHIN, entry, eventually, within};
use crate::web::Web;
use crate::{CHAINS, SINGLE, web};

#[tokio::test]
async fn nodes_lookups_and_status_agree_with_what_any_client_sees() {
    within(90, async {
        let ring = TestRing::start(3, &CHAINS).await;
        let client = ring.client().await;
        client.put(entry(7).0, entry(7).1).await.unwrap();
        let web = web(&ring, 2);
        let nodes = eventually("the ring is whole", WHOLE_WITHIN, async || {
            let nodes = web.get("/v1/nodes").await.json();
            if nodes["whole"] == true { Ok(nodes) } else { Err(nodes.to_string()) }
        })
        .await;
        let found: Vec<&str> =
            nodes["nodes"].as_array().unwrap().iter().map(|node| node["address"].as_str().unwrap()).collect();
        let mut servers: Vec<_> =
            ring.servers.iter().map(|server| (server.id, server.address.as_str())).collect();
        servers.sort();
        assert_eq!(
            found,
            servers.iter().map(|(_, address)| *address).collect::<Vec<&str>>(),
            "from the lowest id"
        );
        assert!(nodes["problems"].as_array().unwrap().is_empty());

        let lookup = web.get("/v1/lookup/key%207").await.json();
        let key = entry(7).0;
        assert_eq!(lookup["id"], key.id(client.space()).to_literal());
        let located = client.locate(key.id(client.space()), chordata_protocol::Policy::Finger).await.unwrap();
        assert_eq!(lookup["owner"], located.owner.address.as_str());
        assert_eq!(lookup["path"][0]["address"], ring.servers[2].address.as_str(), "it begins here");
        let replicas = lookup["replicas"].as_array().unwrap();
        assert_eq!(replicas.len(), 3);
        let version = client.get(key).await.unwrap().result.unwrap().version.to_string();
        for replica in replicas {
            assert_eq!(replica["holds"], "value");
            assert_eq!(replica["version"], version);
        }
        let absent = web.get("/v1/lookup/nobody").await.json();
        assert!(absent["replicas"].as_array().unwrap().iter().all(|replica| replica["holds"] == "nothing"));

        let status = web.get("/v1/status").await.json();
        assert_eq!(status["node"]["address"], ring.servers[2].address.as_str());
        assert_eq!((status["consistency"].as_str(), status["copies"].as_u64()), (Some("chain"), Some(3)));
        assert!(status["view"].as_u64().is_some_and(|view| view > 0));
        assert_eq!(status["replicas"].as_array().unwrap().len(), 3);
    })
    .await;
}

/// Events as they come.
struct Events {
    body: hyper::body::Incoming,
    read: String,
}

impl Events {
    async fn of(web: &Web) -> Events {
        let response = web.open("GET", "/v1/events").await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { body: response.into_body(), read: String::new() }
    }

    async fn next(&mut self) -> (String, Json) {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let fields: BTreeMap<&str, &str> =
                    event.lines().map(|line| line.split_once(": ").unwrap()).collect();
                assert!(fields["id"].parse::<u64>().is_ok());
                let found = (fields["event"].to_owned(), serde_json::from_str(fields["data"]).unwrap());
                self.read = rest.to_owned();
                return found;
            }
            let frame = self.body.frame().await.expect("the events go on").unwrap();
            self.read += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
    }

    /// Waits for an event of that kind about a node.
    async fn of_node(&mut self, kind: &str, address: &str) {
        loop {
            let (event, data) = self.next().await;
            if event == kind && data["address"] == address {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_departures_and_deaths_are_told_and_counters_each_second() {
    within(150, async {
        let mut ring = TestRing::start(3, &CHAINS).await;
        let mut events = Events::of(&web(&ring, 0)).await;
        let (hello, data) = events.next().await;
        assert_eq!((hello.as_str(), data["members"].as_array().unwrap().len()), ("hello", 3));
        let before = loop {
            let (event, data) = events.next().await;
            if event == "counters" {
                break data;
            }
        };
        assert_eq!(web(&ring, 0).put("/v1/kv/a", "b").await.status, 204);
        let mut counters = events.next().await;
        while counters.0 != "counters" || counters.1["requests"] == before["requests"] {
            counters = events.next().await;
        }
        assert!(counters.1["keys"].as_u64().unwrap() >= 1);

        let joined = tokio::task::block_in_place(|| ring.add().address.to_string());
        events.of_node("join", &joined).await;
        assert_eq!(web(&ring, 3).post("/depart").await.status, 200);
        events.of_node("departure", &joined).await;
        ring.whole_with(&[0, 1, 2]).await;
        let dies = ring.servers[2].address.to_string();
        tokio::task::block_in_place(|| ring.servers[2].process.kill());
        events.of_node("silent", &dies).await;
        loop {
            let (event, data) = events.next().await;
            if event == "epoch" {
                assert!(data["view"].as_u64().is_some());
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_that_dies_is_told_as_a_death_in_single_copies() {
    within(90, async {
        let mut ring = TestRing::start(3, &SINGLE).await;
        let mut events = Events::of(&web(&ring, 0)).await;
        assert_eq!(events.next().await.0, "hello");
        let dies = ring.servers[1].address.to_string();
        ring.servers[1].process.kill();
        events.of_node("death", &dies).await;
    })
    .await;
}

/// The names of the metrics in a text for Prometheus, each checked to have its help and its type.
fn names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut typed: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(typed.insert(name, kind).is_none(), "{name} has two types");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = name.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let base = base.filter(|base| typed.get(base) == Some(&"histogram")).unwrap_or(name);
            assert!(typed.contains_key(base), "{name} has no type");
            assert!(text.contains(&format!("# HELP {base} ")), "{name} has no help");
            names.insert(name.to_owned());
        }
    }
    names
}

/// Words of a text that are names of metrics of ours.
fn named(text: &str, found: &mut BTreeSet<String>) {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    found.extend(words.filter(|word| word.starts_with("chordata_")).map(str::to_owned));
}

fn expressions(json: &Json, found: &mut BTreeSet<String>) {
    match json {
        Json::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Json::String(text) if ["expr", "query", "definition"].contains(&name.as_str()) => {
                        named(text, found);
                    }
                    other => expressions(other, found),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_metric_of_the_dashboard_is_there() {
    within(90, async {
        let chain = TestRing::start(1, &CHAINS).await;
        let web = web(&chain, 0);
        assert_eq!(web.put("/v1/kv/a", "b").await.status, 204);
        assert_eq!(web.get("/v1/kv/nobody").await.status, 404);
        let reply = web.get("/metrics").await;
        assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
        let text = std::str::from_utf8(&reply.body).unwrap().to_owned();
        let there = names(&text);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana/chordata.json");
        let dashboard: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut wanted = BTreeSet::new();
        expressions(&dashboard, &mut wanted);
        assert!(wanted.len() > 10, "{wanted:?}");
        let missing: Vec<&String> = wanted.difference(&there).collect();
        assert!(missing.is_empty(), "{missing:?} are not in /metrics");

        let line = "chordata_http_requests_total{route=\"/v1/kv/{key}\",method=\"PUT\",status=\"204\"} 1";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("\nchordata_keys 1\n") && text.contains("\nchordata_ring_member 1\n"));
        assert!(text.contains("\nchordata_operations_total 2\n"));
    })
    .await;
}

#[tokio::test]
async fn the_document_describes_every_route_and_its_page_loads_nothing_from_elsewhere() {
    within(90, async {
        let ring = TestRing::start(1, &SINGLE).await;
        let web = web(&ring, 0);
        let document = web.get("/openapi.json").await.json();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
        let paths = document["paths"].as_object().unwrap();
        let mut operations = 0;
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().unwrap() {
                operations += 1;
                assert!(operation["summary"].is_string(), "{method} {path} says what it does");
                if ["/v1/events", "/depart"].contains(&path.as_str()) {
                    continue;
                }
                let concrete = path.replace("{key}", "a").replace("{value}", "b");
                let reply = web.send(&method.to_uppercase(), &concrete, &[], "").await;
                let described = operation["responses"].as_object().unwrap();
                assert!(described.contains_key(reply.status.as_str()), "{method} {path}: {}", reply.status);
                assert_ne!(reply.status, 405, "{method} {path}");
            }
        }
        assert!(operations >= 20, "{operations}");

        for path in ["/docs", "/"] {
            let page = web.get(path).await;
            assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
            let text = std::str::from_utf8(&page.body).unwrap();
            assert!(text.contains("/openapi.json"));
            assert!(!text.contains("://") && !text.contains("src=\"//"), "it needs no other host");
            assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
        }
    })
    .await;
}
