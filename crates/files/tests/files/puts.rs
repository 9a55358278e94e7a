//! Who wins, and what is left of the others.

use chordata_files::{Condition, Failure, Hash, PutOptions};
use futures::future::join_all;

use crate::fake::{CHUNK, Fake, content, get, name, put};

fn on(condition: Condition) -> PutOptions {
    PutOptions { condition, ..PutOptions::default() }
}

#[tokio::test]
async fn what_is_replaced_goes() {
    let fake = Fake::new();
    let files = fake.files();
    put(&files, "x", &content(1, 9 * CHUNK)).await.unwrap();
    let second = put(&files, "x", &content(2, 3)).await.unwrap();
    assert_eq!(second.replaced.map(|info| info.size), Some(9 * CHUNK as u64));
    assert_eq!(second.leftovers, None);
    assert_eq!(fake.keys().len(), 2, "the entry and one chunk: {:?}", fake.keys());
    assert_eq!(get(&files, "x").await.unwrap(), content(2, 3));
}

#[tokio::test]
async fn nothing_is_visible_before_the_end_and_the_old_file_stays_until_then() {
    let fake = Fake::new();
    let files = fake.files();
    let mut upload = files.upload(&name("x"), PutOptions::default()).await.unwrap();
    upload.push(&content(1, 5 * CHUNK)).await.unwrap();
    assert_eq!(get(&files, "x").await, Err(Failure::NotFound(name("x"))));
    assert_eq!(files.list("").await.unwrap().0, []);
    upload.finish().await.unwrap();
    let mut next = files.upload(&name("x"), PutOptions::default()).await.unwrap();
    next.push(&content(2, 5 * CHUNK)).await.unwrap();
    assert_eq!(get(&files, "x").await.unwrap(), content(1, 5 * CHUNK));
    next.abort().await.unwrap();
    assert_eq!(get(&files, "x").await.unwrap(), content(1, 5 * CHUNK));
    assert_eq!(fake.chunk_keys().len(), 7, "five chunks, two parts");
}

#[tokio::test]
async fn nothing_is_left_of_an_upload_that_is_given_up_with_chunks_on_their_way() {
    let fake = Fake::new();
    let files = fake.files();
    fake.hold_writes(true);
    let mut upload = files.upload(&name("x"), PutOptions::default()).await.unwrap();
    upload.push(&content(1, 3 * CHUNK)).await.unwrap();
    let turns = async || {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    // They are at the nodes.
    turns().await;
    let given_up = tokio::spawn(upload.abort());
    turns().await;
    fake.hold_writes(false);
    given_up.await.unwrap().unwrap();
    // What nodes still had to do is done.
    turns().await;
    assert!(fake.writes() > 0, "there was something on its way");
    assert_eq!(fake.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn of_puts_at_the_same_time_one_wins_and_nothing_is_left_of_the_others() {
    let fake = Fake::new();
    let files = fake.files();
    put(&files, "x", &content(99, 4 * CHUNK)).await.unwrap();
    let mut uploads = Vec::new();
    for number in 0..5u8 {
        let mut upload = files.upload(&name("x"), PutOptions::default()).await.unwrap();
        upload.push(&content(number, 6 * CHUNK)).await.unwrap();
        uploads.push(upload);
    }
    let ended = join_all(uploads.into_iter().map(chordata_files::Upload::finish)).await;
    let winners: Vec<_> = ended.iter().filter_map(|end| end.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1);
    let lost = ended.iter().filter_map(|end| end.as_ref().err());
    assert!(lost.clone().all(|failure| *failure == Failure::Superseded(name("x"))) && lost.count() == 4);
    assert_eq!(Hash::of(&get(&files, "x").await.unwrap()), winners[0].info.hash);
    assert_eq!(fake.keys().len(), 1 + 6 + 2, "the winner's only: {:?}", fake.keys());
}

#[tokio::test]
async fn an_upload_that_was_passed_by_never_comes_back_even_if_the_name_is_free_again() {
    let fake = Fake::new();
    let files = fake.files();
    let mut slow = files.upload(&name("x"), PutOptions::default()).await.unwrap();
    slow.push(&content(1, 2 * CHUNK)).await.unwrap();
    put(&files, "x", b"fast").await.unwrap();
    files.remove(&name("x"), Condition::None).await.unwrap();
    assert_eq!(slow.finish().await, Err(Failure::Superseded(name("x"))));
    assert_eq!(fake.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn removing_the_file_does_not_end_an_upload() {
    let fake = Fake::new();
    let files = fake.files();
    put(&files, "x", b"old").await.unwrap();
    let mut upload = files.upload(&name("x"), PutOptions::default()).await.unwrap();
    upload.push(&content(1, 2 * CHUNK)).await.unwrap();
    files.remove(&name("x"), Condition::None).await.unwrap();
    assert_eq!(get(&files, "x").await, Err(Failure::NotFound(name("x"))));
    upload.finish().await.unwrap();
    assert_eq!(get(&files, "x").await.unwrap(), content(1, 2 * CHUNK));
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_is_looked_into() {
    for done in [false, true] {
        let fake = Fake::new();
        let files = fake.files();
        put(&files, "x", &content(9, 3 * CHUNK)).await.unwrap();
        let mut upload = files.upload(&name("x"), PutOptions::default()).await.unwrap();
        upload.push(&content(1, 3 * CHUNK)).await.unwrap();
        // It was begun and given up.
        drop(files.upload(&name("x"), PutOptions::default()).await.unwrap().push(&content(2, CHUNK)).await);
        fake.next_swap_is_unknown(done);
        let put = upload.finish().await.unwrap();
        assert_eq!(put.replaced.map(|info| info.hash), Some(Hash::of(&content(9, 3 * CHUNK))));
        assert_eq!(get(&files, "x").await.unwrap(), content(1, 3 * CHUNK));
        assert_eq!(fake.keys().len(), 1 + 3 + 1, "nothing of what was there before: {:?}", fake.keys());
    }
}

#[tokio::test]
async fn a_removal_of_unknown_outcome_is_looked_into() {
    for done in [false, true] {
        let fake = Fake::new();
        let files = fake.files();
        put(&files, "x", &content(9, 3 * CHUNK)).await.unwrap();
        fake.next_swap_is_unknown(done);
        let removed = files.remove(&name("x"), Condition::None).await.unwrap();
        assert_eq!(removed.info.hash, Hash::of(&content(9, 3 * CHUNK)));
        assert_eq!(fake.keys(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn who_does_not_know_whether_a_file_is_stored_or_removed_is_told_how_to_tidy() {
    let told = |failure: Failure| {
        assert!(matches!(failure, Failure::Untidy { .. }), "{failure}");
        assert!(failure.to_string().contains("`chordata file tidy`"), "{failure}");
    };
    for fake in [Fake::new(), Fake::without_swaps()] {
        let files = fake.files();
        put(&files, "x", &content(9, 3 * CHUNK)).await.unwrap();
        let mut upload = files.upload(&name("x"), PutOptions::default()).await.unwrap();
        upload.push(&content(1, 3 * CHUNK)).await.unwrap();
        fake.entries_say_nothing(true);
        told(upload.finish().await.unwrap_err());
        told(files.remove(&name("x"), Condition::None).await.unwrap_err());
    }
}

#[tokio::test]
async fn conditions_hold_at_the_commit() {
    let fake = Fake::new();
    let files = fake.files();
    let refused = |result: Result<_, Failure>| matches!(result, Err(Failure::Condition(_)));
    let bytes = |text: &'static str| bytes::Bytes::from(text);
    assert!(refused(files.put(&name("x"), bytes("1"), on(Condition::Present)).await));
    files.put(&name("x"), bytes("1"), on(Condition::Absent)).await.unwrap();
    assert!(refused(files.put(&name("x"), bytes("2"), on(Condition::Absent)).await));
    assert!(refused(files.put(&name("x"), bytes("2"), on(Condition::Matches(Hash::of(b"other")))).await));
    files.put(&name("x"), bytes("2"), on(Condition::Matches(Hash::of(b"1")))).await.unwrap();
    let mut upload = files.upload(&name("x"), on(Condition::Matches(Hash::of(b"2")))).await.unwrap();
    upload.push(&content(1, 2 * CHUNK)).await.unwrap();
    files.remove(&name("x"), Condition::Matches(Hash::of(b"2"))).await.unwrap();
    assert!(refused(upload.finish().await), "it changed meanwhile");
    assert_eq!(fake.keys(), Vec::<String>::new());
    assert_eq!(files.remove(&name("x"), Condition::None).await, Err(Failure::NotFound(name("x"))));
}

#[tokio::test]
async fn in_eventual_mode_the_last_writer_wins_and_conditions_are_refused() {
    let fake = Fake::without_swaps();
    let files = fake.files();
    let mut one = files.upload(&name("x"), PutOptions::default()).await.unwrap();
    one.push(&content(1, 3 * CHUNK)).await.unwrap();
    put(&files, "x", &content(2, 3 * CHUNK)).await.unwrap();
    let won = one.finish().await.unwrap();
    assert_eq!(won.replaced.map(|info| info.hash), Some(Hash::of(&content(2, 3 * CHUNK))));
    assert_eq!(get(&files, "x").await.unwrap(), content(1, 3 * CHUNK));
    assert_eq!(fake.keys().len(), 1 + 3 + 1, "{:?}", fake.keys());
    let refused = files.put(&name("x"), bytes::Bytes::new(), on(Condition::Absent)).await;
    assert!(matches!(refused, Err(Failure::NotSupported(_))));
}
