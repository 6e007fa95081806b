//! Who waits for whom, and who must not.

use super::*;
use std::sync::mpsc;
use std::thread;

#[test]
fn dropping_a_stream_cancels_it_at_the_next_step_boundary() {
    let (engine, gate) = gated(EngineConfig::default());
    let stream = engine.submit(tokens(&[1, 2, 3]).with_params(exactly(100)));
    let stream = stream.expect("accepted");
    gate.wait_for_step();
    drop(stream);
    gate.permit_step();
    // One step for each of the other's two tokens, and none for the first one.
    let other = engine.submit(tokens(&[4]).with_params(exactly(2)));
    gate.permit_step();
    gate.permit_step();
    other.expect("accepted").wait();
    let metrics = engine.metrics();
    assert_eq!(metrics.num_steps, 3);
    assert_eq!((metrics.num_running, metrics.kv_blocks_used), (0, 0));
}

#[test]
fn a_cancelled_request_ends_with_what_it_has() {
    let (engine, gate) = gated(EngineConfig::default());
    let params = SamplingParams {
        n: 2,
        ..exactly(100)
    };
    let stream = engine.submit(tokens(&[1, 2, 3]).with_params(params.clone()));
    let stream = stream.expect("accepted");
    gate.permit_step();
    gate.wait_for_step();
    gate.wait_for_step();
    stream.cancel();
    gate.open();
    let (streamed, output) = read(stream);
    for (choice, answer) in (0..).zip(&output.outputs) {
        assert_eq!(answer.finish_reason, FinishReason::Cancelled);
        // One token of the first step, one of the step that was under way.
        assert_eq!(answer.token_ids, alone(&[1, 2, 3], &params, choice)[..2]);
        assert_eq!(streamed[choice as usize].0, answer.text);
    }
}

#[test]
fn a_request_can_be_cancelled_before_it_runs() {
    let (engine, gate) = gated(EngineConfig {
        max_num_seqs: 1,
        ..EngineConfig::default()
    });
    let first = engine.submit(tokens(&[1])).expect("accepted");
    gate.wait_for_step();
    let second = engine.submit(tokens(&[2])).expect("accepted");
    second.cancel();
    gate.open();
    let second = second.wait();
    assert_eq!(only(&second).finish_reason, FinishReason::Cancelled);
    assert_eq!(second.metrics.queue_s, 0.0, "it never left the queue");
    assert_eq!(only(&first.wait()).finish_reason, FinishReason::Length);
    assert_eq!(engine.metrics().num_waiting, 0);
}

#[test]
fn a_full_queue_refuses_or_makes_wait() {
    let (engine, gate) = gated(EngineConfig {
        max_num_seqs: 1,
        queue_capacity: 2,
        ..EngineConfig::default()
    });
    let running = engine.submit(tokens(&[1])).expect("accepted");
    gate.wait_for_step();
    // It runs, so it does not wait any more.
    let waiting = [2, 3].map(|at| engine.submit(tokens(&[at])).expect("accepted"));
    assert_eq!(engine.metrics().num_waiting, 2);
    for _ in 0..2 {
        let refused = engine.submit(tokens(&[4]));
        assert!(matches!(
            refused.map(|_| ()),
            Err(SubmitError::Overloaded { capacity: 2 })
        ));
    }
    let patient = {
        let engine = engine.clone();
        thread::spawn(move || engine.submit_wait(tokens(&[5])).expect("accepted").wait())
    };
    gate.open();
    let patient = patient.join().expect("no panic");
    assert_eq!(only(&patient).finish_reason, FinishReason::Length);
    for stream in waiting.into_iter().chain([running]) {
        assert_eq!(only(&stream.wait()).token_ids.len(), 4);
    }
}

#[test]
fn a_slow_reader_gets_larger_pieces_and_holds_nobody_up() {
    let engine = start(executor());
    let params = SamplingParams {
        n: 2,
        ..exactly(20)
    };
    let slow = engine.submit(tokens(&[1, 2]).with_params(params));
    let slow = slow.expect("accepted");
    // When a request that came later and takes longer is done, so is the first.
    let later = engine.submit(tokens(&[3]).with_params(exactly(40)));
    assert_eq!(only(&later.expect("accepted").wait()).token_ids.len(), 40);
    let events: Vec<_> = slow.into_iter().collect();
    assert_eq!(events.len(), 3);
    for (event, expected) in events[..2].iter().zip(0..) {
        let StreamEvent::Delta {
            index, token_ids, ..
        } = event
        else {
            panic!("answers come before the output")
        };
        assert_eq!((*index, token_ids.len()), (expected, 20));
    }
    assert!(matches!(events[2], StreamEvent::Finished(_)));
}

#[test]
fn a_stream_needs_no_runtime() {
    use futures::StreamExt;
    let engine = start(executor());
    let stream = engine.submit(tokens(&[1, 2])).expect("accepted");
    let events: Vec<_> = futures::executor::block_on(stream.collect());
    let Some(StreamEvent::Finished(output)) = events.last() else {
        panic!("streams end with an output")
    };
    let stream = engine.submit(tokens(&[1, 2])).expect("accepted");
    let again = futures::executor::block_on(stream.finished());
    assert_eq!(again.outputs, output.outputs);
}

#[test]
fn many_threads_share_one_engine() {
    let engine = start(executor());
    thread::scope(|scope| {
        for caller in 0..8_u32 {
            let engine = engine.clone();
            scope.spawn(move || {
                let prompts: Vec<_> = (0..20).map(|row| vec![caller, row]).collect();
                let outputs = engine.generate(prompts.clone(), &exactly(7));
                for (prompt, output) in prompts.iter().zip(outputs) {
                    let output = output.expect("accepted");
                    assert_eq!(only(&output).token_ids, alone(prompt, &exactly(7), 0));
                }
            });
        }
    });
}

#[test]
fn shutting_down_ends_what_is_open_and_refuses_what_comes() {
    let (engine, gate) = gated(EngineConfig {
        max_num_seqs: 1,
        queue_capacity: 1,
        ..EngineConfig::default()
    });
    let running = engine.submit(tokens(&[1])).expect("accepted");
    gate.wait_for_step();
    let waiting = engine.submit(tokens(&[2])).expect("accepted");
    let patient = {
        let engine = engine.clone();
        thread::spawn(move || engine.submit_wait(tokens(&[3])).map(|_| ()))
    };
    let closing = {
        let engine = engine.clone();
        thread::spawn(move || engine.shutdown())
    };
    // The patient one is turned away before the step under way is over. The engine
    // is told to end before anybody is turned away.
    assert!(matches!(
        patient.join().expect("no panic"),
        Err(SubmitError::ShutDown)
    ));
    gate.open();
    closing.join().expect("no panic");
    assert_eq!(only(&running.wait()).finish_reason, FinishReason::Cancelled);
    assert_eq!(only(&waiting.wait()).finish_reason, FinishReason::Cancelled);
    let refused = engine.submit(tokens(&[4])).map(|_| ());
    assert!(matches!(refused, Err(SubmitError::ShutDown)));
}

#[test]
fn a_stream_outlives_the_last_handle() {
    let engine = start(executor());
    let params = SamplingParams {
        max_tokens: None,
        ..exactly(1)
    };
    let stream = engine.submit(tokens(&[1]).with_params(params));
    drop(engine);
    let output = stream.expect("accepted").wait();
    let reason = only(&output).finish_reason;
    assert!(matches!(
        reason,
        FinishReason::Cancelled | FinishReason::Length
    ));
}

#[test]
fn every_step_is_observed() {
    let (sender, seen) = mpsc::channel();
    let config = EngineConfig {
        on_step: Some(Box::new(move |stats: &StepStats| {
            let _ = sender.send(*stats);
        })),
        ..EngineConfig::default()
    };
    let engine = Engine::start(parts(executor()), config).expect("starts");
    let output = engine.submit(tokens(&[1, 2, 3])).expect("accepted").wait();
    engine.shutdown();
    let seen: Vec<_> = seen.iter().collect();
    assert_eq!(seen.len(), 4);
    assert_eq!(
        seen.iter().map(|stats| stats.step).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!((seen[0].num_prefill_tokens, seen[0].num_admitted), (3, 1));
    assert_eq!(
        (seen[1].num_prefill_tokens, seen[1].num_decode_tokens),
        (0, 1)
    );
    assert!(
        seen.iter()
            .all(|stats| stats.num_drawn == 1 && stats.num_rows == 1)
    );
    assert_eq!(seen[3].engine.generated_tokens, 4);
    assert_eq!(seen[3].engine.num_running, 0);
    let metrics = output.metrics;
    assert!(metrics.queue_s <= metrics.time_to_first_token_s);
    assert!(metrics.time_to_first_token_s <= metrics.e2e_s);
    assert!(metrics.mean_inter_token_s > 0.0);
}
