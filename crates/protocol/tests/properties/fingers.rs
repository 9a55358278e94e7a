//! Finger tables: runs of entries behave like one entry per bit, and a refresh finds what the paper defines.

use chordata_protocol::ring::{Event, FingerTable};
use chordata_protocol::{Address, Id, Peer, Time};
use proptest::prelude::*;

use crate::config;
use crate::ideal::any_ideal;

const BITS: u8 = 24;

#[derive(Clone, Debug)]
enum Change {
    Set(u8, u8, Peer),
    Replace(Peer, Peer),
}

fn peer() -> impl Strategy<Value = Peer> {
    (0..5u128).prop_map(|number| Peer::new(Id::from_u128(number), Address::new(&format!("n{number}"))))
}

fn change() -> impl Strategy<Value = Change> {
    let set = (0..BITS).prop_flat_map(|from| (Just(from), from..BITS, peer()));
    prop_oneof![
        3 => set.prop_map(|(from, to, peer)| Change::Set(from, to, peer)),
        1 => (peer(), peer()).prop_map(|(dead, substitute)| Change::Replace(dead, substitute)),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn runs_behave_like_one_entry_per_bit(changes in prop::collection::vec(change(), 1..40)) {
        let mut table = FingerTable::default();
        let mut entries: Vec<Option<Peer>> = vec![None; usize::from(BITS)];
        for change in changes {
            match change {
                Change::Set(from, to, peer) => {
                    let run = &mut entries[usize::from(from)..=usize::from(to)];
                    let changed = run.iter().filter(|entry| entry.as_ref() != Some(&peer)).count();
                    run.fill(Some(peer.clone()));
                    prop_assert_eq!(table.set(from, to, &peer) as usize, changed);
                }
                Change::Replace(dead, substitute) => {
                    for entry in entries.iter_mut().flatten().filter(|entry| **entry == dead) {
                        *entry = substitute.clone();
                    }
                    table.replace(&dead, &substitute);
                }
            }
            let now: Vec<Option<Peer>> = (0..BITS).map(|number| table.get(number).cloned()).collect();
            prop_assert_eq!(&now, &entries);
            for number in 0..6 {
                let id = Id::from_u128(number);
                let pointed = entries.iter().flatten().any(|peer| peer.id == id);
                prop_assert_eq!(table.points_to(id), pointed);
            }
            for pair in table.runs().windows(2) {
                let apart = pair[0].to + 1 < pair[1].from;
                prop_assert!(pair[0].to < pair[1].from && (apart || pair[0].peer != pair[1].peer), "no repeats");
            }
        }
    }

    /// Stoica et al., table 1: finger i of n is the first node at or behind n + 2^i.
    #[test]
    fn a_refresh_finds_the_first_node_at_or_behind_each_start(ideal in any_ideal(30)) {
        let space = ideal.settings.space;
        for (place, ring) in ideal.rings.iter().enumerate() {
            for number in 0..space.bits() {
                let owner = ideal.owner(space.finger_start(ideal.peers[place].id, number));
                prop_assert_eq!(ring.fingers().get(number), Some(&ideal.peers[owner]), "finger {}", number);
            }
        }
    }

    /// A node that does not answer is in no finger from then on, and no other finger has changed.
    #[test]
    fn a_silent_finger_is_replaced_by_the_farthest_successor_not_beyond_it(
        ideal in any_ideal(30),
        which: prop::sample::Index,
    ) {
        // In a smaller ring the list goes around, past the node itself.
        prop_assume!(ideal.len() > ideal.settings.successors);
        let space = ideal.settings.space;
        let (me, dead) = (0, 1 + which.index(ideal.len() - 1));
        let mut ring = ideal.rings[me].clone();
        let gone = ideal.peers[dead].clone();
        ring.handle(Time::ZERO, Event::Silent(gone.clone()));
        let expected = match dead {
            // Nobody of the list is nearer: the nearest that is left.
            1 => ideal.behind(me, 2),
            _ => ideal.behind(me, (dead - 1).min(ideal.settings.successors)),
        };
        for number in 0..space.bits() {
            let (was, is) = (ideal.rings[me].fingers().get(number), ring.fingers().get(number));
            prop_assert_eq!(is, if was == Some(&gone) { Some(expected) } else { was }, "finger {}", number);
        }
    }
}
