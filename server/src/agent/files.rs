//! Files as the agent writes them: whole or not at all, private from their first moment.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::error::{AgentError, Doing};

/// Makes a directory and its missing parents, all for the owner only.
pub(super) fn create_private_directory(path: &Path) -> Result<(), AgentError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).doing("create", path)
}

/// Replaces a file by one with these bytes, readable and writable by the owner only.
///
/// A crash leaves the old file or the new one. The new bytes never exist under wider permissions. Callers hold
/// the node's lock: the temporary name is fixed, so that a crash leaves at most one to be overwritten.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), AgentError> {
    let temporary = temporary_name(path);
    // A left-over may have been made by hand with other permissions: never written into.
    remove_if_there(&temporary)?;
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().doing("write", path)
}

/// Where [`replace`] writes before the rename: beside the file, with a name of its own.
pub(super) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    path.with_file_name(name)
}

/// A file's bytes, or none when there is no such file.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, AgentError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing("read", path),
    }
}

/// Removes a file (or a link, not what it points to). Answers whether there was one.
pub(super) fn remove_if_there(path: &Path) -> Result<bool, AgentError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).doing("remove", path),
    }
}

/// Sets a file's permissions when they differ. Answers whether they did.
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<bool, AgentError> {
    let metadata = fs::metadata(path).doing("look at", path)?;
    if metadata.permissions().mode() & 0o777 == mode {
        return Ok(false);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing("set the permissions of", path)?;
    Ok(true)
}

/// BLAKE3 in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The user's home directory: `$HOME`, else what the user database says.
pub(super) fn home() -> Option<PathBuf> {
    match std::env::var_os("HOME") {
        Some(home) if !home.is_empty() => Some(PathBuf::from(home)),
        _ => nix::unistd::User::from_uid(nix::unistd::Uid::current()).ok().flatten().map(|user| user.dir),
    }
}

/// An absolute path without links, also when its last parts do not exist yet.
///
/// A leading `~/` is the home directory: the driver's words pass no shell that would say so.
///
/// # Errors
/// Refused: a path that is empty, not UTF-8, with control characters (it goes into unit files and process
/// arguments), or with `..` below a part that does not exist.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, AgentError> {
    let refuse = |why: &str| Err(AgentError::Refused(format!("the path {path:?} {why}")));
    match path.to_str() {
        None => return refuse("is not UTF-8"),
        Some("") => return refuse("is empty"),
        Some(text) if text.chars().any(char::is_control) => return refuse("has control characters"),
        Some(_) => {}
    }
    let expanded = match (path.strip_prefix("~"), home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        (Ok(_), None) => return refuse("begins with ~ and the home directory is unknown"),
        (Err(_), _) => std::path::absolute(path).doing("make absolute", path)?,
    };
    let mut existing = expanded.as_path();
    let mut missing = Vec::new();
    loop {
        match existing.canonicalize() {
            Ok(canonical) => return Ok(missing.iter().rev().fold(canonical, |whole, part| whole.join(part))),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).doing("look at", existing),
        }
        match (existing.components().next_back(), existing.parent()) {
            (Some(Component::Normal(part)), Some(parent)) => {
                missing.push(part);
                existing = parent;
            }
            _ => return refuse("has .. below a directory that does not exist"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_private_and_leaves_no_temporary() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("secret");
        // Left by a crash, with permissions that a secret must never have.
        fs::write(temporary_name(&path), "half").expect("write");

        replace(&path, b"one").expect("first");
        replace(&path, b"two").expect("second");

        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
        assert!(!temporary_name(&path).exists());
    }

    #[test]
    fn absolute_paths_follow_links_and_keep_what_does_not_exist_yet() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let real = directory.path().canonicalize().expect("canonical");
        std::os::unix::fs::symlink(&real, real.join("link")).expect("link");
        let asked = real.join("link/nodes/n1");
        assert_eq!(absolute(&asked).expect("absolute"), real.join("nodes/n1"));
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let home = home().expect("a home").canonicalize().expect("the home exists");
        assert_eq!(
            absolute(Path::new("~/no-such-thing/n1")).expect("absolute"),
            home.join("no-such-thing/n1")
        );
        assert_eq!(absolute(Path::new("~")).expect("absolute"), home);
    }

    #[test]
    fn paths_that_could_mislead_are_refused() {
        for path in ["", "/no-such-thing/../etc", "/tmp/a\nb"] {
            assert!(matches!(absolute(Path::new(path)), Err(AgentError::Refused(_))), "{path:?}");
        }
    }
}
