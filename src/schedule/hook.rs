//! `on_result`: a program of the user's is told of a run; no shell, a time limit, and never the key.

use std::{
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

/// A program and its arguments, as they are given to the system: nothing in them is expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnResult {
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
}

/// Why the program did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// It did not start.
    #[error("cannot start {}", .0.display())]
    Start(PathBuf, #[source] io::Error),
    /// It could not be given the result, or waited for.
    #[error("cannot talk to {}", .0.display())]
    Talk(PathBuf, #[source] io::Error),
    /// It ended otherwise than with 0.
    #[error("{} ended with {}", .0.display(), .1)]
    Failed(PathBuf, ExitStatus),
    /// It took too long and was killed, with all that it had started.
    #[error("{} did not end within {} and was killed", .0.display(), human(*.1))]
    TimedOut(PathBuf, Duration),
}

impl OnResult {
    /// How long the program may take.
    pub const LIMIT: Duration = Duration::from_secs(60);

    /// What a job's `on_result` names, if it names anything; it will run in this folder. A program
    /// without a slash is looked for in `PATH` when it is run.
    ///
    /// # Errors
    /// [`Error::Configuration`] when a program that is a path is no file that can be executed.
    pub fn of(job: &Job, folder: &Path) -> Result<Option<Self>> {
        let Some((program, arguments)) = job.on_result.as_ref().and_then(|it| it.split_first())
        else {
            return Ok(None);
        };
        if program.contains('/') {
            executable(Path::new(program)).map_err(|why| {
                let name = &job.name;
                Error::Configuration(format!("on_result of job {name:?}: {program}: {why}"))
            })?;
        }
        let (program, folder) = (PathBuf::from(program), folder.to_owned());
        Ok(Some(Self { program, arguments: arguments.to_vec(), folder }))
    }

    /// Runs the program with this on its standard input, for at most this long. What it prints goes to
    /// standard error. It has a process group of its own, which is killed whole when the time is up or this
    /// is dropped; what it has moved to another group or session lives on.
    ///
    /// # Errors
    /// [`HookError`]: whatever kept it from ending with 0.
    pub async fn tell(&self, json: &[u8], limit: Duration) -> Result<(), HookError> {
        let program = || self.program.clone();
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(io::stderr())
            .kill_on_drop(true);
        // It is told what happened, not how to do it itself.
        for name in KEY_VARIABLES {
            command.env_remove(name);
        }
        // What it starts in turn is ended with it.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| HookError::Start(program(), error))?;
        let group = Group::of(&child);
        let stdin = child.stdin.take();
        let told = async { tokio::try_join!(feed(stdin, json), child.wait()) };
        let told = timeout(limit, told).await;
        if let Ok(Ok(_)) = told {
            // It ended by itself: what it left in the background was meant to stay.
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

/// The process group of a program. Dropping this kills all of it.
#[cfg(unix)]
struct Group(Option<Pid>);

#[cfg(unix)]
impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(id) = id {
            orphans::is_ours(id);
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
            // It may have ended a moment ago.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// Elsewhere tokio ends the program alone.
#[cfg(not(unix))]
struct Group;

#[cfg(not(unix))]
impl Group {
    fn of(_: &Child) -> Self {
        Self
    }

    fn leave(self) {}
}

/// A program that does not care for its input may close it.
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
        (false, _) => Err("is no file".to_owned()),
        (_, false) => Err("may not be executed: chmod +x".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
