//! Files of a few KB that declare far more than they hold: a clear answer, and no abort.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use overmind_export::demo::Options;

use crate::support::{Ran, World, command};

/// A Parquet file that is a footer and nothing else.
fn parquet(path: &Path, footer: &[u8]) {
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    fs::write(path, [b"PAR1", footer, &length, b"PAR1"].concat()).unwrap();
}

/// A footer whose schema has these elements.
fn footer(count: u32, elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x15, 4, 0x19, 0xFC];
    let mut rest = count;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.extend_from_slice(elements);
    // No rows, no row groups.
    bytes.extend_from_slice(&[0x16, 0, 0x19, 0x0C, 0]);
    bytes
}

/// A file of this length: a hole, then these bytes.
fn sparse(path: &Path, length: u64, end: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.set_len(length - end.len() as u64).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(end).unwrap();
}

/// Runs a command that may address 1 GB, so that none of the declared sizes can be reserved.
fn limited(world: &World, arguments: &[&str]) -> Ran {
    let mut limited = std::process::Command::new("sh");
    let plain = command(world.folder.path());
    limited.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(world.folder.path());
    limited.args(["-c", "ulimit -v 1000000; exec \"$0\" \"$@\""]).arg(plain.get_program());
    Ran::of(limited.args(arguments))
}

/// Asserts that each command reports the file as damaged, with this reason.
#[track_caller]
fn refused(world: &World, name: &str, why: &str) {
    for arguments in [&["verify", name][..], &["preview", name], &["preview", "-n", "900", name]] {
        let ran = limited(world, arguments);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.code, Some(65), "{arguments:?}: {ran:?}");
        assert!(told.contains(why), "{arguments:?}: {told}");
    }
}

#[test]
fn nested_parquet_groups_do_not_exhaust_the_stack() {
    let world = World::generated(Options::default(), 1);
    for groups in [2_000, 200_000] {
        // Required, without a name, with one child each.
        let group = [0x35, 0, 0x18, 0, 0x15, 2, 0];
        parquet(&world.path("deep.parquet"), &footer(groups, &group.repeat(groups as usize)));
        let why = match groups {
            2_000 => "its footer nests groups more than 64 deep",
            _ => "its footer declares 200,000 columns and groups, and the limit is 10,000",
        };
        refused(&world, "deep.parquet", why);
    }
}

#[test]
fn declared_parquet_children_are_not_reserved() {
    let world = World::generated(Options::default(), 1);
    // 2^31 - 1 children.
    let root = [0x48, 0, 0x15, 0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 0];
    parquet(&world.path("wide.parquet"), &footer(1, &root));
    refused(&world, "wide.parquet", "its footer declares a group of 2147483647 children");
}

#[test]
fn footers_with_a_hole_are_not_read() {
    let world = World::generated(Options::default(), 1);
    const DECLARED: i32 = 1_400_000_000;
    for (name, magic) in [("hole.parquet", &b"PAR1"[..]), ("hole.arrow", b"ARROW1")] {
        let end = [&DECLARED.to_le_bytes()[..], magic].concat();
        sparse(&world.path(name), 1_500_000_000, &end);
        refused(&world, name, "its footer has 1,400,000,0");
    }
}

#[test]
fn arrow_batch_with_a_hole_is_not_reserved() {
    let world = World::generated(Options::default(), 10);
    world.export(&["-o", "rows.arrow"]).ok();
    let bytes = world.read("rows.arrow");
    let tail = bytes.len() - 10;
    let length = i32::from_le_bytes(bytes[tail..tail + 4].try_into().unwrap()) as usize;
    let (head, footer) = bytes.split_at(tail - length);
    // The only block: the position of the batch, the length of its head, and the length of its body. The body
    // ends before the end of the stream.
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let is_block = |at: &usize| {
        let (start, body) = (number(&footer[*at..*at + 8]), number(&footer[*at + 16..*at + 24]));
        let metadata = number(&footer[*at + 8..*at + 16]) & 0xFFFF_FFFF;
        let end = start.saturating_add(metadata).saturating_add(body).saturating_add(8);
        start > 0 && metadata > 0 && body > 0 && end == head.len() as u64
    };
    let at = (0..footer.len() - 24).find(is_block).expect("a block");
    const DECLARED: u64 = 200_000_000_000;
    let mut footer = footer.to_vec();
    footer[at + 16..at + 24].copy_from_slice(&DECLARED.to_le_bytes());
    let path = world.path("hole.arrow");
    sparse(&path, DECLARED + bytes.len() as u64, &footer);
    let mut file = File::options().write(true).open(&path).unwrap();
    file.write_all(head).unwrap();
    for arguments in [&["preview", "hole.arrow"][..], &["preview", "--columns", "id", "hole.arrow"]]
    {
        let ran = Ran::of(command(world.folder.path()).args(arguments));
        assert_eq!(ran.code, Some(65), "{ran:?}");
        assert!(ran.stderr.contains("a batch with its other columns has 200,000,00"), "{ran:?}");
    }
}

#[test]
fn declared_parquet_lengths_are_not_reserved() {
    let world = World::generated(Options::default(), 10);
    world.export(&["-o", "rows.parquet", "--compression", "none"]).ok();
    let mut bytes = world.read("rows.parquet");
    // The lengths of the first text column: blocks of 128, 4 miniblocks, ten lengths. Then 2^31 - 1 lengths.
    let at = bytes.windows(4).position(|it| it == [0x80, 1, 4, 10]).expect("lengths");
    bytes[at + 3..at + 8].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 7]);
    fs::write(world.path("long.parquet"), bytes).unwrap();
    for arguments in [&["preview", "long.parquet"][..], &["preview", "--json", "long.parquet"]] {
        let ran = limited(&world, arguments);
        assert_eq!(ran.code, Some(65), "{ran:?}");
        assert!(ran.stderr.contains("a page has more lengths than values"), "{ran:?}");
    }
}
