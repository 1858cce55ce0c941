//! The program `overmind-export`; everything that it does is in [`overmind_export::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    overmind_export::cli::main()
}
