use super::*;

fn session() -> Session {
    Session::new(Vec::new(), SamplingParams::default(), 7)
}

#[test]
fn parameters_are_set_by_option_and_by_json_name() {
    let mut session = session();
    session.set("temp", "0.5", 100).expect("a temperature");
    session.set("--top-k", "3", 100).expect("a number");
    session.set("stop", "END", 100).expect("a text");
    session.set("max_tokens", "-1", 100).expect("no limit");
    let params = session.next_params();
    assert_eq!((params.temperature, params.top_k), (0.5, 3));
    assert_eq!(params.stop, ["END"]);
    assert_eq!(params.max_tokens, None);
    session
        .set("temp", "default", 100)
        .expect("the initial one");
    assert_eq!(
        session.next_params().temperature,
        SamplingParams::default().temperature
    );
}

#[test]
fn what_a_chat_cannot_honour_is_refused_and_changes_nothing() {
    let mut session = session();
    for (name, value) in [
        ("n", "2"),
        ("temp", "-1"),
        ("nonsense", "1"),
        ("top_p", "2"),
    ] {
        assert!(session.set(name, value, 100).is_err(), "{name}");
    }
    assert_eq!(
        session.next_params().temperature,
        SamplingParams::default().temperature
    );
}

#[test]
fn answers_have_seeds_of_their_own_that_follow_from_the_first() {
    let (mut a, mut b) = (session(), session());
    let seeds = |s: &mut Session| [s.next_params().seed, s.next_params().seed];
    let first = seeds(&mut a);
    assert_ne!(first[0], first[1]);
    assert_eq!(first, seeds(&mut b));
}

#[test]
fn an_answer_can_be_taken_back_and_a_system_message_replaced() {
    let mut session = session();
    session.set_system("Be brief.");
    session.set_system("Be kind.");
    session.say("Hi");
    session.hear("Hello");
    session.take_back_answer().expect("an answer");
    let expected = [
        json!({"role": "system", "content": "Be kind."}),
        json!({"role": "user", "content": "Hi"}),
    ];
    assert_eq!(session.messages(), expected);
    session.reset();
    assert!(session.take_back_answer().is_err());
}
