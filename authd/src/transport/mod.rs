//! From bytes on a socket to a call of an operation, and back.

mod body;
pub mod browser;
mod credentials;
mod forward;
mod forwarded;
pub mod http;
pub mod listen;
mod pages;
mod patient;
mod peer;
#[cfg(test)]
mod tests;
