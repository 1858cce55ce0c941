//! Certificates: which are trusted, and what is said of those that are not.

use overmind_export::demo::Options;

use super::{session_with, tell};
use crate::{
    secured::Tls,
    support::{ID, KEY, Ran, World},
};

const EXPORT: &str = "export ID -o rows.jsonl";

/// TLS in front of an embedded API, with a certificate for one name by an authority of its own.
struct Secured {
    world: World,
    tls: Tls,
}

impl Secured {
    /// The authority's certificate is `authority.pem` in the folder.
    fn for_name(name: &str) -> Self {
        let world = World::generated(Options::default(), 300);
        let tls = Tls::before(world.server.addr(), name, world.folder.path());
        Self { world, tls }
    }

    fn told(&self, line: &str) -> String {
        let port = self.tls.port();
        let told = session_with(&self.world, &[line], |it| {
            it.env("OVERMIND_LAB_BASE_URL", format!("https://localhost:{port}"));
        });
        told.replace(&port.to_string(), "PORT")
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_and_not_tried_again() {
    let secured = Secured::for_name("localhost");
    insta::assert_snapshot!(secured.told(EXPORT), @"
    $ overmind-export export ID -o rows.jsonl
    exit 69
    error: the certificate of https://localhost:PORT does not verify
      cause: its issuer is not among the authorities that this machine trusts
      hint: check the base URL; if the server uses a private authority, give its certificate with --ca-cert
    ");
    assert_eq!(secured.tls.connections(), 1);
    assert_eq!(secured.world.server.stats().connections, 0);
    assert_eq!(secured.world.entries(), ["authority.pem"]);
}

#[test]
fn a_private_authority_is_trusted_when_it_is_given() {
    let secured = Secured::for_name("localhost");
    insta::assert_snapshot!(secured.told("export ID -o rows.jsonl --ca-cert authority.pem"), @"
    $ overmind-export export ID -o rows.jsonl --ca-cert authority.pem
    exit 0
    300 rows in 1 file (293.60 KiB) · T s · N rows/s · complete: every row once
      rows.jsonl
    ");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let secured = Secured::for_name("api.example.test");
    insta::assert_snapshot!(secured.told("export ID -o rows.jsonl --ca-cert authority.pem"), @r#"
    $ overmind-export export ID -o rows.jsonl --ca-cert authority.pem
    exit 69
    error: the certificate of https://localhost:PORT does not verify
      cause: certificate not valid for name "localhost"; certificate is only valid for DnsName("api.example.test")
      hint: check the base URL; if the server uses a private authority, give its certificate with --ca-cert
    "#);
    assert_eq!(secured.tls.connections(), 1);
}

#[test]
fn no_log_line_of_a_run_over_tls_holds_the_key() {
    let secured = Secured::for_name("localhost");
    for (trust, expected) in [("", "exit 69"), (" --ca-cert authority.pem", "exit 0")] {
        let told = secured.told(&format!("export ID -o rows.jsonl -vvv{trust}"));
        assert!(told.contains(expected) && told.contains("TRACE"), "{told}");
        assert!(!told.contains(KEY), "{expected}");
    }
}

#[test]
fn a_server_without_tls_is_told_from_one_with_a_bad_certificate() {
    let world = World::generated(Options::default(), 3);
    let mut command = world.command();
    command.env("OVERMIND_LAB_BASE_URL", format!("https://{}", world.server.addr()));
    command.args(["export", &ID.to_string(), "-o", "rows.jsonl", "--max-retries", "0", "-q"]);
    insta::assert_snapshot!(tell(&world, &Ran::of(&mut command)), @"
    exit 69
    error: the API at https://API stayed unavailable: 1 attempt in T s
      cause: cannot connect: what listens there does not speak TLS
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
}
