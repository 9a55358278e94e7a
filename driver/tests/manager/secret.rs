//! A manager, peers and whoever commands them share a secret, and nobody else gets anything out of them.

use crate::processes::{Site, samples, tell};
use crate::support::run;

#[test]
fn with_a_secret_everything_works_for_those_who_have_it_and_nothing_for_others() {
    let names = ["alice", "bob", "carol", "dave"];
    let site = Site::start_with(&names, &samples(), Some("a secret of the whole site\n"));
    std::fs::write(site.home().join("other"), "a secret of somebody else\n").unwrap();
    site.peer_command(&["setup-dht", "alice", "3", "1951"]).exits(0).says("on 3 peers");
    site.will_agree();
    let free = site.those("Free").remove(0);
    site.peer_command(&["query-dht", &free]).exits(0).says("EVENT_ID");
    site.peer_command(&["join-dht", &free]).exits(0);
    site.peer_command(&["leave-dht", "alice"]).exits(0).says("alice is Free");
    site.will_agree();

    // Without it, or with another one: neither the manager nor a peer does anything.
    let before = site.states();
    let leader = site.those("Leader").remove(0);
    let address = format!("127.0.0.1:{}", site.peers[0].port);
    for secret in [&[][..], &["--secret-file", "other"]] {
        for command in [&["list"][..], &["teardown-dht", &leader]] {
            let refused = tell(site.home(), &site.manager.address, &[secret, command].concat()).exits(4);
            assert!(
                refused.out.starts_with("FAILURE: ") && refused.out.contains("secret"),
                "{}",
                refused.out
            );
        }
        for method in ["standing", "release"] {
            let arguments = [secret, &["--node", &address, "rpc", method]].concat();
            run(site.home(), &arguments).exits(4).remarks("secret");
        }
    }
    assert_eq!(site.states(), before);
    site.will_agree();
    site.peer_command(&["teardown-dht", &leader]).exits(0);
    assert!(names.iter().all(|name| site.is_erased(name)));
}
