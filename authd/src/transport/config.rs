//! `[server]` and `[admin]`.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ::http::Uri;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize, de};
use shared::op::Permission;
use shared::secret::{Secret, redacted};
use shared::url;

use crate::setting::{Faults, check_usable, check_writers};

/// The longest path of a socket on Linux, in bytes (unix(7)).
const MAX_SOCKET_PATH: usize = 107;
/// The largest networks of proxies. A larger one is no network of proxies, and a client within it could choose its own
/// address. Private IPv6 addresses are the one /7 (RFC 4193).
const WIDEST_IPV4: u8 = 8;
const WIDEST_IPV6: u8 = 16;
const PRIVATE_IPV6: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7);

/// The public HTTP listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    #[serde(deserialize_with = "address")]
    pub addr: SocketAddr,
    /// The base of redirects and links, never the Host header. If empty, `http://` and the address.
    pub public_url: String,
    /// More names of the pages' host, for proxies that send another one and are not in `trusted_proxies`.
    pub hosts: Vec<String>,
    /// The networks whose `X-Forwarded-For` is trusted. A single address is a network too.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Maximum number of open connections. Above it those of the network that has most are closed, idle ones first.
    pub max_connections: usize,
    /// Maximum memory of connections and of requests that are not complete, in bytes, by the same rule.
    pub max_held: usize,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// Seconds for the head of a connection's first request to arrive.
    pub first_byte_seconds: u64,
    /// Seconds for the head of every other request to arrive, including idle time before it.
    pub head_seconds: u64,
    /// Seconds for a request's body to arrive.
    pub body_seconds: u64,
    /// Seconds for requests under way to finish at shutdown.
    pub drain_seconds: u64,
    /// Whether gRPC clients may ask which services and messages there are.
    pub grpc_reflection: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: String::new(),
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            max_connections: 10_000,
            max_held: 128 << 20,
            max_body: 64 << 10,
            first_byte_seconds: 10,
            head_seconds: 75,
            body_seconds: 20,
            drain_seconds: 25,
            grpc_reflection: false,
        }
    }
}

impl Config {
    pub fn check(&self, faults: &mut Faults) {
        faults.base_url("server.public_url (AUTHD_PUBLIC_URL)", &self.public_url);
        if url::parse(&self.public_url).is_ok_and(|uri| !uri.path().trim_matches('/').is_empty()) {
            faults.warn(
                "server.public_url (AUTHD_PUBLIC_URL) has a path: browsers send the cookie of authd's sessions to every \
                 application of that host, and its scripts can act for whoever is signed in; a host of its own is safer",
            );
        }
        for host in &self.hosts {
            let is_name = |uri: Uri| uri.path() == "/" && uri.query().is_none() && uri.port().is_none();
            if !url::parse(&format!("http://{host}")).is_ok_and(is_name) {
                faults.refuse(format!(
                    "server.hosts (AUTHD_HOSTS): {host:?} is not the name of a host, such as authd.internal.example"
                ));
            }
        }
        for network in &self.trusted_proxies {
            let is_narrow = match network {
                IpNet::V4(network) => network.prefix_len() >= WIDEST_IPV4,
                IpNet::V6(network) => network.prefix_len() >= WIDEST_IPV6 || PRIVATE_IPV6.contains(network),
            };
            if !is_narrow || network.addr().is_unspecified() {
                faults.refuse(format!(
                    "server.trusted_proxies (AUTHD_TRUSTED_PROXIES): {network} is not a network of proxies: every client in \
                     it could choose the address that it is judged by; name the addresses of your proxies"
                ));
            }
        }
        let connections = (1..=1_000_000).contains(&self.max_connections);
        faults.require(connections, "server.max_connections (AUTHD_MAX_CONNECTIONS) must be from 1 to 1000000");
        faults
            .require((1024..=64 << 20).contains(&self.max_body), "server.max_body must be from 1024 to 67108864 bytes");
        let holds = self.max_held >= self.max_body.saturating_mul(4).max(1 << 20);
        faults.require(holds, "server.max_held must be at least 1048576 bytes, and four times server.max_body");
        for (name, seconds) in [
            ("first_byte_seconds", self.first_byte_seconds),
            ("head_seconds", self.head_seconds),
            ("body_seconds", self.body_seconds),
        ] {
            faults.require((1..=3600).contains(&seconds), &format!("server.{name} must be from 1 to 3600"));
        }
        faults.require(self.drain_seconds <= 3600, "server.drain_seconds must be at most 3600");
    }

    /// Checks that authd can listen on the address, unless a daemon with these settings does so already.
    pub fn check_address(&self, admin: &Admin, faults: &mut Faults) {
        if admin.addr == Some(self.addr) && self.addr.port() != 0 {
            faults
                .refuse(format!("admin.addr (AUTHD_ADMIN_ADDR): {} is the address of the public listener", self.addr));
            return;
        }
        for (name, addr) in
            [("server.addr (SERVER_ADDR)", Some(self.addr)), ("admin.addr (AUTHD_ADMIN_ADDR)", admin.addr)]
        {
            if let Some(addr) = addr
                && let Err(error) = TcpListener::bind(addr)
                && (error.kind() != ErrorKind::AddrInUse || UnixStream::connect(&admin.socket).is_err())
            {
                faults.refuse(format!("{name}: authd cannot listen on {addr}: {error}"));
            }
        }
    }
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    let text = text.trim();
    // This machine, whatever a name server says (RFC 6761 §6.3).
    let on_localhost =
        text.split_at_checked("localhost:".len()).filter(|(host, _)| host.eq_ignore_ascii_case("localhost:"));
    let text = on_localhost.map_or_else(|| text.to_owned(), |(_, port)| format!("127.0.0.1:{port}"));
    let form = "expected an address and a port from 0 to 65535, such as 127.0.0.1:8080 or [::1]:8080; names other than \
                localhost are not looked up";
    text.parse().map_err(|_| de::Error::custom(form))
}

fn some_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    address(from).map(Some)
}

fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    Vec::<Network>::deserialize(from).map(|networks| networks.into_iter().map(|network| network.0).collect())
}

/// A network or a single address. One in the IPv6 form of IPv4 (RFC 4291 §2.5.5.2) is the IPv4 one, which addresses are
/// compared as.
struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let text = text.trim();
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| {
            de::Error::custom(format!("{text:?} is not an address or a network, such as 192.0.2.7 or 10.0.0.0/8"))
        })?;
        Ok(Self(match network {
            IpNet::V6(v6) => match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
                (Some(address), Some(prefix)) => Ipv4Net::new(address, prefix).map_err(de::Error::custom)?.into(),
                _ => network,
            },
            IpNet::V4(_) => network,
        }))
    }
}

/// The admin socket, and the bearer token with the same permissions over HTTP.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// If empty, a path in the runtime directory.
    pub socket: PathBuf,
    /// A listener for management. With it, operations that take a permission of authd are not at the public one.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some_address")]
    pub addr: Option<SocketAddr>,
    /// `ADMIN_TOKEN`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub token: Option<Secret>,
    /// The permissions of users and groups on the socket; root and the daemon's own user have all.
    #[serde(rename = "peer")]
    pub peers: Vec<Peer>,
}

impl Admin {
    pub fn check(&self, faults: &mut Faults) {
        if let Some(token) = &self.token {
            let token = token.expose();
            if token.len() < 16 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                faults.refuse(
                    "admin.token (ADMIN_TOKEN) must have at least 16 characters, letters, digits and signs without spaces; \
                     try: openssl rand -hex 32",
                );
            }
        }
        if self.socket.as_os_str().len() > MAX_SOCKET_PATH {
            let path = self.socket.display();
            faults.refuse(format!(
                "admin.socket (AUTHD_ADMIN_SOCKET): {path} is longer than the {MAX_SOCKET_PATH} bytes of a socket's path; \
                 choose a shorter one"
            ));
        }
        for peer in &self.peers {
            faults.require(
                peer.user.is_some() != peer.group.is_some(),
                "each [[admin.peer]] names either a user or a group",
            );
            for unknown in peer.permissions.iter().filter(|name| Permission::parse(name).is_none()) {
                let known: Vec<&str> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
                let known = known.join(", ");
                faults.refuse(format!("[[admin.peer]]: no permission is named {unknown:?}; there are {known}"));
            }
        }
    }

    /// Checks what is at the socket's path on this machine.
    pub fn check_place(&self, faults: &mut Faults) {
        let name = "admin.socket (AUTHD_ADMIN_SOCKET)";
        if fs::symlink_metadata(&self.socket).is_ok_and(|metadata| !metadata.file_type().is_socket()) {
            faults.refuse(format!("{name}: {} is a file of another kind; choose another path", self.socket.display()));
        }
        let folder = self.socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Err(fault) = check_usable(folder) {
            faults.refuse(format!("{name}: {fault}"));
        }
        // Where the folder has the sticky bit, others cannot replace the socket (unlink(2)).
        let shared = fs::metadata(folder).ok().filter(|metadata| metadata.mode() & 0o1000 == 0);
        if let Some(Err(fault)) = shared.map(|metadata| check_writers(folder, &metadata)) {
            faults.warn(format!("{name}: whoever can write in its folder can take its place: {fault}"));
        }
    }
}

/// A user or a group of this machine, with its permissions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// A user's name or uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A group's name or gid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Permissions such as `tokens.write`; `admin` is all.
    pub permissions: Vec<String>,
}
