//! A seeded generator for what is to be spread and need not be hard to guess: the order of targets,
//! the moment of the next attempt.

/// xorshift64*; the same seed gives the same numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread(u64);

impl Spread {
    /// `seed`: whatever it is, the generator does not stand still.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) const fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
