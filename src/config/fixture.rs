//! What tests of the configuration start from.

/// The least that is accepted, for a test to add to.
pub(crate) const LEAST: &str = include_str!("../../tests/fixtures/least.toml");
