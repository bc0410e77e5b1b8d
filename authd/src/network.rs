//! The network of one household or host.

use std::net::IpAddr;

/// An IPv4 address, or the /64 of an IPv6 address, which usually belongs to one host.
pub fn of(address: IpAddr) -> IpAddr {
    masked(address, u32::BITS, 64)
}

/// The network of an address with this many leading bits, for IPv4 and for IPv6.
pub fn masked(address: IpAddr, v4: u32, v6: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            IpAddr::from((u32::from(address) & !u32::MAX.checked_shr(v4).unwrap_or(0)).to_be_bytes())
        }
        IpAddr::V6(address) => {
            IpAddr::from((u128::from(address) & !u128::MAX.checked_shr(v6).unwrap_or(0)).to_be_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| of(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
