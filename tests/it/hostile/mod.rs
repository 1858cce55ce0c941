//! What other users and programs put in the way of an export, and what file systems lack: each is refused
//! or survived, and nothing of anybody else's is touched.

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
/// A user who is not this one.
const OTHER: u32 = 65534;

fn world() -> World {
    World::generated(Options::default(), 230)
}

/// A world whose page of this number comes late the first time, with a run that waits for it.
fn waiting(page: u64, late: Duration, arguments: &[&str]) -> (World, Child) {
    let faults = Faults::none().on(page, FaultAttempt::First(1), Fault::Delay(late));
    let world = World::generated(Options { faults, ..Options::default() }, 230);
    let run = world.start(arguments);
    assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, page) == 1));
    (world, run)
}

/// Gives a file or a folder with all that is in it to another user; only the administrator can.
fn give_away(path: &Path) -> bool {
    if std::os::unix::fs::lchown(path, Some(OTHER), Some(OTHER)).is_err() {
        eprintln!("SKIPPED: only the administrator can make files of another user");
        return false;
    }
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| {
            give_away(&entry.unwrap().path());
        });
    }
    true
}

/// The command as another user; `None` where this one cannot become that user.
fn as_other(world: &World, arguments: &[&str]) -> Option<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overmind-export"));
    command.args(["export", &ID.to_string()]).args(arguments);
    command.env_clear().envs(world.command().get_envs().filter_map(|(k, v)| Some((k, v?))));
    command.current_dir(world.folder.path()).uid(OTHER).gid(OTHER);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok();
    if child.is_none() {
        eprintln!("SKIPPED: this user cannot become another, or the other cannot run the command");
    }
    child
}

/// A folder in the world's own that everybody may enter and write, with these permissions.
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
