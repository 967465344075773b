//! The relay's shell over the kernel, by ring and by epoll: what clients and peers of real sockets
//! see, and that nothing is left behind.

mod company;
mod hops;
mod hostile;
mod media;
mod operating;
mod quotas;
mod shared_tcp;
mod strangers;
mod streams;
mod tcp;
mod tcp_threads;
mod threads;
mod trains;
mod turn;
