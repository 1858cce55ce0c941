//! Arguments that are numbers: a number out of range is refused before the first request.

use super::arguments::refused;

#[test]
fn number_out_of_range_is_refused() {
    let told = refused(&[
        "export ID -o rows.parquet --page-size 0",
        "export ID -o rows.parquet --page-size 1e3",
        "export ID -o rows.parquet --limit 0",
        "export ID -o rows.parquet --limit -5",
        "export ID -o rows.parquet --pages 0-3",
        "export ID -o rows.parquet --pages 7-3",
        "export ID -o rows.parquet --pages first",
        "export ID -o parts/ --rows-per-file 0",
        "export ID -o rows.parquet --encode-threads 0",
        "export ID -o rows.parquet --concurrency 0",
        "export ID -o rows.parquet --concurrency 65",
        "export ID -o rows.parquet --concurrency x",
        "export ID -o rows.parquet --rate-limit 20",
        "export ID -o rows.parquet --rate-limit 0/s",
        "export ID -o rows.parquet --timeout soon",
        "export ID -o rows.parquet --timeout 0",
        "export ID -o rows.parquet --connect-timeout -1",
        "export ID -o rows.parquet --retry-for 5parsecs",
        "export ID -o rows.parquet --max-retries many",
        "export ID -o rows.parquet --max-page-bytes 0",
        "export ID -o rows.parquet --max-page-bytes 64MX",
        "preview ID --rows 0",
        "demo --serve --page-size 0",
        "demo --serve --rate-limit fast",
    ]);
    insta::assert_snapshot!(told, @r#"
    $ overmind-export export ID -o rows.parquet --page-size 0
    exit 2
    error: invalid value '0' for '--page-size <N>': it must be at least 1

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --page-size 1e3
    exit 2
    error: invalid value '1e3' for '--page-size <N>': give a whole number

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --limit 0
    exit 2
    error: invalid value '0' for '--limit <N>': it must be at least 1

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --limit -5
    exit 2
    error: invalid value '-5' for '--limit <N>': it must be positive

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --pages 0-3
    exit 2
    error: invalid value '0-3' for '--pages <A-B>': pages count from 1

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --pages 7-3
    exit 2
    error: invalid value '7-3' for '--pages <A-B>': it ends before it begins

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --pages first
    exit 2
    error: invalid value 'first' for '--pages <A-B>': use A-B, A- or a single page

    For more information, try '--help'.

    $ overmind-export export ID -o parts/ --rows-per-file 0
    exit 2
    error: invalid value '0' for '--rows-per-file <N>': it must be at least 1

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --encode-threads 0
    exit 2
    error: "0" is not a valid number of encode threads: use 1 to 256

    $ overmind-export export ID -o rows.parquet --concurrency 0
    exit 2
    error: invalid value '0' for '--concurrency <auto|1..64>': give auto or a number from 1 to 64

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --concurrency 65
    exit 2
    error: invalid value '65' for '--concurrency <auto|1..64>': give auto or a number from 1 to 64

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --concurrency x
    exit 2
    error: invalid value 'x' for '--concurrency <auto|1..64>': give auto or a number from 1 to 64

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --rate-limit 20
    exit 2
    error: invalid value '20' for '--rate-limit <RATE>': give requests per second, minute or hour, such as 20/s, 600/min or 0.5/s

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --rate-limit 0/s
    exit 2
    error: invalid value '0/s' for '--rate-limit <RATE>': give requests per second, minute or hour, such as 20/s, 600/min or 0.5/s

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --timeout soon
    exit 2
    error: invalid value 'soon' for '--timeout <TIME>': give a number with a unit, such as 50ms, 10s or 2min

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --timeout 0
    exit 2
    error: invalid value '0' for '--timeout <TIME>': it must be longer than 0 seconds

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --connect-timeout -1
    exit 2
    error: invalid value '-1' for '--connect-timeout <TIME>': it must not be negative

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --retry-for 5parsecs
    exit 2
    error: invalid value '5parsecs' for '--retry-for <TIME>': give a number with a unit, such as 50ms, 10s or 2min

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --max-retries many
    exit 2
    error: invalid value 'many' for '--max-retries <N>': give a whole number

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --max-page-bytes 0
    exit 2
    error: invalid value '0' for '--max-page-bytes <BYTES>': give a number of bytes above zero, such as 64MiB

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --max-page-bytes 64MX
    exit 2
    error: invalid value '64MX' for '--max-page-bytes <BYTES>': the units are B, kB, MB, GB, KiB, MiB and GiB

    For more information, try '--help'.

    $ overmind-export preview ID --rows 0
    exit 2
    error: invalid value '0' for '--rows <N>': it must be at least 1

    For more information, try '--help'.

    $ overmind-export demo --serve --page-size 0
    exit 2
    error: invalid value '0' for '--page-size <N>': it must be at least 1

    For more information, try '--help'.

    $ overmind-export demo --serve --rate-limit fast
    exit 2
    error: invalid value 'fast' for '--rate-limit <RATE>': give requests per second, minute or hour, such as 20/s, 600/min or 0.5/s

    For more information, try '--help'.
    "#);
}

#[test]
fn negative_numbers_are_not_unknown_options() {
    for (line, why) in [
        ("export ID -o rows.parquet --page-size -1", "it must be positive"),
        ("export ID -o parts/ --rows-per-file -1", "it must be positive"),
        ("export ID -o rows.parquet --max-passes -1", "it must be positive"),
        ("export ID -o rows.parquet --encode-threads -1", "it must not be negative"),
        ("export ID -o rows.parquet --prefetch-bytes -1", "it must be positive"),
        ("export ID -o rows.parquet --max-retries -1", "it must not be negative"),
        ("export ID -o rows.parquet --retry-for -1", "it must not be negative"),
        ("export ID -o rows.parquet --max-page-bytes -1", "it must be positive"),
        ("export ID -o rows.parquet --concurrency -1", "give auto or a number from 1 to 64"),
        ("preview ID -n -1", "it must be positive"),
        ("diff a b --show -1", "it must not be negative"),
        ("verify a --max-value-bytes -1", "it must be positive"),
        ("snapshot --jobs -1", "it must be positive"),
        ("schedule --list -1", "it must be positive"),
        ("schedule --list 0", "it must be at least 1"),
        ("schedule --list 1001", "use at most 1,000"),
        ("demo --rows -1", "it must not be negative"),
        ("demo --serve --port -1", "-1 is not in 0..=65535"),
    ] {
        let told = refused(&[line]);
        assert!(told.contains(&format!("': {why}\n")), "{told}");
    }
}
