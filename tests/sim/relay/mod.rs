//! Allocation life cycles of the A/V Edge beside a naive model ([`model`]), driven by one seed:
//! whatever clients and peers do, both say the same of every request and every datagram, and when
//! time has passed nothing is left.

mod model;
mod world;

pub(crate) use self::world::{Told, World};
