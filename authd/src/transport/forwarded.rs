//! The client's address behind trusted proxies.

use std::net::IpAddr;

use ::http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;

pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Maximum number of entries of `X-Forwarded-For`; a longer list is cut at its untrusted end.
const MAX_HOPS: usize = 32;

/// The client's address: the connection's peer or, if that is a trusted proxy, the nearest address in
/// `X-Forwarded-For` that is not one. Entries in front of that are ignored. An unreadable entry ends the search at the
/// last proxy.
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops.take(MAX_HOPS) {
        if !is_trusted(client, trusted) {
            break;
        }
        match std::str::from_utf8(hop.trim_ascii()).ok().and_then(parse) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Parses an address, with or without a port, IPv6 with or without brackets.
fn parse(hop: &str) -> Option<IpAddr> {
    let address = hop
        .parse::<IpAddr>()
        .or_else(|_| hop.parse::<std::net::SocketAddr>().map(|address| address.ip()))
        .or_else(|_| hop.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>());
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        for (peer, headers, expected) in [
            ("1.2.3.4", &["9.9.9.9"][..], "1.2.3.4"),
            ("10.0.0.1", &["9.9.9.9"], "9.9.9.9"),
            ("10.0.0.1", &["6.6.6.6, 9.9.9.9, 10.0.0.2"], "9.9.9.9"),
            ("10.0.0.1", &["6.6.6.6", "9.9.9.9:4711"], "9.9.9.9"),
            ("::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["9.9.9.9"], "9.9.9.9"),
            ("10.0.0.1", &["9.9.9.9, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["\u{ff}, 9.9.9.9"], "9.9.9.9"),
        ] {
            let lines = headers.iter().map(|line| (FORWARDED_FOR, line.parse().unwrap()));
            let found = client(peer.parse().unwrap(), &lines.collect(), &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {headers:?}");
        }
    }
}
