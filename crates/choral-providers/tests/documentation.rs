//! What the documentation says is what the code does.

use choral::provider::{Capabilities, GenerateParams};
use choral_providers::{Api, Kind, capability_table};

const GUIDE: &str = include_str!("../../../docs/batch-generation.md");

#[test]
fn the_table_of_capabilities_is_the_codes() {
    let (begin, end) = (
        "<!-- capabilities: begin -->\n",
        "<!-- capabilities: end -->",
    );
    let table = GUIDE
        .split_once(begin)
        .and_then(|(_, rest)| rest.split_once(end));
    let (found, _) = table.expect("the guide has the table");
    let expected = capability_table();
    assert!(
        found == expected,
        "the table in the guide should be:\n{expected}"
    );
}

#[test]
fn every_kind_names_parameters_that_there_are() {
    let all = Kind::ALL.into_iter().flat_map(|kind| {
        let apis = [Api::Chat, Api::Completions, Api::Responses];
        apis.map(|api| kind.capabilities(api))
    });
    for Capabilities { parameters, .. } in all.flatten() {
        for name in parameters {
            assert!(GenerateParams::NAMES.contains(name), "{name}");
        }
    }
}
