//! One call of an operation: the caller, the address and the request id.

use std::net::IpAddr;

use shared::op::Permission;

use crate::caller::Caller;

/// One call of an operation.
#[derive(Clone, Debug)]
pub struct Call {
    pub caller: Caller,
    /// The client's address, from trusted proxies if there are any; none on the admin socket.
    pub address: Option<IpAddr>,
    pub request_id: RequestId,
    /// The permission of the service `authd` that the operation requires.
    pub permission: Option<Permission>,
}

impl Call {
    /// The same call by another caller, for actions of the daemon on their behalf.
    #[must_use]
    pub fn of(&self, caller: Caller) -> Self {
        Self { caller, ..self.clone() }
    }
}

/// Identifies a request in the log: a number unique in this process, written with the process' start so that it is
/// unique across restarts. The text is built only when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    pub process: u32,
    pub number: u64,
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}-{:x}", self.process, self.number)
    }
}
