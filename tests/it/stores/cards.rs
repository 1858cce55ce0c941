//! Exports with a dataset card in a store.

use super::Place;
use crate::{
    card::{CARD, SPLIT},
    support::Ran,
};

#[test]
fn card_in_a_store_is_published_and_replaced() {
    let place = Place::new();
    let arguments = [&["-o", "s3://bucket/rows/"], &CARD[..], &SPLIT].concat();
    let keys = || -> Vec<String> {
        let keys = place.store.keys().into_iter().filter(|key| key.starts_with("rows"));
        keys.map(|key| key.split("part-").next().unwrap().to_owned()).collect()
    };
    let verify =
        || Ran::of(place.store.command(&place.world).args(["verify", "s3://bucket/rows/"]));
    // Killed between the record and the card.
    place.kill_at(&arguments, "PUT /bucket/rows/README.md", 1);
    assert!(verify().stdout.contains("README.md is missing"));
    let finished = place.export(&arguments);
    assert!(finished.stderr.contains("the publication of an interrupted run"), "{finished:?}");
    verify().ok();
    assert!(keys().contains(&"rows/README.md".to_owned()), "{:?}", keys());
    let overwrite = ["-o", "s3://bucket/rows/", "--overwrite"];
    place.export(&overwrite).ok();
    assert_eq!(keys(), ["rows.manifest.json", "rows/"]);
    verify().ok();
    place.export(&[&arguments[..], &["--overwrite"]].concat()).ok();
    verify().ok();
    // A card that somebody has changed is not replaced.
    place.store.put("rows/README.md", b"mine");
    let refused = place.export(&overwrite);
    assert!(refused.stderr.contains("holds \"README.md\" with 4 bytes"), "{}", refused.stderr);
}
