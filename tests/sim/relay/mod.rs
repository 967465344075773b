//! Allocation life cycles of the A/V Edge beside a naive model ([`model`], [`connections`]), driven
//! by one seed: whatever clients and peers do, both say the same of every request, every datagram
//! and every connection, and when time has passed nothing is left.

mod connections;
mod model;
mod tcp;
mod world;

pub(crate) use self::world::{Told, World};
