//! Arithmetic on the ring, against plain numbers (up to 127 bits) and against long addition digit by digit (160).

use chordata_protocol::{Id, Space};
use proptest::prelude::*;

use crate::config;

/// `a + b` modulo 2^bits, written out as at school.
fn add(a: [u8; 20], b: [u8; 20], bits: u8) -> [u8; 20] {
    let mut sum = [0u8; 20];
    let mut carry = 0u16;
    for place in (0..20).rev() {
        let digit = u16::from(a[place]) + u16::from(b[place]) + carry;
        sum[place] = digit.to_le_bytes()[0];
        carry = digit >> 8;
    }
    modulo(sum, bits)
}

/// `-a` modulo 2^bits: the complement and one.
fn negative(a: [u8; 20], bits: u8) -> [u8; 20] {
    let mut one = [0; 20];
    one[19] = 1;
    add(a.map(|digit| !digit), one, bits)
}

fn modulo(mut a: [u8; 20], bits: u8) -> [u8; 20] {
    for bit in u32::from(bits)..160 {
        let place = 19 - (bit / 8) as usize;
        a[place] &= !(1 << (bit % 8));
    }
    a
}

fn power(exponent: u8) -> [u8; 20] {
    let mut digits = [0; 20];
    digits[19 - usize::from(exponent / 8)] = 1 << (exponent % 8);
    digits
}

fn bits() -> impl Strategy<Value = u8> {
    prop_oneof![Just(7), Just(160), Just(3), Just(8), Just(129), 3..=160u8]
}

/// Numbers near the ends and powers of two, where carries happen, and any.
fn digits() -> impl Strategy<Value = [u8; 20]> {
    prop_oneof![
        any::<[u8; 20]>(),
        (0..160u8).prop_map(power),
        (0..160u8).prop_map(|exponent| negative(power(exponent), 160)),
        any::<u16>().prop_map(|low| {
            let mut digits = [0; 20];
            digits[18..].copy_from_slice(&low.to_be_bytes());
            digits
        }),
    ]
}

fn small() -> impl Strategy<Value = (u8, u128, u128)> {
    (3..=127u8).prop_flat_map(|bits| {
        let size = 1u128 << bits;
        let number = || prop_oneof![0..size, 0..8u128.min(size), (size - 8)..size];
        (Just(bits), number(), number())
    })
}

fn is_below(a: [u8; 20], b: [u8; 20]) -> bool {
    a.iter().lt(b.iter())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn distances_and_steps_are_long_addition(bits in bits(), a in digits(), b in digits()) {
        let space = Space::new(bits).unwrap();
        let (a, b) = (modulo(a, bits), modulo(b, bits));
        let (from, to) = (Id::from_bytes(a), Id::from_bytes(b));
        prop_assert!(space.contains(from));
        prop_assert_eq!(space.distance(from, to), Id::from_bytes(add(b, negative(a, bits), bits)));
        prop_assert_eq!(space.next(from), Id::from_bytes(add(a, power(0), bits)));
        for finger in 0..bits {
            prop_assert_eq!(
                space.finger_start(from, finger),
                Id::from_bytes(add(a, power(finger), bits)),
                "finger {}", finger
            );
        }
        // Ordered like numbers.
        prop_assert_eq!(from < to, is_below(a, b));
    }

    #[test]
    fn the_largest_power_below_is_the_last_finger_not_beyond(bits in bits(), a in digits(), b in digits()) {
        let space = Space::new(bits).unwrap();
        let (from, to) = (Id::from_bytes(modulo(a, bits)), Id::from_bytes(modulo(b, bits)));
        let reach = space.distance(from, to);
        let naive = (0..bits).rev().find(|finger| {
            let step = Id::from_bytes(power(*finger));
            step <= reach
        });
        prop_assert_eq!(space.power_below(from, to), naive);
    }

    #[test]
    fn small_rings_are_plain_numbers((bits, a, b) in small()) {
        let (space, size) = (Space::new(bits).unwrap(), 1u128 << bits);
        let (low, high) = (Id::from_u128(a), Id::from_u128(b));
        let width = (b + size - a) % size;
        prop_assert_eq!(space.distance(low, high), Id::from_u128(width));
        prop_assert_eq!(space.next(low), Id::from_u128((a + 1) % size));
        let half = match width {
            0 => size / 2,
            1 => 1,
            width => width / 2,
        };
        prop_assert_eq!(space.middle(low, high), Id::from_u128((a + half) % size));
        let share = if width == 0 { 1.0 } else { width as f64 / size as f64 };
        prop_assert!((space.share(low, high) - share).abs() < 1e-12);
        prop_assert!(!space.contains(Id::from_u128(size)) && space.contains(Id::from_u128(size - 1)));
    }

    /// Also where numbers are too long for a machine word: the middle halves an arc, up to one point.
    #[test]
    fn the_middle_is_as_far_from_both_ends(bits in bits(), a in digits(), b in digits()) {
        let space = Space::new(bits).unwrap();
        let (low, high) = (Id::from_bytes(modulo(a, bits)), Id::from_bytes(modulo(b, bits)));
        let middle = space.middle(low, high);
        let (before, behind) = (space.distance(low, middle), space.distance(middle, high));
        if space.next(low) == high {
            prop_assert_eq!(middle, high, "an arc of one point");
        } else {
            prop_assert!(before == behind || space.next(before) == behind, "{:?} and {:?}", before, behind);
        }
        prop_assert!(middle != low);
    }

    #[test]
    fn shares_of_a_ring_sum_to_one(bits in bits(), points in prop::collection::btree_set(digits(), 1..40)) {
        let space = Space::new(bits).unwrap();
        let mut points: Vec<Id> = points.into_iter().map(|point| Id::from_bytes(modulo(point, bits))).collect();
        points.sort_unstable();
        points.dedup();
        let behind = points.iter().cycle().skip(1);
        let sum: f64 = points.iter().zip(behind).map(|(low, high)| space.share(*low, *high)).sum();
        prop_assert!((sum - 1.0).abs() < 1e-9, "{}", sum);
    }

    #[test]
    fn literals_read_back(bits in bits(), a in digits()) {
        let space = Space::new(bits).unwrap();
        let id = Id::from_bytes(modulo(a, bits));
        prop_assert_eq!(space.parse(&id.to_literal()), Ok(id));
        prop_assert_eq!(space.parse(&format!("0x{}", id.to_hex())), Ok(id));
    }
}
