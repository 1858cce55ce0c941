//! The real binary over real sockets and real files; one test binary, because linking is slow.

mod read;
mod rows;
mod sinks;
mod smoke;
mod support;
