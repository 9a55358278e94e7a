//! Merging is a join: commutative, associative, idempotent; so any order, repetition and grouping of copies gives the
//! same, and the data of two rings merged is the join of both.

use std::collections::BTreeMap;

use chordata_protocol::eventual::Stamped;
use chordata_protocol::{Key, Moment, Version};
use proptest::prelude::*;

type Store = BTreeMap<Key, Stamped>;

fn stamped() -> impl Strategy<Value = Stamped> {
    let version = (0..4u64, 0..3u64).prop_map(|(epoch, sequence)| Version { epoch, sequence });
    let value = prop::option::of(prop::collection::vec(0..3u8, 0..3));
    let expires = prop::option::of((0..3u64).prop_map(Moment::from_millis));
    (version, value, expires).prop_map(|(version, value, expires)| {
        let expires = expires.filter(|_| value.is_some());
        Stamped { version, value: value.map(Into::into), expires }
    })
}

fn copies() -> impl Strategy<Value = Vec<(Key, Stamped)>> {
    prop::collection::vec(((0..6u8).prop_map(|number| Key::new([number])), stamped()), 0..40)
}

fn merge(mut into: Store, copies: impl IntoIterator<Item = (Key, Stamped)>) -> Store {
    for (key, held) in copies {
        let joined = match into.remove(&key) {
            Some(mine) => mine.join(held),
            None => held,
        };
        into.insert(key, joined);
    }
    into
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn joining_is_commutative_associative_and_idempotent(a in stamped(), b in stamped(), c in stamped()) {
        let join = |one: &Stamped, other: &Stamped| one.clone().join(other.clone());
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(a.beats(Some(&b)), join(&a, &b) != b);
        prop_assert!(a.beats(None));
        prop_assert_eq!(join(&a, &a), a);
    }

    #[test]
    fn replicas_whose_clocks_differ_come_to_the_same(a in stamped(), b in stamped(), one in 0..4u64, other in 0..4u64) {
        // No version is given twice: under one there is one content.
        let b = if a.version == b.version { a.clone() } else { b };
        // One of them may have made tombstones of what the other still has as values.
        let (one, other) = (Moment::from_millis(one), Moment::from_millis(other));
        let last = one.max(other);
        let joined = a.clone().at(one).join(b.clone().at(other));
        prop_assert_eq!(joined.at(last), a.clone().at(last).join(b.at(last)).at(last));
        let is = a.clone().at(one);
        prop_assert!(!a.beats(Some(&is)), "it never goes back to the value");
        prop_assert_eq!(is.version, a.version);
    }

    #[test]
    fn copies_give_the_same_in_any_order_and_however_often(copies in copies(), seed: u64) {
        let once = merge(Store::new(), copies.clone());
        let mut shuffled: Vec<_> = copies.iter().chain(&copies).cloned().collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        prop_assert_eq!(merge(Store::new(), shuffled), once);
    }

    #[test]
    fn two_rings_merged_are_the_join_of_both(one in copies(), other in copies()) {
        let (left, right) = (merge(Store::new(), one.clone()), merge(Store::new(), other.clone()));
        let merged = merge(left.clone(), right.clone());
        prop_assert_eq!(&merged, &merge(right.clone(), left.clone()));
        prop_assert_eq!(&merged, &merge(Store::new(), one.into_iter().chain(other)));
        for (key, held) in &merged {
            let best = left.get(key).max(right.get(key));
            prop_assert_eq!(Some(held), best);
        }
    }
}
