//! What is found is the symmetric difference, on any ring, range and pair of stores; digests are those of a plain sum.

use chordata_protocol::merkle::Source;
use chordata_protocol::{Id, Key, Range, Space, Version};
use proptest::prelude::*;

use crate::config;
use crate::store::{Store, as_versions, compare, compare_while, symmetric_difference};

/// Keys on a ring: hashed and literal, many of them with one identifier on a small ring.
fn key(bits: u8) -> impl Strategy<Value = Key> {
    let literal = move |number: u16| {
        let number = u128::from(number);
        Key::Literal(Id::from_u128(if bits < 16 { number % (1 << bits) } else { number }))
    };
    prop_oneof![3 => (0..400u16).prop_map(|number| Key::new(number.to_be_bytes())), 1 => any::<u16>().prop_map(literal)]
}

type Put = (Key, u64, Option<u8>);

fn puts(bits: u8) -> impl Strategy<Value = Vec<Put>> {
    prop::collection::vec((key(bits), 0..3u64, prop::option::of(0..2u8)), 0..300)
}

fn fill(store: &mut Store, puts: &[Put]) {
    for (key, sequence, value) in puts {
        let value = value.map(|byte| vec![byte]);
        store.put(key, Version { epoch: 1, sequence: *sequence }, value.as_deref());
    }
}

#[derive(Debug, Clone)]
struct Case {
    space: Space,
    range: Range,
    common: Vec<Put>,
    mine: Vec<Put>,
    theirs: Vec<Put>,
}

impl Case {
    fn stores(&self) -> (Store, Store) {
        let (mut mine, mut theirs) = (Store::new(self.space), Store::new(self.space));
        fill(&mut mine, &self.common);
        fill(&mut mine, &self.mine);
        fill(&mut theirs, &self.common);
        fill(&mut theirs, &self.theirs);
        (mine, theirs)
    }
}

fn case() -> impl Strategy<Value = Case> {
    prop_oneof![Just(3u8), Just(4), Just(9), Just(17), Just(160)].prop_flat_map(|bits| {
        let space = Space::new(bits).unwrap();
        let end = move || {
            prop_oneof![
                any::<u64>().prop_map(move |seed| space.hash(&seed.to_be_bytes())),
                (0..8u128).prop_map(Id::from_u128),
            ]
        };
        let range = prop_oneof![
            3 => (end(), end()).prop_map(|(low, high)| Range { low, high }),
            1 => end().prop_map(|end| Range { low: end, high: end }),
        ];
        (range, puts(bits), puts(bits), puts(bits)).prop_map(move |(range, common, mine, theirs)| Case {
            space,
            range,
            common,
            mine,
            theirs,
        })
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_symmetric_difference_is_found(case in case()) {
        let (mut mine, mut theirs) = case.stores();
        let compared = compare(&mut mine, &mut theirs, case.range);
        prop_assert!(compared.summary.complete);
        prop_assert_eq!(as_versions(&compared.findings), symmetric_difference(&mine, &theirs, case.range));
        prop_assert_eq!(compared.summary.found, compared.findings.len() as u64);
    }

    #[test]
    fn digests_of_any_range_are_the_plain_sum(case in case()) {
        let (mine, _) = case.stores();
        prop_assert_eq!(mine.digest(case.range), mine.naive_digest(case.range));
    }

    /// Answers get lost and come in any order: what is found stays the same, unless it gives up and says so.
    #[test]
    fn lost_answers_change_nothing(case in case(), seed: u64) {
        let (mut mine, mut theirs) = case.stores();
        let mut dice = fastrand::Rng::with_seed(seed);
        let lose = |_: &mut Store, _: &mut Store| dice.u8(0..4) == 0;
        let compared = compare_while(&mut mine, &mut theirs, case.range, seed, lose);
        if compared.summary.complete {
            prop_assert_eq!(as_versions(&compared.findings), symmetric_difference(&mine, &theirs, case.range));
        }
    }

    /// Both sides change all the time: it ends, and misses none of what was different from beginning to end.
    #[test]
    fn it_ends_while_both_sides_change(case in case(), seed: u64) {
        let (mut mine, mut theirs) = case.stores();
        let before = symmetric_difference(&mine, &theirs, case.range);
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut next = 1000u64;
        let change = |mine: &mut Store, theirs: &mut Store| {
            for store in [mine, theirs] {
                next += 1;
                // Keys that nothing else writes: the known differences stay.
                let key = Key::new(format!("late {}", dice.u16(0..500)));
                store.put(&key, Version { epoch: 2, sequence: next }, Some(b"x"));
                if dice.bool() {
                    store.remove(&Key::new(format!("late {}", dice.u16(0..500))));
                }
            }
            false
        };
        let compared = compare_while(&mut mine, &mut theirs, case.range, seed, change);
        prop_assert!(compared.summary.complete);
        let mut found: Vec<_> = compared.findings;
        found.retain(|finding| !format!("{finding:?}").contains("late "));
        prop_assert_eq!(as_versions(&found), before);
    }
}

#[test]
fn literal_keys_that_share_an_id_are_compared_in_pages() {
    let space = Space::new(3).unwrap();
    let (mut mine, mut theirs) = (Store::new(space), Store::new(space));
    let version = Version { epoch: 1, sequence: 1 };
    for number in 0..5000u32 {
        mine.put(&Key::new(number.to_be_bytes()), version, Some(b"x"));
        if number % 1000 != 7 {
            theirs.put(&Key::new(number.to_be_bytes()), version, Some(b"x"));
        }
    }
    for id in 0..8 {
        theirs.put(&Key::Literal(Id::from_u128(id)), version, None);
    }
    for low in 0..8 {
        let range = Range { low: Id::from_u128(low), high: Id::from_u128(low) };
        let compared = compare(&mut mine, &mut theirs, range);
        assert_eq!(as_versions(&compared.findings), symmetric_difference(&mine, &theirs, range));
        assert_eq!(compared.findings.len(), 13);
    }
}
