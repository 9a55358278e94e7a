//! Into local files and pipes.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chordata_files::{Failure, Output};
use chordata_protocol::Value;
use parking_lot::Mutex;

use crate::fake::{CHUNK, Fake, content, name, put};

/// What was written to a pipe.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_download_that_was_cut_off_goes_on_and_has_its_name_only_when_it_is_whole() {
    let fake = Fake::new();
    let files = fake.files();
    let all = content(1, 20 * CHUNK + 3);
    put(&files, "x", &all).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let (path, part) = (home.path().join("copy"), home.path().join(".copy.chordata-part"));
    let to = || Output::File(path.clone());
    let lost = fake.chunk_keys()[9].clone();
    let value = fake.value(&lost);
    fake.set(&lost, None);
    let failure = files.download(&name("x"), to(), None).await.unwrap_err();
    assert!(matches!(failure, Failure::Broken { .. }));
    assert!(!path.exists());
    assert_eq!(std::fs::read(&part).unwrap(), all[..9 * CHUNK]);
    fake.set(&lost, value);
    // Somebody has spoiled what was fetched, from the sixth chunk on.
    let mut spoiled = all[..9 * CHUNK].to_vec();
    spoiled[5 * CHUNK + 1] ^= 1;
    std::fs::write(&part, spoiled).unwrap();
    let done = files.download(&name("x"), to(), None).await.unwrap();
    assert_eq!(done.reused, 5 * CHUNK as u64);
    assert_eq!(std::fs::read(&path).unwrap(), all);
    assert!(!part.exists());
    // An empty one takes the place of what was there.
    put(&files, "x", b"").await.unwrap();
    files.download(&name("x"), to(), None).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}

#[tokio::test]
async fn a_file_that_is_replaced_meanwhile_is_begun_again() {
    let fake = Fake::new();
    let files = fake.files();
    put(&files, "x", &content(1, 20 * CHUNK)).await.unwrap();
    let (reads, other) = (AtomicUsize::new(0), fake.clone());
    let replacement = Fake::new();
    put(&replacement.files(), "x", &content(2, 9 * CHUNK)).await.unwrap();
    fake.before_read_at(move |fake, _| {
        // Half way through, another client's put takes its place, and the old chunks go.
        if reads.fetch_add(1, Ordering::Relaxed) == 12 {
            for key in other.chunk_keys() {
                fake.set(&key, None);
            }
            for key in replacement.chunk_keys().iter().chain([&name("x").entry_key()]) {
                fake.set(key, replacement.value(key));
            }
        }
    });
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("copy");
    files.download(&name("x"), Output::File(path.clone()), None).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content(2, 9 * CHUNK));
}

#[tokio::test]
async fn a_pipe_begins_again_only_if_nothing_was_written() {
    for (at, is_fine) in [(0, true), (12, false)] {
        let fake = Fake::new();
        let files = fake.files();
        put(&files, "x", &content(1, 40 * CHUNK)).await.unwrap();
        let reads = AtomicUsize::new(0);
        let replacement = Fake::new();
        put(&replacement.files(), "x", &content(2, 9 * CHUNK)).await.unwrap();
        fake.before_read_at(move |fake, _| {
            if reads.fetch_add(1, Ordering::Relaxed) == at {
                for key in fake.chunk_keys() {
                    fake.set(&key, None);
                }
                for key in replacement.chunk_keys().iter().chain([&name("x").entry_key()]) {
                    fake.set(key, replacement.value(key));
                }
            }
        });
        let pipe = Pipe::default();
        let done = files.download(&name("x"), Output::Stream(Box::new(pipe.clone())), None).await;
        let written = pipe.0.lock().clone();
        if is_fine {
            done.unwrap();
            assert_eq!(written, content(2, 9 * CHUNK));
        } else {
            assert_eq!(done.unwrap_err(), Failure::Changed(name("x")));
            assert!(!written.is_empty() && content(1, 40 * CHUNK).starts_with(&written));
        }
    }
}

#[tokio::test]
async fn two_downloads_to_one_name_do_not_mix() {
    let fake = Fake::new();
    let files = fake.files();
    put(&files, "x", &content(1, CHUNK)).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("copy");
    let held = std::fs::File::create(home.path().join(".copy.chordata-part")).unwrap();
    held.lock().unwrap();
    let failure = files.download(&name("x"), Output::File(path.clone()), None).await.unwrap_err();
    assert!(failure.to_string().contains("another download"), "{failure}");
    drop(held);
    files.download(&name("x"), Output::File(path), None).await.unwrap();
}

#[tokio::test]
async fn a_manifest_that_contradicts_itself_gives_no_file() {
    let fake = Fake::new();
    let files = fake.files();
    let stored = put(&files, "x", b"hello").await.unwrap();
    let key = name("x").entry_key();
    let text = String::from_utf8(fake.value(&key).unwrap().into_bytes()).unwrap();
    let other = chordata_files::Hash::of(b"other").to_string();
    let wrong =
        text.replacen(&format!("\"hash\":\"{}\"", stored.info.hash), &format!("\"hash\":\"{other}\""), 1);
    assert_ne!(text, wrong);
    fake.set(&key, Some(Value::from(wrong)));
    let home = tempfile::tempdir().unwrap();
    let failure = files.download(&name("x"), Output::File(home.path().join("copy")), None).await.unwrap_err();
    assert!(matches!(failure, Failure::Broken { .. }), "{failure}");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}
