//! The quorum of the coordinator's group is lost for good, and the group is rebuilt from what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chordata_client::look::View;
use chordata_client::{Client, Config};
use chordata_protocol::{Address, Key};
use chordata_rpc::service::{ChainStatus, Error};

use crate::ring::{SYNC, audit, blocking, chains, replicas, whole};
use crate::support::ring::{TestRing, status, stub};
use crate::support::{CALL, WHOLE_WITHIN, answer, entry, eventually, within};

const KEYS: usize = 60;
/// A little longer than servers insist on.
const UNLED_FOR: Duration = Duration::from_millis(5200);
/// A client that soon gives up.
const IMPATIENCE: Duration = Duration::from_millis(500);

async fn chain_of(client: &Client, ring: &TestRing, place: usize) -> ChainStatus {
    status(client, &ring.servers[place]).await.chain.unwrap()
}

/// Waits until all of these vote, by their own account.
async fn all_vote(client: &Client, ring: &TestRing) {
    let wanted = ring.servers.len();
    eventually("all of them vote", WHOLE_WITHIN, async || {
        for place in 0..wanted {
            let voters = chain_of(client, ring, place).await.voters.len();
            if voters != wanted {
                return Err(format!("{voters} voters of {wanted}"));
            }
        }
        Ok(())
    })
    .await;
}

fn refusal<T>(answer: Result<T, Error>) -> Option<String> {
    match answer {
        Ok(_) => None,
        Err(Error::Unavailable(reason)) => Some(reason),
        Err(error) => panic!("{error:?}"),
    }
}

/// Has the group rebuilt by whoever has the newest view, once it has been without a leader for long enough.
async fn rebuild(client: &Client, ring: &TestRing) -> usize {
    eventually("the group is rebuilt", WHOLE_WITHIN, async || {
        let mut newest = (0, 0);
        for place in 0..ring.servers.len() {
            let index = chain_of(client, ring, place).await.view.unwrap().index;
            newest = newest.max((index, place));
        }
        let (index, place) = newest;
        let other = stub(client, &ring.servers[place]).recover_quorum(context(), index + 1).await;
        assert!(refusal(answer(other)).is_some(), "a view that it does not have");
        match answer(stub(client, &ring.servers[place]).recover_quorum(context(), index).await) {
            Ok(first) => {
                assert!(first > index);
                Ok(place)
            }
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

/// Two operators want it at the same moment: how many of them were obeyed.
async fn both_rebuild(client: &Client, ring: &TestRing) -> usize {
    let mut indexes = Vec::new();
    eventually("nobody is led any more", WHOLE_WITHIN, async || {
        indexes.clear();
        for place in 0..ring.servers.len() {
            let chain = chain_of(client, ring, place).await;
            if chain.unled_for < UNLED_FOR {
                return Err(format!("{:?}", chain.unled_for));
            }
            indexes.push(chain.view.unwrap().index);
        }
        Ok(())
    })
    .await;
    let asked = ring.servers.iter().zip(&indexes).map(|(server, index)| {
        let stub = stub(client, server);
        async move { answer(stub.recover_quorum(context(), *index).await) }
    });
    let answers = futures::future::join_all(asked).await;
    let obeyed = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(obeyed <= 1, "two groups: {answers:?}");
    println!("{obeyed} of {} obeyed at once: {answers:?}", answers.len());
    obeyed
}

fn context() -> tarpc::context::Context {
    chordata_rpc::within(CALL)
}

/// The keys of which one of these had a serving replica.
fn with_a_survivor(view: &View, client: &Client, survivors: &[Address]) -> BTreeSet<Key> {
    let keys = (0..KEYS).map(|number| entry(number).0);
    keys.filter(|key| replicas(view, client, key).iter().any(|address| survivors.contains(address))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_five_voters_are_gone_for_good_and_the_others_go_on_with_what_they_have() {
    within(240, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let client = ring.client().await;
        all_vote(&client, &ring).await;
        for outcome in client.put_many((0..KEYS).map(entry).collect()).await {
            outcome.unwrap();
        }
        let view = ring.whole().await;
        let index = chains(&view).index;
        let led = stub(&client, &ring.servers[3]).recover_quorum(context(), index).await;
        let reason = refusal(answer(led)).unwrap();
        assert!(reason.contains("was answered by the coordinator"), "{reason}");

        // Three die with their disks.
        let dead: Vec<_> = ring.servers.drain(..3).collect();
        let dead_ids: Vec<_> = dead.iter().map(|server| server.id).collect();
        blocking(|| drop(dead));
        let survivors = ring.addresses();
        let kept = with_a_survivor(&view, &client, &survivors);
        assert!(!kept.is_empty() && kept.len() >= KEYS / 2, "{} keys", kept.len());
        let touched = kept.first().unwrap();
        let config = Config { patience: IMPATIENCE, ..Config::default() };
        let hasty = Client::connect(&survivors, config).await.unwrap();
        eventually("writes are refused", WHOLE_WITHIN, async || {
            // It may be stored by an attempt whose end nobody knows: what this one key has is not looked at below.
            let put = hasty.put(touched.clone(), entry(0).1).await;
            if put.is_err() { Ok(()) } else { Err(format!("{touched} was written")) }
        })
        .await;

        let client = ring.client().await;
        if both_rebuild(&client, &ring).await == 0 {
            rebuild(&client, &ring).await;
        }
        for id in dead_ids {
            let forgotten = eventually("it is forgotten", WHOLE_WITHIN, async || {
                answer(stub(&client, &ring.servers[0]).forget(context(), id).await).map_err(|e| e.to_string())
            });
            forgotten.await;
        }
        eventually("every range is served", WHOLE_WITHIN, async || {
            let unserved = client.view().await.unserved();
            if unserved.is_empty() {
                return Ok(());
            }
            // What has no survivor is opened again by an operator's word, which stands for a while only.
            let accepted = answer(stub(&client, &ring.servers[0]).recover(context()).await);
            accepted.map_err(|error| error.to_string())?;
            Err(format!("{unserved:?}"))
        })
        .await;
        let view = whole(&ring, "the dead were forgotten").await;
        assert_eq!(chains(&view).members.len(), 2);
        let client = ring.client().await;
        let mut expected = BTreeMap::new();
        for number in 0..KEYS {
            let (key, value) = entry(number);
            let found = client.get(key.clone()).await.unwrap().result;
            if kept.contains(&key) && key != *touched {
                assert_eq!(found.as_ref().map(|record| &record.value), Some(&value), "{key} has a survivor");
            }
            client.put(key.clone(), value.clone()).await.unwrap();
            expected.insert(key.clone(), client.get(key).await.unwrap().result);
        }
        audit(&ring, &expected).await;
        let audited = client.audit().await.unwrap();
        assert!(audited.is_sound(), "{:?}", audited.problems);
        // The group goes on growing as any other does.
        ring.add();
        whole(&ring, "one more joined").await;
        all_vote(&client, &ring).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_was_away_meanwhile_leaves_the_old_group_for_the_rebuilt_one() {
    within(200, async {
        let mut ring = TestRing::start(3, SYNC).await;
        let client = ring.client().await;
        all_vote(&client, &ring).await;
        for outcome in client.put_many((0..KEYS).map(entry).collect()).await {
            outcome.unwrap();
        }
        let mut away: Vec<_> = ring.servers.drain(..2).collect();
        blocking(|| away.iter_mut().for_each(|server| server.process.kill()));
        let client = ring.client().await;
        rebuild(&client, &ring).await;
        // One comes back after all, with its part in a group that was given up; then the other.
        for mut server in away {
            blocking(|| server.start_again());
            ring.servers.push(server);
            let client = ring.client().await;
            eventually("it votes in the rebuilt group", WHOLE_WITHIN, async || {
                let here = chain_of(&client, &ring, 0).await.voters;
                let there = chain_of(&client, &ring, ring.servers.len() - 1).await;
                if here.contains(&there.store) && there.voters == here {
                    return Ok(());
                }
                Err(format!("{here:?} vote; by the account of {}: {:?}", there.store, there.voters))
            })
            .await;
        }
        whole(&ring, "all were back").await;
        let client = ring.client().await;
        for number in 0..KEYS {
            let (key, value) = entry(number);
            let found = client.get(key.clone()).await.unwrap().result;
            assert_eq!(found.map(|record| record.value), Some(value), "{key}");
        }
        let audited = client.audit().await.unwrap();
        assert!(audited.is_sound(), "{:?}", audited.problems);
    })
    .await;
}
