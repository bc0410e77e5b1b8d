//! Feature tests of the room, through the registry.
