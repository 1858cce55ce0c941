//! The real binary over real sockets and real files; one test binary, because linking is slow.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy allows these in test functions only, and helpers of tests fail the same way"
)]

mod equality;
mod errors;
mod read;
mod readme;
mod rows;
mod sinks;
mod smoke;
mod stream;
mod support;
mod verify;
