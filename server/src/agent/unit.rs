//! The text of a node's systemd unit.
//!
//! The unit starts `agent hold`, which writes the pid file and then *becomes* the server: the process that systemd
//! watches is the server itself, and its `READY=1` counts as the unit's. So a restart by systemd is as visible to
//! the agent as a start by it.

use std::path::Path;

use super::node::NodeDirectory;
use super::report::Supervisor;

/// Name of the unit of a node: the node's name for people, and a hash of the directory, since two clusters on one
/// host may both have an `n1`.
pub(super) fn name(node: &NodeDirectory) -> String {
    let readable: String = node
        .name()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '_' })
        .take(64)
        .collect();
    let hash = super::files::hash(node.path().as_os_str().as_encoded_bytes());
    format!("chordata-{readable}-{}.service", &hash[..8])
}

/// Text of the unit of a node.
///
/// - `Restart=on-failure` for ever, two seconds apart: a power cut takes all hosts, and each waits for the others.
///   Not after exit code 2, which says that the configuration is wrong and stays so.
/// - No limit on the start: how long a join may take is the server's setting, and `start` has its own patience.
/// - A stop that takes longer than a minute ends in SIGKILL, so that a host can be shut down.
pub(super) fn text(node: &NodeDirectory, executable: &Path, supervisor: Supervisor) -> String {
    let (target, role, ordering) = match supervisor {
        Supervisor::SystemdSystem => (
            "multi-user.target",
            "systemd-system",
            "Wants=network-online.target\nAfter=network-online.target\n",
        ),
        // The user's manager knows no network target, and starts after the host's.
        Supervisor::SystemdUser | Supervisor::Detached => ("default.target", "systemd-user", ""),
    };
    let program = argument(executable);
    let directory = argument(node.path());
    let place = plain(node.path());
    let log = plain(&node.log());
    let label = plain(Path::new(&node.name()));
    format!(
        "[Unit]\n\
         Description=Chordata node {label} in {place}\n\
         {ordering}\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={program} agent hold --node-dir {directory} --executable {program} --supervisor {role}\n\
         WorkingDirectory={place}\n\
         StandardInput=null\n\
         StandardOutput=append:{log}\n\
         StandardError=append:{log}\n\
         Restart=on-failure\n\
         RestartSec=2\n\
         RestartPreventExitStatus=2\n\
         KillSignal=SIGTERM\n\
         TimeoutStartSec=infinity\n\
         TimeoutStopSec=60\n\
         LimitNOFILE=65536\n\
         UMask=0077\n\
         \n\
         [Install]\n\
         WantedBy={target}\n"
    )
}

/// A path as one argument of `ExecStart=`: in quotes, with what systemd would expand made plain (systemd.service(5),
/// "Command lines"). Control characters never come here, see [`super::files::absolute`].
fn argument(path: &Path) -> String {
    let text = path.to_string_lossy();
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

/// A path as the whole value of another setting, where only specifiers are expanded.
fn plain(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn node(path: &Path) -> NodeDirectory {
        NodeDirectory::new(path).expect("a path")
    }

    #[test]
    fn the_unit_says_what_the_server_needs() {
        let node = node(Path::new("/no-such-thing/nodes/n1"));
        let text = text(&node, Path::new("/opt/chordata"), Supervisor::SystemdUser);
        for line in [
            "Type=notify",
            "ExecStart=\"/opt/chordata\" agent hold --node-dir \"/no-such-thing/nodes/n1\" \
             --executable \"/opt/chordata\" --supervisor systemd-user",
            "StandardOutput=append:/no-such-thing/nodes/n1/log",
            "Restart=on-failure",
            "LimitNOFILE=65536",
            "KillSignal=SIGTERM",
            "WantedBy=default.target",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn what_systemd_would_expand_is_made_plain() {
        assert_eq!(argument(Path::new("/a b/$x/%h/\"q\"")), r#""/a b/$$x/%%h/\"q\"""#);
        assert_eq!(plain(Path::new("/a b/%h")), "/a b/%%h");
    }

    #[test]
    fn nodes_of_the_same_name_in_two_places_have_two_units() {
        let (one, other) = (node(Path::new("/no-such-thing/a/n 1")), node(Path::new("/no-such-thing/b/n 1")));
        assert_ne!(name(&one), name(&other));
        assert!(name(&one).starts_with("chordata-n_1-") && name(&one).ends_with(".service"));
    }

    /// systemd's own opinion, for both kinds and for a directory with a blank and a percent sign.
    #[test]
    fn systemd_accepts_the_unit() {
        if Command::new("systemd-analyze").arg("--version").output().is_err() {
            eprintln!("LEFT OUT: systemd-analyze is not installed, the unit was not verified");
            return;
        }
        let directory = tempfile::tempdir().expect("temporary directory");
        let place = directory.path().join("a 100% b/nodes/n1");
        std::fs::create_dir_all(&place).expect("directory");
        let node = node(&place);
        for supervisor in [Supervisor::SystemdUser, Supervisor::SystemdSystem] {
            let file = directory.path().join(name(&node));
            std::fs::write(&file, text(&node, Path::new("/bin/sh"), supervisor)).expect("write");
            let mut verify = Command::new("systemd-analyze");
            if supervisor == Supervisor::SystemdUser {
                verify.arg("--user").env("XDG_RUNTIME_DIR", directory.path());
            }
            let answer = verify.args(["verify", "--man=no"]).arg(&file).output().expect("it runs");
            let complaint = String::from_utf8_lossy(&answer.stderr).into_owned();
            // It also speaks of the host's own units; only what names ours counts.
            assert!(
                answer.status.success() && !complaint.contains("chordata"),
                "{supervisor:?}: {complaint}"
            );
        }
    }
}
