//! The `entente` program.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use entente::cli::{self, Cli};
use entente::config::{Paint, Report};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli::run(&cli) {
        Ok(code) => code,
        Err(error) => {
            let paint = if std::io::stderr().is_terminal() { Paint::Styled } else { Paint::Plain };
            match error.downcast_ref::<Report>() {
                Some(report) => eprint!("{}", report.render(paint)),
                None => eprintln!("entente: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}
