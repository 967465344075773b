//! The Access Edge without a shell: legs are numbers, bytes go in by `feed` and are read from
//! staging. Names follow the rules they show; DESIGN 6 unless a document is named.

mod bad_input;
mod credentials;
mod decided;
mod dialog;
mod failover;
mod gateway;
mod keep_alive;
mod limits;
mod message;
mod parking;
mod pipe;
mod providers;
mod refusals;
mod reload;
mod remote_user;
mod revocation;
mod topology;
mod users;
mod world;
