//! Workers and commits that are killed.

use std::{process::Child, sync::Mutex, time::Duration};

use overmind_export::demo::Options;

use super::{
    ROWS, assert_commits, assert_is_of_one_machine, begin, commit, start_part, write_parts,
};
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
    assert_commits(&world, &[]);
    assert_eq!(world.entries(), ["alone", "alone.manifest.json", "many", "many.manifest.json"]);
}

#[test]
fn killed_commit_is_finished_by_the_next() {
    let worlds: Vec<u64> = (0..16).collect();
    side_by_side(worlds, |seed| {
        let world = World::generated(Options::default(), ROWS);
        begin(&world, "many", 2, &[]).ok();
        write_parts(&world, 2);
        let mut run = world.command().args(["commit", "-o", "many", "-q"]).spawn().unwrap();
        let requests = world.server.stats().requests + seed % 3;
        assert!(world.server.wait_until(SOON, |stats| stats.requests >= requests));
        for _ in 0..seed * 2_000 {
            std::hint::spin_loop();
        }
        kill(&mut run);
        // A commit that was killed in its last moment has published the export, and removed the plan.
        commit(&world, "many").ok();
        assert_eq!(world.entries(), ["many", "many.manifest.json"], "{seed}");
        assert_is_of_one_machine(&world, &[]);
    });
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}
