mod another;
mod life;
mod microsoft;
mod peers;
mod requests;
mod shared;
mod trains;
mod world;
