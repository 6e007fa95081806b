//! Many requests to one provider.

use super::*;

const LETTERS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn contents(answers: &[GenerateResponse]) -> Vec<&str> {
    answers
        .iter()
        .map(|answer| answer.content.as_str())
        .collect()
}

#[test]
fn answers_are_in_the_order_of_requests() {
    let provider = Scripted::new();
    let answers = provider.batch_generate_blocking(LETTERS, &BatchOptions::default());
    assert_eq!(contents(&answers.unwrap()), ["A", "B", "C", "D", "E"]);
}

#[test]
fn no_requests_give_no_answers() {
    let provider = Scripted::new();
    let none: [&str; 0] = [];
    let options = BatchOptions::default();
    assert!(
        provider
            .batch_generate_blocking(none, &options)
            .unwrap()
            .is_empty()
    );
    let outcomes = provider.batch_generate_with_errors_blocking(none, &options);
    assert!(outcomes.is_empty());
    assert_eq!(provider.batch(none, &options).into_iter().count(), 0);
}

#[test]
fn no_more_run_at_a_time_than_may() {
    let provider = Scripted::held();
    let options = BatchOptions::default().batch_size(2);
    let mut outcomes = provider.batch(LETTERS, &options);
    let mut context = std::task::Context::from_waker(Waker::noop());
    let first = futures_core::Stream::poll_next(std::pin::Pin::new(&mut outcomes), &mut context);
    assert!(first.is_pending());
    assert_eq!(provider.num_running(), 2);
    for letter in LETTERS {
        provider.let_through(letter);
    }
    let mut indices: Vec<_> = outcomes.into_iter().map(|(index, _)| index).collect();
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
    assert_eq!(provider.most_running(), 2);
}

#[test]
fn outcomes_come_as_they_finish() {
    let provider = Scripted::held();
    provider.let_through("c");
    let mut outcomes = provider.batch(LETTERS, &BatchOptions::default());
    let (index, outcome) = block_on(outcomes.next()).unwrap();
    assert_eq!((index, outcome.unwrap().content.as_str()), (2, "C"));
    provider.let_through("a");
    assert_eq!(block_on(outcomes.next()).unwrap().0, 0);
    assert_eq!(outcomes.num_running(), 3);
}

#[test]
fn the_first_error_ends_a_batch_and_drops_the_rest() {
    let provider = Scripted::held().failing("b", ErrorKind::Content);
    provider.let_through("b");
    let error = provider
        .batch_generate_blocking(LETTERS, &BatchOptions::default())
        .unwrap_err();
    assert_eq!(error.index, 1);
    assert_eq!(error.error.kind(), ErrorKind::Content);
    assert_eq!(error.to_string(), "request 1: as the script says");
    assert_eq!(provider.num_running(), 0);
}

#[test]
fn requests_behind_a_failed_one_are_never_begun() {
    let provider = Scripted::new().failing("a", ErrorKind::Server);
    let options = BatchOptions::default().max_concurrency(1);
    provider
        .batch_generate_blocking(LETTERS, &options)
        .unwrap_err();
    // The next begins when the one before is done, and is dropped then.
    assert!(provider.num_begun() <= 2, "{}", provider.num_begun());
    assert_eq!(provider.num_running(), 0);
}

#[test]
fn with_errors_every_request_has_its_outcome() {
    let provider = Scripted::new()
        .failing("b", ErrorKind::Timeout)
        .failing("e", ErrorKind::Auth);
    let outcomes = provider.batch_generate_with_errors_blocking(LETTERS, &BatchOptions::default());
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().err().map(GenerateError::kind))
        .collect();
    assert_eq!(
        kinds,
        [
            None,
            Some(ErrorKind::Timeout),
            None,
            None,
            Some(ErrorKind::Auth)
        ]
    );
}

#[test]
fn a_cancelled_batch_still_has_an_outcome_for_each() {
    let provider = Scripted::held();
    provider.let_through("a");
    let options = BatchOptions::default().max_concurrency(2);
    let mut outcomes = provider.batch(LETTERS, &options);
    assert_eq!(block_on(outcomes.next()).unwrap().0, 0);
    options.cancel.cancel();
    let rest: Vec<_> = outcomes
        .into_iter()
        .map(|(index, outcome)| (index, outcome.unwrap_err().kind()))
        .collect();
    let cancelled = |index| (index, ErrorKind::Cancelled);
    assert_eq!(
        rest,
        [cancelled(1), cancelled(2), cancelled(3), cancelled(4)]
    );
    assert_eq!(provider.num_running(), 0);
}

#[test]
fn cancelling_wakes_who_waits() {
    let provider = Scripted::held();
    let options = BatchOptions::default();
    let token = options.cancel.clone();
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| provider.batch_generate_with_errors_blocking(LETTERS, &options));
        while provider.num_running() < LETTERS.len() {
            std::thread::yield_now();
        }
        token.cancel();
        let outcomes = waiting.join().unwrap();
        assert!(outcomes.iter().all(Result::is_err));
    });
}

#[test]
fn requests_are_drawn_as_room_comes_free() {
    let provider = Scripted::held();
    let drawn = AtomicUsize::new(0);
    let endless = std::iter::repeat_with(|| {
        drawn.fetch_add(1, Ordering::SeqCst);
        "a"
    });
    let options = BatchOptions::default().max_concurrency(3);
    let mut outcomes = provider.batch(endless, &options);
    provider.let_through("a");
    assert!(block_on(outcomes.next()).is_some());
    assert!(drawn.load(Ordering::SeqCst) <= 6);
}

#[test]
fn a_provider_behind_an_arc_is_a_provider() {
    let provider: Arc<dyn Provider> = Arc::new(Scripted::new());
    let answer = provider.generate_blocking("x").unwrap();
    assert_eq!(answer.content, "X");
    let answers = provider.batch_generate_blocking(["y"], &BatchOptions::default());
    assert_eq!(contents(&answers.unwrap()), ["Y"]);
}

#[test]
fn a_token_forgets_those_who_no_longer_wait() {
    let token = CancellationToken::new();
    for _ in 0..3 {
        let mut waiting = Box::pin(token.cancelled());
        let mut context = std::task::Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
    }
    token.cancel();
    block_on(token.cancelled());
    assert!(token.is_cancelled());
}
