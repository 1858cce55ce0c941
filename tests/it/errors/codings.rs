//! Content codings of bodies, and answers from caches and firewalls in front of the API.

use overmind_export::demo::{Fault, FaultAttempt::*, FaultPage, Faults, Options};

use super::{session, told_on};
use crate::{
    faults::{OUTPUTS, ROWS, TRUTH},
    support::World,
    tree::content,
};

const LINE: &str = "export ID -o rows.jsonl --max-retries 0 -q";

#[test]
fn gzip_aliases_and_several_members_are_decoded() {
    // The coding is called "gzip" or "x-gzip", in any case. A body may consist of several gzip members.
    let (output, _) = OUTPUTS[0];
    for (name, members) in [("GZIP", 1), ("x-gzip", 1), ("X-Gzip", 3), ("gzip", 7)] {
        let fault = Fault::Coding { name: name.to_owned(), members };
        let faults = Faults::none().on(FaultPage::Any, Always, fault);
        let world = World::generated(Options { faults, ..Options::default() }, ROWS);
        world.export(&["-o", output, "--page-size", "25", "--max-retries", "0"]).ok();
        assert!(content(&world.path(output)) == TRUTH[0], "{name}, {members}");
    }
}

#[test]
fn unrequested_coding_is_named() {
    insta::assert_snapshot!(told_on(1, Fault::coding("br"), &[LINE]), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: page 1 is not what it should be
      cause: it is coded as "br", and only gzip was asked for
      hint: a proxy or a cache on the way compresses answers for other clients: tell those who run it
    "#);
    insta::assert_snapshot!(told_on(FaultPage::List, Fault::coding("Zstd, gzip"), &["datasets -q --max-retries 0"]), @r#"
    $ overmind-export datasets -q --max-retries 0
    exit 65
    error: page 1 is not what it should be
      cause: it is coded as "Zstd, gzip", and only gzip was asked for
      hint: a proxy or a cache on the way compresses answers for other clients: tell those who run it
    "#);
}

#[test]
fn damaged_gzip_is_retried() {
    // The header announces gzip, but the body is plain text.
    let plain = Fault::status(200).header("Content-Encoding", "gzip").body(r#"{"count":0}"#);
    insta::assert_snapshot!(told_on(2, plain.clone(), &[LINE]), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 69
    error: the API at http://API stayed unavailable: 1 attempt in T s
      cause: the body is no valid gzip: after 0 decoded bytes it is damaged
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
    let faults = Faults::none().on(2, Nth(1), plain);
    let world = World::generated(Options { faults, ..Options::default() }, 230);
    world.export(&["-o", "rows.jsonl"]).ok();
}

#[test]
fn page_byte_limit_applies_after_decompression() {
    let faults = Faults::none().on(
        1,
        Always,
        Fault::field(0, "input", &format!("\"{}\"", "x".repeat(4 << 20))),
    );
    let world = World::generated(Options { faults, gzip: true, ..Options::default() }, 230);
    let told = session(&world, &["export ID -o rows.jsonl -q --max-page-bytes 2MiB"]);
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl -q --max-page-bytes 2MiB
    exit 65
    error: page 1 is not what it should be
      cause: the body is larger than 2097152 bytes
      hint: ask for fewer rows a page with --page-size, or raise --max-page-bytes
    ");
    world.export(&["-o", "rows.jsonl", "--max-page-bytes", "8MiB"]).ok();
}

#[test]
fn firewall_answer_is_not_attributed_to_the_api() {
    // Before the first answer of the API, a 403 with HTML is reported as a refusal by a firewall or a proxy.
    // After it, the same answer is reported as an outage of the API.
    let told = told_on(1, Fault::html(403), &["export ID -o rows.jsonl -q"]);
    insta::assert_snapshot!(told, @r#"
    $ overmind-export export ID -o rows.jsonl -q
    exit 69
    error: a firewall or a proxy refuses the request
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 403 Forbidden: expected JSON, got text/html; charset=utf-8 that begins "<html><head><title>403</title></head><bo"
      hint: the answer is not the API's: ask those who run the network to let this machine through, or ask for less with --rate-limit or --concurrency
    "#);
    insta::assert_snapshot!(told_on(3, Fault::html(403), &[LINE]), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 69
    error: the API at http://API stayed unavailable: 1 attempt in T s
      cause: GET http://API/api/datasets/ID/datapoints/?page=3&page_size=100 answered 403 Forbidden: expected JSON, got text/html; charset=utf-8 that begins "<html><head><title>403</title></head><bo"
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    "#);
}

#[test]
fn not_modified_is_not_a_redirect() {
    let told = told_on(1, Fault::status(304).body(""), &["export ID -o rows.jsonl -q"]);
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl -q
    exit 69
    error: a cache answers in place of the API
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 304 Not Modified
      hint: a cache on the way to the API answered a question that was not asked: tell those who run it
    ");
    insta::assert_snapshot!(told_on(1, Fault::status(302).body(""), &[LINE]), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 78
    error: the API redirects to nowhere
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 302 Found
      hint: is the base URL the API's?
    ");
}

#[test]
fn non_json_number_error_names_row_and_field() {
    insta::assert_snapshot!(told_on(2, Fault::field(7, "tags", r#"{"score":NaN}"#), &[LINE]), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: page 2 is not what it should be
      cause: row 7, field "tags": NaN, which JSON does not have
      hint: the API sent a row that is no datapoint: tell those who run it; the rows of a page count from 0
    "#);
    let told = told_on(
        FaultPage::List,
        Fault::field(0, "metadata", "-Infinity"),
        &["datasets -q --max-retries 0"],
    );
    insta::assert_snapshot!(told, @r#"
    $ overmind-export datasets -q --max-retries 0
    exit 65
    error: page 1 is not what it should be
      cause: row 0, field "metadata": -Infinity, which JSON does not have
      hint: the API sent a row that is no datapoint: tell those who run it; the rows of a page count from 0
    "#);
}

#[test]
fn impossible_count_ends_the_run_at_once() {
    let faults = Faults::none().on(FaultPage::Any, Always, Fault::Count(u64::MAX));
    let world = World::generated(Options { faults, ..Options::default() }, 1000);
    insta::assert_snapshot!(session(&world, &["export ID -o rows.jsonl"]), @"
    $ overmind-export export ID -o rows.jsonl
    exit 65
    error: page 1 is not what it should be
      cause: its count is 18446744073709551615, and no dataset has so many rows
      hint: tell those who run the API
    ");
    assert_eq!(world.server.stats().requests, 1);
}
