//! Whose program is at the other end of a connection on this machine.

use std::fs;

/// Whether the connection between these two ports is another user's, as far as the system says. Root may do everything
/// anyway, and brings the connections of a browser outside a virtual machine in.
pub fn is_of_another_user(from: u16, to: u16) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|table| fs::read_to_string(table).ok());
    let own = rustix::process::geteuid().as_raw();
    tables.into_iter().find_map(|table| owner(&table, from, to)).is_some_and(|owner| owner != own && owner != 0)
}

/// The user id of a connection, by a table of Linux (proc(5), `/proc/net/tcp`).
fn owner(table: &str, from: u16, to: u16) -> Option<u32> {
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let mut connections = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    connections.find_map(|fields| {
        let is_this = port(fields.get(1)?) == Some(from) && port(fields.get(2)?) == Some(to);
        is_this.then(|| fields.get(7)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_has_the_owner_that_the_table_says() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1\n   \
             1: 0100007F:1F90 0100007F:A001 01 00000000:00000000 00:00000000 00000000     7        0 102 1\n   \
             2: 0100007F:A001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 103 1\n";
        assert_eq!(owner(table, 0xa001, 0x1f90), Some(1000));
        assert_eq!(owner(table, 0x1f90, 0xa001), Some(7));
        assert_eq!(owner(table, 0xa002, 0x1f90), None);
        assert_eq!(owner("", 1, 2), None);
    }

    #[test]
    fn our_own_connection_is_of_no_other_user() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect(("127.0.0.1", to)).unwrap();
        assert!(!is_of_another_user(stream.local_addr().unwrap().port(), to));
    }
}
