//! Paths of an inventory: those on the driver's machine are relative to the inventory's own directory.

use std::path::{Component, Path, PathBuf};

use miette::{MietteDiagnostic, Report};

/// Directories of a system: an installation directory must not be one of them, since `destroy` erases it.
const SYSTEM: [&str; 18] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root", "run",
    "sbin", "srv", "tmp", "usr", "var",
];

/// A path on the driver's machine, as written in an inventory in the directory `base`.
///
/// `~/...` is left as it is: [`expand_home`] resolves it when it is used, since reading an inventory asks the machine
/// nothing.
///
/// # Errors
/// With the reason, when the path is empty or in another user's home directory.
pub(super) fn local(base: &Path, text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() {
        Err("the path is empty")
    } else if text == "~" || text.starts_with("~/") {
        Ok(PathBuf::from(text))
    } else if text.starts_with('~') {
        Err("`~` stands for your own home directory only: write the other one in full")
    } else {
        Ok(base.join(text))
    }
}

/// A directory on a host that a deployment may fill, and later erase.
///
/// # Errors
/// With the reason, when it is not absolute or below `~`, or is a directory that others live in.
pub(super) fn installation(text: &str) -> Result<String, &'static str> {
    let text = text.trim_end_matches('/');
    let below = text.strip_prefix("~/").or_else(|| text.strip_prefix('/'));
    let Some(below) = below else {
        return Err("it must begin with / or ~/");
    };
    let parts: Vec<Component<'_>> = Path::new(below).components().collect();
    if text.chars().any(char::is_control) || !parts.iter().all(|part| matches!(part, Component::Normal(_))) {
        return Err("it must be a plain path, without `..`");
    }
    let system = |part: &Component<'_>| SYSTEM.iter().any(|name| part.as_os_str() == *name);
    let system = text.starts_with('/') && parts.len() == 1 && parts.iter().all(system);
    if parts.is_empty() || system {
        return Err("it must be a directory of its own: `destroy` erases it");
    }
    Ok(text.to_owned())
}

/// Replaces a leading `~` by the user's home directory; other paths are returned as they are.
///
/// # Errors
/// When the path needs the home directory and there is none.
pub(crate) fn expand_home(path: &Path) -> Result<PathBuf, Report> {
    expand(path, std::env::home_dir())
}

fn expand(path: &Path, home: Option<PathBuf>) -> Result<PathBuf, Report> {
    let Ok(below) = path.strip_prefix("~") else {
        return Ok(path.to_owned());
    };
    match home.filter(|home| !home.as_os_str().is_empty()) {
        Some(home) if below.as_os_str().is_empty() => Ok(home),
        Some(home) => Ok(home.join(below)),
        None => {
            let message = format!("`{}` needs your home directory, which is unknown", path.display());
            Err(Report::new(MietteDiagnostic::new(message).with_help("set HOME, or write the path in full")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_paths_are_relative_to_the_inventory() {
        let base = Path::new("some/dir");
        assert_eq!(local(base, "key"), Ok(PathBuf::from("some/dir/key")));
        assert_eq!(local(base, "../key"), Ok(PathBuf::from("some/dir/../key")));
        assert_eq!(local(base, "/etc/key"), Ok(PathBuf::from("/etc/key")));
        assert_eq!(local(base, "~/.ssh/key"), Ok(PathBuf::from("~/.ssh/key")));
        assert!(local(base, "~other/key").is_err() && local(base, "").is_err());
    }

    #[test]
    fn the_home_directory_is_filled_in() {
        let home = || Some(PathBuf::from("/home/me"));
        assert_eq!(expand(Path::new("~/.ssh/key"), home()).unwrap(), Path::new("/home/me/.ssh/key"));
        assert_eq!(expand(Path::new("~"), home()).unwrap(), Path::new("/home/me"));
        assert_eq!(expand(Path::new("/a/~"), None).unwrap(), Path::new("/a/~"));
        assert!(expand(Path::new("~/x"), None).unwrap_err().to_string().contains("home directory"));
        assert!(expand(Path::new("~/x"), Some(PathBuf::new())).is_err());
    }

    #[test]
    fn an_installation_directory_is_never_one_that_others_live_in() {
        assert_eq!(installation("~/.chordata/"), Ok("~/.chordata".to_owned()));
        assert_eq!(installation("/opt/chordata"), Ok("/opt/chordata".to_owned()));
        for bad in [
            "",
            "~",
            "~/",
            "/",
            "//",
            "/etc",
            "/home/",
            "//usr",
            "relative",
            "~other/x",
            "/opt/../etc",
            "/etc/.",
            "/a\nb",
        ] {
            assert!(installation(bad).is_err(), "{bad}");
        }
    }
}
