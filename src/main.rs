//! The program `overmind-export`. Its code is in [`overmind_export::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    overmind_export::cli::main()
}
