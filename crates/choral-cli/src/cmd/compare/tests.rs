//! Grids, figures against values computed by hand, and what is drawn.

use super::grid::{Cell, Vary, cells};
use super::html::{self, escaped};
use super::show::{beside, figures};
use super::table::{Column, Figures, Shown, Table, Times, perplexity};
use choral::SamplingParams;
use choral::job::{Answer, Choice, RowCode, RowError, RowHead};
use unicode_width::UnicodeWidthStr as _;

fn vary(text: &str) -> Vary {
    Vary::parse(text).expect(text)
}

fn params(cell: &Cell) -> SamplingParams {
    let mut params = SamplingParams::default();
    cell.apply(&mut params);
    params
}

#[test]
fn a_grid_has_every_combination_and_the_last_option_changes_fastest() {
    let cells = cells(&[vary("temp=0.2,0.8,1.2"), vary("--top_k=10,40")]).expect("a grid");
    let labels: Vec<String> = cells.iter().map(Cell::label).collect();
    assert_eq!(labels.len(), 6);
    assert_eq!(labels[0], "temp 0.2, top_k 10");
    assert_eq!(labels[1], "temp 0.2, top_k 40");
    assert_eq!(labels[5], "temp 1.2, top_k 40");
    let last = params(&cells[5]);
    assert_eq!((last.temperature, last.top_k), (1.2, 40));
    assert_eq!(last.top_p, SamplingParams::default().top_p);
}

#[test]
fn every_name_of_an_option_is_understood() {
    let first = |text: &str| params(&cells(&[vary(text)]).expect("a grid")[0]);
    assert_eq!(first("temperature=0").temperature, 0.0);
    assert_eq!(first("n=7").max_tokens, Some(7));
    assert_eq!(first("max_tokens=7").max_tokens, Some(7));
    assert_eq!(first("n-predict=-1").max_tokens, None);
    assert_eq!(first("repetition_penalty=1.3").repetition_penalty, 1.3);
    assert_eq!(first("s=5").seed, Some(5));
    assert_eq!(first("stop=.").stop, ["."]);
    assert_eq!(first("logit-bias=12-inf").banned_token_ids, [12]);
    let switch = cells(&[vary("ignore-eos=true,false")]).expect("a grid");
    let switched: Vec<bool> = switch.iter().map(|cell| params(cell).ignore_eos).collect();
    assert_eq!(switched, [true, false]);
}

#[test]
fn what_is_no_grid_says_why() {
    let error = |text: &str| Vary::parse(text).expect_err(text);
    assert!(error("temp").contains("such as temp=0.2,0.8"));
    assert!(error("speed=1").contains("no option is called `speed`"));
    assert!(
        error("temp=warm").contains("`warm`: invalid value"),
        "{}",
        error("temp=warm")
    );
    assert!(error("temp=0.1,").contains("expected a value"));
    assert!(error("ignore-eos=2").contains("expected true or false"));
    let twice = cells(&[vary("temp=1"), vary("temperature=2")]).expect_err("one option");
    assert!(twice.to_string().contains("which are one option"));
    let many = format!("top-k={}", vec!["1"; 100].join(","));
    let seeds = format!("seed={}", vec!["1"; 100].join(","));
    let error = cells(&[vary(&many), vary(&seeds)]).expect_err("too many");
    assert!(error.to_string().contains("10000 settings"));
}

#[test]
fn perplexity_is_the_inverse_of_the_geometric_mean_probability() {
    // Probabilities 1/2, 1/4 and 1/8: their geometric mean is 1/4.
    let logprobs = [0.5_f32, 0.25, 0.125].map(libm::logf);
    let found = perplexity(logprobs.into_iter()).expect("there are tokens");
    assert!((found - 4.0).abs() < 1e-6, "{found}");
    assert_eq!(perplexity(std::iter::empty()), None);
}

fn answer(texts: &[&str], tokens: usize) -> Answer {
    let choice = |(index, text): (u32, &&str)| Choice {
        index,
        text: (*text).to_owned(),
        reasoning: None,
        tool_calls: Vec::new(),
        token_ids: Some(vec![7; tokens]),
        finish_reason: "length".into(),
        stop_reason: None,
        logprobs: None,
        seed: Some(1),
    };
    let mut answer = failed("");
    answer.outputs = (0..).zip(texts).map(choice).collect();
    answer.error = None;
    answer
}

fn failed(message: &str) -> Answer {
    let head = RowHead {
        index: 0,
        line: 1,
        ..RowHead::default()
    };
    let error = RowError {
        code: RowCode::TooLong,
        message: message.to_owned(),
        line: 1,
        field: None,
        file: None,
    };
    Answer::failed(head, error)
}

#[test]
fn figures_count_all_answers_of_a_setting() {
    let figures = Figures::of(&[
        answer(&["a b a", "a b"], 3),
        failed("too long"),
        answer(&["c"], 6),
    ]);
    assert_eq!(
        (figures.answers, figures.errors, figures.tokens),
        (3, 1, 12)
    );
    assert_eq!(figures.mean_tokens, Some(4.0));
    // a, b, c of a b a a b c; ab and ba of ab ba ab; aba.
    assert_eq!(figures.distinct_1, Some(0.5));
    assert_eq!(figures.distinct_2, Some(2.0 / 3.0));
    assert_eq!(figures.distinct_3, Some(1.0));
    assert_eq!(figures.perplexity, None);
    assert_eq!(Figures::of(&[failed("x")]).mean_tokens, None);
}

fn table(texts: &[&str]) -> Table {
    let mut table = Table::new(42, &[vary("temp=0,1")]);
    table.prompts = vec![Shown {
        custom_id: None,
        text: "Once <upon>\na time".to_owned(),
    }];
    for text in texts {
        let cell = &cells(&[vary("temp=0.5")]).expect("a cell")[0];
        let times = Times {
            seconds: 0.5,
            tokens_per_second: 6.0,
        };
        let column = Column::new("demo", cell, vec![answer(&[text], 3)], times);
        table.columns.push(column);
    }
    table
}

#[test]
fn answers_stand_beside_each_other_and_no_line_is_wider_than_the_terminal() {
    let long = "the cat sat on the mat and looked at the moon ".repeat(4);
    for width in [1, 10, 30, 60, 80, 200] {
        for count in [1, 2, 3, 7] {
            let texts = vec![long.as_str(); count];
            for line in beside(&table(&texts), 0, width) {
                assert!(
                    line.text.width() <= width.max(1),
                    "{width}: {:?}",
                    line.text
                );
            }
        }
    }
    let lines = beside(&table(&["one two", "three"]), 0, 60);
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts[0], "Prompt 0: Once <upon> a time");
    assert!(lines[0].is_bold && lines[2].is_bold && !lines[4].is_bold);
    assert_eq!(texts[4], "one two                      │ three");
}

#[test]
fn columns_that_do_not_fit_go_below() {
    let lines = beside(&table(&["a", "b", "c"]), 0, 60);
    let heads = lines
        .iter()
        .filter(|line| line.text.starts_with("temp 0.5"));
    assert_eq!(heads.count(), 2);
}

#[test]
fn escape_sequences_of_answers_do_not_reach_the_terminal() {
    let lines = beside(&table(&["\u{1b}[2Jx"]), 0, 60);
    assert!(lines.iter().all(|line| !line.text.contains('\u{1b}')));
}

#[test]
fn the_figures_of_a_column_are_a_row() {
    let lines = figures(&table(&["a b", "c d"]), None);
    assert_eq!(lines.len(), 4);
    assert!(
        lines[0].starts_with("| setting  | answers | tokens | mean |"),
        "{}",
        lines[0]
    );
    assert!(
        lines[2].starts_with("| temp 0.5 |       1 |      3 |  3.0 |"),
        "{}",
        lines[2]
    );
    assert!(
        lines.iter().all(|line| line.width() == lines[0].width()),
        "{lines:#?}"
    );
    let mut broken = table(&["a"]);
    broken.columns[0].answers[0] = failed("too long");
    assert!(figures(&broken, None)[0].contains("| errors |"));
}

#[test]
fn figures_that_do_not_fit_are_lines() {
    let table = table(&["a b"]);
    let wide = figures(&table, Some(200));
    assert_eq!(wide, figures(&table, None));
    let narrow = figures(&table, Some(60));
    assert!(narrow.iter().all(|line| line.width() <= 60), "{narrow:#?}");
    assert_eq!(narrow[0], "temp 0.5");
    assert_eq!(narrow[1], "  1 answers, 3 tokens, mean 3.0");
}

#[test]
fn a_page_shows_tags_of_answers_as_text() {
    let page = html::page(&table(&["<script>alert('x')</script>"]), true);
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    assert!(page.contains("Once &lt;upon&gt;"));
    assert!(!page.contains("<script"));
    assert!(page.contains("<th>seconds</th>"));
    assert!(!html::page(&table(&["x"]), false).contains("seconds"));
    assert_eq!(escaped("a\u{1b}b\n\"&"), "a\u{fffd}b\n&quot;&amp;");
}
