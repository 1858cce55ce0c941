//! Workers and commits that are killed.

use std::{fs, process::Child, sync::Mutex, time::Duration};

use overmind_export::demo::Options;

use super::{PLAN, ROWS, begin, commit, comparable, part, start_part};
use crate::support::{World, side_by_side};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn killed_workers_change_nothing() {
    // Eight workers at the same time. Each range is killed at a random moment before a worker finishes it, and then
    // written by two workers at once.
    let options = Options { latency: Duration::from_millis(2), ..Options::default() };
    let world = World::generated(options, ROWS);
    begin(&world, "many", 10, &[]).ok();
    let random = Mutex::new(fastrand::Rng::with_seed(8));
    side_by_side(1..=10, |range| {
        let name = format!("{range}/10");
        let mut killed = start_part(&world, "many", &name);
        let more = random.lock().unwrap().u64(0..40);
        let before = world.server.stats().requests;
        world.server.wait_until(Duration::from_secs(1), |stats| stats.requests >= before + more);
        kill(&mut killed);
        let twins = [(); 2].map(|()| start_part(&world, "many", &name));
        for twin in twins {
            let ran = crate::support::Ran::from(twin.wait_with_output().unwrap());
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    });
    commit(&world, "many").ok();
    world.export(&[&["-o", "alone"], &PLAN[..]].concat()).ok();
    assert!(comparable(&world, "many").0 == comparable(&world, "alone").0);
    assert_eq!(world.entries(), ["alone", "alone.manifest.json", "many", "many.manifest.json"]);
}

#[test]
fn killed_commit_is_finished_by_the_next() {
    let worlds: Vec<u64> = (0..16).collect();
    side_by_side(worlds, |seed| {
        let world = World::generated(Options::default(), ROWS);
        begin(&world, "many", 2, &[]).ok();
        for range in ["1/2", "2/2"] {
            part(&world, "many", range).ok();
        }
        let mut run = world.command().args(["commit", "-o", "many", "-q"]).spawn().unwrap();
        let requests = world.server.stats().requests + seed % 3;
        assert!(world.server.wait_until(SOON, |stats| stats.requests >= requests));
        for _ in 0..seed * 2_000 {
            std::hint::spin_loop();
        }
        kill(&mut run);
        // A commit that was killed in its last moment has published the export, and removed the plan.
        let ran = commit(&world, "many");
        assert!(ran.code == Some(0) || ran.code == Some(75), "{ran:?}");
        let left = world.entries();
        let is_tidy = left == ["many", "many.manifest.json"];
        assert!(is_tidy || ran.code == Some(75), "{seed}: {left:?}");
        world.export(&[&["-o", "alone"], &PLAN[..]].concat()).ok();
        assert!(comparable(&world, "many").0 == comparable(&world, "alone").0);
    });
}

#[test]
fn lost_range_of_a_killed_commit_keeps_the_others() {
    let world = World::generated(Options::default(), ROWS);
    begin(&world, "many", 2, &[]).ok();
    for range in ["1/2", "2/2"] {
        part(&world, "many", range).ok();
    }
    // A killed commit has moved all parts. The first one is lost since.
    let staging = world.path(".many.partial");
    fs::create_dir_all(staging.join("data")).unwrap();
    let folders = fs::read_dir(staging.join("ranges")).unwrap().map(|entry| entry.unwrap());
    for folder in folders.filter(|entry| entry.path().is_dir()) {
        let first = if folder.file_name().to_str().unwrap().starts_with("00001-") { 0 } else { 5 };
        for part in 0..5 {
            let to = staging.join(format!("data/part-{:05}.parquet", first + part));
            fs::rename(folder.path().join(format!("part-{part:05}.parquet")), to).unwrap();
        }
    }
    fs::remove_file(staging.join("data/part-00000.parquet")).unwrap();
    let ran = commit(&world, "many");
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.contains("again for 1/2, then commit"), "{}", ran.stderr);
    part(&world, "many", "1/2").ok();
    commit(&world, "many").ok();
    world.export(&[&["-o", "alone"], &PLAN[..]].concat()).ok();
    assert!(comparable(&world, "many").0 == comparable(&world, "alone").0);
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}
