//! Audits: what differs and stays different is found, and what is only on its way is not.

use chordata_client::audit::ProblemKind;
use chordata_client::{Client, Config};
use chordata_protocol::chain::Epoch;
use chordata_protocol::{Address, Id, Key, Range, Value};
use chordata_rpc::service::{DigestOptions, Error, MarkName};
use chordata_rpc::within as deadline;

use crate::load::Load;
use crate::split::{Cluster, NODES};
use crate::support::{CALL, WHOLE_WITHIN, answer, entry, eventually, within};

async fn becomes_sound(client: &Client, keys: Option<u64>) {
    eventually("the audit finds nothing", WHOLE_WITHIN, async || {
        let audit = client.audit().await.map_err(|failure| failure.to_string())?;
        let compared: u64 = audit.ranges.iter().map(|range| range.keys).sum();
        let is_complete = audit.ranges.len() == NODES && keys.is_none_or(|keys| keys == compared);
        if audit.is_sound() && is_complete { Ok(()) } else { Err(format!("{compared}: {audit:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_side_of_a_split_wrote_is_found_until_both_are_equal_again() {
    within(
        200,
        Box::pin(async {
            let cluster = Cluster::start(NODES).await;
            let addresses = cluster.addresses();
            let client = Client::connect(&addresses, Config::default()).await.unwrap();
            for (key, value) in (0..300).map(entry) {
                client.put(key, value).await.unwrap();
            }
            becomes_sound(&client, Some(300)).await;
            let (left, _) = addresses.split_at(NODES / 3);
            cluster.gates.part(1, left.iter().map(Address::as_str));
            cluster.rings_of(&[2, 2, 4, 4, 4, 4]).await;
            let side = Client::connect(left, Config::default()).await.unwrap();
            let written: Vec<Key> = (0..30).map(|number| entry(number).0).collect();
            for key in &written {
                side.put(key.clone(), Value::from("left")).await.unwrap();
            }
            let audit = client.audit().await.unwrap();
            let told: Vec<&Key> = audit
                .problems
                .iter()
                .filter(|problem| problem.kind == ProblemKind::Differs)
                .filter_map(|problem| problem.key.as_ref())
                .collect();
            assert!(!told.is_empty(), "{audit:?}");
            assert!(told.iter().all(|key| written.contains(key)), "{told:?}");
            let is_named =
                |problem: &chordata_client::audit::Problem| problem.text.contains("does not give copies to");
            assert!(audit.problems.iter().any(is_named), "{audit:?}");
            // Each side has made replicas of its own: of the whole ring's keys they are at the wrong nodes.
            let strays = |problem: &chordata_client::audit::Problem| problem.kind == ProblemKind::Foreign;
            assert!(audit.problems.iter().any(strays), "{audit:?}");
            cluster.gates.open();
            becomes_sound(&client, Some(300)).await;
            cluster.stop().await;
        }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_is_not_told() {
    within(
        200,
        Box::pin(async {
            let cluster = Cluster::start(NODES).await;
            let addresses = cluster.addresses();
            let client = Client::connect(&addresses, Config::default()).await.unwrap();
            // Half of its clients write through nodes that are no replicas of their keys.
            let mut load = Load::begin(&addresses, Config::default()).await;
            for _ in 0..3 {
                let audit = client.audit().await.unwrap();
                assert!(audit.is_sound(), "{audit:?}");
            }
            let peers = cluster.peers();
            load.end(&client, &peers).await;
            becomes_sound(&client, None).await;
            cluster.stop().await;
        }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digests_are_of_the_store_as_it_is() {
    let test = Box::pin(async {
        let cluster = Cluster::start(NODES).await;
        let addresses = cluster.addresses();
        let client = Client::connect(&addresses, Config::default()).await.unwrap();
        let range = Range { low: Id::ZERO, high: Id::ZERO };
        let digest = async |mark| {
            let options = DigestOptions { mark, range, after: None, ended_by: None };
            answer(client.pool().client(&addresses[0]).digest(deadline(CALL), options).await)
        };
        assert_eq!(digest(None).await.unwrap().digest.count, 0);
        for (key, value) in (0..40).map(entry) {
            client.put(key, value).await.unwrap();
        }
        eventually("it has its copies", WHOLE_WITHIN, async || {
            let page = digest(None).await.unwrap();
            let copies = crate::copies::status(&client, &addresses[0]).await?.keys;
            if page.digest.count > 0 && page.digest.count == copies {
                Ok(())
            } else {
                Err(format!("{copies}"))
            }
        })
        .await;
        let mark = MarkName { epoch: Epoch(1), name: 1 };
        let refused = digest(Some(mark)).await;
        assert!(matches!(&refused, Err(Error::NotSupported(reason)) if reason.contains("eventual mode")));
        cluster.stop().await;
    });
    within(100, test).await;
}
