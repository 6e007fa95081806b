//! Conversations and parameters, without a model.

use super::Session;
use choral::sampling::SamplingParams;
use serde_json::json;

fn session() -> Session {
    Session::new(Vec::new(), SamplingParams::default(), 42)
}

fn set(session: &mut Session, name: &str, value: &str) -> Result<(), String> {
    session
        .set(name, value, 100)
        .map_err(|error| error.to_string())
}

#[test]
fn parameters_are_set_by_option_and_by_json_name() {
    let mut session = session();
    for (name, value) in [
        ("temp", "0.5"),
        ("top-k", "7"),
        ("--repeat-penalty", "1.5"),
        ("stop", "END"),
        ("ignore_eos", "true"),
        ("n-predict", "9"),
    ] {
        set(&mut session, name, value).expect("accepted");
    }
    let expected = SamplingParams {
        temperature: 0.5,
        top_k: 7,
        repetition_penalty: 1.5,
        stop: vec!["END".to_owned()],
        ignore_eos: true,
        max_tokens: Some(9),
        ..SamplingParams::default()
    };
    assert_eq!(session.params, expected);
    set(&mut session, "stop", r#"["a", "b"]"#).expect("accepted");
    assert_eq!(session.params.stop, ["a", "b"]);
    set(&mut session, "max_tokens", "-1").expect("accepted");
    assert_eq!(session.params.max_tokens, None);
}

#[test]
fn default_brings_back_the_value_of_the_start() {
    let start = SamplingParams {
        temperature: 0.3,
        seed: Some(5),
        ..SamplingParams::default()
    };
    let mut session = Session::new(Vec::new(), start.clone(), 42);
    set(&mut session, "temp", "1").expect("accepted");
    set(&mut session, "seed", "6").expect("accepted");
    set(&mut session, "temp", "default").expect("accepted");
    set(&mut session, "seed", "default").expect("accepted");
    assert_eq!(session.params, start);
    assert!(set(&mut session, "nonsense", "default").is_err());
}

#[test]
fn a_value_that_cannot_be_changes_nothing() {
    let mut session = session();
    for (name, value) in [
        ("temp", "-1"),
        ("temp", "hot"),
        ("top_p", "2"),
        ("temprature", "1"),
        ("n", "2"),
        ("prompt_logprobs", "1"),
        ("stop_token_ids", "[100]"),
    ] {
        assert!(set(&mut session, name, value).is_err(), "{name} {value}");
    }
    assert_eq!(session.params, SamplingParams::default());
}

#[test]
fn the_system_message_comes_first_and_outlives_a_reset() {
    let mut session = session();
    session.say("hi");
    session.hear("hello");
    session.set_system("Be kind.");
    let system = json!({"role": "system", "content": "Be kind."});
    assert_eq!(
        session.messages(),
        [
            system.clone(),
            json!({"role": "user", "content": "hi"}),
            json!({"role": "assistant", "content": "hello"}),
        ]
    );
    session.reset();
    assert_eq!(session.messages(), [system]);
    session.set_system("");
    assert!(session.messages().is_empty());
}

#[test]
fn an_answer_can_be_taken_back_and_its_successor_has_another_seed() {
    let mut session = session();
    assert!(session.take_back_answer().is_err());
    session.say("hi");
    let first = session.next_params().seed;
    session.hear("hello");
    session.take_back_answer().expect("there is one");
    assert_eq!(
        session.messages(),
        [json!({"role": "user", "content": "hi"})]
    );
    assert_ne!(session.next_params().seed, first);
}

#[test]
fn a_seed_that_is_set_holds_for_every_answer() {
    let mut session = session();
    set(&mut session, "seed", "7").expect("accepted");
    assert_eq!(session.next_params().seed, Some(7));
    assert_eq!(session.next_params().seed, Some(7));
}
