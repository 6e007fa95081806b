//! What windows are for: layers that have one keep no more than they need.

use super::*;

const WINDOW: usize = 40;

/// Two groups of layers without a window and three with.
fn mixed() -> Vec<KvKind> {
    vec![
        KvKind {
            window: None,
            groups: 2,
        },
        KvKind {
            window: Some(WINDOW),
            groups: 3,
        },
    ]
}

fn windowed() -> Vec<KvKind> {
    vec![KvKind {
        window: Some(WINDOW),
        groups: 1,
    }]
}

fn driver(kinds: Vec<KvKind>, num_blocks: u32) -> Driver {
    Driver::new(SchedulerConfig {
        num_blocks,
        kinds,
        ..config()
    })
}

fn num_used(driver: &Driver) -> usize {
    let ledger = driver.scheduler.ledger();
    ledger.num_blocks() - ledger.num_available()
}

#[test]
fn a_windowed_model_holds_the_same_at_any_length() {
    for prefix_caching in [false, true] {
        let mut driver = Driver::new(SchedulerConfig {
            kinds: windowed(),
            // 32 tokens a step and 39 before them lie in up to 6 blocks.
            num_blocks: 6,
            prefix_caching,
            ..config()
        });
        driver.add(Spec::new(tokens(0, 5 * WINDOW), 5 * WINDOW));
        while !driver.scheduler.is_idle() {
            driver.step();
            assert!(num_used(&driver) <= 6);
            if driver.step.num_decode_tokens > 0 {
                // The 39 positions that the next query sees lie in up to four blocks.
                assert!(num_used(&driver) <= 4);
            }
        }
        driver.check_results();
        assert_eq!(driver.scheduler.totals().num_preemptions, 0);
    }
}

#[test]
fn mixed_layers_grow_by_the_groups_without_a_window() {
    let mut driver = driver(mixed(), 400);
    driver.add(Spec::new(tokens(0, 2), 8 * WINDOW));
    let mut used = std::collections::BTreeMap::new();
    while !driver.scheduler.is_idle() {
        driver.step();
        if let Some(&id) = driver.scheduler.running.first() {
            used.insert(driver.scheduler.slab[id].num_computed, num_used(&driver));
        }
    }
    // Before the window is full all grow: block 0, then 0 and 1.
    assert_eq!([used[&8], used[&24]], [5, 10]);
    // At 2 windows, 80 positions: five blocks, and of [41, 80) the last three.
    assert_eq!(used[&(2 * WINDOW)], 5 * 2 + 3 * 3);
    // At 7 windows, 280 positions: eighteen, and of [241, 280) the last three.
    assert_eq!(used[&(7 * WINDOW)], 18 * 2 + 3 * 3);
    driver.check_results();
}

#[test]
fn a_hit_needs_of_windowed_layers_only_what_the_next_token_sees() {
    // Six blocks are cached. Who goes on behind them needs, of windowed layers,
    // positions 57 to 95: the last three.
    let prompt = Spec::new(tokens(0, 106), 2);
    for (kinds, num_blocks) in [(windowed(), 20), (mixed(), 106)] {
        // All that is free (14 blocks of each group, or 76 of all), and the three stacks
        // of a windowed kind that were idle for longest; or those and one stack more.
        for (hog_blocks, hit) in [(17, 96), (18, 0)] {
            let mut driver = driver(kinds.clone(), num_blocks);
            driver.add(prompt.clone());
            driver.run();
            let num_drawn = hog_blocks * 16 - 200 + 1;
            driver.add(Spec::new(tokens(2, 200), num_drawn));
            driver.run();
            driver.add(prompt.clone());
            driver.step();
            let num_cached = driver.step.admitted[0].num_cached_tokens;
            assert_eq!(num_cached, hit, "{kinds:?}");
            driver.run();
            driver.check_results();
        }
    }
}

#[test]
fn answers_that_split_off_far_behind_a_window_share_what_they_see() {
    let mut driver = driver(mixed(), 200);
    driver.add(Spec {
        n: 4,
        ..Spec::new(tokens(0, 3 * WINDOW), 2 * WINDOW)
    });
    while driver.scheduler.num_running() < 4 {
        driver.step();
    }
    // 120 positions: eight blocks, and of [81, 120) the last three.
    assert_eq!(num_used(&driver), 8 * 2 + 3 * 3);
    driver.step();
    // All but one copy the block that they write, in all five groups.
    assert_eq!(driver.batch.copies.len(), 3 * 5);
    assert_eq!(num_used(&driver), 8 * 2 + 3 * 3 + 3 * 5);
    driver.run();
    driver.check_results();
}

#[test]
fn a_long_prompt_is_refused_only_if_what_it_holds_at_a_time_does_not_fit() {
    let limits = |num_blocks| SchedulerConfig {
        kinds: windowed(),
        num_blocks,
        ..config()
    };
    let spec = Spec::new(tokens(0, 1000), 1);
    let rules = || spec.rules();
    let prompt: Arc<[u32]> = spec.prompt.as_slice().into();
    let mut scheduler = Scheduler::new(limits(5));
    let refused = scheduler.add(RequestId(0), prompt.clone(), rules());
    let (needed, available) = (6, 5);
    assert_eq!(refused, Err(TooManyBlocks { needed, available }));
    let mut driver = Driver::new(limits(6));
    driver.add(spec.clone());
    driver.run();
    driver.check_results();
}

#[test]
fn prompts_that_outgrow_their_windows_preempt_by_age_alone() {
    for prefix_caching in [false, true] {
        for kinds in [windowed(), mixed()] {
            let limits = SchedulerConfig {
                kinds,
                prefix_caching,
                ..config()
            };
            let num_blocks = 2 * limits.needs().blocks(150) as u32;
            let mut driver = Driver::new(SchedulerConfig {
                num_blocks,
                ..limits
            });
            // A common beginning, so that what one gives up others still hold.
            for own in 1..6 {
                let prompt = [tokens(0, 80), tokens(own, 10 * own as usize)].concat();
                driver.add(Spec::new(prompt, 60));
            }
            driver.run();
            driver.check_results();
        }
    }
}
