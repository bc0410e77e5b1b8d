//! The body of a gRPC call, and what Envoy asks in it. Input: the body.
//!
//! A message is the whole of its body. Of a peer that is no trusted proxy no address is believed, and a name that is
//! read from the headers of the client never is the policy's.

use std::net::IpAddr;

use authd::transport::grpc::ext_authz::Description;
use authd::transport::grpc::frame;
use ipnet::IpNet;

pub fn check(input: &[u8]) {
    let Ok(message) = frame::message(input) else {
        assert!(Description::read(input).is_err(), "no message, no question");
        return;
    };
    assert_eq!((input[0], input.len()), (0, 5 + message.len()));
    assert_eq!(usize::try_from(u32::from_be_bytes([input[1], input[2], input[3], input[4]])), Ok(message.len()));
    for changed in [[input, b"\0"].concat(), input[..input.len() - 1].to_vec(), [b"\x01", &input[1..]].concat()] {
        assert!(frame::message(&changed).is_err(), "another length, or compressed");
    }
    let Ok(described) = Description::read(input) else { return };
    let (peer, trusted): (IpAddr, [IpNet; 1]) = ([192, 0, 2, 1].into(), [IpNet::from(IpAddr::from([10, 0, 0, 1]))]);
    assert_eq!(described.client(peer, &trusted), None);
    let told = described.client([10, 0, 0, 1].into(), &trusted);
    assert_eq!(told.is_some(), described.source.is_some());
    // What the client writes in front of what a proxy wrote changes nothing, unless the proxy is trusted.
    if described.source.is_some_and(|source| !trusted[0].contains(&source.to_canonical())) {
        assert_eq!(told, described.source.map(|source| source.to_canonical()));
    }
    assert!(described.headers.keys().all(|name| !name.as_str().starts_with(':')), "pseudo-headers are no headers");
}
