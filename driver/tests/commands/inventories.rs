//! Inventories that are wrong: exit code 2, the line, and what was probably meant.

use crate::support::run;

#[test]
fn a_wrong_inventory_is_exit_code_2_with_the_place_and_the_reason() {
    let home = tempfile::tempdir().unwrap();
    for (text, place, reason) in [
        ("[defaults]\nusr = \"me\"\n[[host]]\nname = \"a\"\n", "ring.toml:2:1", "did you mean `user`?"),
        ("[[host]]\nname = \"a\"\n[[host]]\nname = \"a\"\n", "ring.toml:2:8", "on line 2 and on line 4"),
        ("hosts = [\"a\", \"b\", \"a\"]\n", "ring.toml:1:", "`a` is listed twice"),
        ("hosts = [\"-oProxyCommand=x\"]\n", "ring.toml:1:10", "ssh would take it for an option"),
        ("[[host]]\nname = \"a\"\nssh = \"-oProxyCommand=x\"\n", "ring.toml:3:7", "take it for an option"),
        ("[[host]\nname = \"a\"\n", "ring.toml:1:8", "unclosed"),
        ("[cluster]\n", "ring.toml", "lists no hosts"),
        (
            "[cluster]\nconsistency = \"chian\"\n[[host]]\nname = \"a\"\n",
            "ring.toml:2:15",
            "`consistency` is `single`, `chain` or `eventual`",
        ),
        (
            "[cluster]\nconsistency = \"chain\"\nreplication = 17\n[[host]]\nname = \"a\"\n",
            "ring.toml:3:15",
            "from 1 to 16",
        ),
        (
            "[cluster]\nconsistency = \"chain\"\ndurability = \"always\"\n[[host]]\nname = \"a\"\n",
            "ring.toml:3:14",
            "`memory`, `interval` or `sync`",
        ),
        (
            "[cluster]\nconsistency = \"single\"\nreplication = 3\n[[host]]\nname = \"a\"\n",
            "ring.toml:3:15",
            "consistency = \"chain\"",
        ),
        ("[cluster]\nreplicas = 3\n[[host]]\nname = \"a\"\n", "ring.toml:2:1", "did you mean `replication`?"),
        ("[defaults]\ndurability = \"sync\"\n[[host]]\nname = \"a\"\n", "ring.toml:2:1", "in [cluster]"),
        (
            "[[host]]\nname = \"a\"\nsettings = { durability = \"sync\" }\n",
            "ring.toml:3:",
            "set `durability` in [cluster]",
        ),
    ] {
        std::fs::write(home.path().join("ring.toml"), text).unwrap();
        for command in [&["nodes"][..], &["get", "k"], &["status"]] {
            let arguments = [&["-i", "ring.toml"][..], command].concat();
            let ran = run(home.path(), &arguments).exits(2).remarks(place).remarks(reason);
            assert_eq!(ran.out, "");
        }
    }
}

#[test]
fn a_host_whose_name_is_a_command_for_ssh_runs_nothing() {
    let home = tempfile::tempdir().unwrap();
    let text = "hosts = [\"-oProxyCommand=touch ran\", \"-oProxyCommand=touch\\tran\"]\n";
    std::fs::write(home.path().join("ring.toml"), text).unwrap();
    run(home.path(), &["-i", "ring.toml", "nodes"]).exits(2).remarks("begins with `-`");
    assert!(!home.path().join("ran").exists());
}

#[test]
fn the_template_is_an_inventory() {
    let home = tempfile::tempdir().unwrap();
    let template = run(home.path(), &["inventory", "template"]).exits(0).says("[[host]]");
    std::fs::write(home.path().join("mine.toml"), &template.out).unwrap();
    // It is read without complaint; its hosts do not exist.
    let ran = run(home.path(), &["-i", "mine.toml", "nodes"]);
    assert_ne!(ran.code, 2, "{}", ran.err);
    assert_ne!(ran.code, 0, "{}", ran.out);
}
