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
    error: the answer for page 1 is not valid
      cause: its content coding is "br", but only gzip was requested
      hint: a proxy or a cache compresses answers in a way that was not requested: report this to its operator
    "#);
    insta::assert_snapshot!(told_on(FaultPage::List, Fault::coding("Zstd, gzip"), &["datasets -q --max-retries 0"]), @r#"
    $ overmind-export datasets -q --max-retries 0
    exit 65
    error: the answer for page 1 is not valid
      cause: its content coding is "Zstd, gzip", but only gzip was requested
      hint: a proxy or a cache compresses answers in a way that was not requested: report this to its operator
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
      cause: the body is not valid gzip: after 0 decoded bytes it is damaged
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
    error: the answer for page 1 is not valid
      cause: the body is larger than 2,097,152 bytes
      hint: request fewer rows per page with --page-size, or raise --max-page-bytes
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
      hint: a firewall or a proxy sent this answer: ask the operator of the network to allow this machine, or send fewer requests with --rate-limit or --concurrency
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
    error: a cache answers instead of the API
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 304 Not Modified
      hint: a cache sent 304 to a request that was not conditional: report this to its operator
    ");
    insta::assert_snapshot!(told_on(1, Fault::status(302).body(""), &[LINE]), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 78
    error: the API redirects without a target
      cause: GET http://API/api/datasets/ID/datapoints/?page=1&page_size=100 answered 302 Found
      hint: check the base URL
    ");
}

#[test]
fn non_json_number_error_names_row_and_field() {
    insta::assert_snapshot!(told_on(2, Fault::field(7, "tags", r#"{"score":NaN}"#), &[LINE]), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 2 is not valid
      cause: row 7, field "tags": NaN, which is not valid JSON
      hint: the API sent a row that is not a datapoint: report this to its operator; the rows of a page are numbered from 0
    "#);
    let told = told_on(
        FaultPage::List,
        Fault::field(0, "metadata", "-Infinity"),
        &["datasets -q --max-retries 0"],
    );
    insta::assert_snapshot!(told, @r#"
    $ overmind-export datasets -q --max-retries 0
    exit 65
    error: the answer for page 1 is not valid
      cause: row 0, field "metadata": -Infinity, which is not valid JSON
      hint: the API sent a row that is not a datapoint: report this to its operator; the rows of a page are numbered from 0
    "#);
}

#[test]
fn impossible_count_ends_the_run_at_once() {
    let faults = Faults::none().on(FaultPage::Any, Always, Fault::Count(u64::MAX));
    let world = World::generated(Options { faults, ..Options::default() }, 1000);
    insta::assert_snapshot!(session(&world, &["export ID -o rows.jsonl"]), @"
    $ overmind-export export ID -o rows.jsonl
    exit 65
    error: the answer for page 1 is not valid
      cause: its count is 18,446,744,073,709,551,615, which is more rows than a dataset can have
      hint: report this to the operator of the API
    ");
    assert_eq!(world.server.stats().requests, 1);
}
