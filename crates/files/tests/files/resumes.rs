//! Uploads that were cut off and go on.

use std::path::Path;
use std::sync::Arc;

use chordata_files::{Failure, Files, Put, PutOptions, Source, Step, Upload};
use parking_lot::Mutex;

use crate::fake::{CHUNK, Fake, content, get, name, put};

async fn put_file(files: &Files, path: &Path) -> Result<Put, Failure> {
    files.put_from(Source::File(path.to_owned()), &name("x"), PutOptions::default()).await
}

fn source(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("source");
    std::fs::write(&path, bytes).unwrap();
    (home, path)
}

#[tokio::test]
async fn an_upload_that_was_cut_off_goes_on_and_sends_only_what_is_missing() {
    for fake in [Fake::new(), Fake::without_swaps()] {
        let files = fake.files();
        let all = content(1, 30 * CHUNK);
        let (_home, path) = source(&all);
        fake.allow_writes(Some(12));
        assert!(matches!(put_file(&files, &path).await, Err(Failure::Cluster(_))));
        fake.settled().await;
        assert_eq!(get(&files, "x").await, Err(Failure::NotFound(name("x"))));
        let there = fake.chunk_keys().len();
        assert!((8..=12).contains(&there), "{there}");
        fake.allow_writes(None);
        let before = fake.writes();
        let put = put_file(&files, &path).await.unwrap();
        assert_eq!(put.reused, (there * CHUNK) as u64);
        assert!(fake.writes() - before <= 30 - there + 10 + 2, "chunks, parts, the entry, who goes on");
        assert_eq!(get(&files, "x").await.unwrap(), all);
        assert_eq!(fake.keys().len(), 1 + 30 + 10, "nothing is left over");
    }
}

#[tokio::test]
async fn a_source_that_is_another_one_begins_anew_and_what_was_given_up_goes() {
    let fake = Fake::new();
    let files = fake.files();
    let (_home, path) = source(&content(1, 20 * CHUNK));
    fake.allow_writes(Some(7));
    put_file(&files, &path).await.unwrap_err();
    fake.settled().await;
    fake.allow_writes(None);
    std::fs::write(&path, content(2, 20 * CHUNK)).unwrap();
    let put = put_file(&files, &path).await.unwrap();
    assert_eq!(put.reused, 0);
    assert_eq!(get(&files, "x").await.unwrap(), content(2, 20 * CHUNK));
    assert_eq!(fake.keys().len(), 1 + 20 + 7, "{:?}", fake.keys());
}

#[tokio::test]
async fn a_chunk_that_is_not_at_every_replica_is_sent_again() {
    let fake = Fake::new();
    let files = fake.files();
    let (_home, path) = source(&content(1, 10 * CHUNK));
    fake.allow_writes(Some(6));
    put_file(&files, &path).await.unwrap_err();
    fake.settled().await;
    fake.allow_writes(None);
    let there = fake.chunk_keys();
    fake.lie(&Fake::places()[2], &there[0], None);
    let put = put_file(&files, &path).await.unwrap();
    assert_eq!(put.reused, ((there.len() - 1) * CHUNK) as u64);
}

#[tokio::test]
async fn two_clients_at_one_upload_do_not_harm_each_other() {
    let fake = Fake::new();
    let files = fake.files();
    let options = || PutOptions { source: Some((100, 5)), ..PutOptions::default() };
    let begin = async || {
        let mut upload = files.upload(&name("x"), options()).await.unwrap();
        upload.push(&content(1, 3 * CHUNK)).await.unwrap();
        upload
    };
    let (one, two, mut third) = (begin().await, begin().await, begin().await);
    assert_eq!((one.id(), one.id()), (two.id(), third.id()), "the same upload");
    let winner = one.finish().await.unwrap();
    assert_eq!(two.finish().await.unwrap().info, winner.info, "the same content: it is stored");
    third.push(b"but not here").await.unwrap();
    assert_eq!(third.finish().await, Err(Failure::Superseded(name("x"))));
    assert_eq!(get(&files, "x").await.unwrap(), content(1, 3 * CHUNK), "and it is whole");
    assert_eq!(fake.keys().len(), 1 + 3 + 1, "{:?}", fake.keys());
}

/// Uploads of one source in eventual mode: all of them are one upload.
async fn shared<const COUNT: usize>(files: &Files, number: u8) -> [Upload; COUNT] {
    let mut uploads = Vec::new();
    for _ in 0..COUNT {
        let options = PutOptions { source: Some((100, u64::from(number))), ..PutOptions::default() };
        let mut upload = files.upload(&name("x"), options).await.unwrap();
        upload.push(&content(number, 5 * CHUNK)).await.unwrap();
        uploads.push(upload);
    }
    assert!(uploads.iter().all(|upload| upload.id() == uploads[0].id()), "the same upload");
    uploads.try_into().ok().unwrap()
}

#[tokio::test]
async fn in_eventual_mode_both_at_one_upload_may_end_it() {
    let fake = Fake::without_swaps();
    let files = fake.files();
    let [one, two, three] = shared(&files, 1).await;
    two.finish().await.unwrap();
    one.finish().await.unwrap();
    // Whoever gives up does not know who counts on the chunks.
    three.abort().await.unwrap();
    assert_eq!(get(&files, "x").await.unwrap(), content(1, 5 * CHUNK));
    assert_eq!(fake.keys().len(), 1 + 5 + 2, "{:?}", fake.keys());
}

#[tokio::test]
async fn in_eventual_mode_no_upload_is_committed_whose_chunks_another_client_has_removed() {
    for first_goes_on in [false, true] {
        let fake = Fake::without_swaps();
        let files = fake.files();
        let [one, two] = shared(&files, 1).await;
        let (ended, late) = if first_goes_on { (two, one) } else { (one, two) };
        // It is the file, and then another one is: its chunks go, which the other client has stored, too.
        ended.finish().await.unwrap();
        put(&files, "x", &content(2, 3 * CHUNK)).await.unwrap();
        assert_eq!(late.finish().await, Err(Failure::Shared(name("x"))));
        assert_eq!(get(&files, "x").await.unwrap(), content(2, 3 * CHUNK), "and that one is whole");
    }
}

#[tokio::test]
async fn in_eventual_mode_who_gives_up_leaves_what_another_client_counts_on() {
    for first_goes_on in [false, true] {
        let fake = Fake::without_swaps();
        let files = fake.files();
        let [one, two] = shared(&files, 1).await;
        let (given_up, late) = if first_goes_on { (two, one) } else { (one, two) };
        given_up.abort().await.unwrap();
        late.finish().await.unwrap();
        assert_eq!(get(&files, "x").await.unwrap(), content(1, 5 * CHUNK));
    }
    // Who was alone leaves nothing.
    let fake = Fake::without_swaps();
    let [alone] = shared(&fake.files(), 1).await;
    alone.abort().await.unwrap();
    assert_eq!(fake.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn in_eventual_mode_another_source_of_that_name_takes_nothing_from_an_upload() {
    let fake = Fake::without_swaps();
    let files = fake.files();
    let ([one], [other]) = (shared(&files, 1).await, shared(&files, 2).await);
    one.finish().await.unwrap();
    assert_eq!(get(&files, "x").await.unwrap(), content(1, 5 * CHUNK));
    other.finish().await.unwrap();
    assert_eq!(get(&files, "x").await.unwrap(), content(2, 5 * CHUNK));
    assert_eq!(
        fake.keys().len(),
        1 + 5 + 2,
        "the last one wins, and nothing else is left: {:?}",
        fake.keys()
    );
}

#[tokio::test]
async fn a_source_that_changes_while_it_is_read_is_not_stored() {
    let fake = Fake::new();
    let files = fake.files();
    put(&files, "x", b"before").await.unwrap();
    let (_home, path) = source(&content(1, 50 * CHUNK));
    let changed = Arc::new(Mutex::new(false));
    let grow = {
        let path = path.clone();
        move |_: Step| {
            let mut changed = changed.lock();
            if !*changed {
                *changed = true;
                let mut all = content(1, 50 * CHUNK);
                all.extend_from_slice(b"more");
                std::fs::write(&path, all).unwrap();
            }
        }
    };
    let options = PutOptions { progress: Some(Arc::new(grow)), ..PutOptions::default() };
    let failure = files.put_from(Source::File(path), &name("x"), options).await.unwrap_err();
    assert!(matches!(failure, Failure::SourceChanged(_)), "{failure}");
    assert_eq!(get(&files, "x").await.unwrap(), b"before");
    assert_eq!(fake.keys().len(), 2, "{:?}", fake.keys());
}

#[tokio::test]
async fn a_stream_of_unknown_length_is_stored() {
    let files = Fake::new().files();
    let all = content(4, 11 * CHUNK + 5);
    let stream = Source::Stream(Box::new(std::io::Cursor::new(all.clone())));
    files.put_from(stream, &name("x"), PutOptions::default()).await.unwrap();
    assert_eq!(get(&files, "x").await.unwrap(), all);
}
