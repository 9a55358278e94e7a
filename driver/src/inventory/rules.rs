//! What a name, an SSH destination, a user, a ring address may look like.
//!
//! These words become arguments of `ssh` and names of files, units and metrics: one that begins with `-` would be
//! read as an option (`-oProxyCommand=...` runs a program), one with a slash as another directory. Each rule
//! answers a [`Refusal`] that says what is wrong and what to write instead.

use std::net::{IpAddr, Ipv6Addr};

/// Why a word is not possible.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What is wrong, as the end of a sentence that begins with the word.
    pub wrong: &'static str,
    /// What to do about it.
    pub help: String,
}

fn refuse(wrong: &'static str, help: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal { wrong, help: help.into() })
}

/// Letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
fn plain(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphanumeric())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn shared(word: &str) -> Result<(), Refusal> {
    if word.is_empty() {
        refuse("is empty", "give it at least one letter")
    } else if word.starts_with('-') {
        refuse("begins with `-`: ssh would take it for an option", "no host may be called so")
    } else if word.len() > 253 {
        refuse("is too long", "host names have at most 253 characters")
    } else {
        Ok(())
    }
}

/// The name of a cluster.
pub(super) fn cluster_name(word: &str) -> Result<(), Refusal> {
    if plain(word) && word.len() <= 64 {
        Ok(())
    } else {
        let help = "use up to 64 letters, digits, `.`, `_` and `-`, beginning with a letter or digit";
        refuse("cannot name a cluster", help)
    }
}

/// The name of a host, or its SSH destination.
pub(super) fn host_word(word: &str) -> Result<(), Refusal> {
    shared(word)?;
    if plain(word) || word.parse::<Ipv6Addr>().is_ok() {
        return Ok(());
    }
    if let Some((user, host)) = word.rsplit_once('@') {
        return refuse("contains a user", format!("write {host:?}, and the user as user = {user:?}"));
    }
    if let Some((host, port)) = word.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        return refuse("contains a port", format!("write {host:?}, and the SSH port as port = {port}"));
    }
    refuse(
        "is not a host name",
        "use letters, digits, `.`, `_` and `-`, beginning with a letter or digit, or an IP address; what else \
         ssh needs to know goes into an ssh_config",
    )
}

/// The host name or IP address by which servers and clients reach a server.
pub(super) fn address(word: &str) -> Result<(), Refusal> {
    shared(word)?;
    match word.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => {
            return refuse(
                "is where to listen, not where others find the server",
                "write an address of the host here, and this one as `bind`",
            );
        }
        Ok(_) => return Ok(()),
        Err(_) => {}
    }
    if plain(word) {
        return Ok(());
    }
    if let Some((host, port)) = word.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        return refuse("contains a port", format!("write {host:?}, and the port as listen_port = {port}"));
    }
    if word.starts_with('[') {
        return refuse("stands in brackets", "write an IPv6 address without them");
    }
    refuse("is not an address", "write an IP address or a host name that all hosts can resolve")
}

/// A user to log in as.
pub(super) fn user(word: &str) -> Result<(), Refusal> {
    shared(word)?;
    if word.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return refuse("is not a user name", "a user name has no blanks");
    }
    Ok(())
}

/// A name or value of a label: `--label zone=a` must be able to say it.
pub(super) fn label(word: &str) -> Result<(), Refusal> {
    let sayable = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '=' | ',');
    if !word.is_empty() && word.chars().all(sayable) {
        return Ok(());
    }
    refuse("cannot be a label", "labels are selected by --label zone=a,rack=3: no blanks, `=` or `,` in them")
}

/// What `uname -m` may answer; not the names that other tools have for it.
pub(super) fn architecture(word: &str) -> Result<(), Refusal> {
    match word {
        "amd64" | "x64" | "x86-64" => refuse("is not what `uname -m` says", "write x86_64"),
        "arm64" => refuse("is not what `uname -m` says", "write aarch64"),
        _ if plain(word) => Ok(()),
        _ => refuse("is not an architecture", "write what `uname -m` says on the host, such as x86_64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_would_take_for_an_option_is_refused() {
        for rule in [host_word, address, user] {
            let refusal = rule("-oProxyCommand=x").unwrap_err();
            assert!(refusal.wrong.contains("ssh would take it for an option"), "{refusal:?}");
        }
    }

    #[test]
    fn host_words_are_names_or_addresses() {
        for good in ["n1", "node-1.example.org", "pc5_a", "10.0.0.1", "2001:db8::1", "::1"] {
            assert_eq!(host_word(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a/b", "a;b", ".a", "fe80::1%eth0", "ssh://a", "é", &"a".repeat(300)] {
            assert!(host_word(bad).is_err(), "{bad}");
        }
        assert!(host_word("me@a").unwrap_err().help.contains("\"a\", and the user as user = \"me\""));
        assert!(host_word("a:2222").unwrap_err().help.contains("port = 2222"));
    }

    #[test]
    fn ring_addresses_have_neither_port_nor_brackets_and_can_be_reached() {
        for good in ["n1.example.org", "10.0.0.1", "2001:db8::1", "localhost"] {
            assert_eq!(address(good), Ok(()), "{good}");
        }
        assert!(address("10.0.0.1:18861").unwrap_err().help.contains("listen_port = 18861"));
        assert!(address("[::1]").unwrap_err().help.contains("without them"));
        assert!(address("0.0.0.0").unwrap_err().help.contains("`bind`"));
        assert!(address("a b").is_err());
    }
}
