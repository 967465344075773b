//! The `entente` program.

use std::process::ExitCode;

use clap::Parser as _;
use entente::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            cli::tell(&error);
            ExitCode::FAILURE
        }
    }
}
