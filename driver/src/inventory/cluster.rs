//! `[cluster]`: what holds for all servers together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chordata_protocol::{Consistency, Durability, Placement, Space};
use toml::Spanned;

use super::document::{Reader, Section};
use super::layer::{accept, checked_text, install_dir, local_path, resolved};
use super::rules;
use crate::suggest::problem;

/// Entries in a server's successor list, unless another number is given: a ring heals when all but one of them die
/// together.
pub(crate) const SUCCESSORS: u8 = 4;

/// Copies of each key in chains, unless another number is given.
pub(crate) const REPLICATION: u8 = 3;

/// Hosts worked on at once, unless another number is given: what an SSH gateway tolerates.
pub(crate) const PARALLEL: usize = 10;

/// What holds for all servers together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClusterOptions {
    /// The file with the cluster's secret on the driver's machine; none: one that the driver makes and keeps. May
    /// begin with `~`: see [`expand_home`](super::expand_home).
    pub secret_file: Option<PathBuf>,
    /// May servers listen beyond their own machine without a secret?
    pub insecure: bool,
    /// The ring's size.
    pub space: Space,
    /// Entries in a server's successor list.
    pub successors: u8,
    /// Where a server without a fixed id joins; never `Fixed`.
    pub placement: Placement,
    /// How copies of the data are kept; none: there is one, in memory.
    pub copies: Option<CopyOptions>,
    /// Hosts worked on at once.
    pub parallel: usize,
    /// Server binaries to upload by architecture (what `uname -m` says); for others the driver's own choice. May
    /// begin with `~`.
    pub binaries: BTreeMap<String, PathBuf>,
}

/// How a cluster keeps copies of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyOptions {
    /// Which guarantee clients have.
    pub consistency: Consistency,
    /// Copies of each key.
    pub replication: u8,
    /// When a write is on disk.
    pub durability: Durability,
}

impl Default for CopyOptions {
    /// Who deploys servers wants acknowledged writes to outlive a power cut.
    fn default() -> CopyOptions {
        CopyOptions {
            consistency: Consistency::default(),
            replication: REPLICATION,
            durability: Durability::Sync,
        }
    }
}

impl Default for ClusterOptions {
    fn default() -> ClusterOptions {
        ClusterOptions {
            secret_file: None,
            insecure: false,
            space: Space::default(),
            successors: SUCCESSORS,
            placement: Placement::Bisect,
            copies: Some(CopyOptions::default()),
            parallel: PARALLEL,
            binaries: BTreeMap::new(),
        }
    }
}

/// What `[cluster]` says beside its options.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub name: Option<String>,
    /// For hosts, beneath `[defaults]`.
    pub install_dir: Option<String>,
    pub options: ClusterOptions,
}

impl Cluster {
    /// Reads the section; local paths are relative to `base`.
    pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>, base: &Path) -> Cluster {
        let default = ClusterOptions::default();
        let bits = (Space::BITS_MIN.into())..=(Space::BITS_MAX.into());
        let bits = reader.number(section, "bits", bits).and_then(|bits| u8::try_from(bits.into_inner()).ok());
        let successors = reader.number(section, "successors", 1..=32);
        let parallel = reader.number(section, "parallel", 1..=1000);
        let placements = [("bisect", Placement::Bisect), ("hash", Placement::Hash)];
        Cluster {
            name: checked_text(reader, section, "name", rules::cluster_name).map(Spanned::into_inner),
            install_dir: install_dir(reader, section),
            options: ClusterOptions {
                secret_file: local_path(reader, section, "secret_file", base),
                insecure: reader.boolean(section, "insecure").unwrap_or(default.insecure),
                space: bits.and_then(Space::new).unwrap_or(default.space),
                successors: successors
                    .and_then(|successors| u8::try_from(successors.into_inner()).ok())
                    .unwrap_or(default.successors),
                placement: reader
                    .choice(section, "placement", &placements)
                    .map_or(default.placement, Spanned::into_inner),
                copies: copies(reader, section),
                parallel: parallel.map_or(default.parallel, |parallel| parallel.into_inner().into()),
                binaries: binaries(reader, section, base),
            },
        }
    }
}

/// `consistency`, and what goes with several copies only.
fn copies(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<CopyOptions> {
    let models = [
        ("single", None),
        (Consistency::Chain.name(), Some(Consistency::Chain)),
        (Consistency::Eventual.name(), Some(Consistency::Eventual)),
    ];
    let consistency = reader.choice(section, "consistency", &models);
    let replication = reader.number(section, "replication", 1..=16);
    let levels = Durability::ALL.map(|durability| (durability.name(), durability));
    let durability = reader.choice(section, "durability", &levels);
    let default = CopyOptions::default();
    let is_wrong = consistency.is_none() && section.value("consistency").is_some();
    let consistency = match consistency.map(Spanned::into_inner) {
        // Another mistake, which was told.
        None if is_wrong => return None,
        None => default.consistency,
        Some(Some(consistency)) => consistency,
        Some(None) => {
            refuse_copies(
                reader,
                replication.map(|factor| factor.span()),
                durability.map(|kept| kept.span()),
            );
            return None;
        }
    };
    Some(CopyOptions {
        consistency,
        replication: replication
            .and_then(|factor| u8::try_from(factor.into_inner()).ok())
            .unwrap_or(default.replication),
        durability: durability.map_or(default.durability, Spanned::into_inner),
    })
}

/// What says how several copies are kept makes no sense for one.
fn refuse_copies(
    reader: &mut Reader<'_>,
    replication: Option<std::ops::Range<usize>>,
    durability: Option<std::ops::Range<usize>>,
) {
    for (key, span) in [("replication", replication), ("durability", durability)] {
        if let Some(span) = span {
            let message =
                format!("`{key}` in [cluster] is for several copies, and this cluster keeps single ones");
            reader.problem(
                problem(message, span, "")
                    .with_help("say consistency = \"chain\" for replicas of every key, or remove this line"),
            );
        }
    }
}

fn binaries(reader: &mut Reader<'_>, section: &Section<'_>, base: &Path) -> BTreeMap<String, PathBuf> {
    let mut binaries = BTreeMap::new();
    for (name, (place, path)) in reader.texts(section, "binaries") {
        let name = Spanned::new(place, name);
        if accept(reader, &name, rules::architecture)
            && let Some(path) = resolved(reader, name.get_ref(), &path, base)
        {
            binaries.insert(name.into_inner(), path);
        }
    }
    binaries
}

/// A cluster's name when it has none of its own: that of its file, in the letters that a name may have.
pub(super) fn name_from(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let possible = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = stem.chars().map(possible).take(64).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "cluster".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lends_its_name_to_the_cluster() {
        for (path, name) in [
            ("inventory/local.toml", "local"),
            ("my ring.toml", "my-ring"),
            ("_x.toml", "x"),
            ("é", "cluster"),
        ] {
            assert_eq!(name_from(Path::new(path)), name);
            assert_eq!(rules::cluster_name(name), Ok(()));
        }
    }
}
