//! Help and completions.

use crate::support::run;

#[test]
fn help_shows_the_commands_in_groups_with_the_exit_codes() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(home.path(), &["--help"]).exits(0).says("Exit codes: 0 done");
    let groups: [(&str, &[&str]); 5] = [
        ("Cluster:", &["demo", "up", "down", "destroy", "status", "forget", "recover"]),
        ("Data:", &["put", "get", "delete", "keys", "replay"]),
        ("Experiments:", &["experiment", "plot"]),
        ("Look:", &["nodes", "lookup", "fingers", "audit"]),
        ("Raw:", &["rpc", "serve", "completions"]),
    ];
    let mut rest = ran.out.as_str();
    for (heading, commands) in groups {
        let (_, below) = rest.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
        let group = below.split("\n\n").next().expect("a text has a beginning");
        for command in commands {
            assert!(
                group.lines().any(|line| line.trim_start().starts_with(command)),
                "{command} in {heading}"
            );
        }
        rest = below;
    }
}

#[test]
fn every_command_that_help_lists_exists_and_explains_itself() {
    let home = tempfile::tempdir().unwrap();
    let help = run(home.path(), &["--help"]).exits(0).out;
    let listed: Vec<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
        .collect();
    assert!(listed.len() > 25, "{listed:?}");
    for command in listed {
        run(home.path(), &[command, "--help"]).exits(0).says("Usage: chordata");
    }
}

#[test]
fn no_command_and_an_unknown_one_are_exit_code_2() {
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &[]).exits(2).remarks("Usage: chordata");
    run(home.path(), &["lokup", "k"]).exits(2).remarks("lookup");
    run(home.path(), &["put", "k"]).exits(2).remarks("VALUE");
    run(home.path(), &["get", "k", "--colour"]).exits(2);
}

#[test]
fn completions_are_printed_for_the_common_shells() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(home.path(), &["completions", shell]).exits(0).says("replay").says("fingers");
        assert!(ran.out.lines().count() > 100, "{shell}");
    }
    run(home.path(), &["completions", "csh"]).exits(2);
}
