//! Jobs on an engine with a fake executor. Nothing here sleeps: where order
//! matters, a gate or a channel holds one side.

use crate::engine::request::RequestMetrics;
use crate::engine::testing::{FakeExecutor, Fault};
use crate::engine::{Engine, EngineConfig, EngineParts, Prompt, Request};
use crate::job::{
    Answer, ChatInput, EngineRunner, Job, JobError, JobLimits, JobSummary, Order, RenderError, Row,
    RowCode, RowError, RowHead, RowInput, RowKey, RowWork, Sink, Stop,
};
use crate::sampling::SamplingParams;
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

const VOCAB: usize = 50;
const CONTEXT: usize = 200;
const JOB_SEED: u64 = 42;
const LIMITS: JobLimits = JobLimits {
    max_running: 4,
    max_window: 8,
    max_group: 4,
};

fn start(executor: FakeExecutor) -> Engine {
    let parts = EngineParts {
        executor: Box::new(executor),
        tokenizer: None,
        end_token_ids: Vec::new(),
        max_model_len: CONTEXT,
        images: None,
        info: None,
    };
    Engine::start(parts, EngineConfig::default()).expect("starts")
}

fn engine() -> Engine {
    start(FakeExecutor::new(64, VOCAB))
}

fn head(index: u64) -> RowHead {
    RowHead {
        index,
        line: index + 1,
        ..RowHead::default()
    }
}

fn params(max_tokens: u32) -> SamplingParams {
    SamplingParams {
        max_tokens: Some(max_tokens),
        ..SamplingParams::default()
    }
}

fn row(index: u64, prompt: Vec<u32>, params: SamplingParams) -> Row {
    let input = RowInput::Prompt(Prompt::Tokens(prompt));
    Row {
        head: head(index),
        work: Ok(RowWork {
            input,
            params,
            lora: Vec::new(),
        }),
    }
}

fn bad_row(index: u64) -> Row {
    Row {
        head: head(index),
        work: Err(RowError {
            code: RowCode::InvalidJson,
            message: "no JSON".to_owned(),
            line: index + 1,
            field: None,
            file: None,
        }),
    }
}

/// Keeps everything that it is given.
#[derive(Default)]
struct Kept {
    answers: Vec<Answer>,
    last: JobSummary,
}

impl Sink for Kept {
    fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.answers.push(answer.clone());
        Ok(())
    }

    fn done(&mut self, summary: &JobSummary, _: Option<&RequestMetrics>) {
        self.last = *summary;
    }
}

/// Does what it is told with every answer.
struct Act<F>(F);

impl<F: FnMut(&Answer) -> io::Result<()>> Sink for Act<F> {
    fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.0(answer)
    }
}

fn run(
    engine: &Engine,
    rows: impl Iterator<Item = io::Result<Row>> + Send + 'static,
    stop: Stop,
    sink: &mut dyn Sink,
) -> Result<JobSummary, JobError> {
    let mut render = |input: &ChatInput| match input.messages.len() {
        0 => Err(RenderError::Template("there are no messages".to_owned())),
        count => Ok(Prompt::Tokens(vec![count as u32]).into()),
    };
    let mut runner = EngineRunner::new(engine, &mut render, JOB_SEED, false);
    let job = Job {
        runner: &mut runner,
        order: Order::Input,
        limits: LIMITS,
        max_errors: None,
        stop,
    };
    job.run(rows, sink)
}

/// Runs rows that can all be read, and returns their answers.
fn answers(engine: &Engine, rows: Vec<Row>) -> Vec<Answer> {
    let mut kept = Kept::default();
    let num_rows = rows.len() as u64;
    let rows = rows.into_iter().map(Ok);
    let summary = run(engine, rows, Stop::default(), &mut kept).expect("nothing fails");
    assert_eq!(summary.num_handed_out, num_rows);
    assert_eq!(summary.num_done, num_rows);
    assert!(!summary.is_stopped);
    kept.answers
}

#[test]
fn answers_come_in_the_order_of_the_rows_and_are_those_of_the_rows_alone() {
    let engine = engine();
    // The first of every five takes longest.
    let length = |i: u64| [60, 1, 7, 2, 3][i as usize % 5];
    let prompt = |i: u64| (0..=i % 20).map(|t| (t * 3 % 40) as u32).collect();
    let rows = (0..60)
        .map(|i| row(i, prompt(i), params(length(i))))
        .collect();
    let answers = answers(&engine, rows);
    for (i, answer) in (0..).zip(&answers) {
        assert_eq!(answer.row, i);
        let mut params = params(length(i));
        params.seed = Some(RowKey::Row(i).seed(JOB_SEED));
        let request = Request::new(prompt(i)).with_params(params);
        let alone = engine.submit(request).expect("accepted").wait();
        let token_ids = answer.outputs[0].token_ids.as_ref();
        assert_eq!(token_ids, Some(&alone.outputs[0].token_ids));
    }
}

#[test]
fn a_row_keeps_its_own_seed() {
    let mut with_seed = params(2);
    with_seed.seed = Some(7);
    let rows = vec![row(0, vec![1], with_seed), row(1, vec![1], params(2))];
    let answers = answers(&engine(), rows);
    let seeds = [0, 1].map(|row: usize| answers[row].outputs[0].seed);
    assert_eq!(seeds, [Some(7), Some(RowKey::Row(1).seed(JOB_SEED))]);
}

#[test]
fn what_is_wrong_with_a_row_is_its_answer() {
    let engine = start(FakeExecutor::new(64, VOCAB).with_fault(13, Fault::NanLogits));
    let mut hot = params(1);
    hot.temperature = -1.0;
    let chat = |index, messages| Row {
        head: head(index),
        work: Ok(RowWork {
            input: RowInput::Chat(ChatInput::new(messages)),
            params: params(1),
            lora: Vec::new(),
        }),
    };
    let rows = vec![
        row(0, vec![1], params(1)),
        bad_row(1),
        row(2, vec![1], hot),
        row(3, vec![1; CONTEXT], params(1)),
        row(4, Vec::new(), params(1)),
        row(5, vec![13], params(1)),
        chat(6, Vec::new()),
        chat(7, vec![json!({})]),
    ];
    let answers = answers(&engine, rows);
    let errors: Vec<_> = answers
        .iter()
        .filter_map(|answer| {
            let error = answer.error.as_ref()?;
            assert_eq!(error.line, answer.row + 1);
            assert!(answer.outputs.is_empty());
            Some((answer.row, error.code, error.field.as_deref()))
        })
        .collect();
    assert_eq!(
        errors,
        [
            (1, RowCode::InvalidJson, None),
            (2, RowCode::InvalidParameter, Some("temperature")),
            (3, RowCode::TooLong, Some("prompt")),
            (4, RowCode::InvalidPrompt, Some("prompt")),
            (5, RowCode::Engine, None),
            (6, RowCode::Template, Some("messages")),
        ]
    );
    assert_eq!(answers[7].usage.prompt_tokens, 1);
}

#[test]
fn a_job_may_have_no_rows_or_only_bad_ones() {
    let engine = engine();
    assert!(answers(&engine, Vec::new()).is_empty());
    assert_eq!(answers(&engine, (0..100).map(bad_row).collect()).len(), 100);
}

#[test]
fn rows_in_memory_are_bounded_however_long_the_first_takes() {
    let engine = engine();
    let num_read = Arc::new(AtomicU64::new(0));
    let reading = Arc::clone(&num_read);
    let rows = (0..300).map(move |i| {
        reading.fetch_add(1, Ordering::Relaxed);
        Ok(row(i, vec![1, 2], params(if i == 0 { 150 } else { 1 })))
    });
    let mut num_answered = 0;
    let mut most = 0;
    let mut sink = Act(|_: &Answer| {
        most = most.max(num_read.load(Ordering::Relaxed) - num_answered);
        num_answered += 1;
        Ok(())
    });
    run(&engine, rows, Stop::default(), &mut sink).expect("nothing fails");
    assert_eq!(num_answered, 300);
    // The window, the rows that are read ahead, and the one in the reader's hand.
    assert!(most <= 8 + 16 + 1, "{most} rows in memory");
}

#[test]
fn an_answer_does_not_wait_for_the_next_row() {
    let (sender, rows) = mpsc::channel();
    let send = |sender: &mpsc::Sender<_>, i| {
        let sent = sender.send(Ok(row(i, vec![1], params(2))));
        sent.expect("the job reads");
    };
    send(&sender, 0);
    let mut sender = Some(sender);
    // The next row is sent when the one before is answered.
    let mut sink = Act(move |answer: &Answer| {
        match answer.row {
            4 => drop(sender.take()),
            i => send(sender.as_ref().expect("not dropped yet"), i + 1),
        }
        Ok(())
    });
    let summary = run(&engine(), rows.into_iter(), Stop::default(), &mut sink);
    assert_eq!(summary.expect("nothing fails").num_handed_out, 5);
}

#[test]
fn a_stop_cancels_what_runs_and_keeps_what_is_done() {
    let (executor, gate) = FakeExecutor::new(64, VOCAB).with_gate();
    let engine = start(executor);
    let stop = Stop::default();
    let stopping = stop.clone();
    let mut sink = Act(move |answer: &Answer| {
        assert_eq!(answer.row, 0);
        stopping.stop();
        Ok(())
    });
    // No step ever ends: but for the stop, the job would never.
    let rows = (1..).map(|i| row(i, vec![1], params(1)));
    let rows = std::iter::once(bad_row(0)).chain(rows).map(Ok);
    let summary = run(&engine, rows, stop, &mut sink).expect("a stop is no error");
    assert!(summary.is_stopped);
    assert_eq!(summary.num_handed_out, 1);
    gate.open();
}

#[test]
fn an_input_that_fails_ends_the_job_after_the_rows_before() {
    let mut kept = Kept::default();
    let rows = (0..10).map(|i| {
        if i < 5 {
            Ok(row(i, vec![1], params(3)))
        } else {
            Err(io::Error::other("the disk is gone"))
        }
    });
    let error = run(&engine(), rows, Stop::default(), &mut kept).expect_err("the input fails");
    assert!(matches!(error, JobError::Input(_)), "{error}");
    assert_eq!(kept.answers.len(), 5);
    assert_eq!(kept.last.num_done, 5);
}

#[test]
fn an_output_that_fails_ends_the_job_and_not_the_engine() {
    let engine = engine();
    let mut sink = Act(|_: &Answer| Err(io::Error::from(io::ErrorKind::BrokenPipe)));
    let rows = (0..).map(|i| Ok(row(i, vec![1], params(3))));
    let error = run(&engine, rows, Stop::default(), &mut sink).expect_err("the output fails");
    assert!(matches!(error, JobError::Output(_)), "{error}");
    assert_eq!(answers(&engine, vec![row(0, vec![1], params(1))]).len(), 1);
}

#[test]
#[should_panic(expected = "the reader is broken")]
fn a_reader_that_panics_does_not_pass_for_the_end_of_the_input() {
    let rows = (0..3).map(|i| {
        assert!(i < 2, "the reader is broken");
        Ok(row(i, vec![1], params(1)))
    });
    let _ = run(&engine(), rows, Stop::default(), &mut Kept::default());
}
