//! Exports to object stores. The tests use a real S3 server in this process, over real sockets.

mod cards;
mod commit;
mod conformance;
mod control;
mod crash;
mod damage;
mod diff;
mod filtered;
mod foreign;
mod late;
mod locks;
mod messages;
mod nested;
mod pinned;
pub(crate) mod server;
mod snapshots;
mod split;
mod tls;
mod uploads;
mod verify;

pub(crate) use self::crash::{Place, control_objects};
