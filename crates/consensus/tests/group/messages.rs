//! Bytes that are no message get an answer and do no harm.

use crate::ledger::Command;
use crate::nodes::Nodes;

#[tokio::test(flavor = "multi_thread")]
async fn noise_is_refused_and_the_group_goes_on() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    let mut random = fastrand::Rng::with_seed(7);
    for length in 0..2000 {
        let mut noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length % 200).collect();
        if let Some(format) = noise.first_mut() {
            // Past the format byte every second time.
            *format = if length % 2 == 0 { 1 } else { *format };
        }
        for id in [1, 2, 3] {
            assert!(!nodes.group(id).receive(noise.clone()).await.is_empty());
        }
    }
    nodes.group(1).propose(Command::Note(1)).await.unwrap();
    nodes.agreed(&[1, 2, 3]).await;
}
