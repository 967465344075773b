// mod bad_input;
mod dialback;
// mod gateways;
// mod limits;
// mod matrix;
// mod outgoing;
mod receiving;
// mod reload;
mod world;
