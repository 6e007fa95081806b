//! What comes out.

use super::*;

#[test]
fn any_number_of_prompts_come_back_in_order_and_as_if_alone() {
    let config = EngineConfig {
        max_num_seqs: 7,
        max_num_batched_tokens: 20,
        queue_capacity: 3,
        ..EngineConfig::default()
    };
    let engine = Engine::start(parts(executor()), config).expect("starts");
    let prompts: Vec<Vec<u32>> = (0..200_u32)
        .map(|row| (0..=row % 40).map(|at| (row / 9 + at) % 900).collect())
        .collect();
    let params = SamplingParams { n: 2, ..exactly(9) };
    let outputs = engine.generate(prompts.clone(), &params);
    assert_eq!(outputs.len(), prompts.len());
    for (prompt, output) in prompts.iter().zip(outputs) {
        let output = output.expect("accepted");
        assert_eq!(output.prompt_token_ids, *prompt);
        for (choice, answer) in (0..).zip(&output.outputs) {
            assert_eq!(answer.index, choice);
            assert_eq!(answer.token_ids, alone(prompt, &params, choice));
            assert_eq!(answer.text, text_of(&answer.token_ids));
            assert_eq!(answer.finish_reason, FinishReason::Length);
        }
    }
    let metrics = engine.metrics();
    assert_eq!(metrics.generated_tokens, 200 * 2 * 9);
    assert_eq!((metrics.num_running, metrics.num_waiting), (0, 0));
    assert_eq!(metrics.kv_blocks_used, 0);
    assert!(metrics.prefix_hit_tokens > 0, "many prompts begin alike");
}

#[test]
fn text_prompts_are_tokenised_and_given_back() {
    let engine = start(executor());
    let outputs = engine.generate(["Hello", "日本, the end<|eot_id|>"], &exactly(3));
    let output = outputs[1].as_ref().expect("accepted");
    assert_eq!(output.prompt.as_deref(), Some("日本, the end<|eot_id|>"));
    assert_eq!(text_of(&output.prompt_token_ids), "日本, the end");
    let (first, last) = (900, 904); // <|begin_of_text|>, <|eot_id|>
    assert_eq!(output.prompt_token_ids.first(), Some(&first));
    assert_eq!(output.prompt_token_ids.last(), Some(&last));
    let expected = alone(&output.prompt_token_ids, &exactly(3), 0);
    assert_eq!(only(output).token_ids, expected);
}

#[test]
fn a_stream_is_its_output_in_pieces() {
    let engine = start(executor());
    let params = SamplingParams {
        n: 3,
        stop: vec!["e".to_owned(), " t".to_owned()],
        logprobs: Some(0),
        ..exactly(60)
    };
    let request = Request::new("abc").with_params(params).with_id("row-1");
    let stream = engine.submit(request).expect("accepted");
    assert_eq!(stream.request_id(), "row-1");
    let mut num_logprobs = [0; 3];
    let mut reasons = [None; 3];
    let mut texts = vec![String::new(); 3];
    let mut output = None;
    for event in stream {
        assert_eq!(output, None, "nothing comes after the output");
        match event {
            StreamEvent::Delta {
                index,
                text,
                token_ids,
                logprobs,
                finish_reason,
            } => {
                let index = index as usize;
                texts[index].push_str(&text);
                let logprobs = logprobs.unwrap_or_default();
                assert_eq!(logprobs.len(), token_ids.len());
                num_logprobs[index] += logprobs.len();
                assert_eq!(reasons[index], None, "nothing comes after the end");
                reasons[index] = finish_reason;
            }
            StreamEvent::Finished(finished) => output = Some(finished),
        }
    }
    let output = output.expect("streams end with an output");
    assert_eq!(output.request_id, "row-1");
    for (index, answer) in output.outputs.iter().enumerate() {
        assert_eq!(answer.text, texts[index]);
        assert_eq!(Some(answer.finish_reason), reasons[index]);
        assert_eq!(answer.token_ids.len(), num_logprobs[index]);
    }
}

#[test]
fn a_stop_string_ends_the_answer_wherever_tokens_meet() {
    let engine = start(executor());
    let prompt = vec![3, 1, 4];
    let token_ids = alone(&prompt, &exactly(40), 0);
    let text = text_of(&token_ids);
    // Every pair of neighbours is a stop string that spans two tokens, unless it
    // begins or ends inside a character.
    let pairs = (0..39).map(|at| text_of(&token_ids[at..at + 2]));
    let pairs: Vec<_> = pairs.filter(|pair| !pair.contains('\u{fffd}')).collect();
    assert!(pairs.len() > 20);
    for stop in pairs {
        let found = text.find(&stop).expect("it is there");
        let num_tokens = (0..=40)
            .find(|&len| text_of(&token_ids[..len]).contains(&stop))
            .expect("it is there");
        for include in [false, true] {
            let params = SamplingParams {
                stop: vec!["never".to_owned(), stop.clone()],
                include_stop_str_in_output: include,
                ..exactly(40)
            };
            let request = Request::new(prompt.clone()).with_params(params);
            let (streamed, output) = read(engine.submit(request).expect("accepted"));
            let answer = only(&output);
            let end = if include { found + stop.len() } else { found };
            assert_eq!(answer.text, text[..end]);
            assert_eq!(answer.token_ids, token_ids[..num_tokens]);
            assert_eq!(answer.finish_reason, FinishReason::Stop);
            assert_eq!(answer.stop_reason, Some(StopReason::Text(stop.clone())));
            assert_eq!(streamed[0], (answer.text.clone(), answer.token_ids.clone()));
        }
    }
}

#[test]
fn stop_strings_are_not_looked_for_in_the_first_min_tokens() {
    let engine = start(executor());
    let prompt = vec![3, 1, 4];
    let params = SamplingParams {
        stop: ('!'..='~').map(String::from).collect(),
        min_tokens: 5,
        ..exactly(20)
    };
    let token_ids = alone(&prompt, &params, 0);
    let outputs = engine.generate([prompt], &params);
    let output = outputs[0].as_ref().expect("accepted");
    // The sixth token has a letter.
    assert!(
        text_of(&token_ids[5..6])
            .chars()
            .any(|c| c.is_ascii_graphic())
    );
    assert_eq!(only(output).token_ids, token_ids[..6]);
    assert!(only(output).stop_reason.is_some());
    assert!(only(output).text.starts_with(&text_of(&token_ids[..5])));
}

#[test]
fn a_stop_string_may_begin_in_the_first_min_tokens() {
    let engine = start(executor());
    let prompt = vec![3, 1, 4];
    // Else `min_tokens` would ban it, and the answers be others.
    let free = SamplingParams {
        banned_token_ids: vec![END],
        ..exactly(40)
    };
    let token_ids = alone(&prompt, &free, 0);
    let mut num_checked = 0;
    for at in 0..38 {
        // It begins with token `at` and ends with the one behind.
        let stop = text_of(&token_ids[at..at + 2]);
        let before = text_of(&token_ids[..at]);
        let whole = text_of(&token_ids[..at + 2]);
        let is_new = !text_of(&token_ids[..=at]).contains(&stop);
        if stop.contains('\u{fffd}') || !is_new || whole != format!("{before}{stop}") {
            continue;
        }
        num_checked += 1;
        let generate = |min_tokens: usize| {
            let params = SamplingParams {
                stop: vec![stop.clone()],
                min_tokens: min_tokens as u32,
                ..free.clone()
            };
            let outputs = engine.generate([prompt.clone()], &params);
            let output = outputs[0].as_ref().expect("accepted");
            only(output).clone()
        };
        let spans = generate(at + 1);
        assert_eq!(spans.finish_reason, FinishReason::Stop);
        assert_eq!(spans.token_ids, token_ids[..at + 2]);
        assert_eq!(spans.text, before);
        let within = generate(at + 2);
        assert!(within.token_ids.len() > at + 2);
        // A match further on may overlap with it.
        assert!(within.text.starts_with(&before));
    }
    assert!(num_checked > 10, "{num_checked}");
}

#[test]
fn the_token_that_ends_an_answer_is_in_its_tokens_and_not_in_its_text() {
    let engine = start(executor());
    let prompt = vec![3, 1, 4];
    let free = alone(&prompt, &exactly(20), 0);
    let stop_token = free[7];
    let first = free.iter().position(|&id| id == stop_token).expect("drawn");
    for include in [false, true] {
        let params = SamplingParams {
            stop_token_ids: vec![stop_token],
            include_stop_str_in_output: include,
            ..exactly(20)
        };
        let outputs = engine.generate([prompt.clone()], &params);
        let answer = only(outputs[0].as_ref().expect("accepted"));
        assert_eq!(answer.token_ids, free[..=first]);
        let num_shown = first + usize::from(include);
        assert_eq!(answer.text, text_of(&free[..num_shown]));
        assert_eq!(answer.stop_reason, Some(StopReason::Token(stop_token)));
    }
    let params = SamplingParams {
        ignore_eos: false,
        logit_bias: [(END, 5.0)].into(),
        ..exactly(50)
    };
    let outputs = engine.generate([prompt.clone()], &params);
    let answer = only(outputs[0].as_ref().expect("accepted"));
    assert_eq!(answer.token_ids, alone(&prompt, &params, 0));
    assert_eq!(answer.token_ids.last(), Some(&END));
    assert_eq!(answer.finish_reason, FinishReason::Stop);
    assert_eq!(answer.stop_reason, None);
}

#[test]
fn an_answer_ends_where_the_context_does() {
    let engine = start(executor());
    let params = SamplingParams {
        max_tokens: None,
        ..exactly(1)
    };
    let outputs = engine.generate([vec![1; 190]], &params);
    let answer = only(outputs[0].as_ref().expect("accepted"));
    assert_eq!(answer.token_ids.len(), 10);
    assert_eq!(answer.finish_reason, FinishReason::Length);
}

#[test]
fn prompt_logprobs_are_the_models_own_at_every_position_but_the_first() {
    let engine = start(executor());
    let prompt: Vec<u32> = (0..100).map(|at| at * 7 % 900).collect();
    for max_tokens in [0, 3] {
        let params = SamplingParams {
            prompt_logprobs: Some(2),
            ..exactly(max_tokens)
        };
        let outputs = engine.generate([prompt.clone()], &params);
        let output = outputs[0].as_ref().expect("accepted");
        let logprobs = output.prompt_logprobs.as_ref().expect("asked for");
        assert_eq!(logprobs.len(), 100);
        assert_eq!(logprobs[0], None);
        for at in 1..100 {
            let logits = fake_logits(&prompt[..at], VOCAB);
            let scratch = &mut SamplerScratch::new();
            let expected = position_logprobs(scratch, &logits, prompt[at], 2);
            assert_eq!(logprobs[at], expected.ok());
        }
        assert_eq!(only(output).token_ids.len(), max_tokens as usize);
        assert_eq!(only(output).finish_reason, FinishReason::Length);
    }
}

#[test]
fn logprobs_come_with_every_token_and_add_up() {
    let engine = start(executor());
    let params = SamplingParams {
        logprobs: Some(3),
        ..exactly(12)
    };
    let outputs = engine.generate([vec![1, 2]], &params);
    let answer = only(outputs[0].as_ref().expect("accepted"));
    let logprobs = answer.logprobs.as_ref().expect("asked for");
    let chosen = logprobs.iter().map(|at| at.chosen.token_id);
    assert!(chosen.eq(answer.token_ids.iter().copied()));
    assert!(logprobs.iter().all(|at| at.top.len() == 3));
    let sum: f64 = logprobs.iter().map(|at| f64::from(at.chosen.logprob)).sum();
    assert_eq!(answer.cumulative_logprob, Some(sum as f32));
    let outputs = engine.generate([vec![1, 2]], &exactly(12));
    let answer = only(outputs[0].as_ref().expect("accepted"));
    assert_eq!((&answer.logprobs, answer.cumulative_logprob), (&None, None));
}

#[test]
fn diagnostics_show_the_last_prompt_position() {
    let engine = start(executor());
    let prompt: Vec<u32> = (0..40).map(|at| at * 5 % 900).collect();
    for max_tokens in [0, 2] {
        let request = Request::new(prompt.clone()).with_params(exactly(max_tokens));
        let stream = engine.submit(request.with_diagnostics());
        let output = stream.expect("accepted").wait();
        let diagnostics = output.diagnostics.expect("asked for");
        assert_eq!(diagnostics.last_logits, fake_logits(&prompt, VOCAB));
        assert_eq!(diagnostics.hidden_l2, fake_hidden_l2(&prompt));
        assert_eq!(output.num_cached_tokens, 0);
    }
}

#[test]
fn a_seed_is_kept_and_a_fresh_one_reported() {
    let engine = start(executor());
    let unseeded = SamplingParams {
        seed: None,
        ..exactly(8)
    };
    let request = Request::new(vec![1, 2, 3]);
    let submit = |params| engine.submit(request.clone().with_params(params));
    let stream = submit(unseeded.clone()).expect("accepted");
    let fresh = stream.seed();
    let first = stream.wait();
    assert_eq!(only(&first).seed, fresh);
    assert!(fresh < 1 << 53, "exact in JSON");
    let again = SamplingParams {
        seed: Some(fresh),
        ..unseeded.clone()
    };
    let second = submit(again).expect("accepted").wait();
    assert_eq!(only(&second).token_ids, only(&first).token_ids);
    let other = submit(unseeded).expect("accepted").wait();
    assert_ne!(only(&other).seed, fresh);
}

#[test]
fn a_prompt_that_was_seen_before_is_served_from_the_cache() {
    let engine = start(executor());
    let prompt: Vec<u32> = (0..50).map(|at| at * 5 % 900).collect();
    let outputs = engine.generate([prompt.clone()], &exactly(3));
    assert_eq!(outputs[0].as_ref().expect("accepted").num_cached_tokens, 0);
    let outputs = engine.generate([prompt], &exactly(3));
    assert_eq!(outputs[0].as_ref().expect("accepted").num_cached_tokens, 48);
    let metrics = engine.metrics();
    assert_eq!(metrics.prefix_hit_tokens, 48);
    assert_eq!(metrics.prefix_query_tokens, 100);
    assert_eq!(metrics.prompt_tokens, 52);
}

#[test]
fn a_special_token_in_a_prompt_is_text_if_so_asked() {
    let engine = start(executor());
    let run = |request: Request| {
        let stream = engine.submit(request.with_params(exactly(1)));
        stream.expect("accepted").wait().prompt_token_ids
    };
    let text = "a<|end_of_text|>";
    assert!(run(Request::new(text)).contains(&END));
    let as_text = run(Request::new(text).without_special_tokens());
    assert!(!as_text.contains(&END));
    assert!(text_of(&as_text).ends_with(text), "{as_text:?}");
}
