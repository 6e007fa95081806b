//! One fact at a time.

use super::*;
use crate::engine::request::StopReason;

/// (request, first position, number of tokens) of each row of the last step.
fn rows(driver: &Driver) -> Vec<(u64, usize, usize)> {
    let rows = driver.step.rows.iter();
    rows.map(|row| (row.request.0, row.start, row.len))
        .collect()
}

fn run_and_check(mut driver: Driver) -> Driver {
    driver.run();
    driver.check_results();
    driver
}

#[test]
fn decoding_rows_come_first_and_prompts_follow_in_chunks_by_age() {
    let mut driver = Driver::new(SchedulerConfig {
        max_num_batched_tokens: 40,
        prefill_chunk: 24,
        ..config()
    });
    driver.add(Spec::new(tokens(0, 5), 9));
    driver.step();
    assert_eq!(rows(&driver), [(0, 0, 5)]);
    driver.add(Spec::new(tokens(1, 60), 2));
    driver.add(Spec::new(tokens(2, 60), 2));
    driver.step();
    assert_eq!(rows(&driver), [(0, 5, 1), (1, 0, 24), (2, 0, 15)]);
    driver.step();
    assert_eq!(rows(&driver), [(0, 6, 1), (1, 24, 24), (2, 15, 15)]);
    driver.step();
    assert_eq!(rows(&driver), [(0, 7, 1), (1, 48, 12), (2, 30, 24)]);
    run_and_check(driver);
}

#[test]
fn nobody_overtakes_the_head_of_the_queue() {
    let mut driver = Driver::new(SchedulerConfig {
        num_blocks: 8,
        ..config()
    });
    driver.add(Spec::new(tokens(0, 60), 20)); // 5 of 8 blocks in the end
    driver.step();
    driver.add(Spec::new(tokens(1, 60), 2)); // 4 blocks: has to wait
    driver.add(Spec::new(tokens(2, 3), 2)); // 1 block: would fit
    driver.step();
    driver.step();
    assert_eq!(rows(&driver), [(0, 60, 1)]);
    run_and_check(driver);
}

#[test]
fn an_admission_leaves_a_block_for_every_sequence_that_runs() {
    let mut driver = Driver::new(SchedulerConfig {
        num_blocks: 6,
        ..config()
    });
    driver.add(Spec::new(tokens(0, 40), 20)); // holds 3 of 6
    driver.step();
    driver.add(Spec::new(tokens(1, 20), 2)); // 2 more would leave 1 for two to grow
    driver.step();
    assert_eq!(driver.scheduler.num_running(), 1);
    assert_eq!(driver.scheduler.waiting.len(), 1);
    let driver = run_and_check(driver);
    assert_eq!(driver.scheduler.totals().num_preemptions, 0);
}

#[test]
fn n_answers_compute_their_prompt_once_and_copy_only_the_block_they_write() {
    let mut driver = Driver::new(config());
    driver.add(Spec {
        n: 4,
        ..Spec::new(tokens(0, 40), 9)
    });
    driver.step(); // 32 tokens
    driver.step(); // 8 tokens, and four draws from the last one's logits
    assert_eq!(rows(&driver), [(0, 32, 8)]);
    assert_eq!(driver.step.rows[0].num_draws, 4);
    let ledger = driver.scheduler.ledger();
    assert_eq!(ledger.num_available(), 64 - 3, "three blocks for all four");
    driver.step();
    assert_eq!(rows(&driver), [(0, 40, 1); 4]);
    // The last holder has the block to itself and needs no copy.
    assert_eq!(driver.batch.copies.len(), 3);
    let ledger = driver.scheduler.ledger();
    assert_eq!(ledger.num_available(), 64 - 3 - 3);
    run_and_check(driver);
}

#[test]
fn a_prompt_that_fills_its_blocks_is_forked_without_copies() {
    let mut driver = Driver::new(config());
    driver.add(Spec {
        n: 3,
        ..Spec::new(tokens(0, 32), 5)
    });
    driver.step();
    driver.step();
    assert!(driver.batch.copies.is_empty());
    run_and_check(driver);
}

#[test]
fn answers_beyond_the_slots_wait_their_turn() {
    for prefix_caching in [false, true] {
        let mut driver = Driver::new(SchedulerConfig {
            max_num_seqs: 2,
            prefix_caching,
            ..config()
        });
        driver.add(Spec {
            n: 7,
            ..Spec::new(tokens(0, 20), 5)
        });
        driver.add(Spec::new(tokens(1, 20), 5));
        run_and_check(driver);
    }
}

#[test]
fn without_a_cache_a_prompt_waits_for_slots_for_all_its_answers() {
    let mut driver = Driver::new(SchedulerConfig {
        max_num_seqs: 4,
        prefix_caching: false,
        ..config()
    });
    driver.add(Spec::new(tokens(0, 5), 3));
    driver.step();
    driver.add(Spec {
        n: 4,
        ..Spec::new(tokens(1, 5), 3)
    });
    driver.step();
    assert_eq!(rows(&driver), [(0, 5, 1)]);
    run_and_check(driver);
}

#[test]
fn prefix_hit_keeps_one_token_to_compute() {
    for (len, cached) in [(31, 16), (32, 16), (33, 32)] {
        let mut driver = Driver::new(config());
        driver.add(Spec::new(tokens(0, len), 2));
        driver.run();
        driver.add(Spec::new(tokens(0, len), 2));
        driver.step();
        assert_eq!(driver.step.admitted[0].num_cached_tokens, cached);
        assert_eq!(rows(&driver), [(1, cached, len - cached)]);
        run_and_check(driver);
    }
}

#[test]
fn answers_are_cached_for_the_next_turn_of_a_chat() {
    let mut driver = Driver::new(config());
    driver.add(Spec::new(tokens(0, 20), 30));
    driver.run();
    let drawn = driver.results[0].answers[&0].drawn.iter();
    let answer: Vec<_> = drawn.map(|drawn| drawn.token_id).collect();
    // The last token was drawn and never computed: 49 tokens, 3 full blocks.
    let prompt = [tokens(0, 20), answer, tokens(1, 5)].concat();
    driver.add(Spec::new(prompt, 3));
    driver.step();
    assert_eq!(driver.step.admitted[0].num_cached_tokens, 48);
    run_and_check(driver);
}

#[test]
fn prompt_logprobs_and_diagnostics_do_not_read_the_cache() {
    let plain = Spec::new(tokens(0, 40), 2);
    let with_logprobs = Spec {
        prompt_logits: true,
        ..plain.clone()
    };
    let with_diagnostics = Spec {
        diagnostics: true,
        ..plain.clone()
    };
    for spec in [with_logprobs, with_diagnostics] {
        let mut driver = Driver::new(config());
        driver.add(plain.clone());
        driver.run();
        driver.add(spec);
        driver.step();
        assert_eq!(driver.step.admitted[0].num_cached_tokens, 0);
        let driver = run_and_check(driver);
        assert_eq!(driver.scheduler.totals().prefix_query_tokens, 40);
    }
}

#[test]
fn prompt_logits_limit_the_chunk_and_are_never_asked_for_twice() {
    let mut driver = Driver::new(SchedulerConfig {
        max_prompt_logit_rows: 10,
        ..config()
    });
    let scored = Spec {
        prompt_logits: true,
        ..Spec::new(tokens(0, 25), 2)
    };
    driver.add(scored.clone());
    driver.add(scored);
    driver.step();
    assert_eq!(rows(&driver), [(0, 0, 10)]);
    driver.step();
    assert_eq!(rows(&driver), [(0, 10, 10)]);
    driver.step();
    // The last prompt position has no next prompt token: 4 rows of logits, and 6
    // are left for the other one.
    assert_eq!(rows(&driver), [(0, 20, 5), (1, 0, 6)]);
    run_and_check(driver);
}

#[test]
fn requests_that_share_a_prompt_compute_it_once_even_when_they_come_together() {
    let mut driver = Driver::new(config());
    for own in 1..6 {
        driver.add(Spec::new([tokens(0, 32), tokens(own, 4)].concat(), 2));
    }
    driver.step();
    assert_eq!(rows(&driver), [(0, 0, 32)]);
    driver.step();
    let expected: Vec<_> = (0..5).map(|request| (request, 32, 4)).collect();
    assert_eq!(rows(&driver), expected);
    run_and_check(driver);
}

#[test]
fn little_in_common_is_no_reason_to_wait() {
    let mut driver = Driver::new(config());
    for own in 1..3 {
        driver.add(Spec::new([tokens(0, 16), tokens(own, 18)].concat(), 2));
    }
    driver.step();
    assert_eq!(rows(&driver), [(0, 0, 32), (1, 0, 32)]);
    run_and_check(driver);
}

#[test]
fn blocks_computed_twice_side_by_side_are_kept_once() {
    let mut driver = Driver::new(config());
    let prompt = [tokens(0, 16), tokens(1, 18)].concat();
    let other = [tokens(0, 16), tokens(2, 18)].concat();
    driver.add(Spec::new(prompt, 9));
    driver.add(Spec::new(other, 9));
    driver.step();
    driver.step();
    let ledger = driver.scheduler.ledger();
    assert_eq!(ledger.num_available(), 64 - 5, "3 and 3, and one in common");
    run_and_check(driver);
}

#[test]
fn the_youngest_gives_way_and_its_answer_does_not_change() {
    for prefix_caching in [false, true] {
        let mut driver = Driver::new(SchedulerConfig {
            num_blocks: 8,
            prefix_caching,
            ..config()
        });
        // 2 blocks each at first and 5 in the end.
        driver.add(Spec::new(tokens(0, 20), 50));
        driver.add(Spec::new(tokens(1, 20), 50));
        while driver.scheduler.totals().num_preemptions == 0 {
            driver.step();
        }
        assert_eq!(rows(&driver).len(), 1);
        assert_eq!(rows(&driver)[0].0, 0, "the older one runs");
        // Nobody is let in with what was just taken away.
        assert_eq!(driver.scheduler.waiting.len(), 1);
        run_and_check(driver);
    }
}

#[test]
fn a_request_that_could_not_run_alone_is_refused() {
    let mut scheduler = Scheduler::new(SchedulerConfig {
        num_blocks: 4,
        ..config()
    });
    let prompt: Arc<[u32]> = tokens(0, 40).into();
    // 40 + 25 tokens; the last is never computed: 64 in 4 blocks.
    let fits = Spec::new(tokens(0, 40), 25).rules();
    assert_eq!(scheduler.add(RequestId(0), prompt.clone(), fits), Ok(()));
    let too_many = Spec::new(tokens(0, 40), 26).rules();
    assert_eq!(
        scheduler.add(RequestId(1), prompt, too_many),
        Err(TooManyBlocks {
            needed: 5,
            available: 4
        })
    );
}

#[test]
fn a_request_that_needs_the_whole_pool_gets_it() {
    for prefix_caching in [false, true] {
        let mut driver = Driver::new(SchedulerConfig {
            num_blocks: 4,
            prefix_caching,
            ..config()
        });
        driver.add(Spec::new(tokens(1, 20), 4));
        driver.add(Spec::new(tokens(0, 40), 25));
        driver.add(Spec {
            n: 3,
            ..Spec::new(tokens(1, 40), 25)
        });
        run_and_check(driver);
    }
}

#[test]
fn without_new_tokens_the_prompt_is_computed_and_nothing_drawn() {
    let mut driver = Driver::new(config());
    driver.add(Spec {
        n: 2,
        prompt_logits: true,
        diagnostics: true,
        ..Spec::new(tokens(0, 20), 0)
    });
    let driver = run_and_check(driver);
    assert_eq!(driver.results[0].prompt_logprobs.len(), 19);
    assert_eq!(driver.results[0].answers.len(), 2);
}

#[test]
fn tokens_end_an_answer_by_rule_and_not_before_min_tokens() {
    let rules = Rules {
        stop_token_ids: vec![3],
        min_tokens: 2,
        ..Spec::new(vec![1], 9).rules()
    };
    let stop = |stop| {
        Some(Finish {
            reason: FinishReason::Stop,
            stop,
        })
    };
    assert_eq!(rules.verdict(1, END), None);
    assert_eq!(rules.verdict(1, 3), None);
    assert_eq!(rules.verdict(2, END), stop(None));
    assert_eq!(rules.verdict(2, 3), stop(Some(StopReason::Token(3))));
    assert_eq!(rules.verdict(2, 4), None);
    assert_eq!(rules.verdict(8, 4), Some(Finish::LENGTH));
    // The model's word counts for more than the limit that it meets.
    assert_eq!(rules.verdict(8, END), stop(None));
}

#[test]
fn a_failed_step_ends_its_sequences_and_no_others() {
    let mut driver = Driver::new(SchedulerConfig {
        max_num_seqs: 1,
        ..config()
    });
    driver.add(Spec {
        n: 2,
        ..Spec::new(tokens(0, 40), 2)
    });
    driver.add(Spec::new(tokens(1, 5), 2));
    driver
        .scheduler
        .schedule(&mut driver.batch, &mut driver.step);
    let mut ended = Vec::new();
    driver.scheduler.fail_step(&driver.step, &mut ended);
    let request = RequestId(0);
    let expected = [0, 1].map(|choice| Ended { request, choice });
    assert_eq!(ended, expected, "the answer that was to split off, too");
    driver.scheduler.check_integrity().expect("integrity");
    driver.run();
    assert_eq!(driver.results[1], driver.expected(1));
}

#[test]
fn a_failed_draw_ends_its_answer_and_no_other() {
    let mut driver = Driver::new(config());
    let request = driver.add(Spec {
        n: 3,
        ..Spec::new(tokens(0, 20), 5)
    });
    driver
        .scheduler
        .schedule(&mut driver.batch, &mut driver.step);
    driver
        .executor
        .forward(&driver.batch, &mut driver.result)
        .expect("fake");
    let (mut draws, drawn) = driver.draw();
    draws[0] = Draw::Failed;
    let mut committed = Vec::new();
    driver
        .scheduler
        .commit(&driver.step, &draws, &mut committed);
    let reasons: Vec<_> = committed
        .iter()
        .map(|commit| commit.finish.as_ref().map(|finish| finish.reason))
        .collect();
    assert_eq!(reasons, [Some(FinishReason::Error), None, None]);
    for choice in [1, 2] {
        let answer = driver.results[0].answers.entry(choice).or_default();
        answer.drawn.push(drawn[choice as usize].clone());
    }
    driver.scheduler.check_integrity().expect("integrity");
    driver.run();
    let expected = driver.expected(0);
    for choice in [1, 2] {
        assert_eq!(
            driver.results[0].answers[&choice],
            expected.answers[&choice]
        );
    }
    assert!(!driver.scheduler.is_live(request));
}

#[test]
fn an_abort_frees_what_is_not_shared() {
    let mut driver = Driver::new(config());
    let request = driver.add(Spec {
        n: 2,
        ..Spec::new(tokens(0, 20), 9)
    });
    driver.step();
    driver.step();
    let available = driver.scheduler.ledger().num_available();
    assert!(driver.scheduler.abort_choice(request, 1));
    assert!(!driver.scheduler.abort_choice(request, 1), "it is gone");
    // It had a copy of the second block to itself.
    assert_eq!(driver.scheduler.ledger().num_available(), available + 1);
    driver.scheduler.check_integrity().expect("integrity");
    driver.run();
    assert_eq!(
        driver.results[0].answers[&0],
        driver.expected(0).answers[&0]
    );
}
