//! Inputs to outputs, and a queue with workers.

use super::*;
use crate::provider::tests::Scripted;
use crate::provider::{
    CancellationToken, ErrorKind, GenerateError, GenerateRequest, GenerateResponse, block_on,
};
use std::sync::{Arc, Mutex};
use std::thread;

const LETTERS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn processor(provider: &Arc<Scripted>) -> BatchProcessor<&'static str, String> {
    let provider: Arc<dyn crate::provider::Provider> = provider.clone();
    BatchProcessor::new(provider, |letter| as_request(letter), as_output)
}

fn as_request(letter: &str) -> Result<GenerateRequest, GenerateError> {
    match letter {
        "?" => Err(GenerateError::invalid("prompt", "not a letter")),
        letter => Ok(GenerateRequest::prompt(letter)),
    }
}

fn as_output(letter: &str, answer: GenerateResponse) -> Result<String, GenerateError> {
    match answer.content.as_str() {
        "!" => Err(GenerateError::new(ErrorKind::Content, "not an answer")),
        content => Ok(format!("{letter}{content}")),
    }
}

#[test]
fn outputs_are_in_the_order_of_inputs() {
    let provider = Arc::new(Scripted::held());
    let processor = processor(&provider);
    let outputs = thread::scope(|scope| {
        let outputs = scope.spawn(|| processor.run_blocking(LETTERS));
        for letter in LETTERS.iter().rev() {
            provider.let_through(letter);
        }
        outputs.join().unwrap()
    });
    let outputs: Vec<_> = outputs.into_iter().map(Result::unwrap).collect();
    assert_eq!(outputs, ["aA", "bB", "cC", "dD", "eE"]);
}

#[test]
fn what_is_wrong_with_an_input_or_an_answer_is_its_outcome() {
    let provider = Arc::new(Scripted::new().failing("b", ErrorKind::Server));
    let outputs = processor(&provider).run_blocking(["a", "?", "b", "!", "c"]);
    let kinds: Vec<_> = outputs
        .iter()
        .map(|output| output.as_ref().err().map(GenerateError::kind))
        .collect();
    assert_eq!(
        kinds,
        [
            None,
            Some(ErrorKind::InvalidRequest),
            Some(ErrorKind::Server),
            Some(ErrorKind::Content),
            None
        ]
    );
}

#[test]
fn no_inputs_have_no_outputs() {
    let provider = Arc::new(Scripted::new());
    assert!(processor(&provider).run_blocking([]).is_empty());
}

#[test]
fn progress_tells_of_every_input() {
    let provider = Arc::new(Scripted::new().failing("b", ErrorKind::Server));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let processor = processor(&provider).on_progress(move |p| told.lock().unwrap().push(*p));
    processor.run_blocking(LETTERS);
    let seen = seen.lock().unwrap();
    let done: Vec<_> = seen.iter().map(|progress| progress.num_done).collect();
    assert_eq!(done, [1, 2, 3, 4, 5]);
    let last = seen.last().unwrap();
    assert_eq!(last.num_failed, 1);
    assert_eq!(last.num_total, Some(5));
    assert_eq!(last.usage.total_tokens, 8);
}

#[test]
fn a_slow_answer_does_not_let_the_others_pile_up() {
    let provider = Arc::new(Scripted::held());
    let processor = processor(&provider).max_concurrency(2);
    provider.let_through("b");
    let inputs = std::iter::once("a").chain(std::iter::repeat_n("b", 1000));
    let mut outputs = processor.process(inputs);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let next = futures_core::Stream::poll_next(std::pin::Pin::new(&mut outputs), &mut context);
    assert!(next.is_pending());
    assert_eq!(provider.num_begun(), 16);
    provider.let_through("a");
    assert_eq!(block_on(outputs.next()).unwrap().unwrap(), "aA");
    assert_eq!(outputs.into_iter().count(), 1000);
}

#[test]
fn cancelled_inputs_have_an_outcome() {
    let provider = Arc::new(Scripted::held());
    let token = CancellationToken::new();
    let processor = processor(&provider).max_concurrency(2).cancelled_by(&token);
    let mut outputs = processor.process(LETTERS);
    provider.let_through("a");
    assert!(block_on(outputs.next()).unwrap().is_ok());
    token.cancel();
    let rest: Vec<_> = outputs.into_iter().collect();
    assert_eq!(rest.len(), 4);
    assert!(rest.iter().all(|output| {
        let error = output.as_ref().unwrap_err();
        error.kind() == ErrorKind::Cancelled
    }));
    assert_eq!(provider.num_running(), 0);
}

#[test]
fn workers_take_requests_in_turn() {
    let provider = Arc::new(Scripted::new());
    let queue = RequestQueue::start(provider, 3, 4).unwrap();
    let tickets: Vec<_> = LETTERS.map(|letter| queue.submit(letter).unwrap()).into();
    let answers = tickets.into_iter().map(|ticket| ticket.wait().unwrap());
    let answers: Vec<_> = answers.map(|answer| answer.content).collect();
    assert_eq!(answers, ["A", "B", "C", "D", "E"]);
}

#[test]
fn a_full_queue_says_so() {
    let provider = Arc::new(Scripted::held());
    let queue = RequestQueue::start(Arc::clone(&provider) as _, 1, 1).unwrap();
    let first = queue.submit("a").unwrap();
    while provider.num_running() == 0 {
        thread::yield_now();
    }
    let second = queue.submit("b").unwrap();
    let error = queue.try_submit("c").unwrap_err();
    assert_eq!(error, QueueError::Full { capacity: 1 });
    assert_eq!(queue.num_waiting(), 1);
    provider.let_through("a");
    provider.let_through("b");
    assert!(first.wait().is_ok() && second.wait().is_ok());
}

#[test]
fn finishing_a_queue_answers_what_is_in_it() {
    let provider = Arc::new(Scripted::new());
    let queue = RequestQueue::start(provider, 2, 8).unwrap();
    let tickets: Vec<_> = LETTERS.map(|letter| queue.submit(letter).unwrap()).into();
    queue.finish();
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
}

#[test]
fn a_queue_that_is_gone_cancels_what_is_in_it() {
    let provider = Arc::new(Scripted::held());
    let queue = RequestQueue::start(Arc::clone(&provider) as _, 1, 8).unwrap();
    let tickets: Vec<_> = LETTERS.map(|letter| queue.submit(letter).unwrap()).into();
    drop(queue);
    assert_eq!(provider.num_running(), 0);
    for ticket in tickets {
        assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    }
}

#[test]
fn a_ticket_that_is_dropped_frees_its_worker() {
    let provider = Arc::new(Scripted::held());
    let queue = RequestQueue::start(Arc::clone(&provider) as _, 1, 8).unwrap();
    drop(queue.submit("a").unwrap());
    provider.let_through("b");
    let answer = queue.submit("b").unwrap().wait();
    assert_eq!(answer.unwrap().content, "B");
}
