//! `X-Forwarded-For`. Input: its lines, separated by line ends.
//!
//! A peer that is no proxy is the client. What a client wrote in front of what the proxies added changes nothing.

use std::net::IpAddr;

use authd::transport::forwarded::{FORWARDED_FOR, client, is_trusted};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

pub fn check(input: &[u8]) {
    let trusted: Vec<IpNet> = ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().expect("a network")).into();
    let lines: Vec<HeaderValue> =
        input.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let headers =
        |lines: &[HeaderValue]| -> HeaderMap { lines.iter().map(|line| (FORWARDED_FOR, line.clone())).collect() };
    let (proxy, stranger): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [192, 0, 2, 1].into());
    assert_eq!(client(stranger, &headers(&lines), &trusted), stranger);
    let found = client(proxy, &headers(&lines), &trusted);
    assert_eq!(found, found.to_canonical());
    if is_trusted(found, &trusted) {
        return;
    }
    for claim in ["203.0.113.9", "10.0.0.2", "nonsense", ""] {
        let claimed = HeaderValue::from_static(claim);
        let in_front: Vec<HeaderValue> = std::iter::once(claimed).chain(lines.iter().cloned()).collect();
        assert_eq!(client(proxy, &headers(&in_front), &trusted), found, "{claim} in a line before");
        let first = lines.first().map_or(&b""[..], HeaderValue::as_bytes);
        let joined = HeaderValue::from_bytes(&[claim.as_bytes(), b",", first].concat()).expect("visible text");
        let in_line: Vec<HeaderValue> = std::iter::once(joined).chain(lines.iter().skip(1).cloned()).collect();
        assert_eq!(client(proxy, &headers(&in_line), &trusted), found, "{claim} in the line");
    }
}
