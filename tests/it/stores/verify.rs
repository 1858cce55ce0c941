//! `verify` and `preview` of exports in a store.

use std::fs;

use overmind_export::demo::Options;

use super::server::Store;
use crate::support::{ID, Ran, World};

const OUTPUT: &str = "s3://bucket/out/";

struct Place {
    world: World,
    store: Store,
}

impl Place {
    /// An export of 1,000 rows in 4 parts.
    fn exported(format: &str) -> Self {
        let place =
            Self { world: World::generated(Options::default(), 1000), store: Store::start() };
        place
            .run(&[
                "export",
                &ID.to_string(),
                "-o",
                OUTPUT,
                "--format",
                format,
                "--rows-per-file",
                "300",
            ])
            .ok();
        place
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.store.command(&self.world).args(arguments))
    }

    fn part(&self, number: usize) -> String {
        let start = format!("out/part-{number:05}-");
        self.store.keys().into_iter().find(|key| key.starts_with(&start)).unwrap()
    }

    fn edit(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.store.path(key);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn untouched_export_is_ok_in_every_format() {
    for format in ["parquet", "arrow", "jsonl"] {
        let place = Place::exported(format);
        let ran = place.run(&["verify", OUTPUT]).ok();
        let how = if format == "jsonl" { "SHA-256" } else { "SHA-256, XXH3" };
        let ok = format!("ok, 1,000 rows; every byte was checked ({how})\n");
        assert_eq!((&*ran.stdout, &*ran.stderr), (&*format!("s3://bucket/out/: {ok}"), ""));
        let file = format!("s3://bucket/rows.{format}");
        place.run(&["export", &ID.to_string(), "-o", &file, "--manifest"]).ok();
        assert_eq!(place.run(&["verify", &file]).ok().stdout, format!("{file}: {ok}"));
    }
}

#[test]
fn each_kind_of_damage_is_named() {
    type Damage<'a> = &'a dyn Fn(&Place);
    let table: [(Damage<'_>, &str); 7] = [
        (&|place| fs::remove_file(place.store.path(&place.part(2))).unwrap(), " is missing"),
        (
            &|place| fs::write(place.store.path("out/stray.parquet"), "").unwrap(),
            "stray.parquet is not in the manifest",
        ),
        (&|place| place.edit(&place.part(1), |bytes| bytes[5000] ^= 1), ".parquet: SHA-256 "),
        (
            &|place| place.edit(&place.part(1), |bytes| bytes.truncate(bytes.len() - 1)),
            ".parquet: bytes ",
        ),
        (
            &|place| {
                place.edit("out.manifest.json", |bytes| {
                    let text = String::from_utf8(bytes.clone()).unwrap();
                    *bytes = text.replacen("\"rows\": 1000", "\"rows\": 999", 1).into_bytes();
                });
            },
            "out.manifest.json: rows 1,000, recorded 999",
        ),
        (
            &|place| fs::remove_file(place.store.path("out.manifest.json")).unwrap(),
            "out.manifest.json is missing, and there are parts of an export",
        ),
        (
            &|place| {
                fs::create_dir_all(place.store.path("out/_overmind")).unwrap();
                fs::write(place.store.path("out/_overmind/header.state"), "{}").unwrap();
            },
            "_overmind exists: a run is in progress, or was interrupted",
        ),
    ];
    for (damage, problem) in table {
        let place = Place::exported("parquet");
        damage(&place);
        let ran = place.run(&["verify", OUTPUT]);
        assert_eq!(ran.code, Some(65), "{problem}: {ran:?}");
        assert!(ran.stdout.contains(problem), "{problem}: {ran:?}");
    }
}

#[test]
fn exports_are_previewed_from_every_location() {
    let place = Place::exported("parquet");
    let id = ID.to_string();
    place.run(&["export", &id, "-o", "out", "--rows-per-file", "300"]).ok();
    place.run(&["export", &id, "-o", "rows.jsonl.gz"]).ok();
    let api = place.run(&["preview", &id, "-n", "3"]).ok();
    for export in ["out", "rows.jsonl.gz", OUTPUT] {
        let told = place.run(&["preview", export, "-n", "3"]).ok();
        // A JSON Lines file does not contain its number of rows.
        let told = told.stdout.replace("the first 3 rows", "3 of 1,000 rows");
        assert_eq!(told, api.stdout, "{export}");
    }
    let json = place.run(&["preview", OUTPUT, "-n", "700", "--json", "--columns", "id,order"]).ok();
    assert_eq!(
        json.stdout,
        place.run(&["preview", &id, "-n", "700", "--json", "--columns", "id,order"]).ok().stdout
    );
    let requests = place.world.server.stats().requests;
    let ran = place.run(&["preview", OUTPUT, "--search", "x"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("filters select a dataset"), "{ran:?}");
    let ran = place.run(&["preview", "s3://bucket/nothing/"]);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(
        ran.stderr
            .contains("s3://bucket/nothing/: it has no record: there is no nothing.manifest.json")
    );
    assert_eq!(place.world.server.stats().requests, requests);
}
