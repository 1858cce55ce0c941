//! `on_result`: passes the result of a run to a program of the user. The program runs without a shell, with
//! a time limit, and without the API key.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    time::timeout,
};

#[cfg(unix)]
use super::orphans;
use crate::{
    client::KEY_VARIABLES,
    config::Job,
    error::{Error, Result, human},
};

/// A program and its arguments. They are passed to the system unchanged: no shell expands them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnResult {
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
}

/// The reason why the program failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// The program did not start.
    #[error("cannot start {}", .0.display())]
    Start(PathBuf, #[source] io::Error),
    /// Writing the result to the program, or waiting for its end, failed.
    #[error("cannot talk to {}", .0.display())]
    Talk(PathBuf, #[source] io::Error),
    /// The program ended with an exit status other than 0.
    #[error("{} ended with {}", .0.display(), .1)]
    Failed(PathBuf, ExitStatus),
    /// The program took too long and was killed, together with its process group.
    #[error("{} did not end within {} and was killed", .0.display(), human(*.1))]
    TimedOut(PathBuf, Duration),
}

impl OnResult {
    /// Time limit for the program.
    pub const LIMIT: Duration = Duration::from_secs(60);

    /// Returns the program of a job's `on_result`, if it has one. The program will run in this folder.
    ///
    /// A program name without a slash is searched in `PATH` when it is run.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the program is a path and not an executable file.
    pub fn of(job: &Job, folder: &Path) -> Result<Option<Self>> {
        let Some((program, arguments)) = job.on_result.as_ref().and_then(|it| it.split_first())
        else {
            return Ok(None);
        };
        if program.to_string_lossy().contains('/') {
            executable(Path::new(program)).map_err(|why| {
                let (name, program) = (&job.name, program.display());
                Error::Configuration(format!("on_result of job {name:?}: {program}: {why}"))
            })?;
        }
        let (program, folder) = (PathBuf::from(program), folder.to_owned());
        Ok(Some(Self { program, arguments: arguments.to_vec(), folder }))
    }

    /// Runs the program with `json` on its standard input, for at most `limit`.
    ///
    /// The program's output goes to standard error. The program gets its own process group. The whole group
    /// is killed when the time is up or when this future is dropped. Processes that have moved to another
    /// group or session continue.
    ///
    /// # Errors
    /// [`HookError`] if the program does not end with exit status 0.
    pub async fn tell(&self, json: &[u8], limit: Duration) -> Result<(), HookError> {
        let program = || self.program.clone();
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(io::stderr())
            .kill_on_drop(true);
        // The program gets the result, but not the API key.
        for name in KEY_VARIABLES {
            command.env_remove(name);
        }
        // Use one process group for the program and its children, so that they are killed together.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| HookError::Start(program(), error))?;
        let group = Group::of(&child);
        let stdin = child.stdin.take();
        let told = async { tokio::try_join!(feed(stdin, json), child.wait()) };
        let told = timeout(limit, told).await;
        if let Ok(Ok(_)) = told {
            // The program ended by itself, so its background processes may continue.
            group.leave();
        }
        match told {
            Ok(Ok(((), status))) if status.success() => Ok(()),
            Ok(Ok(((), status))) => Err(HookError::Failed(program(), status)),
            Ok(Err(error)) => Err(HookError::Talk(program(), error)),
            Err(_) => Err(HookError::TimedOut(program(), limit)),
        }
    }
}

/// The process group of a program. Dropping this value kills the whole group.
#[cfg(unix)]
struct Group(Option<Pid>);

#[cfg(unix)]
impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(id) = id {
            orphans::register_child(id);
        }
        Self(id)
    }

    fn leave(mut self) {
        self.0 = None;
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0.take() {
            // Ignore the error: the group may have ended already.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// A placeholder for systems without process groups. There tokio kills only the program itself.
#[cfg(not(unix))]
struct Group;

#[cfg(not(unix))]
impl Group {
    fn of(_: &Child) -> Self {
        Self
    }

    fn leave(self) {}
}

/// Writes the result to the program's standard input. A program that closes its input is not an error.
async fn feed(stdin: Option<ChildStdin>, json: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match stdin.write_all(json).await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

fn executable(program: &Path) -> Result<(), String> {
    let facts = fs::metadata(program).map_err(|error| format!("cannot be run: {error}"))?;
    #[cfg(unix)]
    let allowed = std::os::unix::fs::PermissionsExt::mode(&facts.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let allowed = true;
    match (facts.is_file(), allowed) {
        (false, _) => Err("is not a file".to_owned()),
        (_, false) => Err("is not executable: run chmod +x on it".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
