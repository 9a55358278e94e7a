//! Settings from file, environment and flags, and those that cannot be obeyed.

use std::net::TcpListener;
use std::path::Path;

use crate::support::free_port;
use crate::support::process::{Process, refused, refused_at};
use crate::support::ring::Server;

fn with_config(text: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("node.toml"), text).unwrap();
    home
}

fn port_of(home: &Path, flags: &[&str], environment: &[(&str, &str)]) -> u16 {
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Process::start(home, &flags, environment).ready().1.port().expect("a ready line has a port")
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file() {
    let [in_file, in_environment, in_flag] = [free_port(), free_port(), free_port()];
    let home = with_config(&format!("port = {in_file}\nname = \"n\"\n"));
    let (environment, flag) = (in_environment.to_string(), in_flag.to_string());
    let config = ["--config", "node.toml"];
    assert_eq!(port_of(home.path(), &config, &[]), in_file);
    assert_eq!(port_of(home.path(), &config, &[("CHORDATA_PORT", &environment)]), in_environment);
    let flags = [&config[..], &["--port", &flag]].concat();
    assert_eq!(port_of(home.path(), &flags, &[("CHORDATA_PORT", &environment)]), in_flag);
    assert_eq!(port_of(home.path(), &[], &[("CHORDATA_CONFIG", "node.toml")]), in_file);
}

#[test]
fn switches_can_be_set_and_unset_everywhere() {
    let home = with_config("port = 0\ntrace_requests = true\nbootstrap = true\njoin = [\"127.0.0.1:1\"]\n");
    let off = ["--config", "node.toml", "--bootstrap=false", "--join-timeout", "0.2"];
    let (code, log) = refused_at(home.path(), &off, &[]);
    assert_eq!(code, Some(4), "the flag unsets what the file sets: {log}");
    let on = ["--config", "node.toml"];
    let (code, _) =
        refused_at(home.path(), &on, &[("CHORDATA_BOOTSTRAP", "false"), ("CHORDATA_JOIN_TIMEOUT", "0.2")]);
    assert_eq!(code, Some(4), "and so does the environment");
    port_of(home.path(), &on, &[]);
}

#[test]
fn port_0_takes_a_free_one_and_says_which() {
    let home = tempfile::tempdir().unwrap();
    let port = port_of(home.path(), &["--port", "0"], &[]);
    assert_ne!(port, 0);
}

#[test]
fn paths_of_the_file_are_relative_to_it() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("etc")).unwrap();
    std::fs::write(home.path().join("etc/node.toml"), "port = 0\ndata = \"kept\"\n").unwrap();
    port_of(home.path(), &["--config", "etc/node.toml"], &[]);
    assert!(home.path().join("etc/kept/identity.toml").exists());
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_nothing_starts() {
    for (text, key, line) in
        [("port = 0\nstabilise_ms = 5\n", "stabilise_ms", "2"), ("prot = 1\n", "prot", "1")]
    {
        let home = with_config(text);
        let (code, log) = refused_at(home.path(), &["--config", "node.toml"], &[]);
        assert_eq!(code, Some(2), "{log}");
        assert!(log.contains("node.toml") && log.contains(key), "{log}");
        assert!(log.contains(&format!("line {line}")) || log.contains(&format!("{line} |")), "{log}");
        assert!(log.contains("expected one of") || log.contains("did you mean"), "what is known: {log}");
    }
}

#[test]
fn values_that_cannot_be_obeyed_are_exit_code_2_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("short"), "too short\n").unwrap();
    for (flags, reason) in [
        (&["--bits", "2"][..], "3 to 160"),
        (&["--successors", "0"], "1 to 32"),
        (&["--stabilize-ms", "0"], "from 1 ms"),
        (&["--id", "0xg"], "hexadecimal"),
        (&["--cluster", "abc"], "32 hexadecimal digits"),
        (&["--connections-max", "0"], "serves nobody"),
        (&["--listen", "eth0"], "IP address"),
        (&["--listen", "127.0.0.1:5", "--port", "6"], "one place"),
        (&["--secret-file", "missing"], "missing"),
        (&["--secret-file", "short"], "16"),
        (&["--config", "missing.toml"], "missing.toml"),
        (&["--log", "chordata=loud"], "loud"),
        (&["--join-timeout", "-1"], "-1"),
    ] {
        let (code, log) = refused_at(home.path(), flags, &[]);
        assert_eq!(code, Some(2), "{flags:?}: {log}");
        assert!(log.contains(reason), "{flags:?}: {log}");
        std::fs::remove_file(home.path().join("log")).unwrap();
    }
    let (code, log) = refused(&[], &[("CHORDATA_PORT", "many")]);
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("many"), "{log}");
}

#[test]
fn listening_to_everybody_takes_a_secret_or_insecure_and_an_address_to_advertise() {
    let (code, log) = refused(&["--listen", "0.0.0.0:0"], &[]);
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("without a secret") && log.contains("--insecure"), "{log}");

    let (code, log) = refused(&["--listen", "0.0.0.0:0", "--insecure"], &[]);
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("--advertise"), "{log}");

    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("secret"), "a secret that is long enough\n").unwrap();
    for guard in [&["--insecure"][..], &["--secret-file", "secret"]] {
        let flags = [&["--listen", "0.0.0.0:0", "--advertise", "127.0.0.1"], guard].concat();
        port_of(home.path(), &flags, &[]);
    }
}

#[test]
fn a_port_in_use_is_said_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, log) = refused(&["--port", &port], &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains(&format!("port {port}")) && log.contains("in use") && log.contains("--port"),
        "{log}"
    );
}

#[test]
fn a_second_server_on_one_data_directory_is_refused_and_the_first_goes_on() {
    let first = Server::start(None, &[]);
    let data = first.home.path().join("data").display().to_string();
    let (code, log) = refused(&["--port", "0", "--data", &data], &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("in use by another server") && log.contains("--data"), "{log}");
    assert!(std::net::TcpStream::connect(first.address.as_str()).is_ok());
}

#[test]
fn a_damaged_identity_is_not_taken_for_a_new_node() {
    let mut server = Server::start(None, &[]);
    server.terminate();
    let data = server.home.path().join("data");
    std::fs::write(data.join("identity.toml"), "format = 1\nid = ").unwrap();
    let (code, log) = refused(&["--port", "0", "--data", &data.display().to_string()], &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("identity.toml is damaged"), "{log}");
}
