#![cfg(unix)]

use std::io::Read;

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::config::Config;

/// What the job of a configuration with this `on_result` tells, which lies in the folder.
fn hook(folder: &Path, on_result: &str) -> Result<OnResult> {
    let text =
        format!("[[job]]\nname = \"a\"\nroot = \"r\"\nselect = \"all\"\non_result = {on_result}\n");
    let config = Config::parse(&text, &folder.join("snapshots.toml")).unwrap();
    Ok(OnResult::of(&config.jobs[0], folder)?.unwrap())
}

/// Another process writes the program: were it open here, what other tests start meanwhile would have it
/// open for writing until it runs, and nothing can execute a file that is ("text file busy").
fn script(folder: &Path, text: &str) {
    let source = folder.join("source");
    fs::write(&source, format!("#!/bin/sh\n{text}\n")).unwrap();
    let mut install = std::process::Command::new("install");
    let made = install.args(["-m", "755"]).arg(source).arg(folder.join("tell")).status();
    assert!(made.unwrap().success());
}

#[tokio::test]
async fn the_program_gets_the_json_and_its_arguments_as_they_are_written() {
    let folder = TempDir::new().unwrap();
    script(folder.path(), "cat > told; echo \"$#:$1:$2\" >> told");
    let hook = hook(folder.path(), r#"["./tell", "$HOME *; rm -rf x", "b c"]"#).unwrap();
    hook.tell(b"{\"job\":\"a\"}\n", OnResult::LIMIT).await.unwrap();
    let told = fs::read_to_string(folder.path().join("told")).unwrap();
    assert_eq!(told, "{\"job\":\"a\"}\n2:$HOME *; rm -rf x:b c\n");
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_is_none_the_worse() {
    let folder = TempDir::new().unwrap();
    script(folder.path(), "exec 0<&-; exit 0");
    let hook = hook(folder.path(), r#"["./tell"]"#).unwrap();
    hook.tell(&vec![b'x'; 1 << 20], OnResult::LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_program_that_fails_or_hangs_or_is_not_there_is_told_of() {
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
fn a_path_that_is_no_program_is_refused_when_the_file_is_read() {
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
    on_result of job "a": FOLDER/./notes: may not be executed: chmod +x
    on_result of job "a": FOLDER/./dir: is no file
    "#);
}

/// A script's process that starts another, which would write to a FIFO if it lived on; gives what the FIFO
/// held when the last of both had closed it. `end` gets the program, and what resolves when both run.
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
async fn a_timeout_kills_what_the_program_started() {
    let left = left_behind(async |hook, _| {
        let error = hook.tell(b"{}", Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, HookError::TimedOut(..)), "{error}");
    });
    assert_eq!(left.await, "up\n");
}

#[tokio::test]
async fn a_dropped_run_kills_what_the_program_started() {
    let left = left_behind(async |hook, up| {
        tokio::select! {
            told = hook.tell(b"{}", OnResult::LIMIT) => panic!("{told:?}"),
            up = up => up.unwrap(),
        }
    });
    assert_eq!(left.await, "up\n");
}
