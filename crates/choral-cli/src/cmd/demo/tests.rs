//! Keys and drawings, without a terminal. `tests/demo.rs` has one.

use super::batch::{Form, Size};
use super::menu::Menu;
use super::speed::Speed;
use super::stories::Stories;
use super::{Choice, Next, PROMPTS, Scene, batch, view};
use choral::Engine;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;
use std::time::{Duration, Instant};

fn engine() -> Engine {
    let builder = Engine::builder().threads(1).queue_capacity(batch::MOST);
    builder.build().expect("the model that ships")
}

/// What a scene looks like.
fn screen(scene: &dyn Scene, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let drawn = terminal.draw(|frame| view::draw(frame, "choral-demo", scene));
    drawn.expect("drawn");
    terminal.backend().to_string()
}

/// Ticks until the screen says something.
fn wait_for(scene: &mut dyn Scene, text: &str) -> String {
    let start = Instant::now();
    loop {
        scene.tick();
        let shown = screen(scene, 80, 24);
        if shown.contains(text) {
            return shown;
        }
        assert!(
            start.elapsed() < Duration::from_mins(1),
            "no `{text}` in:\n{shown}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_menu_is_chosen_from_by_numbers_and_by_arrows() {
    let mut menu = Menu::default();
    assert_eq!(menu.press(KeyCode::Char('1')), Next::Start(Choice::Stories));
    assert_eq!(
        menu.press(KeyCode::Char('2')),
        Next::Start(Choice::AskBatch)
    );
    assert_eq!(menu.press(KeyCode::Char('3')), Next::Start(Choice::Speed));
    for quit in [KeyCode::Char('0'), KeyCode::Char('q'), KeyCode::Esc] {
        assert_eq!(menu.press(quit), Next::Quit);
    }
    assert_eq!(menu.press(KeyCode::Down), Next::Stay);
    assert_eq!(menu.press(KeyCode::Enter), Next::Start(Choice::AskBatch));
    // From the first line up is the last: exit.
    menu.press(KeyCode::Up);
    menu.press(KeyCode::Up);
    assert_eq!(menu.press(KeyCode::Enter), Next::Quit);
    assert_eq!(menu.press(KeyCode::Char('x')), Next::Stay);
}

#[test]
fn the_menu_shows_all_of_itself_in_80_by_24() {
    let shown = screen(&Menu::default(), 80, 24);
    for text in [
        "1. Basic concurrent generation",
        "2. Batch with progress",
        "3. Benchmark",
        "0. Exit",
        "help lists all.",
        "q quit",
    ] {
        assert!(shown.contains(text), "no `{text}` in:\n{shown}");
    }
}

fn type_into(form: &mut Form, text: &str) {
    for c in text.chars() {
        form.press(KeyCode::Char(c));
    }
}

#[test]
fn the_form_takes_numbers_and_has_defaults() {
    let mut form = Form::new(&engine());
    form.press(KeyCode::Enter);
    type_into(&mut form, "x12");
    form.press(KeyCode::Enter);
    type_into(&mut form, "77");
    form.press(KeyCode::Backspace);
    let size = Size {
        count: 40,
        max_tokens: 12,
        concurrency: 7,
    };
    assert_eq!(form.press(KeyCode::Enter), Next::Start(Choice::Batch(size)));
    assert_eq!(form.press(KeyCode::Esc), Next::Menu(1));
}

#[test]
fn a_number_out_of_its_range_is_not_taken() {
    let mut form = Form::new(&engine());
    type_into(&mut form, "0");
    form.press(KeyCode::Down);
    form.press(KeyCode::Down);
    assert_eq!(form.press(KeyCode::Enter), Next::Stay);
    let shown = screen(&form, 80, 24);
    assert!(shown.contains("expected 1 to 9999"), "{shown}");
    // It is where to go on: a 5 before nothing else makes it right.
    form.press(KeyCode::Backspace);
    type_into(&mut form, "5");
    form.press(KeyCode::Enter);
    form.press(KeyCode::Enter);
    let next = form.press(KeyCode::Enter);
    assert!(matches!(
        next,
        Next::Start(Choice::Batch(Size { count: 5, .. }))
    ));
}

#[test]
fn four_stories_grow_beside_each_other() {
    let engine = engine();
    let mut stories = Stories::start(&engine).expect("started");
    let early = wait_for(&mut stories, "4 stories");
    stories.press(KeyCode::Char(' '));
    let shown = wait_for(&mut stories, "tokens/s");
    for prompt in PROMPTS {
        assert!(early.contains(prompt) && shown.contains(prompt), "{shown}");
    }
    let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
    assert!(letters(&shown) > letters(&early) + 200, "{early}\n{shown}");
    assert_eq!(stories.press(KeyCode::Char('q')), Next::Menu(0));
}

#[test]
fn a_batch_counts_up_to_its_end() {
    let size = Size {
        count: 9,
        max_tokens: 4,
        concurrency: 3,
    };
    let mut batch = batch::Batch::start(&engine(), size).expect("started");
    let shown = wait_for(&mut batch, "9/9 (100%)");
    assert!(
        shown.contains("9 prompts, 3 at a time, up to 4 tokens each"),
        "{shown}"
    );
    assert!(
        shown.contains("items/s") && shown.contains("   8 Once upon a time"),
        "{shown}"
    );
    assert_eq!(
        batch.press(KeyCode::Char('r')),
        Next::Start(Choice::Batch(size))
    );
    assert_eq!(batch.press(KeyCode::Esc), Next::Menu(1));
}

#[test]
fn the_benchmark_fills_its_table() {
    let mut speed = Speed::start(&engine()).expect("started");
    let shown = wait_for(&mut speed, "choral bench --concurrency");
    let head = "Concurrency | Time (ms) | Throughput (items/s) | Speedup";
    assert!(shown.contains(head), "{shown}");
    for level in [1, 2, 4, 8, 16] {
        let row = shown
            .lines()
            .find(|line| line.contains(&format!("{level:>11} | ")));
        assert!(row.is_some_and(|row| row.contains("x ")), "{shown}");
    }
    assert!(shown.contains("  1.00x "), "{shown}");
    assert_eq!(speed.press(KeyCode::Char('q')), Next::Menu(2));
}

#[test]
fn no_terminal_is_too_small_to_draw_on() {
    let engine = engine();
    let size = Size {
        count: 3,
        max_tokens: 2,
        concurrency: 1,
    };
    let mut scenes: [Box<dyn Scene>; 5] = [
        Box::new(Menu::default()),
        Box::new(Form::new(&engine)),
        Box::new(Stories::start(&engine).expect("started")),
        Box::new(batch::Batch::start(&engine, size).expect("started")),
        Box::new(Speed::start(&engine).expect("started")),
    ];
    for scene in &mut scenes {
        for (width, height) in [(1, 1), (7, 3), (20, 6), (200, 60)] {
            scene.tick();
            screen(scene.as_ref(), width, height);
        }
    }
}
