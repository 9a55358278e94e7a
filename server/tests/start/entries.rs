//! What a server on standby has of a ring, and when it loses that: released from the ring that is meant, or given a place
//! in another one, and never before.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chordata_client::{Client, Config};
use chordata_protocol::{Consistency, Value};
use chordata_rpc::net::{BoxStream, Listener};
use chordata_rpc::preamble::{Service, introduce};
use chordata_rpc::service::{ClusterId, Error};
use chordata_rpc::standby::{JoinWish, LoadOrder, Standing};
use chordata_rpc::{Credentials, Net, TcpNet, within as deadline};
use chordata_server::settings::{ConsistencySetting, DurabilitySetting};
use chordata_server::standby::{News, Over, open};
use chordata_server::{Settings, StartError, start};
use futures::future::BoxFuture;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::standby::{
    CLUSTER, Spare, client, enter, fill, found, join, key, names_in, outsider, standing, verify, whole,
};
use crate::support::process::Process;
use crate::support::{CALL, WHOLE_WITHIN, dead_address, eventually, free_port, within};

const OTHER: ClusterId = ClusterId([8; 16]);

/// The line of a server's identity that names its store.
fn store_in(data: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data.join("identity.toml")).ok()?;
    text.lines().find(|line| line.starts_with("store = ")).map(str::to_owned)
}

fn nowhere(cluster: Option<ClusterId>) -> JoinWish {
    JoinWish::Join { contacts: vec![dead_address()], cluster, placement: None }
}

fn belongs_to(said: &Standing) -> (bool, Option<ClusterId>) {
    (said.seat.is_some(), said.belongs_to)
}

#[tokio::test]
async fn it_is_released_from_the_cluster_that_is_meant_and_from_no_other() {
    within(120, async {
        let mut spare = Spare::start("a");
        let outsider = outsider();
        let process = outsider.standby(&spare.address);
        let release = async |cluster| process.release(deadline(CALL), cluster).await.unwrap();
        enter(&outsider, &spare, found(Some(Consistency::Chain))).await.unwrap();
        client(&[&spare]).await.put(key(1), Value::from("kept")).await.unwrap();
        let store = store_in(&spare.data()).expect("it keeps who it is");

        // In the ring: an order that means another one, or none, changes nothing.
        for meant in [Some(OTHER), None] {
            let refused = release(meant).await;
            assert!(matches!(refused, Err(Error::AlreadyMember(_, CLUSTER))), "{refused:?}");
        }
        let order = LoadOrder { number: 1, cluster: OTHER, file: "t.csv".to_owned(), key: "k".to_owned() };
        let refused = process.load(deadline(CALL), order).await.unwrap();
        assert!(matches!(refused, Err(Error::AlreadyMember(_, CLUSTER))), "{refused:?}");
        let value = client(&[&spare]).await.get(key(1)).await.unwrap().result.unwrap().value;
        assert_eq!(value, Value::from("kept"));

        // On standby with its store: settings that allow only another cluster keep it out of its ring.
        let usual = spare.arguments.clone();
        spare.arguments.extend(["--cluster".to_owned(), OTHER.to_string()]);
        spare.restart();
        spare.process.on_standby();
        let outsider = crate::standby::outsider();
        let process = outsider.standby(&spare.address);
        let release = async |cluster| process.release(deadline(CALL), cluster).await.unwrap();
        assert_eq!(belongs_to(&standing(&outsider, &spare).await), (false, Some(CLUSTER)));
        for meant in [Some(OTHER), None] {
            let refused = release(meant).await;
            assert!(matches!(refused, Err(Error::AlreadyMember(_, CLUSTER))), "{refused:?}");
        }
        assert_eq!(store_in(&spare.data()), Some(store.clone()));

        // On its way elsewhere: who means the former ring does not stop it, and who stops it does not erase that.
        let attempt = tokio::spawn({
            let process = process.clone();
            async move { process.enter(deadline(CALL * 3), nowhere(Some(OTHER))).await.unwrap() }
        });
        eventually("it is on its way", WHOLE_WITHIN, async || {
            let said = standing(&outsider, &spare).await;
            let is_so = said.entering && said.belongs_to == Some(OTHER);
            if is_so { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .await;
        let refused = release(Some(CLUSTER)).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        assert_eq!(release(Some(OTHER)).await, Ok(()));
        assert!(attempt.await.unwrap().is_err());
        assert_eq!(store_in(&spare.data()), Some(store));

        // Released from its own it has nothing left.
        assert_eq!(release(Some(CLUSTER)).await, Ok(()));
        assert_eq!(names_in(&spare.data()), ["lock"]);
        assert_eq!(belongs_to(&standing(&outsider, &spare).await), (false, None));
        spare.arguments = usual;
        spare.restart();
        spare.process.on_standby();
    })
    .await;
}

#[tokio::test]
async fn a_store_stays_until_there_is_another_place_and_goes_back_to_its_own_ring() {
    within(150, async {
        let mut first = Spare::start("a");
        let mut second = Spare::begin("b", &["--join-timeout", "1"]);
        second.process.on_standby();
        let outsider = outsider();
        enter(&outsider, &first, found(Some(Consistency::Eventual))).await.unwrap();
        enter(&outsider, &second, join(&first)).await.unwrap();
        whole(&[&first, &second]).await;
        fill(&client(&[&first]).await).await;
        let (seat, store) = (standing(&outsider, &second).await.seat, store_in(&second.data()));

        // Both end. A stranger at the first one's port keeps the second one out.
        let home = tempfile::tempdir().unwrap();
        let port = first.address.port().unwrap().to_string();
        first.process.kill();
        second.process.kill();
        let stranger = ["--port", &port, "--cluster", &OTHER.to_string()].map(str::to_owned);
        let mut stranger = Process::start(home.path(), &stranger, &[]);
        stranger.ready();
        second.restart();
        second.process.on_standby();
        let outsider = crate::standby::outsider();
        assert_eq!(store_in(&second.data()), store);

        // What cannot be, and what does not come about, costs nothing.
        let JoinWish::Found { mut settings, .. } = found(None) else { panic!() };
        settings.bits = 200;
        let refused = enter(&outsider, &second, JoinWish::Found { settings, id: None }).await;
        assert!(matches!(refused, Err(Error::NotSupported(_))), "{refused:?}");
        for wish in [nowhere(Some(OTHER)), nowhere(Some(CLUSTER)), nowhere(None), join(&first)] {
            let refused = enter(&outsider, &second, wish).await;
            assert!(refused.is_err(), "{refused:?}");
            assert_eq!(store_in(&second.data()), store);
            assert_eq!(belongs_to(&standing(&outsider, &second).await), (false, Some(CLUSTER)));
        }

        // Told to go to its own ring, it is back there as the node that it was, also if the ring was not named.
        stranger.kill();
        first.restart();
        first.process.ready();
        let contacts = vec![first.address.clone()];
        let me = enter(&outsider, &second, JoinWish::Join { contacts, cluster: None, placement: None }).await;
        assert_eq!(Some(me.unwrap()), seat.map(|seat| seat.me));
        assert_eq!(store_in(&second.data()), store);
        whole(&[&first, &second]).await;
        verify(&client(&[&second]).await).await;
    })
    .await;
}

/// A network that lets a server connect so many times.
struct Rationed {
    left: AtomicUsize,
}

impl Net for Rationed {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, std::io::Result<BoxStream>> {
        let one_less = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_err() {
            return Box::pin(async { Err(ErrorKind::ConnectionRefused.into()) });
        }
        TcpNet.connect(address)
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, std::io::Result<Box<dyn Listener>>> {
        TcpNet.listen(address)
    }
}

#[tokio::test]
async fn whoever_was_admitted_and_did_not_get_in_keeps_its_store_and_comes_back_as_that_member() {
    within(
        120,
        Box::pin(async {
            let first = Spare::start("a");
            let outsider = outsider();
            enter(&outsider, &first, found(Some(Consistency::Chain))).await.unwrap();
            fill(&client(&[&first]).await).await;
            let home = tempfile::tempdir().unwrap();
            let data = home.path().join("data");
            let settings = Settings {
                port: Some(free_port()),
                data: Some(data.clone()),
                standby: Some(true),
                join_timeout: Some(5.0),
                stabilize_ms: Some(100),
                ..Settings::default()
            };
            // It can ask for a place, and then reaches nobody any more.
            let net = Arc::new(Rationed { left: AtomicUsize::new(1) });
            let (seat, occupant) = open(settings.resolve().unwrap(), net.clone()).await.unwrap();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let life = occupant.run(async { drop(stopped.await) }, |_: News<'_>| ());
            let story = async {
                let failed = seat.join(join(&first)).await;
                assert!(
                    matches!(&failed, Err(Error::Unavailable(why)) if why.contains("place")),
                    "{failed:?}"
                );
                let store = store_in(&data).expect("chains may count on what it has");
                let said = seat.standing();
                assert!(said.entering && said.belongs_to == Some(CLUSTER), "{said:?}");
                let known = std::fs::read_to_string(data.join("known.toml")).unwrap();
                assert!(known.contains(first.address.as_str()), "where to return to after a crash: {known}");

                net.left.store(usize::MAX, Ordering::Release);
                eventually("it is in the ring", WHOLE_WITHIN, async || {
                    let said = seat.standing();
                    if said.seat.is_some() { Ok(()) } else { Err(format!("{said:?}")) }
                })
                .await;
                assert_eq!(store_in(&data), Some(store));
                let addresses = vec![first.address.clone(), seat.standing().address];
                let client = Client::connect(&addresses, Config::default()).await.unwrap();
                eventually("both are one ring", WHOLE_WITHIN, async || {
                    let view = client.view_from(addresses.clone()).await;
                    let is_so = view.is_whole() && view.members().len() == 2;
                    if is_so { Ok(()) } else { Err(format!("{:?}", view.problems())) }
                })
                .await;
                verify(&client).await;
                stop.send(()).unwrap();
            };
            let (over, ()) = tokio::join!(Box::pin(life), Box::pin(story));
            assert!(matches!(over, Over::Told));
        }),
    )
    .await;
}

#[tokio::test]
async fn whoever_is_killed_right_after_its_admission_knows_where_to_return() {
    within(120, async {
        let (first, mut second) = (Spare::start("a"), Spare::start("b"));
        let outsider = outsider();
        enter(&outsider, &first, found(Some(Consistency::Chain))).await.unwrap();
        let attempt = tokio::spawn({
            let (process, wish) = (outsider.standby(&second.address), join(&first));
            async move { process.enter(deadline(CALL), wish).await }
        });
        let identity = second.data().join("identity.toml");
        let deadline = std::time::Instant::now() + WHOLE_WITHIN;
        while !identity.exists() {
            assert!(std::time::Instant::now() < deadline, "{}", second.process.log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        second.process.kill();
        let known = std::fs::read_to_string(second.data().join("known.toml")).unwrap();
        assert!(known.contains(first.address.as_str()), "{known}");
        // It may have been in the ring for a moment.
        let _ = attempt.await.unwrap();
        second.restart();
        second.process.ready();
        whole(&[&first, &second]).await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_to_a_server_on_standby_is_none_to_the_ring_that_it_enters() {
    within(60, async {
        let spare = Spare::start("a");
        let mut stream = TcpStream::connect(spare.address.as_str()).await.unwrap();
        let identity = introduce(&mut stream, Service::Client, &Credentials::default(), CALL).await.unwrap();
        assert_eq!(identity.cluster, None, "it is in none");
        enter(&outsider(), &spare, found(Some(Consistency::Chain))).await.unwrap();
        let mut byte = [0; 1];
        let ended = tokio::time::timeout(CALL, stream.read(&mut byte)).await.expect("it ends");
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    })
    .await;
}

#[tokio::test]
async fn a_start_that_fails_leaves_nothing_running() {
    within(60, async {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        // Nobody can write down who it is.
        std::fs::create_dir_all(data.join("identity.toml.new")).unwrap();
        let settings = Settings {
            port: Some(0),
            data: Some(data.clone()),
            consistency: Some(ConsistencySetting::Chain),
            durability: Some(DurabilitySetting::Sync),
            ..Settings::default()
        };
        let failed = start(settings.clone().resolve().unwrap(), Arc::new(TcpNet)).await;
        // Looked at before anything else of this process gets its turn.
        let group = std::fs::File::open(data.join("raft/raft.redb")).unwrap();
        assert!(group.try_lock().is_ok(), "its group goes on");
        drop(group);
        assert!(matches!(failed.map(|_| ()), Err(StartError::Data(_))));
        // The group that nobody belongs to is in nobody's way.
        std::fs::remove_dir(data.join("identity.toml.new")).unwrap();
        let started = start(settings.resolve().unwrap(), Arc::new(TcpNet)).await;
        started.map_err(|error| error.to_string()).unwrap().stop().await;
    })
    .await;
}
