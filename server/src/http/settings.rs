//! Where HTTP is answered, and who may ask.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Ports that are tried, one after another, where none is named.
pub const HTTP_PORTS: std::ops::Range<u16> = 5000..5100;
/// Connections at once, unless it is set.
pub(crate) const HTTP_CONNECTIONS_MAX: usize = 1024;
/// The fewest characters of a token.
const TOKEN_CHARS_MIN: usize = 16;

/// The settings of the HTTP front end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpSettings {
    /// Where it listens.
    pub listen: HttpListen,
    /// What requests must bring; none: everybody on this machine may ask.
    pub token: Option<Token>,
    /// Connections at once.
    pub connections_max: usize,
}

/// Where to listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpListen {
    /// An address of this machine.
    pub ip: IpAddr,
    /// The port, 0 takes any free one; none: the first free one of [`HTTP_PORTS`].
    pub port: Option<u16>,
}

impl HttpListen {
    /// Reads `IP`, `IP:PORT` or `PORT`.
    ///
    /// # Errors
    /// When it is none of these: how it is written.
    pub fn parse(text: &str) -> Result<HttpListen, String> {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        if let Ok(port) = text.parse::<u16>() {
            return Ok(HttpListen { ip: local, port: Some(port) });
        }
        let text = match text.strip_prefix("localhost") {
            Some(rest) if rest.is_empty() || rest.starts_with(':') => format!("127.0.0.1{rest}"),
            _ => text.to_owned(),
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(HttpListen { ip: address.ip(), port: Some(address.port()) });
        }
        let ip = text.trim_start_matches('[').trim_end_matches(']').parse();
        let ip = ip.map_err(|_| {
            "write an IP address of this machine, IP:PORT ([IP]:PORT for IPv6), or only a port".to_owned()
        })?;
        Ok(HttpListen { ip, port: None })
    }

    /// The addresses to try, in order.
    pub(crate) fn candidates(self) -> impl Iterator<Item = SocketAddr> {
        let ports = match self.port {
            Some(port) => port..=port,
            None => HTTP_PORTS.start..=HTTP_PORTS.end - 1,
        };
        ports.map(move |port| SocketAddr::new(self.ip, port))
    }
}

/// What requests must bring. Only its hash is kept; shows itself as `***`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(blake3::Hash);

impl Token {
    /// From text, without the white space around it (files end in a newline).
    ///
    /// # Errors
    /// When it is too short, or no header can carry it.
    pub fn new(text: &str) -> Result<Token, String> {
        let text = text.trim();
        let count = text.chars().count();
        if count < TOKEN_CHARS_MIN {
            return Err(format!(
                "the token has {count} characters: it needs at least {TOKEN_CHARS_MIN}, as from `openssl rand -hex 16`"
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token has letters, digits and signs of ASCII only, and no blanks".to_owned());
        }
        Ok(Token(blake3::hash(text.as_bytes())))
    }

    /// Is it this one? Compares in constant time.
    pub(crate) fn is(&self, offered: &[u8]) -> bool {
        self.0 == blake3::hash(offered)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_in_any_of_the_usual_ways() {
        let parsed = |text: &str| HttpListen::parse(text).map(|listen| (listen.ip.to_string(), listen.port));
        assert_eq!(parsed("127.0.0.1"), Ok(("127.0.0.1".to_owned(), None)));
        assert_eq!(parsed("0.0.0.0:80"), Ok(("0.0.0.0".to_owned(), Some(80))));
        assert_eq!(parsed("localhost:0"), Ok(("127.0.0.1".to_owned(), Some(0))));
        assert_eq!(parsed("5003"), Ok(("127.0.0.1".to_owned(), Some(5003))));
        assert_eq!(parsed("[::1]:5003"), Ok(("::1".to_owned(), Some(5003))));
        assert_eq!(parsed("::1"), Ok(("::1".to_owned(), None)));
        for wrong in ["", "here", "127.0.0.1:", "127.0.0.1:70000", "true"] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
        let candidates: Vec<SocketAddr> = HttpListen::parse("127.0.0.1").unwrap().candidates().collect();
        assert_eq!((candidates[0].port(), candidates.len()), (5000, 100));
    }

    #[test]
    fn a_token_has_a_least_length_fits_a_header_and_does_not_show_itself() {
        let token = Token::new(" 0123456789abcdef\n").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        assert!(!token.is(b"0123456789abcdeg"));
        assert!(Token::new("0123456789abcde").is_err());
        assert!(Token::new("0123456789 abcdef").is_err());
        assert_eq!(format!("{token:?}"), "***");
    }
}
