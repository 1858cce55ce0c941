//! The real binary over real sockets and real files; one test binary, because linking is slow.

mod errors;
mod smoke;
mod support;
