//! Vendors' batches: made, followed, fetched, cancelled, and found again.

mod common;

use choral::provider::{
    BatchState, BatchTicket, ErrorKind, GenerateError, GenerateRequest, Provider, RemoteOutcome,
    block_on,
};
use choral_mock::{BatchEnd, MockServer};
use choral_providers::{Kind, Remote};
use common::{client, expected};

const VENDORS: [Kind; 2] = [Kind::OpenAi, Kind::Anthropic];

fn requests() -> Vec<GenerateRequest> {
    let request = |i| GenerateRequest::prompt(format!("Question {i}")).max_tokens(300);
    (0..20).map(request).collect()
}

fn submit(provider: &Remote) -> BatchTicket {
    let batches = provider.remote_batch().unwrap();
    block_on(batches.submit(requests())).unwrap()
}

/// Waits for the end and fetches what came of it.
fn finish(provider: &Remote, ticket: &BatchTicket) -> (BatchState, Vec<RemoteOutcome>) {
    let batches = provider.remote_batch().unwrap();
    let mut seen = Vec::new();
    let status = block_on(batches.wait(ticket, &mut |status| seen.push(status.state)));
    let status = status.unwrap();
    assert_eq!(seen.last(), Some(&status.state));
    (status.state, block_on(batches.results(ticket)).unwrap())
}

fn kinds(outcomes: &[RemoteOutcome]) -> Vec<Option<ErrorKind>> {
    let kind = |outcome: &RemoteOutcome| outcome.result.as_ref().err().map(GenerateError::kind);
    outcomes.iter().map(kind).collect()
}

#[test]
fn a_batch_is_answered_in_its_order_after_a_restart() {
    for kind in VENDORS {
        let server = MockServer::start().unwrap();
        let ticket = submit(&client(&server, kind).build().unwrap());
        // All that another process would have.
        let stored = serde_json::to_string(&ticket).unwrap();
        let ticket: BatchTicket = serde_json::from_str(&stored).unwrap();
        let again = client(&server, kind).build().unwrap();
        let (state, outcomes) = finish(&again, &ticket);
        assert_eq!(state, BatchState::Completed);
        assert_eq!(outcomes.len(), 20);
        for (i, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.id, i.to_string());
            let answer = outcome.result.as_ref().unwrap();
            assert_eq!(answer.content, expected(&format!("Question {i}")));
            assert_eq!(answer.id.as_deref(), Some(outcome.id.as_str()));
            assert!(answer.usage.total_tokens > 0);
        }
    }
}

#[test]
fn a_batch_that_expires_has_an_outcome_for_each() {
    for kind in VENDORS {
        let server = MockServer::builder().batch_end(BatchEnd::Expired);
        let server = server.start().unwrap();
        let provider = client(&server, kind).build().unwrap();
        let (state, outcomes) = finish(&provider, &submit(&provider));
        assert_eq!(state, BatchState::Expired, "{}", kind.name());
        let kinds = kinds(&outcomes);
        let expired = kinds
            .iter()
            .filter(|kind| **kind == Some(ErrorKind::Expired));
        let answered = kinds.iter().filter(|kind| kind.is_none());
        assert_eq!((answered.count(), expired.count()), (10, 10));
    }
}

#[test]
fn a_batch_that_is_cancelled_has_an_outcome_for_each() {
    for kind in VENDORS {
        let server = MockServer::start().unwrap();
        let provider = client(&server, kind).build().unwrap();
        let ticket = submit(&provider);
        let batches = provider.remote_batch().unwrap();
        block_on(batches.cancel(&ticket)).unwrap();
        let (state, outcomes) = finish(&provider, &ticket);
        assert_eq!(state, BatchState::Cancelled, "{}", kind.name());
        assert_eq!(outcomes.len(), 20);
        let is_cancelled =
            |kind: &Option<ErrorKind>| matches!(kind, None | Some(ErrorKind::Cancelled));
        assert!(kinds(&outcomes).iter().all(is_cancelled));
        assert!(kinds(&outcomes).contains(&Some(ErrorKind::Cancelled)));
    }
}

#[test]
fn a_batch_that_is_refused_says_why_for_each() {
    let server = MockServer::builder().batch_end(BatchEnd::Failed);
    let server = server.start().unwrap();
    let provider = client(&server, Kind::OpenAi).build().unwrap();
    let (state, outcomes) = finish(&provider, &submit(&provider));
    assert_eq!(state, BatchState::Failed);
    assert!(outcomes.iter().all(|outcome| outcome.result.is_err()));
    let provider = client(&server, Kind::Anthropic).build().unwrap();
    let (state, outcomes) = finish(&provider, &submit(&provider));
    assert_eq!(state, BatchState::Completed);
    assert!(outcomes.iter().all(|outcome| outcome.result.is_err()));
}

#[test]
fn what_no_vendor_takes_is_refused_before_anything_is_sent() {
    let server = MockServer::start().unwrap();
    for kind in VENDORS {
        let provider = client(&server, kind).build().unwrap();
        let batches = provider.remote_batch().unwrap();
        let twice = ["a", "a"].map(|id| GenerateRequest::prompt("x").with_id(id));
        let mut odd = GenerateRequest::prompt("x");
        odd.params.min_p = Some(0.5);
        for (requests, field) in [
            (Vec::new(), "requests"),
            (twice.to_vec(), "id"),
            (vec![odd], "min_p"),
        ] {
            let error = block_on(batches.submit(requests)).unwrap_err();
            assert_eq!(error.field(), Some(field), "{error}");
        }
    }
    let anthropic = client(&server, Kind::Anthropic).build().unwrap();
    let spaced = GenerateRequest::prompt("x").with_id("two words");
    let batches = anthropic.remote_batch().unwrap();
    assert!(block_on(batches.submit(vec![spaced])).is_err());
    assert_eq!(server.log().num_requests(), 0);
    assert!(
        client(&server, Kind::Ollama)
            .build()
            .unwrap()
            .remote_batch()
            .is_none()
    );
}

#[test]
fn a_batch_is_not_made_twice_when_nobody_knows_whether_it_was_made() {
    for (kind, path) in [
        (Kind::OpenAi, "/v1/batches"),
        (Kind::Anthropic, "/v1/messages/batches"),
    ] {
        let server = MockServer::builder()
            .script("reset*".parse().unwrap())
            .faults_on(path)
            .start()
            .unwrap();
        let provider = client(&server, kind).build().unwrap();
        let batches = provider.remote_batch().unwrap();
        let error = block_on(batches.submit(requests())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connection);
        assert_eq!(server.log().requests_to(path).len(), 1, "{}", kind.name());
    }
}

#[test]
fn a_ticket_of_somebody_else_or_with_a_strange_id_does_no_harm() {
    let server = MockServer::start().unwrap();
    let provider = client(&server, Kind::OpenAi).build().unwrap();
    let batches = provider.remote_batch().unwrap();
    let mut ticket = BatchTicket {
        provider: "anthropic".to_owned(),
        model: "m".to_owned(),
        id: "msgbatch_1".to_owned(),
        input_file_id: None,
        request_ids: Vec::new(),
    };
    let error = block_on(batches.status(&ticket)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(server.log().num_requests(), 0);
    ticket.provider = "openai".to_owned();
    ticket.id = "../../files/x?y#z".to_owned();
    let error = block_on(batches.status(&ticket)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let requests = server.log().requests();
    assert_eq!(requests[0].path, "/v1/batches/..%2F..%2Ffiles%2Fx%3Fy%23z");
}
