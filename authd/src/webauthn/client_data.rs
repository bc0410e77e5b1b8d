//! Client data (§5.8.1): what the browser says about a ceremony.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Challenge, Fault, MAX_CLIENT_DATA};

/// The two ceremonies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ceremony {
    Create,
    Get,
}

impl Ceremony {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "webauthn.create",
            Self::Get => "webauthn.get",
        }
    }
}

/// Members that browsers may add are not judged; those that are may appear once.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
    /// Read, not skipped: what another reader would refuse is refused here.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Verifies that the browser made these bytes for this ceremony, challenge and origin, in no frame of another origin.
pub(super) fn verify(bytes: &[u8], ceremony: Ceremony, challenge: &Challenge, origin: &str) -> Result<(), Fault> {
    // Browsers write an object without anything before it (§5.8.1.1); serde would also take an array for a struct.
    if bytes.len() > MAX_CLIENT_DATA || !bytes.starts_with(b"{") {
        return Err(Fault::ClientData);
    }
    let data: ClientData = serde_json::from_slice(bytes).map_err(|_| Fault::ClientData)?;
    if data.r#type != ceremony.as_str() {
        return Err(Fault::Ceremony);
    }
    // As text: it has one spelling.
    if data.challenge != BASE64_URL_SAFE_NO_PAD.encode(challenge) {
        return Err(Fault::Challenge);
    }
    if data.origin != origin {
        return Err(Fault::Origin);
    }
    if data.cross_origin || data.others.contains_key("topOrigin") {
        return Err(Fault::CrossOrigin);
    }
    Ok(())
}
