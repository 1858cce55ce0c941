#![cfg(unix)]

use std::io::Read;

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::config::Config;

/// Returns the hook of a job with this `on_result`, in a configuration file in the folder.
fn hook(folder: &Path, on_result: &str) -> Result<OnResult> {
    let text =
        format!("[[job]]\nname = \"a\"\nroot = \"r\"\nselect = \"all\"\non_result = {on_result}\n");
    let config = Config::parse(&text, &folder.join("snapshots.toml")).unwrap();
    Ok(OnResult::of(&config.jobs[0], folder)?.unwrap())
}

/// Writes the program `tell` with another process.
///
/// If this process wrote it, children of other tests could inherit the open file. The system refuses to
/// execute a file that is open for writing ("text file busy").
fn script(folder: &Path, text: &str) {
    let source = folder.join("source");
    fs::write(&source, format!("#!/bin/sh\n{text}\n")).unwrap();
    let mut install = std::process::Command::new("install");
    let made = install.args(["-m", "755"]).arg(source).arg(folder.join("tell")).status();
    assert!(made.unwrap().success());
}

#[tokio::test]
async fn program_gets_json_and_unexpanded_arguments() {
    let folder = TempDir::new().unwrap();
    script(folder.path(), "cat > told; echo \"$#:$1:$2\" >> told");
    let hook = hook(folder.path(), r#"["./tell", "$HOME *; rm -rf x", "b c"]"#).unwrap();
    hook.tell(b"{\"job\":\"a\"}\n", OnResult::LIMIT).await.unwrap();
    let told = fs::read_to_string(folder.path().join("told")).unwrap();
    assert_eq!(told, "{\"job\":\"a\"}\n2:$HOME *; rm -rf x:b c\n");
}

#[tokio::test]
async fn program_may_ignore_its_input() {
    let folder = TempDir::new().unwrap();
    script(folder.path(), "exec 0<&-; exit 0");
    let hook = hook(folder.path(), r#"["./tell"]"#).unwrap();
    hook.tell(&vec![b'x'; 1 << 20], OnResult::LIMIT).await.unwrap();
}

#[tokio::test]
async fn failing_hanging_or_missing_program_is_an_error() {
    let folder = TempDir::new().unwrap();
    script(folder.path(), "if [ \"$1\" = hang ]; then exec sleep 600; fi; exit 7");
    let told = async |on_result: &str, limit| {
        let hook = hook(folder.path(), on_result).unwrap();
        let error = hook.tell(b"{}", Duration::from_millis(limit)).await.unwrap_err();
        error.to_string().replace(&folder.path().display().to_string(), "FOLDER")
    };
    assert_eq!(told(r#"["./tell"]"#, 60_000).await, "FOLDER/./tell ended with exit status: 7");
    assert_eq!(
        told(r#"["./tell", "hang"]"#, 300).await,
        "FOLDER/./tell did not end within 0.3 s and was killed"
    );
    let name = "overmind-no-such-program";
    let said = told(&format!("[\"{name}\"]"), 60_000).await;
    assert_eq!(said, format!("cannot start {name}"));
}

#[test]
fn path_without_executable_is_refused() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("notes"), "").unwrap();
    fs::create_dir(folder.path().join("dir")).unwrap();
    let said = ["./missing", "./notes", "./dir"].map(|program| {
        let error = hook(folder.path(), &format!("[{program:?}]")).unwrap_err();
        assert_eq!(error.exit_code(), 78);
        error.to_string().replace(&folder.path().display().to_string(), "FOLDER")
    });
    insta::assert_snapshot!(said.join("\n"), @r#"
    on_result of job "a": FOLDER/./missing: cannot be run: No such file or directory (os error 2)
    on_result of job "a": FOLDER/./notes: is not executable: run chmod +x on it
    on_result of job "a": FOLDER/./dir: is not a file
    "#);
}

/// Runs a script that starts a child process, and returns the text that both wrote to a FIFO.
///
/// The child writes "survived" after 30 s if it is still alive. The function returns when both processes
/// have closed the FIFO. `end` gets the hook, and a receiver that resolves when both processes run.
async fn left_behind(end: impl AsyncFnOnce(OnResult, oneshot::Receiver<()>)) -> String {
    let folder = TempDir::new().unwrap();
    let fifo = folder.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
    script(
        folder.path(),
        "exec 3>fifo; sh -c 'echo up >&3; sleep 30; echo survived >&3' & cat > /dev/null; wait",
    );
    let (sender, up) = oneshot::channel();
    let reading = tokio::task::spawn_blocking(move || {
        let mut fifo = fs::File::open(fifo).unwrap();
        let mut text = [0; 3];
        fifo.read_exact(&mut text).unwrap();
        sender.send(()).unwrap();
        let mut rest = String::new();
        fifo.read_to_string(&mut rest).unwrap();
        String::from_utf8_lossy(&text).into_owned() + &rest
    });
    end(hook(folder.path(), r#"["./tell"]"#).unwrap(), up).await;
    reading.await.unwrap()
}

#[tokio::test]
async fn timeout_kills_child_processes() {
    let left = left_behind(async |hook, _| {
        let error = hook.tell(b"{}", Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, HookError::TimedOut(..)), "{error}");
    });
    assert_eq!(left.await, "up\n");
}

#[tokio::test]
async fn dropped_run_kills_child_processes() {
    let left = left_behind(async |hook, up| {
        tokio::select! {
            told = hook.tell(b"{}", OnResult::LIMIT) => panic!("{told:?}"),
            up = up => up.unwrap(),
        }
    });
    assert_eq!(left.await, "up\n");
}
