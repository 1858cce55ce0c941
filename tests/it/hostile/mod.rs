//! Obstacles from other users and programs, and file systems with missing features. In each case an export
//! succeeds or ends with an error. It never touches files of other users or programs.

mod known_before;
#[cfg(target_os = "linux")]
mod layers;
mod links;
mod parts;
mod replaced;
mod staging;

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use overmind_export::demo::{Fault, FaultAttempt, Faults, Options};

use crate::support::{ID, World};

const SOON: Duration = Duration::from_secs(30);
/// Id of a user and a group other than those of the test.
const OTHER: u32 = 65534;

fn world() -> World {
    World::generated(Options::default(), 230)
}

/// Creates a world that delays the first answer for `page` by `late`, and starts a run. Returns both when the
/// run has requested this page.
fn waiting(page: u64, late: Duration, arguments: &[&str]) -> (World, Child) {
    let faults = Faults::none().on(page, FaultAttempt::First(1), Fault::Delay(late));
    let world = World::generated(Options { faults, ..Options::default() }, 230);
    let run = world.start(arguments);
    assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, page) == 1));
    (world, run)
}

/// Gives a file, or a folder with its whole content, to another user. Returns `false` if the test does not
/// run as root.
fn give_away(path: &Path) -> bool {
    if std::os::unix::fs::lchown(path, Some(OTHER), Some(OTHER)).is_err() {
        eprintln!("SKIPPED: only root can create files of another user");
        return false;
    }
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| {
            give_away(&entry.unwrap().path());
        });
    }
    true
}

/// Starts the command as another user. Returns `None` if the test may not switch to that user.
fn as_other(world: &World, arguments: &[&str]) -> Option<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overmind-export"));
    command.args(["export", &ID.to_string()]).args(arguments);
    command.env_clear().envs(world.command().get_envs().filter_map(|(k, v)| Some((k, v?))));
    command.current_dir(world.folder.path()).uid(OTHER).gid(OTHER);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok();
    if child.is_none() {
        eprintln!("SKIPPED: cannot switch to another user, or that user cannot run the command");
    }
    child
}

/// Creates the folder `shared` with these permissions. Other users can reach it.
fn shared(world: &World, mode: u32) -> PathBuf {
    let shared = world.path("shared");
    fs::set_permissions(world.folder.path(), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
    shared
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn signal(name: &str, run: &Child) {
    let kill = format!("kill -{name} {}", run.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}
