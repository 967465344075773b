//! Under construction.
pub mod quickstart;
