//! Places: `bisect` spreads nodes evenly, and nobody gets a place twice.

use std::collections::BTreeSet;

use chordata_protocol::{Address, Id, Placement, Request, Response};
use proptest::prelude::*;

use crate::config;
use crate::ideal::{Ideal, any_ideal, ask};

/// Asks the node at a place to grant so many places in its arc, one after another.
fn grant(ideal: &mut Ideal, place: usize, count: usize, placement: Placement) -> Vec<Id> {
    let id = ideal.peers[place].id;
    (0..count)
        .map_while(|number| {
            let address = Address::new(&format!("new{number}:1"));
            let (answer, _) = ask(&mut ideal.rings[place], Request::Grant { id, placement, address });
            match answer {
                Some(Response::Granted { id, .. }) => Some(id),
                _ => None,
            }
        })
        .collect()
}

/// The widths of the arcs that points make of `(low, high]`, as numbers of points.
fn widths(ideal: &Ideal, low: Id, high: Id, points: &[Id]) -> Vec<u128> {
    let space = ideal.settings.space;
    let mut points: Vec<Id> = points.to_vec();
    points.sort_by_key(|point| space.distance(low, *point));
    points.insert(0, low);
    points.push(high);
    let width = |pair: &[Id]| match number(space.distance(pair[0], pair[1])) {
        0 => 1u128 << space.bits(),
        width => width,
    };
    points.windows(2).map(width).collect()
}

fn number(id: Id) -> u128 {
    let mut low = [0; 16];
    low.copy_from_slice(&id.as_bytes()[4..]);
    u128::from_be_bytes(low)
}

fn small_ideal() -> impl Strategy<Value = Ideal> {
    any_ideal(6).prop_filter("widths are counted in machine words", |ideal| ideal.settings.space.bits() < 100)
}

proptest! {
    #![proptest_config(config())]

    /// Before any of them has joined. The widest arc is halved, rounded down: no arc is wider than two of another,
    /// and a point.
    #[test]
    fn repeated_grants_of_one_owner_are_distinct_and_even(
        ideal in small_ideal(),
        which: prop::sample::Index,
        count in 1..40usize,
    ) {
        let mut ideal = ideal;
        let place = which.index(ideal.len());
        let (low, high) = (ideal.behind(place, ideal.len() - 1).id, ideal.peers[place].id);
        let arc = widths(&ideal, low, high, &[])[0];
        let granted = grant(&mut ideal, place, count, Placement::Bisect);
        let distinct: BTreeSet<Id> = granted.iter().copied().collect();
        prop_assert_eq!(distinct.len(), granted.len());
        prop_assert_eq!(granted.len() as u128, (count as u128).min(arc - 1), "as many as there are");
        prop_assert!(!distinct.contains(&low) && !distinct.contains(&high));
        let arcs = widths(&ideal, low, high, &granted);
        prop_assert_eq!(arcs.iter().sum::<u128>(), arc, "all within its own arc");
        let (least, most) = (arcs.iter().min().unwrap(), arcs.iter().max().unwrap());
        prop_assert!(*most <= 2 * least + 1, "{:?}", arcs);
    }

    /// With `hash` and a full arc: every point is granted once, then the owner says that it is taken.
    #[test]
    fn a_taken_place_takes_the_next_until_the_arc_is_full(ideal in small_ideal(), wanted: u8) {
        let mut ideal = ideal;
        prop_assume!(ideal.settings.space.bits() == 7);
        let place = ideal.owner(Id::from_u128(u128::from(wanted % 128)));
        let (low, high) = (ideal.behind(place, ideal.len() - 1).id, ideal.peers[place].id);
        let arc = usize::try_from(widths(&ideal, low, high, &[])[0]).unwrap();
        let first = ideal.settings.space.next(low);
        let mut granted = BTreeSet::new();
        for count in 0..arc {
            let address = Address::new(&format!("new{count}:1"));
            let request = Request::Grant { id: first, placement: Placement::Hash, address };
            match ask(&mut ideal.rings[place], request).0 {
                Some(Response::Granted { id, .. }) => prop_assert!(granted.insert(id), "twice"),
                Some(Response::Taken(taker)) => {
                    prop_assert_eq!(count, arc - 1, "all are granted first");
                    prop_assert_eq!(&taker, &ideal.peers[place]);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(granted.len(), arc - 1);
    }

    /// Whoever is asked for a place that it does not serve refuses, and the same address gets the same place.
    #[test]
    fn only_the_owner_grants_and_a_repeated_request_is_the_same(ideal in any_ideal(6), wanted: [u8; 20]) {
        let mut ideal = ideal;
        let id = ideal.settings.space.hash(&wanted);
        let owner = ideal.owner(id);
        for place in 0..ideal.len() {
            let request = |placement| Request::Grant { id, placement, address: Address::new("new:1") };
            let (answer, _) = ask(&mut ideal.rings[place], request(Placement::Bisect));
            if place == owner {
                let (again, _) = ask(&mut ideal.rings[place], request(Placement::Bisect));
                prop_assert_eq!(answer, again);
            } else {
                prop_assert_eq!(answer, Some(Response::Refused));
            }
        }
    }
}

/// Halving the widest again and again: whenever the number of arcs is a power of two, all are equal.
#[test]
fn a_power_of_two_of_arcs_of_one_owner_is_even() {
    for bits in [7, 16] {
        let space = chordata_protocol::Space::new(bits).unwrap();
        for power in 1..=6u32 {
            let mut ideal = Ideal::new(space, vec![Id::from_u128(100)]);
            let granted = grant(&mut ideal, 0, (1 << power) - 1, Placement::Bisect);
            let me = ideal.peers[0].id;
            let arcs = widths(&ideal, me, me, &granted);
            assert_eq!(arcs, vec![(1u128 << bits) >> power; 1 << power], "{bits} bits, 2^{power} arcs");
        }
    }
}
