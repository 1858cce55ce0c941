//! `schedule` and other processes: FIFOs in place of its files, idle connections, and programs that outlive their
//! parent.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    thread,
    time::Instant,
};

use overmind_export::demo::Options;

use super::{SOON, Service, configuration, overdue, program};
use crate::support::{KEY, World};

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn sighup_does_not_wait_for_a_fifo() {
    let world = World::generated(Options::default(), 1);
    let path = world.path("snapshots.toml");
    fs::write(&path, configuration("")).unwrap();
    let service = Service::start(&world, &[]);
    service.says("next run job=\"nightly\"");
    fs::remove_file(&path).unwrap();
    fifo(&path);
    service.signal("HUP");
    // While no process writes to the FIFO, `schedule` still answers requests. It logs an error after 10 s
    // and reads the next file.
    assert!(service.get("GET /healthz").contains("200 OK"));
    let log = service.says("could not be read within 10 s: is one of them a FIFO?");
    assert!(
        log.contains("cannot use the configuration file: the old configuration stays in use"),
        "{log}"
    );
    fs::remove_file(&path).unwrap();
    fs::write(&path, configuration("")).unwrap();
    service.signal("HUP");
    service.says("the configuration file was read again");
    // `schedule` can be stopped while it waits for a FIFO.
    fs::remove_file(&path).unwrap();
    fifo(&path);
    service.signal("HUP");
    service.stop();
}

#[test]
fn start_reads_fifos_and_can_be_stopped() {
    let world = World::generated(Options::default(), 1);
    for name in ["snapshots.toml", "key"] {
        fifo(&world.path(name));
    }
    let mut command = world.command();
    command.env_remove("OVERMIND_LAB_API_KEY");
    let service = Service::start_as(command, &["--api-key-file", "key"]);
    // Opening a FIFO for writing blocks until `schedule` opens it for reading.
    fs::write(world.path("snapshots.toml"), configuration("")).unwrap();
    fs::write(world.path("key"), format!("{KEY}\n")).unwrap();
    service.says("next run job=\"nightly\"");
    service.stop();

    let service = Service::start(&world, &[]);
    // The FIFO is open for writing but empty, so `schedule` waits for its end.
    let writer = fs::OpenOptions::new().write(true).open(world.path("snapshots.toml")).unwrap();
    service.stop();
    drop(writer);
}

#[test]
fn idle_connections_do_not_block_scrapers() {
    let world = World::generated(Options::default(), 1);
    fs::write(world.path("snapshots.toml"), configuration("")).unwrap();
    let service = Service::start(&world, &[]);
    let log = service.says("serving metrics");
    let address = log.split("metrics=http://").nth(1).unwrap().split('/').next().unwrap();
    let mut idle: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    for request in ["GET /healthz", "GET /metrics"] {
        assert!(service.get(request).starts_with("HTTP/1.1 200 OK"));
    }
    // The server closes idle connections to make room. It closes the others when no request comes in time.
    for socket in &mut idle {
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = Vec::new();
        if let Err(error) = socket.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert_eq!(answer, b"");
    }
    service.stop();
}

#[test]
fn stop_kills_processes_started_by_on_result() {
    let world = overdue(Options::default(), 10, "on_result = [\"./hang\"]\n");
    fifo(&world.path("fifo"));
    program(
        &world,
        "hang",
        "exec 3>fifo; sh -c 'echo up >&3; echo hanging; sleep 30; echo survived >&3' & wait",
    );
    let service = Service::start(&world, &[]);
    let path = world.path("fifo");
    let reading = thread::spawn(move || fs::read_to_string(path).unwrap());
    service.says("hanging");
    service.signal("TERM");
    service.says("stopping the active runs");
    service.signal("TERM");
    assert_eq!(service.ended().code, Some(143));
    assert_eq!(reading.join().unwrap(), "up\n");
}

#[cfg(target_os = "linux")]
#[test]
fn process_1_reaps_orphans() {
    let world = overdue(Options::default(), 10, "on_result = [\"./leave\"]\n");
    fifo(&world.path("fifo"));
    // The orphans end when the FIFO is closed.
    program(
        &world,
        "leave",
        "for i in 1 2 3; do sh -c 'cat fifo >/dev/null; true' & done; echo left",
    );
    let plain = world.command();
    let mut command = Command::new("unshare");
    command.env_clear().current_dir(world.folder.path());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let inside = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let probe = Command::new("unshare").args(inside).arg("true").output();
    if !probe.is_ok_and(|ran| ran.status.success()) {
        return println!("skipped: this system does not allow process namespaces");
    }
    command.args(inside).arg(plain.get_program());
    let service = Service::start_as(command, &[]);
    service.says("left");
    service.says("next run job=\"nightly\"");
    let main = children(service.child.id())[0].0;
    let mut writer = fs::OpenOptions::new().write(true).open(world.path("fifo")).unwrap();
    let orphans: Vec<u32> = children(main).into_iter().map(|(id, _)| id).collect();
    assert!(!orphans.is_empty());
    writer.write_all(b"end\n").unwrap();
    drop(writer);
    // An orphan that opened the FIFO after this end needs another end. So the FIFO is opened and closed again.
    let deadline = Instant::now() + SOON;
    while !children(main).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", children(main));
        fs::OpenOptions::new().read(true).write(true).open(world.path("fifo")).unwrap();
        thread::yield_now();
    }
    Command::new("kill").arg(main.to_string()).status().unwrap();
    assert_eq!(service.ended().code, Some(143));
}

/// The ids and states of a process's children.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Ok(id) = name.parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        let words: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        if words[1] == parent.to_string() {
            found.push((id, words[0].to_owned()));
        }
    }
    found
}
