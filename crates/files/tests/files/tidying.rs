//! What belongs to no file goes, and nothing else.

use std::time::Duration;

use chordata_files::{Failure, Files, PutOptions, Reason, Tidied, Upload};

use crate::fake::{CHUNK, Fake, content, get, name, put};

const DAY: Duration = Duration::from_secs(86_400);

async fn begun(files: &Files, text: &str, bytes: &[u8]) -> Upload {
    let mut upload = files.upload(&name(text), PutOptions::default()).await.unwrap();
    upload.push(bytes).await.unwrap();
    // What is on its way arrives.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    upload
}

fn told(tidied: &Tidied) -> Vec<(String, Reason, u64, bool)> {
    let uploads = tidied.uploads.iter();
    uploads.map(|upload| (upload.name.to_string(), upload.reason, upload.pieces, upload.removed)).collect()
}

#[tokio::test]
async fn left_over_chunks_go_at_once_and_uploads_when_they_are_old() {
    let fake = Fake::new();
    let files = fake.files();
    put(&files, "good", &content(1, 6 * CHUNK)).await.unwrap();
    put(&files, "gone", &content(2, 4 * CHUNK)).await.unwrap();
    // Its remover died after the first step.
    fake.set(&name("gone").entry_key(), None);
    let young = begun(&files, "good", &content(3, 3 * CHUNK)).await;
    let before = fake.keys();
    let shown = files.tidy(DAY, true).await.unwrap();
    assert_eq!(fake.keys(), before, "a dry run changes nothing");
    let rows =
        [("gone".to_owned(), Reason::Leftover, 6, false), ("good".to_owned(), Reason::Unfinished, 3, false)];
    assert_eq!(told(&shown), rows);
    let tidied = files.tidy(DAY, false).await.unwrap();
    assert!(tidied.uploads[0].removed && !tidied.uploads[1].removed);
    assert_eq!(fake.keys().len(), 1 + 6 + 2 + 3, "{:?}", fake.keys());
    let tidied = files.tidy(Duration::ZERO, false).await.unwrap();
    assert_eq!(told(&tidied), [("good".to_owned(), Reason::Unfinished, 3, true)]);
    assert_eq!(get(&files, "good").await.unwrap(), content(1, 6 * CHUNK));
    assert_eq!(fake.keys().len(), 1 + 6 + 2);
    // The one that was tidied away is alive after all: it finds out, and shows no half file.
    assert_eq!(young.finish().await, Err(Failure::Superseded(name("good"))));
    assert_eq!(get(&files, "good").await.unwrap(), content(1, 6 * CHUNK));
    assert_eq!(told(&files.tidy(Duration::ZERO, false).await.unwrap()), []);
}

#[tokio::test]
async fn an_upload_that_stored_nothing_yet_is_taken_off_the_list() {
    let fake = Fake::new();
    let files = fake.files();
    fake.allow_writes(Some(0));
    let mut upload = files.upload(&name("x"), PutOptions::default()).await.unwrap();
    upload.push(&content(1, CHUNK)).await.unwrap();
    drop(upload);
    assert_eq!(fake.keys().len(), 1);
    files.tidy(Duration::ZERO, false).await.unwrap();
    assert_eq!(fake.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn in_eventual_mode_age_decides_and_all_replicas_must_answer() {
    let fake = Fake::without_swaps();
    let files = fake.files();
    put(&files, "good", &content(1, 6 * CHUNK)).await.unwrap();
    drop(begun(&files, "good", &content(3, 5 * CHUNK)).await);
    let before = fake.keys();
    let shown = files.tidy(DAY, false).await.unwrap();
    assert_eq!(fake.keys(), before, "too young");
    assert!(matches!(&told(&shown)[..], [(_, Reason::Unfinished, _, false)]));
    fake.silence(&Fake::places()[2]);
    let shown = files.tidy(Duration::ZERO, false).await.unwrap();
    assert_eq!(fake.keys(), before, "a replica that does not answer may know more");
    assert_eq!(shown.unjudged.len(), 1);
}

#[tokio::test]
async fn in_eventual_mode_what_is_old_goes() {
    let fake = Fake::without_swaps();
    let files = fake.files();
    put(&files, "good", &content(1, 6 * CHUNK)).await.unwrap();
    let whole = fake.keys();
    drop(begun(&files, "good", &content(3, 5 * CHUNK)).await);
    files.tidy(Duration::ZERO, false).await.unwrap();
    assert_eq!(fake.keys(), whole);
    assert_eq!(get(&files, "good").await.unwrap(), content(1, 6 * CHUNK));
}

#[tokio::test]
async fn keys_of_others_are_left_alone() {
    let fake = Fake::new();
    let files = fake.files();
    for key in [".chordata/chunk/", ".chordata/chunk/a/b", ".chordata/chunk/x/00.c0.11", "mine"] {
        fake.set(&chordata_protocol::Key::new(key), Some("x".into()));
    }
    files.tidy(Duration::ZERO, false).await.unwrap();
    assert_eq!(fake.keys().len(), 4);
}
