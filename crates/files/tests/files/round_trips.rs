//! What goes in comes out: any size, any range, however it is pushed.

use chordata_files::{Check, Hash, PutOptions};
use futures::StreamExt;
use proptest::prelude::*;

use crate::fake::{CHUNK, Fake, content, get, name, put};

#[tokio::test]
async fn sizes_around_the_chunk_come_back_and_leave_nothing_when_removed() {
    let fake = Fake::new();
    let files = fake.files();
    for bytes in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 1, 3 * CHUNK, 7 * CHUNK + 3] {
        let all = content(7, bytes);
        let stored = put(&files, "a/b c", &all).await.unwrap();
        assert_eq!((stored.info.size, stored.info.hash), (bytes as u64, Hash::of(&all)));
        assert_eq!(stored.info.chunks, bytes.div_ceil(CHUNK) as u64);
        assert_eq!(get(&files, "a/b c").await.unwrap(), all, "{bytes} bytes");
        let removed = files.remove(&name("a/b c"), chordata_files::Condition::None).await.unwrap();
        assert_eq!((removed.info.size, removed.leftovers), (bytes as u64, None));
        assert_eq!(fake.keys(), Vec::<String>::new(), "{bytes} bytes");
    }
}

#[tokio::test]
async fn lists_and_places_show_what_there_is() {
    let fake = Fake::new();
    let files = fake.files();
    put(&files, "small", b"x").await.unwrap();
    put(&files, "large", &content(1, 5 * CHUNK + 1)).await.unwrap();
    let (listed, bad) = files.list("").await.unwrap();
    assert_eq!(bad, []);
    let rows: Vec<(String, u64, u64)> =
        listed.iter().map(|info| (info.name.to_string(), info.size, info.chunks)).collect();
    assert_eq!(rows, [("large".to_owned(), 81, 6), ("small".to_owned(), 1, 1)]);
    assert_eq!(files.list("sm").await.unwrap().0.len(), 1);
    let held = files.held_at(&Fake::places()[1]).await.unwrap();
    assert_eq!(held.len(), 2);
    assert_eq!((held[0].share.chunks, held[0].share.bytes, held[0].share.parts), (6, 81, 2));
    assert!(held[0].share.manifest && held[0].other_pieces == 0);
    let lost = fake.chunk_keys()[0].clone();
    fake.lie(&Fake::places()[2], &lost, None);
    let stat = files.stat(&name("large"), Check::Copies).await.unwrap();
    let wrong: Vec<Option<u64>> = stat.nodes.iter().map(|node| node.wrong).collect();
    assert_eq!(wrong, [Some(0), Some(0), Some(1)]);
    assert!(stat.nodes.iter().all(|node| node.share.chunks == 6 && node.share.manifest));
}

#[tokio::test]
async fn no_more_chunks_are_on_their_way_than_the_window_takes() {
    let fake = Fake::new();
    put(&fake.files(), "wide", &content(3, 40 * CHUNK)).await.unwrap();
    assert!((2..=4).contains(&fake.most_in_flight()), "{}", fake.most_in_flight());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_content_in_any_portions_is_read_in_any_range(
        bytes in 0usize..12 * CHUNK, portion in 1usize..3 * CHUNK, start in 0u64..200, length in 0u64..200,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let files = Fake::new().files();
            let all = content(9, bytes);
            let mut upload = files.upload(&name("any"), PutOptions::default()).await.unwrap();
            for part in all.chunks(portion) {
                upload.push(part).await.unwrap();
            }
            assert_eq!(upload.finish().await.unwrap().info.hash, Hash::of(&all));
            let reader = files.open(&name("any")).await.unwrap();
            let got: Vec<_> = reader.read(start..start + length).collect().await;
            let got: Vec<u8> = got.into_iter().flat_map(|part| part.unwrap().to_vec()).collect();
            let end = usize::try_from(start + length).unwrap().min(bytes);
            assert_eq!(got, &all[usize::try_from(start).unwrap().min(end)..end]);
        });
    }
}
