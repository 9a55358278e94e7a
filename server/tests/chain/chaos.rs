//! A seeded run of everything at once: nodes are killed, frozen, added and sent away, one trouble after the other, often
//! before the last one is over.
//!
//! `CHAOS_SEED` and `CHAOS_ROUNDS` choose another and a longer run. The seed fixes the troubles, not what the processes
//! make of them.

use std::time::Duration;

use chordata_protocol::Address;
use chordata_rpc::within as deadline;
use nix::sys::signal::Signal;

use crate::load::Load;
use crate::ring::{SYNC, blocking, whole};
use crate::support::ring::{Server, TestRing, stub};
use crate::support::{CALL, answer, within};

const SEED: u64 = 7;
const ROUNDS: u64 = 5;
/// A round may take so long on a busy machine.
const ROUND: u64 = 60;

/// What is done to the ring.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Trouble {
    /// Killed, and started again after so long.
    Kill(Vec<Address>, Duration),
    /// Frozen for so long.
    Freeze(Vec<Address>, Duration),
    Join,
    Depart(Address),
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn draw(random: &mut fastrand::Rng, ring: &TestRing) -> Trouble {
    let mut addresses = ring.addresses();
    random.shuffle(&mut addresses);
    let all = addresses.len();
    match random.u8(..10) {
        0 if all < 7 => Trouble::Join,
        // The first is what joiners ask.
        1 if all > 4 && addresses[0] != ring.servers[0].address => Trouble::Depart(addresses.swap_remove(0)),
        what => {
            // One, now and then several, seldom all.
            let count = [1, 1, 1, 1, 2, 2, 3, all][random.usize(..8)];
            addresses.truncate(count);
            let time = Duration::from_millis(random.u64(..2500));
            if what % 2 == 0 && count < all {
                Trouble::Freeze(addresses, time)
            } else {
                Trouble::Kill(addresses, time)
            }
        }
    }
}

async fn make(ring: &mut TestRing, trouble: Trouble) {
    let among = |addresses: &[Address], server: &Server| addresses.contains(&server.address);
    match trouble {
        Trouble::Kill(addresses, pause) => {
            let mut victims: Vec<&mut Server> =
                ring.servers.iter_mut().filter(|server| among(&addresses, server)).collect();
            blocking(|| victims.iter_mut().for_each(|server| server.process.kill()));
            tokio::time::sleep(pause).await;
            victims.iter_mut().for_each(|server| server.begin_again());
            blocking(|| victims.iter_mut().for_each(|server| server.await_ready()));
        }
        Trouble::Freeze(addresses, pause) => {
            let victims: Vec<&Server> =
                ring.servers.iter().filter(|server| among(&addresses, server)).collect();
            victims.iter().for_each(|server| server.process.signal(Signal::SIGSTOP));
            tokio::time::sleep(pause).await;
            victims.iter().for_each(|server| server.process.signal(Signal::SIGCONT));
        }
        Trouble::Join => blocking(|| drop(ring.add().peer())),
        Trouble::Depart(address) => {
            let client = ring.client().await;
            let place = ring.servers.iter().position(|server| server.address == address).unwrap();
            let mut leaver = ring.servers.remove(place);
            answer(stub(&client, &leaver).depart(deadline(CALL * 4)).await).unwrap();
            assert_eq!(blocking(|| leaver.process.exit_code()), Some(0), "{}", leaver.process.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_the_history_is_linearizable() {
    let (seed, rounds) = (number("CHAOS_SEED", SEED), number("CHAOS_ROUNDS", ROUNDS));
    within(60 + rounds * ROUND, async {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut ring = TestRing::start(5, SYNC).await;
        let load = Load::begin(&ring).await;
        for round in 0..rounds {
            let trouble = draw(&mut random, &ring);
            println!(
                "CHAOS_SEED={seed}, round {round}, after {:.1} s: {trouble:?}",
                load.book.now() as f64 / 1e6
            );
            make(&mut ring, trouble).await;
            match random.u8(..3) {
                0 => {}
                1 => tokio::time::sleep(Duration::from_millis(random.u64(..1500))).await,
                _ => drop(whole(&ring, "it").await),
            }
        }
        whole(&ring, "the last trouble").await;
        load.end(&ring).await;
    })
    .await;
}
