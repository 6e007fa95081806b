//! Checks the OpenAI-compatible provider against a server that somebody else wrote.
//!
//! `peers/llama_server.py` starts one and runs this; or name the base URL of any other
//! that serves a model called `peer`: `cargo run --example peer -- http://HOST:PORT/v1 KEY`.

use choral::provider::{
    BatchOptions, BlockingStream, ErrorKind, FinishReason, GenerateEvent, GenerateRequest, Message,
    Provider, ProviderExt,
};
use choral_providers::{Api, Builder, Kind, Remote, RetryPolicy, ServerState};
use std::time::{Duration, Instant};

type Checked = Result<(), Box<dyn std::error::Error>>;

fn main() -> Checked {
    let url = std::env::args()
        .nth(1)
        .ok_or("which server? http://HOST:PORT/v1")?;
    let key = std::env::args().nth(2).ok_or("which key does it take?")?;
    let provider = |api, key: &str| {
        Builder::new(Kind::Compatible, "peer")
            .base_url(&url)
            .api_key(key)
            .api(api)
            .retry(RetryPolicy {
                max_attempts: 3,
                ..RetryPolicy::default()
            })
            .total_timeout(Duration::from_mins(1))
            .build()
    };
    let chat = provider(Api::Chat, &key)?;
    let continued = provider(Api::Completions, &key)?;
    let stranger = provider(Api::Chat, "another-key-0123456789")?;
    check("state and models", || listing(&chat))?;
    check("chat", || chats(&chat))?;
    check("completions", || completions(&continued))?;
    check("chat stream", || streams(&chat))?;
    check("completion stream", || streams(&continued))?;
    check("batch equals one by one", || batches(&continued))?;
    check("errors", || {
        errors(&chat, &continued, &stranger);
        Ok(())
    })?;
    check("a stream dropped early", || dropped(&continued))?;
    Ok(())
}

fn check(what: &str, checks: impl FnOnce() -> Checked) -> Checked {
    let begun = Instant::now();
    checks().map_err(|error| format!("{what}: {error}"))?;
    println!("ok  {what} ({:.1} s)", begun.elapsed().as_secs_f64());
    Ok(())
}

fn listing(chat: &Remote) -> Checked {
    use choral::provider::block_on;
    assert_eq!(block_on(chat.models())?, ["peer"]);
    let state = block_on(chat.wait_until_ready(Duration::from_secs(10)))?;
    assert_eq!(state, ServerState::Ready);
    Ok(())
}

fn chats(chat: &Remote) -> Checked {
    let turns = [Message::system("Be brief."), Message::user("Who are you?")];
    let request = GenerateRequest::messages(turns)
        .max_tokens(8)
        .temperature(0.0);
    let answer = chat.generate_blocking(request.with_id("a"))?;
    println!("    {:?}", answer.content);
    assert_eq!(answer.id.as_deref(), Some("a"));
    assert_eq!(answer.model, "peer");
    assert!(answer.usage.prompt_tokens > 0);
    assert!((1..=8).contains(&answer.usage.completion_tokens));
    assert!(matches!(
        answer.finish_reason,
        FinishReason::Stop | FinishReason::Length
    ));
    assert!(answer.raw_response.is_some());
    Ok(())
}

fn story(number: u64) -> GenerateRequest {
    let request = GenerateRequest::prompt(format!("There were {number} foxes"));
    request.max_tokens(12).temperature(0.0)
}

fn completions(continued: &Remote) -> Checked {
    let mut request = story(3).seed(7);
    request.params.logprobs = Some(2);
    let answer = continued.generate_blocking(request)?;
    println!("    {:?}", answer.content);
    let logprobs = answer.logprobs.ok_or("no log-probabilities came")?;
    assert!(logprobs.iter().all(|token| token.logprob <= 0.0));
    let text: String = logprobs.iter().map(|token| token.token.as_str()).collect();
    assert_eq!(text, answer.content);
    let mut stopped = story(3);
    let word = answer
        .content
        .split_whitespace()
        .nth(1)
        .ok_or("too short an answer")?;
    let stop: String = word.chars().take(2).collect();
    stopped.params.stop = Some(vec![stop.clone()]);
    let stopped = continued.generate_blocking(stopped)?;
    assert!(!stopped.content.contains(&stop), "{:?}", stopped.content);
    assert_eq!(stopped.finish_reason, FinishReason::Stop);
    Ok(())
}

fn streams(provider: &Remote) -> Checked {
    let whole = provider.generate_blocking(story(4))?;
    let mut text = String::new();
    let mut pieces = 0;
    for event in BlockingStream::new(provider.stream(story(4))) {
        match event? {
            GenerateEvent::Delta(delta) => {
                text.push_str(&delta.text);
                pieces += 1;
            }
            GenerateEvent::Finished(answer) => {
                assert_eq!(answer.content, text);
                assert_eq!(answer.finish_reason, whole.finish_reason);
            }
        }
    }
    assert_eq!(text, whole.content);
    assert!(pieces > 1, "it came in {pieces} piece(s)");
    Ok(())
}

fn batches(provider: &Remote) -> Checked {
    let one_by_one = (0..8).map(|number| provider.generate_blocking(story(number)));
    let one_by_one: Vec<_> = one_by_one.collect::<Result<_, _>>()?;
    let options = BatchOptions::default();
    let batch = provider.batch_generate_blocking((0..8).map(story), &options)?;
    for (alone, together) in one_by_one.iter().zip(&batch) {
        assert_eq!(alone.content, together.content);
    }
    Ok(())
}

fn errors(chat: &Remote, continued: &Remote, stranger: &Remote) {
    let error = stranger.generate_blocking("x").unwrap_err();
    println!("    {error}");
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert_eq!(error.attempts(), 1);

    let long = GenerateRequest::prompt("word ".repeat(4000)).max_tokens(4);
    let error = continued.generate_blocking(long).unwrap_err();
    println!("    {error}");
    assert_eq!(error.kind(), ErrorKind::ContextLength);
    let mut wrong = GenerateRequest::prompt("x");
    wrong.params.top_p = Some(7.0);
    let error = chat.generate_blocking(wrong).unwrap_err();
    println!("    {} (status {:?})", error.kind(), error.status());
    // llama-cpp-python calls it a failure of its own.
    assert!(matches!(
        error.kind(),
        ErrorKind::InvalidRequest | ErrorKind::Server
    ));
}

fn dropped(provider: &Remote) -> Checked {
    let mut stream = BlockingStream::new(provider.stream(story(5).max_tokens(200)));
    stream.next().ok_or("no event came")??;
    drop(stream);
    // The server goes on to the next.
    provider.generate_blocking(story(1))?;
    Ok(())
}
