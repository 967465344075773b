//! What is counted: the catalogue of series and the exporter that renders them.
//!
//! Nothing on the data path touches this module. Shards count in plain integers of their own,
//! which are copied once a second; the admin thread reads the copies when it is asked.

pub mod catalogue;
mod exporter;

pub use catalogue::{Kind, Series};
pub use exporter::{Buckets, Exporter};
