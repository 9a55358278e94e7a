//! The seven methods that name the system, on rings of 1, 2, 5 and 16.

use chordata_client::Client;
use chordata_protocol::{Id, Placement, Space};
use chordata_rpc::service::{ConnInfo, Error, Joiner, Options};
use chordata_rpc::within as deadline;
use futures::future::join_all;

use crate::support::ring::{Server, TestRing, stub};
use crate::support::{CALL, PATIENT, answer, dead_address, entry, within};

#[tokio::test]
async fn all_seven_methods_work_on_a_ring_of_1() {
    within(90, Box::pin(all_seven_methods_work_on_a_ring_of(1))).await;
}

#[tokio::test]
async fn all_seven_methods_work_on_a_ring_of_2() {
    within(90, Box::pin(all_seven_methods_work_on_a_ring_of(2))).await;
}

#[tokio::test]
async fn all_seven_methods_work_on_a_ring_of_5() {
    within(90, Box::pin(all_seven_methods_work_on_a_ring_of(5))).await;
}

#[tokio::test]
async fn all_seven_methods_work_on_a_ring_of_16() {
    within(150, Box::pin(all_seven_methods_work_on_a_ring_of(16))).await;
}

async fn all_seven_methods_work_on_a_ring_of(count: usize) {
    let ring = TestRing::start(count, &PATIENT).await;
    let client = ring.client().await;
    numbers_go_around_from_the_lowest_id(&ring, &client).await;
    every_attribute_of_every_node_can_be_asked_for(&ring, &client).await;
    what_is_put_at_one_node_is_got_at_all(&ring, &client).await;
    refreshing_all_fingers_from_everywhere_at_once_ends(&ring, &client).await;
    two_joiners_at_once_get_two_places_and_taken_ones_are_refused(&ring, &client).await;
}

async fn conn_info(client: &Client, server: &Server) -> Vec<ConnInfo> {
    let numbered = answer(stub(client, server).get_conn_info(deadline(CALL)).await).unwrap();
    assert!(!numbered.stale, "nothing has changed since the ring was whole");
    numbered.value
}

async fn numbers_go_around_from_the_lowest_id(ring: &TestRing, client: &Client) {
    let count = u32::try_from(ring.servers.len()).unwrap();
    let last = ring.servers.last().expect("a ring has servers");
    let numbering = answer(stub(client, last).update_numbers(deadline(CALL)).await).unwrap();
    assert_eq!((numbering.count, numbering.told), (count, count));

    let expected = conn_info(client, &ring.servers[0]).await;
    let numbers: Vec<u32> = expected.iter().map(|node| node.number).collect();
    assert_eq!(numbers, (0..count).collect::<Vec<u32>>());
    let ids: Vec<Id> = expected.iter().map(|node| node.id).collect();
    assert_eq!(ids, ring.ids(), "number 0 has the lowest id");
    for (place, node) in expected.iter().enumerate() {
        let server = ring.servers.iter().find(|server| server.address == node.address);
        assert_eq!(server.map(|server| server.id), Some(node.id));
        assert_eq!(Some(node.port), node.address.port());
        assert_eq!(node.successor, ids[(place + 1) % ids.len()]);
    }
    for server in &ring.servers {
        assert_eq!(conn_info(client, server).await, expected, "{} sees another ring", server.address);
    }
}

async fn every_attribute_of_every_node_can_be_asked_for(ring: &TestRing, client: &Client) {
    let nodes = conn_info(client, &ring.servers[0]).await;
    let count = u32::try_from(nodes.len()).unwrap();
    for (asked, server) in ring.servers.iter().enumerate() {
        let get = async |number, attribute: &str| {
            let called = stub(client, server).get_node(deadline(CALL), number, attribute.to_owned()).await;
            answer(called).map(|numbered| numbered.value)
        };
        // Each server is asked about some nodes, the first about all.
        for (place, node) in
            nodes.iter().enumerate().filter(|(place, _)| asked == 0 || place % 4 == asked % 4)
        {
            let before = &nodes[(place + nodes.len() - 1) % nodes.len()];
            for (attribute, expected) in [
                ("address", node.address.to_string()),
                ("host", "127.0.0.1".to_owned()),
                ("port", node.port.to_string()),
                ("id", node.id.to_literal()),
                ("number", place.to_string()),
                ("successor", node.successor.to_literal()),
                ("predecessor", before.id.to_literal()),
            ] {
                assert_eq!(get(node.number, attribute).await, Ok(expected), "{attribute} of {place}");
            }
        }
        for number in [count, u32::MAX] {
            assert_eq!(get(number, "port").await, Err(Error::NoSuchNumber { number, count }));
        }
        let refusal = get(0, "colour").await.unwrap_err();
        assert_eq!(refusal, Error::NoSuchAttribute("colour".to_owned()));
        assert!(refusal.to_string().contains("address, host, port, id"), "it says what there is: {refusal}");
    }
}

async fn what_is_put_at_one_node_is_got_at_all(ring: &TestRing, client: &Client) {
    let space = client.space();
    let mut owners = std::collections::BTreeSet::new();
    for (number, server) in ring.servers.iter().enumerate() {
        for number in [number, number + 1000, number + 2000] {
            let (key, value) = entry(number);
            let put = stub(client, server).put(deadline(CALL), key.clone(), value, Options::default()).await;
            let trip = answer(put).unwrap().trip;
            let owner = ring.ids().into_iter().find(|id| *id >= key.id(space)).unwrap_or(ring.ids()[0]);
            assert_eq!(trip.owner.id, owner, "the owner is the first node at or behind the key");
            assert_eq!(
                trip.hops == 0,
                trip.owner.address == server.address,
                "hops: nodes asked after the first"
            );
            owners.insert(trip.owner.id);
        }
    }
    assert!(ring.servers.len() == 1 || owners.len() > 1, "the keys are spread");
    for server in &ring.servers {
        for number in 0..ring.servers.len() {
            let (key, value) = entry(number);
            let got =
                answer(stub(client, server).get(deadline(CALL), key, Options::default()).await).unwrap();
            assert_eq!(got.result.map(|record| record.value), Some(value), "at {}", server.address);
        }
    }
}

async fn refreshing_all_fingers_from_everywhere_at_once_ends(ring: &TestRing, client: &Client) {
    let count = u32::try_from(ring.servers.len()).unwrap();
    let refreshes = ring
        .servers
        .iter()
        .map(|server| async move { stub(client, server).update_finger_table(deadline(CALL * 2)).await });
    for refresh in join_all(refreshes).await {
        let refresh = answer(refresh).unwrap();
        assert_eq!((refresh.nodes, refresh.refreshed), (count, count), "no node's refresh was given up");
    }
    let (space, ids) = (client.space(), ring.ids());
    for server in &ring.servers {
        let rows = answer(stub(client, server).fingers(deadline(CALL)).await).unwrap();
        let mut next = 0;
        for row in rows {
            assert_eq!(row.from, next, "rows follow each other");
            assert_eq!(row.start, space.finger_start(server.id, row.from));
            for entry in row.from..=row.to {
                assert_eq!(row.node.id, first_at_or_behind(&ids, space, server.id, entry));
            }
            next = row.to + 1;
        }
        assert_eq!(next, space.bits(), "there is an entry for each bit");
    }
}

fn first_at_or_behind(ids: &[Id], space: Space, me: Id, entry: u8) -> Id {
    let start = space.finger_start(me, entry);
    ids.iter().copied().find(|id| *id >= start).unwrap_or(ids[0])
}

async fn two_joiners_at_once_get_two_places_and_taken_ones_are_refused(ring: &TestRing, client: &Client) {
    let (first, last) = (&ring.servers[0], &ring.servers[ring.servers.len() - 1]);
    let connect = async |server: &Server, address: &chordata_protocol::Address, placement| {
        let joiner = Joiner { address: address.clone(), placement, store: 1, incarnation: 1 };
        answer(stub(client, server).connect(deadline(CALL), joiner).await)
    };
    let (one, other) = (dead_address(), dead_address());
    let (a, b) =
        tokio::join!(connect(first, &one, Placement::Bisect), connect(last, &other, Placement::Bisect));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!(a.id, b.id, "two joiners in one place");
    for granted in [&a, &b] {
        assert!(!ring.ids().contains(&granted.id), "{granted:?} stands on a member");
        assert_eq!((granted.settings.bits, granted.settings.successors), (160, 4));
        let members: Vec<_> = ring.servers.iter().map(Server::peer).collect();
        assert!(members.contains(&granted.predecessor) && members.contains(&granted.successor));
    }
    let again = connect(last, &one, Placement::Fixed(a.id)).await.unwrap();
    assert_eq!(again.id, a.id, "who was granted a place may ask for it again");
    assert_eq!(
        connect(first, &other, Placement::Fixed(a.id)).await,
        Err(Error::IdTaken(a.id, one)),
        "a granted place is taken for all others"
    );
    for server in [first, last] {
        for member in [first, last] {
            let taken = connect(server, &dead_address(), Placement::Fixed(member.id)).await;
            assert_eq!(taken, Err(Error::IdTaken(member.id, member.address.clone())));
        }
    }
}
