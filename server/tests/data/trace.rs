//! Watching a request travel: a line for each hop, on the node that took it, all with one number.

use std::collections::{BTreeMap, BTreeSet};

use chordata_client::Routing;
use chordata_protocol::{Address, Policy};

use crate::support::ring::TestRing;
use crate::support::{PATIENT, WHOLE_WITHIN, entry, eventually, within};

/// The lines of all requests in the log, by the request's number.
fn requests(log: &str) -> BTreeMap<String, Vec<String>> {
    let mut requests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in log.lines() {
        let Some((_, rest)) = line.split_once("request ") else { continue };
        let Some((number, said)) = rest.split_once(": ") else { continue };
        requests.entry(number.to_owned()).or_default().push(said.to_owned());
    }
    requests
}

#[tokio::test]
async fn each_hop_of_a_put_is_one_line_on_the_node_that_took_it_with_one_number() {
    within(120, async {
        let flags: Vec<&'static str> = PATIENT.into_iter().chain(["--trace-requests"]).collect();
        let ring = TestRing::start(6, &flags).await;
        let client = ring.client().await;
        let entry_node = ring.servers[0].address.clone();
        let through = client.through(entry_node.clone(), Routing::Entry(Policy::Successor), true);
        let located = client.through(entry_node.clone(), Routing::Client(Policy::Successor), true);
        let (mut far, mut length) = (0, 0);
        for number in 0..30 {
            let id = entry(number).0.id(client.space());
            let hops = located.locate(id, Policy::Successor).await.unwrap().path.len();
            if hops > length {
                (far, length) = (number, hops);
            }
        }
        assert!(length >= 3, "no key is far from the entry");

        let (key, value) = entry(far);
        let answer = through.put(key.clone(), value).await.unwrap();
        let hops: Vec<Address> = answer.trip.path.iter().map(|hop| hop.peer.address.clone()).collect();
        assert_eq!(hops.len(), length);

        let number = eventually("the entry node has logged the put", WHOLE_WITHIN, async || {
            let requests = requests(&ring.servers[0].process.log());
            let entered = requests.iter().find(|(_, lines)| {
                lines.iter().any(|line| line.starts_with("put") && line.contains("entered here"))
            });
            entered.map(|(number, _)| number.clone()).ok_or_else(|| format!("{requests:?}"))
        })
        .await;
        eventually("every hop is logged where it was taken", WHOLE_WITHIN, async || {
            let mut seen = BTreeSet::new();
            for server in &ring.servers {
                let lines = requests(&server.process.log()).remove(&number).unwrap_or_default();
                let finds = lines.iter().filter(|line| line.starts_with("find")).count();
                let on_path = hops.contains(&server.address);
                if finds > 1 || (finds > 0) != (on_path && server.address != entry_node) {
                    // The entry asks itself without a message: its line is "entered here".
                    if !(server.address == entry_node && finds <= 1) {
                        return Err(format!("{}: {lines:?}, path {hops:?}", server.address));
                    }
                }
                let writes = lines.iter().filter(|line| line.contains("done here")).count();
                if writes != usize::from(server.address == answer.trip.owner.address) {
                    return Err(format!("{} wrote {writes} times: {lines:?}", server.address));
                }
                if !lines.is_empty() {
                    seen.insert(server.address.clone());
                }
            }
            let expected: BTreeSet<Address> = hops.iter().cloned().collect();
            if seen == expected { Ok(()) } else { Err(format!("{seen:?} instead of {expected:?}")) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn two_requests_have_two_numbers_and_without_the_flag_nothing_is_logged() {
    within(90, async {
        let traced = TestRing::start(1, &["--trace-requests"]).await;
        let silent = TestRing::start(1, &[]).await;
        for ring in [&traced, &silent] {
            let client = ring.client().await;
            client.put(entry(1).0, entry(1).1).await.unwrap();
            client.get(entry(1).0).await.unwrap();
        }
        let of = |what: &str| {
            let requests = requests(&traced.servers[0].process.log());
            let mut found = requests
                .into_iter()
                .filter(|(_, lines)| {
                    lines.iter().any(|line| line.starts_with(what) && line.contains("done here"))
                })
                .map(|(number, _)| number);
            (found.next(), found.next())
        };
        let ((Some(put), None), (Some(get), None)) = (of("put"), of("get")) else {
            panic!("{}", traced.servers[0].process.log())
        };
        assert_ne!(put, get);
        assert_eq!(requests(&silent.servers[0].process.log()), BTreeMap::new());
    })
    .await;
}
