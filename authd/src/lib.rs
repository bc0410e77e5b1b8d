//! authd: one small daemon that holds all the auth logic of a team.
pub mod db;
pub mod ephemeral;
pub mod world;
