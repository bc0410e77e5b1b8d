//! The browser login that ends in AWS credentials.

use crate::config::Config;
use crate::registry::Registry;

/// The room's state: providers with their keys, and who is renewing.
#[derive(Debug)]
pub struct CliLogin {}

impl CliLogin {
    pub fn new(_config: &Config) -> Self {
        Self {}
    }
}

pub fn register(_registry: &mut Registry) {}
