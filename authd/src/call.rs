//! One call of an operation: who calls, from where, under which id.

use std::net::IpAddr;

use shared::op::Permission;

use crate::caller::Caller;

/// One call of an operation.
#[derive(Clone, Debug)]
pub struct Call {
    pub caller: Caller,
    /// The client's address, as far as trusted proxies tell; none on the admin socket.
    pub address: Option<IpAddr>,
    pub request_id: RequestId,
    /// The permission of the service `authd` that the operation demands of its caller.
    pub permission: Option<Permission>,
}

impl Call {
    /// The same call by somebody else, for what the daemon does in their name.
    #[must_use]
    pub fn of(&self, caller: Caller) -> Self {
        Self { caller, ..self.clone() }
    }
}

/// Finds one request in the log: a number unique in this process, written with the process' start so that it is
/// unique across restarts. Text is made only when somebody reads it.
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
