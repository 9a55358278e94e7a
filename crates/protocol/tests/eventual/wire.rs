//! The messages survive the wire, and what no node of the ring can have said is refused.

use std::collections::BTreeSet;

use chordata_protocol::eventual::{Request, Response, Stamped, StoreId, Stores};
use chordata_protocol::merkle::{Answer, Digest, Question};
use chordata_protocol::{Id, Key, Range, Space, Version};

const VERSION: Version = Version { epoch: 7, sequence: 8 };

fn requests() -> Vec<Request> {
    let range = Range { low: Id::ZERO, high: Id::from_u128(200) };
    let stores =
        Stores { known: BTreeSet::from([StoreId(1), StoreId(2)]), forgotten: BTreeSet::from([StoreId(2)]) };
    let value = Stamped { version: VERSION, value: Some("value".into()), expires: None };
    vec![
        Request::Copy { entries: vec![(Key::new("a"), value)], durable: true },
        Request::Read(Key::new("a")),
        Request::Fetch(vec![Key::new("a"), Key::Literal(Id::from_u128(3))]),
        Request::Offer(vec![(Key::new("a"), VERSION)]),
        Request::Compare(Question { range, after: None, mine: Digest { count: 3, sum: u128::MAX } }),
        Request::Keep { tombstones: vec![(Key::new("a"), VERSION)], stores },
        Request::Drop(vec![(Key::new("a"), VERSION)]),
    ]
}

#[test]
fn messages_survive_the_wire_and_parts_of_them_are_errors() {
    let names: BTreeSet<&str> = requests().iter().map(Request::name).collect();
    assert_eq!(names.len(), requests().len(), "every kind once");
    for request in requests() {
        let bytes = postcard::to_allocvec(&request).unwrap();
        assert_eq!(postcard::from_bytes::<Request>(&bytes).unwrap(), request);
        for cut in 0..bytes.len() {
            assert!(postcard::from_bytes::<Request>(&bytes[..cut]).is_err());
        }
        assert!(request.is_possible(Space::new(8).unwrap()));
    }
    let held = Some(Stamped { version: VERSION, value: None, expires: None });
    let responses = [
        Response::Copied,
        Response::Held(held),
        Response::Fetched { entries: Vec::new(), covered: 3 },
        Response::Offered { wanted: vec![Key::new("a")], newer: vec![Key::new("b")] },
        Response::Compared(Answer::Same),
        Response::Kept(Stores::default()),
        Response::Dropped,
        Response::Barred,
        Response::Refused,
    ];
    for response in responses {
        let bytes = postcard::to_allocvec(&response).unwrap();
        assert_eq!(postcard::from_bytes::<Response>(&bytes).unwrap(), response);
    }
}

#[test]
fn what_is_not_of_this_ring_is_not_possible() {
    let space = Space::new(8).unwrap();
    let outside = Key::Literal(Id::from_u128(256));
    let entry = |key: &Key, epoch, size| {
        let held = Stamped {
            version: Version { epoch, sequence: 1 },
            value: Some(vec![0; size].into()),
            expires: None,
        };
        Request::Copy { entries: vec![(key.clone(), held)], durable: false }
    };
    let key = Key::new("a");
    assert!(entry(&key, 1, 1024 * 1024).is_possible(space));
    for request in [
        entry(&outside, 1, 1),
        entry(&Key::new(""), 1, 1),
        entry(&key, u64::MAX, 1),
        entry(&key, 1, 1024 * 1024 + 1),
        Request::Read(outside.clone()),
        Request::Fetch(vec![key.clone(); 257]),
        Request::Offer(vec![(key.clone(), Version { epoch: u64::MAX, sequence: 0 })]),
        Request::Drop(vec![(outside, VERSION)]),
    ] {
        assert!(!request.is_possible(space), "{}", request.name());
    }
}
