//! Tests of the real binary and of the library, with real sockets and real files. One test binary, because linking
//! is slow.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "clippy allows these only in test functions, but test helpers may fail in the same way"
)]

mod ahead;
mod architecture;
mod card;
mod cluster;
mod contract;
mod convert;
#[cfg(unix)]
mod crafted;
mod csv;
mod diff;
mod equality;
mod errors;
mod faults;
mod foreign;
mod forms;
#[cfg(unix)]
mod fuzz;
#[cfg(unix)]
mod hostile;
mod installed;
#[cfg(target_os = "linux")]
mod memory;
mod mixed;
mod moving;
mod nested;
#[cfg(unix)]
mod paths;
#[cfg(unix)]
mod process;
mod publish;
mod read;
mod readme;
mod records;
mod report;
mod resume;
mod rows;
#[cfg(unix)]
mod schedule;
mod secured;
mod sinks;
mod smoke;
mod snapshots;
#[cfg(all(target_os = "linux", feature = "clouds"))]
mod soak;
#[cfg(feature = "clouds")]
mod stores;
mod stream;
#[cfg(unix)]
mod streams;
mod support;
#[cfg(unix)]
mod terminal;
mod transform;
mod tree;
mod verify;
