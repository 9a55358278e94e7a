//! Content, and looks at what there is of it.

use std::path::{Path, PathBuf};

use crate::support::ring::Ring;
use crate::support::{Ran, run_with};

/// A MiB: the size of a chunk.
pub(crate) const MIB: usize = 1 << 20;

/// Content that no other seed has, and that is nowhere the same.
pub(crate) fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut all = vec![0; bytes];
    random.fill(&mut all);
    all
}

/// The same as a local file.
pub(crate) fn source(ring: &Ring, name: &str, bytes: &[u8]) -> PathBuf {
    let path = ring.home().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a file has when it is fetched through that server.
pub(crate) fn fetched(ring: &Ring, place: usize, name: &str) -> Vec<u8> {
    let copy = ring.home().join("fetched");
    ring.run_at(place, &["file", "get", name, "-o", text(&copy)]).exits(0).says("verified");
    let bytes = std::fs::read(&copy).unwrap();
    std::fs::remove_file(copy).unwrap();
    bytes
}

/// Runs a command about the whole cluster, of which `--node` would choose one.
pub(crate) fn all_over(ring: &Ring, arguments: &[&str]) -> Ran {
    run_with(ring.home(), arguments, &[("CHORDATA_NODE", &ring.nodes[0].address)], b"")
}

/// Keys of chunks and lists.
pub(crate) fn pieces(ring: &Ring) -> Vec<String> {
    let keys = all_over(ring, &["keys", "--prefix", ".chordata/chunk/"]).exits(0);
    keys.out.lines().map(str::to_owned).collect()
}

/// Does every replica of every chunk have what it should?
pub(crate) fn is_whole(ring: &Ring, name: &str) -> bool {
    ring.run(&["file", "stat", name, "--check"]).code == 0
}
