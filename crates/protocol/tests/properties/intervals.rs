//! The two interval tests and the overlap of ranges, against a walk from point to point.

use chordata_protocol::id::{between, in_half_open};
use chordata_protocol::{Id, Range, Space};
use proptest::prelude::*;

use crate::config;

fn id(number: u128) -> Id {
    Id::from_u128(number)
}

/// The points that one passes going up from `low` until `high` is reached: `high` is the last. All others when the
/// ends are equal.
fn passed(low: u128, high: u128, size: u128) -> Vec<u128> {
    let mut points = Vec::new();
    let mut point = low;
    loop {
        point = (point + 1) % size;
        points.push(point);
        if point == high {
            return points;
        }
    }
}

fn naive_half_open(low: u128, x: u128, high: u128, size: u128) -> bool {
    passed(low, high, size).contains(&x)
}

fn naive_between(low: u128, x: u128, high: u128, size: u128) -> bool {
    x != high && naive_half_open(low, x, high, size)
}

fn agree(low: u128, x: u128, high: u128, size: u128) {
    assert_eq!(
        between(id(low), id(x), id(high)),
        naive_between(low, x, high, size),
        "{x} strictly between {low} and {high}"
    );
    assert_eq!(
        in_half_open(id(low), id(x), id(high)),
        naive_half_open(low, x, high, size),
        "{x} in ({low}, {high}]"
    );
}

#[test]
fn intervals_are_what_a_walk_passes_everywhere_on_rings_of_3_to_5_bits() {
    for bits in 3..=5 {
        let size = 1 << bits;
        for low in 0..size {
            for high in 0..size {
                for x in 0..size {
                    agree(low, x, high, size);
                }
            }
        }
    }
}

#[test]
fn ranges_overlap_if_they_have_a_point_in_common() {
    let size = 16;
    for (a, b) in (0..size).flat_map(|a| (0..size).map(move |b| (a, b))) {
        let mine = passed(a, b, size);
        for (c, d) in (0..size).flat_map(|c| (0..size).map(move |d| (c, d))) {
            let (one, other) = (Range { low: id(a), high: id(b) }, Range { low: id(c), high: id(d) });
            let common = passed(c, d, size).iter().any(|point| mine.contains(point));
            assert_eq!(one.overlaps(&other), common, "({a}, {b}] and ({c}, {d}]");
        }
    }
}

/// A ring, and three of its points.
fn three_points(bits: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = (u128, u128, u128, u128)> {
    bits.prop_flat_map(|bits| {
        let size = 1u128 << bits;
        (0..size, 0..size, 0..size, Just(size))
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn intervals_are_what_a_walk_passes((low, x, high, size) in three_points(3..=8)) {
        agree(low, x, high, size);
    }

    /// Each point but the ends is on one side or on the other; each point is owned once.
    #[test]
    fn an_interval_and_its_complement_are_the_ring(low: [u8; 20], x: [u8; 20], high: [u8; 20]) {
        let (low, x, high) = (Id::from_bytes(low), Id::from_bytes(x), Id::from_bytes(high));
        prop_assume!(low != high);
        let inside = u8::from(between(low, x, high)) + u8::from(between(high, x, low));
        prop_assert_eq!(inside, u8::from(x != low && x != high));
        let owned = u8::from(in_half_open(low, x, high)) + u8::from(in_half_open(high, x, low));
        prop_assert_eq!(owned, 1);
        prop_assert_eq!(between(low, x, low), x != low);
        prop_assert!(in_half_open(low, x, low));
    }

    /// Adding the same to all three turns the ring, and nothing else.
    #[test]
    fn intervals_turn_with_the_ring((low, x, high, size) in three_points(3..=8), by: u8) {
        let space = Space::new(u8::try_from(size.trailing_zeros()).unwrap()).unwrap();
        let turned = |point: u128| (0..by).fold(id(point), |point, _| space.next(point));
        prop_assert_eq!(
            between(id(low), id(x), id(high)),
            between(turned(low), turned(x), turned(high))
        );
    }

    /// A range covers another if it contains every identifier of it.
    #[test]
    fn covering_is_containing_each((low, other_low, high, size) in three_points(3..=6), other_high: u128) {
        let space = Space::new(u8::try_from(size.trailing_zeros()).unwrap()).unwrap();
        let range = Range { low: id(low), high: id(high) };
        let other = Range { low: id(other_low), high: id(other_high % size) };
        let each = (0..size).map(id).filter(|point| other.contains(*point)).all(|point| range.contains(point));
        prop_assert_eq!(range.covers(&other, space), each);
    }
}
