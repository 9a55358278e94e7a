//! What an inventory may say, and what its reader says to those that say something else.

use std::path::Path;

use chordata_protocol::{Id, Placement};

use super::host::LISTEN_PORT;
use super::*;
use crate::suggest::rendered;

fn parsed(text: &str) -> Inventory {
    Inventory::parse(text, "inv/ring.toml").unwrap_or_else(|error| panic!("{}", rendered(&error)))
}

fn refusal(text: &str) -> String {
    rendered(&Inventory::parse(text, "ring.toml").expect_err(text))
}

fn names<'i>(hosts: impl IntoIterator<Item = &'i Host>) -> Vec<&'i str> {
    hosts.into_iter().map(|host| host.name.as_str()).collect()
}

#[test]
fn one_line_is_an_inventory() {
    let inventory =
        parsed("\u{feff}hosts = [\"a\", \"me@b:2222\", \"[2001:db8::1]:22\", \"2001:db8::2\", \"me@c\"]\r\n");
    assert_eq!(inventory.name, "ring");
    assert_eq!(inventory.path, Path::new("inv/ring.toml"));
    assert_eq!(inventory.cluster, ClusterOptions::default());
    assert_eq!(names(&inventory.hosts), ["a", "b", "2001:db8::1", "2001:db8::2", "c"]);
    let [a, b, six, ..] = &inventory.hosts[..] else { panic!("{inventory:?}") };
    assert_eq!((&*a.ssh, &a.user, a.port, a.line), ("a", &None, None, 1));
    assert_eq!((a.ring_address(), a.listen_address()), ("a:18861".into(), "0.0.0.0:18861".into()));
    assert_eq!((a.access, a.host_keys, &*a.install_dir), (Access::Direct, HostKeys::Strict, "~/.chordata"));
    assert_eq!((b.user.as_deref(), b.port), (Some("me"), Some(2222)));
    assert_eq!((six.port, six.ring_address()), (Some(22), "[2001:db8::1]:18861".into()));
    assert_eq!(six.listen_address(), "[::]:18861");
}

#[test]
fn hosts_override_defaults_and_defaults_the_cluster() {
    let inventory = parsed(
        r#"
        hosts = ["z"]
        [cluster]
        name = "mine"
        bits = 8
        successors = 2
        placement = "hash"
        insecure = true
        parallel = 3
        secret_file = "s"
        install_dir = "/opt/c"
        binaries = { x86_64 = "dist/c", aarch64 = "~/c" }
        [defaults]
        user = "u"
        port = 1
        identity_file = "k"
        labels = { zone = "a", rack = "1" }
        settings = { trace = true, limit = 1_000, ratio = 0.5, "log.level" = "info" }
        [[host]]
        name = "n"
        ssh = "n.example"
        address = "10.0.0.1"
        id = "0x2a"
        user = "v"
        identity_file = "~/k"
        host_keys = "accept-new"
        known_hosts = "/kh"
        ssh_config = "../sc"
        access = "ssh"
        listen_port = 7
        bind = "10.0.0.9"
        install_dir = "/srv/c/"
        labels.zone = "b"
        [host.settings]
        trace = false
        "#,
    );
    let cluster = &inventory.cluster;
    assert_eq!(inventory.name, "mine");
    assert_eq!((cluster.space.bits(), cluster.successors, cluster.placement), (8, 2, Placement::Hash));
    assert_eq!((cluster.insecure, cluster.parallel), (true, 3));
    assert_eq!(cluster.secret_file.as_deref(), Some(Path::new("inv/s")));
    assert_eq!(cluster.binaries["x86_64"], Path::new("inv/dist/c"));
    assert_eq!(cluster.binaries["aarch64"], Path::new("~/c"));

    let [z, n] = &inventory.hosts[..] else { panic!("{inventory:?}") };
    assert_eq!((z.user.as_deref(), z.port, &*z.install_dir), (Some("u"), Some(1), "/opt/c"));
    assert_eq!(z.identity_file.as_deref(), Some(Path::new("inv/k")));
    assert_eq!(z.settings["limit"], toml::Value::Integer(1000));
    assert_eq!(z.settings["ratio"], toml::Value::Float(0.5));

    assert_eq!((&*n.ssh, n.user.as_deref(), n.port, n.line), ("n.example", Some("v"), Some(1), 20));
    assert_eq!((n.ring_address(), n.listen_address()), ("10.0.0.1:7".into(), "10.0.0.9:7".into()));
    assert_eq!((n.id, n.access, n.host_keys), (Some(Id::from_u128(42)), Access::Ssh, HostKeys::AcceptNew));
    assert_eq!(n.host_keys, HostKeys::AcceptNew);
    assert_eq!(n.identity_file.as_deref(), Some(Path::new("~/k")));
    assert_eq!(n.ssh_config.as_deref(), Some(Path::new("inv/../sc")));
    assert_eq!(n.known_hosts.as_deref(), Some(Path::new("/kh")));
    assert_eq!(n.install_dir, "/srv/c");
    assert_eq!((&*n.labels["zone"], &*n.labels["rack"]), ("b", "1"));
    assert_eq!(n.settings["trace"], toml::Value::Boolean(false));
    assert_eq!(n.settings["log.level"], toml::Value::String("info".into()));
}

#[test]
fn several_servers_of_one_machine_differ_by_port_and_listen_only_there() {
    let inventory = parsed(
        "[defaults]\naccess = \"local\"\n[[host]]\nname = \"a\"\n[[host]]\nname = \"b\"\nlisten_port = 2\n\
         [[host]]\nname = \"c\"\naddress = \"192.0.2.1\"\nlisten_port = 3\n\
         [[host]]\nname = \"d\"\naddress = \"::1\"\n",
    );
    let addresses: Vec<_> =
        inventory.hosts.iter().map(|host| (host.ring_address(), host.listen_address())).collect();
    let expected = [
        ("127.0.0.1:18861", "127.0.0.1:18861"),
        ("127.0.0.1:2", "127.0.0.1:2"),
        ("192.0.2.1:3", "0.0.0.0:3"),
        ("[::1]:18861", "[::1]:18861"),
    ];
    assert_eq!(addresses, expected.map(|(ring, listen)| (ring.to_owned(), listen.to_owned())));
    assert!(inventory.hosts.iter().all(Host::is_local));
}

#[test]
fn mistakes_are_shown_where_they_are_with_what_was_meant() {
    let host = "[[host]]\nname = \"a\"\n";
    for (text, message, place, help) in [
        (
            "[defaults]\nusr = \"me\"\n[[host]]\nname = \"a\"",
            "unknown key `usr` in [defaults]: did you mean `user`?",
            "2:1",
            "",
        ),
        (
            "[defaults]\ncolour = 1\n[[host]]\nname = \"a\"",
            "unknown key `colour` in [defaults]",
            "2:1",
            "possible here: `user`, `port`",
        ),
        ("[[host]]\nname = \"a\"\nhostname = \"b\"", "in [[host]]: did you mean `ssh`?", "3:1", ""),
        ("hosts = [\"a\"]\n[defualts]\n", "section or key `defualts`: did you mean `defaults`?", "2:2", ""),
        ("user = \"a\"\nhosts = [\"a\"]", "section or key `user`", "1:1", "belongs below a section"),
        (
            "[cluster]\nuser = \"a\"\n[[host]]\nname = \"a\"",
            "key `user` in [cluster]",
            "2:1",
            "`user` belongs in [defaults]",
        ),
        ("[cluster]\nhosts = [\"a\"]", "key `hosts` in [cluster]", "2:1", "stands at the top of the file"),
        ("[[host]]\nname = \"a\"\nbits = 3", "key `bits` in [[host]]", "3:1", "belongs in [cluster]"),
        (
            "[[host]]\nname = \"a\"\nport = \"22\"",
            "`port` in [[host]] must be a whole number, but is a text",
            "3:8",
            "without quotes: port = 22",
        ),
        ("[[host]]\nname = \"a\"\nid = 0", "`id` in [[host]] must be a text", "3:6", "in quotes: id = \"0\""),
        (
            "[[host]]\nname = \"a\"\nport = 70000",
            "`port` in [[host]] is 70000: it must be from 1 to 65535",
            "3:8",
            "",
        ),
        ("[[host]]\nname = \"a\"\nlisten_port = 0", "it must be from 1 to 65535", "3:15", ""),
        (
            "[cluster]\nbits = 2\n[[host]]\nname = \"a\"",
            "`bits` in [cluster] is 2: it must be from 3 to 160",
            "2:8",
            "",
        ),
        ("[cluster]\nsuccessors = 33\n[[host]]\nname = \"a\"", "it must be from 1 to 32", "2:14", ""),
        (
            "[cluster]\ninsecure = \"yes\"\n[[host]]\nname = \"a\"",
            "`insecure` in [cluster] must be true or false",
            "2:12",
            "insecure = true",
        ),
        (
            "[cluster]\nplacement = \"bisec\"\n[[host]]\nname = \"a\"",
            "`bisec` is not possible for `placement` in [cluster]: did you mean `bisect`?",
            "2:13",
            "`placement` is `bisect` or `hash`",
        ),
        (
            "[defaults]\nhost_keys = \"off\"\n[[host]]\nname = \"a\"",
            "`off` is not possible for `host_keys`",
            "2:13",
            "`host_keys` is `strict` or `accept-new`",
        ),
        (
            "[defaults]\naccess = \"SSH\"\n[[host]]\nname = \"a\"",
            "did you mean `ssh`?",
            "2:10",
            "`direct`, `ssh` or `local`",
        ),
        ("hosts = [\"-oProxyCommand=x\"]", "ssh would take it for an option", "1:10", ""),
        ("[[host]]\nname = \"a\"\nssh = \"-oProxyCommand=x\"", "ssh would take it for an option", "3:7", ""),
        ("[[host]]\nname = \"a\"\naddress = \"-x\"", "ssh would take it for an option", "3:11", ""),
        ("hosts = [\"-lroot@a\"]", "`-lroot` begins with `-`", "1:10", ""),
        ("[[host]]\nname = \"a\"\nssh = \"me@a\"", "`me@a` contains a user", "3:7", "user = \"me\""),
        ("[[host]]\nname = \"a\"\nssh = \"a:22\"", "`a:22` contains a port", "3:7", "port = 22"),
        ("hosts = [\"a:b\"]", "`a:b` does not end in a port", "1:10", "user@name:22"),
        ("hosts = [\"a\", 5]", "each entry of `hosts` must be a text", "1:15", ""),
        ("hosts = \"a\"", "`hosts` must be a list", "1:9", "hosts = [\"a\", \"b\"]"),
        ("[host]\nname = \"a\"", "`host` must be a list", "1:1", "write [[host]], with double brackets"),
        (
            "[[defaults]]\nuser = \"a\"\n[[host]]\nname = \"a\"",
            "`defaults` must be a table",
            "1:1",
            "write [defaults], with single",
        ),
        ("[[host]]\nssh = \"a\"", "a [[host]] without a `name`", "1:1", "name = \"node1\""),
        ("[[host]]\nname = \"a\"\naddress = \"10.0.0.1:5\"", "contains a port", "3:11", "listen_port = 5"),
        ("[[host]]\nname = \"a\"\naddress = \"0.0.0.0\"", "is where to listen", "3:11", "`bind`"),
        ("[[host]]\nname = \"a\"\nbind = \"eth0\"", "`eth0` is not an address to listen on", "3:8", ""),
        ("[[host]]\nname = \"a\"\nid = \"0xg\"", "`id` of a [[host]]: \"0xg\" is not an id", "3:6", ""),
        ("[cluster]\nbits = 3\n[[host]]\nname = \"a\"\nid = \"8\"", "outside a ring of 3 bits", "5:6", ""),
        ("[[host]]\nname = \"a\"\ninstall_dir = \"/etc\"", "`destroy` erases it", "3:15", "/opt/chordata"),
        (
            "[[host]]\nname = \"a\"\nidentity_file = \"~you/k\"",
            "is not a path for `identity_file`",
            "3:17",
            "",
        ),
        (
            "[[host]]\nname = \"a\"\nlabels = { rack = 3 }",
            "`rack` in `labels` in [[host]] must be a text",
            "3:19",
            "rack = \"3\"",
        ),
        ("[[host]]\nname = \"a\"\nlabels = { zone = \"a,b\" }", "`a,b` cannot be a label", "3:19", ""),
        (
            "[[host]]\nname = \"a\"\nsettings = { x = [1] }",
            "must be a text, a number, true or false",
            "3:18",
            "",
        ),
        (
            "[[host]]\nname = \"a\"\nsettings = { port = 1 }",
            "`port` is not given under `settings`",
            "3:14",
            "set `listen_port`",
        ),
        (
            "[[host]]\nname = \"a\"\naccess = \"local\"\nssh = \"b\"",
            "`ssh` has no meaning for a host with access",
            "4:7",
            "",
        ),
        ("[cluster]\nname = \"a b\"\n[[host]]\nname = \"a\"", "`a b` cannot name a cluster", "2:8", ""),
        (
            "[cluster.binaries]\namd64 = \"x\"\n[[host]]\nname = \"a\"",
            "`amd64` is not what `uname -m` says",
            "2:1",
            "write x86_64",
        ),
        ("[cluster]\n", "the inventory lists no hosts", "1:1", "hosts = [\"node1\", \"node2\"]"),
        ("", "the inventory lists no hosts", "1:1", "chordata inventory template"),
        ("# mine\nhosts = []", "the inventory lists no hosts", "2:9", ""),
        ("[cluster]\nname = mine", "a text stands in quotes", "2:8", "name = \"value\""),
        ("[cluster]\nname = foo", "a text stands in quotes", "2:8", "name = \"value\""),
        ("[[host]\nname = \"a\"", "unclosed array table", "1:8", ""),
        ("[defaults]\nport = 1\nport = 2\n", "duplicate key", "3:1", ""),
    ] {
        let report = refusal(text);
        assert!(report.contains(message), "{text}\n{report}");
        assert!(report.contains(&format!("[ring.toml:{place}]")), "{text}\n{report}");
        assert!(report.contains(help), "{text}\n{report}");
        assert!(!report.contains("mistakes"), "one mistake is told once\n{text}\n{report}");
    }
    parsed(host);
    let crowded =
        "hosts = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\"]\n[cluster]\nbits = ";
    assert!(refusal(&format!("{crowded}3")).contains("9 servers have no room on a ring of 3 bits"));
    parsed(&format!("{crowded}4"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let report = refusal("hots = [\"a\"]\n[cluster]\nbits = 500\n[defaults]\nusr = \"me\"\nprot = 22\n");
    assert!(report.contains("ring.toml: 4 mistakes"), "{report}");
    for told in ["`hosts`?", "is 500", "`user`?", "`port`?"] {
        assert!(report.contains(told), "{told}\n{report}");
    }
    assert!(!report.contains("lists no hosts"), "that follows from the first\n{report}");
    for place in ["[ring.toml:1:1]", "[ring.toml:3:8]", "[ring.toml:5:1]", "[ring.toml:6:1]"] {
        assert!(report.contains(place), "{place}\n{report}");
    }
}

#[test]
fn what_two_hosts_must_not_share_is_told_with_both_lines() {
    for (text, message) in [
        (
            "hosts = [\"a\"]\n\n[[host]]\nname = \"a\"\naddress = \"b\"",
            "the host `a` is listed twice: on line 1 and on line 4",
        ),
        ("hosts = [\"a\", \"me@a:2\"]", "the host `a` is listed twice: both on line 1"),
        (
            "[[host]]\nname = \"a\"\naddress = \"10.0.0.1\"\n[[host]]\nname = \"b\"\naddress = \"10.0.0.1\"",
            "the hosts `a` and `b` have the same ring address 10.0.0.1:18861: on line 3 and on line 6",
        ),
        (
            "[defaults]\naccess = \"local\"\n[[host]]\nname = \"a\"\nlisten_port = 5\n\
             [[host]]\nname = \"b\"\naddress = \"LOCALHOST\"\nlisten_port = 5",
            "the hosts `a` and `b` have the same ring address LOCALHOST:5: on line 5 and on line 9",
        ),
        (
            "[[host]]\nname = \"a\"\naddress = \"2001:db8:0::1\"\n[[host]]\nname = \"b\"\naddress = \"2001:db8::1\"",
            "the same ring address [2001:db8::1]:18861: on line 3 and on line 6",
        ),
        (
            "[[host]]\nname = \"a\"\nid = \"0x10\"\n[[host]]\nname = \"b\"\nid = \"16\"",
            "the hosts `a` and `b` have the same id 0x10: on line 3 and on line 6",
        ),
    ] {
        let report = refusal(text);
        assert!(report.contains(message), "{text}\n{report}");
        assert!(report.contains("first here") && report.contains("again here"), "{text}\n{report}");
    }
    parsed(
        "[[host]]\nname = \"a\"\naddress = \"h\"\n[[host]]\nname = \"b\"\naddress = \"h\"\nlisten_port = 1",
    );
}

#[test]
fn hosts_are_chosen_by_name_and_label() {
    let inventory = parsed(
        "[[host]]\nname = \"n1\"\nlabels = { zone = \"a\", rack = \"1\" }\n\
         [[host]]\nname = \"n2\"\nlabels = { zone = \"b\", rack = \"1\" }\n\
         [[host]]\nname = \"n3\"\nlabels = { zone = \"a\", rack = \"2\" }\n",
    );
    let choose = |hosts: &[&str], labels: &[&str]| {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let chosen = inventory.select(&owned(hosts), &owned(labels));
        chosen.map(|hosts| names(hosts).join(" ")).map_err(|error| rendered(&error))
    };
    assert_eq!(choose(&[], &[]).unwrap(), "n1 n2 n3");
    assert_eq!(choose(&["n3,n1", "n1"], &[]).unwrap(), "n1 n3", "in the inventory's order, once");
    assert_eq!(choose(&[], &["zone=a"]).unwrap(), "n1 n3");
    assert_eq!(choose(&[], &["zone=a,rack=1"]).unwrap(), "n1");
    assert_eq!(choose(&["n2", "n3"], &["zone=a"]).unwrap(), "n3");

    let told = |hosts: &[&str], labels: &[&str], message: &str| {
        let report = choose(hosts, labels).unwrap_err();
        assert!(report.contains(message), "{report}");
    };
    told(&["n1", "m3"], &[], "no host `m3` in inv/ring.toml: did you mean `n3`?");
    told(&["other"], &[], "its hosts are `n1`, `n2` or `n3`");
    told(&[""], &[], "--host is empty");
    told(&[], &["zone=a", ", "], "--label is empty");
    told(&[], &["zone"], "write --label NAME=VALUE");
    told(&[], &["zon=a"], "no host has the label zon=a: did you mean `zone`?");
    told(&[], &["zone=c"], "values of `zone` are `a` or `b`");
    told(&["n2"], &["zone=a"], "no host is chosen by n2, zone=a together");
}

#[test]
fn the_inventories_of_the_repository_are_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("inventory");
    let local = Inventory::load(&root.join("local.toml")).unwrap();
    let ports: Vec<u16> = local.hosts.iter().map(|host| host.listen_port).collect();
    assert_eq!((&*local.name, ports), ("local", (LISTEN_PORT..LISTEN_PORT + 5).collect()));
    assert!(local.hosts.iter().all(|host| host.is_local() && host.bind.is_loopback()));
    assert_eq!(local.hosts[0].id, Some(Id::ZERO));

    let all = std::fs::read_dir(&root).unwrap().map(|file| file.unwrap().path());
    for path in all.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        Inventory::load(&path).unwrap_or_else(|error| panic!("{}", rendered(&error)));
    }

    let example = Inventory::load(&root.join("example.toml")).unwrap();
    assert_eq!(example.hosts.len(), 20);
    assert_eq!(example.select(&[], &["rack=b".to_owned()]).unwrap().len(), 10);
    assert!(example.hosts.iter().all(|host| host.user.is_some() && host.host_keys == HostKeys::AcceptNew));
    assert_eq!(example.hosts.iter().filter(|host| host.id.is_some()).count(), 1);
}

#[test]
fn the_template_is_an_inventory_with_and_without_its_comments() {
    assert_eq!(names(&parsed(TEMPLATE).hosts), ["node1", "node2", "node3"]);
    let enabled: String = TEMPLATE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.is_empty() && !key.starts_with(' ') => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let inventory = parsed(&enabled);
    assert_eq!((&*inventory.name, inventory.hosts.len()), ("my-ring", 6));
    for key in [keys::CLUSTER, keys::DEFAULTS, keys::HOST].concat() {
        assert!(
            enabled.lines().any(|line| line.starts_with(key) || line.contains(&format!(".{key}]"))),
            "{key}"
        );
    }
}
