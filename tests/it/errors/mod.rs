//! Snapshots of whole messages, as the real binary prints them to users.

mod answers;
mod arguments;
mod broken;
mod codings;
mod commands;
mod configuration;
mod keys;
mod number_arguments;
mod numbers;
mod output;
mod pages;
mod proxies;
mod secrets;
mod signals;
mod tls;

use std::{
    net::{SocketAddr, TcpListener},
    process::Command,
};

use overmind_export::demo::{Fault, FaultAttempt::Always, FaultPage, Faults, Options};

use crate::support::{ID, Ran, World};

/// Runs each line as a separate command and returns the transcript, as a terminal would show it.
fn session(world: &World, lines: &[&str]) -> String {
    session_with(world, lines, |_| {})
}

fn session_with(world: &World, lines: &[&str], prepare: impl Fn(&mut Command)) -> String {
    let mut told = String::new();
    for line in lines {
        let mut command = world.command();
        command.args(line.replace("ID", &ID.to_string()).split_whitespace());
        prepare(&mut command);
        told += &format!("$ overmind-export {line}\n{}\n", tell(world, &Ran::of(&mut command)));
    }
    told
}

/// The output of a command, without the values that differ from run to run.
fn tell(world: &World, ran: &Ran) -> String {
    let told = ran.told(world).replace(&ID.to_string(), "ID");
    told.lines().map(|line| steady(line) + "\n").collect()
}

/// The transcript of the commands when every request for this page fails with this fault. Panics if
/// the commands leave anything in the folder.
#[track_caller]
fn told_on(page: impl Into<FaultPage>, fault: Fault, lines: &[&str]) -> String {
    let faults = Faults::none().on(page, Always, fault);
    let world = World::generated(Options { faults, ..Options::default() }, 1000);
    let told = session(&world, lines);
    assert_eq!(world.entries(), [""; 0]);
    told
}

/// All lines of a transcript, each treated by [`steady`].
fn steadily(told: &str) -> String {
    told.lines().map(|line| steady(line) + "\n").collect()
}

/// Replaces times and rates in a line by placeholders: `2 attempts in T s`, `· T s · N rows/s`.
fn steady(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let word = |index: usize| words.get(index).copied().unwrap_or_default();
    let steady = (0..words.len()).map(|index| {
        let number = word(index).replace(',', "").parse::<f64>().is_ok();
        let elapsed = index > 0 && matches!(word(index - 1), "in" | "·");
        match (word(index), word(index + 1)) {
            (_, "s" | "s:") if number && elapsed => "T",
            (_, "rows/s") if number => "N",
            (time, _) if time.len() == 27 && time.ends_with('Z') => "TIME",
            (word, _) => word,
        }
    });
    steady.collect::<Vec<_>>().join(" ")
}

/// An address on which no server listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
