//! Servers on standby over HTTP: into a ring, out of it, and back into the same one.

use chordata_protocol::{Address, Key, Value};
use chordata_rpc::service::ClusterId;
use serde_json::json;

use crate::CHAINS;
use crate::support::process::Process;
use crate::support::{WHOLE_WITHIN, dead_address, eventually, free_port, within};
use crate::web::{Reply, Web};

struct Spare {
    process: Process,
    address: Address,
    web: Web,
    _home: tempfile::TempDir,
}

impl Spare {
    fn start(more: &[&str]) -> Spare {
        Spare::patient("40", more)
    }

    /// Gives up joining after so many seconds.
    fn patient(seconds: &str, more: &[&str]) -> Spare {
        let home = tempfile::tempdir().unwrap();
        let port = free_port().to_string();
        let fixed = ["--standby", "--data", "data", "--join-timeout", seconds, "--port", &port];
        let arguments = fixed.iter().chain(&CHAINS).chain(more).map(|text| (*text).to_owned());
        let process = Process::start(home.path(), &Vec::from_iter(arguments), &[]);
        let (address, http) = process.on_standby_with_http();
        let web = Web::new(&http.expect("it was started with --http"));
        Spare { process, address, web, _home: home }
    }

    async fn join(&self, contacts: &[&Address]) -> Reply {
        let contacts: Vec<&str> = contacts.iter().map(|contact| contact.as_str()).collect();
        let body = json!({ "contacts": contacts }).to_string();
        self.web.send("POST", "/join", &[("content-type", "application/json")], body).await
    }

    /// Waits until these and nobody else are its ring.
    async fn is_with(&self, others: &[&Spare]) {
        let mut expected: Vec<&str> = others.iter().map(|other| other.address.as_str()).collect();
        expected.push(self.address.as_str());
        expected.sort_unstable();
        eventually("they are one ring", WHOLE_WITHIN, async || {
            let overlay = self.web.get("/overlay").await;
            if overlay.status != 200 {
                return Err(format!("{overlay:?}"));
            }
            let overlay = overlay.json();
            let nodes = overlay["overlay"].as_array().unwrap().iter();
            let mut found: Vec<&str> = nodes.map(|node| node["address"].as_str().unwrap()).collect();
            found.sort_unstable();
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

/// The cluster that an answer names.
fn cluster(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    let (_, cluster) = json["message"].as_str().unwrap().rsplit_once(" cluster ").unwrap();
    cluster.to_owned()
}

fn says(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (status, code), "{reply:?}");
}

#[tokio::test]
async fn a_server_on_standby_joins_departs_and_goes_back_to_the_ring_that_it_knows() {
    within(150, async {
        let first = Spare::start(&[]);
        says(&first.web.get("/query/a").await, 503, "not_in_ring");
        says(&first.web.post("/depart").await, 503, "unavailable");
        let ring = cluster(&first.web.post("/join").await);
        let second = Spare::start(&["--join", first.address.as_str()]);
        assert_eq!(cluster(&second.web.post("/join").await), ring, "as its settings say");
        let third = Spare::start(&[]);
        assert_eq!(cluster(&third.join(&[&second.address]).await), ring, "as it was told");
        first.is_with(&[&second, &third]).await;
        assert_eq!(first.web.post("/insert/key/value").await.status, 200);
        says(&first.web.post("/join").await, 409, "refused");
        says(&third.join(&[&first.address]).await, 409, "refused");

        // The founder has nobody to join in its settings; it does not found a second ring.
        assert_eq!(first.web.post("/depart").await.status, 200);
        second.is_with(&[&third]).await;
        first.process.ready();
        first.process.on_standby_with_http();
        says(&first.web.get("/query/key").await, 503, "not_in_ring");
        assert_eq!(cluster(&first.web.post("/join").await), ring);
        first.is_with(&[&second, &third]).await;
        assert_eq!(first.web.get("/query/key").await.json()["value"], "value");
        let client =
            chordata_client::Client::connect(std::slice::from_ref(&first.address), Default::default()).await;
        let record = client.unwrap().get(Key::new("key")).await.unwrap().result.unwrap();
        assert_eq!(record.value, Value::from("value"));
    })
    .await;
}

#[tokio::test]
async fn what_join_cannot_do_is_refused_with_the_reason() {
    within(90, async {
        let ring = Spare::start(&[]);
        let here = cluster(&ring.web.post("/join").await);
        let other = ClusterId([8; 16]).to_string();
        let picky = Spare::start(&["--cluster", &other]);
        let refused = picky.join(&[&ring.address]).await;
        says(&refused, 409, "refused");
        assert!(refused.json()["message"].as_str().unwrap().contains(&here), "{refused:?}");

        let spare = Spare::patient("5", &[]);
        says(&spare.join(&[&dead_address()]).await, 503, "unavailable");
        says(&spare.web.send("POST", "/join", &[], "{").await, 400, "bad_request");
        says(&spare.web.send("POST", "/join", &[], r#"{"contacts":["h:0"]}"#).await, 400, "bad_request");
        says(&spare.web.post("/join?now=1").await, 400, "bad_request");
        says(&spare.web.get("/query/key").await, 503, "not_in_ring");
        assert_eq!(cluster(&spare.join(&[&ring.address]).await), here, "nothing of that did any harm");
    })
    .await;
}
