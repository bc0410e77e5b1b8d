//! authd with its own accounts as the provider of the AWS login.

use crate::authd::{Authd, Setup};
use crate::sts::Sts;
use serde_json::json;

/// The password of [`people`].
pub const PASSWORD: &str = "correct horse battery staple";

/// authd and an STS, without any identity provider. Who is one of `developers` in the service `aws` may use the role
/// `developer`.
#[derive(Debug)]
pub struct Local {
    pub authd: Authd,
    pub sts: Sts,
}

impl Local {
    /// With Alice, who is a developer, and Bob, who is nothing.
    ///
    /// # Panics
    /// When something does not come up.
    pub fn start() -> Self {
        let sts = Sts::start();
        let toml = format!(
            "[local]\nenabled = true\n[[role]]\nname = \"developer\"\narn = \"{}\"\nexternal_id = \"{}\"\n\
             groups = [\"developers\"]\nsession_tags = true\n",
            sts.role("developer"),
            sts.external_id
        );
        let authd = Setup::new().sts(&sts).without("STS_ROLE_ARN").without("STS_EXTERNAL_ID").toml(&toml).start();
        let made = |path: &str, body: &serde_json::Value| {
            let answer = authd.admin().post(path, body).expect("authd answers");
            assert!(matches!(answer.status, 200 | 201), "{path}: {}", answer.text());
        };
        for name in ["alice", "bob"] {
            made("/users", &json!({"username": name, "password": PASSWORD}));
        }
        made("/services", &json!({"name": "aws"}));
        made("/roles", &json!({"name": "developers"}));
        made("/service-roles", &json!({"service_id": "aws", "role_id": "developers"}));
        made("/person-service-roles", &json!({"person_id": "alice", "service_id": "aws", "role_id": "developers"}));
        Self { authd, sts }
    }
}
