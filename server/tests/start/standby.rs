//! Servers on standby: into a ring when they are told, out of it, and into the next, on one port all the time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chordata_client::{Client, Config};
use chordata_protocol::{Address, Consistency, Durability, Key, Peer, Replication, Value};
use chordata_rpc::service::{ClusterId, ClusterSettings, Error};
use chordata_rpc::standby::{JoinWish, Standing};
use chordata_rpc::{CallFailure, Credentials, Pool, PoolSettings, TcpNet, within as deadline};

use crate::support::process::Process;
use crate::support::{CALL, WHOLE_WITHIN, dead_address, eventually, free_port, within};

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);

/// A server on standby with a home that outlives its process.
pub(crate) struct Spare {
    pub(crate) home: tempfile::TempDir,
    pub(crate) arguments: Vec<String>,
    pub(crate) process: Process,
    pub(crate) address: Address,
}

impl Spare {
    pub(crate) fn begin(name: &str, more: &[&str]) -> Spare {
        let home = tempfile::tempdir().unwrap();
        let port = free_port().to_string();
        let fixed = ["--port", &port, "--standby", "--name", name, "--data", "data", "--stabilize-ms", "100"];
        let arguments: Vec<String> = fixed.iter().chain(more).map(|text| (*text).to_owned()).collect();
        let process = Process::start(home.path(), &arguments, &[]);
        Spare { home, arguments, process, address: Address::new(&format!("127.0.0.1:{port}")) }
    }

    pub(crate) fn start(name: &str) -> Spare {
        let spare = Spare::begin(name, &[]);
        assert_eq!(spare.process.on_standby(), spare.address);
        spare
    }

    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = Process::start(self.home.path(), &self.arguments, &[]);
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.home.path().join("data")
    }
}

pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn pool(cluster: Option<ClusterId>) -> Pool {
    Pool::new(Arc::new(TcpNet), Credentials::new(cluster, None), PoolSettings::default())
}

/// A pool that never takes a cluster for its own: as a manager has it.
pub(crate) fn outsider() -> Pool {
    let settings = PoolSettings { learn_cluster: false, ..PoolSettings::default() };
    Pool::new(Arc::new(TcpNet), Credentials::default(), settings)
}

pub(crate) async fn standing(pool: &Pool, spare: &Spare) -> Standing {
    pool.standby(&spare.address).standing(deadline(CALL)).await.unwrap()
}

pub(crate) async fn enter(pool: &Pool, spare: &Spare, wish: JoinWish) -> Result<Peer, Error> {
    pool.standby(&spare.address).enter(deadline(CALL * 3), wish).await.unwrap()
}

pub(crate) fn found(consistency: Option<Consistency>) -> JoinWish {
    let replication = consistency.map(|consistency| Replication {
        consistency,
        factor: 3,
        durability: Durability::Sync,
        clean_reads: true,
    });
    let settings = ClusterSettings {
        cluster: CLUSTER,
        bits: 160,
        successors: 4,
        replication,
        lease: Default::default(),
    };
    JoinWish::Found { settings, id: None }
}

pub(crate) fn join(contact: &Spare) -> JoinWish {
    JoinWish::Join { contacts: vec![contact.address.clone()], cluster: Some(CLUSTER), placement: None }
}

pub(crate) async fn client(spares: &[&Spare]) -> Client {
    let addresses: Vec<Address> = spares.iter().map(|spare| spare.address.clone()).collect();
    Client::connect(&addresses, Config::default()).await.unwrap()
}

/// Waits until these are one ring, with nobody else in it.
pub(crate) async fn whole(spares: &[&Spare]) {
    let client = client(spares).await;
    let addresses: Vec<Address> = spares.iter().map(|spare| spare.address.clone()).collect();
    eventually("these servers are one ring", WHOLE_WITHIN, async || {
        let view = client.view_from(addresses.clone()).await;
        let count = view.members().len();
        let whole = view.is_whole() && count == addresses.len();
        if whole { Ok(()) } else { Err(format!("{count} members; {:?}", view.problems())) }
    })
    .await;
}

pub(crate) fn key(number: u32) -> Key {
    Key::new(format!("key {number}").as_str())
}

pub(crate) async fn fill(client: &Client) {
    for number in 0..20 {
        client.put(key(number), Value::from(number.to_string().as_str())).await.unwrap();
    }
}

pub(crate) async fn verify(client: &Client) {
    for number in 0..20 {
        let record = client.get(key(number)).await.unwrap().result.expect("every key is there");
        assert_eq!(record.value, Value::from(number.to_string().as_str()));
    }
}

#[tokio::test]
async fn on_standby_it_says_who_it_is_and_does_nothing_else() {
    within(60, async {
        let spare = Spare::start("alice");
        let outsider = outsider();
        let said = standing(&outsider, &spare).await;
        assert_eq!((said.name.as_deref(), &said.address), (Some("alice"), &spare.address));
        assert!(said.standby && said.keeps_data && !said.entering && said.seat.is_none(), "{said:?}");
        assert_eq!(said.version, env!("CARGO_PKG_VERSION"));

        let stub = outsider.client(&spare.address);
        assert_eq!(stub.status(deadline(CALL)).await.unwrap(), Err(Error::OnStandby));
        let many = stub.get_many(deadline(CALL), vec![key(1), key(2)], Default::default()).await.unwrap();
        assert_eq!(many, [Err(Error::OnStandby), Err(Error::OnStandby)]);
        let left = outsider.standby(&spare.address).leave(deadline(CALL)).await.unwrap();
        assert_eq!(left, Err(Error::OnStandby));

        // Whoever looks for a node of a cluster does not take it for one.
        let member = pool(Some(CLUSTER)).client(&spare.address).status(deadline(CALL)).await;
        let failure = CallFailure::from(member.unwrap_err());
        assert!(matches!(&failure, CallFailure::Unreachable(_, why) if why.contains("standby")), "{failure}");
        assert_eq!(names_in(&spare.data()), ["lock"]);
    })
    .await;
}

#[tokio::test]
async fn servers_found_a_ring_join_it_leave_it_and_join_again_on_the_same_ports() {
    within(200, async {
        for consistency in [Some(Consistency::Chain), Some(Consistency::Eventual)] {
            let spares: Vec<Spare> = ["a", "b", "c", "d"].map(Spare::start).into_iter().collect();
            let outsider = outsider();
            let early = outsider.client(&spares[1].address);
            assert_eq!(early.status(deadline(CALL)).await.unwrap(), Err(Error::OnStandby));

            let first = enter(&outsider, &spares[0], found(consistency)).await.unwrap();
            assert_eq!(first.address, spares[0].address);
            for spare in &spares[1..] {
                enter(&outsider, spare, join(&spares[0])).await.unwrap();
            }
            let all: Vec<&Spare> = spares.iter().collect();
            whole(&all).await;
            let client = client(&all).await;
            fill(&client).await;

            // Who asked before is answered by the node, on a connection that knows it, and another cluster is refused.
            assert!(early.status(deadline(CALL)).await.unwrap().is_ok());
            let other =
                pool(Some(ClusterId([8; 16]))).client(&spares[1].address).status(deadline(CALL)).await;
            let failure = CallFailure::from(other.unwrap_err());
            assert!(matches!(failure, CallFailure::Rejected(..)), "{failure}");

            // Told again it is there already; to be somewhere else it would have to leave first.
            let again = enter(&outsider, &spares[1], join(&spares[0])).await.unwrap();
            assert_eq!(again.address, spares[1].address);
            let elsewhere = JoinWish::Join {
                contacts: vec![spares[0].address.clone()],
                cluster: Some(ClusterId([9; 16])),
                placement: None,
            };
            let refused = enter(&outsider, &spares[1], elsewhere).await;
            assert!(matches!(refused, Err(Error::AlreadyMember(..))), "{refused:?}");

            // One leaves, as any client may ask: its process stays, with nothing of what it was.
            client.pool().client(&spares[3].address).depart(deadline(CALL * 3)).await.unwrap().unwrap();
            eventually("it is on standby with an empty directory", WHOLE_WITHIN, async || {
                let said = standing(&outsider, &spares[3]).await;
                let names = names_in(&spares[3].data());
                let fresh = said.seat.is_none() && names == ["lock"];
                if fresh { Ok(()) } else { Err(format!("{said:?} {names:?}")) }
            })
            .await;
            assert!(standing(&outsider, &spares[3]).await.last.is_some_and(|why| why.contains("departed")));
            whole(&all[..3]).await;
            verify(&client).await;

            // It joins again as a new node, and the founder leaves by the other way: the data stays whole.
            enter(&outsider, &spares[3], join(&spares[1])).await.unwrap();
            whole(&all).await;
            outsider.standby(&spares[0].address).leave(deadline(CALL * 3)).await.unwrap().unwrap();
            assert!(standing(&outsider, &spares[0]).await.seat.is_none());
            whole(&all[1..]).await;
            verify(&client).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_member_that_was_killed_comes_back_into_its_ring_with_its_keys() {
    within(120, async {
        let mut spares: Vec<Spare> = ["a", "b", "c"].map(Spare::start).into_iter().collect();
        let outsider = outsider();
        enter(&outsider, &spares[0], found(Some(Consistency::Chain))).await.unwrap();
        for spare in &spares[1..] {
            enter(&outsider, spare, join(&spares[0])).await.unwrap();
        }
        whole(&spares.iter().collect::<Vec<_>>()).await;
        fill(&client(&[&spares[0]]).await).await;
        let before = standing(&outsider, &spares[1]).await.seat.expect("it is in the ring");
        for spare in &mut spares {
            spare.restart();
        }
        for spare in &spares {
            spare.process.ready();
        }
        let all: Vec<&Spare> = spares.iter().collect();
        whole(&all).await;
        assert_eq!(standing(&outsider, &spares[1]).await.seat, Some(before));
        verify(&client(&all).await).await;
    })
    .await;
}

#[tokio::test]
async fn released_it_forgets_everything_and_can_found_another_ring() {
    within(120, async {
        let spare = Spare::start("a");
        let outsider = outsider();
        let process = outsider.standby(&spare.address);
        assert_eq!(
            process.release(deadline(CALL), Some(CLUSTER)).await.unwrap(),
            Ok(()),
            "on standby there is nothing to do"
        );
        for consistency in [Some(Consistency::Chain), Some(Consistency::Eventual), None] {
            enter(&outsider, &spare, found(consistency)).await.unwrap();
            let client = client(&[&spare]).await;
            client.put(key(1), Value::from("old")).await.unwrap();
            assert_eq!(process.release(deadline(CALL), Some(CLUSTER)).await.unwrap(), Ok(()));
            assert_eq!(names_in(&spare.data()), ["lock"]);
            let said = standing(&outsider, &spare).await;
            assert!(said.seat.is_none() && said.last.is_some_and(|why| why.contains("released")));
            // What its node was connected to is no way into what comes next.
            let late = client.pool().client(&spare.address).status(deadline(CALL)).await;
            assert!(late.is_err() || late.as_ref().is_ok_and(Result::is_err), "{late:?}");
        }
        enter(&outsider, &spare, found(Some(Consistency::Chain))).await.unwrap();
        assert_eq!(client(&[&spare]).await.get(key(1)).await.unwrap().result, None);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_fails_or_is_given_up_leaves_it_on_standby() {
    within(120, async {
        let spare = Spare::begin("a", &["--join-timeout", "1"]);
        spare.process.on_standby();
        let outsider = outsider();
        let nobody = || JoinWish::Join { contacts: vec![dead_address()], cluster: None, placement: None };
        let failed = enter(&outsider, &spare, nobody()).await;
        assert!(
            matches!(&failed, Err(Error::Unavailable(why)) if why.contains("no ring to join")),
            "{failed:?}"
        );
        assert!(standing(&outsider, &spare).await.last.is_some_and(|why| why.contains("no ring to join")));

        let patient = Spare::start("b");
        let process = outsider.standby(&patient.address);
        let attempt = tokio::spawn({
            let process = process.clone();
            async move { process.enter(deadline(CALL * 3), nobody()).await.unwrap() }
        });
        eventually("it is on its way", WHOLE_WITHIN, async || {
            if standing(&outsider, &patient).await.entering { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        let second = enter(&outsider, &patient, nobody()).await;
        assert!(matches!(second, Err(Error::Unavailable(_))), "{second:?}");
        assert_eq!(process.release(deadline(CALL), None).await.unwrap(), Ok(()));
        let given_up = attempt.await.unwrap();
        assert!(
            matches!(&given_up, Err(Error::Unavailable(why)) if why.contains("told to leave")),
            "{given_up:?}"
        );
        assert!(!standing(&outsider, &patient).await.entering);
        enter(&outsider, &patient, found(None)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_forgotten_member_is_on_standby_and_says_why_also_when_it_was_away() {
    within(120, async {
        let mut spares: Vec<Spare> = ["a", "b", "c", "d"].map(Spare::start).into_iter().collect();
        let outsider = outsider();
        enter(&outsider, &spares[0], found(Some(Consistency::Chain))).await.unwrap();
        for spare in &spares[1..] {
            enter(&outsider, spare, join(&spares[0])).await.unwrap();
        }
        whole(&spares.iter().collect::<Vec<_>>()).await;
        let client = client(&[&spares[0]]).await;
        fill(&client).await;
        let place = standing(&outsider, &spares[3]).await.seat.expect("it is in the ring").me.id;
        let asked = client.pool().client(&spares[0].address).forget(deadline(CALL), place).await.unwrap();
        assert_eq!(asked, Ok(()));
        for restarted in [false, true] {
            if restarted {
                // Its directory is as it was: it looks for its ring, and learns the same again.
                spares[3].restart();
            }
            eventually("it knows that it was forgotten", WHOLE_WITHIN, async || {
                let said = outsider.standby(&spares[3].address).standing(deadline(CALL)).await;
                let said = said.map_err(|error| error.to_string())?;
                let knows =
                    said.seat.is_none() && said.last.as_ref().is_some_and(|why| why.contains("forgotten"));
                if knows { Ok(()) } else { Err(format!("{said:?}")) }
            })
            .await;
        }
        // As a new node it may join.
        enter(&outsider, &spares[3], join(&spares[0])).await.unwrap();
        whole(&spares.iter().collect::<Vec<_>>()).await;
        verify(&client).await;
    })
    .await;
}

#[tokio::test]
async fn a_usual_server_says_how_it_is_and_is_told_nothing() {
    within(60, async {
        let home = tempfile::tempdir().unwrap();
        let arguments = ["--port", "0", "--cluster", &CLUSTER.to_string()].map(str::to_owned);
        let process = Process::start(home.path(), &arguments, &[]);
        let (id, address) = process.ready();
        let outsider = outsider();
        let stub = outsider.standby(&address);
        let said = stub.standing(deadline(CALL)).await.unwrap();
        let seat = said.seat.expect("it is in a ring");
        assert_eq!((seat.me, seat.cluster, said.standby), (Peer::new(id, address), CLUSTER, false));
        let told = stub.enter(deadline(CALL), found(None)).await.unwrap();
        assert!(matches!(told, Err(Error::NotSupported(_))), "{told:?}");
        let told = stub.release(deadline(CALL), Some(CLUSTER)).await.unwrap();
        assert!(matches!(told, Err(Error::NotSupported(_))), "{told:?}");
        let left = tokio::time::timeout(Duration::from_secs(20), stub.leave(deadline(CALL))).await;
        assert!(matches!(left, Ok(Ok(Err(Error::Unavailable(_))))), "the last node stays: {left:?}");
    })
    .await;
}
