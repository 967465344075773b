//! quickstart
#![allow(dead_code)]
mod ladder;
mod message;
mod next_hop;
mod story;
mod world;
