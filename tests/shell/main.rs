//! The shard's shell with real TLS on both ends: over the kernel by ring and by epoll, and over
//! pipes that split, stall and reset wherever a seed says.
//!
//! The core is a test's own (`lines`), so that what is judged here is the shell alone: what the
//! core was told, in which order, what arrived on the wire, and that nothing is left behind.

mod drain;
mod kernel;
mod lines;
mod measure;
mod pipes;
mod pressure;
mod relay;
mod reload;
mod shards;
mod starttls;
mod world;
